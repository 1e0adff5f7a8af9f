"""The target belongs to its owner: nothing that no load of ours made is replaced or dropped, and what an owner put on a table of
ours is there after every load.

Would catch: a table, view or copy of another's making that a load takes for its own, a grant, policy, tag or comment that a load
or a changed definition loses, rows of others that vanish without a copy.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from helpers import load as loading
from helpers import verify as verifying
from helpers.engines.snowflake import records as snowflake_records
from helpers.errors import TargetRefused
from helpers.platforms import snowflake
from helpers.platforms.delta import Lake, storage_options
from helpers.verify.report import Report

SOURCE = (
    "CREATE TABLE customer (id int PRIMARY KEY, name varchar(10), credit numeric(10,2), region text)",
    "COMMENT ON TABLE customer IS 'ours'",
    "INSERT INTO customer VALUES (1, 'Ann', 1.25, 'EU'), (2, 'Bob', 2.50, NULL)",
)
PUT_ON = (
    "GRANT SELECT, INSERT ON TABLE \"customer\" TO ROLE analyst",
    'GRANT SELECT ON TABLE "customer" TO ROLE auditor WITH GRANT OPTION',
    "CREATE MASKING POLICY hide_name AS (val VARCHAR) RETURNS VARCHAR -> CASE WHEN CURRENT_ROLE() = 'MIGRATION_ROLE' THEN val ELSE '***' END",
    'ALTER TABLE "customer" MODIFY COLUMN "name" SET MASKING POLICY hide_name',
    "CREATE ROW ACCESS POLICY by_region AS (r VARCHAR) RETURNS BOOLEAN -> TRUE",
    'ALTER TABLE "customer" ADD ROW ACCESS POLICY by_region ON ("region")',
    "CREATE TAG class",
    "ALTER TABLE \"customer\" SET TAG class = 'secret'",
    "ALTER TABLE \"customer\" ALTER COLUMN \"credit\" SET TAG class = 'money'",
    'ALTER TABLE "customer" CLUSTER BY ("region", "id")',
    'ALTER TABLE "customer" SET CHANGE_TRACKING = TRUE',
    'ALTER TABLE "customer" SET DATA_RETENTION_TIME_IN_DAYS = 7',
    "COMMENT ON TABLE \"customer\" IS 'ask Anna'",
    "COMMENT ON COLUMN \"customer\".\"name\" IS 'personal'",
)  # fmt: skip


def _put_on(migration: Any) -> None:
    migration.administrator("CREATE ROLE IF NOT EXISTS analyst", "CREATE ROLE IF NOT EXISTS auditor")
    migration.target(*PUT_ON)
    assert migration.administrator('SELECT DISTINCT "name" FROM "customer"') == [("***",)]


def _on(migration: Any, table: str = "customer") -> dict[str, Any]:
    """What is on a table, as the target tells it."""
    own = migration.settings.snowflake
    full, functions = f'"{own.database}"."{own.schema_}"."{table}"', f'"{own.database}".INFORMATION_SCHEMA'
    name = f"'{full}'"
    return {
        "grants": sorted(row[1:7:2] + row[6:7] for row in migration.target(f"SHOW GRANTS ON TABLE {full}")),
        "policies": sorted(
            migration.target(
                f"SELECT POLICY_NAME, POLICY_KIND, COALESCE(REF_COLUMN_NAME, REF_ARG_COLUMN_NAMES) FROM TABLE({functions}."
                f"POLICY_REFERENCES(REF_ENTITY_NAME => {name}, REF_ENTITY_DOMAIN => 'TABLE'))"
            )
        ),
        "tags": [
            migration.target(f"SELECT TAG_NAME, TAG_VALUE, COLUMN_NAME FROM TABLE({functions}.{f}({name}, 'TABLE'))")
            for f in ("TAG_REFERENCES", "TAG_REFERENCES_ALL_COLUMNS")
        ],
        "properties": [
            row[5:8]
            for row in migration.target(
                f'SHOW TABLES IN SCHEMA "{own.database}"."{own.schema_}" STARTS WITH \'{table}\''
            )
            if row[1] == table
        ],
        "parameters": [row[:4] for row in migration.target(f"SHOW PARAMETERS IN TABLE {full}")],
        "comments": migration.target(
            f"SELECT COMMENT FROM {functions}.TABLES WHERE TABLE_SCHEMA = '{own.schema_}' AND TABLE_NAME = '{table}'"
        )
        + [row[9:10] for row in migration.target(f"DESCRIBE TABLE {full}")][:4],
    }


def _verify(migration: Any) -> Report:
    """As a role that the policies exempt: theirs hide nothing from ours."""
    own = migration.settings.snowflake
    exempt = own.model_copy(update={"verify_role": own.role or "ACCOUNTADMIN"})
    values = migration.settings.values.model_copy(update={"snowflake": exempt})
    with verifying.planned(replace(migration.settings, values=values), target="snowflake") as plan:
        return verifying.verify(plan)


def _plan(migration: Any, manifest: Any) -> loading.LoadPlan:
    return loading.plan_load(manifest, migration.bucket, migration.settings.snowflake)


@pytest.fixture
def owned(migration: Any) -> Any:
    """A source with a schema of somebody else's to go to."""
    own = migration.settings.snowflake
    with snowflake.connect(own) as session:
        session.execute(f"CREATE SCHEMA {snowflake.identifier(own.database, own.schema_)}", doing="be its owner")
    return migration


