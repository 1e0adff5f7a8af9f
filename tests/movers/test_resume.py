"""An export that is killed goes on in its snapshot, and the result is what an undisturbed one would have been.

Would catch: a part exported twice or never, a manifest over two snapshots, a damaged file that stays, a snapshot that
nobody lets go.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from profile_support import whole_profile
from waiting import wait_for

from helpers import digests
from helpers import export as exporting
from helpers.errors import StageError, UsageError
from helpers.export import state as export_state
from helpers.model import manifest
from helpers.source import held_snapshots, readers, snapshot

TABLES = [
    "CREATE TABLE big (id int PRIMARY KEY, a numeric(12,2), b text, at timestamp)",
    "INSERT INTO big SELECT n, n / 7.0, md5(n::text), timestamp '2024-01-01' + n * interval '1 s' FROM generate_series(1, 60000) n",
    *(
        f"CREATE TABLE t{n} AS SELECT i AS id, md5((i * {n})::text) AS v FROM generate_series(1, 3000) i"
        for n in range(8)
    ),
]


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "BYTES_PER_RANGE", 512 * 1024)


def _stop_after(plan: Any, files: int) -> None:
    class Killed(BaseException):
        pass

    written = 0
    write = export_state.ExportState.write

    def counted(self: Any, bucket: Any) -> None:
        nonlocal written
        write(self, bucket)
        written = sum(1 for t in self.tables for p in t.parts if p.file)
        if written >= files:
            raise Killed

    export_state.ExportState.write = counted  # type: ignore[method-assign]
    try:
        with pytest.raises(Killed):
            exporting.export(plan)
    finally:
        export_state.ExportState.write = write  # type: ignore[method-assign]


def _resume(migration: Any, name: str) -> manifest.Manifest:
    with exporting.planned(migration.settings, resume=name) as plan:
        assert plan.resumed
        return exporting.export(plan)


def _begin(migration: Any, files: int, change: str | None = None) -> tuple[Any, Any]:
    migration.source(*TABLES)
    held = snapshot.take(migration.settings.source)
    with exporting.planned(migration.settings, snapshot=held) as plan:
        _stop_after(plan, files)
    if change:
        migration.source(change)
    return held, plan.state


def test_an_export_that_cannot_be_planned_holds_no_snapshot(migration: Any) -> None:
    """Would catch: a misspelt table that holds back the source's vacuum for hours."""
    migration.source(*TABLES)
    with (
        pytest.raises(UsageError),
        exporting.planned(migration.settings, tables=("nosuch.*",), keep_for_resume=True),
    ):
        pass
    assert migration.held() == []


def test_an_export_whose_first_write_fails_holds_no_snapshot(migration: Any) -> None:
    """Would catch: a bucket that does not answer, and a snapshot held for an export that nobody can go on with."""
    migration.source(*TABLES)
    stage = migration.settings.values.stage.model_copy(update={"url": "s3://no-such-bucket/x/"})
    values = migration.settings.values.model_copy(update={"stage": stage})
    with (
        pytest.raises(StageError, match="no-such-bucket"),
        exporting.planned(replace(migration.settings, values=values), keep_for_resume=True),
    ):
        pass
    assert migration.held() == []


@pytest.mark.parametrize("files", [1, 4, 9])
def test_it_goes_on_in_the_same_snapshot(migration: Any, files: int) -> None:
    held, state = _begin(migration, files, "UPDATE big SET b = 'changed after the snapshot'")
    before = migration.bucket.sizes()
    with exporting.planned(migration.settings, resume=state.export) as plan:
        assert sum(1 for t in plan.state.tables for p in t.parts if p.file) >= files
        result = exporting.export(plan)
        assert migration.verify("stage").verdict == "equal"
    assert (result.snapshot, result.lsn, result.export) == (held.name, held.lsn, state.export)
    assert set(before) - {state.path} <= set(migration.bucket.sizes())
    assert not snapshot.is_held(migration.settings.source, held.name)
    files = {path for t in result.tables for path in (*(f.path for f in t.files), t.digest.path)}
    assert set(migration.bucket.sizes()) == {"manifest.json", *files}


def test_without_its_snapshot_only_equal_tables_are_kept(migration: Any) -> None:
    held, state = _begin(migration, 15, "UPDATE t3 SET v = 'other' WHERE id = 17")
    held_snapshots.release(held)
    result = _resume(migration, state.export)
    assert result.lsn != held.lsn
    kept = {t.name for t in result.tables if all(f.path.startswith(state.export) for f in t.files)}
    assert kept
    assert "t3" not in kept
    assert migration.verify("stage").verdict == "equal"


