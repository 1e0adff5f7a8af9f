"""Objects of the account: roles, users, warehouses, integrations.

https://docs.snowflake.com/en/sql-reference/sql/create-role, …/sql/create-user and the pages of each kind.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from helpers.local.standin import names
from helpers.local.standin.access import NotAllowed, require, sees
from helpers.local.standin.account import ACCOUNT, OWNERSHIP, Account
from helpers.local.standin.attached import PART, rows_query
from helpers.local.standin.logins import LOGINS
from helpers.local.standin.names import already_exists, status, unquoted
from helpers.local.standin.privileges import Need
from helpers.local.standin.session import Session

_WAREHOUSE_DEFAULTS = {"SIZE": "X-Small", "AUTO_SUSPEND": "600", "AUTO_RESUME": "true", "STATE": "SUSPENDED"}
_SIZES = {"XSMALL": "X-Small", "SMALL": "Small", "MEDIUM": "Medium", "LARGE": "Large", "XLARGE": "X-Large"}


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
STATEMENTS: tuple[tuple[re.Pattern[str], Callable[[Session, re.Match[str]], str]], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE | re.DOTALL), handle)
    for pattern, handle in (
        (rf"CREATE\s+ROLE\s+{_THE_NAME}{_REST}", _create_role),
        (rf"DROP\s+ROLE\s+{_THE_NAME}", _drop_role),
        (rf"CREATE\s+USER\s+{_THE_NAME}{_REST}", _create_user),
        (rf"ALTER\s+USER\s+{_THE_NAME}\s+SET{_REST}", _alter_user),
        (rf"DROP\s+USER\s+{_THE_NAME}", _drop_user),
        (rf"SHOW\s+ROLES{_LIKE}", _show_roles),
        (rf"SHOW\s+USERS{_LIKE}", _show_users),
        (rf"USE\s+ROLE\s+(?P<name>{PART})", _use_role),
        (r"USE\s+SECONDARY\s+ROLES\s+(?P<which>ALL|NONE)", _use_secondary),
        (rf"USE\s+WAREHOUSE\s+(?P<name>{PART})", _use_warehouse),
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
