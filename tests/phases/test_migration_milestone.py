"""The milestone of the data migration: every exported table is proved equal in every target.

Would catch: a milestone that is reached while a target differs, while a table was never compared, or before anything was.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers.errors import GateClosed, UsageError
from helpers.phases.p30_data_migration.migration import DataMigration
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
