"""The status says what the ledger says: no tick that was not earned, no box that is hidden, and who stands in the way.

Would catch: a box that is done though its gate is not, a killed attempt that runs for ever, a rehearsal shown as done, a broken ledger that still ticks boxes, two attempts of a phase at once.
"""

from __future__ import annotations

import io
import json
import os
import platform
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from run_support import Write
from waiting import wait_for

from helpers import checklist
from helpers.commands import places
from helpers.errors import AwaitingPerson, GateClosed, UsageError
from helpers.ledger.ledger import NAME, Ledger
from helpers.ledger.steps import Run
from helpers.process_identity import start_of
from helpers.runs import attempts
from helpers.runs.cell_progress import Silence
from helpers.runs.estimate import Estimate
from helpers.runs.phase_display import Display
from helpers.runs.run import execute
from helpers.runs.status import RunStatus, StepStatus, read_status
from helpers.source import held_snapshots

PHASE = "30_data_migration"


def opened(folder: Path, option: str = "A", **process: Any) -> Run:
    """A run with an attempt that this process executes, unless `process` says otherwise."""
    ledger = Ledger.open(folder)
    ledger.append("run-opened", run="r", option=option, profile="local", apply=True, git={"commit": "", "dirty": False})
    me = {"host": platform.node(), "pid": os.getpid(), "started": start_of(os.getpid())}
    ledger.append(
        "attempt-started", phase=PHASE, attempt="attempt-01", notebook_sha256="a" * 64, parameters={}, by="ann",
        process={**me, **process},
    )  # fmt: skip
    return Run(ledger, PHASE, "attempt-01")


def take(run: Run, *names: str, apply: bool = True) -> None:
    for name in names:
        with run.step(name, inputs={}, apply=apply):
            pass


def ended(run: Run, status: str = "done") -> None:
    assert run.ledger
    run.ledger.append(
        "attempt-ended", phase=PHASE, attempt=run.attempt, status=status, exit_code=0, notebook_sha256="", files=[]
    )


def of(found: RunStatus, step: str) -> StepStatus:
    return next(each for each in found.steps if each.id == step)


def parts(box: str) -> tuple[str, ...]:
    """The box's own step, and those that belong to it."""
    return next(step.ids for step in checklist.steps() if step.id == box)


EXPORT = parts("s30-export")
BEFORE = tuple(name for step in checklist.steps_for_option("A") if step.phase < PHASE for name in step.ids)
"""What comes before the data migration; done, it leaves that as the next thing to do."""


def test_a_run_that_was_never_opened_is_all_open(tmp_path: Path) -> None:
    found = read_status(tmp_path / "nothing")
    states = {step.id: step.state for step in found.steps}
    assert states == {step.id: "open" for step in checklist.steps_for_option("A")}
    assert (found.next, found.blocked_by, found.entries) == (checklist.steps_for_option("A")[0].id, "", 0)
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize("option", ["A", "B", "C"])
def test_every_box_of_the_option_is_shown(tmp_path: Path, option: str) -> None:
    opened(tmp_path, option)
    found = read_status(tmp_path)
    assert [step.id for step in found.steps] == [step.id for step in checklist.steps_for_option(option)]


def test_a_box_is_done_when_everything_of_it_is(tmp_path: Path) -> None:
    run = opened(tmp_path)
    take(run, *BEFORE)
    assert len(EXPORT) > 1
    for name in EXPORT:
        assert of(read_status(tmp_path), "s30-export").state in ("open", "running")
        take(run, name)
    step = of(read_status(tmp_path), "s30-export")
    assert (step.state, step.mark, step.who) == ("done", "✔", "ann")
    assert step.at == run.ledger.entries()[-1].at if run.ledger else False
    assert step.actual_minutes is not None
    assert read_status(tmp_path).next == "s30-load"


def test_a_step_that_stopped_for_a_person_awaits_one(tmp_path: Path) -> None:
    """Would catch: an operator who is told of a failure, where nothing is wanted but a signature."""
    run = opened(tmp_path)
    assert run.ledger
    with pytest.raises(AwaitingPerson), run.step("s00-a-choice", inputs={}):
        run.ledger.append("awaiting", step="s00-a-choice", what="approval")
        raise AwaitingPerson("go on", on="s00-a-choice", why="0 of 2 have approved", next_step="approve")
    box = next(step.id for step in checklist.steps_for_option("A") if "s00-a-choice" in step.ids)
    found = of(read_status(tmp_path), box)
    assert (found.state, found.why) == ("awaiting", "s00-a-choice awaits an approval")
    lines = io.StringIO()
    Display(lines).events(run.ledger.entries(), Estimate(0.0, planned=False))
    assert lines.getvalue().count("awaits a person") == 1
    assert "failed" not in lines.getvalue()


def test_a_rollback_is_next_only_when_somebody_began_it(tmp_path: Path) -> None:
    """Would catch: a finished migration whose status tells the operator to roll it back."""
    run = opened(tmp_path)
    steps = [name for step in checklist.steps_for_option("A") for name in step.ids]
    back = [name for step in checklist.steps_for_option("A") if step.phase == checklist.ROLLBACK for name in step.ids]
    take(run, *(name for name in steps if name not in back))
    assert read_status(tmp_path).next is None
    with pytest.raises(GateClosed), run.step(back[0], inputs={}):
        raise GateClosed("go back", on="the source", why="it was written to", next_step="look")
    assert read_status(tmp_path).next == "s90-immediate"


