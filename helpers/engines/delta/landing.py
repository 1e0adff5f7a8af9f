"""Where Spark reads and finds things: staged files as a view of the session, and the local stack's tables by their place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from helpers.engines.delta.catalog import qualified, qualified_schema
from helpers.engines.delta.ddl import delta_log_type
from helpers.model.places import TargetTable
from helpers.platforms.delta import folder
from helpers.platforms.s3 import Bucket
from helpers.platforms.spark import Session, identifier, literal
from helpers.settings import Databricks
from helpers.settings.local_stack import local_stack


def location(target: Databricks, table: TargetTable) -> str:
    """The folder of a table below `delta_root`."""
    root = (target.delta_root or "").rstrip("/")
    return f"{root}/{folder(table.schema)}/{folder(table.name)}"


def read_files(
    session: Session, target: Databricks, bucket: Bucket, table: TargetTable, paths: Iterable[str],
    columns: Sequence[tuple[str, str]], *, doing: str,
) -> str:  # fmt: skip
    """Makes staged files of a table readable.

    Args:
        session, target: that read them.
        bucket: where they are.
        table: whose rows they are for.
        paths: relative to the stage.
        columns: name and type of each, as DDL writes it.
        doing: the clause that an error begins with.

    Returns:
        The quoted name of the view; it is the session's.
    """
    landing = "__".join(("landing", *(folder(part).replace(".", "_") for part in table)))
    keys = [bucket.location.key(path) for path in paths]
    if target.engine == "pysail":
        keys = [local_stack().staged_key(each) for each in keys]
    urls = [f"{target.files}://{bucket.location.bucket}/{each}" for each in keys]
    session.view_of_files(landing, urls, [(name, delta_log_type(kind)) for name, kind in columns], doing=doing)
    return identifier(landing)


def name_local_table(session: Session, target: Databricks, table: TargetTable, *, doing: str) -> None:
    """Tells a session of the local stack of a table that is there: its catalog is a new one in every session."""
    session.execute(f"CREATE SCHEMA IF NOT EXISTS {qualified_schema(target, table.schema)}", doing=doing)
    place = literal(location(target, table))
    session.execute(f"CREATE TABLE IF NOT EXISTS {qualified(target, table)} USING DELTA LOCATION {place}", doing=doing)
