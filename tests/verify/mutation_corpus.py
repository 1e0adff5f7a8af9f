"""Values of many PostgreSQL types, and for each value another that is as close to it as the type allows."""

from __future__ import annotations

import json
import math
import random
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

Draw = random.Random

MADE = (
    "CREATE TYPE mood AS ENUM ('glad', 'sad, or not', '', 'it''s', 'Glad')",
    "CREATE DOMAIN euro AS numeric(10,2)",
    "CREATE TYPE pair AS (n int, body text)",
)
"""The types that the corpus needs beside PostgreSQL's own."""


@dataclass(frozen=True)
class Column:
    """A column of the corpus.

    Attributes:
        definition: its type in PostgreSQL.
        value: draws a value, as PostgreSQL's input takes it.
        near: another value beside the one given.
    """

    name: str
    definition: str
    value: Callable[[Draw], str]
    near: Callable[[Draw, str], str]


def _column(name: str, definition: str, value: Any, near: Callable[[Draw, str], str] | None = None) -> Column:
    if isinstance(value, list):
        return Column(
            name,
            definition,
            lambda draw: draw.choice(value),
            lambda draw, old: draw.choice([v for v in value if v != old]),
        )
    assert near
    return Column(name, definition, value, near)


def _number(places: int, largest: int) -> Callable[[Draw], str]:
    def value(draw: Draw) -> str:
        unscaled = draw.choice(
            [draw.randint(-largest, largest), draw.randint(-1000, 1000), draw.choice([0, largest, -largest])]
        )
        return f"{Decimal(unscaled).scaleb(-places):f}" if abs(unscaled) < 10**27 else _scaled(unscaled, places)

    return value


def _scaled(unscaled: int, places: int) -> str:
    digits = str(abs(unscaled)).rjust(places + 1, "0")
    whole = digits[: len(digits) - places]
    return f"{'-' if unscaled < 0 else ''}{whole}{'.' + digits[-places:] if places else ''}"


def _one_unit(places: int, largest: int) -> Callable[[Draw, str], str]:
    def near(draw: Draw, old: str) -> str:
        sign, _, digits = ("-", "", old[1:]) if old.startswith("-") else ("", "", old)
        whole, _, fraction = digits.partition(".")
        unscaled = int(f"{sign}{whole}{fraction.ljust(places, '0')}")
        changed = draw.choice([unscaled + 1, unscaled - 1, -unscaled or 1])
        return _scaled(changed if abs(changed) <= largest else unscaled - int(math.copysign(1, unscaled)), places)

    return near


def _numeric(name: str, definition: str, digits: int, places: int) -> Column:
    return _column(name, definition, _number(places, 10**digits - 1), _one_unit(places, 10**digits - 1))


def _whole(name: str, definition: str, bits: int, low: int | None = None) -> Column:
    lowest, highest = (-(2**bits) if low is None else low), 2**bits - 1

    def value(draw: Draw) -> str:
        return str(draw.choice([draw.randint(lowest, highest), draw.randint(max(lowest, -9), 9), lowest, highest]))

    def near(draw: Draw, old: str) -> str:
        found = int(old) + draw.choice([-1, 1])
        return str(found if lowest <= found <= highest else int(old) + (1 if found < lowest else -1))

    return _column(name, definition, value, near)


_FLOATS = [0.0, 0.1, 1.0, -1.5, 1e15, 123456.789, math.inf, -math.inf, math.nan, 5e-324, 1.7976931348623157e308]


def _shown(number: float) -> str:
    return repr(number).replace("inf", "Infinity").replace("nan", "NaN")


def _double(draw: Draw) -> str:
    return _shown(
        draw.choice([draw.choice(_FLOATS), draw.uniform(-1000, 1000), draw.gauss(0, 1) * 10 ** draw.randint(-300, 300)])
    )


def _near_double(draw: Draw, old: str) -> str:
    number = float(old)
    if math.isfinite(number):
        return _shown(math.nextafter(number, draw.choice([-math.inf, math.inf])))
    return draw.choice(
        [text for text in ("NaN", "Infinity", "-Infinity", "0", "1.7976931348623157e308") if text != old]
    )


def _single_value(draw: Draw) -> str:
    number = draw.choice(
        [
            draw.uniform(-1000, 1000),
            draw.gauss(0, 1) * 10 ** draw.randint(-30, 30),
            0.1,
            1e-45,
            3.4e38,
            math.inf,
            math.nan,
        ]
    )
    return _shown(number if math.isnan(number) else struct.unpack("<f", struct.pack("<f", number))[0])


def _near_single(draw: Draw, old: str) -> str:
    number = float(old)
    if not math.isfinite(number):
        return _near_double(draw, old).replace("1.7976931348623157e308", "3.4028234663852886e38")
    pattern = struct.unpack("<i", struct.pack("<f", number))[0]
    found = struct.unpack("<f", struct.pack("<i", pattern + 1))[0]
    return _shown(found) if math.isfinite(found) and found != number else _shown(number + 1)


