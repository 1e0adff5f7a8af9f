"""Loads an order file of any common dialect into the legacy pipeline: all of its rows, or none.

The file is read twice: once to learn how dates and numbers are written, from all of them together, and once to load.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import polars as pl

from helpers.errors import SourceRefused, UsageError
from helpers.pipelines.sample import legacy
from helpers.pipelines.sample.order_columns import COLUMNS, NEEDED, REQUIRED, WHAT, as_option
from helpers.pipelines.sample.order_file import BadRow, OrderFile, open_orders
from helpers.pipelines.sample.sample import copy_csv, to_csv
from helpers.platforms.postgres import value

Report = Callable[[str, float], None]
DateOrder = Literal["iso", "day-first", "month-first"]

SHOWN = 20
_DATES = ("order_date", "ship_date")
_NUMBERS = ("sales", "quantity", "profit")

_MIDNIGHT = r"(?:[T ](?:0{1,2}:00(?::00(?:\.0+)?)?|12:00(?::00)? ?AM))?"
_ISO_DATE = rf"^([0-9]{{4}})[-/.]([0-9]{{1,2}})[-/.]([0-9]{{1,2}}){_MIDNIGHT}$"
_LOCAL_DATE = rf"^([0-9]{{1,2}})([-/.])([0-9]{{1,2}})[-/.]([0-9]{{4}}){_MIDNIGHT}$"
_WHOLE = r"^-?(?:[0-9]+|[1-9][0-9]{0,2}(?:_[0-9]{3})+|[1-9][0-9]{0,2}(?:GROUP[0-9]{3})+)"
_POINT = rf"(?:{_WHOLE.replace('GROUP', ',')}(?:\.[0-9]+)?$|^-?\.[0-9]+$)"
_EASY_POINT = r"^-?[0-9]+\.(?:[0-9]{1,2}|[0-9]{4,30})$"  # nothing to remove, and no group of thousands
_COMMA = rf"(?:{_WHOLE.replace('GROUP', '[.]')}(?:,[0-9]+)?$|^-?,[0-9]+$)"


@dataclass(frozen=True)
class Dialect:
    """How the file is written.

    Attributes:
        date_order: iso where every date begins with its year.
        guessed: which of "date order" and "decimal comma" no value of the file proves.
    """

    separator: str
    encoding: str
    date_order: DateOrder
    decimal_comma: bool
    guessed: tuple[str, ...]


@dataclass(frozen=True)
class Repeat:
    """A line of the file that is the same as an earlier one."""

    line: int
    order_id: str
    product_id: str

    def __str__(self) -> str:
        return f"line {self.line}: order {self.order_id}, product {self.product_id}"


@dataclass(frozen=True)
class OrdersLoaded:
    """What came of a load.

    Attributes:
        rows: rows of the file now in raw_orders.
        lines: order lines in the star; fewer where the file has the same line more than once.
        skipped: bad rows left out; the first of their values are in `bad_rows`.
        repeats: lines that stand in the file already, in every column that is loaded, and are not counted again: the first
            of them, each with its order and product.
        missing: columns that the file does not have, and that are empty.
        ignored: columns of the file that the pipeline does not know.
    """

    path: str
    rows: int
    lines: int
    skipped: int
    bad_rows: tuple[BadRow, ...]
    dialect: Dialect
    repeats: tuple[Repeat, ...]
    missing: tuple[str, ...]
    ignored: tuple[str, ...]


def load_orders(
    dsn: str,
    path: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    skip_bad_rows: bool = False,
    day_first: bool | None = None,
    report: Report | None = None,
) -> OrdersLoaded:
    """Replaces raw_orders by the rows of the file and rebuilds the star, in one transaction.

    Stores, payments, shipments and the log stay as they are. In a database without the sample, its tables are made.

    Args:
        dsn: the database.
        path: a text file with a header; separator, encoding, order of day and month, and decimal sign are found out.
        columns: the pipeline's names of columns → the file's, where they are others. What only likeness speaks for is refused.
        skip_bad_rows: load the other rows where some are bad.
        day_first: says whether 3/4/2024 is in April; None lets the file decide. Where it cannot (no day above 12), a
            dot between the parts, a `;` between the fields or a decimal comma speak for day-first, else month-first.
        report: called with what is being done and the fraction done.

    Raises:
        UsageError: the file is missing, empty, no text, or lacks columns, or a column would only be guessed; somebody's own
            objects are in the way.
        SourceRefused: bad rows, each named by line, column and value; nothing was changed.
        ConnectionFailed: the server did not answer, or went away.
    """
    tell = report or (lambda _, __: None)
    file = open_orders(path, columns)
    if file.guessed:
        raise unconfirmed(file, columns or {})
    dialect = _survey(file, day_first, tell)
    rows, bad, bad_lines = 0, list[BadRow](), 0
    with legacy.transaction(dsn, WHAT) as cursor:
        if legacy.read_marker(cursor) is None:
            legacy.drop_owned(cursor)
            legacy.run_sql(cursor, (*legacy.TABLES_SQL, *legacy.KEYS_SQL, *legacy.REPORTS_SQL))
        cursor.execute("TRUNCATE public.raw_orders")
        for batch in file.batches():
            good, found = _typed(batch.rows, dialect)
            found = sorted(batch.bad + found, key=lambda row: row.line)
            bad_lines += len({row.line for row in found})
            bad += found[: SHOWN - len(bad)]
            rows += good.height
            if skip_bad_rows or not bad:
                copy_csv(cursor, "raw_orders", good.columns, to_csv(good))
            tell("rows", 0.3 + 0.3 * batch.fraction)
        if bad and not skip_bad_rows:
            raise _refused(file, bad, bad_lines)
        if not rows:
            why = "no row that could be loaded: " + str(bad[0]) if bad else "there is a header and no row"
            cure = f"give a file with rows below a header that has {NEEDED}"
            raise UsageError(WHAT, on=str(file.path), why=why, next_step=cure)
        for name, done in zip(legacy.STAR_SQL, (0.6, 0.7, 0.85), strict=True):
            tell(name, done)
            legacy.run_sql(cursor, (name,))
        legacy.run_sql(cursor, legacy.REFRESH_SQL)
        lines = int(value(cursor, "SELECT count(*) FROM public.fact_sales"))
        cursor.execute(_REPEATS, [SHOWN])
        repeats = tuple(Repeat(*each) for each in cursor.fetchall())
        legacy.write_marker(cursor, {"file": file.path.name, "rows": rows, "lines": lines, "dialect": asdict(dialect)})
    tell("done", 1.0)
    return OrdersLoaded(
        str(file.path), rows, lines, bad_lines, tuple(bad), dialect, repeats, file.missing, file.ignored
    )


def unconfirmed(file: OrderFile, columns: Mapping[str, str]) -> UsageError:
    """The refusal of columns that nobody has named, with the option that names them.

    Args:
        file: with its guesses.
        columns: that were named.
    """
    guesses = ", ".join(f"{name} is {column}" for name, column in file.guessed.items())
    return UsageError(
        WHAT, on=str(file.path), why=f"by their likeness alone {guesses}, and nobody has said so",
        next_step=f"say it: --map '{as_option({**columns, **file.guessed})}', or correct it there",
    )  # fmt: skip


_REPEATS = """
    SELECT line_no, order_id, product_id FROM public.raw_orders r
    WHERE NOT EXISTS (SELECT FROM public.fact_sales f WHERE f.sale_id = r.line_no) ORDER BY 1 LIMIT %s
