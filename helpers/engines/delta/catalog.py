"""What schemas of Delta tables hold: asked of Spark, or, for the local stack, read from the tables' logs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from threading import Lock
from typing import Any

from pydantic import BaseModel, ConfigDict

from helpers.engines.delta import history
from helpers.engines.delta.ddl import DELTA, delta_type
from helpers.engines.shapes import ColumnShape, TableShape
from helpers.errors import LoadError
from helpers.model.places import TargetTable
from helpers.platforms import spark, statements
from helpers.platforms.delta import DeltaVersion, Lake
from helpers.platforms.spark import Session, identifier
from helpers.settings import Databricks, Stage

_COMMENT = "Comment"
_DETAILS = "# Detailed Table Information"


class Version(BaseModel):
    """A state of one table; equal ones hold the same rows, and others may (`DeltaCatalog.changes`).

    Attributes:
        table_id: of the table, as its log has it; a table that is dropped and made again has another.
        number: of the last commit.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    table_id: str
    number: int


class DeltaCatalog:
    """The tables of a target: a local table by its log, the others by asking the server, in a session that begins with that.

    Args:
        target: their server.
        stage: whose credentials reach a local table.
        stack: ends the session.
    """

    def __init__(self, target: Databricks, stage: Stage, stack: ExitStack) -> None:
        self.target = target
        self.local = target.engine == "pysail"
        self._stage = stage
        self._stack = stack
        self._session: Session | None = None
        self._beginning = Lock()
        self._names: dict[str, dict[str, str]] = {}
        self._views: dict[str, set[str]] = {}

    @property
    def session(self) -> Session:
        """With the server; one for all threads, since a session of Spark Connect runs several statements at once."""
        with self._beginning:
            if self._session is None:
                self._session = self._stack.enter_context(spark.connect(self.target))
            return self._session

    def lake(self, schema: str) -> Lake:
        """The local tables of a schema."""
        return Lake.open(self.target, self._stage, schema)

    def has(self, table: TargetTable) -> bool:
        """Whether there was such a table or view when its schema was first asked for."""
        return key(self.target, table.name) in self._known(table.schema)

    def to_be_made(self, table: TargetTable) -> bool:
        """Whether a statement that was listed and not sent would have made it."""
        return statements.rehearsed() and not self.has(table)

    def is_view(self, table: TargetTable) -> bool:
        """Whether it is a view."""
        if self.local:
            return False
        if table.schema not in self._views:
            found = view_names(self.session, self.target, table.schema)
            self._views[table.schema] = {key(self.target, name) for name in found}
        return key(self.target, table.name) in self._views[table.schema]

    def shape(self, table: TargetTable) -> TableShape:
        """The definition of a table that is there.

        Raises:
            ConnectionFailed, LoadError: it cannot be read.
        """
        if self.local:
            return version_shape(self.lake(table.schema).read(table.name))
        name = self._known(table.schema)[key(self.target, table.name)]
        return read_table(self.session, self.target, table.renamed(name))

    def now(self, table: TargetTable) -> Version | None:
        """The version of a table; None where its log or a file that it names cannot be read.

        Raises:
            ConnectionFailed: the target cannot be asked.
        """
        try:
            if not self.local:
                return self.look(table)[0]
            lake = self.lake(table.schema)
            found = lake.read(table.name)
            return None if lake.lost(table.name, found) else Version(table_id=found.id, number=found.version)
        except LoadError:
            return None

    def look(self, table: TargetTable) -> tuple[Version, dict[str, str]]:
        """The version of a table and its properties.

        Raises:
            ConnectionFailed, LoadError: the target cannot be asked, or has no such table.
        """
        new = self.to_be_made(table)
        if self.local:
            if new:
                return Version(table_id="", number=0), {}
            found = self.lake(table.schema).read(table.name)
            return Version(table_id=found.id, number=found.version), found.properties
        # https://docs.delta.io/latest/delta-utility.html: the details have one row, the history has the last commit first.
        name, doing = qualified(self.target, table), f"ask for the version of {table}"
        first: list[dict[str, Any]] = [{"id": "", "version": 0}]
        expected = first if new else None
        (detail,) = self.session.execute(f"DESCRIBE DETAIL {name}", doing=doing, expected=expected)
        (last,) = self.session.execute(f"DESCRIBE HISTORY {name} LIMIT 1", doing=doing, expected=expected)
        properties = detail.get("properties") or {}
        return Version(table_id=str(detail["id"]), number=int(last["version"])), dict(properties)

    def clustering(self, table: TargetTable) -> tuple[str, ...]:
        """The columns that a table is clustered by, as Delta's details have them."""
        if self.local:
            return ()
        (detail,) = self.session.execute(
            f"DESCRIBE DETAIL {qualified(self.target, table)}", doing=f"ask how {table} is clustered"
        )
        return tuple(detail.get("clusteringColumns") or ())

    def changes(
        self, table: TargetTable, left: Version, now: Version, ours: Callable[[history.Commit], bool] = history.nobodys
    ) -> tuple[str, ...]:
        """What changed a table's rows between two versions; empty where `now` holds the rows that `left` held.

        Args:
            ours: which commits are nobody else's.

        Raises:
            ConnectionFailed, LoadError: the target cannot be asked.
        """
        if left.table_id != now.table_id:
            return ("it was dropped and made again",)
        commits = self.commits(table, left, now)
        return history.changes(commits, left=left.number, now=now.number, ours=ours)

    def commits(self, table: TargetTable, left: Version, now: Version) -> list[history.Commit]:
        """What was done to a table between two versions of it, the last first; what its history tells no more is missing.

        Raises:
            ConnectionFailed, LoadError: the target cannot be asked.
        """
        if left == now:
            return []
        most = max(now.number - left.number, 1)
        if self.local:
            lake = self.lake(table.schema)
            return [
                history.commit(told, lake.commit(table.name, told["version"]))
                for told in lake.history(table.name, most)
            ]
        sql = f"DESCRIBE HISTORY {qualified(self.target, table)} LIMIT {most}"
        return [history.commit(told) for told in self.session.execute(sql, doing=f"ask what was done to {table}")]

    def _known(self, schema: str) -> dict[str, str]:
        """By `key`, the names of the schema's tables and views."""
        if schema not in self._names:
            found = self.lake(schema).tables() if self.local else table_names(self.session, self.target, schema)
            self._names[schema] = {key(self.target, name): name for name in found}
        return self._names[schema]