_WORDS = [
    "",
    " ",
    "a",
    "A",
    "é",
    "e\u0301",
    "ß",
    "日本語",
    "𝔘",
    "a|b",
    "1,2",
    ":",
    "NULL",
    "null",
    "0",
    "tab\there",
    "line\nend",
    "\\x41",
    "'",
    "100%",
]


def _text(draw: Draw) -> str:
    return "".join(draw.choice(_WORDS) for _ in range(draw.randint(0, 3)))


def _near_text(draw: Draw, old: str) -> str:
    """A blank more, another case, a character less: what a careless program would not see."""
    cut = old[:-1]
    ways = [
        old + " ",
        " " + old,
        old + "\u200b",
        old.swapcase(),
        cut,
        old.strip(),
        old.replace("é", "e\u0301"),
        old.replace("\n", " "),
    ]
    return draw.choice([way for way in ways if way != old])


def _short(limit: int) -> tuple[Callable[[Draw], str], Callable[[Draw, str], str]]:
    def near(draw: Draw, old: str) -> str:
        for _ in range(20):
            found = _near_text(draw, old)
            # char(n) knows no blanks at its end.
            if len(found) <= limit and found.rstrip(" ") != old.rstrip(" "):
                return found
        return "x" if old != "x" else "y"

    return lambda draw: _text(draw)[:limit], near


def _bytes(draw: Draw) -> str:
    return "\\x" + draw.randbytes(draw.randint(0, 5)).hex()


def _near_bytes(draw: Draw, old: str) -> str:
    content = bytearray.fromhex(old[2:])
    if not content or draw.random() < 0.3:
        return "\\x" + (bytes(content) + b"\x00").hex()
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    return "\\x" + content.hex()


def _moment(draw: Draw) -> datetime:
    micros = draw.choice([0, draw.randrange(10**6), 1, 999999])
    return datetime(
        draw.choice([1, 1969, 1970, 1999, 2000, 2024, 9999]),
        draw.randint(1, 12),
        draw.randint(1, 28),
        draw.randint(0, 22),
    ).replace(microsecond=micros)


def _near_moment(draw: Draw, old: str) -> str:
    moment = datetime.fromisoformat(old)
    step = draw.choice([timedelta(microseconds=1), timedelta(milliseconds=1), timedelta(seconds=1), timedelta(hours=1)])
    return (moment + step).isoformat(" ")


def _near_time(draw: Draw, old: str) -> str:
    clock = time.fromisoformat(old)
    return clock.replace(microsecond=(clock.microsecond + draw.choice([1, 1000])) % 10**6).isoformat()


def _date(draw: Draw) -> str:
    return date(draw.choice([1, 1582, 1900, 1970, 2024, 9999]), draw.randint(1, 12), draw.randint(2, 27)).isoformat()


def _near_date(draw: Draw, old: str) -> str:
    return (date.fromisoformat(old) + timedelta(days=draw.choice([-1, 1]))).isoformat()


def _uuid(draw: Draw) -> str:
    return str(UUID(int=draw.getrandbits(128)))


def _near_uuid(draw: Draw, old: str) -> str:
    return str(UUID(int=UUID(old).int ^ 1 << draw.randrange(128)))


def _json(draw: Draw) -> str:
    return json.dumps(
        {"a": draw.choice([None, 1, 1.1, "x"]), "b": [draw.randint(0, 9)], "é": draw.choice(["", "é"])},
        ensure_ascii=False,
    )


def _near_json(draw: Draw, old: str) -> str:
    return draw.choice([old.replace(": ", ":"), old + " ", old.replace('"a"', '"A"'), old.replace("[", "[ ")])


def _near_jsonb(draw: Draw, old: str) -> str:
    found = json.loads(old)
    found["b"] = draw.choice([[*found["b"], 0], [], [str(found["b"][0])], None])
    return json.dumps(found, ensure_ascii=False)


