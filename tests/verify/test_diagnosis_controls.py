"""A wrong diagnosis is worse than none: values that differ at random get none, and strange ones break nothing.

Would catch: a diagnosis by accident, of small domains, of mistyped digits and letters, of booleans set at random; a crash or a
count that cannot be on NULLs, infinities, dates before Christ, numbers of a hundred digits, deep JSON, any text at all.
"""

from __future__ import annotations

import json
import random
import string
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import duckdb
import pytest
from diagnosis_support import Value, diagnosed, differ
from hypothesis import given
from hypothesis import strategies as st
from property_support import examples

from helpers.engines import texts
from helpers.platforms import duck as platform

DuckDB = duckdb.DuckDBPyConnection


@pytest.fixture(scope="module")
def duck(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DuckDB]:
    with platform.connect(memory="600MB", spill=tmp_path_factory.mktemp("spill")) as connection:
        texts.register(connection)
        yield connection


NAMES = [
    "Anna",
    "Ana",
    "Bob",
    "Rob",
    "Robert",
    "Karl",
    "Carl",
    "Zoë",
    "Zoe",
    "Müller",
    "Muller",
    "Mueller",
    "Li",
    "Lee",
]
CODES = ["new", "NEW", "open", "paid", "shipped", "void", "n/a", " new"]
START = datetime(2024, 1, 1)

Make = Callable[[random.Random], Value]

RANDOM: dict[str, tuple[str, Make]] = {
    "quantity": ("integer", lambda r: str(r.randint(1, 10))),
    "signed": ("integer", lambda r: str(r.randint(-5, 5))),
    "price": ("numeric(12,2)", lambda r: f"{r.uniform(0, 1000):.2f}"),
    "list price": ("numeric(12,2)", lambda r: f"{r.randint(1, 100)}.{r.choice(['00', '50', '99'])}"),
    "rate": ("numeric", lambda r: r.choice(["0.05", "0.07", "0.19", "0.2", "0.25", "1"])),
    "measure": ("double precision", lambda r: repr(r.gauss(0, 1000))),
    "rounded measure": ("double precision", lambda r: repr(round(r.gauss(0, 10), 1))),
    "code": ("text", lambda r: r.choice(CODES)),
    "letters": ("text", lambda r: r.choice("PQpq")),
    "name": ("text", lambda r: r.choice(NAMES)),
    "names": ("text", lambda r: f"{r.choice(NAMES)} {r.choice(NAMES)}"),
    "short code": ("character varying(5)", lambda r: "".join(r.choice("AB01") for _ in range(r.randint(1, 4)))),
    "number as text": ("text", lambda r: f"{r.randrange(100):0{r.randint(1, 5)}d}"),
    "day of the month": ("date", lambda r: str((START + timedelta(days=r.randrange(30))).date())),
    "date": ("date", lambda r: str((START + timedelta(days=r.randrange(3000))).date())),
    "shift of a day": ("timestamp without time zone", lambda r: str(START + timedelta(minutes=15 * r.randrange(96)))),
    "hour": ("timestamp with time zone", lambda r: f"{START + timedelta(hours=r.randrange(9000))}+00"),
    "second": ("timestamp with time zone", lambda r: f"{START + timedelta(seconds=r.randrange(10**8))}+00"),
    "time": ("time without time zone", lambda r: f"{r.randrange(24):02d}:{r.choice('03')}0:00"),
    "boolean": ("boolean", lambda r: r.choice(["true", "false", None])),
    "sparse": ("integer", lambda r: r.choice([None, "0", "1", str(r.randint(2, 50))])),
    "sparse text": ("text", lambda r: r.choice([None, "", *NAMES])),
    "identifier": ("uuid", lambda r: f"{r.getrandbits(128):032x}"),
    "document": ("jsonb", lambda r: json.dumps({"a": r.randrange(5), "b": r.choice(NAMES)})),
    "array": ("integer[]", lambda r: "{" + ",".join(str(r.randrange(4)) for _ in range(r.randint(0, 3))) + "}"),
    "bytes": ("bytea", lambda r: f"\\x{r.getrandbits(16):04x}"),
}


