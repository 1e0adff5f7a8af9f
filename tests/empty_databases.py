"""Databases that are made once a process and emptied between tests: that costs a tenth of making them anew.

What emptying cannot undo, such as an object of another role or a setting of the database itself, is not looked for by name:
where the catalogs are not as they were at first, the database goes, and the next test gets a new one.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

import psycopg2

from helpers.platforms import postgres
from helpers.settings import Source
from helpers.source import held_snapshots

OF_THE_SERVER = """
SELECT datdba, datacl::text, datallowconn, datconnlimit, datistemplate, shobj_description(d.oid, 'pg_database'),
    (SELECT count(*) FROM pg_db_role_setting s WHERE s.setdatabase = d.oid),
    (SELECT count(*) FROM pg_replication_slots s WHERE s.database = d.datname),
    (SELECT count(*) FROM pg_prepared_xacts x WHERE x.database = d.datname)
FROM pg_database d WHERE datname = current_database()
"""
CATALOGS = """
SELECT string_agg(
    format('SELECT count(*), max(oid::bigint) FILTER (WHERE %L <> ''pg_namespace'') FROM %I.%I', relname, nspname, relname),
    ' UNION ALL ' ORDER BY relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
WHERE nspname = 'pg_catalog' AND relkind = 'r' AND NOT relisshared AND has_table_privilege(c.oid, 'SELECT')
    AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND attname = 'oid')
"""
EMPTIES = """
DO $$
DECLARE statement text;
BEGIN
    FOR statement IN
        SELECT format('DROP SCHEMA %I CASCADE', nspname) FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
        UNION ALL SELECT format('DROP PUBLICATION %I', pubname) FROM pg_publication
        UNION ALL SELECT format('SELECT lo_unlink(%s)', oid) FROM pg_largeobject_metadata
    LOOP
        EXECUTE statement;
    END LOOP;
END $$;
CREATE SCHEMA public AUTHORIZATION pg_database_owner;
GRANT USAGE ON SCHEMA public TO PUBLIC;
COMMENT ON SCHEMA public IS 'standard public schema';
"""
# Not DROP OWNED: since PostgreSQL 16 that takes back the memberships, too, which the role gave in any database.
SESSIONS = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
WHERE datname = %s AND backend_type IN ('client backend', 'walsender')
"""
PUBLIC = "SELECT nspowner, nspacl::text, obj_description(oid) FROM pg_namespace WHERE nspname = 'public'"


class EmptyDatabases:
    """A pool of empty databases on one server, of this process alone.

    Args:
        server: where they are made; its role must be allowed to.
    """

    def __init__(self, server: Source) -> None:
        self._server = server
        self._numbers = itertools.count(1)
        self._free: list[str] = []
        self._fresh: dict[str, Any] = {}

    @contextmanager
    def one(self) -> Iterator[str]:
        """The name of an empty database, for the length of a block."""
        name = self._free.pop() if self._free else self._made()
        try:
            yield name
        finally:
            if self._emptied(name):
                self._free.append(name)
            else:
                self._drop(name)

    def drop(self) -> None:
        """Drops those that nobody uses."""
        while self._free:
            self._drop(self._free.pop())

    def _made(self) -> str:
        name = f"test_{os.getpid()}_{next(self._numbers)}"
        with self._session() as cursor:
            cursor.execute(f"CREATE DATABASE {name}")
        with self._session(name) as cursor:
            self._fresh[name] = _state(cursor)
        return name

    def _emptied(self, name: str) -> bool:
        for held in held_snapshots.held():
            if held.source == postgres.address(self._server.model_copy(update={"dbname": name})):
                held_snapshots.release(held)
        with suppress(psycopg2.Error):
            with self._session() as cursor:
                cursor.execute(f"ALTER DATABASE {name} RESET ALL")
                cursor.execute(
                    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", [name]
                )
            with self._session(name) as cursor:
                cursor.execute(EMPTIES)
                return bool(_state(cursor) == self._fresh[name])
        return False

    def _drop(self, name: str) -> None:
        with self._session() as cursor:
            postgres.drop_database(cursor, name)

    @contextmanager
    def _session(self, name: str | None = None) -> Iterator[Any]:
        source = self._server.model_copy(update={"dbname": name}) if name else self._server
        with closing(postgres.connect(source, settings={"default_transaction_read_only": "off"})) as connection:
            connection.autocommit = True
            yield connection.cursor()


def _state(cursor: Any) -> list[Any]:
    """What makes a database an empty one: how many objects each catalog has, and the newest of them."""
    cursor.execute(CATALOGS)
    (catalogs,) = cursor.fetchone()
    found = []
    for query in (OF_THE_SERVER, catalogs, PUBLIC):
        cursor.execute(query)
        found.append(cursor.fetchall())
    return found
