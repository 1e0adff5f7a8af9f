"""A dump and its way back, with the real pg_dump and pg_restore.

Would catch: a dump outside of the snapshot; half a file under the name of a whole one; a password for everybody to read; a cut
or changed dump that restores; a scratch database that stays behind, or one in use that is taken for left behind; a restore
that acts beyond its database; another encoding than the dumped one.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from pathlib import Path

import psutil
import psycopg2.errors
import pytest
from pydantic import SecretStr
from waiting import wait_for

from helpers.archive import backup
from helpers.errors import BackupError, SourceFailed, UsageError
from helpers.platforms import pg_tools, postgres, scratch_database
from helpers.settings import Source
from helpers.source import held_snapshots
from helpers.source import snapshot as snapshots
from tests.conftest import Migration

ROWS = 2_000


def rows_of(source: Source, table: str = "public.sales") -> list[tuple[object, ...]]:
    with postgres.reading(source) as cursor:
        cursor.execute(f"SELECT * FROM {table} ORDER BY 1")
        return list(cursor.fetchall())


def scratch_databases(source: Source) -> list[str]:
    with postgres.reading(source) as cursor:
        cursor.execute("SELECT datname FROM pg_database WHERE datname ~ %s", [f"^{backup.SCRATCH}"])
        return [name for (name,) in cursor.fetchall()]


@pytest.fixture
def filled(migration: Migration) -> Migration:
    migration.source(
        "CREATE TABLE sales (id int PRIMARY KEY, amount numeric, note text)",
        f"INSERT INTO sales SELECT i, i / 7.0, 'n' || i FROM generate_series(1, {ROWS}) i",
    )
    return migration


def test_a_dump_shows_the_snapshot_and_restores_as_it_was(filled: Migration, tmp_path: Path) -> None:
    source = filled.settings.source
    before, told = rows_of(source), []
    snapshot = snapshots.take(source)
    try:
        filled.source("DELETE FROM sales WHERE id % 2 = 0", "UPDATE sales SET amount = 0")
        dumped = backup.dump(
            source, tmp_path / "sales.dump", snapshot=snapshot.name, report=lambda *words: told.append(words)
        )
    finally:
        held_snapshots.release(snapshot)
    assert [path.name for path in tmp_path.iterdir()] == ["sales.dump"]
    assert dumped.bytes == dumped.path.stat().st_size
    assert any("public.sales" in what for _, _, what in told)
    with backup.restored(dumped, source) as scratch:
        assert scratch.dbname != source.dbname
        assert rows_of(scratch) == before
        assert rows_of(source) != before
    assert scratch_databases(source) == []


def test_a_dump_of_a_snapshot_that_is_gone_is_refused(filled: Migration, tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="snapshot"):
        backup.dump(filled.settings.source, tmp_path / "sales.dump", snapshot="00000003-0000001B-1")
    assert list(tmp_path.iterdir()) == []


def test_a_frozen_source_is_dumped_and_restored_beside_itself(filled: Migration, tmp_path: Path) -> None:
    source = filled.settings.source
    filled.source(f'ALTER DATABASE "{source.dbname}" SET default_transaction_read_only = on')
    dumped = backup.dump(source, tmp_path / "sales.dump")
    with backup.restored(dumped, source) as scratch:
        assert rows_of(scratch) == rows_of(source)
    assert scratch_databases(source) == []


@pytest.mark.parametrize("keep", [0, 100, 0.5, -1])
def test_a_cut_dump_is_recognized(filled: Migration, tmp_path: Path, keep: float) -> None:
    source = filled.settings.source
    dumped = backup.dump(source, tmp_path / "sales.dump")
    size = int(dumped.bytes * keep) if isinstance(keep, float) else keep if keep >= 0 else dumped.bytes + keep
    os.truncate(dumped.path, size)
    with pytest.raises(BackupError, match="cut off"), backup.restored(dumped, source):
        pytest.fail("a cut dump was restored")
    assert scratch_databases(source) == []


def test_a_changed_dump_is_recognized(filled: Migration, tmp_path: Path) -> None:
    dumped = backup.dump(filled.settings.source, tmp_path / "sales.dump")
    content = bytearray(dumped.path.read_bytes())
    content[-200] ^= 1
    dumped.path.write_bytes(content)
    with pytest.raises(BackupError, match="SHA-256"):
        backup.check(dumped)


def test_what_is_no_dump_is_told_and_leaves_no_database(filled: Migration, tmp_path: Path) -> None:
    source = filled.settings.source
    dumped = backup.dump(source, tmp_path / "sales.dump")
    path = tmp_path / "other.dump"
    path.write_bytes(dumped.path.read_bytes()[:-300])
    told_otherwise = backup._hashed(path, dumped.server_version)
    with pytest.raises(BackupError), backup.restored(told_otherwise, source):
        pytest.fail("half a dump was restored")
    assert scratch_databases(source) == []


def test_a_file_that_is_there_is_not_overwritten(filled: Migration, tmp_path: Path) -> None:
    (tmp_path / "sales.dump").write_text("mine")
    with pytest.raises(UsageError, match="already"):
        backup.dump(filled.settings.source, tmp_path / "sales.dump")
    assert (tmp_path / "sales.dump").read_text() == "mine"


DUMPING = """
import sys
from pathlib import Path
from helpers import settings
from helpers.archive import backup
backup.dump(settings.source_from_dsn("SOURCE"), Path(sys.argv[1]), report=lambda *words: print(words, flush=True))
"""


def test_a_killed_dump_leaves_no_file_that_looks_whole_and_shows_no_password(filled: Migration, tmp_path: Path) -> None:
    source = filled.settings.source
    password = source.password.get_secret_value() if source.password else ""
    path = tmp_path / "sales.dump"
    # The dump waits for this lock, so it is killed in the middle.
    with postgres.reading(source) as cursor:
        cursor.connection.set_session(readonly=False)
        cursor.execute("LOCK TABLE public.sales IN ACCESS EXCLUSIVE MODE")
        process = subprocess.Popen(
            [sys.executable, "-c", DUMPING, str(path)],
            env={**os.environ, "SOURCE": postgres.dsn(source)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        tool = _child(process.pid, "pg_dump")
        wait_for(
            lambda: filled.source("SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'sales'::regclass") != []
        )
        assert password
        assert password not in " ".join(tool.cmdline())
        process.send_signal(signal.SIGKILL)
        process.wait()
        with pytest.raises(UsageError, match="another process"):
            backup.dump(source, path)
        tool.kill()
        _gone(tool)
    assert not path.exists()
    assert backup.check(backup.dump(source, path)) is None
    assert [each.name for each in tmp_path.iterdir()] == ["sales.dump"]


def _child(pid: int, name: str) -> psutil.Process:
    def started() -> psutil.Process | None:
        for child in psutil.Process(pid).children(recursive=True):
            if child.name() == name and any(word.startswith("--file=") for word in child.cmdline()):
                return child
        return None

    found = wait_for(started, despite=(psutil.NoSuchProcess,))
    assert found
    return found


def _gone(process: psutil.Process) -> None:
    wait_for(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE)


def test_a_scratch_database_is_dropped_after_an_error_and_an_interruption(filled: Migration, tmp_path: Path) -> None:
    source = filled.settings.source
    dumped = backup.dump(source, tmp_path / "sales.dump")
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error), backup.restored(dumped, source) as scratch:
            kept = postgres.connect(scratch, settings={"search_path": "public"})  # somebody is still connected
            raise error
        kept.close()
        assert scratch_databases(source) == []


def test_a_database_that_a_superuser_is_about_to_leave_is_dropped(migration: Migration) -> None:
    """DROP DATABASE … WITH (FORCE) is refused meanwhile."""
    name = f"{migration.settings.source.dbname}_scratch"
    migration.source(f"CREATE DATABASE {name}")
    state = json.loads((Path(os.environ["RUNBOOK_LOCAL_ROOT"]) / "state.json").read_text())
    within = migration.settings.source.model_copy(update={"dbname": name})
    superuser = {"user": "postgres", "password": SecretStr(state["passwords"]["superuser"])}
    with (
        closing(postgres.connect(within, settings={"search_path": "public"})),
        closing(postgres.connect(within.model_copy(update=superuser), settings={"search_path": "public"})) as leaving,
    ):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            migration.source(f"DROP DATABASE {name} WITH (FORCE)")
        with pytest.raises(psycopg2.errors.ObjectInUse):
            migration.drop(name)
        threading.Timer(1, leaving.close).start()
        migration.drop(name)
    assert migration.source(f"SELECT 1 FROM pg_database WHERE datname = '{name}'") == []


def test_what_nobody_vouches_for_is_removed_and_nothing_else(filled: Migration, tmp_path: Path) -> None:
    source = filled.settings.source
    dumped = backup.dump(source, tmp_path / "sales.dump")
    left, foreign = f"{backup.SCRATCH}0000abcd", f"{backup.SCRATCH}of_somebody"
    filled.source(f"CREATE DATABASE {left}", f"CREATE DATABASE {foreign}")
    with backup.restored(dumped, source) as first:
        assert set(scratch_databases(source)) == {foreign, first.dbname}
        with backup.restored(dumped, source) as second:
            assert set(scratch_databases(source)) == {foreign, first.dbname, second.dbname}
    filled.source(f"DROP DATABASE {foreign}")


RESTORING = """
import os, signal, sys
from pathlib import Path
from helpers import settings
from helpers.archive import backup
source = settings.source_from_dsn("SOURCE")
backup.SCRATCH = sys.argv[2]
with backup.restored(backup.dump(source, Path(sys.argv[1])), source):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_next_restore_drops_what_a_killed_one_left(filled: Migration, tmp_path: Path) -> None:
    source = filled.settings.source
    subprocess.run(
        [sys.executable, "-c", RESTORING, str(tmp_path / "sales.dump"), backup.SCRATCH],
        env={**os.environ, "SOURCE": postgres.dsn(source)},
        check=False,
    )
    left = scratch_databases(source)
    assert len(left) == 1
    wait_for(lambda: scratch_database.remove_stale(source, backup.SCRATCH) == left)  # the server has to notice
    assert scratch_databases(source) == []


