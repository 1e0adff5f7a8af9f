"""How the source is protected today, compared with what the profile's section `compliance` requires."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from helpers.assessment.integrations import OURS
from helpers.finding import Finding, Severity, note, stop, unchecked, warning
from helpers.model import globs
from helpers.platforms import postgres
from helpers.settings import Compliance, Source, Tables
from helpers.source.asking import OF_USERS, as_bytes, asking, rows

_PERSONAL = re.compile(
    r"(?:^|_)(?:e_?mail(?:_?address)?|(?:tele|mobile|home|work)?_?phone(?:_?(?:no|number))?|mobile|fax|"
    r"birth|birth_?(?:day|date|place)|date_?of_?birth|dob|ssn|passport|national_?id(?:_?number)?|tax_?id|iban|"
    r"(?:credit_?)?card_?(?:no|number)|surname|(?:first|middle|last|full|maiden|given|family)_?names?|"
    r"street_?[0-9]?|(?:home|billing|mailing|postal)_?address|address_?(?:line)?_?[0-9]?|post_?(?:al_?)?code|zip(?:_?code)?|"
    r"gender|nationality|marital_?status|religion|salary|income|ip(?:_?addr(?:ess)?)?|user|user_?name|login(?:_?id)?|"
    r"password(?:_?(?:hash|salt))?)(?:_|$)|(?:^|_)(?:customer|contact|user|reviewer|patient|member|employee|person)_?name$"
)
"""Parts of column names, in snake_case, that speak of a person. A plain `name` does only beside another of them: products have names too."""

_REFERENCE = re.compile(r"(?<!login)(?<!national)(?<!tax)_id$|_(?:type|kind|count|at)$")
"""How a name ends that only refers to such data, or counts them."""


@dataclass(frozen=True)
class Security:
    """What was seen; None where our role may not look.

    Attributes:
        encryption: how new passwords are kept (`password_encryption`).
        tls: whether the server offers TLS, and whether this connection has it.
        plain_clients: connections of others, from other hosts, without TLS.
        superusers: roles that may log in and are superusers; `connected` those that a client uses now, with its application.
        without_password, md5: roles that may log in, by how their password is kept.
        trusted: lines of pg_hba.conf that let somebody in over the network without a password.
        open_schemas: where everybody may create objects; `open_relations` what everybody may use.
        personal: columns that look like personal data.
    """

    role: str
    superuser: bool
    version: int
    encryption: str
    tls_offered: bool
    tls_used: bool
    plain_clients: int
    superusers: tuple[str, ...]
    connected: tuple[str, ...]
    without_password: tuple[str, ...] | None
    md5: tuple[str, ...] | None
    trusted: tuple[str, ...] | None
    open_schemas: tuple[str, ...]
    open_relations: tuple[str, ...]
    personal: tuple[str, ...]


def look(source: Source) -> Security:
    """Asks the server.

    Raises:
        ConnectionFailed, SourceRefused: see `asking`.
    """
    values = {"schemas": list(source.schemas), "ours": list(OURS)}
    with asking(source, "look at the security") as cursor:
        (about,) = rows(cursor, _ABOUT, values)
        passwords = _passwords(cursor)
        return Security(
            **about,
            superusers=_names(cursor, "SELECT rolname FROM pg_roles WHERE rolsuper AND rolcanlogin ORDER BY 1"),
            connected=_names(cursor, _CONNECTED_SUPERUSERS, values),
            without_password=passwords and passwords[0],
            md5=passwords and passwords[1],
            trusted=_trusted(cursor),
            open_schemas=_names(cursor, _OPEN_SCHEMAS, values),
            open_relations=_names(cursor, _OPEN_RELATIONS, values),
            personal=personal_columns(cursor, source.schemas),
        )


def personal_columns(cursor: Any, schemas: Sequence[str]) -> tuple[str, ...]:
    """Columns that look like personal data by their names, as "schema.table.column"; empty `schemas` mean all of users'."""
    columns = rows(cursor, _COLUMNS, {"schemas": list(schemas)})
    found = [(row["table"], row["column"]) for row in columns if _looks_personal(row["column"])]
    tables = {table for table, _ in found}
    found += [
        (row["table"], row["column"]) for row in columns if row["column"].lower() == "name" and row["table"] in tables
    ]
    return tuple(sorted(f"{table}.{column}" for table, column in found))


