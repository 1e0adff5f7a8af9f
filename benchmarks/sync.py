"""How fast changes are read from a slot, decoded and staged, beside psycopg2 that reads them and throws them away.

`make bench-sync`, or `python -m benchmarks.sync --changes 20000 --repeat 1`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer
from rich.console import Console

from benchmarks import competitors, tables
from benchmarks.export import machine
from benchmarks.sync_ways import BATCH, WAYS
from helpers import PROJECT
from helpers import export as exporting
from helpers.platforms import postgres
from helpers.platforms.s3 import Bucket
from helpers.redaction import redact
from helpers.settings import Settings
from helpers.sync import setup as setting_up

DOCS = PROJECT / "docs" / "benchmarks"
PREFIX = "benchmark_sync"
FULL_CHANGES = 300_000
ROWS = 100_000
RUN, LARGE = "benchmark_sync_run", "benchmark_sync_large"
"""Slots: the one that a way reads, and the one that begins with the large transactions."""

IN_ONE = 100
"""Changes of one transaction: 60 updates, 20 inserts, 20 deletes."""

LABELS = {
    "discard": "psycopg2 reads pgoutput and throws it away",
    "decoded": "ours: transactions put together, every row decoded",
    "staged": "ours: decoded, collapsed by key, converted by PostgreSQL, staged as Parquet",
}
TARGET = 10_000
"""Changes a second, decoded and staged."""

screen = Console(stderr=True, highlight=False)
Result = dict[str, Any]


def main(
    changes: Annotated[int, typer.Option(min=1000, help="Changes in small transactions, and again in a large one.")] = FULL_CHANGES,
    repeat: Annotated[int, typer.Option(min=1, help="How often each way runs.")] = 3,
    out: Annotated[Path | None, typer.Option(help="Folder of the results.")] = None,
    again: Annotated[bool, typer.Option("--render", help="Only write sync.md from sync.json.")] = False,
) -> None:  # fmt: skip
    """Measure how fast changes are decoded and staged."""
    folder = out or (DOCS if changes >= FULL_CHANGES or again else Path(tempfile.mkdtemp(prefix="benchmark-sync-")))
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "sync.json"
    if not again:
        file.write_text(json.dumps(measure(changes, repeat), indent=1) + "\n", encoding="utf-8")
    (folder / "sync.md").write_text(markdown(json.loads(file.read_text(encoding="utf-8"))), encoding="utf-8")
    screen.print(f"written: {file}, sync.md")


def measure(changes: int, repeat: int) -> Result:
    """Makes the table and its changes, and lets the ways take turns on the same part of the log."""
    own = competitors.settings(PREFIX)
    tables.create_database(own.source.model_copy(update={"dbname": "postgres"}))
    result: Result = {"date": datetime.now(UTC).date().isoformat(), "machine": machine(own), "repeat": repeat}
    result |= {"changes": changes, "runs": []}
    with _followed(own, changes) as parts:
        for _ in range(repeat):
            for part, setup in parts.items():
                result["runs"] += [_run(own, way, part, setup, changes) for way in WAYS]
    return result


@contextmanager
def _followed(own: Settings, changes: int) -> Iterator[dict[str, Result]]:
    """What each part of the log is read by; removed behind the block."""
    bucket, name = Bucket.open(own.stage), "followed"
    with closing(postgres.connect(own.source, settings={"search_path": "public"})) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        _drop(cursor, RUN, LARGE)
        setting_up.stop(own, bucket)
        cursor.execute(f"DROP TABLE IF EXISTS {name}")
        cursor.execute(f"CREATE TABLE {name} ({', '.join(tables.NARROW)}, PRIMARY KEY (id))")
        cursor.execute(f"INSERT INTO {name} {_rows(1, ROWS + 20)}")
        try:
            with (
                setting_up.prepared(own, bucket, (name,)) as prepared,
                exporting.planned(own, follow=prepared.follow, tables=(name,)) as plan,
            ):
                sync = setting_up.keep(prepared, exporting.export(plan), plan.snapshot)
            cursor.execute("SET synchronous_commit = off")
            update = f"UPDATE {name} SET quantity = quantity + 1, amount = amount + 1, note = note || '.'"
            for number in range(changes // IN_ONE):
                first, new = number * 60 % (ROWS - 60), ROWS + 20 + number * 20
                cursor.execute(
                    f"BEGIN; {update} WHERE id > {first} AND id <= {first + 60}; INSERT INTO {name} {_rows(new + 1, new + 20)}; "
                    f"DELETE FROM {name} WHERE id > {new - 20} AND id <= {new}; COMMIT"
                )
            middle = _position(cursor)
            cursor.execute(f"{update} WHERE id <= %s", [min(changes, ROWS)])
            for _ in range(changes // ROWS - 1):
                cursor.execute(f"{update} WHERE id <= {ROWS}")
            end = _position(cursor)
            _copy(cursor, sync.slot, LARGE)
            cursor.execute("SELECT pg_replication_slot_advance(%s, '0/0'::pg_lsn + %s::numeric)", [LARGE, middle])
            common = {"prefix": PREFIX, "publication": sync.publication}
            yield {
                "small": {**common, "from": sync.slot, "start": sync.position, "end": middle},
                "large": {**common, "from": LARGE, "start": middle, "end": end},
            }
        finally:
            _drop(cursor, RUN, LARGE)
            setting_up.stop(own, bucket)
            cursor.execute(f"DROP TABLE IF EXISTS {name}")


def _rows(first: int, last: int) -> str:
    return (
        f"SELECT {', '.join(tables.NARROW.values())} FROM (SELECT g, hashint8extended(g, 42) & 9223372036854775807 AS h "
        f"FROM generate_series({first}, {last}) g) s"
    )


def _position(cursor: Any) -> int:
    cursor.execute("SELECT pg_logical_emit_message(false, 'benchmark', '')")
    return int(postgres.value(cursor, "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint"))


def _copy(cursor: Any, slot: str, to: str) -> None:
    _drop(cursor, to)
    cursor.execute("SELECT pg_copy_logical_replication_slot(%s, %s, false)", [slot, to])


def _drop(cursor: Any, *slots: str) -> None:
    query = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = ANY (%s)"
    cursor.execute(query, [list(slots)])


def _run(own: Settings, way: str, part: str, setup: Result, changes: int) -> Result:
    """One way in a process of its own, on a slot that nobody has read."""
    with postgres.committing(own.source) as cursor:
        _copy(cursor, setup["from"], RUN)
    run: Result = {"way": way, "part": part, "load_before": round(os.getloadavg()[0], 2)}
    command = [sys.executable, "-m", "benchmarks.sync_ways", way, json.dumps({**setup, "slot": RUN})]
    process = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    if process.returncode:
        run["error"] = redact((process.stderr.strip().splitlines() or ["no message"])[-1])
    else:
        run |= json.loads(process.stdout)
        if run["changes"] != changes:
            run["error"] = f"{run['changes']:,} changes instead of {changes:,}"
    took = run.get("error") or f"{run['changes'] / run['seconds']:,.0f} changes/s, {run['peak_bytes'] / 1e6:,.0f} MB"
    screen.print(f"  {way:8} {part:6} {took}   load {run['load_before']}")
    return run


def markdown(result: Result) -> str:
    """The page, from the JSON alone."""

    def rate(way: str, part: str) -> float | None:
        found = [
            r["changes"] / r["seconds"]
            for r in result["runs"]
            if (r["way"], r["part"]) == (way, part) and "error" not in r
        ]
        return median(found) if found else None

    lines = [
        "| way | small transactions, changes/s | of the limit | large ones, changes/s | of the limit | peak memory |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for way, label in LABELS.items():
        cells = []
        for part in ("small", "large"):
            found, most = rate(way, part), rate("discard", part)
            cells += [f"{found:,.0f}", f"{found / most:.0%}"] if found and most else ["failed", ""]
        peaks = [r["peak_bytes"] for r in result["runs"] if r["way"] == way and "error" not in r]
        lines.append(f"| {label} | {' | '.join(cells)} | {max(peaks, default=0) / 1e6:,.0f} MB |")
    reached = [rate("staged", part) or 0 for part in ("small", "large")]
    met = "met" if min(reached) >= TARGET else "**not met**"
    m, loads, newline = result["machine"], [r["load_before"] for r in result["runs"]], "\n"
    return f"""# How fast a sync reads

