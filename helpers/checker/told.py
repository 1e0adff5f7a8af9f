"""What an auditor is told of a sealed run beside its verdict: when, by whom, on what, how much, and what was left out."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from helpers.checker import dsse, time_stamps
from helpers.checker.facts import Facts
from helpers.checker.ledger_reader import Line
from helpers.checker.line_signatures import LineSignatures, line_signatures
from helpers.checker.manifest import COMPUTED, PREVIOUS, SEAL, SealManifest
from helpers.checker.record import machine_key
from helpers.checker.rule import ELSEWHERE, NOT_APPLICABLE, count_boxes, elsewhere_in_words, stand_ins, standings
from helpers.checker.strict_json import loads

_CLOCK, _AHEAD = timedelta(seconds=2), timedelta(days=1)
"""What is no news of a clock: how far it goes back when it is put right, and how far another machine's may be ahead."""
_COUNTS = ("tables", "rows", "cells")


def told(facts: Facts, manifest: SealManifest) -> dict[str, Any]:
    """What the evidence says of itself; everything in it is covered by the seal.

    Returns:
        Plain values: `sealed`, `sealer`, `run_key`, `opened`, `option`, `profile`, `stand_ins`, `people`, `verified`, `lsns`,
        `left_out`, `not_applicable`, `exists_elsewhere` (by step: what, link, by whose word), `counts` (boxes by state), `form`, `line_keys` (the first one's public half, how many lines are signed as they were
        written, and before which ones the machine's key signed anew), `anchors` (which line, and either the object that holds its
        digest under Object Lock by the run's own word, or the file of its time stamp, with the time where that is proven).
    """
    lines = facts.lines
    opened = lines[0] if lines else Line(0, "", {}, "")
    seal = facts.files.read(SEAL) or b""
    words = frozenset(each.step for each in facts.declared if each.word)
    undone = {each.undoes: each.step for each in facts.declared if each.undoes}
    verified = list(_verified(lines))
    found = dict(sorted(standings(lines, words, undone).items()))
    signed = line_signatures(lines, machine_key(facts))
    places = {line.digest: line.n for line in lines}
    return {
        "form": manifest.version,
        "sealed": str(_said(seal).get("at", "")),
        "sealer": {"key_id": dsse.key_id_in(seal) or "", "before": _before(facts, manifest, seal)},
        "run_key": "known beforehand" if facts.run_key else "the run's own word",
        "line_keys": {"first": opened.text("next_key"), "signed": signed.signed, "anew": list(signed.anew)},
        "anchors": [
            {"line": places.get(line.text("line"), 0), "sha256": line.text("line")}
            | {name: line.text(name) for name in ("url", "file")}
            | {"certain_by": _certain_by(facts, line)}
            for line in lines
            if line.event == "anchored"
        ],
        "opened": opened.text("at"),
        "option": opened.text("option"),
        "profile": opened.text("profile"),
        "stand_ins": list(stand_ins(lines)),
        "people": [
            {name: line.text(name) for name in ("by", "step", "key_id", "note")}
            | {"what": line.event, "at": line.text("signed_at") or line.text("at")}
            for line in lines
            if line.event in ("approved", "attested")
        ],
        "verified": verified,
        "lsns": sorted({str(each["lsn"]) for each in verified if each.get("lsn")}),
        "left_out": _left_out(lines),
        "not_applicable": {
            step: str((standing.line.fields.get("result") or {}).get(NOT_APPLICABLE, ""))
            for step, standing in found.items()
            if standing.state == NOT_APPLICABLE and standing.line
        },
        "exists_elsewhere": {
            step: (standing.line.fields.get("result") or {}).get(ELSEWHERE)
            for step, standing in found.items()
            if standing.state == ELSEWHERE and standing.line
        },
        "counts": count_boxes(found, facts.declared),
    }


def notes(facts: Facts, manifest: SealManifest) -> Iterator[str]:
    """What is no tampering, and what somebody who relies on the evidence wants to know."""
    if manifest.version < COMPUTED:
        yield (
            f"it was sealed in form {manifest.version}: its verdict is the sealer's word, and a file that no line of the "
            "ledger names, or a last attempt that was cut off, is not found in that form"
        )
        return
    for line in facts.lines:
        if line.event == "attempt-started" and not isinstance(line.fields.get("stand_ins"), Mapping):
            yield f"line {line.n}: {line.text('attempt')} of {line.text('phase')} did not record whether it ran on stand-ins"
        if line.event in ("approved", "attested") and "signed_at" not in line.fields:
            yield f"line {line.n}: what {line.text('by')} signed has no time in it; the ledger's clock says {line.text('at')}"
    if facts.lines and facts.lines[-1].fields.get("counter") is not True:
        yield "it was sealed where nobody kept a counter of the run: lines behind a signature of the engine may have been cut off"
    yield from _clock_notes(facts.lines, str(_said(facts.files.read(SEAL) or b"").get("at", "")))
    places = {line.digest: line.n for line in facts.lines}
    for line in facts.lines:
        if line.event == "anchor-missed":
            yield f"line {places.get(line.text('line'), 0)} was not anchored: {line.text('why')}"
    yield from _of_line_keys(line_signatures(facts.lines, machine_key(facts)))
    few = [each.step for each in facts.declared if each.approval in ("cutover", "destructive") and each.approvals < 2]
    if few and not stand_ins(facts.lines):
        yield f"the settings asked for fewer than two approvals of {', '.join(few)}"


