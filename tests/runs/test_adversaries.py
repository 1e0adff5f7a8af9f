"""What somebody can do to a run who holds the key that seals, and what honest people do to one, as two tables.

Would catch: a verdict that the sealer writes and nobody computes; steps left out of the checklist; a ledger that was cut, with
attempts behind the cut; a plan, a page or a report that was put in the place of another; files of which no line tells; a copy, a
file manager's traces or an archive that was packed anew called tampering; an old seal that no longer verifies.
"""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from evidence_support import (
    DECLARED,
    PHASE,
    SHIPPED,
    People,
    Run,
    copied,
    digest,
    open_run,
    rewrite_ledger,
    seal_anew,
    whole_run,
    writable,
)  # fmt: skip

from helpers import checklist
from helpers.checker import check, container
from helpers.checker.facts import code_cells
from helpers.checker.ledger_reader import read
from helpers.checker.manifest import PreviousSeal, digest_of
from helpers.checker.public_key import public_key
from helpers.checker.rule import ROLLBACK
from helpers.checker.strict_json import canonical
from helpers.errors import EvidenceError, EvidenceRefused, UsageError
from helpers.evidence import checker_file, counter, heads
from helpers.evidence.declared import declared_steps
from helpers.evidence.people import roll
from helpers.ledger import keys

SEALED = Path(__file__).with_name("sealed")


def checked(run: Run, name: str = "", **options: Any) -> check.Checked:
    return check.check(run.folder / name, run.people.signer("sealer").public_key, **options)


def kinds(run: Run, name: str = "", **options: Any) -> set[str]:
    return {each.kind for each in checked(run, name, **options).findings}


def place(attempt: str = "attempt-01", phase: str = PHASE) -> dict[str, str]:
    return {"phase": phase, "attempt": attempt}


def unsealed(run: Run, change: Callable[[Run], object], **options: Any) -> None:
    """Takes the seal away, lets `change` be done, and has the sealer's own program seal whatever is there."""
    rewrite_ledger(run, lambda lines: lines.__delitem__(-1))
    change(run)
    run.ledger.append("sealed")
    before = run.folder / "previous-seal.dsse.json"
    known = PreviousSeal(run="zeroth", seal_sha256=digest(before)) if before.exists() else None
    seal_anew(run, **{"previous": known, **options})


def signed(run: Run) -> None:
    heads.sign_head(run.folder, run.ledger, run.people.signer("machine"))


def a_failure(run: Run) -> None:
    run.ledger.append("step-started", step="s30-load", **place(), inputs="2" * 64, load_id="c" * 32)
    run.ledger.append(
        "step-failed", step="s30-load", **place(), inputs="2" * 64, error={"type": "LoadError"}, seconds=1
    )
    signed(run)


def a_difference(run: Run, *, report: bool = False, verdict: str = "different") -> None:
    if report:
        (run.folder / "verify-9.json").write_text("{}")
    sha256 = digest(run.folder / "verify-9.json") if report else "0" * 64
    run.ledger.append(
        "verified", target="snowflake", on={}, asked={}, verdict=verdict, lsn="0/1", tables=["t"], differing=["t"],
        report="verify-9.json", sha256=sha256, files=[],
    )  # fmt: skip
    signed(run)


def cut_at_the_first_head(run: Run) -> None:
    """The ledger ends with the engine's first signature; behind it an attempt that nobody ran, with an empty notebook."""
    rewrite_ledger(run, lambda lines: lines.__delitem__(slice(5, -1)), chain=True)
    shutil.rmtree(run.folder / "heads")
    shutil.rmtree(run.folder / "approvals")
    run.ledger.append("attempt-started", **place("attempt-02"), notebook_sha256="0" * 64, parameters={}, by="x")
    (run.folder / PHASE / "attempt-02.ipynb").write_text('{"cells": []}')


