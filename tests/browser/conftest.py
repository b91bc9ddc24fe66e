"""The real app in a real browser: a server of its own, Debian's Chromium, Playwright."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from core.settings import Settings
from core.store import Run, Store
from scripts import browsing
from tests.browser.acting import Theme, session

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
def home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def address(home, chromium) -> Iterator[str]:
    """The app's address, on an empty store and with the usual cache (the embedded model is converted there)."""
    log = home / "server.log"
    with browsing.serving(log, {"PRUNESCOPE_HOME": str(home)}) as served:
        yield served
    assert b"Traceback" not in log.read_bytes()


@pytest.fixture(scope="session")
def two_runs(address, home) -> tuple[Run, Run]:
    """Two finished runs of the app's store: what earlier tests left, else pruned now, on few windows."""
    store = Store.open(Settings(home=home))
    for sparsity in ("0.4", "0.6"):
        if sum(run.result is not None for run in store.runs()) < 2:
            windows = ["--calibration-windows", "4", "--evaluation-windows", "4"]
            command = [sys.executable, "-m", "core", "prune", "--sparsity", sparsity, *windows]
            subprocess.run(
                command, env=os.environ | {"PRUNESCOPE_HOME": str(home)}, check=True, stdout=subprocess.DEVNULL
            )
    first, second, *_ = [run for run in store.runs() if run.result is not None]
    return first, second


@pytest.fixture(scope="session")
def contexts(browser) -> dict[Theme, BrowserContext]:
    """A context for each theme, in which tests open sessions: what one has loaded, others need not load again."""
    viewport = {"width": 1440, "height": 1000}
    return {theme: browser.new_context(viewport=viewport, color_scheme=theme) for theme in get_args(Theme)}


@pytest.fixture
def page(contexts) -> Iterator[Page]:
    with session(contexts["light"]) as opened:
        yield opened
