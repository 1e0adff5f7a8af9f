"""What a target does not hold of each type, as predicates that PostgreSQL counts, with `{c}` for the quoted column.

The limits are Snowflake's, and Delta's where it is the stricter one: decimals of 38 digits, years 1 to 9999, times before
24:00, texts of 16 MiB, bytes of 8 MiB (https://docs.snowflake.com/en/sql-reference/intro-summary-data-types, November 2026).
"""

from __future__ import annotations

from dataclasses import dataclass

from helpers.model import types
from helpers.model.catalog import PgType


@dataclass(frozen=True)
class Server:
    """What of the source decides how its values are counted."""

    encoding: str = "UTF8"
    version: int = 180000


@dataclass(frozen=True)
class Limit:
    """Values that no target holds, or that a person should know of.

    Attributes:
        reason: what is wrong with them, as a sentence's end.
        condition: a boolean expression, false or NULL for every other value.
        masked: whether a policy with a flag column helps.
        as_text: whether the policy "text" helps.
        length: the expression to show instead of the value, where the value is too long to be shown.
    """

    reason: str
    condition: str
    masked: bool = True
    as_text: bool = True
    length: str | None = None
    otherwise: str = "shorten the values, or leave the table out"

    @property
    def cure(self) -> str:
        """What helps against such values."""
        return BY_POLICY if self.masked or self.as_text else self.otherwise


BY_POLICY = 'correct the values, or name a policy in migration.toml, such as [profiles.NAME.export.policies] "schema.table.column" = "text"'

# A numeric is unpacked for every function that looks at it, but not for its size. NaN and the infinities have no digits, and
# take 3 bytes in a row or 6 outside (5 in a row that was written before PostgreSQL 9.1); other values mostly take more.
NOT_FINITE = "pg_column_size({c}) <= 6 AND scale({c}) IS NULL AND {c} IS NOT NULL"
_PLACES = "scale(trim_scale({c}))"
# Most values are small: only the others are printed to count their digits.
_TOO_WIDE = (
    "CASE WHEN scale({c}) <= 19 AND abs({c}) < 1e19 THEN false "
    "ELSE length(trunc(abs({c}))::text) - (abs({c}) < 1)::int + " + _PLACES + f" > {types.DECIMAL_DIGITS} "
    f"OR {_PLACES} > {types.DECIMAL_SCALE} END"
)
_DIGITS = (
    f"more than {types.DECIMAL_DIGITS} digits, or {types.DECIMAL_SCALE} after the point, which NUMBER does not hold"
)

_HELD = "scale({c}) IS NOT NULL AND NOT (" + _TOO_WIDE + ")"
MEASURES = (
    f"max({_PLACES}) FILTER (WHERE scale({{c}}) > {types.SPARE_SCALE} AND {_HELD})",
    f"max(abs({{c}})) FILTER (WHERE {_HELD})",
)
"""Of a numeric without a usable limit: the digits after the point that its values need where they may be more than every
column gets, and the largest of its values."""

_SMALL_ARRAY = types.TEXT_BYTES // (40 * 255)
"""Bytes of storage below which no array of `_SMALL_ELEMENTS` has a text beyond the limit: a byte is at most 40 characters of
text (five for each bit of a bitmap of NULLs), and no compression of PostgreSQL's makes 255 bytes less than one (LZ4's limit is
about 250, https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md; pglz copies up to 273 bytes by a tag of three)."""

_SMALL_ELEMENTS = frozenset(
    "bool int2 int4 int8 float4 float8 date time timestamp timestamptz uuid text varchar bpchar".split()
)
"""Types of which a byte of storage is a few characters of text; of a numeric two may be 131,072 digits."""


def too_fine(scale: int) -> Limit:
    """Of a numeric whose values do not fit one NUMBER together: those with more than `scale` digits after the point."""
    return Limit(
        f"more digits after the point than the {scale} for which the column's largest value leaves room",
        f"scale({{c}}) > {scale} AND {_PLACES} > {scale} AND NOT ({_TOO_WIDE})",
    )


