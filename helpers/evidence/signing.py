"""What the commands attest, approve, seal and verify-evidence do, given a run's name and a profile."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from helpers import PROJECT, redaction
from helpers import settings as profiles
from helpers.checker.dsse import Signer
from helpers.checker.ledger_reader import LEDGER, Line, read
from helpers.checker.manifest import SEAL
from helpers.checker.signatures import asked_elsewhere, awaited
from helpers.errors import UsageError
from helpers.evidence import anchors, approvals
from helpers.evidence import seal as sealing
from helpers.evidence.declared import declared_steps
from helpers.evidence.people import Roll, roll
from helpers.ledger import keys
from helpers.ledger.ledger import Ledger
from helpers.settings import Profile, Settings, elsewhere


def attest(run_folder: Path, step: str, *, by: str, key: Path, note: str, profile: str | None) -> dict[str, Any]:
    """Signs a person's word; raises as `approvals.attest` does, and UsageError where no person's word is enough.

    Args:
        step: a step that rests on a person's word; or one that exists elsewhere by the settings, or a glob over those, of which
            each is signed that the run asks for.
    """
    settings = profiles.load_approvals(_profile(run_folder, profile))
    theirs = {
        name: each
        for name, each in elsewhere.by_step(settings.values.elsewhere, frozenset(Profile.model_fields)).items()
        if fnmatchcase(name, step)
    }
    ledger, envelopes = open_ledger(run_folder), {}
    if not theirs:
        _refuse_what_is_no_word(run_folder, step, roll(settings))
    if len(theirs) > 1:
        lines = _lines(run_folder)
        theirs = {name: each for name, each in theirs.items() if asked_elsewhere(lines, name)} or theirs
    for name in theirs or (step,):
        envelopes[name] = approvals.attest(
            run_folder, name, by=by, key=key, note=note, settings=settings, ledger=ledger, elsewhere=theirs.get(name)
        )
    said = {name: each.model_dump() for name, each in theirs.items()}
    done = {
        "run": run_folder.name,
        "step": step,
        "by": by,
        "note": note,
        "envelope": str(next(iter(envelopes.values()))),
    }
    return done | (
        {"exists_elsewhere": said, "envelopes": {n: str(path) for n, path in envelopes.items()}} if said else {}
    )


def approve(
    run_folder: Path, step: str, *, by: str, key: Path, plan_sha256: str | None, profile: str | None
) -> dict[str, Any]:
    """Signs the plan that a step waits with; raises as `approvals.approve` does."""
    settings = profiles.load_approvals(_profile(run_folder, profile))
    path = approvals.approve(
        run_folder, step, by=by, key=key, settings=settings, ledger=open_ledger(run_folder), plan_sha256=plan_sha256
    )
    payload = awaited(_lines(run_folder), step) or {}
    return {**payload, "by": by, "envelope": str(path)}


def waiting_plan(run_folder: Path, step: str) -> tuple[Path, str]:
    """The file of the plan that a step waits with, and the plan for a person to read; raises as `approvals.waiting_plan` does."""
    path, data = approvals.waiting_plan(run_folder, step)
    return path, json.dumps(json.loads(data), ensure_ascii=False, indent=2)


def seal(
    run_folder: Path, *, key: Path, previous: str | None, profile: str | None, upload_only: bool = False
) -> dict[str, Any]:
    """Seals a run, and archives it where the profile says so; raises as `seal.seal` and `seal.upload` do."""
    settings = profiles.load(_profile(run_folder, profile))
    signer = keys.signer(key)
    summary: dict[str, Any] = {"run": run_folder.name}
    archive = run_folder / "evidence.zip"
    if not upload_only:
        sealed = (
            sealing.finish(run_folder)
            if (run_folder / SEAL).exists()
            else _sealed(run_folder, signer, settings, previous)
        )
        archive = sealed.archive
        summary |= {
            **vars(sealed),
            "why": list(sealed.why),
            "counts": dict(sealed.counts),
            "seal": str(sealed.seal),
            "archive": str(archive),
            "checker": str(sealed.checker),
        }
    elif not archive.exists():
        raise UsageError(
            "upload the evidence", on=run_folder.name, why="the run is not sealed", next_step="leave out --upload-only"
        )
    return {**summary, "uploaded": _uploaded(archive, run_folder.name, settings, upload_only)}


def open_ledger(run_folder: Path) -> Ledger:
    """The ledger of a run that exists.

    Raises:
        UsageError: there is no such run, or it is sealed.
    """
    _lines(run_folder)
    if (run_folder / SEAL).exists():
        # Its files are read-only, which would be a less clear answer.
        raise UsageError("write to the run", on=run_folder.name, why="the run is sealed", next_step="start a new run")
    return Ledger.open(run_folder)


def _refuse_what_is_no_word(run_folder: Path, step: str, known: Roll) -> None:
    # What is in the ledger stays there: a word that does not count would stand against the seal for good.
    declared = list(declared_steps(_lines(run_folder)[0].text("option"), known.asked))
    words = [each.step for each in declared if each.word]
    if any(each.step == step == each.elsewhere for each in declared):
        raise UsageError(
            "attest a step", on=step, why="a person's word is enough for it only where the settings say that it exists elsewhere",
            next_step=f'say so: [profiles.{known.settings.profile}.elsewhere] "{step}" = {{ what = "…", link = "https://…" }}',
        )  # fmt: skip
    if step not in words:
        raise UsageError(
            "attest a step",
            on=step,
            why="it is not a step that a person may attest",
            next_step=f"these are: {', '.join(words)}",
        )


def _sealed(run_folder: Path, signer: Signer, settings: Settings, previous: str | None) -> sealing.Sealed:
    known, ledger = roll(settings), open_ledger(run_folder)
    if _lines(run_folder)[-1].event != "sealed":
        anchors.refuse_a_cut(run_folder, settings)
        anchors.anchor(run_folder, ledger, settings)
    return sealing.seal(
        run_folder,
        signer=signer,
        ledger=ledger,
        declared=declared_steps(_lines(run_folder)[0].text("option"), known.asked),
        people=known.people,
        former=known.former,
        known_secrets=redaction.known(),
        project=PROJECT,
        previous=previous,
    )


def _lines(run_folder: Path) -> list[Line]:
    try:
        lines, _ = read((run_folder / LEDGER).read_bytes())
    except OSError:
        lines = []
    if not lines:
        raise UsageError(
            "find the run",
            on=run_folder.name,
            why="it has no ledger",
            next_step=f"start it: runbook run 00 --run {run_folder.name}",
        )
    return lines


def _profile(run_folder: Path, given: str | None) -> str:
    """The run's own: who may sign is not chosen by the one who signs."""
    own = _lines(run_folder)[0].text("profile")
    if given and own and given != own:
        raise UsageError(
            "sign a run of another profile",
            on=f"--profile {given}",
            why=f"the run was opened with the profile {own}",
            next_step="leave out --profile",
        )
    return own or given or profiles.DEFAULT_PROFILE


def _uploaded(archive: Path, run: str, settings: Settings, asked: bool) -> str | None:
    if settings.values.evidence is None and not asked:
        return None
    return sealing.upload(archive, run, settings)
