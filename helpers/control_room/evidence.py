"""What a run leaves for an auditor: its attempts, who signed, the seal, and whether it still holds."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from helpers import settings as profiles
from helpers.checker import dsse
from helpers.checker.check import check, in_words
from helpers.checker.finding import Finding
from helpers.checker.ledger_reader import LEDGER, Line, read
from helpers.checker.manifest import MANIFEST, SEAL, BadManifest, NewerForm, parsed
from helpers.checker.public_key import PublicKey
from helpers.checker.public_key import public_key as read_key
from helpers.checker.rule import judge
from helpers.checker.signatures import key_for, why_not
from helpers.errors import MigrationError
from helpers.evidence.declared import declared_steps
from helpers.evidence.people import Roll, roll

_NAME = re.compile(r"\w[\w-]{0,99}")
"""Of a phase, or of an attempt: nothing that leads elsewhere, and no pattern of many names."""

CHECKED_AT_ONCE = 256_000_000
"""Bytes of a run up to which its seal is checked without being asked."""


@dataclass(frozen=True)
class AttemptRow:
    """One attempt; `html` and `notebook` are paths within the run's folder, empty where there is no such file."""

    phase: str
    attempt: str
    status: str
    by: str
    applied: bool
    started: str
    ended: str
    html: str
    notebook: str
    pages: tuple[str, ...]


@dataclass(frozen=True)
class Signature:
    """What one person signed. `holds` is "holds", or why the signature proves nothing; `line` is the ledger's that names it."""

    step: str
    what: str
    by: str
    at: str
    note: str
    plan: str
    holds: str
    line: int = 0


@dataclass(frozen=True)
class SealState:
    """The seal, or what it would be.

    Attributes:
        sealed: whether there is one.
        verdict: SEALED, PARTIAL or REHEARSAL: of the seal, or as the ledger stands now.
        why: what it is not, a sentence each.
        key_id: of the key that claims to have sealed.
        at: when.
        previous: the run before.
    """

    sealed: bool
    verdict: str
    why: tuple[str, ...] = ()
    key_id: str = ""
    at: str = ""
    previous: str = ""


@dataclass(frozen=True)
class Evidence:
    """Everything; `problems` are what is wrong with the ledger, a sentence each."""

    attempts: tuple[AttemptRow, ...]
    signatures: tuple[Signature, ...]
    seal: SealState
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class Checked:
    """What `verify-evidence` says.

    Attributes:
        note: why it could not be asked.
        word: SEALED, PARTIAL or REHEARSAL, with ON STAND-INS where it is, as the check computed it.
        said: what the evidence tells of itself and what should be known, a line each.
    """

    verdict: str
    findings: tuple[Finding, ...] = ()
    note: str = ""
    word: str = ""
    said: tuple[str, ...] = ()


def evidence(folder: Path) -> Evidence:
    """Reads a run's evidence without trusting it: a line that cannot be read is a problem that is named.

    Args:
        folder: `outputs/<run>`; it need not exist.
    """
    try:
        lines, wrong = read((folder / LEDGER).read_bytes())
    except OSError:
        return Evidence((), (), SealState(False, "", ("the run has no ledger yet",)))
    known = _known(lines)
    return Evidence(
        tuple(_attempts(folder, lines)),
        tuple(_signatures(folder, lines, known)),
        _seal(folder, lines),
        tuple(each.message for each in wrong),
    )


def checked(folder: Path, public_key: str = "") -> Checked:
    """What `verify-evidence` says of a sealed run; hashes every file of it.

    Args:
        folder: the run's.
        public_key: of the one who sealed, as a file or PEM text; without it, that of a person in the settings.
    """
    try:
        seal = (folder / SEAL).read_bytes()
    except OSError:
        return Checked("", note="the run is not sealed, so there is nothing that it could be compared with")
    try:
        lines, _ = read((folder / LEDGER).read_bytes())
        known = _known(lines)
        key = read_key(public_key) if public_key else _of(seal, known.people if known else {})
        if key is None:
            return Checked(
                "", note="whose key sealed it is not known here: start the control room with --public-key PEM"
            )
        found = check(folder, key)
        return Checked(
            found.verdict,
            found.findings,
            word=found.sealed_as,
            said=() if found.findings else tuple(in_words(found)[1:]),
        )
    except MigrationError as error:
        return Checked("", note=str(error))
    except OSError as error:
        return Checked("", note=f"a file cannot be read: {error.strerror}")


