"""Counts the values that would change on their way, before anything moves.

One scan a table answers every question about every column. Only where a value is refused does a second query fetch up to
three examples, and never the value itself where that is what is too long.
"""

from __future__ import annotations

from collections.abc import Mapping as MappingType
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Literal

import psycopg2

from helpers import limits as limiting
from helpers import policies as deciding
from helpers import types
from helpers.catalog import Column, Table
from helpers.errors import SourceRefused
from helpers.limits import Limit, Server
from helpers.platforms.postgres import identifier, literal
from helpers.policies import Chosen, check_policies
from helpers.settings import Policy
from helpers.types import Mapping

Verdict = Literal["exact", "re-encoded", "refused"]

EXAMPLES = 3
SHOWN = 100
"""Characters of a value, and of each part of its key, that an example shows."""

SELECTED = 1664
"""The most columns that PostgreSQL selects at once (https://www.postgresql.org/docs/18/limits.html)."""


@dataclass(frozen=True)
class Example:
    """One value that is refused.

    Attributes:
        row: the key's columns as text; without a key, where the row lies ("ctid").
        value: as PostgreSQL prints it, cut after 100 characters; None where it is too long to be fetched.
        bytes: how long such a value is.
    """

    row: dict[str, str]
    value: str | None
    bytes: int | None = None

    def __str__(self) -> str:
        at = ", ".join(f"{name}={text}" for name, text in self.row.items()) or "a row without a key"
        return f"{at}: {self.value}" if self.bytes is None else f"{at}: {self.bytes:,} bytes"


@dataclass(frozen=True)
class Field:
    """One column of the staged file and of the target.

    Attributes:
        flag_of: for a flag column: the column whose original text it keeps; `{c}` in its mapping is that column.
    """

    name: str
    mapping: Mapping
    not_null: bool
    comment: str | None
    flag_of: str | None = None


@dataclass(frozen=True)
class ColumnCensus:
    """What one column holds, and how it will travel.

    Attributes:
        refusals: reason → how many values it concerns; empty unless the verdict is "refused".
        policy: the policy of migration.toml that applies here.
        touched: values that the policy made travel in another way.
        examples: reason → up to three of the values that are refused.
        information: what → how many values keep it only because they travel as text.
        flag: the flag column that the policy adds.
    """

    column: Column
    verdict: Verdict
    mapping: Mapping
    refusals: dict[str, int] = field(default_factory=dict)
    policy: str | None = None
    touched: int = 0
    examples: dict[str, tuple[Example, ...]] = field(default_factory=dict)
    information: dict[str, int] = field(default_factory=dict)
    flag: Field | None = None

    @property
    def fields(self) -> tuple[Field, ...]:
        """The column as it is staged, and its flag column where a policy adds one."""
        not_null = self.column.not_null and self.policy != "null+flag"
        own = Field(self.column.name, self.mapping, not_null, self.column.comment)
        return (own, self.flag) if self.flag else (own,)


@dataclass(frozen=True)
class TableCensus:
    """Every row of one table, counted once."""

    table: Table
    rows: int
    columns: tuple[ColumnCensus, ...]
    refusals: tuple[str, ...] = ()
    """Why the table as a whole cannot be moved."""

    @property
    def fields(self) -> tuple[Field, ...]:
        """The columns of the staged file and of the target, in their order."""
        return tuple(f for column in self.columns for f in column.fields)

    @property
    def refused(self) -> tuple[str, ...]:
        """One sentence for each thing that stands in the way."""
        columns = (
            f"{self.table}.{c.column.name} ({c.column.type.sql}): {f'{count:,} × ' if count else ''}{reason}"
            + (f" (for example {'; '.join(str(e) for e in c.examples[reason])})" if c.examples.get(reason) else "")
            for c in self.columns
            for reason, count in c.refusals.items()
        )
        return (*self.refusals, *columns)


@dataclass(frozen=True)
class _Asked:
    """One column's part of the scan."""

    column: Column
    policy: Chosen | None
    unknown: str | None
    limits: tuple[Limit, ...]
    measured: bool
    information: dict[str, str]

    @property
    def aggregates(self) -> list[str]:
        counted = [limit.condition for limit in self.limits] + list(self.information.values())
        asked = [f"count(*) FILTER (WHERE {condition})" for condition in counted]
        asked += limiting.MEASURES if self.measured else ()
        asked += ["count({c})"] if self.unknown else []
        return [sql.format(c=identifier(self.column.name)) for sql in asked]