def test_a_running_step_and_an_interrupted_one(tmp_path: Path) -> None:
    with opened(tmp_path).step("s30-load", inputs={}):
        found = read_status(tmp_path)
        assert of(found, "s30-load").state == "running"
        assert found.attempts == {f"{PHASE}/attempt-01": "running"}

    gone = opened(tmp_path / "gone", started=1.0)
    assert gone.ledger
    gone.ledger.append(
        "step-started", step="s30-load", phase=PHASE, attempt="attempt-01", inputs="", load_id="0" * 32
    )  # fmt: skip
    for _ in range(2):
        found = read_status(tmp_path / "gone")
        assert found.attempts == {f"{PHASE}/attempt-01": "killed"}
        assert (of(found, "s30-load").state, of(found, "s30-load").mark) == ("interrupted", "✘")
        assert "attempt-01" in of(found, "s30-load").why
    assert [e.get("status") for e in gone.ledger.entries() if e.event == "attempt-ended"] == ["killed"]


def test_another_machines_attempt_is_left_alone(tmp_path: Path) -> None:
    opened(tmp_path, host="elsewhere", started=1.0)
    assert read_status(tmp_path).attempts == {f"{PHASE}/attempt-01": "running"}


def test_a_no_blocks_and_says_why(tmp_path: Path) -> None:
    run = opened(tmp_path)
    take(run, *BEFORE, *EXPORT, *parts("s30-load"), "s30-verify")
    with pytest.raises(GateClosed), run.step("s30-gate", inputs={}):
        raise GateClosed("pass the gate", on="g", why="3 differ", next_step="look at them")
    ended(run, "gate closed")
    found = read_status(tmp_path)
    assert (of(found, "s30-verify").state, of(found, "s30-verify").mark) == ("failed", "✘")
    assert found.next == "s30-verify"
    assert found.blocked_by == "s30-gate: could not pass the gate (g): 3 differ → look at them"


def test_the_class_of_an_error_is_said_only_where_nobody_foresaw_it(tmp_path: Path) -> None:
    run = opened(tmp_path)
    take(run, *BEFORE, *EXPORT, *parts("s30-load"), "s30-verify")
    with pytest.raises(KeyError), run.step("s30-gate", inputs={}):
        raise KeyError("rows")
    ended(run, "failed")
    assert read_status(tmp_path).blocked_by == "s30-gate: could not finish the step (KeyError): 'rows'"


def test_a_rehearsal_is_no_tick_and_takes_none_away(tmp_path: Path) -> None:
    run = opened(tmp_path)
    take(run, *EXPORT, apply=False)
    ended(run)
    assert (of(read_status(tmp_path), "s30-export").state, of(read_status(tmp_path), "s30-export").mark) == (
        "planned",
        "◌",
    )
    take(run, *EXPORT)
    take(run, *EXPORT, apply=False)
    assert of(read_status(tmp_path), "s30-export").state == "done"


def test_a_persons_answer_is_told(tmp_path: Path) -> None:
    run = opened(tmp_path)
    assert run.ledger
    run.ledger.append("awaiting", step="s30-verify", what="approval", payload_sha256="0" * 64)
    ended(run, "awaiting")
    found = read_status(tmp_path)
    assert of(found, "s30-verify").why == "s30-verify awaits an approval"
    # A person's word is worth nothing where a check belongs.
    run.ledger.append("attested", step="s30-verify", by="bob", note="", key_id="", envelope="")
    assert of(read_status(tmp_path), "s30-verify").state == "awaiting"
    run.ledger.append("awaiting", step="s60-training", what="attestation")
    assert of(read_status(tmp_path), "s60-training").state == "awaiting"
    run.ledger.append("attested", step="s60-training", by="bob", note="", key_id="", envelope="")
    assert (of(read_status(tmp_path), "s60-training").state, of(read_status(tmp_path), "s60-training").who) == (
        "done",
        "bob",
    )


def test_a_broken_ledger_ticks_nothing(tmp_path: Path) -> None:
    take(opened(tmp_path), *EXPORT)
    path = tmp_path / NAME
    path.write_bytes(path.read_bytes().replace(b'"by":"ann"', b'"by":"bob"'))
    found = read_status(tmp_path)
    assert "done" not in {step.state for step in found.steps}
    assert found.findings
    assert "line 3" in found.blocked_by


def test_a_line_that_a_crash_tore_is_no_break(tmp_path: Path) -> None:
    take(opened(tmp_path), *EXPORT)
    with (tmp_path / NAME).open("ab") as file:
        file.write(b'{"at":"2026')
    found = read_status(tmp_path)
    assert of(found, "s30-export").state == "done"
    assert found.findings == ()


