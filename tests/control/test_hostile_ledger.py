"""A ledger and a report of somebody else's making, with hostile texts and other types in every field.

Would catch: a page that ends in an exception, runs what a run wrote into it, cannot be sent, or looks outside of the run.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from helpers.control_room import differences, evidence, flow, overview, view

HOSTILE = [
    "<script>alert(1)</script>", "`x` [a](javascript:alert(1)) **b**", "a\nb\r\n# h", "\u202egnp.exe", "x" * 10_000, "{{7*7}}{% raw %}",
    "../../etc", "..", "**", "", "\ud800", "<!--", "'\" onmouseover=alert(1) x='", "[", "\0",
]  # fmt: skip


def lines(x: Any, text: str) -> list[dict[str, Any]]:
    """A line of each event with `x` in each field, and `text` where a name stands."""
    place = {"phase": "30_data_migration", "attempt": "attempt-01"}
    strange = {"verdict": x, "lsn": x, "left_out": {text: x}, "tables": x, "rows": x, text: x}
    return [
        {"event": "run-opened", "run": x, "option": x, "profile": x, "apply": x, "run_key": x},
        {"event": "attempt-started", "phase": x, "attempt": x, "parameters": x, "by": x, "stand_ins": {text: x}},
        {"event": "attempt-started", **place, "parameters": {"x": x}, "by": x, "stand_ins": {text: x}, "pid": x, "host": x},
        {"event": "step-started", "step": x, "phase": x, "attempt": x, "inputs": x},
        {"event": "step-started", "step": "s30-export", **place, "inputs": x, "at": text},
        {"event": "step-done", "step": "s30-export", **place, "inputs": x, "result": strange, "seconds": x},
        {"event": "step-failed", "step": "s30-load", **place, "error": dict.fromkeys(("type", "why", "next", "what", "on"), x)},
        {"event": "awaiting", "step": "s50-cutover", "what": "approval", "payload": x, "needed": x, "plan": x},
        {"event": "awaiting", "step": "s50-cutover", "what": "approval", "payload": {"run": x, "plan_sha256": x, "lsn": x}, "needed": x},
        {"event": "approved", "step": x, "by": x, "key_id": x, "plan_sha256": x, "lsn": x, "envelope": x, "signed_at": x},
        {"event": "attested", "step": "s60-training", "by": x, "note": x, "key_id": x, "envelope": x, "signed_at": x},
        {"event": "verified", "target": x, "on": x, "asked": x, "verdict": x, "tables": x, "differing": x, "report": x, "files": x},
        {"event": "attempt-ended", **place, "status": x, "exit_code": x, "notebook_sha256": x, "html_sha256": x, "files": x},
        {"event": text},
    ]  # fmt: skip


def written(folder: Path, x: Any, text: str) -> Path:
    (folder / "30_data_migration").mkdir(parents=True)
    before, made = "0" * 64, []
    for number, line in enumerate(lines(x, text), 1):
        whole = {"n": number, "at": "2026-11-30T10:00:00+00:00", "prev": before, **line}
        made.append(json.dumps(whole, sort_keys=True, separators=(",", ":")).encode())
        before = hashlib.sha256(made[-1]).hexdigest()
    (folder / "ledger.jsonl").write_bytes(b"".join(line + b"\n" for line in made))
    table = {"schema": x, "name": x, "verdict": x, "rows_source": x, "columns": {text: {"changed": x, "diagnosis": x}}}
    report = {"verdict": x, "lsn": x, "left_out": {text: x}, "tables": [table]}
    (folder / "30_data_migration/attempt-01-verify-snowflake.json").write_text(json.dumps(report))
    return folder


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_whatever_a_ledger_holds_the_page_shows_it_and_does_nothing(tmp_path: Path, text: str) -> None:
    for number, x in enumerate((text, [text], {text: text}, 3) if text == HOSTILE[0] else (text,)):
        folder = written(tmp_path / f"run-{number}", x, text)
        found = overview.overview(folder, "")
        pages = [
            view.top(overview.now(found, folder), [found]), view.overview(found), view.steps(found),
            view.data(flow.flow(folder), folder.name), view.evidence(evidence.evidence(folder), folder.name),
            *(view.verified(each, folder.name) for each in differences.verifications(folder)),
        ]  # fmt: skip
        for page in pages:
            page.encode()
            assert "<script>alert" not in page
            assert not re.search(r"<[^>'\"]* onmouseover=alert|href=.?javascript:", page)
