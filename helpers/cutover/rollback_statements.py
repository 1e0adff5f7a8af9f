"""The SQL by which rows come back to the source: typed by the source's columns, compared as the verification compares them.

Every value travels as PostgreSQL's text and is cast by the server to the column's type, so that no driver
converts a number or a time on the way.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any, Protocol

from psycopg2.extras import execute_values

from helpers.model.catalog import Table
from helpers.model.manifest import StagedColumn
from helpers.platforms.postgres import identifier, value

ROWS_PER_STATEMENT = 1000


class Change(Protocol):
    """What of a row is written and expected; see `rollback.RowChange`."""

    @property
    def key(self) -> Mapping[str, str | None]: ...

    @property
    def new(self) -> Mapping[str, str | None]: ...

    @property
    def old(self) -> Mapping[str, str | None]: ...


def run(cursor: Any, kind: str, table: Table, columns: Sequence[StagedColumn], rows: Sequence[Change]) -> int:
    """Inserts, updates or deletes rows; returns how many were as expected and are now changed."""
    done, same_key = 0, _same_key(cursor, table)
    for names, some in _alike(kind, table, columns, rows, _generated(cursor, table)):
        sql, values = _STATEMENTS[kind](table, columns, names, some, same_key)
        for start in range(0, len(values), ROWS_PER_STATEMENT):
            batch = values[start : start + ROWS_PER_STATEMENT]
            execute_values(cursor, sql, batch, template=_template(len(batch[0])), page_size=len(batch))
            done += cursor.rowcount
    return done


def first_that_differs(cursor: Any, table: Table, columns: Sequence[StagedColumn], rows: Sequence[Change]) -> str:
    """The first row that does not hold what was written to it, in words; empty where all do."""
    own, same_key = _own(columns), _same_key(cursor, table)
    for names, some in _alike("update", table, columns, rows, set()):
        for start in range(0, len(some), ROWS_PER_STATEMENT):
            batch = some[start : start + ROWS_PER_STATEMENT]
            values = [[*_key_values(table, row), *(row.new[name] for name in names)] for row in batch]
            keys, news = _names("k", len(table.key)), _names("n", len(names))
            differs = [_is_other(own[name], f"v.{new}") for name, new in zip(names, news, strict=True)]
            sql = _with_values(
                f"SELECT jsonb_build_array({', '.join(f'v.{k}' for k in keys)})::text, "
                f"ARRAY[{', '.join(differs)}]::bool[], ARRAY[{', '.join(_text(own[name]) for name in names)}]::text[] "
                f"FROM ({_VALUES}) AS v ({', '.join([*keys, *news])}) JOIN {_name(table)} AS t ON {same_key} "
                f"WHERE {' OR '.join(differs)} LIMIT 1"
            )
            found = execute_values(
                cursor, sql, values, template=_template(len(values[0])), page_size=len(batch), fetch=True
            )
            if found:
                key, which, held = found[0]
                place = which.index(True)
                row = next(r for r in batch if json.dumps(_key_values(table, r)) == json.dumps(json.loads(key)))
                return f"key {key}: {names[place]} = {row.new[names[place]]!r} would be {held[place]!r} there"
    return ""


def beside(
    cursor: Any, table: Table, columns: Sequence[StagedColumn], rows: Sequence[Change]
) -> dict[tuple[str | None, ...], dict[str, str | None]]:
    """What rows hold in the columns that are not written to them, by key: it has to be the same before and after."""
    own = _own(columns)
    keys, same_key = _names("k", len(table.key)), _same_key(cursor, table)
    found: dict[tuple[str | None, ...], dict[str, str | None]] = {}
    for start in range(0, len(rows), ROWS_PER_STATEMENT):
        batch = rows[start : start + ROWS_PER_STATEMENT]
        values = [_key_values(table, row) for row in batch]
        sql = _with_values(
            f"SELECT ARRAY[{', '.join(f'v.{k}' for k in keys)}]::text[], "
            f"ARRAY[{', '.join(_text(column) for column in own.values())}]::text[] "
            f"FROM ({_VALUES}) AS v ({', '.join(keys)}) JOIN {_name(table)} AS t ON {same_key}"
        )
        written = {tuple(_key_values(table, row)): row.new for row in batch}
        for key, held in execute_values(
            cursor, sql, values, template=_template(len(keys)), page_size=len(batch), fetch=True
        ):
            new = written[tuple(key)]
            found[tuple(key)] = {n: value for n, value in zip(own, held, strict=True) if n not in new}
    return found


def triggers(cursor: Any, table: Table) -> list[str]:
    """Triggers of a table that would write too, a sentence each."""
    cursor.execute(_TRIGGERS, (table.oid, table.oid))
    found = [name for (name,) in cursor.fetchall()]
    return (
        [f"{table} has the triggers {', '.join(found)}, which would write too: disable them for this"] if found else []
    )


def parents_first(cursor: Any, oids: Sequence[int]) -> list[int]:
    """Tables in an order in which those that others refer to come first; of a circle, in any."""
    cursor.execute("SELECT conrelid, confrelid FROM pg_constraint WHERE contype = 'f' AND conparentid = 0")
    known = set(oids)
    graph: dict[int, set[int]] = {oid: set() for oid in oids}
    for child, parent in cursor.fetchall():
        if child in known and parent in known and child != parent:
            graph[child].add(parent)
    try:
        return list(TopologicalSorter(graph).static_order())
    except CycleError:
        return list(oids)


def count(cursor: Any, name: str) -> int | None:
    """Rows of the table `schema.name` as a report names it; None where the source has no such table."""
    cursor.execute(
        "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname || '.' || c.relname = %s AND c.relkind IN ('r', 'p')",
        (name,),
    )
    found = cursor.fetchall()
    if len(found) != 1:
        return None
    return int(value(cursor, f"SELECT count(*) FROM {identifier(*found[0])}"))


def advance_sequences(cursor: Any, table: Table) -> None:
    """Moves the sequences of a table's defaults behind its largest values, so that the next row gets a number of its own."""
    cursor.execute(_SEQUENCES, {"table": table.oid})
    for column, schema, sequence in cursor.fetchall():
        name = identifier(schema, sequence)
        cursor.execute(
            f"SELECT setval(%s::regclass, m.largest) FROM (SELECT max({identifier(column)})::int8 AS largest FROM {_name(table)}) AS m, "
            f"{name} AS s WHERE m.largest > s.last_value",
            (name,),
        )


