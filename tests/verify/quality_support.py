"""What the tests of rules and figures share: both sides of a migrated database as engines, and a target to spoil."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from helpers import verify as verifying
from helpers.engines import engine
from helpers.engines.answers import Answers
from helpers.engines.postgres.quality import PostgresAnswers
from helpers.model.catalog import Table
from helpers.platforms import snowflake
from helpers.source import snapshot
from helpers.verify import data_quality
from helpers.verify.data_quality import Rule, RuleResult
from helpers.verify.data_quality.figures import Figures, figures

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

    source: Answers
    target: Answers
    tables: Sequence[Table]
    rules: tuple[Rule, ...]
    session: Any = None

    def results(self) -> tuple[RuleResult, ...]:
        return data_quality.check_rules(self.source, self.target, self.rules, self.tables)

    def figures(self) -> Figures:
        return figures(self.source, self.target, self.tables, self.rules)

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
def in_target(migration: Any, target: str) -> Iterator[Sides]:
    """Source and target of a database that was migrated, as `--check data-quality` asks them."""
    planned = verifying.planned(migration.settings, target=target, check="data-quality")
    with planned as plan, ExitStack() as stack:
        cursor = stack.enter_context(snapshot.reading(plan.source, plan.snapshot))
        tables = [each.table for each in plan.tables]
        source = PostgresAnswers(
            cursor, {str(table): table for table in tables}, plan.tables if engine(target).as_staged else None
        )
        found = engine(target).ask(plan.place, stack)
        yield Sides(source, found, tables, data_quality.rules(cursor, tables))


@contextmanager
def in_snowflake(migration: Any) -> Iterator[Sides]:
    """Source and stand-in, which a test may spoil."""
    with in_target(migration, "snowflake") as sides:
        options, sides.session = migration.settings.snowflake, sides.target._side._session  # type: ignore[attr-defined]
        place = snowflake.identifier(options.database, options.schema_)
        sides.session.execute(f"USE SCHEMA {place}", doing="find the target")
        yield sides


def in_stage(migration: Any) -> AbstractContextManager[Sides]:
    """Source and staged files of a database that was exported."""
    return in_target(migration, "stage")


def in_delta(migration: Any) -> AbstractContextManager[Sides]:
    """Source and Delta tables, read by DuckDB from their files."""
    return in_target(migration, "databricks")


def in_postgres(migration: Any) -> AbstractContextManager[Sides]:
    """A database beside itself, as after a copy to another server."""
    return in_target(migration, "postgresql")
