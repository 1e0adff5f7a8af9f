"""Every object of a source is moved, refused, or named with the reason for which it stays.

Would catch: rows of inheriting tables that a parent shows and no file holds, a table of an extension that is in no list, a
partitioned table that an export stumbles over, an export that needs more rights than SELECT on a table.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import psycopg2
import pytest
from pydantic import SecretStr

from helpers import export as exporting
from helpers import load as loading
from helpers.errors import UsageError
from helpers.model.manifest import Manifest
from helpers.platforms import postgres
from helpers.settings import Settings
from helpers.source import census_worker, left_out, readers
from helpers.source import survey as assess
from helpers.verify import page


@pytest.fixture(params=[18, pytest.param(15, marks=pytest.mark.slow)])
def migration(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A fresh source of each version."""
    fresh = "fresh_migration" if request.param == 18 else "fresh_migration_15"
    with request.getfixturevalue(fresh)() as found:
        yield found


FAMILY = (
    "CREATE SCHEMA crm",
    "CREATE TABLE parent (id int, note text)",
    "CREATE TABLE child (more int) INHERITS (parent)",
    "CREATE TABLE crm.elsewhere () INHERITS (parent)",
    "CREATE TABLE crm.grandchild () INHERITS (child)",
    "CREATE TABLE crm.alone (id int)",
    "INSERT INTO parent VALUES (1, 'own')",
    "INSERT INTO child SELECT n, 'child', n FROM generate_series(1, 7) n",
    "INSERT INTO crm.elsewhere SELECT n, 'elsewhere' FROM generate_series(1, 12) n",
    "INSERT INTO crm.grandchild VALUES (1, 'grandchild', 1)",
)


def _with(migration: Any, section: str, **changed: Any) -> Settings:
    values = migration.settings.values
    own = values.model_copy(update={section: getattr(values, section).model_copy(update=changed)})
    return Settings("local", migration.settings.file, own)


def _rows(manifest: Manifest) -> dict[str, int]:
    return {str(table): table.rows for table in manifest.tables}


def test_a_parent_says_whose_the_rows_are_that_it_shows(migration: Any) -> None:
    migration.source(*FAMILY)
    manifest = migration.migrate()
    assert _rows(manifest) == {
        "crm.alone": 0, "crm.elsewhere": 12, "crm.grandchild": 1, "public.child": 7, "public.parent": 1,
    }  # fmt: skip
    assert manifest.left_out["rows that public.parent inherits"] == (
        "SELECT count(*) FROM public.parent answers 21, and 1 are its own; 12 of crm.elsewhere, which "
        "moves as a table of its own; 1 of crm.grandchild, which moves as a table of its own; 7 of public.child, which moves as "
        "a table of its own"
    )
    report = migration.verify()
    assert (report.verdict, report.left_out) == ("equal", manifest.left_out)


def test_rows_of_children_that_were_not_chosen_are_in_the_verdict_by_name(migration: Any) -> None:
    migration.source(*FAMILY)
    migration.settings = _with(migration, "source", schemas=("public",))
    manifest = migration.migrate()
    assert _rows(manifest) == {"public.child": 7, "public.parent": 1}
    stays = "not chosen: `schemas` in migration.toml does not name crm"
    assert {name: why for name, why in manifest.left_out.items() if name.startswith("crm.")} == {
        "crm.alone": stays, "crm.elsewhere": stays, "crm.grandchild": stays,
    }  # fmt: skip
    assert "12 of crm.elsewhere, which does not move" in manifest.left_out["rows that public.parent inherits"]
    assert "1 of crm.grandchild, which does not move" in manifest.left_out["rows that public.child inherits"]
    for report in (migration.verify(), migration.verify(source_name="manifest")):
        assert (report.verdict, report.as_dict()["left_out"]) == ("equal", manifest.left_out)
        html = page.render(report, title="", made_at=datetime.now(UTC))
        assert "What stays behind" in html and "12 of crm.elsewhere, which does not move" in html


def test_what_the_globs_leave_out_is_named(migration: Any) -> None:
    migration.source(*FAMILY)
    with exporting.planned(migration.settings, tables=("parent", "crm.a*")) as plan:
        manifest = exporting.export(plan)
    assert set(_rows(manifest)) == {"crm.alone", "public.parent"}
    assert manifest.left_out["public.child"] == "not chosen: --tables names others"
    assert "7 of public.child, which does not move" in manifest.left_out["rows that public.parent inherits"]
    migration.load(manifest)
    of_manifest = migration.verify(source_name="manifest", tables=("parent",))
    assert of_manifest.left_out["crm.alone"] == "not chosen: --tables names others"
    assert migration.verify(tables=("parent",)).left_out == of_manifest.left_out