def test_what_others_made_is_refused_by_name_and_stays(owned: Any) -> None:
    migration = owned
    migration.source(
        *SOURCE, "CREATE TABLE orders (id int)", "CREATE TABLE sales (id int)", "CREATE TABLE fine (id int)"
    )
    migration.target(
        'CREATE TABLE "customer" ("only" VARCHAR)',
        "INSERT INTO \"customer\" VALUES ('our only copy')",
        'CREATE TABLE "orders" ("id" NUMBER(10,0))',
        'CREATE TABLE "sales__migration_new" ("id" NUMBER(10,0))',
    )  # fmt: skip
    manifest = migration.export()
    for act in (_plan, lambda m, exported: m.load(exported)):
        with pytest.raises(TargetRefused) as caught:
            act(migration, manifest)
        assert caught.value.exit_code == 1
        for named in ("customer (a table)", "orders (a table)", "sales__migration_new (a table)"):
            assert named in caught.value.why
        assert "fine" not in caught.value.why
    assert migration.target('SELECT * FROM "customer"') == [("our only copy",)]
    migration.target(
        'DROP TABLE "customer"', 'DROP TABLE "orders"', 'ALTER TABLE "sales__migration_new" RENAME TO "theirs"'
    )
    migration.load(manifest)
    migration.load(manifest)
    assert {t.verdict for t in _verify(migration).tables if t.name != "theirs"} == {"equal"}


@pytest.mark.parametrize(
    "remade",
    [
        ('CREATE OR REPLACE TABLE "customer" AS SELECT * FROM "customer"',),
        pytest.param(('DROP TABLE "customer"', 'CREATE TABLE "customer" ("only" VARCHAR)'), marks=pytest.mark.slow),
        ('CREATE TABLE "theirs" CLONE "customer"', 'ALTER TABLE "theirs" SWAP WITH "customer"'),
    ],
)  # fmt: skip
def test_a_table_made_anew_by_others_is_not_ours_any_more(migration: Any, remade: tuple[str, ...]) -> None:
    migration.source(*SOURCE)
    manifest = migration.migrate()
    migration.target(*remade)
    rows = migration.target('SELECT COUNT(*) FROM "customer"')
    with pytest.raises(TargetRefused, match="made anew since the load"):
        migration.load(manifest)
    migration.source("DROP TABLE customer", "CREATE TABLE other (id int)")
    migration.migrate()
    assert migration.target('SELECT COUNT(*) FROM "customer"') == rows


