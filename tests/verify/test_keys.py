"""Rows are told apart by any key, and counted where there is none.

Would catch: a key that needs to be one number, to be sorted by a collation, or to be unique in the target too; keys that
only some engines put into the same segment; a NULL in a key that makes a row invisible; duplicates that become one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import psycopg2
import pytest

from helpers.platforms.postgres import identifier, literal
from helpers.verify import Options, tables

LETTERS = [
    "a",
    "A",
    "ä",
    "a\u0308",
    "a ",
    " a",
    "",
    "ß",
    "ss",
    "é",
    "z",
    "Z",
    "_",
    "1",
    "日",
    "𝔘",
    "a'b",
    "a,b",
    "a:b",
    "\t",
]
WHOLE = [str(n * 1_000_003) for n in range(-6, 6)] + ["-9223372036854775808", "9223372036854775807"]


def texts(collation: str) -> tuple[str, list[str], str]:
    return f'k text COLLATE "{collation}"', [literal(letter) for letter in LETTERS], "k"


# Per table: the columns of the key, its values as SQL, and the key's definition.
KEYS: dict[str, tuple[str, list[str], str]] = {
    "c": texts("C"),
    "unicode": texts("pg_c_utf8"),
    "basic": texts("ucs_basic"),
    "standard": texts("default"),
    "upper_and_lower": ("k varchar(4)", [literal(t) for t in ("Ab", "ab", "AB", "aB")], "k"),
    "padded": ("k char(5)", [literal(t) for t in ("a", " a", "", "A", "ä")], "k"),
    "uuids": ("k uuid", [f"'00000000-0000-0000-{n:04x}-{2**48 - 1 - n:012x}'" for n in range(20)], "k"),
    "sparse": ("k bigint", WHOLE, "k"),
    "tiny": ("k smallint", ["-32768", "32767", "0", "-1", "1"], "k"),
    "thousands": ("k bigint", [str(n * 293 * 997 * 41) for n in range(30)], "k"),
    "days": ("k date", ["'0001-01-01'", "'9999-12-31'", "'1970-01-01'", "'2000-02-29'"], "k"),
    "instants": ("k timestamptz", ["'2024-01-01 00:00:00.000001+02'", "'2024-01-01 00:00:00+02'", "'1883-11-18 12:00+00'"], "k"),
    "clocks": ("k time", ["'00:00'", "'10:00:00.1'", "'23:59:59.999999'"], "k"),
    "numbers": ("k numeric(38,10)", ["0", "-0.0000000001", "9999999999999999999999999999.9999999999", "1.5"], "k"),
    "loose_numbers": ("k numeric", ["0", "0.1", "10", "-1e20"], "k"),
    "floats": ("k double precision", ["0", "'NaN'", "'Infinity'", "'-Infinity'", "5e-324", "0.1"], "k"),
    "bytes": ("k bytea", ["'\\x'", "'\\x00'", "'\\x0000'", "'\\xff'"], "k"),
    "truths": ("k boolean", ["true", "false"], "k"),
    "moods": ("k mood", ["'glad'", "'sad, or not'", "''"], "k"),
    "lists": ("k integer[]", ["'{}'", "'{1,2}'", "'{{1,2}}'", "'{NULL}'"], "k"),
    "eight": (
        "k1 int, k2 text, k3 date, k4 bigint, k5 uuid, k6 boolean, k7 numeric(9,3), k8 smallint",
        [
            f"{n % 2}, {literal(LETTERS[n % 5])}, date '2024-01-01' + {n % 3}, {n * 10**12}, '00000000-0000-0000-0000-00000000000{n % 4}', "
            f"{n % 2 == 0}, {n}.5, {-n}"
            for n in range(24)
        ],
        "k1, k2, k3, k4, k5, k6, k7, k8",
    ),
    "three_numbers": ("k1 int, k2 bigint, k3 smallint", [f"{n % 3}, {-n * 10**15}, {n % 5}" for n in range(30)], "k1, k2, k3"),
    "not_in_order": ("k1 text, k2 int", [f"'{n % 3}', {n}" for n in range(12)], "k2, k1"),
}  # fmt: skip


def _tables() -> list[str]:
    statements = ["CREATE TYPE mood AS ENUM ('glad', 'sad, or not', '')"]
    for name, (columns, values, key) in KEYS.items():
        statements.append(f"CREATE TABLE {name} (n int, {columns}, v text, PRIMARY KEY ({key}))")
        rows = ", ".join(f"({n}, {value}, 'v' || {n})" for n, value in enumerate(values))
        statements.append(f"INSERT INTO {name} VALUES {rows}")
    return [
        *statements,
        "CREATE TABLE by_index (n int, k text NOT NULL, v text)",
        "CREATE UNIQUE INDEX ON by_index (k) INCLUDE (v)",
        "CREATE TABLE by_smaller_index (n int, a int NOT NULL, b int NOT NULL, k int NOT NULL, v text, UNIQUE (a, b), UNIQUE (k))",
        # None of these says which row is which.
        "CREATE TABLE nullable (n int, k int UNIQUE, v text)",
        "CREATE TABLE partial (n int, k int NOT NULL, v text)",
        "CREATE UNIQUE INDEX ON partial (k) WHERE k > 0",
        "CREATE TABLE of_expression (n int, k text NOT NULL, v text)",
        "CREATE UNIQUE INDEX ON of_expression (lower(k))",
        "CREATE TABLE deferred (n int, k int NOT NULL UNIQUE DEFERRABLE INITIALLY DEFERRED, v text)",
        *(
            f"INSERT INTO {name} (n, k, v) SELECT i, i, 'v' || i FROM generate_series(0, 9) i"
            for name in ("by_index", "nullable", "partial", "of_expression", "deferred")
        ),
        "INSERT INTO by_smaller_index SELECT i, i, -i, i, 'v' || i FROM generate_series(0, 9) i",
    ]


KEYED = [*KEYS, "by_index", "by_smaller_index"]
KEYLESS = ["nullable", "partial", "of_expression", "deferred"]
WAYS: dict[str, dict[str, Any]] = {
    "snowflake": {},
    "inside PostgreSQL": {"options": Options(witness=True)},
    "from the manifest": {"source_name": "manifest"},
    "stage": {"target": "stage"},
}


@pytest.fixture(scope="module")
def migrated(fresh_migration: Callable[..., AbstractContextManager[Any]]) -> Iterator[Any]:
    with fresh_migration() as migration:
        migration.source(*_tables())
        migration.migrate()
        yield migration


def _key_texts(migrated: Any, name: str, n: int) -> dict[str, str]:
    columns = [part.split()[0] for part in KEYS[name][0].split(", ")] if name in KEYS else ["k"]
    ordered = KEYS[name][2].split(", ") if name in KEYS else ["k"]
    shown = ", ".join(f"{identifier(column)}::text" for column in columns)
    (row,) = migrated.source(f"SELECT {shown} FROM {name} WHERE n = {n}")
    found = dict(zip(columns, row, strict=True))
    return {column: found[column] for column in ordered}


@pytest.mark.parametrize("way", WAYS)
def test_equal_by_any_key_and_by_its_digest_alone(migrated: Any, way: str) -> None:
    report = migrated.verify(**WAYS[way])
    assert {t.name: (t.verdict, t.fetched) for t in report.tables} == dict.fromkeys([*KEYED, *KEYLESS], ("equal", 0))


def test_changed_missing_and_doubled_rows_are_named_by_any_key(migrated: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # Why they differ is not asked here, and takes most of the time.
    monkeypatch.setattr(tables, "diagnose", lambda *_, **__: ({}, {}))
    for name in KEYED:
        migrated.target(
            f'UPDATE "{name}" SET "v" = NULL WHERE "n" = 0',
            f'INSERT INTO "{name}" SELECT * FROM "{name}" WHERE "n" = 0',
            f'DELETE FROM "{name}" WHERE "n" = 1',
        )  # fmt: skip
    for way in ("snowflake", "from the manifest"):
        found = {t.name: t for t in migrated.verify(tables=tuple(KEYED), **WAYS[way]).tables}
        for name in KEYED:
            table = found[name]
            assert (table.verdict, table.missing, table.extra, table.changed) == ("different", 1, 1, 1), name
            first, second = _key_texts(migrated, name, 0), _key_texts(migrated, name, 1)
            assert {tuple(c.key.items()) for c in table.cells if c.key} == {
                tuple(first.items()),
                tuple(second.items()),
            }, name
            assert ("v0", None) in [(c.source, c.target) for c in table.cells if c.key == first and c.column == "v"], (
                name
            )
            assert ("v1", None) in [(c.source, c.target) for c in table.cells if c.key == second and c.column == "v"], (
                name
            )


def test_a_null_in_the_targets_key_is_a_row_too(migration: Any) -> None:
    migration.source("CREATE TABLE t (k int PRIMARY KEY, v text)", "INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c')")
    migration.migrate()
    migration.target('ALTER TABLE "t" ALTER COLUMN "k" DROP NOT NULL', 'UPDATE "t" SET "k" = NULL WHERE "k" IN (1, 2)')
    (table,) = migration.verify().tables
    assert (table.missing, table.extra, table.changed) == (2, 2, 0)
    assert [f.name for f in table.schema_findings] == ["nullability-lost"]
    assert {c.key["k"] for c in table.cells if c.key} == {None, "1", "2"}
    # A NULL key and the key 0 are in one segment, and yet no match.
    migration.source("TRUNCATE t", "INSERT INTO t VALUES (0, 'a')")
    migration.migrate()
    migration.target('ALTER TABLE "t" ALTER COLUMN "k" DROP NOT NULL', 'UPDATE "t" SET "k" = NULL')
    (table,) = migration.verify().tables
    assert (table.missing, table.extra, table.changed) == (1, 1, 0)


def test_a_key_that_changes_its_segment_is_missing_here_and_extra_there(migration: Any) -> None:
    migration.source(
        "CREATE TABLE t (k text PRIMARY KEY, v int)",
        "INSERT INTO t SELECT 'key ' || i, i FROM generate_series(1, 2000) i",
    )
    migration.migrate()
    migration.target('UPDATE "t" SET "k" = \'KEY 7\' WHERE "k" = \'key 7\'')
    (table,) = migration.verify().tables
    assert (table.missing, table.extra, table.changed) == (1, 1, 0)
    assert [(c.key, c.source, c.target) for c in table.cells if c.column == "k"] in (
        [({"k": "key 7"}, "key 7", None), ({"k": "KEY 7"}, None, "KEY 7")],
        [({"k": "KEY 7"}, None, "KEY 7"), ({"k": "key 7"}, "key 7", None)],
    )
    assert table.fetched < 400


def test_a_key_column_that_the_target_lacks_is_a_finding_and_the_rest_is_compared_as_a_multiset(migration: Any) -> None:
    migration.source(
        "CREATE TABLE t (k int, l int, v text, PRIMARY KEY (k, l))",
        "INSERT INTO t SELECT i % 3, i, 'v' || i % 2 FROM generate_series(1, 30) i",
    )
    migration.migrate()
    migration.target('ALTER TABLE "t" DROP COLUMN "l"')
    (table,) = migration.verify().tables
    assert (table.verdict, table.missing, table.extra) == ("different", 0, 0)
    assert ("column-missing", "l") in [(f.name, f.column) for f in table.schema_findings]
    migration.target('UPDATE "t" SET "v" = \'x\' WHERE "k" = 0 AND "v" = \'v1\'')
    (table,) = migration.verify().tables
    assert (table.missing, table.extra, table.changed) == (5, 5, 0)
    migration.target(
        'ALTER TABLE "t" ADD COLUMN "w" VARCHAR', 'ALTER TABLE "t" DROP COLUMN "k"', 'ALTER TABLE "t" DROP COLUMN "v"'
    )
    (table,) = migration.verify().tables
    assert table.verdict == "different"
    assert {"column-missing", "column-added"} <= {f.name for f in table.schema_findings}


HEAPS = (
    "CREATE TABLE one (v text)",
    "INSERT INTO one SELECT CASE i % 4 WHEN 0 THEN NULL WHEN 1 THEN '' ELSE 'v' || i % 3 END FROM generate_series(1, 400) i",
    "CREATE TABLE empty_rows (a int, b text, c date)",
    "INSERT INTO empty_rows SELECT NULL, NULL, NULL FROM generate_series(1, 100)",
    "CREATE TABLE events (at timestamptz, kind text, clock time)",
    "INSERT INTO events SELECT timestamptz '2024-01-01' + i % 50 * interval '1 s', 'k' || i % 2, time '01:00' FROM generate_series(1, 2000) i",
    "CREATE TABLE distinct_rows (a int, b text, c boolean)",
    "INSERT INTO distinct_rows SELECT i, 'v' || i, true FROM generate_series(1, 3000) i",
)  # fmt: skip


def test_without_a_key_rows_are_a_multiset(migration: Any) -> None:
    migration.source(*HEAPS)
    migration.migrate()
    for way in WAYS.values():
        report = migration.verify(**way)
        assert {t.name: (t.verdict, t.fetched) for t in report.tables} == dict.fromkeys(
            ("one", "empty_rows", "events", "distinct_rows"), ("equal", 0)
        )
    migration.target(
        # A lost NULL, an empty text that became NULL, a duplicate more, and one less.
        'CREATE OR REPLACE TABLE "parted" AS SELECT "v", ROW_NUMBER() OVER (PARTITION BY "v" ORDER BY "v") AS "n" FROM "one"',
        'DELETE FROM "one"',
        """INSERT INTO "one" SELECT CASE WHEN "v" = '' AND "n" = 1 THEN NULL ELSE "v" END FROM "parted"
           WHERE NOT ("v" IS NULL AND "n" < 3) AND NOT ("v" = 'v1' AND "n" = 1)""",
        'DROP TABLE "parted"',
        'INSERT INTO "one" VALUES (\'v2\')',
        'INSERT INTO "empty_rows" VALUES (NULL, NULL, NULL)',
        'INSERT INTO "events" SELECT * FROM "events"',
        "UPDATE \"distinct_rows\" SET \"b\" = 'other' WHERE \"a\" = 1234",
    )  # fmt: skip
    for way in ("snowflake", "inside PostgreSQL", "from the manifest"):
        found = {t.name: t for t in migration.verify(**WAYS[way]).tables}
        # Two NULLs are lost and one is made of an empty text, so that one NULL, one empty text and one v1 are missing.
        counts = {name: (t.missing, t.extra, t.changed) for name, t in found.items()}
        assert counts == {"one": (3, 1, 0), "empty_rows": (0, 1, 0), "events": (0, 2000, 0), "distinct_rows": (1, 1, 0)}
        assert {(c.column, c.source, c.target) for c in found["distinct_rows"].cells} == {("b", "v1234", "other")}
        assert found["distinct_rows"].fetched < 800


def test_a_key_of_a_nondeterministic_collation(migration: Any) -> None:
    """Where the server has ICU: keys that the collation calls equal cannot be there twice, and bytes decide all the same."""
    try:
        migration.source("CREATE COLLATION blind (provider = icu, locale = 'und-u-ks-level2', deterministic = false)")
    except psycopg2.Error as error:
        pytest.skip(f"the server has no ICU: {error}")
    migration.source(
        'CREATE TABLE t (k text COLLATE "blind" PRIMARY KEY, v int)',
        "INSERT INTO t SELECT 'Key ' || i, i FROM generate_series(1, 200) i",
    )
    migration.migrate()
    (table,) = migration.verify().tables
    assert (table.verdict, table.fetched) == ("equal", 0)
    migration.target('UPDATE "t" SET "k" = \'KEY 7\' WHERE "k" = \'Key 7\'')
    (table,) = migration.verify().tables
    assert (table.missing, table.extra) == (1, 1)


def test_a_key_whose_values_depend_on_the_locale_of_the_database(
    fresh_migration: Callable[..., AbstractContextManager[Any]],
) -> None:
    with fresh_migration("TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'") as migration:
        migration.source(
            "CREATE TABLE t (k text PRIMARY KEY, v text)",
            "INSERT INTO t SELECT 'schlüssel ' || i, 'wert ß ' || i FROM generate_series(1, 400) i",
            "CREATE TABLE heap AS SELECT k, v FROM t",
        )
        migration.migrate()
        for way in WAYS.values():
            assert {t.name: (t.verdict, t.fetched) for t in migration.verify(**way).tables} == dict.fromkeys(
                ["t", "heap"], ("equal", 0)
            )
        migration.target(*(f'UPDATE "{name}" SET "v" = \'x\' WHERE "k" = \'schlüssel 7\'' for name in ("t", "heap")))
        for way in ("snowflake", "inside PostgreSQL", "from the manifest"):
            found = {t.name: t for t in migration.verify(**WAYS[way]).tables}
            keyed, heap = found["t"], found["heap"]
            assert (keyed.missing, keyed.extra, keyed.changed, keyed.changed_since) == (0, 0, 1, 0)
            assert [(c.key, c.source, c.target) for c in keyed.cells] == [({"k": "schlüssel 7"}, "wert ß 7", "x")]
            assert (heap.missing, heap.extra, heap.changed_since) == (1, 1, 0)
            assert keyed.fetched < 300
