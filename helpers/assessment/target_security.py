"""How the target is protected: the same questions as the assessment asks of the source, where the data is now."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from helpers.assessment import access
from helpers.engines import destination
from helpers.errors import LoadError, MigrationError
from helpers.finding import Finding, Severity, note, stop, warning
from helpers.platforms import snowflake
from helpers.settings import Compliance, Settings, Snowflake

ADMINISTRATORS = frozenset({"ACCOUNTADMIN", "ORGADMIN", "SECURITYADMIN", "GLOBALORGADMIN"})
"""Roles that may do everything, or let anybody do it
(https://docs.snowflake.com/en/user-guide/security-access-control-overview#system-defined-roles)."""


def findings(settings: Settings) -> Iterator[Finding]:
    """Asks the target and the stage; changes nothing.

    Args:
        settings: the profile, whose section `compliance` says what is demanded.
    """
    if settings.values.snowflake is None:
        why = "nobody has asked how it is protected: only Snowflake's encryption, authentication and rights are asked here"
        yield stop(
            destination(settings.main_target).where, why, "look at them by hand, and keep what you find with the run"
        )
        yield from access.try_stage(settings, write=False)
        return
    target, asked = settings.snowflake, settings.values.compliance or Compliance()
    stand_in = settings.values.stack == "local"
    yield from look_at_connection(target, asked)
    yield from access.try_snowflake(target, write=False, stand_in=stand_in)
    if not stand_in:
        yield from _look_at_rights(target)
    yield from access.try_stage(settings, write=False)


def look_at_connection(target: Snowflake, asked: Compliance) -> Iterator[Finding]:
    """How the connection is made: in the clear or not, with a password or a key."""
    on = snowflake.address(target)
    if str(target.connect.get("protocol", "https")).lower() != "https":
        severity: Severity = "stop" if asked.require_tls else "warning"
        yield Finding(severity, on, "the connection is not encrypted (http)", "connect to the account itself, by https")
    else:
        yield note(on, "the connection is encrypted (https)")
        # https://docs.snowflake.com/en/user-guide/ocsp: both names switch the check of revoked certificates off.
        if target.connect.get("insecure_mode") or target.connect.get("disable_ocsp_checks"):
            what = "a certificate of the server that was revoked would be taken"
            yield warning(on, what, "take disable_ocsp_checks and insecure_mode out of `connect`")
    if target.private_key_file is None:
        yield warning(on, f"{target.user} logs in with a password", "use a key pair: private_key_file")


def look_at_grants(role: str, grants: list[dict[str, Any]], target: Snowflake) -> Iterator[Finding]:
    """What our role and everybody may do.

    Args:
        role: ours, as the session has it.
        grants: rows of SHOW GRANTS TO ROLE PUBLIC.
    """
    on, inside = snowflake.address(target), f"{target.database}.{target.schema_}".upper()
    if role.upper() in ADMINISTRATORS:
        yield stop(on, f"the pipeline works as {role}", "give it a role that owns the target's schema alone")
    for grant in grants:
        name = str(grant.get("name", "")).replace('"', "").upper()
        if name == inside or name.startswith(f"{inside}."):
            what = f"everybody has {grant.get('privilege')} on {name}"
            yield stop(on, what, f"REVOKE {grant.get('privilege')} ON {grant.get('granted_on')} {name} FROM ROLE PUBLIC")  # fmt: skip


def _look_at_rights(target: Snowflake) -> Iterator[Finding]:
    try:
        with snowflake.connect(target) as session:
            (who,) = session.execute("SELECT CURRENT_ROLE() AS ROLE_NAME", doing="ask for our role")
            grants = list(session.execute("SHOW GRANTS TO ROLE PUBLIC", doing="ask what everybody may do"))
    except (MigrationError, LoadError) as error:
        why = f"who may do what could not be asked: {error.why}"
        yield stop(snowflake.address(target), why, error.next_step)
        return
    yield from look_at_grants(str(who["ROLE_NAME"]), grants, target)
