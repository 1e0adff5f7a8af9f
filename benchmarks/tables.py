"""The benchmark's tables: the same rows at every run, made by arithmetic inside PostgreSQL."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from helpers.platforms import postgres
from helpers.settings import Source

DATABASE = "benchmark_export"
KINDS = ("narrow", "wide", "special")
CONNECTIONS = 2

_TEXT = "substr(md5(g::text), 1, 20)"
_WORDS = "(ARRAY['delivered in time', 'returned by customer', 'paid by transfer', 'waiting for stock'])[1 + (h & 3)]"
_DAY = "date '2020-01-01' + (h & 2047)::int"

NARROW = {
    "id bigint": "g",
    "quantity int": "(h & 1048575)::int",
    "kind smallint": "(h & 15)::int2",
    "day date": _DAY,
    "at timestamp": "timestamp '2020-01-01' + g * interval '1.000123 s'",
    "price numeric(12,2)": "(h & 16777215) / 100::numeric",
    "amount numeric(12,2)": "CASE WHEN h % 20 <> 0 THEN (h & 1073741823) / 100::numeric END",
    "ratio double precision": "h / 1e12::float8",
    "paid boolean": "h & 1 = 1",
    "code text": _TEXT,
    "note text": f"{_WORDS} || ' ' || {_TEXT}",
}
_CYCLE = (("int", "((h >> {n}) & 65535)::int"), ("numeric(10,2)", "((h >> {n}) & 1048575) / 100::numeric"),
          ("text", "'v' || ((h >> {n}) & 16777215)"), ("date", "date '2000-01-01' + ((h >> {n}) & 8191)::int"))  # fmt: skip
WIDE = {"id bigint": "g"} | {f"c{n:02d} {_CYCLE[n % 4][0]}": _CYCLE[n % 4][1].format(n=n % 40) for n in range(1, 100)}
SPECIAL = {
    "id bigint": "g",
    "measure numeric": "h / 10::numeric ^ (g % 12)::int",
    "at timestamptz": "timestamptz '2020-01-01 00:00+00' + g * interval '1.000123 s'",
    "uid uuid": "md5(g::text)::uuid",
    "doc jsonb": "jsonb_build_object('id', g, 'kind', h & 15, 'price', round((h & 65535) / 100::numeric, 2))",
    "tags text[]": f"ARRAY[{_TEXT}, 'x' || (h & 255), 'second tag']",
    "gap interval": "make_interval(months => (h & 15)::int, days => (g % 28)::int, secs => (h & 65535)::int)",
    "addr inet": "inet '10.0.0.0' + (h & 16777215)",
    "code char(10)": "substr(md5(g::text), 1, 7)",
    "raw bytea": "decode(md5(g::text), 'hex')",
    "mood public.mood": "(ARRAY['calm', 'glad', 'cross'])[1 + h % 3]::public.mood",
    "clock time": "time '00:00' + (h & 65535) * interval '1 s'",
}
COLUMNS = {"narrow": NARROW, "wide": WIDE, "special": SPECIAL}


def create_database(source: Source) -> Source:
    """The benchmark's own database on `source`'s server, created where it is not there."""
    with closing(postgres.connect(source, settings={"search_path": "public"})) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,))
            if not cursor.fetchone():
                cursor.execute(f"CREATE DATABASE {DATABASE}")
    return source.model_copy(update={"dbname": DATABASE})


def drop_database(source: Source) -> None:
    """Removes the database with every table in it."""
    with closing(postgres.connect(source, settings={"search_path": "public"})) as connection:
        connection.autocommit = True
        connection.cursor().execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")


def create_table(source: Source, kind: str, rows: int) -> str:
    """Makes the table unless an earlier run did; returns its name, which carries its size."""
    name = f"{kind}_{rows}"
    columns = COLUMNS[kind]
    with closing(postgres.connect(source, settings={"search_path": "public"})) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SELECT to_regclass(%s)", (f"public.{name}",))
            if cursor.fetchone()[0]:
                return name
            cursor.execute("SELECT to_regtype('public.mood')")
            if not cursor.fetchone()[0]:
                cursor.execute("CREATE TYPE public.mood AS ENUM ('calm', 'glad', 'cross')")
            # Its final name comes last, so that a half-filled table is never measured.
            cursor.execute(f"DROP TABLE IF EXISTS public.{name}_new")
            cursor.execute(f"CREATE TABLE public.{name}_new ({', '.join(columns)})")

    def insert(first: int, last: int) -> None:
        with (
            closing(postgres.connect(source, settings={"search_path": "public", "synchronous_commit": "off"})) as own,
            own,
        ):
            own.cursor().execute(
                f"INSERT INTO public.{name}_new SELECT {', '.join(columns.values())} FROM (SELECT g, "
                f"hashint8extended(g, 42) & 9223372036854775807 AS h FROM generate_series({first}, {last}) g) s"
            )

    cuts = [number * rows // CONNECTIONS for number in range(CONNECTIONS + 1)]
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(insert, [cut + 1 for cut in cuts[:-1]], cuts[1:]))
    with closing(postgres.connect(source, settings={"search_path": "public"})) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE public.{name}_new ADD PRIMARY KEY (id)")
            cursor.execute(f"ALTER TABLE public.{name}_new RENAME TO {name}")
            cursor.execute(f"VACUUM ANALYZE public.{name}")
            cursor.execute("CHECKPOINT")
    return name


def size(source: Source, table: str) -> tuple[int, int]:
    """Rows and bytes of the heap; reading all of it also brings it into the cache."""
    with postgres.reading(source) as cursor:
        cursor.execute(f"SELECT count(*), pg_relation_size(%s::regclass) FROM public.{table}", (f"public.{table}",))
        rows, heap = cursor.fetchone()
    return int(rows), int(heap)


def halves(source: Source, table: str) -> tuple[str, str]:
    """Two conditions that each select about half of the pages."""
    with postgres.reading(source) as cursor:
        cursor.execute(
            "SELECT pg_relation_size(%s::regclass) / current_setting('block_size')::int / 2", (f"public.{table}",)
        )
        (middle,) = cursor.fetchone()
    return f"ctid < '({middle},0)'", f"ctid >= '({middle},0)'"