def test_a_damaged_or_lost_file_is_written_again(migration: Any) -> None:
    _, state = _begin(migration, 6)
    written = [path for path in migration.bucket.sizes() if path.endswith(".parquet")]
    migration.bucket.write(written[0], b"PAR1 not a file at all PAR1")
    migration.bucket.remove(written[1:2])
    _resume(migration, state.export)
    assert migration.verify("stage").verdict == "equal"


@pytest.mark.parametrize("method", ["native", "canonical"])
def test_the_digest_is_the_same_from_the_source_and_from_the_files(migration: Any, method: digests.Method) -> None:
    migration.source(*TABLES, "CREATE TABLE odd (a numeric, f double precision, t timestamptz, b bytea, j jsonb, c char(4))",
                     "INSERT INTO odd VALUES (1.10, '-0', now(), '\\x00', '{}', 'a'), (NULL, 'NaN', NULL, NULL, NULL, NULL)")  # fmt: skip
    settings = migration.settings
    with exporting.planned(settings) as plan:
        result = exporting.export(plan)
        with readers.Readers(settings.source, settings.export, plan.snapshot.name, plan.catalog.tables) as pool:
            for table in plan.catalog.tables:
                staged = result.table(table.schema, table.name)
                assert staged
                assert staged.digest
                paths = [file.path for file in staged.files]
                kept = digests.sum_files(migration.bucket, paths, staged.columns, staged.key, staged.rows, method)
                again = digests.sum_source(pool, table, staged.columns, staged.key, kept.segments, method)
                assert again.differing(kept) == []
                assert again.fingerprint == kept.fingerprint
                assert kept.rows == staged.rows
                if method == "native":
                    assert digests.read(migration.bucket, staged.digest).fingerprint == kept.fingerprint


def _command(migration: Any, tmp_path: Path, run: str) -> subprocess.Popen[str]:
    """`runbook export --run`, on the test's own database, in a process that can be killed."""
    text, secrets = whole_profile(migration.settings, "t")
    (tmp_path / "migration.toml").write_text(f"{text}[profiles.t.export]\nworkers = 2\n")
    program = "from helpers.source import readers; readers.BYTES_PER_RANGE = 512 * 1024\nfrom helpers.commands import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", program, "export", "--profile", "t", "--run", run, "--json"],
        cwd=tmp_path,
        env={**os.environ, **secrets},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
def test_killed_at_any_tenth_it_ends_right(migration: Any, tmp_path: Path, share: float) -> None:
    migration.source(*TABLES)
    started = time.monotonic()
    whole = _command(migration, tmp_path, f"kill-{os.getpid()}-whole")
    assert whole.wait(120) == 0, whole.stderr
    seconds = time.monotonic() - started
    run = f"kill-{os.getpid()}-{int(share * 10)}"
    first = _command(migration, tmp_path, run)
    time.sleep(seconds * share)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    second = _command(migration, tmp_path, run)
    out, err = second.communicate(timeout=120)
    assert second.returncode == 0, err
    assert json.loads(out)["lsn_exact"]
    assert migration.verify("stage").verdict == "equal"
    assert not [path for path in migration.bucket.sizes() if path.endswith("state.json")]


def test_ctrl_c_leaves_no_query_behind(migration: Any, ctrl_c: Any) -> None:
    migration.source(
        # A minute's work for the workers, whose sessions have the export's name; nothing for the census before them.
        "CREATE FUNCTION wait(t text) RETURNS text LANGUAGE plpgsql AS $$BEGIN "
        "IF current_setting('application_name') LIKE 'migration-runbooks 20%' THEN PERFORM pg_sleep(0.3); END IF; RETURN t; END$$",
        "CREATE VIEW slowly AS SELECT id, wait('x') AS v FROM generate_series(1, 200) id",
    )  # fmt: skip
    with exporting.planned(migration.settings, include_views=True) as plan:
        workers_name = f"migration-runbooks {plan.state.export}"
        ctrl_c(1)
        with pytest.raises((KeyboardInterrupt, StageError)):
            exporting.export(plan)
    active = f"SELECT count(*) FROM pg_stat_activity WHERE application_name = '{workers_name}' AND state = 'active'"
    wait_for(lambda: migration.source(active) == [(0,)], seconds=30)
