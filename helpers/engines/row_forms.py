"""A table's columns as each engine's canonical form takes them, in the order of the plan."""

from __future__ import annotations

from collections.abc import Sequence

from helpers import digests
from helpers.digests.canonical import FormColumn, kind_of
from helpers.engines.columns import ComparedColumn
from helpers.engines.snowflake import dialect as canonical_snowflake
from helpers.platforms import snowflake, spark
from helpers.platforms.postgres import identifier


def in_postgres(columns: Sequence[ComparedColumn], *, is_target: bool = False) -> list[FormColumn]:
    """As PostgreSQL reads them for the export; decimals arrive as the text of their digits.

    Args:
        is_target: whether the target's names of columns apply.
    """
    forms = []
    for column in columns:
        name = column.there if is_target else column.staged.source
        forms.append(FormColumn(f"({column.staged.read.format(c=identifier(name))})", *kind_of(column.staged.parquet)))
    return forms


def staged(columns: Sequence[ComparedColumn]) -> list[FormColumn]:
    """As DuckDB reads the staged files."""
    return [digests.form_column(column.staged) for column in columns]


def in_snowflake(columns: Sequence[ComparedColumn]) -> list[FormColumn]:
    """Of columns that have the types that a load gives them."""
    forms = []
    for column in columns:
        quoted = snowflake.identifier(column.there)
        if column.type.startswith("TIME("):
            forms.append(FormColumn(canonical_snowflake.TIME_OF_DAY.format(c=quoted), "text"))
        else:
            forms.append(FormColumn(quoted, *kind_of(column.staged.parquet)))
    return forms


def in_spark(columns: Sequence[ComparedColumn]) -> list[FormColumn]:
    """Of columns that have the types that a load gives them."""
    return [FormColumn(spark.identifier(column.there), *kind_of(column.staged.parquet)) for column in columns]


def of_key(forms: Sequence[FormColumn], columns: Sequence[ComparedColumn], key: Sequence[str]) -> list[FormColumn]:
    """Those of `forms`, one for each of `columns`, that are the key's, in the key's order."""
    by_name = {column.name: form for column, form in zip(columns, forms, strict=True)}
    return [by_name[name] for name in key]
