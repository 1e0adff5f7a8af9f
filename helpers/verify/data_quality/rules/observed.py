"""What all rows of the source have in common though nothing declares it: ranges, few values, shares of NULL.

Such a rule is an expectation. It holds for every row of the snapshot, exactly, because it was read from all of them;
PostgreSQL's statistics only say where to look.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from helpers.engines.conditions import Compare, Constant, Either, Not, OneOf
from helpers.engines.held import Form, form_of
from helpers.engines.postgres.quality import holdable
from helpers.model.catalog import Column, Table
from helpers.platforms.postgres import identifier, literal
from helpers.verify.data_quality.rules.rule import Breaks, NullShare, Rule

FEW = 50
"""At most so many different values make a list of accepted ones."""

LONGEST = 200
"""Characters of such a value."""

PROBED_ROWS = 10_000
MANY = 1_000
"""A text column with more values than `FEW` in its first rows, or than this by statistics, is not counted."""

PER_QUERY = 400
"""Columns of one query: PostgreSQL takes 1,664 expressions
(https://www.postgresql.org/docs/current/limits.html)."""

GROUPED = 31
"""Columns that its GROUPING takes (https://www.postgresql.org/docs/current/functions-aggregate.html)."""

SHOWN = 5


def observed(cursor: Any, tables: Sequence[Table]) -> Iterator[Rule]:
    """What the rows of each table have in common; nothing for an empty one.

    Args:
        cursor: of psycopg2, in the snapshot that is verified.
        tables: as the catalog has them.
    """
    cursor.execute("SELECT current_setting('server_encoding')")
    plain = cursor.fetchone()[0] != "SQL_ASCII"
    for table in tables:
        rows = 0
        for columns in chunks(table.columns, PER_QUERY):
            rows, found = _measured(cursor, table, columns)
            yield from found
        # Bytes of no known encoding cannot be told apart by another engine.
        if rows and plain:
            yield from _accepted(cursor, table)


def chunks(columns: Sequence[Column], size: int) -> Iterator[Sequence[Column]]:
    """The columns in runs of at most `size`."""
    for start in range(0, len(columns), size):
        yield columns[start : start + size]


def _measured(cursor: Any, table: Table, columns: Sequence[Column]) -> tuple[int, list[Rule]]:
    """One scan: the share of NULL and the range of each column."""
    asked = [f"count({identifier(column.name)})" for column in columns]
    ranged = [column for column in columns if form_of(column.type) in _RANGED]
    asked += [bound for column in ranged for bound in _bounds(column)]
    cursor.execute(f"SELECT count(*), {', '.join(asked)} FROM {table.relation}")
    rows, *found = cursor.fetchone()
    counts, bounds = found[: len(columns)], found[len(columns) :]
    rules = [
        _share(table, column, rows - count, rows)
        for column, count in zip(columns, counts, strict=True)
        if rows and not column.not_null
    ]
    for column, low, high in zip(ranged, bounds[::2], bounds[1::2], strict=True):
        if low is not None:
            rules.append(_range(table, column, low, high))
    return rows, rules


_RANGED = frozenset({"number", "float", "date", "timestamp", "timestamptz"})


def _bounds(column: Column) -> tuple[str, str]:
    sql = identifier(column.name)
    # NaN is above every number in PostgreSQL, Snowflake and DuckDB, so a range of floats may end there.
    value = f"CAST({sql} AS float8)" if form_of(column.type) == "float" else sql
    kept = holdable(column)
    only = f" FILTER (WHERE {kept})" if kept else ""
    return f"CAST(min({value}){only} AS text)", f"CAST(max({value}){only} AS text)"


def _share(table: Table, column: Column, nulls: int, rows: int) -> Rule:
    words = f"{column.name} is NULL in {nulls:,} of {rows:,} rows"
    return Rule(str(table), column.name, "null-share", False, (column.name,), words, NullShare(nulls, rows))


def _range(table: Table, column: Column, low: str, high: str) -> Rule:
    form = form_of(column.type)
    outside = Either((Compare(column.name, "<", Constant(low, form)), Compare(column.name, ">", Constant(high, form))))
    words = f"{column.name} is between {_shown(low, form)} and {_shown(high, form)}"
    return Rule(str(table), column.name, "range", False, (column.name,), words, Breaks(outside))


def _shown(bound: str, form: Form) -> str:
    """A numeric without precision is printed with the zeros it was written with."""
    return bound.rstrip("0").rstrip(".") if form == "number" and "." in bound else bound


def _accepted(cursor: Any, table: Table) -> Iterator[Rule]:
    """One scan for all text columns that may have few values."""
    for columns in chunks(_with_few_values(cursor, table), GROUPED):
        names = [f"v{n}" for n in range(len(columns))]
        values = ", ".join(f"{_text(column)} AS {name}" for column, name in zip(columns, names, strict=True))
        which = f"GROUPING({', '.join(names)})"
        cut = ", ".join(f"left({name}, {LONGEST + 1})" for name in names)
        cursor.execute(
            f"SELECT * FROM (SELECT {which} AS which, row_number() OVER (PARTITION BY {which}) AS place, count(*) AS rows, "
            f"{cut} FROM (SELECT {values} FROM {table.relation}) AS v "
            f"GROUP BY GROUPING SETS ({', '.join(f'({name})' for name in names)})) AS g WHERE place <= {FEW + 2}"
        )
        groups = cursor.fetchall()
        for n, column in enumerate(columns):
            # The bit of a column is 0 where the row groups by it, the first column's the highest.
            mask = (1 << len(columns)) - 1 - (1 << (len(columns) - 1 - n))
            counted = {row[3 + n]: row[2] for row in groups if row[0] == mask and row[3 + n] is not None}
            if _are_few(counted):
                yield _one_of(table, column, sorted(counted))


def _are_few(counted: Mapping[str, int]) -> bool:
    """Whether values are a list to choose from, and not names of the rows: each stands twice on average."""
    return (
        0 < len(counted) <= FEW
        and 2 * len(counted) <= sum(counted.values())
        and all(len(value) <= LONGEST for value in counted)
    )


def _with_few_values(cursor: Any, table: Table) -> list[Column]:
    """Text columns that may have few values, by their first rows and by statistics where there are any."""
    alone = table.key[0] if len(table.key) == 1 else None
    columns = [c for c in table.columns if form_of(c.type) == "text" and c.type.kind != "e" and c.name != alone]
    cursor.execute(
        "SELECT attname, n_distinct FROM pg_stats WHERE schemaname = %s AND tablename = %s", (table.schema, table.name)
    )
    counts = {name: count if count >= 0 else -count * table.estimated_rows for name, count in cursor.fetchall()}
    found: list[Column] = []
    for some in chunks([column for column in columns if counts.get(column.name, 0) <= MANY], PER_QUERY):
        named = ", ".join(f"{_text(column)} AS v{n}" for n, column in enumerate(some))
        counted = ", ".join(f"count(DISTINCT v{n})" for n in range(len(some)))
        cursor.execute(f"SELECT {counted} FROM (SELECT {named} FROM {table.relation} LIMIT {PROBED_ROWS}) AS v")
        found += [column for column, count in zip(some, cursor.fetchone(), strict=True) if 0 < count <= FEW]
    return found


def _text(column: Column) -> str:
    """By its bytes: a collation may call different texts equal, and no target has it."""
    return f'CAST({identifier(column.name)} AS text) COLLATE "C"'


def _one_of(table: Table, column: Column, values: list[str]) -> Rule:
    accepted = OneOf(column.name, tuple(Constant(value, "text") for value in values))
    shown = ", ".join(literal(value) for value in values[:SHOWN])
    more = f" and {len(values) - SHOWN} more" if len(values) > SHOWN else ""
    words = f"{column.name} is one of {shown}{more}"
    return Rule(str(table), column.name, "accepted-values", False, (column.name,), words, Breaks(Not(accepted)))
