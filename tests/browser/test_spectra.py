"""Read the spectra of the real model, choose an allocation in the studio, and take it to the Prune page."""

import statistics

import pytest
from playwright.sync_api import expect

from scripts.browsing import WATCH_SLIDER, click_cell, settled
from tests.browser.acting import PATIENCE

pytestmark = [pytest.mark.browser, pytest.mark.real]


def test_spectra_to_allocation(page, address, record_property):
    page.goto(f"{address}/spectra")
    page.get_by_role("button", name="Compute the spectra").click()
    expect(page.locator(".st-key-spectra_grid")).to_be_visible(timeout=PATIENCE)
    settled(page)

    click_cell(page, "spectra_grid", block=7, row=4)
    expect(page.get_by_role("heading", name="model.layers.7.mlp.gate_proj")).to_be_visible()
    expect(page.get_by_text("(standard error)")).to_be_visible()
    assert "block=7" in page.url

    settled(page)
    times = []
    slider = page.get_by_role("slider", name="Spread ε")
    for _ in range(8):
        slider.focus()
        page.evaluate(WATCH_SLIDER)
        page.keyboard.press("ArrowLeft")
        times.append(page.evaluate("window.untilMoved"))
        settled(page)
    middle = statistics.median(times)
    record_property("milliseconds from slider to allocation", middle)
    print(f"slider to allocation: median {middle:.0f} ms, from {min(times):.0f} to {max(times):.0f}")
    # The promise is 200 ms; on two cores that others used too, without a GPU, medians were 127 to 182. The bound leaves room
    # for a machine that is slow for a minute.
    assert middle < 300

    page.get_by_role("button", name="Use in Prune").click()
    expect(page.get_by_role("heading", name="What happens if I prune it?")).to_be_visible()
    expect(page.get_by_role("slider", name="Spread ε")).to_have_value("0.22")
    assert "allocation=AlphaPruning" in page.url
    assert "sparsity=0.7" in page.url
    expect(page.get_by_role("button", name="Start", exact=True)).to_be_enabled()
