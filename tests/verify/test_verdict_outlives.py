"""A verdict outlives whatever explains, shows or keeps it: no value, full disk or deaf terminal takes it away."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations
from pathlib import Path

import duckdb
import pytest

from helpers.engines import texts
from helpers.verify.cells import first_cells
from helpers.verify.hypotheses import belief
from helpers.verify.hypotheses.base import ANY, Hypothesis
from helpers.verify.report import CELLS_IN_JSON, Copies
from tests.conftest import Migration
from tests.verify.diagnosis_support import Value, diagnosed

# Of each type what is extreme for arithmetic, for the calendar, for Unicode or for a parser.
EXTREMES: dict[str, tuple[Value, ...]] = {
    "double precision": (
        "0", "-0", "5e-324", "-5e-324", "1e-310", "0.30000000000000004", "9007199254740993", "1e+300", "-1e+300",
        "1.7976931348623157e+308", "-1.7976931348623157e+308", "Infinity", "-Infinity", "NaN", "no number", None,
    ),
    "real": ("0", "1e-45", "-1e-45", "3.4028235e+38", "-3.4028235e+38", "16777216", "1e+300", "-Infinity", "NaN", None),
    "numeric": (
        "0", "-1", "1.10", "9" * 38, "-" + "9" * 38, "0." + "0" * 37 + "1", "9" * 20 + "." + "9" * 18, "0." + "0" * 16382 + "1",
        "9" * 131072, "9223372036854775808", "NaN", "Infinity", "-Infinity", None,
    ),
    "bigint": ("0", "-1", "127", "32768", "2147483647", "-9223372036854775808", "9223372036854775807", None),
    "timestamp without time zone": (
        "4713-01-01 00:00:00 BC", "290309-12-22 00:00:00 BC", "0001-01-01 00:00:00", "1582-10-04 00:00:00",
        "9999-12-31 23:59:59.999999", "294276-12-31 23:59:59.999999", "infinity", "-infinity", "", None,
    ),
    "timestamp with time zone": ("0044-03-15 00:00:00+00 BC", "294276-12-31 23:59:59.999999+00", "infinity", "1970-01-01 00:00:00+00", None),
    "date": ("4713-11-24 BC", "0001-01-01", "1582-10-04", "5874897-12-31", "infinity", "-infinity", "9999-12-31", None),
    "time without time zone": ("00:00:00", "24:00:00", "23:59:59.999999", "99:99", None),
    "text": (
        "", " ", "\t\n", "İ", "ı", "ß", "ẞ", "e\u0301", "é", "\ufffd", "\ufeffx", "\ud7ff", "\ue000", "\U0010ffff", "👩\u200d👧",
        "'", '"', "\\", "\\N", "\\x", "%s", "{0}", "[", "{", "NULL", "nan", "1e999", "9" * 400, "&#xD800;", "\x01",
        "\u202e", "x" * 100_000, "é" * 50_000, "[" * 2000 + "]" * 2000, None,
    ),
    "jsonb": (
        "{}", "[", '{"a":1,"a":2}', "[1e999999999]", "1" * 5000, '{"a": "\\ud800"}', "[NaN]", '"{\\"a\\": 2}"',
        "[" * 2000 + "]" * 2000, '{"a":' * 500 + "1" + "}" * 500, "null", "", None,
    ),
    "integer[]": ("{}", "[0:1]={1,2}", "{2,1}", "[1,2]", "{NULL}", "{{{{{{1}}}}}}", "{" + ",".join("1" * 5000) + "}", "", None),
    "bytea": ("\\x", "\\x00", "\\xabc", "\\xzz", "3q2+7w==", "\\x" + "ab" * 50_000, "", None),
    "boolean": ("true", "false", "t", "1", "", None),
    "interval": ("1 mon", "-178000000 years", "24:00:00", "", None),
}  # fmt: skip


@pytest.fixture(scope="module")
def duck() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": 2}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        texts.register(connection)
        yield connection


@pytest.mark.parametrize("kind", EXTREMES)
def test_extreme_values_together(duck: duckdb.DuckDBPyConnection, kind: str) -> None:
    pairs = [*permutations((v for v in EXTREMES[kind] if v is None or len(v) < 10_000), 2)]
    for found in diagnosed(duck, kind, pairs, rows=len(pairs)):
        assert 0 < found.pairs <= found.of


def test_thousands_of_changed_cells_leave_a_place_for_each_other_kind(duck: duckdb.DuckDBPyConnection) -> None:
    duck.execute("CREATE OR REPLACE TABLE copies (id BIGINT, side VARCHAR)")
    duck.execute(
        "CREATE OR REPLACE TABLE cells AS SELECT pair, sides, '{\"id\": \"1\"}' AS key, number, 'c' || number AS column_name, 's' AS source, "
        "'t' AS target FROM range(40) p(number), (SELECT range AS pair, 'both' AS sides FROM range(500) UNION ALL "
        "VALUES (500, 'source'), (501, 'target'))"
    )
    shown = first_cells(duck)
    assert len(shown) == CELLS_IN_JSON
    assert [sum(cell.on == on for cell in shown) for on in ("both", "source", "target")] == [CELLS_IN_JSON - 80, 40, 40]
    assert [cell.row for cell in shown] == sorted(cell.row for cell in shown)


@pytest.mark.parametrize("pair", [("1e-310", "0.30000000000000004"), ("0.1", "5e-324"), ("1e+300", "-1.7e+308"), ("1", "no number")])  # fmt: skip
def test_two_extreme_floats(duck: duckdb.DuckDBPyConnection, pair: tuple[str, str]) -> None:
    diagnosed(duck, "double precision", [pair], rows=1)
    diagnosed(duck, "double precision", [pair] * 30, rows=30)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "one"),
    [pytest.param(kind, one, id=f"{kind} {n}") for kind in EXTREMES for n, one in enumerate(EXTREMES[kind])],
)
def test_every_extreme_value_with_every_other(duck: duckdb.DuckDBPyConnection, kind: str, one: Value) -> None:
    """Alone, in many rows, and one with all others: a hypothesis asks different things of each."""
    pairs = [(one, other) for other in EXTREMES[kind] if other != one]
    for pair in pairs:
        diagnosed(duck, kind, [pair], rows=1)
        diagnosed(duck, kind, [pair] * 30, rows=30)
    diagnosed(duck, kind, pairs, rows=len(pairs) + 1)


def test_neither_values_nor_a_full_disk_take_a_verdict(migration: Migration, monkeypatch: pytest.MonkeyPatch) -> None:
    migration.source(
        "CREATE TABLE odd (id int PRIMARY KEY, f8 float8, blob bytea, note text)",
        "INSERT INTO odd SELECT n, 1e-310, decode(repeat('ab', 5000), 'hex'), 'x' FROM generate_series(1, 40) AS n",
        "CREATE TABLE loose (a int, b text)",
        "INSERT INTO loose VALUES (1, 'x'), (2, 'y'), (3, 'z')",
        "CREATE TABLE plain (id int PRIMARY KEY)",
        "INSERT INTO plain VALUES (1)",
    )
    migration.migrate()
    migration.target(
        """UPDATE "odd" SET "f8" = 0.30000000000000004 WHERE "id" <= 30""",
        """UPDATE "odd" SET "note" = 'y' WHERE "id" = 40""",
        """INSERT INTO "odd" SELECT * FROM "odd" WHERE "id" = 35""",
        """INSERT INTO "loose" VALUES (1, 'x'), (4, 'w')""",
    )
    failing = Hypothesis("failing", ANY, lambda pairs: [1 / 0 for _ in "s" if pairs.family == "text"])
    monkeypatch.setattr(belief, "HYPOTHESES", (*belief.HYPOTHESES, failing))
    report = migration.verify(cells_folder=Path("/dev/full/cells"))
    found = {table.name: table for table in report.tables}
    assert {name: table.verdict for name, table in found.items()} == {
        "odd": "different",
        "loose": "different",
        "plain": "equal",
    }
    odd, loose = found["odd"], found["loose"]
    assert (odd.changed, odd.missing, odd.extra, odd.changed_cells["f8"]) == (31, 0, 1, 30)
    assert (odd.copies, loose.extra, loose.copies) == (Copies(0, 1), 2, Copies(0, 1))
    assert [cell.again for cell in loose.cells if cell.column == "a"].count(True) == 1
    assert odd.cells and odd.cells_file is None and "could not be written" in odd.method
    assert list(odd.unexplained) == ["note"] and "ZeroDivisionError" in odd.as_dict()["columns"]["note"]["diagnosis"]
    assert "f8" in odd.diagnoses


def test_a_float_in_a_column_that_became_text(migration: Migration) -> None:
    migration.source(
        "CREATE TABLE f (id int PRIMARY KEY, d float8, r real)", "INSERT INTO f VALUES (1, 1.5, 1.5), (2, 2, 2)"
    )
    migration.migrate()
    migration.target(
        """CREATE TABLE "g" AS SELECT "id", CASE WHEN "id" = 1 THEN 'none' ELSE '2' END AS "d",
        CASE WHEN "id" = 1 THEN '1e300' ELSE '2' END AS "r" FROM "f" """,
        'DROP TABLE "f"',
        'ALTER TABLE "g" RENAME TO "f"',
    )
    (table,) = migration.verify().tables
    assert (table.verdict, table.changed) == ("different", 1)
    assert {(cell.column, cell.source, cell.target) for cell in table.cells} == {
        ("d", "1.5", "none"),
        ("r", "1.5", "1e+300"),
    }
