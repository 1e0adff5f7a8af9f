"""Checks a sealed run offline, with the public key alone: `python -m helpers.evidence.check PATH --public-key PEM`.

Nothing of what wrote the run is used to read it, no settings and no server are needed, and whatever a forged file
makes this code raise is a finding, never a pass.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from securesystemslib.signer import SSlibKey

from helpers.errors import MigrationError, UsageError
from helpers.evidence import dsse, keys
from helpers.evidence.check_record import record_findings
from helpers.evidence.container import ARCHIVE, Container, Folder, opened
from helpers.evidence.finding import Finding
from helpers.evidence.ledger_reader import LEDGER, named_differences, read
from helpers.evidence.seal_manifest import MANIFEST, PREVIOUS, SEAL, VERSION, SealManifest


@dataclass(frozen=True)
class Checked:
    """What a check says of a run.

    Attributes:
        findings: everything that is not as it was sealed; none when it is intact.
        run: its name, and `sealed_as` its verdict at sealing; empty where that could not be read.
    """

    findings: tuple[Finding, ...]
    run: str = ""
    sealed_as: str = ""
    why: tuple[str, ...] = ()

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
        }


def check(
    path: Path, public_key: SSlibKey, *, run_key: SSlibKey | None = None, previous: Path | None = None
) -> Checked:
    """Compares a run with its seal, and what it claims with what it shows.

    Args:
        path: the run's folder, or its `evidence.zip`.
        public_key: of the person who sealed it.
        run_key: of the machine that ran it, where the auditor knows it; else the one that the ledger names is used.
        previous: the run before, a folder or an archive; else the folder beside `path`, where there is one.

    Returns:
        The verdict.

    Raises:
        UsageError: there is nothing to check: no folder or archive, a run that was never sealed, or one that another version of
            this program sealed.
    """
    with opened(path) as (files, wrong):
        if any(each.kind == "zip-damaged" for each in wrong):
            return Checked(tuple(wrong))
        seal = files.read(SEAL)
        if seal is None and not wrong and not _claims_a_seal(files):
            raise UsageError(
                "check the evidence", on=str(path), why="the run is not sealed", next_step="seal it: runbook seal"
            )
        found, manifest = list(wrong), None
        try:
            manifest, more = _against_the_seal(files, seal, public_key)
            found += more
            if manifest:
                found += record_findings(files, manifest, run_key)
                found += _chain(path, files, manifest, previous)
        except _OtherVersion:
            raise
        except Exception as error:  # a checker that fails on forged evidence must not pass it
            found.append(Finding("unreadable", MANIFEST, f"{type(error).__name__} while it was checked"))
        if isinstance(files, Folder) and (path / ARCHIVE).exists():
            found += [
                Finding(each.kind, f"{ARCHIVE}/{each.path}", each.message)
                for each in _of_the_archive(path, public_key, run_key, previous, seal)
            ]
    unique = tuple(dict.fromkeys(found))
    return Checked(unique, manifest.run, manifest.verdict, tuple(manifest.why)) if manifest else Checked(unique)


def main(arguments: list[str]) -> int:
    """The same as a command of its own, which imports nothing but what a check needs."""
    parser = argparse.ArgumentParser(prog="verify-evidence", description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--public-key", required=True)
    parser.add_argument("--run-key")
    parser.add_argument("--previous", type=Path)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    try:
        run_key = keys.public_key(given.run_key) if given.run_key else None
        checked = check(given.path, keys.public_key(given.public_key), run_key=run_key, previous=given.previous)
    except MigrationError as error:
        print(json.dumps({"error": error.as_dict()}) if given.json else error)  # noqa: T201
        return error.exit_code
    lines = [json.dumps(checked.as_dict(), ensure_ascii=False)] if given.json else in_words(checked)
    print("\n".join(lines))  # noqa: T201
    return 1 if checked.findings else 0


def in_words(checked: Checked) -> list[str]:
    """The verdict for a person, a line a finding."""
    if checked.findings:
        return [
            f"tampered: {len(checked.findings)} finding{'s' if len(checked.findings) > 1 else ''}",
            *(f"  {each}" for each in checked.findings),
        ]
    return [
        f"intact: run {checked.run}, sealed as {checked.sealed_as}",
        *(f"  {sentence}" for sentence in checked.why),
    ]


class _OtherVersion(UsageError):  # noqa: N818
    """The seal holds, and is over a manifest of another form."""


def _version(data: bytes | None) -> int | None:
    try:
        found = json.loads(data or b"")["version"]
    except (ValueError, KeyError, TypeError):
        return None
    return found if type(found) is int else None


def _claims_a_seal(files: Container) -> bool:
    lines, _ = read(files.read(LEDGER) or b"")
    return any(line.event == "sealed" for line in lines) or MANIFEST in files.names()


def _against_the_seal(files: Container, seal: bytes | None, key: SSlibKey) -> tuple[SealManifest | None, list[Finding]]:
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
    if not found and (other := _version(data)) not in (None, VERSION):
        raise _OtherVersion(
            "check the evidence", on=MANIFEST, why=f"its form is number {other}, and this program reads number {VERSION}",
            next_step="check it with the version that sealed it, whose commit environment.json names",
        )  # fmt: skip
    try:
        manifest = SealManifest.model_validate_json(data or b"")
    except (ValidationError, ValueError):
        return None, [*found, Finding("manifest-damaged", MANIFEST, "it is no manifest of a seal")]
    found += _files(files, manifest)
    lines, wrong = read(ledger or b"")
    last = statement.predicate.get("ledger_head") if statement else lines[-1].digest if lines else ""
    found += [*wrong, *named_differences(lines, [*manifest.ledger.lines, str(last)])]
    if statement and (statement.predicate.get("run"), statement.predicate.get("verdict")) != (
        manifest.run,
        manifest.verdict,
    ):
        found.append(Finding("verdict", MANIFEST, "its run or verdict is not what was signed"))
    return manifest, found


def _files(files: Container, manifest: SealManifest) -> Iterator[Finding]:
    sealed = {each.path: each for each in manifest.files}
    for name in files.names():
        if name not in sealed and name not in (MANIFEST, SEAL, LEDGER):
            yield Finding("file-added", name, "it was not there when the run was sealed")
    for name, each in sealed.items():
        content = files.read(name)
        if content is None:
            yield Finding("file-missing", name, "it was sealed, and is gone")
        elif len(content) != each.size or dsse.sha256(content) != each.sha256:
            yield Finding("file-changed", name, f"{len(content)} bytes, and not the {each.size} that were sealed")


def _chain(path: Path, files: Container, manifest: SealManifest, given: Path | None) -> Iterator[Finding]:
    copy = files.read(PREVIOUS)
    if manifest.previous is None:
        if given is not None:
            yield Finding("chain-broken", MANIFEST, "it names no run before it")
        return
    if copy is None or dsse.sha256(copy) != manifest.previous.seal_sha256:
        yield Finding(
            "chain-broken", PREVIOUS, f"it is not the seal of {manifest.previous.run} that the manifest names"
        )
    folder = path.resolve().parent if path.is_dir() else None
    beside = folder / manifest.previous.run if folder else None
    where = given or (beside if beside and beside.is_dir() else None)
    if where is None:
        return
    with opened(where) as (other, _):
        seal = other.read(SEAL)
    if seal is None or dsse.sha256(seal) != manifest.previous.seal_sha256:
        yield Finding(
            "chain-broken",
            MANIFEST,
            f"the run before, {manifest.previous.run}, has {'another seal' if seal else 'no seal'} than the one it names",
        )


def _of_the_archive(
    path: Path, key: SSlibKey, run_key: SSlibKey | None, previous: Path | None, seal: bytes | None
) -> list[Finding]:
    try:
        checked = check(path / ARCHIVE, key, run_key=run_key, previous=previous)
        with opened(path / ARCHIVE) as (archive, _):
            same = archive.read(SEAL) == seal
    except UsageError as error:
        return [Finding("zip-damaged", "", error.why)]
    return [*checked.findings, *([] if same else [Finding("zip-changed", SEAL, "it is the archive of another seal")])]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
