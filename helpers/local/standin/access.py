"""Whether a statement is allowed to the session's role, what it may see, and whose the objects are that statements make.

What a role may not see "does not exist or not authorized", what it may see and not do is an error of insufficient privileges
(https://docs.snowflake.com/en/user-guide/security-access-control-overview).
"""

from __future__ import annotations

import re
from typing import Any

from snowflake.connector.errors import ProgrammingError
from sqlglot import exp

from helpers.local.standin import privileges
from helpers.local.standin.account import ACCOUNT, ADMINISTRATOR, OWNERSHIP, Object
from helpers.local.standin.names import attached, identifier, missing, status, text, unquoted
from helpers.local.standin.privileges import Need
from helpers.local.standin.session import Session


class NotAllowed(ProgrammingError):  # type: ignore[misc]  # noqa: N818 - no fault of the program's
    """A statement that was not begun, so that an open transaction is as it was."""


def check(session: Session, statement: exp.Expression) -> str | None:
    """Raises where the role may not; what is answered to a DROP … IF EXISTS of what it may not see, None otherwise.

    Raises:
        NotAllowed: as the real service words it.
    """
    if privileges.computes(statement):
        require_warehouse(session)
    if ADMINISTRATOR in session.roles:
        return None
    for need in privileges.needs(session, statement):
        try:
            require(session, need)
        except NotAllowed as refused:
            if isinstance(statement, exp.Drop) and statement.args.get("exists") and refused.errno == 2003:
                return status("Drop statement executed successfully.")
            raise
    return None


def require(session: Session, need: Need) -> None:
    """Raises `NotAllowed` where the session's roles lack a privilege."""
    account, what = session.account, need.on
    if what[0] == "TABLE" and what[1:] in session.temporary:
        return
    if len(what) > 2:
        _require_usage(session, ("DATABASE", what[1]))
    if len(what) > 3:
        _require_usage(session, ("SCHEMA", *what[1:3]))
    if what != ACCOUNT and not account.exists(what):
        return  # the statement itself says so, or makes it
    if not account.holds(session.roles, what):
        if need.made:
            raise NotAllowed(
                msg=f"SQL compilation error:\nObject '{shown(what[1:])}' already exists, but current role has no privileges on it. "
                "If this is unexpected and you cannot resolve this problem, contact your system administrator. ACCOUNTADMIN role "
                "may be required to manage the privileges on the object.",
                errno=3041, sqlstate="42710",
            )  # fmt: skip
        if what != ACCOUNT:
            raise hidden(what)
    if need.privileges and not account.holds(session.roles, what, *need.privileges):
        raise insufficient(session, what)


def _require_usage(session: Session, what: Object) -> None:
    account = session.account
    if account.exists(what) and not account.holds(session.roles, what, "USAGE"):
        raise hidden(what)


def require_warehouse(session: Session) -> None:
    """Raises `NotAllowed` where the session has no warehouse that its role may use."""
    account, name = session.account, session.warehouse
    if name is None or name not in account.warehouses or not account.holds(session.roles, ("WAREHOUSE", name), "USAGE"):
        raise NotAllowed(
            msg="No active warehouse selected in the current session.  Select an active warehouse with the 'use warehouse' command.",
            errno=606, sqlstate="57P03",
        )  # fmt: skip


def require_administration(session: Session, command: str) -> None:
    """Raises `NotAllowed` unless a statement changes the session's own user, or its role administers users."""
    if ADMINISTRATOR in session.roles or f" {session.user} " in f" {command.upper()} ":
        return
    if not session.account.holds(session.roles, ACCOUNT, "CREATE USER"):
        raise insufficient(session, ACCOUNT)


def require_level(session: Session, kind: str, name: str) -> None:
    """Raises `NotAllowed` where the role may not set parameters of an account, a user, a database or a schema."""
    if kind == "ACCOUNT":
        if ADMINISTRATOR not in session.roles:
            raise insufficient(session, ACCOUNT)
    elif kind == "USER":
        require_administration(session, f"ALTER USER {name} ")
    else:
        parts = [unquoted(part) for part in re.findall(r'"(?:[^"]|"")+"|[^."\s]+', name)]
        require(session, Need(privileges.named(session, kind, privileges.table_of(parts)), ("MODIFY",)))


