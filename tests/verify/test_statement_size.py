"""What verification sends to Snowflake stays below 1 MB, and says the same as the form that is written out.

Would catch: a table of many doubles whose digest Snowflake refuses, a shared part that is computed otherwise than the form, a column
that is called like one of the short names, a sample or a segment that chooses other rows than the digest counted.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import canonical_corpus as corpus
import pytest

from helpers.digests.canonical import FormColumn, kind_of
from helpers.engines.columns import Segments, TablePlan, as_compared
from helpers.engines.shapes import TableShape
from helpers.engines.snowflake.ddl import SNOWFLAKE
from helpers.engines.snowflake.dialect import CANONICAL
from helpers.engines.snowflake.rows import SnowflakeSide
from helpers.engines.snowflake.scan import scanned
from helpers.model.catalog import Table
from helpers.model.manifest import StagedColumn
from helpers.model.places import TargetTable
from helpers.platforms import snowflake
from helpers.settings import Settings

MOST_BYTES = 1_000_000
MOST_COLUMNS = 1_600
"""Of a PostgreSQL table (https://www.postgresql.org/docs/18/limits.html)."""


def _column(name: str, kind: corpus.Kind) -> StagedColumn:
    return StagedColumn(
        name=name, field=name, source=name, postgres=kind.postgres, parquet=kind.parquet, snowflake=kind.snowflake,
        comparison="text", delta=kind.spark, read="{c}", text="{c}", not_null=False, comment=None, encoding="exact", note="",
        policy=None, touched=0,
    )  # fmt: skip


def _plan(names: list[str], kinds: list[corpus.Kind], key: tuple[str, ...] = (), **more: Any) -> TablePlan:
    columns = tuple(as_compared(_column(n, k), n, None, SNOWFLAKE) for n, k in zip(names, kinds, strict=True))
    table = Table("public", "t", 0, (), key, ())
    return TablePlan(table, columns, TableShape(SNOWFLAKE, ()), 1_000_000, TargetTable("S", "t"), **more)


class _Unasked(SnowflakeSide):
    """The side's statements, without an account."""

    def __init__(self) -> None:
        self._database = "D"
        self._veiled = {}


@pytest.mark.parametrize("kind", corpus.KINDS, ids=lambda kind: kind.name)
def test_the_widest_table_of_the_longest_names_stays_below_a_megabyte(kind: corpus.Kind) -> None:
    names = [f"{n:04}".ljust(63, '"') for n in range(MOST_COLUMNS)]
    kinds = [kind] * MOST_COLUMNS
    chosen = Segments(2**21 - 9, tuple(range(2**21 - 9 - 5_000, 2**21 - 9)))
    types = dict.fromkeys(names, kind.snowflake)
    side, some = _Unasked(), Segments(997, tuple(range(10)))
    for plan in (_plan(names, kinds), _plan(names, kinds, tuple(names[:32])), _plan(names, kinds, sample=some)):
        for sql in (side.digest_query(plan, 25_000), side.rows_query(plan, chosen, types)):
            assert len(sql.encode()) < MOST_BYTES, (kind.name, len(sql))
            assert sql.count("(") == sql.count(")")


@pytest.fixture(scope="module")
def warehouse(local_settings: Settings) -> Iterator[Any]:
    """A cursor of the genuine connector, in a schema with the corpus."""
    target = local_settings.snowflake
    with closing(snowflake.open_connection(target)) as connection, connection.cursor() as cursor:
        schema = snowflake.identifier(target.database, f"SIZE_{os.getpid()}")
        cursor.execute(f"CREATE SCHEMA {schema}")
        cursor.execute(f"USE SCHEMA {schema}")
        yield cursor
        cursor.execute(f"DROP SCHEMA {schema}")


NAMES = [
    "n", "T", "L", "V0", "H", "K", "EV9", "SV9", "I", "P", "M", "G", "CONSTANTS", "segment", "total", 'odd "name"', "q",
]  # fmt: skip
"""As the columns of the corpus are called here: like every short name that there is."""


@pytest.fixture(scope="module")
def filled(warehouse: Any) -> str:
    made = ", ".join(f"{snowflake.identifier(n)} {k.snowflake}" for n, k in zip(NAMES, corpus.KINDS, strict=True))
    warehouse.execute(f'CREATE TABLE "t" ({made})')
    rows = list(corpus.ROWS.values())
    for start in range(0, len(rows), 20):
        selects = (
            f"SELECT {', '.join(map(corpus.in_snowflake, row, corpus.KINDS))}" for row in rows[start : start + 20]
        )
        warehouse.execute(f'INSERT INTO "t" {" UNION ALL ".join(selects)}')
    return '"t"'


def test_shared_parts_make_the_golden_form(warehouse: Any, filled: str) -> None:
    golden = sorted(corpus.low64(corpus.form(row)) for row in corpus.ROWS.values())
    scan = scanned(_plan(NAMES, list(corpus.KINDS)), filled)
    warehouse.execute(f"SELECT TO_VARCHAR(H) FROM {scan.where()}")
    assert sorted(int(h) for (h,) in warehouse.fetchall()) == golden


@pytest.mark.parametrize("key", [(), ("T", "V0"), ("SV9",), ("segment", "T")])
def test_segments_are_those_of_the_form_that_is_written_out(warehouse: Any, filled: str, key: tuple[str, ...]) -> None:
    plan = _plan(NAMES, list(corpus.KINDS), key)
    columns = {
        name: FormColumn(
            corpus_column.sql.replace(f'"{kind.name}"', snowflake.identifier(name)), *kind_of(kind.parquet)
        )
        for name, kind, corpus_column in zip(NAMES, corpus.KINDS, corpus.columns_in_snowflake(), strict=True)
    }
    keys = [columns[name] for name in key]
    side = _Unasked()
    for segments in (1, 97):
        warehouse.execute(CANONICAL.digest_query(list(columns.values()), keys, segments, filled))
        expected = sorted(warehouse.fetchall())
        warehouse.execute(side.digest_query(plan, segments).replace('"D"."S"."t"', filled))
        assert sorted(warehouse.fetchall()) == expected
        some = Segments(segments, tuple(segment for segment, _, _ in expected[:3]))
        types = dict(zip(NAMES, (kind.snowflake for kind in corpus.KINDS), strict=True))
        warehouse.execute(side.rows_query(plan, some, types).replace('"D"."S"."t"', filled))
        assert len(warehouse.fetchall()) == sum(n for _, n, _ in expected[:3])


def test_a_table_of_doubles_is_digested(warehouse: Any) -> None:
    """The stand-in's parser and planner have to follow the layers, too."""
    count = 50
    names = [f"c{n}" for n in range(count)]
    double = next(kind for kind in corpus.KINDS if kind.name == "twice")
    warehouse.execute(f'CREATE TABLE "wide" ({", ".join(f"""{snowflake.identifier(n)} FLOAT""" for n in names)})')
    warehouse.execute(f'INSERT INTO "wide" SELECT {", ".join(f"""{n}.5e{n % 300}::FLOAT""" for n in range(count))}')
    warehouse.execute(_Unasked().digest_query(_plan(names, [double] * count), 3).replace('"D"."S"."t"', '"wide"'))
    ((_, n, total),) = warehouse.fetchall()
    form = "".join(f"{corpus.bits(float(f'{n}.5e{n % 300}'))}," for n in range(count))
    assert (n, int(total)) == (1, corpus.low64(form))
