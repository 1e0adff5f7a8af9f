"""A step of a run: recorded when it begins and when it ends, skipped when its effect is there, never repeated blindly.

    with run.step("s30-export", inputs={"lsn": lsn}, probe=staged) as step:
        manifest = read() if step.skipped else export(load_id=step.load_id)
        step.result = {"rows": manifest.rows}

The ledger says what this program knows; the step's probe says what is true. After a start without an end, and before an
earlier success is relied on, it asks the system that the step changes. Outside a run, in Jupyter, nbval and plain
papermill, the same code acts each time and nothing is recorded.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

from helpers.errors import EvidenceError, MigrationError, UsageError
from helpers.ledger.folders import ATTEMPT, PHASE, RUN, RUN_DIR
from helpers.ledger.ledger import Entry, Ledger, digest
from helpers.ledger.view import Standing, View, view

Changed = Literal["again", "refuse"]


@dataclass(frozen=True)
class Declares:
    """What a step does about its own former success.

    Attributes:
        always: it is a check, which is worth only what it says now: it is never skipped.
        inputs: when they are others than then.
        notebook: when the runbook is another than then.
    """

    always: bool = False
    inputs: Changed = "again"
    notebook: Changed = "again"


CHECK = Declares(always=True)
"""Checks and gates: taken anew in every attempt."""


@dataclass(frozen=True)
class Found:
    """What a probe saw in the real system.

    Attributes:
        answer: whether the step's effect is there; `unknown` stops the run.
        how: what was asked and seen, in a sentence.
        result: the step's, where it ended before it could say so itself.
    """

    answer: Literal["done", "not done", "unknown"]
    how: str
    result: Mapping[str, Any] = field(default_factory=dict)


Probe = Callable[[str, Mapping[str, Any]], Found]
"""Takes the load id that the step wrote into its target, and the step's recorded result, which is empty if it has none."""


@dataclass
class Step:
    """What the block of `Run.step` works with.

    Attributes:
        load_id: 32 hexadecimal digits that the step writes into its target in the target's own transaction; the same
            again when the step goes on after a crash.
        skipped: the effect is there; do not act.
        result: small plain values; set by the block, or the former result when skipped.
    """

    id: str
    load_id: str
    skipped: bool = False
    result: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """The attempt that this process works for; without a ledger it records nothing and skips nothing."""

    ledger: Ledger | None
    phase: str = ""
    attempt: str = ""

    @property
    def recorded(self) -> bool:
        """Whether this is an attempt of a run."""
        return self.ledger is not None

    def view(self) -> View:
        """How the run's steps stand; all are open outside a run."""
        return view(self.ledger.entries()) if self.ledger else View()

    @contextmanager
    def step(
        self,
        step: str,
        *,
        inputs: Mapping[str, Any],
        declares: Declares | None = None,
        probe: Probe | None = None,
        apply: bool = True,
    ) -> Iterator[Step]:
        """One step; what its block raises is recorded and raised again.

        Args:
            step: its id, as the checklist has it.
            inputs: plain values that decide what the step does; equal inputs, equal effect.
            declares: what a former success means; by default another input or another runbook makes it run again.
            probe: asks the real system; a step that changes something should have one.
            apply: whether it acts; otherwise its result is recorded as its plan.

        Raises:
            UsageError: something changed and the step declares that it refuses then.
            EvidenceError: the probe cannot tell whether the effect is there, or the ledger is broken.
        """
        if self.ledger is None:
            yield Step(step, uuid4().hex)
            return
        began = time.monotonic()
        facts = {"step": step, "phase": self.phase, "attempt": self.attempt, "inputs": digest(inputs)}
        try:
            taken = self._begin(self.ledger, facts, declares or Declares(), probe, began) if apply else None
            taken = taken or Step(step, uuid4().hex)
            yield taken
            if not apply:
                self.ledger.append("step-planned", **facts, result=taken.result)
            elif not taken.skipped:
                self.ledger.append("step-done", **facts, result=taken.result, seconds=_since(began))
        except BaseException as error:
            self.ledger.append("step-failed", **facts, error=_told(error), seconds=_since(began))
            raise

    def _begin(
        self, ledger: Ledger, facts: dict[str, Any], declares: Declares, probe: Probe | None, began: float
    ) -> Step:
        entries = ledger.entries()
        former = _former(view(entries)[facts["step"]])
        if former is None or declares.always:
            return self._start(ledger, facts, uuid4().hex)
        if no := _no_after(entries, former.last, self.phase):
            self._say(f"{facts['step']} runs again: {no.get('step')} said no after it (line {no.n} of the ledger)")
            return self._start(ledger, facts, uuid4().hex)
        if changed := self._changed(entries, former, facts, declares):
            if changed.refused:
                raise _refused(facts["step"], changed.what, former.last)
            self._say(f"{facts['step']} runs again: {changed.what} since line {former.last.n} of the ledger")
            return self._start(ledger, facts, uuid4().hex)
        found = probe(former.load_id, former.result) if probe else None
        if found:
            ledger.append("step-probed", **facts, found=found.answer, how=found.how)
        if found and found.answer == "unknown":
            raise _unknown(facts["step"], found.how)
        if former.done and (found is None or found.answer == "done"):
            return self._skip(ledger, facts, former, former.done, found)
        if found and found.answer == "done":
            # What happened behind the last line: the effect is there, and only the word of it was lost.
            done = ledger.append("step-done", **facts, result=dict(found.result), seconds=_since(began))
            return self._skip(ledger, facts, former, done, found)
        if former.done and found:
            self._say(f"{facts['step']} runs again: {found.how}")
        return self._start(ledger, facts, uuid4().hex if former.done else former.load_id)

    def _start(self, ledger: Ledger, facts: dict[str, Any], load_id: str) -> Step:
        ledger.append("step-started", **facts, load_id=load_id)
        return Step(facts["step"], load_id)

    def _skip(self, ledger: Ledger, facts: dict[str, Any], former: _Former, done: Entry, found: Found | None) -> Step:
        why = f"{done.get('attempt')} did it with equal inputs{f', and {found.how}' if found else ''}"
        ledger.append("step-skipped", **facts, of=done.n, why=why)
        self._say(f"{facts['step']} skipped: {why} (line {done.n} of the ledger)")
        return Step(facts["step"], former.load_id, skipped=True, result=dict(done.get("result", {})))

    def _changed(
        self, entries: list[Entry], former: _Former, facts: dict[str, Any], declares: Declares
    ) -> _Changed | None:
        then, now = (_notebook(entries, *of) for of in (_attempt_of(former.last), (self.phase, self.attempt)))
        found = []
        if former.last.get("inputs") != facts["inputs"]:
            found.append(_Changed("its inputs are others", declares.inputs == "refuse"))
        if then != now:
            found.append(_Changed("its runbook is another", declares.notebook == "refuse"))
        return next((each for each in found if each.refused), found[0] if found else None)

    def _say(self, line: str) -> None:
        print(line)  # noqa: T201 - the operator and the auditor read it in the cell's output