def limits(kind: PgType, server: Server, *, as_text: bool = False) -> tuple[Limit, ...]:
    """What the census counts of a column and refuses.

    Args:
        kind: the column's type; `types.known(kind)` need not hold.
        server: where it is.
        as_text: whether the column travels as text, which only text can be too long for.
    """
    found = [] if as_text else list(_value_limits(kind))
    size = _size(kind, server, as_text)
    if size:
        limit = types.BINARY_BYTES if kind.name == "bytea" and kind.kind == "b" and not as_text else types.TEXT_BYTES
        reason = f"longer than the target's {limit:,} bytes"
        found.append(Limit(reason, f"{size} > {limit}", masked=False, as_text=False, length=size))
    if server.encoding == "SQL_ASCII" and _texts(kind):
        reason = "bytes beyond ASCII in a database of encoding SQL_ASCII, which does not say what they mean"
        condition = "{c}::text ~ '[^\\x01-\\x7f]'"
        cure = (
            "no policy helps, for nobody knows which characters they are: move the rows into a database whose encoding says so "
            "(createdb -E UTF8 -T template0; pg_dump -E with the encoding that the application writes), or leave the table out"
        )
        length = "octet_length({c}::text)"
        found.append(Limit(reason, condition, masked=False, as_text=False, length=length, otherwise=cure))
    return tuple(found)


def information(kind: PgType, server: Server) -> dict[str, str]:
    """What the census counts of a column and only reports, by its condition."""
    if kind.element is not None and kind.name not in ("int2vector", "oidvector"):
        bounds = " OR ".join(f"array_lower({{c}}, {n}) <> 1" for n in range(1, 7))
        bounds = f"CASE WHEN array_ndims({{c}}) = 1 THEN array_lower({{c}}, 1) <> 1 ELSE {bounds} END"
        return {"arrays with a lower bound other than 1, which their text keeps": bounds}
    if kind.kind != "b" or kind.name not in ("json", "jsonb"):
        return {}
    # PostgreSQL prints a jsonb's numbers without an exponent, and the fewer ways an expression has, the faster it is.
    numeral = "'[0-9.]{{16}}'" if kind.name == "jsonb" else "'[0-9][0-9.]{{15}}|[0-9][eE][+-]?[0-9]{{3}}'"
    without_strings = "regexp_replace({c}::text, '\"(\\\\.|[^\"\\\\])*\"', '\"\"', 'g')"
    found = {
        "JSON with numbers of 16 or more characters or a three-digit exponent, which the text keeps and a double may not": (
            f"{{c}}::text ~ {numeral} AND {without_strings} ~ {numeral}"
        )
    }
    if kind.name == "json" and server.version >= 160000:
        reason = "JSON with a doubled key or an escape that stands for no character, which the text keeps as written"
        found[reason] = "{c} IS NOT JSON WITH UNIQUE KEYS"
    return found


def _value_limits(kind: PgType) -> tuple[Limit, ...]:
    match kind.name if kind.kind == "b" else None:
        case "numeric":
            not_finite = Limit("NaN or infinity, which no decimal type holds", NOT_FINITE)
            return (not_finite,) if types.fits_declared(kind) else (not_finite, Limit(_DIGITS, _TOO_WIDE))
        case "date" | "timestamp" | "timestamptz":
            zone = "+00" if kind.name == "timestamptz" else ""
            midnight = "" if kind.name == "date" else f" 00:00:00{zone}"
            first, after = (f"'{day}{midnight}'::{kind.name}" for day in ("0001-01-01", "10000-01-01"))
            return (
                Limit("infinite, which Snowflake does not hold", "NOT isfinite({c})"),
                Limit("before year 1, which Snowflake does not hold", f"{{c}} < {first} AND isfinite({{c}})"),
                Limit("after year 9999, which Snowflake does not hold", f"{{c}} >= {after} AND isfinite({{c}})"),
            )
        case "time":
            return (Limit("24:00, which Snowflake's TIME does not hold", "{c} = '24:00'::time"),)
        case _:
            return ()


def _size(kind: PgType, server: Server, as_text: bool) -> str | None:
    """The SQL of a value's length in the target; None where the type keeps it below every limit."""
    if kind.name == "bytea" and kind.kind == "b":
        # PostgreSQL prints \x and two digits a byte.
        return "2 + 2 * octet_length({c})" if as_text else "octet_length({c})"
    size = types.length(kind)
    if size is None:
        return None
    if server.encoding in ("UTF8", "SQL_ASCII"):
        small = kind.element in _SMALL_ELEMENTS
        return f"CASE WHEN pg_column_size({{c}}) > {_SMALL_ARRAY} THEN {size} END" if small else size
    # No encoding of PostgreSQL's grows more than threefold on its way to UTF-8.
    return f"CASE WHEN {size} > {types.TEXT_BYTES // 3} THEN octet_length(convert_to({{c}}::text, 'UTF8')) END"


def _texts(kind: PgType) -> bool:
    """Whether a value may contain characters of the database's encoding."""
    return kind.kind not in ("r", "m") and not types.prints_ascii(kind.element or kind.name)
