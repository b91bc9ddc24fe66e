"""How fast the dashboard answers, and what it holds: ``python -m benchmarks.app``, on the runs that ``PRUNESCOPE_HOME`` has.

Import times in fresh processes; the first page of a server that has just started, and again in another browser; clicks on
cells of the Sparsity page's grid, and steps of the Spectra page's ε slider where the spectra are known; the server's
resident memory over all those clicks. The browser is Debian's Chromium without a screen: it paints on the processor.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter

import click
import psutil
from playwright.sync_api import Browser, Page

from benchmarks.timing import console
from core.measurements.spectra import Spectra
from core.store import Run, Store
from scripts.browsing import WATCH_CLICK, WATCH_SLIDER, browsing, chromium, click_cell, serving, settled

MODULES = {
    "core": "import core",
    "core.engine (torch)": "import core.engine",
    "dashboard": "import streamlit, plotly.graph_objects, dashboard.components.shell, dashboard.components.plan",
}
IMPORTS, STEPS = 5, 20


@click.command()
@click.option("--clicks", default=200, show_default=True, help="On cells of the grid.")
def main(clicks: int) -> None:
    for name, statement in MODULES.items():
        _show(f"import of {name}, s", [_import_seconds(statement) for _ in range(IMPORTS)])
    path, store = chromium(), Store.open()
    run = next((run for run in store.runs() if run.result is not None), None)
    if path is None or run is None:
        raise click.ClickException("The rest needs Chromium, and a finished run in the store: prune a model first.")
    with tempfile.TemporaryDirectory() as folder, browsing(path) as browser:
        begin = perf_counter()
        with serving(Path(folder) / "server.log") as address:
            _show("server up, s", [perf_counter() - begin])
            _first_paint(browser, address)
            _clicks(browser, address, run, store, clicks)
            if _dense(run).known(store):
                _slider(browser, address, run)


def _dense(run: Run) -> Spectra:
    return Spectra(model=run.config.model, revision=run.identity.model_revision)


def _import_seconds(statement: str) -> float:
    begin = perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True, stderr=subprocess.DEVNULL)
    return perf_counter() - begin


def _opened(browser: Browser, link: str) -> Page:
    page = browser.new_context(viewport={"width": 1440, "height": 1000}).new_page()
    page.set_default_timeout(120_000)
    page.goto(link, wait_until="commit")
    return page


def _first_paint(browser: Browser, address: str) -> None:
    for when in ("first session of the server", "second", "third"):
        begin = perf_counter()
        page = _opened(browser, address)
        page.locator("h1").wait_for()
        heading = perf_counter() - begin
        page.locator(".st-key-result_grid .nsewdrag.drag").first.wait_for()
        console.print(f"{when:>34}: heading after {heading:.2f} s, chart after {perf_counter() - begin:.2f} s")
        page.context.close()


def _clicks(browser: Browser, address: str, run: Run, store: Store, clicks: int) -> None:
    table = store.modules(run.id)
    labels, blocks = table.label.unique().tolist(), int(table.block.max()) + 1
    page = _opened(browser, f"{address}/sparsity?run={run.id}")
    page.locator(".st-key-sparsity_grid .nsewdrag.drag").first.wait_for()
    settled(page)
    page.wait_for_timeout(2000)
    server = _server(address)
    answers, sizes = [], [server.memory_info().rss / 1e6]
    for number in range(clicks):
        block, row = (number * 7) % (blocks - 1) + 1, (number * 3 + 1) % len(labels)
        page.evaluate(WATCH_CLICK, str(table[(table.block == block) & (table.label == labels[row])].module.iloc[0]))
        click_cell(page, "sparsity_grid", block, row, blocks, len(labels))
        answers.append(page.evaluate("window.answered"))
        settled(page)
        sizes.append(server.memory_info().rss / 1e6)
    shown, still = zip(*answers, strict=True)
    _show("click to module's name, ms", shown)
    _show("click to last chart, ms", still)
    half = len(sizes) // 2
    console.print(
        f"{'server, MB resident':>34}: {sizes[0]:.0f} before, {sizes[half]:.0f} after {half} clicks, {sizes[-1]:.0f} after {clicks}"
    )
    page.context.close()


def _slider(browser: Browser, address: str, run: Run) -> None:
    page = _opened(browser, f"{address}/spectra?run={run.id}")
    slider = page.get_by_role("slider", name="Spread ε")
    slider.wait_for()
    settled(page)
    page.wait_for_timeout(2000)
    times = []
    for number in range(STEPS):
        slider.focus()
        page.evaluate(WATCH_SLIDER)
        page.keyboard.press("ArrowLeft" if number % 8 < 4 else "ArrowRight")
        times.append(page.evaluate("window.untilMoved"))
        settled(page)
        page.wait_for_timeout(300)
    _show("slider to moved lines, ms", times)
    page.context.close()


def _server(address: str) -> psutil.Process:
    port = int(address.rsplit(":", 1)[1])
    for child in psutil.Process().children():
        if any(one.laddr.port == port and one.status == psutil.CONN_LISTEN for one in child.net_connections()):
            return child
    raise RuntimeError(f"No child of this process listens at {address}.")


def _show(name: str, found: Sequence[float]) -> None:
    digits = 2 if name.endswith(", s") else 0
    spread = ""
    if len(found) >= 10:
        low, high = quantiles(found, n=20)[::18]
        spread = f", 90 % from {low:.{digits}f} to {high:.{digits}f}"
    elif len(found) > 1:
        spread = f", from {min(found):.{digits}f} to {max(found):.{digits}f}"
    console.print(f"{name:>34}: median {median(found):.{digits}f}{spread}, of {len(found)}")


if __name__ == "__main__":
    main()
