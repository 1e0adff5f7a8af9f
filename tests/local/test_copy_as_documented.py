"""COPY INTO of Parquet as https://docs.snowflake.com/en/sql-reference/sql/copy-into-table has it, trap by trap.

Would catch: a stand-in that keeps what the service would lose, takes what it would refuse, or says it in other words.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from snowflake.connector.errors import DatabaseError

Run = Callable[..., list[tuple[Any, ...]]]
Put = Callable[[str, pa.Table], None]
Load = Callable[..., list[tuple[Any, ...]]]

MOMENT = datetime.datetime(2024, 7, 1, 12, 0, 0, 5)
NEWER = "USE_VECTORIZED_SCANNER=TRUE"
OLDER = "USE_LOGICAL_TYPE=TRUE"


@pytest.fixture
def load(run: Run, put: Put, create_stage: Callable[..., None], stage: tuple[str, str]) -> Load:
    """Loads a file into a new table; what is not said of its format is as the documentation's defaults have it."""

    def loaded(columns: dict[str, Any], definition: str, form: str = "", options: str = "") -> list[tuple[Any, ...]]:
        put(f"{stage[1]}a.parquet", pa.table(columns))
        create_stage("plain", stage[1], form="TYPE=PARQUET")
        run(f'CREATE OR REPLACE TABLE "t" ({definition})')
        options = options or "MATCH_BY_COLUMN_NAME=CASE_SENSITIVE"
        run(f'COPY INTO "t" FROM @"plain" FILE_FORMAT=(TYPE=PARQUET {form}) {options}')
        return run('SELECT * FROM "t"')

    return loaded


@pytest.mark.parametrize(
    ("form", "kept"),
    [
        ("", [None, "", " a ", "x"]),
        ("NULL_IF=()", ["\\N", "", " a ", "x"]),
        ("NULL_IF=('x', '')", ["\\N", None, " a ", None]),
        ("NULL_IF=('a') TRIM_SPACE=TRUE", ["\\N", "", None, "x"]),
        (NEWER, [None, "", " a ", "x"]),
    ],
)
def test_null_if_and_trim_space_work_on_every_text(load: Load, form: str, kept: list[str | None]) -> None:
    found = load({"a": ["\\N", "", " a ", "x"]}, '"a" VARCHAR', form)
    assert [row[0] for row in found] == kept


def test_bytes_are_text_unless_told_otherwise(load: Load) -> None:
    bytes_ = {"a": pa.array([b"ff00"])}
    assert load(bytes_, '"a" BINARY') == [(b"\xff\x00",)]
    assert load(bytes_, '"a" BINARY', "BINARY_AS_TEXT=FALSE") == [(b"ff00",)]
    assert load(bytes_, '"a" BINARY', NEWER) == [(b"ff00",)]
    with pytest.raises(DatabaseError, match="Invalid UTF8 detected in string"):
        load({"a": pa.array([b"\xff"])}, '"a" BINARY')


def test_times_without_a_zone_are_integers_for_the_older_scanner(run: Run, load: Load) -> None:
    times = {"a": pa.array([MOMENT], pa.timestamp("us")), "b": pa.array([MOMENT.time()], pa.time64("us"))}
    microseconds = int(MOMENT.replace(tzinfo=datetime.UTC).timestamp()) * 1_000_000 + 5
    assert load(times, '"a" NUMBER(38,0), "b" NUMBER(38,0)', OLDER) == [(microseconds, 43_200_000_005)]
    assert load(times, '"a" TIMESTAMP_NTZ, "b" TIME', NEWER) == [(MOMENT, MOMENT.time())]
    with pytest.raises(DatabaseError, match="Failed to cast"):
        load(times, '"a" NUMBER(38,0)', NEWER)
    # An integer that has to be a timestamp is read by its size: the first day of 1971 in microseconds is one of 1970 in milliseconds.
    early = {"a": pa.array([datetime.datetime(1970, 1, 11)], pa.timestamp("us"))}
    assert load(early, '"a" TIMESTAMP_NTZ', OLDER) == [(datetime.datetime(1997, 5, 19, 0, 0),)]


def test_what_has_no_column_is_null_and_no_default(load: Load) -> None:
    assert load({"A": [1, 2]}, '"a" NUMBER, "b" NUMBER DEFAULT 7') == [(None, None)] * 2
    assert load({"a": [1]}, '"a" NUMBER, "b" NUMBER DEFAULT 7') == [(1, None)]
    assert load({"A": [1]}, '"a" NUMBER', options="MATCH_BY_COLUMN_NAME=CASE_INSENSITIVE") == [(1,)]
    with pytest.raises(DatabaseError, match="NULL result in a non-nullable column"):
        load({"a": [1]}, '"a" NUMBER, "b" NUMBER NOT NULL')


@pytest.mark.parametrize(
    ("values", "kind", "errno", "sqlstate", "said"),
    [
        (["1", "x"], "NUMBER(5,0)", 100038, "22018", "Numeric value 'x' is not recognized"),
        (["1", "123456"], "NUMBER(5,0)", 100039, "22003", "Numeric value '123456' is out of range"),
        (["2024-01-01", "2024-13-01"], "DATE", 100040, "22007", "Date '2024-13-01' is not recognized"),
        (["abcde", "abcdef"], "VARCHAR(5)", 100078, "22000", "String 'abcdef' is too long and would be truncated"),
        (["a", None], "VARCHAR NOT NULL", 100072, "22000", "NULL result in a non-nullable column"),
    ],
)
def test_an_error_names_the_value_and_its_place(
    load: Load, values: list[Any], kind: str, errno: int, sqlstate: str, said: str
) -> None:
    with pytest.raises(DatabaseError) as refused:
        load({"n": [1, 2], "a": values}, f'"n" NUMBER, "a" {kind}')
    error = refused.value
    assert (error.errno, error.sqlstate) == (errno, sqlstate)
    lines = str(error.msg).partition(": ")[2].splitlines()
    assert lines[0] == said
    assert lines[1].startswith("  File '") and lines[1].endswith("a.parquet', line 2, character 0")
    assert lines[2] == '  Row 2, column "t"["a":2]'


def test_a_number_is_rounded_half_away_from_zero(load: Load) -> None:
    values = pa.array([Decimal("0.125"), Decimal("-0.125"), Decimal("0.124")], pa.decimal128(10, 3))
    found = load({"a": values}, '"a" NUMBER(10,2)', OLDER)
    assert [row[0] for row in found] == [Decimal("0.13"), Decimal("-0.13"), Decimal("0.12")]


def test_more_than_a_thousand_files_are_refused(run: Run, load: Load) -> None:
    load({"a": [1]}, '"a" NUMBER')
    files = ", ".join(["'a.parquet'"] * 1001)
    with pytest.raises(DatabaseError, match="1000"):
        run(f'COPY INTO "t" FROM @"plain" FILES=({files})')


def test_an_option_that_is_not_known_is_refused(load: Load) -> None:
    with pytest.raises(DatabaseError, match="SKIP_HEADER"):
        load({"a": [1]}, '"a" NUMBER', "SKIP_HEADER=1")
