"""What the targets of a profile would refuse of an export, asked before it is made."""

from __future__ import annotations

from collections.abc import Callable

from helpers import load
from helpers.errors import ConnectionFailed, LoadError, MigrationError, TargetRefused, UsageError
from helpers.model import names
from helpers.model.manifest import Manifest
from helpers.platforms import snowflake as snowflake_platform
from helpers.platforms import spark
from helpers.platforms.s3 import Bucket
from helpers.settings import Settings


def ask_targets(manifest: Manifest, bucket: Bucket, settings: Settings, *, warn: Callable[[str], object]) -> None:
    """Raises a target's refusal where each target of the profile has one; where another one takes the tables, it is only said.

    Nothing is written. A Databricks cluster is not asked, since a question wakes it: `runbook load --plan` does that.

    Args:
        manifest: of the export, its files not written yet.
        bucket: where they will be.
        settings: the profile.
        warn: is given each refusal that others do not share, and each target that does not answer.

    Raises:
        LoadError, TargetRefused, UsageError: as `load.plan_load`.
    """
    asks: dict[str, Callable[[], object]] = {}
    if warehouse := settings.values.snowflake:
        asks[snowflake_platform.address(warehouse)] = lambda: load.plan_load(manifest, bucket, warehouse)
    if (lake := settings.values.databricks) and lake.engine == "pysail":
        asks[spark.address(lake)] = lambda: load.plan_load(manifest, bucket, lake)
    by_name = names.refusals_by_target(settings, manifest.tables)
    refused: dict[str, MigrationError] = {}
    for where, ask in asks.items():
        if by_name[where]:
            continue
        try:
            ask()
        except ConnectionFailed as error:
            warn(f"{where} could not be asked whether it takes the tables: {error.why}")
        except (LoadError, TargetRefused, UsageError) as error:
            refused[where] = error
    if refused and all(where in refused or found for where, found in by_name.items()):
        raise next(iter(refused.values()))
    for where, refusal in refused.items():
        warn(f"{where} will refuse {refusal.on}: {refusal.why} → {refusal.next_step}")
