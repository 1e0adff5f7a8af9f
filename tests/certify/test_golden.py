"""The golden migration that certification loads is what PostgreSQL and the exporter make of its source today.

Would catch: a type that is staged or defined otherwise than when the golden files were made, so that a certification would say
nothing of what a load sends; a canonical form that PostgreSQL computes otherwise; a golden file that somebody changed.

`REGENERATE_GOLDEN=1 pytest tests/certify/test_golden.py` writes them anew, by a PostgreSQL 18 and the exporter.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import golden_source as golden_tables
import pytest

from helpers import digests
from helpers import verify as verifying
from helpers.certify import golden
from helpers.digests import CANONICAL, CANONICAL_ENTRY, Sums, segments_of
from helpers.engines.postgres.dialect import CANONICAL as OF_POSTGRESQL
from helpers.engines.postgres.dialect import PostgresSql
from helpers.engines.postgres.rows import PostgresSide
from helpers.export import export, planned
from helpers.model import manifest as manifests
from helpers.model.manifest import Manifest, StagedTable
from helpers.platforms import postgres
from helpers.platforms.s3 import Bucket
from helpers.settings import Settings

REGENERATE = bool(os.environ.get("REGENERATE_GOLDEN"))

MOST_BYTES_WITH_FORMS = 100_000
"""Of a table's files; beyond them only the digest of its rows is golden."""


@pytest.fixture(scope="module")
def made(fresh_migration: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The golden migration, made now."""
    folder = tmp_path_factory.mktemp("golden")
    with fresh_migration() as migration:
        migration.source(*golden_tables.BEFORE)
        _exported(migration.settings, folder / golden.BEFORE)
        migration.source(*golden_tables.after())
        forms = _exported(migration.settings, folder / golden.AFTER)
        version = migration.source("SHOW server_version")[0][0]
    text = json.dumps({"server_version": version, "tables": forms}, indent=1, sort_keys=True)
    (folder / golden.FORMS).write_text(text + "\n", encoding="ascii")
    if REGENERATE:
        shutil.rmtree(golden.FOLDER, ignore_errors=True)
        shutil.copytree(folder, golden.FOLDER)
    return folder


def _exported(settings: Settings, folder: Path) -> dict[str, Any]:
    """Exports into a folder; of each table what PostgreSQL says of its rows, whose digests lie beside the files."""
    stage = settings.stage.model_copy(update={"url": f"{settings.stage.url}{folder.name}/"})
    own = replace(settings, values=settings.values.model_copy(update={"stage": stage}))
    with planned(own) as plan:
        manifest = export(plan)
    bucket, forms = Bucket.open(stage), {}
    with verifying.planned(own, target="stage") as compared:
        tables = [plan.table for plan in compared.tables]
        with (
            PostgresSide(own.source, compared.snapshot, tables, own.export, witness=True) as side,
            postgres.reading(own.source) as cursor,
        ):
            for table in compared.tables:
                staged = table.staged
                assert staged
                segments = segments_of(staged.rows, staged.key, "canonical")
                sums = side.digest(table, "canonical", segments)
                _keep(bucket, staged, sums)
                forms[str(staged)] = {"rows": sums.rows, "segments": segments, "digest": sums.total}
                if staged.key and staged.bytes < MOST_BYTES_WITH_FORMS and staged.name != "long" and staged.rows < 500:
                    relation = postgres.identifier(staged.schema_, staged.name)
                    cursor.execute(PostgresSql(OF_POSTGRESQL).pieces_query(table, relation))
                    forms[str(staged)]["forms"] = {
                        row[0]: [*row[1:-1], f"{int(row[-1]) % 2**64:016x}"] for row in cursor.fetchall()
                    }
    name = f"golden_{folder.name}"
    of_golden = {"source": "the golden migration", "snapshot": "", "lsn": "0/0", "instance": None}
    folder.mkdir()
    for path in bucket.sizes():
        if path.startswith(f"{manifest.export}/"):
            file = folder / path.replace(manifest.export, name, 1)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(bucket.read(path) or b"")
    kept = manifest.model_copy(update={**of_golden, "export": name})
    text = kept.model_dump_json(by_alias=True, indent=1).replace(f'"{manifest.export}/', f'"{name}/')
    (folder / manifests.NAME).write_text(text)
    for file in folder.rglob(CANONICAL_ENTRY):
        file.write_text(file.read_text().replace(f'"{manifest.export}/', f'"{name}/'))
    return forms


def _keep(bucket: Bucket, staged: StagedTable, sums: Sums) -> None:
    home = manifests.home(staged)
    entry = digests.write(bucket, f"{home}/{CANONICAL}", sums)
    bucket.write(f"{home}/{CANONICAL_ENTRY}", entry.model_dump_json().encode())


def _said(manifest: Manifest) -> dict[str, Any]:
    """What a manifest says of its tables, but for the bytes of their files."""
    return {
        str(table): table.model_dump(exclude={"files", "digest"}) | {"files": len(table.files)}
        for table in manifest.tables
    }


@pytest.mark.parametrize("folder", [golden.BEFORE, golden.AFTER])
def test_the_golden_tables_are_staged_and_defined_as_they_would_be_today(made: Path, folder: str) -> None:
    now = Manifest.model_validate_json((made / folder / manifests.NAME).read_bytes())
    assert _said(golden.manifest(folder)) == _said(now)


def test_postgresql_says_the_same_of_every_golden_value_today(made: Path) -> None:
    assert json.loads((golden.FOLDER / golden.FORMS).read_text()) == json.loads((made / golden.FORMS).read_text())


def test_every_golden_file_is_what_its_manifest_names() -> None:
    for folder in (golden.BEFORE, golden.AFTER):
        for table in golden.manifest(folder).tables:
            for file in table.files:
                assert golden.sha256(folder, file.path) == (file.bytes, file.sha256)
