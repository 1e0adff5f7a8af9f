"""Steps that are somebody else's, as the settings name them, a phase asks for the word, and a person gives it.

Would catch: a step that passes without a word, by the word of one where two are needed, by a word from before it was asked for or
from before a rollback, or under another link; a glob that speaks of a system that the profile does not have; a verification or an
export that the settings leave to somebody else; a rehearsal that says something else than the act.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers import settings
from helpers.control_room.overview import overview
from helpers.errors import AwaitingPerson, SettingsError, SignatureRefused, UsageError
from helpers.evidence import signing
from helpers.ledger import folders, keys
from helpers.ledger.gate import require
from helpers.ledger.ledger import Ledger
from helpers.phases.common.phase import Phase
from helpers.phases.common.switches import Switching
from helpers.runs.following import find_following
from helpers.runs.status import read_status

PROFILE = """
[profiles.p.approvals.people]
alice = "alice.pem.pub"
bob = "bob.pem.pub"
[profiles.p.elsewhere]
"10_*" = { what = "infrastructure by Pulumi", link = "https://git.example.com/infra" }
"s50-traffic" = { what = "the load balancer, by hand", link = "https://wiki.example.com/lb" }
"s50-remove-legacy" = { what = "the platform team removes it", link = "https://tickets.example.com/7" }
"s00-backup" = { what = "pgBackRest, restored on 20 November", link = "https://wiki.example.com/backup" }
"""


@pytest.fixture
def project(tmp_path: Path, migration_toml: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("alice", "bob"):
        keys.generate(tmp_path / f"{name}.pem")
    migration_toml(PROFILE)
    (tmp_path / "outputs").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def phase(project: Path, monkeypatch: pytest.MonkeyPatch) -> Phase:
    """Within an attempt of the run `r`."""
    attempt = folders.open_attempt(project / "outputs", "r", "10_infrastructure")
    for name, value in attempt.environment().items():
        monkeypatch.setenv(name, value)
    Ledger.open(project / "outputs/r").append("run-opened", run="r", option="A", profile="p", apply=True, run_key="")
    return Phase("p", apply=True)


def attest(project: Path, step: str, by: str, note: str = "looked at it") -> dict[str, object]:
    return signing.attest(project / "outputs/r", step, by=by, key=project / f"{by}.pem", note=note, profile=None)


def state(project: Path, step: str) -> tuple[str, str]:
    found = next(each for each in read_status(project / "outputs/r").steps if each.id == step)
    return found.state, found.why


def test_a_step_waits_for_the_word_and_stands_apart_from_what_was_done(phase: Phase, project: Path) -> None:
    with pytest.raises(UsageError, match="has not asked for that word yet"):
        attest(project, "s10-base", "alice")
    with pytest.raises(AwaitingPerson, match="s10-base: infrastructure by Pulumi") as waits:
        phase.pass_over("s10-base")
    assert "runbook attest s10-base --run r" in waits.value.next_step
    status = read_status(project / "outputs/r")
    assert find_following("r", status, Ledger(project / "outputs/r/ledger.jsonl").entries(), sealed=False).command
    done = attest(project, "s10-base", "alice")
    assert done["exists_elsewhere"] == {
        "s10-base": {"what": "infrastructure by Pulumi", "link": "https://git.example.com/infra"}
    }
    assert phase.pass_over("s10-base").name == "s10-base"
    (finding,) = phase.found["s10-base"]
    assert (
        finding.what
        == "exists elsewhere: infrastructure by Pulumi (https://git.example.com/infra), by the word of alice"
    )
    assert phase.run.view()["s10-base"].state == "exists elsewhere"
    with pytest.raises(SignatureRefused, match="already signed"):
        attest(project, "s10-base", "alice")


def test_the_status_and_the_control_room_say_what_to_look_at_and_who_signs(phase: Phase, project: Path) -> None:
    with pytest.raises(AwaitingPerson):
        phase.pass_over("s50-remove-legacy")
    waits = "s50-remove-legacy awaits a person's word that it exists elsewhere: the platform team removes it (https://tickets.example.com/7)"
    assert state(project, "s50-remove-legacy") == ("awaiting", waits)
    attest(project, "s50-remove-legacy", "alice")
    (act,) = [each for each in overview(project / "outputs/r").acts if "s50-remove-legacy" in each.command]
    assert (act.who, act.needed) == (("bob",), 1)
    assert "looks at https://tickets.example.com/7 and signs" in act.what
    assert act.command == "runbook attest s50-remove-legacy --run r --by bob --key PATH --note TEXT"


def test_without_an_archive_nothing_is_archived_only_where_nothing_is_removed_here(project: Path) -> None:
    assert "names no archive" in Phase("p", apply=False).absent["s50-archive"]
    toml = project / "migration.toml"
    without = toml.read_text().replace('"s50-remove-legacy"', '"s50-dashboards"')
    toml.write_text(without + '[profiles.p.terraform]\nlegacy_module = "infra"\n')
    assert "s50-archive" not in Phase("p", apply=False).absent


def test_the_gate_of_a_step_that_is_not_performed_does_not_say_passed(phase: Phase, project: Path) -> None:
    acted, rehearsed = phase.pass_over("s20-cloud-gate"), Phase("p", apply=False).pass_over("s20-cloud-gate")
    assert str(acted) == str(rehearsed) == "– gate s20-cloud-gate not applicable"
    assert require(acted, "s20-cloud-gate") is acted
    with pytest.raises(UsageError, match="rehearsed"):
        require(rehearsed, "s20-cloud-gate")


def test_a_box_that_exists_elsewhere_is_counted_as_that(phase: Phase, project: Path) -> None:
    with pytest.raises(AwaitingPerson):
        phase.pass_over("s00-backup")
    attest(project, "s00-backup", "bob")
    phase.check("s00-backup", lambda: pytest.fail("it was looked at all the same"))
    at = "pgBackRest, restored on 20 November (https://wiki.example.com/backup), by the word of bob"
    assert state(project, "s00-backup") == ("exists elsewhere", f"s00-backup: {at}")
    assert read_status(project / "outputs/r").as_dict()["counts"] == {
        "done": 0,
        "exists elsewhere": 1,
        "not applicable": 0,
    }


def test_one_command_signs_all_that_a_glob_names_and_the_run_asks_for(phase: Phase, project: Path) -> None:
    assert {"s10-base", "s10-legacy"} <= set(settings.load("p").elsewhere)
    with pytest.raises(AwaitingPerson):
        phase.pass_over("s10-base")
    done = attest(project, "s10-*", "alice")
    assert set(done["envelopes"]) == {"s10-base"}  # type: ignore[call-overload]
    assert phase.pass_over("s10-base")


def test_a_glob_says_nothing_of_a_system_that_the_profile_does_not_have(project: Path) -> None:
    assert not {"s10-snowflake", "s10-kafka"} & set(settings.load("p").elsewhere)
    toml = project / "migration.toml"
    toml.write_text(
        toml.read_text() + '"s10-kafka" = { what = "Kafka by Strimzi", link = "https://git.example.com/kafka" }\n'
    )
    assert settings.load("p").elsewhere["s10-kafka"].what == "Kafka by Strimzi"


def test_what_needs_two_approvals_needs_two_words(phase: Phase, project: Path) -> None:
    with pytest.raises(AwaitingPerson):
        phase.pass_over("s50-remove-legacy")
    attest(project, "s50-remove-legacy", "alice")
    with pytest.raises(AwaitingPerson):
        phase.pass_over("s50-remove-legacy")
    attest(project, "s50-remove-legacy", "bob")
    assert phase.pass_over("s50-remove-legacy")


def test_another_link_is_another_word(phase: Phase, project: Path) -> None:
    with pytest.raises(AwaitingPerson):
        phase.pass_over("s10-base")
    attest(project, "s10-base", "alice")
    toml = project / "migration.toml"
    toml.write_text(toml.read_text().replace("example.com/infra", "example.com/other"))
    with pytest.raises(SignatureRefused, match="something else"):
        attest(project, "s10-base", "bob")
    again = Phase("p", apply=True)
    with pytest.raises(AwaitingPerson, match=r"example\.com/other"):
        again.pass_over("s10-base")
    attest(project, "s10-base", "alice")
    assert again.pass_over("s10-base")


def test_behind_a_rollback_the_word_is_given_anew(phase: Phase, project: Path) -> None:
    with pytest.raises(AwaitingPerson):
        phase.pass_over("s50-traffic")
    attest(project, "s50-traffic", "alice")
    assert phase.pass_over("s50-traffic") and phase.pass_over("s50-traffic")
    with phase.step("s90-traffic", {}) as step:
        step.result = {"weights": "legacy 100 : modern 0"}
    assert phase.run.view()["s50-traffic"].state == "rolled back"
    with pytest.raises(AwaitingPerson):
        phase.pass_over("s50-traffic")
    attest(project, "s50-traffic", "alice")
    assert phase.pass_over("s50-traffic")


def test_a_rehearsal_says_the_same_and_asks_nobody(phase: Phase, project: Path) -> None:
    rehearsal = Phase("p", apply=False)
    assert rehearsal.pass_over("s10-base").rehearsed
    assert rehearsal.findings("s10-base")["what"].iloc[0].startswith("exists elsewhere: infrastructure by Pulumi")
    assert state(project, "s10-snowflake")[0] == "open" and rehearsal.run.view()["s10-base"].state == "planned"
    nothing = rehearsal.passed_over("s50-dns")["what"].iloc[0]
    phase.pass_over("s50-dns")
    assert (
        nothing
        == phase.findings("s50-dns")["what"].iloc[0]
        == ("not applicable: the profile names no record that readers follow ([profiles.p.dns])")
    )
    events = [json.loads(x)["event"] for x in (project / "outputs/r/ledger.jsonl").read_text().splitlines()]
    assert "awaiting" not in events


def test_a_moment_s_act_is_asked_for_at_its_moment() -> None:
    assert Phase.ASKS_AT_ONCE and not Switching.ASKS_AT_ONCE


@pytest.mark.parametrize(
    "key", ["s30-export", "s30-gate", "s50-cutover", "s50-final-gate", "s60-pipeline", "s00-a-choice", "30_*", "s99"]
)
def test_what_proves_the_data_is_nobody_else_s(project: Path, key: str) -> None:
    toml = project / "migration.toml"
    toml.write_text(toml.read_text() + f'"{key}" = {{ what = "somebody", link = "https://example.com" }}\n')
    with pytest.raises(
        SettingsError, match=f"elsewhere has {key.replace('*', '.')}.*these may exist elsewhere: s00-backup"
    ):
        settings.load("p")


@pytest.mark.parametrize("more", ['link = "nowhere"', 'link = "https://user:secret@example.com/"', 'what = "x"'])
def test_a_link_leads_somewhere_and_holds_no_secret(project: Path, more: str) -> None:
    toml = project / "migration.toml"
    named = {"what": 'what = "somebody"', "link": 'link = "https://example.com"', more.split()[0]: more}
    toml.write_text(toml.read_text() + f'"s60-recovery" = {{ {", ".join(named.values())} }}\n')
    with pytest.raises(SettingsError):
        settings.load("p")


def test_a_word_is_not_enough_where_the_settings_do_not_say_so(phase: Phase, project: Path) -> None:
    with pytest.raises(UsageError, match="only where the settings say that it exists elsewhere") as refused:
        attest(project, "s40-functional", "alice")
    assert '"s40-functional" = ' in refused.value.next_step
