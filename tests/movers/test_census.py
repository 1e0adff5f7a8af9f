"""The census counts in one scan what no target holds, and a policy touches exactly that.

Would catch: a value that changes in silence, a count that is off, an example that fetches a gigabyte, a policy that does
more or less than it says, one with a misspelt key that does nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from property_support import examples
from pydantic import ValidationError

from helpers.errors import SettingsError
from helpers.model.catalog import Table
from helpers.platforms import duck, postgres
from helpers.platforms.postgres import identifier, literal
from helpers.settings import Export, Settings, Source
from helpers.source.catalog import read_catalog
from helpers.source.census import ColumnCensus, TableCensus, check_policies, take_census

ODD = (
    """CREATE TABLE odd (id int PRIMARY KEY, price numeric(5,2), free numeric, day date, at timestamp, instant timestamptz,
        clock time, plain json, details jsonb, grid int[])""",
    """INSERT INTO odd VALUES
        (1, 'NaN', 'NaN', 'infinity', '-infinity', 'infinity', '24:00', '{"a":1,"a":2}', '{"a": 1e400}', '[0:1]={1,2}'),
        (2, 'NaN', 'Infinity', '0001-01-01 BC', '10000-01-01', '0001-01-01 00:00+01', '23:59', '{"a":"1e400"}', '1', '{1}'),
        (3, 1.5, 1e38, '9999-12-31', '2024-01-01', '9999-12-31 23:59:59.999999+00', NULL, '[12345678901234567]', NULL, '[2:2][1:1]={{5}}'),
        (4, NULL, 0.5, NULL, NULL, NULL, '24:00', '"\\ud800"', '"12345678901234567890"', NULL)""",
)


@pytest.fixture(scope="module")
def database(local_settings: Settings) -> Any:
    """A database of this module's own, and a cursor in it."""
    name = f"census_{os.getpid()}"
    source = local_settings.source.model_copy(update={"dbname": name})
    with closing(postgres.connect(local_settings.source, settings={"search_path": "public"})) as server:
        server.autocommit = True
        server.cursor().execute(f"CREATE DATABASE {name}")
        with closing(postgres.connect(source, settings={"search_path": "public"})) as connection:
            connection.autocommit = True
            yield connection.cursor(), source
        postgres.drop_database(server.cursor(), name)


@pytest.fixture
def source(database: Any) -> Any:
    cursor, where = database
    yield cursor, where
    cursor.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")


def _table(cursor: Any, name: str, *statements: str) -> Table:
    for statement in statements:
        cursor.execute(statement)
    (table,) = read_catalog(cursor, tables=[f"public.{name}"]).tables
    return table


def _policies(**policies: Any) -> Any:
    return Export(policies={key.replace("__", "."): value for key, value in policies.items()}).policies


def _columns(census: TableCensus) -> dict[str, ColumnCensus]:
    return {column.column.name: column for column in census.columns}


def test_every_kind_of_value_is_counted_and_named_with_its_key(source: Any) -> None:
    cursor, _ = source
    census = take_census(cursor, _table(cursor, "odd", *ODD), {})
    found = _columns(census)
    assert {(name, reason.split(",")[0]): n for name, c in found.items() for reason, n in c.refusals.items()} == {
        ("price", "NaN or infinity"): 2, ("free", "NaN or infinity"): 2, ("free", "more than 38 digits"): 1,
        ("day", "infinite"): 1, ("day", "before year 1"): 1, ("at", "infinite"): 1, ("at", "after year 9999"): 1,
        ("instant", "infinite"): 1, ("instant", "before year 1"): 1, ("clock", "24:00"): 2,
    }  # fmt: skip
    assert [(e.row, e.value) for e in found["price"].examples["NaN or infinity, which no decimal type holds"]] == [
        ({"id": "1"}, "NaN"), ({"id": "2"}, "NaN"),
    ]  # fmt: skip
    assert "public.odd.clock (time without time zone): 2 × 24:00" in " ".join(census.refused)
    assert "id=1: 24:00:00; id=4: 24:00:00" in " ".join(census.refused)
    assert [list(found[name].information.values()) for name in ("plain", "details", "grid")] == [[1, 2], [1], [2]]
    assert census.rows == 4


