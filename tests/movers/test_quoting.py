"""A name, a text or a place is quoted once for each engine, and arrives there as it is.

Would catch: a backslash, a quote, a dollar or a percent sign that an engine takes for its own; a condition that means other
rows in one engine than in another; a place that one program decodes and another does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers import load as loading_delta
from helpers import verify as verifying
from helpers.digests import files_of
from helpers.engines import duck_dialect
from helpers.engines.delta import dialect as delta
from helpers.engines.delta.ddl import delta_log_type
from helpers.engines.postgres import dialect as postgresql
from helpers.engines.snowflake import dialect as warehouse_dialect
from helpers.engines.where import write
from helpers.errors import UsageError
from helpers.platforms import duck, postgres, snowflake, spark
from helpers.platforms.s3 import Location
from helpers.settings import Settings
from helpers.verify.selection import understood

NASTY = (
    "${env:HOME}", "${x}", "$1", "\\", "\\\\", "\\n", "a\\'b", "it's", "''", '"', '""', "`", "``", "%", "%s", "%20", "_", "{c}", "{}",
    "--", "/* */", ";", "\n", "\r\n", "\t", "\x01", "\x7f", "\u200b", "\ufeff", "é", "e\u0301", "𝔘", "日本 語", "\\u0041", "\\x41", "?", ":x",
    "@x", "#", "&", "<b>", "$$", "\\N", "NULL", " ", "  a ", "E'x'", "\\0",
)  # fmt: skip
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12) | st.sampled_from(NASTY)
DIALECTS = {
    "postgresql": postgresql.SQL,
    "duckdb": duck_dialect.SQL,
    "snowflake": warehouse_dialect.SQL,
    "spark": delta.SQL,
}
Ask = Callable[[str], dict[str, Any]]


@pytest.fixture(scope="module")
def engines(local_settings: Settings) -> Iterator[dict[str, tuple[Any, Ask]]]:
    """How each dialect quotes, and its real engine: one row of an answer, by column."""
    with ExitStack() as stack:
        cursor = stack.enter_context(closing(postgres.connect(local_settings.source))).cursor()
        connection = stack.enter_context(duck.connect())
        warehouse = stack.enter_context(snowflake.connect(local_settings.snowflake))
        session = stack.enter_context(spark.connect(local_settings.databricks))

        def ask_postgres(sql: str) -> dict[str, Any]:
            cursor.execute(sql)
            return dict(zip((c.name for c in cursor.description), cursor.fetchone(), strict=True))

        def ask_duckdb(sql: str) -> dict[str, Any]:
            (row,) = connection.execute(sql).to_arrow_table().to_pylist()
            return dict(row)

        yield {
            "postgresql": (postgres, ask_postgres),
            "duckdb": (postgres, ask_duckdb),
            "snowflake": (snowflake, lambda sql: warehouse.execute(sql, doing="ask")[0]),
            "spark": (spark, lambda sql: session.execute(sql, doing="ask")[0]),
        }


@pytest.mark.parametrize("engine", ["postgresql", "duckdb", "snowflake", "spark"])
def test_every_text_and_every_name_arrives_as_it_is(engines: dict[str, Any], engine: str) -> None:
    dialect, ask = engines[engine]

    def arrives(texts: list[str]) -> None:
        # Names of columns differ by their number, and hold what PostgreSQL gives a name.
        wanted = {f"{number}{text[:10]}": text for number, text in enumerate(texts)}
        items = (f"{dialect.literal(text)} AS {dialect.identifier(name)}" for name, text in wanted.items())
        assert ask(f"SELECT {', '.join(items)}") == wanted

    arrives(list(NASTY))
    random = given(st.lists(TEXTS, min_size=20, max_size=40))(arrives)
    settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))(random)()


def test_a_condition_on_any_text_means_the_same_row_in_every_engine(migration: Any) -> None:
    """Counted by the real engines: PostgreSQL, DuckDB over the stage, the genuine connector, Spark Connect."""
    migration.source('CREATE TABLE t (id int PRIMARY KEY, "v `""\\ ${x}" text)')
    with closing(postgres.connect(migration.settings.source)) as connection, connection, connection.cursor() as cursor:
        cursor.executemany("INSERT INTO public.t VALUES (%s, %s)", list(enumerate(NASTY)))
    manifest = migration.migrate()
    target = migration.settings.databricks
    loading_delta.load(loading_delta.plan_load(manifest, migration.bucket, target))
    column = 'v `"\\ ${x}'
    with verifying.planned(migration.settings, target="snowflake") as plan:
        (table,) = plan.tables
    conditions = [
        understood(f"{postgres.identifier(column)} = {postgres.literal(text)}", "--where", table.table, table.columns)
        for text in NASTY
    ]

    def counted(dialect: str, rows: str) -> str:
        sql = DIALECTS[dialect]
        held = {each.name: sql.operand(each) for each in table.columns}
        sums = (
            f"SUM(CASE WHEN {write(each, held, sql)} THEN 1 ELSE 0 END) AS n{n}" for n, each in enumerate(conditions)
        )
        return f"SELECT {', '.join(sums)} FROM {rows}"

    with closing(postgres.connect(migration.settings.source)) as connection, connection.cursor() as cursor:
        cursor.execute(counted("postgresql", "public.t"))
        answers = {"postgresql": cursor.fetchone()}
    with duck.connect() as connection:
        duck.enable_s3(connection, migration.settings.stage)
        files = files_of(migration.bucket, [file.path for file in manifest.tables[0].files])
        answers["duckdb"] = connection.execute(counted("duckdb", files)).fetchone()
    answers["snowflake"] = migration.target(counted("snowflake", '"t"'))[0]
    with spark.connect(target) as session:
        landed = [
            f"s3://{migration.bucket.location.bucket}/{migration.bucket.location.key(f.path)}"
            for f in manifest.tables[0].files
        ]
        session.view_of_files(
            "t", landed, [(c.field, delta_log_type(c.delta)) for c in manifest.tables[0].columns], doing="read"
        )
        (row,) = session.execute(counted("spark", "t"), doing="count")
        answers["spark"] = tuple(row.values())
    for engine, found in answers.items():
        wrong = [text for text, number in zip(NASTY, found, strict=True) if number != 1]
        assert wrong == [], engine


PLACES = ("a b", "a%20b", "a#b", "a+b", "a%b", "é 日本", 'it\'s "so"', "a&b=c;d,e~f@g!h$i^j(k)")


@pytest.mark.parametrize("place", ["/".join(PLACES), *(pytest.param(each, marks=pytest.mark.slow) for each in PLACES)])
def test_a_stage_anywhere_is_read_by_all_who_read_it(migration: Any, place: str) -> None:
    migration.source("CREATE TABLE t (id int PRIMARY KEY, v text)", "INSERT INTO t VALUES (1, 'x')")
    stage = migration.settings.stage.model_copy(update={"url": f"{migration.settings.stage.url}{place}/"})
    values = migration.settings.values.model_copy(update={"stage": stage})
    migration.settings = type(migration.settings)("local", migration.settings.file, values)
    manifest = migration.migrate()
    assert set(migration.bucket.sizes()) >= {"manifest.json", *(file.path for file in manifest.tables[0].files)}
    loading_delta.load(loading_delta.plan_load(manifest, migration.bucket, migration.settings.databricks))
    for target in ("stage", "snowflake", "databricks"):
        assert migration.verify(target).verdict == "equal", target
    migration.bucket.remove(list(migration.bucket.sizes()))


@pytest.mark.parametrize(
    "url", ["s3://b/a?b/", "s3://b/a*b/", "s3://b/[a]/", "s3://b/{a}/", "s3://b/a\\b", "s3://b/a//b/", "s3://b/../a/", "s3://b/a/./b",
            "s3://b/a\nb", "s3:///a", "http://b/a", "b/a"],
)  # fmt: skip
def test_a_place_that_is_no_plain_one_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="read the location of the stage"):
        Location.parse(url)


def test_a_place_is_taken_as_it_stands() -> None:
    assert Location.parse("s3://b/a%20b#c/d/") == Location("b", "a%20b#c/d/")
    assert (Location.parse("s3://b"), Location.parse("s3://b/")) == (Location("b", ""), Location("b", ""))
