"""A CHECK constraint means the same in PostgreSQL and after its translation, or it is not translated.

Would catch: a constant that is rounded to the column's digits, a negation that forgets NULL, a char(n) compared with its
padding, a float that is read back as another, a construct that is taken for one it only resembles.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
import sqlglot
from hypothesis import given
from hypothesis import strategies as st
from property_support import examples

from helpers.engines.conditions import Compare, Constant, Pair, Untranslatable
from helpers.engines.duck_dialect import SQL as DUCKDB
from helpers.engines.held import Held, declared_form
from helpers.engines.postgres.dialect import SQL as POSTGRES
from helpers.engines.postgres.quality import PostgresAnswers
from helpers.engines.snowflake.dialect import SQL as SNOWFLAKE
from helpers.engines.where import write
from helpers.model.catalog import PgType, Table
from helpers.model.declared import DUCKDB as DUCKDB_DDL
from helpers.platforms import duck, postgres
from helpers.settings import Settings
from helpers.source.catalog import read_catalog
from helpers.verify.conditions import Operand, operands_of_types, read

COLUMNS = """
    small smallint, whole int, big bigint, price numeric(6,2), free numeric, wide numeric(38,10), single real, twice float8,
    name text, code varchar(5), currency char(3), mood mood, flag boolean, day date, at timestamp, instant timestamptz,
    clock time, other int, details jsonb, tags text[], "Odd ""q"" name" int
"""
ROWS = """
    (1, 1, 1, 1.25, 1.25, 1.25, 0.1, 0.1, 'a''b', 'x', 'EUR', 'sad', true, '2024-02-29', '2024-02-29 12:00', '2024-02-29 12:00+00',
     '12:00', 1, '{}', '{}', 1),
    (-1, -5, -9223372036854775808, -9999.99, 1e-20, -1e27, 1e-45, 5e-324, '', '', 'AB ', 'glad', false, '0001-01-01', '0001-01-01',
     '0001-01-01 00:00+00', '00:00', 2, '[]', '{a}', NULL),
    (32767, 2147483647, 9223372036854775807, 9999.99, 12345678901234567890.5, 1e27, 'NaN', 'Infinity', 'é𝔘 ', ' x', 'A', 'sad',
     NULL, '9999-12-31', '9999-12-31 23:59:59.999999', '9999-12-31 23:59:59.999999+00', '23:59:59.999999', 3, NULL, NULL, 7),
    (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)