def current() -> Run:
    """The attempt that `runbook run` executes this process for; anywhere else a run that records nothing.

    Raises:
        EvidenceError: the run's ledger is broken.
    """
    if not os.environ.get(RUN):
        return Run(None)
    return Run(Ledger.open(Path(os.environ[RUN_DIR])), os.environ[PHASE], os.environ[ATTEMPT])


@dataclass(frozen=True)
class _Former:
    """The last time that the step acted or began to; `done` is None where nothing says that it ended well."""

    started: Entry
    done: Entry | None

    @property
    def last(self) -> Entry:
        return self.done or self.started

    @property
    def load_id(self) -> str:
        return str(self.started.get("load_id"))

    @property
    def result(self) -> Mapping[str, Any]:
        return dict(self.done.get("result", {})) if self.done else {}


@dataclass(frozen=True)
class _Changed:
    what: str
    refused: bool


def _former(standing: Standing) -> _Former | None:
    started, done = standing.started, standing.done
    if started is None:
        return None
    return _Former(started, done if done and done.n > started.n else None)


def _no_after(entries: list[Entry], last: Entry, phase: str) -> Entry | None:
    """A later check of the phase that said no: what it judged may be the step's own effect."""
    answers = {each.__name__ for each in _kinds(MigrationError) if each.exit_code == 1}
    return next(
        (
            entry
            for entry in entries[last.n :]
            if entry.event == "step-failed" and entry.get("phase") == phase and entry.get("error")["type"] in answers
        ),
        None,
    )


def _kinds(of: type[MigrationError]) -> Iterator[type[MigrationError]]:
    for each in of.__subclasses__():
        yield each
        yield from _kinds(each)


def _attempt_of(entry: Entry) -> tuple[str, str]:
    return entry.get("phase"), entry.get("attempt")


def _notebook(entries: list[Entry], phase: str, attempt: str) -> str | None:
    """SHA-256 of the runbook that an attempt began with."""
    for entry in entries:
        if entry.event == "attempt-started" and _attempt_of(entry) == (phase, attempt):
            return str(entry.get("notebook_sha256"))
    return None


def _told(error: BaseException) -> dict[str, Any]:
    if isinstance(error, MigrationError):
        return error.as_dict()
    return {
        "type": type(error).__name__, "what": "finish the step", "on": "", "why": str(error), "next": "",
        "transient": False,
    }  # fmt: skip


def _since(began: float) -> float:
    return round(time.monotonic() - began, 3)


def _refused(step: str, what: str, last: Entry) -> UsageError:
    return UsageError(
        "run the step again",
        on=step,
        why=f"{what} than in line {last.n} of the ledger, and this step does not run twice in one run",
        next_step="undo the change, or start a new run",
    )


def _unknown(step: str, how: str) -> EvidenceError:
    return EvidenceError(
        "continue the step",
        on=step,
        why=f"it began in an earlier attempt, and it cannot be seen whether it took effect: {how}",
        next_step="look at the system itself; when it answers again, run the same command",
    )
