"""Which rows are compared: a condition in PostgreSQL's SQL, a watermark, a sample by segments; the same rows on every side.

A condition is written once and translated by sqlglot. Only what means the same in every engine is let through: columns of
the table, constants, comparisons and AND, OR, NOT, IN, BETWEEN, IS NULL; a text is compared for equality alone, because
its order belongs to a collation.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from helpers.canonical import Dialect, FormColumn, kind_of
from helpers.canonical import duckdb as canonical_duckdb
from helpers.canonical import postgres as canonical_postgres
from helpers.canonical import snowflake as canonical_snowflake
from helpers.canonical import spark as canonical_spark
from helpers.catalog import Table
from helpers.digests import form_column
from helpers.errors import UsageError
from helpers.platforms import snowflake, spark
from helpers.platforms.postgres import identifier, literal
from helpers.verify.columns import ComparedColumn

SAMPLE_SEGMENTS = 997
"""A sample takes some of so many segments; a prime, so that keys which are multiples of one number still spread."""

SMALLEST_SAMPLED = 10_000
"""Rows of a table below which a sample is the whole table."""

DEFAULT_SAMPLE = 0.01

_ALLOWED = (
    exp.And, exp.Or, exp.Not, exp.Paren, exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE, exp.In, exp.Between, exp.Is,
    exp.Null, exp.Boolean, exp.Literal, exp.Neg, exp.Column, exp.Identifier, exp.Cast, exp.DataType, exp.DataTypeParam,
)  # fmt: skip
_ORDERED = (exp.LT, exp.LTE, exp.GT, exp.GTE, exp.Between)


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
    """A selection for one table: its conditions by dialect, and in words."""

    conditions: Mapping[str, str]
    words: str


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
    words = []
    if selection.where:
        parts.append(_translated(selection.where, "--where", table, columns))
        words.append(f"rows with {selection.where}")
    if selection.since:
        name, _, value = selection.since.partition("=")
        if not value:
            raise _unusable(
                "--since", selection.since, "it is not COLUMN=VALUE", "for example --since updated_at=2026-11-01"
            )
        if any(column.name == name for column in columns):
            parts.append(_translated(f"{identifier(name)} >= {literal(value)}", "--since", table, columns))
            words.append(f"rows with {name} from {value} on (not those where it is NULL)")
    if selection.sample is not None and rows >= SMALLEST_SAMPLED:
        count = max(1, math.ceil(selection.sample * SAMPLE_SEGMENTS))
        if count < SAMPLE_SEGMENTS:
            numbers = sorted(random.Random(f"{seed} {table}").sample(range(SAMPLE_SEGMENTS), count))  # noqa: S311 - reproducible
            parts.append(_sampled(table, columns, numbers))
            words.append(f"a sample of {count} of {SAMPLE_SEGMENTS} segments")
    dialects = ("postgresql", "duckdb", "snowflake", "spark")
    conditions = {name: " AND ".join(f"({part[name]})" for part in parts if name in part) for name in dialects}
    return Chosen(conditions if parts else {}, " and ".join(words))


def confidence(rows: int) -> str:
    """What an equal sample of so many rows says of all rows: the rule of three
    (https://en.wikipedia.org/wiki/Rule_of_three_(statistics)), if differing rows fall into the sample like any other."""
    if not rows:
        return "the sample has no rows and says nothing"
    share = min(1.0, 3 / rows)
    return f"with 95% confidence fewer than {share:.4%} of all rows differ, if those that differ are spread like the others"


def _sampled(table: Table, columns: Sequence[ComparedColumn], numbers: Sequence[int]) -> dict[str, str]:
    def condition(dialect: Dialect, forms: list[FormColumn]) -> str:
        by_name = {column.name: form for column, form in zip(columns, forms, strict=True)}
        key = [by_name[name] for name in table.key if name in by_name] if set(table.key) <= by_name.keys() else []
        return f"{dialect.segment(forms, key, SAMPLE_SEGMENTS)} IN ({', '.join(map(str, numbers))})"

    in_postgres = [
        FormColumn(f"({c.staged.read.format(c=identifier(c.staged.source))})", *kind_of(c.staged.parquet))
        for c in columns
    ]
    in_snowflake = [FormColumn(snowflake.identifier(c.there), *kind_of(c.staged.parquet)) for c in columns]
    in_spark = [FormColumn(spark.identifier(c.there), *kind_of(c.staged.parquet)) for c in columns]
    return {
        "postgresql": condition(canonical_postgres.DIALECT, in_postgres),
        "duckdb": condition(canonical_duckdb.DIALECT, [form_column(c.staged) for c in columns]),
        "snowflake": condition(canonical_snowflake.DIALECT, in_snowflake),
        "spark": condition(canonical_spark.DIALECT, in_spark),
    }


def _translated(condition: str, option: str, table: Table, columns: Sequence[ComparedColumn]) -> dict[str, str]:
    by_name = {column.name: column for column in columns}
    try:
        parsed = sqlglot.parse_one(condition, dialect="postgres")
    except SqlglotError as error:
        raise _unusable(option, condition, str(error).splitlines()[0], "write a condition as after WHERE") from None
    for node in parsed.walk():
        if not isinstance(node, _ALLOWED):
            raise _unusable(
                option, condition, f"{node.sql(dialect='postgres')} need not mean the same in every engine",
                "use columns, constants, comparisons, AND, OR, NOT, IN, BETWEEN and IS NULL",
            )  # fmt: skip
    for column in parsed.find_all(exp.Column):
        name = _folded(column)
        if name not in by_name:
            raise _unusable(
                option, condition, f"{table} has no column {name}",
                f"name one of {', '.join(by_name)}, or only the tables that have it with --tables",
            )  # fmt: skip
        ordered = column.find_ancestor(*_ORDERED)
        if ordered is not None and kind_of(by_name[name].staged.parquet)[0] == "text":
            raise _unusable(
                option,
                condition,
                f"{name} is a text, and the order of texts differs between engines",
                "compare it with = or IN",
            )
    names = {
        "postgresql": lambda c: identifier(c.staged.source),
        "duckdb": lambda c: identifier(c.staged.field),
        "snowflake": lambda c: snowflake.identifier(c.there),
        "spark": lambda c: spark.identifier(c.there),
    }
    written = {"postgresql": "postgres", "duckdb": "duckdb", "snowflake": "snowflake", "spark": "spark"}
    return {
        name: _renamed(parsed, by_name, quoted).sql(dialect=written[name]) for name, quoted in names.items()
    }  # fmt: skip


def _renamed(parsed: exp.Expr, by_name: Mapping[str, ComparedColumn], quoted: Any) -> exp.Expr:
    def rename(node: exp.Expr) -> exp.Expr:
        if isinstance(node, exp.Column):
            column = by_name[_folded(node)]
            # A zone must not come from a session: a constant for an instant is one in UTC everywhere.
            name = quoted(column)
            quote = name[0]
            return exp.column(exp.to_identifier(name[1:-1].replace(quote * 2, quote), quoted=True))
        return node

    return parsed.copy().transform(rename)


def _folded(column: exp.Column) -> str:
    return column.name if column.this.quoted else column.name.lower()


def _unusable(option: str, text: str, why: str, next_step: str) -> UsageError:
    return UsageError("choose the rows to compare", on=f"{option} {text}", why=why, next_step=next_step)
