"""What is granted to whom: GRANT, REVOKE, ownership, future grants, SHOW GRANTS.

https://docs.snowflake.com/en/sql-reference/sql/grant-privilege, …/sql/grant-ownership and …/sql/show-grants.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from snowflake.connector.errors import ProgrammingError

from helpers.local.standin import account_objects, names
from helpers.local.standin.access import hidden, insufficient, require, sees, shown
from helpers.local.standin.account import ACCOUNT, ADMINISTRATOR, OWNERSHIP, Account, Object
from helpers.local.standin.attached import NAME, PART, parts_of, rows_query
from helpers.local.standin.names import status, unquoted
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


def answer(session: Session, command: str) -> str | None:
    """What DuckDB answers to a statement of this subject; None where it is another's."""
    said = command.strip().rstrip(";").strip()
    if not _BEGINNING.match(said):
        return None
    for pattern, handle in (*account_objects.STATEMENTS, *_STATEMENTS):
        if match := pattern.fullmatch(said):
            if session._in_transaction and not said[:4].upper().startswith(("SHOW", "USE", "DESC")):
                session.end("COMMIT")
            return handle(session, match)
    return None


def is_ours(command: str) -> bool:
    said = command.strip().rstrip(";").strip()
    return bool(_BEGINNING.match(said)) and any(
        pattern.fullmatch(said) for pattern, _ in (*account_objects.STATEMENTS, *_STATEMENTS)
    )


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


_KIND = r"(?P<kind>(?:STORAGE\s+)?INTEGRATION|(?:MASKING|ROW\s+ACCESS)\s+POLICY|FILE\s+FORMAT|[A-Z]+)"
_ON = (
    rf"ON\s+(?:(?P<account>ACCOUNT)|(?P<scope>ALL|FUTURE)\s+(?P<every>[A-Z ]+?)\s+IN\s+(?P<level>SCHEMA|DATABASE)\s+(?P<place>{NAME})"
    rf"|{_KIND}\s+(?P<name>{NAME}))"
)
_STATEMENTS: tuple[tuple[re.Pattern[str], Callable[[Session, re.Match[str]], str]], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE | re.DOTALL), handle)
    for pattern, handle in (
        (rf"(?P<verb>GRANT|REVOKE)\s+ROLE\s+(?P<role>{PART})\s+(?:TO|FROM)\s+(?P<kind>ROLE|USER)\s+(?P<grantee>{PART})", _grant_role),
        (rf"GRANT\s+OWNERSHIP\s+{_ON}\s+TO\s+ROLE\s+(?P<role>{PART})(?:\s+(?P<current>COPY|REVOKE)\s+CURRENT\s+GRANTS)?", _grant_ownership),
        (rf"(?P<verb>GRANT)\s+(?P<privileges>[A-Z ,]+?)\s+{_ON}\s+TO\s+(?:ROLE\s+)?(?P<role>{PART})(?P<option>\s+WITH\s+GRANT\s+OPTION)?", _grant),
        (rf"(?P<verb>REVOKE)\s+(?P<privileges>[A-Z ,]+?)\s+{_ON}\s+FROM\s+(?:ROLE\s+)?(?P<role>{PART})(?:\s+(?:RESTRICT|CASCADE))?(?P<option>)?", _grant),
        (rf"SHOW\s+GRANTS\s+ON\s+(?:(?P<account>ACCOUNT)|{_KIND}\s+(?P<name>{NAME}))", _show_grants_on),
        (rf"SHOW\s+GRANTS\s+TO\s+ROLE\s+(?P<role>{PART})", _show_grants_to),
        (rf"SHOW\s+GRANTS(?:\s+TO\s+USER\s+(?P<user>{PART})|\s+OF\s+ROLE\s+(?P<role>{PART}))?", _show_grants_of),
        (rf"SHOW\s+FUTURE\s+GRANTS\s+(?:TO\s+ROLE\s+(?P<role>{PART})|IN\s+(?P<level>SCHEMA|DATABASE)\s+(?P<place>{NAME}))", _show_future),
        (rf"ALTER\s+SCHEMA\s+(?P<name>{NAME})\s+(?P<how>ENABLE|DISABLE)\s+MANAGED\s+ACCESS", _managed),
    )
)  # fmt: skip

_BEGINNING = re.compile(
    r"(?:GRANT|REVOKE|SHOW\s+(?:FUTURE\s+)?(?:GRANTS|ROLES|USERS|WAREHOUSES|INTEGRATIONS|STORAGE)|USE\s+(?:ROLE|SECONDARY|WAREHOUSE)"
    r"|(?:CREATE|ALTER|DROP)\s+(?:OR\s+REPLACE\s+)?(?:ROLE|USER|WAREHOUSE|(?:(?:STORAGE|SECURITY)\s+)?INTEGRATION|SCHEMA)"
    r"|DESC(?:RIBE)?\s+(?:STORAGE\s+)?INTEGRATION)\b",
    re.IGNORECASE,
)
"""How a statement begins that may be one of these: nothing else is held against them all."""