_TRIGGERS = """
SELECT tgname FROM pg_trigger
WHERE NOT tgisinternal AND tgenabled IN ('O', 'A')
  AND tgrelid IN (SELECT relid FROM pg_partition_tree(%s) UNION SELECT %s::oid)
GROUP BY tgname ORDER BY tgname
"""

_SEQUENCES = """
SELECT a.attname, n.nspname, s.relname
FROM pg_attribute a
JOIN pg_depend d ON (d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = a.attrelid
                     AND d.refobjsubid = a.attnum AND d.deptype IN ('a', 'i'))
JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S' JOIN pg_namespace n ON n.oid = s.relnamespace
WHERE a.attrelid = %(table)s
UNION
SELECT a.attname, n.nspname, s.relname
FROM pg_attribute a JOIN pg_attrdef f ON f.adrelid = a.attrelid AND f.adnum = a.attnum
JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid AND d.refclassid = 'pg_class'::regclass
JOIN pg_class s ON s.oid = d.refobjid AND s.relkind = 'S' JOIN pg_namespace n ON n.oid = s.relnamespace
WHERE a.attrelid = %(table)s
"""
"""Of identity and serial columns, which own their sequence, and of defaults that only call one."""

_VALUES = "<<values>>"


def _delete(
    table: Table, columns: Sequence[StagedColumn], names: Sequence[str], rows: Sequence[Change], same_key: str
) -> tuple[str, list[list[str | None]]]:
    own = _own(columns)
    keys, olds = _names("k", len(table.key)), _names("o", len(names))
    same = [f"{_text(own[name])} IS NOT DISTINCT FROM v.{old}" for name, old in zip(names, olds, strict=True)]
    sql = (
        f"DELETE FROM {_name(table)} AS t USING ({_VALUES}) AS v ({', '.join([*keys, *olds])}) "
        f"WHERE {' AND '.join([same_key, *same])}"
    )
    return _with_values(sql), [[*_key_values(table, row), *(row.old.get(name) for name in names)] for row in rows]


def _update(
    table: Table, columns: Sequence[StagedColumn], names: Sequence[str], rows: Sequence[Change], same_key: str
) -> tuple[str, list[list[str | None]]]:
    own = _own(columns)
    keys, olds, news = _names("k", len(table.key)), _names("o", len(names)), _names("n", len(names))
    same = [f"{_text(own[name])} IS NOT DISTINCT FROM v.{old}" for name, old in zip(names, olds, strict=True)]
    given = [f"{identifier(name)} = v.{new}::{own[name].postgres}" for name, new in zip(names, news, strict=True)]
    sql = (
        f"UPDATE {_name(table)} AS t SET {', '.join(given)} FROM ({_VALUES}) AS v ({', '.join([*keys, *olds, *news])}) "
        f"WHERE {' AND '.join([same_key, *same])}"
    )
    values = [
        [*_key_values(table, r), *(r.old[name] for name in names), *(r.new[name] for name in names)] for r in rows
    ]
    return _with_values(sql), values


