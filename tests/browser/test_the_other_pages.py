"""Scores, Learn and Runs as a user goes through them; on the real model."""

import psutil
import pytest
from playwright.sync_api import expect

from core.settings import Settings
from core.store import Store
from scripts.browsing import click_cell, renderers, settled
from tests.browser.acting import PATIENCE, session
from tests.browser.large import LABEL, MODULE, add_large_run

pytestmark = [pytest.mark.browser, pytest.mark.real]


def test_scores_learn_and_runs(page, address, two_runs):
    page.goto(f"{address}/scores?run={two_runs[0].id}")
    settled(page)
    page.locator(".st-key-scores_grid .nsewdrag.drag").first.wait_for()
    click_cell(page, "scores_grid", block=0, row=4)
    expect(page.get_by_role("heading", name="model.layers.0.mlp.gate_proj")).to_be_visible()
    page.get_by_role("button", name="Compute the scores of block 0").click()
    whole = page.locator(".st-key-map_whole_own")
    expect(whole.locator(".heatmaplayer image").first).to_be_attached(timeout=PATIENCE)
    expect(page.get_by_text("Overlap (Jaccard)")).to_be_visible()

    page.get_by_test_id("stTopNavLink").filter(has_text="Learn").click()
    page.get_by_role("radio", name="SparseGPT").click()
    expect(page.get_by_role("heading", name="SparseGPT: the others make up for it")).to_be_visible()
    step = page.get_by_role("slider", name="Columns done")
    expect(step).to_have_value("0")
    page.get_by_role("button", name="Step", exact=True).click()
    expect(step).to_have_value("1")
    page.get_by_role("button", name="Play").click()
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    expect(step).to_have_value("3")
    page.get_by_role("button", name="Reset").click()
    expect(step).to_have_value("0")
    expect(page.get_by_role("button", name="Play")).to_be_visible()
    settled(page)

    page.get_by_test_id("stTopNavLink").filter(has_text="Runs").click()
    table = page.get_by_test_id("stDataFrame")
    expect(table).to_be_visible()
    page.get_by_role("textbox", name="Filter").fill("no such run")
    page.get_by_role("textbox", name="Filter").press("Enter")
    expect(page.get_by_text("No run matches.")).to_be_visible()
    page.get_by_role("textbox", name="Filter").fill("smollm2")
    page.get_by_role("textbox", name="Filter").press("Enter")
    expect(table).to_be_visible()
    settled(page)
    for row in (0, 1):  # the marks before the rows, painted on a canvas; 35 pixels a row, below the head
        table.click(position={"x": 20, "y": 35 * (row + 1) + 17})
        settled(page)
    expect(page.get_by_role("heading", name="2 runs selected")).to_be_visible()
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.get_by_role("heading", name="What changed between these two?")).to_be_visible()
    assert "with=" in page.url


def test_a_large_matrix_leaves_the_browser_small(browser, address, home, two_runs, record_property):
    run = add_large_run(Store.open(Settings(home=home)))
    before, held = renderers(browser), []
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    with session(context) as page:
        page.goto(f"{address}/scores?run={run.id}&block=0&module={LABEL}")
        expect(page.get_by_role("heading", name=MODULE)).to_be_visible()
        for map_ in ("whole_own", "whole_other", "window_own", "window_other"):
            expect(page.locator(f".st-key-map_{map_} .heatmaplayer image").first).to_be_attached()
            held.append(_held(renderers(browser) - before))
        settled(page)
        for _ in range(10):
            page.wait_for_timeout(100)
            held.append(_held(renderers(browser) - before))
    context.close()
    record_property("megabytes of the renderer", max(held))
    print(f"a score map of 4096 x 11008: the browser holds {max(held):.0f} MB at most, {held[-1]:.0f} MB in the end")
    assert max(held) < 300


def _held(processes: set[int]) -> float:
    """Megabytes of the largest of them: its own, and its share of what it has in common with other processes (Chromium's
    program, mostly)."""
    return max(psutil.Process(number).memory_full_info().pss for number in processes) / 1e6
