"""A picture of a page: ``python -m scripts.picture "curves?sweep=ID" docs/curves.png --of curves``.

Serves the app on the runs that ``PRUNESCOPE_HOME`` has, opens the page, waits until it stands still, and takes the picture.
``python -m scripts.pictures docs`` takes one of every page.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import click
from playwright.sync_api import Browser, Page

from scripts.browsing import browsing, chromium, serving

Theme = Literal["light", "dark"]
_STILL = """() => !document.querySelector('[data-testid="stStatusWidget"]')
  && document.querySelector('[data-testid="stApp"][data-test-script-state="notRunning"]')
  && ![...document.querySelectorAll('[data-testid="stSkeleton"]')].length"""
_HEIGHT = """() => Math.max(...[...document.querySelectorAll('[data-testid="stMain"], [data-testid="stMainBlockContainer"]')]
  .map(part => part.scrollHeight))"""
_TALLEST = 8000


@click.command()
@click.argument("path")
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--of", "key", help="Only the element with this key, such as a chart's.")
@click.option("--width", default=1440, show_default=True)
@click.option("--theme", type=click.Choice(["light", "dark"]), default="light", show_default=True)
def main(path: str, out: Path, key: str | None, width: int, theme: Theme) -> None:
    """PATH: a page with its address, such as spectra?block=7; OUT: a .png file."""
    with served() as (address, browser):
        take(browser, f"{address}/{path}", out, key, width, theme)


@contextmanager
def served() -> Iterator[tuple[str, Browser]]:
    """The app's address and a browser."""
    browser_path = chromium()
    if browser_path is None:
        raise click.ClickException("There is no Chromium on this machine; install Debian's package chromium.")
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder) / "log") as address,
        browsing(browser_path) as browser,
    ):
        yield address, browser


def take(
    browser: Browser,
    url: str,
    out: Path,
    key: str | None = None,
    width: int = 1440,
    theme: Theme = "light",
    tallest: int = _TALLEST,
) -> None:
    """The page, or the element with this ``key``, as a .png file."""
    context = browser.new_context(viewport={"width": width, "height": 1000}, color_scheme=theme)
    page = context.new_page()
    page.goto(url)
    page.locator("h1").first.wait_for(timeout=60_000)
    _stand_still(page)
    page.set_viewport_size({"width": width, "height": min(int(page.evaluate(_HEIGHT)) + 40, tallest)})
    _stand_still(page)
    if key:
        page.locator(f".st-key-{key}").screenshot(path=out)
    else:
        page.screenshot(path=out)
    context.close()
    click.echo(f"{out}: {out.stat().st_size / 1000:.0f} kB")


def _stand_still(page: Page) -> None:
    page.wait_for_timeout(500)
    page.wait_for_function(_STILL, timeout=60_000)
    page.wait_for_timeout(1500)


if __name__ == "__main__":
    main()
