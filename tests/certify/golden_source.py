"""The source of the golden migration: what `helpers/certify/golden` was exported from, twice, the second time after its changes.

Every value is written as PostgreSQL reads it; what it must look like elsewhere is PostgreSQL's to say (`test_golden.py`).
"""

from __future__ import annotations

import math
import sys
import unicodedata
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "verify"))

import canonical_corpus as corpus

from helpers.model.types import TEXT_BYTES
from helpers.platforms.postgres import identifier, literal

ODD = 'Odd "Näme"; 100% \\ {x}'
"""A table that no engine's own rules expect; one that takes no such names is not asked about it."""

STRANGE = (
    "select",
    "Order",
    "a b",
    'quo"ted',
    "ünï",
    "%s",
    "back\\slash",
    "semi; -- colon",
    "{c}",
    ".",
    "'",
    "n" * 63,
)

BEFORE = (
    """CREATE TABLE altered (id int PRIMARY KEY, name varchar(10) NOT NULL, credit numeric(10,2), note text, region text)""",
    "COMMENT ON TABLE altered IS 'it''s the \\ first comment'",
    "COMMENT ON COLUMN altered.name IS 'first'",
    "INSERT INTO altered VALUES (1, 'Ann', 1.25, 'goes', 'EU'), (2, 'Bob', 2.50, NULL, NULL)",
    """CREATE TABLE replaced (id int PRIMARY KEY, credit numeric(10,2) NOT NULL, region text, code varchar(8) UNIQUE)""",
    "INSERT INTO replaced VALUES (1, 1.25, 'EU', 'a'), (2, 2.50, 'US', NULL)",
    "CREATE TABLE dropped (id int PRIMARY KEY)",
    "INSERT INTO dropped VALUES (1)",
)

CHANGES = (
    "ALTER TABLE altered DROP COLUMN note, ALTER COLUMN name TYPE varchar(20), ALTER COLUMN name DROP NOT NULL, "
    "ALTER COLUMN credit TYPE numeric(12,2), ALTER COLUMN region SET DEFAULT 'EU'",
    "UPDATE altered SET region = 'none', name = NULL WHERE id = 2",
    "ALTER TABLE altered ADD COLUMN since date, ADD COLUMN paid boolean",
    "UPDATE altered SET paid = id = 1, since = '2024-02-29'",
    "ALTER TABLE altered ALTER COLUMN paid SET NOT NULL, ALTER COLUMN region DROP DEFAULT, ALTER COLUMN region SET NOT NULL",
    "ALTER TABLE altered DROP CONSTRAINT altered_pkey, ADD PRIMARY KEY (id, paid)",
    "COMMENT ON TABLE altered IS 'second'",
    "COMMENT ON COLUMN altered.name IS '{second}'",
    "ALTER TABLE replaced ALTER COLUMN credit TYPE numeric(12,4)",
    "UPDATE replaced SET credit = 1.2345 WHERE id = 1",
    "DROP TABLE dropped",
)


def after() -> Iterator[str]:
    """The statements that make the second export's source of the first one's."""
    yield from CHANGES
    yield from _corpus()
    yield from _decimals()
    yield from _floats()
    yield from _times()
    yield from _texts()
    yield from _names()
    yield from _shapes()


def _corpus() -> Iterator[str]:
    columns = ", ".join(f"{identifier(kind.name)} {kind.postgres}" for kind in corpus.KINDS)
    yield f"CREATE TABLE corpus (n int PRIMARY KEY, {columns})"
    for n, row in enumerate(corpus.ROWS.values()):
        values = (corpus.in_postgres(_zoned(value, kind), kind) for value, kind in zip(row, corpus.KINDS, strict=True))
        yield f"INSERT INTO corpus VALUES ({n}, {', '.join(values)})"


def _zoned(value: object, kind: corpus.Kind) -> object:
    return f"{value.isoformat(' ')}+00" if kind.name == "instant" and isinstance(value, datetime) else value


