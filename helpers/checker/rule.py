"""How each step of a run stands, and what a run amounts to: one rule for the status, the seal and the check.

Pure functions of what was read: the ledger's lines, the checklist's steps and the notebooks' cells. What acts tells; a
rehearsal (a plan, or a failure while planning) tells only of a step that nothing has acted on. Of what acted the last line
tells: done stays done until the step begins again, fails, waits for a person or is undone by the rollback.
docs/evidence.md has the rule in a table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Literal, Protocol, TypeVar, get_args

from helpers.checker.finding import Finding
from helpers.checker.ledger_reader import LEDGER
from helpers.checker.objections import find_objections

ROLLBACK = "90_rollback"
"""The phase that is the way back: nobody needs it to be through."""

NOT_APPLICABLE = "not applicable"
"""In a step's result: why the profile has nothing for it to act on."""

ELSEWHERE = "exists elsewhere"
"""In a step's result: what stands there instead of the run's own doing, where, and by whose word."""

State = Literal[
    "open", "planned", "begun", "awaiting", "failed", "done", "exists elsewhere", "not applicable", "rolled back"
]
Over = Literal["done", "exists elsewhere", "not applicable"]
Word = Literal["SEALED", "PARTIAL", "REHEARSAL"]

OVER: tuple[Over, ...] = get_args(Over)
"""States of a step that needs nothing more."""

_STATES: Mapping[str, State] = {
    "step-done": "done", "step-skipped": "done", "attested": "done", "step-planned": "planned", "step-failed": "failed",
    "awaiting": "awaiting", "step-started": "begun",
}  # fmt: skip


class Line(Protocol):
    """A line of a ledger, as either of its readers has it."""

    @property
    def n(self) -> int:
        """Its number, from 1."""

    @property
    def event(self) -> str:
        """What happened."""

    @property
    def fields(self) -> Mapping[str, Any]:
        """The event's own."""


L = TypeVar("L", bound=Line)


@dataclass(frozen=True)
class DeclaredStep:
    """One box of the checklist, or a part of one, as it is compared with the ledger.

    Attributes:
        step: its id.
        phase: the notebook that performs it, without the suffix.
        cell: the id, or its beginning, of the cells that perform it; the step's own when None.
        approvals: how many people have to approve it; 0 where nobody has to.
        word: whether a person's word is enough for it.
        approval: the class of approval that the checklist asks for; None where it asks for none.
        undoes: id of the step whose effect it takes back.
        elsewhere: id of the step by a signed word on which this one may exist elsewhere; None where none is enough.
        box: id of the box that it is a part of; None for a box.
    """

    step: str
    phase: str
    cell: str | None = None
    approvals: int = 0
    word: bool = False
    approval: str | None = None
    undoes: str | None = None
    elsewhere: str | None = None
    box: str | None = None


@dataclass(frozen=True)
class Cell:
    """A cell of an executed notebook that holds code: what the engine recorded of it, and whether it shows an error."""

    id: str
    status: str
    failed: bool = False

    def performs(self, name: str) -> bool:
        """Whether it belongs to the step of that cell name: `s30-export` covers `s30-export-act`."""
        return self.id == name or self.id.startswith(f"{name}-")


@dataclass(frozen=True)
class Standing(Generic[L]):
    """How one step stands.

    Attributes:
        state: "begun" says that nothing tells how it ended; "done" is also said of a step that a person has attested.
        line: the line that tells; for a skipped step the one it relies on.
        started: the last time that it began to act.
        done: the last time that it was done, whatever came after.
        ended: the last time that it was done or failed.
    """

    state: State = "open"
    line: L | None = None
    started: L | None = None
    done: L | None = None
    ended: L | None = None


@dataclass(frozen=True)
class Verdict:
    """What a run amounts to.

    Attributes:
        word: SEALED when every step of the checklist was done, PARTIAL when a phase did not run, REHEARSAL when a step was
            only planned.
        stand_ins: the services that were stood in for, with what stood in.
        why: what it is not, and what an auditor has to know of it, a sentence each.
        against: what stands against sealing it at all; whoever finds one of these in a sealed run calls it tampered.
        counts: the boxes of the checklist that need nothing more, by their state.
    """

    word: Word
    stand_ins: tuple[str, ...] = ()
    why: tuple[str, ...] = ()
    against: tuple[Finding, ...] = field(default=())
    counts: Mapping[Over, int] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.word} ON STAND-INS" if self.stand_ins else self.word