@pytest.mark.parametrize("count", [30, 400])
@pytest.mark.parametrize("name", RANDOM)
def test_values_replaced_at_random_get_no_diagnosis(duck: DuckDB, name: str, count: int) -> None:
    kind, make = RANDOM[name]
    rng = random.Random(name)
    drawn = [(make(rng), make(rng)) for _ in range(count)]
    pairs = [(s, t) for s, t in drawn if differ(kind, s, t)]
    assert diagnosed(duck, kind, pairs, rows=10 * count) == ()


def mistyped(text: str, rng: random.Random) -> str:
    at, letter = rng.randrange(len(text)), rng.choice(string.ascii_letters + " .-")
    replaced, left_out, added = (
        text[:at] + letter + text[at + 1 :],
        text[:at] + text[at + 1 :],
        text[:at] + letter + text[at:],
    )
    return rng.choice([replaced, left_out, added])


def test_mistyped_letters_get_no_diagnosis(duck: DuckDB) -> None:
    rng = random.Random(1)
    texts = [f"{rng.choice(NAMES)} {rng.choice(NAMES)} {n}" for n in range(500)]
    pairs = [(text, mistyped(text, rng)) for text in texts]
    found = diagnosed(duck, "text", [(s, t) for s, t in pairs if s != t])
    # A space put in or left out is a difference of white space alone, whoever did it.
    assert {d.cause for d in found} <= {"white-space"}


def test_mistyped_digits_get_no_diagnosis(duck: DuckDB) -> None:
    rng = random.Random(2)
    pairs: list[tuple[Value, Value]] = []
    for _ in range(500):
        number = f"{rng.randrange(10**5, 10**7) / 100:.2f}"
        at = rng.choice([n for n, digit in enumerate(number) if digit != "."])
        pairs.append((number, f"{number[:at]}{rng.choice('123456789')}{number[at + 1 :]}"))
    assert diagnosed(duck, "numeric(12,2)", [(s, t) for s, t in pairs if s != t]) == ()


def test_dates_moved_by_any_number_of_days_get_no_diagnosis(duck: DuckDB) -> None:
    rng = random.Random(3)
    days = [START + timedelta(days=rng.randrange(1000)) for _ in range(300)]
    pairs: list[tuple[Value, Value]] = [
        (str(day.date()), str((day + timedelta(days=rng.choice([-3, -2, 2, 3, 4, 5, 6, 8]))).date())) for day in days
    ]
    assert diagnosed(duck, "date", pairs) == ()


def test_booleans_are_called_inverted_only_if_all_of_the_table_are(duck: DuckDB) -> None:
    rng = random.Random(4)
    flipped: list[tuple[Value, Value]] = [rng.choice([("true", "false"), ("false", "true")]) for _ in range(100)]
    assert diagnosed(duck, "boolean", flipped, rows=1000) == ()
    assert diagnosed(duck, "boolean", flipped) == ()
    assert [d.cause for d in diagnosed(duck, "boolean", flipped, rows=105)] == ["inverted"]
    one_way = diagnosed(duck, "boolean", [("true", "false")] * 100, rows=1000)
    assert [d.cause for d in one_way] == ["replaced-by-default"]


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_of_a_few_random_values_at_most_a_guess_is_told(duck: DuckDB, count: int) -> None:
    told = 0
    for name, (kind, make) in RANDOM.items():
        rng = random.Random(f"{name} {count}")
        drawn = [(make(rng), make(rng)) for _ in range(count)]
        found = diagnosed(duck, kind, [(s, t) for s, t in drawn if differ(kind, s, t)], rows=1000)
        assert all("a guess" in diagnosis.words for diagnosis in found), found
        told += len(found)
    assert told <= len(RANDOM) // 10