def _clock_notes(lines: Sequence[Line], sealed: str) -> Iterator[str]:
    """Where the times run backwards by more than a clock that is kept right does."""
    latest = datetime.min.replace(tzinfo=UTC)
    for where, at in (*((f"line {line.n}", line.text("at")) for line in lines), ("the seal", sealed)):
        try:
            found = datetime.fromisoformat(at)
            back = latest - found > _CLOCK
        except (ValueError, TypeError):
            yield f"{where} has no time that can be read"
            continue
        if back:
            yield f"{where} is dated {at[:19]}, before what it follows: the clock was set back, or somebody wrote it with a time of his own"
        latest = max(latest, found)
    if latest - datetime.now(UTC) > _AHEAD:
        yield f"it is dated {latest.isoformat()[:19]}, which is still to come"


def _of_line_keys(found: LineSignatures) -> Iterator[str]:
    if not found.signed:
        yield "its lines were not signed as they were written, only the ledger's end after each attempt"
    if found.anew:
        numbers = ", ".join(map(str, found.anew))
        yield (
            f"the machine's key signed again at the lines {numbers}, as where the key of the next line is lost or the run goes on "
            "elsewhere: whoever held the machine's key then could have replaced the lines before"
        )


def in_words(found: Mapping[str, Any]) -> Iterator[str]:
    """The same for a person, a line each."""
    key, before = dsse.short(found["sealer"]["key_id"]), found["sealer"]["before"]
    since = f", which also sealed {before['run']}, the run before, on {before['at'][:19]}" if before else ""
    yield f"sealed {found['sealed'][:19]} UTC by the key {key}{since}"
    yield f"run opened {found['opened'][:19]} UTC, option {found['option'] or 'unknown'}, profile {found['profile'] or 'unknown'}"
    yield f"the machine's key is {found['run_key']}" + (
        "" if found["run_key"] == "known beforehand" else ": give --run-key to know it otherwise"
    )
    if signed := found["line_keys"]["signed"]:
        yield f"{signed:,} lines signed as they were written, from the key {found['line_keys']['first']} on"
    for each in found["anchors"]:
        if each["certain_by"]:
            yield f"line {each['line']} is certain by {each['certain_by']}: the time stamp {each['file']} proves it"
            continue
        if each["file"]:
            ask = time_stamps.openssl_command(each["file"], each["sha256"])
            yield f"line {each['line']} has a time stamp, not checked here: {ask}"
            continue
        bucket, _, key = each["url"].removeprefix("s3://").partition("/")
        key, _, version = key.rpartition("?versionId=")
        ask = shlex.join(("aws", "s3api", "head-object", "--bucket", bucket, "--key", key, "--version-id", version))
        yield f"line {each['line']} is anchored by the run's own word; not checked here, the service tells since when: {ask}"
    if found["stand_ins"]:
        yield f"on stand-ins: {', '.join(found['stand_ins'])}"
    for each in found["people"]:
        note = f": {each['note']}" if each["note"] else ""
        yield f"{each['by']} {each['what']} {each['step']} on {each['at'][:19]}{note}"
    for each in found["verified"]:
        counts = ", ".join(f"{each[name]:,} {name}" for name in _COUNTS if name in each)
        at = f"LSN {each['lsn']}" if each["lsn"] else ""
        yield f"{each['what']}: {', '.join(part for part in (each['verdict'], counts, at) if part)}"
    for each in found["left_out"]:
        yield f"left out: {each}"
    for step, said in found["exists_elsewhere"].items():
        yield f"exists elsewhere: {step}: {elsewhere_in_words(said)}"
    for step, why in found["not_applicable"].items():
        yield f"not applicable: {step}: {why}"


def _certain_by(facts: Facts, line: Line) -> str:
    if not (facts.stamp_roots and line.text("file")):
        return ""
    try:
        return time_stamps.certain_by(facts.files.read(line.text("file")) or b"", line.text("line"), facts.stamp_roots)
    except time_stamps.StampError:
        return ""  # which is a finding


def _said(seal: bytes) -> Mapping[str, Any]:
    """The predicate of an envelope, unverified: whoever asks has checked it."""
    import base64

    try:
        predicate = loads(base64.b64decode(loads(seal)["payload"]))["predicate"]
    except (ValueError, KeyError, TypeError):
        return {}
    return predicate if isinstance(predicate, dict) else {}


def _before(facts: Facts, manifest: SealManifest, seal: bytes) -> dict[str, str] | None:
    """The run before, where the same key sealed it."""
    copy = facts.files.read(PREVIOUS) or b""
    if not manifest.previous or dsse.key_id_in(copy) != dsse.key_id_in(seal):
        return None
    return {"run": manifest.previous.run, "at": str(_said(copy).get("at", ""))}


def _verified(lines: Sequence[Line]) -> Iterator[dict[str, Any]]:
    """Each comparison that a step or a command made, in order: its verdict, its counts and its LSN."""
    for line in lines:
        result = line.fields.get("result") if line.event == "step-done" else None
        if line.event == "verified":
            tables = line.fields.get("tables")
            count = {"tables": len(tables)} if isinstance(tables, list) else {}
            yield {
                "what": f"verify {line.text('target')}",
                "verdict": line.text("verdict"),
                "lsn": line.text("lsn"),
                **count,
            }
        elif isinstance(result, dict) and isinstance(result.get("verdict"), str):
            counts = {name: result[name] for name in _COUNTS if type(result.get(name)) is int}
            yield {
                "what": line.text("step"),
                "verdict": result["verdict"],
                "lsn": str(result.get("lsn") or ""),
                **counts,
            }


def _left_out(lines: Sequence[Line]) -> list[str]:
    found: dict[str, None] = {}
    for line in lines:
        for holder in (line.fields, line.fields.get("result")):
            left = holder.get("left_out") if isinstance(holder, dict) else None
            if isinstance(left, dict):
                found |= dict.fromkeys(f"{name}: {why}" for name, why in sorted(left.items()))
    return list(found)
