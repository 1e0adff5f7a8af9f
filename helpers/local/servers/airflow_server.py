"""The processes of a local Airflow, in one group: `python airflow_server.py DATA PORT`, in the environment "airflow".

`airflow standalone` would do, but it serves logs on every interface of the machine and starts a triggerer that no DAG here
needs. When one of the processes ends, all do, and with them this one.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

LOOPBACK = "127.0.0.1"
PATIENCE = 15.0
"""Seconds for a process to end by itself; the scheduler waits for the tasks that it runs."""


def main(arguments: list[str]) -> int:
    _, port = arguments
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if code := subprocess.call(_airflow("db", "migrate")):
        return code
    commands = (
        ("scheduler", "--skip-serve-logs"),
        ("dag-processor",),
        ("api-server", "--host", LOOPBACK, "--port", port, "--workers", "1"),
    )
    processes = [subprocess.Popen(_airflow(*command)) for command in commands]
    try:
        while all(process.poll() is None for process in processes):
            time.sleep(0.5)
        ended = next(c for c, p in zip(commands, processes, strict=True) if p.poll() is not None)
        print(f"{ended[0]} ended, and so do the others", flush=True)  # noqa: T201 - into the server's log
        return 1
    except KeyboardInterrupt:
        return 0
    finally:
        _end(processes)


def _airflow(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "airflow", *arguments]


def _end(processes: list[subprocess.Popen[bytes]]) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + PATIENCE
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main(sys.argv[1:]))
