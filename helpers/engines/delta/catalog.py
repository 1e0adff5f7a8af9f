"""What a schema of Delta tables holds: asked of Spark, or, for the local stack, read from the tables' logs."""

from __future__ import annotations

from contextlib import ExitStack
from functools import cached_property

from pydantic import BaseModel, ConfigDict

from helpers.engines.delta.ddl import DELTA, delta_type
from helpers.engines.shapes import ColumnShape, TableShape
from helpers.errors import LoadError
from helpers.platforms import spark
from helpers.platforms.delta import DeltaVersion, Lake
from helpers.platforms.spark import Session, identifier
from helpers.settings import Databricks, Stage

_COMMENT = "Comment"
_DETAILS = "# Detailed Table Information"


class Version(BaseModel):
    """A state of one table; equal ones hold the same rows.

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
        target: the schema.
        stage: whose credentials reach a local table.
        stack: ends the session.
    """

    def __init__(self, target: Databricks, stage: Stage, stack: ExitStack) -> None:
        self.target = target
        self.lake = Lake.open(target, stage) if target.engine == "pysail" else None
        self._stack = stack

    @cached_property
    def session(self) -> Session:
        """With the server."""
        return self._stack.enter_context(spark.connect(self.target))

    @cached_property
    def names(self) -> dict[str, str]:
        """By `key`, what there is when it is first asked for: tables and views."""
        found = self.lake.tables() if self.lake else table_names(self.session, self.target)
        return {key(self.target, name): name for name in found}

    def views(self) -> set[str]:
        """Which of `names` are views."""
        found = set() if self.lake else view_names(self.session, self.target)
        return {key(self.target, name) for name in found}

    def shape(self, table: str) -> TableShape:
        """The definition of one of `names`.

        Raises:
            ConnectionFailed, LoadError: it cannot be read.
        """
        if self.lake:
            return version_shape(self.lake.read(table))
        return read_table(self.session, self.target, self.names[key(self.target, table)])

    def now(self, table: str) -> Version | None:
        """The version of a table; None where its log or a file that it names cannot be read.

        Raises:
            ConnectionFailed: the target cannot be asked.
        """
        try:
            if not self.lake:
                return self.look(table)[0]
            found = self.lake.read(table)
            return None if self.lake.lost(table, found) else Version(table_id=found.id, number=found.version)
        except LoadError:
            return None

    def look(self, table: str) -> tuple[Version, dict[str, str]]:
        """The version of a table and its properties.

        Raises:
            ConnectionFailed, LoadError: the target cannot be asked, or has no such table.
        """
        if self.lake:
            found = self.lake.read(table)
            return Version(table_id=found.id, number=found.version), found.properties
        # https://docs.delta.io/latest/delta-utility.html: the details have one row, the history has the last commit first.
        name, doing = qualified(self.target, table), f"ask for the version of {table}"
        (detail,) = self.session.execute(f"DESCRIBE DETAIL {name}", doing=doing)
        (last,) = self.session.execute(f"DESCRIBE HISTORY {name} LIMIT 1", doing=doing)
        properties = detail.get("properties") or {}
        return Version(table_id=str(detail["id"]), number=int(last["version"])), dict(properties)

    def operations(self, table: str, after: int) -> list[str]:
        """What the log says was done to a table behind a version, the last first."""
        if self.lake:
            done = self.lake.history(table)
        else:
            name = qualified(self.target, table)
            done = self.session.execute(f"DESCRIBE HISTORY {name}", doing=f"ask what was done to {table}")
        return [str(commit["operation"]) for commit in done if int(commit["version"]) > after]


def qualified(target: Databricks, table: str | None = None) -> str:
    """A table's full name, or the schema's."""
    return identifier(*(part for part in (target.catalog, target.schema_, table) if part))


def key(target: Databricks, name: str) -> str:
    """What a table goes by: the catalogs of Databricks and Hive keep names in small letters, a folder keeps them as they are."""
    return name if target.engine == "pysail" else name.lower()


def table_names(session: Session, target: Databricks) -> list[str]:
    """Names of the schema's tables, as Spark tells them; none where there is no such schema.

    Raises:
        LoadError: the catalog refuses this user.
    """
    schemas = session.execute(
        f"SHOW SCHEMAS{f' IN {identifier(target.catalog)}' if target.catalog else ''}", doing="list the schemas"
    )
    # The column is called databaseName, namespace or name, depending on the server.
    if target.schema_.lower() not in {str(next(iter(row.values()))).lower() for row in schemas}:
        return []
    rows = session.execute(f"SHOW TABLES IN {qualified(target)}", doing="list the tables of the target")
    return sorted(row["tableName"] for row in rows if not row.get("isTemporary"))


def view_names(session: Session, target: Databricks) -> set[str]:
    """Which of `table_names`, where the schema is there, are views."""
    try:
        rows = session.execute(f"SHOW VIEWS IN {qualified(target)}", doing="list the views of the target")
    except LoadError:
        return set()  # a catalog that has none
    return {row["viewName"] for row in rows if not row.get("isTemporary")}


def read_table(session: Session, target: Databricks, name: str) -> TableShape:
    """One table of the target's schema, as Spark tells it.

    Args:
        session: in the target's catalog.
        target: which schema.
        name: as `table_names` has it.

    Raises:
        LoadError: the catalog refuses this user, or it cannot be described.
    """
    doing = f"describe {name} in the target"
    table = qualified(target, name)
    columns = tuple(
        ColumnShape(column, DELTA.read(kind), not nullable, None, comment)
        for column, kind, nullable, comment in session.columns(table, doing=doing)
    )
    described = session.execute(f"DESCRIBE TABLE EXTENDED {table}", doing=doing)
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
