"""Two tables of texts in DuckDB → every row and cell in which they differ.

First the rows are compared as a multiset: a row that occurs as often on both sides drops out, whatever the order,
with or without a key, duplicates and NULLs included. Only what is left over is then paired, by key where there is
one. For example, with key `id`:

    source (1, a) (2, b) (3, c)      target (1, a) (2, B) (4, d)
    left over: source (2, b) (3, c), target (2, B) (4, d)
    → changed (2: b ≠ B), missing (3), extra (4)
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from helpers.platforms.postgres import literal
from helpers.types import Comparison
from helpers.verify.report import CELLS_IN_JSON, Cell
from helpers.verify.sides import ComparedColumn, DuckDB, Side

PAIRED_WITHOUT_KEY = 200
"""Left-over rows of a table without a key that are paired by likeness, so that a changed cell is named as one; the
cost grows with the square."""


@dataclass(frozen=True)
class Compared:
    """How two tables differ; counts are rows."""

    rows_source: int
    rows_target: int
    missing: int
    extra: int
    changed: int
    changed_cells: dict[str, int]
    cells: tuple[Cell, ...]
    cells_file: Path | None
    digest: str


def compare(
    duck: DuckDB,
    source: Side,
    target: Side,
    columns: Sequence[ComparedColumn],
    key: Sequence[str],
    cells_file: Path,
) -> Compared:
    """Compares the DuckDB tables `source` and `target`, each with the text columns c0, c1 …

    Args:
        duck: the connection that holds both.
        source, target: the sides they came from; they say which value a text stands for.
        columns: what c0, c1 … are.
        key: names of the key's columns; empty where there is none.
        cells_file: where all differing cells are written, if there are any.
    """
    _left_over(duck, source, target, [column.comparison for column in columns])
    names = [column.name for column in columns]
    if key:
        _pair_by_key(duck, [names.index(name) for name in key])
    else:
        _pair_by_likeness(duck, len(names))
    changed_cells, any_cells = _write_cells(duck, target, columns, key, cells_file)
    ((rows_source, rows_target),) = duck.execute(
        "SELECT (SELECT count(*) FROM source), (SELECT count(*) FROM target)"
    ).fetchall()
    ((missing, extra, changed),) = duck.execute(
        "SELECT count(*) FILTER (WHERE s IS NOT NULL AND t IS NULL), count(*) FILTER (WHERE s IS NULL), "
        "count(*) FILTER (WHERE s IS NOT NULL AND t IS NOT NULL) FROM pairs"
    ).fetchall()
    if not key:
        missing, extra, changed = missing + changed, extra + changed, 0
    return Compared(
        rows_source, rows_target, missing, extra, changed, changed_cells,
        _first_cells(duck), cells_file if any_cells else None,
        _digest(duck, source, [column.comparison for column in columns]),
    )  # fmt: skip


def _form(side: Side, comparisons: list[Comparison], more: str = "") -> str:
    """A query of the side's table with its texts and values and the row's form.

    The form is injective: each value is preceded by its length and a colon, and NULL is a colon without a length.
    """
    values = ", ".join(f"CAST({side.value(f'c{n}', c)} AS VARCHAR) AS v{n}" for n, c in enumerate(comparisons))
    pieces = ", ".join(f"length(v{n}), ':', v{n}" for n in range(len(comparisons)))
    return f"SELECT {more}*, concat({pieces}) AS form FROM (SELECT *, {values} FROM {{table}})"


def _digest(duck: DuckDB, side: Side, comparisons: list[Comparison]) -> str:
    """Sum of 64 bits of each source row's MD5, modulo 2⁶⁴: independent of order, and duplicates count."""
    rows = _form(side, comparisons).format(table="source")
    ((digest,),) = duck.execute(
        f"SELECT printf('%016x', CAST(coalesce(sum(('0x' || substr(md5(form), 17))::UBIGINT::HUGEINT), 0) "
        f"& 18446744073709551615 AS UBIGINT)) FROM ({rows})"
    ).fetchall()
    return str(digest)


def _left_over(duck: DuckDB, source: Side, target: Side, comparisons: list[Comparison]) -> None:
    """Creates `rest`: a row for each occurrence that the other side lacks, texts c0 …, values v0 …, `side` and `id`."""
    rows_s = _form(source, comparisons).format(table="source")
    rows_t = _form(target, comparisons).format(table="target")
    duck.execute(
        "CREATE OR REPLACE TABLE balances AS SELECT form, sum(weight)::BIGINT AS balance FROM "
        f"(SELECT form, 1 AS weight FROM ({rows_s}) UNION ALL SELECT form, -1 FROM ({rows_t})) "
        "GROUP BY form HAVING sum(weight) <> 0"
    )
    columns = ", ".join([f"c{n}" for n in range(len(comparisons))] + [f"v{n}" for n in range(len(comparisons))])
    halves = " UNION ALL ".join(
        f"SELECT {side} AS side, {columns} FROM (SELECT r.*, b.balance, row_number() OVER (PARTITION BY r.form) AS copy "
        f"FROM ({rows}) AS r JOIN balances AS b USING (form)) WHERE copy <= {sign} * balance"
        for side, rows, sign in (("'s'", rows_s, 1), ("'t'", rows_t, -1))
    )
    duck.execute(f"CREATE OR REPLACE TABLE rest AS SELECT *, row_number() OVER () AS id FROM ({halves})")


