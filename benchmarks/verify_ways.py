"""The ways to compare a table that are measured; each runs in a process of its own and prints what it found.

`python -m benchmarks.verify_ways NAME SETUP` prints one JSON object; SETUP is the one that `benchmarks.verify` has made.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from time import perf_counter
from typing import Any

from benchmarks import competitors, tables
from helpers import verify
from helpers.settings import Settings
from helpers.verify import Options, SourceName, TargetName

Found = dict[str, Any]
Setup = dict[str, Any]


def settings(setup: Setup) -> Settings:
    """Profile local, with the benchmark's database, stage and Snowflake schema."""
    own = competitors.settings(setup["prefix"])
    target = own.values.snowflake.model_copy(update={"schema_": setup["schema"]}) if own.values.snowflake else None
    return Settings(own.profile, own.file, own.values.model_copy(update={"snowflake": target}))


def ours(setup: Setup, target: TargetName, source: SourceName = "postgresql", *, witness: bool = False) -> Found:
    """`runbook verify` of the one table."""
    own, name = settings(setup), setup["table"]
    names = {f"public.{name}": setup["target_table"]}
    start = perf_counter()
    with verify.planned(
        own,
        target=target,
        source_name=source,
        tables=(name,),
        location=setup["changed_location" if target == "stage" else "location"],
        options=Options(names=names if target == "snowflake" else {}, witness=witness),
    ) as plan:
        report = verify.verify(plan)
    (table,) = report.tables
    return {
        "seconds": perf_counter() - start,
        "differing": table.changed + table.missing + table.extra,
        "fetched": table.fetched,
        "method": table.method,
    }


def reladiff(setup: Setup) -> Found:
    """reladiff's hashdiff between the table and a copy in the same PostgreSQL, two threads, all columns."""
    from reladiff import Algorithm, connect_to_table, diff_tables  # type: ignore[import, unused-ignore]

    source = settings(setup).source
    password = source.password.get_secret_value() if source.password else ""
    url = f"postgresql://{source.user}:{password}@{source.host}:{source.port}/{source.dbname}"
    columns = tuple(definition.split()[0] for definition in tables.NARROW if definition != "id bigint")
    start = perf_counter()
    left, right = (
        connect_to_table(url, f"public.{name}", "id", extra_columns=columns, thread_count=1)
        for name in (setup["table"], setup["source_copy"])
    )
    found = list(diff_tables(left, right, algorithm=Algorithm.HASHDIFF, threaded=True, max_threadpool_size=2))
    return {"seconds": perf_counter() - start, "differing": len({row[1][0] for row in found})}


WAYS: dict[str, Callable[[Setup], Found]] = {
    "reladiff": reladiff,
    "canonical": lambda setup: ours(setup, "snowflake"),
    "witness": lambda setup: ours(setup, "snowflake", witness=True),
    "native": lambda setup: ours(setup, "stage"),
    "kept, canonical": lambda setup: ours(setup, "snowflake", "manifest"),
    "kept, native": lambda setup: ours(setup, "stage", "manifest"),
}

if __name__ == "__main__":
    name, given = sys.argv[1:]
    print(json.dumps(WAYS[name](json.loads(given))))