def _looks_personal(column: str) -> bool:
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", column).lower()  # EmailAddress is email_address
    return bool(_PERSONAL.search(name)) and not _REFERENCE.search(name)


def findings(seen: Security, asked: Compliance | None, tables: Tables | None = None) -> Iterator[Finding]:
    """Each departure from what was asked, and what a person should weigh.

    Args:
        tables: what moves, by the profile: personal data that do not, or only masked, ask for no permission.
    """
    if asked is None:
        fix = "write down what is required: [profiles.X.compliance]"
        yield warning("the profile", "it has no section compliance", fix)
    asked = asked or Compliance(require_tls=False)
    yield from _look_at_tls(seen, asked)
    yield from _look_at_roles(seen, asked)
    yield from _look_at_passwords(seen)
    for schema in seen.open_schemas:
        fix = f"REVOKE CREATE ON SCHEMA {schema} FROM PUBLIC"
        yield warning(f"schema {schema}", "everybody may create objects in it", fix)
    for relation in seen.open_relations:
        yield warning(relation, "everybody may use it", f"REVOKE ALL ON {relation} FROM PUBLIC")
    yield from _look_at_personal_data(seen, asked, tables or Tables())


def _look_at_tls(seen: Security, asked: Compliance) -> Iterator[Finding]:
    if seen.tls_used:
        yield note("TLS", "our own connection has it")
    elif asked.require_tls:
        why = "" if seen.tls_offered else ", and the server offers none"
        fix = 'set ssl = on on the server, and sslmode = "verify-full" in the profile'
        yield stop("TLS", f"our own connection has none{why}", fix)
    else:
        fix = "set ssl = on, then compliance.require_tls = true"
        yield warning("TLS", "our own connection has none, and the profile does not ask for it", fix)
    if seen.plain_clients:
        severity: Severity = "stop" if asked.require_tls else "warning"
        fix = "demand it with hostssl in pg_hba.conf"
        yield Finding(severity, "TLS", f"{seen.plain_clients} clients on other hosts are connected without it", fix)


def _look_at_roles(seen: Security, asked: Compliance) -> Iterator[Finding]:
    for each in seen.connected:
        role, _, application = each.partition(" · ")
        if role not in asked.superusers:
            yield stop(f"application {application}", f"it is connected as the superuser {role}", "give it a role of its own with the rights it needs, or name that role in compliance.superusers")  # fmt: skip
    if seen.superuser:
        fix = "SELECT on the tables and pg_monitor are enough"
        yield warning(f"role {seen.role}", "the migration itself connects as a superuser", fix)
    yield note("superusers", f"{', '.join(seen.superusers) or 'none'} may log in")


def _look_at_passwords(seen: Security) -> Iterator[Finding]:
    if seen.encryption != "scram-sha-256":
        fix = "set password_encryption = 'scram-sha-256', then let every role set its password again"
        yield stop("password_encryption", f"new passwords are kept as {seen.encryption}", fix)
    for roles, what in ((seen.without_password, "without a password"), (seen.md5, "with an MD5 password")):
        for role in roles or ():
            yield warning(f"role {role}", f"it may log in {what}", f"\\password {role}, or ALTER ROLE {role} NOLOGIN")
    for line in seen.trusted or ():
        fix = "use scram-sha-256 instead of trust"
        yield stop("pg_hba.conf", f"it lets in over the network without a password: {line}", fix)
    hidden = [
        name
        for name, value in (("how passwords are kept", seen.without_password), ("pg_hba.conf", seen.trusted))
        if value is None
    ]
    if hidden:
        fix = "ask the database's administrator"
        yield unchecked(f"role {seen.role}", f"it may not see {' and '.join(hidden)}; a superuser can", fix)


def _look_at_personal_data(seen: Security, asked: Compliance, tables: Tables) -> Iterator[Finding]:
    declared = asked.personal
    known = [c for c in seen.personal if any(fnmatchcase(c, glob) for glob in declared or ())]
    kept = [c for c in seen.personal if _is_kept(c, tables)]
    unknown = [c for c in seen.personal if c not in known and c not in kept]
    if kept:
        yield note(", ".join(kept), "personal data that the profile leaves where they are, or masks")
    if known:
        yield note(", ".join(known), "personal data, declared in compliance.personal")
    if unknown:
        yield Finding("warning" if declared is None else "stop", ", ".join(unknown), "looks like personal data by its name",
                      "settle its purpose and place, then name it in compliance.personal")  # fmt: skip


