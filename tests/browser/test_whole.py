"""The dashboard as one: both themes, wide and narrow, links in other browsers, ten sessions at once, fifty clicks."""

import statistics
from contextlib import ExitStack

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from scripts.browsing import WATCH_CLICK, click_cell, settled
from tests.browser.acting import session

pytestmark = [pytest.mark.browser, pytest.mark.real]

PAGES = {
    "Prune": "What happens if I prune it?",
    "Spectra": "Which layers are heavy-tailed?",
    "Scores": "Why does this weight go?",
    "Sparsity": "Where did the zeros go?",
    "Curves": "How far can it go?",
    "Compare": "What changed between these two?",
    "Learn": "How does it work?",
    "Runs": "Runs",
}
WCAG_AA = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}}
LABELS = (*(f"self_attn.{name}_proj" for name in "qkvo"), *(f"mlp.{name}_proj" for name in ("gate", "up", "down")))
CLICKS = 50


def heading(page: Page, block: int, label: str):
    return page.get_by_role("heading", name=f"model.layers.{block}.{label}")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_page_in_both_themes_wide_and_narrow(contexts, address, two_runs, theme):
    first, second = two_runs
    with session(contexts[theme]) as page:
        page.emulate_media(color_scheme=theme, reduced_motion="reduce")  # what fades in has its colour at once
        page.goto(f"{address}/?run={first.id}&with={second.id}&block=3&module=mlp.down_proj")
        for name, title in PAGES.items():
            page.get_by_test_id("stTopNavLink").filter(has_text=name).click()
            expect(page.get_by_role("heading", level=1, name=title)).to_be_visible()
            settled(page)
            page.wait_for_timeout(300)
            hindered = Axe().run(page, options=WCAG_AA)
            assert hindered.violations_count == 0, f"{name}: {hindered.generate_report()}"
            for width in (2560, 390, 1280):
                page.set_viewport_size({"width": width, "height": 1000})
                page.wait_for_timeout(300)
                over = page.evaluate("() => document.scrollingElement.scrollWidth - window.innerWidth")
                assert over <= 0, f"{name} is {over} pixels too wide for {width}"


def test_a_link_restores_run_module_and_options_in_another_browser(browser, contexts, address, two_runs):
    run, _ = two_runs
    elsewhere = browser.new_context(viewport={"width": 1440, "height": 1000})
    with session(contexts["light"]) as page, session(elsewhere) as colleague:
        page.goto(f"{address}/sparsity?run={run.id}")
        page.get_by_role("radio", name="Reconstruction error").click()
        settled(page)
        click_cell(page, "sparsity_grid", block=12, row=6)
        expect(heading(page, 12, "mlp.down_proj")).to_be_visible()
        page.wait_for_url("**colour=error**")
        colleague.goto(page.url)
        expect(heading(colleague, 12, "mlp.down_proj")).to_be_visible()
        expect(colleague.get_by_text("How far each module's output moved")).to_be_visible()
        assert run.id in colleague.url
        # Other pages show the same module.
        colleague.get_by_test_id("stTopNavLink").filter(has_text="Prune").click()
        colleague.wait_for_url("**block=12**")
    elsewhere.close()


def test_a_module_selected_elsewhere_can_be_clicked_again(page, address, two_runs):
    """The chart remembers what was clicked in it, and would take a second click there as taking it back."""
    page.goto(f"{address}/sparsity?run={two_runs[0].id}")
    settled(page)
    page.locator(".st-key-sparsity_grid .nsewdrag.drag").first.wait_for()
    click_cell(page, "sparsity_grid", block=12, row=6)
    expect(heading(page, 12, "mlp.down_proj")).to_be_visible()
    _framed(page, block=12, row=6)
    block = page.locator(".st-key-block input")
    block.fill("20")
    block.press("Enter")
    expect(heading(page, 20, "mlp.down_proj")).to_be_visible()
    settled(page)
    _framed(page, block=20, row=6)
    click_cell(page, "sparsity_grid", block=12, row=6)
    expect(heading(page, 12, "mlp.down_proj")).to_be_visible()


def _framed(page: Page, block: int, row: int) -> None:
    """The frame lies over this cell."""
    plot = page.locator(".st-key-sparsity_grid .nsewdrag.drag").first.bounding_box()
    frame = page.locator(".module-frame").bounding_box()
    assert plot is not None
    assert frame is not None
    assert frame["x"] == pytest.approx(plot["x"] + plot["width"] * block / 30, abs=2)
    assert frame["y"] == pytest.approx(plot["y"] + plot["height"] * row / 7, abs=2)
    assert frame["width"] == pytest.approx(plot["width"] / 30, abs=2)
    assert frame["height"] == pytest.approx(plot["height"] / 7, abs=2)


def test_ten_sessions_do_not_see_each_other(contexts, address, two_runs):
    with ExitStack() as stack:
        pages = [stack.enter_context(session(contexts["light"])) for _ in range(10)]
        for number, page in enumerate(pages):
            link = f"{address}/sparsity?run={two_runs[number % 2].id}&block={number}&module={LABELS[number % 7]}"
            page.goto(link, wait_until="commit")  # all ten load side by side
        for number, page in enumerate(pages):
            expect(heading(page, number, LABELS[number % 7])).to_be_visible()
            settled(page)
        for number, page in enumerate(pages):
            click_cell(page, "sparsity_grid", block=number + 15, row=(number + 3) % 7)
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
        page.evaluate(WATCH_CLICK, f"model.layers.{block}.{LABELS[row]}")
        click_cell(page, "sparsity_grid", block, row)
        times.append(page.evaluate("window.answered"))
        settled(page)
    shown, still = zip(*times, strict=True)
    for what, found in (("the module's name", shown), ("the last chart", still)):
        low, high = statistics.quantiles(found, n=20)[::18]
        print(f"click to {what}: median {statistics.median(found):.0f} ms, 90 % between {low:.0f} and {high:.0f}")
    record_property("milliseconds from click to redraw", statistics.median(shown))
    record_property("milliseconds from click to the last chart", statistics.median(still))
    # The promise is 300 ms; on two cores that others used too, medians were 187 to 254, and 251 to 328 to the last chart,
    # whose bound leaves room for a machine that is slow for a minute.
    assert statistics.median(shown) < 300
    assert statistics.median(still) < 500
