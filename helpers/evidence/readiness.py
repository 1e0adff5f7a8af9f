"""Why a run cannot be sealed as it is."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from securesystemslib.signer import SSlibKey

from helpers.evidence.check_record import belongs, code_cells, open_record_findings, status_of
from helpers.evidence.container import Folder
from helpers.evidence.ledger_reader import LEDGER, Line, read
from helpers.evidence.seal_manifest import DeclaredStep
from helpers.evidence.secret_scan import scan
from helpers.ledger.ledger import Ledger
from helpers.ledger.objections import find_objections
from helpers.ledger.view import View, view

_ERROR_MIME = "application/vnd.runbook.error+json"


def reasons(
    run_folder: Path, declared: Sequence[DeclaredStep], people: Mapping[str, SSlibKey], known: Iterable[str]
) -> list[str]:
    """Everything that stands against sealing a run, each a sentence; nothing when it is ready.

    Args:
        run_folder: the run's.
        declared: the steps of the checklist for the run's option.
        people: whose public key is whose, by the settings.
        known: secrets that must not be in any file.
    """
    files = Folder(run_folder)
    lines, wrong = read(files.read(LEDGER) or b"")
    cells = {each.step: each.cell for each in declared if each.cell}
    needed = {each.step: each.approvals for each in declared}
    found = [str(each) for each in wrong]
    found += [f"{name} is a symbolic link" for name in files.links()]
    found += [str(each) for each in open_record_findings(files, lines, run_folder.name, dict(people), cells, needed)]
    found += _attempts(files, lines, cells)
    if not wrong:
        words = {each.step for each in declared if each.word}
        found += _steps(lines, view(Ledger(run_folder / LEDGER).entries(), words=words), declared)
    found += [f"{each}: {each.command(run_folder.name)}" for each in find_objections(lines)]
    found += scan(files, known)
    return list(dict.fromkeys(found))


def last_attempts(lines: Iterable[Line]) -> dict[str, str]:
    """The last attempt of each phase that ran."""
    return {line.text("phase"): line.text("attempt") for line in lines if line.event == "attempt-started"}


def _attempts(files: Folder, lines: Sequence[Line], cells: Mapping[str, str]) -> Iterator[str]:
    ended = {(line.text("phase"), line.text("attempt")) for line in lines if line.event == "attempt-ended"}
    skipped = [line.text("step") for line in lines if line.event == "step-skipped"]
    last = last_attempts(lines)
    if not last:
        yield "no phase has run"
    for phase, attempt in last.items():
        name = f"{phase}/{attempt}.ipynb"
        if (phase, attempt) not in ended:
            yield f"{name} did not end: the command was killed; run the phase again"
        found = code_cells(files.read(name))
        if not found:
            yield f"{name} has no cells with code, or is not readable"
        for cell in found:
            if status_of(cell) != "completed" and not any(belongs(cell, cells.get(step, step)) for step in skipped):
                yield f"{name}#{cell.get('id', '')} did not run ({status_of(cell)}), and nothing says that it was skipped"
            if any(_is_error(output) for output in cell.get("outputs", ())):
                yield f"{name}#{cell.get('id', '')} ended with an error"


def _is_error(output: Mapping[str, Any]) -> bool:
    return output.get("output_type") == "error" or _ERROR_MIME in json.dumps(output.get("data", {}))


def _steps(lines: Sequence[Line], found: View, declared: Sequence[DeclaredStep]) -> Iterator[str]:
    ran = last_attempts(lines)
    known = {each.step: each for each in declared}
    words = {each.step for each in declared if each.word}
    for step in dict.fromkeys(line.text("step") for line in lines if line.event == "attested"):
        if step not in words:
            yield f"{step} was attested, and a person's word is not enough for it"
    for phase in ran:
        if not any(each.phase == phase for each in declared):
            yield f"the phase {phase} is not one of the checklist"
    for each in declared:
        standing = found[each.step]
        if each.phase in ran and not (standing.over or standing.state in ("planned", "rolled back")):
            yield f"{each.step} is declared, and the ledger shows it {standing.state}"
    for standing in found:
        if standing.step not in known:
            yield f"{standing.step} is in the ledger ({standing.state}), and not declared"
