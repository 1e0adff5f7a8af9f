"""Every engine that a profile may have as a target, by the name that `--target` takes: one row here, one folder beside this file.

`docs/adding-a-target.md` shows what a new one takes.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from helpers.engines.base import Engine
    from helpers.engines.loading import Destination
    from helpers.settings import Target

ADAPTERS = {
    "snowflake": "helpers.engines.snowflake.adapter",
    "databricks": "helpers.engines.delta.adapter",
    "stage": "helpers.engines.stage.adapter",
    "postgresql": "helpers.engines.postgres.adapter",
}
"""Name → the module whose `ENGINE` is the adapter; imported when it is asked for, since each brings its driver."""


def engine(name: str) -> Engine:
    """The adapter of an engine.

    Args:
        name: one of `ADAPTERS`.
    """
    return cast("Engine", import_module(ADAPTERS[name]).ENGINE)


def destination(target: Target) -> Destination:
    """What a load asks of the target that a section of a profile describes; the server is not asked."""
    return engine(target.adapter).destination(target)
