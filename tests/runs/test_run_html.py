"""The page of a run needs nothing but a browser."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import plotly.graph_objects as go
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from run_support import PROJECT

from helpers.evidence.html import PLOTLY_MIME, page, render
from helpers.runs.kernel import ERROR_MIME

EVIL = (
    '<script src="http://e.example/x.js"></script><script>document.title = "taken"</script><p onclick="x()">kept</p>'
    '<link rel="stylesheet" href="https://e.example/x.css"><iframe src="https://e.example"></iframe><style>p {}</style>'
    '<img src="https://e.example/x.png"><a href="javascript:x()">a</a>'
)


def cell(name: str, *outputs: dict[str, object], source: str = "1") -> nbformat.NotebookNode:
    made = new_code_cell(source, outputs=[new_output("display_data", data) for data in outputs])
    made["id"] = name
    return made


def notebook(figure: bool = True) -> nbformat.NotebookNode:
    chart = go.Figure(go.Bar(x=["</script><b>"], y=[1])).to_plotly_json() if figure else None
    text = new_markdown_cell(f"# Export {{{{ 7 * 7 }}}}\n\n|a|b|\n|-|-|\n|1|$2|\n\n{EVIL}")
    told = {"type": "GateClosed", "what": "pass <b>", "on": "g", "why": "no", "next": "look"}
    return new_notebook(
        cells=[
            text,
            cell("s30-export", {"text/html": EVIL, "text/plain": "x"}, source="x = '</script>'"),
            cell("s30-error", {ERROR_MIME: told}),
            *([cell("s30-chart", {PLOTLY_MIME: _json(chart)})] if figure else []),
        ]
    )


def _json(figure: object) -> object:
    import json

    from plotly.utils import PlotlyJSONEncoder

    return json.loads(json.dumps(figure, cls=PlotlyJSONEncoder))


class Loads(HTMLParser):
    """Everything that a page would load or run."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self.scripts: list[str | None] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attributes}
        if tag == "script":
            self.scripts.append(values.get("type"))
        if "id" in values:
            self.ids.append(values["id"])
        for name, value in values.items():
            if (
                name in ("src", "srcset", "data", "action")
                or (tag == "link" and name == "href")
                or name.startswith("on")
            ):
                self.found.append((tag, value[:40]))
        assert tag not in ("iframe", "object", "embed", "form", "base", "link"), tag


def test_nothing_is_loaded_and_only_our_scripts_run() -> None:
    text = page(notebook(), title="x")
    loads = Loads()
    loads.feed(text)
    assert [found for found in loads.found if not found[1].startswith("data:image/")] == []
    assert loads.scripts == ["application/json", None, None]
    assert "s30-export" in loads.ids
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)
    assert policy
    assert policy[1].startswith("default-src 'none'")
    assert "kept" in text
    assert "javascript:" not in text.split("<script")[0]
    assert "{{ 7 * 7 }}" in text
    assert text.count("Plotly.newPlot(place") == 1


def test_without_a_figure_there_is_no_script() -> None:
    text = page(notebook(figure=False), title="x")
    assert "<script" not in text
    assert "script-src 'none'" in text
    assert len(text) < 100_000


def test_it_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "attempt-01.ipynb"
    nbformat.write(notebook(figure=False), path)
    before = path.read_bytes()
    assert render(path) == tmp_path / "attempt-01.html"
    assert path.read_bytes() == before
    assert sorted(each.name for each in tmp_path.iterdir()) == ["attempt-01.html", "attempt-01.ipynb"]


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("chromium"), reason="chromium is not installed: apt-get install chromium")
def test_a_browser_without_a_network_draws_the_figure(tmp_path: Path) -> None:
    path = tmp_path / "attempt-01.ipynb"
    nbformat.write(notebook(), path)
    options = "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-dev-shm-usage --disable-background-networking --disable-component-update --disable-sync"
    command = [
        "chromium", *options.split(), "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={tmp_path / 'p'}",
        "--virtual-time-budget=8000", "--dump-dom", render(path).as_uri(),
    ]  # fmt: skip
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert 'class="main-svg"' in dom
    assert "<title>Export" in dom


