"""The real app in a real browser: a server of its own, Debian's Chromium, Playwright."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

expect.set_options(timeout=60_000)
ROOT = Path(__file__).parents[2]
_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser's path; without one the test skips, but fails where PRUNESCOPE_REQUIRE_BROWSER is set (in CI)."""
    path = next((p for name in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(name))), None)
    if path is None:
        message = "no Chromium on this machine; install Debian's package chromium to run the browser tests"
        (pytest.fail if os.environ.get("PRUNESCOPE_REQUIRE_BROWSER") else pytest.skip)(message)
    return path


@pytest.fixture(scope="session")
def browser(chromium) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=_FLAGS)
        yield started
        started.close()


@pytest.fixture(scope="session")
def address(tmp_path_factory, chromium) -> Iterator[str]:
    """The app's address, on an empty store and with the usual cache (the embedded model is converted there)."""
    home = tmp_path_factory.mktemp("home")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)]
    environment = os.environ | {"PRUNESCOPE_HOME": str(home), "STREAMLIT_SERVER_HEADLESS": "true"}
    with (home / "server.log").open("wb") as log:
        server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        _wait_until_up(f"http://127.0.0.1:{port}/_stcore/health", server)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(timeout=30)
    assert b"Traceback" not in (home / "server.log").read_bytes()


def _wait_until_up(url: str, server: subprocess.Popen) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert server.poll() is None, "the server ended"
        try:
            urllib.request.urlopen(url, timeout=1).close()
            return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
    raise TimeoutError(url)


def _is_ours(message: ConsoleMessage) -> bool:
    """An error; but not that Streamlit, opened at a page's address, asks for its own files below that page first."""
    return message.type == "error" and "/_stcore/" not in message.location["url"]


@pytest.fixture
def page(browser) -> Iterator[Page]:
    """A fresh session; the test fails if the console shows an error or the page an exception."""
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
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
