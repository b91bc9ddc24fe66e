"""From a sweep to its curve, from the curve to a run, and from there to what differs from another; on the real model."""

import pytest
from playwright.sync_api import expect

from scripts.browsing import settled
from tests.browser.acting import PATIENCE

pytestmark = [pytest.mark.browser, pytest.mark.real]

# A link carries the builder's options: few and short windows, so that the test is short.
SWEEP = (
    "curves?sweep_method=Magnitude&sweep_method=Wanda&sweep_sparsities=40%2C+60"
    "&sweep_calibration_windows=4&sweep_calibration_seqlen=64&sweep_evaluation_windows=4&sweep_evaluation_seqlen=64"
)


def test_sweep_to_curve_to_comparison(page, address, browser):
    page.goto(f"{address}/{SWEEP}")
    page.get_by_role("button", name="Start the sweep").click()
    expect(page.get_by_text("of 4 runs finished")).to_be_visible()
    assert "sweep=" in page.url
    expect(page.get_by_text("All 4 runs of this sweep are finished.")).to_be_visible(timeout=PATIENCE)
    settled(page)

    chart = page.locator(".st-key-curves")
    expect(chart.locator(".legend .traces")).to_contain_text(["Magnitude", "Wanda"])
    before = page.url
    point = chart.locator(".scatterlayer .trace .point").first.bounding_box()
    page.mouse.click(point["x"] + point["width"] / 2, point["y"] + point["height"] / 2)
    page.wait_for_url(lambda url: url != before and "run=" in url)
    settled(page)

    page.get_by_test_id("stTopNavLink").filter(has_text="Compare").click()
    expect(page.get_by_role("heading", name="What changed between these two?")).to_be_visible()
    page.wait_for_url("**/compare?*with=*")
    expect(page.get_by_role("heading", name="Do the same weights survive?")).to_be_visible()
    # The runs kept the loss of every token: nothing is measured again.
    expect(page.get_by_text("nats a token")).to_be_visible()
    expect(page.locator('span[title*="probability"]').nth(50)).to_be_attached()
    page.get_by_text("How it is continued").click()
    tokens = page.get_by_role("spinbutton", name="New tokens")
    tokens.fill("8")
    tokens.press("Enter")
    page.wait_for_url("**generate_max_new_tokens=8*")
    settled(page)
    page.get_by_role("button", name="Continue the prompt").click()
    expect(page.get_by_text("Not written yet.")).to_have_count(0, timeout=PATIENCE)

    # The link shows a colleague the same two runs.
    colleague = browser.new_context(viewport={"width": 1440, "height": 1000}).new_page()
    colleague.goto(page.url)
    both = page.get_by_test_id("stCaptionContainer").filter(has_text="A ").first.inner_text()
    expect(colleague.get_by_text("nats a token")).to_be_visible()
    assert colleague.get_by_test_id("stCaptionContainer").filter(has_text="A ").first.inner_text() == both
    colleague.context.close()
