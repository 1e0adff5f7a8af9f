"""`runbook run all` goes as far as the answers allow, says how far that was, and goes on there.

Would catch: a phase behind a "no" that runs, an exit code that is not the phase's, a done phase that runs twice or one that is
believed though what it builds on was done anew, a phase without a notebook that is not named, a Ctrl-C that leaves a kernel or an
attempt without an end, a killed command whose notebook goes on, a check that is repeated until it says yes, a rollback that
is taken because somebody said `all`.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import pytest
from run_support import PROJECT, Write, alive
from waiting import wait_for

from helpers import checklist
from helpers.commands import places
from helpers.errors import UsageError
from helpers.ledger import folders
from helpers.ledger.ledger import Entry, Ledger
from helpers.runs import child_process, estimate, run_all
from helpers.runs.cell_progress import Silence
from helpers.runs.estimate import estimate_phases
from helpers.runs.notify import Webhook
from helpers.runs.phase_display import Display
from helpers.runs.retry import execute_patiently
from helpers.runs.run import execute
from helpers.runs.run_all import Order, applies

PROGRAM = """
import sys
from pathlib import Path
from helpers.commands import main, places
folder = Path(sys.argv.pop(1))
places.RUNBOOKS, places.OUTPUTS = folder, folder / "outputs"
places.COMMAND = (sys.executable, "-c", {program!r}, str(folder))
main()
"""
# The phases' commands are this program too, so that they find the same folder; they start none themselves.
COMMAND = PROGRAM.format(program=PROGRAM.format(program=""))

PARAMETERS = "profile: str = 'test'\napply: bool = False\nname: str = 'x'"
WRITES = "import os; open('order', 'a').write(f'{os.environ[\"RUNBOOK_PHASE\"][:2]} {apply} {os.getpid()} {name}\\n')"


@dataclass
class Project:
    """A folder with a profile `test` that needs no stack, and runbooks that note that they ran."""

    folder: Path
    write: Write
    runbook: Callable[..., subprocess.CompletedProcess[str]]
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def phase(self, name: str, code: str = "", *, parameters: str = PARAMETERS) -> None:
        full = next(each for each in checklist.PHASES if each.startswith(name))
        setup = "from helpers.errors import *\nfrom helpers.ledger import steps\nrun = steps.current()"
        self.write(full, {"parameters": parameters, "setup": setup, f"s{name}-a": WRITES, f"s{name}-b": code or "1"})

    def start(self, *words: str) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
        command = [
            sys.executable,
            "-c",
            COMMAND,
            str(self.folder),
            "run",
            "all",
            "--run",
            "r",
            "--profile",
            "test",
            *words,
        ]
        process = subprocess.Popen(
            command, cwd=self.folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self.started.append(process)
        return process

    def run(self, *words: str) -> tuple[int, dict[str, Any], str]:
        """The command in this process; the phases have theirs."""
        done = self.runbook("run", "all", "--run", "r", "--profile", "test", "--json", *words, folder=self.folder)
        assert len(done.stdout.splitlines()) == 1, done.stdout + done.stderr
        return done.returncode, json.loads(done.stdout), done.stderr

    @property
    def order(self) -> list[str]:
        """What ran: phase, whether it applied."""
        lines = (self.folder / "order").read_text().splitlines()
        return [" ".join(line.split()[:2]) for line in lines]

    def entries(self, event: str) -> list[Entry]:
        ledger = Ledger(self.folder / "outputs" / "r")
        return [e for e in Ledger(ledger.path / "ledger.jsonl").entries() if e.event == event]


@pytest.fixture
def project(
    tmp_path: Path,
    write: Write,
    migration_toml: Callable[..., Path],
    runbook: Callable[..., subprocess.CompletedProcess[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Project]:
    migration_toml("[profiles.test]\n")
    monkeypatch.setattr(places, "RUNBOOKS", tmp_path)
    monkeypatch.setattr(places, "OUTPUTS", tmp_path / "outputs")
    monkeypatch.setattr(places, "COMMAND", (sys.executable, "-c", PROGRAM.format(program=""), str(tmp_path)))
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    found = Project(tmp_path, write, runbook)
    yield found
    for process in found.started:
        process.kill()
        process.communicate()


def states(told: dict[str, Any]) -> dict[str, str]:
    return {each["phase"][:2]: each["state"] for each in told["phases"]}


def test_in_order_and_again_only_what_changed(project: Project) -> None:
    for name in ("30", "00", "90"):
        project.phase(name)
    code, told, shown = project.run("--apply", "-p", "name=0123")

    assert code == 0, shown
    assert project.order == ["00 True", "30 True", "90 False"]
    lines = [line.split() for line in (project.folder / "order").read_text().splitlines()]
    assert len({pid for _, _, pid, _ in lines}) == 3
    assert {name for *_, name in lines} == {"0123"}
    assert states(told) == {
        "00": "done", "10": "no notebook", "20": "no notebook", "30": "done", "40": "no notebook", "50": "no notebook",
        "60": "no notebook", "90": "rehearsed",
    }  # fmt: skip
    assert told["partial"]
    assert "PARTIAL, no notebook: 10_infrastructure" in told["summary"]
    assert "REHEARSED" in told["summary"]

    code, told, shown = project.run("--apply", "-p", "name=0123")
    assert (code, len(project.order)) == (0, 3)
    assert (states(told)["00"], states(told)["30"], states(told)["90"]) == (
        "done before",
        "done before",
        "rehearsed before",
    )
    assert "attempt-01 did it with the same notebook and parameters" in shown

    project.phase("30", "print('changed')")
    code, told, _ = project.run("--apply", "-p", "name=0123")
    assert project.order[3:] == ["30 True", "90 False"]
    assert states(told)["00"] == "done before"


STOPS = {
    1: ("no", "raise GateClosed('pass', on='counts', why='3 rows differ', next_step='look')"),
    2: ("could not run", "raise SettingsError('read', on='key', why='3 rows differ', next_step='look')"),
    3: ("awaiting", "class Waits(MigrationError):\n    exit_code = 3\nraise Waits('go on', on='s', why='3 rows differ', next_step='sign')"),
}  # fmt: skip


def test_it_stops_and_goes_on_there(project: Project) -> None:
    project.phase("00")
    project.phase("20")
    first = "rehearsed"
    for code, (state, cell) in STOPS.items():
        project.phase("10", cell)
        exit_code, told, _ = project.run()
        assert (exit_code, told["exit_code"]) == (code, code)
        reached = [states(told)[each] for each in ("00", "10", "20", "30")]
        assert reached == [first, state, "not reached", "no notebook"]
        assert told["partial"]
        assert "3 rows differ" in told["summary"]
        first = "rehearsed before"

    project.phase("10")
    exit_code, told, _ = project.run()
    assert exit_code == 0
    assert project.order == ["00 False", *["10 False"] * 4, "20 False"]
    assert states(told)["00"] == "rehearsed before"


def test_an_applied_phase_is_not_done_by_its_rehearsal_and_stays_done_after_one(project: Project) -> None:
    project.phase("00")
    shown, _ = project.start().communicate(timeout=200)
    assert shown.splitlines()[-1].endswith("to do it: runbook run all --run r --profile test --apply")
    project.run("--apply")
    project.run()
    project.run("--apply")
    assert project.order == ["00 False", "00 True", "00 False"]


SLEEPS = """import os, pathlib, time
try:
    pathlib.Path('pid').write_text(str(os.getpid()))
    time.sleep(120)
