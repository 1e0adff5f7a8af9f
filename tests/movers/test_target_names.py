"""What a target refuses for its names is said before anything is moved, all of it at once, each with its cure.

Would catch: a name that is only refused by the engine, behind an hour of export; a second refusal that shows when the first
is mended; a view or a broken table of somebody else's in the target's schema that keeps every load and verification from
beginning.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake
from pydantic import SecretStr

from helpers import load as loading
from helpers.errors import TargetRefused, UsageError
from helpers.model import names
from helpers.model.catalog import Column, PgType, Table
from helpers.model.places import TargetTable
from helpers.platforms import snowflake, spark
from helpers.platforms.delta import Lake, storage_options
from helpers.settings import Databricks


def _table(schema: str, name: str, *columns: str) -> Table:
    kind = PgType("int4", "integer")
    return Table(schema, name, 0, tuple(Column(each, kind) for each in columns or ("id",)), (), ())


def _in(tables: Iterable[Table], schema: str) -> list[names.Placed]:
    return [(table, TargetTable(schema, table.name)) for table in tables]


def _databricks(**settings: str) -> Databricks:
    where: dict[str, Any] = (
        {"url": "sc://x"} if "host" not in settings else {"cluster_id": "c", "token": SecretStr("t")}
    )
    return Databricks.model_validate(where | {"schema": "m"} | settings)


ODD = (
    _table("public", "Odd Name; x"), _table("public", "semi;colon"), _table("public", "a.b"), _table("public", "a/b"),
    _table("public", "tab\tname"), _table("public", "größe"), _table("public", "plain", "with space", 'qu"ote', "a;b"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("rules", "refused"),
    [
        (snowflake.NAMES, set()),
        (spark.names(_databricks(catalog="main")), {"Odd Name; x", "a.b", "a/b", "tab\tname"}),
        (spark.names(_databricks(host="h")), {"Odd Name; x", "a.b", "a/b", "tab\tname"}),
        (spark.names(_databricks()), {"Odd Name; x", "semi;colon", "a.b", "a/b", "tab\tname", "größe"}),
        (spark.names(_databricks(host="h", catalog="hive_metastore")), {"Odd Name; x", "semi;colon", "a.b", "a/b", "tab\tname", "größe"}),
    ],
)  # fmt: skip
def test_each_engine_refuses_the_names_that_its_documentation_does(rules: Any, refused: set[str]) -> None:
    found = names.refusals(_in(ODD, "m"), rules)
    assert {table for each in found for table in each.tables} == {f"public.{name}" for name in refused}
    assert all(rules.engine in each.why and "--exclude" in each.cure for each in found)


def test_all_refusals_come_at_once_each_with_its_cure() -> None:
    tables = [
        _table("a", "t"), _table("b", "t"), _table("a", "Orders"), _table("a", "orders"), _table("a", "c", "id", "ID", "É", "é"),
        _table("a", "x y"), _table("a", "n" * 256),
    ]  # fmt: skip
    found = names.refusals(_in(tables, "my schema"), spark.UNITY_CATALOG)
    assert [each.on for each in found] == [
        "schema 'my schema' of the target", "a.x y", f"a.{'n' * 256}", "a.t and b.t", "a.Orders and a.orders", "a.c.id and a.c.ID",
        "a.c.É and a.c.é",
    ]  # fmt: skip
    with pytest.raises(UsageError) as caught:
        raise names.refused(found, on="the target")
    said = str(caught.value)
    assert all(str(each) in said and each.cure in said for each in found)
    assert """[profiles.X.tables.match."a.x y"] in migration.toml; or leave it out: --exclude 'a.x y'""" in said
    assert [each.on for each in names.refusals(_in(tables, "S"), snowflake.NAMES)] == [f"a.{'n' * 256}", "a.t and b.t"]


def test_the_target_is_asked_before_anything_is_loaded(migration: Any) -> None:
    migration.source(
        'CREATE TABLE "Odd Name; x" (id int)', "CREATE TABLE a (id int)", "CREATE SCHEMA other", "CREATE TABLE other.a (id int)"
    )  # fmt: skip
    manifest = migration.export()
    for target, named in (
        (migration.settings.snowflake, ("other.a and public.a",)),
        (migration.settings.databricks, ("public.Odd Name; x", "other.a and public.a")),
    ):
        with pytest.raises(UsageError) as caught:
            loading.plan_load(manifest, migration.bucket, target)
        assert all(name in str(caught.value) for name in named)


def test_what_lies_in_the_target_beside_the_tables_is_not_looked_at(migration: Any) -> None:
    migration.source("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    manifest = migration.migrate()
    lake = Lake.open(migration.settings.databricks, migration.settings.stage)
    migration.target(
        'CREATE TABLE "gone" ("x" NUMBER(10,0))',
        'CREATE VIEW "unreadable" AS SELECT * FROM "gone"',
        'CREATE VIEW "readable" AS SELECT * FROM "t"',
        'DROP TABLE "gone"',
    )
    lake.bucket.write("broken/_delta_log/00000000000000000000.json", b"{ not a log")
    migration.load(manifest)
    assert migration.verify().verdict == "equal"
    plan = loading.plan_load(manifest, migration.bucket, migration.settings.databricks)
    loading.load(plan)
    by_name = {table.name: table for table in migration.verify("databricks").tables}
    assert (by_name["t"].verdict, by_name["t"].rows_target) == ("equal", 1)
    # A table is a table: it is said that it is there, and that nobody can read it.
    assert [finding.name for finding in by_name["broken"].schema_findings] == ["table-added"]
    assert "cannot be counted" in by_name["broken"].method


def test_a_view_or_a_broken_table_in_the_way_is_refused_with_the_other_names(migration: Any) -> None:
    migration.source("CREATE TABLE t (id int)", "CREATE TABLE u (id int)")
    manifest = migration.migrate()
    migration.target('DROP TABLE "u"', 'CREATE VIEW "u" AS SELECT * FROM "t"')
    with pytest.raises(UsageError, match="a view of that name") as caught:
        migration.load(manifest)
    assert (caught.value.on, "--exclude public.u" in caught.value.next_step) == ("public.u", True)
    lake = Lake.open(migration.settings.databricks, migration.settings.stage)
    lake.bucket.write("t/_delta_log/00000000000000000000.json", b"{ not a log")
    with pytest.raises(TargetRefused, match="t is there and cannot be read") as found:
        loading.plan_load(manifest, migration.bucket, migration.settings.databricks)
    assert (found.value.exit_code, "--exclude" in found.value.next_step) == (1, True)


def test_what_is_wrong_with_names_owners_and_unreadable_tables_is_told_at_once(migration: Any) -> None:
    """Would catch: an operator who mends the names, and only then learns that a table belongs to others."""
    migration.source(
        "CREATE TABLE t (id int)", "CREATE TABLE u (id int)", "CREATE TABLE v (id int)", 'CREATE TABLE "w w" (id int)'
    )
    manifest = migration.export()
    lake = Lake.open(migration.settings.databricks, migration.settings.stage)
    lake.bucket.write("t/_delta_log/00000000000000000000.json", b"{ not a log")
    rows = pa.table({"only": ["our only copy"]})
    write_deltalake(lake.location("u"), rows, storage_options=storage_options(migration.settings.stage))
    with pytest.raises(TargetRefused) as caught:
        loading.plan_load(manifest, migration.bucket, migration.settings.databricks)
    for said in ("public.w w", "t is there and cannot be read", "no load of ours made u (a table)"):
        assert said in caught.value.why
    assert lake.tables() == ["t", "u"]
    own = migration.settings.snowflake
    with snowflake.connect(own) as session:
        session.execute(f"CREATE SCHEMA {snowflake.identifier(own.database, own.schema_)}", doing="be its owner")
    migration.target('CREATE TABLE "u" ("only" VARCHAR)', 'CREATE VIEW "v" AS SELECT * FROM "u"')
    with pytest.raises(TargetRefused) as caught:
        loading.plan_load(manifest, migration.bucket, own)
    assert "public.v: the target has a view of that name" in caught.value.why
    assert "no load of ours made u (a table)" in caught.value.why


def test_a_table_that_cannot_be_read_is_not_dropped_and_keeps_nothing_else_from_being_told(migration: Any) -> None:
    migration.source("CREATE TABLE t (id int)", "CREATE TABLE u (id int)")
    loading.load(loading.plan_load(migration.export(), migration.bucket, migration.settings.databricks))
    migration.source("DROP TABLE t")
    lake = Lake.open(migration.settings.databricks, migration.settings.stage)
    lake.bucket.write("t/_delta_log/00000000000000000000.json", b"{ not a log")
    with pytest.raises(TargetRefused, match=r"drop t, which the source no longer has.*cannot be read"):
        loading.plan_load(migration.export(), migration.bucket, migration.settings.databricks)


def test_every_refused_name_comes_with_one_that_is_taken() -> None:
    """Would catch: a proposal that the catalog refuses as well, or that another table has already."""
    tables = [
        *ODD,
        *(_table("public", name) for name in ("Odd_Name_x", "日本", "Ærø ß", "information_schema", "GRÖSSE")),
    ]
    for rules in (spark.SESSION_CATALOG, spark.UNITY_CATALOG):
        found = [each for each in names.refusals(_in(tables, "m"), rules) if each.tables and "name = " in each.cure]
        proposed = [each.cure.partition('name = "')[2].partition('"')[0] for each in found]
        keys = [rules.key(each) for each in proposed]
        assert len(set(keys)) == len(keys) >= 4
        assert not any(map(rules.objection, proposed))
        assert not set(keys) & {rules.key(table.name) for table in tables}
    assert spark.SESSION_CATALOG.suggested("Ærø ß") == "AEro_ss"
    for own, rules in (("global_temp", spark.SESSION_CATALOG), ("Information_Schema", spark.UNITY_CATALOG)):
        (refused,) = names.refusals(_in([_table("public", "t")], own), rules)
        assert f"keeps {own!r} for itself" in refused.why
        assert f'schema = "{rules.suggested(own)}"' in refused.cure
