"""Changes that the source saw after the export's snapshot, told from errors of the migration.

A row of the target that differs from the live source is no error where it is what was staged: the source moved on. Where
it is not, it is an error whatever the source did since, and is shown against what was staged, so that a later change of
the source is not mistaken for it. For example, with key `id`:

    live (1, b) (3, c)     staged (1, a) (2, x) (4, d)     target (1, a) (2, x) (4, D)
    → changed since: 1 (updated), 2 (deleted), 3 (inserted)      changed: 4 (d ≠ D)
"""

from __future__ import annotations

from helpers.verify import cells
from helpers.verify.columns import TablePlan
from helpers.verify.sides import DuckDB, Ends, Side


def set_apart(duck: DuckDB, ends: Ends, table: TablePlan) -> int:
    """Leaves in `rest` only what is an error against the staged rows; the number of rows set apart.

    Args:
        duck: holds `source`, `target` and `staged` as the sides have fetched them, and `rest` as `cells.leave_over` has
            made it.
    """
    assert ends.stage is not None
    duck.execute(f"CREATE OR REPLACE TABLE staged_rows AS {_as_the_source_prints(ends, ends.stage, table)}")
    duck.execute(f"CREATE OR REPLACE TABLE target_rows AS {cells.rows_of(ends.target, table, 'target')}")
    return _with_key(duck, table) if table.key else _without_key(duck, table)


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


def _with_key(duck: DuckDB, table: TablePlan) -> int:
    number = {column.name: n for n, column in enumerate(table.columns)}
    keys = [f"v{number[name]}" for name in table.key]
    listed = ", ".join(keys)
    # The keys of which a side has a row that the other lacks.
    duck.execute(f"CREATE OR REPLACE TABLE open_keys AS SELECT DISTINCT {listed} FROM rest")
    matched = " AND ".join(f"r.{key} IS NOT DISTINCT FROM k.{key}" for key in keys)
    for name in ("staged_rows", "target_rows"):
        duck.execute(f"CREATE OR REPLACE TABLE {name} AS SELECT r.* FROM {name} r SEMI JOIN open_keys k ON {matched}")
    before = _rows_apart(duck, keys)
    cells.balance(duck, "staged_rows", "target_rows", table)
    errors = _rows_apart(duck, keys)
    return max(0, before - errors)


def _rows_apart(duck: DuckDB, keys: list[str]) -> int:
    """Rows of `rest`, one for each key and turn on either side."""
    ((count,),) = duck.execute(
        f"SELECT coalesce(sum(n), 0)::BIGINT FROM (SELECT greatest(count(*) FILTER (WHERE side = 's'), "
        f"count(*) FILTER (WHERE side = 't')) AS n FROM rest GROUP BY {', '.join(keys)})"
    ).fetchall()
    return int(count)


def _without_key(duck: DuckDB, table: TablePlan) -> int:
    ((before,),) = duck.execute("SELECT count(*) FROM rest").fetchall()
    duck.execute("CREATE OR REPLACE TABLE open_forms AS SELECT DISTINCT form FROM rest")
    for name in ("staged_rows", "target_rows"):
        duck.execute(f"CREATE OR REPLACE TABLE {name} AS SELECT r.* FROM {name} r SEMI JOIN open_forms f USING (form)")
    cells.balance(duck, "staged_rows", "target_rows", table)
    ((errors,),) = duck.execute("SELECT count(*) FROM rest").fetchall()
    return max(0, int(before) - int(errors))
