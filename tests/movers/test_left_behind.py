"""What a killed process left on the disk and on the server goes with the next of its kind, and what is in use stays.

Would catch: a whole dump of the source, or rows that were compared, in a temporary folder for ever; a scratch database that nobody
drops; one that is dropped under a process at work; a keeper that outlives a command which wanted none.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest
from waiting import wait_for

from helpers import PROJECT
from helpers import settings as profiles
from helpers.pipelines.sample import scratch
from helpers.platforms import postgres, scratch_database
from helpers.platforms.scratch_folder import PREFIX, scratch_folder
from helpers.settings import Settings


def killed(program: str, *words: str, **environment: str) -> str:
    """What a program printed before it killed itself."""
    ends = "\nimport os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    done = subprocess.run(
        [sys.executable, "-c", program + ends, *words], cwd=PROJECT, env={**os.environ, **environment}, text=True,
        capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == -9, done.stderr
    return done.stdout.strip()


def test_a_folder_of_a_killed_process_goes_and_one_in_use_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    program = (
        "from helpers.platforms.scratch_folder import scratch_folder\nwith scratch_folder('x') as made:\n"
        "    (made / 'dump').write_text('rows'); print(made, flush=True)\n    import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    )
    left = Path(killed(program, TMPDIR=str(tmp_path)))
    assert (left / "dump").exists()
    others = tmp_path / f"{PREFIX}y-1"
    others.mkdir()
    with scratch_folder("x") as mine:
        assert left.exists()  # it may be another's that is just being made
        for each in (left, others, mine):
            os.utime(each, (0, 0))
        with scratch_folder("x") as another:
            assert set(tmp_path.iterdir()) == {mine, another, others}
    assert list(tmp_path.iterdir()) == [others]


def test_a_scratch_database_of_a_killed_process_goes_and_one_in_use_stays(local_settings: Settings) -> None:
    server, names = profiles.local_source(), {"used": "scratch_0000aaaa", "left": "scratch_0000bbbb"}
    without = local_settings.values.model_copy(update={"snowflake": None})
    own = Settings(local_settings.profile, local_settings.file, without)

    def databases() -> set[str]:
        with closing(postgres.connect(server)) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT datname FROM pg_database WHERE datname = ANY(%s)", (list(names.values()),))
            return {name for (name,) in cursor.fetchall()}

    with closing(postgres.connect(server, application=scratch_database.SESSION + names["used"])) as session:
        session.autocommit = True
        for name in names.values():
            session.cursor().execute(f"CREATE DATABASE {name}")
        scratch.remove_left(own, server)
        assert databases() == {names["used"]}
    scratch.remove_left(own, server)
    assert databases() == set()


def test_a_keeper_without_a_purpose_goes_with_a_killed_command(migration: Any) -> None:
    source = migration.settings.source
    program = (
        "import os, sys\nfrom pydantic import SecretStr\nfrom helpers.source import snapshot\nfrom helpers.settings import Source\n"
        "source = Source.model_validate_json(sys.argv[1]).model_copy(update={'password': SecretStr(os.environ['PGPASSWORD'])})\n"
        "print(snapshot.take(source).keeper, flush=True)"
    )
    plain = source.model_copy(update={"password": None}).model_dump_json()
    keeper = int(killed(program, plain, PGPASSWORD=source.password.get_secret_value()))
    wait_for(
        lambda: not psutil.pid_exists(keeper) or psutil.Process(keeper).status() == psutil.STATUS_ZOMBIE,
        despite=(psutil.NoSuchProcess,),
    )
    assert migration.held() == []
    rows = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_xmin IS NOT NULL "
        "AND pid <> pg_backend_pid() AND backend_type <> 'autovacuum worker'"
    )
    wait_for(lambda: migration.source(rows) == [(0,)])