def take_census(cursor: Any, table: Table, policies: MappingType[str, Policy]) -> TableCensus:
    """Scans `table` once, in the cursor's snapshot.

    Args:
        cursor: a psycopg2 cursor.
        table: from the catalog of the same snapshot.
        policies: "schema.table.column", "schema.table.*" or a type's name → policy, from `migration.toml`.

    Raises:
        SettingsError: a policy that cannot be meant for the column it names.
        SourceRefused: values in the server's encoding that UTF-8 has no character for.
    """
    connection = cursor.connection
    server = Server(connection.get_parameter_status("server_encoding") or "UTF8", connection.server_version)
    try:
        return _take_census(cursor, table, policies, server)
    except psycopg2.errors.InsufficientPrivilege as error:
        raise SourceRefused(
            "read every row",
            on=str(table),
            why=str(error).splitlines()[0],
            next_step="grant SELECT on it, and BYPASSRLS where row-level security hides rows, to the role of the profile",
        ) from None


def _take_census(cursor: Any, table: Table, policies: MappingType[str, Policy], server: Server) -> TableCensus:
    unknown = _unknown(cursor, table)
    asked = [_ask(table, column, unknown.get(column.name), policies, server) for column in table.columns]
    rows, answers = _scan(cursor, table, asked)
    columns = []
    taken = [column.name for column in table.columns]
    for question, answer in zip(asked, answers, strict=True):
        column = _judge(cursor, table, question, answer, rows, taken)
        taken += [column.flag.name] if column.flag else []
        columns.append(column)
    census = TableCensus(table, rows, tuple(columns), _of_table(table))
    if len(census.fields) > SELECTED:
        why = f"{table}: {len(census.fields):,} columns with the flag columns, and PostgreSQL selects {SELECTED:,} at once"
        return replace(census, refusals=(*census.refusals, why))
    return census


def _of_table(table: Table) -> tuple[str, ...]:
    foreign = tuple(f"{table}: the partition {h.schema}.{h.name} is a foreign table" for h in table.heaps if h.foreign)
    nothing = () if table.columns else (f"{table}: it has no columns, and no target can hold rows without any",)
    return (*foreign, *nothing)


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


def _ask(
    table: Table, column: Column, unknown: str | None, policies: MappingType[str, Policy], server: Server
) -> _Asked:
    policy = deciding.chosen(table, column, policies)
    as_text = policy is not None and policy.constant is None
    own = limiting.limits(column.type, server)
    # What the policy "text" touches is what the column's own type would have refused.
    both = (*own, *(limit for limit in limiting.limits(column.type, server, as_text=True) if limit not in own))
    measured = column.type.name == "numeric" and column.type.kind == "b" and not types.fits_declared(column.type)
    information = {} if unknown else limiting.information(column.type, server)
    return _Asked(column, policy, unknown, both if as_text else own, measured and not as_text, information)


def _scan(cursor: Any, table: Table, asked: list[_Asked]) -> tuple[int, list[list[Decimal | None]]]:
    # One array: a SELECT has fewer columns than a wide table has questions. Compiling them would cost more than it saves.
    everything = ", ".join(["count(*)", *(sql for question in asked for sql in question.aggregates)])
    try:
        cursor.execute("SET LOCAL jit = off")
        cursor.execute(f"SELECT ARRAY[{everything}]::numeric[] FROM {table.sql}")
    except (psycopg2.errors.UntranslatableCharacter, psycopg2.errors.CharacterNotInRepertoire) as error:
        raise SourceRefused(
            "count the values",
            on=str(table),
            why=f"a text has no form in UTF-8: {error}",
            next_step="correct it in the source; the server's log names the bytes",
        ) from None
    rows, *answers = cursor.fetchone()[0]
    found = iter(answers)
    return int(rows), [[next(found) for _ in question.aggregates] for question in asked]


def _judge(
    cursor: Any, table: Table, asked: _Asked, answer: list[Decimal | None], rows: int, taken: list[str]
) -> ColumnCensus:
    column, policy = asked.column, asked.policy
    counts = dict(zip((*asked.limits, *asked.information), (int(n or 0) for n in answer), strict=False))
    information = {reason: counts[reason] for reason in asked.information if counts[reason]}
    found = {limit: counts[limit] for limit in asked.limits}
    if policy is not None and policy.constant is None:
        return _judge_as_text(cursor, table, asked, found, information, int(answer[-1] or 0) if asked.unknown else 0)
    if asked.unknown:
        key = asked.unknown if asked.unknown == column.type.name else f"{table}.{column.name}"
        why = (
            f"a type without a mapping, {asked.unknown} "
            f'(policies."{key}" = "text" lets it through as PostgreSQL prints it)'
        )
        return ColumnCensus(column, "refused", types.as_text(), {why: rows}, str(policy) if policy else None)
    scale = 0
    if asked.measured:
        scale, together = _scale(answer[-2:], policy)
        if together:
            found[together] = _count(cursor, table, column, together)
    mapping = types.mapping(column, scale=scale)
    if policy is None:
        return _verdict(cursor, table, ColumnCensus(column, "exact", mapping, information=information), found)
    return _judge_masked(cursor, table, asked, policy, mapping, found, information, taken, rows)


