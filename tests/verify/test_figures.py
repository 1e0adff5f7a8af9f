"""Business figures of a correct migration are equal to the last digit; of a spoilt one exactly those differ that changed.

Would catch: a sum that is rounded or overflows in one engine, a NULL that falls into no bucket, a month that depends on a
session's time zone, a cent that moved between months while the total stayed, an average made by integer division.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime
from decimal import Context, Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from property_support import examples
from psycopg2.extensions import make_dsn
from quality_support import STAR, in_postgres, in_snowflake, in_stage

from helpers.engines.duck_dialect import SQL as DUCKDB
from helpers.engines.held import Held, declared_form
from helpers.engines.postgres.quality import PostgresAnswers
from helpers.model.catalog import Table
from helpers.model.declared import DUCKDB as DUCKDB_DDL
from helpers.pipelines.sample import sample
from helpers.platforms import duck, postgres
from helpers.settings import Export, Settings
from helpers.source.catalog import read_catalog
from helpers.verify.data_quality import figures as figures_module
from helpers.verify.data_quality.figures import Figures
from helpers.verify.data_quality.sums import aggregates
from helpers.verify.data_quality.sums.amounts import Amount, Figure, why_not_exact
from helpers.verify.data_quality.sums.cubes import Cube, Dimension, cubes


def _differing(found: Figures) -> dict[tuple[str, str, str], tuple[int, str]]:
    """By table, measure and grouping: how many buckets differ, and the differences' text where it is one."""
    groups: dict[tuple[str, str, str], list[Figure]] = {}
    for table in found.tables:
        for figure in table.differences:
            groups.setdefault(
                (table.table.removeprefix("public."), figure.measure, " × ".join(figure.by) or "total"), []
            ).append(figure)
    return {key: (len(mine), ", ".join(sorted(str(f.difference) for f in mine))) for key, mine in groups.items()}


def test_figures_of_the_migrated_sample_are_equal_to_the_last_digit(migration: Any) -> None:
    source = migration.settings.source
    password = source.password.get_secret_value()
    sample.build(
        make_dsn(host=source.host, port=source.port, dbname=source.dbname, user=source.user, password=password),
        orders=1000,
    )
    migration.migrate()
    totals = {}
    for side in (in_snowflake, in_stage, in_postgres):
        with side(migration) as sides:
            found = sides.figures()
        assert _differing(found) == {}
        assert found.equal, side.__name__
        assert [note for table in found.tables for note in (*table.notes, *table.lacking)] == []
        totals[side.__name__] = {
            (table.table, f.measure): (f.target.count, f.target.total)
            for table in found.tables for f in table.figures if f.target and not f.by
            and not isinstance(f.target.total, float)
        }  # fmt: skip
        made = {table.table.removeprefix("public."): (table.measures, table.dimensions) for table in found.tables}
        assert made["sales_data"] == (
            ("sales", "quantity", "profit", "unit_price", "days_to_ship"),
            ("month of order_date", "category", "region", "country"),
        )
        assert made["fact_sales"] == (
            ("sales", "quantity", "profit"),
            ("month of dim_date.day", "customers.segment", "region", "dim_product.category", "country"),
        )
        assert set(made["sales_daily"][1]) == {"month of day", "category", "region"}
        assert set(made["sales_monthly"][1]) == {"month of month", "category", "region"}
        assert made["dim_product"] == ((), ())
    assert totals["in_snowflake"] == totals["in_stage"] == totals["in_postgres"]
    assert migration.source("SELECT sum(sales), sum(profit) FROM sales_data") == [
        (totals["in_stage"]["public.sales_data", "sales"][1], totals["in_stage"]["public.sales_data", "profit"][1])
    ]


CROSSED = "month of sold_at × via × products.category × region"

Groups = dict[tuple[str, str], tuple[int, str]]

