"""Which rows are compared: a condition in PostgreSQL's SQL, a watermark, a sample by segments; the same rows on every side."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from helpers.digests.canonical import Dialect, FormColumn
from helpers.digests.canonical import duckdb as canonical_duckdb
from helpers.engines import row_forms
from helpers.engines.columns import DIALECTS, ComparedColumn
from helpers.engines.delta import dialect as canonical_spark
from helpers.engines.postgres import dialect as canonical_postgres
from helpers.engines.snowflake import dialect as canonical_snowflake
from helpers.errors import UsageError
from helpers.model.catalog import Table
from helpers.platforms.postgres import identifier, literal
from helpers.verify.where import translated

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
        conditions: by dialect; empty for all rows.
        words: the same for people.
        columns: names of those that it asks about.
        sampled: whether it is a sample.
    """

    conditions: Mapping[str, str]
    words: str
    columns: tuple[str, ...] = ()
    sampled: bool = False


def choose(selection: Selection, table: Table, columns: Sequence[ComparedColumn], rows: int, seed: str) -> Chosen:
    """The rows of `table` that `selection` means.

    Args:
        columns: as they are compared.
        rows: about how many the table has.
        seed: equal seeds choose equal samples.

    Raises:
        UsageError: a condition or watermark that cannot be meant for this table.
    """
    parts: list[Mapping[str, str]] = []
    words: list[str] = []
    asked: set[str] = set()
    sampled = False
    if selection.where is not None:
        part, found = translated(selection.where, "--where", table, columns)
        parts.append(part)
        asked |= found
        words.append(f"rows with {selection.where}")
    if selection.since is not None:
        name, _, value = selection.since.partition("=")
        if not name or not value:
            raise _unusable(
                "--since", selection.since, "it is not COLUMN=VALUE", "for example --since updated_at=2026-11-01"
            )
        if any(column.name == name for column in columns):
            part, found = translated(f"{identifier(name)} >= {literal(value)}", "--since", table, columns)
            parts.append(part)
            asked |= found
            words.append(f"rows with {name} from {value} on (not those where it is NULL)")
    if selection.sample is not None and not 0 < selection.sample <= 1:
        raise _unusable("--sample", str(selection.sample), "it is no share of the rows", "for example --sample 0.01")
    if selection.sample is not None and rows >= SMALLEST_SAMPLED:
        count = max(1, math.ceil(selection.sample * SAMPLE_SEGMENTS))
        if count < SAMPLE_SEGMENTS:
            numbers = sorted(random.Random(f"{seed} {table}").sample(range(SAMPLE_SEGMENTS), count))  # noqa: S311 - reproducible
            key = _key(table, columns)
            parts.append(_of_segments(key, columns, numbers))
            asked |= set(key) or {column.name for column in columns}
            sampled = True
            words.append(f"a sample of {count} of {SAMPLE_SEGMENTS} segments")
    conditions = {name: " AND ".join(f"({part[name]})" for part in parts if name in part) for name in DIALECTS}
    return Chosen(conditions if parts else {}, " and ".join(words), tuple(sorted(asked)), sampled)


def confidence(rows: int) -> str:
    """What an equal sample of so many rows says of all rows: the rule of three
    (https://en.wikipedia.org/wiki/Rule_of_three_(statistics)), if differing rows fall into the sample like any other.

    Args:
        rows: of the sample, at least one.
    """
    share = min(1.0, 3 / rows)
    return f"with 95% confidence fewer than {share:.4%} of all rows differ, if those that differ are spread like the others"


def _key(table: Table, columns: Sequence[ComparedColumn]) -> tuple[str, ...]:
    return table.key if set(table.key) <= {column.name for column in columns} else ()


def _of_segments(key: Sequence[str], columns: Sequence[ComparedColumn], numbers: Sequence[int]) -> dict[str, str]:
    def condition(dialect: Dialect, of: list[FormColumn]) -> str:
        segment = dialect.segment(of, row_forms.of_key(of, columns, key), SAMPLE_SEGMENTS)
        return f"{segment} IN ({', '.join(map(str, numbers))})"

    return {
        "postgresql": condition(canonical_postgres.ANY_ENCODING, row_forms.in_postgres(columns)),
        "postgresql target": condition(canonical_postgres.ANY_ENCODING, row_forms.in_postgres(columns, is_target=True)),
        "duckdb": condition(canonical_duckdb.DIALECT, row_forms.staged(columns)),
        "snowflake": condition(canonical_snowflake.DIALECT, row_forms.in_snowflake(columns)),
        "spark": condition(canonical_spark.DIALECT, row_forms.in_spark(columns)),
    }


def _unusable(option: str, text: str, why: str, next_step: str) -> UsageError:
    return UsageError("choose the rows to compare", on=f"{option} {text}", why=why, next_step=next_step)
