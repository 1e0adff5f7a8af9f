"""A schema of Delta tables, asked through Spark Connect; digests are computed there, by Spark."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property, partial

from helpers.engines import texts
from helpers.engines.columns import TablePlan
from helpers.engines.delta import keys
from helpers.engines.delta.catalog import key, qualified, read_table, table_names, view_names
from helpers.engines.delta.dialect import SQL
from helpers.engines.delta.files import parquet_type
from helpers.engines.shapes import TableShape
from helpers.engines.sql import Sql
from helpers.engines.warehouse import Warehouse
from helpers.platforms.spark import Session
from helpers.settings import Databricks


class SparkSide(Warehouse):
    """A schema of Delta tables.

    Args:
        session: in UTC.
        target: which schema.
        names: of the tables that are compared, since a catalog may have them in small letters; nothing else that lies there
            is looked at.
    """

    name = "databricks"
    digested = "in Spark"
    sql: Sql = SQL

    def __init__(self, session: Session, target: Databricks, names: Iterable[str] = ()) -> None:
        super().__init__(session)
        self._target = target
        self._read_keys = partial(keys.read, session, target)
        self._read = partial(read_table, session, target)
        self._known = {key(target, name): name for name in names}
        present = table_names(session, target)
        self._views = view_names(session, target) if present else set()
        self._present = {key(target, name): name for name in present}
        self._shapes: dict[str, TableShape] = {}

    def tables(self) -> dict[str, str]:
        names = (name for name, there in self._present.items() if there not in self._views)
        return dict.fromkeys((self._known.get(name, name) for name in names), self._target.schema_)

    def shape(self, plan: TablePlan) -> TableShape | None:
        name = key(self._target, plan.there)
        if name in self._present and name not in self._shapes:
            self._shapes[name] = self._with_keys(name, self._read(self._present[name]))
        return self._shapes.get(name)

    def _with_keys(self, name: str, shape: TableShape) -> TableShape:
        if (there := self._keys) is None:
            return shape
        foreign = (
            replace(each, table=self._known.get(key(self._target, each.table), each.table))
            for each in there.foreign_keys.get(name, ())
        )
        return replace(shape, keys=there.keys.get(name, ()), foreign_keys=tuple(foreign))

    @cached_property
    def _keys(self) -> keys.Present | None:
        return self._read_keys()

    def rows(self, schema: str, name: str) -> int:
        return self._count(qualified(self._target, name))

    def relation(self, plan: TablePlan) -> str:
        return qualified(self._target, plan.there)

    def sent(self, name: str, kind: str) -> str:
        return name

    def arrived(self, name: str, kind: str) -> str:
        return texts.parquet_text(name, parquet_type(kind))
