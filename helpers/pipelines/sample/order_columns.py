"""Which column of a file is which of the pipeline's: by name, as somebody says it, or by likeness, which somebody confirms."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from helpers.errors import UsageError

WHAT = "load the orders"
COLUMNS = {
    "order_id": "Order ID",
    "order_date": "Order Date",
    "ship_date": "Ship Date",
    "customer_id": "Customer ID",
    "product_id": "Product ID",
    "category": "Category",
    "region": "Region",
    "country": "Country",
    "sales": "Sales",
    "quantity": "Quantity",
    "profit": "Profit",
}
REQUIRED = ("order_id", "order_date", "product_id", "sales", "quantity")
"""Without these there is no order line; the others may be missing, and are then empty."""

HEADER = ",".join(COLUMNS.values())
NEEDED = ",".join(COLUMNS[name] for name in REQUIRED)

_ALIKE = 0.7
"""Below it, two names have more apart than in common; `ORDERNUMBER` and `Order ID` have 1.0 after `_canonical`."""
_WITHIN = 0.72
"""Of a name that is a part of the other, such as Quantity of QUANTITYORDERED."""

_PARTS = (
    ("invoice", "order"),
    ("client", "customer"),
    ("article", "product"),
    ("item", "product"),
    ("sku", "productid"),
)
_ID = re.compile(r"(?:number|num|no|nr|code|key)$")
_SYNONYMS = {
    "qty": "quantity", "units": "quantity", "pieces": "quantity", "amount": "sales", "revenue": "sales", "linetotal": "sales",
    "total": "sales", "totalprice": "sales", "netsales": "sales", "territory": "region", "market": "region", "state": "region",
    "productline": "category", "productcategory": "category", "shippeddate": "shipdate", "shippingdate": "shipdate",
    "deliverydate": "shipdate", "margin": "profit", "date": "orderdate", "product": "productid", "customer": "customerid",
}  # fmt: skip
"""What such files call the same thing."""


@dataclass(frozen=True)
class Assignment:
    """For each of COLUMNS its place in a row, None where the file has none.

    Attributes:
        guessed: by likeness alone: the pipeline's name → the file's.
        missing: names that the file does not have; none of them is required.
        ignored: columns of the file that the pipeline does not know.
    """

    places: dict[str, int | None]
    guessed: dict[str, str]
    missing: tuple[str, ...]
    ignored: tuple[str, ...]


def parse(written: Iterable[str]) -> dict[str, str]:
    """`Order ID=ORDERNUMBER,Sales=TOTAL` as a mapping of the pipeline's names to the file's; quoted parts may hold a comma.

    Raises:
        UsageError: a part is no NAME=COLUMN, names a column that the pipeline does not know, or one twice.
    """
    found: dict[str, str] = {}
    known = {_plain(shown): shown for shown in COLUMNS.values()}
    for each in written:
        for part in next(csv.reader([each], skipinitialspace=True), []):
            name, equals, column = (word.strip() for word in part.partition("="))
            if not equals or not column:
                raise _misread(part, "it is no NAME=COLUMN", "write it like --map 'Order ID=ORDERNUMBER,Sales=TOTAL'")
            if _plain(name) not in known:
                raise _misread(part, f"the pipeline has no column {name!r}", f"name one of: {HEADER}")
            if known[_plain(name)] in found:
                raise _misread(part, f"{name} is given twice", "give each column once")
            found[known[_plain(name)]] = column
    return found


def as_option(mapping: Mapping[str, str]) -> str:
    """The mapping as `--map` takes it."""
    parts = (f"{name}={column}" for name, column in mapping.items())
    return ",".join(f'"{part}"' if "," in part else part for part in parts)


def known(header: Sequence[str], named: Mapping[str, str]) -> tuple[int, int]:
    """How much of a header speaks of orders: columns that are known, and columns that are like one."""
    plain = {_plain(name) for name in header}
    certain = {_plain(name) for name in (*COLUMNS.values(), *named.values())}
    return len(plain & certain), len(_guesses(list(header), list(COLUMNS)))


def assign(header: Sequence[str], named: Mapping[str, str], on: str) -> Assignment:
    """Finds each column, by the names that were given, by its own name, or by likeness.

    Raises:
        UsageError: a column that is needed is not there, or one is there twice; the file's columns are named.
    """
    plain = [_plain(name) for name in header]
    places: dict[str, int | None] = dict.fromkeys(COLUMNS)
    there = ", ".join(header)[:400] or "nothing"
    for name, shown in COLUMNS.items():
        wanted = named.get(shown, shown)
        exact = [n for n, column in enumerate(header) if column.strip() == wanted]
        at = (
            exact
            if shown in named and len(exact) == 1
            else [n for n, column in enumerate(plain) if column == _plain(wanted)]
        )
        if len(at) > 1:
            raise _unreadable(on, f"more than one column {wanted}", "rename or remove all but one of each")
        if not at and shown in named:
            raise _unreadable(on, f"no column {wanted}; the first line has: {there}", f"correct --map '{shown}=…'")
        places[name] = at[0] if at else None
    taken = [place for place in places.values() if place is not None]
    if doubled := next((place for place in taken if taken.count(place) > 1), None):
        raise _unreadable(on, f"{header[doubled]} would be two columns at once", "correct --map")
    free = ["" if n in taken else column for n, column in enumerate(header)]
    guessed = {}
    for name, place in _guesses(free, [name for name, place in places.items() if place is None]).items():
        places[name] = place
        guessed[COLUMNS[name]] = header[place]
    if lacking := [COLUMNS[name] for name in REQUIRED if places[name] is None]:
        example = as_option(dict.fromkeys(lacking, "…"))
        raise _unreadable(
            on, f"no column {', '.join(lacking)}; the first line has: {there}",
            f"say which column it is, --map '{example}', or give a file whose first line has at least {NEEDED}",
        )  # fmt: skip
    missing = tuple(COLUMNS[name] for name, place in places.items() if place is None)
    used = set(places.values())
    return Assignment(places, guessed, missing, tuple(name for n, name in enumerate(header) if n not in used))


def _guesses(header: list[str], wanted: list[str]) -> dict[str, int]:
    """The likest column for each that is wanted, the surest first; no column is taken twice."""
    scored = sorted(
        (
            (-_likeness(column, COLUMNS[name]), n, name)
            for n, column in enumerate(header)
            if _plain(column)
            for name in wanted
        ),
    )
    found: dict[str, int] = {}
    for score, place, name in scored:
        if -score >= _ALIKE and name not in found and place not in found.values():
            found[name] = place
    return found


def _likeness(column: str, name: str) -> float:
    plain, wanted = _plain(column), _plain(name)
    scores = [SequenceMatcher(None, each, wanted).ratio() for each in (plain, _canonical(plain))]
    within = _WITHIN if len(wanted) > 4 and wanted in plain else 0.0
    return max(*scores, within)


def _canonical(plain: str) -> str:
    """The name with words that such files use for the pipeline's own."""
    if plain in _SYNONYMS:
        return _SYNONYMS[plain]
    for theirs, ours in _PARTS:
        plain = plain.replace(theirs, ours)
    return _ID.sub("id", plain)


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _misread(part: str, why: str, next_step: str) -> UsageError:
    return UsageError("understand --map", on=part, why=why, next_step=next_step)


def _unreadable(on: str, why: str, next_step: str) -> UsageError:
    return UsageError(WHAT, on=on, why=why, next_step=next_step)
