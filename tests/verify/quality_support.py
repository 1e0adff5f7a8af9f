"""What the tests of rules and figures share: both sides of a migrated database as engines, and a target to spoil."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from helpers.model import manifest as manifests
from helpers.model.catalog import Table
from helpers.model.manifest import Manifest
from helpers.platforms import duck, snowflake
from helpers.source import held_snapshots, snapshot
from helpers.source.catalog import read_catalog
from helpers.verify import data_quality
from helpers.verify.data_quality import Rule, RuleResult
from helpers.verify.data_quality.engines import Engine, PostgresEngine, SnowflakeEngine, StageEngine, expected
from helpers.verify.data_quality.figures import Figures, Spec, figures

STAR = (
    "CREATE TYPE channel AS ENUM ('shop', 'web')",
    "CREATE DOMAIN quantity AS int CHECK (VALUE <> 0)",
    "CREATE TABLE calendar (date_key int PRIMARY KEY, day date NOT NULL UNIQUE)",
    "INSERT INTO calendar SELECT to_char(d, 'YYYYMMDD')::int, d FROM generate_series(date '2024-01-01', '2024-03-31', '1 day') d",
    "CREATE TABLE products (product_key int PRIMARY KEY, name text NOT NULL UNIQUE, category text)",
    "INSERT INTO products VALUES (1, 'desk', 'Furniture'), (2, 'chair', 'Furniture'), (3, 'pen', 'Office'), (4, 'cap', 'Office'), (5, 'misc', NULL)",
    """CREATE TABLE sales (
        sale_id bigint PRIMARY KEY,
        date_key int NOT NULL REFERENCES calendar,
        product_key int REFERENCES products,
        region text, via channel NOT NULL, sold quantity NOT NULL,
        amount numeric NOT NULL, price numeric(10,2), weight double precision,
        sold_at timestamptz NOT NULL,
        CONSTRAINT priced CHECK (price >= 0.5 AND price < 1000),
        CONSTRAINT placed CHECK (region IN ('North', 'South', 'East')),
        CONSTRAINT odd CHECK (amount % 1 >= -1))""",
    """INSERT INTO sales
       SELECT n, to_char(date '2024-01-01' + n % 90, 'YYYYMMDD')::int, CASE WHEN n % 11 > 0 THEN n % 5 + 1 END,
              (ARRAY['North', 'South', 'East', NULL])[n % 4 + 1], (ARRAY['shop', 'web'])[n % 2 + 1]::channel, n % 7 + 1,
              n * 1.005, CASE WHEN n % 13 > 0 THEN n % 90 + 0.75 END, n / 8.0,
              timestamptz '2024-01-01 00:30+00' + (n % 90) * interval '1 day'
       FROM generate_series(1, 600) n""",
    "CREATE TABLE months (month date PRIMARY KEY, lines bigint NOT NULL, average_sale numeric NOT NULL)",
    """INSERT INTO months SELECT date_trunc('month', c.day), count(*), avg(s.amount)
       FROM sales s JOIN calendar c USING (date_key) GROUP BY 1""",
)  # fmt: skip
"""A star of its own kind of everything: an enum, a domain, checks that can be translated and one that cannot, NULLs."""


@dataclass
class Sides:
    """A source and a target, and what was read of the source."""

    source: Engine
    target: Engine
    tables: Sequence[Table]
    rules: tuple[Rule, ...]
    session: Any = None

    def results(self) -> tuple[RuleResult, ...]:
        return data_quality.check_rules(self.source, self.target, self.rules, self.tables)

    def figures(self, *specs: Spec) -> Figures:
        return figures(self.source, self.target, self.tables, self.rules, specs=specs)

    @contextmanager
    def spoilt(self, *statements: str) -> Iterator[None]:
        """The target with some statements run through the genuine connector, undone at the end of the block."""
        self.session.execute("BEGIN", doing="spoil the target")
        try:
            for statement in statements:
                self.session.execute(statement, doing="spoil the target")
            yield
        finally:
            self.session.execute("ROLLBACK", doing="mend the target")


def broken(results: Sequence[RuleResult]) -> dict[str, tuple[str, int | None]]:
    """The rules that were not passed, without those that nobody can check: verdict and violations."""
    return {
        result.rule.id.removeprefix("public."): (result.verdict, result.violations)
        for result in results
        if result.verdict not in ("pass", "not checked")
    }


@contextmanager
def source_side(migration: Any, manifest: Manifest | None) -> Iterator[tuple[Any, Sequence[Table], PostgresEngine]]:
    """The source in a snapshot; with a manifest, as it should be in a target of other types."""
    taken = snapshot.take(migration.settings.source)
    try:
        with snapshot.reading(migration.settings.source, taken.name) as cursor:
            tables = read_catalog(cursor).tables
            there = None if manifest is None else {str(table): expected(table.columns) for table in manifest.tables}
            yield cursor, tables, PostgresEngine(cursor, tables, expected=there)
    finally:
        held_snapshots.release(taken)


@contextmanager
def in_snowflake(migration: Any) -> Iterator[Sides]:
    """Source and stand-in of a database that was migrated."""
    manifest = manifests.read(migration.bucket)
    options = migration.settings.snowflake
    with source_side(migration, manifest) as (cursor, tables, source), snowflake.connect(options) as session:
        place = snowflake.identifier(options.database, options.schema_)
        session.execute(f"USE SCHEMA {place}", doing="find the target")
        there = {str(table): expected(table.columns) for table in manifest.tables}
        target = SnowflakeEngine(session, options.database, options.schema_, there)
        yield Sides(source, target, tables, data_quality.rules(cursor, tables), session)


@contextmanager
def in_stage(migration: Any) -> Iterator[Sides]:
    """Source and staged files of a database that was exported."""
    manifest = manifests.read(migration.bucket)
    with source_side(migration, manifest) as (cursor, tables, source), duck.connect() as connection:
        yield Sides(
            source, StageEngine(connection, migration.bucket, manifest), tables, data_quality.rules(cursor, tables)
        )


@contextmanager
def in_postgres(migration: Any) -> Iterator[Sides]:
    """A database beside itself, as after a copy to another server."""
    with source_side(migration, None) as (cursor, tables, source):
        target = PostgresEngine(cursor, tables, name="the other PostgreSQL")
        yield Sides(source, target, tables, data_quality.rules(cursor, tables))
