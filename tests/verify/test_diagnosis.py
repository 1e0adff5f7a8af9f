"""Real transformations get their name, parameters and share; values that differ at random get no name.

Would catch: a cause that is not recognised, or is taken for another; a wrong constant, zone, encoding or number of digits;
two causes told as one; counts and examples that are not those of the data; a cause seen among all pairs but not in a sample.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import duckdb
import pytest
from diagnosis_cases import CASES, Case, accented, instant, local, misread, phrase, plus, precise, shown, utc
from diagnosis_support import Value, comparison, diagnosed, differ, left_over

from helpers.engines import texts
from helpers.platforms import duck as platform
from helpers.verify.diagnosis import diagnose
from helpers.verify.hypotheses import HYPOTHESES
from helpers.verify.hypotheses import pairs as sampling

DuckDB = duckdb.DuckDBPyConnection


@pytest.fixture(scope="module")
def duck(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DuckDB]:
    with platform.connect(memory="600MB", spill=tmp_path_factory.mktemp("spill")) as connection:
        texts.register(connection)
        yield connection


def _pairs(case: Case, count: int, rng: random.Random) -> list[tuple[Value, Value]]:
    pairs: list[tuple[Value, Value]] = []
    while len(pairs) < count:
        source = case.source(rng)
        target = case.corrupt(source)  # type: ignore[arg-type]
        if differ(case.type, source, target):
            pairs.append((source, target))
    return pairs


def _case(name: str) -> Case:
    return next(case for case in CASES if case.name == name)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_transformation_is_recognised(duck: DuckDB, case: Case) -> None:
    pairs = _pairs(case, 300, random.Random(case.name))
    found = diagnosed(duck, case.type, pairs, rows=len(pairs))
    assert [d.cause for d in found] == [case.cause], found
    (diagnosis,) = found
    assert case.says in diagnosis.words
    assert case.likely in diagnosis.likely
    assert diagnosis.words.endswith(".")
    assert diagnosis.likely.endswith(".")
    assert not diagnosis.likely.startswith("the ")
    assert (diagnosis.pairs, diagnosis.of, diagnosis.share) == (300, 300, 1.0)
    assert len(diagnosis.examples) == 3
    for example in diagnosis.examples:
        source, target = pairs[int(str(example.key["id"]))]  # type: ignore[index]
        assert example.source == source
        if not comparison(case.type).startswith("float"):
            assert not differ(case.type, example.target, target)


WHOLE_COLUMN = {"inverted", "recoded", "neighbouring-row"}
"""What can be told only of all rows together."""


ONE_OF_EACH = list({case.cause: case for case in CASES if case.cause not in WHOLE_COLUMN}.values())


@pytest.mark.parametrize("case", ONE_OF_EACH, ids=lambda case: case.name)
def test_it_is_recognised_among_values_that_differ_at_random(duck: DuckDB, case: Case) -> None:
    rng = random.Random(case.name)
    corrupted = _pairs(case, 200, rng)
    others = [(case.source(rng), case.source(rng)) for _ in range(100)]
    at_random = [(s, t) for s, t in others if differ(case.type, s, t)]
    found = diagnosed(duck, case.type, corrupted + at_random)
    assert [d.cause for d in found] == [case.cause], found
    assert case.says in found[0].words
    assert 200 <= found[0].pairs <= 205
    assert found[0].of == 200 + len(at_random)


def test_every_hypothesis_has_a_case() -> None:
    rows = {"swapped-columns", "neighbouring-row"}
    assert {h.cause for h in HYPOTHESES} - rows <= {case.cause for case in CASES}


@pytest.mark.parametrize(
    ("names", "counts"),
    [
        (("two-hours", "seconds"), (210, 90)),
        (("plus", "negated"), (200, 100)),
        (("half-up", "negated", "null-zero"), (200, 100, 50)),
        (("rtrim", "upper"), (150, 149)),
        (("null-empty", "varchar"), (100, 200)),
        (("latin-1", "rtrim", "nulled"), (150, 100, 50)),
        (("key-order", "nulled"), (200, 100)),
        (("day-before", "american", "null-9999"), (150, 100, 50)),
    ],
)
def test_a_mixture_is_told_as_what_it_is_made_of(duck: DuckDB, names: tuple[str, ...], counts: tuple[int, ...]) -> None:
    rng = random.Random(str(names))
    cases = [_case(name) for name in names]
    pairs = [pair for case, count in zip(cases, counts, strict=True) for pair in _pairs(case, count, rng)]
    rng.shuffle(pairs)
    found = diagnosed(duck, cases[0].type, pairs)
    expected = sorted(((case.cause, count) for case, count in zip(cases, counts, strict=True)), key=lambda x: -x[1])
    assert [(d.cause, d.pairs) for d in found] == expected, found
    assert {d.of for d in found} == {sum(counts)}


@pytest.mark.parametrize("count", [2, 5, 20])
@pytest.mark.parametrize(
    "name", ["half-up", "negated", "cents", "two-hours", "midnight", "day-before", "rtrim", "upper", "nfd", "latin-1", "key-order"]
)  # fmt: skip
def test_a_few_pairs_are_enough(duck: DuckDB, name: str, count: int) -> None:
    case = _case(name)
    (diagnosis,) = diagnosed(duck, case.type, _pairs(case, count, random.Random(count)))
    assert (diagnosis.cause, diagnosis.pairs, diagnosis.of) == (case.cause, count, count)


def test_a_diagnosis_of_one_pair_says_so(duck: DuckDB) -> None:
    (diagnosis,) = diagnosed(duck, "text", [("north garden  ", "north garden")])
    assert diagnosis.words == "In the one pair that differs, white space at the end is lost. One pair only: a guess."
    (diagnosis,) = diagnosed(duck, "numeric(12,2)", [("1234.56", "123456")])
    assert diagnosis.cause == "scaled-by-power-of-ten"


@pytest.mark.parametrize(
    "zone",
    ["America/Los_Angeles", "America/New_York", "Europe/Berlin", "Australia/Sydney", "America/St_Johns", "Europe/Moscow"],
)  # fmt: skip
@pytest.mark.parametrize("direction", [local, utc])
def test_the_zone_that_explains_all_pairs_is_named(duck: DuckDB, zone: str, direction: object) -> None:
    rng = random.Random(zone)
    start, end = datetime(2008, 1, 1, tzinfo=UTC).timestamp(), datetime(2025, 1, 1, tzinfo=UTC).timestamp()
    instants = [datetime.fromtimestamp(rng.randint(int(start), int(end)), UTC).replace(tzinfo=None) for _ in range(400)]
    corrupt = direction(zone)  # type: ignore[operator]
    # An hour that the clocks leave out, or show twice, is read as one thing by Python and as another by others.
    known = [i for i in instants if len({i.replace(tzinfo=ZoneInfo(zone), fold=f).utcoffset() for f in (0, 1)}) == 1]
    pairs = [(s, t) for s, t in ((shown(i), corrupt(shown(i)).removesuffix("+00")) for i in known) if s != t]
    (diagnosis,) = diagnosed(duck, "timestamp without time zone", pairs)
    assert diagnosis.cause == "time-zone"
    assert f"local time of {zone}," in diagnosis.words
    assert diagnosis.share == 1.0


def test_a_zone_that_is_utc_in_winter_shows_in_summer_only(duck: DuckDB) -> None:
    rng = random.Random(6)
    pairs = [(s, local("Europe/London")(s)) for s in (instant(rng) for _ in range(400))]
    (diagnosis,) = diagnosed(duck, "timestamp with time zone", [(s, t) for s, t in pairs if s != t])
    assert "1 hour later" in diagnosis.words
    assert "Europe/London" in diagnosis.likely
    assert "Europe/Berlin" not in diagnosis.likely


def test_a_constant_offset_names_only_zones_that_had_it_at_all_times(duck: DuckDB) -> None:
    rng = random.Random(7)
    pairs = [(s, plus(hours=1)(s)) for s in (instant(rng) for _ in range(200))]
    (all_year,) = diagnosed(duck, "timestamp with time zone", pairs)
    assert "Africa/Lagos" in all_year.likely
    assert "Europe/Berlin" not in all_year.likely
    winter = [(s, t) for s, t in pairs if s[5:7] in ("12", "01", "02")]
    (in_winter,) = diagnosed(duck, "timestamp with time zone", winter)
    assert "Europe/Berlin" in in_winter.likely


def test_columns_exchanged_or_taken_from_another(duck: DuckDB) -> None:
    rng = random.Random(1)
    source = [(str(n), phrase(rng), phrase(rng), precise(rng), precise(rng)) for n in range(200)]
    target = [(n, last, first, other, other) for n, first, last, _, other in source]
    types = {"id": "bigint", "first": "text", "last": "text", "net": "numeric(14,4)", "gross": "numeric(14,4)"}
    found, _ = diagnose(duck, left_over(duck, types, source, target), key=("id",))
    assert set(found) == {"first", "last", "net"}
    assert [d.cause for d in found["first"]] == [d.cause for d in found["last"]] == ["swapped-columns"]
    assert '"last"' in found["first"][0].words
    assert [d.cause for d in found["net"]] == ["another-column"]
    assert '"gross"' in found["net"][0].words


def test_values_of_the_neighbouring_row(duck: DuckDB) -> None:
    rng = random.Random(2)
    source = [(str(n), phrase(rng), str(rng.randrange(1000))) for n in range(300)]
    order = list(range(300))
    rng.shuffle(order)
    target = [(source[n][0], source[n - 1][1], source[(n + 1) % 300][2]) for n in order]
    columns = left_over(duck, {"id": "bigint", "a": "text", "b": "integer"}, [source[n] for n in order], target)
    found, _ = diagnose(duck, columns, key=("id",))
    assert [d.cause for d in (*found["a"], *found["b"])] == ["neighbouring-row"] * 2
    assert "preceding row" in found["a"][0].words
    assert "following row" in found["b"][0].words


def test_columns_without_a_difference_have_no_entry_and_those_without_a_cause_an_empty_one(duck: DuckDB) -> None:
    rng = random.Random(3)
    source = [(str(n), "same", phrase(rng)) for n in range(100)]
    target = [(n, same, phrase(rng)) for n, same, _ in source]
    columns = left_over(duck, {"id": "bigint", "same": "text", "other": "text"}, source, target)
    assert diagnose(duck, columns, key=("id",)) == ({"other": ()}, {})


def test_examples_name_the_key_or_for_want_of_one_the_row(duck: DuckDB) -> None:
    source = [("1", None, "x "), ("1", "b", "y "), ("2", "b", "z "), ("3", "c", "w ")]
    target = [(a, b, text.strip()) for a, b, text in source]
    columns = left_over(duck, {"a": "integer", "b": "text", "text": "text"}, source, target)
    (keyed,) = diagnose(duck, columns, key=("a", "b"))[0]["text"]
    assert [example.as_dict() for example in keyed.examples] == [
        {"key": {"a": a, "b": b}, "source": text, "target": text.strip()} for a, b, text in source[:3]
    ]
    (keyless,) = diagnose(duck, columns)[0]["text"]
    assert keyless.examples[0].as_dict() == {"row": 1, "source": "x ", "target": "x"}
    assert json.loads(json.dumps(keyed.as_dict()))["share"] == 1.0


def test_a_long_example_is_cut_around_the_difference(duck: DuckDB) -> None:
    before, after = "a" * 5000, "b" * 5000
    pairs: list[tuple[Value, Value]] = [(f"{before}{n}é{after}", f"{before}{n}Ã©{after}") for n in range(30)]
    (diagnosis,) = diagnosed(duck, "text", pairs)
    example = diagnosis.examples[0]
    assert "0é" in str(example.source)
    assert "0Ã©" in str(example.target)
    assert len(str(example.source)) <= 202


def test_a_float_and_a_number_without_scale_are_shown_as_postgresql_prints_them(duck: DuckDB) -> None:
    (diagnosis,) = diagnosed(duck, "double precision", [(str(n + 0.25), f"-{n + 0.25}") for n in range(20)])
    assert diagnosis.examples[0].target == "-0.25"
    (diagnosis,) = diagnosed(duck, "numeric", [(f"{n}.25", f"-{n}.250000") for n in range(1, 20)])
    assert diagnosis.examples[0].target == "-1.25"


def test_what_python_must_ask_is_asked_of_a_sample_and_the_words_say_so(
    duck: DuckDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling, "EXAMINED_PAIRS", 400)
    rng = random.Random(4)
    wrong = [(s, misread("latin-1")(s)) for s in (f"{accented(rng)} {n}" for n in range(3000))]
    trimmed = [(f"{s}  ", s) for s in (f"{phrase(rng)} {n}" for n in range(1000))]
    first, second = diagnosed(duck, "text", wrong + trimmed)
    assert (first.cause, second.cause) == ("mojibake", "trimmed-right")
    assert first.of == second.of < 1000
    assert f"of {first.of:,} pairs examined, of 4,000 that differ" in first.words
    assert 0.65 < first.share < 0.85
    assert first.pairs + second.pairs == first.of


def test_of_texts_that_are_too_long_to_be_held_a_sample_stands_for_all(
    duck: DuckDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling, "HELD_CHARACTERS", 200_000)
    (diagnosis,) = diagnosed(duck, "text", [(f"{n} {'x' * 1000}  ", f"{n} {'x' * 1000}") for n in range(500)])
    assert diagnosis.cause == "trimmed-right"
    assert diagnosis.pairs == diagnosis.of < 150
    assert f"In all {diagnosis.of} pairs examined, of 500 that differ," in diagnosis.words


def test_a_rare_cause_is_found_outside_the_sample_that_is_looked_at_first(
    duck: DuckDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling, "LOOKED_AT", 20)
    rng = random.Random(5)
    pairs: list[tuple[Value, Value]] = [(phrase(rng), phrase(rng)) for _ in range(3000)]
    pairs[700:706] = [(f"a text of row {n} ", f"a text of row {n}") for n in range(6)]
    (diagnosis,) = diagnosed(duck, "text", [(s, t) for s, t in pairs if s != t])
    assert (diagnosis.cause, diagnosis.pairs) == ("trimmed-right", 6)


def test_nothing_is_left_in_the_database(duck: DuckDB) -> None:
    diagnosed(duck, "text", [(accented(random.Random(n)), "x") for n in range(40)])
    assert {name for (name,) in duck.execute("SELECT table_name FROM duckdb_tables()").fetchall()} == {"rest", "pairs"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "source", "target", "cause"),
    [
        ("text", "md5(i::VARCHAR) || if(i % 2 = 0, '  ', '')", "if(i % 2 = 0, md5(i::VARCHAR), upper(md5(i::VARCHAR)))", "trimmed-right"),
        ("text", "'Zürich ' || md5(i::VARCHAR)", "'ZÃ¼rich ' || md5(i::VARCHAR)", "mojibake"),
        ("numeric(14,4)", "(hash(i) % 99999999 / 10000)::DECIMAL(14,4)", "round((hash(i) % 99999999 / 10000)::DECIMAL(14,4), 1)", "rounded"),
        ("timestamp without time zone", "make_timestamp(1600000000000000 + i * 60000000)", "timezone('America/New_York', make_timestamptz(1600000000000000 + i * 60000000))", "time-zone"),
        ("jsonb", "'{\"a\": ' || i || ', \"b\": \"' || md5(i::VARCHAR) || '\"}'", "'{\"b\": \"' || md5(i::VARCHAR) || '\", \"a\": ' || i || '}'", "json-reformatted"),
        ("text", "md5(i::VARCHAR)", "md5((i + 7)::VARCHAR)", None),
        ("numeric(14,2)", "(hash(i) % 99999999 / 100)::DECIMAL(14,2)", "(hash(i + 7) % 99999999 / 100)::DECIMAL(14,2)", None),
    ],
)  # fmt: skip
def test_a_million_pairs_stay_within_the_memory_of_the_connection(
    duck: DuckDB, kind: str, source: str, target: str, cause: str | None
) -> None:
    count = 1_000_000
    columns = left_over(duck, {"id": "bigint", "value": kind}, [], [])
    rows = f"SELECT '{{0}}' AS side, i::VARCHAR AS c0, ({{1}})::VARCHAR AS c1, i + 1 + {{2}} AS id FROM range({count}) AS r(i)"
    both = f"{rows.format('s', source, 0)} UNION ALL {rows.format('t', target, count)}"
    duck.execute(
        f"CREATE OR REPLACE TABLE rest AS SELECT *, c0 AS v0, rtrim(c1, if('{kind}' LIKE 'num%', '0', '')) AS v1 FROM ({both})"
    )
    duck.execute(f"CREATE OR REPLACE TABLE pairs AS SELECT id AS s, id + {count} AS t FROM rest WHERE side = 's'")
    found = diagnose(duck, columns, key=("id",), rows=count)[0]["value"]
    assert [d.cause for d in found][:1] == ([cause] if cause else [])