def _is_kept(column: str, tables: Tables) -> bool:
    """Whether a column does not move, or only masked."""
    schema, table, name = (*column.split(".", 2), "", "")[:3]
    if globs.match(schema, table, [*tables.exclude, *tables.stay]):
        return True
    if tables.include and not globs.match(schema, table, tables.include):
        return True
    found = tables.matched(schema, table)
    return bool(found and (name in found[1].omit or name in found[1].mask))


def _passwords(cursor: Any) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    if not postgres.value(cursor, "SELECT has_table_privilege('pg_authid', 'SELECT')"):
        return None
    sql = "SELECT rolname FROM pg_authid WHERE rolcanlogin AND {} ORDER BY 1"
    return _names(cursor, sql.format("rolpassword IS NULL")), _names(cursor, sql.format("rolpassword ~ '^md5'"))


def _trusted(cursor: Any) -> tuple[str, ...] | None:
    sees = "has_table_privilege('pg_hba_file_rules', 'SELECT') AND has_function_privilege('pg_hba_file_rules()', 'EXECUTE')"
    if not postgres.value(cursor, f"SELECT {sees}"):
        return None
    return _names(
        cursor,
        "SELECT concat_ws(' ', type, array_to_string(database, ','), array_to_string(user_name, ','), address) FROM pg_hba_file_rules "
        "WHERE auth_method = 'trust' AND type <> 'local' ORDER BY line_number",
    )


def _names(cursor: Any, sql: str, values: dict[str, Any] | None = None) -> tuple[str, ...]:
    return tuple(str(each) for row in rows(cursor, sql, values) for each in row.values())


_ABOUT = """
    SELECT current_user::text AS role, r.rolsuper AS superuser, current_setting('server_version_num')::int AS version,
           current_setting('password_encryption') AS encryption, current_setting('ssl')::bool AS tls_offered,
           coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false) AS tls_used,
           (SELECT count(*)::int FROM pg_stat_activity a JOIN pg_stat_ssl s USING (pid)
            WHERE NOT s.ssl AND a.client_addr IS NOT NULL AND NOT a.client_addr <<= '127.0.0.0/8' AND a.client_addr <> '::1'
              AND a.datname = current_database() AND a.application_name NOT LIKE ALL (%(ours)s)) AS plain_clients
    FROM pg_roles r WHERE r.rolname = current_user
"""
_CONNECTED_SUPERUSERS = """
    SELECT DISTINCT r.rolname || ' · ' || coalesce(nullif(a.application_name, ''), '(no name)')
    FROM pg_stat_activity a JOIN pg_roles r ON r.oid = a.usesysid
    WHERE r.rolsuper AND a.datname = current_database() AND a.pid <> pg_backend_pid()
      AND coalesce(a.backend_type, 'client backend') = 'client backend' AND a.application_name NOT LIKE ALL (%(ours)s)
    ORDER BY 1
"""
_OPEN_SCHEMAS = f"""
    SELECT {as_bytes("n.nspname")} FROM pg_namespace n CROSS JOIN LATERAL aclexplode(n.nspacl) g
    WHERE g.grantee = 0 AND g.privilege_type = 'CREATE' AND n.nspname !~ '^pg_'
      AND (cardinality(%(schemas)s::text[]) = 0 OR n.nspname = ANY (%(schemas)s)) ORDER BY 1
"""
_OPEN_RELATIONS = f"""
    SELECT DISTINCT {as_bytes("n.nspname || '.' || c.relname")}
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace CROSS JOIN LATERAL aclexplode(c.relacl) g
    WHERE g.grantee = 0 AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND {OF_USERS} ORDER BY 1
"""
_COLUMNS = f"""
    SELECT {as_bytes("n.nspname || '.' || c.relname")} AS table, {as_bytes("a.attname")} AS column
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND {OF_USERS}
    ORDER BY 1, a.attnum
"""