COLUMNS: tuple[Column, ...] = (
    _column("flag", "boolean", ["t", "f"]),
    _whole("small", "smallint", 15),
    _whole("whole", "integer", 31),
    _whole("big", "bigint", 63),
    _whole("object", "oid", 32, 0),
    _column("single", "real", _single_value, _near_single),
    _column("twice", "double precision", _double, _near_double),
    _numeric("free", "numeric", 20, 6),
    _numeric("price", "numeric(12,2)", 12, 2),
    _numeric("fraction", "numeric(5,5)", 5, 5),
    _numeric("wide", "numeric(38,10)", 38, 10),
    _numeric("integral", "numeric(38,0)", 38, 0),
    _numeric("cost", "euro", 10, 2),
    _numeric("money", "money", 15, 2),
    _column("body", "text", _text, _near_text),
    _column("name", "varchar(20)", *_short(20)),
    _column("padded", "char(6)", *_short(6)),
    _column("raw", "bytea", _bytes, _near_bytes),
    _column("day", "date", _date, _near_date),
    _column("at", "timestamp", lambda draw: _moment(draw).isoformat(" "), _near_moment),
    _column("instant", "timestamptz", lambda draw: _moment(draw).isoformat(" ") + "+00", _near_moment),
    _column("clock", "time", lambda draw: _moment(draw).time().isoformat(), _near_time),
    _column("zoned", "timetz", ["10:00:00+00", "12:00:00+02", "10:00:00.000001+00", "24:00:00-01"]),
    _column("span", "interval", ["1 mon", "30 days", "1 day", "24:00:00", "00:00:00.000001", "-1 year", "0", "1 day -24:00:00"]),
    _column("id_", "uuid", _uuid, _near_uuid),
    _column("plain", "json", _json, _near_json),
    _column("details", "jsonb", _json, _near_jsonb),
    _column("bits", "bit(5)", ["00000", "10000", "00001", "11111"]),
    _column("more_bits", "bit varying", ["", "0", "00", "1", "10"]),
    _column("address", "inet", ["10.0.0.1", "10.0.0.1/31", "::1", "::1/64", "10.0.0.2"]),
    _column("net", "cidr", ["10.0.0.0/8", "10.0.0.0/9", "::/0"]),
    _column("card", "macaddr", ["08:00:2b:01:02:03", "08:00:2b:01:02:04"]),
    _column("spot", "point", ["(0,0)", "(0,1e-300)", "(1,0)", "(NaN,0)", "(Infinity,0)"]),
    _column("frame", "box", ["(1,1),(0,0)", "(1,1),(0,1e-9)"]),
    _column("range", "int4range", ["empty", "[1,2)", "[1,3)", "(,2)", "(,)"]),
    _column("while", "tstzrange", ["empty", "[2024-01-01 00:00+00,)", "(2024-01-01 00:00+00,)", "[2024-01-01 00:00+00,infinity)"]),
    _column("tags", "text[]", ["{}", "{NULL}", '{"NULL"}', '{""}', '{"a,b"}', "{a,b}", "{{a},{b}}", "[0:1]={a,b}"]),
    _column("grid", "integer[]", ["{}", "{1,2}", "{{1,2}}", "{2,1}", "{1,NULL}", "[0:1]={1,2}"]),
    _column("prices", "numeric(5,2)[]", ["{1.10}", "{1.11}", "{NaN}", "{NULL}"]),
    _column("feeling", "mood", ["glad", "Glad", "sad, or not", "", "it's"]),
    _column("both", "pair", ["(1,a)", '(1,"")', "(1,)", "(,a)", '(1,"a ")', "(,)"]),
    _column("words", "tsvector", ["a:1", "a:2", "a", "'a b':1", ""]),
    _column("position", "pg_lsn", ["0/0", "0/1", "1/0"]),
    _column("label", "name", ["a", "A", "a ", ""]),
)  # fmt: skip

NULL_SHARE = 0.1


@dataclass(frozen=True)
class Corpus:
    """Rows by id, and for each of their cells another value; None is NULL."""

    rows: dict[int, list[str | None]]
    others: dict[int, list[str | None]]

    @classmethod
    def drawn(cls, seed: int, count: int) -> Corpus:
        """`count` rows, the same for the same seed."""
        draw = random.Random(seed)
        rows: dict[int, list[str | None]] = {}
        others: dict[int, list[str | None]] = {}
        for n in range(count):
            rows[n] = [None if draw.random() < NULL_SHARE else c.value(draw) for c in COLUMNS]
            others[n] = [_other(draw, column, old) for column, old in zip(COLUMNS, rows[n], strict=True)]
        return cls(rows, others)


def _other(draw: Draw, column: Column, old: str | None) -> str | None:
    if old is None:
        return column.value(draw)
    return None if draw.random() < NULL_SHARE else column.near(draw, old)


def definitions() -> str:
    """The columns of a table with the corpus."""
    return ", ".join(f'"{column.name}" {column.definition}' for column in COLUMNS)


def copy_text(rows: dict[int, list[str | None]]) -> str:
    """The rows as COPY's text format has them."""
    return "".join("\t".join([str(n), *map(_escaped, row)]) + "\n" for n, row in rows.items())


def _escaped(value: str | None) -> str:
    if value is None:
        return "\\N"
    return value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")


def same(comparison: str, one: str | None, other: str | None) -> bool:
    """Whether two of PostgreSQL's texts are one value, by its definition: numbers by value, floats by bits, but −0 is 0."""
    if one is None or other is None or comparison == "text":
        return one == other
    if comparison == "number":
        return Decimal(one) == Decimal(other)
    a, b = float(one), float(other)
    return a == b or (math.isnan(a) and math.isnan(b))


def names() -> Sequence[str]:
    """Of the columns."""
    return [column.name for column in COLUMNS]
