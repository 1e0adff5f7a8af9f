"""A person's word and a person's approval, as a phase asks for them and as the form in a notebook gives them.

Would catch: a form that signs with another's key, signs twice, offers a sealed run or shows a key's content; a phase that goes on
without a word, that names only the first that is missing, or whose approval outlives a change of the plan.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from helpers import checklist, settings
from helpers.errors import AwaitingPerson, GateClosed, UsageError
from helpers.evidence import signing
from helpers.ledger import folders, keys, steps
from helpers.ledger.ledger import Ledger
from helpers.phases.common.form import AttestationForm
from helpers.phases.common.phase import Finding, Phase
from helpers.phases.common.plan import StepPlan
from helpers.runs.status import read_status
from helpers.settings import Profile, Settings

PHASE = "60_post_migration"
PROFILE = """
[profiles.p]
[profiles.p.approvals]
thresholds = { destructive = 2 }
[profiles.p.approvals.people]
alice = "alice.pem.pub"
bob = "bob.pem.pub"
"""


@pytest.fixture
def project(tmp_path: Path, migration_toml: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project whose checklist has a step that needs two approvals."""
    text = checklist.FILE.read_text().split("[[step]]")
    for number, part in enumerate(text):
        if 'id = "s50-remove-legacy"' in part and "approval" not in part:
            text[number] = part.replace("cell = ", 'approval = "destructive"\ncell = ', 1)
    own = tmp_path / "checklist.toml"
    own.write_text("[[step]]".join(text))
    monkeypatch.setattr(checklist, "FILE", own)
    checklist.steps.cache_clear()
    (tmp_path / "keys").mkdir()
    for name in ("alice", "bob"):
        keys.generate(tmp_path / f"{name}.pem")
    migration_toml(PROFILE)
    (tmp_path / "outputs").mkdir()
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    monkeypatch.undo()
    checklist.steps.cache_clear()


@pytest.fixture
def phase(project: Path, monkeypatch: pytest.MonkeyPatch) -> Phase:
    """Within an attempt of the run `r`."""
    attempt = folders.open_attempt(project / "outputs", "r", PHASE)
    for name, value in attempt.environment().items():
        monkeypatch.setenv(name, value)
    ledger = Ledger.open(project / "outputs/r")
    ledger.append("run-opened", run="r", option="A", profile="p", apply=True, run_key="")
    return Phase("p", apply=True)


def filled(form: AttestationForm, *, by: str, key: Path, note: str = "all three shifts") -> AttestationForm:
    form.by.value, form.key.value, form.note.value = by, str(key), note
    form.sign.click()
    return form


def lines(project: Path, event: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (project / "outputs/r/ledger.jsonl").read_text().splitlines()]
    return [line for line in found if line["event"] == event]


def test_a_phase_waits_for_every_word_and_the_form_gives_it(project: Path, phase: Phase) -> None:
    names = ("s60-training", "s60-continuity")
    with pytest.raises(AwaitingPerson) as waiting:
        phase.words(*names)
    assert waiting.value.exit_code == 3
    assert all(name in waiting.value.on for name in names)
    assert [line["step"] for line in lines(project, "awaiting")] == list(names)
    with pytest.raises(AwaitingPerson):
        phase.words(*names)
    assert len(lines(project, "awaiting")) == 2, "waiting again is no new fact"

    form = AttestationForm(names, "p", project / "outputs")
    assert "✔ alice has signed s60-training" in filled(form, by="alice", key=project / "alice.pem").answer.value
    form.step.value = "s60-continuity"
    assert "✔ bob has signed s60-continuity" in filled(form, by="bob", key=project / "bob.pem").answer.value
    assert list(phase.words(*names)["by"]) == ["alice", "bob"]
    assert {s.id: s.state for s in read_status(project / "outputs/r").steps}["s60-training"] == "done"


@pytest.mark.parametrize(
    ("by", "key", "told"),
    [
        ("alice", "bob.pem", "this one is"),
        ("alice", "no-such.pem", "No such file"),
        ("alice", "alice.pem.pub", "users other than its owner may read"),
    ],
)
def test_a_form_says_why_it_did_not_sign(project: Path, phase: Phase, by: str, key: str, told: str) -> None:
    form = filled(AttestationForm(["s60-training"], "p", project / "outputs"), by=by, key=project / key)
    assert form.answer.value.startswith("✘")
    assert told in form.answer.value
    assert not lines(project, "attested")
    assert not form.sign.disabled


