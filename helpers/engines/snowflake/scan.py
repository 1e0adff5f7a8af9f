"""A table as a whole-table query reads it: each value under a short name, what parts of its form share computed once, the hash of its row.

A statement of Snowflake's should stay below 1 MB (https://docs.snowflake.com/en/user-guide/query-size-limits), and a table has up to
1,600 columns with names of up to 63 bytes. Written out for each column, the form of a double alone costs 2,000 bytes.

    SELECT <segment of K> AS segment, H AS h
    FROM (SELECT *, MD5_NUMBER_LOWER64(…) AS H FROM          the form, of short names
           (SELECT *, ABS(V0) / POWER(T, EV0) AS SV0 FROM    what needs the exponent
             (SELECT *, … AS EV0 FROM                        the exponent of a double, nanoseconds of a moment
               (SELECT "name" AS V0, … FROM "the table" WHERE …) CROSS JOIN (SELECT '2e0'::FLOAT AS T, …))))
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from helpers.digests.canonical import MICROSECONDS_1970_TO_2000, FormColumn, kind_of
from helpers.engines.columns import Segments, TablePlan
from helpers.engines.snowflake.dialect import CANONICAL, SQL, TIME_OF_DAY
from helpers.engines.where import where

_CONSTANTS = {
    "T": "'2e0'::FLOAT",
    "L": "LN('2e0'::FLOAT)",
    "G": "'1e-9'::FLOAT",
    "M": "'2.2250738585072014e-308'::FLOAT",
    "I": "'inf'::FLOAT",
    "N": "'NaN'::FLOAT",
    "P": "POWER('2e0'::FLOAT, 537)",
}
"""What `helpers.digests.canonical.ieee` calculates with, each written once a statement."""

_EXPONENT = "IFF(ABS({c})>=M AND ABS({c})<I,FLOOR(LN(ABS({c}))/L-G),NULL)"
_SCALED = "ABS({c})/POWER(T,E{c})"
_FLOAT = (
    "IFF({c}=N,'NaN',IFF({c}=0,'0',IFF({c}<0,'-','')||IFF(ABS({c})=I,'9218868437227405312',TO_VARCHAR(IFF(E{c} IS NULL,"
    "(ABS({c})*P*P)::NUMBER(18,0),(E{c}+1023)::NUMBER(18,0)*4503599627370496"
    "+(IFF(S{c}<2,S{c}-1,S{c}/2)*4503599627370496)::NUMBER(18,0))))))"
)
"""The exponent is NULL for what has none, and below the smallest normal number: there the bits are those of the product."""

_NANOSECONDS = "DATE_PART(NANOSECOND,{c})%1000"
_MOMENT = (
    f"TO_VARCHAR(DATE_PART(EPOCH_MICROSECOND,{{c}})-{MICROSECONDS_1970_TO_2000})"
    "||IFF(E{c}=0,'','.'||LPAD(TO_VARCHAR(E{c}),3,'0'))"
)

_LAYERS = (
    ("E", {"float": _EXPONENT, "timestamp": _NANOSECONDS, "timestamptz": _NANOSECONDS}),
    ("S", {"float": _SCALED}),
)
_CANONICAL = replace(
    CANONICAL, scalars={**CANONICAL.scalars, "float": _FLOAT, "timestamp": _MOMENT, "timestamptz": _MOMENT}
)
"""The same form as `CANONICAL`, of values that have their layers beside them."""


@dataclass(frozen=True)
class Scan:
    """A table's rows, as what follows FROM: `V0`, `V1` … are its columns, `H` is the hash of a row and `K` that of its key.

    Attributes:
        segment: the SQL of a row's segment, of so many.
    """

    rows: str
    segment: Callable[[int], str]

    def in_segments(self, chosen: Segments) -> str:
        """The condition that a row is in one of some segments."""
        return f"{self.segment(chosen.count)} IN ({', '.join(map(str, chosen.numbers))})"

    def where(self, *chosen: Segments | None) -> str:
        """The rows that are in each of some choices of segments; all rows without any."""
        parts = [self.in_segments(some) for some in chosen if some]
        return f"{self.rows} s{' WHERE ' + ' AND '.join(parts) if parts else ''}"


def value(number: int) -> str:
    """The short name of a column."""
    return f"V{number}"


def scanned(plan: TablePlan, relation: str) -> Scan:
    """The rows of a table that are compared, but for those that a sample leaves out.

    Args:
        relation: the table's name.
    """
    forms = {}
    for n, column in enumerate(plan.columns):
        held = TIME_OF_DAY.format(c=value(n)) if column.type.family == "time" else value(n)
        forms[column.name] = FormColumn(held, *kind_of(column.staged.parquet))
    columns = ", ".join(f"{SQL.identifier(column.there)} AS {value(n)}" for n, column in enumerate(plan.columns))
    condition = where(replace(plan, sample=None), SQL)
    rows = f"(SELECT {columns} FROM {relation}{f' WHERE {condition}' if condition else ''})"
    if any(form.kind == "float" for form in forms.values()):
        rows += f" v CROSS JOIN (SELECT {', '.join(f'{sql} AS {name}' for name, sql in _CONSTANTS.items())})"
    for letter, shared in _LAYERS:
        made = (
            f"{shared[form.kind].format(c=form.sql)} AS {letter}{form.sql}"
            for form in forms.values()
            if form.kind in shared
        )
        rows = f"(SELECT {', '.join(['*', *made])} FROM {rows} c)"
    row, key = list(forms.values()), [forms[name] for name in plan.key]
    hashes = [f"{_CANONICAL.hash.format(f=_CANONICAL.form(row))} AS H"]
    if key and all(form.kind == "integer" for form in key):
        segment = partial(_CANONICAL.segment, row, key)
    else:
        hashes += [f"{_CANONICAL.hash.format(f=_CANONICAL.form(key))} AS K"] if key else []
        segment = partial(_of_hash, "K" if key else "H")
    return Scan(f"(SELECT *, {', '.join(hashes)} FROM {rows} h)", segment)


def _of_hash(name: str, segments: int) -> str:
    """As `CanonicalSql.segment` has it, of the lower 32 bits."""
    return f"{name} % 4294967296 % {segments}" if segments > 1 else "0"


def digest_query(plan: TablePlan, relation: str, segments: int) -> str:
    """A query with `segment`, `n` and `total` of each segment that is not empty, as `CanonicalSql.digest_query` makes it."""
    scan = scanned(plan, relation)
    inner = f"SELECT {scan.segment(segments)} AS segment, H AS h FROM {scan.where(plan.sample)}"
    return f"SELECT segment, COUNT(*) AS n, {_CANONICAL.total.format(h='h')} AS total FROM ({inner}) q GROUP BY segment"
