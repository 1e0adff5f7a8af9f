"""Faults of a PostgreSQL server and what a person is told of them: class, exit code, whether it may pass, and the cure.

Would catch: a missing right told as a table that moved, a wrong password that is tried again until the account is locked, a
connection that was cut and is taken for a full bucket.
"""

from __future__ import annotations

import select
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import duckdb
import psycopg2
import pytest
from pydantic import SecretStr
from waiting import wait_for

from helpers.errors import ConnectionFailed, MigrationError, SourceFailed, SourceRefused
from helpers.platforms import duck, postgres
from helpers.platforms.faults import duck as duck_faults
from helpers.platforms.faults import postgres as faults
from helpers.platforms.postgres import literal
from helpers.settings import Source
from helpers.source import snapshot as snapshots
from helpers.source.asking import asking
from helpers.source.catalog import read_catalog


@pytest.fixture(scope="module")
def migration(fresh_migration: Any) -> Iterator[Any]:
    """One database for all of them: none of these faults leaves anything."""
    with fresh_migration() as found:
        yield found


@contextmanager
def _role(migration: Any) -> Iterator[Source]:
    """A role that may do nothing, and the source as it sees it."""
    name = f"reader_{migration.settings.source.dbname}"
    migration.source(f"CREATE ROLE {name} LOGIN PASSWORD 'of-the-reader'", f"GRANT {name} TO CURRENT_USER")
    try:
        yield migration.settings.source.model_copy(update={"user": name, "password": SecretStr("of-the-reader")})
    finally:
        migration.source(f"DROP OWNED BY {name}", f"DROP ROLE {name}")


ENTRIES: dict[str, tuple[dict[str, Any], bool, str]] = {
    "wrong password": ({"password": SecretStr("wrong-password")}, False, "correct user and password"),
    "no password": ({"password": None}, False, "correct user and password"),
    "no such role": ({"user": "nobody_here"}, False, "correct user and password"),
    "no such database": ({"dbname": "nowhere"}, False, "correct dbname"),
    "a database that takes no connections": ({"dbname": "template0"}, False, "ALLOW_CONNECTIONS true"),
    "nobody listens": ({"port": 1}, True, "check that the server runs"),
    "no such host": ({"host": "no-such-host.invalid"}, False, "correct host"),
    "TLS that it lacks": ({"sslmode": "require"}, False, "does not speak TLS"),
}  # fmt: skip


