"""What the SQL of a view, a function or a check constraint would be in a target, as far as sqlglot can translate it.

Nobody has run a draft: two dialects that both take a statement need not mean the same by it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

DIALECTS = {"snowflake": "snowflake", "databricks": "databricks"}
"""Target → sqlglot's name of its SQL."""

VIEWS = ("view", "materialized view")

Place = Callable[[str, str, str], "tuple[str, str]"]
"""From a target, and a schema and name of the source: the schema and name there."""


@dataclass(frozen=True)
class Draft:
    """What a target would be given; `sql` is empty where there is no draft, for the reason in `why`.

    Attributes:
        why: also what to look at in a draft: functions and types that sqlglot hands on as it found them.
    """

    target: str
    sql: str
    why: str = ""


def draft_of(row: Mapping[str, Any], target: str, place: Place) -> Draft:
    """The draft of one object for one target.

    Args:
        row: its `kind`, `schema`, `name`, `language` and `body`, the SQL; of a check constraint its `table` and `constraint`, too.
        target: one of `DIALECTS`.
        place: where what it names is there.
    """
    if row["kind"] == "trigger":
        return Draft(target, "", "no target has triggers: what writes the table has to do its work")
    if row["kind"] == "aggregate":
        return Draft(target, "", "an aggregate: it has to be written anew")
    if row["kind"] in ("function", "procedure") and row["language"] != "sql":
        return Draft(target, "", f"a {row['kind']} in {row['language']}: it has to be written anew")
    if not row["body"]:
        return Draft(target, "", f"a {row['kind']} whose body is not told as text: it has to be written anew")
    try:
        statements = [tree for tree in sqlglot.parse(row["body"], read="postgres") if tree is not None]
        if any(isinstance(tree, exp.Command) for tree in statements):
            return Draft(target, "", "sqlglot does not parse all of it")
        unknown = sorted({name for tree in statements for name in _taken_over(tree)})
        for tree in statements:
            _move_tables(tree, target, place)
        statements = [tree.transform(_in_list) for tree in statements]
        if row["kind"] == "check constraint":
            return _check(row, statements[0], target, place, unknown)
        body = ";\n".join(
            tree.sql(dialect=DIALECTS[target], identify=True, pretty=True, unsupported_level=sqlglot.ErrorLevel.RAISE)
            for tree in statements
        )
    except (SqlglotError, ValueError, RecursionError) as error:
        return Draft(target, "", f"sqlglot cannot translate it: {' '.join(str(error).split())[:300]}")
    said = (
        f"look at {', '.join(unknown)}: which the target may not know, and which were taken over as they are"
        if unknown
        else ""
    )
    if row["kind"] in VIEWS:
        schema, name = place(target, row["schema"], row["name"])
        quoted = exp.table_(name, db=schema, quoted=True).sql(dialect=DIALECTS[target])
        # Both targets have materialized views of their own kind, with limits of their own: a plain view means the same.
        return Draft(target, f"CREATE VIEW {quoted} AS\n{body};", said)
    return Draft(target, f"{body};", f"the body alone: its signature is to be written{'; ' + said if said else ''}")


def _check(row: Mapping[str, Any], condition: exp.Expr, target: str, place: Place, unknown: Sequence[str]) -> Draft:
    """A row for which the condition is NULL passes in PostgreSQL, and not in Databricks
    (https://docs.databricks.com/en/sql/language-manual/sql-ref-syntax-ddl-alter-table-add-constraint.html).
    """
    if target == "snowflake":
        return Draft(target, "", "not every Snowflake has check constraints, and no load makes one")
    schema, name = place(target, row["schema"], row["table"])
    table = exp.table_(name, db=schema, quoted=True).sql(dialect=DIALECTS[target])
    constraint = exp.to_identifier(row["constraint"], quoted=True).sql(dialect=DIALECTS[target])
    passes = exp.func("COALESCE", condition, exp.true())
    sql = passes.sql(dialect=DIALECTS[target], identify=True, unsupported_level=sqlglot.ErrorLevel.RAISE)
    said = f"; look at {', '.join(unknown)}, which the target may not know" if unknown else ""
    return Draft(
        target, f"ALTER TABLE {table} ADD CONSTRAINT {constraint} CHECK ({sql});",
        f"Databricks keeps to it: it refuses what is there and what comes later{said}",
    )  # fmt: skip


def _taken_over(tree: exp.Expr) -> Iterator[str]:
    """Functions that sqlglot does not know, and types of PostgreSQL's own or of its users, which it writes as it found them."""
    yield from (call.name for call in tree.find_all(exp.Anonymous))
    for kind in tree.find_all(exp.DataType):
        if kind.this in _OF_POSTGRESQL:
            yield f"the type {kind.sql(dialect='postgres')}"


_OF_POSTGRESQL = {
    exp.DataType.Type[name]
    for name in ("USERDEFINED", "XML", "MONEY", "HSTORE", "INET", "BIT", "INTERVAL", "INT4RANGE", "INT8RANGE", "NUMRANGE", "TSRANGE",
                 "TSTZRANGE", "DATERANGE", "OBJECT_IDENTIFIER")
    if name in exp.DataType.Type.__members__
}  # fmt: skip


def _in_list(node: exp.Expr) -> exp.Expr:
    """PostgreSQL prints IN (…) as = ANY (ARRAY […]) and NOT IN as <> ALL, of which the targets know neither."""
    listed: exp.Expr | None = None
    if isinstance(node, exp.EQ) and isinstance(node.expression, exp.Any):
        listed = node.expression.this
    elif (
        isinstance(node, exp.NEQ)
        and isinstance(node.expression, exp.Anonymous)
        and node.expression.name.upper() == "ALL"
    ):
        listed = node.expression.expressions[0]
    elif isinstance(node, exp.NEQ) and isinstance(node.expression, exp.All):
        listed = node.expression.this
    while isinstance(listed, exp.Paren | exp.Cast):
        listed = listed.this
    if not isinstance(listed, exp.Array) or not listed.expressions:
        return node
    among = exp.In(this=node.this, expressions=listed.expressions)
    return among if isinstance(node, exp.EQ) else exp.Paren(this=exp.Not(this=among))


def _move_tables(tree: exp.Expr, target: str, place: Place) -> None:
    local = {cte.alias for cte in tree.find_all(exp.CTE)}
    for table in tree.find_all(exp.Table):
        if isinstance(table.this, exp.Identifier) and (table.db or table.name not in local):
            schema, name = place(target, table.db or "public", table.name)
            table.set("db", exp.to_identifier(schema, quoted=True))
            table.set("this", exp.to_identifier(name, quoted=True))