def _judge_as_text(
    cursor: Any, table: Table, asked: _Asked, found: dict[Limit, int], information: dict[str, int], unknown: int
) -> ColumnCensus:
    touched = unknown or sum(count for limit, count in found.items() if limit.as_text)
    census = ColumnCensus(
        asked.column, "exact", types.as_text(), policy="text", touched=touched, information=information
    )
    binary = asked.column.type.name == "bytea" and asked.column.type.kind == "b"
    left = {limit: n for limit, n in found.items() if not limit.as_text and not (binary and _of_bytes(limit))}
    return _verdict(cursor, table, census, left)


def _of_bytes(limit: Limit) -> bool:
    """Whether a limit concerns bytea itself and not its text, which is twice as long."""
    return limit.length == "octet_length({c})"


def _judge_masked(
    cursor: Any,
    table: Table,
    asked: _Asked,
    policy: Chosen,
    mapping: Mapping,
    found: dict[Limit, int],
    information: dict[str, int],
    taken: list[str],
    rows: int,
) -> ColumnCensus:
    column = asked.column
    condition = " OR ".join(f"({limit.condition})" for limit in found if limit.masked)
    name = deciding.flag_name(column.name, taken)
    comment = f"PostgreSQL's text of what {column.name} held, where no target holds it"
    census = ColumnCensus(
        column,
        "exact",
        deciding.masked(mapping, condition, policy.constant or "NULL"),
        policy=str(policy),
        touched=sum(count for limit, count in found.items() if limit.masked),
        information=information,
        flag=Field(name, deciding.flag(condition), False, comment, flag_of=column.name),
    )
    if column.name in table.key:
        why = f"the policy {policy} on a column of the key, where two rows could become one"
        return replace(census, verdict="refused", refusals={why: rows})
    return _verdict(cursor, table, census, {limit: n for limit, n in found.items() if not limit.masked})


def _verdict(cursor: Any, table: Table, census: ColumnCensus, found: dict[Limit, int]) -> ColumnCensus:
    refused = {limit: count for limit, count in found.items() if count}
    if not refused:
        return replace(census, verdict="re-encoded" if census.mapping.note else "exact")
    return replace(
        census,
        verdict="refused",
        refusals={limit.reason: count for limit, count in refused.items()},
        examples={limit.reason: _examples(cursor, table, census.column, limit) for limit in refused},
    )


def _scale(measured: list[Decimal | None], policy: Chosen | None) -> tuple[int, Limit | None]:
    """Digits after the point for a numeric without a usable limit, and what is too fine where not all fit together."""
    places, largest = int(measured[0] or 0), measured[1] or Decimal(0)
    whole = len(str(int(largest))) if largest >= 1 else 0
    if policy is not None:
        places, whole = max(places, policy.places), max(whole, policy.whole)
    room = min(types.DECIMAL_DIGITS - whole, types.DECIMAL_SCALE)
    if policy is not None and policy.places > room:
        raise deciding.no_room(policy, room)
    if places > room:
        return room, limiting.too_fine(room)
    return max(places, min(types.SPARE_SCALE, room)), None


def _count(cursor: Any, table: Table, column: Column, limit: Limit) -> int:
    cursor.execute(f"SELECT count(*) FROM {table.sql} WHERE {limit.condition.format(c=identifier(column.name))}")
    return int(cursor.fetchone()[0])


def _examples(cursor: Any, table: Table, column: Column, limit: Limit) -> tuple[Example, ...]:
    def cut(sql: str) -> str:
        text = f"left({sql}::text, {SHOWN})"
        if cursor.connection.get_parameter_status("server_encoding") == "SQL_ASCII":
            return f"regexp_replace({text}, '[^\\x01-\\x7f]', '?', 'g')"
        return text

    quoted = identifier(column.name)
    # A key that is itself too long is not fetched either.
    key = [name for name in table.key if name != column.name or limit.length is None]
    where = [(name, cut(identifier(name))) for name in key]
    if not table.key and table.heaps:
        where = [("table", "tableoid::pg_catalog.regclass::text")] if table.partitioned else []
        where += [("ctid", "ctid::text")]
    shown = limit.length.format(c=quoted) if limit.length else cut(quoted)
    named = ", ".join(f"{literal(name)}, {sql}" for name, sql in where)
    cursor.execute(
        f"SELECT json_build_object({named}), {shown} FROM {table.sql} "
        f"WHERE {limit.condition.format(c=quoted)} LIMIT {EXAMPLES}"
    )
    return tuple(
        Example(row, None, int(value)) if limit.length else Example(row, str(value)) for row, value in cursor.fetchall()
    )


__all__ = ["ColumnCensus", "Example", "Field", "TableCensus", "check_policies", "take_census"]
