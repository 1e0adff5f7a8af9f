"""The archive of the legacy data, in a real S3 server's locked bucket, from a real PostgreSQL.

Would catch: an archive that is called proved and whose dump does not hold what its Parquet files hold; Parquet and dump of two
moments; a dump that was changed at rest, replaced or overlaid; an object that can be deleted; a killed archive that starts
again, locks something twice or mixes two snapshots; something locked for a wrong time, or before a refusal.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from helpers import archive as archiving
from helpers import settings as profiles
from helpers.archive import Archive, backup
from helpers.archive import record as records
from helpers.archive.record import ArchivedFile
from helpers.archive.restore_test import restore_test
from helpers.errors import BackupError, SettingsError, SourceRefused, StageError, UsageError
from helpers.model.manifest import Manifest
from helpers.platforms import s3
from helpers.platforms.s3 import Bucket
from helpers.settings import Settings
from helpers.source import held_snapshots
from tests.conftest import PROJECT, Migration


@pytest.fixture
def legacy(migration: Migration) -> Migration:
    """Tables with a key, without one, and without rows; its archives go below a prefix of their own."""
    migration.source(
        "CREATE TABLE sales (id int PRIMARY KEY, amount numeric(12, 2), note text, at timestamptz)",
        "INSERT INTO sales SELECT i, i / 7.0, 'n' || i, timestamptz '2024-01-01' + i * interval '1 h' FROM generate_series(1, 500) i",
        "CREATE TABLE log (line text)",
        "INSERT INTO log SELECT 'same' FROM generate_series(1, 20)",
        "CREATE TABLE nothing (id int PRIMARY KEY, note text)",
        "CREATE VIEW of_sales AS SELECT * FROM sales",
    )
    values = migration.settings.values
    assert values.archive
    url = f"s3://archive/{migration.name}/"
    own = values.model_copy(update={"archive": values.archive.model_copy(update={"url": url})})
    return Migration(replace(migration.settings, values=own))


@pytest.fixture
def profile(legacy: Migration, migration_toml: Callable[..., Path]) -> Path:
    """The same for another process."""
    return migration_toml(f'{legacy.profile}[profiles.local.archive]\nurl = "{legacy.settings.archive.url}"\n')


def run(own: Migration, folder: Path) -> Archive:
    return archiving.archive(archiving.plan_archive(own.settings, folder))


def objects(own: Migration) -> dict[str, list[str]]:
    """The versions of each object of the archive's location."""
    bucket = Bucket.open(own.settings.archive_stage)
    listed = bucket.client.list_object_versions(Bucket=bucket.location.bucket, Prefix=bucket.location.prefix)
    found: dict[str, list[str]] = {}
    for version in listed.get("Versions", ()):
        found.setdefault(version["Key"].removeprefix(bucket.location.prefix), []).append(version["VersionId"])
    return found


def held(own: Migration) -> list[str]:
    return [each.name for each in own.held()]


def test_an_archive_holds_one_snapshot_twice_and_is_seen_to_restore(legacy: Migration, tmp_path: Path) -> None:
    changed = []

    def change_it(done: int, total: int, what: str) -> None:
        if not changed and "files to go" in what:
            changed.append(what)
            legacy.source("DELETE FROM sales WHERE id % 2 = 0", "UPDATE sales SET amount = 0")

    done = archiving.archive(archiving.plan_archive(legacy.settings, tmp_path / "work"), progress=change_it)
    assert changed
    assert done.proved
    assert {t.table: (t.verdict, t.rows) for t in done.restore_test.tables} == {
        "public.sales": ("equal", 500),
        "public.log": ("equal", 20),
        "public.nothing": ("equal", 0),
    }
    assert list(done.left_out) == ["public.of_sales"]
    bucket = Bucket.open(legacy.settings.archive_stage)
    manifest = Manifest.model_validate_json(bucket.read(f"{done.name}/{done.parquet}") or b"")
    assert (manifest.lsn, manifest.snapshot, manifest.complete) == (done.lsn, done.snapshot, True)
    assert records.read(bucket, done.name) == done
    staged = {f"parquet/{file.path}" for table in manifest.tables for file in table.files}
    assert {*staged, "dump/database.dump", "parquet/manifest.json"} <= {file.path for file in done.files}
    for file in done.files:
        assert bucket.sha256(f"{done.name}/{file.path}", file.version) == (file.bytes, file.sha256)
    assert legacy.bucket.sizes() == {}
    assert not (tmp_path / "work").exists()
    assert held(legacy) == []