@pytest.mark.parametrize("fault", ENTRIES)
def test_a_connection_that_is_refused(migration: Any, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSFILE", "/nowhere")
    changed, transient, cure = ENTRIES[fault]
    source = migration.settings.source.model_copy(update=changed)
    with pytest.raises(ConnectionFailed) as told:
        postgres.connect(source)
    assert (told.value.transient, told.value.exit_code) == (transient, 2), told.value
    assert cure in told.value.next_step
    # DuckDB, which has no code for it, comes to the same answer.
    with closing(duck.connect()) as connection, pytest.raises(duckdb.Error) as raised:
        duck.attach_postgres(connection, source)
    through = duck_faults.told(raised.value, "connect", on="the source")
    assert (type(through), through.transient, through.next_step) == (ConnectionFailed, transient, told.value.next_step)
    assert "password=" not in through.why


@pytest.mark.parametrize(("option", "transient"), [("CONNECTION LIMIT 0", True), ("NOLOGIN", False)])
def test_a_role_that_may_not_enter(migration: Any, option: str, transient: bool) -> None:
    with _role(migration) as source:
        migration.source(f"ALTER ROLE {source.user} {option}")
        with pytest.raises(ConnectionFailed) as told:
            postgres.connect(source)
    assert told.value.transient is transient, told.value
    assert ("CONNECTION LIMIT" if transient else "LOGIN") in told.value.next_step


def test_a_role_that_may_not_connect_to_the_database(migration: Any) -> None:
    with _role(migration) as source:
        migration.source(f"REVOKE CONNECT ON DATABASE {source.dbname} FROM PUBLIC")
        with pytest.raises(ConnectionFailed) as told:
            postgres.connect(source)
        migration.source(f"GRANT CONNECT ON DATABASE {source.dbname} TO PUBLIC")
    assert (told.value.transient, "GRANT CONNECT ON DATABASE" in told.value.next_step) == (False, True), told.value


def _lock(source: Source, *, views: bool = False) -> None:
    with postgres.reading(source) as cursor:
        snapshots.lock(cursor, read_catalog(cursor, include_views=views).tables, timeout_seconds=0.3)


def test_missing_rights_are_told_all_at_once_as_statements_that_grant_them(migration: Any) -> None:
    migration.source(
        "CREATE SCHEMA \"Hidden\"", 'CREATE TABLE "Hidden".a (id int)', 'CREATE TABLE "Hidden"."B b" (id int)',
        "CREATE TABLE parts (id int) PARTITION BY LIST (id)", "CREATE TABLE part PARTITION OF parts FOR VALUES IN (1)",
        "CREATE TABLE open (id int)", "CREATE TABLE guarded (id int)", "ALTER TABLE guarded ENABLE ROW LEVEL SECURITY",
        "CREATE MATERIALIZED VIEW never AS SELECT 1 AS x WITH NO DATA",
    )  # fmt: skip
    with _role(migration) as source:
        migration.source(f"GRANT SELECT ON open, guarded, never TO {source.user}")
        with pytest.raises(SourceFailed) as told:
            _lock(source, views=True)
        for statement in (
            f'GRANT USAGE ON SCHEMA "Hidden" TO {source.user}',
            f'GRANT SELECT ON "Hidden"."B b", "Hidden".a, public.parts TO {source.user}',
            f"ALTER ROLE {source.user} BYPASSRLS",
            "REFRESH MATERIALIZED VIEW public.never",
        ):
            assert statement in told.value.next_step, told.value
        assert "public.open" not in told.value.next_step
        assert (told.value.exit_code, told.value.transient) == (2, False)
        # What it names is what is needed.
        for statement in told.value.next_step.split("run: ")[1].split("; "):
            if statement.startswith(("GRANT", "REFRESH")):
                migration.source(statement)
        migration.source("DROP TABLE guarded")
        _lock(source, views=True)
    migration.source('DROP SCHEMA "Hidden" CASCADE', "DROP TABLE parts, open", "DROP MATERIALIZED VIEW never")


def test_a_missing_right_outside_of_an_export_is_told_as_its_statement(migration: Any) -> None:
    migration.source(
        'CREATE SCHEMA "Apart"', 'CREATE TABLE "Apart"."Odd one" (id int)', 'CREATE TABLE "order" (id int)'
    )
    odd, order = 'SELECT * FROM "Apart"."Odd one"', 'SELECT * FROM public."order"'
    with _role(migration) as source:
        for sql, cure in (
            (odd, f'GRANT USAGE ON SCHEMA "Apart" TO {source.user};'),
            (odd, f'GRANT SELECT ON "Apart"."Odd one" TO {source.user};'),
            (order, f'GRANT SELECT ON public."order" TO {source.user};'),
        ):
            with pytest.raises(SourceFailed) as told:
                _asked(sql)(source)
            with pytest.raises(SourceFailed) as assessed, asking(source, "add up") as cursor:
                cursor.execute(sql)
            assert all(cure in each.value.next_step for each in (told, assessed)), assessed.value
            migration.source(cure)
        _asked(odd)(source)
        with pytest.raises(SourceFailed, match="pg_monitor"), asking(source, "look") as cursor:
            cursor.execute("SELECT * FROM pg_authid")
    migration.source('DROP SCHEMA "Apart" CASCADE', 'DROP TABLE "order"')


def test_two_lines_of_libpq_are_two_sentences(migration: Any) -> None:
    with pytest.raises(ConnectionFailed, match="Connection refused; Is the server running"):
        postgres.connect(migration.settings.source.model_copy(update={"port": 1}))


def _asked(sql: str, *settings: str) -> Callable[[Source], None]:
    def ask(source: Source) -> None:
        with closing(postgres.connect(source)) as connection, connection.cursor() as cursor:
            try:
                for each in settings:
                    cursor.execute(f"SET LOCAL {each}")
                cursor.execute(sql)
            except psycopg2.Error as error:
                raise faults.told(error, "ask", on="the source") from None

    return ask


def _raising(code: str, text: str) -> Callable[[Source], None]:
    """What cannot be brought about here: the server itself raises it with its code."""
    return _asked(f"DO $$BEGIN RAISE EXCEPTION USING ERRCODE = {literal(code)}, MESSAGE = {literal(text)}; END$$")


def _cancelled(how: str) -> Callable[[Source], None]:
    def ask(source: Source) -> None:
        with closing(postgres.connect(source)) as connection, connection.cursor() as cursor:
            pid = connection.info.backend_pid

            def strike() -> None:
                def asleep() -> bool:
                    hand.execute(
                        "SELECT count(*) FROM pg_stat_activity WHERE pid = %s AND wait_event = 'PgSleep'", [pid]
                    )
                    return bool(hand.fetchone() == (1,))

                with closing(postgres.connect(source)) as other, other.cursor() as hand:
                    other.autocommit = True
                    wait_for(asleep)
                    hand.execute(f"SELECT {how}(%s)", [pid])

            threading.Thread(target=strike).start()
            try:
                cursor.execute("SELECT pg_sleep(200)")
            except psycopg2.Error as error:
                raise faults.told(error, "ask", on="the source") from None

    return ask


def _gone_snapshot(source: Source) -> None:
    with snapshots.reading(source, "00000003-00000FFF-1"):
        pass


def _locked(source: Source) -> None:
    with closing(postgres.connect(source)) as connection, connection.cursor() as cursor:
        cursor.execute("LOCK TABLE public.t")
        _lock(source)


def _idle(source: Source) -> None:
    with closing(postgres.connect(source)) as connection, connection.cursor() as cursor:
        cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 100")
        select.select([connection], [], [], 60)  # until the server has said that it ends the session
        try:
            cursor.execute("SELECT 1")
        except psycopg2.Error as error:
            raise faults.told(error, "ask", on="the source") from None


STATEMENTS: dict[str, tuple[Callable[[Source], None], type[MigrationError], bool, str]] = {
    "statement_timeout": (_asked("SELECT pg_sleep(9)", "statement_timeout = 100"), SourceFailed, False, "statement_timeout"),
    "cancelled by somebody": (_cancelled("pg_cancel_backend"), SourceFailed, False, "the query was cancelled"),
    # psycopg2 keeps only libpq's own words of a connection that ended, so that the reason stands in the server's log.
    "ended by somebody": (_cancelled("pg_terminate_backend"), ConnectionFailed, True, "an administrator"),
    "a stronger lock": (_locked, SourceFailed, True, "pg_locks"),
    "a snapshot that is gone": (_gone_snapshot, SourceRefused, False, "export again under a new snapshot"),
    "idle in transaction": (_idle, ConnectionFailed, True, "an idle time-out"),
    "no such table": (_asked("SELECT * FROM public.gone"), SourceRefused, False, "export again"),
    "a right": (_asked("SELECT * FROM pg_authid"), SourceFailed, False, "grant what the message names"),
    "disk full there": (_raising("53100", "could not extend file: No space left on device"), SourceFailed, False, "free space on the source"),
    "out of locks": (_raising("53200", "out of shared memory"), SourceFailed, False, "max_locks_per_transaction"),
    "too many connections": (_raising("53300", "sorry, too many clients already"), ConnectionFailed, True, "max_connections"),
    "snapshot too old": (_raising("72000", "snapshot too old"), SourceRefused, False, "new snapshot"),
    "a standby's conflict": (_raising("40001", "canceling statement due to conflict with recovery"), SourceFailed, True, "hot_standby_feedback = on"),
    "a serialization failure": (_raising("40001", "could not serialize access"), SourceFailed, True, "run the same command again"),
    "a deadlock": (_raising("40P01", "deadlock detected"), SourceFailed, True, "waited for each other"),
    "starting": (_raising("57P03", "the database system is starting up"), ConnectionFailed, True, "once it is up"),
    "a transaction's time-out": (_raising("25P04", "terminating connection due to transaction timeout"), ConnectionFailed, False, "transaction_timeout"),
    "a damaged block": (_raising("XX001", "invalid page in block 7 of relation base/1/2"), SourceFailed, False, "damaged"),
    "a text without UTF-8": (_raising("22P05", "character has no equivalent in encoding UTF8"), SourceRefused, False, "UTF-8"),
    "what nobody knows": (_raising("P0001", "an own error"), SourceFailed, False, "mend the cause in the source"),
}  # fmt: skip


@pytest.mark.parametrize("fault", STATEMENTS)
def test_a_statement_that_fails(migration: Any, fault: str) -> None:
    migration.source("CREATE TABLE IF NOT EXISTS t (id int)")
    ask, kind, transient, cure = STATEMENTS[fault]
    with pytest.raises(MigrationError) as told:
        ask(migration.settings.source)
    assert (type(told.value), told.value.transient) == (kind, transient), told.value
    assert cure in told.value.next_step, told.value
    assert told.value.exit_code == (1 if kind is SourceRefused else 2)
    assert "\n" not in told.value.why


@pytest.mark.parametrize(
    "fault", [name for name, (ask, *_) in STATEMENTS.items() if ask.__qualname__.startswith(("_asked", "_raising"))]
)
def test_duckdb_has_the_same_answer_by_the_text_alone(migration: Any, fault: str) -> None:
    ask, kind, transient, _ = STATEMENTS[fault]
    with pytest.raises(MigrationError) as by_code:
        ask(migration.settings.source)
    if fault == "what nobody knows":
        return
    error = Exception(f"IO Error: Failed to fetch header for COPY: ERROR:  {by_code.value.why}\n")
    told = duck_faults.told(error, "ask", on="the source")
    assert (type(told), told.transient, told.next_step) == (kind, transient, by_code.value.next_step)


OPENINGS = (
    'Failed to execute query "BEGIN": ', 'Binder Error: Failed to prepare query "SELECT id FROM t": ',
    'Binder Error: Failed to prepare query "SELECT id FROM t" (no result returned): ',
    "Binder Error: Failed to describe prepared statement: ", "IO Error: Failed to fetch header for COPY: ",
    "IO Error: Unable to read binary COPY data from Postgres: ",
)  # fmt: skip
WITHOUT_WORDS = (
    'IO Error: Failed to fetch header for COPY "COPY (SELECT 1) TO STDOUT"', "IO Error: buffer_ptr not set in CheckHeader",
    "IO Error: Unable to read binary COPY data, invalid header", "INTERNAL Error: Connection reset failure",
    "IO Error: Expected Postgres binary COPY header, got something else", "INTERNAL Error: PostgresConnection::GetConn - no connection available",
)  # fmt: skip
OF_LIBPQ = (
    "server closed the connection unexpectedly\n\tThis probably means the server terminated abnormally\n", "SSL error: unexpected eof while reading\n",
    "could not receive data from server: Connection reset by peer\n", "SSL SYSCALL error: EOF detected\n", "no connection to the server\n",
    "could not send data to server: Broken pipe\n", "lost synchronization with server: got message type \"x\", length 7\n", "",
    "message contents do not agree with length in message type \"D\"\n", "SSL error: decryption failed or bad record mac\n",
)  # fmt: skip
"""What libpq 18 says of a connection that ends (fe-misc.c, fe-secure.c, fe-secure-openssl.c, fe-protocol3.c and fe-exec.c in
https://github.com/postgres/postgres/tree/REL_18_STABLE/src/interfaces/libpq)."""


@pytest.mark.parametrize("where", ["", "\n\nLINE 1: FROM postgres_query('source', 'SELECT id FROM t')\n             ^"])
def test_a_connection_that_ends_under_duckdb_is_lost_wherever_it_was(where: str) -> None:
    for text in (*(opening + words for opening in OPENINGS for words in OF_LIBPQ), *WITHOUT_WORDS):
        error = Exception(text + where)
        assert duck_faults.is_of_the_source(error), text
        told = duck_faults.told(error, "read", on="the source")
        assert (type(told), told.transient) == (ConnectionFailed, True), text
        assert told.why and "postgres_query" not in told.why, text


@pytest.mark.parametrize("opening", OPENINGS)
def test_what_a_server_says_in_another_language_is_not_a_connection_that_ended(opening: str) -> None:
    told = duck_faults.told(Exception(f"{opening}FEHLER:  Relation »t« existiert nicht\n"), "read", on="the source")
    assert not told.transient


def test_a_row_stays_out_of_the_message(migration: Any) -> None:
    migration.source("CREATE TABLE people (id int NOT NULL, secret text)")
    with pytest.raises(SourceFailed) as told:
        _asked("INSERT INTO public.people VALUES (NULL, 'of-a-person')")(migration.settings.source)
    assert "of-a-person" not in str(told.value)
    assert "null value in column" in told.value.why
