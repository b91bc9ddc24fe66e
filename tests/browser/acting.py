"""What the browser tests do on pages."""

from playwright.sync_api import Page

PATIENCE = 300_000
"""Milliseconds that real work in the background may take."""
# Milliseconds from the press of the mouse to the frame in which a heading with these words stands on the page, taken by
# the page itself: Playwright's own waiting polls too seldom.
WATCH = """words => {
  window.untilShown = new Promise(done => {
    let pressed = null;
    document.addEventListener("mousedown", () => { pressed = performance.now() }, {capture: true, once: true});
    const shown = () => [...document.querySelectorAll("h3")].some(heading => heading.textContent.includes(words));
    const observer = new MutationObserver(() => {
      if (pressed === null || !shown()) return;
      observer.disconnect();
      requestAnimationFrame(() => done(performance.now() - pressed));
    });
    observer.observe(document.body, {subtree: true, childList: true, characterData: true});
  });
}"""


def settled(page: Page) -> None:
    page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]')


def cell(page: Page, key: str, block: int, row: int, blocks: int = 30, rows: int = 7) -> None:
    """Clicks a cell of a module grid."""
    plot = page.locator(f".st-key-{key} .nsewdrag.drag").first
    box = plot.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] * (block + 0.5) / blocks, box["y"] + box["height"] * (row + 0.5) / rows)