class Hrefs(HTMLParser):
    """Every anchor's target, and every text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.ids: set[str] = set()
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        self.ids.add(values.get("id") or values.get("name") or "")
        if tag == "a" and values.get("href") is not None:
            self.found.append(values["href"] or "")

    def handle_data(self, data: str) -> None:
        self.words += data


def dead(html: Path, run: Path) -> list[str]:
    """The links of a page that lead to nothing within the run."""
    page = Hrefs(html.read_text(encoding="utf-8"))
    wrong = []
    for href in page.found:
        parts = urlsplit(href)
        if parts.scheme in ("http", "https", "mailto"):
            continue
        place = (html.parent / unquote(parts.path)).resolve() if parts.path else None
        inside = place is None or (place.is_relative_to(run.resolve()) and place.exists())
        if not inside or (place is None and parts.fragment not in page.ids):
            wrong.append(href)
    return wrong


def test_every_link_of_every_runbook_works_where_the_archive_is_read(tmp_path: Path) -> None:
    """Would catch: an auditor who unpacks the archive, follows a link, and finds that the file is not in it."""
    run = tmp_path / "run"
    for name in sorted((PROJECT / "runbooks").glob("[0-9]*.ipynb")):
        (run / name.stem).mkdir(parents=True)
        copy = run / name.stem / "attempt-01.ipynb"
        shutil.copy(name, copy)
        assert dead(render(copy), run) == []
    checklist = Hrefs((run / "30_data_migration/attempt-01.html").read_text(encoding="utf-8"))
    assert "The checklist (docs/migration-checklist.md)" in checklist.words
    # What ran before is linked to, by its last attempt; what has not run is named.
    assert "../30_data_migration/attempt-01.html" in Hrefs((run / "50_cutover/attempt-01.html").read_text()).found
    assert "90_rollback (runbooks/90_rollback.ipynb)" in Hrefs((run / "50_cutover/attempt-01.html").read_text()).words


def test_a_link_out_of_the_run_or_to_nothing_becomes_text(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "30_x"
    folder.mkdir(parents=True)
    (folder / "there.html").touch()
    (tmp_path / "secret.txt").touch()
    links = ["there.html", "there.html#row", "../../secret.txt", "/etc/passwd", "gone.html", "%00", "x" * 5000, "#s30-a", "http://e.example/"]  # fmt: skip
    html = "".join(f'<a href="{link}">word</a>' for link in links)
    nb = new_notebook(cells=[cell("s30-a", {"text/html": html, "text/plain": "x"})])
    nbformat.write(nb, folder / "attempt-01.ipynb")
    page = render(folder / "attempt-01.ipynb")
    assert set(Hrefs(page.read_text()).found) == {"there.html", "there.html#row", "#s30-a", "http://e.example/"}
    assert dead(page, tmp_path / "run") == []


def test_tables_beside_a_chart_fold_and_answers_do_not() -> None:
    figure = {PLOTLY_MIME: _json(go.Figure(go.Bar(x=["a"], y=[1])).to_plotly_json())}
    table = {"text/html": "<table><tr><th>n</th></tr><tr><td>1</td></tr><tr><td>2</td></tr></table>"}
    numbers, answer, alone = cell("numbers", table), cell("answer", table), cell("alone", table)
    for each in (numbers, alone):
        each.metadata.tags = ["nbval-ignore-output"]
    nb = new_notebook(cells=[numbers, cell("chart", figure), answer, new_markdown_cell("# Next"), alone])
    html = page(nb, title="t")
    assert html.count('<details class="numbers">') == 1
    (folded,) = re.findall(r'id="numbers".*?</section>', html, re.DOTALL)
    assert "The numbers: 2 rows" in folded
