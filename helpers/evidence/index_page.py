"""The page that an auditor opens first: one file without scripts, and links to what lies beside it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from urllib.parse import quote

from helpers.evidence.ledger_reader import Line

_STYLE = """body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a}
table{border-collapse:collapse;width:100%;margin:1rem 0}td,th{text-align:left;padding:.4rem .6rem;border-bottom:1px solid #ddd}
.SEALED{color:#0a6b2d}.PARTIAL,.REHEARSAL{color:#9a5b00}code{background:#f3f3f3;padding:.1rem .3rem;overflow-wrap:anywhere}"""


def index_page(
    run: str, verdict: str, why: Sequence[str], lines: Sequence[Line], names: Sequence[str], key_id: str
) -> str:
    """The HTML of `index.html`.

    Args:
        run: the run's name.
        verdict: of the seal, and `why` it is not SEALED.
        lines: the ledger's.
        names: every file of the run.
        key_id: of the key that seals.
    """
    ended = {(x.text("phase"), x.text("attempt")): x.text("status") for x in lines if x.event == "attempt-ended"}
    signed = [x for x in lines if x.event in ("approved", "attested")]
    attempts = [name for name in names if name.endswith(".ipynb") and "/" in name]
    others = [name for name in names if name not in attempts and f"{name[:-5]}.ipynb" not in attempts]
    rows = [
        (
            escape(name.split("/")[0]),
            _link(f"{name[:-6]}.html", name.split("/")[1][:-6]),
            escape(ended.get((name.split("/")[0], name.split("/")[1][:-6]), "did not end")),
            _link(name, "notebook"),
        )
        for name in attempts
    ]
    people = [
        (
            escape(x.text("step")),
            escape(x.event),
            escape(x.text("by")),
            escape(x.text("at")[:19]),
            escape(x.text("note")),
        )
        for x in signed
    ]
    return "".join(
        [
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">',
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
            f"<title>Run {escape(run)}</title><style>{_STYLE}</style></head><body>",
            f'<h1>Run {escape(run)}: <span class="{escape(verdict)}">{escape(verdict)}</span></h1>',
            f"<ul>{''.join(f'<li>{escape(each)}</li>' for each in why)}</ul>" if why else "",
            "<h2>Attempts</h2>",
            _table(("phase", "attempt", "how it ended", "file"), rows),
            "<h2>Signed by people</h2>" + _table(("step", "what", "who", "when (UTC)", "note"), people)
            if people
            else "",
            "<h2>Files</h2><ul>",
            *(f"<li>{_link(name, name)}</li>" for name in others),
            "</ul><h2>Is it what was sealed?</h2><p>This page is part of the evidence and proves nothing by itself. "
            f"The run is sealed by the key <code>{escape(key_id)}</code>; whoever has its public half checks everything "
            "here, offline: <code>runbook verify-evidence PATH --public-key PEM</code></p></body></html>\n",
        ]
    )


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{each}</th>" for each in headings)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _link(name: str, text: str) -> str:
    return f'<a href="{quote(name)}">{escape(text)}</a>'
