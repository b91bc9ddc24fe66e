"""The dashboard as one: both themes, wide and narrow, links in other browsers, ten sessions at once, fifty clicks."""

import statistics
from contextlib import ExitStack

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.acting import WATCH, cell, session, settled

pytestmark = [pytest.mark.browser, pytest.mark.real]

PAGES = ("", "spectra", "scores", "sparsity", "curves", "compare", "learn", "runs")
WCAG_AA = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}}
LABELS = (*(f"self_attn.{name}_proj" for name in "qkvo"), *(f"mlp.{name}_proj" for name in ("gate", "up", "down")))
CLICKS = 50


def heading(page: Page, block: int, label: str):
    return page.get_by_role("heading", name=f"model.layers.{block}.{label}")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_page_in_both_themes_wide_and_narrow(browser, address, two_runs, theme):
    first, second = two_runs
    with session(browser, theme) as page:
        for name in PAGES:
            page.goto(f"{address}/{name}?run={first.id}&with={second.id}&block=3&module=mlp.down_proj")
            expect(page.get_by_role("heading", level=1)).to_be_visible()
            settled(page)
            page.wait_for_timeout(1000)  # what fades in has its colour then
            hindered = Axe().run(page, options=WCAG_AA)
            assert hindered.violations_count == 0, f"{name or 'prune'}: {hindered.generate_report()}"
            for width in (2560, 1280, 390):
                page.set_viewport_size({"width": width, "height": 1000})
                page.wait_for_timeout(300)
                over = page.evaluate("() => document.scrollingElement.scrollWidth - window.innerWidth")
                assert over <= 0, f"{name or 'prune'} is {over} pixels too wide for {width}"
            page.set_viewport_size({"width": 1440, "height": 1000})


def test_a_link_restores_run_module_and_options_in_another_browser(browser, address, two_runs):
    run, _ = two_runs
    with session(browser) as page, session(browser) as colleague:
        page.goto(f"{address}/sparsity?run={run.id}")
        page.get_by_role("radio", name="Reconstruction error").click()
        settled(page)
        cell(page, "sparsity_grid", block=12, row=6)
        expect(heading(page, 12, "mlp.down_proj")).to_be_visible()
        page.wait_for_url("**colour=error**")
        colleague.goto(page.url)
        expect(heading(colleague, 12, "mlp.down_proj")).to_be_visible()
        expect(colleague.get_by_text("How far each module's output moved")).to_be_visible()
        assert run.id in colleague.url
        # Other pages show the same module.
        colleague.get_by_test_id("stTopNavLink").filter(has_text="Prune").click()
        colleague.wait_for_url("**block=12**")


def test_ten_sessions_do_not_see_each_other(browser, address, two_runs):
    with ExitStack() as stack:
        pages = [stack.enter_context(session(browser)) for _ in range(10)]
        for number, page in enumerate(pages):
            page.goto(f"{address}/sparsity?run={two_runs[number % 2].id}&block={number}&module={LABELS[number % 7]}")
        for number, page in enumerate(pages):
            expect(heading(page, number, LABELS[number % 7])).to_be_visible()
            settled(page)
        for number, page in enumerate(pages):
            cell(page, "sparsity_grid", block=number + 15, row=(number + 3) % 7)
        for number, page in enumerate(pages):
            expect(heading(page, number + 15, LABELS[(number + 3) % 7])).to_be_visible()
            assert two_runs[number % 2].id in page.url
            expect(page.get_by_test_id("stSidebar").get_by_text(two_runs[number % 2].id)).to_be_visible()


def test_fifty_clicks(page, address, two_runs, record_property):
    page.goto(f"{address}/sparsity?run={two_runs[0].id}")
    settled(page)
    page.locator(".st-key-sparsity_grid .nsewdrag.drag").first.wait_for()
    page.wait_for_timeout(1000)
    times = []
    for click in range(CLICKS):
        block, row = (click * 7) % 29 + 1, (click * 3 + 1) % 7
        page.evaluate(WATCH, f"model.layers.{block}.{LABELS[row]}")
        cell(page, "sparsity_grid", block, row)
        times.append(page.evaluate("window.untilShown"))
        settled(page)
    middle, (low, high) = statistics.median(times), statistics.quantiles(times, n=20)[::18]
    record_property("milliseconds from click to redraw", middle)
    print(f"click to redraw: median {middle:.0f} ms, 5 % below {low:.0f}, 5 % above {high:.0f}, of {CLICKS} clicks")
    # The promise is 300 ms. The bound is there to catch what makes every click twice as slow, not to fail with a machine
    # that is slow for a minute.
    assert middle < 700
