"""What the check reads of a run: the ledger, the notebooks' cells, the people, the checklist."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cryptography.x509 import Certificate

from helpers.checker.container import Container
from helpers.checker.ledger_reader import Line
from helpers.checker.manifest import FORM
from helpers.checker.public_key import PublicKey
from helpers.checker.rule import Cell, DeclaredStep
from helpers.checker.signatures import FormerKey
from helpers.checker.strict_json import loads

_ERROR_MIME = "application/vnd.runbook.error+json"


@dataclass(frozen=True)
class Facts:
    """A run, sealed or not.

    Attributes:
        files: the run's.
        lines: its ledger's.
        run: its name.
        declared: the steps of the checklist for the run's option.
        people: whose public key is whose.
        former: keys that were somebody's.
        run_key: of the machine that ran it, where it is known otherwise than from the ledger.
        form: of the seal, which says what it promises.
        stamp_roots: certificates of time stamp authorities that are trusted; without any, stamps are not proven.
    """

    files: Container
    lines: Sequence[Line]
    run: str
    declared: Sequence[DeclaredStep]
    people: Mapping[str, PublicKey]
    run_key: PublicKey | None = None
    form: int = FORM
    former: Sequence[FormerKey] = ()
    stamp_roots: Sequence[Certificate] = ()
    _cells: dict[str, tuple[Cell, ...]] = field(default_factory=dict, repr=False, compare=False)

    def cells(self, notebook: str) -> tuple[Cell, ...]:
        """The cells of an executed notebook that hold code; none in a damaged one."""
        if notebook not in self._cells:
            self._cells[notebook] = code_cells(self.files.read(notebook))
        return self._cells[notebook]

    def sha256(self, name: str) -> str | None:
        """Of a file's bytes; None where there is none."""
        found = self.files.digest(name)
        return found[1] if found else None


def code_cells(data: bytes | None) -> tuple[Cell, ...]:
    """The cells of an executed notebook that hold code; none in a damaged one."""
    try:
        cells = loads(data or b"")["cells"]
        return tuple(_cell(each) for each in cells if each["cell_type"] == "code" and "".join(each["source"]).strip())
    except (ValueError, KeyError, TypeError, AttributeError):
        return ()


def place(line: Line) -> str:
    """The attempt that a line is of: its notebook without the suffix."""
    return f"{line.text('phase')}/{line.text('attempt')}"


def number(value: object) -> int:
    """The value where it is a whole number, else 0."""
    return value if type(value) is int else 0


def _cell(cell: dict[str, Any]) -> Cell:
    """What the engine recorded of a cell; `pending` where it recorded nothing."""
    try:
        status = str(cell["metadata"]["papermill"]["status"])
    except (KeyError, TypeError):
        status = "pending"
    return Cell(str(cell.get("id", "")), status, any(map(_is_error, cell.get("outputs", ()))))


def _is_error(output: dict[str, Any]) -> bool:
    return output.get("output_type") == "error" or _ERROR_MIME in (output.get("data") or {})
