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

    def declared(each: checklist.Step | checklist.Part, phase: str, *, word: bool = False) -> DeclaredStep:
        needed = asked(each.id, each.approval) if each.approval else 0
        undoes = each.undoes if isinstance(each, checklist.Part) else None
        return DeclaredStep(each.id, phase, each.cell, needed, word, each.approval, undoes)

    for step in checklist.steps_for_option(option or "A"):
        yield declared(step, step.phase, word=step.kind == "word")
        for part in step.part:
            yield declared(part, step.phase)
