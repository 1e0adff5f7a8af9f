"""Schemas of Delta tables, asked through Spark Connect; digests are computed there, by Spark."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property, partial

from helpers.engines import texts
from helpers.engines.columns import TablePlan
from helpers.engines.delta import keys
from helpers.engines.delta.catalog import folded, qualified, read_table, table_names, view_names
from helpers.engines.delta.dialect import SQL
from helpers.engines.delta.files import parquet_type
from helpers.engines.shapes import TableShape
from helpers.engines.sql import Sql
from helpers.engines.warehouse import Warehouse
from helpers.model.places import TargetTable
from helpers.platforms.spark import Session
from helpers.settings import Databricks


class SparkSide(Warehouse):
    """Schemas of Delta tables.

    Args:
        session: in UTC.
        target: their server.
        tables: that are compared, since a catalog may have their names in small letters; nothing else that lies beside them is
            looked at.
    """

    name = "databricks"
    digested = "in Spark"
    sql: Sql = SQL

    def __init__(self, session: Session, target: Databricks, tables: Iterable[TargetTable] = ()) -> None:
        super().__init__(session)
        self._target = target
        self._read_keys = partial(keys.read, session, target)
        self._read = partial(read_table, session, target)
        self._known = {folded(target, table): table for table in tables}
        self._present: dict[TargetTable, str] = {}
        self._views: set[TargetTable] = set()
        for schema in dict.fromkeys(table.schema for table in self._known.values()):
            if names := table_names(session, target, schema):
                self._present |= {folded(target, TargetTable(schema, name)): name for name in names}
                views = view_names(session, target, schema)
                self._views |= {folded(target, TargetTable(schema, name)) for name in views}
        self._shapes: dict[TargetTable, TableShape] = {}

    def tables(self) -> list[TargetTable]:
        return [self._known.get(table, table) for table in self._present if table not in self._views]

    def shape(self, plan: TablePlan) -> TableShape | None:
        table = folded(self._target, plan.there)
        if table in self._present and table not in self._shapes:
            self._shapes[table] = self._with_keys(table, self._read(plan.there.renamed(self._present[table])))
        return self._shapes.get(table)

    def _with_keys(self, table: TargetTable, shape: TableShape) -> TableShape:
        if (there := self._keys) is None:
            return shape
        found = [
            (each, folded(self._target, TargetTable(each.schema, each.table)))
            for each in there.foreign_keys.get(table, ())
        ]
        named = [(each, self._known.get(to, TargetTable(each.schema, each.table))) for each, to in found]
        foreign = tuple(replace(each, schema=to.schema, table=to.name) for each, to in named)
        return replace(shape, keys=there.keys.get(table, ()), foreign_keys=foreign)

    @cached_property
    def _keys(self) -> keys.Present | None:
        return self._read_keys(dict.fromkeys(table.schema for table in self._known.values()))

    def rows(self, table: TargetTable) -> int:
        return self._count(qualified(self._target, table))

    def relation(self, plan: TablePlan) -> str:
        return qualified(self._target, plan.there)

    def sent(self, name: str, kind: str) -> str:
        return name

    def arrived(self, name: str, kind: str) -> str:
        return texts.parquet_text(name, parquet_type(kind))
