"""The rules that PostgreSQL itself enforces: NOT NULL, keys, foreign keys, CHECK constraints, labels of enums."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from helpers.engines.conditions import Constant, IsNull, Not, OneOf, Untranslatable, columns_of
from helpers.model.catalog import Table
from helpers.platforms import postgres
from helpers.verify.conditions import Operand, operands_of_types, read
from helpers.verify.data_quality.rules.rule import Breaks, NotChecked, Reference, Rule, Test, Unique


def declared(cursor: Any, tables: Sequence[Table]) -> Iterator[Rule]:
    """Every rule that the catalog has of the tables; one that no other engine can check says so.

    Args:
        cursor: of psycopg2, in the snapshot that is verified.
        tables: as the catalog has them.
    """
    by_name = {str(table): table for table in tables}
    for rule in _as_written(cursor, tables):
        why = _why_not(rule, by_name)
        yield replace(rule, test=NotChecked(why)) if why else rule


def _why_not(rule: Rule, tables: Mapping[str, Table]) -> str:
    """Why what moves of the tables cannot keep a rule that the source keeps; empty where it can."""
    sides = [(tables[rule.table], rule.columns)]
    if isinstance(rule.test, Reference) and (other := tables.get(rule.test.table)):
        if other.where:
            return f"not all rows of {other} move"
        sides.append((other, rule.test.columns))
    for table, columns in sides:
        if away := [name for name in columns if name in table.omitted]:
            return f"{', '.join(away)} of {table} does not move"
        changed = [name for name in columns if name in table.masked]
        # Whether a value is there at all, a mask does not change but by making all of them NULL, which no rule forbids then.
        if changed and rule.kind != "not-null":
            return f"{', '.join(changed)} of {table} is masked"
    return ""


def _as_written(cursor: Any, tables: Sequence[Table]) -> Iterator[Rule]:
    by_oid = {table.oid: table for table in tables}
    oids = (list(by_oid),)
    for table in tables:
        yield from _not_null(table)
    for row in postgres.rows(cursor, _KEYS, oids):
        yield _key(by_oid[row["relation"]], row)
    for row in postgres.rows(cursor, _CONSTRAINTS, oids):
        yield _constraint(by_oid[row["relation"]], row)
    for row in postgres.rows(cursor, _DOMAINS, oids):
        yield _domain(by_oid[row["relation"]], row)
    for row in postgres.rows(cursor, _ENUMS, oids):
        yield _labels(by_oid[row["relation"]], row)
    partitions = {heap.oid: table for table in tables for heap in table.heaps if heap.oid != table.oid}
    for row in postgres.rows(cursor, _OF_PARTITIONS, (list(partitions),)):
        yield _partition_rule(partitions[row["relation"]], row)


_KEYS = """
SELECT i.indrelid AS relation, c.relname AS name, i.indisprimary AS is_primary, i.indisvalid AS valid,
       i.indexprs IS NOT NULL AS expressions, i.indisexclusion AS exclusion, pg_get_indexdef(i.indexrelid) AS definition,
       coalesce((to_jsonb(i) ->> 'indnullsnotdistinct')::boolean, false) AS nulls_equal,
       pg_get_expr(i.indpred, i.indrelid) AS predicate,
       (SELECT coalesce(array_agg(a.attname::text ORDER BY k.position), '{}')
        FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, position)
        JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
        WHERE k.position <= i.indnkeyatts) AS columns
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE i.indrelid = ANY (%s::oid[]) AND i.indisunique
ORDER BY i.indrelid, i.indisprimary DESC, c.relname
"""

_CONSTRAINTS = """
SELECT c.conrelid AS relation, c.conname AS name, c.contype::text AS kind, pg_get_constraintdef(c.oid) AS definition,
       pg_get_expr(c.conbin, c.conrelid) AS expression, c.confmatchtype = 'f' AS match_full,
       n.nspname || '.' || r.relname AS referenced,
       coalesce((to_jsonb(c) ->> 'conperiod')::boolean, false) AS period,
       (SELECT coalesce(array_agg(a.attname::text ORDER BY k.position), '{}')
        FROM unnest(c.conkey) WITH ORDINALITY AS k (attnum, position)
        JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.attnum) AS columns,
       (SELECT coalesce(array_agg(a.attname::text ORDER BY k.position), '{}')
        FROM unnest(c.confkey) WITH ORDINALITY AS k (attnum, position)
        JOIN pg_attribute a ON a.attrelid = c.confrelid AND a.attnum = k.attnum) AS referenced_columns
