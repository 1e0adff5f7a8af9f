"""A verdict outlives whatever explains, shows or keeps it: no value, full disk or deaf terminal takes it away."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations

import duckdb
import pytest

from helpers.verify import texts
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


@pytest.mark.parametrize("pair", [("1e-310", "0.30000000000000004"), ("0.1", "5e-324"), ("1e+300", "-1.7e+308"), ("1", "no number")])  # fmt: skip
def test_two_extreme_floats(duck: duckdb.DuckDBPyConnection, pair: tuple[str, str]) -> None:
    diagnosed(duck, "double precision", [pair], rows=1)
    diagnosed(duck, "double precision", [pair] * 30, rows=30)


@pytest.mark.slow
@pytest.mark.parametrize("kind", EXTREMES)
def test_every_extreme_value_with_every_other(duck: duckdb.DuckDBPyConnection, kind: str) -> None:
    """Alone, in many rows, and one with all others: a hypothesis asks different things of each."""
    values = EXTREMES[kind]
    for pair in permutations(values, 2):
        diagnosed(duck, kind, [pair], rows=1)
        diagnosed(duck, kind, [pair] * 30, rows=30)
    for one in values:
        diagnosed(duck, kind, [(one, other) for other in values if other != one], rows=len(values))