def test_one_scan_unless_something_is_refused(source: Any) -> None:
    cursor, _ = source
    columns = ", ".join(f"c{n} {kind}" for n in range(50) for kind in [("numeric", "text", "date", "jsonb")[n % 4]])
    table = _table(cursor, "wide", f"CREATE TABLE wide ({columns})", "INSERT INTO wide DEFAULT VALUES")

    def scans() -> int:
        cursor.execute("SELECT pg_stat_force_next_flush(), pg_stat_clear_snapshot()")
        cursor.execute("SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'wide'")
        return int(cursor.fetchone()[0])

    before = scans()
    assert take_census(cursor, table, {}).refused == ()
    assert scans() == before + 1


def test_as_many_columns_as_a_table_has(source: Any) -> None:
    cursor, _ = source
    columns = ", ".join(f"c{n} numeric" for n in range(1600))
    table = _table(cursor, "wide", f"CREATE TABLE wide ({columns})", "INSERT INTO wide (c0, c1599) VALUES (1.5, 'NaN')")
    census = take_census(cursor, table, {})
    assert len(census.refused) == 1 and "wide.c1599" in census.refused[0]
    (sentence,) = take_census(cursor, table, _policies(public__wide__c1599="null+flag", numeric="null+flag")).refused
    assert "3,200 columns" in sentence


def test_a_value_too_long_is_named_by_key_and_length_and_never_fetched(source: Any) -> None:
    cursor, _ = source
    table = _table(
        cursor,
        "big",
        "CREATE TABLE big (id int PRIMARY KEY, body text, raw bytea, tags text[])",
        "INSERT INTO big VALUES (1, repeat('x', 16777216), decode(repeat('00', 8388608), 'hex'), NULL)",
        "INSERT INTO big VALUES (7, repeat('é', 8388609), decode(repeat('00', 8388609), 'hex'), ARRAY[repeat('y', 16777216)])",
    )
    found = _columns(take_census(cursor, table, {}))
    lengths = {name: [(e.row, e.value, e.bytes) for v in c.examples.values() for e in v] for name, c in found.items()}
    assert lengths == {
        "id": [], "body": [({"id": "7"}, None, 16_777_218)], "raw": [({"id": "7"}, None, 8_388_609)],
        "tags": [({"id": "7"}, None, 16_777_218)],
    }  # fmt: skip
    for policy in ("text", None):
        policies = _policies(public__big__body="text", public__big__raw="text") if policy else {}
        assert {c.column.name for c in take_census(cursor, table, policies).columns if c.refusals} == {
            "body",
            "raw",
            "tags",
        }
    as_text = _columns(take_census(cursor, table, _policies(public__big__raw="text")))["raw"]
    assert list(as_text.refusals.values()) == [2], "8 MiB of bytes are more than 16 MiB as text"


def test_without_a_key_an_example_says_where_the_row_lies(source: Any) -> None:
    cursor, _ = source
    table = _table(
        cursor, "months", "CREATE TABLE months (day date) PARTITION BY LIST (day)",
        "CREATE TABLE months_1 PARTITION OF months DEFAULT", "INSERT INTO months VALUES ('infinity'), ('2024-01-01')",
    )  # fmt: skip
    (examples,) = take_census(cursor, table, {}).columns[0].examples.values()
    assert [e.row for e in examples] == [{"table": "months_1", "ctid": "(0,1)"}]