def test_nobody_deletes_what_is_archived(legacy: Migration, tmp_path: Path) -> None:
    before = datetime.now(UTC)
    done = run(legacy, tmp_path / "work")
    assert before + timedelta(hours=23) < done.retain_until < before + timedelta(hours=25)
    bucket = Bucket.open(legacy.settings.archive_stage)
    found = objects(legacy)
    assert set(found) == {f"{done.name}/{path}" for path in [*(file.path for file in done.files), "archive.json"]}
    for name, versions in found.items():
        where = {"Bucket": bucket.location.bucket, "Key": bucket.location.key(name), "VersionId": versions[0]}
        assert bucket.client.get_object_retention(**where)["Retention"]["Mode"] == "COMPLIANCE"
        with pytest.raises(ClientError, match=r"AccessDenied|Access Denied"):
            bucket.client.delete_object(**where)
        with pytest.raises(ClientError, match=r"AccessDenied|Access Denied|InvalidRequest|retention"):
            sooner = {"Mode": "COMPLIANCE", "RetainUntilDate": done.retain_until - timedelta(hours=1)}
            bucket.client.put_object_retention(**where, Retention=sooner)
    assert objects(legacy) == found


ARCHIVING = """
import os, signal, sys
from pathlib import Path
from helpers import archive, settings
plan = archive.plan_archive(settings.load("local", Path(sys.argv[1])), Path(sys.argv[2]))
def report(done, total, what):
    print(what, file=sys.stderr)
    if sys.argv[3] in what:
        os.kill(os.getpid(), signal.SIGKILL)
archive.archive(plan, progress=report)
"""


