"""Which privileges a statement needs, on which objects: the tables of
https://docs.snowflake.com/en/user-guide/security-access-control-privileges and of each command's page ("Access control requirements").

What is inside a database or a schema needs USAGE on both as well; whoever checks a need asks for that.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlglot import exp

from helpers.local.standin.account import ACCOUNT, OWNERSHIP, Object
from helpers.local.standin.session import Session
from helpers.local.standin.stages import named_stage


@dataclass(frozen=True)
class Need:
    """One privilege of some, on an object; without one named, any is enough.

    Attributes:
        made: whether something of this name is about to be made; what is there already must not be hidden.
    """

    on: Object
    privileges: tuple[str, ...] = ()
    made: bool = False


_ON_TARGET: tuple[tuple[type[exp.Expression], tuple[str, ...]], ...] = (
    (exp.Insert, ("INSERT",)),
    (exp.Copy, ("INSERT",)),
    (exp.Update, ("UPDATE",)),
    (exp.Delete, ("DELETE",)),
    (exp.TruncateTable, ("TRUNCATE",)),
    (exp.Alter, ("OWNERSHIP",)),
    (exp.Comment, ("OWNERSHIP",)),
    (exp.Describe, ()),
)
"""What a statement needs on the table that it is about."""

_OF_A_SCHEMA = ("TABLE", "VIEW", "STAGE", "FILE FORMAT", "SEQUENCE", "FUNCTION", "PROCEDURE", "MASKING POLICY", "ROW ACCESS POLICY", "TAG", "STREAM")  # fmt: skip
"""Kinds whose making needs `CREATE kind` on the schema."""

_COMPUTES = (exp.Query, exp.Insert, exp.Update, exp.Delete, exp.Merge, exp.Copy)
"""What needs a warehouse, where it reads or writes a table (https://docs.snowflake.com/en/user-guide/warehouses-overview)."""


def needs(session: Session, statement: exp.Expression) -> Iterator[Need]:
    """What a statement needs, in the order in which it is asked for; none where nobody needs any.

    Raises:
        ProgrammingError: a name has no schema or database, and the session has none.
    """
    kind = str(statement.args.get("kind") or "").upper()
    if isinstance(statement, exp.Create):
        yield from _of_create(session, statement, kind)
    elif isinstance(statement, exp.Drop):
        for table in statement.args.get("tables") or ():
            yield Need(named(session, kind, table), (OWNERSHIP,))
    elif isinstance(statement, exp.Use):
        if kind in ("DATABASE", "SCHEMA", ""):
            yield Need(named(session, kind or "DATABASE", statement.this), ("USAGE",))
    elif isinstance(statement, exp.Show):
        if (scope := statement.args.get("scope")) is not None and statement.args.get("scope_kind"):
            yield Need(named(session, str(statement.args["scope_kind"]), scope))
    elif isinstance(statement, exp.ListStage):
        yield from _of_stages(session, statement)
    else:
        yield from _of_target(session, statement, kind)
        yield from _of_sources(session, statement)


def computes(statement: exp.Expression) -> bool:
    """Whether a statement needs a warehouse."""
    if isinstance(statement, exp.Create):
        statement = statement.expression
    return isinstance(statement, _COMPUTES) and statement.find(exp.Table) is not None


def named(session: Session, kind: str, table: Any) -> Object:
    """An object by its name in a statement, in upper case where it has no quotes."""
    parts = [_name(part) for part in _parts(table)]
    kind = kind.replace("STORAGE ", "").replace("MATERIALIZED ", "")
    if kind in ("ACCOUNT", ""):
        return ACCOUNT
    if kind in ("DATABASE", "ROLE", "USER", "WAREHOUSE", "INTEGRATION"):
        return kind, parts[-1]
    if kind == "SCHEMA":
        return kind, parts[0] if len(parts) > 1 else session.needed_database(), parts[-1]
    found = session.qualified(table_of(parts))
    return ("TABLE" if kind in ("VIEW", "COLUMN") else kind), *found


def table_of(parts: list[str]) -> exp.Table:
    kinds = zip(("this", "db", "catalog"), reversed(parts), strict=False)
    return exp.Table(**{kind: exp.to_identifier(part, quoted=True) for kind, part in kinds})


def target(statement: exp.Expression) -> exp.Table | None:
    """The table that a statement changes or is about; None for a query."""
    if isinstance(statement, exp.TruncateTable):
        return statement.expressions[0]  # type: ignore[no-any-return]
    about = statement.this if isinstance(statement, (exp.Merge, *(kind for kind, _ in _ON_TARGET))) else None
    about = about.this if isinstance(about, exp.Schema) else about
    return about if isinstance(about, exp.Table) else None


def read(statement: exp.Expression) -> Iterator[exp.Table]:
    """The tables that a statement reads, each as often as it stands there; named queries are none."""
    about = target(statement)
    for table in statement.find_all(exp.Table):
        if table is about or not isinstance(table.this, exp.Identifier):
            continue
        if table.find_ancestor(exp.TableFromRows) is not None or (not table.db and _is_named_query(table)):
            continue
        yield table


def _of_create(session: Session, statement: exp.Create, kind: str) -> Iterator[Need]:
    about = statement.this.this if isinstance(statement.this, exp.Schema) else statement.this
    properties = statement.args.get("properties")
    temporary = bool(properties and properties.find(exp.TemporaryProperty))
    if kind in ("DATABASE", "ROLE", "USER", "WAREHOUSE", "STORAGE INTEGRATION"):
        yield Need(ACCOUNT, (f"CREATE {kind.replace('STORAGE ', '')}",))
        return
    what = named(session, kind, about)
    if kind == "SCHEMA":
        yield Need(("DATABASE", what[1]), ("CREATE SCHEMA",))
    elif kind == "TABLE" and temporary:
        # A temporary table needs no CREATE TABLE, but the ownership of a table of its name
        # (https://docs.snowflake.com/en/release-notes/bcr-bundles/2023_03/bcr-427).
        yield Need(("SCHEMA", *what[1:3]), ("USAGE",))
    elif kind in _OF_A_SCHEMA:
        yield Need(("SCHEMA", *what[1:3]), ("USAGE",))
        yield Need(("SCHEMA", *what[1:3]), (f"CREATE {kind}",))
    if not statement.args.get("exists"):
        yield Need(what, (OWNERSHIP,) if statement.args.get("replace") or temporary else (), made=True)
    for one in properties.find_all(exp.Property) if properties else ():
        if one.name.upper() == "STORAGE_INTEGRATION":
            name = str(one.args["value"].name)  # the parser drops its quotes
            name = name if name in session.account.integrations else name.upper()
            yield Need(("INTEGRATION", name), ("USAGE",))
    if clone := statement.args.get("clone"):
        yield Need(named(session, kind, clone.this), ("SELECT",) if kind == "TABLE" else ("USAGE",))
    if statement.expression is not None:
        yield from _of_sources(session, statement.expression)


def _of_target(session: Session, statement: exp.Expression, kind: str) -> Iterator[Need]:
    about = target(statement)
    if isinstance(statement, exp.Comment) and isinstance(statement.this, exp.Column):
        about = table_of([_name(part) for part in statement.this.parts[:-1]])
    if about is None or about.db.upper() == "INFORMATION_SCHEMA":
        return
    kind = kind if isinstance(statement, exp.Alter | exp.Comment | exp.Describe) else "TABLE"
    what = named(session, kind or "TABLE", about)
    if isinstance(statement, exp.Merge):
        kinds = {type(when.args["then"]): None for when in statement.args["whens"].expressions}
        words = {exp.Insert: "INSERT", exp.Update: "UPDATE"}
        yield from (Need(what, (words.get(one, "DELETE"),)) for one in kinds)
        return
    yield Need(what, next(privileges for type_, privileges in _ON_TARGET if isinstance(statement, type_)))
    if isinstance(statement, exp.Insert) and statement.args.get("overwrite"):
        # https://docs.snowflake.com/en/sql-reference/sql/insert#insert-using-overwrite
        yield Need(what, ("DELETE",))
    for action in statement.args.get("actions") or ():
        if isinstance(action, exp.SwapTable):
            yield Need(named(session, "TABLE", action.this), (OWNERSHIP,))
        elif isinstance(action, exp.AlterRename):
            new = named(session, "TABLE", action.this)
            yield Need(("SCHEMA", *new[1:3]), ("CREATE VIEW" if kind == "VIEW" else "CREATE TABLE",))
            yield Need(new, made=True)
    if isinstance(statement, exp.Copy):
        yield from _of_stages(session, statement)


def _of_stages(session: Session, statement: exp.Expression) -> Iterator[Need]:
    for reference in (statement, *statement.find_all(exp.Table)):
        if isinstance(reference.this, exp.Var) and reference.this.name.startswith("@"):
            yield Need(("STAGE", *named_stage(session, reference.this.name)), ("USAGE", "READ"))


def _of_sources(session: Session, statement: exp.Expression) -> Iterator[Need]:
    if isinstance(statement, exp.Alter | exp.Comment | exp.Describe):
        return
    for table in read(statement):
        if table.db.upper() == "INFORMATION_SCHEMA":
            if table.catalog:
                yield Need(("DATABASE", _name(table.args["catalog"])), ("USAGE",))
            continue
        yield Need(named(session, "TABLE", table), ("SELECT",))


def _is_named_query(table: exp.Table) -> bool:
    around: Any = table
    while (around := around.parent) is not None:
        with_ = around.args.get("with_")
        if with_ is not None and any(_name(each.args["alias"].this) == _name(table.this) for each in with_.expressions):
            return True
    return False


def _parts(table: Any) -> list[Any]:
    if isinstance(table, exp.Table):
        return [part for key in ("catalog", "db", "this") if (part := table.args.get(key)) is not None]
    return [table]


def _name(part: Any) -> str:
    if isinstance(part, exp.Identifier):
        return str(part.this) if part.args.get("quoted") else str(part.this).upper()
    if isinstance(part, exp.Column):
        return _name(part.this)
    return str(part.name).upper() if isinstance(part, exp.Var) else str(part.name)
