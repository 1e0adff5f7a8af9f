"""NULL against the texts that stand for it, and values replaced by one constant or recoded."""

from __future__ import annotations

import math
from collections.abc import Iterable

from helpers.platforms.postgres import literal
from helpers.verify.hypotheses.base import ANY, NUMBERS, SELF_EVIDENT, Fit, Hypothesis, fixed
from helpers.verify.hypotheses.pairs import PAIRS_TABLE, Pairs, Parameter

EMPTY = (
    "The file format confuses NULL and the empty text: load Parquet rather than CSV, or set "
    "EMPTY_FIELD_AS_NULL and NULL_IF of the file format, and write empty texts in quotes."
)

SENTINELS = {
    "": EMPTY,
    "0": "A COALESCE, fillna(0) or a column default writes 0 where there was nothing: let NULL through.",
    "-1": "A COALESCE, a lookup's 'not found' or a surrogate key writes -1 where there was nothing: let NULL through.",
    "false": "A COALESCE, a column default or a Boolean of a language without NULL writes false: let NULL through.",
    "NULL": "Text exports write NULL as a word: set NULL_IF of the file format to that word, or load Parquet.",
    "null": "A JSON or text export writes NULL as a word: set NULL_IF of the file format to that word, or load Parquet.",
    "None": "Python's str(None) was written: test for None before converting to text.",
    "nan": "pandas reads NULL as NaN and writes it as text: use nullable types, or keep_default_na and na_rep.",
    "NaN": "pandas or a float column holds NULL as NaN: use nullable types, or turn NaN back into NULL when loading.",
    "NaT": "pandas writes a missing time as NaT: turn NaT back into NULL when loading.",
    "<NA>": "pandas writes a missing value as <NA>: turn it back into NULL when loading.",
    "NA": "R or pandas writes a missing value as NA: set NULL_IF of the file format to that word.",
    "N/A": "A report's or spreadsheet's word for a missing value: set NULL_IF of the file format to that word.",
    "n/a": "A report's or spreadsheet's word for a missing value: set NULL_IF of the file format to that word.",
    "\\N": "COPY's text format writes NULL as \\N: set NULL_IF of the file format to '\\\\N'.",
    "undefined": "JavaScript's undefined was written as text: test for it before converting to text.",
    "unknown": "A dimension's 'unknown' member stands for NULL: let NULL through, or declare the replacement as a policy.",
    "-": "A report's sign for a missing value: set NULL_IF of the file format to that sign.",
    "1970-01-01": "The time zero of Unix, so an integer 0 was read as a time: let NULL through.",
    "1900-01-01": "SQL Server's and Excel's time zero, so a 0 or an empty text was read as a time: let NULL through.",
    "0001-01-01": "The first day of .NET, Go and Python's calendars stands for NULL: let NULL through.",
    "9999-12-31": "A convention for 'open-ended' stands for NULL: let NULL through, or declare it as a policy.",
}
"""Constants known to stand for NULL, a time by its date alone, and where they come from."""

WEAK = frozenset({"0", "-1", "false", "-", "unknown"})
"""Those that are values as well."""

SPECIAL = "'NaN', 'Infinity', '-Infinity', 'infinity', '-infinity'"

LIMITS = "'127', '255', '32767', '65535', '2147483647', '4294967295', '9223372036854775807'"
"""The greatest values of integers of 1 to 8 bytes, signed and unsigned."""

DOMINANT = 0.9
"""The share of NULLs that must become the same."""

MANY = 5
"""Rows from which on one constant for all of them says something."""

BOOLEANS = 12
"""The same for true and false, half of which are right by accident."""

ENOUGH = math.log(1000)
"""Nats by which one target for each value must say more than chance."""

CODES = 50
"""Values that a column of codes has at most."""


def _empty(pairs: Pairs) -> Iterable[Fit]:
    """Where nearly all NULLs arrive as empty texts, or the reverse; NULLs among random values do neither."""
    null, empty = ("s IS NULL", "t = ''"), ("s = ''", "t IS NULL")
    for cause, (source, target), what in (
        ("null-to-empty", null, "NULL arrives as the empty text"),
        ("empty-to-null", empty, "the empty text arrives as NULL"),
    ):
        if pairs.count(f"{source} AND {target}") >= DOMINANT * pairs.count(source):
            yield Fit(cause, f"{source} AND {target}", what, EMPTY, accident=SELF_EVIDENT, by_rows=True)


