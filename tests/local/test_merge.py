"""MERGE as its documentation has it: the first clause that holds of a row, counts of each kind, keys that change places.

Would catch: a source whose columns have names of their own that is refused, a value that a CASE computes and that is lost, a row
that two clauses take.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Run = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture(autouse=True)
def table(run: Run) -> None:
    run('CREATE TABLE t (k INT, "v" VARCHAR, big VARCHAR)')
    run("INSERT INTO t VALUES (1, 'a', 'A'), (2, 'b', 'B'), (3, 'c', 'C'), (4, NULL, NULL)")


def _merge(run: Run, rows: str, clauses: str) -> list[tuple[Any, ...]]:
    run("CREATE OR REPLACE TEMPORARY TABLE landed (k INT, v VARCHAR, same BOOLEAN, gone BOOLEAN, origin INT)")
    run(f"INSERT INTO landed VALUES {rows}")
    value = 'CASE WHEN s.same THEN o."v" ELSE s.v::VARCHAR(10) END'
    source = f"SELECT s.k AS c0, {value} AS c1, s.gone AS gone FROM landed AS s LEFT JOIN t AS o ON o.k = s.origin"
    return run(f"MERGE INTO t AS t USING ({source}) AS s ON t.k = s.c0 {clauses}")


ALL = """WHEN MATCHED AND s.gone THEN DELETE WHEN MATCHED THEN UPDATE SET "v" = s.c1, big = 'new'
    WHEN NOT MATCHED AND NOT s.gone THEN INSERT (k, "v") VALUES (s.c0, s.c1)"""


def test_the_first_clause_that_holds_changes_a_row_and_each_kind_is_counted(run: Run) -> None:
    """1 and 2 change places with what they have; 3 goes; 5 comes; 6, which is not there, does not."""
    rows = "(1, NULL, TRUE, FALSE, 2), (2, NULL, TRUE, FALSE, 1), (3, NULL, FALSE, TRUE, 3), (5, 'e', FALSE, FALSE, NULL), (6, 'f', FALSE, TRUE, NULL)"
    assert _merge(run, rows, ALL) == [(1, 2, 1)]
    assert run("SELECT * FROM t ORDER BY k") == [(1, "b", "new"), (2, "a", "new"), (4, None, None), (5, "e", None)]


def test_a_statement_answers_the_kinds_that_it_has(run: Run) -> None:
    rows = "(1, 'x', FALSE, FALSE, NULL), (9, 'y', FALSE, FALSE, NULL)"
    assert _merge(run, rows, "WHEN MATCHED THEN DELETE") == [(1,)]
    assert _merge(run, rows, "WHEN NOT MATCHED THEN INSERT (k) VALUES (s.c0)") == [(2,)]


def test_a_merge_that_is_rolled_back_changed_nothing(run: Run) -> None:
    before = run("SELECT * FROM t ORDER BY k")
    run("CREATE TEMPORARY TABLE landed AS SELECT 1 AS k")
    run("BEGIN")
    assert run("MERGE INTO t USING landed AS s ON t.k = s.k WHEN MATCHED THEN UPDATE SET big = 'x'") == [(1,)]
    run("ROLLBACK")
    assert run("SELECT * FROM t ORDER BY k") == before
