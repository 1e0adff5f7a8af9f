"""Seals a run: what it holds is hashed, signed, made read-only and packed for an auditor."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from helpers.checker import container, dsse
from helpers.checker.dsse import Signer
from helpers.checker.facts import Facts, place
from helpers.checker.ledger_reader import LEDGER, Line, read
from helpers.checker.manifest import (
    MANIFEST,
    PREVIOUS,
    SEAL,
    Checklist,
    PreviousSeal,
    SealedFile,
    SealedFormerKey,
    SealedLedger,
    SealedPerson,
    SealManifest,
    digest_of,
    parsed,
)
from helpers.checker.public_key import PublicKey
from helpers.checker.record import CHECKER, ENVIRONMENT, INDEX, MADE_BY_SEALING, verdict_of
from helpers.checker.rule import DeclaredStep, Over
from helpers.checker.signatures import FormerKey
from helpers.checker.strict_json import canonical
from helpers.errors import EvidenceRefused, UsageError
from helpers.evidence import checker_file
from helpers.evidence.counter import is_kept, refuse_a_cut
from helpers.evidence.environment import capture
from helpers.evidence.heads import Ledger, sign_what_is_unsigned
from helpers.evidence.index_page import index_page
from helpers.evidence.readiness import reasons_against_sealing
from helpers.ledger.folders import create_exclusively
from helpers.platforms.s3 import Bucket, retain_until
from helpers.settings import Settings

_MADE_BY_SEALING = (*MADE_BY_SEALING, MANIFEST)


@dataclass(frozen=True)
class Sealed:
    """A sealed run.

    Attributes:
        run: its name.
        verdict: SEALED, PARTIAL or REHEARSAL, with ON STAND-INS where it is, and `why` it is not SEALED.
        files: how many the manifest covers.
        seal: the signed envelope.
        archive: everything in one file.
        checker: the program that checks it, as one file, and `checker_sha256` its digest.
        key_id: of the key that sealed it.
        previous: the run before, or None.
        counts: how many boxes of the checklist were done, exist elsewhere and are not applicable.
    """

    run: str
    verdict: str
    why: tuple[str, ...]
    files: int
    seal: Path
    archive: Path
    checker: Path
    checker_sha256: str
    key_id: str
    previous: str | None
    counts: Mapping[Over, int]


def seal(
    run_folder: Path,
    *,
    signer: Signer,
    ledger: Ledger,
    declared: Iterable[DeclaredStep],
    people: Mapping[str, PublicKey],
    known_secrets: Iterable[str],
    project: Path,
    previous: str | None = None,
    former: Sequence[FormerKey] = (),
) -> Sealed:
    """Seals a run, or says everything that stands against it.

    Broken off, it goes on when it is called again: nothing counts before the envelope is there.

    Args:
        run_folder: the run's.
        signer: the key of the one who seals.
        ledger: of the run.
        declared: the steps of the checklist for the run's option.
        people: whose public key is whose, by the settings.
        known_secrets: values that must not be in any file.
        project: the folder of the code that ran.
        previous: the run that this one is chained to; the one sealed last when None.
        former: keys that were somebody's, by the settings.

    Raises:
        EvidenceRefused: it cannot be sealed; `why` lists all reasons.
        EvidenceError: this machine has signed lines of the run that its ledger does not have.
        UsageError: there is no such run, it is sealed already, or the previous run is not sealed.
    """
    if not (run_folder / LEDGER).exists():
        raise _unusable(run_folder, "it has no ledger", "start it with runbook run")
    if (run_folder / SEAL).exists():
        return finish(run_folder)
    declared = list(declared)
    if read((run_folder / LEDGER).read_bytes())[0][-1].event != "sealed":
        _prepare(run_folder, signer, ledger, declared, people, list(known_secrets), project, previous, former)
    lines, _ = read((run_folder / LEDGER).read_bytes())
    data = (run_folder / MANIFEST).read_bytes()
    manifest = parsed(data)
    if lines[-1].text("manifest_sha256") != dsse.sha256(data) or len(lines) != len(manifest.ledger.lines) + 1:
        raise _refused(run_folder, ["somebody wrote into the run while it was sealed"])
    envelope = dsse.sign(
        "seal",
        {MANIFEST: dsse.sha256(data), LEDGER: dsse.sha256((run_folder / LEDGER).read_bytes())},
        {
            "run": manifest.run,
            "verdict": manifest.verdict,
            "checklist": manifest.checklist.sha256 if manifest.checklist else "",
            "ledger_head": lines[-1].digest,
            "key_id": signer.public_key.keyid,
            "at": datetime.now(UTC).isoformat(),
        },
        signer,
    )
    if not create_exclusively(run_folder / SEAL, envelope.decode()):
        raise _unusable(run_folder, "somebody else has sealed it meanwhile", "check it: runbook verify-evidence")
    return finish(run_folder)


def finish(run_folder: Path) -> Sealed:
    """Packs a run that is signed, and makes it read-only; `seal` calls it, and again after a kill.

    Raises:
        UsageError: that was done already.
    """
    if (run_folder / container.ARCHIVE).exists():
        raise _unusable(run_folder, "it is sealed already", "check it: runbook verify-evidence")
    return _finished(run_folder)


def upload(archive: Path, run: str, settings: Settings) -> str:
    """Copies the archive of a sealed run to where nobody can delete it before its time.

    Args:
        archive: `evidence.zip`.
        run: the run's name, which becomes a part of the object's.
        settings: with a section `evidence`.

    Returns:
        The object's URL with its version.

    Raises:
        SettingsError: the profile names no place for evidence.
        StageError: the bucket did not take it, or does not lock it.
    """
    own, bucket = settings.evidence, Bucket.open(settings.evidence_stage)
    bucket.refuse_without_lock()
    name = f"{run}/{archive.name}"
    return bucket.url(name, bucket.write_locked(name, archive, until=retain_until(own.retention_days), mode=own.mode))


def sealed_last(outputs: Path, *, but: str) -> str | None:
    """The run whose seal is the youngest, by the time that its envelope names; None where none is sealed."""
    found = []
    for path in outputs.glob(f"*/{SEAL}"):
        lines, _ = read((path.parent / LEDGER).read_bytes())
        if path.parent.name != but and lines and lines[-1].event == "sealed":
            found.append((lines[-1].text("at"), path.parent.name))
    return max(found)[1] if found else None


def _prepare(
    run_folder: Path,
    signer: Signer,
    ledger: Ledger,
    declared: Sequence[DeclaredStep],
    people: Mapping[str, PublicKey],
    known: Sequence[str],
    project: Path,
    previous: str | None,
    former: Sequence[FormerKey],
) -> None:
    for name in _MADE_BY_SEALING:
        # Of a seal that was broken off before the ledger named it.
        (run_folder / name).unlink(missing_ok=True)
    against = _pages(run_folder)
    _remove_empty_folders(run_folder)
    refuse_a_cut(read((run_folder / LEDGER).read_bytes())[0], run_folder.name)
    sign_what_is_unsigned(run_folder, ledger)
    before = _previous(run_folder, previous)
    lines, _ = read((run_folder / LEDGER).read_bytes())
    files = container.Folder(run_folder)
    verdict = verdict_of(Facts(files, lines, run_folder.name, declared, people))
    if before:
        _create(run_folder, PREVIOUS, (run_folder.parent / before.run / SEAL).read_text(encoding="utf-8"))
    _create(run_folder, CHECKER, checker_file.content())
    _create(run_folder, ENVIRONMENT, (canonical(capture(project, lines)) + b"\n").decode())
    names = [*(name for name in files.names() if name != CHECKER), MANIFEST, SEAL]
    page = index_page(run_folder, verdict, lines, names, signer.public_key.keyid)
    _create(run_folder, INDEX, page)
    against += reasons_against_sealing(run_folder, declared, people, known, former)
    if against:
        for name in _MADE_BY_SEALING:
            (run_folder / name).unlink(missing_ok=True)
        raise _refused(run_folder, against)
    manifest = _manifest(run_folder, lines, declared, people, before, str(verdict), verdict.why, former)
    _create(run_folder, MANIFEST, manifest.to_bytes().decode())
    ledger.append(
        "sealed", manifest_sha256=dsse.sha256(manifest.to_bytes()), verdict=str(verdict), envelope=SEAL,
        files=_made(run_folder, lines), counter=is_kept(lines),
    )  # fmt: skip


def _made(run_folder: Path, lines: Sequence[Line]) -> list[dict[str, str]]:
    """The files that no line named before: what sealing makes, and the pages of attempts that were killed."""
    ended = {place(line) for line in lines if line.event == "attempt-ended" and line.text("html_sha256")}
    started = {place(line) for line in lines if line.event == "attempt-started"}
    names = sorted([*MADE_BY_SEALING, *(f"{each}.html" for each in started - ended)])
    found = {name: container.Folder(run_folder).digest(name) for name in names}
    return [{"path": name, "sha256": digest[1]} for name, digest in found.items() if digest]


def _remove_empty_folders(run_folder: Path) -> None:
    # An archive keeps none, and one that is there afterwards is named as added.
    for name in sorted(container.Folder(run_folder).empty_folders(), reverse=True):
        (run_folder / name).rmdir()


def _manifest(
    run_folder: Path,
    lines: Sequence[Line],
    declared: Sequence[DeclaredStep],
    people: Mapping[str, PublicKey],
    before: PreviousSeal | None,
    verdict: str,
    why: Sequence[str],
    former: Sequence[FormerKey] = (),
) -> SealManifest:
    files = container.Folder(run_folder)
    digests = {name: files.digest(name) for name in files.names() if name not in (LEDGER, CHECKER)}
    ledger = files.read(LEDGER) or b""
    return SealManifest(
        run=run_folder.name,
        verdict=verdict,
        why=list(why),
        files=[SealedFile(name, *found) for name, found in digests.items() if found],
        ledger=SealedLedger(size=len(ledger), sha256=dsse.sha256(ledger), lines=[line.digest for line in lines]),
        declared=list(declared),
        people={name: SealedPerson(key_id=key.keyid, public_key=key.pem) for name, key in sorted(people.items())},
        previous=before,
        former=[SealedFormerKey(each.name, each.key.keyid, each.key.pem, each.start, each.end) for each in former],
        checklist=Checklist(lines[0].text("option"), digest_of(declared)),
    )


def _pages(run_folder: Path) -> list[str]:
    from helpers.evidence.html import render  # nbconvert takes a second to import

    against = []
    for notebook in sorted(run_folder.glob("*/attempt-*.ipynb")):
        if not notebook.with_suffix(".html").exists():
            try:
                render(notebook)
            except Exception as error:  # whatever is wrong with a notebook, it cannot be shown to an auditor
                name = notebook.relative_to(run_folder)
                against.append(f"{name} cannot be made into HTML: {type(error).__name__}: {error}")
    return against


def _previous(run_folder: Path, name: str | None) -> PreviousSeal | None:
    found = name or sealed_last(run_folder.parent, but=run_folder.name)
    if found is None:
        return None
    path = run_folder.parent / found / SEAL
    if found == run_folder.name or not path.exists():
        raise UsageError(
            "chain the run to the one before", on=found, why="it is not a sealed run", next_step="seal that run first"
        )
    return PreviousSeal(run=found, seal_sha256=dsse.sha256(path.read_bytes()))


def _finished(run_folder: Path) -> Sealed:
    files = container.Folder(run_folder)
    archive = run_folder / container.ARCHIVE
    for name in files.names():
        (run_folder / name).chmod(0o400)
    handle, temporary = tempfile.mkstemp(dir=run_folder.parent, prefix=f".{run_folder.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            container.write(files, (name for name in files.names() if name != CHECKER), file)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(archive)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    manifest = parsed((run_folder / MANIFEST).read_bytes())
    lines, _ = read((run_folder / LEDGER).read_bytes())
    archive.chmod(0o400)
    for folder in (*(path for path in run_folder.rglob("*") if path.is_dir()), run_folder):
        folder.chmod(0o500)
    return Sealed(
        run=manifest.run,
        verdict=manifest.verdict,
        why=tuple(manifest.why),
        files=len(manifest.files),
        seal=run_folder / SEAL,
        archive=archive,
        checker=run_folder / CHECKER,
        checker_sha256=(files.digest(CHECKER) or (0, ""))[1],
        key_id=dsse.key_id_in((run_folder / SEAL).read_bytes()) or "",
        previous=manifest.previous.run if manifest.previous else None,
        counts=verdict_of(Facts(files, lines, manifest.run, manifest.declared, {})).counts,
    )


def _create(run_folder: Path, name: str, content: str | bytes) -> None:
    if not create_exclusively(run_folder / name, content):
        raise _unusable(run_folder, f"somebody else writes {name}", "let one command seal it")


def _refused(run_folder: Path, against: Sequence[str]) -> EvidenceRefused:
    return EvidenceRefused(
        "seal the run",
        on=run_folder.name,
        why="; ".join(against),
        next_step="fix what is listed, run those phases again, then seal",
    )


def _unusable(run_folder: Path, why: str, next_step: str) -> UsageError:
    return UsageError("seal the run", on=run_folder.name, why=why, next_step=next_step)
