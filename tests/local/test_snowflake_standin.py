"""What the stand-in answers through the genuine connector: each is the real service's documented behaviour."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import snowflake.connector
from snowflake.connector.errors import DatabaseError, ProgrammingError

from helpers.local import stack

UTC = datetime.UTC
Run = Callable[..., list[tuple[Any, ...]]]
Put = Callable[[str, pa.Table], None]

LONG = Decimal("12345678901234567890123456789.123456789")


def one(rows: list[tuple[Any, ...]]) -> Any:
    ((value,),) = rows
    return value


class TestLogin:
    def test_it_says_that_it_is_a_stand_in(self, run: Run) -> None:
        assert "local-stand-in" in one(run("SELECT CURRENT_VERSION()"))

    def test_a_wrong_password_is_refused(self, local_environment: stack.Environment) -> None:
        with pytest.raises(DatabaseError, match="Incorrect username or password"):
            snowflake.connector.connect(**{**local_environment.snowflake, "password": "wrong"})

    def test_the_schema_that_the_environment_names_is_there_and_empty(
        self, local_environment: stack.Environment
    ) -> None:
        with snowflake.connector.connect(**local_environment.snowflake) as connection:
            cursor = connection.cursor()
            assert cursor.execute("SELECT CURRENT_DATABASE(), CURRENT_SCHEMA()").fetchall() == [
                ("STAND_IN", "MIGRATED")
            ]
            cursor.execute(
                "SELECT COUNT(*) FROM \"STAND_IN\".INFORMATION_SCHEMA.TABLES WHERE TABLE_SCHEMA = 'MIGRATED'"
            )
            assert cursor.fetchall() == [(0,)]

    def test_a_schema_named_as_sources_name_theirs_hides_no_other(self, run: Run) -> None:
        run('CREATE SCHEMA IF NOT EXISTS "sales"')
        try:
            run('CREATE SCHEMA "BESIDE_SALES"')
            run('CREATE TABLE "BESIDE_SALES"."T" (A INT)')
            run('DROP SCHEMA "STAND_IN"."BESIDE_SALES"')
        finally:
            run('DROP SCHEMA "STAND_IN"."sales"')

    def test_session_parameters_are_set(self, run: Run) -> None:
        for statement in (
            "ALTER SESSION SET TIMEZONE='UTC'",
            "ALTER SESSION SET QUERY_TAG='runbook'",
            "ALTER SESSION UNSET QUERY_TAG",
        ):
            assert one(run(statement)) == "Statement executed successfully."


class TestValues:
    def test_null_times_stay_null(self, run: Run) -> None:
        run("CREATE TABLE t (a TIMESTAMP_NTZ(6), b TIMESTAMP_TZ(6), c DATE, d TIME(6))")
        moment = datetime.datetime(2024, 2, 29, 12, 30, 15, 123456)
        run("INSERT INTO t SELECT NULL, NULL, NULL, NULL")
        run(f"INSERT INTO t SELECT '{moment}', '{moment}+00:00', '2024-02-29', '23:59:59.999999'")
        rows = run("SELECT * FROM t ORDER BY c NULLS FIRST")
        assert rows[0] == (None, None, None, None)
        assert rows[1][0] == moment
        assert rows[1][1].astimezone(UTC) == moment.replace(tzinfo=UTC)
        assert rows[1][2:] == (datetime.date(2024, 2, 29), datetime.time(23, 59, 59, 999999))

    @pytest.mark.parametrize(
        "moment", ["0001-01-01 00:00:00.000001", "1969-12-31 23:59:59.999999", "9999-12-31 23:59:59.999999"]
    )
    def test_timestamps_are_exact_from_year_1_to_9999(self, run: Run, moment: str) -> None:
        run("CREATE TABLE t (a TIMESTAMP_NTZ(6), b TIMESTAMP_TZ(6))")
        run(f"INSERT INTO t SELECT '{moment}', '{moment}+00:00'")
        form = "YYYY-MM-DD HH24:MI:SS.FF9"
        assert run(f"SELECT TO_VARCHAR(a, '{form}'), TO_VARCHAR(b, '{form}') FROM t") == [(moment + "000",) * 2]
        ((a, b),) = run("SELECT a, b FROM t")
        assert a == datetime.datetime.fromisoformat(moment)
        assert b.replace(tzinfo=None) == a
        micros = (a - datetime.datetime(1970, 1, 1)) // datetime.timedelta(microseconds=1)
        assert run(f"SELECT DATE_PART(EPOCH_MICROSECOND, a), TO_TIMESTAMP_NTZ({micros}, 6) FROM t") == [(micros, a)]

    def test_sums_and_averages_of_numbers_are_exact(self, run: Run) -> None:
        run("CREATE TABLE t (a NUMBER(38,9), n NUMBER(19,0))")
        run(f"INSERT INTO t VALUES ({LONG}, 1), (-0.000000001, 2), (NULL, NULL)")
        assert run("SELECT SUM(a), SUM(n) FROM t") == [(Decimal("12345678901234567890123456789.123456788"), 3)]
        assert run("SELECT AVG(n) FROM t") == [(Decimal("1.500000"),)]
        assert run("SELECT AVG(n) FROM t WHERE n IS NULL") == [(None,)]
        run("CREATE TABLE u (a NUMBER(10,2))")
        run("INSERT INTO u VALUES (0.01), (0.02), (0.02)")
        assert run("SELECT AVG(a) FROM u") == [(Decimal("0.01666667"),)]

    def test_a_ratio_of_what_another_named_query_sums_is_exact(self, run: Run) -> None:
        run("CREATE TABLE t (a NUMBER(38,9))")
        run("INSERT INTO t VALUES (137.73), (0)")
        sums = "q AS (SELECT SUM(a) AS s, COUNT(*) AS n FROM t)"
        assert run(f"WITH {sums} SELECT ROUND(s / n, 2) FROM q") == [(Decimal("68.87"),)]
        assert run(f"WITH {sums}, r AS (SELECT ROUND(s / n, 2) AS x FROM q) SELECT x FROM r") == [(Decimal("68.87"),)]
        assert run(f"WITH {sums} SELECT x FROM (SELECT ROUND(s / n, 2) AS x FROM q) AS r") == [(Decimal("68.87"),)]

    def test_a_number_without_a_scale_has_38_digits(self, run: Run) -> None:
        largest = 10**38 - 1
        run("CREATE TABLE t (a NUMBER(38,0), b NUMBER, c INTEGER)")
        run(f"INSERT INTO t VALUES ({largest}, {-largest}, 7)")
        ((a, b, c),) = run("SELECT a, b, c FROM t")
        assert (int(a), int(b), c) == (largest, -largest, 7)

    def test_dividing_integers_gives_six_digits(self, run: Run) -> None:
        assert run("SELECT 1/3, 2/3, -2/3, 7/2, 10/5") == [
            tuple(map(Decimal, ("0.333333", "0.666667", "-0.666667", "3.5", "2")))
        ]
        assert run("SELECT SUM(column1) / COUNT(*) FROM VALUES (1), (1), (2)") == [(Decimal("1.333333"),)]
        with pytest.raises(ProgrammingError, match="Division by zero"):
            run("SELECT 1/0")

    def test_floats_keep_nan_and_infinity(self, run: Run) -> None:
        run("CREATE TABLE t (f FLOAT)")
        run(
            "INSERT INTO t SELECT 'NaN'::FLOAT UNION ALL SELECT 'inf'::FLOAT UNION ALL SELECT '-inf'::FLOAT UNION ALL SELECT 0.1"
        )
        assert sorted(str(f) for (f,) in run("SELECT f FROM t")) == ["-inf", "0.1", "inf", "nan"]
        assert {f for (f,) in run("SELECT TO_VARCHAR(f) FROM t")} == {"NaN", "inf", "-inf", "0.1"}

    def test_the_empty_string_is_not_null_and_text_comes_back_whole(self, run: Run) -> None:
        run("CREATE TABLE t (a VARCHAR, b BINARY)")
        said = "Ünï 🤦🏼‍♂️\n\r\t'\"\\ %s {}"
        run("INSERT INTO t VALUES (%s, NULL), ('', X'00FF'), (NULL, X'')", said)
        assert run("SELECT a, b FROM t") == [(said, None), ("", b"\x00\xff"), (None, b"")]
        assert run("SELECT COUNT(*) FROM t WHERE a = ''") == [(1,)]

    def test_a_million_rows_arrive_as_arrow(self, connection: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("CREATE TABLE t (n NUMBER(38,0), d NUMBER(38,9), s VARCHAR, ts TIMESTAMP_NTZ(6))")
        digits = "(SELECT column1 AS v FROM VALUES (0),(1),(2),(3),(4),(5),(6),(7),(8),(9))"
        number = "a.v+10*b.v+100*c.v+1000*d.v+10000*e.v+100000*f.v"
        cursor.execute(
            f"INSERT INTO t SELECT {number}, ({number})*0.25, 'x' || ({number}), TO_TIMESTAMP_NTZ({number}, 6) "
            f"FROM {digits} a, {digits} b, {digits} c, {digits} d, {digits} e, {digits} f"
        )
        cursor.execute("SELECT n, d, s, ts FROM t")
        tables = list(cursor.fetch_arrow_batches())
        assert sum(table.num_rows for table in tables) == 1_000_000
        assert pa.types.is_decimal(tables[0].schema.field("D").type)
        assert tables[0].column("TS").type == pa.timestamp("us")


class TestFunctions:
    @pytest.mark.parametrize(
        ("word", "value"),
        [("Snowflake", 9203306159527282910), ("test", 14618207765679027446), ("hello", 13362634815750784402)],
    )
    def test_md5_number_lower64_reads_the_digest_big_endian(self, run: Run, word: str, value: int) -> None:
        assert int(one(run(f"SELECT MD5_NUMBER_LOWER64('{word}')"))) == value

    @pytest.mark.parametrize(
        ("expression", "value"),
        [
            ("MD5_NUMBER_UPPER64('hello')", int("5d41402abc4b2a76", 16)),
            ("MD5_HEX('hello')", "5d41402abc4b2a76b9719d911017c592"),
            ("SHA2('hello', 256)", "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"),
            ("HEX_ENCODE('SNOW')", "534E4F57"),
            ("TO_VARCHAR(TO_BINARY('00ff','HEX'),'HEX')", "00FF"),
            ("TO_VARCHAR('ab'::BINARY)", "AB"),
            ("TO_VARCHAR(1.500::NUMBER(38,3))", "1.500"),
            ("1::FLOAT::VARCHAR", "1"),
            ("TO_VARCHAR('23:59:59.000001'::TIME, 'HH24:MI:SS.FF6')", "23:59:59.000001"),
            ("'23:59:59.5'::TIME::VARCHAR", "23:59:59"),
            ("TO_VARCHAR(TRUE)", "true"),
            ("TO_VARCHAR('2024-02-29'::DATE)", "2024-02-29"),
            ("TO_VARCHAR('2024-02-29'::DATE, 'DD.MM.YYYY')", "29.02.2024"),
            ("DATE_PART(EPOCH_SECOND, '1970-01-02'::TIMESTAMP_NTZ)", 86400),
            ("DATE_PART('EPOCH_MICROSECOND', '1969-12-31 23:59:59.999999'::TIMESTAMP_NTZ)", -1),
            ("TO_TIMESTAMP_NTZ(1, 3)", datetime.datetime(1970, 1, 1, 0, 0, 0, 1000)),
            ("TO_TIMESTAMP_NTZ('2024-02-29 01:02:03.000004')", datetime.datetime(2024, 2, 29, 1, 2, 3, 4)),
            ("TO_TIME(TO_TIMESTAMP_NTZ(86399999999, 6))", datetime.time(23, 59, 59, 999999)),
            ("IFF(NULL IS NULL, COALESCE(NULL, 'a'), 'b')", "a"),
            ("LENGTH('🤦🏼‍♂️')", 5),
            (
                "MD5_HEX(TO_VARCHAR(DATE_PART(EPOCH_MICROSECOND, TO_TIMESTAMP_NTZ(-1, 6))))",
                "6bb61e3b7bce0931da574d19d1d82c88",
            ),
            ("CONCAT('a', COALESCE(TO_VARCHAR(NULLIF('00'::BINARY, '01'::BINARY)), ''))", "a00"),
        ],
    )
    def test_functions(self, run: Run, expression: str, value: Any) -> None:
        found = one(run(f"SELECT {expression}"))
        assert (int(found) if isinstance(value, int) else found) == value

    def test_hash_agg_does_not_cancel_equal_rows(self, run: Run) -> None:
        assert one(run("SELECT HASH_AGG(column1) FROM VALUES (1),(1)")) != one(
            run("SELECT HASH_AGG(column1) FROM VALUES (2),(2)")
        )

    def test_bound_parameters_are_exact(self, local_environment: stack.Environment) -> None:
        values = (
            2**62 + 1,
            LONG,
            "é'",
            datetime.datetime(2024, 12, 31, 23, 59, 59, 999999),
            datetime.date(1, 1, 1),
            b"\0\xff",
            None,
            0.1,
            True,
        )
        with snowflake.connector.connect(**local_environment.snowflake, paramstyle="qmark") as connection:
            cursor = connection.cursor()
            cursor.execute(
                "CREATE TEMPORARY TABLE t (a NUMBER(38,0), b NUMBER(38,9), c VARCHAR, d TIMESTAMP_NTZ(6), e DATE, f BINARY, g VARCHAR, h FLOAT, i BOOLEAN)"
            )
            cursor.execute("INSERT INTO t VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
            assert cursor.execute("SELECT * FROM t WHERE a = ? AND d = ?", (values[0], values[3])).fetchall() == [
                values
            ]
            cursor.execute("UPDATE t SET b = ? WHERE c = ?", (Decimal("0.5"), "é'"))
            assert cursor.rowcount == 1
            assert cursor.execute("SELECT b FROM t").fetchone() == (Decimal("0.5"),)
            cursor.execute("DELETE FROM t WHERE g IS NULL AND h = ?", (0.1,))
            assert cursor.rowcount == 1


class TestTables:
    @pytest.mark.parametrize(
        ("on_table", "on_column"),
        [
            ("comment on table t is '{}'", "comment on column t.c is '{}'"),
            ("ALTER TABLE t SET COMMENT = '{}'", "ALTER TABLE t ALTER COLUMN c COMMENT '{}'"),
            ("alter table t set comment = '{}'", "alter table t modify column c comment '{}'"),
        ],
    )
    def test_a_comment_stays_however_its_owner_writes_it(self, run: Run, on_table: str, on_column: str) -> None:
        run("CREATE OR REPLACE TABLE t (c INTEGER COMMENT 'old') COMMENT = 'old'")
        run(on_table.format("the table"))
        run(on_column.format("the column"))
        assert run("SELECT COMMENT FROM INFORMATION_SCHEMA.TABLES WHERE TABLE_NAME = 'T'") == [("the table",)]
        assert run("SELECT COMMENT FROM INFORMATION_SCHEMA.COLUMNS WHERE TABLE_NAME = 'T'") == [("the column",)]
        run("ALTER TABLE t UNSET COMMENT")
        assert run("SELECT COMMENT FROM INFORMATION_SCHEMA.TABLES WHERE TABLE_NAME = 'T'")[0][0] in ("", None)

    def test_odd_names_and_what_the_catalogue_says_of_them(self, run: Run, connection: Any) -> None:
        run(
            'CREATE OR REPLACE TABLE "odd ""name" ("select" NUMBER(38,9) NOT NULL COMMENT \'it\'\'s\', "Ünï" VARCHAR, '
            '"d" DATE, "t" TIME(6), "ts" TIMESTAMP_NTZ(6), "tz" TIMESTAMP_TZ(6), "l" TIMESTAMP_LTZ(3), "b" BINARY, '
            '"f" FLOAT, "bo" BOOLEAN, "n0" NUMBER(19,0), "v" VARCHAR(7)) COMMENT=\'its \'\'comment\''
        )
        run('CREATE TEMPORARY TABLE "temporary" (a INTEGER)')
        schema = connection.schema
        assert run(
            f"SELECT TABLE_NAME, COMMENT, TABLE_TYPE FROM \"STAND_IN\".INFORMATION_SCHEMA.TABLES WHERE TABLE_SCHEMA = '{schema}'"
        ) == [('odd "name', "its 'comment", "BASE TABLE")]
        rows = run(
            "SELECT COLUMN_NAME, ORDINAL_POSITION, DATA_TYPE, IS_NULLABLE, CHARACTER_MAXIMUM_LENGTH, NUMERIC_PRECISION, "
            'NUMERIC_SCALE, DATETIME_PRECISION, COMMENT FROM "STAND_IN".INFORMATION_SCHEMA.COLUMNS '
            f"WHERE TABLE_SCHEMA = '{schema}' ORDER BY ORDINAL_POSITION"
        )
        assert rows == [
            ("select", 1, "NUMBER", "NO", None, 38, 9, None, "it's"),
            ("Ünï", 2, "TEXT", "YES", 16777216, None, None, None, None),
            ("d", 3, "DATE", "YES", None, None, None, None, None),
            ("t", 4, "TIME", "YES", None, None, None, 6, None),
            ("ts", 5, "TIMESTAMP_NTZ", "YES", None, None, None, 6, None),
            ("tz", 6, "TIMESTAMP_TZ", "YES", None, None, None, 6, None),
            ("l", 7, "TIMESTAMP_LTZ", "YES", None, None, None, 3, None),
            ("b", 8, "BINARY", "YES", 8388608, None, None, None, None),
            ("f", 9, "FLOAT", "YES", None, None, None, None, None),
            ("bo", 10, "BOOLEAN", "YES", None, None, None, None, None),
            ("n0", 11, "NUMBER", "YES", None, 19, 0, None, None),
            ("v", 12, "TEXT", "YES", 7, None, None, None, None),
        ]
        described = run(f'DESCRIBE TABLE "STAND_IN"."{schema}"."odd ""name"')
        assert [row[1] for row in described][:8] == [
            "NUMBER(38,9)", "VARCHAR(16777216)", "DATE", "TIME(6)", "TIMESTAMP_NTZ(6)", "TIMESTAMP_TZ(6)", "TIMESTAMP_LTZ(3)", "BINARY(8388608)",
        ]  # fmt: skip
        assert [row[3] for row in described][:2] == ["N", "Y"]
        run('COMMENT ON TABLE "odd ""name" IS \'another\'')
        run('COMMENT ON COLUMN "odd ""name"."select" IS \'one more\'')
        assert run(f"SELECT COMMENT FROM \"STAND_IN\".INFORMATION_SCHEMA.TABLES WHERE TABLE_SCHEMA = '{schema}'") == [
            ("another",)
        ]
        assert run('DESC TABLE "odd ""name"')[0][9] == "one more"

    @pytest.mark.parametrize("schema", ["lower case", 'quo"ted', "Ünï.dot"])
    def test_odd_schemas_and_databases(self, run: Run, schema: str) -> None:
        quoted = '"' + schema.replace('"', '""') + '"'
        for database in ('"STAND_IN"', '"odd Db"'):
            run(f"CREATE DATABASE IF NOT EXISTS {database}")
            run(f"CREATE SCHEMA IF NOT EXISTS {database}.{quoted}")
            run(f"CREATE SCHEMA IF NOT EXISTS {database}.{quoted}")
            run(f'CREATE TABLE {database}.{quoted}."t" ("a" INTEGER)')
            run(f'INSERT INTO {database}.{quoted}."t" VALUES (1)')
            run(f"USE SCHEMA {database}.{quoted}")
            assert run('SELECT "a" FROM "t"') == [(1,)]
            assert run(
                f"SELECT TABLE_SCHEMA, TABLE_NAME FROM {database}.INFORMATION_SCHEMA.TABLES WHERE TABLE_SCHEMA = %s",
                schema,
            ) == [(schema, "t")]
            run(f"DROP SCHEMA {database}.{quoted}")
        run('DROP DATABASE "odd Db"')

    def test_too_long_a_text_is_an_error(self, run: Run) -> None:
        run('CREATE TABLE t ("a" VARCHAR(3))')
        run("INSERT INTO t VALUES ('äöü'), (NULL)")
        with pytest.raises(ProgrammingError, match="is too long and would be truncated") as caught:
            run("INSERT INTO t VALUES ('abcd')")
        assert caught.value.errno == 100078
        assert run("SELECT COUNT(*) FROM t") == [(2,)]

    def test_a_constraint_says_no_at_once(self, run: Run) -> None:
        run("CREATE TABLE t (a INTEGER NOT NULL, b INTEGER PRIMARY KEY)")
        before = time.monotonic()
        with pytest.raises(DatabaseError, match="NULL result in a non-nullable column") as caught:
            run("INSERT INTO t VALUES (NULL, 1)")
        assert caught.value.errno == 100072
        assert time.monotonic() - before < 60, "the connector took it for a fault of the server, and tried again"
        run("INSERT INTO t VALUES (1, 1), (2, 1)")  # a primary key is not enforced over there

    def test_a_primary_key_is_listed_in_its_order_and_not_enforced(self, run: Run) -> None:
        def keys(scope: str) -> list[tuple[Any, ...]]:
            return [row[3:6] for row in run(f"SHOW PRIMARY KEYS IN {scope}")]

        run("CREATE TABLE t (a INTEGER, b INTEGER, c INTEGER, PRIMARY KEY (b, a))")
        run("CREATE TABLE u (a INTEGER PRIMARY KEY)")
        (database, schema) = run("SELECT CURRENT_DATABASE(), CURRENT_SCHEMA()")[0]
        both = [("T", "B", 1), ("T", "A", 2), ("U", "A", 1)]
        assert keys(f"SCHEMA {database}.{schema}") == keys(f"SCHEMA {schema}") == both
        assert keys("TABLE t") == both[:2]
        assert [row[5] for row in run("DESCRIBE TABLE t")] == ["Y", "Y", "N"]
        run("ALTER TABLE t RENAME COLUMN b TO z")
        run("COMMENT ON COLUMN t.z IS 'said'")
        assert keys("TABLE t") == [("T", "Z", 1), ("T", "A", 2)]
        run("ALTER TABLE t DROP PRIMARY KEY")
        assert keys("TABLE t") == []
        run("ALTER TABLE t ADD PRIMARY KEY (c)")
        assert keys("TABLE t") == [("T", "C", 1)]
        run("INSERT INTO t VALUES (1, 1, 1), (2, 2, 1)")
        with pytest.raises(DatabaseError, match="NULL result in a non-nullable column"):
            run("INSERT INTO t VALUES (1, 1, NULL)")
        with pytest.raises(ProgrammingError, match="invalid identifier"):
            run("ALTER TABLE t ADD PRIMARY KEY (nothing)")

    def test_other_keys_are_listed_where_the_service_would_make_them(self, run: Run) -> None:
        run("CREATE TABLE p (a INTEGER, b INTEGER, c INTEGER, PRIMARY KEY (a, b), CONSTRAINT only_c UNIQUE (c))")
        run(
            "CREATE TABLE r (x INTEGER, y INTEGER, z INTEGER UNIQUE, CONSTRAINT to_p FOREIGN KEY (x, y) REFERENCES p (a, b))"
        )
        run("ALTER TABLE r ADD CONSTRAINT to_c FOREIGN KEY (z) REFERENCES p (c)")

        def foreign() -> list[tuple[Any, ...]]:
            return sorted((row[12], row[9], row[8], row[3], row[4]) for row in run("SHOW IMPORTED KEYS IN TABLE r"))

        both = [("TO_C", 1, "Z", "P", "C"), ("TO_P", 1, "X", "P", "A"), ("TO_P", 2, "Y", "P", "B")]
        assert foreign() == both
        assert [row[3:7] for row in run("SHOW UNIQUE KEYS IN TABLE p")] == [("P", "C", 1, "ONLY_C")]
        # Another property than the default one: no constraint, and no word of it.
        run("ALTER TABLE r ADD CONSTRAINT gone FOREIGN KEY (z) REFERENCES p (c) ON DELETE CASCADE")
        assert foreign() == both
        for refused in ("UNIQUE (nothing)", "CONSTRAINT to_p UNIQUE (x)", "FOREIGN KEY (x) REFERENCES p (a)"):
            with pytest.raises(DatabaseError):
                run(f"ALTER TABLE r ADD {refused}")
        run("ALTER TABLE p RENAME TO q")
        assert {row[3] for row in foreign()} == {"Q"}
        run("ALTER TABLE q DROP CONSTRAINT only_c")
        assert [row[0] for row in foreign()] == ["TO_P", "TO_P"], "what refers to a key goes with it"
        run("DROP TABLE q")
        assert foreign() == []

    def test_a_default_is_printed_as_it_has_to_be_written(self, run: Run) -> None:
        run("CREATE TABLE t (a VARCHAR DEFAULT 'it''s \\\\ x', b INTEGER)")
        (printed,) = (
            row[0]
            for row in run(
                "SELECT COLUMN_DEFAULT FROM INFORMATION_SCHEMA.COLUMNS WHERE COLUMN_NAME = 'A' AND TABLE_SCHEMA = CURRENT_SCHEMA()"
            )
        )
        assert printed == "'it''s \\\\ x'"
        run("INSERT INTO t (b) VALUES (1)")
        assert run(f"SELECT a, {printed} FROM t") == [("it's \\ x", "it's \\ x")]

    def test_names_that_differ_only_in_case_are_refused_with_the_reason(self, run: Run) -> None:
        with pytest.raises(ProgrammingError, match=r"differ only in case.*stand-in"):
            run('CREATE TABLE t ("a" INTEGER, "A" INTEGER)')
        run('CREATE TABLE "t" (a INTEGER)')
        with pytest.raises(ProgrammingError, match="differ only in case"):
            run("CREATE TABLE T (a INTEGER)")

    def test_swap_with_exchanges_two_tables(self, run: Run) -> None:
        run("CREATE TABLE a (x INTEGER) COMMENT='first'")
        run("CREATE TABLE b (x VARCHAR(5), y INTEGER) COMMENT='second'")
        run("INSERT INTO b VALUES ('b', 1)")
        run("ALTER TABLE a SWAP WITH b")
        assert run("SELECT * FROM a") == [("b", 1)]
        assert run("SELECT COUNT(*) FROM b") == [(0,)]
        assert [row[1] for row in run("DESC TABLE a")] == ["VARCHAR(5)", "NUMBER(38,0)"]

    def test_a_temporary_table_is_the_sessions_own(
        self, run: Run, connection: Any, local_environment: stack.Environment
    ) -> None:
        place = f'"STAND_IN"."{connection.schema}"."work"'
        run(f'CREATE OR REPLACE TEMPORARY TABLE {place} ("a" INTEGER NOT NULL, "b" VARCHAR(2))')
        run(f"INSERT INTO {place} VALUES (1, 'x')")
        run('INSERT INTO "work" SELECT "a" + 1, "b" FROM ' + place)
        run(f'UPDATE {place} SET "b" = %s WHERE "a" = 2', "y")
        assert run('SELECT "a", "b" FROM "work" ORDER BY 1') == [(1, "x"), (2, "y")]
        with snowflake.connector.connect(**local_environment.snowflake) as other, pytest.raises(ProgrammingError):
            other.cursor().execute(f"SELECT * FROM {place}")
        run(f"DROP TABLE IF EXISTS {place}")
        run(f"DROP TABLE IF EXISTS {place}")

    def test_a_transaction_rolls_back(self, run: Run) -> None:
        run("CREATE TABLE t (a INTEGER)")
        run("INSERT INTO t VALUES (1)")
        run("BEGIN")
        run("DELETE FROM t")
        run("INSERT INTO t VALUES (2), (3)")
        assert run("SELECT COUNT(*) FROM t") == [(2,)]
        run("ROLLBACK")
        assert run("SELECT a FROM t") == [(1,)]

    def test_commit_after_a_failure_does_not_pretend(self, run: Run) -> None:
        """The stand-in's limit: over there the rest of the transaction would be kept."""
        run("CREATE TABLE t (a INTEGER NOT NULL)")
        run("BEGIN")
        run("INSERT INTO t VALUES (1)")
        with pytest.raises(DatabaseError):
            run("INSERT INTO t VALUES (NULL)")
        with pytest.raises(ProgrammingError, match="nothing of it was kept"):
            run("COMMIT")
        assert run("SELECT COUNT(*) FROM t") == [(0,)]

    def test_ddl_commits_what_is_open(self, run: Run) -> None:
        run("CREATE TABLE t (a INTEGER)")
        run("BEGIN")
        run("INSERT INTO t VALUES (1)")
        run("CREATE TABLE u (a INTEGER)")
        run("ROLLBACK")
        assert run("SELECT COUNT(*) FROM t") == [(1,)]