FROM pg_constraint c
LEFT JOIN pg_class r ON r.oid = c.confrelid
LEFT JOIN pg_namespace n ON n.oid = r.relnamespace
WHERE c.conrelid = ANY (%s::oid[]) AND c.contype IN ('c', 'f', 'x', 't')
ORDER BY c.conrelid, c.contype, c.conname
"""

_RESOLVED = """
WITH RECURSIVE resolved AS (
    SELECT a.attrelid, a.attnum, a.attname, a.atttypid AS type
    FROM pg_attribute a WHERE a.attrelid = ANY (%s::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT r.attrelid, r.attnum, r.attname, t.typbasetype
    FROM resolved r JOIN pg_type t ON t.oid = r.type WHERE t.typtype = 'd'
)
"""

_DOMAINS = (
    _RESOLVED
    + """
SELECT r.attrelid AS relation, r.attname::text AS column, t.typname || '.' || c.conname AS name,
       pg_get_expr(c.conbin, 0) AS expression, pg_get_constraintdef(c.oid) AS definition
FROM resolved r JOIN pg_type t ON t.oid = r.type JOIN pg_constraint c ON c.contypid = t.oid AND c.contype = 'c'
ORDER BY r.attrelid, r.attnum, c.conname
"""
)

_ENUMS = (
    _RESOLVED
    + """
SELECT r.attrelid AS relation, r.attname::text AS column, t.typname AS type,
       (SELECT coalesce(array_agg(e.enumlabel::text ORDER BY e.enumsortorder), '{}')
        FROM pg_enum e WHERE e.enumtypid = t.oid) AS labels
FROM resolved r JOIN pg_type t ON t.oid = r.type AND t.typtype = 'e'
ORDER BY r.attrelid, r.attnum
"""
)

_OF_PARTITIONS = """
SELECT c.conrelid AS relation, c.conname AS name, c.contype::text AS kind, p.relname AS partition,
       pg_get_constraintdef(c.oid) AS definition
FROM pg_constraint c JOIN pg_class p ON p.oid = c.conrelid
WHERE c.conrelid = ANY (%s::oid[]) AND c.contype IN ('c', 'f', 'x', 'p', 'u') AND c.conparentid = 0 AND c.coninhcount = 0
ORDER BY p.relname, c.conname
"""


def _operands(table: Table) -> dict[str, Operand]:
    return operands_of_types({column.name: column.type for column in table.columns})


def _not_null(table: Table) -> Iterator[Rule]:
    for column in table.columns:
        if column.not_null:
            yield Rule(
                str(table),
                column.name,
                "not-null",
                True,
                (column.name,),
                f"{column.name} is never NULL",
                Breaks(IsNull(column.name)),
            )


def _key(table: Table, row: dict[str, Any]) -> Rule:
    columns = tuple(row["columns"])
    listed = ", ".join(columns)
    words = f"{listed} is the primary key" if row["is_primary"] else f"{listed} is unique"
    if row["predicate"]:
        words += f" where {row['predicate']}"
    return Rule(str(table), row["name"], "unique", True, columns, words, _unique(table, row))


def _unique(table: Table, row: dict[str, Any]) -> Test:
    if not row["valid"]:
        return NotChecked("the index is not valid in the source either")
    if row["expressions"] or row["exclusion"]:
        return NotChecked(f"no other engine has {row['definition']}")
    if row["predicate"] is None:
        return Unique(row["nulls_equal"])
    try:
        return Unique(row["nulls_equal"], read(row["predicate"], _operands(table)))
    except Untranslatable as why:
        return NotChecked(f"no other engine has {why}")


def _constraint(table: Table, row: dict[str, Any]) -> Rule:
    columns = tuple(row["columns"])
    if row["kind"] == "c":
        return _check(table, row["name"], columns, row["expression"], row["definition"])
    if row["kind"] == "f":
        other = f"{row['referenced']} ({', '.join(row['referenced_columns'])})"
        test: Test = Reference(row["referenced"], tuple(row["referenced_columns"]), row["match_full"])
        if row["period"]:
            test = NotChecked("no other engine has keys over periods")
        words = f"{', '.join(columns)} is NULL or one of {other}"
        return Rule(str(table), row["name"], "foreign-key", True, columns, words, test)
    what = "an exclusion constraint" if row["kind"] == "x" else "a constraint trigger"
    return Rule(
        str(table), row["name"], "check", True, columns, row["definition"], NotChecked(f"no other engine has {what}")
    )


def _check(
    table: Table,
    name: str,
    columns: tuple[str, ...],
    expression: str,
    definition: str,
    *,
    value: str | None = None,
) -> Rule:
    test: Test
    try:
        condition = read(expression, _operands(table), value=value)
        # A domain's expression says VALUE, which stands for nothing in a query.
        test = Breaks(Not(condition), expression if value is None else None)
        columns = columns_of(condition)
    except Untranslatable as why:
        test = NotChecked(f"no other engine has {why}")
    return Rule(str(table), name, "check", True, columns, definition, test)


def _domain(table: Table, row: dict[str, Any]) -> Rule:
    column = row["column"]
    return _check(
        table, f"{column}.{row['name']}", (column,), row["expression"], f"{column}: {row['definition']}", value=column
    )


def _labels(table: Table, row: dict[str, Any]) -> Rule:
    column, labels = row["column"], row["labels"]
    test: Test = NotChecked("the type has no labels")
    if labels:
        test = Breaks(Not(OneOf(column, tuple(Constant(label, "text") for label in labels))))
    words = f"{column} is one of the {len(labels)} labels of {row['type']}"
    return Rule(str(table), column, "accepted-values", True, (column,), words, test)


def _partition_rule(table: Table, row: dict[str, Any]) -> Rule:
    return Rule(
        str(table),
        f"{row['partition']}.{row['name']}",
        {"f": "foreign-key", "p": "unique", "u": "unique"}.get(row["kind"], "check"),  # type: ignore[arg-type]
        True,
        (),
        f"{row['definition']} in {row['partition']}",
        NotChecked("it is declared for one partition alone, and the target has no partitions"),
    )