finally:
    time.sleep(1)
    pathlib.Path('rolled_back').touch()"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_told_to_stop_or_killed(project: Project, number: signal.Signals) -> None:
    project.phase("00", SLEEPS)
    project.phase("10")
    process = project.start("--json")
    pid = int(wait_for(lambda: (project.folder / "pid").exists() and (project.folder / "pid").read_text(), 100))
    process.send_signal(number)
    out, _ = process.communicate(timeout=120)

    if number != signal.SIGKILL:
        assert process.returncode == 4
        assert states(json.loads(out))["00"] == "aborted"
    wait_for(lambda: not alive(pid), 60)
    assert wait_for(lambda: [e.get("status") for e in project.entries("attempt-ended")], 60) == ["aborted"]
    assert (project.folder / "rolled_back").exists()

    if number != signal.SIGKILL:  # then it is the same
        return
    project.phase("00")
    assert project.run()[0] == 0
    assert project.order == ["00 False", "00 False", "10 False"]


def test_the_runs_time_is_over(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.phase("00", SLEEPS)
    # Once the phase is in its cell, however long that takes, the clock goes ahead.
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + 3600 * (project.folder / "pid").exists())
    monkeypatch.setattr(child_process, "time", clock)
    code, told, _ = project.run("--run-timeout", "3000")
    assert (code, states(told)["00"]) == (4, "aborted")
    assert "the run's time is over" in told["summary"]
    assert [e.get("status") for e in project.entries("attempt-ended")] == ["aborted"]


def test_only_what_may_pass_is_repeated(write: Write, tmp_path: Path) -> None:
    def tried(code: str, retries: int) -> tuple[str, int, list[str]]:
        run = f"r{len(list(tmp_path.glob('outputs/*')))}"
        notebook = write("30_x", {"setup": "from helpers.errors import *", "s30-a": code})
        told: list[str] = []
        result = execute_patiently(
            lambda: execute(notebook, run=run, parameters={}, outputs=tmp_path / "outputs", report=Silence()),
            retries=retries, say=told.append, first_wait=0.01,
        )  # fmt: skip
        return result.status, result.attempt.number, told

    lost = "ConnectionFailed('connect', on='db', why='w', next_step='n')"
    until = f"import pathlib\nif not pathlib.Path('up').exists():\n    pathlib.Path('up').touch(); raise {lost}"
    status, attempts, told = tried(until, 3)
    assert (status, attempts) == ("done", 2)
    assert "ConnectionFailed may pass: attempt 2 of at most 4" in told[0]
    assert tried(f"raise {lost}", 1)[:2] == ("failed", 2)
    for terminal in ("raise SettingsError('a', on='b', why='c', next_step='d')", "1 / 0",
                     "class ConnectionFailed(Exception): transient = True\nraise ConnectionFailed",
                     "class No(ConnectionFailed): exit_code = 1\nraise No('a', on='b', why='c', next_step='d')"):  # fmt: skip
        assert tried(terminal, 3)[:2] == ("failed", 1)