def test_a_flag_column_keeps_the_original_and_nothing_else_changes(source: Any) -> None:
    cursor, where = source
    policies = _policies(
        public__odd__price="null+flag", public__odd__free={"sentinel": "-1.25"}, public__odd__day={"sentinel": "9999-12-31"},
        public__odd__at="null+flag", timestamptz={"sentinel": "9999-12-31 00:00:00+00"}, time={"sentinel": "23:59:59.999999"},
    )  # fmt: skip
    table = _table(cursor, "odd", *ODD, "ALTER TABLE odd ALTER clock SET DEFAULT '00:00', ADD day__original int")
    check_policies([table], policies)
    census = take_census(cursor, table, policies)
    assert census.refused == ()
    assert {name: c.touched for name, c in _columns(census).items() if c.policy} == {
        "price": 2, "free": 3, "day": 2, "at": 2, "instant": 2, "clock": 2,
    }  # fmt: skip
    names = [f.name for f in census.fields]
    assert names[names.index("day") + 1] == "day__original_" and names[-1] == "day__original"
    staged, printed = _both(cursor, where, census)
    assert staged == printed
    assert [row[names.index("price") : names.index("price") + 2] for row in staged] == [
        (None, "NaN"), (None, "NaN"), ("1.50", None), (None, None),
    ]  # fmt: skip
    cursor.execute("SELECT free::text, day::text, at::text, instant::text, clock::text FROM odd ORDER BY id")
    for column, originals in zip(
        ("free", "day", "at", "instant", "clock"), zip(*cursor.fetchall(), strict=True), strict=True
    ):
        at = names.index(column)
        kept = [flag if flag is not None else value for value, flag in (row[at : at + 2] for row in staged)]
        if column != "free":
            assert kept == list(originals), column
    assert [row[names.index("free")] for row in staged] == ["-1.25", "-1.25", "-1.25", "0.5"]


def _both(cursor: Any, where: Source, census: TableCensus) -> tuple[list[Any], list[Any]]:
    """The rows as staged, and as PostgreSQL prints what the target should hold; numbers without zeros at their end."""
    reads, casts, texts = [], [], []
    for n, field in enumerate(census.fields):
        quoted = identifier(field.flag_of or field.name)
        reads.append(f"{field.mapping.read.format(c=quoted)} AS c{n}")
        shown = f"CAST(c{n} AS {field.mapping.parquet})"
        if field.mapping.parquet == "TIMESTAMPTZ":
            casts.append(f"CAST({shown} AT TIME ZONE 'UTC' AS VARCHAR) || '+00'")
        elif field.name == "free":
            casts.append(f"rtrim(CAST({shown} AS VARCHAR), '0')")
        else:
            casts.append(f"CAST({shown} AS VARCHAR)")
        texts.append(field.mapping.text.format(c=quoted))
    query = literal(f"SELECT {', '.join(reads)} FROM {census.table.sql} ORDER BY id")
    with duck.connect() as engine:
        duck.attach_postgres(engine, where, settings={"search_path": "public"})
        engine.execute("SET preserve_insertion_order = true")
        staged = engine.execute(f"SELECT {', '.join(casts)} FROM postgres_query('source', {query})").fetchall()
    cursor.execute(f"SELECT {', '.join(texts)} FROM {census.table.sql} ORDER BY id")
    return staged, cursor.fetchall()


@examples(20)
@given(
    st.lists(st.sampled_from(["NaN", "Infinity", "-Infinity", "1e38", "1e-38", "1e37", "1e-20", "1.5", "0"])),
    st.booleans(),
)
def test_a_policy_touches_exactly_what_the_refusals_counted(source: Any, values: list[str], sentinel: bool) -> None:
    cursor, where = source
    cursor.execute("DROP TABLE IF EXISTS t")
    table = _table(cursor, "t", "CREATE TABLE t (id serial, v numeric)")
    for value in values:
        cursor.execute("INSERT INTO t (v) VALUES (%s)", [value])
    refused = take_census(cursor, table, {}).columns[1].refusals
    census = take_census(cursor, table, _policies(public__t__v={"sentinel": "7"} if sentinel else "null+flag"))
    assert (census.refused, census.columns[1].touched) == ((), sum(refused.values()))
    staged, _ = _both(cursor, where, census)
    flagged = [row for row in staged if row[2] is not None]
    assert len(flagged) == census.columns[1].touched
    assert all((float(row[1]) == 7) if sentinel else row[1] is None for row in flagged)


