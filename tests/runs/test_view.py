"""How a step stands is one rule, and everybody who asks gets its answer.

Would catch: a rehearsal that takes a tick away or gives one, a failure that a former success hides, a step that somebody calls done
and somebody else open, a word where a check belongs, a cutover that stands as done behind its rollback, a phase that is
stopped by a step which the status shows as done; a checker whose own reading of the ledger drifts from the product's.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers import checklist
from helpers.checker.dsse import sha256
from helpers.checker.ledger_reader import Line, read
from helpers.checker.rule import DeclaredStep, judge, standings
from helpers.checker.strict_json import canonical
from helpers.control_room import flow
from helpers.errors import AwaitingPerson, GateClosed, LoadError
from helpers.ledger.ledger import NAME, Entry, Ledger
from helpers.ledger.steps import Run
from helpers.ledger.view import View, view
from helpers.phases.common import earlier
from helpers.runs.following import find_following
from helpers.runs.status import box_status, read_status

FULL_RUN, WORD, FREEZE, UNFREEZE = "s40-full-run", "s60-training", "s50-freeze", "s90-unfreeze"
STEPS = (FULL_RUN, WORD, FREEZE, UNFREEZE)
REHEARSALS = ("planned", "rehearsed no")
ACTS = ("done", "exists elsewhere", "not applicable", "no", "awaits", "begun", "skipped", "attested")

Op = tuple[str, str]
ops = st.lists(st.tuples(st.sampled_from(STEPS), st.sampled_from((*REHEARSALS, *ACTS))), max_size=12)
fast = settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)  # fmt: skip


def written(path: Path, happened: Sequence[Op]) -> tuple[list[Entry], list[Line]]:
    """What a run's ledger holds when so much has happened, each in an attempt of its own, as the two readers have it."""
    facts: list[tuple[str, dict[str, Any]]] = [("run-opened", {"run": "r", "option": "A", "profile": "local"})]
    done: dict[str, int] = {}
    for number, (step, what) in enumerate(happened, 1):
        place = {"phase": phase_of(step), "attempt": f"attempt-{number:02}"}
        facts.append(("attempt-started", {**place, "parameters": {"apply": what not in REHEARSALS}, "by": "ann"}))
        own = {"step": step, **place, "inputs": "a" * 64}
        error = {"type": GateClosed.__name__, "why": "3 differ", "next": "look"}
        if what in ("done", "exists elsewhere", "not applicable", "no", "awaits", "begun"):
            facts.append(("step-started", own))
        match what:
            case "planned":
                facts.append(("step-planned", {**own, "result": {"what": "would"}}))
            case "rehearsed no" | "no":
                facts.append(("step-failed", {**own, "error": error, "seconds": 1.0}))
            case "awaits":
                facts.append(("awaiting", {"step": step, "what": "approval", "payload": {"plan_sha256": "b" * 64}}))
                facts.append(
                    ("step-failed", {**own, "error": {**error, "type": AwaitingPerson.__name__}, "seconds": 1.0})
                )
            case "done" | "exists elsewhere" | "not applicable":
                said = {
                    "not applicable": "no section",
                    "exists elsewhere": {"what": "by hand", "link": "x:y", "by": ["bob"]},
                }
                result = {"number": number, **({what: said[what]} if what in said else {})}
                facts.append(("step-done", {**own, "result": result, "seconds": 1.0}))
                done[step] = len(facts)
            case "skipped" if step in done:
                facts.append(("step-skipped", {**own, "of": done[step]}))
            case "attested":
                facts.append(("attested", {"step": step, "by": "bob"}))
        if what != "begun":
            facts.append(("attempt-ended", {**place, "status": "done", "exit_code": 0}))
    prev, content = "0" * 64, b""
    for n, (event, fields) in enumerate(facts, 1):
        line = canonical({**fields, "n": n, "at": f"2026-11-30T00:00:{n:06}", "prev": prev, "event": event})
        prev, content = sha256(line), content + line + b"\n"
    path.mkdir(exist_ok=True)
    (path / NAME).write_bytes(content)
    lines, wrong = read(content)
    assert wrong == []
    return Ledger(path / NAME).entries(), lines


def phase_of(step: str) -> str:
    return next(each.phase for each in checklist.steps() if step in each.ids)


def seen(path: Path, happened: Sequence[Op]) -> View:
    return view(written(path, happened)[0], is_gone=lambda entry: True)


def said(found: View) -> dict[str, tuple[str, Any]]:
    return {step: (found[step].state, found[step].result) for step in STEPS}


def told(happened: Sequence[Op], step: str) -> str:
    """The rule once more, as docs/evidence.md has it."""
    state, acted, was, undone_at, at = "open", False, "", 0, 0
    for number, (on, what) in enumerate(happened, 1):
        if on == checklist.undone_by().get(step) and what in ("done", "exists elsewhere"):
            undone_at = number
        if on != step or (what == "attested" and step != WORD) or (what == "skipped" and not was):
            continue
        if what in REHEARSALS:
            state = state if acted else {"planned": "planned", "rehearsed no": "failed"}[what]
            continue
        acted = True
        if what in ("done", "exists elsewhere", "not applicable"):
            was, at = what, number
        at = number if what == "attested" else at
        names = {"no": "failed", "awaits": "awaiting", "begun": "interrupted", "skipped": was, "attested": "done"}
        state = names.get(what, what)
    undoing = checklist.undone_by().get(step)
    over = ("done", "exists elsewhere")
    if state in over and undone_at > at and undoing and told(happened, undoing) in over:
        return "rolled back"
    return state