def _insert(
    table: Table, columns: Sequence[StagedColumn], names: Sequence[str], rows: Sequence[Change], same_key: str
) -> tuple[str, list[list[str | None]]]:
    own = _own(columns)
    given = [f"v.{name}::{own[column].postgres}" for name, column in zip(_names("n", len(names)), names, strict=True)]
    sql = (
        f"INSERT INTO {_name(table)} ({', '.join(identifier(name) for name in names)}) OVERRIDING SYSTEM VALUE "
        f"SELECT {', '.join(given)} FROM ({_VALUES}) AS v ({', '.join(_names('n', len(names)))})"
    )
    return _with_values(sql), [[row.new.get(name) for name in names] for row in rows]


_STATEMENTS = {"delete": _delete, "update": _update, "insert": _insert}


def _alike(
    kind: str, table: Table, columns: Sequence[StagedColumn], rows: Sequence[Change], generated: set[str]
) -> Iterator[tuple[list[str], list[Change]]]:
    """Rows by the columns that are written or expected; the server computes the generated ones itself."""
    everything = [name for name in _own(columns) if name not in generated]
    groups: dict[tuple[str, ...], list[Change]] = {}
    for row in rows:
        names = [n for n in everything if n in row.new] if kind == "update" else everything
        groups.setdefault(tuple(names), []).append(row)
    for written, some in groups.items():
        if written:
            yield list(written), some


def _generated(cursor: Any, table: Table) -> set[str]:
    cursor.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = %s AND attgenerated <> '' AND NOT attisdropped", (table.oid,)
    )
    return {name for (name,) in cursor.fetchall()}


def _own(columns: Sequence[StagedColumn]) -> dict[str, StagedColumn]:
    return {column.source: column for column in columns if column.flag_of is None}


def _is_other(column: StagedColumn, value: str) -> str:
    held = _text(column)
    match column.comparison:
        case "number":
            return f"({held})::numeric IS DISTINCT FROM {value}::numeric"
        case "float4" | "float8":
            return f"({held})::float8 IS DISTINCT FROM {value}::float8"
        case _:
            return f"{held} IS DISTINCT FROM {value}"


def _text(column: StagedColumn) -> str:
    return column.text.format(c=f"t.{identifier(column.source)}")


def _same_key(cursor: Any, table: Table) -> str:
    """The condition that a row `t` has the key of `v`, by the operators of the key's own index, whatever schema they are in."""
    cursor.execute(_EQUALS, (table.oid,))
    equals = {column: f"OPERATOR({identifier(schema)}.{operator})" for column, schema, operator in cursor.fetchall()}
    types = {column.name: column.type.sql for column in table.columns}
    pairs = zip(table.key, _names("k", len(table.key)), strict=True)
    return " AND ".join(f"t.{identifier(name)} {equals[name]} v.{value}::{types[name]}" for name, value in pairs)


_EQUALS = """
SELECT DISTINCT ON (a.attname) a.attname, n.nspname, o.oprname
FROM pg_index i CROSS JOIN LATERAL unnest(i.indkey::int2[], i.indclass::oid[]) AS k (number, class)
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number JOIN pg_opclass c ON c.oid = k.class
JOIN pg_amop m ON m.amopfamily = c.opcfamily AND m.amoplefttype = c.opcintype AND m.amoprighttype = c.opcintype AND m.amopstrategy = 3
JOIN pg_operator o ON o.oid = m.amopopr JOIN pg_namespace n ON n.oid = o.oprnamespace
WHERE i.indrelid = %s AND i.indisunique
ORDER BY a.attname, i.indisprimary DESC, i.indexrelid
"""
"""Strategy 3 of a B-tree, which every unique index is, is equality
(https://www.postgresql.org/docs/current/xindex.html#XINDEX-STRATEGIES)."""


def _key_values(table: Table, row: Change) -> list[str | None]:
    return [row.key[name] for name in table.key]


def _name(table: Table) -> str:
    return identifier(table.schema, table.name)


def _names(letter: str, count: int) -> list[str]:
    return [f"{letter}{number}" for number in range(count)]


def _template(count: int) -> str:
    return f"({', '.join(['%s::text'] * count)})"


def _with_values(sql: str) -> str:
    """With the place where psycopg2 puts the rows; a per cent sign of a name is none of its."""
    return sql.replace("%", "%%").replace(_VALUES, "VALUES %s")
