"""Snowflake: how we log in, what our role may do, and what lies where the tables go; no question of it starts a warehouse."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any

from helpers import engines
from helpers.certify.scratch import PREFIX
from helpers.doctor import certification, snowflake_rights, tables
from helpers.doctor.subject import Subject
from helpers.engines.snowflake.cost import CREDITS_PER_HOUR
from helpers.engines.snowflake.records import SCHEMA_SUFFIX
from helpers.errors import LoadError, MigrationError
from helpers.finding import Finding, Severity, failed, note, stop, warning
from helpers.platforms import snowflake, snowflake_login, snowflake_parameters
from helpers.platforms.snowflake import Session, identifier, literal
from helpers.settings import Compliance, Settings, Snowflake
from helpers.settings.snowflake import METHODS

ADMINISTRATORS = frozenset({"ACCOUNTADMIN", "ORGADMIN", "SECURITYADMIN", "GLOBALORGADMIN"})
"""Roles that may do everything, or let anybody do it
(https://docs.snowflake.com/en/user-guide/security-access-control-overview#system-defined-roles)."""


_SHOWN = 5
"""Tables that a finding names."""


def examine(subject: Subject) -> Iterator[Finding]:
    """The account of the profile, where it has one."""
    settings = subject.settings
    if (target := settings.values.snowflake) is None:
        return
    if "Snowflake" not in settings.stand_ins:  # which answers on this machine alone
        yield from look_at_connection(target, settings.values.compliance or Compliance())
    yield from tables.names(subject, target)
    yield from certification.standing(settings, "snowflake")
    try:
        with snowflake.connect(target) as session:
            yield from _role(session, target)
            lacking = yield from _rights(session, target, subject.schemas(target.schema_), subject.certification_schema)
            awake = yield from _warehouse(session, target, lacking)
            yield from _collations(session, target, subject.schemas(target.schema_))
            yield from _integration(session, settings, lacking)
            yield from _verifier(session, target, subject.schemas(target.schema_))
    except MigrationError as error:
        yield failed("connection", error)
        return
    asleep = "the warehouse sleeps, and asking would start it"
    if lacking:
        asleep = "the role lacks rights"
    yield from tables.owners(subject, engines.destination(target), asleep="" if awake and not lacking else asleep)


def look_at_connection(target: Snowflake, asked: Compliance) -> Iterator[Finding]:
    """How the connection is made: in the clear or not, and with what."""
    on = "login"
    if str(target.connect.get("protocol", "https")).lower() != "https":
        severity: Severity = "stop" if asked.require_tls else "warning"
        yield Finding(severity, "TLS", "the connection is not encrypted (http)", "connect to the account itself, by https")  # fmt: skip
    else:
        yield note("TLS", "the connection is encrypted (https)")
        # https://docs.snowflake.com/en/user-guide/ocsp: both names switch the check of revoked certificates off.
        if target.connect.get("insecure_mode") or target.connect.get("disable_ocsp_checks"):
            what = "a certificate of the server that was revoked would be taken"
            yield warning("TLS", what, "take disable_ocsp_checks and insecure_mode out of `connect`")
    method, how = target.method, f"{target.user} logs in with {snowflake_login.described(target)}"
    if method is None:
        yield stop(on, "the profile names no way to log in", METHODS["snowflake_jwt"].shown, "a key pair, or a token")
    elif target.password:
        yield warning(on, how, f"use a key pair or a token, Snowflake is ending logins by a password: {METHODS['snowflake_jwt'].shown}")  # fmt: skip
    elif method == "externalbrowser":
        yield warning(on, f"{how}: unattended runs are refused", f"name what needs nobody: {METHODS['snowflake_jwt'].shown}")  # fmt: skip
    else:
        yield note(on, how)


def look_at_grants(
    role: str, grants: list[dict[str, Any]], target: Snowflake, schemas: Sequence[str]
) -> Iterator[Finding]:
    """What our role and everybody may do beyond what is needed.

    Args:
        role: ours, as the session has it.
        grants: rows of SHOW GRANTS TO ROLE PUBLIC.
        schemas: that get tables.
    """
    inside = [f"{target.database}.{schema}".upper() for schema in schemas]
    if role.upper() in ADMINISTRATORS:
        yield stop("role", f"the pipeline works as {role}", "give it a role that owns the target's schemas alone")
    for grant in grants:
        name = str(grant.get("name", "")).replace('"', "").upper()
        if any(name == schema or name.startswith(f"{schema}.") for schema in inside):
            what = f"everybody has {grant.get('privilege')} on {name}"
            yield stop("PUBLIC", what, f"REVOKE {grant.get('privilege')} ON {grant.get('granted_on')} {name} FROM ROLE PUBLIC")  # fmt: skip


def _role(session: Session, target: Snowflake) -> Iterator[Finding]:
    (who,) = session.execute(
        "SELECT CURRENT_VERSION() AS VERSION, CURRENT_USER() AS USER_NAME, CURRENT_ROLE() AS ROLE_NAME",
        doing="ask who we are",
    )
    yield note("connection", f"version {who['VERSION']}, as {who['USER_NAME']}, role {who['ROLE_NAME']}")
    if target.role and str(who["ROLE_NAME"]).upper() != target.role.upper():
        fix = f"GRANT ROLE {identifier(target.role)} TO USER {identifier(target.user)}"
        yield stop("role", f"it is {who['ROLE_NAME']}, and the profile names {target.role}", fix, target.role)


def _rights(
    session: Session, target: Snowflake, schemas: Sequence[str], certified_in: str | None
) -> Generator[Finding, None, frozenset[tuple[str, str]]]:
    """What the role lacks; the generator's value is each of it by right and kind of object, so that nothing is told twice."""
    (who,) = session.execute("SELECT CURRENT_ROLE() AS ROLE_NAME, CURRENT_WAREHOUSE() AS WAREHOUSE", doing="ask for our role")  # fmt: skip
    role, warehouse = str(who["ROLE_NAME"]), target.warehouse or who["WAREHOUSE"]
    yield from look_at_grants(role, session.execute("SHOW GRANTS TO ROLE PUBLIC", doing="ask what everybody may do"), target, schemas)  # fmt: skip
    held = _held(session, role)
    present = _schemas(session, target.database)
    of_certifications = certified_in or f"{PREFIX}…"
    wanted = {
        schema: schema in present
        for own in (target.schema_, of_certifications)
        for schema in (*(schemas if own == target.schema_ else (own,)), own + SCHEMA_SUFFIX)
    }
    lacking = snowflake_rights.missing(held, role, target, warehouse and str(warehouse), wanted)
    for lack in lacking:
        yield stop(lack.right, f"{role} does not have it on {lack.on}", lack.cure, lack.needed)
    if not lacking:
        yield note("rights", f"{role} has what a load needs")
    yield from _future(session, role, target)
    return frozenset((lack.right, lack.kind) for lack in lacking)


def _future(session: Session, role: str, target: Snowflake) -> Iterator[Finding]:
    """Whether the role sees what others are going to make: a table that it does not see it cannot refuse before it loads."""
    database = identifier(target.database)
    rows = session.execute(f"SHOW FUTURE GRANTS TO ROLE {identifier(role)}", doing="ask what the role will see")
    of = snowflake_rights.plain(target.database)
    seen = {str(row["grant_on"]) for row in rows if snowflake_rights.plain(str(row["name"])).partition(".")[0] == of}
    for kind in ("TABLE", "VIEW"):
        if kind not in seen:
            fix = f"GRANT SELECT ON FUTURE {kind}S IN DATABASE {database} TO ROLE {identifier(role)}"
            what = f"{role} does not see the {kind.lower()}s that others will make there: one of a name that a load needs is found by the load, not before"  # fmt: skip
            yield warning(f"FUTURE {kind}S", what, fix)


def _verifier(session: Session, target: Snowflake, schemas: Sequence[str]) -> Iterator[Finding]:
    """Whether the role that verifies reaches what the one that loads has there: what it does not see, a verification calls missing.

    Args:
        session: of the role that loads.
    """
    if not target.verify_role:
        return
    role, there = target.verify_role, [schema for schema in schemas if schema in _schemas(session, target.database)]
    tables = {schema: _tables(session, target.database, schema) for schema in there}
    try:
        with snowflake.connect(target.as_verifier) as verifying:
            held = _held(verifying, role)
            lacking = snowflake_rights.missing_to_verify(held, role, target, there)
            for lack in lacking:
                yield stop(lack.right, f"{role} does not have it on {lack.on}", lack.cure, lack.needed)
            if lacking:
                return
            for schema, names in tables.items():
                if unseen := sorted(names - _tables(verifying, target.database, schema)):
                    place, shown = identifier(target.database, schema), ", ".join(unseen[:_SHOWN])
                    what = f"{role} does not see {len(unseen)} tables of {place}: {shown}"
                    fix = f"GRANT SELECT ON ALL TABLES IN SCHEMA {place} TO ROLE {identifier(role)}"
                    yield stop("SELECT", what, fix, "to verify: what it does not see would be called missing")
            yield from _future(verifying, role, target)
    except MigrationError as error:
        yield failed(f"connection as {role}", error)


def _tables(session: Session, database: str, schema: str) -> set[str]:
    rows = session.execute(f"SHOW TABLES IN SCHEMA {identifier(database, schema)}", doing="list the tables")
    return {str(row["name"]) for row in rows}


def _collations(session: Session, target: Snowflake, schemas: Sequence[str]) -> Iterator[Finding]:
    present = _schemas(session, target.database)
    there = [schema for schema in schemas if schema in present]
    for schema, found in snowflake_parameters.overridden(session.execute, identifier, target.database, there):
        name = identifier(target.database, schema)
        what = f"texts of new tables in {name} are compared by {found!r}; a load gives its own tables none"
        yield warning("DEFAULT_DDL_COLLATION", what, f"ALTER SCHEMA {name} UNSET DEFAULT_DDL_COLLATION, or let others' tables be so")  # fmt: skip


def _held(session: Session, role: str) -> list[Mapping[str, Any]]:
    """What a role may do, by itself and by the roles that were granted to it, and what everybody may."""
    found: list[Mapping[str, Any]] = []
    waiting, known = [role, "PUBLIC"], set[str]()
    while waiting:
        one = waiting.pop()
        if one in known:
            continue
        known.add(one)
        for grant in session.execute(f"SHOW GRANTS TO ROLE {identifier(one)}", doing=f"ask what {one} may do"):
            found.append(grant)
            if (grant["granted_on"], grant["privilege"]) == ("ROLE", "USAGE"):
                waiting.append(str(grant["name"]).strip('"'))
    return found


def _schemas(session: Session, database: str) -> set[str]:
    try:
        rows = session.execute(f"SHOW SCHEMAS IN DATABASE {identifier(database)}", doing="list the schemas")
    except LoadError:
        return set()
    return {str(row["name"]) for row in rows}


def _warehouse(
    session: Session, target: Snowflake, lacking: frozenset[tuple[str, str]]
) -> Generator[Finding, None, bool]:
    """Whether there is one, and whether it runs; the generator's value is whether it runs."""
    (who,) = session.execute("SELECT CURRENT_WAREHOUSE() AS NAME", doing="ask for the warehouse")
    name = target.warehouse or who["NAME"]
    if not name:
        yield stop("warehouse", "the profile names none, and the user has no default", "set snowflake.warehouse", "one")
        return False
    rows = session.execute(f"SHOW WAREHOUSES LIKE {literal(name)}", doing="look at the warehouse")
    if ("USAGE", "WAREHOUSE") in lacking:
        return False
    if not rows:
        fix = f"GRANT USAGE ON WAREHOUSE {identifier(name)} TO ROLE {identifier(target.role or 'PUBLIC')}"
        yield stop("warehouse", f"there is none of the name {name} for this role", fix, "one that the role may use")
        return False
    (found, *_) = rows
    hour = CREDITS_PER_HOUR.get(str(found.get("size")))
    costs = (
        f", {hour} credits an hour" + (f" ({hour * target.credit_price:g})" if target.credit_price else "")
        if hour
        else ""
    )
    yield note("warehouse", f"{name}, {found.get('size')}{costs}, {str(found.get('state')).lower()}, suspends itself after {found.get('auto_suspend')} s")  # fmt: skip
    return str(found.get("state")).upper() in ("STARTED", "RESUMING")


def _integration(session: Session, settings: Settings, lacking: frozenset[tuple[str, str]]) -> Iterator[Finding]:
    """Whether Snowflake itself may read the stage."""
    target, stage = settings.snowflake, settings.values.stage
    if stage is None:
        return
    if not target.storage_integration:
        if not (stage.access_key and stage.secret_key):
            fix = 'set storage_integration = "…" under the profile\'s snowflake section'
            yield stop("storage integration", "the profile names neither one nor keys for the stage", fix, "a way for Snowflake to read the stage")  # fmt: skip
        return
    if ("USAGE", "INTEGRATION") in lacking:
        return
    name = identifier(target.storage_integration)
    try:
        rows = session.execute(f"DESC INTEGRATION {name}", doing="look at the storage integration")
    except LoadError as error:
        fix = f"GRANT USAGE ON INTEGRATION {name} TO ROLE {identifier(target.role or 'PUBLIC')}"
        yield stop("storage integration", f"it may not be looked at, or is not there: {error.why}", fix, "USAGE: the load reads the stage through it")  # fmt: skip
        return
    told = {str(row["property"]): str(row["property_value"]) for row in rows}
    allowed = [each.strip() for each in told.get("STORAGE_ALLOWED_LOCATIONS", "").split(",") if each.strip()]
    url = stage.url if stage.url.endswith("/") else f"{stage.url}/"
    if told.get("ENABLED", "true").lower() != "true":
        yield stop("storage integration", "it is switched off", f"ALTER STORAGE INTEGRATION {name} SET ENABLED = TRUE", "one that is on")  # fmt: skip
    elif allowed and not any(each == "*" or url.startswith(each) for each in allowed):
        fix = f"ALTER STORAGE INTEGRATION {name} SET STORAGE_ALLOWED_LOCATIONS = ({', '.join(literal(each) for each in [*allowed, url])})"  # fmt: skip
        yield stop("storage integration", f"it reads {', '.join(allowed)}", fix, url)
    else:
        yield note("storage integration", f"it reads {', '.join(allowed) or 'every location'}")
