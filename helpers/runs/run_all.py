"""Runs the phases of a run in order, one process a notebook, until one does not succeed.

It stops at the first phase that says no, cannot run, waits for a person or is stopped, and exits with that phase's code. The
next call goes on there: a phase that the run's ledger shows as done, with the same notebook and parameters, is not executed
again unless one before it was. A phase whose notebook is not in the folder is named and skipped, and makes the run PARTIAL.
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from helpers import checklist, settings
from helpers.errors import UsageError
from helpers.ledger.folders import RUN, checked_folder, make_private
from helpers.ledger.ledger import Entry, Ledger, file_digest
from helpers.platforms.child_environment import environment_of_profile
from helpers.progress import duration
from helpers.redaction import redact_values
from helpers.runs import estimate
from helpers.runs.child_process import Ended, run_child
from helpers.runs.estimate import Estimate
from helpers.runs.notify import Webhook
from helpers.runs.parameters import declared, resolve
from helpers.runs.phase_display import Display

State = Literal[
    "done", "rehearsed", "done before", "rehearsed before", "no", "could not run", "awaiting", "aborted", "not reached",
    "no notebook",
]  # fmt: skip

_ENDS: dict[int, State] = {1: "no", 2: "could not run", 3: "awaiting", 4: "aborted"}
_LAST_APPLIED_BY_DEFAULT = 40
PATIENCE = 20.0
"""Seconds to wait for a former call of the same run that was killed and whose notebook is still ending."""

_POLL = 0.5
_BY_OPTIONS = ("profile", "option", "apply")
"""Parameters that an option of the command sets."""


@dataclass(frozen=True)
class Order:
    """What to run.

    Attributes:
        run: its name.
        profile: of migration.toml.
        option: the migration path.
        runbooks: the folder of the notebooks.
        outputs: the folder of all runs.
        command: how the command `runbook` is started.
        apply: whether phases act; None for each phase's default.
        parameters: for the notebooks that declare them; values or texts as `resolve` takes them.
        cell_timeout: seconds that one cell may take.
        run_timeout: seconds that the whole call may take; None for no limit.
        retries: how often a phase is repeated after a transient error.
    """

    run: str
    profile: str
    option: str
    runbooks: Path
    outputs: Path
    command: tuple[str, ...]
    apply: bool | None = None
    parameters: Mapping[str, object] | None = None
    cell_timeout: float = 6 * 3600
    run_timeout: float | None = None
    retries: int = 3


@dataclass(frozen=True)
class PhaseResult:
    """One phase of the call; `why` says in a sentence what stopped it, or why it was passed over."""

    phase: str
    state: State
    exit_code: int | None = None
    seconds: float | None = None
    why: str = ""
    notebook: str | None = None


@dataclass(frozen=True)
class AllResult:
    """Where the call ended."""

    run: str
    option: str
    exit_code: int
    phases: tuple[PhaseResult, ...]

    @property
    def without_notebook(self) -> tuple[str, ...]:
        """Phases whose notebook is not in the folder."""
        return tuple(each.phase for each in self.phases if each.state == "no notebook")

    @property
    def rehearsed(self) -> tuple[str, ...]:
        """Phases that only planned."""
        return tuple(each.phase for each in self.phases if each.state in ("rehearsed", "rehearsed before"))

    @property
    def stopped_at(self) -> PhaseResult | None:
        """The phase that ended the call early."""
        return next((each for each in self.phases if each.exit_code), None)

    def summary(self) -> str:
        """The answer in a sentence or two, with everything that is missing."""
        if stopped := self.stopped_at:
            words = f"{stopped.state.upper()} at {stopped.phase} (exit {self.exit_code}): {stopped.why}"
        else:
            words = "every phase is through"
        if self.rehearsed:
            words += f". REHEARSED, nothing was changed by: {', '.join(self.rehearsed)}"
        if self.without_notebook:
            words += f". PARTIAL, no notebook: {', '.join(self.without_notebook)}"
        return words

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "run": self.run, "option": self.option, "exit_code": self.exit_code, "partial": bool(self.without_notebook),
            "without_notebook": list(self.without_notebook), "rehearsed": list(self.rehearsed), "summary": self.summary(),
            "phases": [asdict(each) for each in self.phases],
        }  # fmt: skip


@dataclass(frozen=True)
class _Phase:
    name: str
    notebook: Path | None
    apply: bool
    given: dict[str, object]


def applies(profile: str, phase: str, apply: bool | None) -> bool:
    """Whether a phase acts: as it was said, or by default on profile local up to phase 40."""
    if apply is not None:
        return apply
    return profile == "local" and int(phase[:2]) <= _LAST_APPLIED_BY_DEFAULT


def run_all(order: Order, *, display: Display, webhook: Webhook) -> AllResult:
    """Executes the phases of `order`, one after the other. Call it from a process's main thread.

    Args:
        order: what to run.
        display: told about the way.
        webhook: told about start, waiting, failure and end.

    Returns:
        The result; a phase that fails or is stopped, also by Ctrl-C, is a result.

    Raises:
        UsageError: a name, the option or a parameter cannot be used, no phase has a notebook, the run is at work already, or a
            notebook of a run calls this. Nothing was started.
        EvidenceError: the run's ledger is broken.
    """
    phases = _planned(order)
    folder = order.outputs / order.run
    with _alone(folder, display.line) as lock:
        results: list[PhaseResult] = []
        say = _told(order, webhook, display)
        say(f"▶ begins: {sum(p.notebook is not None for p in phases)} of {len(phases)} phases have a notebook")
        walk = _Walk(order, phases, display, lock)
        for phase in phases:
            stopped = phase.notebook is not None and any(each.exit_code for each in results)
            results.append(PhaseResult(phase.name, "not reached") if stopped else walk.take(phase))
            _say_how_it_ended(results[-1], display)
        code = next((each.exit_code for each in results if each.exit_code), 0)
        result = AllResult(order.run, order.option, code, tuple(results))
        mark = {0: "✔ ends", 3: "☐ waits"}.get(code, "✘ stops")
        say(f"{mark}: {result.summary()}")
    return result


class _Walk:
    """The way through the phases: what was done before, and how long the rest will take."""

    def __init__(self, order: Order, phases: list[_Phase], display: Display, lock: int) -> None:
        self._order = order
        self._phases = [phase for phase in phases if phase.notebook]
        self._display = display
        self._lock = lock
        self._ends_at = time.monotonic() + order.run_timeout if order.run_timeout else None
        self._behind = 0
        """Number of the ledger's line that the next phase must have begun behind to count as done."""
        wanted = {phase.name: phase.apply for phase in self._phases}
        self._estimates = estimate.estimate_phases(
            order.outputs, order.run, wanted, profile=order.profile, option=order.option
        )

    def take(self, phase: _Phase) -> PhaseResult:
        if phase.notebook is None:
            return PhaseResult(phase.name, "no notebook", why=f"{self._order.runbooks} has none of it")
        ledger = Ledger(self._order.outputs / self._order.run / "ledger.jsonl")
        entries = ledger.entries()
        if done := _done_before(entries, phase, behind=self._behind):
            self._behind = done.n
            why = f"{done.get('attempt')} did it with the same notebook and parameters (line {done.n} of the ledger)"
            return PhaseResult(phase.name, "done before" if phase.apply else "rehearsed before", why=why)
        number = self._phases.index(phase)
        later = sum((self._estimates[each.name] for each in self._phases[number + 1 :]), estimate.NONE)
        own = self._estimates[phase.name]
        self._display.phase(number + 1, len(self._phases), phase.name, own + later, apply=phase.apply)
        began, first = time.monotonic(), len(entries)

        def tick() -> None:
            nonlocal entries
            now = ledger.entries()
            left = self._left(phase, now[first:], time.monotonic() - began) + later
            self._display.events(now[len(entries) :], left)
            self._display.tick(left)
            entries = now

        ended = self._executed(phase, tick)
        tick()
        if ended.exit_code == 0:
            self._behind = max((e.n for e in entries if e.event == "attempt-ended"), default=self._behind)
        state = _ENDS.get(ended.exit_code) or ("done" if phase.apply else "rehearsed")
        seconds = round(time.monotonic() - began, 1)
        return PhaseResult(phase.name, state, ended.exit_code, seconds, ended.why, ended.notebook)

    def _left(self, phase: _Phase, entries: list[Entry], seconds: float) -> Estimate:
        if any(entry.event == "attempt-ended" and entry.get("status") == "done" for entry in entries):
            return estimate.NONE
        own = self._estimates[phase.name]
        if not own.planned:
            return own.after(seconds)
        over = {entry.get("step") for entry in entries if entry.event in ("step-done", "step-planned", "step-skipped")}
        return estimate.planned(phase.name, self._order.option, over)

    def _executed(self, phase: _Phase, tick: Callable[[], None]) -> Ended:
        order = self._order
        given = {name: value for name, value in phase.given.items() if name not in _BY_OPTIONS}
        with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
            # JSON is YAML in which every text is quoted, so that none is taken for a number.
            json.dump(given, file, ensure_ascii=False)
            file.flush()
            words = [
                *order.command, "run", phase.name, "--run", order.run, "--option", order.option, "--profile", order.profile,
                "--apply" if phase.apply else "--rehearse", "-f", file.name, "--cell-timeout", str(order.cell_timeout),
                "--retries", str(order.retries), "--quiet", "--json",
            ]  # fmt: skip
            environment = environment_of_profile(settings.location(order.runbooks), order.profile)
            return run_child(
                words, environment=environment, keep=self._lock, tick=tick, every=_POLL, ends_at=self._ends_at
            )


