"""What a drift of the definition does to the verdict, and to the comparison of the values beside it.

Would catch: a verdict "equal" over the columns that both sides happen to share; a renamed column whose values nobody
compares; a warning that makes equal tables different.
"""

from __future__ import annotations

from typing import Any

TABLE = (
    "CREATE TABLE t (id int PRIMARY KEY, amount numeric(12,2), note text)",
    "COMMENT ON COLUMN t.amount IS 'in euros'",
    "INSERT INTO t SELECT n, n / 4.0, 'note ' || n FROM generate_series(1, 50) n",
)


def test_a_renamed_column_is_a_finding_and_its_values_are_compared(migration: Any) -> None:
    migration.source(*TABLE)
    migration.migrate()
    migration.target(
        'ALTER TABLE "t" RENAME COLUMN "note" TO "remark"', 'UPDATE "t" SET "remark" = \'x\' WHERE "id" = 7'
    )
    (table,) = migration.verify().tables
    assert [(f.name, f.column, f.found) for f in table.schema_findings] == [("column-renamed", "note", "remark")]
    assert [(c.key, c.column, c.source, c.target) for c in table.cells] == [({"id": "7"}, "note", "note 7", "x")]
    assert (table.verdict, table.changed) == ("different", 1)


def test_a_column_that_only_the_source_has_is_never_equal(migration: Any) -> None:
    migration.source(*TABLE)
    migration.migrate()
    migration.target('ALTER TABLE "t" DROP COLUMN "note"')
    (table,) = migration.verify().tables
    assert (table.verdict, table.changed, [f.name for f in table.schema_findings]) == (
        "different",
        0,
        ["column-missing"],
    )
    assert "note" not in table.changed_cells


def test_warnings_leave_equal_tables_equal(migration: Any) -> None:
    migration.source(*TABLE)
    migration.migrate()
    migration.target('ALTER TABLE "t" DROP PRIMARY KEY', 'COMMENT ON COLUMN "t"."amount" IS \'in dollars\'')
    report = migration.verify()
    assert [f.name for f in report.tables[0].schema_findings] == ["comment-changed", "key-missing"]
    assert {f.severity for f in report.tables[0].schema_findings} == {"warning"}
    assert report.verdict == migration.verify(check="schema").verdict == "equal"
    assert migration.verify("stage").tables[0].schema_findings == ()


def test_what_the_schema_check_cannot_tell_is_said(migration: Any) -> None:
    migration.source("CREATE TABLE t (id int PRIMARY KEY, at timestamptz DEFAULT now())")
    migration.migrate()
    (table,) = migration.verify(check="schema").tables
    assert (table.verdict, table.schema_findings) == ("equal", ())
    assert table.method.endswith("default of at")
