"""A load makes in Snowflake what verification expects there, and every drift from it has one finding of the right name.

Would catch: a default, key or comment that a load drops or writes as another; a narrower type that Snowflake's catalog
does not tell in the place where it was looked for; a load that leaves a drifted table as it is; names that the target
takes for one, met in the middle of a load.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from helpers import load as loading
from helpers.engines import shapes
from helpers.engines.shapes import TableShape
from helpers.engines.snowflake import definition as definitions
from helpers.engines.snowflake import records as snowflake_records
from helpers.engines.snowflake.catalog import read_present, read_tables
from helpers.engines.snowflake.ddl import SNOWFLAKE as SNOWFLAKE_DDL
from helpers.errors import LoadError, UsageError
from helpers.model.places import TargetTable
from helpers.platforms import postgres, snowflake
from helpers.platforms.snowflake import Session
from helpers.source.catalog import read_catalog
from helpers.source.census import take_census
from helpers.source.staging import staged_table
from helpers.verify.schema import compare_schema, not_compared

TABLE = (
    "CREATE TYPE mood AS ENUM ('glad', 'sad')",
    """CREATE TABLE t (
        id integer GENERATED ALWAYS AS IDENTITY, code varchar(20) NOT NULL DEFAULT E'it''s \\\\ "new"', price numeric(12,2)
        DEFAULT -1.5, qty bigint DEFAULT 0, ratio real DEFAULT 0.5, flag boolean DEFAULT true, day date DEFAULT '2024-02-29',
        at timestamp DEFAULT '2024-01-01 12:00', seen timestamptz DEFAULT now(), clock time, raw bytea, note text,
        feeling mood DEFAULT 'sad', tags text[] DEFAULT '{}', free numeric DEFAULT 0,
        half numeric(6,3) NOT NULL DEFAULT 2, PRIMARY KEY (id, code))""",
    "COMMENT ON TABLE t IS 'it''s a \\ table'",
    "COMMENT ON COLUMN t.price IS 'in euros'",
    "INSERT INTO t (code) VALUES ('a'), ('b')",
)
NOT_CARRIED = ("default of id, at, seen",)

Edit = tuple[str, str]
DRIFTS: list[tuple[str, Edit, list[tuple[str, str, str | None]]]] = [
    ("price", ("NUMBER(12,2)", "NUMBER(10,2)"), [("type-narrowed", "error", "price")]),
    ("price", ("NUMBER(12,2)", "NUMBER(12,1)"), [("precision-lost", "error", "price")]),
    ("qty", ("NUMBER(19,0)", "FLOAT"), [("precision-lost", "error", "qty")]),
    ("at", ("(6)", "(3)"), [("type-narrowed", "error", "at")]),
    ("at", ("(6)", "(9)"), [("type-widened", "warning", "at")]),
    ("at", ("NTZ", "LTZ"), [("type-changed", "error", "at")]),
    ("clock", ("(6)", "(0)"), [("type-narrowed", "error", "clock")]),
    ("seen", ("LTZ", "TZ"), [("type-changed", "error", "seen")]),
    ("raw", ("BINARY", "BINARY(10)"), [("type-narrowed", "error", "raw")]),
    ("note", ("VARCHAR", "VARCHAR(5)"), [("type-narrowed", "error", "note")]),
    ("note", ('"note" VARCHAR', ""), [("column-missing", "error", "note")]),
    ("note", ("VARCHAR", 'VARCHAR, "more" DATE'), [("column-added", "error", "more")]),
    ("note", ("note", "NOTE"), [("column-renamed", "error", "note")]),
    ("note", ("note", "remark"), [("column-renamed", "error", "note")]),
    ("note", ("VARCHAR", "VARCHAR NOT NULL"), [("nullability-added", "warning", "note")]),
    ("half", (" NOT NULL", ""), [("nullability-lost", "error", "half")]),
    ("code", (" NOT NULL", ""), []),
    ("flag", ("TRUE", "FALSE"), [("default-changed", "warning", "flag")]),
    ("flag", (" DEFAULT TRUE", ""), [("default-changed", "warning", "flag")]),
    ("note", ("VARCHAR", "VARCHAR DEFAULT ''"), [("default-changed", "warning", "note")]),
    ("note", ("VARCHAR", "VARCHAR COMMENT 'why'"), [("comment-changed", "warning", "note")]),
    ("", ('PRIMARY KEY ("id", "code")', ""), [("key-missing", "warning", None)]),
    ("", ('PRIMARY KEY ("id", "code")', 'PRIMARY KEY ("code")'), [("key-changed", "warning", None)]),
    ("", ('PRIMARY KEY ("id", "code")', 'PRIMARY KEY ("code", "id")'), [("key-changed", "warning", None)]),
]  # fmt: skip


def expected(migration: Any) -> TableShape:
    """As verification makes it: the manifest's columns, and the rest as the source has it now."""
    manifest = migration.export()
    with postgres.reading(migration.settings.source) as cursor:
        (table,) = read_catalog(cursor, tables=["public.t"]).tables
        counted = take_census(cursor, table, migration.settings.export.policies)
    (staged,) = manifest.tables
    assert (
        shapes.loaded_shape(staged, SNOWFLAKE_DDL)
        == shapes.loaded_shape(staged, SNOWFLAKE_DDL, table)
        == shapes.loaded_shape(staged_table(counted), SNOWFLAKE_DDL, table)
    )
    return shapes.loaded_shape(staged, SNOWFLAKE_DDL, table)


