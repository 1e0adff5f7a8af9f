"""What a check of sealed evidence names.

Would catch: any change of a sealed run that goes unnoticed or is called by another name, also by somebody who computes
hashes anew, and by somebody who holds the key that seals but not the machine's or the people's; an intact run that is
called tampered; a check that needs more than the public key.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from evidence_support import DECLARED, PHASE, Run, copied, digest, rewrite_ledger, seal_anew
from hypothesis import given
from hypothesis import strategies as st
from property_support import examples

from helpers.checker import check, container, dsse
from helpers.checker.manifest import PreviousSeal, digest_of
from helpers.errors import UsageError
from helpers.evidence import heads
from helpers.evidence.people import roll

Tamper = Callable[[Run], None]


def kinds(run: Run, name: str = "", **options: Any) -> set[str]:
    return {each.kind for each in checked(run, name, **options).findings}


def checked(run: Run, name: str = "", **options: Any) -> check.Checked:
    return check.check(run.folder / name, run.people.signer("sealer").public_key, **options)


def lines(change: Callable[[list[dict[str, Any]]], object], *, chain: bool = False) -> Tamper:
    return lambda run: rewrite_ledger(run, lambda each: change(each) and None, chain=chain)


def file(name: str, change: Callable[[bytes], bytes]) -> Tamper:
    def tamper(run: Run) -> None:
        (path,) = run.folder.glob(name)
        path.write_bytes(change(path.read_bytes()))

    return tamper


def other(byte: bytes) -> bytes:
    return bytes([byte[0] ^ 1])


def first_byte(data: bytes) -> bytes:
    return other(data[:1]) + data[1:]


def _sealed_by_mallory(run: Run) -> None:
    statement = dsse.opened(
        (run.folder / "seal.dsse.json").read_bytes(), run.people.signer("sealer").public_key, "seal"
    )
    forged = dsse.sign("seal", statement.subjects, statement.predicate, run.people.signer("mallory"))
    (run.folder / "seal.dsse.json").write_bytes(forged)


def _with_the_sealers_name_on_it(run: Run) -> None:
    _sealed_by_mallory(run)
    sealer, mallory = (run.people.signer(name).public_key.keyid for name in ("sealer", "mallory"))
    file("seal.dsse.json", lambda data: data.replace(mallory.encode(), sealer.encode()))(run)


def _manifest(change: Callable[[dict[str, Any]], object]) -> Tamper:
    def tamper(run: Run) -> None:
        value = json.loads((run.folder / "manifest.json").read_text())
        change(value)
        (run.folder / "manifest.json").write_bytes(dsse.canonical(value) + b"\n")

    return tamper


def _signed_twice(data: bytes) -> bytes:
    envelope = json.loads(data)
    return json.dumps({**envelope, "signatures": envelope["signatures"] * 2}).encode()


def _another_previous(run: Run) -> None:
    path = run.folder.with_name("zeroth") / "seal.dsse.json"
    statement = dsse.opened(path.read_bytes(), run.people.signer("sealer").public_key, "seal")
    anew = dsse.sign("seal", statement.subjects, {**statement.predicate, "at": "later"}, run.people.signer("sealer"))
    path.write_bytes(anew)


BY_ANYBODY: dict[str, tuple[Tamper, str]] = {
    "a byte of a notebook": (file(f"{PHASE}/*.ipynb", first_byte), "file-changed"),
    "a byte of the HTML": (file(f"{PHASE}/*.html", first_byte), "file-changed"),
    "a byte of a report": (file(f"{PHASE}/*.json", first_byte), "file-changed"),
    "a byte added to a report": (file(f"{PHASE}/*.json", lambda data: data + b"\n"), "file-changed"),
    "a report emptied": (file(f"{PHASE}/*.json", lambda data: b""), "file-changed"),
    "the index": (file("index.html", lambda data: data.replace(b"SEALED", b"PARTIAL")), "file-changed"),
    "the environment": (file("environment.json", first_byte), "file-changed"),
    "the plan that was approved": (file("approvals/*.plan.json", first_byte), "file-changed"),
    "a missing report": (lambda run: next(run.folder.glob(f"{PHASE}/*.json")).unlink(), "file-missing"),
    "a missing notebook": (lambda run: run.attempt.unlink(), "attempt-missing"),
    "an added file": (lambda run: (run.folder / "note.txt").write_text("x") and None, "file-added"),
    "an added hidden file": (lambda run: (run.folder / PHASE / ".x").write_text("x") and None, "file-added"),
    "an added attempt": (
        lambda run: shutil.copy(run.attempt, run.attempt.with_name("attempt-02.ipynb")) and None,
        "attempt-unknown",
    ),
    "a link instead of a file": (
        lambda run: ((run.folder / "x").symlink_to(run.attempt), None)[1],
        "link",
    ),
    "a renamed file": (
        lambda run: run.attempt.with_suffix(".html").rename(run.attempt.with_name("attempt-02.html")) and None,
        "file-missing",
    ),
    "two ledger lines swapped": (
        lines(lambda each: each.__setitem__(slice(3, 5), [each[4], each[3]])),
        "ledger-reordered",
    ),
    "a ledger line removed": (lines(lambda each: each.pop(3)), "ledger-removed"),
    "a ledger line removed, chain anew": (lines(lambda each: each.pop(3), chain=True), "ledger-removed"),
    "a ledger line inserted": (lines(lambda each: each.insert(3, dict(each[3]))), "ledger-inserted"),
    "a ledger line inserted, chain anew": (
        lines(lambda each: each.insert(3, dict(each[3])), chain=True),
        "ledger-inserted",
    ),
    "a ledger line edited": (lines(lambda each: each[4].update(seconds=9)), "ledger-edited"),
    "a ledger line edited, chain anew": (lines(lambda each: each[4].update(seconds=9), chain=True), "ledger-edited"),
    "a ledger with other line ends": (file("ledger.jsonl", lambda data: data.replace(b"\n", b"\r\n")), "ledger-edited"),
    "a ledger with a byte order mark": (file("ledger.jsonl", lambda data: b"\xef\xbb\xbf" + data), "ledger-edited"),
    "a key twice in a ledger line": (file("ledger.jsonl", lambda data: data.replace(b'{"at"', b'{"at":"x","at"', 1)), "ledger-edited"),
    "the ledger's last line break": (file("ledger.jsonl", lambda data: data[:-1]), "ledger-truncated"),
    "a key twice in the manifest": (file("manifest.json", lambda data: data.replace(b'"run":', b'"run":"x","run":', 1)), "file-changed"),
    "a manifest in another layout": (file("manifest.json", lambda data: json.dumps(json.loads(data), indent=1).encode()), "file-changed"),
    "a second signature in the seal": (file("seal.dsse.json", _signed_twice), "bad-envelope"),
    "a pipe": (lambda run: os.mkfifo(run.folder / "pipe"), "file-added"),
    "a pipe instead of a file": (lambda run: (run.attempt.with_suffix(".html").unlink(), os.mkfifo(run.attempt.with_suffix(".html")))[1], "file-missing"),
    "a folder instead of a file": (lambda run: (run.attempt.with_suffix(".html").unlink(), run.attempt.with_suffix(".html").mkdir())[1], "file-missing"),
    "a folder that is a link": (lambda run: ((run.folder / "heads").rename(run.folder.with_name("elsewhere")), (run.folder / "heads").symlink_to(run.folder.with_name("elsewhere")))[1], "link"),
    "a name in other letters": (lambda run: run.attempt.rename(run.attempt.with_name("Attempt-01.ipynb")) and None, "attempt-missing"),
    "a name that is no UTF-8": (lambda run: Path(os.fsdecode(os.fsencode(run.folder) + b"/\xff.txt")).touch(), "file-added"),
    "a whole phase added": (lambda run: shutil.copytree(run.folder / PHASE, run.folder / "40_x") and None, "attempt-unknown"),
    "the last ledger line edited": (lines(lambda each: each[-1].update(at="2020")), "ledger-edited"),
    "a truncated ledger": (lines(lambda each: each.__delitem__(slice(-3, None))), "ledger-truncated"),
    "a ledger cut in the middle of a line": (file("ledger.jsonl", lambda data: data[:-9]), "ledger-truncated"),
    "a ledger line that is no JSON": (file("ledger.jsonl", lambda data: data.replace(b'"event":"step', b'"event:"step', 1)), "ledger-line"),
    "a line behind the seal": (lambda run: run.ledger.append("step-failed", step="x"), "ledger-inserted"),
    "no ledger": (lambda run: run.ledger.path.unlink(), "file-missing"),
    "a space in the ledger": (file("ledger.jsonl", lambda data: data.replace(b'{"at"', b'{ "at"', 1)), "ledger-edited"),
    "sealed by another": (_sealed_by_mallory, "wrong-signer"),
    "sealed by another in the sealer's name": (_with_the_sealers_name_on_it, "bad-signature"),
    "no seal": (lambda run: (run.folder / "seal.dsse.json").unlink(), "seal-missing"),
    "a seal that is no envelope": (file("seal.dsse.json", lambda data: b"{}"), "bad-envelope"),
    "a space in the seal": (file("seal.dsse.json", lambda data: data.replace(b",", b", ", 1)), "bad-envelope"),
    "a hash in the manifest": (_manifest(lambda each: each["files"][0].update(sha256="0" * 64)), "file-changed"),
    "a file taken out of the manifest": (_manifest(lambda each: each["files"].pop()), "file-added"),
    "another verdict in the manifest": (_manifest(lambda each: each.update(verdict="PARTIAL")), "verdict"),
    "a manifest of another form": (_manifest(lambda each: each.update(more=1)), "manifest-damaged"),
    "no manifest": (lambda run: (run.folder / "manifest.json").unlink(), "file-missing"),
    "an approval's envelope": (lambda run: sorted((run.folder / "approvals").glob("*.approval.dsse.json"))[0].write_bytes(b"{}") and None, "approval-invalid"),
    "an attestation's envelope": (file("approvals/*.attestation.dsse.json", lambda data: b"{}"), "attestation-invalid"),
    "a head's envelope": (file("heads/*", lambda data: b"{}"), "head-invalid"),
    "no head's envelope": (lambda run: next((run.folder / "heads").iterdir()).unlink(), "head-invalid"),
    "the torn line": (file("ledger.torn-1", first_byte), "torn-unknown"),
    "no torn line": (lambda run: (run.folder / "ledger.torn-1").unlink(), "torn-missing"),
    "the run before sealed anew": (_another_previous, "chain-broken"),
    "the run before not sealed": (
        lambda run: (run.folder.with_name("zeroth") / "seal.dsse.json").unlink(),
        "chain-broken",
    ),
    "the copy of the seal before": (file("previous-seal.dsse.json", first_byte), "chain-broken"),
    "a changed archive inside": (file("evidence.zip", lambda data: data[:99] + other(data[99:100]) + data[100:]), "zip-changed"),
    "the archive of another run": (
        lambda run: shutil.copy(run.folder.with_name("zeroth") / "evidence.zip", run.folder / "evidence.zip") and None,
        "zip-changed",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", BY_ANYBODY)
def test_what_anybody_can_change_is_named(sealed: Run, what: str) -> None:
    tamper, kind = BY_ANYBODY[what]
    assert kinds(sealed) == set()
    tamper(sealed)
    found = checked(sealed)
    assert found.verdict == "tampered"
    assert kind in {each.kind for each in found.findings}, found.findings


def _notebook(run: Run, change: Callable[[dict[str, Any]], object]) -> None:
    nb = json.loads(run.attempt.read_text())
    change({cell["id"]: cell for cell in nb["cells"]})
    run.attempt.write_text(json.dumps(nb))
    rewrite_ledger(
        run, lambda each: _event(each, "attempt-ended").update(notebook_sha256=digest(run.attempt)), chain=True
    )


def _event(each: list[dict[str, Any]], event: str) -> dict[str, Any]:
    return next(line for line in each if line["event"] == event)


def _only_planned(each: list[dict[str, Any]]) -> None:
    for line in each:
        if line.get("step") == "s30-export" and line["event"].startswith("step-"):
            line["event"] = "step-planned"


def _step(each: list[dict[str, Any]], event: str, step: str) -> dict[str, Any]:
    return next(line for line in each if (line["event"], line.get("step")) == (event, step))


def _new_heads(run: Run, who: str, *, key: bool) -> None:
    """Signs the heads anew, as `who`; with `key` that one's key is named as the machine's."""
    for path in (run.folder / "heads").iterdir():
        path.unlink()

    def change(each: list[dict[str, Any]]) -> None:
        del each[-2:]
        if key:
            each[0]["run_key"] = run.people.signer(who).public_key.pem

    rewrite_ledger(run, change, chain=True)
    heads.sign_head(run.folder, run.ledger, run.people.signer(who))
    run.ledger.append("sealed")


def _forged_approval(run: Run, by: str, signer: str) -> None:
    """An approval in somebody's name, put in the place of Bob's."""
    line = next(line for line in run.lines() if line.get("by") == "bob")
    predicate = {"run": "first", "step": "s30-load", "plan_sha256": line["plan_sha256"], "lsn": line["lsn"], "by": by}
    who = run.people.signer(signer)
    envelope = dsse.sign("approval", {"plan": line["plan_sha256"]}, {**predicate, "ledger_head": line["prev"]}, who)
    (run.folder / line["envelope"]).write_bytes(envelope)

    def change(each: list[dict[str, Any]]) -> None:
        _step([x for x in each if x.get("by") == "bob"], "approved", "s30-load").update(
            by=by, key_id=who.public_key.keyid
        )

    rewrite_ledger(run, change, chain=True)


def _swapped_payload(run: Run) -> None:
    def change(each: list[dict[str, Any]]) -> None:
        for line in each:
            if line["event"] == "approved":
                line["lsn"] = "0/FFFFFFF"
            if line["event"] == "awaiting":
                line["payload"]["lsn"] = "0/FFFFFFF"
                line["payload_sha256"] = dsse.sha256(dsse.canonical(line["payload"]))

    rewrite_ledger(run, change, chain=True)


def _without(*events: str) -> Callable[[Run], None]:
    def tamper(run: Run) -> None:
        rewrite_ledger(run, lambda each: each.__setitem__(slice(None), [x for x in each if x["event"] not in events]), chain=True)  # fmt: skip

    return tamper


BY_THE_SEALER: dict[str, tuple[Tamper, dict[str, Any], str]] = {
    "a cell that did not complete": (
        lambda run: _notebook(run, lambda cells: cells["s30-export-act"]["metadata"]["papermill"].update(status="failed")),
        {}, "step-not-shown",
    ),
    "a step whose cells never ran": (
        lambda run: _notebook(run, lambda cells: [cells[c]["metadata"]["papermill"].update(status="pending") for c in ("s30-load-act", "s30-load-check")]),
        {}, "step-not-shown",
    ),
    "a step that no notebook has": (
        lambda run: rewrite_ledger(run, lambda each: _step(each, "step-done", "s30-export").update(step="s30-verify"), chain=True),
        {"declared": (*DECLARED, replace(DECLARED[0], step="s30-verify"))}, "step-not-shown",
    ),
    "a step of an attempt that is not there": (
        lambda run: rewrite_ledger(run, lambda each: _step(each, "step-done", "s30-export").update(attempt="attempt-09"), chain=True),
        {}, "step-not-shown",
    ),
    "a notebook put in the place of another": (
        lambda run: run.attempt.write_text(run.attempt.read_text() + "\n") and None, {}, "notebook-changed",
    ),
    "HTML put in the place of another": (
        lambda run: run.attempt.with_suffix(".html").write_text("<p>fine</p>") and None, {}, "html-changed",
    ),
    "a report put in the place of another": (
        lambda run: next(run.folder.glob(f"{PHASE}/*-verify.json")).write_text('{"verdict": "different"}') and None,
        {}, "report-changed",
    ),
    "a skip of what was never done": (
        lambda run: rewrite_ledger(run, lambda each: _event(each, "step-skipped").update(of=2), chain=True), {}, "skip-unfounded",
    ),
    "a skip with other inputs": (
        lambda run: rewrite_ledger(run, lambda each: _event(each, "step-skipped").update(inputs="9" * 64), chain=True),
        {}, "skip-unfounded",
    ),
    "a ledger line edited under a signed head": (
        lambda run: rewrite_ledger(run, lambda each: _step(each, "step-done", "s30-load").update(seconds=1), chain=True),
        {}, "head-invalid",
    ),
    "heads taken out": (_without("head-signed"), {}, "head-unsigned"),
    "heads signed by another key": (lambda run: _new_heads(run, "mallory", key=False), {}, "head-invalid"),
    "the machine's key replaced": (lambda run: _new_heads(run, "mallory", key=True), {}, "approval-invalid"),
    "the machine's key taken out": (
        lambda run: rewrite_ledger(run, lambda each: each[0].pop("run_key") and None, chain=True), {}, "head-invalid",
    ),
    "an approval in another's name": (lambda run: _forged_approval(run, "bob", "alice"), {}, "approval-invalid"),
    "an approval by one person twice": (lambda run: _forged_approval(run, "alice", "alice"), {}, "signed-twice"),
    "an approval by somebody unknown": (lambda run: _forged_approval(run, "mallory", "mallory"), {}, "signer-unknown"),
    "approvals taken out": (_without("approved"), {}, "not-approved"),
    "approvals and the waiting taken out": (_without("approved", "awaiting"), {}, "not-approved"),
    "approvals of another snapshot": (_swapped_payload, {}, "approval-invalid"),
    "what came before an approval": (
        lambda run: rewrite_ledger(run, lambda each: each[4]["result"].update(lsn="0/0"), chain=True), {}, "approval-invalid",
    ),
    "the note of an attestation": (
        lambda run: rewrite_ledger(run, lambda each: _event(each, "attested").update(note="none"), chain=True),
        {}, "attestation-invalid",
    ),
    "a word where none is enough": (
        lambda run: None, {"declared": (*DECLARED[:2], replace(DECLARED[2], word=False))}, "word-not-enough",
    ),
    "an attempt taken out": (_without("attempt-started"), {}, "attempt-unknown"),
    "another run's name": (
        lambda run: rewrite_ledger(run, lambda each: each[0].update(run="second"), chain=True), {}, "run-renamed",
    ),
    "a planned step as sealed": (
        lambda run: rewrite_ledger(run, _only_planned, chain=True), {"verdict": "SEALED"}, "verdict",
    ),
    "a phase that did not run as sealed": (
        lambda run: None, {"declared": (*DECLARED, replace(DECLARED[0], step="s50", phase="50")), "verdict": "SEALED"}, "verdict",
    ),
    "another run before": (
        lambda run: None, {"previous": PreviousSeal(run="zeroth", seal_sha256="0" * 64)}, "chain-broken",
    ),
    "the torn line's event": (_without("recovered"), {}, "torn-unknown"),
}  # fmt: skip


@pytest.mark.parametrize("what", BY_THE_SEALER)
def test_what_the_sealer_cannot_forge_alone_is_named(sealed: Run, what: str) -> None:
    tamper, options, kind = BY_THE_SEALER[what]
    tamper(sealed)
    before = sealed.folder / "previous-seal.dsse.json"
    known = PreviousSeal(run="zeroth", seal_sha256=digest(before))
    seal_anew(sealed, **{"previous": known, **options})
    found = {each.kind for each in checked(sealed).findings}
    assert kind in found, checked(sealed).findings
    assert not found & {"file-changed", "bad-signature", "ledger-edited"}, "the forger made the seal anew"


def test_a_run_sealed_anew_without_a_change_is_intact(sealed: Run) -> None:
    seal_anew(
        sealed, previous=PreviousSeal(run="zeroth", seal_sha256=digest(sealed.folder / "previous-seal.dsse.json"))
    )
    assert checked(sealed).findings == ()


def test_who_knows_the_machines_key_finds_it_replaced(sealed: Run) -> None:
    known = sealed.people.signer("machine").public_key
    assert kinds(sealed, run_key=known) == set()
    assert "wrong-signer" in kinds(sealed, run_key=sealed.people.signer("mallory").public_key)


def test_two_names_with_one_key_in_a_forged_manifest(sealed: Run) -> None:
    people = dict(roll(sealed.people.settings()).people)
    people["bob"] = people["alice"]
    seal_anew(sealed, people=people)
    assert "one-person" in kinds(sealed)


def _zip(run: Run, change: Callable[[zipfile.ZipFile], object]) -> None:
    with zipfile.ZipFile(run.folder / "evidence.zip", "a") as archive:
        change(archive)


def _link(archive: zipfile.ZipFile) -> None:
    info = zipfile.ZipInfo("x")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    archive.writestr(info, "/etc/passwd")


def _again(archive: zipfile.ZipFile) -> None:
    with pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("index.html", "<p>fine</p>")


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (_again, "zip-duplicate"),
        (lambda archive: archive.writestr("../x", "x"), "zip-path"),
        (lambda archive: archive.writestr("/etc/x", "x"), "zip-path"),
        (lambda archive: archive.writestr("a\\..\\x", "x"), "zip-path"),
        (_link, "zip-link"),
        (lambda archive: archive.writestr("x.txt", "x"), "file-added"),
        (lambda archive: setattr(archive, "comment", b"hello"), "zip-changed"),
        (lambda archive: archive.mkdir("empty"), "zip-changed"),
    ],
)
def test_tricks_with_the_archive_are_named(sealed: Run, change: Callable[[zipfile.ZipFile], object], kind: str) -> None:
    assert kinds(sealed, "evidence.zip") == set()
    _zip(sealed, change)
    assert kind in kinds(sealed, "evidence.zip")


def test_what_was_compressed_is_named_and_not_unpacked(sealed: Run) -> None:
    def bomb(archive: zipfile.ZipFile) -> None:
        with archive.open(zipfile.ZipInfo("x"), "w") as target:
            target.write(b"")
        info = zipfile.ZipInfo("bomb")
        info.compress_type = zipfile.ZIP_DEFLATED
        archive.writestr(info, b"\0" * (1 << 26))

    _zip(sealed, bomb)
    found = checked(sealed, "evidence.zip").findings
    assert ("zip-changed", "bomb") in {(each.kind, each.path) for each in found}


def test_a_file_s_name_cannot_speak_in_the_answer_s_place(sealed: Run) -> None:
    names = ["x\nintact: run first, sealed as SEALED", os.fsdecode(b"\xff\xfe"), "\x1b[2J", "\u202egnp.txt"]
    for name in names:
        (sealed.folder / name).touch()
    found = checked(sealed)
    lines = check.in_words(found)
    assert lines[0].startswith("tampered: ")
    assert check.in_words(replace(found, findings=found.findings[:1]))[0] == "tampered: 1 finding"
    assert len(lines) == len(found.findings) + 1
    assert all(line.isprintable() for line in lines)
    "\n".join(lines).encode("utf-8")
    json.dumps(found.as_dict(), ensure_ascii=False).encode("utf-8")


@pytest.mark.parametrize("cut", [1, 30, 5000])
def test_a_cut_archive_is_named(sealed: Run, cut: int) -> None:
    path = sealed.folder / "evidence.zip"
    path.write_bytes(path.read_bytes()[:-cut])
    assert kinds(sealed, "evidence.zip") == {"zip-damaged"}


def test_bytes_before_or_behind_the_archive_are_named(sealed: Run) -> None:
    path = sealed.folder / "evidence.zip"
    data = path.read_bytes()
    for other_data in (b"#!/bin/sh\n" + data, data + b"\n" * 9):
        path.write_bytes(other_data)
        assert checked(sealed, "evidence.zip").verdict == "tampered"


def test_no_damage_to_an_archives_headers_is_an_exception_or_goes_unseen(tmp_path: Path) -> None:
    """Would catch: a check that ends in a traceback for one flipped bit, or that says nothing of it."""
    files = tmp_path / "run"
    (files / "30").mkdir(parents=True)
    for name, data in {"ledger.jsonl": b"x" * 50, "30/report.json": b"", "index.html": b"hello"}.items():
        (files / name).write_bytes(data)
    whole, path = io.BytesIO(), tmp_path / "evidence.zip"
    container.write(container.Folder(files), container.Folder(files).names(), whole)
    raw = whole.getvalue()
    flipped = (raw[:at] + bytes([raw[at] ^ 1 << bit]) + raw[at + 1 :] for at in range(len(raw)) for bit in range(8))
    for damaged in (*flipped, *(raw[:cut] for cut in range(4, len(raw)))):
        path.write_bytes(damaged)
        try:
            with container.opened(path) as (archive, wrong):
                read = [archive.read(name) for name in archive.names()]
                assert wrong or None in read
        except UsageError:
            assert not damaged.startswith(b"PK")


@examples(60)
@given(data=st.data())
def test_any_flipped_byte_of_any_file_is_found(sealed_once: Run, tmp_path: Path, data: st.DataObject) -> None:
    folder = tmp_path / "first"
    run = Run(folder, sealed_once.people) if folder.exists() else copied(sealed_once, folder)
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    path = folder / data.draw(st.sampled_from(names))
    before = path.read_bytes()
    place = data.draw(st.integers(0, len(before) - 1))
    changed = before[place] ^ data.draw(st.integers(1, 255))
    path.write_bytes(before[:place] + bytes([changed]) + before[place + 1 :])
    try:
        assert checked(run).verdict == "tampered"
        if path.name == "evidence.zip":
            assert checked(run, "evidence.zip").verdict == "tampered"
    finally:
        path.write_bytes(before)
    assert checked(run).findings == ()


def test_it_is_checked_offline_with_the_public_key_alone(sealed: Run, tmp_path: Path) -> None:
    code = (
        "import sys, socket, runpy\n"
        "def refuse(*a, **k): raise OSError('no network')\n"
        "socket.socket.connect = refuse\n"
        "before = set(sys.modules)\n"
        "program = sys.argv[1]\n"
        "sys.argv = sys.argv[1:]\n"
        "try:\n"
        "    runpy.run_path(program, run_name='__main__')\n"
        "finally:\n"
        "    mine = {name for name, m in sys.modules.items() if program in (getattr(m, '__file__', None) or '')}\n"
        "    assert 'helpers.checker.check' in mine\n"
        "    used = {name.partition('.')[0] for name in set(sys.modules) - before - mine}\n"
        "    assert used - set(sys.stdlib_module_names) <= {'cryptography', '_cffi_backend', '_openssl', 'helpers'}, used\n"
    )
    program = sealed.folder / "verify-evidence.pyz"

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
        return subprocess.run(
            [sys.executable, "-I", "-c", code, str(program), *arguments, "--checklist", digest_of(DECLARED)], cwd=tmp_path,
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip

    public = str(sealed.people.key("sealer")) + ".pub"
    for name in ("", "evidence.zip"):
        done = run(str(sealed.folder / name), "--public-key", public, "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        assert json.loads(done.stdout)["verdict"] == "intact"
    file("ledger.jsonl", first_byte)(sealed)
    done = run(str(sealed.folder), "--public-key", public, "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["findings"][0].keys() == {"kind", "path", "message"}
    assert run(str(sealed.folder), "--public-key", public).stdout.startswith("tampered:")
    assert run(str(tmp_path / "nowhere"), "--public-key", public).returncode == 2
    assert run(str(sealed.folder), "--public-key", str(tmp_path / "nowhere")).returncode == 2


def test_what_cannot_be_checked_is_not_called_tampered_or_intact(ready: Run, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    for path in (ready.folder, tmp_path / "text", tmp_path / "nowhere"):
        with pytest.raises(UsageError):
            check.check(path, ready.people.signer("sealer").public_key)


def test_the_folder_may_be_renamed_and_moved(sealed: Run, tmp_path: Path) -> None:
    moved = Run(sealed.folder.rename(tmp_path / "handed over"), sealed.people)
    assert kinds(moved) == set()
    assert kinds(moved, previous=tmp_path / "runs/zeroth") == set()
    assert kinds(moved, previous=tmp_path / "runs/zeroth/evidence.zip") == set()
    assert kinds(moved, previous=moved.folder) == {"chain-broken"}


@pytest.mark.parametrize("value", [None, 3, "x", [], {}, {"a": [{}]}])
@pytest.mark.parametrize("field", ["payload", "needed", "files", "by", "envelope", "inputs", "of", "run_key", "phase"])
def test_a_ledger_with_fields_of_other_types_never_passes_and_never_crashes(
    sealed: Run, field: str, value: Any
) -> None:
    def change(each: list[dict[str, Any]]) -> None:
        for line in each:
            if field in line:
                line[field] = value

    rewrite_ledger(sealed, change, chain=True)
    seal_anew(sealed)
    assert checked(sealed).verdict == "tampered"