_WHOLE = st.integers(0, 10**40)
_NUMBERS = st.one_of(
    st.sampled_from(
        ["NaN", "Infinity", "-Infinity", "0", "0.00", "-1", "1e19", "9999999999999999999.9999999999999999999"]
    ),
    st.builds(lambda n, power: f"{n}e{power}", st.integers(-(10**8), 10**8), st.integers(-45, 45)),
    st.builds(lambda n, m, places: f"{n % 10**places}.{str(m)[:20]}000", _WHOLE, _WHOLE, st.integers(1, 40)),
)


@examples(30)
@given(st.lists(st.one_of(st.none(), _NUMBERS), max_size=12), st.sampled_from(["PLAIN", "MAIN", "EXTERNAL"]))
def test_numbers_are_counted_and_measured_as_decimal_arithmetic_says(
    source: Any, values: list[str | None], storage: str
) -> None:
    cursor, _ = source
    cursor.execute("DROP TABLE IF EXISTS t CASCADE; CREATE TABLE t (v numeric, d numeric(12, 2))")
    cursor.execute(f"ALTER TABLE t ALTER v SET STORAGE {storage}, ALTER d SET STORAGE {storage}")
    cursor.execute("CREATE VIEW computed AS SELECT v + 0 AS v, d + 0 AS d FROM t")
    for value in values:
        cursor.execute(
            "INSERT INTO t VALUES (%s, CASE WHEN %s = 'NaN' THEN 'NaN'::numeric ELSE 19.99 END)", [value, value]
        )
    found = [Decimal(value) for value in values if value is not None]
    finite = [value for value in found if value.is_finite()]
    held = [(_digits(v), v) for v in finite if sum(_digits(v)) <= 38 and _digits(v)[1] <= 37]
    whole = max((digits for (digits, _), _ in held), default=0)
    room = min(38 - whole, 37)
    fine = sum(places > room for (_, places), _ in held)
    places = max((places for (_, places), _ in held), default=0)
    expected = {
        "NaN or infinity": len(found) - len(finite),
        "more than 38 digits": len(finite) - len(held),
        "more digits after the point than": fine,
    }
    scale = room if fine else max(places, min(9, room))
    for name in ("t", "computed"):
        (table,) = read_catalog(cursor, tables=[name], include_views=True).tables
        v, d = take_census(cursor, table, {}).columns
        assert {reason: n for reason, n in expected.items() if n} == {
            next(reason for reason in expected if said.startswith(reason)): n for said, n in v.refusals.items()
        }
        assert v.mapping.parquet == f"DECIMAL(38,{scale})"
        if name == "t":
            assert sum(d.refusals.values()) == values.count("NaN")


def _digits(value: Decimal) -> tuple[int, int]:
    """Digits before the point, and those after it without zeros at the end."""
    _, digits, exponent = value.as_tuple()
    text = "".join(map(str, digits)).lstrip("0")
    assert isinstance(exponent, int)
    trimmed = text.rstrip("0")
    places = max(0, -(exponent + len(text) - len(trimmed))) if trimmed else 0
    return max(0, len(text) + exponent) if trimmed else 0, places