"""

TRANSLATED = [
    "small > 0", "small BETWEEN 1 AND 5", "whole IN (1, 2, 3)", "whole NOT IN (1, 2)", "whole = -5", "big >= 9223372036854775807",
    "big > -9223372036854775808", "price < 1e10", "price <> 1.255", "price > 1.245", "price <= 1.2549999999", "price >= -9999.995",
    "price < 9999.994", "price = 1.25", "price < -10000", "price >= 10000", "free > 0.00000000000000000001", "free = 1.250",
    "wide > 0.00000000001", "wide < 1e27", "0 < small", "NOT (small > 0)", "small > 0 OR whole IS NULL", "small > 0 AND (whole = 1 OR big = 1)",
    "single > 0.1", "single = 0.1::real", "twice <= 0.1", "twice = 0.1", "twice < 1e300", "single >= 1", "name <> ''", "name = 'a''b'",
    "name IN ('', 'a''b')", "length(name) = 3", "char_length(code) <= 1", "code = ' x'", "currency = 'A'", "currency = 'A  '",
    "currency IN ('EUR', 'AB')", "currency::text = 'A'", "currency::text = 'A '", "mood = 'sad'", "mood IN ('sad', 'glad')", "flag", "NOT flag",
    "flag IS TRUE", "flag IS NOT TRUE", "flag IS FALSE", "flag = true", "flag IS NULL", "details IS NOT NULL", "day >= '2024-02-29'",
    "at < '2024-02-29 12:00:00.000001'", "instant > '2024-02-29 13:00+01'", "clock <= '12:00'", "whole > other", "whole <> other",
    "small < whole", "name = code", "day IS NOT NULL", '"Odd ""q"" name" > 1', "price::numeric > 1", "small::int > 0",
    "name = E'a\\\\b'", "whole = price", "wide > whole",
]  # fmt: skip

SCHEMA = f"conditions_{os.getpid()}"

REFUSED = [
    "whole % 2 = 0", "lower(name) = name", "name ~ '^a'", "name > 'b'", "price::int > 1", "details ->> 'a' = 'b'", "tags = '{}'",
    "day > now()::date", "code::char(5) = 'x'", "day > 'infinity'", "whole + other > 1", "coalesce(whole, 0) > 1",
    "twice::numeric > 0.1", "price::float8 > 0.5", "whole IS DISTINCT FROM other", "at > '2024-01-01 00:00+00'::timestamptz",
    "day > '2024-01-01'::timestamp", "price > 1.5::int", "cardinality(tags) > 0", "free < 'NaN'", "name::char(3) = 'abc'",
    "whole > ALL (ARRAY[1, 2])", "name LIKE 'a%'", "mood > 'sad'",
]  # fmt: skip


@pytest.fixture(scope="module")
def table(local_settings: Settings) -> Iterator[tuple[Any, Table]]:
    """A table with a column of every kind, in a transaction that is never committed."""
    connection = postgres.connect(local_settings.source, settings={"search_path": "public"})
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE SCHEMA {SCHEMA}; SET search_path TO {SCHEMA}")
            cursor.execute("CREATE TYPE mood AS ENUM ('sad', 'glad')")
            cursor.execute(f"CREATE TABLE kinds ({COLUMNS}); INSERT INTO kinds VALUES {ROWS}")
            (found,) = read_catalog(cursor, schemas=(SCHEMA,)).tables
            yield cursor, found
    finally:
        connection.close()


def _operands(table: Table) -> dict[str, Operand]:
    return operands_of_types({column.name: column.type for column in table.columns})


def _as_stored(cursor: Any, expression: str) -> str:
    """The text in which PostgreSQL keeps a constraint."""
    cursor.execute("SAVEPOINT one")
    try:
        cursor.execute(f"ALTER TABLE kinds ADD CONSTRAINT c CHECK ({expression}) NOT VALID")
        cursor.execute("SELECT pg_get_expr(conbin, conrelid) FROM pg_constraint WHERE conname = 'c'")
        return str(cursor.fetchone()[0])
    finally:
        cursor.execute("ROLLBACK TO one")


@pytest.mark.parametrize("expression", TRANSLATED)
def test_a_translation_says_of_every_row_what_postgresql_says(table: tuple[Any, Table], expression: str) -> None:
    cursor, found = table
    stored = _as_stored(cursor, expression)
    condition = read(stored, _operands(found))
    held = PostgresAnswers(cursor, {str(found): found}).columns(found)
    assert held
    cursor.execute(f"SELECT ({stored}), ({write(condition, held, POSTGRES)}) FROM kinds ORDER BY whole")
    rows = cursor.fetchall()
    assert [mine for mine, _ in rows] == [theirs for _, theirs in rows]


@pytest.mark.parametrize("expression", REFUSED)
def test_what_has_no_certain_equal_is_not_translated(table: tuple[Any, Table], expression: str) -> None:
    cursor, found = table
    stored = _as_stored(cursor, expression)
    with pytest.raises(Untranslatable):
        read(stored, _operands(found))


def test_a_translation_is_valid_in_every_dialect_and_says_the_same_in_duckdb(table: tuple[Any, Table]) -> None:
    """DuckDB sees the rows with the types that the migration stages them in."""
    cursor, found = table
    staged = {
        "small": "SMALLINT", "whole": "INTEGER", "other": "INTEGER", "big": "BIGINT", "price": "DECIMAL(6,2)", "single": "FLOAT",
        "free": "DECIMAL(38,18)", "wide": "DECIMAL(38,10)", "twice": "DOUBLE", "flag": "BOOLEAN", "day": "DATE", "at": "TIMESTAMP",
        "instant": "TIMESTAMPTZ", "clock": "TIME", 'Odd "q" name': "INTEGER",
    }  # fmt: skip
    held = {
        c.name: Held(postgres.identifier(c.name), kind, form, form, digits, scale)
        for c in found.columns
        for kind in (staged.get(c.name, "VARCHAR"),)
        for form, digits, scale in (declared_form(DUCKDB_DDL.read(kind)),)
    }
    texts = ", ".join(f"round({n}, 18)::text" if n == "free" else f"{postgres.identifier(n)}::text" for n in held)
    cursor.execute(f"SELECT {texts} FROM kinds ORDER BY whole")
    rows = cursor.fetchall()
    with duck.connect() as connection:
        columns = ", ".join(f"{postgres.identifier(n)} {column.type}" for n, column in held.items())
        connection.execute(f"CREATE TABLE kinds ({columns})")
        connection.executemany(
            f"INSERT INTO kinds VALUES ({', '.join('?' for _ in held)})", [list(row) for row in rows]
        )
        for expression in TRANSLATED:
            condition = read(_as_stored(cursor, expression), _operands(found))
            sqlglot.parse_one(f"SELECT {write(condition, held, SNOWFLAKE)}", dialect="snowflake")
            if "free" in expression:
                continue  # rounded to eighteen digits just above
            cursor.execute(f"SELECT ({expression}) FROM kinds ORDER BY whole")
            mine = connection.execute(f"SELECT ({write(condition, held, DUCKDB)}) FROM kinds ORDER BY whole NULLS LAST")
            assert mine.fetchall() == cursor.fetchall(), expression


def test_a_column_of_a_domain_is_what_its_constraint_calls_value() -> None:
    kind = operands_of_types({"n": PgType("int4", "integer")})["n"]
    assert read("(VALUE > 3)", {"n": kind}, value="n") == Compare("n", ">", Constant("3", "number"))
    with pytest.raises(Untranslatable):
        read("(VALUE > 3)", {"n": kind})
    assert read('("VALUE" > 3)', {"VALUE": replace(kind, name="VALUE")}) == Compare(
        "VALUE", ">", Constant("3", "number")
    )


@pytest.mark.property
def test_a_constant_of_any_digits_is_compared_as_it_is() -> None:
    """A column of three digits, two after the point, beside constants that do not fit it."""
    held = {"x": Held("x", "DECIMAL(3,2)", "number", "number", 3, 2)}
    with duck.connect() as connection:

        @examples(300)
        @given(
            st.sampled_from(["=", "<>", "<", "<=", ">", ">="]),
            st.decimals(allow_nan=False, allow_infinity=False, min_value=-11, max_value=11, places=4),
            st.integers(-999, 999),
        )
        def compared(operator: Any, constant: Decimal, cents: int) -> None:
            sql = write(Compare("x", operator, Constant(f"{constant:f}", "number")), held, DUCKDB)
            value = Decimal(cents) / 100
            said = {"=": value == constant, "<>": value != constant, "<": value < constant, "<=": value <= constant,
                    ">": value > constant, ">=": value >= constant}[operator]  # fmt: skip
            rows = connection.execute(f"SELECT {sql} FROM (SELECT CAST('{value}' AS DECIMAL(3,2)) AS x)").fetchall()
            assert rows == [(said,)]

        compared()


def test_an_expression_of_any_depth_is_read_or_refused() -> None:
    kind = operands_of_types({"n": PgType("int4", "integer")})
    with pytest.raises(Untranslatable):
        read("(" * 5000 + "n > 0" + ")" * 5000, kind)
    with pytest.raises(Untranslatable):
        read("(n > ", kind)


def test_columns_without_a_common_type_are_not_compared() -> None:
    fine, whole = (
        Held("a", "DECIMAL(38,37)", "number", "number", 38, 37),
        Held("b", "BIGINT", "number", "number", 19, 0),
    )
    with pytest.raises(Untranslatable, match="common type"):
        write(Pair("a", "<", "b"), {"a": fine, "b": whole}, DUCKDB)
    unlimited = {"a": replace(fine, digits=None), "b": whole}
    assert write(Pair("a", "<", "b"), unlimited, POSTGRES) == "a < b"
