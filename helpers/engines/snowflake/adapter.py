"""What Snowflake is as a target."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack
from datetime import datetime
from functools import partial
from typing import Literal

from helpers import settings
from helpers.engines.applying import Followed
from helpers.engines.base import Engine, Place, StandIn
from helpers.engines.loading import Destination
from helpers.engines.snowflake import applying, cost
from helpers.engines.snowflake.applying import SnowflakeApplier
from helpers.engines.snowflake.certifying import SnowflakeTrial, trial
from helpers.engines.snowflake.ddl import SNOWFLAKE
from helpers.engines.snowflake.load import opened
from helpers.engines.snowflake.rows import SnowflakeSide
from helpers.model.places import TargetTable
from helpers.model.sync import Sync
from helpers.platforms import snowflake
from helpers.platforms.s3 import Bucket

STAND_IN = StandIn(
    "fakesnow",
    "Snowflake",
    "the same statements through the genuine connector, answered by DuckDB",
    "Snowflake account",
)


class Snowflake(Engine):
    """Schemas of a Snowflake database."""

    title = "Snowflake"
    ddl = SNOWFLAKE

    def own_schema(self, profile: settings.Settings) -> str:
        return profile.snowflake.schema_

    def address(self, place: Place) -> str:
        return snowflake.address(place.settings.snowflake)

    def stand_in(self, place: Place) -> StandIn | None:
        return STAND_IN if place.settings.values.stack == "local" else None

    def open(self, place: Place, stack: ExitStack) -> SnowflakeSide:
        options = place.settings.snowflake
        session = stack.enter_context(snowflake.connect(options.as_verifier))
        return SnowflakeSide(session, options.database, [plan.there for plan in place.tables], options.verify_role)

    def sessions(self, place: Place) -> int:
        return 1 if place.settings.snowflake.method == "externalbrowser" else place.settings.snowflake.parallel

    def open_another(self, place: Place, side: SnowflakeSide, stack: ExitStack) -> SnowflakeSide:
        return side.over(stack.enter_context(snowflake.connect(place.settings.snowflake.as_verifier)))

    def estimated_cost(
        self, profile: settings.Settings, what: Literal["load", "verify"], size: int, tables: int
    ) -> str:
        if "Snowflake" in profile.stand_ins:
            return "no credits: this is a stand-in"
        return cost.estimated(cost.Work(what, size, tables), profile.snowflake)

    def actual_cost(self, profile: settings.Settings, since: datetime) -> str:
        return "" if "Snowflake" in profile.stand_ins else cost.actual(profile.snowflake, since)

    def destination(self, target: settings.Snowflake) -> Destination:
        return Destination(
            target, snowflake.address(target), snowflake.NAMES, partial(opened, target), partial(_ask, target),
            parallel=target.parallel,
        )  # fmt: skip

    def applier(
        self, target: settings.Snowflake, bucket: Bucket, sync: Sync
    ) -> AbstractContextManager[SnowflakeApplier]:
        return applying.opened(target, bucket, sync)

    def followed(self, target: settings.Snowflake, bucket: Bucket) -> Followed | None:
        return applying.followed(target, bucket)

    def trial(self, target: settings.Snowflake, stage: settings.Stage) -> AbstractContextManager[SnowflakeTrial]:
        return trial(target)


def _ask(target: settings.Snowflake, query: str | None, table: TargetTable) -> None:
    doing = "ask what readers ask"
    with snowflake.connect(target) as session:
        if query:
            session.execute(f"USE SCHEMA {snowflake.identifier(target.database, table.schema)}", doing=doing)
        session.execute(query or f"SELECT COUNT(*) FROM {snowflake.identifier(target.database, *table)}", doing=doing)


ENGINE = Snowflake()
