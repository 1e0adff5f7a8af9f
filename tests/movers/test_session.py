"""What a role, a database or a pooler sets changes no answer: it is set and read back where we read, or refused.

Would catch: a date, a float or a time that arrives as a role's settings print it, rows that a policy hides under the word
"equal", a time-out of the role that ends a snapshot, a function or an operator of another role that runs as the migration's, a
table that was exchanged for a view, a program that is told something which never reaches it.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import duckdb
import psycopg2
import pytest
from pydantic import SecretStr

from helpers import PROJECT
from helpers.archive import backup
from helpers.assessment import growth, integrations, inventory, security
from helpers.cutover import rollback
from helpers.errors import MigrationError, SessionRefused
from helpers.platforms import duck, pg_session, postgres
from helpers.settings import Settings, Source
from helpers.source import freeze, held_snapshots, readers, snapshot
from helpers.source import survey as assess
from helpers.source.catalog import read_catalog
from helpers.verify.plan import Options
from helpers.verify.selection import Selection

NASTY = (
    """CREATE TABLE nasty (id int PRIMARY KEY, days date[], stamps timestamptz[], at timestamptz, f float8[], one float8, raw bytea[],
        span interval, price money, number numeric)""",
    r"""INSERT INTO nasty SELECT n, ARRAY[date '2024-02-01' + n], ARRAY[timestamptz '2024-03-10 07:30:00+00' + n * interval '1 h'],
        timestamptz '2024-03-10 07:30:00+00', ARRAY[0.30000000000000004::float8 / n], 1e-310 * n, ARRAY['\x00ff'::bytea],
        interval '1 year -2 mons +3 days -04:05:06.7', (n * 1.5)::numeric::money, n / 7.0 FROM generate_series(1, 20) n""",
)

OTHERWISE = {
    "search_path": "public",
    "datestyle": "SQL, DMY",
    "intervalstyle": "sql_standard",
    "timezone": "America/New_York",
    "extra_float_digits": "-2",
    "bytea_output": "escape",
    "client_min_messages": "debug1",
    "quote_all_identifiers": "on",
    "transform_null_equals": "on",
    "array_nulls": "off",
    "xmloption": "document",
    "gin_fuzzy_search_limit": "1",
    "statement_timeout": "100",  # ms; long enough for the statements that set it aside, on a busy machine too
    "lock_timeout": "1",
    "idle_in_transaction_session_timeout": "1500",
    "idle_session_timeout": "1500",
    "transaction_timeout": "1500",
    "restrict_nonsystem_relation_kind": "view, foreign-table",
    "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on",
}
"""Each another value than ours."""


@contextmanager
def _as_superuser(source: Source) -> Iterator[Any]:
    """A cursor in autocommit."""
    state = json.loads((Path(os.environ["RUNBOOK_LOCAL_ROOT"]) / "state.json").read_text())
    own = {"user": "postgres", "password": SecretStr(state["passwords"]["superuser"])}
    with closing(postgres.connect(source.model_copy(update=own))) as connection:
        connection.autocommit = True
        yield connection.cursor()


@contextmanager
def otherwise(migration: Any, settings: Mapping[str, str] = OTHERWISE, **more: str) -> Iterator[None]:
    """The role and the database have every setting otherwise; a superuser says so, for we would no longer get in."""
    source = migration.settings.source
    with _as_superuser(source) as cursor:
        for number, (name, value) in enumerate({**settings, **more}.items()):
            whose = f"DATABASE {source.dbname}" if number % 2 else f"ROLE {source.user} IN DATABASE {source.dbname}"
            value = value if name in ("search_path", "datestyle") else postgres.literal(value)
            cursor.execute(f"ALTER {whose} SET {name} = {value}")
        try:
            yield
        finally:
            cursor.execute(f"ALTER DATABASE {source.dbname} RESET ALL")
            cursor.execute(f"ALTER ROLE {source.user} IN DATABASE {source.dbname} RESET ALL")


@pytest.fixture(params=["as start-up options, too", "dropped at the start"])
def dropped(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether start-up options are dropped, as PgBouncer does that was told to ignore them."""
    if request.param.startswith("dropped"):
        monkeypatch.setattr(pg_session, "options", lambda settings: "")
    return bool(request.param.startswith("dropped"))


def fingerprints(migration: Any) -> dict[str, str]:
    manifest = migration.export()
    return {str(table): table.digest.fingerprint for table in manifest.tables}