def standings(lines: Sequence[L], words: Set[str], undone_by: Mapping[str, str]) -> dict[str, Standing[L]]:
    """How the steps stand that a ledger names.

    Args:
        lines: all of them, in their order.
        words: steps that a person's word is enough for; it counts for no other.
        undone_by: by step, the one of the rollback that takes its effect back.
    """
    rehearsals = {_place(x) for x in lines if x.event == "attempt-started" and _parameters(x).get("apply") is False}
    own: dict[str, list[L]] = {}
    for line in lines:
        step = line.fields.get("step")
        if line.event in _STATES and isinstance(step, str) and step and (line.event != "attested" or step in words):
            own.setdefault(step, []).append(line)
    found = {}
    for step, each in own.items():
        acted = [
            x for x in each if x.event != "step-planned" and not (x.event == "step-failed" and _place(x) in rehearsals)
        ]
        found[step] = _standing(acted or each, lines)
    for step, undoing in undone_by.items():
        mine, back = found.get(step, Standing[L]()), found.get(undoing, Standing[L]())
        if {mine.state, back.state} <= {"done", ELSEWHERE} and mine.line and back.done and mine.line.n < back.done.n:
            found[step] = replace(mine, state="rolled back")
    return found


def judge(
    lines: Sequence[Line], declared: Sequence[DeclaredStep], cells: Mapping[str, Sequence[Cell]] | None = None
) -> Verdict:
    """What a run amounts to, and what stands against sealing it.

    Args:
        lines: the ledger's, in their order.
        declared: the steps of the checklist for the run's option.
        cells: by the notebook's name, its code cells; None where nobody looked at the notebooks.
    """
    words = frozenset(each.step for each in declared if each.word)
    found = standings(lines, words, {each.undoes: each.step for each in declared if each.undoes})
    last = {str(x.fields.get("phase")): x for x in lines if x.event == "attempt-started"}
    against = [*_attempts(lines, last, declared, cells), *_steps(lines, found, declared, last)]
    against += [Finding("verified-different", each.report, str(each)) for each in find_objections(lines)]

    way_back = {each.step for each in declared if each.phase == ROLLBACK}
    only_planned = [step for step, standing in found.items() if standing.state == "planned"]
    planned = [step for step in only_planned if step not in way_back]
    not_run = dict.fromkeys(each.phase for each in declared if each.phase not in last)
    why = [f"{step} was planned and not applied" for step in planned]
    why += [f"the phase {phase} did not run" for phase in not_run]
    word: Word = "REHEARSAL" if planned else "PARTIAL" if why else "SEALED"
    if way_back & set(only_planned):
        why.append("the rollback was rehearsed, and not taken")
    return Verdict(word, stand_ins(lines), tuple(why), tuple(against), count_boxes(found, declared))


def box_over(own: str, parts: Iterable[str]) -> Over | None:
    """The state of a box that needs nothing more; None where something is left to do for it.

    What was done counts where a part has nothing to do; where the box's own step exists elsewhere, so does the box.
    """
    states = [own, *parts]
    if any(state not in OVER for state in states):
        return None
    if own == ELSEWHERE:
        return "exists elsewhere"
    return next(over for over in OVER if over in states)


def count_boxes(found: Mapping[str, Standing[L]], declared: Sequence[DeclaredStep]) -> dict[Over, int]:
    """How many boxes of a checklist were done, exist elsewhere and are not applicable."""

    def state(step: str) -> State:
        return found[step].state if step in found else "open"

    parts: dict[str | None, list[State]] = {}
    for each in declared:
        parts.setdefault(each.box, []).append(state(each.step))
    boxes = [box_over(state(each.step), parts.get(each.step, ())) for each in declared if each.box is None]
    return {over: boxes.count(over) for over in OVER}


def counts_in_words(counts: Mapping[Over, int]) -> str:
    """For a person: "41 done, 6 exist elsewhere, 3 not applicable"."""
    words: dict[Over, str] = {"done": "done", "exists elsewhere": "exist elsewhere", "not applicable": "not applicable"}
    if counts.get("exists elsewhere") == 1:
        words["exists elsewhere"] = "exists elsewhere"
    return ", ".join(
        f"{counts.get(over, 0)} {word}" for over, word in words.items() if over == "done" or counts.get(over)
    )


def elsewhere_in_words(said: object) -> str:
    """What a result says of a step that exists elsewhere, in a sentence."""
    own = said if isinstance(said, Mapping) else {}
    by = own.get("by")
    people = " and ".join(map(str, by)) if isinstance(by, list) else ""
    return f"{own.get('what', '')} ({own.get('link', '')}), by the word of {people or 'nobody'}"


def stand_ins(lines: Iterable[Line]) -> tuple[str, ...]:
    """What stood in for a service, by what the run and the servers said of themselves: "Snowflake (fakesnow)"."""
    found: dict[str, None] = {}
    for line in lines:
        said = line.fields.get("stand_ins")
        if line.event in ("attempt-started", "servers") and isinstance(said, Mapping):
            found |= dict.fromkeys(f"{service} ({what})" for service, what in sorted(said.items()))
    return tuple(found)


