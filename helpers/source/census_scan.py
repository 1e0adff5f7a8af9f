"""What the census asks of a table's columns, and the scan that answers for all of its rows or for some of its pages.

Every answer is a count or a maximum, so the answers for parts of a table add up to those for the whole.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import psycopg2

from helpers.model import limits as limiting
from helpers.model import policies as deciding
from helpers.model import types
from helpers.model.catalog import Column, Table
from helpers.model.limits import Limit, Server
from helpers.model.policies import Chosen
from helpers.platforms.faults import postgres as faults
from helpers.settings import Policy
from helpers.source.readers import Range

SELECTED = 1664
"""The most columns that PostgreSQL selects at once (https://www.postgresql.org/docs/18/limits.html)."""

SHARED = re.compile(r"\{c\}::text|\b(?:scale|abs)\(\{c\}\)")
"""What several questions about one value look at; PostgreSQL evaluates an expression as often as it is written."""


@dataclass(frozen=True)
class Question:
    """What is asked about one column.

    Attributes:
        unknown: the type without a mapping that the column is of, or is made of.
        limits: counted, and refused.
        measured: whether the digits of a numeric are.
        information: counted, and only reported: what → its condition.
    """

    column: Column
    policy: Chosen | None
    unknown: str | None
    limits: tuple[Limit, ...]
    measured: bool
    information: dict[str, str]

    @property
    def counts(self) -> tuple[str, ...]:
        """The aggregates that count, with `{c}` for the quoted column: of the limits, the information and the unknown type."""
        conditions = (*(limit.condition for limit in self.limits), *self.information.values())
        counted = tuple(f"count(*) FILTER (WHERE {condition})" for condition in conditions)
        return (*counted, "count({c})") if self.unknown else counted

    @property
    def maxima(self) -> tuple[str, ...]:
        """The aggregates that measure."""
        return limiting.MEASURES if self.measured else ()


@dataclass(frozen=True)
class Questions:
    """What is asked about one table."""

    table: Table
    columns: tuple[Question, ...]


@dataclass(frozen=True)
class Answer:
    """What some rows hold in one column, in the order of the question's `counts` and `maxima`."""

    counts: tuple[int, ...]
    maxima: tuple[Decimal | None, ...]

    def __add__(self, other: Answer) -> Answer:
        counts = tuple(a + b for a, b in zip(self.counts, other.counts, strict=True))
        return Answer(counts, tuple(_larger(a, b) for a, b in zip(self.maxima, other.maxima, strict=True)))


@dataclass(frozen=True)
class Answers:
    """What some rows of one table hold."""

    rows: int
    columns: tuple[Answer, ...]

    def __add__(self, other: Answers) -> Answers:
        columns = tuple(a + b for a, b in zip(self.columns, other.columns, strict=True))
        return Answers(self.rows + other.rows, columns)


def ask(cursor: Any, table: Table, policies: Mapping[str, Policy]) -> Questions:
    """What to count of `table`; reads the system tables alone.

    Raises:
        SettingsError: a policy that cannot be meant for the column it names.
    """
    connection = cursor.connection
    server = Server(connection.get_parameter_status("server_encoding") or "UTF8", connection.server_version)
    unknown = _unknown(cursor, table)
    return Questions(table, tuple(_ask(table, c, unknown.get(c.name), policies, server) for c in table.columns))


def scan(cursor: Any, questions: Questions, rows_of: str | None = None) -> Answers:
    """Reads rows of the table once and answers every question about them.

    Args:
        cursor: a psycopg2 cursor.
        rows_of: what follows FROM; without it, the whole table.

    Raises:
        SourceRefused: rows that may not be read or not in time, or a text that UTF-8 has no characters for.
    """
    table = questions.table
    selected, rows = _selection(questions, rows_of or Range(table.sql, where=table.condition).rows())
    with reading(table):
        # Compiling that many expressions would cost more than it saves.
        cursor.execute("SET LOCAL jit = off")
        # One array: a SELECT has fewer columns than a wide table has questions.
        cursor.execute(f"SELECT ARRAY[{', '.join(['count(*)', *selected])}]::numeric[] FROM {rows}")
    count, *values = cursor.fetchone()[0]
    found = iter(values)
    return Answers(int(count), tuple(_answer(question, found) for question in questions.columns))


@contextmanager
def reading(table: Table) -> Iterator[None]:
    """Says in one sentence why rows of `table` could not be read."""
    try:
        yield
    except psycopg2.Error as error:
        raise faults.told(error, "count the values", on=str(table)) from None


def _unknown(cursor: Any, table: Table) -> dict[str, str]:
    """Columns of a type without a mapping, or made of one: column → the type's name.

    Arrays, composites and ranges are looked into; the system tables alone are read.
    """
    found = {c.name: c.type.name for c in table.columns if not types.known(c.type)}
    made = [c.name for c in table.columns if c.type.kind in ("c", "r", "m") or c.type.element is not None]
    if not made:
        return found
    cursor.execute(
        """
        WITH RECURSIVE inside AS (
            SELECT a.attname AS name, a.atttypid AS type
            FROM pg_catalog.pg_attribute a WHERE a.attrelid = %s AND a.attname::text = ANY (%s) AND a.attnum > 0
            UNION
            SELECT i.name, p.type FROM inside i
            JOIN pg_catalog.pg_type t ON t.oid = i.type
            CROSS JOIN LATERAL (
                SELECT t.typbasetype AS type WHERE t.typtype = 'd'
                UNION ALL SELECT t.typelem WHERE t.typcategory = 'A'
                UNION ALL SELECT a.atttypid FROM pg_catalog.pg_attribute a
                    WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
                UNION ALL SELECT r.rngsubtype FROM pg_catalog.pg_range r WHERE r.rngtypid = t.oid OR r.rngmultitypid = t.oid
            ) p
        )
        SELECT i.name::text, t.typname::text FROM inside i JOIN pg_catalog.pg_type t ON t.oid = i.type
        WHERE t.typtype = 'b' AND t.typcategory <> 'A'
        """,
        [table.oid, made],
    )
    return found | {name: kind for name, kind in cursor.fetchall() if not types.known_name(kind)}


def _ask(table: Table, column: Column, unknown: str | None, policies: Mapping[str, Policy], server: Server) -> Question:
    policy = deciding.chosen(table, column, policies)
    as_text = policy is not None and policy.constant is None
    own = limiting.limits(column.type, server)
    # What the policy "text" touches is what the column's own type would have refused.
    both = (*own, *(limit for limit in limiting.limits(column.type, server, as_text=True) if limit not in own))
    measured = column.type.name == "numeric" and column.type.kind == "b" and not types.fits_declared(column.type)
    information = {} if unknown else limiting.information(column.type, server)
    return Question(column, policy, unknown, both if as_text else own, measured and not as_text, information)


def _selection(questions: Questions, rows: str) -> tuple[list[str], str]:
    """The aggregates, and what they are selected from: where they share expressions, a subquery that evaluates those once.

    `OFFSET 0` keeps PostgreSQL from folding the subquery into the aggregates again.
    """
    plain, shared, inner = [], [], []
    asked = [(n, q, (*q.counts, *q.maxima)) for n, q in enumerate(questions.columns) if q.counts or q.maxima]
    room = SELECTED - len(asked)
    for number, question, templates in asked:
        quoted = question.column.sql
        plain += [template.format(c=quoted) for template in templates]
        inner.append(f"{quoted} AS c{number}")
        often = Counter(expression for template in templates for expression in SHARED.findall(template))
        names = {e: f"s{number}_{n}" for n, (e, count) in enumerate(often.items()) if count > 1}
        if len(names) > room:
            names = {}
        room -= len(names)
        inner += [f"{expression.format(c=quoted)} AS {name}" for expression, name in names.items()]
        shared += [_once(template, names).format(c=f"c{number}") for template in templates]
    if len(inner) == len(asked):
        return plain, rows
    return shared, f"(SELECT {', '.join(inner)} FROM {rows} OFFSET 0) s"


def _once(template: str, names: Mapping[str, str]) -> str:
    return SHARED.sub(lambda found: names.get(found[0], found[0]), template)


def _answer(question: Question, values: Iterator[Decimal | None]) -> Answer:
    counts = tuple(int(next(values) or 0) for _ in question.counts)
    return Answer(counts, tuple(next(values) for _ in question.maxima))


def _larger(one: Decimal | None, other: Decimal | None) -> Decimal | None:
    return max((value for value in (one, other) if value is not None), default=None)