def an_attempt_that_nobody_ran(run: Run) -> None:
    run.ledger.append(
        "attempt-started", **place("attempt-02"), notebook_sha256="0" * 64, parameters={}, by="x", stand_ins={}
    )
    for suffix in ("ipynb", "html"):
        shutil.copy(run.attempt.with_suffix(f".{suffix}"), run.attempt.with_name(f"attempt-02.{suffix}"))
    run.ledger.append(
        "attempt-ended", **place("attempt-02"), status="done", exit_code=0, notebook_sha256=digest(run.attempt),
        html_sha256=digest(run.attempt.with_suffix(".html")), files=[],
    )  # fmt: skip


def a_planted_report(run: Run) -> None:
    (run.folder / PHASE / "attempt-01-verify-snowflake.json").write_text('{"verdict": "equal"}')


def another_plan(run: Run) -> None:
    (path,) = (run.folder / "approvals").glob("*.plan.json")
    path.write_bytes(b'{"table":"all"}\n')


def an_environment(change: Callable[[dict[str, Any]], object]) -> Callable[[Run], None]:
    def changed(run: Run) -> None:
        path = run.folder / "environment.json"
        value = json.loads(path.read_text())
        change(value)
        path.write_bytes(canonical(value) + b"\n")

    return changed


def nothing(run: Run) -> None:
    pass


BY_THE_SEALER: dict[str, tuple[Callable[[Run], object], dict[str, Any], str]] = {
    "a step whose last word is that it failed": (a_failure, {}, "step-not-done"),
    "the same, called sealed": (a_failure, {"verdict": "SEALED"}, "step-not-done"),
    "a verification that differed is the last word": (lambda run: a_difference(run, report=True), {}, "verified-different"),
    "the same without its report": (a_difference, {}, "report-changed"),
    "an equal verification without its report": (lambda run: a_difference(run, verdict="equal"), {}, "report-changed"),
    "a ledger cut at the first signature, empty notebooks behind it": (cut_at_the_first_head, {}, "attempt-open"),
    "an attempt that nobody ran": (an_attempt_that_nobody_ran, {}, "head-unsigned"),
    "a step that nobody took, behind the last signature": (
        lambda run: run.ledger.append("step-done", step="s30-load", **place(), inputs="", result={}), {}, "head-unsigned"),
    "a checklist without a step": (nothing, {"declared": DECLARED[:2]}, "checklist"),
    "a checklist that lets a step go without approvals": (
        nothing, {"declared": (DECLARED[0], replace(DECLARED[1], approvals=0, approval=None), replace(DECLARED[2], step="s30-x"))},
        "checklist"),
    "a checklist in which a word is enough": (nothing, {"declared": (replace(DECLARED[0], word=True), *DECLARED[1:])}, "checklist"),
    "a planted report": (a_planted_report, {}, "file-unrecorded"),
    "a planted report that the last line names": (
        a_planted_report, {"files": [{"path": f"{PHASE}/attempt-01-verify-snowflake.json", "sha256": "0" * 64}]}, "file-unrecorded"),
    "another page than the last line names": (
        lambda run: (run.folder / "index.html").write_text("<h1>SEALED</h1>"), {"files": []}, "file-unrecorded"),
    "a plan that was replaced after it was signed": (another_plan, {}, "plan-changed"),
    "a plan that was deleted": (lambda run: next((run.folder / "approvals").glob("*.plan.json")).unlink(), {}, "plan-changed"),
    "an environment of another server": (an_environment(lambda e: e["servers"][0].update(server_version="17")), {}, "environment"),
    "an environment without its servers": (an_environment(lambda e: e.update(servers=[])), {}, "environment"),
    "an environment of another run": (an_environment(lambda e: e["run"].update(option="B")), {}, "environment"),
    "an environment with a key twice": (
        lambda run: (run.folder / "environment.json").write_bytes(
            (run.folder / "environment.json").read_bytes().replace(b'{"run":', b'{"run":{},"run":', 1)), {}, "environment"),
    "a stand-in taken out of the verdict": (nothing, {"verdict": "SEALED", "stand_ins": True}, "verdict"),
    "another program to check with": (
        lambda run: (run.folder / "verify-evidence.pyz").write_bytes(b"print('intact')"), {"files": []}, "file-unrecorded"),
}  # fmt: skip


