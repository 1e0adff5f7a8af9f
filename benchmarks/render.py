"""The benchmark's table and chart, from its JSON alone: every number in them was measured."""

from __future__ import annotations

import itertools
from pathlib import Path
from statistics import median
from typing import Any
from xml.sax.saxutils import escape

from rich.table import Table

NAMES = {
    "copy": "raw COPY BINARY, 2 connections",
    "scanner": "DuckDB postgres_scanner, 2 threads",
    "ours": "ours, without digests",
    "ours+digests": "ours, with digests",
    "adbc": "ADBC → pyarrow, 2 processes",
}
TARGETS = (
    # Table, what, numerator, denominator, target, whether at most
    *((kind, "ours / scanner", "ours", "scanner", 1.15, True) for kind in ("narrow", "wide")),
    *((kind, "ours with digests / scanner", "ours+digests", "scanner", 1.3, True) for kind in ("narrow", "wide")),
    *((kind, "ADBC / ours", "adbc", "ours", 1.25, False) for kind in ("narrow", "wide")),
    ("special", "ADBC / ours", "adbc", "ours", 1.0, False),
    *((kind, "ours / raw COPY", "ours", "copy", None, True) for kind in ("narrow", "wide", "special")),
)
FLAT = 1.2
"""The issue says flat without a number; up to this ratio of the dearest to the cheapest row counts as it."""

MEMORY_BYTES = 1_500_000_000
"""Resident, of all workers together, at any size."""

COLOURS = {"copy": "#9aa0a6", "scanner": "#c58b2b", "ours": "#1f77b4", "ours+digests": "#0b4f85", "adbc": "#8e5ea2"}
CENSUS = "#9ecae1"
Result = dict[str, Any]


def write(result: Result, folder: Path) -> None:
    """Writes `export.md` and `export.svg`."""
    (folder / "export.md").write_text(markdown(result), encoding="utf-8")
    (folder / "export.svg").write_text(svg(result), encoding="utf-8")


def screen_table(result: Result) -> Table:
    """For the terminal."""
    header, *rows = _rows(result)
    table = Table(*header)
    short = dict(zip(NAMES.values(), NAMES, strict=True))
    for kind, label, *numbers in rows:
        table.add_row(kind, short[label], *numbers)
    return table


def _good(result: Result, kind: str, competitor: str) -> list[dict[str, Any]]:
    runs = [r for r in result["runs"] if (r["table"], r["competitor"]) == (kind, competitor)]
    return [] if any("error" in run for run in runs) else runs


def _plan(run: dict[str, Any]) -> float:
    return float(run.get("snapshot_seconds", 0) + run.get("census_seconds", 0))


def _rows(result: Result) -> list[list[str]]:
    rows = [["table", "way", "seconds (min–max)", "+ snapshot, census", "rows/s", "peak memory", "Parquet"]]
    for kind, table in result["tables"].items():
        for name, label in NAMES.items():
            runs = _good(result, kind, name)
            if not runs:
                why = next(
                    (
                        r["error"]
                        for r in result["runs"]
                        if (r["table"], r["competitor"]) == (kind, name) and "error" in r
                    ),
                    "not run",
                )
                rows.append([kind, label, f"failed: {why}", "", "", "", ""])
                continue
            seconds = [run["seconds"] for run in runs]
            before = median(_plan(run) for run in runs)
            rows.append([
                kind, label, f"{median(seconds):.2f} ({min(seconds):.2f}–{max(seconds):.2f})",
                f"{before:.2f}" if before else "",
                f"{table['rows'] / median(seconds):,.0f}",
                f"{max(run['peak_bytes'] for run in runs) / 1e6:,.0f} MB",
                f"{median(run['file_bytes'] for run in runs) / 1e6:,.1f} MB" if runs[0]["file_bytes"] else "",
            ])  # fmt: skip
    return rows


def _ratios(result: Result) -> list[list[str]]:
    rows = [["table", "ratio", "target", "export alone", "", "with snapshot and census", ""]]
    for kind, what, above, below, target, at_most in TARGETS:
        tops, bottoms = _good(result, kind, above), _good(result, kind, below)
        if not tops or not bottoms:
            rows.append([kind, what, "", "not measured", "", "", ""])
            continue
        cells = []
        for before in (lambda run: 0.0, _plan):
            ratio = median(r["seconds"] + before(r) for r in tops) / median(r["seconds"] + before(r) for r in bottoms)
            met = (
                "" if target is None else "met" if (ratio <= target if at_most else ratio >= target) else "**not met**"
            )
            cells += [f"{ratio:.2f}", met]
        aim = "none" if target is None else f"{'≤' if at_most else '≥'} {target:g}"
        rows.append([kind, what, aim, *cells])
    return rows