def test_an_array_that_is_small_only_in_storage_is_too_long(source: Any) -> None:
    cursor, _ = source
    cursor.execute("SELECT unnest(enumvals) FROM pg_settings WHERE name = 'default_toast_compression'")
    for (compression,) in cursor.fetchall():
        cursor.execute(f"SET default_toast_compression = {compression}; DROP TABLE IF EXISTS t")
        table = _table(
            cursor, "t", "CREATE TABLE t (id int PRIMARY KEY, a int[], b text[])",
            "INSERT INTO t VALUES (1, array_fill(NULL::int, ARRAY[3355443]), array_fill(''::text, ARRAY[100]))",
            "INSERT INTO t VALUES (2, array_fill(NULL::int, ARRAY[3355444]), ARRAY[repeat('\"', 8388607)])",
        )  # fmt: skip
        found = take_census(cursor, table, {}).columns
        assert [[e.row["id"] for v in c.examples.values() for e in v] for c in found] == [[], ["2"], ["2"]], compression


def test_numbers_in_json_are_counted_outside_strings_alone(source: Any) -> None:
    cursor, _ = source
    long = [
        "1234567890123456",
        "-1.23456789012345",
        "[1, 0.12345678901234]",
        '{"a": 1e15}',
        '{"a": [{"b": 100000000000000.5}]}',
    ]
    short = ["123456789012345", "[12345678, 12345678]", '{"1234567890123456": "0.1234567890123456"}', '"a\\"1234567890123456"',
             "null", "[]", '{"a": 1.2345678901234}']  # fmt: skip
    table = _table(cursor, "t", "CREATE TABLE t (plain json, binary_form jsonb)")
    for text in long + short:
        cursor.execute("INSERT INTO t VALUES (%s, %s)", [text.replace("1e15", "1e150"), text])
    found = take_census(cursor, table, {}).columns
    assert [list(c.information.values()) for c in found] == [[len(long)], [len(long)]]


def test_what_a_policy_makes_nullable_and_what_it_may_not_touch(source: Any) -> None:
    cursor, _ = source
    table = _table(cursor, "t", "CREATE TABLE t (day date PRIMARY KEY, at timestamp NOT NULL, note text NOT NULL)")
    census = take_census(cursor, table, _policies(public__t__at="null+flag", public__t__note="text"))
    assert [(f.name, f.not_null, f.flag_of) for f in census.fields] == [
        ("day", True, None), ("at", False, None), ("at__original", False, "at"), ("note", True, None),
    ]  # fmt: skip
    census = take_census(cursor, table, _policies(public__t__at={"sentinel": "9999-12-31"}))
    assert census.fields[1].not_null
    for policy in ("null+flag", {"sentinel": "9999-12-31"}):
        (sentence,) = take_census(cursor, table, _policies(public__t__day=policy)).refused
        assert "a column of the key" in sentence
    wide = take_census(cursor, table, {"public.t.*": "null+flag"})
    assert [(f.name, f.flag_of) for f in wide.fields if f.flag_of] == [("at__original", "at")]


@pytest.mark.parametrize(
    ("key", "policy", "says"),
    [
        ("public.t.prise", "text", "did you mean public.t.price"),
        ("public.u.price", "text", "did you mean public.t.price"),
        ("numerik", "text", "did you mean numeric"),
        ("money", "text", "no such column, table or type"),
        ("public.t.note", "null+flag", "only date, numeric, time, timestamp, timestamptz have values"),
        ("text", "null+flag", "none of the 1 columns it names"),
        ("public.t.price", {"sentinel": "1000"}, "not a numeric(5,2) that every target holds"),
        ("public.t.price", {"sentinel": "0.125"}, "not a numeric(5,2)"),
        ("public.t.price", {"sentinel": "NaN"}, "not a numeric(5,2)"),
        ("public.t.day", {"sentinel": "infinity"}, "not a date"),
        ("public.t.day", {"sentinel": "2024-02-30"}, "not a date"),
        ("public.t.day", {"sentinel": "0044-03-15 BC"}, "not a date"),
        ("time without time zone", {"sentinel": "24:00"}, "not a time"),
    ],
)  # fmt: skip
def test_a_policy_that_means_nothing_is_an_error_before_anything_is_read(
    source: Any, key: str, policy: Any, says: str
) -> None:
    cursor, _ = source
    table = _table(cursor, "t", "CREATE TABLE t (id int, price numeric(5,2), day date, at time, note text)")
    with pytest.raises(SettingsError) as caught:
        check_policies([table], _policies(**{key: policy}))
    assert says in str(caught.value) and f'"{key}"' in str(caught.value)