def _pair_by_key(duck: DuckDB, key: list[int]) -> None:
    """Creates `pairs` of ids (s, t): equal keys together, the rest alone; a key that occurs twice is paired in turn."""
    keys = ", ".join(f"v{n}" for n in key)
    order = f"row_number() OVER (PARTITION BY side, {keys} ORDER BY id) AS turn"
    same = " AND ".join(f"s.v{n} IS NOT DISTINCT FROM t.v{n}" for n in key)
    duck.execute(
        f"CREATE OR REPLACE TABLE pairs AS WITH turns AS (SELECT id, side, {keys}, {order} FROM rest) "
        f"SELECT s.id AS s, t.id AS t FROM (FROM turns WHERE side = 's') AS s FULL JOIN (FROM turns WHERE side = 't') AS t "
        f"ON s.turn = t.turn AND {same}"
    )


def _pair_by_likeness(duck: DuckDB, columns: int) -> None:
    """Creates `pairs` for a table without a key: the likest rows first, if more than half of their cells are equal."""
    duck.execute("CREATE OR REPLACE TABLE pairs (s BIGINT, t BIGINT)")
    ((s_rows, t_rows),) = duck.execute(
        "SELECT count(*) FILTER (WHERE side = 's'), count(*) FILTER (WHERE side = 't') FROM rest"
    ).fetchall()
    if 0 < s_rows <= PAIRED_WITHOUT_KEY and 0 < t_rows <= PAIRED_WITHOUT_KEY:
        likeness = " + ".join(f"(s.v{n} IS NOT DISTINCT FROM t.v{n})::INT" for n in range(columns))
        candidates = duck.execute(
            f"SELECT s.id, t.id FROM (FROM rest WHERE side = 's') AS s, (FROM rest WHERE side = 't') AS t "
            f"WHERE 2 * ({likeness}) > {columns} ORDER BY {likeness} DESC, s.id, t.id"
        ).fetchall()
        taken_s: set[int] = set()
        taken_t: set[int] = set()
        for s, t in candidates:
            if s not in taken_s and t not in taken_t:
                taken_s.add(s)
                taken_t.add(t)
                duck.execute("INSERT INTO pairs VALUES (?, ?)", [s, t])
    duck.execute(
        "INSERT INTO pairs SELECT if(side = 's', id, NULL), if(side = 't', id, NULL) FROM rest "
        "WHERE id NOT IN (SELECT s FROM pairs UNION ALL SELECT t FROM pairs)"
    )


def _write_cells(
    duck: DuckDB, target: Side, columns: Sequence[ComparedColumn], key: Sequence[str], file: Path
) -> tuple[dict[str, int], bool]:
    """Creates `cells`, writes it to `file` unless it is empty, and counts the changed cells of each column."""
    names = [column.name for column in columns]
    duck.execute(
        "CREATE OR REPLACE TABLE cells (pair BIGINT, key VARCHAR, number INT, column_name VARCHAR, source VARCHAR, target VARCHAR)"
    )
    joined = "pairs LEFT JOIN rest AS s ON pairs.s = s.id LEFT JOIN rest AS t ON pairs.t = t.id"
    differs = [f"s.v{n} IS DISTINCT FROM t.v{n}" for n in range(len(names))]
    in_both = "pairs.s IS NOT NULL AND pairs.t IS NOT NULL"
    counts = ", ".join(f"count(*) FILTER (WHERE {d}), count(*) FILTER (WHERE {in_both} AND {d})" for d in differs)
    (found,) = duck.execute(f"SELECT {counts} FROM {joined}").fetchall()
    changed = dict(zip(names, found[1::2], strict=True))
    if not any(found):
        return changed, False
    fields = ", ".join(f"{literal(name)}, coalesce(s.c{names.index(name)}, t.c{names.index(name)})" for name in key)
    identity = f"CAST(json_object({fields}) AS VARCHAR)" if key else "CAST(NULL AS VARCHAR)"
    for n, column in enumerate(columns):
        if found[2 * n]:
            duck.execute(
                f"INSERT INTO cells SELECT coalesce(pairs.s, pairs.t), {identity}, {n}, {literal(column.name)}, s.c{n}, "
                f"{target.printed(f't.c{n}', column)} FROM {joined} WHERE {differs[n]}"
            )
    file.parent.mkdir(parents=True, exist_ok=True)
    duck.execute(
        f"COPY (SELECT key, column_name AS column, source, target FROM cells ORDER BY pair, number) TO {literal(str(file))} (FORMAT parquet)"
    )
    return changed, True


def _first_cells(duck: DuckDB) -> tuple[Cell, ...]:
    rows = duck.execute(
        f"SELECT key, column_name, source, target FROM cells ORDER BY pair, number LIMIT {CELLS_IN_JSON}"
    ).fetchall()
    return tuple(Cell(json.loads(key) if key else None, column, source, target) for key, column, source, target in rows)