def _null_to_constant(pairs: Pairs) -> Iterable[Fit]:
    text, rows = _dominant(pairs.top("t", 1, "s IS NULL AND t <> ''"), pairs.count("s IS NULL"))
    why = _known(text)
    if why or rows >= MANY:
        accident = 0.5 if pairs.family == "boolean" else 1e-2 if text in WEAK else 1e-4
        yield Fit(
            "null-to-sentinel", f"s IS NULL AND t = {literal(text)}", f"NULL arrives as {_shown(text)}",
            why or "A COALESCE, a column default or a convention of the pipeline stands for NULL: let NULL through.",
            cost=0.5 if why else _cost(text), accident=accident if why else None, by_rows=True,
        )  # fmt: skip


def _constant_to_null(pairs: Pairs) -> Iterable[Fit]:
    text, rows = _dominant(pairs.top("s", 1, "t IS NULL AND s <> ''"), pairs.count("t IS NULL"))
    why = _known(text) if text not in WEAK else ""
    ((kept, others),) = pairs.rows(
        f"SELECT count(*) FILTER (s.v{pairs.index} = {literal(text)}), count(*) FROM pairs JOIN rest AS s ON s.id = pairs.s "
        f"WHERE pairs.s NOT IN (SELECT id FROM {PAIRS_TABLE} WHERE t IS NULL)"
    )
    if why or (rows >= MANY and others >= MANY):
        yield Fit(
            "sentinel-to-null", f"s = {literal(text)} AND t IS NULL", f"the value {_shown(text)} arrives as NULL",
            why or f"Somewhere {_shown(text)} is taken for NULL: look for NULLIF and NULL_IF.",
            cost=0.5 if why else _cost(text), accident=1e-3 if why else (kept + 1) / (others + 10), by_rows=True,
        )  # fmt: skip


def _special(pairs: Pairs) -> Iterable[Fit]:
    for found in pairs.top("s || chr(10) || coalesce(t, '')", 4, f"s IN ({SPECIAL})"):
        source, _, target = found.value.partition("\n")
        equal = f"t = {literal(target)}" if target else "t IS NULL"
        yield Fit(
            "special-value", f"s = {literal(source)} AND {equal}",
            f"{source} arrives as {_shown(target) if target else 'NULL'}",
            "The target's type does not hold it, and a reader or a cast put something else in its place: name a policy "
            "for such values in migration.toml.",
            accident=1e-4, by_rows=True,
        )  # fmt: skip


def _default(pairs: Pairs) -> Iterable[Fit]:
    rows = pairs.count()
    found = pairs.top("coalesce('=' || t, 'NULL')", 2)
    if not found or rows < (BOOLEANS if pairs.family == "boolean" else MANY):
        return
    first, second = found[0], found[1].rows if len(found) > 1 else 0
    dominates = first.rows >= 10 * second if second else True
    if not dominates or first.rows < MANY or (first.distinct < 2 and pairs.family != "boolean"):
        return
    text = first.value[1:] if first.value.startswith("=") else None
    shown = "NULL" if text is None else _shown(text)
    predicate = "t IS NULL" if text is None else f"t = {literal(text)}"
    known = SENTINELS.get(text, "") if text else ""
    yield Fit(
        "replaced-by-default", predicate, f"whatever the source has, the target has {shown}",
        "The column is not filled from the source but with a default, an empty expression or a failed cast or join "
        f"(TRY_CAST and LEFT JOIN give NULL): look at the column's expression in the load or model. {known}".strip(),
        cost=_cost(text or ""), accident=0.5 if pairs.family == "boolean" else 0.1, noise=second / rows, by_rows=True,
        control=(0, 0),
    )  # fmt: skip


def _capped(pairs: Pairs) -> Iterable[Fit]:
    for found in pairs.top("t", 1, f"sd > td AND (t IN ({LIMITS}) OR regexp_full_match(t, '9{{2,}}(\\.9+)?'))"):
        yield Fit(
            "capped", f"t = {literal(found.value)} AND sd > td", f"values above {found.value} arrive as {found.value}",
            "The target's type or an expression such as LEAST ends there and cuts instead of failing: widen the type.",
            cost=3.0, accident=0.01, by_rows=True, control=(0, 0),
        )  # fmt: skip