def killed_at(profile: Path, folder: Path, words: str) -> None:
    """Archives in another process, which is killed when it says `words`."""
    done = subprocess.run(
        [sys.executable, "-c", ARCHIVING, str(profile), str(folder), words],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


SLOW = pytest.mark.slow
"""Each is killed and goes on at another place of the same way."""


@pytest.mark.parametrize(
    "words",
    [
        pytest.param("files to go", marks=SLOW),
        "dumping public.sales",
        "locking manifest.json",
        pytest.param("reading back dump", marks=SLOW),
        pytest.param("comparing", marks=SLOW),
    ],
)
def test_a_killed_archive_goes_on_and_locks_nothing_twice(
    legacy: Migration, profile: Path, tmp_path: Path, words: str
) -> None:
    folder = tmp_path / "work"
    killed_at(profile, folder, words)
    before = records.unfinished(folder)
    assert before
    assert all(not name.endswith("archive.json") for name in objects(legacy))
    snapshot = held(legacy)
    plan = archiving.plan_archive(legacy.settings, folder)
    assert plan.resumed
    done = archiving.archive(plan)
    assert done.proved
    assert done.name == before.name
    assert set(done.files) >= set(before.files)
    assert all(len(versions) == 1 for versions in objects(legacy).values())
    if snapshot:
        assert [done.snapshot] == snapshot
    assert held(legacy) == []


def test_an_upload_that_was_not_written_down_is_not_repeated(legacy: Migration, profile: Path, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    killed_at(profile, folder, "reading back")
    state = records.unfinished(folder)
    assert state
    state.model_copy(update={"files": state.files[:-2]}).write(folder)
    done = run(legacy, folder)
    assert done.proved
    assert set(done.files) == set(state.files)
    assert all(len(versions) == 1 for versions in objects(legacy).values())


def test_an_archive_whose_snapshot_is_lost_starts_again_in_another(
    legacy: Migration, profile: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "work"
    killed_at(profile, folder, "dumping public.sales")
    (lost,) = held(legacy)
    (source,) = {each.source for each in legacy.held()}
    held_snapshots.release_named(lost, source)
    legacy.source("INSERT INTO sales VALUES (501, 1, 'later', now())")
    done = run(legacy, folder)
    assert done.proved
    assert done.snapshot != lost
    assert {t.table: t.rows for t in done.restore_test.tables}["public.sales"] == 501


def test_a_dump_that_changed_before_it_was_locked_is_refused(legacy: Migration, profile: Path, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    killed_at(profile, folder, "locking the dump")
    path = folder / "database.dump"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(BackupError, match="SHA-256"):
        run(legacy, folder)
    assert not any("dump" in name for name in objects(legacy))


def test_a_dump_of_other_rows_than_the_files_is_found(legacy: Migration, profile: Path, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    killed_at(profile, folder, "locking the dump")
    legacy.source("UPDATE sales SET amount = amount + 0.01 WHERE id = 17", "INSERT INTO nothing VALUES (1, NULL)")
    (folder / "database.dump").unlink()
    other = backup.dump(legacy.settings.source, folder / "database.dump")
    state = records.unfinished(folder)
    assert state
    assert state.dump
    told = state.dump.model_copy(update={"bytes": other.bytes, "sha256": other.sha256})
    state.model_copy(update={"dump": told}).write(folder)
    done = run(legacy, folder)
    assert not done.proved
    assert {t.table for t in done.restore_test.tables if t.verdict == "different"} == {"public.sales", "public.nothing"}
    assert any("public.sales" in sentence for sentence in done.restore_test.findings)
    assert records.read(Bucket.open(legacy.settings.archive_stage), done.name) == done


def test_a_changed_byte_in_the_archived_dump_is_found(legacy: Migration, tmp_path: Path) -> None:
    done = run(legacy, tmp_path / "work")
    bucket, name = Bucket.open(legacy.settings.archive_stage), f"{done.name}/{done.dump}"
    assert archiving.retest(legacy.settings, done.name, tmp_path / "again").verdict == "equal"
    content = bytearray(bucket.read(name) or b"")
    content[-100] ^= 1
    bucket.write(name, bytes(content))
    over = archiving.retest(legacy.settings, done.name, tmp_path / "again")
    assert over.verdict == "damaged"
    assert "another version lies over" in over.findings[0]
    # As after a fault at rest: the archive's own version is the changed one.
    other = bucket.newest_version(name) or ""
    files = tuple(changed(file, other) if file.path == done.dump else file for file in done.files)
    found = restore_test(
        legacy.settings, bucket, files, name=done.name, dump=done.dump, parquet=done.parquet,
        dumped=done.server_version, server=None, folder=tmp_path / "third",
    )  # fmt: skip
    assert found.verdict == "damaged"
    assert "dump/database.dump is not what was archived" in found.findings[0]
    assert found.tables == ()


def changed(file: ArchivedFile, version: str) -> ArchivedFile:
    return file.model_copy(update={"version": version})


def test_a_lost_file_is_found(legacy: Migration, tmp_path: Path) -> None:
    done = run(legacy, tmp_path / "work")
    files = tuple(changed(file, "0" * 32) if "sales" in file.path else file for file in done.files)
    found = restore_test(
        legacy.settings, Bucket.open(legacy.settings.archive_stage), files, name=done.name, dump=done.dump,
        parquet=done.parquet, dumped=done.server_version, server=None, folder=tmp_path / "again",
    )  # fmt: skip
    assert found.verdict == "damaged"
    assert all("sales" in sentence for sentence in found.findings)


@pytest.mark.parametrize(
    ("key", "value"),
    [("retention_days", "0"), ("retention_days", "36501"), ("retention_days", '"ten years"'), ("mode", '"FOREVER"')],
)
def test_a_wrong_retention_is_refused_before_anything_is_written(
    profile: Path, legacy: Migration, key: str, value: str
) -> None:
    profile.write_text(profile.read_text() + f"{key} = {value}\n")
    with pytest.raises(SettingsError, match=f"profiles.local.archive.{key}"):
        profiles.load("local", profile)
    assert objects(legacy) == {}


@pytest.mark.parametrize(
    ("url", "why"),
    [("s3://migration/archive/", "no Object Lock"), ("s3://not-there/x/", "NoSuchBucket|does not exist")],
)
def test_a_bucket_that_locks_nothing_is_refused_before_anything_is_written(
    legacy: Migration, tmp_path: Path, url: str, why: str
) -> None:
    values = legacy.settings.values
    assert values.archive
    own = values.model_copy(update={"archive": values.archive.model_copy(update={"url": url})})
    with pytest.raises(StageError, match=why):
        archiving.plan_archive(replace(legacy.settings, values=own), tmp_path / "work")
    assert not (tmp_path / "work").exists()
    assert held(legacy) == []


def test_a_loss_is_refused_before_anything_is_locked(legacy: Migration, tmp_path: Path) -> None:
    legacy.source("CREATE TABLE odd (id int PRIMARY KEY, at timestamptz)", "INSERT INTO odd VALUES (1, 'infinity')")
    with pytest.raises(SourceRefused, match="odd"):
        run(legacy, tmp_path / "work")
    assert objects(legacy) == {}
    assert held(legacy) == []


def test_a_source_without_tables_is_refused_before_anything_is_locked(legacy: Migration, tmp_path: Path) -> None:
    legacy.source("DROP TABLE sales, log, nothing CASCADE")
    with pytest.raises(UsageError, match="no table in it"):
        run(legacy, tmp_path / "work")
    assert objects(legacy) == {}


def test_a_folder_with_an_archive_of_another_source_is_refused(legacy: Migration, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    state = archiving.plan_archive(legacy.settings, folder).state
    state.model_copy(update={"source": "PostgreSQL other"}).write(folder)
    with pytest.raises(UsageError, match="PostgreSQL other"):
        archiving.plan_archive(legacy.settings, folder)


def test_a_large_file_is_locked_in_parts(
    local_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "PART_BYTES", 5 << 20)
    bucket = Bucket.open(local_settings.archive_stage)
    file, name = tmp_path / "large", f"large-{os.getpid()}"
    file.write_bytes(os.urandom(11 << 20))
    until = s3.retain_until(1)
    version = bucket.write_locked(name, file, until=until, mode="COMPLIANCE")
    found = bucket.fetch(name, tmp_path / "back", version)
    assert (tmp_path / "back").read_bytes() == file.read_bytes()
    assert bucket.locked_version(name, found[1], until=until, mode="COMPLIANCE") == version
    assert bucket.locked_version(name, "0" * 64, until=until, mode="COMPLIANCE") is None
    assert bucket.locked_version(name, found[1], until=until + timedelta(days=1), mode="COMPLIANCE") is None
    with pytest.raises(ClientError, match=r"AccessDenied|Access Denied"):
        bucket.client.delete_object(Bucket=bucket.location.bucket, Key=bucket.location.key(name), VersionId=version)


def test_the_command_previews_acts_and_tests_again(
    legacy: Migration, profile: Path, tmp_path: Path, runbook: Callable[..., Any]
) -> None:
    def command(*arguments: str) -> tuple[int, dict[str, object]]:
        done = runbook("archive", *arguments, "--json", folder=tmp_path)
        return done.returncode, json.loads(done.stdout)

    name = legacy.name
    code, planned = command("--plan", "--run", name)
    assert code == 0
    assert {"table": "public.log"}.items() <= planned["plan"][0].items()  # type: ignore[index]
    assert objects(legacy) == {}
    code, done = command("--run", name)
    kept = PROJECT / "outputs" / name / "archive"
    try:
        assert (code, done["restore_test"]["verdict"]) == (0, "equal")  # type: ignore[index]
        assert json.loads((kept / f"{done['name']}.json").read_text()) == done
    finally:
        for path in kept.glob("*"):
            path.unlink()
        kept.rmdir()
        kept.parent.rmdir()
    code, tested = command("--retest", str(done["name"]))
    assert (code, tested["verdict"]) == (0, "equal")
