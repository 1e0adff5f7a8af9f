"""Who may let a step pass.

Would catch: one person who counts as two, a key that is not that person's, an approval that outlives its plan or its
snapshot, one that was carried over from another run, and a token that nobody gave.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from evidence_support import LSN, PLAN, People, Run, TestLedger, open_run, rewrite_ledger

from helpers.errors import AwaitingPerson, SettingsError, SignatureRefused, UsageError
from helpers.evidence import approvals
from helpers.evidence.people import roll
from helpers.settings import Approvals, Settings

STEP = "s30-load"


@pytest.fixture
def run(tmp_path: Path, people: People, executed: Path) -> Run:
    (tmp_path / "runs/first").mkdir(parents=True)
    return open_run(tmp_path / "runs/first", people, executed)


def require(run: Run, plan: object = PLAN, lsn: str = LSN, settings: Settings | None = None) -> approvals.ApprovalToken:
    settings = settings or run.people.settings()
    return approvals.require(run.folder, STEP, plan, lsn, settings, ledger=run.ledger)


def approve(
    run: Run, name: str, *, key: str | None = None, settings: Settings | None = None, plan: str | None = None
) -> Path:
    return approvals.approve(
        run.folder,
        STEP,
        by=name,
        key=run.people.key(key or name),
        settings=settings or run.people.settings(),
        ledger=run.ledger,
        plan_sha256=plan,
    )


def awaits(run: Run, **options: object) -> AwaitingPerson:
    with pytest.raises(AwaitingPerson) as awaiting:
        require(run, **options)  # type: ignore[arg-type]
    return awaiting.value


def test_a_step_waits_until_two_people_have_approved_its_plan(run: Run) -> None:
    waiting = awaits(run)
    assert waiting.exit_code == 3
    assert "0 of 2" in waiting.why
    assert f"runbook approve {STEP} --run first --by PERSON" in waiting.next_step
    assert all(name in waiting.why for name in ("alice", "bob", "carol"))
    approve(run, "alice")
    assert "1 of 2" in awaits(run).why
    assert "alice" not in awaits(run).why
    approve(run, "bob")
    token = require(run)
    assert token.by == ("alice", "bob")
    assert approvals.accept(token, STEP, PLAN, LSN) is token
    assert [line["event"] for line in run.lines()][-3:] == ["awaiting", "approved", "approved"]
    assert json.loads(next((run.folder / "approvals").glob("*.plan.json")).read_text()) == PLAN


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("\u0430lice", "CYRILLIC and LATIN"),
        ("\u03b1lice", "GREEK and LATIN"),
        ("ali\u200bce", "nobody sees"),
        ("ali\u00adce", "nobody sees"),
        ("\u202aalice", "nobody sees"),
        ("alice\n", "nobody sees"),
        (" ", "is empty"),
        ("\uff21lice", "one person"),
        ("al ice", "one person"),
    ],
)
def test_a_name_that_can_be_taken_for_another_is_refused(run: Run, name: str, why: str) -> None:
    awaits(run)
    approve(run, "alice")
    people = {"alice": "alice.pem.pub", name: "bob.pem.pub"}
    with pytest.raises(SettingsError, match=why):
        approve(run, name, key="bob", settings=run.people.settings(**people))


@pytest.mark.parametrize("name", ["Zoë", "Алиса", "山田 太郎", "O'Brien-Smith", "alice.b@example.com", "İpek"])
def test_a_name_of_any_one_alphabet_is_a_name(run: Run, name: str) -> None:
    awaits(run)
    settings = run.people.settings(**{"alice": "alice.pem.pub", name: "bob.pem.pub"})
    approve(run, name, key="bob", settings=settings)


def test_two_approvers_who_are_one_person_are_refused(run: Run) -> None:
    awaits(run)
    approve(run, "alice")
    with pytest.raises(SignatureRefused, match="already") as refused:
        approve(run, "alice")
    assert refused.value.exit_code == 1
    # One key under two names.
    with pytest.raises(SettingsError, match="one person"):
        approve(run, "bob", key="alice", settings=run.people.settings(alice="alice.pem.pub", bob="alice.pem.pub"))
    # Two keys under one name, which the settings cannot say but for case and spaces.
    with pytest.raises(SettingsError, match="one person"):
        approve(
            run,
            "Alice ",
            key="bob",
            settings=run.people.settings(**{"alice": "alice.pem.pub", "Alice ": "bob.pem.pub"}),
        )
    # Her second key, after the settings were given it: the first no longer counts, and she has signed already.
    moved = run.people.settings(alice="mallory.pem.pub", bob="bob.pem.pub")
    with pytest.raises(SignatureRefused, match="already"):
        approve(run, "alice", key="mallory", settings=moved)
    # Her key under a new name, after hers was taken out.
    renamed = run.people.settings(al="alice.pem.pub", bob="bob.pem.pub")
    with pytest.raises(SignatureRefused, match="already"):
        approve(run, "al", key="alice", settings=renamed)
    assert sum(line["event"] == "approved" for line in run.lines()) == 1
    awaits(run)


def test_a_key_that_is_not_that_persons_is_refused(run: Run) -> None:
    awaits(run)
    for name, key in (("alice", "bob"), ("alice", "mallory")):
        with pytest.raises(SignatureRefused, match="the key of alice"):
            approve(run, name, key=key)
    with pytest.raises(UsageError, match="alice, bob, carol"):
        approve(run, "mallory")
    assert not list((run.folder / "approvals").glob("*.dsse.json"))


@pytest.mark.parametrize(("plan", "lsn"), [({**PLAN, "rows": 3}, LSN), (PLAN, "0/16B3749")])
def test_a_changed_plan_or_snapshot_voids_what_was_approved(run: Run, plan: object, lsn: str) -> None:
    awaits(run)
    approve(run, "alice")
    approve(run, "bob")
    old = require(run)
    assert "0 of 2" in awaits(run, plan=plan, lsn=lsn).why
    with pytest.raises(UsageError):
        approvals.accept(old, STEP, plan, lsn)
    approve(run, "alice")
    approve(run, "bob")
    assert require(run, plan=plan, lsn=lsn).lsn == lsn
    assert require(run) == dataclasses.replace(old)


def test_the_plan_that_was_read_is_the_one_that_is_signed(run: Run) -> None:
    awaits(run)
    read = run.lines()[-1]["payload"]["plan_sha256"]
    awaits(run, plan={"table": "all of them"})
    with pytest.raises(SignatureRefused, match="not"):
        approve(run, "alice", plan=read[:12])
    awaits(run)
    approve(run, "alice", plan=read[:12])


def test_nothing_is_approved_that_does_not_wait(run: Run) -> None:
    with pytest.raises(UsageError, match="none of its plans is waiting"):
        approve(run, "alice")


def test_an_approval_of_another_run_does_not_count(run: Run, executed: Path) -> None:
    awaits(run)
    approve(run, "alice")
    (run.folder.parent / "second").mkdir()
    second = open_run(run.folder.parent / "second", run.people, executed)
    awaits(second)
    shutil.copytree(run.folder / "approvals", second.folder / "approvals", dirs_exist_ok=True)
    line = {k: v for k, v in run.lines()[-1].items() if k not in ("n", "at", "prev", "event")}
    second.ledger.append("approved", **line)
    approve(second, "bob")
    assert "1 of 2" in awaits(second).why


def test_the_ledgers_word_alone_counts_for_nothing(run: Run) -> None:
    awaits(run)
    approve(run, "alice")
    forged = run.lines()[-1] | {"by": "bob", "key_id": roll(run.people.settings()).people["bob"].keyid}
    run.ledger.append("approved", **{k: v for k, v in forged.items() if k not in ("n", "at", "prev", "event")})
    assert "1 of 2" in awaits(run).why
    approve(run, "carol")
    (envelope,) = {line["envelope"] for line in run.lines() if line.get("by") == "carol"}
    (run.folder / envelope).unlink()
    assert "1 of 2" in awaits(run).why


def test_what_came_before_a_signature_cannot_be_rewritten(run: Run) -> None:
    awaits(run)
    approve(run, "alice")
    approve(run, "bob")
    rewrite_ledger(run, lambda lines: lines[4]["result"].update(lsn="0/0"), chain=True)
    assert "0 of 2" in awaits(run).why


def test_how_many_have_to_approve(people: People) -> None:
    known = people.settings()

    def needed(step: str, kind: str, settings: Settings) -> int:
        return roll(settings).needed(step, kind)

    assert [needed("s", kind, known) for kind in ("cutover", "destructive", "other")] == [2, 2, 1]
    local = dataclasses.replace(known, values=known.values.model_copy(update={"stack": "local"}))
    assert needed("s", "cutover", local) == 1
    own = Approvals(people=known.approvals.people, threshold=2, thresholds={"s50-dns": 3, "cutover": 1})
    told = dataclasses.replace(known, values=known.values.model_copy(update={"approvals": own}))
    assert [needed(*each, told) for each in (("s50-dns", "cutover"), ("s", "cutover"), ("s", "other"))] == [3, 1, 2]
    with pytest.raises(SettingsError, match="needs 2 approvals, and 1"):
        needed("s", "cutover", people.settings(alice="alice.pem.pub"))
    with pytest.raises(SettingsError, match="needs 2 approvals, and 0"):
        needed(
            "s",
            "cutover",
            dataclasses.replace(known, values=known.values.model_copy(update={"approvals": Approvals()})),
        )


def test_no_other_token_opens_the_step(run: Run) -> None:
    awaits(run)
    approve(run, "alice")
    approve(run, "bob")
    token = require(run)
    forged = approvals.ApprovalToken(token.run, STEP, token.plan_sha256, LSN, ("alice", "bob"))
    for other in (None, True, forged, dataclasses.replace(token, lsn="0/0"), dataclasses.replace(token, by=("x",))):
        with pytest.raises(UsageError):
            approvals.accept(other, STEP, PLAN, LSN)
    for step, plan, lsn in (("s30-other", PLAN, LSN), (STEP, {}, LSN), (STEP, PLAN, "0/0")):
        with pytest.raises(UsageError):
            approvals.accept(token, step, plan, lsn)


def test_a_persons_word_is_signed_once(run: Run) -> None:
    settings, key = run.people.settings(), run.people.key("carol")

    def attest(by: str, key: Path, note: str = "all three shifts") -> Path:
        return approvals.attest(
            run.folder, "s30-training", by=by, key=key, note=note, settings=settings, ledger=run.ledger
        )

    assert approvals.attested(run.folder, "s30-training", settings) is None
    with pytest.raises(UsageError, match="secret"):
        attest("carol", key, note="password=hunter2hunter2")
    attest("carol", key)
    assert approvals.attested(run.folder, "s30-training", settings) == "carol"
    with pytest.raises(SignatureRefused, match="already"):
        attest("carol", key)
    with pytest.raises(SignatureRefused):
        attest("carol", run.people.key("mallory"))
    rewrite_ledger(run, lambda lines: lines[-1].update(note="none of them"), chain=True)
    assert approvals.attested(run.folder, "s30-training", settings) is None


def test_a_run_that_is_not_there_broken_or_sealed_takes_no_signature(run: Run) -> None:
    with pytest.raises(UsageError, match="no ledger"):
        approvals.approve(
            run.folder / "no", STEP, by="alice", key=run.people.key("alice"), settings=run.people.settings(),
            ledger=TestLedger(run.folder / "no"),
        )  # fmt: skip
    awaits(run)
    broken = run.ledger.path.read_bytes()
    rewrite_ledger(run, lambda lines: lines[3].update(load_id="c" * 32))
    run.ledger.path.write_bytes(run.ledger.path.read_bytes().replace(b'"n":4', b'"n":9'))
    with pytest.raises(UsageError, match="chain"):
        approve(run, "alice")
    run.ledger.path.write_bytes(broken)
    run.ledger.append("sealed", manifest_sha256="0" * 64, verdict="SEALED", envelope="seal.dsse.json")
    with pytest.raises(UsageError, match="sealed"):
        approve(run, "alice")


@pytest.mark.parametrize("plan", [object(), {"rows": float("nan")}])
def test_a_plan_without_a_digest_is_refused(run: Run, plan: object) -> None:
    with pytest.raises(UsageError, match="digest a plan"):
        require(run, plan=plan)
