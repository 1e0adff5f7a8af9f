"""Every engine that a profile may have as a target, by the name that `--target` takes: one row here, one folder beside this file.

`docs/adding-a-target.md` shows what a new one takes.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from importlib import import_module
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from helpers.engines.base import Engine
    from helpers.engines.loading import Loader, Target
    from helpers.platforms.s3 import Bucket
    from helpers.settings import Settings

ADAPTERS = {
    "snowflake": "helpers.engines.snowflake.adapter",
    "databricks": "helpers.engines.delta.adapter",
    "stage": "helpers.engines.stage.adapter",
    "postgresql": "helpers.engines.postgres.adapter",
}
"""Name → the module whose `ENGINE` is the adapter; imported when it is asked for, since each brings its driver."""


def main_target(settings: Settings) -> str:
    """The target that a profile's pipeline writes: Snowflake, or the Delta tables of a profile that has no Snowflake."""
    return "databricks" if settings.values.databricks and not settings.values.snowflake else "snowflake"


def engine(name: str) -> Engine:
    """The adapter of an engine.

    Args:
        name: one of `ADAPTERS`.
    """
    return cast("Engine", import_module(ADAPTERS[name]).ENGINE)


LOADERS = {"Snowflake": "helpers.engines.snowflake.load", "Databricks": "helpers.engines.delta.load"}
"""Of the engines that a load may fill: the class of their settings → the module whose `opened` gives a loader."""


def loader(target: Target, bucket: Bucket) -> AbstractContextManager[Loader]:
    """A connection to a target for one load, which ends with the block.

    Args:
        target: the section of the profile that describes it.
        bucket: the stage that the load is from.

    Raises:
        ConnectionFailed: on entering, or once it is asked, the target does not answer.
    """
    return cast("AbstractContextManager[Loader]", import_module(LOADERS[type(target).__name__]).opened(target, bucket))
