"""Which tables are meant: `--tables` and `--exclude` are globs over `name` or `schema.name`, read alike by every command."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from helpers.errors import UsageError

EXCLUDED = "excluded by --exclude"
"""Why a table is left out; the glob follows."""

LEFT, STAYS = "excluded by tables.exclude", "stays in PostgreSQL by tables.stay"
NOT_INCLUDED = "not chosen: tables.include"
"""How the reasons begin for which the profile leaves a table out; the glob follows."""


def left_by_profile(left_out: Mapping[str, str]) -> dict[str, str]:
    """Those of `left_out` that the profile leaves out."""
    return {name: why for name, why in left_out.items() if why.startswith((LEFT, STAYS, NOT_INCLUDED))}


def left_by_choice(left_out: Mapping[str, str]) -> dict[str, str]:
    """Those of `left_out` that a person decided to leave out, by a command or in the profile."""
    by_command = {name: why for name, why in left_out.items() if why.startswith(EXCLUDED)}
    return by_command | left_by_profile(left_out)


def match(schema: str, name: str, globs: Iterable[str]) -> str | None:
    """The first glob that means a table, or None; a name that itself looks like a glob is meant by its own text."""
    names = (name, f"{schema}.{name}")
    return next((g for g in globs if g in names or any(fnmatchcase(each, g) for each in names)), None)


def how_to_exclude(tables: Iterable[object]) -> str:
    """The words that leave tables out, of a command and of a run, whose notebooks take parameters."""
    names = [str(table) for table in tables]
    of_a_run = f"-p exclude={shlex.quote(json.dumps(names, ensure_ascii=False))}"
    return f"{' '.join(f'--exclude {shlex.quote(name)}' for name in names)} (runbook run: {of_a_run})"


def excluded(known: Iterable[tuple[str, str]], tables: Sequence[str], exclude: Sequence[str]) -> dict[str, str]:
    """Why each table that `--tables` means (without it, all) is left out by `--exclude`, by `schema.name`.

    Args:
        known: schema and name of what there is.
        tables: globs; empty for all.
        exclude: globs.
    """
    found = {}
    for schema, name in known:
        if (not tables or match(schema, name, tables)) and (glob := match(schema, name, exclude)):
            found[f"{schema}.{name}"] = f"{EXCLUDED} {glob}"
    return found


def refuse_unknown(option: str, globs: Iterable[str], known: Sequence[tuple[str, str]], place: str) -> None:
    """Refuses a glob that means nothing: a slip in it must not pass for a choice.

    Args:
        option: by which the globs were given.
        globs: to look for.
        known: schema and name of what there is.
        place: that has them, such as "the source".

    Raises:
        UsageError: no table matches; it names what there is.
    """
    for glob in globs:
        if not any(match(schema, name, [glob]) for schema, name in known):
            there = ", ".join(f"{schema}.{name}" for schema, name in known)
            raise UsageError(
                "find the tables", on=f"{option} {glob}", why="no table matches",
                next_step=f"name one of: {there or f'({place} has no tables)'}",
            )  # fmt: skip


def refuse_nothing_left(exclude: Sequence[str]) -> None:
    """Raises `UsageError`: every table that was meant is excluded."""
    raise UsageError(
        "find the tables", on=" ".join(f"--exclude {glob}" for glob in exclude), why="every table is excluded, and none is left",
        next_step="exclude fewer",
    )  # fmt: skip