def found(migration: Any) -> dict[str, TableShape]:
    target = migration.settings.snowflake
    with snowflake.connect(target) as session:
        present = read_present(session, target.database, [target.schema_])
        shapes = read_tables(session, target.database, present, present)
        return {table.name: shape for table, shape in shapes.items()}


def test_a_load_makes_what_is_expected(migration: Any) -> None:
    migration.source(*TABLE)
    manifest = migration.migrate()
    assert compare_schema(expected(migration), found(migration)["t"]) == ()
    assert not_compared(expected(migration), found(migration)["t"]) == NOT_CARRIED
    assert [t.action for t in plan(migration, manifest).tables] == ["replace the rows"]


def test_a_default_gives_the_same_value_on_both_sides(migration: Any) -> None:
    migration.source(*TABLE)
    migration.migrate()
    migration.source("INSERT INTO t (id, at, seen) OVERRIDING SYSTEM VALUE VALUES (9, NULL, NULL)")
    migration.target('INSERT INTO "t" ("id", "at", "seen") VALUES (9, NULL, NULL)')
    report = migration.verify()
    assert {cell.column: (cell.source, cell.target) for table in report.tables for cell in table.cells} == {}
    assert report.verdict == "equal"


def test_each_drift_is_one_finding_and_a_load_puts_it_right(migration: Any) -> None:
    migration.source(*TABLE)
    manifest = migration.migrate()
    (staged,), want = manifest.tables, expected(migration)
    for name, (old, new), findings in DRIFTS:
        parts = [definitions.column_definition(c) for c in staged.columns] + ['PRIMARY KEY ("id", "code")']
        at = [c.name for c in staged.columns].index(name) if name else -1
        assert old in parts[at]
        parts[at] = parts[at].replace(old, new, 1)
        comment = f"COMMENT = {snowflake.literal(staged.comment or '')}"
        migration.target(f'CREATE OR REPLACE TABLE "t" ({", ".join(part for part in parts if part)}) {comment}')
        _call_it_ours(migration)
        here = compare_schema(want, found(migration)["t"])
        assert [(f.name, f.severity, f.column) for f in here] == findings, (name, new)
        replaced = not plan(migration, manifest).tables[0].serves
        assert replaced == bool(findings and findings[0][0] != "comment-changed"), (name, new)
    migration.load(manifest)
    assert compare_schema(want, found(migration)["t"]) == ()
    migration.target('ALTER TABLE "t" DROP PRIMARY KEY')
    migration.load(manifest)
    assert compare_schema(want, found(migration)["t"]) == ()


def _call_it_ours(migration: Any) -> None:
    """A table that was made anew is another's, and no load replaces it: the record is made to say that a load made this one."""
    target = migration.settings.snowflake
    with snowflake.connect(target) as session:
        created = read_present(session, target.database, [target.schema_])[TargetTable(target.schema_, "t")].created
        session.execute(
            f"UPDATE {snowflake_records.place(target)} SET CREATED = {created}, CHANGED = NULL WHERE TABLE_NAME = 't'",
            doing="adopt",
        )


