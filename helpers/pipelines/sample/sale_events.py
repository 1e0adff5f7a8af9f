"""Sales as events: one for each order line of the legacy pipeline's wide table, for the topic of sale events."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing

import psycopg2

from helpers.errors import UsageError
from helpers.events.producing import Event
from helpers.platforms import postgres
from helpers.settings import Source

TABLE = "sales_data"

_QUERY = f"""
SELECT order_line, order_id, order_date::text, ship_date::text, customer_id, product_id, category, region, country,
       sales::text, quantity, profit::text, is_return
FROM public.{TABLE} WHERE order_line > %s ORDER BY order_line LIMIT %s
"""
_FIELDS = (
    "order_line order_id order_date ship_date customer_id product_id category region country sales quantity profit is_return"
).split()


def sale_events(source: Source, *, after: int = 0, limit: int | None = None) -> Iterator[Event]:
    """Reads order lines in their order, as they come.

    An event is a JSON object. Amounts are texts as PostgreSQL prints them, because a JSON number is a binary fraction to most
    readers; `event_id` is the same whenever the same line is sent; the key is the order's, so an order's lines stay in order.

    Args:
        source: where the wide table is.
        after: only order lines with a higher number.
        limit: at most so many.

    Raises:
        UsageError: the source has no such table.
        ConnectionFailed: it does not answer.
    """
    with closing(postgres.connect(source, settings={"default_transaction_read_only": "on"})) as connection:
        try:
            with connection.cursor(name="sale_events") as cursor:
                cursor.execute(_QUERY, (after, limit))
                for row in cursor:
                    yield _event(dict(zip(_FIELDS, row, strict=True)))
        except psycopg2.errors.UndefinedTable:
            raise UsageError(
                "read the sales",
                on=postgres.address(source),
                why=f"it has no table {TABLE}",
                next_step="name another profile; on the local stack: runbook local sample",
            ) from None


def _event(line: dict[str, object]) -> Event:
    value = {"event": "sale", "event_id": f"sale-{line['order_line']}", **line}
    return Event(str(line["order_id"]), json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())
