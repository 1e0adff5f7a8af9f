"""The marts: built by dbt from the migrated tables, and what they were built from."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from helpers.errors import MigrationError
from helpers.load import duckdb as loading_duckdb
from helpers.model import manifest as manifests
from helpers.pipelines.readers import RECORD, Reader, default_file, read_record
from helpers.platforms import dbt
from helpers.platforms.dbt import DbtResult, Node
from helpers.platforms.s3 import Bucket
from helpers.settings import Settings

STAND_IN = "stand-in"
"""What a local stand-in has in its version."""


def build(
    settings: Settings,
    *,
    load_id: str | None = None,
    file: Path | None = None,
    select: Sequence[str] | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> DbtResult:
    """Builds the marts and runs their tests, on the profile's engine; on DuckDB the stage must be in the file (`prepare`).

    Args:
        load_id: kept with the marts once all of them are well; `built` reads it. Without it they keep the one that they have
            while they are of the same export.
        file: of engine duckdb; without it one beside the local stack's data.
        select: dbt's selectors; without them the profile's.
        report: is told what dbt says.

    Raises:
        MigrationError: dbt could not run; a failed test is part of the result.
    """
    bucket = Bucket.open(settings.stage)
    manifest = manifests.read_if_any(bucket)
    export = manifest.export if manifest else "none"
    former = built(settings)
    if load_id is None:
        load_id = former["load_id"] if former.get("export") == export else "none"
    database = (file or default_file(settings)) if settings.dbt.engine == "duckdb" else None
    chosen = settings.dbt.select if select is None else select
    done = dbt.build(settings, chosen, file=database, report=report)
    if done.ok and tuple(chosen) == settings.dbt.select:
        record = {
            "engine": settings.dbt.engine, "marts": settings.marts_schema, "export": export, "load_id": load_id,
            "relations": dict(done.relations),
        }  # fmt: skip
        bucket.write(RECORD, json.dumps(record, sort_keys=True).encode())
    return done


def prepare(settings: Settings, file: Path | None = None) -> None:
    """Puts the staged tables where the profile's engine looks for them: on DuckDB into its file; elsewhere the load did.

    Raises:
        StageError, LoadError: the stage cannot be read, or not all of it arrived.
    """
    if settings.dbt.engine != "duckdb":
        return
    database = file or default_file(settings)
    database.parent.mkdir(parents=True, exist_ok=True)
    bucket = Bucket.open(settings.stage)
    manifest = manifests.read(bucket).placed(settings.tables)
    loading_duckdb.load(manifest, bucket, database, settings.migrated_schema)


def failing_rows(reader: Reader, node: Node, *, limit: int = 10) -> list[dict[str, Any]]:
    """The first rows that a test found, by its own SQL; none where it has none to show."""
    if node.kind != "test" or not node.sql:
        return []
    with suppress(MigrationError):  # its message says why it could not be run
        return reader.rows(
            f"SELECT * FROM (\n{node.sql}\n) AS failing LIMIT {limit}", doing=f"show what {node.name} found"
        )
    return []


def built(settings: Settings) -> Mapping[str, Any]:
    """Which load and which export the marts are of that were whole when they were built last; empty where none were."""
    return read_record(settings)
