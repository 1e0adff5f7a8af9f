"""What a query of the source would have answered at the export, by the staged files."""

from __future__ import annotations

from typing import Any

import duckdb

from helpers.load.duckdb import rows_query
from helpers.model import manifest as manifests
from helpers.model.manifest import StagedTable
from helpers.pipelines.questions import Question
from helpers.platforms import duck, postgres
from helpers.platforms.postgres import identifier
from helpers.platforms.s3 import Bucket
from helpers.settings import Settings


class Staged:
    """The stage of a profile's export; looked at only where something differs.

    Attributes:
        lsn: of the export; empty where there is none of this source.
    """

    def __init__(self, settings: Settings) -> None:
        self._bucket: Bucket | None = None
        self._tables: dict[tuple[str, str], StagedTable] = {}
        self.lsn = ""
        if settings.values.stage is None:
            return
        self._bucket = Bucket.open(settings.stage)
        manifest = manifests.read_if_any(self._bucket)
        if manifest and manifest.source == postgres.address(settings.source):
            self.lsn = manifest.lsn
            self._tables = {(table.schema_, table.name): table for table in manifest.tables}

    def answer(self, question: Question) -> list[dict[str, Any]] | None:
        """The rows of a question to the source; None where not all that it asks for was staged as it was, or DuckDB cannot answer it."""
        found = {each.sql: self._tables.get((each.schema, each.name)) for each in question.relations.values()}
        # What a filter, mask or policy left of a table would call their own doing a later change of the source.
        if self._bucket is None or not found or not all(table and table.as_it_was for table in found.values()):
            return None
        sql = _in_duckdb(question.sql)
        if sql is None:
            return None
        with duck.connect() as connection:
            duck.enable_s3(connection, self._bucket.stage)
            try:
                for table in found.values():
                    assert table
                    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {identifier(table.schema_)}")
                    connection.execute(
                        f"CREATE VIEW {identifier(table.schema_, table.name)} AS {rows_query(table, self._bucket)}"
                    )
                cursor = connection.execute(sql)
                names = [column[0].lower() for column in cursor.description or ()]
                return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
            except duckdb.Error:  # it only tells later changes of the source apart
                return None


def _in_duckdb(sql: str) -> str | None:
    import sqlglot
    from sqlglot.errors import SqlglotError

    try:
        (translated,) = sqlglot.transpile(sql, read="postgres", write="duckdb")
    except (SqlglotError, ValueError):
        return None
    return translated
