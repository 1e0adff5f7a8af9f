"""Do the legacy aggregates say what the order lines say? Each is computed again from `raw_orders`, and compared to the cent.

Not by the SQL of pipeline/legacy, which would repeat its own faults, but here, in decimal arithmetic, from the rules
that pipeline/legacy/README.md states. The lines come sorted by order, so that duplicates and the lines of an order stand
together, and what is kept grows with the aggregates and not with the lines.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import ROUND_HALF_UP, Context, Decimal, Inexact, InvalidOperation, localcontext
from itertools import groupby
from typing import Any, NamedTuple

from helpers.errors import SourceRefused
from helpers.pipelines import parity
from helpers.pipelines.parity import AGGREGATES, ParityReport, Row
from helpers.progress import Progress
from helpers.settings import Settings
from helpers.source.asking import asking

ENGINE = "decimal arithmetic outside of PostgreSQL"
RAW = "raw_orders"
READ_AT_ONCE = 10_000
NONE = "(none)"

_EXACT = Context(prec=400, traps=[Inexact, InvalidOperation])
"""A sum that does not fit would be an error, and never a rounded figure."""

_RATIOS = Context(prec=100, rounding=ROUND_HALF_UP)


def compare(settings: Settings, *, progress: Progress | None = None) -> ParityReport:
    """Compares every legacy aggregate with what its order lines give, in one snapshot.

    Raises:
        UsageError: the source has no such aggregate, or no order lines.
        SourceRefused: an order line cannot be read, or the server does not let us read it.
        ConnectionFailed: no answer, or no entry.
    """
    names = [each.name for each in AGGREGATES]
    *there, raw = parity.relations(settings.source, [*names, RAW])
    with asking(settings.source, "add up the order lines again") as cursor:
        lsn = parity.locked(cursor, [*there, raw])
        if progress:
            progress(0, len(there), "adding up the order lines")
        computed = recompute(_raw_lines(cursor, raw.name))
        reports = parity.compare_each(
            cursor, AGGREGATES, there, lambda each: computed[each.name], against="recomputation", progress=progress
        )
    return ParityReport(ENGINE, lsn, "", reports, against="recomputation")


class Line(NamedTuple):
    """A cleaned order line; equal lines are one sale, whatever zeros their amounts are written with."""

    order_id: str
    order_date: date
    ship_date: date | None
    customer_id: str | None
    product_id: str
    category: str | None
    region: str | None
    country: str | None
    sales: Decimal
    quantity: int
    profit: Decimal | None


COLUMNS = Line._fields


def recompute(raw: Iterable[tuple[Any, ...]]) -> dict[str, list[Row]]:
    """Every aggregate from raw order lines.

    Args:
        raw: line number, then `COLUMNS` as text, sorted so that the lines of one order follow one another.

    Returns:
        The rows of each of `parity.AGGREGATES`, by its name; ratios to the cent.

    Raises:
        SourceRefused: a line cannot be read.
    """
    days, months, open_orders = _Totals(), _Totals(), _Totals()
    products: dict[str, _Product] = defaultdict(_Product)
    with localcontext(_EXACT):
        for order_id, lines in groupby(map(_cleaned, raw), key=lambda line: line.order_id):
            for line in dict.fromkeys(lines):
                place = line.region or NONE, line.category or NONE
                days.add((line.order_date, *place), order_id, line)
                months.add((line.order_date.replace(day=1), *place), order_id, line)
                products[line.product_id].add(line)
                if line.ship_date is None and line.quantity >= 0:
                    open_orders.add((order_id, line.customer_id), order_id, line)
        found = {
            "sales_daily": list(days.rows(_KEYS["sales_daily"])),
            "sales_monthly": list(months.rows(_KEYS["sales_monthly"])),
            "product_ranking": list(_ranking(products)),
            "open_orders": list(open_orders.rows(_KEYS["open_orders"])),
        }
    return found


_KEYS = {each.name: each.key for each in AGGREGATES}


@dataclass
class _Total:
    orders: int = 0
    lines: int = 0
    quantity: int = 0
    sales: Decimal = Decimal(0)
    profit: Decimal | None = None
    order_date: date = date.max
    last: str | None = None
    """The order that was counted last."""


class _Totals:
    """Totals by a key."""

    def __init__(self) -> None:
        self._found: dict[tuple[Any, ...], _Total] = defaultdict(_Total)

    def add(self, key: tuple[Any, ...], order_id: str, line: Line) -> None:
        total = self._found[key]
        if total.last != order_id:
            total.orders, total.last = total.orders + 1, order_id
        total.lines += 1
        total.quantity += line.quantity
        total.sales += line.sales
        if line.profit is not None:
            total.profit = (total.profit or Decimal(0)) + line.profit
        total.order_date = min(total.order_date, line.order_date)

    def rows(self, key: tuple[str, ...]) -> Iterator[Row]:
        for values, total in self._found.items():
            yield {**vars(total), **dict(zip(key, values, strict=True)), "average_order": _to_the_cent(total)}


@dataclass
class _Product:
    quantity: int = 0
    sales: Decimal = Decimal(0)
    categories: dict[str | None, int] = field(default_factory=lambda: defaultdict(int))

    def add(self, line: Line) -> None:
        self.quantity += line.quantity
        self.sales += line.sales
        self.categories[line.category] += 1

    @property
    def category(self) -> str | None:
        """The most frequent; of several the first in byte order; none only where no line has one."""
        named = [(-count, name.encode(), name) for name, count in self.categories.items() if name is not None]
        return min(named)[2] if named else None


def _ranking(products: Mapping[str, _Product]) -> Iterator[Row]:
    ordered = sorted(products.items(), key=lambda item: (-item[1].sales, item[0].encode()))
    for rank, (product_id, product) in enumerate(ordered, 1):
        yield {
            "product_id": product_id, "rank": rank, "category": product.category, "quantity": product.quantity,
            "sales": product.sales,
        }  # fmt: skip


def _to_the_cent(total: _Total) -> Decimal:
    ratio = _RATIOS.divide(total.sales, Decimal(total.orders))
    return ratio.quantize(Decimal("0.01"), context=_RATIOS)


def _raw_lines(cursor: Any, relation: str) -> Iterator[tuple[Any, ...]]:
    with cursor.connection.cursor(name="recomputation") as reading:
        reading.itersize = READ_AT_ONCE
        reading.execute(
            f'SELECT line_no, {", ".join(COLUMNS)} FROM {relation} ORDER BY btrim(order_id) COLLATE "C", line_no'
        )
        yield from reading


def _cleaned(raw: tuple[Any, ...]) -> Line:
    number, *texts = raw
    value = {name: None if text is None else text.strip(" ") for name, text in zip(COLUMNS, texts, strict=True)}
    column = ""
    try:
        found: dict[str, Any] = {}
        for column, read in _READ.items():
            found[column] = read(value[column])
        return Line(**found)
    except (ValueError, ArithmeticError, TypeError, AttributeError) as error:
        raise SourceRefused(
            "add up the order lines again", on=f"line {number} of {RAW}, {column} {value[column]!r}",
            why=f"it cannot be read: {error}" if value[column] else "it is empty",
            next_step="correct the order line; days are yyyy-mm-dd, amounts plain decimals",
        ) from None  # fmt: skip


def _text(value: str | None) -> str:
    if not value:
        raise ValueError("it is empty")
    return value


def _unless_empty(value: str | None) -> str | None:
    return value or None


def _unless_absent(value: str | None) -> str | None:
    return None if value is None or value.lower() in ("", "n/a") else value


def _day(value: str | None) -> date:
    return date.fromisoformat(_text(value))


def _day_if_any(value: str | None) -> date | None:
    return date.fromisoformat(found) if (found := _unless_absent(value)) else None


def _amount(value: str | None) -> Decimal:
    found = Decimal(_text(value))
    if not found.is_finite():
        raise ValueError("it is no amount")
    return found


def _amount_if_any(value: str | None) -> Decimal | None:
    return _amount(value) if value else None


_READ = {
    "order_id": _text, "order_date": _day, "ship_date": _day_if_any, "customer_id": _unless_absent, "product_id": _text,
    "category": _unless_empty, "region": _unless_empty, "country": _unless_empty, "sales": _amount,
    "quantity": lambda value: int(_text(value)), "profit": _amount_if_any,
}  # fmt: skip
