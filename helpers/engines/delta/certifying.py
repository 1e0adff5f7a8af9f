"""What a certification asks of Databricks or Spark beside what a load and a verification send."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from importlib.metadata import version

from helpers.engines.certifying import Identity, PutOn, Trial
from helpers.engines.delta.catalog import qualified, qualified_schema, table_names
from helpers.errors import LoadError
from helpers.model.places import TargetTable
from helpers.platforms import spark
from helpers.platforms.delta import Lake, folder
from helpers.platforms.s3 import Bucket
from helpers.platforms.spark import Session, identifier
from helpers.settings import Databricks, Stage


@contextmanager
def trial(target: Databricks, stage: Stage) -> Iterator[DeltaTrial]:
    """A session that begins when it is first needed and ends with the block."""
    with ExitStack() as stack:
        yield DeltaTrial(target, stage, stack)


class DeltaTrial(Trial):
    """The server of a profile."""

    alters = False

    def __init__(self, target: Databricks, stage: Stage, stack: ExitStack) -> None:
        self._target, self._stage, self._stack = target, stage, stack
        self._local = target.engine == "pysail"

    @cached_property
    def _session(self) -> Session:
        return self._stack.enter_context(spark.connect(self._target))

    def identifier(self, name: str) -> str:
        return identifier(name)

    def identity(self) -> Identity:
        (told,) = self._session.execute("SELECT version() AS version", doing="ask who answers")
        held: dict[str, str] = {}
        for name in spark.SETTINGS:
            try:
                rows = self._session.execute(f"SET {name}", doing="read the session's settings")
            except LoadError:
                continue  # a server that does not know it has one way to go
            held |= {str(row.get("key", name)): str(row.get("value")) for row in rows}
        role = ""
        if not self._local:
            try:
                (row,) = self._session.execute("SELECT current_user() AS who", doing="ask who we are")
                role = str(row["who"])
            except LoadError:
                role = ""  # a Spark of one's own may have no users
        return Identity(
            spark.engine(self._target), str(told["version"]).partition(" ")[0], self._target.catalog or "", role, held,
            f"pyspark-client {version('pyspark-client')}",
        )  # fmt: skip

    def schemas(self, prefix: str) -> tuple[str, ...]:
        if self._local:
            paths = self._root().sizes()
            return tuple(dict.fromkeys(name for path in paths if (name := path.partition("/")[0]).startswith(prefix)))
        where = f" IN {identifier(self._target.catalog)}" if self._target.catalog else ""
        rows = self._session.execute(f"SHOW SCHEMAS{where}", doing="look for schemas of certifications")
        names = (str(next(iter(row.values()))) for row in rows)
        return tuple(name for name in names if name.lower().startswith(prefix.lower()))

    def drop(self, schema: str) -> None:
        if not self._local:
            name = qualified_schema(self._target, schema)
            self._session.execute(f"DROP SCHEMA IF EXISTS {name} CASCADE", doing="drop the certification's schema")
        if self._target.delta_root:
            # A table that names its place is external: its files stay when it is dropped.
            bucket = Lake.open(self._target, self._stage, schema).bucket
            bucket.remove(list(bucket.sizes()))

    def tables(self, schema: str) -> tuple[TargetTable, ...]:
        if self._local:
            names = Lake.open(self._target, self._stage, schema).tables()
        else:
            names = table_names(self._session, self._target, schema)
        return tuple(TargetTable(schema, name) for name in names)

    def clear(self, schema: str, tables: Collection[TargetTable]) -> None:
        for table in tables:
            if not self._local:
                name = qualified(self._target, table)
                self._session.execute(
                    f"DROP TABLE IF EXISTS {name}", doing=f"empty the certification's schema {schema}"
                )
            if self._target.delta_root:
                Lake.open(self._target, self._stage, schema).remove(table.name)

    def put_on(self, table: TargetTable, text_column: str, number_column: str) -> Iterator[PutOn]:
        if not self._target.catalog or self._local:
            yield PutOn("rights, masks and tags", "there is no Unity Catalog")
            return
        sql = f"GRANT SELECT ON TABLE {qualified(self._target, table)} TO `account users`"
        try:
            self._session.execute(sql, doing="put a grant on a table")
        except LoadError as error:
            yield PutOn("a grant of SELECT", error.why)
        else:
            yield PutOn("a grant of SELECT")

    def on(self, table: TargetTable) -> frozenset[str]:
        if not self._target.catalog or self._local:
            return frozenset()
        rows = self._session.execute(
            f"SHOW GRANTS ON TABLE {qualified(self._target, table)}", doing="ask for the grants"
        )
        found = ({key.lower(): str(value) for key, value in row.items()} for row in rows)
        return frozenset(
            f"the grant of {row.get('actiontype') or row.get('action_type')} to {row.get('principal')}"
            for row in found
            if (row.get("objecttype") or row.get("object_type", "")).upper() == "TABLE"
        )

    def _root(self) -> Bucket:
        lake = Lake.open(self._target, self._stage).bucket
        return Bucket.open(self._stage, str(lake.location)[: -len(folder(self._target.schema_)) - 1])
