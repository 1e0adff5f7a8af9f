"""A step acts once: a rerun skips what is there, asks the system where it cannot know, and acts where it is not.

Would catch: an effect that a crash doubles or loses, a skip of something that changed or is gone, a check that is not taken
anew, a failure or a plan that is recorded as a success, a record where there is no run.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from property_support import examples
from run_support import PROJECT

from helpers.errors import ConnectionFailed, EvidenceError, GateClosed, UsageError
from helpers.ledger import folders, steps
from helpers.ledger.ledger import Entry, Ledger
from helpers.ledger.steps import CHECK, Declares, Found, Run

PHASE = "30_data_migration"


def attempt(ledger: Ledger, number: int = 1, notebook: str = "a" * 64, phase: str = PHASE) -> Run:
    name = f"attempt-{number:02d}"
    ledger.append("attempt-started", phase=phase, attempt=name, notebook_sha256=notebook)
    return Run(ledger, phase, name)


def taken(run: Run, name: str = "s30-export", inputs: Mapping[str, Any] | None = None, **options: Any) -> steps.Step:
    with run.step(name, inputs={"lsn": "0/1"} if inputs is None else inputs, **options) as step:
        if not step.skipped:
            step.result = {"rows": 3}
    return step


def events(ledger: Ledger, step: str = "s30-export") -> list[str]:
    return [entry.event for entry in ledger.entries() if entry.get("step") == step]


def last(ledger: Ledger) -> Entry:
    return ledger.entries()[-1]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger.open(tmp_path / "run")


def crashed(ledger: Ledger, number: int = 1) -> str:
    """A start that nothing follows; its load id."""
    run = attempt(ledger, number)
    facts = {"step": "s30-export", "phase": PHASE, "attempt": run.attempt, "inputs": steps.digest({"lsn": "0/1"})}
    ledger.append("step-started", **facts, load_id="c0ffee" * 5 + "00")
    return "c0ffee" * 5 + "00"


def answers(answer: Any, result: Mapping[str, Any] | None = None) -> Callable[[str, Mapping[str, Any]], Found]:
    def probe(load_id: str, recorded: Mapping[str, Any]) -> Found:
        asked.append((load_id, dict(recorded)))
        return Found(answer, "the system was asked", result or {})

    asked: list[tuple[str, dict[str, Any]]] = []
    probe.asked = asked  # type: ignore[attr-defined]
    return probe


def test_a_step_is_recorded_as_the_format_says(ledger: Ledger) -> None:
    step = taken(attempt(ledger))
    started, done = ledger.entries()[1:]
    common = {
        "step": "s30-export", "phase": PHASE, "attempt": "attempt-01", "inputs": steps.digest({"lsn": "0/1"}),
    }  # fmt: skip
    assert (started.event, dict(started.fields)) == ("step-started", {**common, "load_id": step.load_id})
    assert len(bytes.fromhex(step.load_id)) == 16
    assert done.event == "step-done"
    assert isinstance(done.get("seconds"), float)
    assert {k: v for k, v in done.fields.items() if k != "seconds"} == {**common, "result": {"rows": 3}}


def test_equal_inputs_are_skipped_and_it_says_so(ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    first = taken(attempt(ledger))
    again = taken(attempt(ledger, 2))
    assert (again.skipped, again.result, again.load_id) == (True, {"rows": 3}, first.load_id)
    assert last(ledger).event == "step-skipped"
    assert last(ledger).get("of") == 3
    assert "s30-export skipped: attempt-01 did it" in capsys.readouterr().out
    # The skip of a skip relies on the same line.
    taken(attempt(ledger, 3))
    assert last(ledger).get("of") == 3


def test_the_order_of_the_inputs_does_not_matter(ledger: Ledger) -> None:
    taken(attempt(ledger), inputs={"a": 1, "b": 2})
    assert taken(attempt(ledger, 2), inputs={"b": 2, "a": 1}).skipped


@pytest.mark.parametrize("what", ["inputs", "notebook"])
def test_a_change_runs_again_or_refuses_as_declared(ledger: Ledger, what: str) -> None:
    first = taken(attempt(ledger))
    inputs, notebook = ({"lsn": "0/2"}, "a" * 64) if what == "inputs" else ({"lsn": "0/1"}, "b" * 64)
    run = attempt(ledger, 2, notebook)
    with pytest.raises(UsageError, match="does not run twice"):
        taken(run, inputs=inputs, declares=Declares(**{what: "refuse"}))
    assert last(ledger).event == "step-failed"
    again = taken(run, inputs=inputs)
    assert not again.skipped
    assert again.load_id != first.load_id
    assert taken(attempt(ledger, 3, notebook), inputs=inputs, declares=Declares(**{what: "refuse"})).skipped


def test_a_former_success_is_not_believed_when_the_system_says_otherwise(ledger: Ledger) -> None:
    first = taken(attempt(ledger))
    probe = answers("not done")
    again = taken(attempt(ledger, 2), probe=probe)
    assert probe.asked == [(first.load_id, {"rows": 3})]  # type: ignore[attr-defined]
    assert not again.skipped
    assert again.load_id != first.load_id
    assert events(ledger) == ["step-started", "step-done", "step-probed", "step-started", "step-done"]


def test_a_crash_behind_the_effect_is_seen_by_the_probe(ledger: Ledger) -> None:
    load_id = crashed(ledger)
    probe = answers("done", {"rows": 7})
    step = taken(attempt(ledger, 2), probe=probe)
    assert probe.asked == [(load_id, {})]  # type: ignore[attr-defined]
    assert (step.skipped, step.result) == (True, {"rows": 7})
    assert events(ledger) == ["step-started", "step-probed", "step-done", "step-skipped"]
    # The next one relies on that line.
    assert taken(attempt(ledger, 3)).result == {"rows": 7}


def test_a_crash_before_the_effect_goes_on_under_the_same_load_id(ledger: Ledger) -> None:
    load_id = crashed(ledger)
    assert taken(attempt(ledger, 2), probe=answers("not done")).load_id == load_id
    assert last(ledger).event == "step-done"


def test_what_cannot_be_seen_stops_the_run(ledger: Ledger) -> None:
    crashed(ledger)
    with pytest.raises(EvidenceError, match="cannot be seen"):
        taken(attempt(ledger, 2), probe=answers("unknown"))
    assert events(ledger) == ["step-started", "step-probed", "step-failed"]

    def unreachable(load_id: str, recorded: Mapping[str, Any]) -> Found:
        raise ConnectionFailed("connect", on="x", why="y", next_step="z")

    with pytest.raises(ConnectionFailed):
        taken(attempt(ledger, 3), probe=unreachable)
    assert last(ledger).get("error")["type"] == "ConnectionFailed"
    assert not taken(attempt(ledger, 4), probe=answers("not done")).skipped


def test_a_failure_is_recorded_and_raised_and_the_probe_asked_next_time(ledger: Ledger) -> None:
    with pytest.raises(ZeroDivisionError), attempt(ledger).step("s30-export", inputs={"lsn": "0/1"}) as first:
        first.result = {"rows": 1 / 0}
    assert last(ledger).get("error")["type"] == "ZeroDivisionError"
    # The answer to a COMMIT may be what was lost.
    assert taken(attempt(ledger, 2), probe=answers("done", {"rows": 3})).skipped


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(0), GateClosed("a", on="b", why="c", next_step="d")])
def test_whatever_ends_the_block_is_no_success(ledger: Ledger, error: BaseException) -> None:
    with pytest.raises(type(error)), attempt(ledger).step("s30-export", inputs={}):
        raise error
    assert events(ledger) == ["step-started", "step-failed"]


def test_a_check_is_taken_anew(ledger: Ledger) -> None:
    for number in (1, 2):
        assert not taken(attempt(ledger, number), declares=CHECK).skipped
    assert events(ledger) == ["step-started", "step-done"] * 2


def test_a_no_voids_what_was_done_before_it(ledger: Ledger) -> None:
    first = taken(attempt(ledger))
    with pytest.raises(GateClosed), attempt(ledger, 2).step("s30-gate", inputs={}, declares=CHECK):
        raise GateClosed("pass", on="g", why="no", next_step="look")
    again = taken(attempt(ledger, 3))
    assert not again.skipped
    assert again.load_id != first.load_id
    assert taken(attempt(ledger, 4)).skipped


def test_a_no_of_another_phase_does_not(ledger: Ledger) -> None:
    taken(attempt(ledger))
    with pytest.raises(GateClosed), attempt(ledger, 1, phase="40_x").step("s40-gate", inputs={}):
        raise GateClosed("pass", on="g", why="no", next_step="look")
    assert taken(attempt(ledger, 2)).skipped


def test_a_plan_is_no_success(ledger: Ledger) -> None:
    taken(attempt(ledger), apply=False)
    assert events(ledger) == ["step-planned"]
    assert last(ledger).get("result") == {"rows": 3}
    assert not taken(attempt(ledger, 2)).skipped
    taken(attempt(ledger, 3), apply=False)
    assert taken(attempt(ledger, 4)).skipped


def test_outside_a_run_nothing_is_recorded_and_nothing_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(folders.RUN, raising=False)
    monkeypatch.chdir(tmp_path)
    run = steps.current()
    assert not run.recorded
    assert [taken(run, probe=answers("done")).skipped for _ in range(2)] == [False, False]
    with pytest.raises(ZeroDivisionError), run.step("s30-export", inputs={}):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_within_a_run_the_environment_names_the_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = folders.open_attempt(tmp_path, "r", PHASE)
    for name, value in made.environment().items():
        monkeypatch.setenv(name, value)
    run = steps.current()
    assert (run.phase, run.attempt) == (PHASE, "attempt-01")
    taken(run)
    assert events(Ledger.open(tmp_path / "r")) == ["step-started", "step-done"]


class Crash(BaseException):
    """Nothing is written after it, as after kill -9."""


class Mortal(Ledger):
    dead = False

    def append(self, event: str, **fields: Any) -> Entry:
        if self.dead:
            raise Crash
        return super().append(event, **fields)


@given(st.lists(st.sampled_from(["begin", "before", "after", "done", "never"]), max_size=6))
@examples(40)
def test_wherever_it_crashes_the_effect_is_there_once(crashes: list[str]) -> None:
    """The system takes an effect twice unless it is told not to; the step's probe and load id are all that prevents it."""
    effects: list[str] = []

    def probe(load_id: str, recorded: Mapping[str, Any]) -> Found:
        return Found("done" if load_id in effects else "not done", "looked", {"by": load_id})

    with tempfile.TemporaryDirectory() as folder:
        for number, crash in enumerate([*crashes, "never"], 1):
            ledger = Mortal.open(Path(folder))
            assert isinstance(ledger, Mortal)
            run = attempt(ledger, number)
            ledger.dead = crash == "begin"
            try:
                with run.step("s30-load", inputs={"lsn": "0/1"}, probe=probe) as step:
                    if not step.skipped:
                        if crash == "before":
                            ledger.dead = True
                            raise Crash
                        effects.append(step.load_id)
                        step.result = {"by": step.load_id}
                    ledger.dead = crash in ("after", "done")
                    if crash == "after":
                        raise Crash
            except Crash:
                pass
        assert len(effects) == 1
        done = [entry for entry in ledger.entries() if entry.event == "step-done"]
        assert [entry.get("result") for entry in done] == [{"by": effects[0]}]
        assert ledger.verify() == []


def test_a_cell_says_what_it_skips_in_the_notebook(tmp_path: Path) -> None:
    """As an operator meets it: the same notebook twice in one run, each in a process of its own."""
    code = (
        "from helpers.ledger import steps\n"
        "with steps.current().step('s30-export', inputs={'a': 1}) as step:\n"
        "    if not step.skipped: print('acts')"
    )
    script = (
        "import sys, nbformat; from pathlib import Path; from nbformat.v4 import new_code_cell, new_notebook\n"
        "from helpers.runs.run import execute; from helpers.runs.cell_progress import Silence\n"
        f"folder = Path({str(tmp_path)!r}); path = folder / '30_x.ipynb'\n"
        f"nbformat.write(new_notebook(cells=[new_code_cell({code!r}, id='s30-export')]), path)\n"
        "result = execute(path, run='r', parameters={}, outputs=folder / 'outputs', report=Silence())\n"
        "print(nbformat.read(result.notebook, as_version=4).cells[0].outputs[0].text)"
    )
    told = [
        subprocess.run([sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert told[0].strip() == "acts"
    assert "s30-export skipped: attempt-01 did it with equal inputs" in told[1]
    assert "acts" not in told[1]
