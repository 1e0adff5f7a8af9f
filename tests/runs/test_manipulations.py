"""More of what somebody can do to a run, by what they hold, beside the tables of `test_adversaries` and `test_verify_evidence`.

Would catch: a file that a line names of which nobody looks at what it names; words put into a signer's mouth; a former key without a
day; names that lead out of the run; a manifest or an archive with two readings; traces of JupyterLab called tampering; a check that
takes minutes for garbage, blames a forger for it, or ends in a traceback.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from evidence_support import DECLARED, PHASE, Run, digest, rewrite_ledger, seal_anew
from test_adversaries import checked, place, signed, unsealed

from helpers.checker import dsse, signatures
from helpers.checker.manifest import SealManifest
from helpers.checker.public_key import PublicKey

PLANTED = f"{PHASE}/attempt-01-verify-snowflake.json"
SMALL = base64.b64encode(b"\x01" + b"\0" * 31).decode()
Change = Callable[[Run], object]
OWN = ("n", "at", "prev", "event")


def a_file(name: str, change: Callable[[bytes], bytes]) -> Change:
    return lambda run: (path := next(run.folder.glob(name))).write_bytes(change(path.read_bytes()))


def added(name: str, data: bytes = b"x") -> Change:
    def change(run: Run) -> None:
        (run.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (run.folder / name).write_bytes(data)

    return change


def of_the_run_before(name: str) -> Change:
    """A file of the other run, of the same people and machine, in the place of this one's."""

    def change(run: Run) -> None:
        other = run.folder.with_name("zeroth")
        for path in sorted(run.folder.glob(name)):
            twin = sorted(other.glob(str(path.relative_to(run.folder).parent / f"*{''.join(path.suffixes[-3:])}")))
            path.write_bytes(twin[0].read_bytes())

    return change


def another_output(run: Run) -> None:
    value = json.loads(run.attempt.read_text())
    for cell in value["cells"]:
        for output in cell.get("outputs", ()):
            if "text" in output:
                output["text"] = ["9 tables\n"]
    run.attempt.write_text(json.dumps(value, indent=1))


def swapped_envelopes(run: Run) -> None:
    first, second, *_ = sorted((run.folder / "approvals").glob("*.approval.dsse.json"))
    one, other = first.read_bytes(), second.read_bytes()
    first.write_bytes(other)
    second.write_bytes(one)


def an_archive_that_is_a_pipe(run: Run) -> None:
    (run.folder / "evidence.zip").unlink()
    os.mkfifo(run.folder / "evidence.zip")


def a_number(name: str) -> Change:
    return a_file(f"{PHASE}/*-verify.json", lambda data: data.replace(b'"equal"', name.encode()))