SPOILS: tuple[tuple[str, tuple[str, ...], str, set[str], Groups, str], ...] = (
    (
        "a cent goes from January to February",
        ('UPDATE "sales" SET "amount" = "amount" - 0.01 WHERE "sale_id" = 4', 'UPDATE "sales" SET "amount" = "amount" + 0.01 WHERE "sale_id" = 44'),
        "sales", {"amount"},
        {("amount", "month of sold_at"): (2, "-0.01, 0.01"), ("amount", CROSSED): (2, "-0.01, 0.01")},
        "the total of amount is the same, but 2 of 3 buckets of month of sold_at differ: amounts moved between them",
    ),
    (
        "the clock of another zone",
        ("""UPDATE "sales" SET "sold_at" = DATEADD('hour', -1, "sold_at")""",),
        "sales", {"rows", "amount", "sold", "price", "weight"},
        {("rows", "month of sold_at"): (3, "-7, 1, 6"), ("amount", "month of sold_at"): (4, "-2321.55, 1899.45, 204.015, 218.085")},
        "there are as many rows, but 3 of 4 buckets of month of sold_at differ: rows moved between them, as a shifted time zone moves them",
    ),
    (
        "one row over midnight",
        ("""UPDATE "sales" SET "sold_at" = '2024-01-31 23:30:00+00:00' WHERE "sale_id" = 31""",),
        "sales", {"rows", "amount", "sold", "price", "weight"},
        {("rows", "month of sold_at"): (2, "-1, 1"), ("amount", "month of sold_at"): (2, "-31.155, 31.155")},
        "there are as many rows, but 2 of 3 buckets of month of sold_at differ: rows moved between them, as a shifted time zone moves them",
    ),
    (
        "a row is lost",
        ('DELETE FROM "sales" WHERE "sale_id" = 4',),
        "sales", {"rows", "amount", "sold", "price", "weight"},
        {("rows", "total"): (1, "-1"), ("rows", "region"): (1, "-1"), ("amount", "total"): (1, "-4.02"), ("amount", CROSSED): (1, "-4.02")},
        "",
    ),
    (
        "averages by integer division, and a NULL that leaves the sum as it was",
        ('UPDATE "months" SET "average_sale" = TRUNC("average_sale")',
         'UPDATE "months" SET "lines" = CASE MONTH("month") WHEN 1 THEN 0 WHEN 2 THEN 600 END'),
        "months", {"average_sale", "lines"},
        {
            ("average_sale", "total"): (1, "-1.9920637661141805"),
            ("average_sale", "month of month"): (3, "-0.575, -0.6660220994475138, -0.7510416666666667"),
            ("lines", "total"): (1, "0"), ("lines", "month of month"): (3, "-181, -216, 397"),
        },
        "average_sale has 3 values with digits after the point in the source and none in the target: integer division, or a type without them",
    ),
    (
        "a NULL becomes a region",
        ("""UPDATE "sales" SET "region" = 'North' WHERE "sale_id" = 3""",),
        "sales", {"rows", "amount", "sold", "price", "weight"},
        {("rows", "region"): (2, "-1, 1"), ("amount", "region"): (2, "-3.015, 3.015"), ("amount", CROSSED): (2, "-3.015, 3.015")},
        "there are as many rows, but 2 of 4 buckets of region differ: rows moved between them",
    ),
    (
        "a value becomes NULL, and a float changes in its last bits",
        ('UPDATE "sales" SET "price" = NULL WHERE "sale_id" = 90', 'UPDATE "sales" SET "weight" = "weight" + 1e-9 WHERE "sale_id" = 4'),
        "sales", {"price", "weight"}, {("price", "total"): (1, "-0.75"), ("price", "via"): (1, "-0.75")}, "",
    ),
    (
        "a product of another category",
        ("""UPDATE "products" SET "category" = 'Office' WHERE "product_key" = 1""",),
        "sales", {"rows", "amount", "sold", "price", "weight"}, {("rows", "products.category"): (2, "-110, 110")},
        "there are as many rows, but 2 of 3 buckets of products.category differ: rows moved between them",
    ),
)  # fmt: skip
"""What happens to the target; the table and the measures that differ then; some groupings with their differences; a note."""


def test_each_way_of_spoiling_the_target_changes_its_figures_and_no_others(migration: Any) -> None:
    migration.source(*STAR)
    migration.migrate()
    migration.target('ALTER TABLE "months" ALTER COLUMN "lines" DROP NOT NULL')
    with in_snowflake(migration) as sides:
        assert sides.figures().equal
        for what, statements, table, measures, expected, note in SPOILS:
            with sides.spoilt(*statements):
                found = sides.figures()
            differing = _differing(found)
            assert {(there, measure) for there, measure, _ in differing} == {
                (table, measure) for measure in measures
            }, what
            mine = {(measure, by): differences for (_, measure, by), differences in differing.items()}
            assert {key: mine.get(key) for key in expected} == expected, what
            assert found.table(f"public.{table}").notes == ((note,) if note else ()), what
            assert not found.equal
        _check_report(found)
        assert sides.figures().equal


