"""People come and go, and keys are replaced, while a run goes on.

Would catch: an approval that is lost because its signer has left since; a key that signs after its time, or with a day of its own
choosing; a former key that is somebody else's.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from evidence_support import DECLARED, LSN, PLAN, People, Run, open_run, whole_run

from helpers.checker import check
from helpers.errors import AwaitingPerson, EvidenceRefused, SettingsError, SignatureRefused, UsageError
from helpers.evidence import approvals
from helpers.evidence.people import roll
from helpers.ledger import keys
from helpers.runs import attempts
from helpers.settings import Settings
from helpers.settings.people import Approvals, FormerKey

TODAY = datetime.now(UTC).date()


def left(people: People, who: str, last: date, *, key: str = "", start: date | None = None) -> Settings:
    """The settings after somebody's key became a former one; with `key` that is the one they have now."""
    own = people.settings()
    named = {name: given for name, given in own.approvals.people.items() if name != who} | (
        {who: f"{key}.pem.pub"} if key else {}
    )
    gone = FormerKey.model_validate(
        {"name": who, "key": f"{who}.pem.pub", "to": last} | ({"from": start} if start else {})
    )
    changed = own.approvals.model_copy(update={"people": named, "former": (gone,)})
    return replace(own, values=own.values.model_copy(update={"approvals": changed}))


def sealed(run: Run, settings: Settings) -> check.Checked:
    known = roll(settings)
    run.seal(people=known.people, former=known.former)
    return check.check(run.folder, run.people.signer("sealer").public_key)


@pytest.mark.parametrize("key", ["", "mallory"])
def test_what_was_signed_before_somebody_left_stays_good(ready: Run, key: str) -> None:
    """Also where the key was replaced by another one of the same person."""
    found = sealed(ready, left(ready.people, "bob", TODAY, key=key))
    assert (found.findings, found.sealed_as) == ((), "SEALED")


@pytest.mark.parametrize(
    "when",
    [{"last": TODAY - timedelta(days=1)}, {"last": TODAY + timedelta(days=9), "start": TODAY + timedelta(days=1)}],
)
def test_what_was_signed_outside_of_a_key_s_time_is_void(ready: Run, when: dict[str, Any]) -> None:
    with pytest.raises(EvidenceRefused, match=r"bob, whose key|1 of 2 approvals"):
        sealed(ready, left(ready.people, "bob", **when))


def test_a_former_key_signs_nothing_and_still_counts_for_the_step(
    tmp_path: Path, people: People, executed: Path
) -> None:
    (tmp_path / "first").mkdir()
    run = open_run(tmp_path / "first", people, executed)

    def require(settings: Settings) -> approvals.ApprovalToken:
        return approvals.require(run.folder, "s30-load", PLAN, LSN, settings, ledger=run.ledger)

    def approve(by: str, settings: Settings, key: str = "") -> None:
        approvals.approve(
            run.folder, "s30-load", by=by, key=people.key(key or by), settings=settings, ledger=run.ledger
        )

    with pytest.raises(AwaitingPerson):
        require(people.settings())
    approve("bob", people.settings())
    after = left(people, "bob", TODAY)
    with pytest.raises(UsageError, match="sign as bob"):
        approve("bob", after)
    with pytest.raises(SignatureRefused):
        approve("bob", left(people, "bob", TODAY, key="mallory"), key="mallory")  # the same person, once more
    with pytest.raises(AwaitingPerson, match="1 of 2"):
        require(after)
    approve("alice", after)
    assert require(after).by == ("alice", "bob")
    with pytest.raises(AwaitingPerson, match="1 of 2"):
        require(left(people, "bob", TODAY - timedelta(days=1)))


def since(people: People, who: str, first: date) -> Settings:
    """The settings in which somebody's key of now has a first day."""
    own = people.settings()
    told = {"people": own.approvals.people, "thresholds": own.approvals.thresholds, "from": {who: str(first)}}
    changed = own.approvals.model_copy(update={"start": Approvals.model_validate(told).start})
    return replace(own, values=own.values.model_copy(update={"approvals": changed}))


def test_what_was_signed_before_a_key_s_first_day_is_void(ready: Run) -> None:
    with pytest.raises(EvidenceRefused, match=r"bob, whose key|1 of 2 approvals"):
        sealed(ready, since(ready.people, "bob", TODAY + timedelta(days=1)))
    found = sealed(ready, since(ready.people, "bob", TODAY))
    assert (found.findings, found.sealed_as) == ((), "SEALED")


