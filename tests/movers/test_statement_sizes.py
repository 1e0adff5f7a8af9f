"""No statement of a load is longer than a megabyte (https://docs.snowflake.com/en/user-guide/query-size-limits), however wide the table.

Would catch: a list of files, columns, comments or names that grows with the source and is sent at once.
"""

from __future__ import annotations

from typing import Any

import pytest
from snowflake.connector.cursor import SnowflakeCursor

from helpers.engines.loading import counts
from helpers.engines.merging import columns_of, merge_statement
from helpers.engines.snowflake import copying, definition, positions, records
from helpers.engines.snowflake.applying import DIALECT
from helpers.model.batch import ChangedTable
from helpers.model.manifest import StagedColumn, StagedFile, StagedTable
from helpers.model.places import TargetTable
from helpers.platforms.snowflake import identifier, literal

LONGEST = 1_000_000
WIDEST = 1600
"""PostgreSQL's most columns of a table (https://www.postgresql.org/docs/18/limits.html)."""

NAME = '"' * 57
"""With six digits behind it the longest name of PostgreSQL's, which quoting doubles."""

KINDS = ("NUMBER(38,37)", "TIMESTAMP_NTZ(6)", "TIME(6)", "VARCHAR(10485760)", "BINARY", "FLOAT")


def _column(n: int) -> StagedColumn:
    name, kind = f"{NAME}{n:06}", KINDS[n % len(KINDS)]
    return StagedColumn(
        name=name, field=name, source=name, postgres="text", parquet="VARCHAR", snowflake=kind, comparison="text", delta="STRING",
        read="{c}", text="{c}", not_null=True, comment="'\\" * 500, encoding="exact", note="", policy=None, touched=0,
        default=f"'{'x' * 50}'::text" if kind.startswith("VARCHAR") else None,
    )  # fmt: skip


def _wide(files: int) -> StagedTable:
    path = f"{'e' * 40}/{'schema' * 10}.{NAME}-0123456789abcdef/"
    return StagedTable(
        schema_="s" * 63, name=NAME, key=(), comment="c", columns=tuple(map(_column, range(WIDEST))), rows=files,
        files=tuple(StagedFile(path=f"{path}{'f' * 800}{n:05}.parquet", rows=1, bytes=1, sha256="0", nulls={}) for n in range(files)),
    )  # fmt: skip


def test_every_statement_about_a_table_stays_below_a_megabyte() -> None:
    table, place = _wide(2500), identifier("D" * 255, "S" * 255, '"' * 255)
    copies = list(copying.copy_statements(place, place, table))
    made = [
        copying.landing_statement(place, copying.fields(table)),
        *copies,
        f"SELECT {counts(table, copying.cast)} FROM {place}",
        copying.insert_statement(place, place, table),
        f"CREATE TABLE {place} {definition.table_definition(table)}",
        *definition.later_comments(place, table),
    ]
    assert max(map(len, made)) < LONGEST
    assert sum(sql.count(".parquet'") for sql in copies) == 2500
    assert all(sql.count(".parquet'") <= copying.FILES_PER_COPY for sql in copies)
    assert len(list(definition.later_comments(place, table))) == WIDEST


def test_a_merge_of_every_column_stays_below_a_megabyte() -> None:
    """Of the widest table with the longest names, none of whose values but the key the source sent again."""
    wide = _wide(1)
    table = wide.model_copy(update={"key": tuple(column.name for column in wide.columns[:32])})
    fields = tuple(column.field for column in wide.columns[32:])
    changed = ChangedTable(schema_="s", name=NAME, file=wide.files[0], unchanged=fields)
    place = identifier("D" * 255, "S" * 255, '"' * 255)
    made = [
        copying.landing_statement(place, columns_of(table, changed)),
        merge_statement(DIALECT, table, changed, into=place, rows=place, former=place),
    ]
    assert max(map(len, made)) < LONGEST


def test_many_tables_are_asked_about_in_several_statements(migration: Any, sizes: list[int]) -> None:
    own = migration.settings.snowflake
    record = records.Record(own, "export", "load", "s3://stage/")
    tables = [TargetTable("S" * 120, f"{'t' * 240}{n}") for n in range(450)]

    class Answering:
        def execute(self, sql: str, values: Any = (), *, doing: str, **options: Any) -> list[dict[str, Any]]:
            sizes.append(len(sql) + sum(len(literal(str(value))) - 2 for value in values))
            return [{**{f"C{n}": 1 for n in range(1000)}, **{f"N{n}": 1 for n in range(1000)}}]

    session: Any = Answering()
    record.settle(session, tables)
    record.write(session, tables[0], 1, known=True, comments="'" * 1_000_000)
    assert len(sizes) == 3 + 3 + 5
    positions.move(session, own, "sync", 1, dict.fromkeys(tables, 1))
    positions.settle(session, own, tables)
    assert len(sizes) == 11 + 5 + 3 + 5
    assert max(sizes) < LONGEST


@pytest.mark.slow
def test_the_widest_table_is_loaded_and_loaded_again(migration: Any, sizes: list[int]) -> None:
    columns = ", ".join(f"{identifier(f'{NAME}{n:06}')} text" for n in range(WIDEST))
    comments = [f"COMMENT ON COLUMN wide.{identifier(f'{NAME}{n:06}')} IS '{'c' * 700}'" for n in range(WIDEST)]
    migration.source(f"CREATE TABLE wide ({columns})", "INSERT INTO wide DEFAULT VALUES", *comments)
    manifest = migration.migrate()
    migration.load(manifest)
    assert 100_000 < max(sizes) < LONGEST
    assert migration.target('SELECT COUNT(*) FROM "wide"') == [(1,)]


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Of the statements as they are sent, with the values in them."""
    real, found = SnowflakeCursor._execute_helper, []

    def helper(cursor: Any, query: str, *args: Any, **options: Any) -> Any:
        found.append(len(query))
        return real(cursor, query, *args, **options)

    monkeypatch.setattr(SnowflakeCursor, "_execute_helper", helper)
    return found
