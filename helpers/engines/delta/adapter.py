"""What Delta tables are as a target: on Databricks and Spark asked through Spark Connect, on the local stack read from their files."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack
from functools import partial

from helpers.engines.applying import Followed
from helpers.engines.base import Engine, Place, StandIn
from helpers.engines.delta import applying
from helpers.engines.delta.applying import DeltaApplier
from helpers.engines.delta.catalog import qualified, qualified_schema
from helpers.engines.delta.certifying import DeltaTrial, trial
from helpers.engines.delta.ddl import DELTA
from helpers.engines.delta.files import DeltaSide
from helpers.engines.delta.landing import name_local_table
from helpers.engines.delta.load import opened
from helpers.engines.delta.rows import SparkSide
from helpers.engines.loading import Destination
from helpers.model.places import TargetTable
from helpers.model.sync import Sync
from helpers.platforms import spark
from helpers.platforms.s3 import Bucket
from helpers.settings import Databricks, Settings, Stage

STAND_IN = StandIn(
    "pysail", "Databricks",
    "Delta tables that pysail wrote through Spark Connect, read by DuckDB from the files that their logs name", "Databricks workspace",
)  # fmt: skip

APACHE_SPARK = StandIn(
    spark.ON_THIS_MACHINE, "Databricks",
    "Delta tables that Apache Spark itself wrote on this machine, with the digests computed by Spark's own SQL", "Databricks workspace",
    kind="",
)  # fmt: skip


class Delta(Engine):
    """Schemas of Delta tables."""

    title = "Databricks"
    ddl = DELTA

    def own_schema(self, profile: Settings) -> str:
        return profile.databricks.schema_

    def address(self, place: Place) -> str:
        return spark.address(place.settings.databricks)

    def stand_in(self, place: Place) -> StandIn | None:
        return {"pysail": STAND_IN, "apache-spark": APACHE_SPARK}.get(place.settings.databricks.engine)

    def open(self, place: Place, stack: ExitStack) -> DeltaSide | SparkSide:
        there, tables = place.settings.databricks, [plan.there for plan in place.tables]
        if there.engine == "pysail":
            return DeltaSide(there, place.settings.stage, tables)
        session = stack.enter_context(spark.connect(there))
        return SparkSide(session, there, tables)

    def sessions(self, place: Place) -> int:
        return 1 if place.settings.databricks.engine == "pysail" else place.settings.databricks.parallel

    def open_another(self, place: Place, side: SparkSide, stack: ExitStack) -> SparkSide:
        """The same: one session of Spark Connect answers several queries at once."""
        return side

    def destination(self, target: Databricks) -> Destination:
        return Destination(
            target, spark.address(target), spark.names(target), partial(opened, target), partial(_ask, target), at_once="commit",
            written_by=spark.engine(target), wakes=target.engine != "pysail",
            parallel=target.parallel,
        )  # fmt: skip

    def applier(self, target: Databricks, bucket: Bucket, sync: Sync) -> AbstractContextManager[DeltaApplier]:
        return applying.opened(target, bucket, sync)

    def followed(self, target: Databricks, bucket: Bucket) -> Followed | None:
        return applying.followed(target, bucket)

    def trial(self, target: Databricks, stage: Stage) -> AbstractContextManager[DeltaTrial]:
        return trial(target, stage)


def _ask(target: Databricks, query: str | None, table: TargetTable) -> None:
    doing = "ask what readers ask"
    with spark.connect(target) as session:
        if target.engine == "pysail":  # its catalog is the session's: readers of the local stack name the table's place
            name_local_table(session, target, table, doing=doing)
        if query:
            session.execute(f"USE SCHEMA {qualified_schema(target, table.schema)}", doing=doing)
        session.execute(query or f"SELECT count(*) AS rows FROM {qualified(target, table)}", doing=doing)


ENGINE = Delta()