def size(folder: Path) -> int:
    """Bytes that `checked` would hash."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def people(profile: str) -> tuple[str, ...]:
    """Who may sign, by the settings of a profile; nobody where they cannot be read."""
    try:
        return tuple(roll(profiles.load_approvals(profile or None)).people)
    except MigrationError:
        return ()


def _of(seal: bytes, people: Mapping[str, PublicKey]) -> PublicKey | None:
    key_id = dsse.key_id_in(seal)
    return next((key for key in people.values() if key.keyid == key_id), None)


def _known(lines: list[Line]) -> Roll | None:
    """Who may sign, by the settings of the run's profile; None where they cannot be read."""
    profile = next((line.text("profile") for line in lines if line.event == "run-opened"), "")
    try:
        return roll(profiles.load_approvals(profile or None))
    except MigrationError:
        return None


def _attempts(folder: Path, lines: list[Line]) -> Iterator[AttemptRow]:
    ended = {(x.text("phase"), x.text("attempt")): x for x in lines if x.event == "attempt-ended"}
    for line in lines:
        if line.event != "attempt-started":
            continue
        phase, attempt = line.text("phase"), line.text("attempt")
        if not (_NAME.fullmatch(phase) and _NAME.fullmatch(attempt)):
            continue  # whoever wrote the line made the names up, and they lead nowhere
        end = ended.get((phase, attempt))
        parameters = line.fields.get("parameters")
        applied = not (isinstance(parameters, dict) and parameters.get("apply") is False)
        yield AttemptRow(
            phase, attempt, end.text("status") if end else "no end yet", line.text("by"), applied,
            line.text("at"), end.text("at") if end else "",
            _there(folder, f"{phase}/{attempt}.html"), _there(folder, f"{phase}/{attempt}.ipynb"),
            tuple(sorted(p.relative_to(folder).as_posix() for p in (folder / phase).glob(f"{attempt}-*/*.html"))
                  + sorted(p.relative_to(folder).as_posix() for p in (folder / phase).glob(f"{attempt}-*.html"))),
        )  # fmt: skip


def _there(folder: Path, name: str) -> str:
    return name if (folder / name).exists() else ""


def _signatures(folder: Path, lines: list[Line], known: Roll | None) -> Iterator[Signature]:
    def file(name: str) -> bytes | None:
        try:
            return (folder / name).read_bytes()
        except OSError:
            return None

    for line in lines:
        if line.event not in ("approved", "attested"):
            continue
        key = key_for(line, known.people, known.former, lines) if known else None
        holds = "nobody of that name is in the settings"
        if key:
            holds = why_not(file, folder.name, line, key, lines) or "holds"
        yield Signature(
            line.text("step"), line.event, line.text("by"), line.text("at"), line.text("note"),
            dsse.short(line.text("plan_sha256")), holds, line.n,
        )  # fmt: skip


def _seal(folder: Path, lines: list[Line]) -> SealState:
    try:
        seal = (folder / SEAL).read_bytes()
    except OSError:
        option = next((line.text("option") for line in lines if line.event == "run-opened"), "A")
        verdict = judge(lines, list(declared_steps(option)))
        return SealState(False, str(verdict), (*verdict.why, *(each.message for each in verdict.against)))
    at = next((line.text("at") for line in reversed(lines) if line.event == "sealed"), "")
    key_id = dsse.key_id_in(seal) or ""
    try:
        manifest = parsed((folder / MANIFEST).read_bytes())
    except (OSError, BadManifest, NewerForm):
        return SealState(True, "", ("the seal's manifest is missing or damaged",), key_id, at)
    previous = manifest.previous.run if manifest.previous else ""
    return SealState(True, manifest.verdict, tuple(manifest.why), key_id, at, previous)
