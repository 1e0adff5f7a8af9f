"""Checks a sealed run offline, with the public key alone.

Nothing of what wrote the run is used to read it, no settings and no server are needed, and whatever a forged file
makes this code raise is a finding, never a pass.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cryptography.x509 import Certificate

from helpers.checker import dsse, time_stamps, told
from helpers.checker.container import ARCHIVE, Archive, Container, Folder, archived, opened, seekable
from helpers.checker.facts import Facts
from helpers.checker.finding import Finding, printable
from helpers.checker.ledger_reader import LEDGER, named_differences, read
from helpers.checker.manifest import (
    COMPUTED,
    MANIFEST,
    PREVIOUS,
    SEAL,
    BadManifest,
    NewerForm,
    SealManifest,
    parsed,
)
from helpers.checker.public_key import PublicKey
from helpers.checker.record import CHECKER, people_of, sealed_findings
from helpers.checker.rule import counts_in_words
from helpers.errors import UsageError


@dataclass(frozen=True)
class Checked:
    """What a check says of a run.

    Attributes:
        findings: everything that is not as it was sealed; none when it is intact.
        run: its name, and `sealed_as` its verdict; empty where that could not be read. In form 3 the check has computed it.
        why: what the verdict is not, a sentence each.
        notes: what is no tampering, and should be known.
        told: what the evidence says of itself; see `told.told`.
    """

    findings: tuple[Finding, ...]
    run: str = ""
    sealed_as: str = ""
    why: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    told: Mapping[str, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """`intact` or `tampered`."""
        return "tampered" if self.findings else "intact"

    def as_dict(self) -> dict[str, Any]:
        """The object of `verify-evidence --json`."""
        return {
            "verdict": self.verdict,
            "findings": [each.as_dict() for each in self.findings],
            "run": self.run,
            "sealed_as": self.sealed_as,
            "why": list(self.why),
            "notes": list(self.notes),
            "told": dict(self.told),
        }


def check(
    path: Path,
    key: PublicKey,
    *,
    run_key: PublicKey | None = None,
    previous: Path | None = None,
    checklists: Collection[str] = (),
    timestamp_root: Path | None = None,
) -> Checked:
    """Compares a run with its seal, and what it claims with what it shows.

    Args:
        path: the run's folder, or its `evidence.zip`.
        key: public key of the person who sealed it.
        run_key: of the machine that ran it, where the auditor knows it; else the one that the ledger names is used.
        previous: the run before, a folder or an archive; else the folder beside `path`, where there is one.
        checklists: SHA-256 of checklists that the auditor knows, beside those that were shipped with this program.
        timestamp_root: PEM file of the roots of time stamp authorities that the auditor trusts; without it stamps are not proven.

    Returns:
        The verdict.

    Raises:
        UsageError: there is nothing to check: no folder or archive, a run that was never sealed, or one of a form that is newer
            than this program; or time stamps cannot be checked with that root.
    """
    roots = time_stamps.certificates(timestamp_root) if timestamp_root else ()
    if previous:
        with opened(previous):  # one that cannot be opened is a mistake in the command, and no tampering
            pass
    with opened(path) as (files, wrong):
        beside = path.resolve().parent if path.is_dir() else None
        return _checked(files, wrong, str(path), _Given(key, run_key, previous, checklists, beside, roots))


def in_words(checked: Checked) -> list[str]:
    """The verdict for a person, a line a finding."""
    if checked.findings:
        count = f"{len(checked.findings)} finding{'s' if len(checked.findings) > 1 else ''}"
        return [f"tampered: {count}", *(f"  {each}" for each in checked.findings)]
    own = [*checked.why, *told.in_words(checked.told), *(f"note: {each}" for each in checked.notes)]
    counts = counts_in_words(checked.told["counts"]) if "counts" in checked.told else ""
    first = f"intact: run {checked.run}, sealed as {checked.sealed_as}{f': {counts}' if counts else ''}"
    return [printable(first), *(f"  {printable(each)}" for each in own)]


@dataclass(frozen=True)
class _Given:
    """What whoever checks knows; `beside` is the folder in which the run before may lie, `nested` that it is an archive within the run."""

    key: PublicKey
    run_key: PublicKey | None
    previous: Path | None
    checklists: Collection[str]
    beside: Path | None
    stamp_roots: Sequence[Certificate]
    nested: bool = False


def _checked(files: Folder | Archive, wrong: Sequence[Finding], where: str, given: _Given) -> Checked:
    if any(each.kind == "zip-damaged" for each in wrong):
        return Checked(tuple(wrong))
    seal = files.read(SEAL)
    if seal is None and not wrong and not _claims_to_be_sealed(files):
        raise UsageError("check the evidence", on=where, why="the run is not sealed", next_step="seal it: runbook seal")
    found, manifest, notes, said = list(wrong), None, list(_container_notes(files)), {}
    try:
        manifest, more = _checked_against_seal(files, seal, given.key)
        found += more
        if manifest:
            people, former, unreadable = people_of(manifest)
            lines, _ = read(files.read(LEDGER) or b"")
            facts = Facts(
                files,
                lines,
                manifest.run,
                manifest.declared,
                people,
                run_key=given.run_key,
                form=manifest.version,
                former=former,
                stamp_roots=given.stamp_roots,
            )
            found += [*unreadable, *sealed_findings(facts, manifest, given.checklists)]
            found += _chain(files, manifest, given)
            notes += told.notes(facts, manifest)
            said = told.told(facts, manifest)
    except NewerForm as error:
        if not found:
            raise UsageError(
                "check the evidence", on=MANIFEST, why=str(error),
                next_step="check it with the verify-evidence.pyz that lies beside it, or a newer program",
            ) from None  # fmt: skip
        found.append(Finding("manifest-damaged", MANIFEST, str(error)))
    except Exception as error:  # a checker that fails on forged evidence must not pass it
        found.append(Finding("unreadable", MANIFEST, f"{type(error).__name__} while it was checked"))
    found += _archive_findings(files, given, seal)
    unique = tuple(dict.fromkeys(found))
    if manifest is None:
        return Checked(unique)
    return Checked(unique, manifest.run, _as_sealed(manifest), tuple(manifest.why), tuple(notes), said)


def _as_sealed(manifest: SealManifest) -> str:
    if manifest.version >= COMPUTED:
        return manifest.verdict
    return f"{manifest.verdict} by the sealer's word (form {manifest.version})"


def _claims_to_be_sealed(files: Container) -> bool:
    lines, _ = read(files.read(LEDGER) or b"")
    return any(line.event == "sealed" for line in lines) or MANIFEST in files.names()


def _container_notes(files: Folder | Archive) -> Iterator[str]:
    for name in files.file_manager_files():
        yield f"{name} is what a file manager or JupyterLab leaves, and no part of the evidence"
    if isinstance(files, Archive) and not files.as_sealed:
        yield "the archive was packed anew by another program; its files are those that were sealed"


def _checked_against_seal(
    files: Folder | Archive, seal: bytes | None, key: PublicKey
) -> tuple[SealManifest | None, list[Finding]]:
    found: list[Finding] = []
    statement = None
    try:
        if seal is None:
            raise dsse.BadEnvelope("seal-missing", "the run says that it is sealed, and the seal is gone")
        statement = dsse.opened(seal, key, "seal")
    except dsse.BadEnvelope as error:
        found.append(Finding(error.kind, SEAL, str(error)))
    data, ledger = files.read(MANIFEST), files.read(LEDGER)
    for name, content in ((MANIFEST, data), (LEDGER, ledger)):
        if content is None:
            found.append(Finding("file-missing", name, "it was sealed, and is gone"))
        elif statement and statement.subjects.get(name) != dsse.sha256(content):
            found.append(Finding("file-changed", name, "its SHA-256 is not the one that was signed"))
    try:
        manifest = parsed(data or b"")
    except NewerForm as error:
        if not found:
            raise
        return None, [*found, Finding("manifest-damaged", MANIFEST, str(error))]
    except BadManifest as error:
        return None, [*found, Finding("manifest-damaged", MANIFEST, str(error))]
    found += _files(files, manifest)
    lines, wrong = read(ledger or b"")
    said = statement.predicate if statement else {}
    last = said.get("ledger_head") if statement else lines[-1].digest if lines else ""
    found += [*wrong, *named_differences(lines, [*manifest.ledger.lines, str(last)])]
    if statement and (said.get("run"), said.get("verdict")) != (manifest.run, manifest.verdict):
        found.append(Finding("verdict", MANIFEST, "its run or verdict is not what was signed"))
    if statement and manifest.checklist and said.get("checklist") != manifest.checklist.sha256:
        found.append(Finding("checklist", MANIFEST, "its checklist is not the one that was signed"))
    return manifest, found


def _files(files: Folder | Archive, manifest: SealManifest) -> Iterator[Finding]:
    sealed = {each.path: each for each in manifest.files}
    for name in files.names():
        beside = name == CHECKER and manifest.version >= COMPUTED
        if name not in sealed and name not in (MANIFEST, SEAL, LEDGER) and not beside:
            yield Finding("file-added", name, "it was not there when the run was sealed")
    for name in files.empty_folders():
        yield Finding("folder-added", name, "it is an empty folder, and none was sealed")
    for name, each in sealed.items():
        now = files.digest(name)
        if now is None:
            yield Finding("file-missing", name, "it was sealed, and is gone")
        elif now != (each.size, each.sha256):
            yield Finding("file-changed", name, f"{now[0]} bytes, and not the {each.size} that were sealed")


def _chain(files: Container, manifest: SealManifest, given: _Given) -> Iterator[Finding]:
    if manifest.previous is None:
        if files.digest(PREVIOUS):
            yield Finding(
                "chain-broken", PREVIOUS, "it is the seal of another run, and the manifest names none before it"
            )
        if given.previous is not None:
            yield Finding("chain-broken", MANIFEST, "it names no run before it")
        return
    copy = files.read(PREVIOUS)
    if copy is None or dsse.sha256(copy) != manifest.previous.seal_sha256:
        yield Finding(
            "chain-broken", PREVIOUS, f"it is not the seal of {manifest.previous.run} that the manifest names"
        )
    beside = given.beside / Path(manifest.previous.run).name if given.beside else None
    where = given.previous or (beside if beside and beside.is_dir() else None)
    if where is None:
        return
    with opened(where) as (other, _):
        seal = other.read(SEAL)
    if seal is None or dsse.sha256(seal) != manifest.previous.seal_sha256:
        yield Finding(
            "chain-broken",
            MANIFEST,
            f"the run before, {manifest.previous.run}, {'has another seal than the one it names' if seal else 'is not sealed'}",
        )


def _archive_findings(files: Folder | Archive, given: _Given, seal: bytes | None) -> Iterator[Finding]:
    """The archive that lies within what is checked holds the same again."""
    stream = files.stream(ARCHIVE)
    if stream is None:
        if files.has(ARCHIVE):
            yield Finding("zip-damaged", ARCHIVE, "it is no readable file")
        return
    if given.nested:
        yield Finding(
            "zip-changed", ARCHIVE, "it is an archive in an archive of the run, which nobody makes who packs one"
        )
        return
    with seekable(stream) as file, archived(file, ARCHIVE) as (archive, wrong):
        try:
            checked = _checked(archive, wrong, ARCHIVE, replace(given, beside=None, nested=True))
        except UsageError as error:
            yield Finding("zip-damaged", ARCHIVE, error.why)
            return
        for each in checked.findings:
            yield Finding(each.kind, f"{ARCHIVE}/{each.path}" if each.path != ARCHIVE else ARCHIVE, each.message)
        if not any(each.kind == "zip-damaged" for each in checked.findings) and archive.read(SEAL) != seal:
            yield Finding("zip-changed", f"{ARCHIVE}/{SEAL}", "it is the archive of another seal")