BY_NOBODY: dict[str, tuple[Change, str]] = {
    "the last line twice": (a_file("ledger.jsonl", lambda data: data + data.splitlines(keepends=True)[-1]), "ledger-inserted"),
    "the lines from behind": (a_file("ledger.jsonl", lambda data: b"".join(reversed(data.splitlines(keepends=True)))), "ledger-reordered"),
    "no line": (a_file("ledger.jsonl", lambda data: b""), "ledger-truncated"),
    "each line twice": (a_file("ledger.jsonl", lambda data: b"".join(x + x for x in data.splitlines(keepends=True))), "ledger-inserted"),
    "an empty line": (a_file("ledger.jsonl", lambda data: data.replace(b"\n", b"\n\n", 1)), "ledger-line"),
    "a ledger in UTF-16": (a_file("ledger.jsonl", lambda data: data.decode().encode("utf-16")), "ledger-line"),
    "NaN in a line": (a_file("ledger.jsonl", lambda data: data.replace(b'"seconds":1.5', b'"seconds":NaN')), "ledger-line"),
    "infinity in a line": (a_file("ledger.jsonl", lambda data: data.replace(b'"seconds":1.5', b'"seconds":1e999')), "ledger-form"),
    "a huge number in a line": (a_file("ledger.jsonl", lambda data: data.replace(b'"seconds":1.5', b'"seconds":' + b"9" * 9999)), "ledger-line"),
    "half a surrogate pair": (a_file("ledger.jsonl", lambda data: data.replace(b'"all three', b'"\\ud800all three')), "ledger-edited"),
    "a nested line": (a_file("ledger.jsonl", lambda data: data.replace(b'"seconds":1.5', b'"seconds":' + b"[" * 9999 + b"]" * 9999)), "ledger-line"),
    "a line that is a list": (a_file("ledger.jsonl", lambda data: b"[]\n" + data), "ledger-line"),
    "the same cells with other outputs": (another_output, "notebook-changed"),
    "NaN in a report": (a_number("NaN"), "report-changed"),
    "a manifest in UTF-16": (a_file("manifest.json", lambda data: data.decode().encode("utf-16")), "manifest-damaged"),
    "a manifest with a byte order mark": (a_file("manifest.json", lambda data: b"\xef\xbb\xbf" + data), "manifest-damaged"),
    "a manifest of a huge form": (a_file("manifest.json", lambda data: data.replace(b'"version":4', b'"version":' + b"9" * 5000)), "manifest-damaged"),
    "a manifest of an earlier form": (a_file("manifest.json", lambda data: data.replace(b'"version":4', b'"version":2')), "manifest-damaged"),
    "a manifest of a later form": (a_file("manifest.json", lambda data: data.replace(b'"version":4', b'"version":9')), "manifest-damaged"),
    "a nested manifest": (a_file("manifest.json", lambda data: b"[" * 99999), "manifest-damaged"),
    "a manifest that is a number": (a_file("manifest.json", lambda data: b"3\n"), "manifest-damaged"),
    "a line break in a signature": (a_file("seal.dsse.json", lambda data: data.replace(b'"sig":"', b'"sig":"\\n')), "bad-envelope"),
    "a seal in URL-safe base64": (a_file("seal.dsse.json", lambda data: data.replace(b'"sig":"', b'"sig":"--__')), "bad-envelope"),
    "a seal that is empty": (a_file("seal.dsse.json", lambda data: b""), "bad-envelope"),
    "the seal of the run before": (of_the_run_before("seal.dsse.json"), "file-changed"),
    "the manifest of the run before": (of_the_run_before("manifest.json"), "file-changed"),
    "the ledger of the run before": (of_the_run_before("ledger.jsonl"), "run-renamed"),
    "approvals of the run before": (of_the_run_before("approvals/*.approval.dsse.json"), "approval-invalid"),
    "a word of the run before": (of_the_run_before("approvals/*.attestation.dsse.json"), "attestation-invalid"),
    "signatures of the run before": (of_the_run_before("heads/*"), "head-invalid"),
    "the index of the run before": (of_the_run_before("index.html"), "file-changed"),
    "two approvals in each other's place": (swapped_envelopes, "approval-invalid"),
    "an archive that is a pipe": (an_archive_that_is_a_pipe, "zip-damaged"),
    "an archive that is empty": (a_file("evidence.zip", lambda data: b""), "zip-damaged"),
    "a device of Windows": (added("NUL"), "file-added"),
    "a name twice but for case": (added("INDEX.html"), "file-added"),
    "a second seal before": (added("previous-seal-2.dsse.json", b"{}"), "file-added"),
    "a checklist of its own": (added("checklist.toml"), "file-added"),
    "a checkpoint of JupyterLab with other results": (
        added(f"{PHASE}/.ipynb_checkpoints/attempt-01-checkpoint.ipynb", b'{"cells": []}'), "file-added"),
    "a checkpoint of a file that is not there": (added(f"{PHASE}/.ipynb_checkpoints/attempt-09-checkpoint.ipynb"), "file-added"),
    "a file among JupyterLab's": (added(".ipynb_checkpoints/report.html"), "file-added"),
}  # fmt: skip


@pytest.mark.parametrize("what", BY_NOBODY)
def test_without_a_key(sealed: Run, what: str) -> None:
    change, kind = BY_NOBODY[what]
    change(sealed)
    found = checked(sealed)
    assert kind in {each.kind for each in found.findings}, found.findings
    assert "unreadable" not in {each.kind for each in found.findings}, found.findings


def last(run: Run, event: str) -> dict[str, Any]:
    return next(line for line in reversed(run.lines()) if line["event"] == event)


def once_more(event: str, **more: Any) -> Change:
    """The last line of this event is written again behind the engine's last signature, and says more."""
    return lambda run: run.ledger.append(event, **{k: v for k, v in last(run, event).items() if k not in OWN} | more)