def hidden(what: Object) -> NotAllowed:
    """What a role may not see is not there for it."""
    kind = "Object" if what[0] == "TABLE" else what[0].capitalize()
    error = missing(kind, shown(what[1:]))
    return NotAllowed(msg=error.msg, errno=error.errno, sqlstate=error.sqlstate)


def insufficient(session: Session, what: Object) -> NotAllowed:
    kind = "view" if what in session.account.views else what[0].lower()
    name = shown(what[-1:]) if what != ACCOUNT else "LOCAL"
    return NotAllowed(
        msg=f"SQL access control error:\nInsufficient privileges to operate on {kind} '{name}'",
        errno=3001,
        sqlstate="42501",
    )


def shown(names: tuple[str, ...]) -> str:
    """A name as the real service writes it: with quotes where it needs them."""
    return ".".join(name if _is_plain(name) else identifier(name) for name in names)


def record(session: Session, statement: exp.Expression, *, managed: bool = False) -> None:
    """After a statement: whose what it made is, and where what was granted has gone.

    Args:
        managed: of a schema that is made, whether its owner manages the access to what is in it.
    """
    account, kind = session.account, str(statement.args.get("kind") or "").upper()
    if isinstance(statement, exp.Create):
        about = statement.this.this if isinstance(statement.this, exp.Schema) else statement.this
        what = privileges.named(session, kind, about)
        if what[1:] not in session.temporary:
            _made(session, statement, what, kind)
        if managed:
            with account.changing():
                account.managed.add(what)
    elif isinstance(statement, exp.Drop):
        gone = [privileges.named(session, kind, table) for table in statement.args.get("tables") or ()]
        if any(account.exists(what) for what in gone):
            with account.changing():
                for what in gone:
                    account.forget(what)
    elif isinstance(statement, exp.Alter) and kind in ("TABLE", "VIEW"):
        old = privileges.named(session, kind, statement.this)
        for action in statement.args["actions"]:
            if isinstance(action, exp.SwapTable | exp.AlterRename) and old[1:] not in session.temporary:
                new = privileges.named(session, kind, action.this)
                with account.changing():
                    (account.swap if isinstance(action, exp.SwapTable) else account.rename)(old, new)


def _made(session: Session, statement: exp.Create, what: Object, kind: str) -> None:
    account = session.account
    if account.exists(what) and statement.args.get("exists"):
        return
    properties = statement.args.get("properties")
    copied = bool(properties and properties.find(exp.CopyGrantsProperty))
    # COPY GRANTS with CLONE copies those of the table that is replaced, or else of the one that is cloned.
    source = statement.args.get("clone")
    kept = account.grants(what)
    if copied and not kept and source is not None:
        kept = account.grants(privileges.named(session, kind, source.this))
    with account.changing():
        account.forget(what)
        account.own(what, session.needed_role(), kind=kind)
        if kind == "DATABASE":
            account.own(("SCHEMA", what[1], "PUBLIC"), session.needed_role())
        if kind == "VIEW":
            account.views.add(what)
        if copied:
            for role, privilege, option in kept:
                if privilege != OWNERSHIP:
                    account.grant(what, role, [privilege], option=option)


def enter(session: Session, database: str | None, schema: str | None) -> None:
    """Makes current what a login names, as far as its role may use it; the login itself is not refused for the rest."""
    if database is None or not attached(session.duck, database) or not _may_use(session, ("DATABASE", database)):
        return
    inner = schema or "PUBLIC"
    session.use(database, inner if _may_use(session, ("SCHEMA", database, inner)) else "")


def _may_use(session: Session, what: Object) -> bool:
    return session.account.holds(session.roles, what, "USAGE")


def sees(session: Session, what: Object) -> bool:
    """Whether an object is there for the session's role."""
    account = session.account
    inside: list[Object] = [("DATABASE", what[1])] if len(what) > 2 else []
    inside += [("SCHEMA", *what[1:3])] if len(what) > 3 else []
    return account.holds(session.roles, what) and all(account.holds(session.roles, each, "USAGE") for each in inside)


def hidden_tables(session: Session) -> list[tuple[str, str, str]]:
    """Every table that the session's role may not see."""
    return _hidden(session, "TABLE")  # type: ignore[return-value]


def _hidden(session: Session, kind: str) -> list[tuple[str, ...]]:
    if ADMINISTRATOR in session.roles:
        return []
    return session.account.known(  # type: ignore[no-any-return]
        (kind, session.roles),
        lambda: [what[1:] for what in session.account.objects(kind) if not sees(session, what)],
    )


