"""Sessions and connections that end before their time, as the service ends them.

Would catch: a stand-in whose sessions live for ever, a renewed token that loses the transaction, a statement that is run twice
because its answer was lost.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import snowflake.connector
from snowflake.connector.errors import Error

from helpers.local import stack

Demand = Callable[..., dict[str, Any]]


@pytest.fixture
def demand(local_environment: stack.Environment) -> Demand:
    there = local_environment.snowflake

    def ask(**what: Any) -> dict[str, Any]:
        body = json.dumps({"password": there["password"], **what}).encode()
        url = f"http://{there['host']}:{there['port']}/stand-in/endings"
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as answer:
            return dict(json.load(answer))

    return ask


@pytest.fixture
def connection(local_environment: stack.Environment) -> Iterator[Any]:
    with snowflake.connector.connect(**local_environment.snowflake) as connection:
        yield connection


def _one(connection: Any, sql: str) -> Any:
    (row,) = connection.cursor().execute(sql).fetchall()
    return row[0]


def test_a_session_outlives_its_token(connection: Any, demand: Demand) -> None:
    cursor = connection.cursor()
    cursor.execute("CREATE TEMPORARY TABLE kept (a INT)")
    cursor.execute("BEGIN")
    cursor.execute("INSERT INTO kept VALUES (1)")
    assert demand(code="390112", session=connection.session_id)["ended"] == 1
    assert _one(connection, "SELECT COUNT(*) FROM kept") == 1
    cursor.execute("ROLLBACK")
    assert _one(connection, "SELECT COUNT(*) FROM kept") == 0


@pytest.mark.parametrize(("code", "said"), [("390114", "must authenticate again"), ("390111", "no longer exists")])
def test_what_a_session_held_goes_with_it(
    connection: Any, demand: Demand, local_environment: stack.Environment, code: str, said: str
) -> None:
    cursor = connection.cursor()
    cursor.execute("CREATE OR REPLACE TABLE lost (a INT)")
    cursor.execute("BEGIN")
    cursor.execute("INSERT INTO lost VALUES (1)")
    demand(code=code, session=connection.session_id)
    with pytest.raises(Error, match=said) as refused:
        cursor.execute("COMMIT")
    assert refused.value.errno == int(code)
    with snowflake.connector.connect(**local_environment.snowflake) as another:
        assert _one(another, "SELECT COUNT(*) FROM lost") == 0
        another.cursor().execute("DROP TABLE lost")


def test_an_ended_session_gets_no_other_token(connection: Any, demand: Demand) -> None:
    demand(code="390111", session=connection.session_id)
    demand(code="390112", session=connection.session_id)
    with pytest.raises(Error, match="no longer exists"):
        connection.cursor().execute("SELECT 1")


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_statement_whose_answer_is_lost_is_run_once(connection: Any, demand: Demand, moment: str) -> None:
    connection.cursor().execute("CREATE TEMPORARY TABLE once (a INT)")
    demand(drop=moment)
    connection.cursor().execute("INSERT INTO once VALUES (1)")
    assert _one(connection, "SELECT COUNT(*) FROM once") == 1


def test_only_who_knows_the_password_ends_sessions(demand: Demand) -> None:
    with pytest.raises(urllib.error.HTTPError, match="403"):
        demand(password="another", code="390114")
