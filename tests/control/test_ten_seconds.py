"""The first screen of the control room answers three questions: are we done, what differs, who must act.

Would catch: a good word above a run that is tampered or different, a target without its stand-in or age, a person who is asked
though they have signed, a signature that does not hold and counts, an operator who is sent to sign what is signed, a way back
that nobody took and that keeps a run from being done, a table that loses its columns to long names.
"""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from test_control_room import BUILT, PHASE, opened, reported, take_all_before

from helpers import checklist
from helpers.checker.finding import Finding
from helpers.control_room import evidence, flow, overview, timeline, view
from helpers.control_room.evidence import Checked, Signature
from helpers.control_room.pending import pending_actions
from helpers.errors import AwaitingPerson, GateClosed
from helpers.ledger.ledger import Ledger
from helpers.ledger.steps import Run
from helpers.runs.status import make_status


def report(folder: Path, verdict: str, target: str = "snowflake", attempt: int = 1, name: str = "t") -> None:
    (folder / PHASE).mkdir(exist_ok=True)
    value = reported(None, name, verdict) | {"target": target}
    (folder / PHASE / f"attempt-{attempt:02}-verify-{target}.json").write_text(json.dumps(value))


def gone(folder: Path) -> Run:
    return opened(folder, started=1.0)


def everything(run: Run) -> None:
    for step in checklist.steps_for_option("A"):
        if step.phase != checklist.ROLLBACK:
            for name in step.ids:
                with run.step(name, inputs={}):
                    pass


def words(folder: Path) -> str:
    """What stands in the first screen, without its tags."""
    found = overview.overview(folder)
    return " ".join(re.sub(r"<[^>]+>", " ", view.top(found, [found])).split())


def test_a_run_that_was_only_opened_is_not_begun(tmp_path: Path) -> None:
    Ledger.open(tmp_path / "r").append("run-opened", run="r", option="A", profile="local", apply=True, git={})
    assert overview.overview(tmp_path / "r").state == "not begun"
    assert "runbook run 00 --run r" in words(tmp_path / "r")


def test_a_run_that_works_says_how_far_it_is_and_asks_nobody(tmp_path: Path) -> None:
    run = opened(tmp_path / "r")
    take_all_before(run, "s30-load")
    with run.step("s30-load", inputs={}):
        assert overview.overview(tmp_path / "r").state == "running"
        shown = words(tmp_path / "r")
    assert "Nobody : it works by itself" in shown
    assert "4 of 11" in shown and "left as planned" in shown


@pytest.mark.parametrize("at_work", [True, False])
def test_a_difference_is_said_before_anything_else(tmp_path: Path, at_work: bool) -> None:
    run = opened(tmp_path / "r") if at_work else gone(tmp_path / "r")
    everything(run)
    report(tmp_path / "r", "equal", "databricks")
    report(tmp_path / "r", "different")
    assert overview.overview(tmp_path / "r").state == "different"
    shown = words(tmp_path / "r")
    assert "1 of 1 tables in Snowflake is not what the source holds: s.t (1 changed; c: rounded)." in shown
    assert shown.index("Snowflake different") < shown.index("Databricks (Delta) equal")


def test_the_last_verification_of_a_target_is_the_one_that_counts(tmp_path: Path) -> None:
    run = gone(tmp_path)
    report(tmp_path, "different")
    assert overview.overview(tmp_path).state == "different"
    (run.ledger or pytest.fail()).append("attempt-started", phase=PHASE, attempt="attempt-02", parameters={}, by="ann",
                                         process={"host": "elsewhere", "pid": 1, "started": 1.0})  # fmt: skip
    report(tmp_path, "equal", attempt=2)
    # A copy's files may all be of one moment, or of the wrong one: the ledger says which report is the later.
    for path in (tmp_path / PHASE).iterdir():
        path.touch()
    (tmp_path / PHASE / "attempt-01-verify-snowflake.json").touch()
    assert [each.verdict for each in overview.overview(tmp_path).verdicts] == ["equal"]


def test_a_tampered_run_says_so_before_that_it_differs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    everything(gone(tmp_path / "r"))
    report(tmp_path / "r", "different")
    (tmp_path / "r" / "seal.dsse.json").write_text("{}")
    assert overview.overview(tmp_path / "r").state == "different"
    finding = Finding("file-changed", "x.json", "it was changed")
    monkeypatch.setattr(overview, "checked", lambda folder, key: Checked("tampered", (finding,)))
    found = overview.overview(tmp_path / "r", "")
    page = view.top(found, [found])
    assert found.state == "tampered"
    assert "x.json" in page and "not proven" in page and "Nobody" not in page


def test_a_seal_that_nobody_checked_is_no_good_word(tmp_path: Path) -> None:
    everything(gone(tmp_path / "r"))
    (tmp_path / "r" / "seal.dsse.json").write_text("{}")
    assert overview.overview(tmp_path / "r").state == "sealed, not checked"
    assert "Somebody checks the seal" in words(tmp_path / "r")