@fast
@given(ops)
def test_the_rule(tmp_path: Path, happened: list[Op]) -> None:
    found = seen(tmp_path, happened)
    assert {step: found[step].state for step in STEPS} == {step: told(happened, step) for step in STEPS}


@fast
@given(ops, ops)
def test_a_rehearsal_neither_gives_nor_takes_what_was_done(tmp_path: Path, acts: list[Op], more: list[Op]) -> None:
    acted = [op for op in acts if op[1] in ACTS]
    before = said(seen(tmp_path, acted))
    touched = {step for step, what in acted if what not in ("skipped", "attested")}
    after = said(seen(tmp_path, [*acted, *(op for op in more if op[1] in REHEARSALS)]))
    for step in STEPS:
        if step in touched:
            assert after[step] == before[step]
        elif before[step][0] == "open":
            assert after[step][0] in ("open", "planned", "failed")


@fast
@given(ops, st.sampled_from(STEPS))
def test_what_acts_last_tells(tmp_path: Path, happened: list[Op], step: str) -> None:
    assert seen(tmp_path, [*happened, (step, "no")])[step].state == "failed"
    assert seen(tmp_path, [*happened, (step, "no"), (step, "done")])[step].state == "done"
    assert seen(tmp_path, [*happened, (step, "done"), (step, "begun")])[step].state == "interrupted"
    mended = seen(tmp_path, [*happened, (step, "begun"), (step, "done"), (step, "no"), (step, "skipped")])[step]
    assert (mended.state, mended.over) == ("done", True)
    word = seen(tmp_path, [*happened, (step, "no"), (step, "attested")])[step]
    assert word.state == ("done" if step == WORD else "failed")


@fast
@given(ops)
def test_everybody_who_asks_agrees(tmp_path: Path, happened: list[Op]) -> None:
    entries, _ = written(tmp_path, happened)
    found = view(entries, is_gone=lambda entry: True)
    status = read_status(tmp_path, record_killed=False)
    for box in checklist.steps_for_option("A"):
        shown = next(each for each in status.steps if each.id == box.id)
        in_the_way = [each.on for each in earlier.open_boxes(found, [box])]
        assert in_the_way == [name for name in box.ids if not found[name].over]
        assert box_status(box, found).over == (not in_the_way)
        # Nobody says here of an attempt without an end that its process is gone.
        assert shown.state == box_status(box, view(entries)).state
    for step in STEPS:
        assert flow.result(tmp_path, step) == (found[step].result or {})
    following = find_following("r", status, entries, sealed=False)
    assert following.step == status.next
    if following.state == "awaiting":
        assert (
            f"approve {next(s for s in STEPS if found[s].state == 'awaiting' and f' {s} ' in following.command)} "
            in following.command
        )


@fast
@given(ops)
def test_the_checks_own_reader_comes_to_the_same(tmp_path: Path, happened: list[Op]) -> None:
    entries, lines = written(tmp_path, happened)
    found = view(entries, is_gone=lambda entry: True)
    declared = [DeclaredStep(step, phase_of(step), word=step == WORD) for step in STEPS]
    own = standings(lines, {WORD}, checklist.undone_by())
    for step in STEPS:
        state = own[step].state if step in own else "open"
        assert found[step].state == ("interrupted" if state == "begun" else state), step
    planned = {each.step for each in found if each.state == "planned"}
    verdict = judge(lines, declared)
    assert (verdict.word == "REHEARSAL") == bool(planned - {UNFREEZE})
    left = {each.step for each in found if each.state in ("failed", "interrupted", "awaiting")}
    against = " ".join(each.message for each in verdict.against if each.kind == "step-not-done")
    assert all(step in against for step in left)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(["done", "no", "planned", "rehearsed no", "begun"]), max_size=6))
def test_a_step_is_skipped_where_it_shows_as_done(
    tmp_path_factory: pytest.TempPathFactory, happened: list[str]
) -> None:
    """Through the writer itself: what a step records is what the view reads, and what a later attempt relies on."""
    ledger = Ledger.open(tmp_path_factory.mktemp("run"))
    for number, what in enumerate([*happened, "last"], 1):
        place = (phase_of(FULL_RUN), f"attempt-{number:02}")
        apply = what not in REHEARSALS
        parameters = {"apply": apply}
        ledger.append(
            "attempt-started", phase=place[0], attempt=place[1], parameters=parameters, notebook_sha256="c" * 64
        )
        run, before = Run(ledger, *place), view(ledger.entries(), is_gone=lambda entry: True)[FULL_RUN]
        if what == "begun":
            ledger.append("step-started", step=FULL_RUN, phase=place[0], attempt=place[1], inputs="", load_id="0" * 32)
            ledger.append("attempt-ended", phase=place[0], attempt=place[1], status="killed", exit_code=4)
            continue
        try:
            with run.step(FULL_RUN, inputs={}, apply=apply) as step:
                assert step.skipped == (apply and before.over)
                if "no" in what and not step.skipped:
                    raise LoadError("load", on="t", why="refused", next_step="look")
                step.result = step.result if step.skipped else {"number": number}
        except LoadError:
            pass
        after = run.view()[FULL_RUN]
        if apply:
            assert after.state == ("failed" if what == "no" and not before.over else "done")
        elif before.started:
            assert (after.state, after.result) == (before.state, before.result)


def test_a_phase_goes_on_behind_a_step_that_was_done_and_then_rehearsed(tmp_path: Path) -> None:
    """Would catch: phase 60 that stops at "this run has no full run" after somebody has rehearsed phase 40."""
    found = seen(tmp_path, [(FULL_RUN, "done"), (FULL_RUN, "planned"), (FULL_RUN, "rehearsed no")])
    assert found[FULL_RUN].result == {"number": 1}
    assert found[FULL_RUN].who == "ann"