def _standing(own: Sequence[L], lines: Sequence[L]) -> Standing[L]:
    last = own[-1]
    state = _STATES[last.event]
    if last.event == "step-failed" and _error(last).get("type") == "AwaitingPerson":
        state, last = "awaiting", next((x for x in reversed(own) if x.event == "awaiting"), last)
    elif last.event == "step-skipped":
        last = _relied_on(last, lines) or last
    if last.event == "step-done":
        result = _mapping(last.fields.get("result"))
        state = "exists elsewhere" if ELSEWHERE in result else "not applicable" if NOT_APPLICABLE in result else state

    def latest(*events: str) -> L | None:
        return next((x for x in reversed(own) if x.event in events), None)

    return Standing(state, last, latest("step-started"), latest("step-done"), latest("step-done", "step-failed"))


def _relied_on(skipped: L, lines: Sequence[L]) -> L | None:
    of = skipped.fields.get("of")
    line = lines[of - 1] if type(of) is int and 0 < of < skipped.n and of <= len(lines) else None
    return (
        line if line and line.event == "step-done" and line.fields.get("step") == skipped.fields.get("step") else None
    )


def _attempts(
    lines: Sequence[Line],
    last: Mapping[str, Line],
    declared: Sequence[DeclaredStep],
    cells: Mapping[str, Sequence[Cell]] | None,
) -> Iterator[Finding]:
    ended = {_place(line) for line in lines if line.event == "attempt-ended"}
    for line in lines:
        if line.event == "attempt-started" and _place(line) not in ended:
            yield Finding(
                "attempt-open", _notebook(line), "it did not end: the command was killed; run the phase again"
            )
    if not last:
        yield Finding("nothing-ran", LEDGER, "no phase has run")
    names = {each.step: each.cell or each.step for each in declared}
    skipped = [str(line.fields.get("step")) for line in lines if line.event == "step-skipped"]
    for line in last.values() if cells is not None else ():
        own = (cells or {}).get(_notebook(line), ())
        if not own:
            yield Finding("no-cells", _notebook(line), "it has no cells with code, or is not readable")
        for cell in own:
            if cell.status != "completed" and not any(cell.performs(names.get(step, step)) for step in skipped):
                why = f"{cell.id} did not run ({cell.status}), and nothing says that it was skipped"
                yield Finding("cell-not-run", _notebook(line), why)
            if cell.failed:
                yield Finding("cell-failed", _notebook(line), f"{cell.id} ended with an error")


def _steps(
    lines: Sequence[Line],
    found: Mapping[str, Standing[Line]],
    declared: Sequence[DeclaredStep],
    ran: Mapping[str, Line],
) -> Iterator[Finding]:
    known = {each.step: each for each in declared}
    asked = {each.elsewhere for each in declared if each.elsewhere}
    for line in (line for line in lines if line.event == "attested"):
        step, theirs = str(line.fields.get("step")), "elsewhere" in line.fields
        if not (step in asked if theirs else step in known and known[step].word):
            what = " to exist elsewhere" if theirs else ""
            yield Finding(
                "word-not-enough", LEDGER, f"{step} was attested{what}, and a person's word is not enough for it"
            )
    phases = {each.phase for each in declared}
    for phase in (phase for phase in ran if phase not in phases):
        yield Finding("phase-unknown", LEDGER, f"the phase {phase} is not one of the checklist")
    for each in declared:
        standing = found.get(each.step, Standing())
        if each.phase in ran and not (standing.state in OVER or standing.state in ("planned", "rolled back")):
            yield Finding("step-not-done", LEDGER, f"{each.step} is declared, and the ledger shows it {standing.state}")
        if standing.state == NOT_APPLICABLE and standing.line and not _reason(standing.line):
            yield Finding("step-not-done", LEDGER, f"{each.step} is not applicable, and nothing says why")
        if standing.state == ELSEWHERE and not each.elsewhere:
            yield Finding("word-not-enough", LEDGER, f"{each.step} is said to exist elsewhere, and it may not")
    for step in (step for step in found if step not in known):
        yield Finding("step-unknown", LEDGER, f"{step} is in the ledger ({found[step].state}), and not declared")


def _reason(line: Line) -> bool:
    why = _mapping(line.fields.get("result")).get(NOT_APPLICABLE)
    return isinstance(why, str) and bool(why.strip())


def _place(line: Line) -> tuple[str, str]:
    return str(line.fields.get("phase")), str(line.fields.get("attempt"))


def _notebook(line: Line) -> str:
    return f"{'/'.join(_place(line))}.ipynb"


def _parameters(line: Line) -> Mapping[str, Any]:
    return _mapping(line.fields.get("parameters"))


def _error(line: Line) -> Mapping[str, Any]:
    return _mapping(line.fields.get("error"))


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