def _flat(result: Result) -> list[tuple[int, float, float, float, float]]:
    """Size, microseconds a row of the export, of snapshot and census, seconds, peak bytes."""
    found = []
    for size in dict.fromkeys(run["size"] for run in result["flatness"]):
        runs = [run for run in result["flatness"] if run["size"] == size]
        if any("error" in run for run in runs):
            continue
        seconds, before = median(run["seconds"] for run in runs), median(_plan(run) for run in runs)
        found.append((size, seconds / size * 1e6, before / size * 1e6, seconds, max(r["peak_bytes"] for r in runs)))
    return found


def _grid(rows: list[list[str]]) -> str:
    header, *body = (["" if cell is None else cell for cell in row] for row in rows)
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, ["---"] * len(header), *body))


def _values(result: Result) -> str:
    """What the readers make of the special types."""
    ways = [name for name in NAMES if name in result["values"].get("special", {})]
    rows = [["column", *(NAMES[name] for name in ways)]]
    for column in result["values"]["special"][ways[0]] if ways else ():
        cells = []
        for name in ways:
            found = result["values"]["special"][name][column]
            state = "equal"
            if found["differ"]:
                staged, printed = (f"`{text}`" for text in found["example"])
                state = f"**{found['differ']:,} of {found['sample']:,} differ**, {staged} for {printed}"
            cells.append(f"{found['parquet']}: {state}")
        rows.append([f"{column} {result['values']['special'][ways[0]][column]['postgres']}", *cells])
    elsewhere = [
        f"- {kind}.{column} by {NAMES[name]}: {found['differ']:,} of {found['sample']:,} differ"
        for kind in result["values"] if kind != "special"
        for name, columns in result["values"][kind].items()
        for column, found in columns.items() if found["differ"]
    ]  # fmt: skip
    return _grid(rows) + "\n\nIn the other tables: " + ("\n" + "\n".join(elsewhere) if elsewhere else "no difference.")


def markdown(result: Result) -> str:
    """The page."""
    m = result["machine"]
    shapes = "; ".join(
        f"`{kind}` {t['rows']:,} rows × {t['columns']} columns, {t['heap_bytes'] / 1e6:,.0f} MB of heap"
        for kind, t in result["tables"].items()
    )
    flat = _flat(result)
    flatness = "Not measured in this run."
    if flat:
        cells = [[f"{n:,}", f"{s:.2f}", f"{e:.2f}", f"{b:.2f}", f"{p / 1e6:,.0f} MB"] for n, e, b, s, p in flat]
        further = [
            (larger[1] * larger[0] - smaller[1] * smaller[0]) / (larger[0] - smaller[0])
            for smaller, larger in itertools.pairwise(flat)
        ]
        flatness = _grid(
            [["rows", "seconds", "export, µs a row", "snapshot and census, µs a row", "peak resident memory"], *cells]
        )
        if further:
            ratio = max(further) / min(further)
            flatness += (
                "\n\nThe start costs the same at every size, so that a row of the smallest table is the dearest. From each size "
                f"to the next, a further row costs {', '.join(f'{cost:.2f}' for cost in further)} µs: dearest / cheapest "
                f"{ratio:.2f}; up to {FLAT} counts as flat here: {'met' if ratio <= FLAT else '**not met**'}."
            )
        peak = max(f[4] for f in flat)
        flatness += (
            f" Peak resident memory of all {result['workers']} workers together: {peak / 1e6:,.0f} MB at most, and "
        )
        flatness += f"{MEMORY_BYTES / 1e6:,.0f} MB are allowed: {'met' if peak <= MEMORY_BYTES else '**not met**'}."
    loads = [run["load_before"] for run in result["runs"]]
    casts = ", ".join(f"{a} as {b}" for a, b in result["adbc_casts"].items())
    return f"""# How fast the export is

Written by `make bench-export` on {result["date"]} from `export.json`; do not edit.

![Seconds for each table and way](export.svg)

{shapes}. Each way ran {result["repeat"]} times, in turns, each time in a new process; the numbers are medians. The clock
runs from the first connection to the last object in the bucket. Peak memory is resident, the sum of the peaks of all
processes of a way (all workers; the server's not included), so an upper bound.

{_grid(_rows(result))}

## Against the targets

{_grid(_ratios(result))}

Only ours counts every row and looks for values that would be changed before it writes (the census), and reads in a
snapshot that a process of its own holds: that is the last column.

## Cost per row of ours, with digests, on the narrow table

{flatness}

## What arrives

A sample of each way's Parquet beside what PostgreSQL prints; raw COPY keeps nothing. In the special table ADBC reads {casts}; it gives every
numeric as text.

{_values(result)}

## The machine

{m["cpu"]}, {m["cores"]} cores, {m["memory_bytes"] / 2**30:.0f} GiB of memory; {m["os"]}. PostgreSQL {m["postgresql"]}
(shared_buffers {m["postgresql_settings"]["shared_buffers"]}), DuckDB {m["duckdb"]}, pyarrow {m["pyarrow"]}, ADBC
{m["adbc"]}, Python {m["python"]}; {m["s3"]}. The server, the bucket and the export share the cores. Load before a run:
{min(loads):.2f} to {max(loads):.2f}. Ours with {result["workers"]} workers.
"""