@pytest.mark.parametrize("what", BY_THE_SEALER)
def test_what_the_sealer_makes_up_is_named(
    sealed: Run, tmp_path: Path, people: People, executed: Path, what: str
) -> None:
    change, options, kind = BY_THE_SEALER[what]
    run = sealed
    if options.pop("stand_ins", False):
        (tmp_path / "s/first").mkdir(parents=True)
        run = whole_run(tmp_path / "s/first", people, executed, {"Snowflake": "fakesnow"})
        run.seal()
        writable(run.folder)
        assert checked(run).sealed_as == "SEALED ON STAND-INS"
    unsealed(run, change, **options)
    found = checked(run)
    assert found.verdict == "tampered"
    assert kind in {each.kind for each in found.findings}, found.findings
    assert not {each.kind for each in found.findings} & {"bad-signature", "unreadable"}


def test_the_same_without_a_change_is_intact(sealed: Run) -> None:
    unsealed(sealed, nothing)
    assert checked(sealed).findings == ()


@pytest.mark.parametrize(
    "change",
    [a_failure, lambda run: a_difference(run, report=True), a_difference, a_planted_report, another_plan, cut_at_the_first_head],
)  # fmt: skip
def test_what_the_check_names_the_seal_refuses(ready: Run, change: Callable[[Run], object]) -> None:
    change(ready)
    with pytest.raises(EvidenceRefused):
        ready.seal()