class TestCopy:
    COPY = 'COPY INTO "t" FROM @"x"/sub/ {} MATCH_BY_COLUMN_NAME=CASE_SENSITIVE ON_ERROR=ABORT_STATEMENT {}'

    @pytest.fixture(autouse=True)
    def target(self, run: Run) -> None:
        run('CREATE TABLE "t" ("a" NUMBER(38,0), "b" VARCHAR(5))')

    def copy(self, run: Run, files: str = "", more: str = "") -> list[tuple[Any, ...]]:
        return run(self.COPY.format(files, more))

    def test_the_named_files_are_loaded_and_reported(self, run: Run, put: Put, stage: tuple[str, str]) -> None:
        for name in ("a", "b", "c"):
            put(f"{stage[1]}sub/{name}.parquet", pa.table({"a": [1, 2], "b": [name, None], "other": [0, 0]}))
        rows = self.copy(run, "FILES=('a.parquet','b.parquet')")
        assert [(row[0].rsplit("/", 1)[1], *row[1:4]) for row in rows] == [
            ("a.parquet", "LOADED", 2, 2),
            ("b.parquet", "LOADED", 2, 2),
        ]
        assert run('SELECT COUNT(*), COUNT("b") FROM "t"') == [(4, 2)]

    def test_every_type_arrives(self, run: Run, put: Put, stage: tuple[str, str]) -> None:
        run(
            'CREATE OR REPLACE TEMPORARY TABLE "w" ("n" NUMBER(38,9), "big" NUMBER(38,0), "ts" NUMBER(38,0), '
            '"us" NUMBER(38,0), "tz" TIMESTAMP_TZ(6), "ntz" TIMESTAMP_NTZ(6), "d" DATE, "ti" TIME(6), "b" BINARY, "f" FLOAT, '
            '"bo" BOOLEAN, "s" VARCHAR)'
        )
        moment = datetime.datetime(1, 1, 1, 0, 0, 0, 1)
        put(
            f"{stage[1]}sub/w.parquet",
            pa.table(
                {
                    "n": pa.array([LONG, None], pa.decimal128(38, 9)),
                    "big": pa.array([Decimal(10**38 - 1), None], pa.decimal128(38, 0)),
                    "ts": pa.array([moment, None], pa.timestamp("us")).cast(pa.int64()),
                    "us": pa.array([-5, None], pa.int64()),
                    "tz": pa.array([moment.replace(tzinfo=UTC), None], pa.timestamp("us", "UTC")),
                    "ntz": pa.array([moment, None], pa.timestamp("us")),
                    "d": pa.array([datetime.date(9999, 12, 31), None]),
                    "ti": pa.array([datetime.time(23, 59, 59, 999999), None]),
                    "b": pa.array([b"\0\xff", None]),
                    "f": pa.array([float("inf"), None]),
                    "bo": pa.array([True, None]),
                    "s": pa.array(["", None]),
                }
            ),
        )
        run('COPY INTO "w" FROM @"x"/sub/ FILES=(\'w.parquet\') MATCH_BY_COLUMN_NAME=CASE_SENSITIVE')
        (row,) = run(
            'SELECT "n", "big", TO_TIMESTAMP_NTZ("ts", 6), "us", "ntz", "d", "ti", "b", "f", "bo", "s" FROM "w" WHERE "us" IS NOT NULL'
        )
        assert row == (LONG, Decimal(10**38 - 1), moment, -5, moment, datetime.date(9999, 12, 31), datetime.time(23, 59, 59, 999999), b"\0\xff", float("inf"), True, "")  # fmt: skip
        assert run('SELECT COUNT(*) FROM "w" WHERE "tz" IS NULL AND "s" IS NULL AND "n" IS NULL') == [(1,)]
        run('CREATE TABLE "final" ("n" NUMBER(38,9), "ts" TIMESTAMP_NTZ(6))')
        run('INSERT INTO "final" ("n", "ts") SELECT "n"::NUMBER(38,9), TO_TIMESTAMP_NTZ("ts", 6) FROM "w"')
        assert run('SELECT * FROM "final" WHERE "n" IS NOT NULL') == [(LONG, moment)]

    def test_a_wrong_secret_is_refused(
        self, run: Run, put: Put, stage: tuple[str, str], create_stage: Callable[..., None]
    ) -> None:
        put(f"{stage[1]}sub/a.parquet", pa.table({"a": [1]}))
        for scheme in ("s3compat", "s3"):
            create_stage("x", stage[1], secret="wrong", scheme=scheme)
            for files in ("FILES=('a.parquet')", ""):
                with pytest.raises(ProgrammingError, match="Access Denied"):
                    self.copy(run, files)
        create_stage("x", stage[1], scheme="s3")
        assert len(self.copy(run)) == 1

    def test_a_missing_file_is_an_error(self, run: Run, stage: tuple[str, str]) -> None:
        with pytest.raises(ProgrammingError, match="was not found"):
            self.copy(run, "FILES=('a.parquet')")

    def test_what_was_loaded_is_skipped_until_it_changes(self, run: Run, put: Put, stage: tuple[str, str]) -> None:
        key = f"{stage[1]}sub/a.parquet"
        put(key, pa.table({"a": [1]}))
        files = "FILES=('a.parquet')"
        assert [row[1] for row in self.copy(run, files)] == ["LOADED"]
        assert [row[1] for row in self.copy(run, files)] == ["LOAD_SKIPPED"]
        assert self.copy(run) == [("Copy executed with 0 files processed.",)]
        assert [row[1] for row in self.copy(run, files, "FORCE=FALSE")] == ["LOAD_SKIPPED"]
        assert [row[1] for row in self.copy(run, files, "FORCE=TRUE")] == ["LOADED"]
        put(key, pa.table({"a": [2]}))
        assert [row[1] for row in self.copy(run, files)] == ["LOADED"]
        run('DELETE FROM "t"')
        assert [row[1] for row in self.copy(run, files)] == ["LOAD_SKIPPED"]
        run('TRUNCATE TABLE "t"')
        assert [row[1] for row in self.copy(run, files)] == ["LOADED"]
        run('CREATE OR REPLACE TABLE "t" ("a" INTEGER)')
        assert [row[1] for row in self.copy(run, files)] == ["LOADED"]

    def test_a_rolled_back_copy_leaves_neither_rows_nor_memory(
        self, run: Run, put: Put, stage: tuple[str, str]
    ) -> None:
        put(f"{stage[1]}sub/a.parquet", pa.table({"a": [1]}))
        run("BEGIN")
        self.copy(run)
        run("ROLLBACK")
        assert run('SELECT COUNT(*) FROM "t"') == [(0,)]
        run("BEGIN")
        assert [row[1] for row in self.copy(run)] == ["LOADED"]
        run("COMMIT")
        assert run('SELECT COUNT(*) FROM "t"') == [(1,)]

    def test_a_failing_file_takes_the_others_with_it(self, run: Run, put: Put, stage: tuple[str, str]) -> None:
        put(f"{stage[1]}sub/a.parquet", pa.table({"a": [1], "b": ["ok"]}))
        put(f"{stage[1]}sub/b.parquet", pa.table({"a": [1], "b": ["too long"]}))
        with pytest.raises(ProgrammingError, match="too long"):
            self.copy(run, "FILES=('a.parquet','b.parquet')")
        assert run('SELECT COUNT(*) FROM "t"') == [(0,)]
        assert len(self.copy(run, "FILES=('a.parquet')")) == 1

    def test_a_pattern_chooses_files(self, run: Run, put: Put, stage: tuple[str, str]) -> None:
        for name in ("a.parquet", "b.parquet", "c.txt"):
            put(f"{stage[1]}sub/{name}", pa.table({"a": [1]}))
        assert len(self.copy(run, "PATTERN='.*[.]parquet'")) == 2

    def test_a_transformation_knows_the_files_name(self, run: Run, put: Put, stage: tuple[str, str]) -> None:
        put(f"{stage[1]}sub/a.parquet", pa.table({"A": [41]}))
        run('CREATE TABLE "u" ("n" INTEGER, "f" VARCHAR)')
        run('COPY INTO "u" FROM (SELECT $1:"A"::NUMBER(38,0) + 1, METADATA$FILENAME FROM @"x"/sub/)')
        assert run('SELECT * FROM "u"') == [(42, f"{stage[1]}sub/a.parquet")]

    def test_a_stage_can_be_dropped(self, run: Run, stage: tuple[str, str]) -> None:
        run('DROP STAGE IF EXISTS "x"')
        run('DROP STAGE IF EXISTS "x"')
        with pytest.raises(ProgrammingError, match="does not exist"):
            self.copy(run)