def planted(event: str, field: str) -> Change:
    def change(run: Run) -> None:
        added(PLANTED, b'{"verdict": "equal"}')(run)
        one = {"path": PLANTED, "sha256": digest(run.folder / PLANTED)}
        once_more(event, **{field: [one] if field == "files" else PLANTED})(run)

    return change


def an_approval(run: Run, by: str, *, at: str = "", signed_at: str | None = None, **more: Any) -> None:
    payload, signer, head = last(run, "awaiting")["payload"], run.people.signer(by), run.ledger.head
    now = datetime.now(UTC).isoformat(timespec="seconds") if signed_at is None else signed_at
    when = {"at": now} if now else {}
    envelope = dsse.sign(
        "approval", {"plan": payload["plan_sha256"]}, {**payload, **when, "by": by, "ledger_head": head}, signer
    )
    name = f"approvals/{by}-9.approval.dsse.json"
    (run.folder / name).write_bytes(envelope)
    bound = {key: payload[key] for key in ("step", "plan_sha256", "lsn")}
    run.ledger.append(
        "approved", **bound, by=by, key_id=signer.public_key.keyid, envelope=name, **({"signed_at": now} if now else {}), **more
    )  # fmt: skip
    if at:
        rewrite_ledger(run, lambda each: each[-1].update(at=at), chain=True)


def an_envelope_elsewhere(run: Run) -> None:
    added("30_x/carol-9.approval.dsse.json", b"<h1>approved</h1>")(run)
    an_approval(run, "carol")
    rewrite_ledger(run, lambda each: each[-1].update(envelope="30_x/carol-9.approval.dsse.json"), chain=True)


def edited(event: str, **more: Any) -> Change:
    def change(lines: list[dict[str, Any]]) -> None:
        next(line for line in lines if line["event"] == event).update(more)

    return lambda run: rewrite_ledger(run, change, chain=True)


def a_former_key(of: str, **days: str) -> dict[str, Any]:
    return {"former": of, "days": {"start": "", "end": str(date.today() - timedelta(days=9))} | days}


def a_seal_before(run: Run) -> None:
    shutil.copy(run.folder.with_name("zeroth") / "seal.dsse.json", run.folder / "previous-seal.dsse.json")


