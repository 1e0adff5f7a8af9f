"""Two tables of texts in DuckDB → every row and cell in which they differ.

First the rows are compared as a multiset: a row that occurs as often on both sides drops out, whatever the order,
with or without a key, duplicates and NULLs included; by its texts, which most rows share, then by the values that the texts
stand for. Only what is left over is then paired, by key where there is one. For example, with key `id`:

    source (1, a) (2, b) (3, c)      target (1, a) (2, B) (4, d)
    left over: source (2, b) (3, c), target (2, B) (4, d)
    → changed (2: b ≠ B), missing (3), extra (4)

All of it is done in DuckDB, which spills to disk what does not fit: rows that all differ take time, not memory.
"""

from __future__ import annotations

import json
from collections import deque
from itertools import islice
from pathlib import Path

import pyarrow as pa

from helpers.best_effort import best_effort
from helpers.engines import texts
from helpers.engines.base import DuckDB, Ends, Side
from helpers.engines.columns import ComparedColumn, TablePlan
from helpers.platforms.postgres import literal
from helpers.verify.report import CELLS_IN_JSON, Cell, Copies, TableReport

PAIRED_WITHOUT_KEY = 200
"""Left-over rows of a table without a key that are paired by likeness, so that a changed cell is named as one; the
cost grows with the square."""


ROWS_PER_FETCH = 10_000
PARTNERS_TRIED = 1000
"""Rows within one tolerance of each other that are looked at for a partner."""


def leave_over(duck: DuckDB, source: Side, target: Side, table: TablePlan) -> None:
    """Compares the DuckDB tables `source` and `target`, each with a text column c0, c1 … for each of the plan's.

    Creates `rest`, see `balance`.

    Args:
        source, target: the sides they came from; they say which value a text stands for.
    """
    columns = ", ".join(f"c{n}" for n in range(len(table.columns)))
    duck.execute(
        f"CREATE OR REPLACE TABLE by_text AS SELECT {columns}, sum(weight)::BIGINT AS balance FROM "
        f"(SELECT {columns}, 1 AS weight FROM source UNION ALL SELECT {columns}, -1 FROM target) "
        f"GROUP BY {columns} HAVING sum(weight) <> 0"
    )
    for side, name, sign in ((source, "source", 1), (target, "target", -1)):
        left = f"(SELECT {columns} FROM by_text, range({sign} * balance) WHERE {sign} * balance > 0)"
        duck.execute(f"CREATE OR REPLACE TABLE {name}_rows AS {rows_of(side, table, left)}")
    balance(duck, "source_rows", "target_rows", table)


def balance(duck: DuckDB, source: str, target: str, table: TablePlan) -> None:
    """Creates `rest`: a row for each occurrence that the other side lacks.

    It has the texts c0 …, values v0 … and `form` of `source` and `target`, which `rows_of` has made, `side` (s or t) and
    `id`.
    """
    duck.execute(
        "CREATE OR REPLACE TABLE balances AS SELECT form, sum(s)::BIGINT AS s, sum(t)::BIGINT AS t FROM "
        f"(SELECT form, 1 AS s, 0 AS t FROM {source} UNION ALL SELECT form, 0, 1 FROM {target}) "
        "GROUP BY form HAVING sum(s) <> sum(t)"
    )
    count = len(table.columns)
    columns = ", ".join([f"c{n}" for n in range(count)] + [f"v{n}" for n in range(count)] + ["form"])
    made = ", ".join(f"c{n} VARCHAR, v{n} VARCHAR" for n in range(count))
    duck.execute("CREATE OR REPLACE SEQUENCE rest_id")
    duck.execute(f"CREATE OR REPLACE TABLE rest (side VARCHAR, {made}, form VARCHAR, id BIGINT)")
    for rows, mine, other in ((source, "s", "t"), (target, "t", "s")):
        # Only a row that both sides have, here more often, needs its copies counted: that takes far more memory than a join.
        counted = (
            f"SELECT r.*, b.{mine} - b.{other} AS surplus, row_number() OVER (PARTITION BY r.form) AS copy "
            f"FROM {rows} AS r JOIN (FROM balances WHERE {mine} > {other} AND {other} > 0) AS b USING (form)"
        )
        for left in (
            f"SELECT {columns} FROM {rows} SEMI JOIN (FROM balances WHERE {other} = 0) USING (form)",
            f"SELECT {columns} FROM ({counted}) WHERE copy <= surplus",
        ):
            duck.execute(f"INSERT INTO rest (side, {columns}, id) SELECT '{mine}', *, nextval('rest_id') FROM ({left})")


