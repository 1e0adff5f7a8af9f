"""Counts the values that would change on their way, before anything moves."""

from __future__ import annotations

from collections.abc import Mapping as MappingType
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

from helpers import types
from helpers.catalog import Column, Table
from helpers.platforms.postgres import identifier
from helpers.types import Mapping

Verdict = Literal["exact", "re-encoded", "refused"]


@dataclass(frozen=True)
class ColumnCensus:
    """What one column holds, and how it will travel.

    Attributes:
        refusals: reason → how many values it concerns; empty unless the verdict is "refused".
        touched: values that a policy of migration.toml made travel in another way.
    """

    column: Column
    verdict: Verdict
    mapping: Mapping
    refusals: dict[str, int] = field(default_factory=dict)
    policy: str | None = None
    touched: int = 0


@dataclass(frozen=True)
class TableCensus:
    """Every row of one table, counted once."""

    table: Table
    rows: int
    columns: tuple[ColumnCensus, ...]
    refusals: tuple[str, ...] = ()
    """Why the table as a whole cannot be moved."""

    @property
    def refused(self) -> tuple[str, ...]:
        """One sentence for each thing that stands in the way."""
        columns = (
            f"{self.table}.{c.column.name} ({c.column.type.sql}): {count:,} × {reason}"
            for c in self.columns
            for reason, count in c.refusals.items()
        )
        return (*self.refusals, *columns)


def take_census(cursor: Any, table: Table, policies: MappingType[str, str]) -> TableCensus:
    """Scans `table` once, in the cursor's snapshot.

    Args:
        cursor: a psycopg2 cursor.
        table: from the catalog of the same snapshot.
        policies: "schema.table.column" or a type's name → policy, from `migration.toml`.
    """
    refusals = tuple(f"{table}: the partition {h.schema}.{h.name} is a foreign table" for h in table.heaps if h.foreign)
    if not table.columns:
        refusals += (f"{table}: it has no columns, and no target can hold rows without any",)
    questions = [_questions(column) for column in table.columns]
    asked = [
        sql.format(c=identifier(column.name))
        for column, q in zip(table.columns, questions, strict=True)
        for sql in q.values()
    ]
    only = "" if table.partitioned else "ONLY "
    cursor.execute(f"SELECT {', '.join(['count(*)', *asked])} FROM {only}{identifier(table.schema, table.name)}")
    rows, *answers = cursor.fetchone()
    found = iter(answers)
    counted = [{name: next(found) for name in q} for q in questions]
    columns = tuple(
        _judge(column, answer, rows, _policy(table, column, policies))
        for column, answer in zip(table.columns, counted, strict=True)
    )
    return TableCensus(table, rows, columns, refusals)


def _policy(table: Table, column: Column, policies: MappingType[str, str]) -> str | None:
    return policies.get(f"{table}.{column.name}") or policies.get(column.type.name)


_NOT_FINITE = "{c}::text IN ('NaN', 'Infinity', '-Infinity')"
_SCALE, _LARGEST, _LONGEST = "scale", "largest", "longest"


def _questions(column: Column) -> dict[str, str]:
    """Aggregates to ask of a column, by the name of what they answer."""
    kind = column.type
    match kind.name:
        case "numeric":
            finite = f"FILTER (WHERE NOT {_NOT_FINITE})"
            measure = {_SCALE: f"max(scale(trim_scale({{c}}))) {finite}", _LARGEST: f"max(abs({{c}})) {finite}"}
            return {
                "NaN or infinity, which no decimal type holds": f"count(*) FILTER (WHERE {_NOT_FINITE})",
                **({} if types.fits_declared(kind) else measure),
            }
        case "date" | "timestamp" | "timestamptz":
            outside = "{c} < '0001-01-01' OR {c} >= '10000-01-01'"
            return {
                "infinite, before year 1 or after year 9999, which Snowflake does not hold": f"count(*) FILTER (WHERE {outside})"
            }
        case "time":
            return {"24:00, which Snowflake's TIME does not hold": "count(*) FILTER (WHERE {c} = '24:00')"}
        case "bytea":
            return {_LONGEST: "max(octet_length({c}))"}
        case "bool" | "int2" | "int4" | "int8" | "oid" | "float4" | "float8" | "uuid":
            return {}
        case "text" | "varchar":
            return {_LONGEST: "max(octet_length({c}))"}
        case _:
            return {_LONGEST: "max(octet_length({c}::text))"}


def _judge(column: Column, answer: dict[str, Any], rows: int, policy: str | None) -> ColumnCensus:
    counts = {name: count for name, count in answer.items() if name not in (_SCALE, _LARGEST, _LONGEST) and count}
    scale = _scale(answer) if _SCALE in answer else 0
    if scale is None:
        counts[f"more than {types.DECIMAL_DIGITS} digits, which NUMBER does not hold"] = rows
        scale = 0
    limit = types.BINARY_BYTES if column.type.name == "bytea" else types.TEXT_BYTES
    if (answer.get(_LONGEST) or 0) > limit:
        counts[f"longer than the target's {limit:,} bytes"] = 1
    elif policy == "text":
        return ColumnCensus(column, "re-encoded", types.as_text(), policy=policy, touched=sum(counts.values()))
    if not types.known(column.type):
        why = (
            f'a type without a mapping (policies."{column.type.name}" = "text" lets it through as PostgreSQL prints it)'
        )
        return ColumnCensus(column, "refused", types.as_text(), {why: rows})
    mapping = types.mapping(column, scale=scale)
    verdict: Verdict = "refused" if counts else "re-encoded" if mapping.note else "exact"
    return ColumnCensus(column, verdict, mapping, counts)


def _scale(answer: dict[str, Any]) -> int | None:
    """Digits after the point for a numeric without a usable limit, or None where the values need too many."""
    needed = answer[_SCALE] or 0
    largest = answer[_LARGEST] or Decimal(0)
    whole = len(str(int(largest))) if largest >= 1 else 0
    if whole + needed > types.DECIMAL_DIGITS:
        return None
    return int(max(needed, min(types.SPARE_SCALE, types.DECIMAL_DIGITS - whole)))
