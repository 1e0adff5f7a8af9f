"""What a seal covers, as `manifest.json`, and the words for how much of the checklist it proves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict

from helpers.checklist import ROLLBACK
from helpers.evidence.dsse import canonical
from helpers.evidence.ledger_reader import Line

MANIFEST = "manifest.json"
SEAL = "seal.dsse.json"
PREVIOUS = "previous-seal.dsse.json"
"""The previous run's seal as it was: with it, the chain is checked where that run is not at hand."""

SealVerdict = Literal["SEALED", "PARTIAL", "REHEARSAL"]

VERSION = 2
"""Of the manifest's form, and of the rule by which its verdict follows from the ledger."""

_STATES = frozenset({"step-started", "step-done", "step-skipped", "step-planned", "step-failed", "awaiting"})


@dataclass(frozen=True)
class DeclaredStep:
    """One box of the checklist, as the seal compares it with the ledger.

    Attributes:
        step: its id.
        phase: the notebook that performs it, without the suffix.
        cell: the id, or its beginning, of the cells that perform it; the step's own when None.
        approvals: how many people have to approve it; 0 where nobody has to.
        word: whether a person's word is enough for it.
    """

    step: str
    phase: str
    cell: str | None = None
    approvals: int = 0
    word: bool = False


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class SealedFile(_Part):
    """One file as it was."""

    path: str
    size: int
    sha256: str


class SealedLedger(_Part):
    """The ledger but for its last line, which says `sealed`. `lines` are the digests of its lines."""

    size: int
    sha256: str
    lines: list[str]


class SealedStep(_Part):
    """A declared step; see `DeclaredStep`."""

    step: str
    phase: str
    cell: str | None
    approvals: int
    word: bool


class SealedPerson(_Part):
    """Whose key a name stands for, by the settings at the time of sealing."""

    key_id: str
    public_key: str


class PreviousSeal(_Part):
    """The run before, by the SHA-256 of its seal."""

    run: str
    seal_sha256: str


class SealManifest(_Part):
    """The whole of `manifest.json`."""

    version: Literal[2] = 2
    run: str
    verdict: SealVerdict
    why: list[str]
    files: list[SealedFile]
    ledger: SealedLedger
    declared: list[SealedStep]
    people: dict[str, SealedPerson]
    previous: PreviousSeal | None

    def to_bytes(self) -> bytes:
        """The file's bytes; equal manifests have equal bytes."""
        return canonical(self.model_dump()) + b"\n"


def states(lines: Iterable[Line], declared: Iterable[DeclaredStep | SealedStep]) -> dict[str, Line]:
    """The line that tells how each step stands: the last that acted, or of a step that was only rehearsed the last of that.

    The checker's own reading of the rule in docs/evidence.md; `view` has it for everybody else, and a test compares the two. A
    person's word counts only where it is enough.
    """
    words = {each.step for each in declared if each.word}
    rehearsals, acted, found = set(), set(), {}
    for line in lines:
        place, step = (line.text("phase"), line.text("attempt")), line.text("step")
        parameters = line.fields.get("parameters")
        if line.event == "attempt-started" and isinstance(parameters, dict) and parameters.get("apply") is False:
            rehearsals.add(place)
        if line.event not in _STATES and not (line.event == "attested" and step in words):
            continue
        rehearsed = line.event == "step-planned" or (line.event == "step-failed" and place in rehearsals)
        if rehearsed and step in acted:
            continue
        found[step] = line
        if not rehearsed:
            acted.add(step)
    return found


def verdict_of(lines: Sequence[Line], declared: Iterable[DeclaredStep | SealedStep]) -> tuple[SealVerdict, list[str]]:
    """How much of the checklist a ledger proves.

    Returns:
        REHEARSAL when a step was only planned, PARTIAL when the phase of a declared step did not run, else SEALED; and
        the reasons, each a sentence. A rollback that was only planned is as it should be.
    """
    declared = list(declared)
    way_back = {each.step for each in declared if each.phase == ROLLBACK}
    only_planned = [step for step, line in states(lines, declared).items() if line.event == "step-planned"]
    planned = [step for step in only_planned if step not in way_back]
    ran = {line.text("phase") for line in lines if line.event == "attempt-started"}
    not_run = dict.fromkeys(each.phase for each in declared if each.phase not in ran)
    why = [f"{step} was planned and not applied" for step in planned]
    why += [f"the phase {phase} did not run" for phase in not_run]
    verdict: SealVerdict = "REHEARSAL" if planned else "PARTIAL" if why else "SEALED"
    if way_back & set(only_planned):
        why.append("the rollback was rehearsed, and not taken")
    return verdict, why