_CATALOGUE = {
    "_FS_TABLES": ("TABLE", "table_catalog", "table_schema", "table_name"),
    "_FS_COLUMNS": ("TABLE", "table_catalog", "table_schema", "table_name"),
    "_FS_VIEWS": ("TABLE", "table_catalog", "table_schema", "table_name"),
    "_FS_SCHEMATA": ("SCHEMA", "catalog_name", "schema_name"),
    "DATABASES": ("DATABASE", "database_name"),
    "_FS_SHOW_DATABASES": ("DATABASE", "name"),
    "_FS_SHOW_SCHEMAS": ("SCHEMA", "database_name", "name"),
    "_FS_SHOW_TABLES": ("TABLE", "database_name", "schema_name", "name"),
    "_FS_SHOW_VIEWS": ("TABLE", "database_name", "schema_name", "name"),
    "_FS_SHOW_OBJECTS": ("TABLE", "database_name", "schema_name", "name"),
    "_FS_SHOW_COLUMNS": ("TABLE", "database_name", "schema_name", "table_name"),
}
"""Views of the catalogue: of what they tell, and the columns with its name."""


def catalogue_for(session: Session, tree: exp.Expression) -> None:
    """Takes out of the catalogue's views, in a statement of DuckDB's dialect, what the session's role may not see."""
    if ADMINISTRATOR in session.roles:
        return
    for table in list(tree.find_all(exp.Table)):
        if table.db.lower() != "_fs_information_schema" or table.name.upper() not in _CATALOGUE:
            continue
        kind, *columns = _CATALOGUE[table.name.upper()]
        if gone := _hidden(session, kind):
            alias = table.args.get("alias") or exp.TableAlias(this=exp.to_identifier(table.name))
            inner = table.copy()
            inner.set("alias", None)
            where: exp.Expression = exp.maybe_parse(_not_among(columns, gone), dialect="duckdb")
            table.replace(exp.Subquery(this=exp.select("*").from_(inner).where(where), alias=alias.copy()))


def keys_for(session: Session, query: str, *columns: str) -> str:
    """A query of keys without those of tables that the session's role may not see."""
    gone = _hidden(session, "TABLE")
    return (
        f"SELECT * FROM ({query}) WHERE {_not_among([identifier(each) for each in columns], gone)}" if gone else query
    )


def _not_among(columns: list[str], gone: list[tuple[str, ...]]) -> str:
    listed = ", ".join(f"({', '.join(map(text, names))})" for names in gone)
    return f"({', '.join(columns)}) NOT IN ({listed})"


def spoken(session: Session, tree: exp.Expression) -> None:
    """Puts into a statement what the functions of the session's context answer: who it is, and in which role."""
    for node in list(tree.find_all(exp.CurrentRole, exp.CurrentUser, exp.CurrentWarehouse, exp.CurrentAvailableRoles, exp.CurrentSecondaryRoles, exp.Anonymous)):  # fmt: skip
        said = _said(session, node)
        if said is not None and node.parent is not None:
            node.replace(said)


def _said(session: Session, node: Any) -> exp.Expression | None:
    if isinstance(node, exp.CurrentRole):
        return _text(session.role)
    if isinstance(node, exp.CurrentUser):
        return _text(session.user)
    if isinstance(node, exp.CurrentWarehouse):
        return _text(session.warehouse)
    if isinstance(node, exp.CurrentAvailableRoles):
        roles = sorted(session.account.reach(*session.account.roles_of(session.user)))
        return exp.Literal.string("[ " + ", ".join(f'"{role}"' for role in roles) + " ]")
    if isinstance(node, exp.CurrentSecondaryRoles):
        return exp.Literal.string('{"roles":"","value":"%s"}' % ("ALL" if session.secondary else ""))
    if node.name.upper() == "IS_ROLE_IN_SESSION":
        return exp.Boolean(this=node.expressions[0].name in session.roles)
    if node.name.upper() == "INVOKER_ROLE":
        return _text(session.role)
    return None


def _text(value: str | None) -> exp.Expression:
    return exp.Null() if value is None else exp.Literal.string(value)


def _is_plain(name: str) -> bool:
    return name.replace("_", "A").replace("$", "A").isalnum() and name == name.upper() and not name[:1].isdigit() and name.isascii()  # fmt: skip