def _decimals() -> Iterator[str]:
    """Numbers of 38 digits at every scale that a target holds."""
    scales = range(38)
    yield f"CREATE TABLE decimals (n int PRIMARY KEY, {', '.join(f'd{s} numeric(38,{s})' for s in scales)})"
    most = {s: f"{'9' * (38 - s)}{'.' * bool(s)}{'9' * s}" for s in scales}
    thirds = {s: f"{'3' * min(38 - s, 20)}{'.' * bool(s)}{'3' * s}" for s in scales}
    least = {s: f"0.{'1'.rjust(s, '0')}" if s else "1" for s in scales}
    rows = [most, {s: f"-{most[s]}" for s in scales}, least, {s: f"-{least[s]}" for s in scales}, thirds]
    for n, row in enumerate(rows):
        yield f"INSERT INTO decimals VALUES ({n}, {', '.join(row[s] for s in scales)})"
    yield f"INSERT INTO decimals VALUES ({len(rows)}, {', '.join('0' for _ in scales)}), ({len(rows) + 1}{', NULL' * 38})"


def _floats() -> Iterator[str]:
    """Every power of two and what lies beside some of them: many rows, in many segments and several files."""
    yield "CREATE TABLE floats (n int PRIMARY KEY, single real, twice double precision) PARTITION BY RANGE (n)"
    yield "CREATE TABLE floats_1 PARTITION OF floats FOR VALUES FROM (0) TO (1000)"
    yield "CREATE TABLE floats_2 PARTITION OF floats DEFAULT"
    powers = [math.ldexp(1.0, e) for e in range(-1074, 1024)]
    beside = [f(p, to) for p in powers[::97] for f, to in ((math.nextafter, 0.0), (math.nextafter, math.inf))]
    exact = [
        0.1,
        1 / 3,
        math.pi,
        123456789.123456789,
        1e15 + 0.3,
        9007199254740993.0,
        5e-324,
        1e23,
        1.7976931348623157e308,
    ]
    numbers = [x for x in (*powers, *beside, *exact) if 0 < x < math.inf]
    rows = []
    for n, x in enumerate(numbers):
        fits = 2.0**-149 <= x < 3.4e38
        signed = -x if n % 3 == 0 else x
        rows.append(f"({n}, {f'{corpus.single(signed)!r}::real' if fits else 'NULL'}, '{signed!r}')")
    special = ["NaN", "Infinity", "-Infinity", "-0", "0"]
    rows += [f"({len(numbers) + n}, '{x}', '{x}')" for n, x in enumerate(special)]
    yield f"INSERT INTO floats VALUES {', '.join(rows)}"


_LAST = "9999-12-31 23:59:59.999999"
"""What would be the year 10000 if it were rounded."""