"""


def _survey(file: OrderFile, day_first: bool | None, tell: Report) -> Dialect:
    """Counts, over the whole file, what speaks for each reading; the majority wins and the rest are bad rows."""
    count = dict.fromkeys(("day", "month", "late_day", "late_month", "local", "dots", "point", "comma", "either"), 0)
    for batch in file.batches():
        for name, found in (_date_evidence(batch.rows) | _number_evidence(batch.rows)).items():
            count[name] += int(found or 0)
        tell("dialect", 0.3 * batch.fraction)

    comma = count["comma"] > count["point"]
    proved = bool(count["comma"] or count["point"])
    if not proved:
        comma = file.separator == ";" and count["either"] > 0
    guessed = ["decimal comma"] if not proved and count["either"] else []

    if not count["local"]:
        return Dialect(file.separator, file.encoding, "iso", comma, tuple(guessed))
    if day_first is None:
        day_first = count["day"] > count["month"]
        if count["day"] == count["month"]:
            # Nothing ships before it is ordered: of two readings, the one with fewer such rows.
            day_first = count["late_day"] < count["late_month"]
            if count["late_day"] == count["late_month"]:
                day_first = count["dots"] > 0 or file.separator == ";" or comma
                guessed.append("date order")
    order: DateOrder = "day-first" if day_first else "month-first"
    return Dialect(file.separator, file.encoding, order, comma, tuple(guessed))


def _date_evidence(rows: pl.DataFrame) -> dict[str, int | None]:
    pairs = rows.group_by(*_DATES).len()  # few: the same days come again and again

    def part(column: str, group: int) -> pl.Expr:
        return pl.col(column).str.strip_chars().str.extract(_LOCAL_DATE, group).cast(pl.Int32)

    def number(column: str, month: int, day: int) -> pl.Expr:
        return part(column, 4) * 10_000 + part(column, month) * 100 + part(column, day)

    def count(*conditions: pl.Expr) -> pl.Expr:
        return pl.sum_horizontal((condition * pl.col("len")).sum() for condition in conditions)

    evidence = {
        "day": count(*((part(column, 1) > 12) & (part(column, 3) <= 12) for column in _DATES)),
        "month": count(*((part(column, 3) > 12) & (part(column, 1) <= 12) for column in _DATES)),
        "late_day": count(number("ship_date", 3, 1) < number("order_date", 3, 1)),
        "late_month": count(number("ship_date", 1, 3) < number("order_date", 1, 3)),
        "local": count(*(part(column, 1).is_not_null() for column in _DATES)),
        "dots": count(pl.col("order_date").str.strip_chars().str.extract(_LOCAL_DATE, 2) == "."),
    }
    return pairs.select(**evidence).row(0, named=True)


def _number_evidence(rows: pl.DataFrame) -> dict[str, int]:
    count = dict.fromkeys(("point", "comma", "either"), 0)
    for column in _NUMBERS:
        text = rows[column]
        easy = text.str.contains(_EASY_POINT)
        rest = text.filter(~easy & ~text.str.contains("^-?[0-9]*$"))
        bare = rest.to_frame().select(_bare_number(pl.col(column))).to_series()
        point, comma = bare.str.contains(_POINT), bare.str.contains(_COMMA)
        count["point"] += int(easy.sum()) + int((point & ~comma).sum())
        count["comma"] += int((comma & ~point).sum())
        count["either"] += int((point & comma & bare.str.contains("[.,]")).sum())
    return count


def _typed(rows: pl.DataFrame, dialect: Dialect) -> tuple[pl.DataFrame, list[BadRow]]:
    """The good rows, dates as ISO and numbers with a point, as raw_orders takes them; and what is wrong with the others."""
    stripped = rows.with_columns(pl.col(*COLUMNS).str.strip_chars())
    optional = pl.col("ship_date", "profit")
    stripped = stripped.with_columns(
        pl.when(optional.str.to_lowercase() == "n/a").then(pl.lit("")).otherwise(optional).name.keep()
    )
    typed = stripped.with_columns(
        *(_each(stripped[column], lambda text: _iso_date(text, dialect)) for column in _DATES),
        *(_each(stripped[column], lambda text: _plain_number(text, dialect.decimal_comma)) for column in _NUMBERS),
    ).with_columns(_whole(pl.col("quantity")))

    order = {"iso": "year-month-day", "day-first": "day/month/year", "month-first": "month/day/year"}[
        dialect.date_order
    ]
    sign = "comma" if dialect.decimal_comma else "point"
    reasons = {
        **dict.fromkeys(_DATES, f"not a day between 1900 and 2199 written {order}, as the file's other dates are"),
        **dict.fromkeys(_NUMBERS, f"not a number with decimal {sign}, as the file's other numbers are"),
        "quantity": "not a whole number of at most nine digits",
    }
    checks = [
        pl.when(pl.col(column).str.contains("\x00", literal=True))
        .then(pl.lit("holds a zero byte"))
        .when((pl.col(column) == "") & (column in REQUIRED))
        .then(pl.lit("is empty"))
        .when((pl.col(column) != "") & typed[column].is_null())
        .then(pl.lit(reasons.get(column)))
        .alias(column)
        for column in COLUMNS
    ]
    found = stripped.select(checks)
    is_bad = found.select(pl.any_horizontal(pl.all().is_not_null())).to_series()
    if not is_bad.any():
        return typed, []
    bad = [
        BadRow(line, COLUMNS[column], values[column], reason)
        for line, values, reasons_ in zip(
            rows.filter(is_bad)["line_no"],
            rows.filter(is_bad).select(COLUMNS.keys()).iter_rows(named=True),
            found.filter(is_bad).iter_rows(named=True),
            strict=True,
        )
        for column, reason in reasons_.items()
        if reason
    ]
    return typed.filter(~is_bad), bad


def _each(column: pl.Series, change: Callable[[pl.Expr], pl.Expr]) -> pl.Series:
    """The column changed; each of its values is worked out once, however often it occurs."""
    name = column.name
    known = column.unique().to_frame().with_columns(change(pl.col(name)).alias("changed"))
    return column.to_frame().join(known, on=name, how="left", maintain_order="left")["changed"].alias(name)


def _iso_date(text: pl.Expr, dialect: Dialect) -> pl.Expr:
    """ISO text, "" for "", null where it is no date."""
    day, month = (1, 3) if dialect.date_order == "day-first" else (3, 1)

    def join(pattern: str, year: int, month: int, day: int) -> pl.Expr:
        parts = (text.str.extract(pattern, group).str.zfill(2) for group in (year, month, day))
        return pl.concat_str(*parts, separator="-")

    date = pl.coalesce(join(_ISO_DATE, 1, 2, 3), join(_LOCAL_DATE, 4, month, day)).str.to_date("%Y-%m-%d", strict=False)
    sensible = pl.when(date.dt.year().is_between(1900, 2199)).then(date.cast(pl.String))
    return pl.when(text == "").then(pl.lit("")).otherwise(sensible)


def _bare_number(text: pl.Expr) -> pl.Expr:
    """Without currency sign and blanks around it, minus sign in front, `_` where blanks or apostrophes group digits."""
    return (
        text.str.strip_chars()
        .str.replace_all("[−–]", "-")
        .str.replace(r"^([-+(]?)\s*[$€£¥₹]\s*([-+]?)", "$1$2")
        .str.replace(r"\s*[$€£¥₹]([-)]?)$", "$1")
        .str.replace(r"^\((.+)\)$", "-$1")
        .str.replace(r"^([^-]+)-$", "-$1")
        .str.replace(r"^([-+])\s+", "$1")
        .str.strip_prefix("+")
        .str.replace_all(r"[\s'’]", "_")
    )


def _plain_number(text: pl.Expr, decimal_comma: bool) -> pl.Expr:
    """Digits with a decimal point, "" for "", null where it is not a number or has more digits than an amount can."""
    group, sign, pattern = (".", ",", _COMMA) if decimal_comma else (",", ".", _POINT)
    bare = _bare_number(text)
    plain = bare.str.replace_all(f"[_{group}]", "").str.replace(sign, ".", literal=True)
    fits = bare.str.contains(pattern) & (bare.str.len_chars() <= 40)
    return pl.when(text == "").then(pl.lit("")).when(fits).then(plain)


def _whole(plain: pl.Expr) -> pl.Expr:
    """A plain number without its zeros after the point; null where that leaves no whole number of PostgreSQL's integer."""
    whole = plain.str.replace(r"\.0+$", "")
    return pl.when(whole.str.contains("^-?[0-9]{1,9}$") | (plain == "")).then(whole)


def _refused(file: OrderFile, bad: list[BadRow], bad_lines: int) -> SourceRefused:
    shown = "".join(f"\n  {row}" for row in bad)
    more = f"\n  … the first {len(bad)} findings" if bad_lines > len({row.line for row in bad}) else ""
    why = f"{bad_lines:,} bad row{'s' if bad_lines > 1 else ''}, so nothing was loaded:{shown}{more}\n"
    cure = "correct them, or load the others with skip_bad_rows (--skip-bad-rows)"
    return SourceRefused(WHAT, on=str(file.path), why=why, next_step=cure)
