"""Every way in which a slot cannot be read is an error that says which, and what helps.

Would catch: a pooler's ordinary session taken for a walsender, a missing right told as a missing SELECT, a slot that is lost for ever and
retried for ever, a connection that was cut and looks like an idle one.
"""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from helpers.errors import ConnectionFailed, SourceFailed
from helpers.sync import replication
from tests.movers.test_pooler import pooled
from tests.sync.following import follow, read_until, stop


@contextmanager
def followed(migration: Any) -> Iterator[Any]:
    migration.source("CREATE TABLE t (id int PRIMARY KEY)")
    try:
        yield follow(migration)[1]
    finally:
        stop(migration)


def test_a_role_that_may_not_replicate_is_told_which_right(migration: Any) -> None:
    name = f"{migration.settings.source.dbname}_reader"
    with followed(migration) as sync, migration.superuser() as cursor:
        cursor.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'secret'")
        try:
            own = {"user": name, "password": SecretStr("secret")}
            source = migration.settings.source.model_copy(update=own)
            with (
                pytest.raises(ConnectionFailed, match="start WAL sender") as found,
                replication.reading(source, sync.slot, sync.publication, sync.position),
            ):
                pass
        finally:
            cursor.execute(f"DROP ROLE {name}")
    assert f"ALTER ROLE {name} REPLICATION" in found.value.next_step and not found.value.transient


def test_a_connection_that_was_cut_is_a_failure_that_passes(migration: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Any] = []
    connect = replication.psycopg2.connect

    def remembered(*arguments: Any, **options: Any) -> Any:
        opened.append(connect(*arguments, **options))
        return opened[-1]

    monkeypatch.setattr(replication.psycopg2, "connect", remembered)
    with (
        followed(migration) as sync,
        pytest.raises(ConnectionFailed) as found,
        replication.reading(migration.settings.source, sync.slot, sync.publication, sync.position) as stream,
    ):
        with socket.socket(fileno=os.dup(opened[-1].fileno())) as line:
            line.shutdown(socket.SHUT_RDWR)
        read_until(stream, 2**63)
    assert found.value.transient


@pytest.mark.slow
@pytest.mark.parametrize("ignored", ["options", "options,replication"])
def test_a_pooler_that_passes_no_replication_on_is_named(migration: Any, ignored: str) -> None:
    with tempfile.TemporaryDirectory(prefix="runbook-pooler-") as folder:
        Path(folder).chmod(0o755)
        with (
            pooled(migration, Path(folder), "session", f"extra_float_digits,{ignored}") as through,
            pytest.raises(ConnectionFailed, match="a pooler that passes none on") as found,
            replication.connected(through.settings.source),
        ):
            pass
    assert "name the server itself" in found.value.next_step and not found.value.transient


@pytest.mark.slow
def test_a_slot_whose_log_was_removed_is_lost(fresh_migration_15: Callable[..., AbstractContextManager[Any]]) -> None:
    with fresh_migration_15() as migration, followed(migration) as sync:
        with migration.superuser() as cursor:
            cursor.execute("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'")
            cursor.execute("SELECT pg_reload_conf()")
            try:
                for _ in range(4):
                    cursor.execute("SELECT pg_logical_emit_message(false, 'test', ''), pg_switch_wal()")
                cursor.execute("CHECKPOINT")
            finally:
                cursor.execute("ALTER SYSTEM RESET max_slot_wal_keep_size")
                cursor.execute("SELECT pg_reload_conf()")
        with (
            pytest.raises(SourceFailed, match="invalidated") as found,
            replication.reading(migration.settings.source, sync.slot, sync.publication, sync.position),
        ):
            pass
    assert "export --follow" in found.value.next_step and not found.value.transient
