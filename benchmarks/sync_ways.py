"""The ways to read a slot that are measured; each runs in a process of its own and prints what it found.

`python -m benchmarks.sync_ways NAME SETUP` prints one JSON object; SETUP is the one that `benchmarks.sync` has made.
"""

from __future__ import annotations

import json
import select
import sys
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

from benchmarks import competitors
from helpers.model import manifest as manifests
from helpers.platforms import postgres
from helpers.platforms.s3 import Bucket
from helpers.settings import Settings
from helpers.source.catalog import read_catalog
from helpers.sync import replication
from helpers.sync.changes import Change, Relation, Transaction
from helpers.sync.collapse import Collapsed
from helpers.sync.convert import Converter, refusals
from helpers.sync.replication import Sent

BATCH = 50_000
"""Changes that are staged together."""

Setup = dict[str, Any]


def settings(setup: Setup) -> Settings:
    """Profile local, with the benchmark's database and stage."""
    return competitors.settings(setup["prefix"])


def discard(setup: Setup) -> int:
    """What the server, the protocol and psycopg2 allow: messages are read and thrown away."""
    count = 0
    with replication.connected(settings(setup).source) as connection:
        cursor = connection.cursor()
        options = {"proto_version": "1", "publication_names": setup["publication"], "messages": "true"}
        cursor.start_replication(slot_name=setup["slot"], start_lsn=setup["start"], options=options, decode=False)
        while True:
            message = cursor.read_message()
            if message is not None and message.data_start < setup["end"]:
                count += message.payload[:1] in (b"I", b"U", b"D")
            elif message is not None or cursor.wal_end >= setup["end"]:
                return count
            else:
                cursor.send_feedback(reply=True)
                select.select([cursor], [], [], 0.2)


def transactions(setup: Setup) -> Iterator[Transaction]:
    """Those between two positions."""
    own = settings(setup)
    with replication.reading(own.source, setup["slot"], setup["publication"], setup["start"]) as stream:
        while True:
            for found in stream.read(1.0):
                at = (
                    found.commit_lsn
                    if isinstance(found, Transaction)
                    else found.position
                    if isinstance(found, Sent)
                    else 0
                )
                if at >= setup["end"]:
                    return
                if isinstance(found, Transaction):
                    yield found


def decoded(setup: Setup) -> int:
    """Put together into transactions, and each row decoded."""
    return sum(isinstance(each, Change) for found in transactions(setup) for each in found.changes)


def staged(setup: Setup) -> int:
    """The same, collapsed by key, converted by PostgreSQL and staged as Parquet."""
    own = settings(setup)
    bucket = Bucket.open(own.stage)
    (table,) = manifests.read(bucket).tables
    with postgres.reading(own.source) as cursor:
        catalog = read_catalog(cursor, schemas=own.source.schemas, described=own.tables)
        (found,) = (each for each in catalog.tables if each.name == table.name)
        refused = refusals(cursor, found, table, own.export.policies)
    converter, count, waiting, collapsed = Converter(own.source, bucket), 0, 0, Collapsed(table.key)
    relation: Relation | None = None

    for transaction in chain(transactions(setup), [None]):
        for change in transaction.changes if transaction else ():
            if isinstance(change, Change):
                relation = change.relation
                collapsed.take(change)
                waiting += 1
        if relation and (waiting >= BATCH or transaction is None):
            with converter.batch():
                converter.stage(table, relation, collapsed, refused, f"sync/benchmark/{count}/")
            count, waiting, collapsed = count + waiting, 0, Collapsed(table.key)
    return count


def peak() -> int:
    """The most bytes that this process had in memory; what getrusage says begins with the peak of whoever started it."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) * 1024


WAYS: dict[str, Callable[[Setup], int]] = {"discard": discard, "decoded": decoded, "staged": staged}

if __name__ == "__main__":
    name, given = sys.argv[1:]
    start, cpu = perf_counter(), process_time()
    counted = WAYS[name](json.loads(given))
    print(
        json.dumps(
            {
                "changes": counted,
                "seconds": perf_counter() - start,
                "cpu_seconds": process_time() - cpu,
                "peak_bytes": peak(),
            }
        )
    )
