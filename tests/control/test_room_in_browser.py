"""The control room in a real browser, from the server that the command starts. Needs Playwright and chromium, which are no requirements.

Would catch: marimo's own menu or outline above the page, tabs that are none, a page that is wider than the window because of a
long name, something that the page's own policy forbids it to load, a link to a run's page that does not open, a step that is
shown late.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from room_support import started
from test_control_room import PHASE, opened, reported

pytestmark = pytest.mark.slow

LONG = "n" * 63


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    reason = "needs Playwright, which is no requirement of the project"
    playwright = pytest.importorskip("playwright.sync_api", reason=reason)
    chromium = shutil.which("chromium") or pytest.skip("chromium is not installed: apt-get install chromium")
    with playwright.sync_playwright() as p:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]
        found = p.chromium.launch(executable_path=chromium, args=flags)
        yield found
        found.close()


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    process, address = started(tmp_path)
    try:
        yield address
    finally:
        process.terminate()
        process.communicate(timeout=20)


def run_with_a_report(folder: Path) -> Any:
    run = opened(folder)
    (folder / PHASE).mkdir()
    for target in ("stage", "snowflake"):
        value = reported(None, LONG) | {"target": target}
        value["tables"][0]["schema"] = LONG
        name = folder / PHASE / f"attempt-01-verify-{target}"
        name.with_suffix(".json").write_text(json.dumps(value))
        name.mkdir()
        (name / "report.html").write_text('<!DOCTYPE html><p>the report</p><a href="../other.html">another</a>')
    (folder / PHASE / "other.html").write_text("<!DOCTYPE html><p>another page</p>")
    return run


def test_a_step_is_shown_within_two_seconds(browser: Any, address: str, tmp_path: Path) -> None:
    run = opened(tmp_path / "r")
    page = browser.new_page()
    page.goto(f"{address}&run=r")
    page.wait_for_selector(".room .answer", timeout=60_000)
    assert "access_token" not in page.url
    with run.step("s30-survey", inputs={}):
        began = time.monotonic()
        page.wait_for_selector(".room .answer.running .sentence:has-text('is at')", timeout=30_000)
        took = time.monotonic() - began
    page.close()
    assert took < 2.0


@pytest.mark.parametrize("width", [1280, 1920])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_its_own_and_keeps_its_width(
    browser: Any, address: str, tmp_path: Path, width: int, scheme: str
) -> None:
    run_with_a_report(tmp_path / "r")
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if "Content Security" in message.text else None)
    page.goto(f"{address}&run=r")
    page.wait_for_selector(".room .answer.different", timeout=60_000)
    assert page.locator('[data-testid="notebook-actions-dropdown"]:visible').count() == 0
    assert [tab.inner_text() for tab in page.get_by_role("tab").all()] == [
        "Timeline",
        "Steps",
        "Data",
        "Differences",
        "Evidence",
    ]
    for tab, shows in (
        ("Steps", ".steps"),
        ("Data", ".flow"),
        ("Differences", ".verified"),
        ("Evidence", ".next"),
        ("Timeline", ".times"),
    ):
        page.get_by_role("tab", name=tab).click()
        page.wait_for_selector(f".room {shows}", timeout=30_000)
        assert page.evaluate("document.querySelector('#App').scrollWidth - innerWidth") <= 0, tab
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, tab
    assert complaints == []
    context.close()


def test_a_runs_page_opens_in_its_sandbox_and_its_links_too(browser: Any, address: str, tmp_path: Path) -> None:
    run_with_a_report(tmp_path / "r")
    page = browser.new_context().new_page()
    page.goto(f"{address}&run=r")
    with page.context.expect_page() as opening:
        page.get_by_role("link", name="report").first.click(timeout=60_000)
    report = opening.value
    report.wait_for_selector("text=the report", timeout=30_000)
    assert (
        report.evaluate("(() => { try { return document.cookie } catch (e) { return e.name } })()") == "SecurityError"
    )
    report.click("text=another")
    report.wait_for_selector("text=another page", timeout=10_000)
    page.context.close()
