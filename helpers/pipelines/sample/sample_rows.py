"""The sample's rows, each a pure function of (seed, table, row number)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from helpers.pipelines.sample.sample_draws import (
    Draws,
    Ints,
    choose,
    customer_id,
    date,
    decimal,
    order_id,
    timestamp,
    zeros,
)

FIRST_DAY = 18_993  # 2022-01-01, in days since 1970-01-01
DAYS = 1_096  # to 2024-12-31
SHIPMENTS_FROM = 19_905  # 2024-07-01
STORES = 40

CATEGORIES = ("Furniture", "Office Supplies", "Technology", "Garden & DIY", "Café & Kitchen")
# (country, region, currency, latitude, longitude), the busiest first
COUNTRIES = (
    ("United States", "North America", "USD", 39.7392, -104.9903),
    ("Germany", "Europe", "EUR", 50.1109, 8.6821),
    ("United Kingdom", "Europe", "GBP", 51.5072, -0.1276),
    ("France", "Europe", "EUR", 45.764, 4.8357),
    ("Canada", "North America", "CAD", 43.6532, -79.3832),
    ("Japan", "Asia Pacific", "JPY", 34.6937, 135.5023),
    ("Brazil", "Latin America", "BRL", -23.5505, -46.6333),
    ("Australia", "Asia Pacific", "AUD", -33.8688, 151.2093),
    ("Spain", "Europe", "EUR", 41.3874, 2.1686),
    ("México", "Latin America", "MXN", 19.4326, -99.1332),
    ("Türkiye", "Middle East & Africa", "TRY", 41.0082, 28.9784),
    ("Côte d'Ivoire", "Middle East & Africa", "XOF", 5.36, -4.0083),
)
SEGMENTS = ("Consumer", "Corporate", "Home Office")
FIRST_NAMES = ("Ada", "Björn", "Chloé", "Dmitri", "Elif", "Fatou", "Grace", "Hiroshi", "Inés", "José", "Zoë", "李")
LAST_NAMES = ("O'Brien", "Müller", "García", "Smith", "Yılmaz", "Kouassi", "Tanaka", "da Silva", "Lefèvre", "Nowak")
NOTES = (
    'prefers "Acme" packaging',
    "calls after 17:00,\nnot before",
    "VAT 20 % – reverse charge ✓",
    "path C:\\orders\\new",
    "🎁 gift wrap, señor Ñandú",
)
METHODS = ("card", "card", "card", "paypal", "paypal", "bank transfer", "gift card", "cash")
CARRIERS = ("DHL", "UPS", "FedEx", "La Poste", "Yamato")
TAGS = (None, None, None, "{}", '{"first order"}', "{gift,express}", '{"b2b",NULL}')
PRICES = (199, 349, 499, 799, 1250, 1999, 2490, 3995, 5990, 8999, 12900, 24950, 49900, 99900)
DISCOUNTS = (0, 0, 0, 0, 0, 10, 15, 20, 20, 30, 50)
MONTH_WEIGHTS = (70, 65, 90, 85, 90, 95, 80, 75, 110, 105, 150, 170)
WEEKDAY_WEIGHTS = (10, 9, 9, 10, 12, 14, 7)

# Twelve lines make five orders of one to five lines; which of the lines go together differs from block to block.
_ORDER_SIZES = ((1, 3, 2, 1, 5), (2, 4, 1, 2, 3), (5, 1, 1, 3, 2), (1, 1, 4, 5, 1))
_ORDER_OF_LINE = np.array([np.repeat(np.arange(5), sizes) for sizes in _ORDER_SIZES], dtype=np.int64)
_NUMBER_IN_ORDER = np.array([np.concatenate([np.arange(n) for n in sizes]) for sizes in _ORDER_SIZES], dtype=np.int64)


@dataclass(frozen=True)
class Lines:
    """Order lines as numbers; `sales` in cents, `profit` in hundredths of a cent."""

    order: Ints
    product: Ints
    quantity: Ints
    sales: Ints
    profit: Ints


@dataclass(frozen=True)
class Rows(Draws):
    """All tables of one sample.

    Attributes:
        orders: order lines after cleaning; raw_orders has a hundredth more, repeated lines.
    """

    orders: int

    @property
    def order_count(self) -> int:
        return -(-self.orders // 12) * 5

    @property
    def customer_count(self) -> int:
        return max(100, self.orders // 10)

    @property
    def product_count(self) -> int:
        return min(50_000, max(100, self.orders // 200 * 5))

    def tables(self) -> dict[str, tuple[int, Callable[[int, int], pl.DataFrame]]]:
        """Per table: how many numbers there are to draw rows for, and the function that draws those of a range."""
        return {
            "raw_orders": (self.orders + self.orders // 100, self.raw_orders),
            "stores": (STORES, self.stores),
            "customers": (self.customer_count, self.customers),
            "payments": (self.order_count, self.payments),
            "shipments": (self.order_count, self.shipments),
            "event_log": (self.order_count, self.event_log),
        }

    def raw_orders(self, start: int, stop: int) -> pl.DataFrame:
        """After every hundred lines, one of them comes again, as re-sent by a till: written a little differently."""
        number = np.arange(start, stop, dtype=np.int64)
        block, position = number // 101, number % 101
        again = position == 100
        line = np.where(again, block * 100 + self.draw("again", block, 100), number - block)
        lines = self.lines(line)
        customer = self._customer(lines.order)
        shipped = self._shipped(lines.order)
        country = self._country(customer)
        frame = pl.DataFrame(
            {
                "line_no": number + 1,
                "order": lines.order,
                "day": self._day(lines.order),
                "shipped": shipped,
                "customer": customer,
                "product": lines.product,
                "country": country,
                "sales": lines.sales,
                "quantity": lines.quantity,
                "profit": lines.profit,
                "again": again,
                "whim": self.draw("whim", line, 1000),
            }
        )
        whim, padded = pl.col("whim"), pl.col("again") | (pl.col("whim") % 4 == 0)
        category = choose(CATEGORIES, pl.col("product") % 5)
        return frame.select(
            "line_no",
            order_id=order_id(pl.col("order")),
            order_date=date(pl.col("day")).cast(pl.String),
            ship_date=pl.when(pl.col("shipped") >= 0)
            .then(date(pl.col("shipped")).cast(pl.String))
            .when(whim < 300)
            .then(pl.lit("n/a")),
            customer_id=pl.when(pl.col("customer") >= 0)
            .then(customer_id(pl.col("customer")))
            .when(whim < 500)
            .then(pl.lit("")),
            product_id=pl.format(
                "{}-{}", choose(("FUR", "OFF", "TEC", "GAR", "CAF"), pl.col("product") % 5), zeros("product", 6)
            ),
            category=pl.when((whim >= 990) & ~pl.col("again")).then(pl.format(" {} ", category)).otherwise(category),
            region=pl.when(whim != 7).then(choose([row[1] for row in COUNTRIES], pl.col("country"))),
            country=choose([row[0] for row in COUNTRIES], pl.col("country")),
            sales=decimal(pl.col("sales"), 2, padded),
            quantity=pl.col("quantity").cast(pl.String),
            profit=pl.when((whim < 10) | (whim > 15)).then(decimal(pl.col("profit"), 4, padded)),
        )

    def stores(self, start: int, stop: int) -> pl.DataFrame:
        number = np.arange(start, stop, dtype=np.int64)
        rows = []
        for i in number.tolist():
            country, _, _, latitude, longitude = COUNTRIES[i % len(COUNTRIES)]
            a, b, c = (int(self.draw(s, np.array([i]), 10_000)[0]) for s in ("store a", "store b", "store c"))
            rows.append(
                {
                    "store_id": i + 1,
                    "name": f"{country} {i // len(COUNTRIES) + 1}",
                    "country": country,
                    "latitude": latitude + (a - 5_000) / 65_536,
                    "longitude": longitude + (b - 5_000) / 65_536,
                    "opens_at": ("08:00", "09:30", "10:00")[a % 3],
                    "closes_at": ("18:00", "20:30", "23:59:59.5")[b % 3],
                    "opened_on": f"{1995 + a % 27}-{1 + b % 12:02}-{1 + c % 28:02}",
                    "closed_on": f"2024-{1 + c % 12:02}-15" if i % 9 == 4 else None,
                    "floors": 1 + c % 4,
                    "is_flagship": i < len(COUNTRIES),
                    "logo": None if i % 5 == 3 else "\\x" + bytes([137, 0, i, 255, a % 256, b % 256]).hex(),
                }
            )
        return pl.DataFrame(rows, infer_schema_length=None)

    def customers(self, start: int, stop: int) -> pl.DataFrame:
        number = np.arange(start, stop, dtype=np.int64)
        frame = pl.DataFrame(
            {
                "customer": number,
                "country": self._country(number),
                "first": self.draw("first name", number, len(FIRST_NAMES)),
                "last": self.draw("last name", number, len(LAST_NAMES)),
                "born": self.draw("born", number, 20_000) - 4_000,
                "whim": self.draw("customer", number, 1000),
                "created": self.draw("created", number, 10**9),
            }
        )
        whim, first, last = pl.col("whim"), choose(FIRST_NAMES, pl.col("first")), choose(LAST_NAMES, pl.col("last"))
        seconds = pl.lit(1_420_070_400) + pl.col("created") % 220_000_000
        return frame.select(
            customer_id=customer_id(pl.col("customer")),
            name=pl.format("{} {}", first, last),
            email=pl.when(whim >= 50).then(pl.format("customer{}@example.com", pl.col("customer") + 1)),
            segment=choose(SEGMENTS, whim % 3),
            country=choose([row[0] for row in COUNTRIES], pl.col("country")),
            birth_date=pl.when(whim >= 300).then(date(pl.col("born"))),
            loyalty_level=pl.when(whim < 800).then(whim % 6),
            newsletter=pl.when(whim % 10 > 0).then(whim % 3 == 0),
            notes=pl.when(whim < 60).then(choose(NOTES, whim % 5)).when(whim < 70).then(pl.lit("")),
            created_at=timestamp(seconds, pl.col("created") % 1_000_000),
        )

    def payments(self, start: int, stop: int) -> pl.DataFrame:
        order, total, lines = self._totals(start, stop)
        kept = (total != 0) & (self.draw("payment", order, 5) > 0)
        order, total, lines = order[kept], total[kept], lines[kept]
        frame = pl.DataFrame(
            {
                "uuid": self._uuid(order),
                "order": order,
                "customer": self._customer(order),
                "country": self._country(self._customer(order)),
                "day": self._day(order),
                "total": total,
                "lines": lines,
                "whim": self.draw("payment whim", order, 1000),
                "time": self.draw("payment time", order, 86_400_000),
            }
        )
        whim, status = pl.col("whim"), pl.col("whim") % 100
        method = choose(METHODS, whim % 8)
        return frame.select(
            payment_id=pl.col("uuid"),
            receipt=pl.col("order") + 100_001,
            order_id=order_id(pl.col("order")),
            customer_id=pl.when(pl.col("customer") >= 0).then(customer_id(pl.col("customer"))),
            store_id=pl.when(whim >= 400).then((whim * 7 + pl.col("order")) % STORES + 1),
            method=method,
            status=pl.when(pl.col("total") < 0)
            .then(pl.lit("refunded"))
            .when(status < 3)
            .then(pl.lit("pending"))
            .when(status < 5)
            .then(pl.lit("failed"))
            .otherwise(pl.lit("paid")),
            amount=decimal(pl.col("total"), 2, pl.lit(True)),
            currency=choose([row[2] for row in COUNTRIES], pl.col("country")),
            details=pl.when(whim >= 100).then(
                pl.concat_str(
                    pl.lit('{"provider": {"name": "'),
                    choose(("Adyen", "Stripe", "Wero"), whim % 3),
                    pl.lit('", "attempt": '),
                    1 + whim % 3,
                    pl.lit('}, "lines": '),
                    pl.col("lines"),
                    pl.when(whim % 10 == 0).then(pl.lit(', "memo": "für Zoë ✓"}')).otherwise(pl.lit(', "memo": null}')),
                )
            ),
            tags=choose(TAGS, whim % 7),
            paid_at=pl.when((status >= 3) | (pl.col("total") < 0)).then(
                timestamp(pl.col("day") * 86_400 + pl.col("time") // 1000, pl.col("time") % 1000 * 1000)
            ),
        )

    def shipments(self, start: int, stop: int) -> pl.DataFrame:
        order = np.arange(start, min(stop, self.order_count), dtype=np.int64)
        order = order[self._shipped(order) >= SHIPMENTS_FROM]
        frame = pl.DataFrame(
            {
                "order": order,
                "shipped": self._shipped(order),
                "whim": self.draw("shipment", order, 1000),
                "grams": self.draw("weight", order, 30_000) + 50,
                "time": self.draw("delivered", order, 4 * 86_400),
            }
        )
        whim = pl.col("whim")
        return frame.select(
            shipment_id=pl.col("order") + 1,
            shipped_on=date(pl.col("shipped")),
            order_id=order_id(pl.col("order")),
            store_id=pl.when(whim >= 400).then(whim % STORES + 1),
            carrier=choose(CARRIERS, whim % 5),
            weight_kg=pl.when(whim % 20 > 0).then(decimal(pl.col("grams"), 3, pl.lit(False))),
            delivered_at=pl.when(whim % 25 > 0).then(
                timestamp((pl.col("shipped") + 1) * 86_400 + pl.col("time"), whim * 0).str.strip_suffix("+00")
            ),
        )

    def event_log(self, start: int, stop: int) -> pl.DataFrame:
        """One event for every second order; one in twenty events is delivered twice, word for word."""
        order = np.arange(start, min(stop, self.order_count), dtype=np.int64)
        draw = self.draw("event", order, 40)
        order = np.repeat(order, np.where(draw == 0, 2, draw % 2))
        frame = pl.DataFrame(
            {
                "order": order,
                "customer": self._customer(order),
                "day": self._day(order),
                "whim": self.draw("event whim", order, 1000),
                "time": self.draw("event time", order, 86_400_000),
            }
        )
        whim = pl.col("whim")
        return frame.select(
            logged_at=timestamp(pl.col("day") * 86_400 + pl.col("time") // 1000, pl.col("time") % 1000 * 1000),
            source=choose(("shop", "till", "warehouse"), whim % 3),
            user=pl.when((pl.col("customer") >= 0) & (whim < 700)).then(customer_id(pl.col("customer"))),
            message=pl.when(whim % 50 > 0).then(
                pl.format(
                    "order {} {}", order_id(pl.col("order")), choose(("placed", "paid – ok", "printed\t✓"), whim % 3)
                )
            ),
            payload=pl.when(whim % 4 > 0).then(
                pl.concat_str(
                    pl.lit('{"ms": '),
                    whim,
                    pl.lit(', "retry": false, "locale": "'),
                    choose(("de-DE", "fr-CI", "日本"), whim % 3),
                    pl.lit('"}'),
                )
            ),
        )

    def lines(self, line: Ints) -> Lines:
        """The order lines of these numbers, before anything is written as text."""
        block = line // 12
        pattern = self.draw("pattern", block, len(_ORDER_SIZES))
        order = block * 5 + _ORDER_OF_LINE[pattern, line % 12]
        # Lines of one order differ in product % 5, so that no two of them are the same line by chance.
        group = self.pick("product", line, self._product_weights)
        product = group * 5 + (_NUMBER_IN_ORDER[pattern, line % 12] + order) % 5
        price = np.array(PRICES)[self.draw("price", product, len(PRICES))] + self.draw("cents", product, 100)
        quantity = 1 + self.draw("quantity", line, 9) * self.draw("many", line, 2)
        returned = self.draw("returned", line, 100) < 2
        quantity = np.where(returned, -quantity, quantity)
        discount = np.array(DISCOUNTS)[self.draw("discount", line, len(DISCOUNTS))]
        sales = price * quantity * (100 - discount) // 100
        margin = 5 + self.draw("margin", product, 35) - discount
        return Lines(order, product, quantity, sales, sales * margin)

    def _totals(self, start: int, stop: int) -> tuple[Ints, Ints, Ints]:
        """Of the orders start to stop (multiples of five): number, cents, and how many lines each has."""
        line = np.arange(start // 5 * 12, min(-(-stop // 5) * 12, self.orders), dtype=np.int64)
        lines = self.lines(line)
        first = np.flatnonzero(np.diff(lines.order, prepend=-1))
        counts = np.diff(np.append(first, len(line)))
        return lines.order[first], np.add.reduceat(lines.sales, first), counts

    def _day(self, order: Ints) -> Ints:
        """Orders come in the course of time, more of them every year, before Christmas, and on Saturdays."""
        span = int(self._day_weights[-1])
        point = order * span // self.order_count + self.draw("day", order, span // 400)
        day = np.searchsorted(self._day_weights, np.minimum(point, span - 1), side="right")
        return np.asarray(FIRST_DAY + day, dtype=np.int64)

    def _shipped(self, order: Ints) -> Ints:
        """The day an order ships, or -1: one in a hundred never does, and the last week's are still being packed."""
        day = self._day(order)
        shipped = day + self.draw("ship", order, 8)
        open_ = (self.draw("never", order, 100) == 0) | (day > FIRST_DAY + DAYS - 8) & (
            self.draw("open", order, 2) == 0
        )
        return np.where(open_, -1, shipped)

    def _customer(self, order: Ints) -> Ints:
        """The customer of an order, or -1: some orders have none."""
        customer = self.pick("customer of", order, self._customer_weights)
        return np.where(self.draw("anonymous", order, 1000) < 15, -1, customer)

    def _country(self, customer: Ints) -> Ints:
        return self.pick("country", customer, np.cumsum(1000 // (np.arange(len(COUNTRIES)) + 2)))

    def _uuid(self, order: Ints) -> pl.Series:
        high, low = self.hash("uuid high", order), self.hash("uuid low", order)
        high = high & np.uint64(0xFFFFFFFFFFFF0FFF) | np.uint64(0x4000)
        low = low & np.uint64(0x3FFFFFFFFFFFFFFF) | np.uint64(0x8000000000000000)
        return pl.Series(
            [f"{h:016x}{v:016x}" for h, v in zip(high.tolist(), low.tolist(), strict=True)], dtype=pl.String
        )

    @cached_property
    def _day_weights(self) -> Ints:
        days = np.arange(FIRST_DAY, FIRST_DAY + DAYS).astype("datetime64[D]")
        month = days.astype("datetime64[M]").astype(np.int64) % 12
        weekday = (days.astype(np.int64) + 3) % 7  # 1970-01-01 was a Thursday
        growth = 1000 + np.arange(DAYS, dtype=np.int64)
        weights: Ints = np.cumsum(np.array(MONTH_WEIGHTS)[month] * np.array(WEEKDAY_WEIGHTS)[weekday] * growth)
        return weights

    @cached_property
    def _product_weights(self) -> Ints:
        return np.cumsum(10**12 // (np.arange(self.product_count // 5, dtype=np.int64) + 8))

    @cached_property
    def _customer_weights(self) -> Ints:
        return np.cumsum(10**12 // (np.arange(self.customer_count, dtype=np.int64) + 40))
