"""What a type holds and what a default means, against PostgreSQL's own answer.

Would catch: a type called wider that loses a value, one called narrower that holds them all, a default taken for a constant
that PostgreSQL works out anew for every row or cuts on its way.
"""

from __future__ import annotations

import itertools
from typing import Any

import psycopg2
import pytest

from helpers.model import declared, defaults
from helpers.model.declared import POSTGRESQL
from helpers.platforms import postgres
from helpers.platforms.postgres import literal

VALUES = {
    "smallint": ["-32768", "32767"], "integer": ["-2147483648", "2147483647"],
    "bigint": ["-9223372036854775808", "9223372036854775807"],
    "numeric": ["1e-10", "9" * 40], "numeric(12,2)": ["-9999999999.99", "0.01"], "numeric(10,2)": ["99999999.99"],
    "numeric(12,1)": ["99999999999.9"], "numeric(5,-2)": ["9999900"], "numeric(2,5)": ["0.00099"], "numeric(4,0)": ["-9999"],
    "numeric(5,0)": ["99999"], "numeric(19,0)": ["-9999999999999999999"], "numeric(21,2)": ["9999999999999999999.99"],
    "real": ["3.4028235e38", "1e-45"], "double precision": ["1.7976931348623157e308", "5e-324"],
    "text": ["é" * 30, "a "], "character varying": ["é" * 30], "character varying(3)": ["äöü", "a  "],
    "character varying(20)": ["x" * 20], "character(3)": ["a  ", "abc"], "character(20)": ["x" * 20],
    "bit(3)": ["101"], "bit varying(3)": ["1", "111"], "bit varying": ["10101"], "bytea": ["\\x00ff"],
    "date": ["2024-02-29"], "timestamp(3) without time zone": ["2024-02-29 23:59:59.999"],
    "timestamp without time zone": ["2024-02-29 23:59:59.999999"], "time(0) without time zone": ["23:59:59"],
    "time without time zone": ["23:59:59.999999"], "timestamp(3) with time zone": ["2024-02-29 23:59:59.999+00"],
    "timestamp with time zone": ["2024-02-29 23:59:59.999999+00"], "interval(2)": ["00:00:00.99"],
    "interval": ["1 mon 00:00:00.999999"], "boolean": ["true"],
    "integer[]": ["{2147483647}"], "smallint[]": ["{32767}"], "bigint[]": ["{9223372036854775807}"],
}  # fmt: skip


def test_a_wider_type_holds_every_value_and_no_other_is_called_so(local_settings: Any) -> None:
    """PostgreSQL itself is asked: a value goes through the other type and back, unchanged or not at all. An integer in a
    float may come back, but not the sums of a column.
    """
    with postgres.reading(local_settings.source) as cursor:
        for expected, found in itertools.product(VALUES, VALUES):
            change = declared.change(POSTGRESQL.read(expected), POSTGRESQL.read(found))
            kept = [_kept(cursor, value, expected, found) for value in VALUES[expected]]
            if change in (None, "type-widened"):
                assert all(kept), (expected, found, change)
            elif change in ("type-narrowed", "precision-lost") and found not in ("real", "double precision"):
                assert not all(kept), (expected, found, change)
    assert declared.change(POSTGRESQL.read("smallint"), POSTGRESQL.read("numeric(5,0)")) == "type-widened"


def _kept(cursor: Any, value: str, expected: str, found: str) -> bool:
    cursor.execute("SAVEPOINT value")
    try:
        cursor.execute(
            f"SELECT v::{found}::{expected}::text = v::text FROM (SELECT {literal(value)}::{expected}) AS t (v)"
        )
        return bool(cursor.fetchone()[0])
    except psycopg2.Error:
        cursor.execute("ROLLBACK TO SAVEPOINT value")
        return False


@pytest.mark.parametrize(
    ("expression", "column_type", "value"),
    [
        ("'-1'::integer", "integer", -1),
        ("'a\\b''c'::text", "text", "a\\b'c"),
        ("E'a\\\\b'::text", "text", "a\\b"),
        ("'NULL'::text", "text", "NULL"),
        ("'ab '::bpchar", "character(3)", "ab"),
        ("NULL::text", "text", None),
        ("false", "boolean", False),
        ("'{}'::text[]", "text[]", "{}"),
    ],
)
def test_constants(expression: str, column_type: str, value: object) -> None:
    assert defaults.constant(expression, POSTGRESQL.read(column_type), POSTGRESQL) == defaults.Constant(value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("expression", "column_type"),
    [
        ("('now'::text)::date", "date"),
        ("nextval('t_id_seq'::regclass)", "integer"),
        ("'abcdef'::character varying(3)", "text"),
        ("(1.5)::integer", "numeric"),
        ("(1 + 2)", "integer"),
        ("'NaN'::numeric", "numeric"),
        ("GENERATED ALWAYS AS IDENTITY", "integer"),
        ("this is (not SQL", "text"),
    ],
)
def test_what_is_worked_out_anew_is_no_constant(expression: str, column_type: str) -> None:
    assert defaults.constant(expression, POSTGRESQL.read(column_type), POSTGRESQL) is None