def _planned(order: Order) -> list[_Phase]:
    if within := os.environ.get(RUN):
        raise _misused(
            "start a run", f"run {order.run}", f"a notebook of the run {within} starts it", "start it from a terminal"
        )
    names = {step.phase for step in checklist.steps_for_option(order.option)}
    parameters = dict(order.parameters or {})
    phases, known = [], set()
    for name in (each for each in checklist.PHASES if each in names):
        checked_folder(order.outputs, order.run, name)
        notebook = order.runbooks / f"{name}.ipynb"
        # The rollback is rehearsed with the cutover that it would undo, and taken only when somebody asks for it alone.
        apply = applies(order.profile, name, order.apply) and name != checklist.ROLLBACK
        if not notebook.exists():
            phases.append(_Phase(name, None, apply, {}))
            continue
        own = {parameter.name for parameter in declared(notebook)}
        known |= own
        shared = {key: value for key, value in parameters.items() if key in own}
        set_here = {"profile": order.profile, "apply": apply, **({"option": order.option} if "option" in own else {})}
        given = resolve(notebook, shared | set_here)
        phases.append(_Phase(name, notebook, apply, given))
    if not any(phase.notebook for phase in phases):
        raise _misused("run all phases", str(order.runbooks), "no phase has a notebook there", "check the folder")
    if unknown := sorted(parameters.keys() - known | parameters.keys() & set(_BY_OPTIONS)):
        raise _misused(
            "run all phases", f"parameter {unknown[0]}", "no notebook declares it, or an option of the command sets it",
            "name one that a notebook declares; profile, option and apply are --profile, --option and --apply",
        )  # fmt: skip
    return phases