def qualified(target: Databricks, table: TargetTable) -> str:
    """A table's full name."""
    return f"{qualified_schema(target, table.schema)}.{identifier(table.name)}"


def qualified_schema(target: Databricks, schema: str) -> str:
    """A schema's full name."""
    return identifier(*(part for part in (target.catalog, schema) if part))


def key(target: Databricks, name: str) -> str:
    """What a table goes by: the catalogs of Databricks and Hive keep names in small letters, a folder keeps them as they are."""
    return name if target.engine == "pysail" else name.lower()


def folded(target: Databricks, table: TargetTable) -> TargetTable:
    """What a table with its schema goes by, likewise."""
    return TargetTable(key(target, table.schema), key(target, table.name))


def has_schema(session: Session, target: Databricks, schema: str) -> bool:
    """Whether the catalog has such a schema for this user.

    Raises:
        LoadError: the catalog refuses this user.
    """
    schemas = session.execute(
        f"SHOW SCHEMAS{f' IN {identifier(target.catalog)}' if target.catalog else ''}", doing="list the schemas"
    )
    # The column is called databaseName, namespace or name, depending on the server.
    return schema.lower() in {str(next(iter(row.values()))).lower() for row in schemas}


def table_names(session: Session, target: Databricks, schema: str) -> list[str]:
    """Names of a schema's tables, as Spark tells them; none where there is no such schema.

    Raises:
        LoadError: the catalog refuses this user.
    """
    if not has_schema(session, target, schema):
        return []
    rows = session.execute(f"SHOW TABLES IN {qualified_schema(target, schema)}", doing="list the tables of the target")
    return sorted(row["tableName"] for row in rows if not row.get("isTemporary"))


def view_names(session: Session, target: Databricks, schema: str) -> set[str]:
    """Which of `table_names`, where the schema is there, are views."""
    try:
        rows = session.execute(
            f"SHOW VIEWS IN {qualified_schema(target, schema)}", doing="list the views of the target"
        )
    except LoadError:
        return set()  # a catalog that has none
    return {row["viewName"] for row in rows if not row.get("isTemporary")}


def read_table(session: Session, target: Databricks, table: TargetTable) -> TableShape:
    """One table of the target, as Spark tells it.

    Args:
        session: in the target's catalog.
        target: its server.
        table: its name as `table_names` has it.

    Raises:
        LoadError: the catalog refuses this user, or it cannot be described.
    """
    doing = f"describe {table} in the target"
    name = qualified(target, table)
    columns = tuple(
        ColumnShape(column, DELTA.read(kind), not nullable, None, comment)
        for column, kind, nullable, comment in session.columns(name, doing=doing)
    )
    described = session.execute(f"DESCRIBE TABLE EXTENDED {name}", doing=doing)
    heads = [row["col_name"] for row in described]
    details = described[heads.index(_DETAILS) :] if _DETAILS in heads else []
    comment = next((row["data_type"] for row in details if row["col_name"] == _COMMENT), "")
    return TableShape(DELTA, columns, None, comment or "")


def version_shape(version: DeltaVersion) -> TableShape:
    """A table's definition by its log."""
    columns = tuple(
        ColumnShape(c.name, DELTA.read(delta_type(c.type)), c.not_null, None, c.comment) for c in version.columns
    )
    return TableShape(DELTA, columns, None, version.comment)