def test_a_word_is_given_once_and_not_with_a_secret_or_markup_in_it(project: Path, phase: Phase) -> None:
    form = AttestationForm(["s60-training"], "p", project / "outputs")
    filled(form, by="alice", key=project / "alice.pem", note="password=hunter2hunter2")
    assert "the note seems to hold" in form.answer.value
    form.key.value = "<b>x</b>"
    form.sign.click()
    assert "<b>" not in form.answer.value
    filled(form, by="alice", key=project / "alice.pem")
    filled(form, by="alice", key=project / "alice.pem")
    assert "has already signed it" in form.answer.value
    assert len(lines(project, "attested")) == 1
    assert "BEGIN PRIVATE" not in json.dumps(form.get_state(), default=str)


def test_a_form_without_a_run_or_for_a_sealed_one_cannot_be_sent(project: Path, phase: Phase) -> None:
    (project / "outputs/r/seal.dsse.json").write_text("{}")
    form = AttestationForm(["s60-training"], "p", project / "outputs")
    assert form.sign.disabled
    assert "no run that can be signed" in form.answer.value


def test_no_word_is_kept_outside_of_a_run(project: Path) -> None:
    with pytest.raises(UsageError, match="only a run keeps those"):
        Phase("p", apply=True).words("s60-training")
    assert list(Phase("p", apply=False).words("s60-training")["by"]) == ["planned: a person's word"]


def test_an_approval_needs_two_people_and_holds_for_one_plan(project: Path, phase: Phase) -> None:
    def plan(*names: str) -> StepPlan:
        objects = pd.DataFrame({"object": names, "action": "destroy"}).set_index("object")
        return StepPlan("s50-remove-legacy", "destroy what is left", objects, {"objects": len(names)}, "none")

    def approve(by: str) -> None:
        signing.approve(
            project / "outputs/r", "s50-remove-legacy", by=by, key=project / f"{by}.pem", plan_sha256=None, profile=None
        )

    with pytest.raises(AwaitingPerson, match="0 of 2"):
        phase.approve(plan("a"))
    approve("alice")
    with pytest.raises(AwaitingPerson, match="1 of 2"):
        phase.approve(plan("a"))
    approve("bob")
    assert phase.approve(plan("a")).by == ("alice", "bob")
    with pytest.raises(AwaitingPerson, match="0 of 2"):
        phase.approve(plan("a", "b"))
    with pytest.raises(UsageError, match="the checklist asks for none"):
        phase.approve(StepPlan("s60-training", "", pd.DataFrame(), {}, ""))


def test_a_check_closes_its_gate_with_what_stops_and_tells_the_cure(project: Path, phase: Phase) -> None:
    weak = Finding("stop", "bucket b", "it is public", "block public access")
    with pytest.raises(Exception, match=r"bucket b: it is public.*block public access"):
        phase.check("s60-security", lambda: [Finding("note", "x", "fine"), weak])
    token = phase.check("s60-security", lambda: [Finding("warning", "x", "old", "renew it")])
    assert str(token) == "✔ gate s60-security passed"
    done = lines(project, "step-done")[-1]["result"]
    assert json.loads((project / "outputs/r" / done["evidence"]).read_text())[0]["what"] == "old"
    assert settings.load("p").profile == "p"


def test_a_step_that_fails_says_whom_to_call_and_one_that_waits_does_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    contact = {"name": "Ana", "role": "on call", "reach": "+1"}
    phase = Phase.__new__(Phase)
    phase.apply, phase.run = False, steps.current()
    phase.settings = Settings("p", tmp_path / "migration.toml", Profile.model_validate({"escalation": [contact]}))
    for error, said in ((GateClosed, "1. Ana, on call: +1"), (AwaitingPerson, "")):
        with pytest.raises(error), phase.step("s30-export", {}):
            raise error("do it", on="x", why="y", next_step="z")
        printed = capsys.readouterr().out
        assert said in printed
        assert bool(printed) == bool(said)
