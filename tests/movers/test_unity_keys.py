"""Keys in Unity Catalog, whose documented `information_schema` and ALTER TABLE are played by DuckDB here: no Databricks was seen.

Would catch: a foreign key before its primary key, one to a unique key, a key that is made twice or dropped though its owner made
it, a drop that a reference forbids, a refusal that ends the load.
"""

from __future__ import annotations

from typing import Any

import duckdb
import sqlglot
from sqlglot import exp

from helpers.engines.delta import keys
from helpers.errors import LoadError
from helpers.model.catalog import ForeignKey, Key
from helpers.model.keys import Told
from helpers.model.places import TargetTable
from helpers.settings import Databricks

TARGET = Databricks.model_validate({"url": "sc://127.0.0.1:1", "catalog": "main", "schema": "Migrated"})


class Catalog:
    """Takes the statements that the documentation has, and refuses what it refuses."""

    def __init__(self) -> None:
        self.duck = duckdb.connect()
        self.duck.execute(
            "CREATE TABLE table_constraints (table_schema text, table_name text, constraint_name text, constraint_type text);"
            "CREATE TABLE key_column_usage (table_schema text, table_name text, constraint_name text, column_name text, "
            "ordinal_position int, position_in_unique_constraint int);"
            "CREATE TABLE referential_constraints (constraint_schema text, constraint_name text, unique_constraint_schema text, "
            "unique_constraint_name text)"
        )

    def execute(self, sql: str, *, doing: str) -> list[dict[str, Any]]:
        statement = sqlglot.parse_one(sql, read="databricks")
        if isinstance(statement, exp.Select):
            table = statement.find(exp.Table)
            assert table and (table.catalog, table.db) == ("main", "information_schema")
            table.set("catalog", None)
            table.set("db", None)
            found = self.duck.execute(statement.sql("duckdb"))
            names = [column[0] for column in found.description or ()]
            return [dict(zip(names, row, strict=True)) for row in found.fetchall()]
        assert isinstance(statement, exp.Alter) and statement.this.sql("databricks").startswith("`main`.`Migrated`.")
        table, (action,) = statement.this.name.lower(), statement.args["actions"]
        if isinstance(action, exp.Drop):
            self._drop(action.args["tables"][0].name)
        else:
            self._add(table, action.expressions[0].name, action.expressions[0].expressions[0])
        return []

    def _rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        return self.duck.execute(sql, list(values)).fetchall()

    def _add(self, table: str, name: str, key: exp.Expression) -> None:
        if self._rows("SELECT 1 FROM table_constraints WHERE constraint_name = ?", name):
            raise LoadError("x", on="x", why=f"the constraint {name} exists", next_step="x")
        self._rows("INSERT INTO table_constraints VALUES ('migrated', ?, ?, ?)", table, name, "PRIMARY KEY" if isinstance(key, exp.PrimaryKey) else "FOREIGN KEY")  # fmt: skip
        columns = [column.name for column in key.expressions]
        positions: list[int | None] = [None] * len(columns)
        if isinstance(key, exp.ForeignKey):
            reference = key.args["reference"].this
            parent = self._rows(
                "SELECT u.constraint_name, list(u.column_name ORDER BY ordinal_position) FROM key_column_usage u JOIN "
                "table_constraints c USING (constraint_name) WHERE c.table_name = ? AND constraint_type = 'PRIMARY KEY' GROUP BY 1",
                reference.this.name.lower(),
            )
            referenced = [column.name for column in reference.expressions]
            if not parent or parent[0][1] != referenced:
                raise LoadError("x", on="x", why="the parent has no such primary key", next_step="x")
            positions = [number + 1 for number in range(len(columns))]
            self._rows("INSERT INTO referential_constraints VALUES ('migrated', ?, 'migrated', ?)", name, parent[0][0])
        for number, (column, position) in enumerate(zip(columns, positions, strict=True), 1):
            self._rows(
                "INSERT INTO key_column_usage VALUES ('migrated', ?, ?, ?, ?, ?)", table, name, column, number, position
            )

    def _drop(self, name: str) -> None:
        if self._rows("SELECT 1 FROM referential_constraints WHERE unique_constraint_name = ?", name):
            raise LoadError("x", on="x", why="RESTRICT: it is referred to", next_step="x")
        for table in ("table_constraints", "key_column_usage", "referential_constraints"):
            self._rows(f"DELETE FROM {table} WHERE constraint_name = ?", name)


