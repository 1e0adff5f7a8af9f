"""What the Parquet files of an export are as a target of verification."""

from __future__ import annotations

from contextlib import ExitStack

from helpers.engines.base import Engine, Place
from helpers.engines.snowflake.ddl import SNOWFLAKE
from helpers.engines.stage.rows import StageSide


class Stage(Engine):
    """The staged files, under the source's own names."""

    title = "the stage"
    ddl = SNOWFLAKE
    renames = False
    needs_export = True

    def address(self, place: Place) -> str:
        return f"the staged files at {place.bucket.location}" if place.bucket else ""

    def open(self, place: Place, stack: ExitStack) -> StageSide:
        assert place.bucket
        assert place.manifest
        return StageSide(place.bucket, place.manifest)


ENGINE = Stage()
