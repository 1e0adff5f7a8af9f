"""Small tables are verified side by side over several sessions: the same report, in fewer round trips one after the other.

Would catch: results in another order than the plan's, a worker that reads another snapshot, one table's fault that is told of another,
a difference that is lost, sessions that are left open, sixty-eight round trips in a row.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from helpers.platforms import snowflake, statements

TABLES = 18
AT_ONCE = 3


@pytest.fixture
def many(migration: Any) -> Any:
    """Eighteen small tables; three sessions."""
    migration.source(
        *(f"CREATE TABLE t{n:02} (id int PRIMARY KEY, v text); INSERT INTO t{n:02} SELECT i, 'v' || i FROM generate_series(1, {n + 1}) i" for n in range(TABLES))
    )  # fmt: skip
    migration.load(migration.export())
    own = migration.settings.snowflake.model_copy(update={"parallel": AT_ONCE})
    migration.settings = replace(
        migration.settings, values=migration.settings.values.model_copy(update={"snowflake": own})
    )
    return migration


def _sent(many: Any, **options: Any) -> tuple[Any, Counter[int]]:
    """The report, and how many statements each thread sent."""
    by_thread: Counter[int] = Counter()
    with statements.heard(lambda system, sql: by_thread.update([threading.get_ident()])):
        report = many.verify(**options)
    return report, by_thread


@pytest.mark.parametrize("source_name", ["postgresql", "manifest"])
def test_the_report_is_the_same_in_a_third_of_the_round_trips_in_a_row(many: Any, source_name: str) -> None:
    many.target('UPDATE "t05" SET "v" = \'x\' WHERE "id" = 2', 'DELETE FROM "t11" WHERE "id" = 1', 'DROP TABLE "t17"')
    report, sent = _sent(many, source_name=source_name)
    assert [table.name for table in report.tables] == [f"t{n:02}" for n in range(TABLES)]
    wrong = {table.name: (table.missing, table.changed) for table in report.tables if table.verdict != "equal"}
    assert wrong == {"t05": (0, 1), "t11": (1, 0), "t17": (18, 0)}
    one = many.settings.snowflake.model_copy(update={"parallel": 1})
    many.settings = replace(many.settings, values=many.settings.values.model_copy(update={"snowflake": one}))
    alone, in_a_row = _sent(many, source_name=source_name)
    assert len(in_a_row) == 1 < len(sent) <= AT_ONCE + 1
    assert sum(in_a_row.values()) <= 2 * TABLES + 12
    assert max(sent.values()) < sum(in_a_row.values()) - TABLES // 2
    told = [replace(each, seconds=0.0, cells_file=None) for each in (*report.tables, *alone.tables)]
    assert told[:TABLES] == told[TABLES:]


def test_one_tables_fault_is_its_own_and_sessions_end(many: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Any] = []
    kept = snowflake.open_connection

    def counted(target: Any) -> Any:
        opened.append(kept(target))
        return opened[-1]

    many.target(
        "CREATE ROW ACCESS POLICY nobody AS (i NUMBER) RETURNS BOOLEAN -> TRUE",
        'ALTER TABLE "t03" ADD ROW ACCESS POLICY nobody ON ("id")',
    )
    monkeypatch.setattr(snowflake, "open_connection", counted)
    verdicts = {table.name: table.verdict for table in many.verify().tables}
    assert verdicts == {f"t{n:02}": "refused" if n == 3 else "equal" for n in range(TABLES)}
    assert 2 <= len(opened) <= AT_ONCE + 1
    assert all(connection.is_closed() for connection in opened)