def _check_report(found: Figures) -> None:
    """The last of the ways above: 110 rows went from Furniture to Office."""
    said = json.loads(json.dumps(found.as_dict()))
    assert (said["verdict"], said["source"], said["target"], said["average_places"]) == (
        "different",
        "postgresql",
        "snowflake",
        6,
    )
    (table,) = [table for table in said["tables"] if table["table"] == "public.sales"]
    (moved,) = [
        f
        for f in table["figures"]
        if (f["measure"], f["by"], f["bucket"]) == ("amount", ["products.category"], ["Office"])
    ]
    assert (moved["equal"], moved["difference"]) == (False, "33441.375")
    assert Decimal(moved["target"]["sum"]) - Decimal(moved["source"]["sum"]) == Decimal("33441.375")
    assert moved["source"]["average"] == str(
        (Decimal(moved["source"]["sum"]) / moved["source"]["count"]).quantize(Decimal("0.000001"))
    )


def test_a_target_that_lacks_what_a_figure_needs_is_not_equal(migration: Any) -> None:
    migration.source(*STAR)
    migration.migrate()
    migration.target(
        'DROP TABLE "months"',
        'ALTER TABLE "sales" DROP COLUMN "amount"',
        'ALTER TABLE "products" DROP COLUMN "category"',
        'ALTER TABLE "calendar" RENAME TO "old"',
        'CREATE TABLE "calendar" AS SELECT "date_key", "day"::VARCHAR AS "day" FROM "old"',
    )
    with in_snowflake(migration) as sides:
        found = sides.figures()
    assert {t.table.removeprefix("public."): t.lacking for t in found.tables if t.lacking} == {
        "months": ("the target has no such table",),
        "sales": ("the target has no column amount", "the target has no column category of public.products"),
    }  # fmt: skip
    sales = found.table("public.sales")
    assert sales.measures == ("sold", "price", "weight") and sales.dimensions == ("month of sold_at", "via", "region")
    assert not sales.differences and not sales.equal and not found.equal


