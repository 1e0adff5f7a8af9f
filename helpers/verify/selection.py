"""Which rows are compared: a condition in PostgreSQL's SQL, a watermark, a sample by segments; the same rows on every side."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from helpers.engines.columns import ComparedColumn, Segments
from helpers.engines.conditions import Both, Condition, Untranslatable, columns_of
from helpers.engines.duck_dialect import SQL
from helpers.engines.where import write
from helpers.errors import UsageError
from helpers.model.catalog import Table
from helpers.platforms.postgres import identifier, literal
from helpers.verify.conditions import operands_as_staged, read

SAMPLE_SEGMENTS = 997
"""A sample takes some of so many segments; a prime, so that keys which are multiples of one number still spread."""

SMALLEST_SAMPLED = 10_000
"""Rows of a table below which a sample is the whole table."""

DEFAULT_SAMPLE = 0.01


@dataclass(frozen=True)
class Selection:
    """What an operator asked for; empty compares every row.

    Attributes:
        where: a condition in PostgreSQL's SQL.
        since: a watermark, "column=value"; tables without that column are compared whole.
        sample: the share of rows, between 0 and 1.
    """

    where: str | None = None
    since: str | None = None
    sample: float | None = None


@dataclass(frozen=True)
class Chosen:
    """A selection for one table.

    Attributes:
        condition: on its rows; None for all.
        sample: the segments of a sample; None where it is none.
        words: the same for people.
        columns: names of those that it asks about.
    """

    condition: Condition | None = None
    sample: Segments | None = None
    words: str = ""
    columns: tuple[str, ...] = ()


def choose(selection: Selection, table: Table, columns: Sequence[ComparedColumn], rows: int, seed: str) -> Chosen:
    """The rows of `table` that `selection` means.

    Args:
        columns: as they are compared.
        rows: about how many the table has.
        seed: equal seeds choose equal samples.

    Raises:
        UsageError: a condition or watermark that cannot be meant for this table.
    """
    parts: list[Condition] = []
    words: list[str] = []
    sample = None
    if selection.where is not None:
        parts.append(understood(selection.where, "--where", table, columns))
        words.append(f"rows with {selection.where}")
    if selection.since is not None:
        name, _, value = selection.since.partition("=")
        if not name or not value:
            raise _unusable(
                "--since", selection.since, "it is not COLUMN=VALUE", "for example --since updated_at=2026-11-01"
            )
        if any(column.name == name for column in columns):
            parts.append(understood(f"{identifier(name)} >= {literal(value)}", "--since", table, columns))
            words.append(f"rows with {name} from {value} on (not those where it is NULL)")
    asked = {name for part in parts for name in columns_of(part)}
    if selection.sample is not None and not 0 < selection.sample <= 1:
        raise _unusable("--sample", str(selection.sample), "it is no share of the rows", "for example --sample 0.01")
    if selection.sample is not None and rows >= SMALLEST_SAMPLED:
        count = max(1, math.ceil(selection.sample * SAMPLE_SEGMENTS))
        if count < SAMPLE_SEGMENTS:
            numbers = sorted(random.Random(f"{seed} {table}").sample(range(SAMPLE_SEGMENTS), count))  # noqa: S311 - reproducible
            sample = Segments(SAMPLE_SEGMENTS, tuple(numbers))
            names = {column.name for column in columns}
            asked |= set(table.key) if table.key and set(table.key) <= names else names
            words.append(f"a sample of {count} of {SAMPLE_SEGMENTS} segments")
    condition = Both(tuple(parts)) if parts else None
    return Chosen(condition, sample, " and ".join(words), tuple(sorted(asked)))


def understood(condition: str, option: str, table: Table, columns: Sequence[ComparedColumn]) -> Condition:
    """A condition as it means the same in every engine.

    Args:
        option: by which it was given, for the error.
        columns: of the table, as they are compared.

    Raises:
        UsageError: it cannot be meant for this table, or does not mean the same in every engine.
    """
    try:
        found = read(condition, operands_as_staged(columns, table), table=table)
        write(found, {column.name: SQL.operand(column) for column in columns}, SQL)
        return found
    except RecursionError:
        raise _unusable(option, condition, "it is nested too deeply", "write a shorter condition") from None
    except Untranslatable as error:
        why = str(error) if error.instead else f"{error} need not mean the same in every engine"
        instead = error.instead or "use columns, constants, comparisons, AND, OR, NOT, IN, BETWEEN and IS NULL"
        raise _unusable(option, condition, why, instead) from None


def confidence(rows: int) -> str:
    """What an equal sample of so many rows says of all rows: the rule of three
    (https://en.wikipedia.org/wiki/Rule_of_three_(statistics)), if differing rows fall into the sample like any other.

    Args:
        rows: of the sample, at least one.
    """
    share = min(1.0, 3 / rows)
    return f"with 95% confidence fewer than {share:.4%} of all rows differ, if those that differ are spread like the others"


def _unusable(option: str, text: str, why: str, next_step: str) -> UsageError:
    return UsageError("choose the rows to compare", on=f"{option} {text}", why=why, next_step=next_step)
