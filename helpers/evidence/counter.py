"""How far the ledger of each run had come when this machine signed it last, kept outside of the run's folder.

A chain of hashes and signatures cannot tell that its end was cut off. This machine can, as long as nobody takes its counter too:
whoever may write there may use the machine's key. Each file is one run's, by the digest of its ledger's first line.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence

from helpers.checker.ledger_reader import Line
from helpers.errors import EvidenceError
from helpers.ledger import keys, line_keys
from helpers.ledger.folders import make_private, write_atomically

FOLDER = "run-counters"


def advance(lines: Sequence[Line]) -> None:
    """Remembers the last line. A ledger that lacks what was remembered changes nothing: the trace of the cut stays."""
    # A key that is mounted read-only has no room for a counter; the seal says then that nobody kept one.
    with contextlib.suppress(OSError):
        if lines and _lacks(lines) is None:
            path = keys.run_key_path().parent / FOLDER / f"{lines[0].digest}.json"
            make_private(path.parent)
            write_atomically(path, json.dumps({"n": lines[-1].n, "line": lines[-1].digest}))


def is_kept(lines: Sequence[Line]) -> bool:
    """Whether this machine keeps a counter of the run."""
    return _known(lines) is not None


def refuse_a_cut(lines: Sequence[Line], run: str) -> None:
    """Raises EvidenceError where this machine has signed lines of the run that its ledger does not have."""
    line_keys.refuse_a_cut([line.fields for line in lines], run)
    if lacks := _lacks(lines):
        raise EvidenceError(
            "trust the ledger",
            on=f"run {run}",
            why=f"this machine has signed it up to line {lacks}, and that line is not there: its end was cut off, or changed",
            next_step="find out who changed the file, restore it from a copy, or start a new run",
        )


def _lacks(lines: Sequence[Line]) -> int | None:
    """The number of the line that was signed last, where it is not there as it was."""
    known = _known(lines)
    if known is None:
        return None
    n, digest = known
    return None if n <= len(lines) and lines[n - 1].digest == digest else n


def _known(lines: Sequence[Line]) -> tuple[int, str] | None:
    if not lines:
        return None
    try:
        value = json.loads((keys.run_key_path().parent / FOLDER / f"{lines[0].digest}.json").read_bytes())
        return int(value["n"]), str(value["line"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
