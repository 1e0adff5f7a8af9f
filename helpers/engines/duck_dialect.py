"""DuckDB's SQL, over files whose columns are named as their fields: those of an export, and those of a Delta table's log."""

from __future__ import annotations

from dataclasses import dataclass

from helpers.digests import DIALECT
from helpers.digests.canonical import CanonicalSql
from helpers.engines.columns import ComparedColumn
from helpers.engines.sql import Sql


@dataclass(frozen=True)
class DuckSql(Sql):
    """What most engines understand is what DuckDB does."""

    canonical: CanonicalSql = DIALECT

    def staged(self, column: ComparedColumn) -> str:
        return self.identifier(column.staged.field)


SQL = DuckSql()
