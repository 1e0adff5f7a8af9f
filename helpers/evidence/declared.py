"""The checklist of a migration path, as a seal declares it and as the rule of a run's verdict reads it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from helpers import checklist
from helpers.checker.rule import DeclaredStep


def declared_steps(option: str, asked: Callable[[str, str], int] = lambda step, kind: 1) -> Iterator[DeclaredStep]:
    """The checklist's steps for an option, each box and what belongs to it.

    Args:
        option: the migration path.
        asked: how many people have to approve a step of a class; nothing but the check of approvals needs it.
    """

    def needed(each: checklist.Step | checklist.Part) -> int:
        return asked(each.id, each.approval) if each.approval else 0

    for step in checklist.steps_for_option(option or "A"):
        yield DeclaredStep(
            step.id, step.phase, step.cell, needed(step), step.kind == "word", step.approval, elsewhere=step.elsewhere
        )
        for part in step.part:
            yield DeclaredStep(
                part.id, step.phase, part.cell, needed(part), approval=part.approval, undoes=part.undoes,
                elsewhere=part.elsewhere, box=step.id,
            )  # fmt: skip
