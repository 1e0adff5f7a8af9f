"""The page that is sent says on its first screen what was moved and proved, when, on what, by whom approved, what was not as planned.

Would catch: a difference below what is equal, a target whose older report is told, a report that cannot be read and is passed
over, a stand-in that is not said, a failure or a warning that is forgotten, something left out in silence, a name that acts as
HTML, a link that leads nowhere.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from evidence_support import Run

from helpers.checker.ledger_reader import read
from helpers.checker.rule import Verdict
from helpers.evidence.index_page import index_page

PHASE = "30_data_migration"


def report(target: str, verdict: str = "equal", **more: Any) -> dict[str, Any]:
    table = {"schema": "s", "name": "t", "rows_source": 1200, "rows_target": 1200, "columns": {"a": {}, "b": {}}}
    return {"target": target, "verdict": verdict, "lsn": "0/2A", "tables": [table], "left_out": {}, **more}


def page(folder: Path, files: dict[str, Any], *events: dict[str, Any], verdict: str = "SEALED") -> str:
    """The page of a run with these files, after one attempt of phase 30 and the events."""
    for name, value in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(value if isinstance(value, str) else json.dumps(value))
    place = {"phase": PHASE, "attempt": "attempt-01"}
    lines = [
        {"event": "run-opened", "run": "r", "option": "A", "profile": "production"},
        {"event": "attempt-started", **place, "parameters": {}, "by": "ann", "stand_ins": {}},
        *events,
        {"event": "attempt-ended", **place, "status": "done"},
    ]
    text = "".join(
        json.dumps({"n": n, "at": f"2026-11-30T18:{n:02}:00+00:00", **x}) + "\n" for n, x in enumerate(lines, 1)
    )
    word, _, on = verdict.partition(" ON ")
    found = Verdict(word, (on,) if on else (), ("a sentence why",))  # type: ignore[arg-type]
    return index_page(folder, found, read(text.encode())[0], list(files), "k" * 64)


def words(html: str) -> str:
    return " ".join(re.sub(r"<style>.*?</style>|<[^>]+>", " ", html, flags=re.DOTALL).split())


def first_screen(html: str) -> str:
    return words(html.split("<h2>Phases</h2>")[0])


def test_what_was_proved_stands_first_and_what_differs_before_it(tmp_path: Path) -> None:
    files = {
        f"{PHASE}/attempt-01-verify-databricks.json": report("delta"),
        f"{PHASE}/attempt-01-verify-snowflake.json": report("snowflake", "different"),
        f"{PHASE}/attempt-01-verify-stage.json": report("stage"),
    }
    said = first_screen(page(tmp_path, files))
    assert said.index("Snowflake: different 1,200 rows in the source, 1,200 there") < said.index(
        "Databricks (Delta): equal"
    )
    assert "each of 2,400 cells in 1,200 rows of 1 table, at LSN 0/2A , 2026-11-30 18:03 UTC" in said
    assert "also compared: the staged files, 1,200 rows, equal" in said
    assert "A sentence why." in said


def test_the_last_report_of_a_target_is_told(tmp_path: Path) -> None:
    files = {
        f"{PHASE}/attempt-01-verify-snowflake.json": report("snowflake", "different"),
        "verify-1.json": report("snowflake"),
    }
    later = {"event": "verified", "target": "snowflake", "verdict": "equal", "report": "verify-1.json"}
    said = first_screen(page(tmp_path, files, later))
    assert "Snowflake: equal" in said and "Snowflake: different" not in said


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"verdict": "equal", "tables": [1]}', "null"])
def test_a_report_that_cannot_be_read_is_told_as_that(tmp_path: Path, text: str) -> None:
    said = first_screen(page(tmp_path, {f"{PHASE}/attempt-01-verify-snowflake.json": text}))
    assert "Snowflake: unreadable" in said


def test_a_run_in_which_nothing_was_compared_says_so(tmp_path: Path) -> None:
    said = first_screen(page(tmp_path, {}))
    assert "Nothing was compared" in said and "Nothing was exported" in said and "Nobody approved" in said


def test_what_was_not_as_planned_is_counted_and_named(tmp_path: Path) -> None:
    findings = [
        {"severity": "warning", "on": "TLS", "what": "there is none"},
        {"severity": "note", "on": "x", "what": "fine"},
    ]
    place = {"phase": PHASE, "attempt": "attempt-01"}
    failed = {"type": "GateClosed", "why": "3 rows are too many", "next": ""}
    waits = {"type": "AwaitingPerson", "why": "nobody has signed", "next": ""}
    said = first_screen(
        page(
            tmp_path, {f"{PHASE}/attempt-01-s30-survey.json": findings},
            {"event": "step-failed", "step": "s30-gate", **place, "error": failed},
            {"event": "step-failed", "step": "s30-load", **place, "error": waits},
            {"event": "verified", "target": "snowflake", "verdict": "different", "report": "verify-1.json"},
            {"event": "step-done", "step": "s30-survey", **place,
             "result": {"evidence": f"{PHASE}/attempt-01-s30-survey.json"}},
            {"event": "step-done", "step": "s30-load-databricks", **place, "result": {"not applicable": "no Databricks here"}},
        )
    )  # fmt: skip
    assert "s30-gate failed in attempt-01: 3 rows are too many" in said
    assert "nobody has signed" not in said
    assert "snowflake was found different (verify-1.json)" in said
    assert "1 warning of the checks" in said and "TLS there is none" in said and "fine" not in said
    assert "no Databricks here" in said
    assert "planned 27.9 working days; 6 min 0 s at work, 7 min 0 s from begin to end" in said


def test_what_was_left_out_stands_by_its_reason(tmp_path: Path) -> None:
    left = {"s.v": "a view", "s.w": "a view", "s.q": "a sequence"}
    files = {f"{PHASE}/attempt-01-verify-snowflake.json": report("snowflake", left_out=left)}
    said = first_screen(page(tmp_path, files))
    assert "s.v, s.w : a view" in said and "s.q : a sequence" in said


def test_a_stand_in_is_said_beside_the_verdict(tmp_path: Path) -> None:
    on = {"event": "attempt-started", "phase": PHASE, "attempt": "attempt-02", "stand_ins": {"Snowflake": "fakesnow"}}
    said = first_screen(page(tmp_path, {}, on))
    assert "SEALED ON STAND-INS" in said and "not on the services: Snowflake (fakesnow)" in said
    assert "STAND-INS" not in first_screen(page(tmp_path, {}))


def test_who_approved_is_named_with_the_time(tmp_path: Path) -> None:
    signed = [{"event": "approved", "step": "s50-cutover", "by": name} for name in ("alice", "bob")]
    said = first_screen(page(tmp_path, {}, *signed))
    assert "Production Cutover : alice (2026-11-30 18:03 UTC), bob (2026-11-30 18:04 UTC)" in said


def test_what_a_run_says_is_text(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    files = {
        f"{PHASE}/attempt-01-verify-snowflake.json": report(evil, evil, left_out={evil: evil}),
        f"{PHASE}/{evil[8:16]}.json": "[]",
    }
    html = page(
        tmp_path, files, {"event": "attested", "step": evil, "by": evil, "note": evil}, verdict=f"SEALED {evil}"
    )
    assert "<script" not in html and "&lt;script&gt;" in html
    assert "default-src 'none'" in html


def test_every_link_of_a_sealed_run_leads_to_a_file_of_it(sealed: Run) -> None:
    html = (sealed.folder / "index.html").read_text()
    links = [unquote(each) for each in re.findall(r'href="([^"]+)"', html)]
    assert links
    assert [each for each in links if not (sealed.folder / each).exists()] == []
    assert "alice" in html and "carol" in html