def _times() -> Iterator[str]:
    yield (
        "CREATE TABLE times (n int PRIMARY KEY, day date, at timestamp, at3 timestamp(3), at0 timestamp(0), instant timestamptz, "
        "instant0 timestamptz(0), clock time, clock3 time(3), zoned timetz, spell interval)"
    )
    texts = [
        "0001-01-01 00:00:00", "0001-01-01 00:00:00.000001", "0099-12-31 23:59:59.999999", "1000-02-28 12:00:00",
        *(f"1582-10-{day:02} 12:34:56.789012" for day in (4, 5, 10, 14, 15)), "1600-02-29 00:00:00", "1700-03-01 00:00:00",
        "1883-11-18 12:03:57", "1883-11-18 12:03:58", "1899-12-31 23:59:59.999999", "1900-02-28 23:59:59", "1900-03-01 00:00:00",
        "1969-12-31 23:59:59.999999", "1970-01-01 00:00:00", "1970-01-01 00:00:00.000001", "1999-12-31 23:59:59.5",
        "2000-01-01 00:00:00", "2000-02-29 00:00:00", "2024-02-29 23:59:59.123456", "2038-01-19 03:14:07", "2038-01-19 03:14:08",
        # Hours that the clocks of Berlin and New York have twice, or not at all, as local times and as instants.
        *(f"2024-{day} {hour}:30:00" for day in ("03-31", "10-27", "03-10", "11-03") for hour in ("00", "01", "02", "05", "06", "07")),
        "2262-04-11 23:47:16.854775", "2262-04-11 23:47:16.854776", "9999-12-31 23:59:59", _LAST,
    ]  # fmt: skip
    for n, text in enumerate(texts):
        last = text == _LAST
        rounded, thousandths = ("9999-12-31 23:59:58.4", "9999-12-31 23:59:59.998") if last else (text, text)
        yield (
            f"INSERT INTO times VALUES ({n}, '{text[:10]}', '{text}', '{thousandths}', '{rounded}', '{text}+00', '{rounded}+00', "
            f"'{text[11:]}', '{text[11:19]}.{n:03}', '{text[11:]}-05:30', '{n} years -{n} days {text[11:]}')"
        )
    yield f"INSERT INTO times VALUES ({len(texts)}{', NULL' * 10})"


_MARKS = (
    "\\N", "\\\\N", "\\n", "\\", "\\\\", "\\0", "\\x41", "", " ", "  ", "\t", "\n", "\r\n", "\x01", "\x1f", "\x7f", "\x85", "\u2028", "\ufeff",
    "NULL", "null", "None", "nan", "NaN", "Infinity", "N/A", "-", "0", "-0", "0123", "1.10", "1e5", "true", "t", "f", "2024-02-29", "{}", "[]",
    '""', "''", "'", '"', "it's", 'say "hi"', " leading", "trailing ", "tab\tinside", "line\ninside", "a,b|c;d:e", "$1", "$$", "${x}", "%s", "{c}", "&lt;",
    "é", "e\u0301", "ß", "ẞ", "İ", "ı", "ﬁ", "Ａ", "日本語", "𝔘𝔫𝔦", "👩‍👩‍👧‍👦", "🏴\U000e0067\U000e007f", "\u202eright to left", "שלום", "\ue000", "\ufffd", "\ufffe", "\uffff", "\U0010ffff",
)  # fmt: skip
"""Texts that somebody somewhere takes for something else."""


def _texts() -> Iterator[str]:
    yield "CREATE TYPE mood AS ENUM ('fine', '\\N')"
    yield (
        "CREATE TABLE texts (n int PRIMARY KEY, body text, short varchar(20), padded char(20), plain json, held jsonb, id uuid, raw bytea, "
        "numbers int[], words text[], nested text[][], bits bit(3), address inet, amount money, feeling mood, span int4range)"
    )
    classes: dict[str, list[str]] = {}
    for code in range(1, sys.maxunicode + 1):
        kind = unicodedata.category(chr(code))
        if kind != "Cs":
            classes.setdefault(kind, []).append(chr(code))
    of_classes = [
        f"{kind}:{''.join((*found[:6], *found[len(found) // 2 :][:6], *found[-6:]))}" for kind, found in classes.items()
    ]
    for n, text in enumerate((*_MARKS, *of_classes)):
        quoted, short = _quoted(text), _quoted(text[:20])
        raw = text.encode()[:20] + bytes(range(n % 7 * 36, n % 7 * 36 + 40))
        yield (
            f"INSERT INTO texts VALUES ({n}, {quoted}, {short}, {short}, {_quoted(_json(text))}, {_quoted(_json(text))}, "
            f"'{n:032x}', '\\x{raw.hex()}', ARRAY[{n}, NULL, -{n}], ARRAY[{quoted}, NULL, ''], ARRAY[[{quoted}, 'a'], [NULL, '\\N']], "
            f"B'{n % 8:03b}', '10.0.{n}.0/24', '{n}.10', '{'fine' if n % 2 else chr(92) + 'N'}', '[{n},{n + 5})')"
        )
    yield f"INSERT INTO texts VALUES (1000{', NULL' * 15}), (1001, 'x', '', '', 'null', 'null', NULL, '', '{{}}', '{{}}', '{{}}', NULL, '::1', NULL, NULL, 'empty')"