def rows_of(side: Side, table: TablePlan, name: str) -> str:
    """A query of `name`, a table or subquery, with its texts, their values v0, v1 … and the row's form.

    The form is injective: each value is preceded by its length and a colon, and NULL is a colon without a length.
    """
    count = len(table.columns)
    values = ", ".join(
        f"CAST({side.value(f'c{n}', column.comparison)} AS VARCHAR) AS v{n}" for n, column in enumerate(table.columns)
    )
    pieces = ", ".join(f"strlen(v{n}), ':', v{n}" for n in range(count))
    return f"SELECT *, concat({pieces}) AS form FROM (SELECT *, {values} FROM {name})"


def compared(
    duck: DuckDB, ends: Ends, table: TablePlan, file: Path, changed_since: int, digest: str
) -> tuple[TableReport, list[str]]:
    """Pairs the rows of `rest`, and writes every differing cell to `file`, if there are any.

    Args:
        changed_since: rows that were set apart before.
        digest: of the source's rows.

    Returns:
        How the table differs; and what could not be shown or written, and why, as sentences without a full stop.
    """
    pair(duck, table)
    changed_cells, shown = _count_cells(duck, table)
    ((rows_source, rows_target),) = duck.execute(
        "SELECT (SELECT count(*) FROM source), (SELECT count(*) FROM target)"
    ).fetchall()
    ((missing, extra, changed),) = duck.execute(
        "SELECT count(*) FILTER (WHERE s IS NOT NULL AND t IS NULL), count(*) FILTER (WHERE s IS NULL), "
        "count(*) FILTER (WHERE s IS NOT NULL AND t IS NOT NULL) FROM pairs"
    ).fetchall()
    untold: list[str] = []
    cells: tuple[Cell, ...] = ()
    written: str | None = None
    copies = Copies()
    duck.execute("CREATE OR REPLACE TABLE copies (id BIGINT, side VARCHAR)")
    if missing or extra:
        with best_effort("whether rows are there more than once was not found out", untold.append):
            copies = _find_copies(duck, table)
    if shown:
        with best_effort("the differing cells cannot be shown", untold.append):
            cells = _show_cells(duck, ends, table, shown)
            with best_effort("the file of the differing cells could not be written", untold.append):
                written = _write_cells(duck, file)
    if not table.key:
        missing, extra, changed = missing + changed, extra + changed, 0
    found = TableReport(
        table.table.schema, table.table.name, "different", rows_source, rows_target, missing, extra, changed, changed_since,
        changed_cells=changed_cells, cells=cells, cells_file=written, digest=digest, fetched=rows_source + rows_target,
        copies=copies,
    )  # fmt: skip
    return found, untold


def pair(duck: DuckDB, table: TablePlan) -> None:
    """Creates `pairs` of ids of `rest` (s, t): rows that belong together, and the rest alone.

    Pairs all of whose cells lie within their tolerance are left out.
    """
    tolerant = any(column.tolerance is not None for column in table.columns)
    if table.key:
        names = [column.name for column in table.columns]
        _pair_by_key(duck, [names.index(name) for name in table.key])
    else:
        duck.execute("CREATE OR REPLACE TABLE pairs (s BIGINT, t BIGINT)")
        if tolerant:
            _pair_within_tolerance(duck, table)
        _pair_by_likeness(duck, table)
    if tolerant:
        duck.execute(
            f"CREATE OR REPLACE TABLE pairs AS SELECT pairs.* FROM {_JOINED} "
            f"WHERE NOT ({_IN_BOTH}) OR {' OR '.join(_differing(table))}"
        )