def test_a_column_with_more_buckets_than_anybody_looks_at_fills_no_memory(
    migration: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    migration.source(*STAR)
    migration.migrate()
    monkeypatch.setattr(aggregates, "BUCKETS", 20)
    monkeypatch.setattr(figures_module, "BUCKETS", 20)
    with in_snowflake(migration) as sides:
        found = sides.figures().table("public.sales")
        assert (found.equal, found.crossed) == (True, 0)
        assert found.notes == ("postgresql has more than 20 buckets of its dimensions together: they are not compared",)
        with sides.spoilt('UPDATE "sales" SET "region" = "sale_id"'):
            found = sides.figures().table("public.sales")
    assert found.lacking == ("snowflake has more than 20 buckets of a dimension: they are not compared",)
    assert found.dimensions == () and not found.equal


STRANGE = (
    'CREATE SCHEMA "Odd ""x"" Schema"',
    """CREATE TABLE "Odd ""x"" Schema"."sélect 'é" ("order" bigint PRIMARY KEY, "q""uote" text, "日本 語" numeric, "semi;colon" date)""",
    """INSERT INTO "Odd ""x"" Schema"."sélect 'é" SELECT n, CASE WHEN n % 3 > 0 THEN 'a''\' || n % 3 END, n / 3.0, date '0001-01-01' + n FROM generate_series(1, 40) n""",
    "CREATE TABLE nothing (id int PRIMARY KEY, note text, day date, amount numeric)",
    "CREATE TABLE no_columns ()",
    "CREATE TABLE all_null (a int, b text, c date, d float8, e numeric, f numeric(38,37))",
    "INSERT INTO all_null SELECT FROM generate_series(1, 3)",
    "CREATE TABLE floats (day date, a float8, b real)",
    """INSERT INTO floats VALUES ('2024-01-01', 'NaN', 'NaN'), ('2024-01-01', 'Infinity', '-Infinity'), ('2024-01-01', -0.0, 1e-45),
        ('2024-02-01', 1.7976931348623157e308, 3.4028235e38), ('2024-02-01', 1.7976931348623157e308, 1), (NULL, 5e-324, 2)""",
    "CREATE TABLE huge (day date, a numeric, b numeric(38,0), c numeric(38,37), d bigint, e numeric(38,10))",
    """INSERT INTO huge SELECT '2024-01-01', 99999999999999999999999999999999999999, 99999999999999999999999999999999999999,
        9.9999999999999999999999999999999999999, 9223372036854775807, 9999999999999999999999999999.9999999999 FROM generate_series(1, 20)""",
    "INSERT INTO huge VALUES ('2024-02-01', 12345, -7, -0.0000000000000000000000000000000000001, -9223372036854775808, 0.0000000001)",
)  # fmt: skip


def test_strange_tables_have_figures(migration: Any) -> None:
    migration.source(*STRANGE)
    migration.migrate()
    for side in (in_snowflake, in_stage, in_postgres):
        with side(migration) as sides:
            found = sides.figures()
        assert _differing(found) == {}, side.__name__
        assert found.equal
        huge = {f.measure: f.target for f in found.table("public.huge").figures if not f.by}
        assert huge["d"] and huge["d"].total == 20 * 9223372036854775807 - 9223372036854775808
        assert huge["e"] and huge["e"].total == Decimal("199999999999999999999999999999.9999999981")
        # What no engine adds in 38 digits is counted instead, and of what is finer than 28 digits those are added.
        assert huge["b"] and (huge["b"].total, huge["b"].left_out, huge["b"].count) == (-7, 20, 1)
        assert huge["a"] and (huge["a"].total, huge["a"].left_out) == (12345, 20)
        assert huge["c"] and huge["c"].total == Decimal("199.999999999999999999999999998")
        floats = {f.measure: f.target for f in found.table("public.floats").figures if not f.by}
        assert floats["a"] and (floats["a"].count, floats["a"].left_out) == (2, 4)
        odd = found.table('Odd "x" Schema.sélect \'é')
        assert (odd.measures, odd.dimensions) == (("日本 語",), ("month of semi;colon", 'q"uote'))
        assert [f.bucket for f in odd.figures if f.measure == "rows" and f.by == ("month of semi;colon",)] == [
            ("0001-01",),
            ("0001-02",),
        ]
        assert [f.target for f in found.table("public.nothing").figures if f.measure == "rows"] == [Amount(0)]


POLICIES = {
    "public.readings.value": "null+flag",
    "public.readings.at": {"sentinel": "9999-12-31"},
    "public.readings.as_text": "text",
}


def test_values_that_a_policy_replaced_are_in_no_sum_but_counted(migration: Any) -> None:
    own = migration.settings.values.model_copy(update={"export": Export(policies=POLICIES)})
    migration.settings = Settings("local", migration.settings.file, own)
    migration.source(
        "CREATE TABLE readings (id int PRIMARY KEY, value numeric NOT NULL, at timestamptz NOT NULL, as_text numeric)",
        "INSERT INTO readings SELECT n, n, timestamptz '2024-01-01' + n * interval '9 days', n FROM generate_series(1, 20) n",
        "INSERT INTO readings VALUES (21, 'NaN', 'infinity', 'NaN'), (22, 'Infinity', '2024-01-05', 1)",
    )
    migration.migrate()
    for side in (in_snowflake, in_stage):
        with side(migration) as sides:
            (found,) = sides.figures().tables
        assert found.equal and found.measures == ("value",)
        assert found.notes == ("as_text travels as text and is in no figure",)
        (total,) = [f.target for f in found.figures if f.measure == "value" and not f.by]
        assert total and (total.count, total.total, total.left_out) == (20, 210, 2)
        months = [f.bucket[0] for f in found.figures if f.measure == "rows" and f.by]
        assert months[-1] is None and "9999-12" not in months
    with in_snowflake(migration) as sides:
        sides.figures()
        with sides.spoilt('UPDATE "readings" SET "value__original" = NULL WHERE "id" = 22'):
            (found,) = sides.figures().tables
    assert {f.measure for f in found.differences} == {"value"}


def test_a_time_zone_that_reports_run_in_is_named_with_the_rows_it_moves(migration: Any) -> None:
    migration.source(*STAR)
    (name,) = migration.source("SELECT current_database()")[0]
    migration.source(f"ALTER DATABASE {name} SET timezone TO 'America/Los_Angeles'")
    with in_postgres(migration) as sides:
        found = sides.figures()
    assert found.equal
    zone = "America/Los_Angeles, in which reports of {} run, puts 20 rows into another month"
    assert found.table("public.sales").notes == (zone.format("postgresql"), zone.format("postgresql (target)"))
    migration.migrate()
    for side in (in_snowflake, in_stage):
        with side(migration) as sides:
            (cube,) = [cube for cube in cubes(sides.tables, sides.rules) if cube.table.name == "sales"]
            assert aggregates.aggregate(sides.target, cube, "America/Los_Angeles").moved == 20, side.__name__
    assert [(t.source, t.target) for t in found.traits if "time zone" in t.question] == [("America/Los_Angeles",) * 2]


def test_engines_are_asked_how_they_compute(migration: Any) -> None:
    migration.source("CREATE TABLE t (id int PRIMARY KEY)")
    migration.migrate()
    with in_snowflake(migration) as sides:
        traits = {trait.question: trait for trait in sides.figures().traits}
    division = traits["7 / 2 of whole numbers"]
    assert (division.source, Decimal(division.target), division.differs) == ("3", Decimal("3.5"), True)
    average = traits["AVG of the whole numbers 1 and 2"]
    assert (Decimal(average.source), Decimal(average.target), average.differs) == (
        Decimal("1.5"),
        Decimal("1.5"),
        False,
    )
    assert traits["ROUND(2.5) of a float"].differs and not traits["ROUND(2.5) of a decimal"].differs
    assert not traits["NULL in ascending order"].differs
    with in_stage(migration) as sides:
        assert sides.figures().traits == ()


class InDuckDB:
    """A table of DuckDB's as the stage would hold it, without the files."""

    name, sql, computes = "duckdb", DUCKDB, True

    def __init__(self, connection: Any, types: dict[str, str]) -> None:
        self._connection = connection
        self._held = {n: Held(postgres.identifier(n), kind, form, form, digits, scale)
                      for n, kind in types.items() for form, digits, scale in (declared_form(DUCKDB_DDL.read(kind)),)}  # fmt: skip

    def columns(self, table: Table) -> dict[str, Held]:
        return self._held

    def relation(self, table: Table) -> str:
        return "facts"

    def rows(self, sql: str, *, doing: str) -> list[tuple[Any, ...]]:
        return list(self._connection.execute(sql).fetchall())

    def zone(self) -> str | None:
        return None


FACTS = {"free": ("numeric", "DECIMAL(38,9)"), "wide": ("numeric(38,10)", "DECIMAL(38,10)"), "fine": ("numeric(38,37)", "DECIMAL(38,37)"),
         "whole": ("numeric(38,0)", "DECIMAL(38,0)"), "price": ("numeric(6,2)", "DECIMAL(6,2)"), "big": ("bigint", "BIGINT"),
         "twice": ("float8", "DOUBLE"), "kind": ("text", "VARCHAR"), "moment": ("timestamptz", "TIMESTAMPTZ"), "day": ("date", "DATE")}  # fmt: skip


def _decimals(digits: int, scale: int) -> Any:
    return st.none() | st.integers(-(10**digits) + 1, 10**digits - 1).map(
        lambda n: str(Decimal(n).scaleb(-scale, WIDE))
    )


WIDE = Context(prec=60)
ROW = st.tuples(
    _decimals(38, 9), _decimals(38, 10), _decimals(38, 37), _decimals(38, 0), _decimals(6, 2),
    st.none() | st.integers(-(2**63), 2**63 - 1).map(str), st.none() | st.floats(width=64).map(repr),
    st.none() | st.sampled_from(["a", "A", "a ", "", "é", "e\u0301", "it's"]),
    st.none() | st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)).map(lambda moment: f"{moment.isoformat()}+00"),
    st.none() | st.dates().map(str),
)  # fmt: skip