def test_a_sealed_ledger_stays_as_it_is(tmp_path: Path) -> None:
    run = opened(tmp_path, started=1.0)
    assert run.ledger
    run.ledger.append("sealed", manifest_sha256="", verdict="PARTIAL", envelope="")
    before = run.ledger.path.read_bytes()
    assert read_status(tmp_path).attempts == {f"{PHASE}/attempt-01": "killed"}
    assert run.ledger.path.read_bytes() == before


SLEEPS = "import pathlib, time\npathlib.Path('here').touch()\ntime.sleep(60)"


def test_a_killed_command_is_seen_and_the_next_attempt_goes_on(
    write: Write, tmp_path: Path, command: Callable[..., subprocess.Popen[bytes]]
) -> None:
    notebook = write("30_x", {"s30-a": SLEEPS})
    process = command(notebook)
    wait_for((tmp_path / "here").exists)
    with pytest.raises(UsageError, match="attempt-01 is running"):
        execute(notebook, run="r", parameters={}, outputs=tmp_path / "outputs", report=Silence())
    assert not (tmp_path / "outputs/r/30_x/attempt-02.ipynb").exists()
    process.kill()
    # Not waited for: a process that nobody has buried yet is gone all the same.
    wait_for(lambda: psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE)
    write("30_x", {"s30-a": "1"})
    assert execute(notebook, run="r", parameters={}, outputs=tmp_path / "outputs", report=Silence()).status == "done"
    found = read_status(tmp_path / "outputs/r")
    assert found.attempts == {"30_x/attempt-01": "killed", "30_x/attempt-02": "done"}


def test_an_attempt_leaves_its_facts(write: Write, tmp_path: Path) -> None:
    notebook = write(
        "30_x",
        {
            "parameters": "word: str = ''",
            "s30-a": "from helpers.ledger.folders import report_path\nreport_path('x.json').write_text('1')",
        },
    )
    result = execute(
        notebook, run="r", parameters={"word": "hello"}, outputs=tmp_path / "outputs", option="B", report=Silence()
    )
    ledger = Ledger.open(tmp_path / "outputs/r")
    first, started, over, signed = ledger.entries()
    assert signed.event == "head-signed"
    assert (first.event, first.get("option"), first.get("run")) == ("run-opened", "B", "r")
    assert set(first.get("git")) == {"commit", "dirty"}
    assert (started.get("attempt"), started.get("parameters")) == ("attempt-01", {"word": "hello"})
    assert started.get("notebook_sha256") == attempts.file_digest(notebook)
    assert over.get("notebook_sha256") == attempts.file_digest(result.notebook)
    assert result.html
    assert over.get("html_sha256") == attempts.file_digest(result.html)
    report = tmp_path / "outputs/r/30_x/attempt-01-x.json"
    assert over.get("files") == [{"path": "30_x/attempt-01-x.json", "sha256": attempts.file_digest(report)}]
    with pytest.raises(UsageError, match="opened with option 'B'"):
        execute(notebook, run="r", parameters={}, outputs=tmp_path / "outputs", option="A", report=Silence())
    assert not (tmp_path / "outputs/r/30_x/attempt-02.ipynb").exists()
    assert len(ledger.entries()) == 4


def test_a_broken_ledger_opens_no_attempt(write: Write, tmp_path: Path) -> None:
    notebook = write("30_x", {"s30-a": "1"})
    execute(notebook, run="r", parameters={}, outputs=tmp_path / "outputs", report=Silence())
    path = tmp_path / "outputs/r" / NAME
    path.write_bytes(b"{}\n" + path.read_bytes())
    with pytest.raises(Exception, match="trust the ledger"):
        execute(notebook, run="r", parameters={}, outputs=tmp_path / "outputs", report=Silence())
    assert not (tmp_path / "outputs/r/30_x/attempt-02.ipynb").exists()


def test_the_command_shows_it_to_people_and_programs(
    tmp_path: Path, runbook: Callable[..., subprocess.CompletedProcess[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = opened(tmp_path / "outputs" / "r", started=1.0)
    take(run, *BEFORE, *EXPORT)
    folder = tmp_path / "outputs" / "r" / PHASE
    folder.mkdir()
    nbformat.write(nbformat.v4.new_notebook(metadata={"runbook": {"status": "running"}}), folder / "attempt-01.ipynb")
    monkeypatch.setattr(places, "OUTPUTS", tmp_path / "outputs")
    monkeypatch.setattr(held_snapshots, "RECORDS", tmp_path / "outputs")
    value = json.loads(runbook("status", "--run", "r", "--json").stdout)
    assert {"attempts", "snapshots", "xmin_age"} <= set(value)
    assert [(a["attempt"], a["status"]) for a in value["attempts"]] == [("attempt-01", "killed")]
    assert (value["run"], value["option"], value["next"], value["findings"]) == ("r", "A", "s30-load", [])
    assert {s["id"]: s["state"] for s in value["steps"]}["s30-export"] == "done"
    page = runbook("status", "--run", "r")
    assert page.returncode == 0
    for step in checklist.steps_for_option("A"):
        assert step.id in page.stdout
    assert "next: s30-load" in page.stdout
    assert "runbook run 30 --run r" in page.stdout
    assert "killed" in page.stdout