PARTITIONED = (
    "CREATE SCHEMA parts",
    "CREATE TABLE empty (id int PRIMARY KEY, note text) PARTITION BY RANGE (id)",
    "CREATE TABLE branches (id int, kind text, PRIMARY KEY (id, kind)) PARTITION BY LIST (kind)",
    "CREATE TABLE branches_a PARTITION OF branches FOR VALUES IN ('a') PARTITION BY RANGE (id)",
    "CREATE TABLE months (id int, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day)",
    "CREATE TABLE parts.january PARTITION OF months FOR VALUES FROM ('2024-01-01') TO ('2024-02-01')",
    "CREATE TABLE parts.others PARTITION OF months DEFAULT PARTITION BY HASH (id)",
    "CREATE TABLE parts.others_0 PARTITION OF parts.others FOR VALUES WITH (MODULUS 2, REMAINDER 0)",
    "CREATE TABLE parts.others_1 (day date, gone int, id int NOT NULL)",
    "ALTER TABLE parts.others_1 DROP gone, ALTER day SET NOT NULL",
    "ALTER TABLE parts.others ATTACH PARTITION parts.others_1 FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
    "INSERT INTO months SELECT n, date '2024-01-01' + n FROM generate_series(0, 4999) n",
)


def test_partitioned_tables_without_rows_or_without_partitions_move(migration: Any) -> None:
    migration.source(*PARTITIONED)
    with (
        pytest.raises(UsageError, match=r"a partition of public\.months"),
        exporting.planned(migration.settings, tables=("january",)),
    ):
        pass
    manifest = migration.migrate()
    assert _rows(manifest) == {"public.branches": 0, "public.empty": 0, "public.months": 5000}
    loading.load(loading.plan_load(manifest, migration.bucket, migration.settings.databricks))
    for target in ("snowflake", "stage", "databricks"):
        assert migration.verify(target).verdict == "equal"


@pytest.fixture
def reader(migration: Any) -> Any:
    """A role that may read what the table's own rights give, and nothing of its partitions."""
    name = f"rows_reader_{os.getpid()}"
    migration.source(
        f"CREATE ROLE {name} LOGIN PASSWORD 'test'",
        f"GRANT {name} TO CURRENT_USER",
        f"GRANT USAGE ON SCHEMA public TO {name}",
    )  # fmt: skip
    owner = migration.settings
    yield name
    migration.settings = owner
    migration.source(f"DROP OWNED BY {name}", f"DROP ROLE {name}")


def _as(migration: Any, role: str) -> Settings:
    return _with(migration, "source", user=role, password=SecretStr("test"))


