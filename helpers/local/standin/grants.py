"""Statements about the account: roles, users, what is granted to whom, warehouses and integrations.

https://docs.snowflake.com/en/sql-reference/sql/grant-privilege, …/sql/grant-ownership, …/sql/show-grants and the pages of each kind.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from snowflake.connector.errors import ProgrammingError

from helpers.local.standin import names
from helpers.local.standin.access import NotAllowed, hidden, insufficient, require, sees, shown
from helpers.local.standin.account import ACCOUNT, ADMINISTRATOR, OWNERSHIP, Account, Object
from helpers.local.standin.attached import NAME, PART, parts_of, rows_query
from helpers.local.standin.logins import LOGINS
from helpers.local.standin.names import already_exists, status, unquoted
from helpers.local.standin.privileges import Need, named, table_of
from helpers.local.standin.session import Session

GRANTABLE: dict[str, tuple[str, ...]] = {
    "ACCOUNT": (
        "CREATE DATABASE", "CREATE WAREHOUSE", "CREATE ROLE", "CREATE USER", "CREATE INTEGRATION", "MANAGE GRANTS",
        "APPLY MASKING POLICY", "APPLY ROW ACCESS POLICY", "APPLY TAG", "MONITOR USAGE", "EXECUTE TASK",
    ),
    "DATABASE": ("USAGE", "MODIFY", "MONITOR", "CREATE SCHEMA"),
    "SCHEMA": (
        "USAGE", "MODIFY", "MONITOR", "CREATE TABLE", "CREATE VIEW", "CREATE STAGE", "CREATE FILE FORMAT", "CREATE SEQUENCE",
        "CREATE FUNCTION", "CREATE PROCEDURE", "CREATE MASKING POLICY", "CREATE ROW ACCESS POLICY", "CREATE TAG", "CREATE STREAM",
        "CREATE TASK", "CREATE PIPE", "CREATE MATERIALIZED VIEW", "CREATE DYNAMIC TABLE",
    ),
    "TABLE": ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "EVOLVE SCHEMA"),
    "VIEW": ("SELECT", "REFERENCES"),
    "WAREHOUSE": ("USAGE", "OPERATE", "MODIFY", "MONITOR"),
    "INTEGRATION": ("USAGE",),
    "STAGE": ("USAGE", "READ", "WRITE"),
    "FILE FORMAT": ("USAGE",),
    "SEQUENCE": ("USAGE",),
    "MASKING_POLICY": ("APPLY",),
    "ROW_ACCESS_POLICY": ("APPLY",),
    "TAG": ("APPLY", "READ"),
}  # fmt: skip
"""Per kind of object (https://docs.snowflake.com/en/user-guide/security-access-control-privileges); each has OWNERSHIP beside."""

_KINDS = {
    "MASKING POLICY": "MASKING_POLICY",
    "ROW ACCESS POLICY": "ROW_ACCESS_POLICY",
    "STORAGE INTEGRATION": "INTEGRATION",
}

GRANT_COLUMNS = (
    "created_on", "privilege", "granted_on", "name", "granted_to", "grantee_name", "grant_option", "granted_by",
)  # fmt: skip
_FUTURE_COLUMNS = ("created_on", "privilege", "grant_on", "name", "grant_to", "grantee_name", "grant_option")
_ROLE_COLUMNS = ("created_on", "role", "granted_to", "grantee_name", "granted_by")
_WAREHOUSE_DEFAULTS = {"SIZE": "X-Small", "AUTO_SUSPEND": "600", "AUTO_RESUME": "true", "STATE": "SUSPENDED"}
_SIZES = {"XSMALL": "X-Small", "SMALL": "Small", "MEDIUM": "Medium", "LARGE": "Large", "XLARGE": "X-Large"}


def answer(session: Session, command: str) -> str | None:
    """What DuckDB answers to a statement of this subject; None where it is another's."""
    said = command.strip().rstrip(";").strip()
    if not _BEGINNING.match(said):
        return None
    for pattern, handle in _STATEMENTS:
        if match := pattern.fullmatch(said):
            if session._in_transaction and not said[:4].upper().startswith(("SHOW", "USE", "DESC")):
                session.end("COMMIT")
            return handle(session, match)
    return None


def is_ours(command: str) -> bool:
    said = command.strip().rstrip(";").strip()
    return bool(_BEGINNING.match(said)) and any(pattern.fullmatch(said) for pattern, _ in _STATEMENTS)


# Roles and users


def _create_role(session: Session, match: re.Match[str]) -> str:
    name, account = unquoted(match["name"]), session.account
    require(session, Need(ACCOUNT, ("CREATE ROLE",)))
    if name in account.roles:
        if not match["exists"]:
            raise already_exists(name)
        return status(f"{name} already exists, statement succeeded.")
    with account.changing():
        account.roles[name] = []
        account.own(("ROLE", name), session.needed_role())
    return status(f"Role {name} successfully created.")


def _drop_role(session: Session, match: re.Match[str]) -> str:
    name, account = unquoted(match["name"]), session.account
    if name not in account.roles:
        return _gone(match, "Role", name)
    require(session, Need(("ROLE", name), (OWNERSHIP,)))
    with account.changing():
        account.drop_role(name, session.needed_role())
        account.forget(("ROLE", name))
    return status(f"{name} successfully dropped.")


def _grant_role(session: Session, match: re.Match[str]) -> str:
    account, role = session.account, _role(session, match["role"])
    _require_grants(session, ("ROLE", role))
    held = _roles_held(account, match)
    with account.changing():
        if match["verb"].upper() == "REVOKE":
            held[:] = [each for each in held if each != role]
        elif role not in held:
            held.append(role)
    return status()


def _roles_held(account: Account, match: re.Match[str]) -> list[str]:
    grantee = unquoted(match["grantee"])
    if match["kind"].upper() == "USER":
        if grantee not in account.users:
            raise names.missing("User", grantee)
        held: list[str] = account.users[grantee].setdefault("ROLES", [])
        return held
    if grantee not in account.roles:
        raise names.missing("Role", grantee)
    return account.roles[grantee]


def _create_user(session: Session, match: re.Match[str]) -> str:
    name, account = unquoted(match["name"]), session.account
    require(session, Need(ACCOUNT, ("CREATE USER",)))
    if name in account.users:
        if not match["exists"]:
            raise already_exists(name)
        return status(f"{name} already exists, statement succeeded.")
    with account.changing():
        account.users[name] = {"ROLES": []}
        account.own(("USER", name), session.needed_role())
        _set(account, name, match["properties"])
    return status(f"User {name} successfully created.")


def _alter_user(session: Session, match: re.Match[str]) -> str:
    name = unquoted(match["name"])
    if name not in session.account.users:
        raise names.missing("User", name)
    if name != session.user:
        require(session, Need(("USER", name), (OWNERSHIP,)))
    with session.account.changing():
        _set(session.account, name, match["properties"])
    return status()


def _set(account: Account, user: str, written: str) -> None:
    for key, value in _properties(written).items():
        if key == "PASSWORD":
            account.set_password(user, value)
        elif key.startswith("RSA_PUBLIC_KEY"):
            LOGINS.answer(f"ALTER USER {names.identifier(user)} SET {key} = '{value}'")
        else:
            account.users[user][key] = value if key not in ("DEFAULT_ROLE", "DEFAULT_WAREHOUSE") else unquoted(value)


def _drop_user(session: Session, match: re.Match[str]) -> str:
    name, account = unquoted(match["name"]), session.account
    if name not in account.users:
        return _gone(match, "User", name)
    require(session, Need(("USER", name), (OWNERSHIP,)))
    with account.changing():
        del account.users[name]
        account.forget(("USER", name))
    return status(f"{name} successfully dropped.")


def _show_roles(session: Session, match: re.Match[str]) -> str:
    account = session.account
    own = account.reach(*account.roles_of(session.user))
    rows = [{"name": name, "is_current": "Y" if name == session.role else "N", "owner": account.owner(("ROLE", name)) or ""}
            for name in sorted(account.roles) if name in own or account.holds(session.roles, ACCOUNT, "MANAGE GRANTS")]  # fmt: skip
    return _like(rows_query(("name", "is_current", "owner"), rows), match)


def _show_users(session: Session, match: re.Match[str]) -> str:
    account, columns = (
        session.account,
        ("name", "login_name", "type", "default_warehouse", "default_role", "has_password", "owner"),
    )
    rows = [
        {"name": name, "login_name": name, "type": user.get("TYPE", ""), "default_warehouse": user.get("DEFAULT_WAREHOUSE", ""),
         "default_role": user.get("DEFAULT_ROLE", ""), "has_password": str("PASSWORD" in user).lower(),
         "owner": account.owner(("USER", name)) or ""}
        for name, user in sorted(account.users.items()) if name == session.user or account.holds(session.roles, ACCOUNT, "MANAGE GRANTS")
    ]  # fmt: skip
    return _like(rows_query(columns, rows), match)


def _use_role(session: Session, match: re.Match[str]) -> str:
    name, account = unquoted(match["name"]), session.account
    if name not in account.roles:
        raise _nothing()
    if name not in account.reach(*account.roles_of(session.user)):
        raise NotAllowed(
            msg=f"SQL access control error:\nRequested role '{name}' is not assigned to the executing user. Specify another role to "
            "activate.", errno=3013, sqlstate="42501",
        )  # fmt: skip
    session.role = name
    return status()


def _use_secondary(session: Session, match: re.Match[str]) -> str:
    session.secondary = match["which"].upper() == "ALL"
    return status()


# Privileges


def _grant(session: Session, match: re.Match[str]) -> str:
    account, role = session.account, _grantee(session, match)
    objects, kind, where = _meant(session, match)
    wanted = _wanted(match["privileges"], kind)
    giving = match["verb"].upper() == "GRANT"
    if where is not None:
        _require_future(session, where)
        change = account.grant_future if giving else account.revoke_future
        with account.changing():
            change(where, kind, role, wanted)
        return status()
    for what in objects:
        _require_grants(session, what, *wanted)
    with account.changing():
        for what in objects:
            if giving:
                account.grant(what, role, wanted, option=bool(match["option"]))
            else:
                account.revoke(what, role, wanted)
    return status()


def _grant_ownership(session: Session, match: re.Match[str]) -> str:
    account, role = session.account, _role(session, match["role"])
    objects, kind, where = _meant(session, match)
    if where is not None:
        _require_future(session, where)
        with account.changing():
            account.grant_future(where, kind, role, [OWNERSHIP])
        return status()
    for what in objects:
        if not account.holds(session.roles, ACCOUNT, "MANAGE GRANTS"):
            require(session, Need(what, (OWNERSHIP,)))
        other = next((each for each in account.grants(what) if each[1] != OWNERSHIP), None)
        if other and not match["current"]:
            raise ProgrammingError(
                msg=f"SQL execution error:\nDependent grant of privilege '{other[1]}' on securable '{shown(what[1:])}' to role "
                f"'{other[0]}' exists.  It must be revoked first.  More than one dependent grant may exist: use 'SHOW GRANTS' command "
                "to view them.  To revoke all dependent grants while transferring object ownership, use convenience command 'GRANT "
                "OWNERSHIP ON <target_objects> TO <target_role> REVOKE CURRENT GRANTS'.", errno=3036, sqlstate="42501",
            )  # fmt: skip
    with account.changing():
        for what in objects:
            account.give(what, role, keep=(match["current"] or "").upper() == "COPY")
    return status()


def _meant(session: Session, match: re.Match[str]) -> tuple[list[Object], str, Object | None]:
    """The objects of a GRANT or REVOKE, their kind, and where those will be that are granted on beforehand."""
    if match["every"]:
        kind = _kind(" ".join(match["every"].upper().split()).removesuffix("S").replace("POLICIE", "POLICY"))
        where = named(session, match["level"].upper(), table_of(parts_of(match["place"])))
        if not session.account.exists(where) or not sees(session, where):
            raise hidden(where)
        if match["scope"].upper() == "FUTURE":
            return [], kind, where
        found = session.account.objects("TABLE" if kind == "VIEW" else kind, *where[1:])
        views = session.account.views
        return (
            [each for each in found if kind not in ("TABLE", "VIEW") or (each in views) == (kind == "VIEW")],
            kind,
            None,
        )
    if match["account"]:
        return [ACCOUNT], "ACCOUNT", None
    kind = _kind(" ".join(match["kind"].upper().split()))
    what = named(session, kind, table_of(parts_of(match["name"])))
    if not session.account.exists(what) or (kind == "VIEW") != (what in session.account.views):
        raise hidden(what)
    if not sees(session, what) and not session.account.holds(session.roles, ACCOUNT, "MANAGE GRANTS"):
        raise hidden(what)
    return [what], kind, None


def _kind(written: str) -> str:
    kind = _KINDS.get(written, written)
    if kind not in GRANTABLE:
        raise names.unsupported(f"grants on a {written}")
    return kind


def _wanted(written: str, kind: str) -> list[str]:
    wanted = [" ".join(each.upper().split()) for each in written.split(",")]
    if wanted in (["ALL"], ["ALL PRIVILEGES"]):
        return list(GRANTABLE[kind])
    if unknown := [each for each in wanted if each not in GRANTABLE[kind]]:
        raise ProgrammingError(
            msg=f"SQL compilation error:\nInvalid privilege '{unknown[0]}' for object type '{kind}'.",
            errno=3111,
            sqlstate="42601",
        )
    return wanted


def _require_grants(session: Session, what: Object, *wanted: str) -> None:
    """Who may grant: the owner (in a schema with managed access, the schema's), MANAGE GRANTS, or who got it with the option
    (https://docs.snowflake.com/en/sql-reference/sql/grant-privilege#access-control-requirements)."""
    account, schema = session.account, ("SCHEMA", *what[1:3])
    if account.holds(session.roles, ACCOUNT, "MANAGE GRANTS"):
        return
    managed = len(what) == 4 and schema in account.managed
    if account.holds(session.roles, schema if managed else what, OWNERSHIP):
        return
    options = {privilege for role, privilege, option in account.grants(what) if option and role in session.roles}
    if not managed and wanted and set(wanted) <= options:
        return
    raise insufficient(session, what) if sees(session, what) else hidden(what)


def _require_future(session: Session, where: Object) -> None:
    """MANAGE GRANTS, or the ownership of a schema with managed access
    (https://docs.snowflake.com/en/sql-reference/sql/grant-privilege#future-grants-on-database-or-schema-objects)."""
    account = session.account
    if not account.holds(session.roles, ACCOUNT, "MANAGE GRANTS") and not (
        where in account.managed and account.holds(session.roles, where, OWNERSHIP)
    ):
        raise insufficient(session, where)


def _show_grants_on(session: Session, match: re.Match[str]) -> str:
    if match["account"]:
        what = ACCOUNT
    else:
        what = named(session, _kind(" ".join(match["kind"].upper().split())), table_of(parts_of(match["name"])))
        if not session.account.exists(what) or not sees(session, what):
            raise hidden(what)
    rows = [_row(session.account, what, *each) for each in session.account.grants(what)]
    return rows_query(GRANT_COLUMNS, rows)


def _show_grants_to(session: Session, match: re.Match[str]) -> str:
    account, role = session.account, unquoted(match["role"])
    may = role in account.reach(*account.roles_of(session.user)) or account.holds(
        session.roles, ACCOUNT, "MANAGE GRANTS"
    )
    if role not in account.roles or not may:
        raise names.missing("Role", role)
    rows = [_row(account, what, role, privilege, option) for what, privilege, option in account.grants_to(role)]
    rows += [_row(account, ("ROLE", each), role, "USAGE", False) for each in account.roles[role]]
    return rows_query(GRANT_COLUMNS, rows)


def _row(account: Account, what: Object, role: str, privilege: str, option: bool) -> dict[str, Any]:
    kind = "VIEW" if what in account.views else what[0].replace(" ", "_")
    name = shown(what[1:]) if what != ACCOUNT else "LOCAL"
    given = "true" if option or privilege == OWNERSHIP else "false"
    by = account.owner(what) or ""
    return dict(zip(GRANT_COLUMNS, ("", privilege, kind, name, "ROLE", role, given, by), strict=True))


def _show_grants_of(session: Session, match: re.Match[str]) -> str:
    account = session.account
    if match["user"]:
        user = unquoted(match["user"])
        pairs: Iterable[tuple[str, str, str]] = (
            (role, "USER", user) for role in account.users.get(user, {}).get("ROLES", ())
        )
    elif match["role"]:
        role = unquoted(match["role"])
        users = [(role, "USER", name) for name, user in account.users.items() if role in user.get("ROLES", ())]
        pairs = [*users, *((role, "ROLE", name) for name, granted in account.roles.items() if role in granted)]
    else:
        pairs = ((role, "USER", session.user) for role in account.users.get(session.user, {}).get("ROLES", ()))
    rows = [dict(zip(_ROLE_COLUMNS, ("", *pair, ""), strict=True)) for pair in pairs]
    return rows_query(_ROLE_COLUMNS, rows)


def _show_future(session: Session, match: re.Match[str]) -> str:
    account = session.account
    if match["role"]:
        role = unquoted(match["role"])
        found = [(where, kind, role, privilege) for where, kind, privilege in account.future_to(role)]
    else:
        where = named(session, match["level"].upper(), table_of(parts_of(match["place"])))
        found = [(where, *each) for each in sorted(account.future(where))]
    rows = [
        dict(zip(_FUTURE_COLUMNS, ("", privilege, kind, f"{shown(where[1:])}.<{kind}>", "ROLE", role, "false"), strict=True))
        for where, kind, role, privilege in found
    ]  # fmt: skip
    return rows_query(_FUTURE_COLUMNS, rows)


def _managed(session: Session, match: re.Match[str]) -> str:
    what = named(session, "SCHEMA", table_of(parts_of(match["name"])))
    require(session, Need(what, (OWNERSHIP,)))
    with session.account.changing():
        (session.account.managed.add if match["how"].upper() == "ENABLE" else session.account.managed.discard)(what)
    return status()


# Warehouses and integrations


def _create_warehouse(session: Session, match: re.Match[str]) -> str:
    name, account = unquoted(match["name"]), session.account
    require(session, Need(ACCOUNT, ("CREATE WAREHOUSE",)))
    if name in account.warehouses and not match["replace"]:
        if not match["exists"]:
            raise already_exists(name)
        return status(f"{name} already exists, statement succeeded.")
    given = _properties(match["properties"])
    state = "SUSPENDED" if given.pop("INITIALLY_SUSPENDED", "false").lower() == "true" else "STARTED"
    size = given.pop("WAREHOUSE_SIZE", "XSMALL").upper().replace("-", "")
    with account.changing():
        account.warehouses[name] = _WAREHOUSE_DEFAULTS | {"STATE": state, "SIZE": _SIZES.get(size, size)} | given
        account.own(("WAREHOUSE", name), session.needed_role())
    session.warehouse = name
    return status(f"Warehouse {name} successfully created.")


def _alter_warehouse(session: Session, match: re.Match[str]) -> str:
    name, account = unquoted(match["name"]), session.account
    if name not in account.warehouses:
        raise names.missing("Warehouse", name)
    require(session, Need(("WAREHOUSE", name), ("OPERATE",) if match["state"] else ("MODIFY",)))
    with account.changing():
        if match["state"]:
            account.warehouses[name]["STATE"] = (
                "STARTED" if match["state"].upper().startswith("RESUME") else "SUSPENDED"
            )
        else:
            account.warehouses[name] |= _properties(match["properties"])
    return status()


def _drop_account_object(session: Session, match: re.Match[str]) -> str:
    account, name = session.account, unquoted(match["name"])
    kind = "WAREHOUSE" if match["kind"].upper() == "WAREHOUSE" else "INTEGRATION"
    if kind == "INTEGRATION" and name in LOGINS.integrations:
        require(session, Need(ACCOUNT, ("CREATE INTEGRATION",)))
        del LOGINS.integrations[name]
        return status(f"{name} successfully dropped.")
    held = account.warehouses if kind == "WAREHOUSE" else account.integrations
    if name not in held:
        return _gone(match, kind.capitalize(), name)
    require(session, Need((kind, name), (OWNERSHIP,)))
    with account.changing():
        del held[name]
        account.forget((kind, name))
    return status(f"{name} successfully dropped.")


def _use_warehouse(session: Session, match: re.Match[str]) -> str:
    name = unquoted(match["name"])
    if name not in session.account.warehouses or not session.account.holds(session.roles, ("WAREHOUSE", name), "USAGE"):
        raise _nothing()
    session.warehouse = name
    return status()


def _show_warehouses(session: Session, match: re.Match[str]) -> str:
    account = session.account
    rows = [
        {"name": name, "state": of["STATE"], "type": "STANDARD", "size": of["SIZE"], "is_current": "Y" if name == session.warehouse else "N",
         "auto_suspend": of["AUTO_SUSPEND"], "auto_resume": of["AUTO_RESUME"], "owner": account.owner(("WAREHOUSE", name)) or "",
         "comment": of.get("COMMENT", "")}
        for name, of in sorted(account.warehouses.items()) if sees(session, ("WAREHOUSE", name))
    ]  # fmt: skip
    columns = ("name", "state", "type", "size", "is_current", "auto_suspend", "auto_resume", "owner", "comment")
    return _like(rows_query(columns, rows), match)


def _create_integration(session: Session, match: re.Match[str]) -> str:
    name, account = unquoted(match["name"]), session.account
    require(session, Need(ACCOUNT, ("CREATE INTEGRATION",)))
    if name in account.integrations and not match["replace"]:
        if not match["exists"]:
            raise already_exists(name)
        return status(f"{name} already exists, statement succeeded.")
    with account.changing():
        account.integrations[name] = {"ENABLED": "true", "COMMENT": ""} | _properties(match["properties"])
        account.own(("INTEGRATION", name), session.needed_role())
    return status(f"Integration {name} successfully created.")


def _alter_integration(session: Session, match: re.Match[str]) -> str:
    name = unquoted(match["name"])
    if name not in session.account.integrations:
        raise names.missing("Integration", name)
    require(session, Need(("INTEGRATION", name), (OWNERSHIP,)))
    with session.account.changing():
        session.account.integrations[name] |= _properties(match["properties"])
    return status()


def _describe_integration(session: Session, match: re.Match[str]) -> str:
    name = unquoted(match["name"])
    held = session.account.integrations.get(name)
    if held is None or not sees(session, ("INTEGRATION", name)):
        raise names.missing("Integration", name)
    rows = [
        {"property": key, "property_type": "Boolean" if key == "ENABLED" else "List" if key.endswith("LOCATIONS") else "String",
         "property_value": value, "property_default": ""}
        for key, value in held.items() if key not in ("TYPE", "COMMENT")
    ]  # fmt: skip
    return rows_query(("property", "property_type", "property_value", "property_default"), rows)


def _show_integrations(session: Session, match: re.Match[str]) -> str:
    rows = [
        {"name": name, "type": held.get("TYPE", ""), "category": "STORAGE", "enabled": held["ENABLED"], "comment": held["COMMENT"]}
        for name, held in sorted(session.account.integrations.items()) if sees(session, ("INTEGRATION", name))
    ]  # fmt: skip
    return _like(rows_query(("name", "type", "category", "enabled", "comment"), rows), match)


# What those have in common


def _role(session: Session, written: str) -> str:
    name = unquoted(written)
    if name not in session.account.roles:
        raise names.missing("Role", name)
    return name


def _grantee(session: Session, match: re.Match[str]) -> str:
    """The role of a GRANT or REVOKE. One that nobody made is made by the administrator's grant to it, where the real service refuses:
    who plants grants on the local stack need not make roles first."""
    name = unquoted(match["role"])
    if name not in session.account.roles and session.role == ADMINISTRATOR and match["verb"].upper() == "GRANT":
        with session.account.changing():
            session.account.roles[name] = []
            session.account.own(("ROLE", name), ADMINISTRATOR)
    return _role(session, match["role"])


def _gone(match: re.Match[str], kind: str, name: str) -> str:
    if not match["exists"]:
        raise names.missing(kind, name)
    return status("Drop statement executed successfully.")


def _nothing() -> NotAllowed:
    return NotAllowed(
        msg="SQL compilation error:\nObject does not exist, or operation cannot be performed.",
        errno=2043,
        sqlstate="02000",
    )


def _properties(written: str | None) -> dict[str, str]:
    """`KEY = value` pairs; a list as the real service shows one, with commas."""
    found = {}
    for key, value in _PROPERTY.findall(written or ""):
        texts = [each.replace("''", "'") for each in re.findall(r"'((?:[^']|'')*)'", value)]
        found[key.upper()] = ",".join(texts) if value.startswith(("(", "'")) else value
    return found


def _like(query: str, match: re.Match[str]) -> str:
    return f'SELECT * FROM ({query}) WHERE "name" ILIKE {match["like"]}' if match["like"] else query


_PROPERTY = re.compile(r"(\w+)\s*=\s*(\((?:[^)']|'(?:[^']|'')*')*\)|'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|[^\s']+)")
_EXISTS = r"(?P<exists>IF\s+(?:NOT\s+)?EXISTS\s+)?"
_REPLACE = r"(?P<replace>OR\s+REPLACE\s+)?"
_THE_NAME = rf"{_EXISTS}(?P<name>{PART})"
_REST = r"(?:\s+(?:WITH\s+)?(?P<properties>.+))?"
_LIKE = r"(?:\s+LIKE\s+(?P<like>'(?:[^']|'')*'))?"
_KIND = r"(?P<kind>(?:STORAGE\s+)?INTEGRATION|(?:MASKING|ROW\s+ACCESS)\s+POLICY|FILE\s+FORMAT|[A-Z]+)"
_ON = (
    rf"ON\s+(?:(?P<account>ACCOUNT)|(?P<scope>ALL|FUTURE)\s+(?P<every>[A-Z ]+?)\s+IN\s+(?P<level>SCHEMA|DATABASE)\s+(?P<place>{NAME})"
    rf"|{_KIND}\s+(?P<name>{NAME}))"
)
_STATEMENTS: tuple[tuple[re.Pattern[str], Callable[[Session, re.Match[str]], str]], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE | re.DOTALL), handle)
    for pattern, handle in (
        (rf"CREATE\s+ROLE\s+{_THE_NAME}{_REST}", _create_role),
        (rf"DROP\s+ROLE\s+{_THE_NAME}", _drop_role),
        (rf"(?P<verb>GRANT|REVOKE)\s+ROLE\s+(?P<role>{PART})\s+(?:TO|FROM)\s+(?P<kind>ROLE|USER)\s+(?P<grantee>{PART})", _grant_role),
        (rf"CREATE\s+USER\s+{_THE_NAME}{_REST}", _create_user),
        (rf"ALTER\s+USER\s+{_THE_NAME}\s+SET{_REST}", _alter_user),
        (rf"DROP\s+USER\s+{_THE_NAME}", _drop_user),
        (rf"SHOW\s+ROLES{_LIKE}", _show_roles),
        (rf"SHOW\s+USERS{_LIKE}", _show_users),
        (rf"USE\s+ROLE\s+(?P<name>{PART})", _use_role),
        (r"USE\s+SECONDARY\s+ROLES\s+(?P<which>ALL|NONE)", _use_secondary),
        (rf"USE\s+WAREHOUSE\s+(?P<name>{PART})", _use_warehouse),
        (rf"GRANT\s+OWNERSHIP\s+{_ON}\s+TO\s+ROLE\s+(?P<role>{PART})(?:\s+(?P<current>COPY|REVOKE)\s+CURRENT\s+GRANTS)?", _grant_ownership),
        (rf"(?P<verb>GRANT)\s+(?P<privileges>[A-Z ,]+?)\s+{_ON}\s+TO\s+(?:ROLE\s+)?(?P<role>{PART})(?P<option>\s+WITH\s+GRANT\s+OPTION)?", _grant),
        (rf"(?P<verb>REVOKE)\s+(?P<privileges>[A-Z ,]+?)\s+{_ON}\s+FROM\s+(?:ROLE\s+)?(?P<role>{PART})(?:\s+(?:RESTRICT|CASCADE))?(?P<option>)?", _grant),
        (rf"SHOW\s+GRANTS\s+ON\s+(?:(?P<account>ACCOUNT)|{_KIND}\s+(?P<name>{NAME}))", _show_grants_on),
        (rf"SHOW\s+GRANTS\s+TO\s+ROLE\s+(?P<role>{PART})", _show_grants_to),
        (rf"SHOW\s+GRANTS(?:\s+TO\s+USER\s+(?P<user>{PART})|\s+OF\s+ROLE\s+(?P<role>{PART}))?", _show_grants_of),
        (rf"SHOW\s+FUTURE\s+GRANTS\s+(?:TO\s+ROLE\s+(?P<role>{PART})|IN\s+(?P<level>SCHEMA|DATABASE)\s+(?P<place>{NAME}))", _show_future),
        (rf"ALTER\s+SCHEMA\s+(?P<name>{NAME})\s+(?P<how>ENABLE|DISABLE)\s+MANAGED\s+ACCESS", _managed),
        (rf"CREATE\s+{_REPLACE}WAREHOUSE\s+{_THE_NAME}{_REST}", _create_warehouse),
        (rf"ALTER\s+WAREHOUSE\s+{_THE_NAME}\s+(?:(?P<state>RESUME(?:\s+IF\s+SUSPENDED)?|SUSPEND)|SET\s+(?P<properties>.+))", _alter_warehouse),
        (rf"DROP\s+(?P<kind>WAREHOUSE|(?:(?:STORAGE|SECURITY)\s+)?INTEGRATION)\s+{_THE_NAME}", _drop_account_object),
        (rf"SHOW\s+WAREHOUSES{_LIKE}", _show_warehouses),
        (rf"CREATE\s+{_REPLACE}STORAGE\s+INTEGRATION\s+{_THE_NAME}{_REST}", _create_integration),
        (rf"ALTER\s+(?:STORAGE\s+)?INTEGRATION\s+{_THE_NAME}\s+SET\s+(?P<properties>.+)", _alter_integration),
        (rf"DESC(?:RIBE)?\s+(?:STORAGE\s+)?INTEGRATION\s+(?P<name>{PART})", _describe_integration),
        (rf"SHOW\s+(?:STORAGE\s+)?INTEGRATIONS{_LIKE}", _show_integrations),
    )
)  # fmt: skip

_BEGINNING = re.compile(
    r"(?:GRANT|REVOKE|SHOW\s+(?:FUTURE\s+)?(?:GRANTS|ROLES|USERS|WAREHOUSES|INTEGRATIONS|STORAGE)|USE\s+(?:ROLE|SECONDARY|WAREHOUSE)"
    r"|(?:CREATE|ALTER|DROP)\s+(?:OR\s+REPLACE\s+)?(?:ROLE|USER|WAREHOUSE|(?:(?:STORAGE|SECURITY)\s+)?INTEGRATION|SCHEMA)"
    r"|DESC(?:RIBE)?\s+(?:STORAGE\s+)?INTEGRATION)\b",
    re.IGNORECASE,
)
"""How a statement begins that may be one of these: nothing else is held against them all."""