STRANGE = [
    None, "", " ", "NaN", "Infinity", "-Infinity", "infinity", "-infinity", "0044-03-15 BC", "0001-01-01 00:00:00 BC",
    "4713-01-01 00:00:00+00 BC", "9999-12-31", "9999-12-31 23:59:59.999999+00", "10000-01-01", "294276-12-31 23:59:59.999999",
    "290309-12-22", "1582-10-15", "0001-01-01", "24:00:00", "00:00:00", "23:59:59.999999", "0", "-0", "-1", "1e400", "1e-400",
    "1e+20", "9" * 60, "-" + "9" * 60, f"{'9' * 40}.{'9' * 40}", "0." + "0" * 70 + "1", "170141183460469231731687303715884105727",
    "9223372036854775807", "-9223372036854775808", "12345678901234567.1234567890123456789", "3.4028236e+38", "true", "false",
    "[" * 500 + "]" * 500, "[" * 90000, '{"a": 1e999999999999999999999}', '{"a": "\\ud800"}', '{"a":1,"a":2}', "{", "{}", "[]", "{NULL}", "[0:1]={1,2}",
    "\\x", "\\xff", "\\x0", "\\xzz", "'", "''", '"', "\\", "{pairs}", "{0}", "%s", "\ufeff", "\ufffd", "e\u0301", "😀", "ﬁ", "ß", "İ", "ǆ", "\x01\x7f", "\r\n", "x" * 70000,
    "a\u0000b".replace("\u0000", ""), "١٢٣", "2024-02-30", "2024-13-45 25:61:61", "NULL", "None",
]  # fmt: skip

KINDS = [
    "integer", "numeric", "numeric(38,10)", "real", "double precision", "date", "timestamp without time zone",
    "timestamp with time zone", "time without time zone", "boolean", "json", "jsonb", "integer[]", "bytea", "text", "uuid",
    "interval", "character(10)", "some_domain",
]  # fmt: skip


def _castable(kind: str, text: Value, duck: DuckDB) -> bool:
    """Floats reach the comparison only as numbers."""
    if kind not in ("real", "double precision") or text is None:
        return True
    cast = "FLOAT" if kind == "real" else "DOUBLE"
    ((value,),) = duck.execute(f"SELECT TRY_CAST(? AS {cast})", [text]).fetchall()
    return value is not None


@given(
    kind=st.sampled_from(KINDS),
    values=st.lists(st.tuples(*[st.one_of(st.sampled_from(STRANGE), st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6))] * 2), min_size=1, max_size=12),
    repeat=st.integers(1, 3),
)  # fmt: skip
@examples(40)
def test_strange_values_break_nothing(duck: DuckDB, kind: str, values: list[tuple[Value, Value]], repeat: int) -> None:
    pairs = [(s, t) for s, t in values if s != t and _castable(kind, s, duck) and _castable(kind, t, duck)] * repeat
    found = diagnosed(duck, kind, pairs, rows=len(pairs))
    assert sum(diagnosis.pairs for diagnosis in found) <= len(pairs)
    for diagnosis in found:
        assert 0 < diagnosis.share <= 1
        assert diagnosis.of <= len(pairs)
        assert 1 <= len(diagnosis.examples) <= 3
        assert json.loads(json.dumps(diagnosis.as_dict()))["cause"]


def test_every_strange_value_against_every_other(duck: DuckDB) -> None:
    for kind in KINDS:
        usable = [text for text in STRANGE if _castable(kind, text, duck)]
        steps = range(1, len(usable), 5)
        pairs = [
            (s, usable[n - step])
            for n, s in enumerate(usable)
            for step in steps
            if len(f"{s}{usable[n - step]}") < 5000
        ]
        found = diagnosed(duck, kind, pairs)
        assert sum(diagnosis.pairs for diagnosis in found) <= len(pairs)