@contextmanager
def _alone(folder: Path, say: Callable[[str], None]) -> Iterator[int]:
    """Holds the run's folder, together with the notebooks that are started, against a second call."""
    make_private(folder)
    handle = os.open(folder, os.O_RDONLY)
    try:
        until, told = time.monotonic() + PATIENCE, False
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise _misused(
                        "run all phases", f"run {folder.name}", "another call of the same run is at work",
                        "wait for it, or stop it, then run the same command again",
                    ) from None  # fmt: skip
            if not told:
                say(f"another call of the run {folder.name} is at work, or ending: waiting up to {PATIENCE:.0f} s")
                told = True
            time.sleep(_POLL)
        yield handle
    finally:
        os.close(handle)


def _done_before(entries: list[Entry], phase: _Phase, *, behind: int) -> Entry | None:
    """The end of the phase's last attempt, where that makes another one unnecessary."""
    assert phase.notebook
    started = [e for e in entries if e.event == "attempt-started" and e.get("phase") == phase.name]
    if phase.apply:
        # A rehearsal takes nothing away from what was done before it.
        started = [e for e in started if e.get("parameters", {}).get("apply") is not False]
    if not started:
        return None
    last = started[-1]
    same = last.get("notebook_sha256") == file_digest(phase.notebook)
    if last.n < behind or not same or last.get("parameters") != redact_values(phase.given):
        return None
    return next(
        (
            e
            for e in entries[last.n :]
            if e.event == "attempt-ended"
            and (e.get("phase"), e.get("attempt"), e.get("status")) == (phase.name, last.get("attempt"), "done")
        ),
        None,
    )


def _told(order: Order, webhook: Webhook, display: Display) -> Callable[[str], None]:
    def say(text: str) -> None:
        display.line(f"run {order.run} {text}")
        if why := webhook.send(f"run {order.run} (profile {order.profile}, option {order.option}) {text}"):
            display.line(f"the webhook was not told: {why}")

    return say


def _say_how_it_ended(result: PhaseResult, display: Display) -> None:
    mark = {"done": "✔", "rehearsed": "◌", "done before": "✔", "rehearsed before": "◌", "no notebook": "–", "awaiting": "☐",
            "not reached": "☐"}.get(result.state, "✘")  # fmt: skip
    took = f" after {duration(result.seconds)}" if result.seconds is not None else ""
    display.line(f"{mark} {result.phase}: {result.state}{took}{f': {result.why}' if result.why else ''}")


def _misused(what: str, on: str, why: str, next_step: str) -> UsageError:
    return UsageError(what, on=on, why=why, next_step=next_step)
