"""Builds what the comparison of cells leaves for the diagnosis: the tables `rest` and `pairs`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

import duckdb
import pyarrow as pa

from helpers.engines.base import ComparedColumn
from helpers.engines.texts import value
from helpers.model.manifest import StagedColumn
from helpers.model.types import Comparison
from helpers.verify.diagnosis import Diagnosis, diagnose

Value = str | None
Row = Sequence[Value]


def comparison(postgres: str) -> Comparison:
    """How the table of types compares values of this type."""
    name = postgres.split("(")[0]
    special: dict[str, Comparison] = {"real": "float4", "double precision": "float8"}
    return special.get(name, "number" if name in ("smallint", "integer", "bigint", "numeric") else "text")


def differ(kind: str, source: Value, target: Value) -> bool:
    """Whether the comparison would call them different: numbers by value, all else by text."""
    if source is None or target is None or comparison(kind) == "text":
        return source != target
    return Decimal(source) != Decimal(target)


def left_over(
    duck: duckdb.DuckDBPyConnection, types: Mapping[str, str], source: Sequence[Row], target: Sequence[Row]
) -> list[ComparedColumn]:
    """Creates `rest` and `pairs` for rows that are pairs by their position; `types` are PostgreSQL's, by column."""
    columns = [
        ComparedColumn(name, "", False, comparison(kind), "", kind, StagedColumn.model_construct(name=name), name)
        for name, kind in types.items()
    ]
    rows = [*source, *target]
    texts = {f"c{n}": pa.array([row[n] for row in rows], pa.string()) for n in range(len(columns))}
    sides = {"side": ["s"] * len(source) + ["t"] * len(target), "id": list(range(1, len(rows) + 1))}
    values = ", ".join(f"CAST({_value(n, column.comparison)} AS VARCHAR) AS v{n}" for n, column in enumerate(columns))
    given = pa.table({**sides, **texts})
    duck.register("given", given)
    duck.execute(f"CREATE OR REPLACE TABLE rest AS SELECT *, {values} FROM given")
    duck.execute(
        f"CREATE OR REPLACE TABLE pairs AS SELECT id AS s, id + {len(source)} AS t FROM given WHERE id <= {len(source)}"
    )
    duck.unregister("given")
    return columns


def _value(n: int, kind: Comparison) -> str:
    """As PostgreSQL's side has it, and Snowflake's, where a real is a double."""
    target = value(f"c{n}", "float8" if kind == "float4" else kind)
    return f"CASE WHEN side = 's' THEN {value(f'c{n}', kind)} ELSE {target} END"


def diagnosed(
    duck: duckdb.DuckDBPyConnection, kind: str, pairs: Sequence[tuple[Value, Value]], *, rows: int | None = None
) -> tuple[Diagnosis, ...]:
    """The diagnoses of one column, "value", in a table with the key "id"."""
    source = [(str(n), s) for n, (s, _) in enumerate(pairs)]
    target = [(str(n), t) for n, (_, t) in enumerate(pairs)]
    columns = left_over(duck, {"id": "bigint", "value": kind}, source, target)
    found, failed = diagnose(duck, columns, key=("id",), rows=rows)
    assert failed == {}
    return found.get("value", ())
