"""A report in a browser that has no network: it draws, in the colours of the theme that is on."""

import tomllib

import pytest
from playwright.sync_api import Browser, expect

from dashboard.report import run_report
from scripts.browsing import ROOT
from tests.pages.conftest import add_run, store  # noqa: F401

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_report_opens_offline(browser: Browser, store, tmp_path, scheme) -> None:  # noqa: F811
    run = add_run(store)
    (tmp_path / "report.html").write_text(run_report(run, store), encoding="utf-8")
    context = browser.new_context(color_scheme=scheme, viewport={"width": 390, "height": 800}, offline=True)
    page = context.new_page()
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto((tmp_path / "report.html").as_uri())
    expect(page.locator(".chart .heatmaplayer image, .chart .heatmaplayer .hm").first).to_be_attached()
    assert page.locator(".chart > .plot-container").count() == 3
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    colors = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())["theme"][scheme]
    last = page.evaluate("document.getElementById('sparsity-grid').data[0].colorscale?.at(-1)?.[1] ?? null")
    template = page.evaluate(
        "document.getElementById('sparsity-grid').layout.template.data.heatmap[0].colorscale.at(-1)[1]"
    )
    assert (last or template) == colors["chartSequentialColors"][-1]
    with page.expect_download() as downloaded:
        page.get_by_role("button", name="Modules (CSV)").click()
    assert downloaded.value.path().read_text(encoding="utf-8") == store.modules(run.id).to_csv(index=False)
    context.close()
    assert problems == []
