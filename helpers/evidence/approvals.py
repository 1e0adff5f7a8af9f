"""Attestations and approvals: who signed what, with which key, and whether that is enough for a step.

An approval is bound to its run, to the SHA-256 of the plan, and to the LSN of the snapshot that the plan was made
from. When one of them changes, what was signed before no longer counts. Each signature also names the ledger's head
as it was, so that what came before a signature cannot be rewritten without that person's key.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from helpers.checker import dsse
from helpers.checker.container import Folder
from helpers.checker.dsse import Signer
from helpers.checker.facts import Facts
from helpers.checker.ledger_reader import LEDGER, Line, read
from helpers.checker.record import plan_file
from helpers.checker.signatures import (
    FOLDER,
    approvals_of,
    asked_elsewhere,
    attestation,
    awaited,
    key_for,
    valid_approvals,
    valid_words_elsewhere,
    verified,
)
from helpers.checker.strict_json import canonical
from helpers.credentials import secret_in
from helpers.errors import AwaitingPerson, SignatureRefused, UsageError
from helpers.evidence.heads import Ledger, write_exclusively
from helpers.evidence.people import Roll, roll
from helpers.ledger import keys
from helpers.ledger.folders import checked_name, create_exclusively
from helpers.ledger.gate import plain
from helpers.settings import Elsewhere, Settings

_PROCESS = secrets.token_bytes(32)

Class = Literal["cutover", "destructive", "other"]


@dataclass(frozen=True)
class ApprovalToken:
    """Enough people have approved this plan at this LSN. Made by `require` only; `accept` knows one that was not."""

    run: str
    step: str
    plan_sha256: str
    lsn: str
    by: tuple[str, ...]
    seal: str = field(repr=False, default="")


def attest(
    run_folder: Path,
    step: str,
    *,
    by: str,
    key: Path,
    note: str,
    settings: Settings,
    ledger: Ledger,
    elsewhere: Elsewhere | None = None,
) -> Path:
    """Signs a person's word that a step is done, or exists elsewhere.

    Args:
        run_folder: the run's.
        step: the step's id.
        by: the person, as named in the settings.
        key: that person's private key.
        note: what the person says about it; may be empty.
        settings: who may sign.
        ledger: of the run.
        elsewhere: what exists instead of the run's own doing, and where: what the run asks for; None where the step is done.

    Returns:
        The envelope's file.

    Raises:
        SignatureRefused: the key is not that person's, the person has attested this step already, or the run asks for the word
            on something else.
        UsageError: the person, the key or the run cannot be used, the run does not ask for that word, or the note holds a secret.
    """
    lines = _open_run(run_folder, step)
    signer = _signer(by, key, roll(settings))
    asked = _asked_elsewhere(run_folder, lines, step, elsewhere) if elsewhere else None
    given = (line for line in lines[asked.n if asked else 0 :] if line.event == "attested")
    if any(line.text("step") == step and _same(line, by, signer) for line in given):
        raise _twice("attest", step, by)
    if kind := secret_in(note):
        raise UsageError(
            "attest a step",
            on=step,
            why=f"the note seems to hold {kind}",
            next_step="write the note without the secret",
        )
    said = elsewhere.model_dump() if elsewhere else None
    subject, predicate = attestation(run_folder.name, step, by, note, said)
    fields: dict[str, object] = {"step": step, "by": by, "note": note, "key_id": signer.public_key.keyid}
    fields |= {"elsewhere": said} if said else {}
    return _sign(run_folder, "attestation", subject, predicate, signer, ledger, "attested", fields)


def approve(
    run_folder: Path,
    step: str,
    *,
    by: str,
    key: Path,
    settings: Settings,
    ledger: Ledger,
    plan_sha256: str | None = None,
) -> Path:
    """Signs the plan that a step waits with, after its file was hashed and compared with the ledger's line that waits.

    Args:
        run_folder: the run's.
        step: the step's id.
        by: the person, as named in the settings.
        key: that person's private key.
        settings: who may sign.
        ledger: of the run.
        plan_sha256: the plan that the person has read, in full or its beginning; whatever is awaited when None.

    Returns:
        The envelope's file.

    Raises:
        SignatureRefused: the key is not that person's, the person has approved this plan already, another plan is awaited
            than the one that was read, or the plan's file was changed since it waits.
        UsageError: nothing awaits an approval there, or the person or the key cannot be used.
    """
    lines = _open_run(run_folder, step)
    payload = awaited(lines, step)
    if payload is None:
        raise _nothing_waits(run_folder, step)
    if plan_sha256 is not None and not payload["plan_sha256"].startswith(plan_sha256.lower()):
        raise SignatureRefused(
            "approve a step",
            on=step,
            why=f"the plan that is waiting is {payload['plan_sha256']}, not {plan_sha256}",
            next_step="read the new plan below approvals/ in the run's folder",
        )
    signer = _signer(by, key, roll(settings))
    if any(_same(line, by, signer) for line in approvals_of(lines, payload)):
        raise _twice("approve", step, by)
    waiting_plan(run_folder, step)
    predicate = {**payload, "by": by}
    fields: dict[str, object] = {
        "step": step,
        "by": by,
        "key_id": signer.public_key.keyid,
        "plan_sha256": payload["plan_sha256"],
        "lsn": payload["lsn"],
    }
    return _sign(
        run_folder, "approval", {"plan": payload["plan_sha256"]}, predicate, signer, ledger, "approved", fields
    )


def require(
    run_folder: Path,
    step: str,
    plan: object,
    lsn: str,
    settings: Settings,
    *,
    ledger: Ledger,
    kind: Class = "destructive",
) -> ApprovalToken:
    """Lets a step pass once enough people have approved exactly this plan at this LSN.

    Args:
        run_folder: the run's.
        step: the step's id.
        plan: plain values, a dataclass, a pydantic model, or something with as_dict().
        lsn: of the snapshot that the plan was made from.
        settings: who may sign, and how many have to.
        ledger: of the run; gets an `awaiting` when this plan was not awaited yet.
        kind: the step's class.

    Returns:
        The token that the step takes.

    Raises:
        AwaitingPerson: not enough of them have; the plan lies below `approvals/` for them to read.
        SettingsError: fewer people may sign than have to.
        UsageError: the plan cannot be digested.
    """
    known = roll(settings)
    needed = known.needed(step, kind)
    text = _plan_bytes(step, plan)
    payload = {"run": run_folder.name, "step": step, "plan_sha256": dsse.sha256(text), "lsn": lsn}
    lines = _open_run(run_folder, step)
    signed = valid_approvals(_reader(run_folder), lines, payload, known.people, known.former)
    if len(signed) >= needed:
        waiting_plan(run_folder, step)
        return _sealed(ApprovalToken(run_folder.name, step, payload["plan_sha256"], lsn, tuple(sorted(signed))))
    if awaited(lines, step) == payload:
        _restore_plan(run_folder, lines, step, text)
    else:
        name = f"{FOLDER}/{step}.{dsse.short(payload['plan_sha256'])}.plan.json"
        path = write_exclusively(run_folder, name, text).relative_to(run_folder).as_posix()
        digest = dsse.sha256(canonical(payload))
        ledger.append(
            "awaiting", step=step, what="approval", payload_sha256=digest, payload=payload, needed=needed, plan=path
        )
    free = ", ".join(sorted(set(known.people) - set(signed)))
    raise AwaitingPerson(
        "continue without an approval",
        on=f"{step}, plan {dsse.short(payload['plan_sha256'])}, LSN {lsn}",
        why=f"{len(signed)} of {needed} people have approved this plan; who may: {free}",
        next_step=f"runbook approve {step} --run {run_folder.name} --by PERSON --key PATH"
        f" --plan {dsse.short(payload['plan_sha256'])}, then the same command again",
    )


def accept(token: object, step: str, plan: object, lsn: str) -> ApprovalToken:
    """Called by a protected step before it acts: the token is `require`'s, for this step, plan and LSN.

    Raises:
        UsageError: it is not.
    """
    digest = dsse.sha256(_plan_bytes(step, plan))
    fits = (
        isinstance(token, ApprovalToken)
        and hmac.compare_digest(token.seal, _seal(token))
        and (token.step, token.plan_sha256, token.lsn) == (step, digest, lsn)
    )
    if not fits or not isinstance(token, ApprovalToken):
        raise UsageError(
            "take a step that needs an approval",
            on=step,
            why="what it was given is not an approval of this plan at this LSN",
            next_step="pass what approvals.require returned for it in this notebook",
        )
    return token


def attested(run_folder: Path, step: str, settings: Settings) -> str | None:
    """Who has attested a step, as far as the signature holds; None when nobody has."""
    lines, _ = read((run_folder / LEDGER).read_bytes())
    for line in lines:
        if line.event == "attested" and line.text("step") == step:
            known = roll(settings)
            key = key_for(line, known.people, known.former, lines)
            if key and verified(_reader(run_folder), run_folder.name, line, key, lines):
                return line.text("by")
    return None


def require_words_elsewhere(
    run_folder: Path,
    step: str,
    elsewhere: Elsewhere,
    settings: Settings,
    *,
    ledger: Ledger,
    place: Mapping[str, str],
    kind: Class | None = None,
    anew: bool = False,
) -> tuple[str, ...]:
    """By whose word a step exists elsewhere; asks for it in the ledger where it was not asked for yet.

    Args:
        run_folder: the run's.
        step: whose word it is.
        elsewhere: what the settings say of it.
        settings: who may sign, and how many have to, which for a step that needs approvals are as many.
        ledger: of the run.
        place: the phase and the attempt that ask.
        kind: the step's class of approval.
        anew: a word that was given before counts no more.

    Returns:
        Their names; none where not enough of them have signed.

    Raises:
        SettingsError: fewer people may sign than have to.
    """
    known, lines = roll(settings), _open_run(run_folder, step)
    needed, said = known.needed(step, kind or "other"), elsewhere.model_dump()
    asked = asked_elsewhere(lines, step)
    if anew or asked is None or (asked.fields["elsewhere"], asked.fields.get("needed")) != (said, needed):
        ledger.append("awaiting", step=step, **place, what="attestation", elsewhere=said, needed=needed)
        return ()
    given = valid_words_elsewhere(
        _reader(run_folder), run_folder.name, lines, step, known.people, known.former
    )  # fmt: skip
    return tuple(sorted(given)) if len(given) >= needed else ()


def _asked_elsewhere(run_folder: Path, lines: Sequence[Line], step: str, elsewhere: Elsewhere) -> Line:
    asked, again = asked_elsewhere(lines, step), f"runbook run {step[1:3]} --run {run_folder.name}"
    if asked is None:
        raise UsageError(
            "sign that a step exists elsewhere", on=step, why="the run has not asked for that word yet",
            next_step=f"{again}; it stops there and asks",
        )  # fmt: skip
    if asked.fields["elsewhere"] != elsewhere.model_dump():
        raise SignatureRefused(
            "sign that a step exists elsewhere", on=step,
            why="the settings say something else of it by now than what the run asks for", next_step=f"{again} asks anew",
        )  # fmt: skip
    return asked


def waiting_plan(run_folder: Path, step: str) -> tuple[Path, bytes]:
    """The file of the plan that a step waits with, and its bytes, whose SHA-256 is the one that is signed.

    Raises:
        SignatureRefused: the file was changed since the plan waits, or is gone.
        UsageError: nothing awaits an approval there.
    """
    lines = _open_run(run_folder, step)
    waiting = _waiting(lines, step)
    if waiting is None:
        raise _nothing_waits(run_folder, step)
    name = plan_file(Facts(Folder(run_folder), lines, run_folder.name, (), {}), waiting)
    if name is None:
        raise SignatureRefused(
            "approve a step",
            on=waiting.text("plan") or step,
            why=f"it is not the plan that is waiting in line {waiting.n} of the ledger, or is gone",
            next_step="find out who changed it, and remove it: the phase writes the plan anew when it runs again",
        )
    return run_folder / name, (run_folder / name).read_bytes()


def _waiting(lines: Sequence[Line], step: str) -> Line | None:
    last = ("awaiting", step, "approval")
    return next((x for x in reversed(lines) if (x.event, x.text("step"), x.text("what")) == last), None)


def _restore_plan(run_folder: Path, lines: Sequence[Line], step: str, text: bytes) -> None:
    """Writes the plan that waits once more where somebody removed it; one that was edited stays, and nobody can approve it."""
    waiting = _waiting(lines, step)
    if waiting and waiting.text("plan"):
        create_exclusively(run_folder / waiting.text("plan"), text)


def _nothing_waits(run_folder: Path, step: str) -> UsageError:
    return UsageError(
        "approve a step",
        on=step,
        why="none of its plans is waiting for an approval",
        next_step=f"runbook status --run {run_folder.name} shows what does",
    )


def _plan_bytes(step: str, plan: object) -> bytes:
    """A plan as its file holds it: `sha256sum` of that file prints the digest that is signed."""
    try:
        return canonical(plain(plan)) + b"\n"
    except (TypeError, ValueError) as error:
        raise UsageError(
            "digest a plan",
            on=step,
            why=str(error),
            next_step="pass plain values, a dataclass, a pydantic model, or something with as_dict()",
        ) from None


def _reader(run_folder: Path) -> Callable[[str], bytes | None]:
    def read_file(name: str) -> bytes | None:
        try:
            return (run_folder / name).read_bytes()
        except OSError:
            return None

    return read_file


def _open_run(run_folder: Path, step: str) -> list[Line]:
    checked_name(step, kind="step")
    try:
        lines, wrong = read((run_folder / LEDGER).read_bytes())
    except OSError:
        raise UsageError(
            "find the run", on=run_folder.name, why="it has no ledger", next_step="start it with runbook run"
        ) from None
    # A torn last line is a writer that was killed; the ledger mends it before it appends.
    if broken := [each for each in wrong if each.kind != "ledger-truncated"]:
        raise UsageError(
            "read the ledger", on=run_folder.name, why=str(broken[0]), next_step="keep it, and start a new run"
        )
    if any(line.event == "sealed" for line in lines):
        raise UsageError("sign a step", on=run_folder.name, why="the run is sealed", next_step="start a new run")
    return lines


def _signer(by: str, key: Path, known: Roll) -> Signer:
    expected = known.key(by)
    signer = keys.signer(key)
    if signer.public_key.keyid != expected.keyid:
        raise SignatureRefused(
            f"sign as {by}",
            on=str(key),
            why=f"the key of {by} in the settings is {dsse.short(expected.keyid)}, this one is "
            f"{dsse.short(signer.public_key.keyid)}",
            next_step="sign as the person whose key this is",
        )
    return signer


def _same(line: Line, by: str, signer: Signer) -> bool:
    return line.text("by") == by or line.text("key_id") == signer.public_key.keyid


def _twice(verb: str, step: str, by: str) -> SignatureRefused:
    return SignatureRefused(
        f"{verb} a step twice",
        on=f"{step} by {by}",
        why="this person, or the same key under another name, has already signed it",
        next_step="if one more signature is needed, another person has to sign",
    )


def _sign(
    run_folder: Path,
    kind: dsse.Kind,
    subjects: Mapping[str, str],
    predicate: Mapping[str, Any],
    signer: Signer,
    ledger: Ledger,
    event: str,
    fields: Mapping[str, object],
) -> Path:
    at = datetime.now(UTC).isoformat(timespec="seconds")
    envelope = dsse.sign(kind, subjects, {**predicate, "at": at, "ledger_head": ledger.head}, signer)
    name = f"{predicate['step']}.{dsse.short(signer.public_key.keyid)}.{kind}.dsse.json"
    path = write_exclusively(run_folder, f"{FOLDER}/{name}", envelope)
    ledger.append(event, **fields, signed_at=at, envelope=path.relative_to(run_folder).as_posix())
    return path


def _sealed(token: ApprovalToken) -> ApprovalToken:
    return replace(token, seal=_seal(token))


def _seal(token: ApprovalToken) -> str:
    text = canonical([token.run, token.step, token.plan_sha256, token.lsn, *token.by])
    return hmac.new(_PROCESS, text, "sha256").hexdigest()
