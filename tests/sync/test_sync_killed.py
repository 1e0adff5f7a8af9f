"""A sync that is killed again and again, under writers that never stop, leaves source and targets equal to the row at every fence.

Would catch: a change that is lost or takes effect twice because of where a process ended, whatever the call was.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import sleep
from typing import Any

import pytest

from helpers import PROJECT
from tests.sync.following import stop
from tests.sync.test_sync_fence import at_fence, writers
from tests.sync.test_sync_loop import TABLES, copied

KILLS = 30
FENCES_AFTER = (5, 12, 20, 30)


@pytest.fixture(autouse=True)
def nothing_stays(migration: Any) -> Iterator[None]:
    yield
    stop(migration)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_nothing_is_lost_and_nothing_comes_twice(migration: Any, migration_toml: Callable[..., Path]) -> None:
    migration.source(*TABLES)
    copied(migration)
    quick = "[profiles.local.sync]\nbatch_seconds = 0.2\n"
    folder = migration_toml(migration.profile + quick).parent
    command = [sys.executable, "-m", "helpers", "sync", "--follow"]
    chance = random.Random(7)
    with writers(migration):
        for number in range(1, KILLS + 1):
            sync = subprocess.Popen(
                command, cwd=folder, env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
            sleep(chance.uniform(1.5, 6.0))
            assert sync.poll() is None, sync.communicate()
            sync.kill()
            sync.communicate()
            if number in FENCES_AFTER:
                assert at_fence(migration, "snowflake", "databricks") == ["equal", "equal"], number
    assert at_fence(migration, "snowflake", "databricks") == ["equal", "equal"]
    ((total,),) = migration.source("SELECT sum(total) FROM account WHERE id <= 50")
    ((there,),) = migration.target('SELECT SUM("total") FROM "account" WHERE "id" <= 50')
    assert total == there == 5000


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(PROJECT)}
