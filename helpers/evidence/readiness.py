"""Why a run cannot be sealed as it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from helpers.checker.container import Folder
from helpers.checker.facts import Facts
from helpers.checker.ledger_reader import LEDGER, read
from helpers.checker.objections import find_objections
from helpers.checker.public_key import PublicKey
from helpers.checker.record import open_findings
from helpers.checker.rule import DeclaredStep
from helpers.checker.signatures import FormerKey
from helpers.evidence.secret_scan import scan
from helpers.ledger.names import unstorable


def reasons_against_sealing(
    run_folder: Path,
    declared: Sequence[DeclaredStep],
    people: Mapping[str, PublicKey],
    known: Iterable[str],
    former: Sequence[FormerKey] = (),
) -> list[str]:
    """Everything that stands against sealing a run, each a sentence; nothing when it is ready.

    Args:
        run_folder: the run's.
        declared: the steps of the checklist for the run's option.
        people: whose public key is whose, by the settings.
        known: secrets that must not be in any file.
        former: keys that were somebody's, by the settings.
    """
    files = Folder(run_folder)
    lines, wrong = read(files.read(LEDGER) or b"")
    found = [str(each) for each in wrong]
    found += [f"{name} is a symbolic link" for name in files.links()]
    found += unstorable(files.names())
    found += [
        str(each) for each in open_findings(Facts(files, lines, run_folder.name, declared, people, former=former))
    ]
    found += [f"{each.report}: ask again: {each.command(run_folder.name)}" for each in find_objections(lines)]
    found += scan(files, known)
    return list(dict.fromkeys(found))