def test_a_restore_goes_without_what_acts_beyond_its_database(filled: Migration, tmp_path: Path) -> None:
    filled.source("CREATE PUBLICATION changes FOR TABLE sales", "COMMENT ON PUBLICATION changes IS 'for the mart'")
    dumped = backup.dump(filled.settings.source, tmp_path / "sales.dump")
    with backup.restored(dumped, filled.settings.source) as scratch:
        assert rows_of(scratch, "pg_publication") == []
        assert len(rows_of(scratch)) == ROWS


def test_a_restore_has_the_encoding_of_the_dumped_database(
    fresh_migration: Callable[..., AbstractContextManager[Migration]], tmp_path: Path
) -> None:
    with fresh_migration(
        "ENCODING 'LATIN1' LOCALE_PROVIDER libc LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    ) as own:
        own.source("CREATE TABLE sales (id int, note text)", "INSERT INTO sales VALUES (1, 'Zoë')")
        dumped = backup.dump(own.settings.source, tmp_path / "latin.dump")
        with backup.restored(dumped, own.settings.source) as scratch, postgres.reading(scratch) as cursor:
            cursor.execute("SHOW server_encoding")
            assert cursor.fetchone() == ("LATIN1",)
            cursor.execute("SELECT note FROM public.sales")
            assert cursor.fetchone() == ("Zoë",)


def test_a_server_that_is_newer_than_every_program_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BackupError, match=r"version 99.*installed: .*18"):
        pg_tools.tools_for(990_001, on="PostgreSQL sales")
    old, fitting, newer = (pg_tools.Tools(Path("/usr/bin"), major) for major in (14, 16, 18))
    monkeypatch.setattr(pg_tools, "_installed", lambda: iter([newer, old, fitting]))
    assert pg_tools.tools_for(150_004, on="") == fitting


