"""Credits: the formula before, and the busy seconds of QUERY_HISTORY behind; the stand-in says that it has none.

Would catch: statements at the same time that are counted twice, a minute that is forgotten, a size that costs another's credits.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlglot

from helpers.engines import engine
from helpers.engines.snowflake.cost import Work, estimate, history_query, spent
from helpers.settings import Settings, Snowflake

TARGET = Snowflake.model_validate(
    {"account": "a", "user": "u", "database": "D", "schema": "S", "parallel": 4, "load_mb_per_second": 10, "digest_mb_per_second": 50}
)  # fmt: skip
START = datetime(2026, 12, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("work", "size", "asleep", "seconds"),
    [
        (Work("load", 6_000_000_000, 8), "X-Small", False, 600 + 10),
        (Work("load", 6_000_000_000, 8), "Medium", False, 150 + 10),
        (Work("verify", 6_000_000_000, 8), "X-Small", False, 120 + 2),
        (Work("verify", 1_000, 4), "X-Small", True, 60),
        (Work("verify", 1_000, 4), "X-Small", False, 1),
    ],
)
def test_the_estimate_follows_its_formula(work: Work, size: str, asleep: bool, seconds: float) -> None:
    per_hour = {"X-Small": 1, "Medium": 4}[size]
    credits_, formula = estimate(work, TARGET, size, asleep=asleep)
    assert credits_ == pytest.approx(per_hour * seconds / 3600, rel=1e-3)
    assert f"at {per_hour} credits an hour ({size})" in formula
    assert ("has to start" in formula) == asleep


def _row(start: float, end: float, size: str | None = "X-Small", services: float = 0.0) -> dict[str, Any]:
    return {
        "START_TIME": START + timedelta(seconds=start), "END_TIME": START + timedelta(seconds=end), "WAREHOUSE_SIZE": size,
        "CREDITS_USED_CLOUD_SERVICES": services,
    }  # fmt: skip


def test_statements_at_the_same_time_are_paid_once() -> None:
    rows = [_row(0, 10), _row(2, 5), _row(5, 20, services=0.001), _row(100, 110, "Small"), _row(30, 31, None, 0.002)]
    compute, services, seconds = spent(rows)
    assert seconds == 30
    assert compute == pytest.approx((20 * 1 + 10 * 2) / 3600)
    assert services == pytest.approx(0.003)


def test_the_question_is_snowflakes_sql_and_asks_for_ours_alone() -> None:
    sql = history_query(TARGET, START)
    sqlglot.parse_one(sql, dialect="snowflake")
    assert "QUERY_TAG = 'migration-runbooks'" in sql and "2026-12-01T00:00:00.000+00:00" in sql


def test_the_stand_in_has_no_credits(local_settings: Settings) -> None:
    snowflake = engine("snowflake")
    assert "stand-in" in snowflake.estimated_cost(local_settings, "load", 1, 1)
    assert snowflake.actual_cost(local_settings, START) == ""
    assert engine("databricks").estimated_cost(local_settings, "load", 1, 1) == ""
