"""What the browser tests do on pages."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from playwright.sync_api import BrowserContext, ConsoleMessage, Page

Theme = Literal["light", "dark"]

PATIENCE = 300_000
"""Milliseconds that real work in the background may take."""


def _is_ours(message: ConsoleMessage) -> bool:
    """An error; but not that Streamlit, opened at a page's address, asks for its own files below that page first."""
    return message.type == "error" and "/_stcore/" not in message.location["url"]


@contextmanager
def session(context: BrowserContext) -> Iterator[Page]:
    """A fresh session in a tab of its own; fails at its end if the console showed an error or the page an exception."""
    opened = context.new_page()
    opened.set_default_timeout(60_000)
    problems: list[str] = []
    opened.on("console", lambda message: problems.append(message.text) if _is_ours(message) else None)
    opened.on("pageerror", lambda error: problems.append(str(error)))
    yield opened
    exceptions = []
    if not opened.is_closed():
        exceptions = opened.locator('[data-testid="stException"]').all_inner_texts()
        opened.close()
    assert problems == []
    assert exceptions == []