def test_what_the_role_and_the_database_say_changes_no_value(migration: Any, dropped: bool) -> None:
    migration.source(*NASTY)
    migration.settings = migration.settings.with_workers(2)
    before = fingerprints(migration)
    with otherwise(migration):
        assert fingerprints(migration) == before
        assert migration.verify("stage").verdict == "equal"
        if not dropped:
            assert migration.source("SHOW timezone") == [("UTC",)]
        with postgres.reading(migration.settings.source) as cursor:
            cursor.execute(
                "SELECT days::text, stamps::text, f::text, raw::text, price::text, span::text FROM public.nasty WHERE id = 1"
            )
            assert cursor.fetchone() == (
                "{2024-02-02}", '{"2024-03-10 08:30:00+00"}', "{0.30000000000000004}", r'{"\\x00ff"}', "$1.50",
                "10 mons 3 days -04:05:06.7",
            )  # fmt: skip


def test_no_time_out_of_the_role_ends_a_snapshot(migration: Any, dropped: bool) -> None:
    migration.source("CREATE TABLE t (id int)")
    with otherwise(migration):
        taken = snapshot.take(migration.settings.source)
        try:
            with snapshot.reading(migration.settings.source, taken.name) as cursor:
                cursor.execute("SELECT 1")
                time.sleep(2)  # idle, in a transaction, for longer than each of the time-outs
                cursor.execute("SELECT pg_sleep(0.1)")
            assert snapshot.is_held(migration.settings.source, taken.name)
        finally:
            held_snapshots.release(taken)


def test_every_transaction_of_a_connection_begins_with_the_settings(migration: Any, dropped: bool) -> None:
    with otherwise(migration), closing(postgres.connect(migration.settings.source)) as connection:
        for end in (connection.commit, connection.rollback, connection.commit):
            with connection.cursor() as cursor, connection.cursor("named") as named:
                named.execute("SELECT current_setting('datestyle'), current_setting('search_path')")
                assert named.fetchall() == [("ISO, YMD", "pg_catalog, pg_temp")]
                cursor.execute("SHOW timezone")
                assert cursor.fetchone() == ("UTC",)
            end()
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SHOW timezone")
            assert cursor.fetchone() == ("UTC",)


