"""What the targets of a profile would refuse of an export, asked before it is made."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from helpers import engines, load
from helpers.errors import ConnectionFailed, LoadError, MigrationError, TargetRefused, UsageError
from helpers.model import names
from helpers.model.manifest import Manifest
from helpers.model.names import Named, Refusal
from helpers.model.places import place
from helpers.platforms.s3 import Bucket
from helpers.settings import Settings


def ask_targets(manifest: Manifest, bucket: Bucket, settings: Settings, *, warn: Callable[[str], object]) -> None:
    """Raises a target's refusal where each target of the profile has one; where another one takes the tables, it is only said.

    Nothing is written. A Databricks cluster is not asked, since a question starts it: `runbook load --plan` does that.

    Args:
        manifest: of the export, its files not written yet.
        bucket: where they will be.
        settings: the profile.
        warn: is given each refusal that others do not share, and each target that does not answer.

    Raises:
        LoadError, TargetRefused, UsageError: as `load.plan_load`.
    """
    by_name = refusals_by_target(settings, manifest.tables)
    refused: dict[str, MigrationError] = {}
    for target in settings.targets.values():
        there = engines.destination(target)
        if there.wakes or by_name[there.where]:
            continue
        try:
            load.plan_load(manifest, bucket, target)
        except ConnectionFailed as error:
            warn(f"{there.where} could not be asked whether it takes the tables: {error.why}")
        except (LoadError, TargetRefused, UsageError) as error:
            refused[there.where] = error
    if refused and all(where in refused or found for where, found in by_name.items()):
        raise next(iter(refused.values()))
    for where, refusal in refused.items():
        warn(f"{where} will refuse {refusal.on}: {refusal.why} → {refusal.next_step}")


def refusals_by_target(settings: Settings, tables: Iterable[Named]) -> dict[str, tuple[Refusal, ...]]:
    """What each target of a profile refuses, by its address; no target is asked.

    Args:
        settings: the profile.
        tables: that would be loaded.
    """
    chosen = [(table, str(table)[: -len(table.name) - 1]) for table in tables]
    return {
        there.where: names.refusals(
            [(table, place(settings.tables, schema, table.name, there.target.schema_)) for table, schema in chosen],
            there.rules,
        )
        for there in map(engines.destination, settings.targets.values())
    }


def refused_by_all(settings: Settings, tables: Iterable[Named], *, warn: Callable[[str], object]) -> list[Refusal]:
    """What keeps an export from being of use: the targets' refusals, where each target of the profile has some.

    Where one target takes the tables, the others' words are only said: nobody knows yet which is meant.

    Args:
        settings: the profile.
        tables: that would be exported.
        warn: is given each refusal of a target that others do not share.
    """
    found = refusals_by_target(settings, tables)
    if all(found.values()):
        return [refusal for each in found.values() for refusal in each]
    for where, refusals_there in found.items():
        for each in refusals_there:
            warn(f"{where} will refuse {each} → {each.cure}")
    return []
