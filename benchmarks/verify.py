"""How fast a verification is: by each of its methods, beside reladiff, in one run, on the same rows.

Every way compares the same table with a copy that is equal, and with one in which 1,000 scattered rows differ; they take
turns, each in a process of its own.

    make bench-verify                                # full size: docs/benchmarks/verify.{json,md}
    make bench-verify BENCH="--rows 200000 --repeat 1"   # a try: a temporary folder
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from contextlib import closing
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Annotated, Any
from uuid import uuid4

import typer
from rich.console import Console

from benchmarks import tables, verify_ways
from benchmarks.export import machine, watch
from helpers import PROJECT, digests, export
from helpers import load as loading
from helpers.engines.snowflake.definition import column_definition
from helpers.errors import MigrationError
from helpers.model import manifest
from helpers.platforms import duck, postgres
from helpers.platforms import snowflake as snowflake_platform
from helpers.platforms.postgres import identifier, literal
from helpers.platforms.s3 import Bucket
from helpers.redaction import redact
from helpers.source import held_snapshots

DOCS = PROJECT / "docs" / "benchmarks"
FULL_ROWS = 5_000_000
CHANGED = 1000

LABELS = {
    "reladiff": "reladiff 0.6, hashdiff between two tables of one PostgreSQL, 2 threads",
    "canonical": "ours, canonical digest: PostgreSQL's stream against the Snowflake stand-in",
    "witness": "ours, canonical digest inside PostgreSQL (`--witness`) against the stand-in",
    "native": "ours, native digest: PostgreSQL's stream against the stage",
    "kept, canonical": "ours, canonical digest kept with the manifest against the stand-in",
    "kept, native": "ours, native digest kept with the manifest against the stage",
}
TARGETS = (
    # Way, against which way of which copy, and the most that the ratio may be.
    ("canonical", "equal", "reladiff", "equal", 0.75),
    ("native", "equal", "reladiff", "equal", 0.4),
    ("kept, native", "equal", "reladiff", "equal", 0.3),
    ("kept, canonical", "equal", "reladiff", "equal", 0.3),
    ("canonical", "changed", "canonical", "equal", 1.3),
    ("native", "changed", "native", "equal", 1.3),
    ("reladiff", "changed", "reladiff", "equal", None),
)

screen = Console(stderr=True, highlight=False)
Result = dict[str, Any]


def main(
    rows: Annotated[int, typer.Option(min=10_000, help="Rows of the table.")] = FULL_ROWS,
    repeat: Annotated[int, typer.Option(min=1, help="How often each way runs.")] = 3,
    flatness: Annotated[str, typer.Option(help='Sizes for the cost per row; "" leaves it out.')] = "1000000,20000000",
    out: Annotated[Path | None, typer.Option(help="Folder of the results.")] = None,
    again: Annotated[bool, typer.Option("--render", help="Only write verify.md from verify.json.")] = False,
) -> None:
    """Measure the verification beside reladiff.

    Less than the full size goes to a temporary folder, unless --out names one. Example: python -m benchmarks.verify
    --rows 200000 --repeat 1 --flatness ""
    """
    folder = out or (DOCS if rows >= FULL_ROWS or again else Path(tempfile.mkdtemp(prefix="benchmark-verify-")))
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "verify.json"
    if not again:
        try:
            result = measure(rows, repeat, [int(part) for part in flatness.split(",") if part])
        except MigrationError as error:
            screen.print(f"[red]{redact(str(error))}")
            raise typer.Exit(2) from None
        file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (folder / "verify.md").write_text(markdown(json.loads(file.read_text(encoding="utf-8"))), encoding="utf-8")
    screen.print(f"written: {file}, verify.md")


def measure(rows: int, repeat: int, flatness: list[int]) -> Result:
    """Makes the table and its copies, and lets the ways take turns."""
    own = verify_ways.settings({"prefix": "unused", "schema": "BENCH"})
    tables.create_database(own.source.model_copy(update={"dbname": "postgres"}))
    result: Result = {"date": datetime.now(UTC).date().isoformat(), "machine": machine(own), "repeat": repeat}
    result |= {"reladiff": version("reladiff"), "rows": rows, "runs": [], "flatness": []}
    with Copies(rows) as copies:
        copies.make()
        for number in range(repeat):
            for way in verify_ways.WAYS:
                for copy in ("equal",) if way == "kept, native" else ("equal", "changed"):
                    result["runs"].append(run_one(way, copy, copies.setup(copy), rows) | {"repeat": number})
    for size in flatness:
        with Copies(size) as copies:
            for way in ("canonical", "native", "kept, native"):
                result["flatness"].append(run_one(way, "equal", copies.setup("equal"), size))
    return result


class Copies:
    """A table, its export with the snapshot held, and its copies in the stand-in, on the stage and in PostgreSQL."""

    def __init__(self, rows: int) -> None:
        self.prefix = f"{tables.DATABASE}_{uuid4().hex[:8]}"
        self.own = verify_ways.settings({"prefix": self.prefix, "schema": "BENCH"})
        self.rows = rows

    def __enter__(self) -> Copies:
        self.name = tables.create_table(self.own.source, "narrow", self.rows)
        tables.size(self.own.source, self.name)  # brings it into the cache
        with export.planned(self.own, tables=(self.name,), release=False) as plan:
            self.manifest = export.export(plan)
        self.bucket = Bucket.open(self.own.stage)
        (self.staged,) = self.manifest.tables
        loading.load(loading.plan_load(self.manifest, self.bucket, self.own.snowflake))
        self.other: Bucket | None = None
        return self

    def make(self) -> None:
        """Makes the equal and the changed copies; the cost per row needs only what was exported and loaded."""
        changed = f'CASE WHEN "id" % {self.rows // CHANGED} = 17 THEN "note" || \'!\' ELSE "note" END'
        with snowflake_platform.connect(self.own.snowflake) as session:
            session.execute(f'USE SCHEMA "{self.own.snowflake.database}"."BENCH"', doing="choose the schema")
            columns = ", ".join(column_definition(column) for column in self.staged.columns)
            session.execute(f'CREATE OR REPLACE TABLE "changed" ({columns})', doing="create the copy")
            session.execute(f'INSERT INTO "changed" SELECT * FROM "{self.name}"', doing="copy")
            session.execute(f'UPDATE "changed" SET "note" = {changed}', doing="change the copy")
        self._change_stage(changed)
        self._copy_source({"same": '"note"', "changed": changed})

    def _copy_source(self, notes: dict[str, str]) -> None:
        """What reladiff compares with: it takes most types only where both sides are PostgreSQL."""
        with closing(postgres.connect(self.own.source, settings={"search_path": "public"})) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                for copy, note in notes.items():
                    columns = ", ".join(
                        f'{note} AS "note"' if column.name == "note" else identifier(column.name)
                        for column in self.staged.columns
                    )
                    cursor.execute(f"DROP TABLE IF EXISTS public.{self.name}_{copy}")
                    cursor.execute(
                        f"CREATE TABLE public.{self.name}_{copy} AS SELECT {columns} FROM public.{self.name}"
                    )
                    cursor.execute(f"ALTER TABLE public.{self.name}_{copy} ADD PRIMARY KEY (id)")
                    cursor.execute(f"VACUUM ANALYZE public.{self.name}_{copy}")

    def _change_stage(self, changed: str) -> None:
        other = Bucket.open(self.own.stage, f"s3://{self.bucket.location.bucket}/{self.prefix}_changed/")
        files = digests.files_of(self.bucket, [file.path for file in self.staged.files])
        with duck.connect() as connection:
            duck.enable_s3(connection, self.own.stage)
            one = self.staged.files[0].path
            url = f"s3://{other.location.bucket}/{other.location.key(one)}"
            connection.execute(
                f'COPY (SELECT * REPLACE ({changed} AS "note") FROM {files}) TO {literal(url)} (FORMAT parquet, COMPRESSION zstd)'
            )
        file = self.staged.files[0].model_copy(update={"path": one, "rows": self.staged.rows})
        staged = self.staged.model_copy(update={"files": (file,)})
        moved = self.manifest.model_copy(update={"tables": (staged,)})
        other.write(manifest.NAME, moved.model_dump_json().encode())
        self.other = other

    def setup(self, copy: str) -> verify_ways.Setup:
        """What a way needs to know."""
        changed = copy == "changed"
        return {
            "prefix": self.prefix,
            "schema": "BENCH",
            "table": self.name,
            "target_table": "changed" if changed else self.name,
            "location": str(self.bucket.location),
            "changed_location": str(self.other.location if changed and self.other else self.bucket.location),
            "source_copy": f"{self.name}_{'changed' if changed else 'same'}",
        }

    def __exit__(self, *_: object) -> None:
        held_snapshots.release_named(self.manifest.snapshot, self.manifest.source)
        for bucket in filter(None, (self.bucket, self.other)):
            bucket.remove(list(bucket.sizes()))
        with snowflake_platform.connect(self.own.snowflake) as session:
            session.execute(f'DROP SCHEMA IF EXISTS "{self.own.snowflake.database}"."BENCH"', doing="clean up")
        with (
            closing(postgres.connect(self.own.source, settings={"search_path": "public"})) as connection,
            connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(f"DROP TABLE IF EXISTS public.{self.name}_same, public.{self.name}_changed")


def run_one(way: str, copy: str, setup: verify_ways.Setup, rows: int) -> Result:
    """One way on one copy, in a fresh process."""
    run: Result = {"way": way, "copy": copy, "rows": rows, "load_before": round(os.getloadavg()[0], 2)}
    command = [sys.executable, "-m", "benchmarks.verify_ways", way, json.dumps(setup)]
    process = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    peaks: dict[int, int] = {}
    ended = threading.Event()
    watching = threading.Thread(target=watch, args=(process.pid, peaks, ended))
    watching.start()
    answer, errors = process.communicate()
    ended.set()
    watching.join()
    if process.returncode:
        run["error"] = redact((errors.strip().splitlines() or ["no message"])[-1])
    else:
        run |= json.loads(answer) | {"peak_bytes": peaks.get(process.pid, 0)}
        expected = CHANGED if copy == "changed" else 0
        if run["differing"] != expected:
            run["error"] = f"{run['differing']:,} rows differ instead of {expected:,}"
    took = run.get("error") or f"{run['seconds']:.2f} s"
    screen.print(f"  {rows:>10,} {way:16} {copy:8} {took}   load {run['load_before']}")
    return run


def markdown(result: Result) -> str:
    """The page, from the JSON alone."""

    def runs(way: str, copy: str) -> list[Result]:
        return [r for r in result["runs"] if (r["way"], r["copy"]) == (way, copy) and "error" not in r]

    def seconds(way: str, copy: str) -> float | None:
        found = runs(way, copy)
        return median(r["seconds"] for r in found) if found else None

    lines = ["| way | equal, s (min–max) | 1,000 rows differ, s (min–max) | rows fetched per differing row | peak memory |",
             "| --- | --- | --- | --- | --- |"]  # fmt: skip
    for way, label in LABELS.items():
        cells = []
        for copy in ("equal", "changed"):
            found = [r["seconds"] for r in runs(way, copy)]
            why = next(
                (
                    f"failed: {r['error']}"
                    for r in result["runs"]
                    if (r["way"], r["copy"]) == (way, copy) and "error" in r
                ),
                "–",
            )
            cells.append(f"{median(found):.2f} ({min(found):.2f}–{max(found):.2f})" if found else why)
        fetched = [r["fetched"] / CHANGED for r in runs(way, "changed") if "fetched" in r]
        peaks = [r["peak_bytes"] for copy in ("equal", "changed") for r in runs(way, copy)]
        lines.append(f"| {label} | {' | '.join(cells)} | {f'{max(fetched):.0f}' if fetched else ''} | "
                     f"{f'{max(peaks) / 1e6:,.0f} MB' if peaks else ''} |")  # fmt: skip
    ratios = ["| ratio | target | measured | |", "| --- | --- | --- | --- |"]
    for way, copy, other, its_copy, most in TARGETS:
        above, below = seconds(way, copy), seconds(other, its_copy)
        if above is None or below is None:
            ratios.append(f"| {way}, {copy} / {other}, {its_copy} | {most or ''} | not measured | |")
            continue
        met = "" if most is None else "met" if above / below <= most else "**not met**"
        ratios.append(
            f"| {way}, {copy} / {other}, {its_copy} | {f'≤ {most}' if most else 'none'} | {above / below:.2f} | {met} |"
        )
    flat = ["| rows | way | seconds | µs a row | peak memory |", "| --- | --- | --- | --- | --- |"]
    for r in [
        *result["flatness"],
        *(r for way in ("canonical", "native", "kept, native") for r in runs(way, "equal")[:1]),
    ]:
        flat.append(f"| {r['rows']:,} | {r['way']} | {r['seconds']:.2f} | {r['seconds'] / r['rows'] * 1e6:.2f} | "
                    f"{r['peak_bytes'] / 1e6:,.0f} MB |" if "error" not in r else f"| {r['rows']:,} | {r['way']} | {r['error']} | | |")  # fmt: skip
    m, loads, newline = result["machine"], [r["load_before"] for r in result["runs"]], "\n"
    return f"""# How fast a verification is

Written by `make bench-verify` on {result["date"]} from `verify.json`; do not edit.

The narrow table of the export's benchmark, {result["rows"]:,} rows × 11 columns, against copies of it. Each way ran
{result["repeat"]} times, in turns, each time in a new process; the numbers are medians. The clock runs from the first connection
to the report. The Snowflake side is the local **stand-in**, so its share of the time says nothing about Snowflake: with kept
digests it is nearly all of the time, since the stand-in hashes every row on the same cores. The first run with a kept canonical
digest also computes it from the stage, and is the longest. The changed copy of the
stage has no digests kept beside it, so that way has no run with differences.

{newline.join(lines)}

## Against the targets

{newline.join(ratios)}

## Cost per row

{newline.join(flat)}

## The machine

{m["cpu"]}, {m["cores"]} cores, {m["memory_bytes"] / 2**30:.0f} GiB of memory; {m["os"]}. PostgreSQL {m["postgresql"]}, DuckDB
{m["duckdb"]}, reladiff {result["reladiff"]}, Python {m["python"]}; {m["s3"]}. All servers share the cores. Load before a run:
{min(loads):.2f} to {max(loads):.2f}. Peak memory is the process's own, the servers' not included.
"""


if __name__ == "__main__":
    typer.run(main)
