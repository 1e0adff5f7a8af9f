"""Nothing is held on a source that nobody needs, and what is held is said and can be let go.

Would catch: the source's vacuum held back for hours by an export that was made again, a load that was refused or a command that was
killed before it could say what it held; a snapshot of another server's let go because it has the same name; parts of an upload
that are paid for and in no listing.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import typer
from waiting import wait_for

from helpers import PROJECT
from helpers.commands import places
from helpers.commands.app import app
from helpers.commands.held import transactions_held_back
from helpers.errors import MigrationError
from helpers.platforms import postgres, snowflake
from helpers.platforms.snowflake import identifier
from helpers.source import held_snapshots, snapshot

TABLES = [
    "CREATE TABLE a (id int PRIMARY KEY, v text)",
    "INSERT INTO a SELECT n, n::text FROM generate_series(1, 500) n",
]
XMIN = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_xmin IS NOT NULL "
    "AND pid <> pg_backend_pid() AND backend_type <> 'autovacuum worker'"
)
"""What the server itself knows of whom vacuum waits for."""

Command = Callable[..., str]


@pytest.fixture
def other_process(
    migration: Any, migration_toml: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Command:
    """The command in a folder whose profile is this test's database, each time in a process that ends."""
    migration_toml(f"{migration.profile}[profiles.local.export]\nhold_snapshot_hours = 0.5\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(places, "OUTPUTS", tmp_path / "outputs")
    monkeypatch.setattr(held_snapshots, "RECORDS", tmp_path / "outputs" / "held")  # others hold theirs at the same time
    migration.source(*TABLES)

    def run(*words: str, code: int = 0) -> str:
        program = (
            "from pathlib import Path\nfrom helpers.commands import main, places\nfrom helpers.source import held_snapshots\n"
            "places.OUTPUTS = Path('outputs').resolve()\nheld_snapshots.RECORDS = places.OUTPUTS / 'held'\nmain()"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, *words], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(PROJECT)},
            capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        return done.stderr

    return run


def here(*words: str) -> None:
    """The same in this process, which is much faster."""
    try:
        app(list(words), prog_name="runbook", standalone_mode=False)
    except typer.Exit as ended:
        assert ended.exit_code == 0


def test_an_export_that_is_made_again_holds_one_snapshot_and_each_command_says_so(
    migration: Any, other_process: Command, capfd: pytest.CaptureFixture[str]
) -> None:
    other_process("export", "--run", "r", "--hold-snapshot")
    (first,) = migration.held()
    assert (first.run, first.abandoned) == ("r", True)
    wait_for(lambda: migration.source(XMIN) == [(1,)])
    told = other_process("export", "--run", "r", "--hold-snapshot")
    assert f"held: the snapshot at LSN {first.lsn}" in told
    (second,) = migration.held()
    assert second.name != first.name
    wait_for(lambda: migration.source(XMIN) == [(1,)])
    (until, since) = (second.until, second.taken_at)
    assert until[:10] >= since[:10]
    assert 25 < (_at(until) - _at(since)) / 60 < 35

    capfd.readouterr()
    here("load", "--run", "r")
    shown = " ".join(capfd.readouterr().err.split())
    for part in (f"the snapshot at LSN {second.lsn}", f"since {since}", f"until {until}", " transaction", "--let-go"):
        assert part in shown
    # Of another server than the profile's, the profile's knows nothing.
    assert transactions_held_back(None, [second]) is not None
    assert transactions_held_back(None, [replace(second, source="elsewhere")]) is None
    here("status", "--let-go")  # of no run
    assert [each.name for each in migration.held()] == [second.name]
    (places.OUTPUTS / "r").mkdir(exist_ok=True)
    here("status", "--run", "r", "--let-go")
    assert migration.held() == []
    wait_for(lambda: migration.source(XMIN) == [(0,)])


def _at(text: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp()


def test_a_load_that_is_refused_leaves_nothing_to_verify(
    migration: Any, other_process: Command, capfd: pytest.CaptureFixture[str]
) -> None:
    other_process("export", "--run", "r", "--hold-snapshot")
    assert len(migration.held()) == 1
    with pytest.raises(MigrationError):
        here("load", "--run", "r", "--target-table", "nosuch")  # a slip, after which the same load is called rightly
    assert len(migration.held()) == 1
    target = migration.settings.snowflake
    with snowflake.connect(target) as session:  # somebody else's table is in the way
        session.execute(
            f"CREATE SCHEMA IF NOT EXISTS {identifier(target.database, target.schema_)}", doing="be in the way"
        )
        session.execute(
            f"CREATE TABLE {identifier(target.database, target.schema_, 'a')} (x INT)", doing="be in the way"
        )
    with pytest.raises(MigrationError):
        here("load", "--run", "r")
    assert "let go the snapshot of the export" in capfd.readouterr().err
    assert migration.held() == []
    wait_for(lambda: migration.source(XMIN) == [(0,)])


def test_what_a_killed_command_took_and_could_not_tell_of_goes_with_the_next(migration: Any) -> None:
    source, run = migration.settings.source, f"r{os.getpid()}"
    program = (
        "import os, signal, sys\nfrom pydantic import SecretStr\nfrom helpers.settings import Source\nfrom helpers.source import snapshot\n"
        "source = Source.model_validate_json(sys.argv[1]).model_copy(update={'password': SecretStr(os.environ['PGPASSWORD'])})\n"
        "for run in (sys.argv[2], 's'):\n    snapshot.take(source, purpose='p', run=run)\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    words = [sys.executable, "-c", program, source.model_copy(update={"password": None}).model_dump_json(), run]
    secrets = {"PGPASSWORD": source.password.get_secret_value(), "VAULT_TOKEN": "hvs.nobody-elses-business"}
    subprocess.run(words, env={**os.environ, **secrets}, check=False)
    left = {each.run: each for each in migration.held()}
    assert set(left) == {run, "s"}
    assert "VAULT_TOKEN" not in psutil.Process(left["s"].keeper).environ()
    taken = snapshot.take(source, purpose="p", run=run)
    try:
        now = {each.run: each.name for each in migration.held()}
        assert now == {run: taken.name, "s": left["s"].name}
        # One that a living process has taken is let alone, and so is one of the same name on another server.
        again = snapshot.take(source, purpose="p", run=run)
        assert {each.name for each in migration.held()} == {taken.name, again.name, left["s"].name}
        assert not held_snapshots.release_named(again.name, "another server")
        assert held_snapshots.release_named(again.name, postgres.address(source))
    finally:
        for each in migration.held():
            held_snapshots.release(each)
    wait_for(lambda: migration.source(XMIN) == [(0,)])


def test_parts_of_uploads_that_nobody_finishes_go_with_the_next_export(migration: Any) -> None:
    migration.source(*TABLES)
    first = migration.export()
    bucket = migration.bucket
    where = {"Bucket": bucket.location.bucket}
    mine, others = bucket.location.key(f"{first.export}/a/left.parquet"), bucket.location.key("of-somebody-else/x")
    for key in (mine, others):
        begun = bucket.client.create_multipart_upload(**where, Key=key)["UploadId"]
        bucket.client.upload_part(**where, Key=key, UploadId=begun, PartNumber=1, Body=b"x")

    def open_uploads() -> set[str]:
        found = bucket.client.list_multipart_uploads(**where, Prefix=bucket.location.prefix)
        return {each["Key"] for each in found.get("Uploads", ())}

    assert open_uploads() == {mine, others}
    migration.export()
    assert open_uploads() == {others}
