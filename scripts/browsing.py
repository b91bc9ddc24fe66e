"""The app served for a while, and a browser to look at it: for the browser tests and for pictures."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from playwright.sync_api import Browser, FloatRect, Page, sync_playwright

ROOT = Path(__file__).parents[1]

# Milliseconds from the press of the mouse to the frame in which a heading with these words stands on the page (shown),
# and to the last change of any chart or text (still: nothing has changed for 300 ms). Taken by the page itself:
# Playwright's own waiting polls too seldom.
WATCH_CLICK = """words => {
  window.answered = new Promise(done => {
    let pressed = null, shown = null, last = null, waiting = null;
    document.addEventListener("mousedown", () => { pressed = performance.now() }, {capture: true, once: true});
    const stands = () => [...document.querySelectorAll("h3")].some(heading => heading.textContent.includes(words));
    const finish = () => { observer.disconnect(); done([shown - pressed, last - pressed]) };
    const observer = new MutationObserver(changes => {
      if (pressed === null) return;
      if (shown === null && stands()) requestAnimationFrame(() => { shown ??= performance.now() });
      requestAnimationFrame(() => {
        last = performance.now();
        clearTimeout(waiting);
        if (shown !== null) waiting = setTimeout(finish, 300);
      });
    });
    observer.observe(document.querySelector('[data-testid="stMain"]'), {subtree: true, childList: true, characterData: true});
  });
}"""
# Milliseconds from a key on the slider to the frame in which the allocation's lines on the chart have moved.
WATCH_SLIDER = """() => {
  const lines = () => [...document.querySelectorAll(".st-key-studio_chart .js-line")].map(line => line.getAttribute("d")).join();
  const before = lines();
  window.untilMoved = new Promise(done => {
    let pressed = null;
    document.addEventListener("keydown", () => { pressed = performance.now() }, {capture: true, once: true});
    const observer = new MutationObserver(() => {
      const now = lines();
      if (pressed === null || now === "" || now === before) return;
      observer.disconnect();
      requestAnimationFrame(() => done(performance.now() - pressed));
    });
    observer.observe(document.body, {subtree: true, childList: true, attributes: true, attributeFilter: ["d"]});
  });
}"""
# Where the first such element is, or null.
_BOX = """selector => {
  const found = document.querySelector(selector);
  if (!found) return null;
  const {x, y, width, height} = found.getBoundingClientRect();
  return {x, y, width, height};
}"""
_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def settled(page: Page) -> None:
    """Waits until no script runs."""
    page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]')


def plot_box(page: Page, plot: str, rest: float = 0.15, within: float = 10) -> FloatRect:
    """Where a plot is, once it has stood in one place for ``rest`` seconds: a chart that is drawn anew is away in between."""
    box, since, start = None, time.monotonic(), time.monotonic()
    while time.monotonic() - since < rest or box is None:
        assert time.monotonic() - start < within, f"{plot} has not come to rest within {within:g} s: {box}."
        now = page.evaluate(_BOX, plot)
        if now != box:
            box, since = now, time.monotonic()
        page.wait_for_timeout(30)
    return cast(FloatRect, box)


def click_cell(page: Page, key: str, block: int, row: int, blocks: int = 30, rows: int = 7) -> None:
    """Clicks a cell of a module grid."""
    box = plot_box(page, f".st-key-{key} .nsewdrag.drag")
    page.mouse.click(box["x"] + box["width"] * (block + 0.5) / blocks, box["y"] + box["height"] * (row + 0.5) / rows)


def chromium() -> str | None:
    """The path of the Chromium that is installed."""
    return next((p for name in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(name))), None)


@contextmanager
def browsing(path: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=_FLAGS)
        yield started
        started.close()


def renderers(browser: Browser) -> set[int]:
    """The ids of the processes that hold pages."""
    asked = browser.new_browser_cdp_session()
    found = asked.send("SystemInfo.getProcessInfo")["processInfo"]
    asked.detach()
    return {process["id"] for process in found if process["type"] == "renderer"}


@contextmanager
def serving(log: Path, environment: dict[str, str] | None = None) -> Iterator[str]:
    """Serves the app; gives its address. What it prints goes to ``log``."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)]
    around = os.environ | {"STREAMLIT_SERVER_HEADLESS": "true"} | (environment or {})
    with log.open("wb") as file:
        server = subprocess.Popen(command, cwd=ROOT, env=around, stdout=file, stderr=subprocess.STDOUT)
    try:
        _wait_until_up(f"http://127.0.0.1:{port}/_stcore/health", server)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(timeout=30)


def _wait_until_up(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise RuntimeError("The server ended before it was up; its log says why.")
        try:
            urllib.request.urlopen(url, timeout=1).close()
            return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
    raise TimeoutError(url)
