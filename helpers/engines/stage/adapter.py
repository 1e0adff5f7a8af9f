"""What the Parquet files of an export are as a target of verification."""

from __future__ import annotations

from contextlib import ExitStack

from helpers.engines.base import Place, StandIn
from helpers.engines.stage.rows import StageSide


class Stage:
    """The staged files, under the source's own names."""

    name = "stage"
    title = "the stage"
    types = "snowflake"
    renames = False
    as_staged = True
    needs_export = True

    def address(self, place: Place) -> str:
        return f"the staged files at {place.bucket.location}" if place.bucket else ""

    def stand_in(self, place: Place) -> StandIn | None:
        return None

    def open(self, place: Place, stack: ExitStack) -> StageSide:
        assert place.bucket
        assert place.manifest
        return StageSide(place.bucket, place.manifest)


ENGINE = Stage()