def digest_of_texts(duck: DuckDB, source: Side, table: TablePlan) -> str:
    """Sum of 64 bits of the MD5 of each row of `source`, modulo 2⁶⁴: independent of order, and duplicates count."""
    ((digest,),) = duck.execute(
        "SELECT printf('%016x', CAST(coalesce(sum(('0x' || substr(md5(form), 17))::UBIGINT::HUGEINT), 0) "
        f"& 18446744073709551615 AS UBIGINT)) FROM ({rows_of(source, table, 'source')})"
    ).fetchall()
    return str(digest)


def _pair_by_key(duck: DuckDB, key: list[int]) -> None:
    """Equal keys together; a key that occurs twice is paired in turn."""
    keys = ", ".join(f"v{n}" for n in key)
    order = f"row_number() OVER (PARTITION BY side, {keys} ORDER BY id) AS turn"
    same = " AND ".join(f"s.v{n} IS NOT DISTINCT FROM t.v{n}" for n in key)
    duck.execute(
        f"CREATE OR REPLACE TABLE pairs AS WITH turns AS (SELECT id, side, {keys}, {order} FROM rest) "
        f"SELECT s.id AS s, t.id AS t FROM (FROM turns WHERE side = 's') AS s FULL JOIN (FROM turns WHERE side = 't') AS t "
        f"ON s.turn = t.turn AND {same}"
    )


def _pair_within_tolerance(duck: DuckDB, table: TablePlan) -> None:
    """Of the rows that are equal where they have to be, those that are close enough where they need not be.

    In the order of the first such number each row takes the earliest partner that is still in reach, which for one number
    leaves the fewest rows alone.
    """
    loose = [n for n, column in enumerate(table.columns) if column.tolerance is not None]
    exact = [f"v{n}" for n in range(len(table.columns)) if n not in loose]
    group = f"dense_rank() OVER (ORDER BY {', '.join(exact)})" if exact else "1"
    values = ", ".join(f"v{n}" for n in loose)
    rows = duck.execute(
        f"SELECT {group}, side, id, {values} FROM rest ORDER BY 1, {', '.join(f'TRY_CAST(v{n} AS DOUBLE)' for n in loose)}"
    )
    waiting: dict[str, deque[tuple[int, tuple[str | None, ...]]]] = {"s": deque(), "t": deque()}
    now, pairs = None, []
    while found := rows.fetchmany(ROWS_PER_FETCH):
        for of_group, side, row, *numbers in found:
            if of_group != now:
                now = of_group
                waiting["s"].clear()
                waiting["t"].clear()
            others = waiting["t" if side == "s" else "s"]
            while others and _out_of_reach(others[0][1][0], numbers[0], table.columns[loose[0]]):
                others.popleft()
            partner = next(
                (
                    place
                    for place, (_, theirs) in enumerate(islice(others, PARTNERS_TRIED))
                    if all(_close(a, b, table.columns[n]) for a, b, n in zip(numbers, theirs, loose, strict=True))
                ),
                None,
            )
            if partner is None:
                waiting[side].append((row, tuple(numbers)))
            else:
                pairs.append((row, others[partner][0]) if side == "s" else (others[partner][0], row))
                del others[partner]
    ours, theirs = zip(*pairs, strict=True) if pairs else ((), ())
    duck.register("close", pa.table({"s": pa.array(ours, pa.int64()), "t": pa.array(theirs, pa.int64())}))
    duck.execute("INSERT INTO pairs SELECT s, t FROM close")
    duck.unregister("close")


def _close(one: str | None, other: str | None, column: ComparedColumn) -> bool:
    if one is None or other is None or one == other:
        return one == other
    assert column.tolerance is not None
    if column.comparison == "number":
        return texts.lies_within(one, other, repr(column.tolerance))
    try:
        return abs(float(one) - float(other)) <= column.tolerance
    except ValueError:
        return False


