"""What the browser tests do on pages."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from playwright.sync_api import Browser, ConsoleMessage, Page

Theme = Literal["light", "dark"]

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


def _is_ours(message: ConsoleMessage) -> bool:
    """An error; but not that Streamlit, opened at a page's address, asks for its own files below that page first."""
    return message.type == "error" and "/_stcore/" not in message.location["url"]


@contextmanager
def session(browser: Browser, theme: Theme = "light") -> Iterator[Page]:
    """A fresh session; fails at its end if the console showed an error or the page an exception."""
    context = browser.new_context(viewport={"width": 1440, "height": 1000}, color_scheme=theme)
    opened = context.new_page()
    opened.set_default_timeout(60_000)
    problems: list[str] = []
    opened.on("console", lambda message: problems.append(message.text) if _is_ours(message) else None)
    opened.on("pageerror", lambda error: problems.append(str(error)))
    yield opened
    exceptions = [] if opened.is_closed() else opened.locator('[data-testid="stException"]').all_inner_texts()
    context.close()
    assert problems == []
    assert exceptions == []
