"""Two transactions at one table, and changes that could choose among rows, as the documentation of transactions, MERGE and UPDATE has it.

Would catch: a second writer that gets through, or gets an error that the service would not give; a row that is updated by chance.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import snowflake.connector
from snowflake.connector.errors import DatabaseError

from helpers.local import stack

Run = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture
def other(run: Run, local_environment: stack.Environment) -> Iterator[Run]:
    """A second session in the schema of the first."""
    ((schema,),) = run("SELECT CURRENT_SCHEMA()")
    with snowflake.connector.connect(**{**local_environment.snowflake, "schema": schema}) as connection:
        yield lambda sql: connection.cursor().execute(sql).fetchall()


@pytest.fixture(autouse=True)
def table(run: Run) -> None:
    run("CREATE TABLE t (k INT, v INT)")
    run("INSERT INTO t VALUES (1, 1), (2, 2)")


def test_a_second_writer_waits_until_the_first_is_done(run: Run, other: Run) -> None:
    run("BEGIN")
    run("UPDATE t SET v = 10 WHERE k = 1")
    begun, ended = threading.Event(), threading.Event()

    def write() -> None:
        begun.set()
        other("UPDATE t SET v = v + 1")
        ended.set()

    thread = threading.Thread(target=write)
    thread.start()
    begun.wait()
    assert not ended.wait(0.7)
    run("COMMIT")
    thread.join()
    assert run("SELECT v FROM t ORDER BY k") == [(11,), (3,)]


@pytest.mark.parametrize(
    "statement", ["DELETE FROM t", "INSERT OVERWRITE INTO t SELECT 1, 1", "TRUNCATE TABLE t", "DROP TABLE t"]
)
def test_who_waits_too_long_is_told(run: Run, other: Run, statement: str) -> None:
    run("BEGIN")
    run("DELETE FROM t WHERE k = 1")
    other("ALTER SESSION SET LOCK_TIMEOUT = 0")
    with pytest.raises(DatabaseError, match="has locked table 'T'") as late:
        other(statement)
    assert (late.value.errno, late.value.sqlstate) == (625, "57014")
    run("ROLLBACK")
    other(statement)


def test_a_transaction_that_was_left_open_is_ended_by_its_user(run: Run, other: Run) -> None:
    other("BEGIN NAME left_open")
    other("DELETE FROM t WHERE k = 1")
    ((number,),) = [row[:1] for row in run("SHOW TRANSACTIONS") if row[3] == "LEFT_OPEN"]
    assert run(f"SELECT SYSTEM$ABORT_TRANSACTION({number})") == [(f"Aborted transaction id: {number}",)]
    run("ALTER SESSION SET LOCK_TIMEOUT = 0")
    run("UPDATE t SET v = 7 WHERE k = 1")
    assert run("SELECT v FROM t ORDER BY k") == [(7,), (2,)]
    assert all(row[3] != "LEFT_OPEN" for row in run("SHOW TRANSACTIONS"))


def test_new_rows_wait_for_nobody(run: Run, other: Run) -> None:
    run("BEGIN")
    run("INSERT INTO t VALUES (3, 3)")
    other("ALTER SESSION SET LOCK_TIMEOUT = 0")
    other("INSERT INTO t VALUES (4, 4)")
    run("COMMIT")
    assert run("SELECT COUNT(*) FROM t") == [(4,)]


def test_a_row_that_would_be_changed_by_chance_is_an_error(run: Run) -> None:
    source = "(SELECT column1 AS k, column2 AS v FROM VALUES (1, 5), (1, 6)) AS s"
    with pytest.raises(DatabaseError, match="Duplicate row detected during DML action") as refused:
        run(f"MERGE INTO t USING {source} ON t.k = s.k WHEN MATCHED THEN UPDATE SET v = s.v")
    assert refused.value.errno == 100090
    run("ALTER SESSION SET ERROR_ON_NONDETERMINISTIC_UPDATE = TRUE")
    with pytest.raises(DatabaseError, match="Duplicate row detected during DML action"):
        run(f"UPDATE t SET v = s.v FROM {source} WHERE t.k = s.k")
    assert run("SELECT v FROM t ORDER BY k") == [(1,), (2,)]


def test_a_sum_of_more_than_38_digits_is_an_error(run: Run) -> None:
    most = "9" * 38
    assert run(f"SELECT {most}") == [(int(most),)]
    with pytest.raises(DatabaseError, match="Number out of representable range") as refused:
        run(f"SELECT SUM(column1) FROM VALUES ({most}), (1)")
    assert (refused.value.errno, refused.value.sqlstate) == (100046, "22003")