def _quoted(text: str) -> str:
    return literal(text)


def _json(text: str) -> str:
    """A JSON text with the string, a key twice, spaces and numbers that a parser would print otherwise."""
    inner = "".join(f"\\u{ord(c):04x}" if ord(c) < 32 or c in '"\\' else c for c in text)
    return f'{{"k":  "{inner}", "n": 1.10, "k": 1e2, "z": 12345678901234567890.123456789}}'


def _names() -> Iterator[str]:
    columns = ", ".join(f"{identifier(name)} text" for name in STRANGE)
    yield f"CREATE TABLE {identifier(ODD)} ({identifier('Id')} int PRIMARY KEY, {columns})"
    yield f"INSERT INTO {identifier(ODD)} VALUES (1, {', '.join(literal(name) for name in STRANGE)})"
    yield 'CREATE TABLE cases (id int PRIMARY KEY, "Name" text, name text)'
    yield "INSERT INTO cases VALUES (1, 'upper', 'lower')"
    reserved = ("select", "from", "Group", "USER", "a_b", "date", "value", "rows", "_x", "1st", "ünï")
    columns = ", ".join(f"{identifier(name)} varchar(30)" for name in reserved)
    row = f"(1, {', '.join(literal(name) for name in reserved)})"
    nothing, empty, marked = (
        f"({n}{f', {text}' * len(reserved)})" for n, text in (("NULL", "NULL"), ("NULL", "''"), (2, "'\\N'"))
    )
    yield f'CREATE TABLE "order" ("table" int, {columns})'
    yield f'INSERT INTO "order" VALUES {row}, {row}, {nothing}, {nothing}, {empty}, {marked}'


def _shapes() -> Iterator[str]:
    columns = ", ".join(f"{identifier(kind.name)} {kind.postgres}" for kind in corpus.KINDS)
    yield f"CREATE TABLE all_null ({columns})"
    yield "INSERT INTO all_null SELECT FROM generate_series(1, 3)"
    yield "CREATE TABLE empty (id int PRIMARY KEY, body text)"
    yield "CREATE TABLE long (n int PRIMARY KEY, body text, raw bytea)"
    for n, size in enumerate((1, 255, 256, 4096, 65535, 65536, 2**20)):
        yield f"INSERT INTO long VALUES ({n}, repeat('é', {size // 2}) || 'x', decode(repeat('00ff', {size // 4}), 'hex'))"
    yield f"INSERT INTO long VALUES (100, repeat('x', {TEXT_BYTES}), NULL), (101, NULL, decode(repeat('5c', {TEXT_BYTES // 2}), 'hex'))"
    yield (
        "CREATE TABLE written (id int PRIMARY KEY, amount numeric(12,2) DEFAULT -1.5, said text NOT NULL DEFAULT 'it''s', at timestamp, "
        "seen boolean DEFAULT true, day date DEFAULT '2024-02-29')"
    )
    yield "INSERT INTO written SELECT n, n * 1.01, 'row ' || n, timestamp '2024-01-01' + n * interval '1 hour' FROM generate_series(1, 400) n"
    yield "CREATE TABLE unfit (id int PRIMARY KEY, amount text, said text NOT NULL, at timestamp, seen boolean, day date)"
    yield "INSERT INTO unfit VALUES (1, '1.25', 'fits', NULL), (2, 'no number', 'does not', NULL)"
    yield "ALTER TABLE written ADD CONSTRAINT written_said_key UNIQUE (said)"
    yield "ALTER TABLE replaced ADD FOREIGN KEY (id) REFERENCES written (id)"
