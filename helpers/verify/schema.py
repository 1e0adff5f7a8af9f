"""A table's definition in the target against what the source's asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from helpers.verify.columns import SideColumn
from helpers.verify.report import SchemaFinding


def compare_schema(
    expected: Sequence[SideColumn], found: Sequence[SideColumn] | None, mapping: dict[str, str]
) -> tuple[SchemaFinding, ...]:
    """Findings in the order of the expected columns, then of the added ones.

    Args:
        expected: the columns that an export and load of the source as it is now would make.
        found: what the target has, or None where the table is absent.
    """
    if found is None:
        return (SchemaFinding("table-missing", "error", None, f"{len(expected)} columns", None),)
    by_name = {column.name: column for column in found}
    names = {column.name for column in expected}
    findings = [_compare(column, by_name.get(column.name)) for column in expected]
    added = [SchemaFinding("column-added", "error", c.name, None, c.type) for c in found if c.name not in names]
    common = [column.name for column in expected if column.name in by_name]
    order = [column.name for column in found if column.name in names]
    moved = [SchemaFinding("columns-reordered", "warning", None, ", ".join(common), ", ".join(order))]
    return (*(f for f in findings if f), *added, *(moved if common != order else ()))


def _compare(expected: SideColumn, found: SideColumn | None) -> SchemaFinding | None:
    if found is None:
        return SchemaFinding("column-missing", "error", expected.name, expected.type, None)
    if found.type != expected.type:
        return SchemaFinding("type-changed", "error", expected.name, expected.type, found.type)
    if found.not_null != expected.not_null:
        words = {True: "NOT NULL", False: "nullable"}
        severity: Literal["error", "warning"] = "error" if expected.not_null else "warning"
        return SchemaFinding(
            "nullability-changed", severity, expected.name, words[expected.not_null], words[found.not_null]
        )
    return None