def in_process(project: Project, *command: str, **more: Any) -> run_all.AllResult:
    order = Order("r", "test", "A", project.folder, project.folder / "outputs", command or ("false",), **more)
    return run_all.run_all(order, display=Display(), webhook=Webhook(None))


def test_the_option_reaches_the_notebooks_that_ask_for_it(project: Project) -> None:
    project.phase("00", "open('path', 'w').write(option)", parameters=f"{PARAMETERS}\noption: str = 'A'")
    project.phase("30")
    code, _, shown = project.run("--option", "B")
    assert code == 0, shown
    assert (project.folder / "path").read_text() == "B"
    code, _, shown = project.run("--option", "C", "-p", "option=B")
    assert code == 2
    assert project.order == ["00 False", "30 False"]


def test_misuse_starts_nothing(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no phase has a notebook"):
        in_process(project)
    project.phase("00")
    for parameters in ({"nme": "x"}, {"apply": True}, {"name": 3}):
        with pytest.raises(UsageError):
            in_process(project, parameters=parameters)
    with monkeypatch.context() as patch:
        patch.setenv(folders.RUN, "outer")
        with pytest.raises(UsageError, match="outer"):
            in_process(project)
    assert not (project.folder / "outputs").exists()


def test_a_second_call_is_refused(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.phase("00")
    (project.folder / "outputs" / "r").mkdir(parents=True)
    monkeypatch.setattr(run_all, "PATIENCE", 0.1)
    handle = os.open(project.folder / "outputs" / "r", os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(UsageError, match="at work"):
        in_process(project)
    os.close(handle)


def test_a_command_that_says_nothing_is_not_believed(project: Project) -> None:
    project.phase("00")
    result = in_process(project, "true")
    assert (result.exit_code, result.phases[0].state) == (2, "could not run")


def test_a_phase_s_command_gets_no_secret_that_its_profile_does_not_name(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.phase("00")
    with (project.folder / "migration.toml").open("a") as file:
        file.write('\n[profiles.test.source]\npassword = { env = "OF_TEST_PASSWORD" }\n')
    for name in ("VAULT_TOKEN", "OF_TEST_PASSWORD", "RUNBOOK_PLANTED"):
        monkeypatch.setenv(name, "plant-4711")
    in_process(project, "sh", "-c", f"env > '{project.folder}/environment'")
    lines = (project.folder / "environment").read_text().splitlines()
    assert [line.partition("=")[0] for line in sorted(lines) if "plant-4711" in line] == [
        "OF_TEST_PASSWORD",
        "RUNBOOK_PLANTED",
    ]


def test_what_acts_by_default() -> None:
    assert [phase for phase in checklist.PHASES if applies("local", phase, None)] == list(checklist.PHASES[:5])
    assert not any(applies("production", phase, None) for phase in checklist.PHASES)
    assert applies("production", "50_cutover", True)
    assert not applies("local", "00_assessment", False)


def test_the_time_left_is_that_of_the_last_time_or_the_planned_one(tmp_path: Path) -> None:
    def estimated(wanted: dict[str, bool], profile: str = "test") -> dict[str, str]:
        return {k: str(v) for k, v in estimate_phases(tmp_path, "r", wanted, profile=profile, option="A").items()}

    planned = estimated({"30_data_migration": True})["30_data_migration"]
    assert planned.endswith("left as planned")
    minutes = sum(s.minutes for s in checklist.steps_for_option("A") if s.phase == "30_data_migration")
    assert (
        estimate_phases(tmp_path, "r", {"30_data_migration": True}, profile="test", option="A")[
            "30_data_migration"
        ].seconds
        == minutes * 60
    )
    ledger = Ledger.open(tmp_path / "other")
    ledger.append("run-opened", profile="test")
    ledger.append("attempt-started", phase="30_data_migration", attempt="attempt-01", parameters={"apply": True})
    ledger.append("attempt-ended", phase="30_data_migration", attempt="attempt-01", status="done")
    assert estimated({"30_data_migration": True}) == {"30_data_migration": "about 0 s left"}
    assert estimated({"30_data_migration": False})["30_data_migration"].endswith("as planned")
    over = {step.id for step in checklist.steps_for_option("A") if step.phase == "30_data_migration"}
    assert estimate.planned("30_data_migration", "A", over).seconds == 0
    assert estimated({"30_data_migration": True}, "production")["30_data_migration"] == planned


def test_the_display_names_phase_step_and_time(project: Project) -> None:
    project.phase("00", "with run.step('s00-usage', inputs={}):\n    pass")
    _, _, shown = project.run()
    assert "▶ [1/1] 00_assessment, rehearsed: about" in shown
    assert "[1/1] 00_assessment s00-usage begins, about" in shown
    assert nbformat.read(project.folder / "outputs/r/00_assessment/attempt-01.ipynb", as_version=4)