def test_rights_that_a_dump_lacks_are_told_at_once(filled: Migration, tmp_path: Path) -> None:
    filled.source("CREATE ROLE reader_of_nothing LOGIN PASSWORD 'x9-reader-password'")
    filled.source("CREATE SCHEMA apart", "CREATE SEQUENCE apart.numbers", "ALTER TABLE sales ENABLE ROW LEVEL SECURITY")
    source, given = filled.settings.source, []
    try:
        with pytest.raises(SourceFailed) as refused:
            _dump_as(source, tmp_path)
        given = re.findall(r"GRANT [^;]+", refused.value.next_step.partition(" (from")[0])
        filled.source(*given)
        with pytest.raises(SourceFailed, match="BYPASSRLS"):
            _dump_as(source, tmp_path)
    finally:
        filled.source(*(each.replace("GRANT", "REVOKE").replace(" TO ", " FROM ") for each in given))
        filled.source("DROP ROLE reader_of_nothing")
    assert all(name in refused.value.why for name in ("apart.numbers", "public.sales"))
    assert list(tmp_path.iterdir()) == []


def _dump_as(source: Source, folder: Path) -> None:
    from helpers.settings import Resolved

    other = Source.model_validate(
        source.model_dump(exclude={"password", "user"})
        | {"user": "reader_of_nothing", "password": Resolved("x9-reader-password")}
    )
    backup.dump(other, folder / "sales.dump")