def test_a_long_result_comes_in_parts_that_end_with_the_session(
    local_environment: stack.Environment, local_root: Path
) -> None:
    """Would catch: rows that are lost, doubled or reordered between two parts, and files that stay behind."""
    rows = 120_001
    results = local_root / "snowflake" / "data" / "results"
    before = set(results.glob("*/*"))
    with closing(snowflake.connector.connect(**local_environment.snowflake)) as connection:
        cursor = connection.cursor()
        cursor.execute(f"SELECT SEQ4() AS N, 'n' || SEQ4() AS T FROM TABLE(GENERATOR(ROWCOUNT => {rows}))")
        batches = list(cursor.fetch_arrow_batches())
        assert [batch.num_rows for batch in batches] == [50_000, 50_000, 20_001]
        found = pa.concat_tables(batches)
        assert found["N"].to_pylist() == list(range(rows))
        assert found["T"].to_pylist() == [f"n{n}" for n in range(rows)]
        assert len(set(results.glob("*/*")) - before) == 2
    assert not set(results.glob("*/*")) - before


class TestWhatAnOwnerPutsOnATable:
    """As the documentation of SWAP WITH, CREATE OR REPLACE TABLE, COPY GRANTS, CLONE and ALTER TABLE has it."""

    def own(self, run: Run) -> None:
        run("CREATE TABLE t (a VARCHAR, n NUMBER(10,2), r VARCHAR(5))")
        run("CREATE TABLE u (a VARCHAR, n NUMBER(10,2), r VARCHAR(5))")
        run(
            "CREATE MASKING POLICY hide AS (val VARCHAR, who VARCHAR) RETURNS VARCHAR -> CASE WHEN who = 'x' THEN val END"
        )
        run("CREATE ROW ACCESS POLICY mine AS (r VARCHAR) RETURNS BOOLEAN -> r = 'EU'")
        run("CREATE TAG class")
        run("GRANT SELECT, UPDATE ON TABLE t TO ROLE analyst")
        run("ALTER TABLE t MODIFY COLUMN a SET MASKING POLICY hide USING (a, r)")
        run("ALTER TABLE t ADD ROW ACCESS POLICY mine ON (r)")
        run("ALTER TABLE t SET TAG class = 'secret'")

    def on(self, run: Run, table: str) -> tuple[list[str], list[str], list[str]]:
        schema = one(run("SELECT CURRENT_SCHEMA()"))
        called = f"'{schema}.{table}'"
        return (
            sorted(row[1] for row in run(f"SHOW GRANTS ON TABLE {table}") if row[5] == "ANALYST"),
            sorted(row[2] for row in run(
                f"SELECT * FROM TABLE(INFORMATION_SCHEMA.POLICY_REFERENCES(REF_ENTITY_NAME => {called}, REF_ENTITY_DOMAIN => 'table'))"
            )),
            [row[3] for row in run(f"SELECT * FROM TABLE(INFORMATION_SCHEMA.TAG_REFERENCES({called}, 'TABLE'))")],
        )  # fmt: skip

    def test_a_policy_for_a_number_with_decimal_places_fits_one(self, run: Run) -> None:
        self.own(run)
        run("CREATE MASKING POLICY none AS (n NUMBER(10,2), r VARCHAR) RETURNS NUMBER(10,2) -> NULL")
        run("ALTER TABLE u ALTER COLUMN n SET MASKING POLICY none USING (n, r)")
        assert self.on(run, "u")[1] == ["NONE"]

    EVERYTHING = (["SELECT", "UPDATE"], ["HIDE", "MINE"], ["secret"])
    NOTHING: tuple[list[str], list[str], list[str]] = ([], [], [])

    def test_it_goes_where_the_table_goes(self, run: Run) -> None:
        self.own(run)
        assert (self.on(run, "t"), self.on(run, "u")) == (self.EVERYTHING, self.NOTHING)
        run("ALTER TABLE t SWAP WITH u")
        assert (self.on(run, "t"), self.on(run, "u")) == (self.NOTHING, self.EVERYTHING)
        run("ALTER TABLE u RENAME TO v")
        run("ALTER TABLE v ALTER COLUMN n SET DATA TYPE NUMBER(12,2)")
        assert self.on(run, "v") == self.EVERYTHING
        run("CREATE TABLE w CLONE v")
        assert self.on(run, "w") == ([], *self.EVERYTHING[1:])

    def test_a_table_that_is_replaced_loses_it_but_for_copied_grants(self, run: Run) -> None:
        self.own(run)
        run("CREATE OR REPLACE TABLE t (a VARCHAR) COPY GRANTS")
        assert self.on(run, "t") == (self.EVERYTHING[0], [], [])
        run("CREATE OR REPLACE TABLE t (a VARCHAR)")
        assert self.on(run, "t") == self.NOTHING

    def test_it_can_be_taken_off(self, run: Run) -> None:
        self.own(run)
        run("REVOKE UPDATE ON TABLE t FROM ROLE analyst")
        run("ALTER TABLE t ALTER COLUMN a UNSET MASKING POLICY")
        run("ALTER TABLE t DROP ROW ACCESS POLICY mine")
        run("ALTER TABLE t UNSET TAG class")
        assert self.on(run, "t") == (["SELECT"], [], [])

    @pytest.mark.parametrize(
        ("statement", "why"),
        [
            ("ALTER TABLE t ALTER COLUMN n SET DATA TYPE NUMBER(12,4)", "cannot change column N"),
            ("ALTER TABLE t ALTER COLUMN n SET DATA TYPE VARCHAR", "cannot change column N"),
            ("ALTER TABLE t ALTER COLUMN r SET DATA TYPE VARCHAR(4)", "cannot change column R"),
            ("ALTER TABLE t DROP COLUMN r", "cannot be dropped: the policy"),
            ("ALTER TABLE t ALTER COLUMN n SET MASKING POLICY hide", "does not have the type of the masking policy"),
            ("ALTER TABLE t ALTER COLUMN a SET MASKING POLICY hide", "already attached"),
            ("ALTER TABLE t ADD ROW ACCESS POLICY mine ON (a)", "already has a ROW_ACCESS_POLICY"),
            ("ALTER TABLE u ADD ROW ACCESS POLICY no_such ON (a)", "does not exist"),
            ("ALTER TABLE u ADD ROW ACCESS POLICY mine ON (no_such)", "invalid identifier"),
            ("ALTER TABLE u SET TAG no_such = 'x'", "does not exist"),
            ("GRANT SELECT ON TABLE no_such TO ROLE analyst", "does not exist"),
            ("ALTER TABLE t SET AGGREGATION POLICY mine", "AGGREGATION"),
            ("GRANT SELECT ON ALL TABLES IN SCHEMA x TO ROLE analyst", "Schema .* does not exist"),
        ],
    )
    def test_what_the_service_refuses_is_refused(self, run: Run, statement: str, why: str) -> None:
        self.own(run)
        with pytest.raises(ProgrammingError, match=why):
            run(statement)
        assert self.on(run, "t") == self.EVERYTHING

    def test_a_change_of_rows_is_told_and_nothing_else_is(self, run: Run) -> None:
        run("CREATE TABLE t (a NUMBER(5,0))")

        def token() -> int:
            schema = one(run("SELECT CURRENT_SCHEMA()"))
            return int(one(run(f"SELECT SYSTEM$LAST_CHANGE_COMMIT_TIME('{schema}.T')")))

        seen = [token()]
        for statement in (
            "INSERT INTO t VALUES (1)", "UPDATE t SET a = 2", "INSERT OVERWRITE INTO t SELECT 3", "DELETE FROM t", "TRUNCATE TABLE t",
        ):  # fmt: skip
            run(statement)
            seen.append(token())
        assert seen == sorted(set(seen))
        run("BEGIN")
        run("INSERT INTO t VALUES (4)")
        run("ROLLBACK")
        run("COMMENT ON TABLE t IS 'x'")
        run("ALTER TABLE t RENAME TO v")
        run("ALTER TABLE v RENAME TO t")
        assert token() == seen[-1]
        assert run("SELECT * FROM t") == []