@pytest.mark.parametrize(
    ("word", "kind"), [("SEALED", "sealed"), ("PARTIAL ON STAND-INS", "partly"), ("REHEARSAL", "partly")]
)
def test_a_seal_that_proves_less_is_said_with_its_own_word(
    tmp_path: Path, word: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone(tmp_path / "r")
    (tmp_path / "r" / "seal.dsse.json").write_text("{}")
    monkeypatch.setattr(overview, "checked", lambda folder, key: Checked("intact", word=word))
    page = view.top(overview.overview(tmp_path / "r", ""), [])
    assert f'<section class="answer {kind}"' in page
    assert f'<p class="word">{word.split()[0]}' in page
    assert "Nobody" in page


def test_a_run_is_ready_to_seal_without_a_way_back_that_nobody_took(tmp_path: Path) -> None:
    everything(gone(tmp_path / "r"))
    found = overview.overview(tmp_path / "r")
    assert (found.state, found.over) == ("ready to seal", len(found.counted))
    assert "runbook seal --run r" in words(tmp_path / "r")


def test_what_failed_is_mended_by_whoever_ran_it(tmp_path: Path) -> None:
    run = gone(tmp_path / "r")
    take_all_before(run, "s30-export")
    with pytest.raises(GateClosed), run.step("s30-export", inputs={}):
        raise GateClosed("pass", on="g", why="3 rows are too many", next_step="look")
    assert overview.overview(tmp_path / "r").state == "stopped"
    shown = words(tmp_path / "r")
    assert "ann mends what failed" in shown and "3 rows are too many" in shown and "runbook run 30 --run r" in shown


def waiting(folder: Path, needed: int) -> Ledger:
    run = gone(folder)
    take_all_before(run, "s50-cutover")
    with pytest.raises(AwaitingPerson), run.step("s50-cutover", inputs={}):
        raise AwaitingPerson("go on", on="x", why="nobody has signed", next_step="sign")
    ledger = run.ledger or pytest.fail()
    payload = {"run": folder.name, "step": "s50-cutover", "plan_sha256": "abcdef0123456789", "lsn": "0/1"}
    ledger.append("awaiting", step="s50-cutover", what="approval", payload=payload, payload_sha256="", needed=needed)
    (folder / "approvals").mkdir()
    (folder / "approvals" / "s50-cutover.abcdef012345.plan.json").write_text("{}")
    return ledger


def asked(folder: Path, *signatures: Signature) -> Any:
    entries = Ledger(folder / "ledger.jsonl").entries()
    found = overview.overview(folder)
    return pending_actions(
        folder, make_status(entries), entries, found.following, ("alice", "bob", "carol"), signatures
    )


def signed(by: str, holds: str = "holds", plan: str = "abcdef012345") -> Signature:
    return Signature("s50-cutover", "approved", by, "", "", plan, holds)


def test_who_has_signed_is_not_asked_again_and_what_does_not_hold_does_not_count(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    waiting(folder, 2)
    (act,) = asked(folder)
    assert (act.who, act.needed, act.plan) == (
        ("alice", "bob", "carol"),
        2,
        "approvals/s50-cutover.abcdef012345.plan.json",
    )
    assert act.command.endswith("--by PERSON --key PATH --plan abcdef012345")
    (act,) = asked(folder, signed("alice"), signed("bob", "the key is another one"), signed("carol", plan="0" * 12))
    assert (act.who, act.needed) == (("bob", "carol"), 1)
    assert "alice has signed" in act.what
    (act,) = asked(folder, signed("alice"), signed("bob"))
    assert (act.who, act.command) == (("ann",), "runbook run 50 --run r")


def test_the_page_links_the_plan_and_names_the_state(tmp_path: Path) -> None:
    waiting(tmp_path / "r", 1)
    found = overview.overview(tmp_path / "r")
    assert found.state == "awaiting a person"
    assert "files/r/approvals/s50-cutover.abcdef012345.plan.json" in view.top(found, []).replace("%2F", "/")


@pytest.mark.parametrize(("said", "shown"), [({"Snowflake": "fakesnow"}, "stood in for by fakesnow"), ({}, "")])
def test_the_ledger_says_what_stood_in_for_a_target(tmp_path: Path, said: dict[str, str], shown: str) -> None:
    (tmp_path / "r").mkdir()
    ledger = Ledger.open(tmp_path / "r")
    ledger.append("run-opened", run="r", option="A", profile="local", git={})
    ledger.append("attempt-started", phase=PHASE, attempt="attempt-01", parameters={}, by="ann", stand_ins=said)
    report(tmp_path / "r", "equal")
    assert ("stood in for" in words(tmp_path / "r")) == bool(shown)
    assert shown in words(tmp_path / "r")


def test_tables_of_long_names_keep_their_columns(tmp_path: Path) -> None:
    gone(tmp_path)
    name = "n" * 63
    for target in ("stage", "snowflake"):
        report(tmp_path, "equal", target, name=name)
    found = flow.flow(tmp_path)
    page = view.data(found, "r")
    assert page.count(name) == 1
    (row,) = re.findall(r"<tr><td class=\"name\">.*?</tr>", page, re.DOTALL)
    assert row.count("<td") == page.split("<tbody>")[0].count("<th>") + page.split("<tbody>")[0].count(
        '<th class="number">'
    )


def test_a_run_of_which_every_attempt_is_over_lies_on_one_axis_of_time(tmp_path: Path) -> None:
    run = gone(tmp_path)
    entries = (run.ledger or pytest.fail()).entries()
    began = datetime.fromisoformat(entries[-1].at)
    status = make_status(entries)
    found = timeline.timeline(status, entries, began + timedelta(minutes=1))
    assert [phase.name for phase in found.phases] == list(checklist.PHASES)
    assert sum(phase.planned.width for phase in found.phases) == pytest.approx(100, abs=0.1)
    mine = next(phase for phase in found.phases if phase.name == PHASE)
    assert [bar.state for bar in mine.attempts] == ["killed"]
    assert len(mine.steps) == len(BUILT)
    assert evidence.people("absent") == ()


def test_the_list_of_runs_links_each_and_marks_the_one_that_is_shown(tmp_path: Path) -> None:
    for name in ("first", "second"):
        gone(tmp_path / name)
    report(tmp_path / "second", "different")
    page = view.top(overview.overview(tmp_path / "first"), overview.listed(tmp_path))
    assert '<a href="?run=first" aria-current="page">' in page
    assert '<a href="?run=second">' in page and 'class="state different"' in page
