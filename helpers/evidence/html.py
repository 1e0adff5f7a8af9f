"""An executed notebook as one HTML file that needs nothing else: no network, no server, no Jupyter.

nbconvert's exporter loads require.js and MathJax from the network, drops plotly figures, and parses and rewrites
its own page of 5 MB; only its filters are used here. This page carries its style sheet, the figures' data and, when
there is a figure, plotly itself. A Content-Security-Policy forbids everything else, so that a browser enforces what
is claimed here. Scripts in the notebook's own outputs do not run: a value from a database must not act in an
auditor's browser.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

import nbformat
import plotly.offline
from bleach.css_sanitizer import ALLOWED_CSS_PROPERTIES, CSSSanitizer  # type: ignore[import-untyped]
from bleach.html5lib_shim import Filter  # type: ignore[import-untyped]
from bleach.sanitizer import Cleaner  # type: ignore[import-untyped]
from jinja2 import Environment
from markupsafe import Markup
from nbconvert.filters import Highlight2HTML, ansi2html
from nbconvert.filters.markdown_mistune import markdown2html_mistune
from pygments.formatters import HtmlFormatter  # type: ignore[import-untyped]

from helpers.ledger.folders import write_atomically

PLOTLY_MIME = "application/vnd.plotly.v1+json"

_HERE = Path(__file__).parent
_STATUS = {"completed": "done", "failed": "failed", "running": "interrupted", "pending": "not run"}
_TAGS = frozenset(
    """a abbr b blockquote br caption code col colgroup dd del details div dl dt em h1 h2 h3 h4 h5 h6 hr i img ins kbd
    li mark ol p pre s samp small span strong sub summary sup table tbody td tfoot th thead tr tt u ul""".split()
)
_ATTRIBUTES: dict[str, Any] = {
    "*": ["class", "id", "style", "title", "align"],
    "a": ["href", "name"],
    "img": lambda tag, name, value: (
        value.startswith("data:image/") if name == "src" else name in ("alt", "width", "height")
    ),
    "td": ["colspan", "rowspan"],
    "th": ["colspan", "rowspan", "scope"],
    "ol": ["start"],
}
_CSS = [*ALLOWED_CSS_PROPERTIES, "white-space", "overflow-x", "text-align", "padding", "border", "margin", "opacity"]


@dataclass(frozen=True)
class Links:
    """What a page may link to.

    Attributes:
        folder: where it lies, a phase's in the run's; None where it lies nowhere.
    """

    folder: Path | None = None

    def working(self, link: str) -> str | None:
        """The link as it works where the page is read: a runbook's is to that phase's last attempt; None where it leads nowhere."""
        try:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or not parts.path:
                return link
            return self._in_the_run(parts, link) if self.folder else None
        except (ValueError, OSError):  # what an output links to may be anything
            return None

    def _in_the_run(self, parts: SplitResult, link: str) -> str | None:
        assert self.folder
        place = self.folder / unquote(parts.path)
        if place.suffix == ".ipynb":
            attempts = sorted(
                self.folder.parent.glob(f"{place.stem}/attempt-*.html"), key=lambda path: (len(path.name), path.name)
            )
            return f"../{place.stem}/{attempts[-1].name}" if attempts else None
        run = self.folder.parent.resolve()
        return link if place.exists() and place.resolve().is_relative_to(run) else None


class _WorkingLinks(Filter):  # type: ignore[misc]
    """Makes text of each link that leads nowhere: its words, and the path in the project."""

    def __init__(self, source: Any, links: Links) -> None:
        super().__init__(source)
        self._links = links

    def __iter__(self) -> Iterator[Any]:
        path = ""
        for token in super().__iter__():
            if (
                token["type"] == "StartTag"
                and token["name"] == "a"
                and (link := token["data"].pop((None, "href"), None))
            ):
                working = self._links.working(link)
                path = (
                    "" if working else posixpath.normpath(posixpath.join("runbooks", unquote(link.partition("#")[0])))
                )
                if working:
                    token["data"][None, "href"] = working
            yield token
            if token["type"] == "EndTag" and token["name"] == "a" and path:
                yield {"type": "Characters", "data": f" ({path})"}
                path = ""


def render(notebook: Path, target: Path | None = None) -> Path:
    """Writes the HTML of an executed notebook.

    Args:
        notebook: the notebook, which stays as it is.
        target: where to; beside the notebook when None. Appears whole or not at all.

    Returns:
        The HTML file.

    Raises:
        OSError: it cannot be written. Whatever else fails here comes from a damaged notebook.
    """
    target = target or notebook.with_suffix(".html")
    nb = nbformat.read(notebook, as_version=4)
    write_atomically(target, page(nb, title=notebook.stem, links=Links(notebook.parent)))
    return target


def page(nb: Any, *, title: str, links: Links | None = None) -> str:
    """The HTML of a notebook as text; each cell's id is an anchor.

    Args:
        nb: the notebook, which stays as it is.
        title: where it has no heading.
        links: what may be linked to; nothing but anchors and the web when None.
    """
    figures = _prepare(nb := copy.deepcopy(nb))
    scripts = [plotly.offline.get_plotlyjs(), _asset("page.js")] if figures else []
    environment = Environment(autoescape=True)
    environment.filters.update(
        # nbconvert and pygments escape what they colour.
        ansi=lambda text: Markup(ansi2html(text)),  # noqa: S704
        as_json=_as_json,
        base64=lambda text: base64.b64encode(text.encode()).decode(),
        clean=partial(_clean, links=links or Links()),
        highlight=lambda text: Markup(Highlight2HTML(pygments_lexer="ipython3")(text)),  # noqa: S704
        markdown=markdown2html_mistune,
    )
    return environment.from_string(_asset("page.html.j2")).render(
        cells=nb.cells,
        counts=_counts(nb),
        page_title=_title(nb, title),
        papermill=dict(nb.metadata.get("papermill", {})),
        policy=Markup(_policy(scripts)),  # noqa: S704
        run=dict(nb.metadata.get("runbook", {})),
        scripts=[Markup(_closed(script)) for script in scripts],  # noqa: S704 - ours and plotly's
        style=Markup(str(HtmlFormatter(style="friendly").get_style_defs(".highlight")) + _asset("page.css")),  # noqa: S704
    )


def _prepare(nb: Any) -> int:
    """Gives each cell the words its badge shows, folds the tables beside a chart; returns the number of cells with figures."""
    figures = 0
    for cell in nb.cells:
        marks = cell.metadata.get("papermill", {})
        cell.metadata["badge"] = _STATUS.get(marks.get("status", ""), "")
        cell.metadata["seconds"] = marks.get("duration")
        figures += _has_figure(cell)
        if cell.cell_type == "code":
            # What went wrong and what to do, before where in the code.
            cell.outputs.sort(key=lambda output: output.output_type == "error")
    for is_code, run in groupby(nb.cells, lambda cell: cell.cell_type == "code"):
        cells = list(run)
        if is_code and any(map(_has_figure, cells)):
            for cell in cells:
                # What nbval compares is an answer; the rest is what the chart was drawn from.
                cell.metadata["folded"] = "nbval-ignore-output" in cell.metadata.get("tags", [])
    return figures


def _has_figure(cell: Any) -> bool:
    return any(PLOTLY_MIME in output.get("data", {}) for output in cell.get("outputs", []))


def _counts(nb: Any) -> dict[str, int]:
    badges = [cell.metadata["badge"] for cell in nb.cells if cell.cell_type == "code" and cell.metadata["badge"]]
    return {each: badges.count(each) for each in _STATUS.values() if each in badges}


def _title(nb: Any, fallback: str) -> str:
    for cell in nb.cells:
        if cell.cell_type == "markdown" and cell.source.startswith("# "):
            return str(cell.source.splitlines()[0][2:].strip())
    return fallback


def _policy(scripts: list[str]) -> str:
    # A hash a script, and none for what an output may hold.
    digests = (base64.b64encode(hashlib.sha256(_closed(each).encode()).digest()).decode() for each in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests) or "'none'"
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; "
        "font-src data:; form-action 'none'; base-uri 'none'"
    )


def _closed(script: str) -> str:
    """A script that no text inside it can end early."""
    return script.replace("</script", "<\\/script")


def _as_json(value: object) -> Markup:
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c"))  # noqa: S704 - it stands in a data block, where "<" alone matters


def _clean(html: str, *, links: Links) -> Markup:
    """HTML from a cell without what acts, loads or posts, and with links that work where it is read."""
    cleaner = Cleaner(
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        protocols=["http", "https", "mailto", "data"],
        css_sanitizer=CSSSanitizer(allowed_css_properties=_CSS),
        strip=True,
        filters=[partial(_WorkingLinks, links=links)],
    )
    text = cleaner.clean(_without_blocks(html))
    return Markup(text)  # noqa: S704 - cleaned above


def _without_blocks(html: str) -> str:
    """Drops style and script elements with their content, which bleach would show as text."""
    for tag in ("style", "script"):
        lowered = html.lower()
        while (start := lowered.find(f"<{tag}")) >= 0:
            end = lowered.find(f"</{tag}>", start)
            html = html[:start] + (html[end + len(tag) + 3 :] if end >= 0 else "")
            lowered = html.lower()
    return html


def _asset(name: str) -> str:
    return (_HERE / "page" / name).read_text(encoding="utf-8")
