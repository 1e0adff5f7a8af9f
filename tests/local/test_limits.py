"""What the service refuses for its size or its name, whatever stands in it.

Would catch: a statement of ours that only a stand-in without limits would take.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from snowflake.connector.errors import DatabaseError

from helpers.engines.snowflake import catalog
from helpers.platforms import snowflake
from helpers.settings import Settings

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


def test_keys_beyond_what_one_show_holds_are_read_table_by_table(
    local_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = 'STAND_IN."SHOWN"'
    with snowflake.connect(local_settings.snowflake) as session:
        for sql in (
            f"CREATE OR REPLACE SCHEMA {place}",
            f"CREATE TABLE {place}.A (x INT PRIMARY KEY, y INT UNIQUE)",
            f"CREATE TABLE {place}.B (x INT, y INT, PRIMARY KEY (x, y), FOREIGN KEY (x) REFERENCES {place}.A (x))",
        ):
            session.execute(sql, doing="make two tables with keys")
        at_once = _keys(session)
        monkeypatch.setattr(catalog, "MOST_SHOWN", 1)
        assert _keys(session) == at_once
        session.execute(f"DROP SCHEMA {place}", doing="clean up")
    assert {table: len(keys) for table, keys in (at_once[0] or {}).items()} == {"A": 2, "B": 1}


def _keys(session: snowflake.Session) -> tuple[Any, Any]:
    return catalog.read_keys(session, "STAND_IN", "SHOWN"), catalog.read_foreign_keys(session, "STAND_IN", "SHOWN")
