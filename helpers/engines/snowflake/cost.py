"""What a load or a verification costs in credits: about how much before it, and what it was by QUERY_HISTORY behind it.

    compute = credits an hour of the size · max(seconds, 60 where the warehouse has to start) / 3600
    seconds = bytes / (megabytes a second of an X-Small · credits an hour) + 0.5 · statements in a row

A warehouse has as many nodes as its size costs credits an hour, is billed by the second, and for at least a minute each time that it starts
(https://docs.snowflake.com/en/user-guide/warehouses-overview, …/cost-understanding-compute). Cloud services (compiling, listing, catalog) are
billed above a tenth of the day's compute alone. Behind the work, the seconds in which at least one of our statements ran are what
the warehouse was kept busy with; until it suspends itself it goes on costing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from helpers.errors import MigrationError
from helpers.platforms import snowflake
from helpers.platforms.snowflake import QUERY_TAG, Session, literal
from helpers.settings import Snowflake

CREDITS_PER_HOUR: Mapping[str, int] = {
    "X-Small": 1, "Small": 2, "Medium": 4, "Large": 8, "X-Large": 16, "2X-Large": 32, "3X-Large": 64, "4X-Large": 128, "5X-Large": 256,
    "6X-Large": 512,
}  # fmt: skip
"""Of a standard warehouse (https://docs.snowflake.com/en/user-guide/warehouses-overview#warehouse-size)."""

LEAST_SECONDS = 60
ROUND_TRIP_SECONDS = 0.5
"""Of a small statement, compiling included; a guess."""


@dataclass(frozen=True)
class Work:
    """What is to be done.

    Attributes:
        bytes: of the staged files, compressed.
        tables: each takes some statements, whatever its size.
    """

    what: Literal["load", "verify"]
    bytes: int
    tables: int


def estimate(work: Work, target: Snowflake, size: str, *, asleep: bool) -> tuple[float, str]:
    """Credits, and the formula with its numbers; raises `KeyError` for a size that is not known."""
    per_hour = CREDITS_PER_HOUR[size]
    slope = target.load_mb_per_second if work.what == "load" else target.digest_mb_per_second
    in_a_row = (10 if work.what == "load" else 2) * work.tables / target.parallel
    seconds = work.bytes / 1e6 / (slope * per_hour) + ROUND_TRIP_SECONDS * in_a_row
    billed = max(seconds, LEAST_SECONDS) if asleep else seconds
    least = f", billed {billed:,.0f} s because it has to start" if billed > seconds else ""
    formula = (
        f"{work.bytes / 1e6:,.1f} MB at {slope:g} MB/s a node, {in_a_row:,.0f} rounds of {ROUND_TRIP_SECONDS:g} s: {seconds:,.0f} s{least}, "
        f"at {per_hour} credits an hour ({size})"
    )
    return per_hour * billed / 3600, formula


def estimated(work: Work, target: Snowflake) -> str:
    """The same in words, of the warehouse as it is now; asking for it does not start it."""
    try:
        with snowflake.connect(target) as session:
            name, size, state, _ = warehouse(session, target)
        credits_, formula = estimate(work, target, size, asleep=state not in ("STARTED", "RESUMING"))
    except (MigrationError, LookupError) as error:
        why = error.why if isinstance(error, MigrationError) else f"nobody knows the warehouse {error}"
        return f"its cost cannot be told: {why}"
    return f"about {_priced(credits_, target)} of the warehouse {name}: {formula}"


def actual(target: Snowflake, since: datetime) -> str:
    """What the statements of ours have kept the warehouse busy with, in words."""
    try:
        with snowflake.connect(target) as session:
            name, _, _, suspends = warehouse(session, target)
            rows = session.execute(history_query(target, since), doing="read the history of our statements")
    except (MigrationError, LookupError) as error:
        why = error.why if isinstance(error, MigrationError) else str(error)
        return f"what it cost cannot be told: {why}"
    compute, services, seconds = spent(rows)
    idle = f", and until {name} suspends itself ({suspends} s)" if suspends else ""
    return (
        f"it cost {_priced(compute, target)} of compute, {seconds:,.0f} s in which a statement of ours ran{idle}; {services:.4f} of cloud services, "
        f"billed above a tenth of the day's compute ({len(rows):,} statements in QUERY_HISTORY)"
    )


def history_query(target: Snowflake, since: datetime) -> str:
    """https://docs.snowflake.com/en/sql-reference/functions/query_history: of our user, at most 10,000, of the last week"""
    start = literal(since.isoformat(timespec="milliseconds"))
    return (
        "SELECT START_TIME, END_TIME, WAREHOUSE_SIZE, CREDITS_USED_CLOUD_SERVICES FROM "
        f"TABLE({snowflake.identifier(target.database)}.INFORMATION_SCHEMA.QUERY_HISTORY(END_TIME_RANGE_START => "
        f"TO_TIMESTAMP_LTZ({start}), RESULT_LIMIT => 10000)) "
        f"WHERE QUERY_TAG = {literal(QUERY_TAG)} AND USER_NAME = CURRENT_USER()"
    )


def spent(rows: Iterable[Mapping[str, Any]]) -> tuple[float, float, float]:
    """Credits of compute and of cloud services, and the seconds in which at least one statement ran.

    Statements that run at the same time share the warehouse and are counted once.
    """
    rows = list(rows)
    services = float(sum(row["CREDITS_USED_CLOUD_SERVICES"] or 0 for row in rows))
    compute = seconds = 0.0
    for size in {row["WAREHOUSE_SIZE"] for row in rows if row["WAREHOUSE_SIZE"]}:
        busy = _busy([(r["START_TIME"], r["END_TIME"]) for r in rows if r["WAREHOUSE_SIZE"] == size and r["END_TIME"]])
        seconds += busy
        compute += CREDITS_PER_HOUR.get(size, 0) * busy / 3600
    return compute, services, seconds


def warehouse(session: Session, target: Snowflake) -> tuple[str, str, str, int]:
    """Name, size, state, and the seconds after which it suspends itself; raises `LookupError` where there is none for this role."""
    (who,) = session.execute("SELECT CURRENT_WAREHOUSE() AS NAME", doing="ask for the warehouse")
    name = str(target.warehouse or who["NAME"])
    rows = session.execute(f"SHOW WAREHOUSES LIKE {literal(name)}", doing="look at the warehouse")
    if not rows:
        raise LookupError(name)
    (found, *_) = rows
    return name, str(found["size"]), str(found["state"]).upper(), int(found.get("auto_suspend") or 0)


def _busy(times: Sequence[tuple[datetime, datetime]]) -> float:
    seconds, until = 0.0, None
    for start, end in sorted(times):
        begin = start if until is None else max(start, until)
        if end > begin:
            seconds += (end - begin).total_seconds()
            until = end
    return seconds


def _priced(credits_: float, target: Snowflake) -> str:
    price = (
        f" ({credits_ * target.credit_price:,.2f} at {target.credit_price:g} a credit)" if target.credit_price else ""
    )
    return f"{credits_:.4f} credits{price}"
