"""The milestone of the data migration: every exported table is proved equal in every target.

Would catch: a milestone that is reached while a target differs, while a table was never compared, or before anything was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from helpers import export as exporting
from helpers.errors import GateClosed, UsageError
from helpers.ledger.gate import Token
from helpers.model import manifest
from helpers.phases.common.modern_pipeline import ModernPipeline
from helpers.phases.p30_data_migration.migration import DataMigration
from helpers.pipelines.full_run import Chain
from helpers.platforms import snowflake


def test_a_target_that_differs_is_no_milestone(
    migration: Any, migration_toml: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    migration_toml(migration.profile)
    monkeypatch.chdir(tmp_path)
    migration.source("CREATE TABLE a (id int PRIMARY KEY, v text)", "INSERT INTO a VALUES (1, 'x'), (2, 'y')")
    phase = DataMigration("local", [], apply=True)
    try:
        phase.survey()
        phase.export()
        checked = phase.check_stage()
        phase.load(checked)
        phase.load_databricks(checked)
        with pytest.raises(UsageError, match="has not run"):
            phase.milestone()
        phase.verify()
        with pytest.raises(UsageError, match="has not run"):
            phase.milestone()
        phase.verify_databricks()
        assert str(phase.milestone()) == "✔ gate s30-milestone passed"

        target = phase.settings.snowflake
        with snowflake.connect(target) as session:
            session.execute(
                f'UPDATE "{target.database}"."{target.schema_}"."a" SET "v" = \'z\' WHERE "id" = 2',
                doing="spoil the target",
            )
        phase.verify()
        with pytest.raises(GateClosed, match=r"public\.a: snowflake does not hold it: different"):
            phase.milestone()
    finally:
        phase.close()


def test_a_profile_with_delta_tables_alone_is_migrated_run_and_compared_there(
    migration: Any, migration_toml: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    migration_toml(migration.profile)
    monkeypatch.chdir(tmp_path)
    migration.source("CREATE TABLE a (id int PRIMARY KEY, v text)", "INSERT INTO a VALUES (1, 'x'), (2, 'y')")
    phase = DataMigration("local", [], apply=True)
    try:
        phase.settings = replace(phase.settings, values=phase.settings.values.model_copy(update={"snowflake": None}))
        phase.survey()
        phase.export()
        checked = phase.check_stage()
        assert phase.load(checked).empty and phase.verify().empty and not isinstance(phase.gate(), Token)
        assert capsys.readouterr().out.count("has no section snowflake") == 3
        assert phase.target_connection().execute(f"SELECT * FROM {phase.largest_table('target')}").fetchall()
        phase.load_databricks(checked)
        phase.verify_databricks()
        assert isinstance(phase.gate_databricks(), Token)
        assert str(phase.milestone()) == "✔ gate s30-milestone passed"
        assert phase.summary().startswith("EQUAL: 2 rows and 4 cells of 1 table in Delta tables below s3://")
        assert "report.html" in str(phase.report_page().data)
    finally:
        phase.close()

    pipeline = ModernPipeline(phase.settings)
    assert "Delta tables below" in str(pipeline.plan_full_run().objects)
    chain = Chain(phase.settings, "load-1", tmp_path / "cells", None, print)
    migration.source("UPDATE a SET v = 'z' WHERE id = 2")
    with exporting.planned(phase.settings) as plan:
        assert chain.export(plan)[0]
    assert chain.load()[1].startswith("2 rows into Delta tables below")
    assert chain.verify()[0]
    migration.source("INSERT INTO a VALUES (3, 'new')")
    box = pipeline.box("s60-pipeline").act(lambda *_: None)
    assert box.result["verdict"] == "different"
    assert manifest.read(migration.bucket).tables[0].rows == 2
    asked = pipeline.box("s60-security").act(lambda *_: None).findings
    assert (asked[0].severity, "nobody has asked" in asked[0].what) == ("stop", True)