def test_a_comment_of_the_source_comes_with_its_rows(migration: Any) -> None:
    migration.source(*TABLE)
    migration.migrate()
    migration.source("COMMENT ON TABLE t IS NULL", "COMMENT ON COLUMN t.note IS 'why'")
    before = found(migration)["t"]
    assert [f.name for f in compare_schema(expected(migration), before)] == ["comment-changed", "comment-changed"]
    migration.migrate()
    assert compare_schema(expected(migration), found(migration)["t"]) == ()


def test_a_flag_column_of_a_policy_is_no_finding(migration: Any) -> None:
    migration.source(
        "CREATE TABLE t (id int PRIMARY KEY, v numeric(6,2) NOT NULL DEFAULT 1)", "INSERT INTO t VALUES (1, 'NaN')"
    )
    options = migration.settings.export.model_copy(update={"policies": {"public.t.v": "null+flag"}})
    values = migration.settings.values.model_copy(update={"export": options})
    migration.settings = type(migration.settings)("local", migration.settings.file, values)
    migration.migrate()
    here = found(migration)["t"]
    assert [(c.name, c.not_null, c.default) for c in here.columns] == [
        ("id", True, ""), ("v", False, "1"), ("v__original", False, ""),
    ]  # fmt: skip
    assert compare_schema(expected(migration), here) == ()
    migration.target('ALTER TABLE "t" DROP COLUMN "v__original"')
    assert [f.name for f in compare_schema(expected(migration), found(migration)["t"])] == ["column-missing"]


class Reticent(Session):
    """A session of a service that gives no digits of a second in INFORMATION_SCHEMA, as its documentation says, and may
    not list keys or describe tables to this role.
    """

    refused: tuple[str, ...] = ()

    def execute(self, sql: str, values: Any = (), *, doing: str) -> list[dict[str, Any]]:
        if sql.startswith(self.refused):
            raise LoadError(doing, on="the target", why="insufficient privileges", next_step="ask for them")
        rows = super().execute(sql, values, doing=doing)
        return [{**row, "DATETIME_PRECISION": None} if "DATETIME_PRECISION" in row else row for row in rows]


def test_what_the_catalog_does_not_tell_is_looked_for_elsewhere_or_left_out(migration: Any) -> None:
    migration.source(*TABLE)
    migration.migrate()
    target, want = migration.settings.snowflake, expected(migration)
    with snowflake.connect(target) as session:
        reticent = Reticent(session._connection, "the target")
        t = TargetTable(target.schema_, "t")
        present = read_present(reticent, target.database, [target.schema_])
        told = read_tables(reticent, target.database, [t], present)[t]
        assert told == found(migration)["t"]
        reticent.refused = ("SHOW PRIMARY KEYS", "DESCRIBE")
        untold = read_tables(reticent, target.database, [t], present)[t]
    assert (untold.keys, untold.column("at")) == (
        None,
        replace(told.columns[7], type=SNOWFLAKE_DDL.read("TIMESTAMP_NTZ")),
    )
    assert compare_schema(want, untold) == ()
    assert not_compared(want, untold) == ("digits of a second of at, seen, clock", *NOT_CARRIED, "keys")


@pytest.mark.parametrize(
    ("statements", "named"),
    [
        (("CREATE TABLE t (id int)", 'CREATE TABLE "T" (id int)'), "public.T and public.t"),
        (("CREATE TABLE a (id int)", 'CREATE TABLE t (id int, "Id" int)'), "public.t.id and public.t.Id"),
    ],
)
def test_names_alike_but_for_case_are_refused_before_anything_is_loaded(
    migration: Any, statements: tuple[str, ...], named: str
) -> None:
    migration.source(*statements)
    manifest = migration.export()
    with pytest.raises(UsageError, match="differ only in case") as caught:
        migration.load(manifest)
    assert caught.value.on == named
    assert found(migration) == {}


def test_a_table_of_the_target_that_is_alike_but_for_case_is_refused(migration: Any) -> None:
    migration.source("CREATE TABLE t (id int)")
    migration.migrate()
    migration.source("ALTER TABLE t RENAME TO t2", 'CREATE TABLE "T" (id int)')
    manifest = migration.export()
    with pytest.raises(UsageError, match="differ only in case"):
        migration.load(manifest)
    assert set(found(migration)) == {"t"}


def plan(migration: Any, manifest: Any) -> loading.LoadPlan:
    return loading.plan_load(manifest, migration.bucket, migration.settings.snowflake)