@pytest.mark.property
def test_any_rows_have_equal_figures_in_postgresql_and_duckdb(local_settings: Settings) -> None:
    with (
        closing(postgres.connect(local_settings.source, settings={"search_path": "public"})) as server,
        server.cursor() as cursor,
        duck.connect() as connection,
    ):
        columns = ", ".join(f"{name} {kind}" for name, (kind, _) in FACTS.items())
        cursor.execute(f"CREATE SCHEMA anything; CREATE TABLE anything.facts ({columns})")
        (table,) = read_catalog(cursor, schemas=("anything",)).tables
        connection.execute(f"CREATE TABLE facts ({', '.join(f'{name} {kind}' for name, (_, kind) in FACTS.items())})")
        names = ["free", "wide", "fine", "whole", "price", "big", "twice"]
        cube = Cube(table, tuple(c for c in table.columns if c.name in names),
                    (Dimension("moment", True), Dimension("day", True), Dimension("kind", False)), 3)  # fmt: skip
        sides = (
            PostgresAnswers(cursor, {str(table): table}),
            InDuckDB(connection, {name: kind for name, (_, kind) in FACTS.items()}),
        )

        @examples(60)
        @given(st.lists(ROW, max_size=12))
        def added_up(rows: list[tuple[str | None, ...]]) -> None:
            cursor.execute("TRUNCATE anything.facts")
            connection.execute("DELETE FROM facts")
            for row in rows:
                cursor.execute(f"INSERT INTO anything.facts VALUES ({', '.join(['%s'] * len(row))})", row)
                connection.execute(f"INSERT INTO facts VALUES ({', '.join(['?'] * len(row))})", list(row))
            mine, theirs = (aggregates.aggregate(side, cube).amounts for side in sides)
            differing = [
                (key, mine.get(key), theirs.get(key)) for key in {**mine, **theirs}
                if not Figure(key[1], (), (), mine.get(key), theirs.get(key)).equal
            ]  # fmt: skip
            assert differing == []
            for column, position in (("price", 4), ("big", 5)):
                values = [Decimal(row[position] or 0) for row in rows]
                assert (mine[aggregates.TOTAL, column].total or 0) == sum(values)

        added_up()


