"""The journey of issue 2: start, watch, read the result, see where the zeros went, reload; on the real model."""

import time

import pytest
from playwright.sync_api import expect

from scripts.browsing import click_cell, settled
from tests.browser.acting import PATIENCE, session

pytestmark = [pytest.mark.browser, pytest.mark.real]

# A link carries the form's options: few windows, so that the test is short.
OPTIONS = "?calibration_windows=4&evaluation_windows=8"


def test_first_run(page, address, contexts, record_property):
    # The very first address that a server is asked for may be that of another page: a link that someone shared.
    page.goto(f"{address}/runs")
    for title in ("Prune", "Spectra", "Sparsity", "Runs"):
        expect(page.get_by_test_id("stTopNavLink").filter(has_text=title)).to_be_visible()
    page.goto(f"{address}/{OPTIONS}")
    expect(page.get_by_role("button", name="Prune SmolLM2 now")).to_be_visible()
    expect(page.get_by_test_id("stMetric").filter(has_text="Modules")).to_contain_text("210")
    # The worker imports torch and loads the model when it starts; its measured speed says that it is warm.
    expect(page.get_by_test_id("stMetric").filter(has_text="Memory, about")).to_be_visible()

    started = time.perf_counter()
    page.get_by_role("button", name="Start", exact=True).click()
    page.get_by_text("elapsed").wait_for()
    first_progress = time.perf_counter() - started
    record_property("seconds to first progress", first_progress)
    print(f"start to first progress: {first_progress:.2f} s")
    assert first_progress < 3
    assert "run=" in page.url

    # Closing the tab loses nothing: another one, at the same address, shows the same run.
    link = page.url
    page.close()
    with session(contexts["light"]) as again:
        again.goto(link)
        expect(again.get_by_text("of 210")).to_be_visible(timeout=PATIENCE)
        expect(again.get_by_test_id("stMetric").filter(has_text="Perplexity")).to_be_visible(timeout=PATIENCE)
        expect(again.get_by_test_id("stMetric").filter(has_text="Sparsity")).to_contain_text("50 %")

        again.get_by_role("link", name="Where did the zeros go?").click()
        expect(again.get_by_role("heading", name="Every module")).to_be_visible()
        settled(again)
        again.locator(".st-key-sparsity_grid .nsewdrag.drag").first.wait_for()
        click_cell(again, "sparsity_grid", block=25, row=4)
        expect(again.get_by_role("heading", name="model.layers.25.mlp.gate_proj")).to_be_visible()

        # The address says which module: reload, and another browser, show the same.
        again.reload()
        expect(again.get_by_role("heading", name="model.layers.25.mlp.gate_proj")).to_be_visible()
        assert "block=25" in again.url
        again.get_by_role("link", name="Runs").click()
        expect(again.get_by_role("button", name="Repeat")).to_be_visible()
