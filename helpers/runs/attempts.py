"""The attempts of a run in its ledger: opened, started, ended, and those that were killed without recording their end."""

from __future__ import annotations

import os
import platform
import pwd
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from helpers import PROJECT
from helpers.checker.container import Folder
from helpers.checker.ledger_reader import read
from helpers.errors import UsageError
from helpers.evidence.counter import refuse_a_cut
from helpers.evidence.heads import refuse_another_key, run_key_facts, sign_head
from helpers.ledger.folders import Attempt, checked_folder, open_attempt, refuse_sealed
from helpers.ledger.ledger import NAME, Entry, Ledger, file_digest
from helpers.ledger.view import is_gone
from helpers.process_identity import start_of
from helpers.redaction import redact_values
from helpers.settings import Settings


def start(
    outputs: Path,
    run: str,
    notebook: Path,
    parameters: Mapping[str, object],
    *,
    option: str,
    stand_ins: Mapping[str, str] | None = None,
) -> tuple[Attempt, Ledger]:
    """Opens the run where it is new, and its next attempt of the notebook's phase.

    Args:
        outputs: the folder of all runs.
        run: the run's name.
        notebook: the runbook; its name without the suffix is the phase.
        parameters: as they are given to it.
        option: the migration path.
        stand_ins: what stands in for a service in the notebook's profile, by the service; None where that is not known.

    Raises:
        UsageError: a name cannot be a folder's, the run was opened for another option or profile, or another attempt of
            the phase is running.
        EvidenceError: the run's ledger is broken.
    """
    phase = notebook.stem
    folder = checked_folder(outputs, run, phase).parent
    refuse_sealed(folder)
    ledger = Ledger.open(folder)
    lines, _ = read(ledger.path.read_bytes())
    refuse_a_cut(lines, run)
    refuse_another_key(lines, run)
    note_killed(ledger)
    opening = {
        "run": run, "option": option, "profile": str(parameters.get("profile", "")),
        "apply": bool(parameters.get("apply", True)), "git": _git(), **run_key_facts(),
    }  # fmt: skip
    ledger.append_after(lambda entries: _opened(folder, entries, opening))
    attempts: list[Attempt] = []

    def started(entries: list[Entry]) -> tuple[str, dict[str, Any]]:
        _refuse_a_second(entries, phase)
        attempt = open_attempt(outputs, run, phase)
        attempts.append(attempt)
        return "attempt-started", {
            "phase": phase, "attempt": attempt.name, "notebook_sha256": file_digest(notebook),
            "parameters": redact_values(dict(parameters)), "by": _user(), **({} if stand_ins is None else {"stand_ins": dict(stand_ins)}),
            "process": {"host": platform.node(), "pid": os.getpid(), "started": start_of(os.getpid())},
        }  # fmt: skip

    ledger.append_after(started)
    return attempts[0], ledger


def end(ledger: Ledger, attempt: Attempt, status: str, exit_code: int, profile: Settings | None = None) -> None:
    """Records how an attempt ended, with the digests of what it leaves behind, and anchors that where the profile says so."""
    folder = attempt.folder.parent
    ledger.append(
        "attempt-ended",
        phase=attempt.phase,
        attempt=attempt.name,
        status=status,
        exit_code=exit_code,
        notebook_sha256=file_digest(attempt.notebook),
        html_sha256=file_digest(attempt.html) if attempt.html.exists() else None,
        files=_reports(folder, attempt.phase, attempt.name),
    )
    if profile:
        from helpers.evidence.anchors import anchor  # with drivers that a status does not wait for

        anchor(folder, ledger, profile)
    sign_head(folder, ledger)


def note_killed(ledger: Ledger) -> None:
    """Records the end of attempts whose process is gone without a word; a sealed ledger is left as it is."""
    while any(is_gone(entry) for entry in open_attempts(ledger.entries())) and ledger.append_after(_killed(ledger)):
        pass


def open_attempts(entries: list[Entry]) -> list[Entry]:
    """The `attempt-started` of attempts without an end."""
    ended = {(e.get("phase"), e.get("attempt")) for e in entries if e.event == "attempt-ended"}
    return [e for e in entries if e.event == "attempt-started" and (e.get("phase"), e.get("attempt")) not in ended]


def _killed(ledger: Ledger) -> Any:
    folder = ledger.path.parent

    def ended(entries: list[Entry]) -> tuple[str, dict[str, Any]] | None:
        gone = next((entry for entry in open_attempts(entries) if is_gone(entry)), None)
        if gone is None or any(entry.event == "sealed" for entry in entries):
            return None
        phase, attempt = gone.get("phase"), gone.get("attempt")
        notebook, html = (folder / phase / f"{attempt}.{suffix}" for suffix in ("ipynb", "html"))
        return "attempt-ended", {
            "phase": phase, "attempt": attempt, "status": "killed", "exit_code": 4,
            "notebook_sha256": file_digest(notebook) if notebook.exists() else None,
            "html_sha256": file_digest(html) if html.exists() else None, "files": _reports(folder, phase, attempt),
        }  # fmt: skip

    return ended


def _reports(folder: Path, phase: str, attempt: str) -> list[dict[str, str]]:
    """The digests of what an attempt leaves beside its notebook, which from now on only its owner may read."""
    tops = (folder / phase).glob(f"{attempt}-*")
    everything = [path for top in tops for path in (top, *(top.rglob("*") if top.is_dir() else ()))]
    for path in everything:
        if not path.is_symlink():
            path.chmod(0o700 if path.is_dir() else 0o600)
    paths = sorted(path for path in everything if path.is_file())
    return [{"path": path.relative_to(folder).as_posix(), "sha256": file_digest(path)} for path in paths]


def _opened(folder: Path, entries: list[Entry], opening: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
    before = next((entry for entry in entries if entry.event == "run-opened"), None)
    if before is None:
        # What commands have left there already: a file that no line names stands against a seal.
        there = [name for name in Folder(folder).names() if name != NAME and (folder / name).is_file()]
        files = [{"path": name, "sha256": file_digest(folder / name)} for name in there]
        return "run-opened", opening | ({"files": files} if files else {})
    for name in ("option", "profile"):
        if before.get(name) != opening[name]:
            raise UsageError(
                "continue the run",
                on=f"run {opening['run']}",
                why=f"it was opened with {name} {before.get(name)!r}, not {opening[name]!r}",
                next_step="use the same value, or choose another run name",
            )
    return None


def _refuse_a_second(entries: list[Entry], phase: str) -> None:
    for entry in open_attempts(entries):
        process = entry.get("process", {})
        if entry.get("phase") == phase and process.get("host") == platform.node():
            raise UsageError(
                "start an attempt",
                on=f"phase {phase}",
                why=f"{entry.get('attempt')} is running, as process {process['pid']}",
                next_step="wait for it, or stop it, then run the same command again",
            )


def _user() -> str:
    # Not the environment, which anybody sets.
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


def _git() -> dict[str, Any]:
    """The commit this program is of; empty outside a repository."""
    commit, changes = (
        subprocess.run(["git", *words], cwd=PROJECT, capture_output=True, text=True, check=False)
        for words in (("rev-parse", "HEAD"), ("status", "--porcelain"))
    )
    return {"commit": commit.stdout.strip() if commit.returncode == 0 else "", "dirty": bool(changes.stdout.strip())}
