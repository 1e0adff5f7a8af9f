"""What the service refuses for its size or its name, whatever stands in it.

Would catch: a statement of ours that only a stand-in without limits would take.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from snowflake.connector.errors import DatabaseError

Run = Callable[..., list[tuple[Any, ...]]]


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        (f"SELECT '{'a' * (1 << 20)}'", "exceeds the maximum of 1,048,576 bytes"),
        (f"SELECT 1 WHERE 1 IN ({', '.join('1' * 16_385)})", "expected at most 16,384, got 16,385"),
        (f'CREATE TABLE "{"a" * 256}" (a INT)', "exceeds the maximum length of 255"),
        ("SELECT 1 AS order", "unexpected 'order'"),
        ("CREATE TABLE t (row INT)", "unexpected 'row'"),
        ("CREATE TABLE t (a VARCHAR(134217729))", "invalid type length"),
        ("CREATE TABLE t (a BINARY(67108865))", "invalid type length"),
        ("CREATE TABLE t (a NUMBER(39,0))", "invalid precision or scale"),
    ],
    ids=["text", "list", "name", "alias", "column", "varchar", "binary", "number"],
)
def test_what_is_too_much_is_refused(run: Run, statement: str, said: str) -> None:
    with pytest.raises(DatabaseError) as refused:
        run(statement)
    assert said in str(refused.value)


def test_what_is_just_allowed_is_taken(run: Run) -> None:
    run(f'CREATE TABLE "{"a" * 255}" ("order" INT, a VARCHAR(134217728), b BINARY(67108864), n NUMBER(38,37))')
    assert run(f"SELECT 1 WHERE 1 IN ({', '.join('1' * 16_384)})") == [(1,)]
