"""The legacy aggregation: raw orders → star → totals by day and by month, by the SQL of pipeline/legacy, in one transaction."""

from __future__ import annotations

import psycopg2

from helpers.errors import UsageError
from helpers.pipelines.sample import legacy
from helpers.platforms import postgres
from helpers.platforms.faults import postgres as faults
from helpers.settings import Source
from helpers.source.asking import asking

TABLES = ("fact_sales", "sales_data", "sales_daily", "sales_monthly")
"""What it rebuilds."""


def aggregate(source: Source) -> dict[str, int]:
    """Runs the aggregation once; a second run over equal orders makes equal tables.

    Args:
        source: the database of the legacy pipeline, and an account that owns its tables.

    Returns:
        Rows of each of `TABLES`.

    Raises:
        ConnectionFailed: no answer, or no entry.
        UsageError: the legacy tables are not there, the account may not change them, or an order cannot be read; all is as it was.
    """
    with legacy.transaction(postgres.dsn(source), "run the legacy aggregation") as cursor:
        try:
            legacy.run_sql(cursor, (*legacy.STAR_SQL, *legacy.REFRESH_SQL))
            count = "SELECT count(*) FROM public.{}"
            return {table: int(postgres.value(cursor, count.format(table))) for table in TABLES}
        except (psycopg2.ProgrammingError, psycopg2.DataError) as error:
            raise UsageError(
                "run the legacy aggregation",
                on=postgres.address(source),
                why=faults.said(error),
                next_step="check that the legacy pipeline's tables are there and belong to this account "
                "(locally: runbook local sample)",
            ) from None


def files(source: Source) -> dict[str, int]:
    """The file of each of `TABLES`: a run truncates them and so gives each another, by which it is known again.

    Raises:
        ConnectionFailed: no answer, or no entry.
    """
    with asking(source, "look at the legacy aggregates' files") as cursor:
        cursor.execute(
            "SELECT name, pg_relation_filenode(to_regclass(format('public.%%I', name)))::int8 FROM unnest(%s) AS name",
            (list(TABLES),),
        )
        return {str(name): int(file or 0) for name, file in cursor.fetchall()}