def test_a_manifest_with_a_key_twice_that_the_sealer_signed(sealed: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from helpers.checker.manifest import SealManifest

    original = SealManifest.to_bytes
    monkeypatch.setattr(
        SealManifest, "to_bytes", lambda self: original(self).replace(b'{"checklist":', b'{"run":"x","checklist":', 1)
    )
    with pytest.raises(ValueError, match="no manifest"):
        seal_anew(sealed)
    assert "manifest-damaged" in kinds(sealed)


@pytest.mark.parametrize("name", ["empty", f"{PHASE}/empty", "a/b/c"])
def test_an_empty_folder_is_named(sealed: Run, name: str) -> None:
    (sealed.folder / name).mkdir(parents=True)
    assert kinds(sealed) == {"folder-added"}


def test_an_empty_folder_of_a_run_is_not_sealed(ready: Run) -> None:
    (ready.folder / PHASE / "attempt-01-verify").mkdir()
    ready.seal()
    assert not (ready.folder / PHASE / "attempt-01-verify").exists()
    assert checked(ready).findings == ()


@pytest.mark.parametrize(
    "name", [".DS_Store", f"{PHASE}/.DS_Store", "Thumbs.db", "desktop.ini", f"{PHASE}/._attempt-01.html"]
)
def test_what_a_file_manager_leaves_is_a_note(sealed: Run, name: str) -> None:
    (sealed.folder / name).write_bytes(b"\0\0")
    found = checked(sealed)
    assert found.findings == ()
    assert any(name in note for note in found.notes)
    assert any("file manager" in line for line in check.in_words(found))


def packed(run: Run, target: Path, within: str = "", **more: bytes) -> None:
    """As `zip -r` packs a folder that somebody has unpacked."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(run.folder.rglob("*")):
            archive.write(path, f"{within}{path.relative_to(run.folder)}")
        for name, data in more.items():
            archive.writestr(f"{within}{name}", data)


@pytest.mark.parametrize("within", ["", "first/"])
def test_an_archive_that_was_packed_anew_is_intact_with_a_note(sealed: Run, tmp_path: Path, within: str) -> None:
    packed(sealed, tmp_path / "evidence.zip", within)
    found = check.check(tmp_path / "evidence.zip", sealed.people.signer("sealer").public_key)
    assert found.findings == ()
    assert any("packed anew" in note for note in found.notes)


def a_comment(data: bytes) -> bytes:
    packed = io.BytesIO(data)
    with zipfile.ZipFile(packed, "a") as archive:
        archive.comment = b"sealed, believe me"
    return packed.getvalue()


@pytest.mark.parametrize(
    "change", [a_comment, lambda data: b"#!/bin/sh\n" + data, lambda data: data + b"more", lambda data: data[:-1]]
)
def test_an_archive_that_holds_more_than_files_is_named(
    sealed: Run, tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    packed(sealed, tmp_path / "plain.zip")
    (tmp_path / "evidence.zip").write_bytes(change((tmp_path / "plain.zip").read_bytes()))
    found = check.check(tmp_path / "evidence.zip", sealed.people.signer("sealer").public_key)
    assert {each.kind for each in found.findings} & {"zip-changed", "zip-damaged"}


def test_a_file_in_an_archive_packed_anew_is_named(sealed: Run, tmp_path: Path) -> None:
    packed(sealed, tmp_path / "evidence.zip", **{"note.txt": b"x"})
    found = check.check(tmp_path / "evidence.zip", sealed.people.signer("sealer").public_key)
    assert {each.kind for each in found.findings} == {"file-added", "file-unrecorded"}


def test_no_damage_to_an_archive_packed_anew_is_an_exception(tmp_path: Path) -> None:
    files = tmp_path / "run"
    (files / "30").mkdir(parents=True)
    for name, data in {"ledger.jsonl": b"x" * 50, "30/report.json": b"", "index.html": b"hello"}.items():
        (files / name).write_bytes(data)
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(files.rglob("*")):
            archive.write(path, str(path.relative_to(files)))
    raw, path = whole.getvalue(), tmp_path / "evidence.zip"
    flipped = (raw[:at] + bytes([raw[at] ^ 1 << bit]) + raw[at + 1 :] for at in range(len(raw)) for bit in range(8))
    for damaged in (*flipped, *(raw[:cut] for cut in range(4, len(raw)))):
        path.write_bytes(damaged)
        try:
            with container.opened(path) as (found, _):
                for name in (*found.names(), *found.file_manager_files(), *found.empty_folders()):
                    found.read(name)
                    found.digest(name)
        except UsageError:
            assert not damaged.startswith(b"PK")


def test_the_checker_beside_the_archive_may_be_taken_away_and_not_replaced(sealed: Run) -> None:
    path = sealed.folder / "verify-evidence.pyz"
    assert path.read_bytes() == checker_file.content() == checker_file.content()
    path.write_bytes(path.read_bytes() + b"\n")
    assert kinds(sealed) == {"file-unrecorded"}
    path.unlink()
    assert kinds(sealed) == set()


@pytest.fixture(params=["form-1", "form-2"])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, Any]]:
    folder = SEALED / request.param
    shutil.copy(folder / "evidence.zip", tmp_path / "evidence.zip")
    yield tmp_path / "evidence.zip", public_key(str(folder / "seal.pem.pub"))


def test_what_was_sealed_before_still_verifies_with_the_words_of_its_form(
    old: tuple[Path, Any], tmp_path: Path
) -> None:
    """The archives were sealed by the code of 25 and of 30 November 2026."""
    path, key = old
    found = check.check(path, key)
    assert (found.verdict, found.findings) == ("intact", ())
    assert found.sealed_as.startswith("SEALED by the sealer's word (form ")
    assert found.told["people"]
    assert any("its verdict is the sealer's word" in note for note in found.notes)
    run_key = public_key(str(SEALED / f"form-{found.told['form']}" / "run.pem.pub"))
    assert check.check(path, key, run_key=run_key).told["run_key"] == "known beforehand"
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / "unpacked")
    assert check.check(tmp_path / "unpacked", key).findings == ()
    for name in ("manifest.json", "ledger.jsonl", "index.html", "approvals", "heads", "seal.dsse.json"):
        copy = tmp_path / f"copy-{name}"
        shutil.copytree(tmp_path / "unpacked", copy)
        file = copy / name if (copy / name).is_file() else next((copy / name).iterdir())
        data = file.read_bytes()
        file.write_bytes(data[:9] + bytes([data[9] ^ 1]) + data[10:])
        assert check.check(copy, key).verdict == "tampered", name


def test_a_seal_of_form_3_is_read_by_the_rule_of_today() -> None:
    """Sealed by the code of 30 November 2026, in which no step could exist elsewhere."""
    folder = SEALED / "form-3"
    found = check.check(folder / "evidence.zip", public_key(str(folder / "seal.pem.pub")))
    assert (found.verdict, found.findings, found.sealed_as, found.told["form"]) == ("intact", (), "SEALED", 3)
    assert found.told["counts"] == {"done": 3, "exists elsewhere": 0, "not applicable": 0}
    assert check.in_words(found)[0] == "intact: run first, sealed as SEALED: 3 done"


def test_a_seal_of_a_newer_form_is_neither_intact_nor_tampered(sealed: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from helpers.checker import manifest

    monkeypatch.setattr(manifest, "FORM", 2)
    with pytest.raises(UsageError, match="form is number 4"):
        checked(sealed)


def test_the_shipped_checklists_are_known_and_have_their_way_back() -> None:
    """A changed checklist needs its digest in `checklists.KNOWN`, beside the former ones."""
    shipped = SHIPPED
    for option in ("A", "B", "C"):
        digest = digest_of(list(declared_steps(option)))
        assert shipped.get(digest) == option, f'add "{digest}": "{option}" to helpers/checker/checklists.py'
    assert ROLLBACK == checklist.ROLLBACK


def test_an_auditor_is_told(tmp_path: Path, people: People, executed: Path) -> None:
    (tmp_path / "first").mkdir()
    run = open_run(tmp_path / "first", people, executed, {"Snowflake": "fakesnow", "Databricks": "pysail"})
    assert run.lines()
    shutil.rmtree(tmp_path / "first")
    (tmp_path / "first").mkdir()
    run = whole_run(tmp_path / "first", people, executed, {"Snowflake": "fakesnow", "Databricks": "pysail"})
    sealed = run.seal()
    assert sealed.verdict == "SEALED ON STAND-INS"
    found = checked(run)
    assert found.as_dict().keys() >= {"verdict", "findings", "sealed_as", "why", "notes", "told"}
    assert found.told["stand_ins"] == ["Databricks (pysail)", "Snowflake (fakesnow)"]
    assert {each["by"] for each in found.told["people"]} == {"alice", "bob", "carol"}
    words = "\n".join(check.in_words(found))
    for part in (
        "sealed as SEALED ON STAND-INS",
        "Snowflake (fakesnow)",
        "the run's own word",
        "alice approved s30-load",
    ):
        assert part in words
    assert "SEALED ON STAND-INS" in (run.folder / "index.html").read_text()
    assert "SEALED ON STAND-INS" in (run.folder / "manifest.json").read_text()
    assert roll(people.settings()).people


@pytest.mark.parametrize(
    "text",
    [b"", b"[]", b"{}", b'{"cells": 3}', b'{"cells": [{"cell_type": "code"}]}', b'{"cells": [], "cells": [1]}', b"\xff",
     b'{"cells": [{"cell_type": "code", "source": "x", "outputs": [3]}]}', b"[" * 100000],
)  # fmt: skip
def test_a_notebook_that_is_none_has_no_cells(text: bytes) -> None:
    assert code_cells(text) == ()


@pytest.mark.parametrize(
    "change",
    [lambda raw: raw.replace(b":", b": ", 1), lambda raw: raw.replace(b"}", b',"at":"x"}', 1), lambda raw: raw.replace(b"a", b"\\u0061", 1)],
)  # fmt: skip
def test_a_ledger_line_has_one_form(sealed: Run, change: Callable[[bytes], bytes]) -> None:
    raw = sealed.ledger.path.read_bytes().splitlines(keepends=True)[0]
    assert read(raw)[1] == []
    assert {each.kind for each in read(change(raw))[1]} & {"ledger-form", "ledger-line"}


def test_copies_are_intact(sealed: Run, tmp_path: Path) -> None:
    assert kinds(copied(sealed, tmp_path / "elsewhere" / "renamed")) == set()


def test_what_a_command_keeps_beside_the_notebooks_is_recorded(ready: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(keys.RUN_KEY, str(ready.people.key("machine")))
    path = ready.folder / "export.json"
    for text in ("{}", '{"again": 1}'):
        path.write_text(text)
        heads.record_file(ready.folder, path)
    path.write_text("{}")
    with pytest.raises(EvidenceRefused, match="report-changed"):
        ready.seal()
    path.write_text('{"again": 1}')
    assert ready.seal().verdict == "SEALED"
    assert kinds(ready) == set()


def test_a_last_verification_that_was_cut_off_is_known_to_the_machine(
    ready: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = tmp_path / "machine/run-key.pem"
    key.parent.mkdir()
    shutil.copy(ready.people.key("machine"), key)
    monkeypatch.setenv(keys.RUN_KEY, str(key))
    before = ready.ledger.path.read_bytes()
    (ready.folder / "verify-9.json").write_text("{}")
    ready.ledger.append("verified", verdict="different", target="stage", report="verify-9.json", sha256="", files=[])
    heads.sign_what_is_unsigned(ready.folder, ready.ledger)
    ready.ledger.append("approved", step="x")  # a crash between a line and the counter is no tampering
    counter.refuse_a_cut(read(ready.ledger.path.read_bytes())[0], "first")
    there = {path.name for path in (ready.folder / "heads").iterdir()}
    ready.ledger.path.write_bytes(before)
    (ready.folder / "verify-9.json").unlink()
    for line in (ready.folder / "heads").iterdir():
        if line.name not in {Path(each["envelope"]).name for each in ready.lines() if each["event"] == "head-signed"}:
            line.unlink()
    assert len(there) == 2
    with pytest.raises(EvidenceError, match="its end was cut off"):
        ready.seal()
    heads.sign_what_is_unsigned(ready.folder, ready.ledger)
    with pytest.raises(EvidenceError):
        counter.refuse_a_cut(read(ready.ledger.path.read_bytes())[0], "first")
    shutil.rmtree(key.parent / counter.FOLDER)  # whoever may do that may use the machine's key
    ready.seal()
    found = checked(ready)
    assert found.findings == ()
    assert any("nobody kept a counter" in note for note in found.notes)


def test_a_new_ledger_is_not_sealed_in_an_old_form(sealed: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a program of the sealer's own, to escape the rules of form 3."""
    from helpers.checker.manifest import SealManifest

    def in_form_2(self: SealManifest) -> bytes:
        value = asdict(self)
        for name in ("checklist", "former"):
            del value[name]
        for step in value["declared"]:
            for name in ("approval", "undoes", "elsewhere", "box"):
                del step[name]
        return canonical(value | {"version": 2}) + b"\n"

    monkeypatch.setattr(SealManifest, "to_bytes", in_form_2)
    seal_anew(
        sealed, previous=PreviousSeal(run="zeroth", seal_sha256=digest(sealed.folder / "previous-seal.dsse.json"))
    )
    assert {"form", "file-added"} >= kinds(sealed) >= {"form"}