BOOK, COPY = TargetTable("Migrated", "Book"), TargetTable("Migrated", "copy")


def _told(table: str, name: str, key: Key | ForeignKey) -> Told:
    return Told(f"public.{table}", name, key, "Migrated", table)


def _foreign(columns: str, table: str, referenced: str) -> ForeignKey:
    return ForeignKey(tuple(columns.split()), "Migrated", table, tuple(referenced.split()))


TOLD = (
    _told("Book", "book_pkey", Key(("isbn", "edition"), primary=True)),
    _told("copy", "copy_pkey", Key(("id",), primary=True)),
    _told("copy", "copy_no_key", Key(("no",), primary=False)),
    _told("copy", "of_book", _foreign("i e", "Book", "isbn edition")),
    _told("copy", "parent", _foreign("up", "copy", "id")),
    _told("copy", "by_no", _foreign("up", "copy", "no")),
)


def test_primary_and_foreign_keys_are_told_once_and_the_others_are_named() -> None:
    catalog: Any = Catalog()
    nothing: dict[TargetTable, tuple[str, ...]] = {BOOK: (), COPY: ()}
    refused, made = keys.tell(catalog, TARGET, TOLD, nothing)
    assert refused == {str(TOLD[2]): keys.NO_UNIQUE, str(TOLD[5]): keys.NOT_PRIMARY}
    assert made == {BOOK: ("book_pkey",), COPY: ("copy_pkey", "of_book", "parent")}
    found = keys.read(catalog, TARGET, ["Migrated"])
    assert found and found.keys == {("migrated", "book"): (TOLD[0].key,), ("migrated", "copy"): (TOLD[1].key,)}
    assert {(k.columns, k.table, k.referenced) for k in found.foreign_keys["migrated", "copy"]} == {
        (("i", "e"), "book", ("isbn", "edition")), (("up",), "copy", ("id",)),
    }  # fmt: skip
    assert keys.tell(catalog, TARGET, TOLD, made)[1] == {}


def test_what_loads_made_goes_with_the_source_and_an_owners_key_stays() -> None:
    catalog: Any = Catalog()
    _, made = keys.tell(catalog, TARGET, TOLD[:4], {BOOK: (), COPY: ()})
    catalog.execute(
        "ALTER TABLE `main`.`Migrated`.`copy` ADD CONSTRAINT theirs FOREIGN KEY (x) REFERENCES `main`.`Migrated`.`copy` (id)",
        doing="",
    )
    refused, left = keys.tell(catalog, TARGET, [TOLD[1]], made)
    assert (refused, left) == ({}, {BOOK: (), COPY: ("copy_pkey",)})
    found = keys.read(catalog, TARGET, ["Migrated"])
    assert found and (set(found.keys), [k.name for k in found.foreign_keys["migrated", "copy"]]) == (
        {("migrated", "copy")},
        ["theirs"],
    )


def test_a_refusal_is_told_and_the_rest_is_made() -> None:
    catalog: Any = Catalog()
    catalog.execute("ALTER TABLE `main`.`Migrated`.`other` ADD CONSTRAINT copy_pkey PRIMARY KEY (id)", doing="")
    refused, made = keys.tell(catalog, TARGET, [*TOLD[:2], TOLD[3]], {BOOK: (), COPY: ()})
    assert refused == {str(TOLD[1]): "the constraint copy_pkey exists"}
    assert made == {BOOK: ("book_pkey",), COPY: ("of_book",)}


def test_a_catalog_without_keys_is_asked_nothing() -> None:
    spark = Databricks.model_validate({"url": "sc://127.0.0.1:1", "catalog": "spark_catalog", "schema": "migrated"})
    silent: Any = None
    assert keys.read(silent, spark, ["migrated"]) is None
    assert keys.tell(silent, spark, TOLD[:1], {BOOK: ()}) == ({str(TOLD[0]): keys.NO_PLACE}, {})
