"""The runbooks as an operator opens them: JupyterLab in a real browser, Run All Cells, a link to the documentation.

Would catch: a cell that only an unattended engine can run, an output that JupyterLab cannot show, a server whose root leaves
the documentation out, so that a notebook's links to it lead nowhere.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from run_support import PROJECT, own_project
from waiting import wait_for

from helpers.checklist import PHASES
from helpers.pipelines.sample import sample
from helpers.platforms import postgres

TOKEN = "of-this-test-only"
RUN_ALL = """async path => {
    const app = window.jupyterapp;
    const panel = await app.commands.execute('docmanager:open', {path, factory: 'Notebook'});
    await panel.context.ready;
    await panel.sessionContext.ready;
    await app.commands.execute('notebook:run-all-cells');
    const cells = panel.context.model.toJSON().cells.filter(cell => cell.cell_type === 'code');
    const shown = panel.node.querySelectorAll('.jp-OutputArea-output').length;
    await app.commands.execute('docmanager:save');
    await panel.sessionContext.shutdown();
    panel.dispose();
    return {cells, shown};
}"""
OPEN_LINK = """async path => {
    const app = window.jupyterapp;
    const panel = await app.commands.execute('docmanager:open', {path, factory: 'Notebook'});
    await panel.context.ready;
    await panel.revealed;
    panel.content.scrollToItem && await panel.content.scrollToItem(panel.content.widgets.length - 1);
    const link = () => [...panel.node.querySelectorAll('a')].find(a => a.textContent === 'The checklist' && a.href.includes('/files/'));
    for (let n = 0; n < 300 && !link(); n++) await new Promise(done => setTimeout(done, 100));
    return link() ? link().href : null;
}"""


@pytest.fixture
def lab(migration: Any, tmp_path: Path) -> Iterator[str]:
    """The address of a JupyterLab that is started as `make lab` does, over copies of the runbooks and a source of this test."""
    own_project(tmp_path, migration, *PHASES)
    shutil.copy(PROJECT / ".env.example", tmp_path / "runbooks")
    shutil.copytree(PROJECT / "docs", tmp_path / "docs")
    sample.build(postgres.dsn(migration.settings.source), orders=500)
    recipe = next(line for line in (PROJECT / "Makefile").read_text().splitlines() if "jupyter lab" in line)
    words = recipe.strip().lstrip("@").split()[2:]
    own = [f"--IdentityProvider.token={TOKEN}", "--no-browser", "--port=0", "--allow-root", "--expose-app-in-browser"]
    environment = {**os.environ, "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"), "JUPYTER_CONFIG_DIR": str(tmp_path / "config")}  # fmt: skip
    with (tmp_path / "lab.log").open("w") as log:
        program = Path(sys.executable).parent / "jupyter"
        server = subprocess.Popen([program, "lab", *words, *own], cwd=tmp_path, env=environment, stdout=log, stderr=log)
    try:
        yield wait_for(lambda: _address(server, tmp_path))
    finally:
        server.terminate()
        server.wait(timeout=60)


def _address(server: subprocess.Popen[bytes], folder: Path) -> str | None:
    assert server.poll() is None, (folder / "lab.log").read_text()
    for path in (folder / "runtime").glob("jpserver-*.json"):
        try:
            address = str(json.loads(path.read_text())["url"])
            urllib.request.urlopen(f"{address}api/status?token={TOKEN}", timeout=10).close()
            return address
        except (ValueError, urllib.error.URLError, OSError):
            return None
    return None


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_all_cells_pass_and_the_documentation_is_a_click_away(lab: str) -> None:
    """Needs Playwright and chromium, which are no requirements of the project."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="needs Playwright, which is no requirement of the project"
    )
    chromium = shutil.which("chromium") or pytest.skip("chromium is not installed: apt-get install chromium")
    with playwright.sync_playwright() as p:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]
        page = p.chromium.launch(executable_path=chromium, args=flags).new_page()
        page.set_default_timeout(600_000)
        page.goto(f"{lab}lab?token={TOKEN}&reset")
        page.wait_for_function("window.jupyterapp !== undefined")
        page.evaluate("window.jupyterapp.restored")
        for phase in PHASES:
            found = page.evaluate(RUN_ALL, f"runbooks/{phase}.ipynb")
            errors = {
                cell["id"]: output["evalue"]
                for cell in found["cells"]
                for output in cell["outputs"]
                if output["output_type"] == "error"
            }
            assert errors == {}, phase
            assert [cell["id"] for cell in found["cells"] if cell["execution_count"] is None] == [], phase
            assert found["shown"] > 0, phase
        link = page.evaluate(OPEN_LINK, "runbooks/30_data_migration.ipynb")
        assert link, "the notebook shows no link to the checklist"
        shown = page.request.get(link)
        assert shown.ok and "Migration Checklist" in shown.text()
