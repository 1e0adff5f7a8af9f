"""A Snowflake schema, read through the genuine connector; digests are computed in its warehouse."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from helpers.digests import ENGINES, Method, Sums, gathered
from helpers.engines import row_forms, texts
from helpers.engines.base import DuckDB, both, in_segments, key_of
from helpers.engines.columns import ComparedColumn, Segments, TablePlan
from helpers.engines.postgres.rows import insert
from helpers.engines.shapes import TableShape
from helpers.engines.snowflake import dialect as canonical_snowflake
from helpers.engines.snowflake.catalog import TABLE, read_names, read_tables
from helpers.model.types import Comparison
from helpers.platforms import snowflake

DIALECT = canonical_snowflake.DIALECT

SEGMENTS_PER_QUERY = 10_000
"""Snowflake takes at most 16,384 expressions in an IN list
(https://docs.snowflake.com/en/sql-reference/functions/in, November 2026)."""

MOST_QUERIES = 10
"""With more segments than these, the whole table is fetched."""

_RENDER = {
    "BINARY": "HEX_ENCODE({c})",
    "DATE": "TO_VARCHAR({c}, 'YYYY-MM-DD')",
    "TIME": "TO_VARCHAR({c}, 'HH24:MI:SS.FF9')",
    "TIMESTAMP_NTZ": "TO_VARCHAR({c}, 'YYYY-MM-DD HH24:MI:SS.FF9')",
    "TIMESTAMP_LTZ": "TO_VARCHAR({c}, 'YYYY-MM-DD HH24:MI:SS.FF9')",
    "TIMESTAMP_TZ": "TO_VARCHAR(CONVERT_TIMEZONE('UTC', {c}), 'YYYY-MM-DD HH24:MI:SS.FF9')",
    "FLOAT": "{c}",
    "VARCHAR": "{c}",
}
"""Per Snowflake type: text that does not depend on the session, with every digit; floats travel as they are, since
Snowflake's own text of a FLOAT is rounded."""

_SHORTEN_FRACTION = "regexp_replace(regexp_replace({c}, '(\\.\\d*?)0+$', '\\1'), '\\.$', '')"


class SnowflakeSide:
    """A Snowflake schema.

    Args:
        session: in UTC.
        database: which has the schema.
        schema: where the tables are.
        names: of the tables that are compared; nothing else that lies there is looked at.
    """

    name = "snowflake"
    digested = "in Snowflake's warehouse"
    methods: tuple[Method, ...] = ("canonical",)

    def __init__(self, session: snowflake.Session, database: str, schema: str, names: Collection[str]) -> None:
        self._session = session
        self._database = database
        self._schema = schema
        self._present = read_names(session, database, schema)
        self._shapes = read_tables(session, database, schema, names, self._present)

    def tables(self) -> dict[str, str]:
        return {name: self._schema for name, found in self._present.items() if found.kind == TABLE}

    def shape(self, plan: TablePlan) -> TableShape | None:
        return self._shapes.get(plan.there)

    def rows(self, schema: str, name: str) -> int:
        return self._count(snowflake.identifier(self._database, schema, name))

    def count(self, plan: TablePlan) -> int:
        where = plan.where(self.name)
        return self._count(f"{self._from(plan)}{f' WHERE {where}' if where else ''}")

    def _count(self, rows: str) -> int:
        (row,) = self._session.execute(f"SELECT COUNT(*) AS N FROM {rows}", doing="count rows")
        return int(row["N"])

    def digest(self, plan: TablePlan, method: Method, segments: int) -> Sums:
        of = row_forms.in_snowflake(plan.columns)
        sql = DIALECT.digest_query(of, key_of(of, plan), segments, self._from(plan), plan.where(self.name))
        batches = self._session.batches(sql, doing=f"sum up {plan.there}")
        return gathered(
            ENGINES["canonical"], segments, (batch.rename_columns(["segment", "n", "total"]) for batch in batches)
        )

    def choosable(self, plan: TablePlan) -> int:
        return MOST_QUERIES * SEGMENTS_PER_QUERY

    def fetch(self, into: DuckDB, name: str, plan: TablePlan, chosen: Segments | None) -> None:
        found = {column.name: column.type.partition("(")[0] for column in self._shapes[plan.there].columns}
        types = [found[column.there] for column in plan.columns]
        rendered = ", ".join(
            f"{_RENDER.get(kind, 'TO_VARCHAR({c})').format(c=snowflake.identifier(column.there))} AS C{n}"
            for n, (column, kind) in enumerate(zip(plan.columns, types, strict=True))
        )
        into.execute(f"CREATE OR REPLACE TABLE {name} ({', '.join(f'c{n} VARCHAR' for n in range(len(plan.columns)))})")
        printed = ", ".join(_as_postgres_prints(f"C{n}", kind) for n, kind in enumerate(types))
        for condition in self._conditions(plan, chosen):
            sql = f"SELECT {rendered} FROM {self._from(plan)}{f' WHERE {condition}' if condition else ''}"
            for batch in self._session.batches(sql, doing=f"read {plan.there}"):
                insert(into, name, batch, printed)

    def _conditions(self, plan: TablePlan, chosen: Segments | None) -> Iterator[str]:
        where = plan.where(self.name)
        if chosen is None:
            yield where
            return
        of = row_forms.in_snowflake(plan.columns)
        for start in range(0, len(chosen.numbers), SEGMENTS_PER_QUERY):
            some = Segments(chosen.count, chosen.numbers[start : start + SEGMENTS_PER_QUERY])
            yield both([where, in_segments(DIALECT, of, key_of(of, plan), some)])

    def value(self, text: str, comparison: Comparison) -> str:
        # Snowflake has no single-precision type: a real arrives as the double of the same value.
        return texts.value(text, "float8" if comparison == "float4" else comparison)

    def printed(self, text: str, column: ComparedColumn) -> str:
        return texts.printed(text, column)

    def _from(self, plan: TablePlan) -> str:
        return snowflake.identifier(self._database, self._schema, plan.there)


def _as_postgres_prints(column: str, snowflake_type: str) -> str:
    match snowflake_type:
        case "FLOAT":
            return texts.of_float(column)
        case "BINARY":
            return f"'\\x' || lower({column})"
        case "TIME" | "TIMESTAMP_NTZ":
            return _SHORTEN_FRACTION.format(c=column)
        case "TIMESTAMP_LTZ" | "TIMESTAMP_TZ":
            return _SHORTEN_FRACTION.format(c=column) + " || '+00'"
        case "NUMBER":
            return texts.with_leading_zero(column)
        case _:
            return f"CAST({column} AS VARCHAR)"