Written by `make bench-sync` on {result["date"]} from `sync.json`; do not edit.

The narrow table of the export's benchmark, {ROWS:,} rows × 11 columns with a primary key. {result["changes"]:,} changes in transactions of
{IN_ONE} (60 rows updated, 20 inserted, 20 deleted), and as many in transactions that update up to {ROWS:,} rows each, are read from one
slot, which sends them anew to each way. Each way ran {result["repeat"]} times, in turns, each time in a new process; the rates are
medians. The clock runs from the first connection to the last change. psycopg2 that reads pgoutput and throws it away is the
limit of what any decoder behind it can do. Whole transactions are collapsed together, until there are {BATCH:,} changes; a larger
one is not cut, and the keys that it touches are in memory at once.

{newline.join(lines)}

Target: {TARGET:,} changes a second, decoded and staged: {met} ({" and ".join(f"{each:,.0f}" for each in reached)}).

## The machine

{m["cpu"]}, {m["cores"]} cores, {m["memory_bytes"] / 2**30:.0f} GiB of memory; {m["os"]}. PostgreSQL {m["postgresql"]}, DuckDB
{m["duckdb"]}, Python {m["python"]}; {m["s3"]}. All servers share the cores. Load before a run: {min(loads):.2f} to {max(loads):.2f}.
Peak memory is the process's own, the servers' not included.
"""


if __name__ == "__main__":
    typer.run(main)