@pytest.mark.parametrize(
    ("change", "action"),
    [
        pytest.param("UPDATE customer SET name = 'Eve' WHERE id = 1", "replace the rows", marks=pytest.mark.slow),
        ("ALTER TABLE customer ALTER COLUMN credit TYPE numeric(12,2)", "alter the table"),
        ("ALTER TABLE customer ALTER COLUMN credit TYPE numeric(12,4)", "replace the table"),
        pytest.param(
            "ALTER TABLE customer ADD COLUMN since date, ALTER COLUMN name SET NOT NULL",
            "alter the table",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "ALTER TABLE customer ALTER COLUMN name TYPE varchar(20), DROP CONSTRAINT customer_pkey",
            "alter the table",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_what_an_owner_put_on_a_table_of_ours_stays(migration: Any, change: str, action: str) -> None:
    migration.source(*SOURCE)
    migration.migrate()
    _put_on(migration)
    before = _on(migration)
    assert [len(before[kind]) for kind in ("grants", "policies")] == [4, 2]
    assert [len(level) for level in before["tags"]] == [1, 1]
    migration.source(change)
    manifest = migration.export()
    (planned,) = _plan(migration, manifest).tables
    assert planned.action.startswith(action)
    for _ in range(2):
        migration.load(manifest)
        assert _on(migration) == before
        assert {t.verdict for t in _verify(migration).tables} == {"equal"}
    assert [table.action for table in _plan(migration, manifest).tables] == ["replace the rows"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("ALTER TABLE customer ALTER COLUMN name TYPE int USING 7", "HIDE_NAME"),
        pytest.param("ALTER TABLE customer DROP COLUMN name", "HIDE_NAME", marks=pytest.mark.slow),
        pytest.param("ALTER TABLE customer DROP COLUMN region", "BY_REGION", marks=pytest.mark.slow),
    ],
)
def test_what_cannot_be_carried_is_refused_by_name(migration: Any, change: str, named: str) -> None:
    migration.source(*SOURCE)
    migration.migrate()
    _put_on(migration)
    before, rows = _on(migration), migration.target('SELECT * FROM "customer" ORDER BY 1')
    migration.source(change)
    manifest = migration.export()
    for act in (_plan, lambda m, exported: m.load(exported)):
        with pytest.raises(TargetRefused, match=named):
            act(migration, manifest)
    assert (_on(migration), migration.target('SELECT * FROM "customer" ORDER BY 1')) == (before, rows)


def test_what_a_policy_would_mask_on_its_way_is_not_loaded(migration: Any) -> None:
    """Would catch: masked values that are stored as the source's, where a tag on the database masks every new table."""
    migration.source(*SOURCE)
    manifest = migration.migrate()
    own = migration.settings.snowflake
    beside = f'"{own.database}"."{own.schema_}{snowflake_records.SCHEMA_SUFFIX}"'
    migration.target(
        "CREATE MASKING POLICY hide_all AS (val VARCHAR) RETURNS VARCHAR -> '***'",
        f'ALTER TABLE {beside}.{snowflake_records.TABLE} MODIFY COLUMN "EXPORT" SET MASKING POLICY hide_all',
    )
    with pytest.raises(TargetRefused, match="by the policy HIDE_ALL"):
        migration.load(manifest)


def test_a_stream_that_would_lose_its_table_is_named(migration: Any) -> None:
    """It follows a table through every load that keeps it, and cannot follow one that another takes the place of."""
    migration.source(*SOURCE)
    migration.migrate()
    migration.target('CREATE STREAM "orders of Anna" ON TABLE "customer"')
    migration.migrate()
    migration.source("ALTER TABLE customer ALTER COLUMN credit TYPE numeric(12,4)")
    manifest = migration.export()
    with pytest.raises(TargetRefused, match=r"the stream .*orders of Anna"):
        migration.load(manifest)
    migration.target('DROP STREAM "orders of Anna"')
    migration.load(manifest)
    assert migration.verify().verdict == "equal"


def test_a_comment_of_the_source_follows_it_until_the_owner_writes_another(migration: Any) -> None:
    migration.source(*SOURCE)
    migration.migrate()
    migration.source("COMMENT ON TABLE customer IS 'newer'")
    migration.migrate()
    assert _on(migration)["comments"][0] == ("newer",)
    migration.target("COMMENT ON TABLE \"customer\" IS 'ask Anna'")
    migration.source("COMMENT ON TABLE customer IS 'newest'")
    migration.migrate()
    assert _on(migration)["comments"][0] == ("ask Anna",)


def test_rows_that_others_wrote_since_are_kept_beside(migration: Any) -> None:
    migration.source(*SOURCE, "CREATE TABLE gone (id int)")
    migration.migrate()
    migration.target("INSERT INTO \"customer\" VALUES (9, 'only', 0, 'copy')", 'INSERT INTO "gone" VALUES (7)')
    migration.source("DROP TABLE gone")
    manifest = migration.export()
    plan = _plan(migration, manifest)
    assert "others wrote to it since its load: a copy is kept in" in plan.tables[0].action
    migration.load(manifest)
    assert _verify(migration).verdict == "equal"
    own = migration.settings.snowflake
    beside = f'"{own.database}"."{own.schema_}{snowflake_records.SCHEMA_SUFFIX}"'
    kept = sorted(name for name in _names(migration, own.schema_ + snowflake_records.SCHEMA_SUFFIX) if "__" in name)
    assert [name.partition("__")[0] for name in kept] == ["customer", "gone"]
    assert migration.target(f'SELECT "name" FROM {beside}."{kept[0]}" WHERE "id" = 9') == [("only",)]
    assert migration.target(f'SELECT * FROM {beside}."{kept[1]}"') == [(7,)]
    assert [table.action for table in _plan(migration, manifest).tables] == ["replace the rows"]


def _names(migration: Any, schema: str) -> list[str]:
    database = migration.settings.snowflake.database
    return [
        name
        for (name,) in migration.target(
            f"SELECT TABLE_NAME FROM \"{database}\".INFORMATION_SCHEMA.TABLES WHERE TABLE_SCHEMA = '{schema}'"
        )
    ]


def test_a_schema_of_others_with_the_records_name_is_refused(owned: Any) -> None:
    migration = owned
    migration.source(*SOURCE)
    own = migration.settings.snowflake
    schema = f'"{own.database}"."{own.schema_}{snowflake_records.SCHEMA_SUFFIX}"'
    migration.target(f"CREATE SCHEMA {schema}", f'CREATE TABLE {schema}."theirs" ("x" NUMBER(10,0))')
    with pytest.raises(TargetRefused, match="theirs"):
        migration.load(migration.export())
    assert _names(migration, own.schema_ + snowflake_records.SCHEMA_SUFFIX) == ["theirs"]


@pytest.mark.parametrize(
    "point", [*(pytest.param(p, marks=pytest.mark.slow) for p in ("new table recorded", "renamed")), "swapped"]
)
def test_a_load_that_breaks_off_while_a_table_takes_anothers_place_goes_on(
    migration: Any, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    migration.source(*SOURCE)
    migration.migrate()
    _put_on(migration)
    before = _on(migration)
    migration.source("ALTER TABLE customer ALTER COLUMN credit TYPE numeric(12,4)")
    manifest = migration.export()
    start = {"new table recorded": "INSERT OVERWRITE", "renamed": "SWAP WITH", "swapped": "DROP TABLE"}[point]
    with monkeypatch.context() as patch, pytest.raises(_BrokenOff):
        _break_off_at(patch, start)
        migration.load(manifest)
    migration.load(manifest)
    assert (_on(migration), _verify(migration).verdict) == (before, "equal")
    assert _names(migration, migration.settings.snowflake.schema_) == ["customer"]


class _BrokenOff(BaseException):
    pass


def _break_off_at(patch: pytest.MonkeyPatch, words: str) -> None:
    real = snowflake.Session.execute

    def execute(session: Any, sql: str, *args: Any, **options: Any) -> Any:
        if words in sql:
            raise _BrokenOff
        return real(session, sql, *args, **options)

    patch.setattr(snowflake.Session, "execute", execute)


def test_objects_of_others_on_the_stage_stay(migration: Any) -> None:
    migration.source(*SOURCE)
    first = migration.export().export
    theirs = [
        "notes.txt",
        f"{first}/notes.txt",
        f"{first}/public.customer/notes.parquet",
        "20240101T000000Z-abcdef/00001.txt",
    ]
    for name in theirs:
        migration.bucket.write(name, b"theirs")
    for _ in range(2):
        migration.export()
    there = migration.bucket.sizes()
    assert set(theirs) <= there.keys()
    assert {name for name in there if name.startswith(first)} == set(theirs[1:3])


def test_an_export_that_no_target_would_take_is_refused_before_it_begins(
    owned: Any, runbook: Any, migration_toml: Any, tmp_path: Any
) -> None:
    """Would catch: hours of an export that a load then refuses, and an export that one target in the way forbids to another."""
    migration_toml(owned.profile)
    owned.source(*SOURCE)
    owned.target('CREATE TABLE "customer" ("only" VARCHAR)', "INSERT INTO \"customer\" VALUES ('our only copy')")
    for words in ((), ("--plan",)):
        said = runbook("export", *words, folder=tmp_path)
        assert said.returncode == 0, said.stderr
        assert (
            "will refuse" in said.stderr + said.stdout and "no load of ours made customer" in said.stderr + said.stdout
        )
    write_deltalake(
        Lake.open(owned.settings.databricks, owned.settings.stage).location("customer"),
        pa.table({"only": ["our only copy"]}),
        storage_options=storage_options(owned.settings.stage),
    )
    for words in ((), ("--plan",)):
        said = runbook("export", *words, "--json", folder=tmp_path)
        assert said.returncode == 1, said.stdout
        assert json.loads(said.stdout)["error"]["type"] == "TargetRefused"
