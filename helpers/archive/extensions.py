"""Extensions of a dumped database on a server that may lack them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import psycopg2

from helpers.errors import BackupError
from helpers.platforms import postgres
from helpers.platforms.faults import postgres as faults
from helpers.platforms.postgres import identifier, literal
from helpers.settings import Source
from helpers.source.asking import asking

_ENTRY = re.compile(r'\d+; \d+ \d+ (?:EXTENSION -|COMMENT - EXTENSION) "?(.+?)"?\s*$')

_MEMBERS = """
SELECT e.extname, d.classid = 'pg_proc'::regclass AND p.prokind = 'f', n.nspname, p.proname, pg_get_function_arguments(p.oid),
    pg_get_function_result(p.oid), CASE p.provolatile WHEN 'i' THEN 'IMMUTABLE' WHEN 's' THEN 'STABLE' ELSE 'VOLATILE' END,
    p.proisstrict
FROM pg_extension e JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
LEFT JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid LEFT JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE e.extname = ANY(%s)
"""

_TO_THE_OWNER = """
SELECT format('GRANT USAGE ON FOREIGN DATA WRAPPER %%I TO %%I', fdwname, %(owner)s) FROM pg_foreign_data_wrapper
UNION ALL
SELECT format('GRANT ALL ON %%s TO %%I', c.oid::regclass, %(owner)s) FROM pg_class c JOIN pg_depend d ON d.objid = c.oid
WHERE d.classid = 'pg_class'::regclass AND d.deptype = 'e' AND c.relkind IN ('r', 'v', 'S')
"""


def named(contents: Iterable[str]) -> list[str]:
    """The extensions that a dump makes or comments on, from the lines of `pg_restore --list`."""
    return list(dict.fromkeys(found[1] for line in contents if (found := _ENTRY.match(line))))


def missing(database: Source, wanted: Sequence[str]) -> list[str]:
    """Those that the database's server does not have."""
    with asking(database, "list the extensions") as cursor:
        cursor.execute("SELECT name FROM pg_available_extensions")
        known = {name for (name,) in cursor.fetchall()}
    return [name for name in wanted if name not in known]


def stand_in(origin: Source | None, database: Source, lacks: Sequence[str]) -> None:
    """Makes shells of the functions of extensions that a server lacks: functions make values, and hold none of a table's.

    Args:
        origin: the dumped database, which knows its extensions' functions; None where it is gone.
        database: where the dump is restored; the schemas are there already.
        lacks: the extensions.

    Raises:
        BackupError: an extension has types, operators or tables as well, without which there would be other values or none.
    """
    shells, more = _functions(origin, lacks) if origin else ([], set(lacks))
    if more:
        raise BackupError(
            "restore the dump",
            on=postgres.address(database),
            why=f"that server lacks the extensions {', '.join(sorted(more))}, whose types the tables may have",
            next_step="install them there, or name a server that has them under [profiles.NAME.backup.restore]",
        )
    with postgres.committing(database, settings={"default_transaction_read_only": "off"}) as cursor:
        for statement in shells:
            try:
                cursor.execute(statement)
            except psycopg2.Error as error:
                doing = f"stand in for a function of {', '.join(lacks)}"
                raise BackupError(
                    doing, on=postgres.address(database), why=faults.said(error),
                    next_step="name a server that has the extension under [profiles.NAME.backup.restore]",
                ) from None  # fmt: skip


def _functions(origin: Source, lacks: Sequence[str]) -> tuple[list[str], set[str]]:
    """Statements for shells, and the extensions that have more than functions."""
    with asking(origin, "list the functions of extensions") as cursor:
        cursor.execute(_MEMBERS, (list(lacks),))
        members: list[Any] = cursor.fetchall()
    more = {member[0] for member in members if not member[1]} | (set(lacks) - {member[0] for member in members})
    said = "the extension {} is not on the server of this restore"
    return [
        f"CREATE FUNCTION {identifier(schema, name)}({arguments}) RETURNS {result} LANGUAGE plpgsql {volatile}"
        f"{' STRICT' if strict else ''} AS {literal(f'BEGIN RAISE EXCEPTION {literal(said.format(extension))}; END')}"
        for extension, _, schema, name, arguments, result, volatile, strict in members
        if extension not in more
    ], more


def give(admin: Source, owner: str) -> None:
    """Gives the role that restores what it needs of extensions that a superuser has made for it."""
    with postgres.committing(admin, settings={"default_transaction_read_only": "off"}) as cursor:
        cursor.execute(_TO_THE_OWNER, {"owner": owner})
        for (statement,) in cursor.fetchall():
            cursor.execute(statement)