@pytest.mark.parametrize(
    ("own", "total", "count", "why"),
    [
        ("3.5000000000000000", "7", 2, ""),
        ("3.5", "7", 2, ""),
        ("3", "7", 2, "integer division"),
        ("4", "7", 2, "integer division"),
        ("3", "6", 2, ""),
        ("0.333333", "1", 3, ""),
        ("0.666667", "2", 3, ""),
        ("0.666666", "2", 3, "cut off after 6 digits"),
        ("0.67", "2", 3, "only 2 digits"),
        ("0.66666666666666674", "2", 3, "floating point"),
        ("0.6666666666666666", "2", 3, "cut off after 16 digits"),
        ("-0.666667", "-2", 3, ""),
        ("1685.4166666666666667", "5056.25", 3, ""),
        ("0.5", "1", 3, "floating point"),
    ],
)
def test_an_average_of_an_engines_own_is_told_from_the_exact_one(own: str, total: str, count: int, why: str) -> None:
    found = why_not_exact(Amount(count, Decimal(total), own))
    assert bool(found) == bool(why) and why in found


@examples(200)
@given(
    st.decimals(allow_nan=False, allow_infinity=False, places=9, min_value=-(10**27), max_value=10**27),
    st.integers(1, 10**9),
)
def test_an_average_is_rounded_half_away_from_zero(total: Decimal, count: int) -> None:
    average = Amount(count, total).average
    assert isinstance(average, Decimal) and average.as_tuple().exponent == -6
    error = Fraction(average) - Fraction(total) / count
    half = Fraction(1, 2 * 10**6)
    assert abs(error) < half or (abs(error) == half and abs(Fraction(average)) > abs(Fraction(total) / count))


@pytest.mark.parametrize(
    ("values", "equal"),
    [([0.1] * 10, True), ([1e16, 1.0, -1e16], True), ([1.0, 2.0], True)],
)
def test_the_order_in_which_floats_are_added_is_no_difference(values: Sequence[float], equal: bool) -> None:
    magnitude = sum(abs(value) for value in values)
    sums = {sum(values), sum(reversed(values)), sum(sorted(values))}
    for mine in sums:
        for theirs in sums:
            sides = [Amount(len(values), total, magnitude=magnitude) for total in (mine, theirs)]
            assert Figure("x", (), (), *sides).equal == equal
    changed = Amount(len(values), sum(values) + 4 * len(values) * 2.0**-52 * magnitude, magnitude=magnitude)
    assert not Figure("x", (), (), Amount(len(values), sum(values), magnitude=magnitude), changed).equal