def test_a_policy_for_a_table_that_is_not_looked_at_passes(source: Any) -> None:
    cursor, _ = source
    table = _table(cursor, "t", "CREATE TABLE t (id int, price numeric)")
    check_policies([table], _policies(public__other__x="text", money="text"), complete=False)
    with pytest.raises(SettingsError):
        check_policies([table], _policies(public__t__x="text"), complete=False)
    check_policies([table], {"public.t.*": "null+flag", "public.t.price": "text"})


@pytest.mark.parametrize("wrong", ["skip", {"sentinel": 0.1}, {"sentinel": True}, {"value": "1"}, 3])
def test_an_unknown_policy_is_an_error_of_the_settings(wrong: Any) -> None:
    with pytest.raises(ValidationError, match=r"a policy is|in quotes"):
        Export(policies={"public.t.v": wrong})


def test_a_sentinel_without_room_beside_the_largest_value_is_an_error(source: Any) -> None:
    cursor, _ = source
    table = _table(cursor, "t", "CREATE TABLE t (v numeric)", "INSERT INTO t VALUES (1e37)")
    with pytest.raises(SettingsError, match="more digits after the point than the 0"):
        take_census(cursor, table, _policies(public__t__v={"sentinel": "0.5"}))


def test_an_sql_ascii_database_is_refused_only_where_it_says_more_than_ascii(local_settings: Settings) -> None:
    name = f"ascii_{os.getpid()}"
    where = local_settings.source.model_copy(update={"dbname": name})
    with closing(postgres.connect(local_settings.source, settings={"search_path": "public"})) as server:
        server.autocommit = True
        server.cursor().execute(
            f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' LOCALE_PROVIDER libc LOCALE 'C' TEMPLATE template0"
        )
        try:
            with closing(
                postgres.connect(where, settings={"search_path": "public", "client_encoding": "SQL_ASCII"})
            ) as connection:
                connection.autocommit = True
                cursor = connection.cursor()
                table = _table(
                    cursor, "t", "CREATE TABLE t (id text PRIMARY KEY, v text, n int)",
                    "INSERT INTO t VALUES (E'k\\xe9', E'\\xe9', 1), ('plain', 'plain', 2)",
                )  # fmt: skip
                found = take_census(cursor, table, {})
                assert [sum(c.refusals.values()) for c in found.columns] == [1, 1, 0]
                assert "id=k?: 1 bytes" in found.refused[1]
        finally:
            postgres.drop_database(server.cursor(), name)


def test_the_command_shows_the_census_and_says_no_when_something_is_refused(
    source: Any, tmp_path: Path, migration_toml: Callable[..., Path], runbook: Callable[..., Any]
) -> None:
    cursor, where = source
    _table(cursor, "odd", *ODD)
    file = migration_toml(
        f'[profiles.local]\nstack = "local"\n[profiles.local.source]\ndbname = "{where.dbname}"\n'
        '[profiles.local.export.policies]\n"public.odd.*" = "null+flag"\n"public.odd.day" = { sentinel = 9999-12-31 }\n'
    )

    done = runbook("assess", "--census", "--json", "--tables", "odd", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    (table,) = json.loads(done.stdout)["tables"]
    columns = {c["name"]: c for c in table["columns"]}
    assert (columns["day"]["policy"], columns["day"]["touched"], columns["day"]["flag"]) == (
        "sentinel+flag 9999-12-31", 2, "day__original",
    )  # fmt: skip
    file.write_text(file.read_text().partition("[profiles.local.export.policies]")[0])
    refused = runbook("assess", "--census", folder=tmp_path)
    assert refused.returncode == 1 and "24:00" in refused.stdout and "id=4" in refused.stdout
