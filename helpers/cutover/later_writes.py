"""Random writes to a target, as its pipeline would make them after a cutover, and a journal of what they must have produced.

The journal is computed here, not read back, so that it can tell whether a rollback lost a write.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from helpers.model.catalog import Table
from helpers.model.manifest import Manifest, StagedColumn
from helpers.platforms import postgres, snowflake
from helpers.settings import Settings, Source
from helpers.source.catalog import read_catalog

ROWS_TO_CHOOSE_FROM = 2000

Row = dict[str, str | None]
"""By column, as PostgreSQL prints it."""


@dataclass
class Journal:
    """What the writes did.

    Attributes:
        counts: by kind.
        rows: by table and key, the row as it must be now; None where it must be gone.
    """

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("insert", "update", "delete"), 0))
    rows: dict[tuple[str, tuple[str, ...]], Row | None] = field(default_factory=dict)

    def lost(self, source: Source, manifest: Manifest) -> tuple[str, ...]:
        """The writes that the source does not have, a sentence each."""
        found = []
        with closing(postgres.connect(source)) as connection, connection.cursor() as cursor:
            for (name, key), row in self.rows.items():
                table = next(t for t in manifest.tables if str(t) == name)
                columns = [c for c in table.columns if c.flag_of is None]
                there = _row(cursor, table.schema_, table.name, columns, dict(zip(table.key, key, strict=True)))
                if (row is None) != (there is None):
                    found.append(f"{name} {key}: the row {'is' if there else 'is not'} there")
                elif row is not None and there is not None:
                    found += [
                        f"{name} {key}: {c.name} is {there[c.source]!r}, written was {row[c.source]!r}"
                        for c in columns
                        if not _same(c, row[c.source], there[c.source])
                    ]
        return tuple(found)


def write(settings: Settings, manifest: Manifest, *, seed: int, count: int) -> Journal:
    """Inserts, updates and deletes rows of the target; source and target must be equal before.

    Args:
        manifest: of what the target was loaded from.
        seed: equal seeds write alike to equal rows.
        count: of writes.

    Returns:
        The journal.
    """
    chance, journal = random.Random(seed), Journal()  # noqa: S311 - repeatable, not secret
    tables = [_Table(settings, manifest, table) for table in _keyed(settings, manifest)]
    tables = [table for table in tables if table.rows]
    with snowflake.connect(settings.snowflake) as session:
        for number in range(count if tables else 0):
            table = chance.choice(tables)
            kind = chance.choice(["insert", "update", "update", "delete"])
            sql = getattr(table, kind)(chance, number, journal)
            if sql:
                session.execute(sql, doing=f"{kind} a row of {table.name}")
                journal.counts[kind] += 1
    return journal


class _Table:
    """One table with a key: some of its rows as they are now, and how each kind of write is said."""

    def __init__(self, settings: Settings, manifest: Manifest, table: Table) -> None:
        staged = manifest.table(table.schema, table.name)
        assert staged
        target = settings.snowflake
        self.name = f"{table.schema}.{table.name}"
        self._there = snowflake.identifier(target.database, *staged.there(target.schema_))
        self._key = table.key
        self._columns = {c.source: c for c in staged.columns if c.flag_of is None and c.policy is None}
        self._plain = len(self._columns) == len(staged.columns)
        uniques = [key.columns for key in table.keys] or [table.key]
        with closing(postgres.connect(settings.source)) as connection, connection.cursor() as cursor:
            cursor.execute(_CONSTRAINED, {"table": table.oid})
            bound, referred = {name for (name,) in cursor.fetchall()}, _is_referred_to(cursor, table.oid)
            keys = ", ".join(postgres.identifier(name) for name in table.key)
            cursor.execute(
                f"SELECT {', '.join(_text(c) for c in self._columns.values())} "
                f"FROM {postgres.identifier(table.schema, table.name)} ORDER BY {keys} LIMIT {ROWS_TO_CHOOSE_FROM}"
            )
            rows = [dict(zip(self._columns, row, strict=True)) for row in cursor.fetchall()]
        self.rows: dict[tuple[str, ...], Row] = {tuple(str(row[name]) for name in table.key): row for row in rows}
        self._deletable = not referred
        held = bound | {name for columns in uniques for name in columns}
        self._writable = [n for n, c in self._columns.items() if n not in held and _other(c, "1", 1) is not None]
        self._renewed = [
            next((n for n in columns if n not in bound and n in self._columns), None) for columns in uniques
        ]

    def insert(self, chance: random.Random, number: int, journal: Journal) -> str:
        """A copy of a row with other values where no two may be alike."""
        key = chance.choice(list(self.rows))
        row = dict(self.rows[key])
        for name in dict.fromkeys(self._renewed):
            value = row.get(name) if name else None
            renewed = _renewed(self._columns[name], value, number) if name and value is not None else None
            if name is None or (renewed is None and value is not None) or not self._plain:
                return ""
            row[name] = renewed if value is not None else None
        own = tuple(str(row[name]) for name in self._key)
        if own in self.rows or (self.name, own) in journal.rows:
            return ""
        names = ", ".join(snowflake.identifier(name) for name in self._columns)
        values = ", ".join(
            _literal(self._columns[n], row[n]) if row[n] != self.rows[key][n] else snowflake.identifier(n)
            for n in self._columns
        )
        sql = f"INSERT INTO {self._there} ({names}) SELECT {values} FROM {self._there} WHERE {self._is(key)}"
        self._note(own, row, journal)
        return sql

    def update(self, chance: random.Random, number: int, journal: Journal) -> str:
        """One column of a row gets another value."""
        if not self._writable:
            return ""
        key = chance.choice(list(self.rows))
        name = chance.choice(self._writable)
        column, before = self._columns[name], self.rows[key][name]
        after = (
            None
            if before is not None and not column.not_null and chance.random() < 0.2
            else _other(column, before, number)
        )
        if after == before:
            return ""
        sql = f"UPDATE {self._there} SET {snowflake.identifier(name)} = {_literal(column, after)} WHERE {self._is(key)}"
        self._note(key, {**self.rows[key], name: after}, journal)
        return sql

    def delete(self, chance: random.Random, number: int, journal: Journal) -> str:
        """A row goes."""
        if not self._deletable or len(self.rows) < 2:
            return ""
        key = chance.choice(list(self.rows))
        del self.rows[key]
        journal.rows[self.name, key] = None
        return f"DELETE FROM {self._there} WHERE {self._is(key)}"

    def _note(self, key: tuple[str, ...], row: Row, journal: Journal) -> None:
        self.rows[key] = row
        journal.rows[self.name, key] = row

    def _is(self, key: tuple[str, ...]) -> str:
        pairs = zip(self._key, key, strict=True)
        return " AND ".join(f"{snowflake.identifier(n)} = {_literal(self._columns[n], value)}" for n, value in pairs)


_CONSTRAINED = """
SELECT a.attname FROM pg_constraint c
JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = ANY (c.conkey)
WHERE c.conrelid = %(table)s AND c.contype IN ('f', 'c')
UNION SELECT attname FROM pg_attribute WHERE attrelid = %(table)s AND attgenerated <> ''
UNION SELECT a.attname FROM pg_attrdef f
JOIN pg_attribute g ON g.attrelid = f.adrelid AND g.attnum = f.adnum AND g.attgenerated <> ''
JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid AND d.refobjid = f.adrelid
JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
WHERE f.adrelid = %(table)s
"""
"""Columns of foreign keys and checks, and the generated ones with what they are computed from: a pipeline that changes one of
these changes others with it."""


def _keyed(settings: Settings, manifest: Manifest) -> list[Table]:
    with postgres.reading(settings.source) as cursor:
        tables = read_catalog(cursor, schemas=settings.source.schemas, described=settings.tables).tables
    whole = [table for table in tables if not (table.where or table.omitted or table.masked)]
    return [table for table in whole if table.key and manifest.table(table.schema, table.name)]


def _is_referred_to(cursor: Any, oid: int) -> bool:
    exists = "SELECT EXISTS (SELECT FROM pg_constraint WHERE contype = 'f' AND confrelid = %s)"
    return bool(postgres.value(cursor, exists, (oid,)))


def _row(cursor: Any, schema: str, table: str, columns: list[StagedColumn], key: Mapping[str, str]) -> Row | None:
    types = {c.source: c.postgres for c in columns}
    where = " AND ".join(f"{postgres.identifier(name)} = %s::{types[name]}" for name in key)
    cursor.execute(
        f"SELECT {', '.join(_text(c).replace('%', '%%') for c in columns)} FROM {postgres.identifier(schema, table)} WHERE {where}",
        tuple(key.values()),
    )
    found = cursor.fetchone()
    return dict(zip((c.source for c in columns), found, strict=True)) if found else None


def _text(column: StagedColumn) -> str:
    return column.text.format(c=postgres.identifier(column.source))


def _literal(column: StagedColumn, value: str | None) -> str:
    return "NULL" if value is None else f"CAST({snowflake.literal(value)} AS {column.snowflake})"


def _other(column: StagedColumn, value: str | None, number: int) -> str | None:
    """Another value of the column's type, of a few types; None for the rest."""
    match column.postgres.partition("(")[0]:
        case "smallint" | "integer" | "bigint":
            return str(int(value) - 1 if value and int(value) > 0 else number % 100)
        case "numeric":
            return str(Decimal(value) - 1 if value else Decimal(number))
        case "text":
            return f"{value or ''}·{number}"
        case "boolean":
            return "false" if value == "true" else "true"
        case _:
            return None


def _renewed(column: StagedColumn, value: str, number: int) -> str | None:
    """A value that no other row has."""
    match column.postgres:
        case "integer" | "bigint":
            return str(1_500_000_000 + number)
        case "text":
            return f"{value}+{number}"
        case "uuid":
            return str(UUID(int=number + 1))
        case "date":
            return str(date(2190, 1, 1) + timedelta(days=number))
        case _:
            return None


def _same(column: StagedColumn, one: str | None, other: str | None) -> bool:
    if one is None or other is None or column.comparison != "number":
        return one == other
    return Decimal(one) == Decimal(other)
