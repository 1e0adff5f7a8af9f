"""Keys travel: what the source says of its rows, the target's catalog says too, and what it cannot say is named.

Would catch: a foreign key that is made before what it refers to, one to a table that stays, one that was never checked; a key
that a second load makes twice, that a replaced table loses, or that stays when the source has dropped it; an owner's own key
that a load drops; a constraint that goes nowhere and stands in no list.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from helpers import export as exporting
from helpers import load as loading
from helpers.model import manifest as manifests
from helpers.platforms import snowflake
from helpers.settings import Tables

SOURCE = (
    'CREATE TABLE "Author" (id int PRIMARY KEY, "e-mail" text UNIQUE, boss int REFERENCES "Author")',
    "CREATE TABLE book (isbn text, edition int, author int REFERENCES \"Author\" ON DELETE CASCADE, PRIMARY KEY (isbn, edition))",
    "CREATE TABLE shelf (id int PRIMARY KEY, newest int)",
    "CREATE TABLE copy (id int PRIMARY KEY, isbn text, edition int, shelf int, mail text, "
    'CONSTRAINT of_book FOREIGN KEY (edition, isbn) REFERENCES book (edition, isbn) DEFERRABLE INITIALLY DEFERRED, '
    'FOREIGN KEY (shelf) REFERENCES shelf, CONSTRAINT by_mail FOREIGN KEY (mail) REFERENCES "Author" ("e-mail"), UNIQUE (shelf, isbn))',
    "ALTER TABLE shelf ADD CONSTRAINT newest FOREIGN KEY (newest) REFERENCES copy",
    "CREATE TABLE import (id int PRIMARY KEY)",
    "CREATE TABLE loan (id int PRIMARY KEY, copy int, day date DEFAULT current_date, days int CHECK (days > 0), import int REFERENCES import)",
    "CREATE UNIQUE INDEX one_open ON loan (copy) WHERE days IS NULL",
    "CREATE UNIQUE INDEX plain ON loan (copy, day)",
    "INSERT INTO \"Author\" VALUES (1, 'a', NULL), (2, NULL, 1)",
    "INSERT INTO book VALUES ('x', 1, 1)",
    "INSERT INTO copy VALUES (1, 'x', 1, NULL, 'a')",
    "INSERT INTO loan VALUES (1, 99, '2024-01-01', 3, NULL)",
    "ALTER TABLE loan ADD CONSTRAINT unsure FOREIGN KEY (copy) REFERENCES copy NOT VALID",
)  # fmt: skip

FOREIGN = {
    ("Author", "Author_boss_fkey", ("boss",), "Author", ("id",)),
    ("book", "book_author_fkey", ("author",), "Author", ("id",)),
    ("copy", "of_book", ("isbn", "edition"), "book", ("isbn", "edition")),  # in the order of the key that it refers to
    ("copy", "copy_shelf_fkey", ("shelf",), "shelf", ("id",)),
    ("copy", "by_mail", ("mail",), "Author", ("e-mail",)),
    ("shelf", "newest", ("newest",), "copy", ("id",)),
    ("loan", "loan_import_fkey", ("import",), "import", ("id",)),
}


def _told(migration: Any) -> tuple[set[Any], set[Any]]:
    """Unique and foreign keys, as the target lists them."""
    own = migration.settings.snowflake
    schema = snowflake.identifier(own.database, own.schema_)
    unique: dict[Any, list[str]] = {}
    for row in migration.target(f"SHOW UNIQUE KEYS IN SCHEMA {schema}"):
        assert row[7] == "false", "no optimizer may rely on it before a verdict"
        unique.setdefault((row[3], row[6]), []).append(row[4])
    foreign: dict[Any, list[Any]] = {}
    for row in migration.target(f"SHOW IMPORTED KEYS IN SCHEMA {schema}"):
        foreign.setdefault((row[7], row[12], row[3]), []).append((row[9], row[8], row[4]))
    listed = {
        (table, name, tuple(part[1] for part in sorted(parts)), to, tuple(part[2] for part in sorted(parts)))
        for (table, name, to), parts in foreign.items()
    }
    return {(table, name, tuple(columns)) for (table, name), columns in unique.items()}, listed


UNIQUE = {
    ("Author", "Author_e-mail_key", ("e-mail",)),
    ("copy", "copy_shelf_isbn_key", ("shelf", "isbn")),
    ("loan", "plain", ("copy", "day")),
}


def test_keys_of_every_kind_travel_and_what_does_not_is_named(migration: Any) -> None:
    migration.source(*SOURCE)
    manifest = migration.migrate()
    assert _told(migration) == (UNIQUE, FOREIGN)
    left = manifest.left_out
    assert left["foreign key unsure of public.loan"].startswith("it is NOT VALID")
    assert "no load makes" in left["check loan_days_check of public.loan"]
    assert "some of the rows" in left["unique index one_open of public.loan"]
    assert "PostgreSQL evaluates" in left["default day of public.loan"]
    for check in ("schema", "full"):
        report = migration.verify(check=check)
        assert (report.verdict, [t.schema_findings for t in report.tables if t.schema_findings]) == ("equal", [])
        assert report.left_out == left
    migration.load(manifest)
    assert _told(migration) == (UNIQUE, FOREIGN)


def test_a_key_to_a_table_that_stays_is_named_and_not_made(migration: Any) -> None:
    migration.source(*SOURCE)
    with exporting.planned(migration.settings, exclude=("import", "shelf")) as plan:
        manifest = exporting.export(plan)
    migration.load(manifest)
    stays = {("copy", "copy_shelf_fkey"), ("loan", "loan_import_fkey")}
    assert {each[:2] for each in _told(migration)[1]} == {each[:2] for each in FOREIGN} - stays - {("shelf", "newest")}
    why = "public.import, to which it refers, does not move"
    assert manifest.left_out["foreign key loan_import_fkey of public.loan"] == why
    report = migration.verify(check="schema")
    assert (report.verdict, report.left_out) == ("equal", manifest.left_out)


def test_keys_survive_a_table_that_is_replaced_and_go_when_the_source_drops_them(migration: Any) -> None:
    migration.source(*SOURCE)
    migration.migrate()
    migration.target(
        'ALTER TABLE "book" ADD CONSTRAINT theirs UNIQUE ("author", "edition")',
        'ALTER TABLE "Author" ADD UNIQUE ("boss")',
        'ALTER TABLE "Author" ADD FOREIGN KEY ("id") REFERENCES "shelf" ("id")',
    )
    migration.source(
        "ALTER TABLE \"Author\" ADD COLUMN born date DEFAULT '1950-01-01'",  # which ALTER TABLE gives no present table
        "ALTER TABLE copy DROP CONSTRAINT copy_shelf_isbn_key, DROP CONSTRAINT copy_shelf_fkey",
    )
    manifest = migration.export()
    plan = loading.plan_load(manifest, migration.bucket, migration.settings.snowflake)
    assert {str(t.staged): t.way for t in plan.tables}["public.Author"] == "replace"
    loading.load(plan)
    unique, foreign = _told(migration)
    # What the owner told of the table that was replaced is there again, under a name of Snowflake's own.
    assert {each[::2] for each in unique} == {each[::2] for each in UNIQUE} - {("copy", ("shelf", "isbn"))} | {
        ("Author", ("boss",)), ("book", ("author", "edition")),
    }  # fmt: skip
    ours = {each for each in FOREIGN if each[1] != "copy_shelf_fkey"}
    assert foreign >= ours and {each[2:] for each in foreign - ours} == {(("id",), "shelf", ("id",))}
    findings = sorted(
        (t.name, f.name, f.severity) for t in migration.verify(check="schema").tables for f in t.schema_findings
    )
    assert findings == [
        ("Author", "foreign-key-added", "warning"), ("Author", "key-added", "warning"), ("book", "key-added", "warning"),
    ]  # fmt: skip


def test_a_missing_key_is_a_warning_and_never_a_verdict(migration: Any) -> None:
    migration.source(*SOURCE)
    migration.migrate()
    migration.target(
        'ALTER TABLE "copy" DROP CONSTRAINT "of_book"', 'ALTER TABLE "copy" DROP CONSTRAINT "copy_shelf_isbn_key"'
    )
    report = migration.verify()
    assert report.verdict == "equal"
    assert [(f.name, f.severity, f.expected) for t in report.tables for f in t.schema_findings] == [
        ("key-missing", "warning", "UNIQUE (shelf, isbn)"),
        ("foreign-key-missing", "warning", "FOREIGN KEY (edition, isbn) REFERENCES book (edition, isbn)"),
    ]


def test_a_key_over_what_does_not_move_as_it_is_is_named(migration: Any) -> None:
    matches = {
        "public.Author": {"omit": ["e-mail"], "where": "id < 100", "reason": "r"},
        "public.shelf": {"mask": {"id": "null"}, "reason": "r"},
    }
    migration.source(*SOURCE)
    values = migration.settings.values.model_copy(update={"tables": Tables.model_validate({"match": matches})})
    migration.settings = replace(migration.settings, values=values)
    manifest = migration.migrate()
    assert {each[1] for each in _told(migration)[1]} == {"of_book", "newest", "loan_import_fkey"}
    said = {name: why for name, why in manifest.left_out.items() if name.startswith(("key ", "foreign key "))}
    assert said == {
        "key Author_e-mail_key of public.Author": "a key over a column that does not move as it is",
        "key shelf_pkey of public.shelf": "a key over a column that does not move as it is",
        "foreign key Author_boss_fkey of public.Author": "only some rows of public.Author, to which it refers, move",
        "foreign key book_author_fkey of public.book": "only some rows of public.Author, to which it refers, move",
        "foreign key by_mail of public.copy": "only some rows of public.Author, to which it refers, move",
        "foreign key copy_shelf_fkey of public.copy": "the key of public.shelf to which it refers does not move as it is",
        "foreign key unsure of public.loan": "it is NOT VALID: rows that break it may be there",
    }
    report = migration.verify()
    assert (report.verdict, [t.schema_findings for t in report.tables if t.schema_findings]) == ("equal", [])
    assert report.left_out == manifest.left_out


def test_what_every_partition_says_holds_of_the_table(migration: Any) -> None:
    """Would catch: a table of which no foreign key is told since each of its partitions has it by itself, as in Pagila."""
    migration.source(
        "CREATE TABLE c (id int PRIMARY KEY)", "CREATE TABLE p (day date, a int, b int, c int REFERENCES c) PARTITION BY RANGE (day)",
        "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM ('2024-01-01') TO ('2025-01-01')",
        "CREATE TABLE p2 PARTITION OF p FOR VALUES FROM ('2025-01-01') TO ('2026-01-01') PARTITION BY RANGE (day)",
        "CREATE TABLE p2a PARTITION OF p2 FOR VALUES FROM ('2025-01-01') TO ('2025-07-01')",
        "CREATE TABLE p2b PARTITION OF p2 DEFAULT",
        "ALTER TABLE p1 ADD FOREIGN KEY (a) REFERENCES c", "ALTER TABLE p2 ADD FOREIGN KEY (a) REFERENCES c",
        "ALTER TABLE p2a ADD FOREIGN KEY (b) REFERENCES c", "CREATE TABLE bare (c int REFERENCES c) PARTITION BY LIST (c)",
    )  # fmt: skip
    manifest = migration.migrate()
    assert {(each[0], each[1]) for each in _told(migration)[1]} == {
        ("p", "p_a_fkey"),
        ("p", "p_c_fkey"),
        ("bare", "bare_c_fkey"),
    }
    assert manifest.left_out["foreign key p_b_fkey of public.p"].startswith("it is declared for 1 of 3 partitions")
    assert [t.schema_findings for t in migration.verify(check="schema").tables if t.schema_findings] == []


def test_a_manifest_from_before_keys_travelled_loads_as_it_did(migration: Any) -> None:
    migration.source(*SOURCE)
    written = migration.export().model_dump(mode="json")
    for table in written["tables"]:
        del table["keys"], table["foreign_keys"]
    del written["sequences"]
    migration.bucket.write(manifests.NAME, json.dumps(written).encode())
    former = manifests.read(migration.bucket)
    assert {(table.keys, table.foreign_keys) for table in former.tables} == {(None, ())}
    migration.load(former)
    own = migration.settings.snowflake
    primary = migration.target(f"SHOW PRIMARY KEYS IN SCHEMA {snowflake.identifier(own.database, own.schema_)}")
    assert (len(primary), _told(migration)) == (7, (set(), set()))
    assert migration.verify().verdict == "equal"
