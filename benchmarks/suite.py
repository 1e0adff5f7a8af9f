"""What the tests cost: the CPU seconds of each file and of each test.

CPU seconds, since other work on the machine moves them least. The tests run in one process, on a stack that is started for
them; what only the first file needs, such as the stack, counts as that file's. What pytest takes follows:

    python -m benchmarks.suite tests/verify tests/runs/test_seal.py -k "not page"
"""

from __future__ import annotations

import argparse
import ctypes
import os
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import psutil
import pytest

from helpers import PROJECT
from helpers.local import stack

PR_SET_CHILD_SUBREAPER = 36
"""Of linux/prctl.h: the stack's servers and the keepers stay our descendants, though who started them has gone."""


@dataclass(frozen=True)
class Cost:
    """CPU seconds of the tests' own process and of all that it started, and seconds by the clock."""

    own: float = 0.0
    started: float = 0.0
    clock: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.own + other.own, self.started + other.started, self.clock + other.clock)

    def __sub__(self, other: Cost) -> Cost:
        return self + Cost(-other.own, -other.started, -other.clock)

    def __str__(self) -> str:
        return f"{self.own + self.started:8.1f} {self.own:8.1f} {self.started:8.1f} {self.clock:8.1f}"


@dataclass
class Meter:
    """A plugin of pytest that keeps what each file cost, and each test without the servers."""

    files: dict[str, Cost] = field(default_factory=lambda: defaultdict(Cost))
    tests: dict[str, Cost] = field(default_factory=lambda: defaultdict(Cost))
    begun: Cost | None = None

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
        self.begun = self.begun or _until_now(servers=True)
        before = _until_now()
        result = yield
        self.tests[item.nodeid] += _until_now() - before
        file = item.location[0]
        if nextitem is None or nextitem.location[0] != file:
            now = _until_now(servers=True)
            self.files[file] += now - self.begun
            self.begun = now
        return result


def _until_now(*, servers: bool = False) -> Cost:
    """What this process and its children that have ended have cost; with `servers`, also those that go on."""
    own, ended = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    started = ended.ru_utime + ended.ru_stime
    for process in psutil.Process().children(recursive=True) if servers else ():
        try:
            started += sum(process.cpu_times()[:4])
        except psutil.NoSuchProcess:
            continue
    return Cost(own.ru_utime + own.ru_stime, started, time.monotonic())


def _table(costs: Mapping[str, Cost], most: int) -> str:
    dearest = sorted(costs.items(), key=lambda each: -each[1].own - each[1].started)[:most]
    return "\n".join(f"{cost}  {name}" for name, cost in dearest)


def main() -> int:
    """Runs the tests and prints what was dearest; the tests' own exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.suite", description=__doc__)
    parser.add_argument("--most", type=int, default=30, help="files and tests to show")
    arguments, for_pytest = parser.parse_known_args()
    os.environ.setdefault("RUNBOOK_LOCAL_ROOT", str(PROJECT / ".local-test"))
    stack.down()
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    meter = Meter()
    try:
        code = pytest.main([*for_pytest, "-q", "-p", "no:nbval"], plugins=[meter])
    finally:
        stack.down()
    print("     CPU      own  started    clock")
    print(_table(meter.tests, arguments.most), _table(meter.files, arguments.most), sep="\n\n")
    print(_table({"all": sum(meter.files.values(), Cost())}, 1))
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
