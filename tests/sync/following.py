"""A copy that is followed, as the command makes it, for tests of what comes after."""

from __future__ import annotations

import struct
from contextlib import closing
from time import monotonic
from typing import Any

from helpers import export as exporting
from helpers.model.manifest import Manifest
from helpers.model.sync import Sync
from helpers.platforms import postgres
from helpers.sync import setup
from helpers.sync.changes import Mark, Transaction
from helpers.sync.replication import Stream


def follow(migration: Any, **options: Any) -> tuple[Manifest, Sync]:
    """Exports with a publication and a slot; `stop` takes both away."""
    chosen = {name: options.get(name, ()) for name in ("tables", "exclude")}
    with (
        setup.prepared(migration.settings, migration.bucket, **chosen) as prepared,
        exporting.planned(migration.settings, follow=prepared.follow, **options) as plan,
    ):
        setup.refuse_unpublished(prepared, plan.catalog.tables, plan.snapshot)
        manifest = exporting.export(plan)
        return manifest, setup.keep(prepared, manifest, plan.snapshot)


def stop(migration: Any) -> None:
    setup.stop(migration.settings, migration.bucket)


def left(migration: Any) -> tuple[list[str], list[str]]:
    """The slots of the source's database, and its publications."""
    slots = "SELECT slot_name::text FROM pg_replication_slots WHERE database = current_database() ORDER BY 1"
    publications = "SELECT pubname::text FROM pg_publication ORDER BY 1"
    return tuple([name for (name,) in migration.source(query)] for query in (slots, publications))  # type: ignore[return-value]


def told(migration: Any, sync: Sync) -> list[tuple[bytes, str, tuple[str | None, ...]]]:
    """What the slot tells, as the server's own function does: kind, relation, and the values of new rows or of keys."""
    query = "SELECT data FROM pg_logical_slot_peek_binary_changes(%s, NULL, NULL, 'proto_version', '1', 'publication_names', %s)"
    names, found = {}, []
    with closing(postgres.connect(migration.settings.source)) as connection, connection.cursor() as cursor:
        cursor.execute(query, [sync.slot, f'"{sync.publication}"'])
        for (data,) in cursor.fetchall():
            message = bytes(data)
            if message[:1] == b"R":
                schema, rest = message[5:].split(b"\0", 1)
                names[message[1:5]] = f"{schema.decode()}.{rest.split(bytes(1), 1)[0].decode()}"
            elif message[:1] in (b"I", b"U", b"D"):
                found.append((message[:1], names[message[1:5]], _values(message, 6)))
            elif message[:1] == b"T":
                found += [(b"T", names[message[at : at + 4]], ()) for at in range(6, len(message), 4)]
    return found


def _values(message: bytes, at: int) -> tuple[str | None, ...]:
    (count,), values = struct.unpack_from("!h", message, at), []
    at += 2
    for _ in range(count):
        kind, at = message[at : at + 1], at + 1
        if kind == b"t":
            (length,) = struct.unpack_from("!i", message, at)
            values.append(message[at + 4 : at + 4 + length].decode())
            at += 4 + length
        else:
            values.append(None)
    return tuple(values)


def read_until(stream: Stream, until: int) -> tuple[list[Transaction], list[Mark]]:
    transactions, marks, patience = [], [], monotonic() + 60
    while monotonic() < patience:
        for found in stream.read(1.0):
            if isinstance(found, Transaction):
                transactions.append(found)
            elif isinstance(found, Mark):
                marks.append(found)
            elif found.position >= until:
                return transactions, marks
    raise AssertionError("the stream did not get that far in a minute")
