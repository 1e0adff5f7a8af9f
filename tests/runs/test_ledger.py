"""The ledger survives a crash at any byte, and sees every change that is none.

Would catch: a fact lost or doubled by a crash, a torn line in the middle of the chain, a repaired line that nobody is told
of, two processes that write one number, a change, a removal or another order that passes for intact, a secret written down.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from run_support import PROJECT

from helpers import redaction
from helpers.errors import EvidenceError
from helpers.ledger import ledger as ledgers
from helpers.ledger.ledger import NAME, ZEROS, Ledger


def filled(folder: Path, lines: int = 4) -> Ledger:
    ledger = Ledger.open(folder)
    for number in range(1, lines + 1):
        ledger.append("step-done", step=f"s30-{number}", result={"rows": number, "note": 'ü "quoted"\n'})
    return ledger


def facts(ledger: Ledger) -> list[str]:
    return [entry.get("step") for entry in ledger.entries() if entry.event == "step-done"]


def test_lines_are_as_the_format_says(tmp_path: Path) -> None:
    ledger = filled(tmp_path, 3)
    lines = ledger.path.read_bytes().split(b"\n")
    assert lines.pop() == b""
    before = ZEROS
    for number, line in enumerate(lines, 1):
        value = json.loads(line)
        assert line == json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        assert (value["n"], value["prev"]) == (number, before)
        assert len(value["at"]) == len("2026-11-25T00:00:00.000000+00:00")
        before = hashlib.sha256(line).hexdigest()
    assert ledger.head == before
    assert ledger.verify() == []
    assert [entry.sha256 for entry in ledger.entries()] == [hashlib.sha256(line).hexdigest() for line in lines]


def test_an_empty_ledger_is_intact(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path / "new" / "run")
    assert (ledger.entries(), ledger.head, ledger.verify()) == ([], ZEROS, [])


def test_torn_at_every_byte_of_the_last_line(tmp_path: Path) -> None:
    whole = filled(tmp_path / "whole").path.read_bytes()
    start = whole[:-1].rindex(b"\n") + 1
    for length in range(start, len(whole) + 1):
        folder = tmp_path / str(length)
        folder.mkdir()
        (folder / NAME).write_bytes(whole[:length])
        torn = whole[start:length]
        assert bool(Ledger(folder / NAME).verify()) == (0 < len(torn) < len(whole) - start)

        ledger = Ledger.open(folder)
        if len(torn) < len(whole) - start:
            ledger.append("step-done", step="s30-4")
        ledger.append("step-done", step="s30-5")
        assert facts(ledger) == ["s30-1", "s30-2", "s30-3", "s30-4", "s30-5"]
        assert ledger.verify() == []
        told = [entry for entry in ledger.entries() if entry.event == "recovered"]
        if 0 < len(torn) < len(whole) - start:
            assert (folder / "ledger.torn-1").read_bytes() == torn
            assert [(e.get("sha256"), e.get("length")) for e in told] == [(hashlib.sha256(torn).hexdigest(), len(torn))]
        else:
            assert told == []
            assert not list(folder.glob("ledger.torn-*"))


@pytest.mark.parametrize("rest", [b"\x00" * 40 + b"\n", b'{"n":5,\n', b"[]\n", b"\n"])
def test_a_last_line_that_is_no_json_is_torn_too(tmp_path: Path, rest: bytes) -> None:
    path = filled(tmp_path).path
    path.write_bytes(path.read_bytes() + rest)
    ledger = Ledger.open(tmp_path)
    assert [entry.event for entry in ledger.entries()][-1] == "recovered"
    assert (tmp_path / "ledger.torn-1").read_bytes() == rest
    assert ledger.verify() == []


@pytest.mark.parametrize("stop", ["before the file is aside", "before the cut", "before the line", "in the line"])
def test_a_crash_during_the_recovery_is_recovered_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: str
) -> None:
    path = filled(tmp_path).path
    path.write_bytes(path.read_bytes() + b'{"torn')

    def crash(*_: object) -> None:
        if stop == "in the line":
            with path.open("ab") as file:
                file.write(b'{"at":"20')
        raise KeyboardInterrupt

    where = {
        "before the file is aside": (ledgers, "create_exclusively"),
        "before the cut": (os, "ftruncate"),
        "before the line": (Ledger, "_write"),
        "in the line": (Ledger, "_write"),
    }[stop]
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(*where, crash)
        Ledger.open(tmp_path)
    ledger = Ledger.open(tmp_path)
    ledger = Ledger.open(tmp_path)
    assert facts(ledger) == ["s30-1", "s30-2", "s30-3", "s30-4"]
    assert ledger.verify() == []
    told = {entry.get("file") for entry in ledger.entries() if entry.event == "recovered"}
    assert told == {file.name for file in tmp_path.glob("ledger.torn-*")}
    assert len(told) == (2 if stop == "in the line" else 1)


def _changed(lines: list[bytes], how: str) -> list[bytes]:
    match how:
        case "a value":
            return [lines[0], lines[1].replace(b'"rows":2', b'"rows":7'), *lines[2:]]
        case "removed":
            return [lines[0], *lines[2:]]
        case "swapped":
            return [lines[0], lines[2], lines[1], *lines[3:]]
        case "doubled":
            return [lines[0], lines[1], lines[1], *lines[2:]]
        case "no json":
            return [lines[0], lines[1][:-1], *lines[2:]]
        case "first removed":
            return lines[1:]
        case "no object":
            return [lines[0], b"7", *lines[2:]]
        case "a field":
            return [lines[0], lines[1].replace(b'"event"', b'"evt"'), *lines[2:]]
    raise AssertionError(how)


@pytest.mark.parametrize(
    "how", ["a value", "removed", "swapped", "doubled", "no json", "first removed", "no object", "a field"]
)
def test_any_other_break_is_an_error_and_stays(tmp_path: Path, how: str) -> None:
    path = filled(tmp_path).path
    changed = b"\n".join(_changed(path.read_bytes().split(b"\n"), how))
    path.write_bytes(changed)
    assert len(Ledger(path).verify()) == 1
    for use in (Ledger(path).entries, lambda: Ledger(path).append("x"), lambda: Ledger.open(tmp_path)):
        with pytest.raises(EvidenceError, match="a crash cannot cause this"):
            use()
    assert path.read_bytes() == changed
    assert not list(tmp_path.glob("ledger.torn-*"))


@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=[]), min_size=1).filter(lambda k: k not in ledgers._OWN),
        st.text(st.characters(exclude_categories=[])) | st.integers() | st.booleans() | st.none(),
    )
)
def test_any_text_comes_back(tmp_path_factory: pytest.TempPathFactory, fields: dict[str, object]) -> None:
    ledger = Ledger.open(tmp_path_factory.mktemp("any"))
    # A keyword named `event` or `self` is the caller's own mistake.
    fields = {name: value for name, value in fields.items() if name != "self"}
    ledger.append("x", **fields)
    assert dict(ledger.entries()[0].fields) == fields
    assert ledger.verify() == []


@pytest.mark.parametrize("fields", [{"n": 1}, {"prev": ""}, {"rows": float("nan")}, {"rows": {1, 2}}])
def test_what_is_no_line_is_refused_and_nothing_is_written(tmp_path: Path, fields: dict[str, object]) -> None:
    ledger = filled(tmp_path, 1)
    with pytest.raises((ValueError, TypeError)):
        ledger.append("x", **fields)
    assert len(ledger.entries()) == 1


def test_secrets_are_masked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_known", set())
    redaction.remember("correct horse battery staple")
    ledger = Ledger.open(tmp_path)
    ledger.append("step-failed", error={"why": ["password correct horse battery staple refused"]})
    ledger.append("step-planned", result=("correct horse battery staple", {"of": ("correct horse battery staple",)}))
    assert b"correct horse" not in ledger.path.read_bytes()


def _append(folder: Path, who: int, times: int) -> None:
    for number in range(times):
        Ledger.open(folder).append("step-done", step=f"{who}-{number}")


def test_processes_that_write_at_once_take_turns(tmp_path: Path) -> None:
    with multiprocessing.get_context("fork").Pool(3) as pool:
        pool.starmap(_append, [(tmp_path, who, 40) for who in range(3)], chunksize=1)
    ledger = Ledger(tmp_path / NAME)
    assert ledger.verify() == []
    assert sorted(facts(ledger)) == sorted(f"{who}-{number}" for who in range(3) for number in range(40))
    for who in range(3):
        own = [fact for fact in facts(ledger) if fact.startswith(f"{who}-")]
        assert own == [f"{who}-{number}" for number in range(40)]


WRITES = """
import sys
from pathlib import Path
from helpers.ledger.ledger import Ledger
ledger = Ledger.open(Path(sys.argv[1]))
number = len([e for e in ledger.entries() if e.event == "step-done"])
while True:
    ledger.append("step-done", step=f"{number}", result={"pad": "x" * 4000})
    print(number, flush=True)
    number += 1
"""


@pytest.mark.slow
def test_killed_fifty_times_each_told_fact_is_there_once(tmp_path: Path) -> None:
    told: list[str] = []
    for _ in range(50):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITES, str(tmp_path)],
            cwd=PROJECT, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout
        told.append(process.stdout.readline().strip())
        time.sleep(random.random() * 0.05)
        process.send_signal(signal.SIGKILL)
        told += process.stdout.read().split()
        process.wait()
        ledger = Ledger.open(tmp_path)
        assert ledger.verify() == []
    found = facts(ledger)
    assert found == [str(number) for number in range(len(found))]
    assert set(told) <= set(found)