@pytest.mark.parametrize("hidden", ["by rights", "by a policy"])
def test_partitions_are_read_through_their_table_where_only_that_may_be_read(
    migration: Any, reader: str, hidden: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    migration.source(*PARTITIONED, f"GRANT SELECT ON months, empty, branches TO {reader}")
    if hidden == "by a policy":
        migration.source(
            f"GRANT USAGE ON SCHEMA parts TO {reader}", f"GRANT SELECT ON ALL TABLES IN SCHEMA parts TO {reader}",
            "ALTER TABLE parts.others_0 ENABLE ROW LEVEL SECURITY",
        )  # fmt: skip
    migration.settings = _as(migration, reader)
    for module, name in ((readers, "BYTES_WORTH_SHARING"), (census_worker, "BYTES_PER_RANGE")):
        monkeypatch.setattr(module, name, 8192)
    manifest = migration.migrate()
    assert _rows(manifest) == {"public.branches": 0, "public.empty": 0, "public.months": 5000}
    assert len(manifest.table("public", "months").files) > 1
    assert migration.verify().verdict == "equal"


def test_a_table_of_an_extension_is_named_and_moves_when_it_is_asked_for(migration: Any) -> None:
    migration.source(
        "CREATE EXTENSION hstore", "CREATE TABLE jobs (id int PRIMARY KEY, what text)", "INSERT INTO jobs VALUES (1, 'vacuum')",
        "ALTER EXTENSION hstore ADD TABLE jobs", "CREATE TABLE sales (id int)",
    )  # fmt: skip
    manifest = migration.export()
    assert _rows(manifest) == {"public.sales": 0}
    assert manifest.left_out["public.jobs"].startswith(
        "a table of the extension hstore, made with its rows: to move it"
    )
    with migration.superuser() as cursor:
        cursor.execute("UPDATE pg_extension SET extconfig = ARRAY['jobs'::regclass::oid] WHERE extname = 'hstore'")
    assert "hstore, in which users keep rows" in migration.export().left_out["public.jobs"]
    with exporting.planned(migration.settings, tables=("jobs", "sales")) as plan:
        manifest = exporting.export(plan)
    assert _rows(manifest) == {"public.jobs": 1, "public.sales": 0}
    migration.load(manifest)
    report = migration.verify()
    assert (report.verdict, [str(table) for table in report.tables]) == ("equal", ["public.jobs", "public.sales"])
    with (
        pytest.raises(UsageError, match=r"public\.jobs does not move: a table of the extension"),
        exporting.planned(migration.settings, tables=("job*",)),
    ):
        pass


def test_what_holds_no_rows_of_a_table_is_named_too(migration: Any) -> None:
    migration.source(
        "CREATE TABLE sales (id int GENERATED ALWAYS AS IDENTITY, doc oid, no serial)", "CREATE VIEW v AS SELECT id FROM sales",
        "CREATE MATERIALIZED VIEW m AS SELECT id FROM sales", "CREATE TABLE bare ()", "INSERT INTO bare DEFAULT VALUES",
        "SELECT lo_from_bytea(0, 'a')", "SELECT lo_from_bytea(0, 'b')", "CREATE TYPE mood AS ENUM ('glad')",
        "CREATE FUNCTION total(int) RETURNS int LANGUAGE sql AS 'SELECT 1'", "CREATE EXTENSION hstore",
        "CREATE FUNCTION kept() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        "CREATE TRIGGER keeps BEFORE INSERT ON sales FOR EACH ROW EXECUTE FUNCTION kept()",
        "CREATE RULE quiet AS ON DELETE TO sales DO INSTEAD NOTHING", "CREATE CAST (mood AS int) WITH INOUT",
        "CREATE OPERATOR ## (RIGHTARG = int, FUNCTION = total)", "CREATE COLLATION plain FROM \"C\"",
        "CREATE TEXT SEARCH CONFIGURATION words (COPY = simple)",
    )  # fmt: skip
    manifest = migration.export()
    assert _rows(manifest) == {"public.sales": 0}
    assert set(manifest.left_out) == {
        "public.v", "public.m", "public.bare", "public.sales_id_seq", "public.sales_no_seq", "large objects",
        "function public.total(integer)", "function public.kept()", "trigger keeps on public.sales",
        "rule quiet on public.sales", "type public.mood", "extension hstore",
        "cast (public.mood AS integer)", "operator public.##(NONE,integer)", "collation public.plain",
        "text search configuration public.words", "defaults id, no of public.sales",
    }  # fmt: skip
    assert manifest.left_out["large objects"] == (
        "the contents of 2: where a column holds their numbers, only those move; numbers of them may stand in public.sales.doc"
    )
    assert assess.census(migration.settings).left_out == manifest.left_out
    assert "left out: public.sales_id_seq, public.sales_no_seq (a sequence: " in "\n".join(
        left_out.lines(manifest.left_out)
    )


def test_a_server_that_does_not_list_its_code_still_moves_its_rows(migration: Any) -> None:
    migration.source("CREATE TABLE t (id int)", "CREATE VIEW v AS SELECT id FROM t")
    with migration.superuser() as cursor:
        cursor.execute("REVOKE SELECT ON pg_catalog.pg_proc FROM PUBLIC")
    manifest = migration.export()
    assert (_rows(manifest), "public.v" in manifest.left_out) == ({"public.t": 0}, True)
    why = manifest.left_out["large objects, functions, types, triggers and rules"]
    assert why == "they could not be listed: permission denied for table pg_proc"


def test_a_partition_that_is_being_detached_is_named_until_that_has_ended(migration: Any) -> None:
    migration.source(*PARTITIONED, "CREATE TABLE p (id int) PARTITION BY LIST (id)")
    migration.source(
        *(f"CREATE TABLE p_{n} PARTITION OF p FOR VALUES IN ({n})" for n in (1, 2)), "INSERT INTO p VALUES (1), (2)"
    )
    with closing(postgres.connect(migration.settings.source)) as reading:
        reading.cursor().execute("SELECT FROM public.p")
        with pytest.raises(psycopg2.errors.QueryCanceled):
            migration.source("SET statement_timeout = '2s'", "ALTER TABLE p DETACH PARTITION p_2 CONCURRENTLY")
    assert migration.source("SELECT id FROM p") == [(1,)]
    with exporting.planned(migration.settings, tables=("p",)) as plan:
        manifest = exporting.export(plan)
    assert _rows(manifest) == {"public.p": 1}
    assert manifest.left_out["public.p_2"].startswith("not chosen")
    assert migration.export().left_out["public.p_2"].startswith("a partition that is being detached")
    migration.source("ALTER TABLE p DETACH PARTITION p_2 FINALIZE")
    assert {name: n for name, n in _rows(migration.migrate()).items() if ".p" in name} == {
        "public.p": 1,
        "public.p_2": 1,
    }
    assert migration.verify().verdict == "equal"


def test_rows_on_other_servers_and_in_postgresqls_own_schemas_are_refused_or_named(migration: Any) -> None:
    migration.source(*FAMILY, "CREATE TABLE p (id int, a text) PARTITION BY LIST (id)")
    with migration.superuser() as cursor:
        for statement in (
            "CREATE FOREIGN DATA WRAPPER nowhere", "CREATE SERVER gone FOREIGN DATA WRAPPER nowhere",
            "CREATE FOREIGN TABLE p_1 PARTITION OF p FOR VALUES IN (1) SERVER gone",
            "CREATE FOREIGN TABLE far () INHERITS (parent) SERVER gone",
            "CREATE TABLE information_schema.mine (id int)", "INSERT INTO information_schema.mine VALUES (1)",
            "GRANT SELECT ON ALL TABLES IN SCHEMA public, information_schema TO PUBLIC",
        ):  # fmt: skip
            cursor.execute(statement)
    with exporting.planned(migration.settings) as plan:
        assert plan.refused == ("public.p: the partition public.p_1 is a foreign table",)
    with exporting.planned(migration.settings, tables=("parent", "mine")) as plan:
        manifest = exporting.export(plan)
    assert _rows(manifest) == {"information_schema.mine": 1, "public.parent": 1}
    found = manifest.left_out
    assert found["public.far"] == "a foreign table: its rows live elsewhere"
    assert "those of public.far, which does not move" in found["rows that public.parent inherits"]
    with exporting.planned(migration.settings, tables=("p*",)) as plan:
        assert plan.state.left_out["information_schema.mine"].startswith("not chosen")


def test_a_count_that_shows_other_rows_than_were_compared_is_no_equal(migration: Any) -> None:
    migration.source(
        "CREATE TABLE t (id int PRIMARY KEY, b bool)", "INSERT INTO t SELECT n, n > 5 FROM generate_series(1, 10) n"
    )
    migration.source("CREATE INDEX half ON t (id) WHERE b", "VACUUM ANALYZE t")
    migration.migrate()
    assert migration.verify().verdict == "equal"
    ((name,),) = migration.source("SELECT current_database()")
    with migration.superuser() as cursor:
        cursor.execute("UPDATE pg_index SET indpred = NULL WHERE indexrelid = 'half'::regclass")
        cursor.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 't_pkey'::regclass")
        cursor.execute(f"ALTER DATABASE {name} SET enable_seqscan = off")
    (table,) = migration.verify().tables
    assert table.verdict == "refused"
    assert "SELECT count(*) FROM public.t answers 5 rows" in table.method and "10 were compared" in table.method


def test_an_export_that_goes_on_names_what_its_first_attempt_left_out(migration: Any) -> None:
    migration.source(*FAMILY, "CREATE VIEW v AS SELECT id FROM parent")
    with exporting.planned(migration.settings, tables=("parent",), keep_for_resume=True, release=False) as first:
        assert {"public.v", "rows that public.parent inherits", "public.child", "crm.alone"} <= set(
            first.state.left_out
        )
    with exporting.planned(migration.settings, resume=first.state.export) as plan:
        assert plan.resumed
        assert exporting.export(plan).left_out == first.state.left_out


def test_a_parent_is_counted_where_its_children_may_not_be_read(migration: Any, reader: str) -> None:
    migration.source(*FAMILY, f"GRANT SELECT ON parent TO {reader}")
    migration.settings = _as(migration, reader)
    with exporting.planned(migration.settings, tables=("parent",)) as plan:
        manifest = exporting.export(plan)
    assert _rows(manifest) == {"public.parent": 1}
    assert (
        "SELECT count(*) FROM public.parent answers 21, and 1 are its own"
        in manifest.left_out["rows that public.parent inherits"]
    )


def test_transactions_in_doubt_and_tables_of_sessions_are_named(migration: Any) -> None:
    migration.source("CREATE TABLE t (id int)")
    name = f"in doubt {migration.name}"
    prepare = f"BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION '{name}'"
    with (
        closing(postgres.connect(migration.settings.source)) as session,
        migration.once_a_snapshot_is_taken(lambda: migration.source(prepare)),
    ):
        session.cursor().execute("CREATE TEMPORARY TABLE own AS SELECT 1 AS id")
        session.commit()
        try:
            left = migration.export().left_out
        finally:
            migration.source(f"ROLLBACK PREPARED '{name}'")
    assert left[f"prepared transaction {name}"].startswith("neither committed nor rolled back")
    assert [why for name, why in left.items() if name.endswith(".own")] == [
        "a temporary table of a session: it ends with that"
    ]
