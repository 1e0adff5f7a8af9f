"""Changes that the source saw after the export's snapshot, told from errors of the migration.

A row of the target that differs from the live source is no error where it is what was staged: the source moved on. Where
it is not, it is an error whatever the source did since, and is shown against what was staged, so that a later change of
the source is not mistaken for it. For example, with key `id`:

    live (1, b) (3, c)     staged (1, a) (2, x) (4, d)     target (1, a) (2, x) (4, D)
    → changed since: 1 (updated), 2 (deleted), 3 (inserted)      changed: 4 (d ≠ D)

A row that is neither in the live source nor in the target any more is no difference, whatever was staged.
"""

from __future__ import annotations

from helpers.engines.base import DuckDB, Ends, Side
from helpers.engines.columns import TablePlan
from helpers.verify import cells


def set_apart(duck: DuckDB, ends: Ends, table: TablePlan) -> int:
    """Leaves in `rest` only what is an error against the staged rows; the number of rows set apart.

    Without a key, an updated row counts twice: as one that is gone and as one that came.

    Args:
        duck: holds `source`, `target` and `staged` as the sides have fetched them, and `rest` as `cells.leave_over` has
            made it.
    """
    assert ends.stage is not None
    identity = _identity(table)
    cells.pair(duck, table)
    # What differs between live source and target, and in how many rows.
    duck.execute(f"CREATE OR REPLACE TABLE open AS {_rows_apart(table, identity)}")
    same = " AND ".join(f"r.{name} IS NOT DISTINCT FROM open.{name}" for name in identity)
    for name, rows in (
        ("staged_rows", _as_the_source_prints(ends, ends.stage, table)),
        ("target_rows", cells.rows_of(ends.target, table, "target")),
    ):
        duck.execute(f"CREATE OR REPLACE TABLE {name} AS SELECT r.* FROM ({rows}) AS r SEMI JOIN open ON {same}")
    cells.balance(duck, "staged_rows", "target_rows", table)
    cells.pair(duck, table)
    ((count,),) = duck.execute(
        "SELECT coalesce(sum(greatest(open.n - coalesce(r.n, 0), 0)), 0)::BIGINT "
        f"FROM open LEFT JOIN ({_rows_apart(table, identity)}) AS r ON {same}"
    ).fetchall()
    return int(count)


def _identity(table: TablePlan) -> list[str]:
    """The values by which a live row, a staged one and one of the target are the same: the key, or all that must be equal."""
    number = {column.name: n for n, column in enumerate(table.columns)}
    if table.key:
        return [f"v{number[name]}" for name in table.key]
    exact = [f"v{n}" for n, column in enumerate(table.columns) if column.tolerance is None]
    return exact if len(exact) < len(number) and exact else ["form"]


def _rows_apart(table: TablePlan, identity: list[str]) -> str:
    """For each identity how many rows of `pairs` there are, a pair by key being one."""
    names = ", ".join(identity)
    both = "SELECT s AS id FROM pairs WHERE s IS NOT NULL UNION ALL SELECT t FROM pairs WHERE t IS NOT NULL"
    rows = "SELECT coalesce(s, t) AS id FROM pairs" if table.key else both
    return f"SELECT {names}, count(*) AS n FROM ({rows}) JOIN rest USING (id) GROUP BY {names}"


def _as_the_source_prints(ends: Ends, stage: Side, table: TablePlan) -> str:
    """The staged rows, those that the live source still has with its own texts."""
    count = len(table.columns)
    live = f"SELECT DISTINCT ON (form) form, {', '.join(f'c{n}' for n in range(count))} FROM ({cells.rows_of(ends.source, table, 'source')})"
    shown = ", ".join(
        f"if(l.form IS NULL, {stage.printed(f's.c{n}', column)}, l.c{n}) AS c{n}"
        for n, column in enumerate(table.columns)
    )
    values = ", ".join(f"s.v{n}" for n in range(count))
    return f"SELECT {shown}, {values}, s.form FROM ({cells.rows_of(stage, table, 'staged')}) s LEFT JOIN ({live}) l USING (form)"