YESTERDAY = str(date.today() - timedelta(days=10))
BY_THE_SEALER: dict[str, tuple[Change, dict[str, Any], str]] = {
    "a report named by a torn line": (planted("recovered", "file"), {}, "file-unrecorded"),
    "a report listed by a torn line": (planted("recovered", "files"), {}, "line-fields"),
    "a report named by a signature of the engine, repeated": (planted("head-signed", "report"), {}, "file-unrecorded"),
    "a report listed by a signature of the engine, repeated": (planted("head-signed", "files"), {}, "file-unrecorded"),
    "a report named by an approval": (planted("approved", "report"), {}, "line-fields"),
    "a report named by a word": (planted("attested", "file"), {}, "line-fields"),
    "a note in an approval that nobody signed": (lambda run: an_approval(run, "carol", note="all compared"), {}, "line-fields"),
    "what was left out in an approval": (lambda run: an_approval(run, "carol", left_out={"t": "by hand"}), {}, "line-fields"),
    "an envelope that lies elsewhere": (an_envelope_elsewhere, {}, "line-fields"),
    "a line of no known event": (lambda run: run.ledger.append("checked", verdict="equal"), {}, "head-unsigned"),
    "a server that is none of the engine's": (lambda run: run.ledger.append("servers", servers={"server_version": "18"}), {}, "head-unsigned"),
    "a file kept behind the last signature": (
        lambda run: (added("export.json")(run), run.ledger.append("kept", files=[{"path": "export.json", "sha256": digest(run.folder / "export.json")}])),
        {}, "head-unsigned"),
    "not applicable, in the engine's words": (edited("step-done", result={"not applicable": "there is none"}), {}, "head-invalid"),
    "another option": (edited("run-opened", option="C"), {}, "head-invalid"),
    "another profile": (edited("run-opened", profile="staging"), {}, "head-invalid"),
    "another clock": (edited("run-opened", at="2020-01-01T00:00:00+00:00"), {}, "head-invalid"),
    "stand-ins that the engine named": (edited("attempt-started", stand_ins={}, parameters={"apply": True}), {}, "head-invalid"),
    "a machine's key under which anybody signs": (edited("run-opened", run_key=SMALL), {}, "head-invalid"),
    "a sealing line twice": (once_more("approved", ), {}, "signed-twice"),
    "an archive's run sealed as before": (a_seal_before, {"previous": None}, "chain-broken"),
    "a person's key under which anybody signs": (lambda run: None, {"manifest": lambda m: replace(
        m, people={**m.people, "dora": replace(m.people["carol"], public_key=SMALL, key_id=PublicKey(base64.b64decode(SMALL)).keyid)})}, "signer-unknown"),
    "a name twice but for case among people": (lambda run: None, {"manifest": lambda m: replace(
        m, people={**m.people, "ALICE": _person(b"a" * 32)})}, "one-person"),
    "a file twice in the manifest": (lambda run: None, {"manifest": lambda m: replace(
        m, files=[replace(m.files[0], sha256="0" * 64), *m.files])}, "manifest-damaged"),
    "a file of another folder in the manifest": (
        lambda run: (run.folder.with_name("x")).write_text("x"),
        {"manifest": lambda m: replace(m, files=[*m.files, replace(m.files[0], path="../x", size=1, sha256=dsse.sha256(b"x"))])}, "manifest-damaged"),
    "an absolute file in the manifest": (lambda run: None, {"manifest": lambda m: replace(
        m, files=[*m.files, replace(m.files[0], path="/dev/null", size=0, sha256=dsse.sha256(b""))])}, "manifest-damaged"),
    "a former key after its last day": (lambda run: an_approval(run, "mallory"), a_former_key("mallory"), "signer-unknown"),
    "a former key that signs an earlier day": (
        lambda run: an_approval(run, "mallory", signed_at=f"{YESTERDAY}T09:00:00+00:00"), a_former_key("mallory"), "signer-unknown"),
    "a former key in a line of an earlier day": (
        lambda run: an_approval(run, "mallory", signed_at=f"{YESTERDAY}T09:00:00+00:00", at=f"{YESTERDAY}T09:00:00+00:00"),
        a_former_key("mallory"), "signer-unknown"),
    "a former key that signs no day": (lambda run: an_approval(run, "mallory", signed_at=""), a_former_key("mallory"), "signer-unknown"),
    "a former key that signs no day in its days": (
        lambda run: an_approval(run, "mallory", signed_at=""), a_former_key("mallory", end="9999-12-31"), "signer-unknown"),
    "an approval of somebody unknown to the settings": (lambda run: an_approval(run, "mallory"), {}, "signer-unknown"),
    "a word for a step that needs more": (once_more("attested", step="s30-load"), {}, "word-not-enough"),
    "a word for a step of another option": (once_more("attested", step="s40-quality"), {}, "word-not-enough"),
    "a checklist of another option": (lambda run: None, {"manifest": lambda m: replace(
        m, checklist=replace(m.checklist, option="C"))}, "checklist"),
    "a run that ran no step twice": (lambda run: None, {"declared": (*DECLARED, DECLARED[1])}, "checklist"),
}  # fmt: skip


def _person(raw: bytes) -> Any:
    from helpers.checker.manifest import SealedPerson

    return SealedPerson(PublicKey(raw).keyid, PublicKey(raw).pem)


def _with(change: Callable[[SealManifest], SealManifest], patch: pytest.MonkeyPatch) -> None:
    original = SealManifest.to_bytes
    patch.setattr(SealManifest, "to_bytes", lambda self: original(change(self)))
    from helpers.checker import manifest

    patch.setattr(manifest, "leads_out", lambda name: False)  # the sealer's own program looks at nothing
    patch.setattr(manifest, "alike", lambda name: object())