def _out_of_reach(earlier: str | None, now: str | None, column: ComparedColumn) -> bool:
    """Whether a number so far behind is beyond what rounding could bring back."""
    try:
        return float(now or "nan") - float(earlier or "nan") > 2 * (column.tolerance or 0)
    except ValueError:
        return False


def _pair_by_likeness(duck: DuckDB, table: TablePlan) -> None:
    """What is not paired yet: the likest rows first, if more than half of their cells are equal, then each alone."""
    duck.execute(
        "CREATE OR REPLACE TABLE alone AS FROM rest WHERE id NOT IN (SELECT s FROM pairs UNION ALL SELECT t FROM pairs)"
    )
    ((s_rows, t_rows),) = duck.execute(
        "SELECT count(*) FILTER (WHERE side = 's'), count(*) FILTER (WHERE side = 't') FROM alone"
    ).fetchall()
    if 0 < s_rows <= PAIRED_WITHOUT_KEY and 0 < t_rows <= PAIRED_WITHOUT_KEY:
        likeness = " + ".join(f"(NOT ({differs}))::INT" for differs in _differing(table))
        candidates = duck.execute(
            f"SELECT s.id, t.id FROM (FROM alone WHERE side = 's') AS s, (FROM alone WHERE side = 't') AS t "
            f"WHERE 2 * ({likeness}) > {len(table.columns)} ORDER BY {likeness} DESC, s.id, t.id"
        ).fetchall()
        taken_s: set[int] = set()
        taken_t: set[int] = set()
        for s, t in candidates:
            if s not in taken_s and t not in taken_t:
                taken_s.add(s)
                taken_t.add(t)
                duck.execute("INSERT INTO pairs VALUES (?, ?)", [s, t])
    duck.execute(
        "INSERT INTO pairs SELECT if(side = 's', id, NULL), if(side = 't', id, NULL) FROM alone "
        "WHERE id NOT IN (SELECT s FROM pairs WHERE s IS NOT NULL UNION ALL SELECT t FROM pairs WHERE t IS NOT NULL)"
    )


def _differing(table: TablePlan) -> list[str]:
    """For each column whether the rows s and t differ in it."""
    return [_differs(n, column) for n, column in enumerate(table.columns)]


def _differs(number: int, column: ComparedColumn) -> str:
    s, t = f"s.v{number}", f"t.v{number}"
    if column.tolerance is None:
        return f"{s} IS DISTINCT FROM {t}"
    if column.comparison == "number":
        close = f"lies_within({s}, {t}, '{column.tolerance!r}')"
    else:
        close = f"abs(TRY_CAST({s} AS DOUBLE) - TRY_CAST({t} AS DOUBLE)) <= {column.tolerance!r}::DOUBLE"
    return f"({s} IS DISTINCT FROM {t} AND NOT coalesce({close}, false))"


_JOINED = "pairs LEFT JOIN rest AS s ON pairs.s = s.id LEFT JOIN rest AS t ON pairs.t = t.id"
_IN_BOTH = "pairs.s IS NOT NULL AND pairs.t IS NOT NULL"
_SIDES = "CASE WHEN pairs.t IS NULL THEN 'source' WHEN pairs.s IS NULL THEN 'target' ELSE 'both' END"


def _count_cells(duck: DuckDB, table: TablePlan) -> tuple[dict[str, int], dict[int, str]]:
    """In how many rows of both sides each column differs, and for the columns with cells to show which rows have them."""
    names = [column.name for column in table.columns]
    differs = _differing(table)
    # A row that one side lacks differs in every cell that is not NULL there.
    alone = [f"s.v{n} IS DISTINCT FROM t.v{n}" for n in range(len(names))]
    shown = [f"if({_IN_BOTH}, {a}, {b})" for a, b in zip(differs, alone, strict=True)]
    counts = ", ".join(
        f"count(*) FILTER (WHERE {s}), count(*) FILTER (WHERE {_IN_BOTH} AND {d})"
        for s, d in zip(shown, differs, strict=True)
    )
    (found,) = duck.execute(f"SELECT {counts} FROM {_JOINED}").fetchall()
    where = {n: rows for n, rows in enumerate(shown) if found[2 * n]}
    return dict(zip(names, found[1::2], strict=True)), where


