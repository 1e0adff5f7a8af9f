"""Starting, recognising and stopping the processes of the local stack.

A process is recognised by its number, the time it was created and a text in its command line, never by its number
alone: after a reboot that number may belong to another process. Each server works in its own data folder,
so what it leaves behind when it is killed (PostgreSQL's back ends are in sessions of their own) is found by that
folder.
"""

from __future__ import annotations

import os
import pwd
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from helpers.errors import LocalStackError
from helpers.process_identity import start_of
from helpers.stopping import OUTLIVES

LOOPBACK = "127.0.0.1"
LOWEST_FREE_SPACE = 1 << 30
LONGEST_LOG = 16 << 20

EXEC_SECONDS = 2.0

# Kept so that a dead child of a long-lived parent (a notebook, a test run) can be reaped.
_children: list[subprocess.Popen[bytes]] = []


@dataclass(frozen=True)
class Running:
    """A process as the state file remembers it."""

    pid: int
    created: str

    def process(self, marker: str) -> psutil.Process | None:
        """The live process, or None when it is dead, a zombie, or another process under the same number."""
        _reap()
        try:
            process = psutil.Process(self.pid)
            if start_of(self.pid) != self.created:
                return None
            if not any(marker in part for part in _command_line(process)):
                return None
        except psutil.Error:
            return None
        return process


@dataclass(frozen=True)
class Account:
    """The account a server runs under: its own for PostgreSQL, which refuses to run as root."""

    uid: int | None = None
    gid: int | None = None

    @staticmethod
    def for_postgres() -> Account:
        if os.geteuid() != 0:
            return Account()
        nobody = pwd.getpwnam("nobody")
        return Account(nobody.pw_uid, nobody.pw_gid)

    @property
    def extra_groups(self) -> list[int] | None:
        return None if self.uid is None else []

    def own(self, path: Path) -> None:
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)

    def reaches(self, path: Path) -> bool:
        """Whether this account can execute (a folder: traverse) the path."""
        command = ["test", "-x", str(path)]
        return subprocess.run(command, cwd="/", check=False, **self.options()).returncode == 0  # type: ignore[call-overload, no-any-return]

    def options(self) -> dict[str, object]:
        """The keyword arguments of `subprocess` that drop to this account, supplementary groups included."""
        if self.uid is None:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": self.extra_groups}


def start(
    command: Sequence[str],
    *,
    folder: Path,
    log: Path,
    account: Account | None = None,
    environment: Mapping[str, str] | None = None,
) -> Running:
    """Start a server that outlives us, in a session of its own, working in `folder` and writing to `log`."""
    mode = "ab" if log.exists() and log.stat().st_size < LONGEST_LOG else "wb"
    with log.open(mode) as output:
        process: subprocess.Popen[bytes] = subprocess.Popen(  # type: ignore[call-overload]
            list(command),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**(os.environ if environment is None else environment), OUTLIVES: "the local stack"},
            **(account or Account()).options(),
        )
    _children.append(process)
    try:
        return Running(process.pid, start_of(process.pid))
    except psutil.Error:
        return Running(process.pid, "")  # it died at once; `wait_until_ready` tells why


def stop(running: Running, marker: str, *, by: signal.Signals = signal.SIGTERM, patience: float = 30.0) -> bool:
    """Stop a process and everything under it; returns whether it was running."""
    process = running.process(marker)
    if process is None:
        return False
    with suppress(psutil.Error):
        family = [process, *process.children(recursive=True)]
        process.send_signal(by)
        _, left = psutil.wait_procs(family, timeout=patience)
        _kill(left)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(running.pid, signal.SIGKILL)
    return True


def stop_strays(folder: Path) -> int:
    """Kill what still works in `folder`; returns how many processes that were."""
    _reap()
    strays = [process for process in psutil.process_iter() if _works_in(process, folder)]
    _kill(strays)
    return len(strays)


def strays(folder: Path) -> list[int]:
    """The numbers of the processes that work in `folder`."""
    _reap()
    return [process.pid for process in psutil.process_iter() if _works_in(process, folder)]


def wait_until_ready(
    name: str, running: Running, marker: str, log: Path, log_start: int, ready: Callable[[], bool], *, patience: float
) -> None:
    """Ask `ready` until it says yes; when the server dies or stays silent, say so with the end of its own log."""
    deadline = time.monotonic() + patience
    while True:
        if running.process(marker) is None:
            raise _did_not_start(name, "it ended at once", log, log_start)
        if ready():
            return
        if time.monotonic() > deadline:
            raise _did_not_start(name, f"it did not answer within {patience:.0f} seconds", log, log_start)
        time.sleep(0.05)


def choose_port(name: str, remembered: int | None, *, setting: str, taken: set[int]) -> int:
    """The port from the environment, else the remembered one when it is free, else any free one.

    A port somebody asked for by name is never replaced by another one.
    """
    forced = os.environ.get(setting)
    if forced:
        if not forced.isdigit() or not 0 < int(forced) < 65536:
            raise LocalStackError(
                f"start {name}",
                on=f"{setting}={forced}",
                why="that is not a port number",
                next_step=f"correct {setting}",
            )
        if not is_free(int(forced)):
            raise LocalStackError(
                f"start {name}",
                on=f"port {forced} of {LOOPBACK}",
                why="the port is taken by another process",
                next_step=f"free it, or set {setting} to another port or to nothing",
            )
        taken.add(int(forced))
        return int(forced)
    if remembered and remembered not in taken:
        for _ in range(40):  # a process that was just killed keeps its port until its last thread is gone
            if is_free(remembered):
                taken.add(remembered)
                return remembered
            time.sleep(0.05)
    return free_port(taken)


def free_port(taken: set[int]) -> int:
    """A port nobody listens on, below the range that clients' own ends are taken from where that is possible."""
    for _ in range(500):
        port = 15000 + secrets.randbelow(17000)
        if port not in taken and is_free(port):
            taken.add(port)
            return port
    raise LocalStackError(
        "find a free port", on=LOOPBACK, why="500 random ports were all taken", next_step="stop what holds them"
    )


def is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def log_size(log: Path) -> int:
    return log.stat().st_size if log.exists() and log.stat().st_size < LONGEST_LOG else 0


def _did_not_start(name: str, why: str, log: Path, log_start: int) -> LocalStackError:
    with log.open("rb") as file:
        file.seek(log_start)
        lines = file.read()[-2000:].decode(errors="replace").strip().splitlines()
    tail = " | ".join(line.strip() for line in lines[-4:])
    return LocalStackError(
        f"start {name}",
        on=str(log),
        why=f"{why}; its log ends: {tail}" if tail else f"{why} and logged nothing",
        next_step="read the log, then run `runbook local up` again",
    )


def _works_in(process: psutil.Process, folder: Path) -> bool:
    try:
        return Path(process.cwd()).is_relative_to(folder) and process.pid != os.getpid()
    except (psutil.Error, OSError):
        return False


def _command_line(process: psutil.Process) -> list[str]:
    """Of a live process; a zombie has none.

    In the middle of its exec a process already answers, but has no command line yet: on a busy machine that lasts.
    """
    deadline = time.monotonic() + EXEC_SECONDS
    while process.status() != psutil.STATUS_ZOMBIE:
        if (line := process.cmdline()) or time.monotonic() > deadline:
            return list(line)
        time.sleep(0.01)
    return []


def _kill(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(processes, timeout=10)


def _reap() -> None:
    _children[:] = [child for child in _children if child.poll() is None]