@pytest.mark.parametrize("what", BY_THE_SEALER)
def test_with_the_key_that_seals(sealed: Run, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    change, given, kind = BY_THE_SEALER[what]
    options = dict(given)
    if "former" in options:
        key = sealed.people.signer(options.pop("former")).public_key
        former = signatures.FormerKey("mallory", key, **options.pop("days"))
        from helpers.evidence import seal as sealing

        original = sealing._manifest
        monkeypatch.setattr(sealing, "_manifest", lambda *a: original(*a[:7], [former]))
    with monkeypatch.context() as patch:
        if "manifest" in options:
            _with(options.pop("manifest"), patch)
        if "previous" not in options:
            unsealed(sealed, change, **options)
        else:
            rewrite_ledger(sealed, lambda lines: lines.__delitem__(-1))
            change(sealed)
            sealed.ledger.append("sealed")
            seal_anew(sealed, **options)
    found = checked(sealed)
    assert kind in {each.kind for each in found.findings}, found.findings
    assert not {each.kind for each in found.findings} & {"bad-signature", "unreadable"}, found.findings


def by_the_machine(run: Run, change: Change) -> None:
    """The sealer, with the machine's key too: the ledger is changed, and its head signed anew."""

    def all_of_it(run: Run) -> None:
        shutil.rmtree(run.folder / "heads")
        rewrite_ledger(
            run,
            lambda each: each.__setitem__(slice(None), [x for x in each if x["event"] != "head-signed"]),
            chain=True,
        )
        change(run)
        signed(run)

    unsealed(run, all_of_it)


def nothing_to_do(why: object) -> Change:
    return lambda run: run.ledger.append(
        "step-done", step="s30-export", **place(), inputs="", result={"not applicable": why}
    )


BY_THE_MACHINE: dict[str, tuple[Change, str]] = {
    "what came before an approval": (edited("attempt-started", stand_ins={"Snowflake": "fakesnow"}), "approval-invalid"),
    "another option, before approvals": (edited("run-opened", option="C"), "approval-invalid"),
    "not applicable, and no reason": (nothing_to_do(" "), "step-not-done"),
    "not applicable, and no text": (nothing_to_do(["x"]), "step-not-done"),
    "other results of a notebook": (lambda run: (another_output(run), run.ledger.append(
        "attempt-ended", **place(), status="done", exit_code=0, notebook_sha256=digest(run.attempt), html_sha256=None, files=[])), "notebook-changed"),
    "an attempt that never started": (lambda run: run.ledger.append(
        "attempt-ended", **place("attempt-07"), status="done", exit_code=0, notebook_sha256="", html_sha256=None, files=[]), "attempt-unknown"),
    "a step of an attempt that never was": (lambda run: run.ledger.append(
        "step-done", step="s30-load", **place("attempt-07"), inputs="", result={}), "step-not-shown"),
    "a phase that no checklist has": (lambda run: (added("99_x/attempt-01.ipynb", run.attempt.read_bytes())(run), [run.ledger.append(
        event, **place(phase="99_x"), parameters={}, by="x", stand_ins={}, status="done", exit_code=0, html_sha256=None,
        notebook_sha256=digest(run.attempt)) for event in ("attempt-started", "attempt-ended")]), "phase-unknown"),
    "a verification whose report lies elsewhere": (lambda run: run.ledger.append(
        "verified", target="stage", on={}, asked={}, verdict="equal", lsn="0/1", tables=["t"], differing=[],
        report="../zeroth/index.html", sha256=digest(run.folder.with_name("zeroth") / "index.html"), files=[]), "report-changed"),
    "an approval by one person only": (lambda run: run.ledger.append("awaiting", **{
        k: v for k, v in last(run, "awaiting").items() if k not in OWN} | {"needed": 3}) or run.ledger.append(
        "step-done", step="s30-load", **place(), inputs="", result={}), "not-approved"),
}  # fmt: skip


@pytest.mark.parametrize("what", BY_THE_MACHINE)
def test_with_the_machine_s_key_too(sealed: Run, what: str) -> None:
    change, kind = BY_THE_MACHINE[what]
    by_the_machine(sealed, change)
    found = checked(sealed)
    assert kind in {each.kind for each in found.findings}, found.findings
    assert "unreadable" not in {each.kind for each in found.findings}, found.findings


@pytest.mark.parametrize(("at", "said"), [(YESTERDAY, "before what it follows"), ("9999-01-01", "still to come")])
def test_a_line_with_a_time_of_somebody_s_own_is_a_note(sealed: Run, at: str, said: str) -> None:
    """A clock may have been set right, so it is no tampering; that a former key gains nothing by it is another test's."""
    unsealed(sealed, lambda run: an_approval(run, "carol", at=f"{at}T00:00:00+00:00"))
    found = checked(sealed)
    assert found.findings == ()
    assert any(said in note for note in found.notes), found.notes