def _show_cells(duck: DuckDB, ends: Ends, table: TablePlan, shown: dict[int, str]) -> tuple[Cell, ...]:
    """Creates `cells`, and gives the first of them.

    Args:
        shown: for each column that has any, which rows of `pairs` have them.
    """
    names = [column.name for column in table.columns]
    duck.execute(
        "CREATE OR REPLACE TABLE cells (pair BIGINT, sides VARCHAR, key VARCHAR, number INT, column_name VARCHAR, "
        "source VARCHAR, target VARCHAR)"
    )
    ours = [ends.source.printed(f"s.c{n}", column) for n, column in enumerate(table.columns)]
    theirs = [ends.target.printed(f"t.c{n}", column) for n, column in enumerate(table.columns)]
    keys = ((name, names.index(name)) for name in table.key)
    fields = ", ".join(f"{literal(name)}, if(pairs.s IS NULL, {theirs[n]}, {ours[n]})" for name, n in keys)
    identity = f"CAST(json_object({fields}) AS VARCHAR)" if table.key else "CAST(NULL AS VARCHAR)"
    for n, rows in shown.items():
        duck.execute(
            f"INSERT INTO cells SELECT coalesce(pairs.s, pairs.t), {_SIDES}, {identity}, {n}, {literal(names[n])}, {ours[n]}, "
            f"{theirs[n]} FROM {_JOINED} WHERE {rows}"
        )
    return first_cells(duck)


def _write_cells(duck: DuckDB, file: Path) -> str:
    file.parent.mkdir(parents=True, exist_ok=True)
    duck.execute(
        f"COPY (SELECT key, column_name AS column, source, target FROM cells ORDER BY pair, number) TO {literal(str(file))} (FORMAT parquet)"
    )
    return str(file)


def _find_copies(duck: DuckDB, table: TablePlan) -> Copies:
    """Puts into `copies` the rows that one side lacks and the other has more than once: the same key, or without one the row."""
    names = [column.name for column in table.columns]
    same = [names.index(name) for name in table.key] or list(range(len(names)))
    row = f"hash({', '.join(f'c{n}' for n in same)})"
    for side, other, rows in (("s", "t", "source"), ("t", "s", "target")):
        alone = f"(SELECT id, {row} AS row FROM rest WHERE id IN (SELECT {side} FROM pairs WHERE {other} IS NULL))"
        duck.execute(
            f"INSERT INTO copies SELECT id, '{side}' FROM {alone} SEMI JOIN (SELECT {row} AS row FROM {rows} "
            f"WHERE {row} IN (SELECT row FROM {alone}) GROUP BY row HAVING count(*) > 1) USING (row)"
        )
    ((source, target),) = duck.execute(
        "SELECT count(*) FILTER (side = 's'), count(*) FILTER (side = 't') FROM copies"
    ).fetchall()
    return Copies(source, target)


def first_cells(duck: DuckDB) -> tuple[Cell, ...]:
    """The first of each kind of row in turn, so that thousands of changed cells do not hide the one row that is missing."""
    first = " UNION ALL ".join(
        f"(SELECT *, row_number() OVER (ORDER BY pair, number) AS turn FROM "
        f"(FROM cells WHERE sides = '{sides}' ORDER BY pair, number LIMIT {CELLS_IN_JSON}))"
        for sides in ("both", "source", "target")
    )
    rows = duck.execute(
        "SELECT key, column_name, source, target, pair, sides, pair IN (SELECT id FROM copies) FROM "
        f"(FROM ({first}) ORDER BY turn, pair, number LIMIT {CELLS_IN_JSON}) ORDER BY pair, number"
    ).fetchall()
    return tuple(Cell(json.loads(key) if key else None, *rest) for key, *rest in rows)
