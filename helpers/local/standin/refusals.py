"""The value for which a COPY failed, as its error names it (https://docs.snowflake.com/en/sql-reference/sql/copy-into-table)."""

from __future__ import annotations

import re
from typing import Any

import duckdb
import pyarrow as pa
from snowflake.connector.errors import ProgrammingError

from helpers.local.standin.errors import translated_error
from helpers.local.standin.names import first, identifier
from helpers.local.standin.parquet_columns import storage, stored
from helpers.local.standin.session import Session

ADVICE = (
    "If you would like to continue loading when an error is encountered, use other values such as 'SKIP_FILE' or 'CONTINUE' for the "
    "ON_ERROR option. For more information on loading options, please run 'info loading_data' in a SQL client."
)
_TOO_LONG = re.compile(
    r"CHECK constraint failed on table .* with expression CHECK\(\(?((?:octet_)?length)\((.+?)\) <= (\d+)"
)
_NULL = re.compile(r"NOT NULL constraint failed: (?:.*\.)?(.+)")


def located(
    session: Session, parquet: Any, file: str, table: str, chosen: list[tuple[str, str]], error: duckdb.Error
) -> ProgrammingError:
    """The service's error with the file, the row and the column below it; without them where no single value is at fault.

    Args:
        session: of the COPY, whose transaction is broken.
        parquet: the file, open.
        file: its key.
        table: the target's name.
        chosen: its columns, each with the expression that was to fill it.
        error: DuckDB's.
    """
    rows = parquet.read()
    rows = pa.table(
        [pa.chunked_array([stored(chunk) for chunk in column.chunks], storage(column.type)) for column in rows.columns],
        rows.column_names,
    )
    with session.duck.cursor() as aside:
        aside.execute("SET search_path = 'memory.main'")
        for place, (name, expression) in enumerate(chosen, 1):
            found = _constraint(aside, rows, name, expression, error) or _conversion(aside, rows, expression)
            if found is not None:
                row, wrong = found
                where = f'\n  File \'{file}\', line {row}, character 0\n  Row {row}, column "{table}"["{name}":{place}]\n  {ADVICE}'
                return ProgrammingError(msg=f"{wrong.msg}{where}", errno=wrong.errno, sqlstate=wrong.sqlstate)
    return translated_error(error)


def _constraint(
    aside: duckdb.DuckDBPyConnection, rows: Any, name: str, expression: str, error: duckdb.Error
) -> tuple[int, ProgrammingError] | None:
    """The first value that is too long for this column, or NULL where it takes none."""
    if (match := _TOO_LONG.search(str(error))) and match[2].strip('"') in (name, identifier(name).strip('"')):
        condition, wrong = f"{match[1]}(v) > {match[3]}", "too long and would be truncated: "
    elif (match := _NULL.search(str(error))) and match[1].strip('"') == name:
        condition, wrong = "v is null", ""
    else:
        return None
    aside.register("_file", rows)
    found = first(
        aside,
        f"select n, v::varchar from (select row_number() over () as n, {expression} as v from _file) where {condition} order by n limit 1",
    )
    aside.unregister("_file")
    if found is None:
        return None
    return int(found[0]), translated_error(duckdb.Error(wrong + str(found[1])) if wrong else error)


def _conversion(aside: duckdb.DuckDBPyConnection, rows: Any, expression: str) -> tuple[int, ProgrammingError] | None:
    """The first value that cannot be converted: by halves, as DuckDB does not say which."""
    if (wrong := _tried(aside, rows, expression)) is None:
        return None
    low, high = 0, rows.num_rows
    while high - low > 1:
        middle = (low + high) // 2
        if (earlier := _tried(aside, rows.slice(low, middle - low), expression)) is not None:
            high, wrong = middle, earlier
        else:
            low = middle
    return low + 1, translated_error(_tried(aside, rows.slice(low, 1), expression) or wrong)


def _tried(aside: duckdb.DuckDBPyConnection, rows: Any, expression: str) -> duckdb.Error | None:
    aside.register("_file", rows)
    try:
        aside.execute(f"select max(v::varchar) from (select {expression} as v from _file)").fetchall()
    except duckdb.Error as error:
        return error
    finally:
        aside.unregister("_file")
    return None