def svg(result: Result) -> str:
    """Bars with the spread of the runs, and the cost per row by size."""
    left, width, bar, y = 300, 900, 20, 44
    plot, parts = width - left - 150, []

    def text(x: float, at: float, content: str, more: str = "") -> None:
        parts.append(f'<text x="{x:.1f}" y="{at:.1f}" {more}>{escape(content)}</text>')

    def box(x: float, at: float, wide: float, colour: str) -> None:
        parts.append(f'<rect x="{x:.1f}" y="{at}" width="{wide:.1f}" height="{bar - 5}" fill="{colour}"/>')

    text(20, 26, "Export of a table to Parquet on S3: seconds, median of the runs", 'font-size="17" font-weight="bold"')
    for kind, table in result["tables"].items():
        runs = {name: _good(result, kind, name) for name in NAMES}
        most = max((r["seconds"] + _plan(r) for found in runs.values() for r in found), default=1.0)
        y += 16
        text(20, y, f"{kind}: {table['rows']:,} rows × {table['columns']} columns", 'font-weight="bold"')
        y += 8
        for name, found in runs.items():
            text(left - 8, y + 13, NAMES[name], 'text-anchor="end"')
            if found:
                seconds = [r["seconds"] for r in found]
                middle, before = median(seconds), median(_plan(r) for r in found)
                scale = plot / most
                box(left, y, middle * scale, COLOURS[name])
                box(left + middle * scale, y, before * scale, CENSUS)
                low, high = left + min(seconds) * scale, left + max(seconds) * scale
                parts.append(
                    f'<path d="M{low:.1f} {y + 7}H{high:.1f}M{low:.1f} {y + 3}v8M{high:.1f} {y + 3}v8" stroke="#222"/>'
                )
                end = max(left + (middle + before) * scale, high) + 6
                text(end, y + 13, f"{middle:.2f}" + (f" + {before:.2f}" if before else ""))
            else:
                text(left + 6, y + 13, "failed or not run")
            y += bar
        y += 12
    box(left, y, 14, CENSUS)
    text(
        left + 20,
        y + 12,
        "snapshot, catalog, census (only ours has them); line: fastest to slowest run",
    )
    y += 44
    flat = _flat(result)
    if flat:
        text(20, y, "Cost per row of ours with digests, narrow table: microseconds", 'font-weight="bold"')
        y += 8
        most = max(export + before for _, export, before, _, _ in flat)
        for size, export, before, _, _ in flat:
            text(left - 8, y + 13, f"{size:,} rows", 'text-anchor="end"')
            box(left, y, export / most * plot, COLOURS["ours+digests"])
            box(left + export / most * plot, y, before / most * plot, CENSUS)
            text(left + (export + before) / most * plot + 6, y + 13, f"{export:.2f} + {before:.2f}")
            y += bar
        y += 12
    machine = result["machine"]
    text(20, y + 6, f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_bytes'] / 2**30:.0f} GiB; PostgreSQL "
         f"{machine['postgresql']}, DuckDB {machine['duckdb']}; {result['date']}", 'fill="#666" font-size="11"')  # fmt: skip
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{y + 20}" font-family="sans-serif" font-size="13">\n'
        f'<rect width="100%" height="100%" fill="white"/>\n{chr(10).join(parts)}\n</svg>\n'
    )
