"""A backup is proved on another server than the source, by a role that only reads.

Would catch: a database made on the source, a restore that needs the source's roles or a superuser, an extension that is missing
without a word, a server that is too old.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from helpers import settings as profiles
from helpers.archive import backup, recovery, restoring
from helpers.errors import BackupError, SettingsError
from helpers.platforms import postgres
from helpers.settings import Backup, Resolved, RestoreServer, Settings, Source

READER = f"restore_reader_{os.getpid()}"


@pytest.fixture
def reader(migration: Any) -> Any:
    """Settings whose source is a role that may read, and nothing else."""
    migration.source(
        "CREATE TABLE visits (id int PRIMARY KEY, note text, day date NOT NULL) PARTITION BY RANGE (id)",
        "CREATE TABLE visits_1 PARTITION OF visits FOR VALUES FROM (1) TO (500)",
        "INSERT INTO visits SELECT n, md5(n::text), date '2026-01-01' + n FROM generate_series(1, 400) n",
        "CREATE SCHEMA apart", "CREATE EXTENSION hstore SCHEMA apart", "CREATE TABLE apart.pairs (id int PRIMARY KEY, p apart.hstore)",
        "INSERT INTO apart.pairs VALUES (1, 'a=>1')", "CREATE POLICY own ON visits TO pg_monitor USING (true)",
        f"DROP ROLE IF EXISTS {READER}", f"CREATE ROLE {READER} LOGIN PASSWORD 'reads-only-9'", f"GRANT USAGE ON SCHEMA apart TO {READER}",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA public, apart TO {READER}",
    )  # fmt: skip
    source = migration.settings.source
    keys = {name: getattr(source, name) for name in ("host", "port", "dbname")}
    yield migration.settings.with_source(
        Source.model_validate({**keys, "user": READER, "password": Resolved("reads-only-9")})
    )
    migration.source(
        f"REVOKE ALL ON SCHEMA apart FROM {READER}", f"REVOKE ALL ON ALL TABLES IN SCHEMA public, apart FROM {READER}",
        f"DROP ROLE {READER}",
    )  # fmt: skip


def _databases(settings: Settings) -> set[str]:
    """Scratch databases of this process on the source's server; other tests make theirs there at the same time."""
    with postgres.reading(settings.source) as cursor:
        cursor.execute("SELECT datname FROM pg_database WHERE datname LIKE %s", [f"{backup.SCRATCH}%"])
        return {name for (name,) in cursor.fetchall()}


def test_a_role_that_only_reads_gets_its_backup_proved_beside_the_source(reader: Settings, tmp_path: Path) -> None:
    before = _databases(reader)
    found = recovery.recover(reader, cells_folder=tmp_path)
    assert found.report.equal
    assert {str(table): table.rows_source for table in found.report.tables}["apart.pairs"] == 1
    assert "started on this machine" in found.where and "version" not in found.where
    assert found.where in recovery.sentence(found, reader)
    assert _databases(reader) == before


def test_a_version_that_nothing_here_reads_is_refused_before_anything_is_dumped(local_settings: Settings) -> None:
    with pytest.raises(BackupError, match=r"version 99.*\[profiles.NAME.backup.restore\]"):
        restoring.refuse_without_place(local_settings, 990000)


def test_functions_of_an_extension_stand_there_as_shells_and_types_do_not(
    fresh_migration_15: Callable[..., AbstractContextManager[Any]], local_settings: Settings, tmp_path: Path
) -> None:
    with fresh_migration_15() as old:
        old.source(
            'CREATE EXTENSION "uuid-ossp"', "CREATE TABLE kept (id uuid DEFAULT uuid_generate_v4() PRIMARY KEY, note text)",
            "INSERT INTO kept (note) SELECT md5(n::text) FROM generate_series(1, 20) n",
        )  # fmt: skip
        source, newer = old.settings.source, local_settings.source
        made = backup.dump(source, tmp_path / "old.dump")
        with backup.restored(made, newer, origin=source) as scratch, postgres.reading(scratch) as cursor:
            assert postgres.value(cursor, "SELECT count(DISTINCT id) FROM public.kept") == 20
        with pytest.raises(BackupError, match="lacks the extensions uuid-ossp"), backup.restored(made, newer):
            pass
        older = Backup(restore=RestoreServer.model_validate({**_keys(source)}))
        named = Settings("local", old.settings.file, old.settings.values.model_copy(update={"backup": older}))
        with pytest.raises(BackupError, match="the same version or a newer one"):
            restoring.refuse_without_place(named, 180000)


def _keys(source: Source) -> dict[str, Any]:
    assert source.password
    names = ("host", "port", "dbname", "user")
    return {name: getattr(source, name) for name in names} | {"password": Resolved(source.password.get_secret_value())}


SOURCE = '[profiles.p.source]\nhost = "h"\ndbname = "d"\nuser = "u"\n'
EXISTING = '[profiles.p.backup.existing]\nwhat = "pgBackRest"\nlink = "https://x/y"\nrestored_on = "{}"\n'


def test_a_backup_of_others_is_their_word_and_never_beside_a_restore_of_ours(
    migration_toml: Callable[..., Path],
) -> None:
    found = profiles.load("p", migration_toml(SOURCE + EXISTING.format("2026-11-20"))).elsewhere
    assert set(found) == {"s00-backup", "s60-recovery"}
    assert found["s00-backup"].what == "pgBackRest, last restored on 2026-11-20"
    for more, says in (
        (EXISTING.format("2999-01-01"), "lies ahead"),
        (EXISTING.format("2026-11-20") + '[profiles.p.backup.restore]\nhost = "h"\ndbname = "d"\nuser = "u"\n', "two ways"),
        ('[profiles.p.backup.restore]\nhost = "h"\ndbname = "d"\nuser = "u"\nschemas = ["s"]\n', "all schemas"),
    ):  # fmt: skip
        with pytest.raises(SettingsError, match=says):
            profiles.load("p", migration_toml(SOURCE + more))
