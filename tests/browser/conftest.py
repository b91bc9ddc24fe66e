"""The real app in a real browser: a server of its own, Debian's Chromium, Playwright."""

import os
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect

from scripts import browsing

expect.set_options(timeout=60_000)


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser's path; without one the test skips, but fails where PRUNESCOPE_REQUIRE_BROWSER is set (in CI)."""
    path = browsing.chromium()
    if path is None:
        message = "no Chromium on this machine; install Debian's package chromium to run the browser tests"
        (pytest.fail if os.environ.get("PRUNESCOPE_REQUIRE_BROWSER") else pytest.skip)(message)
    return path


@pytest.fixture(scope="session")
def browser(chromium) -> Iterator[Browser]:
    with browsing.browsing(chromium) as started:
        yield started


@pytest.fixture(scope="session")
def address(tmp_path_factory, chromium) -> Iterator[str]:
    """The app's address, on an empty store and with the usual cache (the embedded model is converted there)."""
    home = tmp_path_factory.mktemp("home")
    log = home / "server.log"
    with browsing.serving(log, {"PRUNESCOPE_HOME": str(home)}) as served:
        yield served
    assert b"Traceback" not in log.read_bytes()


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