def _recoded(pairs: Pairs) -> Iterable[Fit]:
    """Few values, each of which becomes always the same other one; two values can only become each other."""
    mapping = pairs.rows(
        f"SELECT s, min(t), count(*), count(DISTINCT t) FROM {PAIRS_TABLE} WHERE s IS NOT NULL AND t IS NOT NULL "
        f"GROUP BY s ORDER BY 3 DESC LIMIT {CODES + 1}"
    )
    steady = [(s, t, rows) for s, t, rows, targets in mapping if targets == 1]
    if not steady or len(mapping) > CODES or len(steady) < 0.9 * len(mapping):
        return
    alternatives = len({text for source, target, _ in steady for text in (source, target)}) - 1
    if sum(rows - 1 for _, _, rows in steady) * math.log(alternatives) < ENOUGH:
        return
    named = ", ".join(f"{_shown(s)} → {_shown(t)}" for s, t, _ in steady[:5])
    more = f" and {len(steady) - 5} more" if len(steady) > 5 else ""
    members = ", ".join(f"({literal(s)}, {literal(t)})" for s, t, _ in steady)
    yield Fit(
        "recoded", f"(s, t) IN ({members})", f"each value always becomes the same other value ({named}{more})",
        "A mapping of codes (a CASE, a lookup table or an enumeration in another order) stands between source and "
        "target: remove it, or bring it up to date.",
        accident=1e-3, by_rows=True, control=(0, 0),
    )  # fmt: skip


def _dominant(found: list[Parameter], of: int) -> tuple[str, int]:
    """The constant that nearly all have, and how many rows; else none and 0."""
    return (found[0].value, found[0].rows) if found and found[0].rows >= DOMINANT * of else ("", 0)


def _known(text: str) -> str:
    """Where a constant that is known to stand for NULL comes from; empty for any other."""
    date = text[:10] if text[10:] in ("", " 00:00:00", " 00:00:00+00", " 23:59:59", " 23:59:59+00") else text
    return SENTINELS.get(text, SENTINELS.get(date, "")) if text else ""


def _cost(text: str) -> float:
    return 1.0 + 2.0 * min(len(text), 8)


def _shown(text: str) -> str:
    if text == "":
        return "the empty text"
    return f"'{text}'" if len(text) <= 40 else f"'{text[:40]}…'"


def _inverted(pairs: Pairs) -> Iterable[Fit]:
    """True and false can only become each other, so it takes all rows of the table to say more than that."""
    rows = pairs.compared_rows
    both = pairs.count("s = 'true'") and pairs.count("s = 'false'")
    if rows and both and pairs.count() >= max(BOOLEANS, 0.9 * rows):
        yield Fit(
            "inverted", "s <> t", "true and false are swapped",
            "A condition is negated, or 0 and 1 are read the wrong way round: look at the column's expression.",
            accident=0.5, by_rows=True, control=(0, 0),
        )  # fmt: skip


FIRST: tuple[Hypothesis, ...] = (
    Hypothesis("null-to-empty", ANY, _empty),
    Hypothesis("null-to-sentinel", ANY, _null_to_constant),
    Hypothesis("sentinel-to-null", ANY, _constant_to_null),
    Hypothesis("special-value", ANY, _special),
    fixed("unrepresentable-to-null", ANY, f"t IS NULL AND (s IN ({SPECIAL}) OR regexp_matches(s, '^\\d{{5,}}-| BC$'))", accident=SELF_EVIDENT, by_rows=True),
    Hypothesis("inverted", frozenset({"boolean"}), _inverted),
)  # fmt: skip
"""Tested before what a column's type suggests."""

LAST: tuple[Hypothesis, ...] = (
    Hypothesis("capped", NUMBERS, _capped),
    Hypothesis("replaced-by-default", ANY, _default),
    Hypothesis("recoded", ANY - {"boolean"}, _recoded, fallback=True),
)
"""Tested after what a column's type suggests."""
