"""What a schema of Delta tables holds: asked of Spark, or, for the local stack, read from the tables' logs."""

from __future__ import annotations

from helpers.engines.shapes import ColumnShape, TableShape
from helpers.errors import LoadError
from helpers.platforms.delta import DeltaVersion
from helpers.platforms.spark import Session, identifier
from helpers.settings import Databricks

_COMMENT = "Comment"
_DETAILS = "# Detailed Table Information"


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
        ColumnShape(column, kind, not nullable, None, comment)
        for column, kind, nullable, comment in session.columns(table, doing=doing)
    )
    described = session.execute(f"DESCRIBE TABLE EXTENDED {table}", doing=doing)
    heads = [row["col_name"] for row in described]
    details = described[heads.index(_DETAILS) :] if _DETAILS in heads else []
    comment = next((row["data_type"] for row in details if row["col_name"] == _COMMENT), "")
    return TableShape("delta", columns, None, comment or "")


def of_version(version: DeltaVersion) -> TableShape:
    """A table's definition by its log."""
    columns = tuple(ColumnShape(c.name, c.type, c.not_null, None, c.comment) for c in version.columns)
    return TableShape("delta", columns, None, version.comment)