def test_quotes_that_mean_another_thing_are_refused(migration: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    migration.source(
        "CREATE TABLE t (id int PRIMARY KEY, path text DEFAULT 'a\\b')",
        "INSERT INTO t (id) VALUES (1)",
        "INSERT INTO t VALUES (2, 'c\\d')",
    )
    before = fingerprints(migration)
    with otherwise(migration, standard_conforming_strings="off"):
        assert fingerprints(migration) == before
        with snapshot.reading(migration.settings.source, _snapshot(migration)) as cursor:
            (table,) = read_catalog(cursor, tables=["t"]).tables
            assert table.columns[1].default == "'a\\b'::text"
            cursor.execute("SELECT id FROM public.t WHERE path = %s", ["c\\d"])
            assert cursor.fetchall() == [(2,)]
        # Without start-up options psycopg2 has learnt to write E'…' and does not double a backslash any more.
        monkeypatch.setattr(pg_session, "options", lambda settings: "")
        with pytest.raises(SessionRefused, match="standard_conforming_strings") as refused:
            migration.export()
        assert "connect directly" in refused.value.next_step


_held: list[held_snapshots.Snapshot] = []


def _snapshot(migration: Any) -> str:
    _held.append(snapshot.take(migration.settings.source, hold_hours=30 / 3600))
    return _held[-1].name


@pytest.fixture(autouse=True)
def let_go() -> Iterator[None]:
    yield
    while _held:
        held_snapshots.release(_held.pop())


@pytest.mark.parametrize("driver", ["psycopg2", "duckdb"])
def test_a_setting_that_does_not_hold_is_refused(migration: Any, monkeypatch: pytest.MonkeyPatch, driver: str) -> None:
    """A server, or whatever stands before it, that takes a setting and does not keep it."""
    kept = pg_session.setting

    def forgets(settings: Any, **how: Any) -> str:
        return kept({**settings, "datestyle": "SQL, DMY"}, **how)

    name = _snapshot(migration)
    monkeypatch.setattr(pg_session, "setting", forgets)
    with pytest.raises(SessionRefused, match="datestyle is 'SQL, DMY'"):
        if driver == "psycopg2":
            with snapshot.reading(migration.settings.source, name) as cursor:
                cursor.execute("SELECT 1")
        else:
            with duck.connect() as connection:
                try:
                    duck.attach_postgres(connection, migration.settings.source, name)
                finally:
                    duck.close(connection)


def test_what_only_a_superuser_sets_is_read_back(migration: Any) -> None:
    source = migration.settings.source
    with _as_superuser(source) as cursor:
        cursor.execute(f"ALTER DATABASE {source.dbname} SET zero_damaged_pages = on")
        try:
            with pytest.raises(SessionRefused, match="zero_damaged_pages") as refused:
                migration.export()
            assert "ALTER" in refused.value.next_step
        finally:
            cursor.execute(f"ALTER DATABASE {source.dbname} RESET zero_damaged_pages")


def test_rows_that_a_policy_hides_are_an_error(migration: Any, dropped: bool) -> None:
    migration.source(
        "CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t SELECT generate_series(1, 10)",
        "ALTER TABLE t ENABLE ROW LEVEL SECURITY", "ALTER TABLE t FORCE ROW LEVEL SECURITY",
        "CREATE POLICY half ON t USING (id <= 5)",
    )  # fmt: skip
    with otherwise(migration, row_security="on"), pytest.raises(MigrationError) as refused:
        migration.export()
    assert "row-level security" in str(refused.value) and "BYPASSRLS" in str(refused.value)


def test_a_table_that_was_exchanged_for_a_view_is_not_read(migration: Any) -> None:
    migration.source("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    name = _snapshot(migration)
    with snapshot.reading(migration.settings.source, name) as cursor:
        tables = read_catalog(cursor, tables=["t"]).tables
    migration.source("ALTER TABLE t RENAME TO u", "CREATE VIEW t AS SELECT id FROM u")
    with (
        readers.Readers(migration.settings.source, migration.settings.export, name, tables) as reading,
        pytest.raises(duckdb.Error, match="access to non-system view"),
    ):
        reading.connection().execute("FROM postgres_query('source', 'SELECT id FROM public.t')")


def test_a_program_that_cannot_be_told_is_not_run(migration: Any, tmp_path: Path, dropped: bool) -> None:
    migration.source(*NASTY)
    with otherwise(migration):
        if dropped:
            with pytest.raises(SessionRefused, match="connect directly"):
                backup.dump(migration.settings.source, tmp_path / "dump")
            assert not list(tmp_path.iterdir())
            return
        made = backup.dump(migration.settings.source, tmp_path / "dump")
        with backup.restored(made, migration.settings.source) as scratch, postgres.reading(scratch) as cursor:
            cursor.execute("SELECT price::text, f::text FROM public.nasty WHERE id = 3")
            assert cursor.fetchone() == ("$4.50", "{0.10000000000000002}")


MORE_EXACT = {
    "text": ("varchar", "name", "bpchar"),
    "bigint": ("int4", "int2"),
    "integer": ("int2", "int8"),
    "numeric": ("int4", "int8"),
    "double precision": ("numeric", "int4", "float4"),
    "oid": ("regclass", "int4", "int8"),
    "regclass": ("oid",),
    "timestamp with time zone": ("timestamp", "date"),
    "anyarray": ("text[]", "varchar[]", "name[]", "int4[]"),
    **dict.fromkeys(
        ("anyelement", "anycompatible", '"any"'),
        ("text", "varchar", "name", "int4", "int8", "numeric", "float8", "bool", "date", "timestamptz", "jsonb", "oid"),
    ),
}
"""Types that an argument may have for which pg_catalog has only a wider function."""

PAIRS = "varchar,varchar varchar,text text,varchar name,text text,name name,varchar varchar,name bpchar,text bpchar,varchar int4,numeric numeric,int4 oid,int4 int4,oid oid,regclass regclass,oid date,varchar".split()
OPERATORS = "= <> < > <= >= || ~ !~ ~~ !~~ ~* * + - / % @> -> ->>".split()
SHADOWED_AT_MOST = 12


def _shadows(cursor: Any) -> Iterator[str]:
    """For every function and operator that the product's SQL could use, others in `public` that fit what it passes better."""
    texts = [*(PROJECT / "helpers").rglob("*.py"), *(PROJECT / "pipeline" / "legacy").rglob("*.sql")]
    used = {
        name.lower() for file in texts for name in re.findall(r"\b([a-zA-Z_]\w*)\(", file.read_text(encoding="utf-8"))
    }
    cursor.execute(
        "SELECT proname, ARRAY(SELECT format_type(t, NULL) FROM unnest(proargtypes) WITH ORDINALITY AS u (t, n) ORDER BY n) "
        "FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace AND proname = ANY (%s) AND pronargs BETWEEN 1 AND 4",
        [list(used)],
    )
    body = "LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'HOSTILE % ran', {}; END $$"
    signatures: set[tuple[str, tuple[str, ...]]] = set()
    for name, types in cursor.fetchall():
        choices = [MORE_EXACT.get(kind, (kind,)) for kind in types]
        for combination in itertools.islice(itertools.product(*choices), SHADOWED_AT_MOST):
            if not any("any" in kind or kind in ("internal", "cstring") for kind in combination):
                signatures.add((name, combination))
    for name, types in sorted(signatures):
        yield f'CREATE OR REPLACE FUNCTION public."{name}"({", ".join(types)}) RETURNS text {body.format(postgres.literal(name))}'
    for pair in PAIRS:
        left, right = pair.split(",")
        for result in ("bool", "text"):
            yield f"CREATE FUNCTION public.op_{result}({left}, {right}) RETURNS {result} {body.format(postgres.literal('operator'))}"
        for operator in OPERATORS:
            kind = "bool" if operator[0] in "=<>~!@" else "text"
            yield f"CREATE OPERATOR public.{operator} (LEFTARG = {left}, RIGHTARG = {right}, FUNCTION = public.op_{kind})"


SHOP = (
    "CREATE TYPE mood AS ENUM ('sad', 'glad')",
    """CREATE TABLE shops (code varchar(8) PRIMARY KEY, name varchar NOT NULL UNIQUE, opened date, feeling mood, doc jsonb,
        CHECK (opened > '1990-01-01'), CHECK (name <> ''))""",
    """INSERT INTO shops SELECT 's' || n, 'shop ' || n, date '2020-01-01' + n, 'glad', jsonb_build_object('n', n)
        FROM generate_series(1, 50) n""",
    """CREATE TABLE sales (shop varchar(8) REFERENCES shops, no bigint GENERATED ALWAYS AS IDENTITY, fixed char(4), at timestamptz,
        amount numeric(10, 2), f float8, raw bytea, tags varchar[], note varchar DEFAULT 'none', PRIMARY KEY (shop, no))""",
    """INSERT INTO sales (shop, fixed, at, amount, f, raw, tags) SELECT 's' || n % 50 + 1, 'ab', timestamptz '2024-01-01' + n * interval '1 h',
        n / 7.0, n / 3.0, '\\x00', ARRAY['x', NULL] FROM generate_series(1, 300) n""",
    "CREATE TABLE log (line varchar)",
    "INSERT INTO log SELECT 'line' FROM generate_series(1, 10) n",
)


@pytest.fixture
def besieged(migration: Any) -> Iterator[Any]:
    """A source in whose schema `public` a role that may only create has put whatever it likes, and which the role's path names."""
    source = migration.settings.source
    role = f"{source.dbname}_mallory"
    migration.source(*SHOP)
    with _as_superuser(source) as cursor:
        cursor.execute(f"CREATE ROLE {role}; GRANT CREATE, USAGE ON SCHEMA public TO {role}; SET ROLE {role}")
        cursor.execute(";\n".join(_shadows(cursor)))
        cursor.execute(f"RESET ROLE; ALTER ROLE {source.user} IN DATABASE {source.dbname} SET search_path = public")
    yield migration
    with _as_superuser(source) as cursor:
        cursor.execute(
            f"ALTER ROLE {source.user} IN DATABASE {source.dbname} RESET ALL; DROP OWNED BY {role} CASCADE; DROP ROLE {role}"
        )


@pytest.mark.parametrize(
    "dropped",
    ["dropped at the start", pytest.param("as start-up options, too", marks=pytest.mark.slow)],
    indirect=True,
)
def test_nothing_of_another_role_runs_as_ours(besieged: Any, dropped: bool, tmp_path: Path) -> None:
    settings: Settings = besieged.settings
    source = settings.source
    for hostile in ("octet_length('x'::varchar)", "'x'::varchar = 'x'::varchar"):
        with pytest.raises(psycopg2.errors.RaiseException, match="HOSTILE"):
            besieged.source(f"SELECT {hostile}")  # in a session that has `public` in its path

    assert [table.rows for table in assess.census(settings).tables] == [10, 300, 50]
    besieged.migrate()
    assert besieged.verify("stage").verdict == "equal"
    for check in ("row-counts", "schema", "data-quality", "sample-data", "full"):
        assert besieged.verify(check=check).verdict == "equal", check
    assert (
        besieged.verify("stage", options=Options(Selection(where="note = 'none'")), tables=("sales",)).verdict
        == "equal"
    )
    growth.measure(settings)
    for ask in (inventory.take, integrations.find, security.look, snapshot.transactions_held_back):
        ask(source)

    plan = freeze.plan_freeze(source)
    freeze.freeze(plan, patience=0, end_writers=True)
    try:
        assert freeze.is_frozen(source) and freeze.try_a_write(source).refused
        final = besieged.export().export
        besieged.target(
            "UPDATE \"shops\" SET \"opened\" = '2021-01-01' WHERE \"code\" = 's1'", 'DELETE FROM "sales" WHERE "shop" = \'s2\'',
            'INSERT INTO "shops" ("code", "name", "feeling") VALUES (\'new\', \'new\', \'sad\')',
        )  # fmt: skip
        back = rollback.plan_rollback(settings, final, cells_folder=tmp_path)
        assert back.refused == ()
        rollback.bring_back(back)
        assert besieged.verify().verdict == "equal"
    finally:
        freeze.unfreeze(source, plan.former)
