"""The migration checklist as data: every box of docs/migration-checklist.md is one step.

The steps stand in `checklist.toml` in the document's order. Status, seal and notebooks read them from here, so that no box is
passed over.
"""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

FILE = Path(__file__).with_name("checklist.toml")

PHASES = (
    "00_assessment",
    "10_infrastructure",
    "20_pipeline_configuration",
    "30_data_migration",
    "40_testing_validation",
    "50_cutover",
    "60_post_migration",
    "90_rollback",
)
"""In the order of a run; each is also its notebook's name."""
ROLLBACK = PHASES[-1]
"""The way back: nobody needs it to be through."""

Option = Literal["A", "B", "C"]
Kind = Literal["check", "action", "word"]
Word = Literal["training", "announcement", "document", "window"]
Approval = Literal["cutover", "destructive", "other"]


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Part(_Row):
    """What belongs to a box without having one of its own: a check before it, a gate behind it, a second target.

    Attributes:
        id: as the ledger names it.
        text: what it does.
        cell: of the phase's notebook.
        approval: the class of approval that it needs before it acts; None where it needs none.
        undoes: id of the step or part whose effect it takes back.
        elsewhere: id of the step or part by a person's signed word on which it may exist elsewhere; None where it may not: what
            proves the data, and what people approve, is this run's own.
    """

    id: str
    text: str
    cell: str
    approval: Approval | None = None
    undoes: str | None = None
    elsewhere: str | None = None


class Step(_Row):
    """One box of the document, or one row of its timeline.

    Attributes:
        id: stable; ledgers of former runs name it.
        text: the box's line exactly as in the document.
        section: the headings it stands under.
        phase: one of `PHASES`.
        options: the migration paths that have it.
        kind: a check answers yes or no, an action changes something, a word is a person's.
        word: what the person's word is about; nothing else may rest on one.
        under: id of the box that this one is nested in.
        minutes: planned.
        minutes_from: "timeline" where the document has them, otherwise the reason for the estimate.
        cell: of the phase's notebook, that performs it.
        approval: the class of approval that it needs before it acts; None where it needs none.
        elsewhere: as a part's.
        part: what else must be done before the box is.
    """

    id: str
    text: str
    section: tuple[str, ...]
    phase: str
    options: tuple[Option, ...]
    kind: Kind
    word: Word | None = None
    under: str | None = None
    minutes: int
    minutes_from: str
    cell: str
    approval: Approval | None = None
    elsewhere: str | None = None
    part: tuple[Part, ...] = ()

    @property
    def title(self) -> str:
        """The text for a narrow table: without its stars, up to the colon of a box, the phase of a timeline's row."""
        if self.text.startswith("|"):
            return self.text.strip("| ").split("|")[0].strip(" *")
        return self.text.replace("**", "").split(":")[0]

    @property
    def ids(self) -> tuple[str, ...]:
        """What the ledger must hold as done before the box is: the step and its parts."""
        return self.id, *(part.id for part in self.part)


class _File(_Row):
    step: tuple[Step, ...]


@cache
def steps() -> tuple[Step, ...]:
    """Every step, in the document's order."""
    return _File.model_validate(tomllib.loads(FILE.read_text(encoding="utf-8"))).step


def steps_for_option(option: str) -> tuple[Step, ...]:
    """The steps of a migration path, phase by phase; within a phase in the document's order."""
    own = (step for step in steps() if option in step.options)
    return tuple(sorted(own, key=lambda s: PHASES.index(s.phase)))


def title(name: str) -> str:
    """What a person calls a step or a part; the name itself where it is neither."""
    titles = {
        step.id: f"Milestone of {step.title}" if step.text.startswith("|") else step.title for step in steps()
    } | {part.id: part.text for step in steps() for part in step.part}
    return titles.get(name, name)


def approval_of(name: str) -> Approval | None:
    """The class of approval that a step, or a part of one, needs; None where it needs none, or is no step."""
    return next((each.approval for each in _all() if each.id == name), None)


def elsewhere_by(name: str) -> str | None:
    """By the word on which step a step, or a part of one, may exist elsewhere; None where it may not, or is no step."""
    return next((each.elsewhere for each in _all() if each.id == name), None)


def may_be_elsewhere() -> dict[str, str]:
    """The steps and parts that a person may sign to exist elsewhere, each with its phase."""
    ids = {name: step.phase for step in steps() for name in step.ids}
    return {each.id: ids[each.id] for each in _all() if each.elsewhere == each.id}


def _all() -> list[Step | Part]:
    return [*steps(), *(part for step in steps() for part in step.part)]


def words() -> frozenset[str]:
    """Ids of the steps that a person's word is enough for."""
    return frozenset(step.id for step in steps() if step.kind == "word")


def undone_by() -> dict[str, str]:
    """By step, the one of the rollback that takes its effect back."""
    return {part.undoes: part.id for step in steps() for part in step.part if part.undoes}
