"""Every parameter that can change an answer does so, and is inherited, as https://docs.snowflake.com/en/sql-reference/parameters says.

Would catch: a parameter that is held and does nothing, so that what pins it at login is never missed.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import snowflake.connector
from snowflake.connector.errors import DatabaseError

from helpers.local import stack

Run = Callable[..., list[tuple[Any, ...]]]
UTC = datetime.UTC
MOMENT = "'2024-07-01 12:00:00.5'"


@pytest.mark.parametrize(
    ("parameters", "expression", "value"),
    [
        ("DATE_OUTPUT_FORMAT = 'DD.MM.YYYY'", "'2024-07-01'::DATE::VARCHAR", "01.07.2024"),
        ("TIME_OUTPUT_FORMAT = 'HH24:MI'", "TO_VARCHAR('12:01:02'::TIME)", "12:01"),
        ("TIMESTAMP_NTZ_OUTPUT_FORMAT = 'YYYY'", f"TO_VARCHAR({MOMENT}::TIMESTAMP_NTZ)", "2024"),
        ("TIMESTAMP_NTZ_OUTPUT_FORMAT = '', TIMESTAMP_OUTPUT_FORMAT = 'MM'", f"TO_VARCHAR({MOMENT}::TIMESTAMP_NTZ)", "07"),
        ("TIMEZONE = 'America/New_York'", f"TO_VARCHAR({MOMENT}::TIMESTAMP_LTZ)", "2024-07-01 12:00:00.500 -0400"),
        ("TIMEZONE = 'Asia/Kolkata', TIMESTAMP_OUTPUT_FORMAT = 'HH24:MI TZH:TZM'", "TO_VARCHAR('2024-07-01 00:00:00 +00:00'::TIMESTAMP_TZ)", "05:30 +05:30"),
        ("TIMEZONE = 'America/New_York'", f"{MOMENT}::TIMESTAMP_LTZ", datetime.datetime(2024, 7, 1, 16, 0, 0, 500_000, UTC)),
        ("TIMESTAMP_TYPE_MAPPING = 'TIMESTAMP_LTZ', TIMEZONE = 'America/New_York'", f"{MOMENT}::TIMESTAMP", datetime.datetime(2024, 7, 1, 16, 0, 0, 500_000, UTC)),
        ("BINARY_OUTPUT_FORMAT = 'BASE64'", "TO_VARCHAR('00FF'::BINARY)", "AP8="),
        ("BINARY_INPUT_FORMAT = 'UTF8'", "'00'::BINARY", b"00"),
        ("BINARY_INPUT_FORMAT = 'BASE64'", "TO_BINARY('AP8=')", b"\0\xff"),
        ("DATE_INPUT_FORMAT = 'DD/MM/YYYY'", "'02/03/2024'::DATE", datetime.date(2024, 3, 2)),
        ("TIMESTAMP_INPUT_FORMAT = 'DD/MM/YYYY HH24:MI'", "'02/03/2024 01:00'::TIMESTAMP_NTZ", datetime.datetime(2024, 3, 2, 1)),
        ("TWO_DIGIT_CENTURY_START = 1950", "TO_DATE('51-01-02', 'YY-MM-DD')", datetime.date(1951, 1, 2)),
        ("TWO_DIGIT_CENTURY_START = 1970", "TO_DATE('69-01-02', 'YY-MM-DD')", datetime.date(2069, 1, 2)),
        ("WEEK_START = 7", "DATE_TRUNC('week', '2024-07-01'::DATE)", datetime.date(2024, 6, 30)),
        ("WEEK_START = 7", "DAYOFWEEK('2024-07-01'::DATE)", 2),
        ("WEEK_OF_YEAR_POLICY = 1", "WEEK('2023-01-01'::DATE)", 1),
        ("WEEK_OF_YEAR_POLICY = 0", "WEEK('2023-01-01'::DATE)", 52),
    ],
)  # fmt: skip
def test_what_a_parameter_does_to_a_value(run: Run, parameters: str, expression: str, value: Any) -> None:
    run(f"ALTER SESSION SET {parameters}")
    assert run(f"SELECT {expression}") == [(value,)]


def test_quoted_names_fold_in_what_is_made_and_in_what_is_read(run: Run) -> None:
    run("ALTER SESSION SET QUOTED_IDENTIFIERS_IGNORE_CASE = TRUE")
    run('CREATE TABLE "folded" ("b" INT)')
    assert [row[0] for row in run("DESCRIBE TABLE FOLDED")] == ["B"]
    assert run('SELECT "b" FROM "Folded"') == []


def test_rows_are_left_out_in_silence(run: Run) -> None:
    run("ALTER SESSION SET ROWS_PER_RESULTSET = 2")
    assert len(run("SELECT * FROM VALUES (1), (2), (3)")) == 2


def test_a_statement_that_takes_too_long_is_cancelled(run: Run) -> None:
    run("ALTER SESSION SET STATEMENT_TIMEOUT_IN_SECONDS = 1")
    rows = "TABLE(GENERATOR(ROWCOUNT => 100000))"
    with pytest.raises(DatabaseError, match="timeout of 1 second") as late:
        run(f"SELECT COUNT(*) FROM {rows} a, {rows} b WHERE SQRT(RANDOM()) > 5")
    assert (late.value.errno, late.value.sqlstate) == (630, "57014")


def test_a_collation_of_the_schema_decides_what_is_equal(run: Run) -> None:
    ((schema,),) = run("SELECT CURRENT_SCHEMA()")
    run(f"ALTER SCHEMA {schema} SET DEFAULT_DDL_COLLATION = 'en-ci'")
    run("CREATE TABLE collated (a VARCHAR)")
    run("CREATE TABLE plain (a VARCHAR COLLATE '')")
    for table, found in (("collated", 1), ("plain", 0)):
        run(f"INSERT INTO {table} VALUES ('Ä')")
        assert run(f"SELECT COUNT(*) FROM {table} WHERE a = 'ä'") == [(found,)]
    shown = run(f"SHOW PARAMETERS LIKE 'DEFAULT_DDL_COLLATION' IN SCHEMA STAND_IN.{schema}")
    assert [row[:4] for row in shown] == [("DEFAULT_DDL_COLLATION", "en-ci", "", "SCHEMA")]


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ("NO_SUCH_PARAMETER = 1", "invalid property 'NO_SUCH_PARAMETER' for 'SESSION'"),
        ("TIMEZONE = 'Nowhere'", "invalid value [Nowhere] for parameter 'TIMEZONE'"),
        ("WEEK_START = 8", "invalid value [8] for parameter 'WEEK_START'"),
        ("BINARY_OUTPUT_FORMAT = 'UTF8'", "invalid value [UTF8] for parameter 'BINARY_OUTPUT_FORMAT'"),
    ],
)
def test_what_is_no_parameter_or_no_value_is_refused(run: Run, parameters: str, said: str) -> None:
    with pytest.raises(DatabaseError) as refused:
        run(f"ALTER SESSION SET {parameters}")
    assert said in str(refused.value) and refused.value.sqlstate == "22023"


class TestLevels:
    @pytest.fixture(autouse=True)
    def restored(self, run: Run) -> Iterator[None]:
        yield
        run("ALTER ACCOUNT SET TIMEZONE = 'UTC'")
        run("ALTER USER RUNBOOK UNSET TIMEZONE")

    def zone(self, local_environment: stack.Environment, **login: Any) -> tuple[str, str]:
        with snowflake.connector.connect(**local_environment.snowflake, **login) as connection:
            ((_, value, _, level, *_),) = connection.cursor().execute("SHOW PARAMETERS LIKE 'TIMEZONE'").fetchall()
        return value, level

    def test_a_session_begins_with_its_users_else_the_accounts(
        self, run: Run, local_environment: stack.Environment
    ) -> None:
        run("ALTER ACCOUNT SET TIMEZONE = 'Europe/Paris'")
        assert self.zone(local_environment) == ("Europe/Paris", "ACCOUNT")
        run("ALTER USER RUNBOOK SET TIMEZONE = 'Asia/Tokyo'")
        assert self.zone(local_environment) == ("Asia/Tokyo", "USER")
        login = {"session_parameters": {"TIMEZONE": "America/New_York"}}
        assert self.zone(local_environment, **login) == ("America/New_York", "SESSION")
        assert run("SHOW PARAMETERS LIKE 'TIMEZONE' IN ACCOUNT")[0][1:4] == (
            "Europe/Paris",
            "America/Los_Angeles",
            "ACCOUNT",
        )
        run("ALTER USER RUNBOOK UNSET TIMEZONE")
        run("ALTER ACCOUNT UNSET TIMEZONE")
        assert self.zone(local_environment) == ("America/Los_Angeles", "")