def test_a_key_signs_nothing_before_its_first_day(tmp_path: Path, people: People, executed: Path) -> None:
    (tmp_path / "first").mkdir()
    run = open_run(tmp_path / "first", people, executed)
    tomorrow = since(people, "bob", TODAY + timedelta(days=1))

    def approve(settings: Settings) -> None:
        approvals.approve(run.folder, "s30-load", by="bob", key=people.key("bob"), settings=settings, ledger=run.ledger)

    def require(settings: Settings) -> None:
        approvals.require(run.folder, "s30-load", PLAN, LSN, settings, ledger=run.ledger)

    with pytest.raises(AwaitingPerson):
        require(tomorrow)
    before = run.ledger.path.read_bytes()
    with pytest.raises(UsageError, match="signs from"):
        approve(tomorrow)
    assert run.ledger.path.read_bytes() == before
    approve(since(people, "bob", TODAY))
    with pytest.raises(AwaitingPerson, match="1 of 2"):
        require(since(people, "bob", TODAY))
    with pytest.raises(AwaitingPerson, match="0 of 2"):
        require(tomorrow)


def test_a_first_day_is_that_of_somebody_known(people: People) -> None:
    with pytest.raises(SettingsError, match=r"approvals\.from\.nobody"):
        roll(since(people, "nobody", TODAY))


def test_the_check_compares_the_first_day_of_a_key_of_now(tmp_path: Path, people: People, executed: Path) -> None:
    (tmp_path / "first").mkdir()
    run = whole_run(tmp_path / "first", people, executed)
    known = roll(since(people, "bob", TODAY))
    run.seal(people=known.people, former=known.former, declared=DECLARED)
    manifest = run.folder / "manifest.json"
    manifest.chmod(0o644)
    manifest.write_bytes(manifest.read_bytes().replace(f'"start":"{TODAY}"'.encode(), b'"start":"2999-01-01"'))
    found = {each.kind for each in check.check(run.folder, people.signer("sealer").public_key).findings}
    assert {"file-changed", "signer-unknown", "not-approved"} <= found


def test_a_former_key_is_one_person_s(people: People) -> None:
    own = people.settings()
    taken = FormerKey.model_validate({"name": "carol", "key": "alice.pem.pub", "to": TODAY})
    changed = own.approvals.model_copy(update={"former": (taken,)})
    with pytest.raises(SettingsError, match="another person"):
        roll(replace(own, values=own.values.model_copy(update={"approvals": changed})))


def test_the_check_compares_a_former_key_s_days(tmp_path: Path, people: People, executed: Path) -> None:
    (tmp_path / "first").mkdir()
    run = whole_run(tmp_path / "first", people, executed)
    known = roll(left(people, "bob", TODAY))
    run.seal(people=known.people, former=known.former, declared=DECLARED)
    assert check.check(run.folder, people.signer("sealer").public_key).findings == ()
    manifest = run.folder / "manifest.json"
    manifest.chmod(0o644)
    manifest.write_bytes(manifest.read_bytes().replace(f'"end":"{TODAY}"'.encode(), b'"end":"2020-01-01"'))
    found = {each.kind for each in check.check(run.folder, people.signer("sealer").public_key).findings}
    assert {"file-changed", "signer-unknown", "not-approved"} <= found


def test_a_run_goes_on_with_the_machine_s_key_that_it_was_opened_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(keys.RUN_KEY, str(tmp_path / "old.pem"))
    notebook = tmp_path / "30_x.ipynb"
    notebook.write_text("{}")
    attempt, ledger = attempts.start(tmp_path / "outputs", "r", notebook, {}, option="A")
    attempts.end(ledger, attempt, "done", 0)
    before = ledger.path.read_bytes()
    monkeypatch.setenv(keys.RUN_KEY, str(tmp_path / "new.pem"))
    with pytest.raises(UsageError, match="another machine's key"):
        attempts.start(tmp_path / "outputs", "r", notebook, {}, option="A")
    assert ledger.path.read_bytes() == before
    monkeypatch.setenv(keys.RUN_KEY, str(tmp_path / "old.pem"))
    assert attempts.start(tmp_path / "outputs", "r", notebook, {}, option="A")[0].number == 2
