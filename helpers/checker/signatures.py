"""Whether what people signed holds, by the ledger, the envelopes and the public keys alone."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from helpers.checker import dsse
from helpers.checker.ledger_reader import Line
from helpers.checker.public_key import PublicKey
from helpers.checker.strict_json import canonical

FOLDER = "approvals"

Reader = Callable[[str], bytes | None]
"""A file's bytes by its name relative to the run's folder; None where there is none."""


def attestation(
    run: str, step: str, by: str, note: str, elsewhere: object = None
) -> tuple[dict[str, str], dict[str, Any]]:
    """Subjects and predicate of a person's word, but for its time and the ledger's head.

    Args:
        elsewhere: `what` exists instead of the run's own doing, and a `link` to it; None where the word is that a step is done.
    """
    payload = {"run": run, "step": step, "note": note, **({"elsewhere": elsewhere} if elsewhere is not None else {})}
    return {"attestation": dsse.sha256(canonical(payload))}, {**payload, "by": by}


def asked_elsewhere(lines: Sequence[Line], step: str) -> Line | None:
    """The last line that asks for the word that a step exists elsewhere; None where none does."""
    for line in reversed(lines):
        if line.event == "awaiting" and line.text("step") == step and isinstance(line.fields.get("elsewhere"), dict):
            return line
    return None


def awaited(lines: Sequence[Line], step: str) -> dict[str, str] | None:
    """What the step waits with, by its last `awaiting`; None where it never did."""
    for line in reversed(lines):
        if line.event == "awaiting" and line.text("step") == step and line.text("what") == "approval":
            payload = line.fields.get("payload")
            return dict(payload) if isinstance(payload, dict) else None
    return None


def approvals_of(lines: Sequence[Line], payload: Mapping[str, str]) -> Iterator[Line]:
    """The lines that claim an approval of `payload`, unverified."""
    for line in lines:
        bound = (line.text("step"), line.text("plan_sha256"), line.text("lsn"))
        if line.event == "approved" and bound == (payload["step"], payload["plan_sha256"], payload["lsn"]):
            yield line


NO_END = "9999-12-31"


@dataclass(frozen=True)
class FormerKey:
    """A key that is somebody's from one day to another in UTC, both included; an empty `start` is any day before.

    One that ends at `NO_END` is somebody's key of now, which has a first day.
    """

    name: str
    key: PublicKey
    start: str
    end: str


def plain_name(name: str) -> str:
    """What two names share that are one person's but for case and spaces."""
    return "".join(unicodedata.normalize("NFKC", name).casefold().split())


def key_for(
    line: Line, people: Mapping[str, PublicKey], former: Sequence[FormerKey], lines: Sequence[Line]
) -> PublicKey | None:
    """The key that the person of an `approved` or `attested` line had when it was signed; None for a stranger, or too early.

    Args:
        line: it names the person and the key; its own time and the one that was signed must both lie in the key's days.
        people: whose key is whose now.
        former: keys that have days.
        lines: the ledger. A line is as late as the latest before it, so that nobody can write an earlier day.
    """
    by, key_id = line.text("by"), line.text("key_id")
    now = people.get(by)
    dated = [each for each in former if (each.name, each.key.keyid) == (by, key_id)]
    is_now = now is not None and now.keyid == key_id
    if is_now and all(each.end != NO_END for each in dated):
        return now
    days = (line.text("signed_at")[:10], max((x.text("at") for x in lines[: line.n]), default="")[:10])
    for each in dated:
        if all(day and each.start <= day <= each.end for day in days):
            return each.key
    return None if is_now else now


def valid_approvals(
    file: Reader,
    lines: Sequence[Line],
    payload: Mapping[str, str],
    people: Mapping[str, PublicKey],
    former: Sequence[FormerKey] = (),
) -> dict[str, str]:
    """The people whose approvals of `payload` hold, with their keys' identities: one key, one person, one voice."""
    found: dict[str, str] = {}
    for line in approvals_of(lines, payload):
        by = line.text("by")
        key = key_for(line, people, former, lines)
        if (
            key
            and by not in found
            and key.keyid not in found.values()
            and verified(file, payload["run"], line, key, lines)
        ):
            found[by] = key.keyid
    return found


def valid_words_elsewhere(
    file: Reader,
    run: str,
    lines: Sequence[Line],
    step: str,
    people: Mapping[str, PublicKey],
    former: Sequence[FormerKey] = (),
) -> dict[str, str]:
    """The people by whose word, as it was asked for last, a step exists elsewhere, with their keys' identities."""
    asked = asked_elsewhere(lines, step)
    found: dict[str, str] = {}
    for line in lines[asked.n :] if asked else ():
        if line.event != "attested" or line.text("step") != step or "elsewhere" not in line.fields:
            continue
        by, key = line.text("by"), key_for(line, people, former, lines)
        if key and by not in found and key.keyid not in found.values() and verified(file, run, line, key, lines):
            found[by] = key.keyid
    return found


def verified(file: Reader, run: str, line: Line, key: PublicKey, lines: Sequence[Line]) -> bool:
    """Whether `why_not` has nothing to say."""
    return why_not(file, run, line, key, lines) is None


def why_not(file: Reader, run: str, line: Line, key: PublicKey, lines: Sequence[Line]) -> str | None:
    """Why the envelope of an `approved` or `attested` line does not say what the line says; None when it does.

    Args:
        file: reads the run's files.
        run: the run's name.
        line: the claim.
        key: the public key of the person whom it names.
        lines: the ledger, of which the envelope names the head at the time of signing.
    """
    # The name comes from the ledger: only its last part counts, so that it leads nowhere else.
    data = file(f"{FOLDER}/{line.text('envelope').rsplit('/', 1)[-1]}")
    if data is None:
        return "its envelope is missing"
    approves = line.event == "approved"
    try:
        statement = dsse.opened(data, key, "approval" if approves else "attestation")
    except dsse.BadEnvelope as error:
        return str(error)
    step, by = line.text("step"), line.text("by")
    elsewhere = line.fields.get("elsewhere")
    if "elsewhere" in line.fields and not isinstance(elsewhere, dict):
        return "it does not say what exists elsewhere"
    subjects, said = attestation(run, step, by, line.text("note"), elsewhere)
    if approves:
        plan = line.text("plan_sha256")
        subjects, said = (
            {"plan": plan},
            {"run": run, "step": step, "plan_sha256": plan, "lsn": line.text("lsn"), "by": by},
        )
    head = statement.predicate.get("ledger_head")
    # Before form 3 nobody signed a time.
    at = {"at": line.text("signed_at")} if "signed_at" in line.fields else {}
    if statement.subjects != subjects or statement.predicate != {**said, **at, "ledger_head": head}:
        return "what was signed is not what the ledger says"
    if line.text("key_id") != key.keyid:
        return "the ledger names another key than the one that signed"
    place = next((each.n for each in lines[: line.n - 1] if each.digest == head), 0)
    if not place:
        return "when it was signed, the ledger was another one"
    if elsewhere is not None:
        asked = asked_elsewhere(lines[: line.n - 1], step)
        if asked is None or asked.fields["elsewhere"] != elsewhere:
            return "the run did not ask for this word"
        if place < asked.n:
            return "it was signed before the run asked for it"
    return None
