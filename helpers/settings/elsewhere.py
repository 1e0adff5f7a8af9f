"""Steps of the checklist that somebody else has done or does: infrastructure by another tool, a load balancer by hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Annotated

from helpers import checklist
from helpers.settings.section import Address, Section, example

_ABOUT: Mapping[str, str] = {"s10-snowflake": "snowflake", "s10-kafka": "kafka"}
"""The section that a profile needs before a glob is taken to speak of a step: nothing exists elsewhere of what nobody has."""


class Elsewhere(Section):
    """What stands in the place of a step, or of every step that a glob over their ids or their phases names. The run asks for a
    person's signed word on it: `runbook attest`."""

    what: Annotated[str, example("infrastructure by Pulumi, stack prod", min_length=3, max_length=300)]
    """What exists, and by whose doing."""
    link: Annotated[
        Address, example("https://git.example.com/platform/infra", pattern=r"^[a-z][a-z0-9+.-]*:\S+$", max_length=500)
    ]
    """Where somebody who reads the evidence finds it."""


def by_step(written: Mapping[str, Elsewhere], sections: frozenset[str]) -> dict[str, Elsewhere]:
    """What exists elsewhere, by the step on which a person gives the word; a step's own key before globs, the first glob before others.

    Args:
        written: the profile's section.
        sections: the names of the sections that the profile has.
    """
    found = {}
    for step, phase in checklist.may_be_elsewhere().items():
        globs = (each for glob, each in written.items() if _names(glob, step, phase))
        glob = next(globs, None) if _ABOUT.get(step) in (None, *sections) else None
        if (each := written.get(step, glob)) is not None:
            found[step] = each
    return found


def problems(written: Mapping[str, Elsewhere]) -> Iterator[str]:
    """The keys that name no step which may exist elsewhere, in one sentence."""
    allowed = checklist.may_be_elsewhere()
    wrong = [key for key in written if not any(_names(key, step, phase) for step, phase in allowed.items())]
    if wrong:
        yield (
            f"elsewhere has {', '.join(wrong)}: what proves the data and what people approve is always the run's own; "
            f"these may exist elsewhere: {', '.join(allowed)}"
        )


def _names(key: str, step: str, phase: str) -> bool:
    return fnmatchcase(step, key) or fnmatchcase(phase, key)
