"""How many values each column has travels with the export, and a load that reads others leaves the table as it was.

Would catch: a reader that takes a text for NULL, one that finds no column of that name and gives NULLs, and a count that is
lost between the file and the manifest.
"""

from __future__ import annotations

from typing import Any

import pytest

from helpers import load as loading
from helpers.errors import LoadError
from helpers.model import manifest as manifests
from helpers.model.manifest import Manifest, StagedTable

TABLE = (
    'CREATE TABLE t (id int PRIMARY KEY, v text, "Odd ""x"". é" numeric, nothing date)',
    """INSERT INTO t SELECT n, CASE WHEN n % 3 > 0 THEN '\\N' END, CASE n WHEN 7 THEN 1.5 END FROM generate_series(1, 90) n""",
)


def test_values_are_counted_and_a_text_that_other_formats_read_as_null_stays(migration: Any) -> None:
    migration.source(*TABLE, "CREATE TABLE nobody (id int)")
    manifest = migration.migrate()
    values = {table.name: table.values for table in manifests.read(migration.bucket).tables}
    assert values == {"t": {"id": 90, "v": 60, 'Odd "x". é': 1, "nothing": 0}, "nobody": {"id": 0}}
    assert migration.target('SELECT COUNT(*) FROM "t" WHERE "v" = \'\\\\N\'') == [(60,)]
    migration.load(_with_files(manifest, nulls=None))
    assert migration.verify().verdict == "equal"


@pytest.mark.parametrize("target", ["snowflake", "databricks"])
def test_other_counts_leave_the_table_as_it_was(migration: Any, target: str) -> None:
    migration.source(*TABLE)
    _load(migration, migration.export(), target)
    migration.source("UPDATE t SET v = 'new'")
    manifest = migration.export()
    wrong = _with_files(manifest, nulls=(("v", 5), ("nothing", 89)))
    with pytest.raises(LoadError) as caught:
        _load(migration, wrong, target)
    for told in (
        "column v: 90 values are not NULL, 85 were staged",
        "column nothing: 0 values are not NULL, 1 were staged",
    ):
        assert told in caught.value.why
    assert "column id" not in caught.value.why
    report = migration.verify(target)
    assert [(t.changed, t.missing, t.extra) for t in report.tables] == [(90, 0, 0)]


def test_a_column_that_no_file_has_is_refused_and_not_loaded_as_nulls(migration: Any) -> None:
    migration.source(*TABLE)
    manifest = migration.export()
    (table,) = manifest.tables
    columns = tuple(c.model_copy(update={"field": "V"}) if c.name == "v" else c for c in table.columns)
    wrong = manifest.model_copy(update={"tables": (table.model_copy(update={"columns": columns}),)})
    with pytest.raises(LoadError, match="column v: 0 values are not NULL, 90 were staged"):
        migration.load(wrong)


def _load(migration: Any, manifest: Manifest, target: str) -> None:
    loading.load(loading.plan_load(manifest, migration.bucket, migration.settings.target(target)))


def _with_files(manifest: Manifest, **changed: Any) -> Manifest:
    def counted(table: StagedTable) -> StagedTable:
        return table.model_copy(update={"files": tuple(f.model_copy(update=changed) for f in table.files)})

    return manifest.model_copy(update={"tables": tuple(map(counted, manifest.tables))})
