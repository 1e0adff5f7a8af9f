"""A session that Snowflake ends: opened again with all that it was where nothing went with it, an error that says so otherwise.

Would catch: a command that fails for a session that was idle, a session that goes on with the user's own parameters or without its
stage, half a transaction that is taken for a whole, a load whose retry begins anew.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable

import pytest

from helpers.errors import ConnectionFailed
from helpers.platforms import snowflake
from helpers.platforms.snowflake import Session, identifier
from helpers.settings import Settings, Snowflake

ENDED = ["390111", "390114"]


@pytest.fixture
def end(administrator: Snowflake) -> Callable[[Session, str], None]:
    target = administrator
    assert target.password
    secret = target.password.get_secret_value()

    def demand(session: Session, code: str) -> None:
        body = json.dumps({"password": secret, "code": code, "session": session._connection.session_id}).encode()
        url = f"http://{target.connect['host']}:{target.connect['port']}/stand-in/endings"
        with urllib.request.urlopen(urllib.request.Request(url, body)) as answer:
            assert json.load(answer)["ended"] == 1

    return demand


@pytest.fixture
def scratch(local_settings: Settings) -> str:
    return identifier(local_settings.snowflake.database, local_settings.snowflake.schema_, "REOPENED")


def _held(session: Session) -> dict[str, str]:
    rows = session.execute("SHOW PARAMETERS IN SESSION", doing="read them")
    return {row["key"]: str(row["value"]) for row in rows if row["level"] == "SESSION"}


@pytest.mark.parametrize("code", ["390112", *ENDED])
def test_the_next_statement_finds_a_session_like_the_last(
    local_settings: Settings, end: Callable[[Session, str], None], code: str
) -> None:
    target = local_settings.snowflake
    with snowflake.connect(target) as session:
        session.execute(f"USE SCHEMA {identifier(target.database, target.schema_)}", doing="stand there")
        session.execute("ALTER SESSION SET QUERY_TAG = 'ours'", doing="tag")
        before = _held(session)
        end(session, code)
        (row,) = session.execute("SELECT CURRENT_SCHEMA() AS S", doing="ask where we stand")
        assert row["S"] == target.schema_
        assert _held(session) == before
        assert before["QUERY_TAG"] == "ours"
        end(session, code)
        (batch,) = session.batches("SELECT 1 AS N", doing="read")
        assert batch.num_rows == 1
        end(session, code)
        assert session.columns("SELECT 1 AS N", doing="look") == ("N",)


@pytest.mark.parametrize("code", ENDED)
def test_a_transaction_goes_with_its_session(
    local_settings: Settings, end: Callable[[Session, str], None], scratch: str, code: str
) -> None:
    with snowflake.connect(local_settings.snowflake) as session:
        session.execute(f"CREATE OR REPLACE TABLE {scratch} (a INT)", doing="make a table")
        with pytest.raises(ConnectionFailed) as lost, session.transaction(doing="fill it"):
            session.execute(f"INSERT INTO {scratch} VALUES (1)", doing="insert")
            end(session, code)
            session.execute(f"INSERT INTO {scratch} VALUES (2)", doing="insert")
        assert lost.value.transient and "the table is as it was before" in lost.value.next_step
        (row,) = session.execute(f"SELECT COUNT(*) AS N FROM {scratch}", doing="count")  # in another session, by itself
        assert row["N"] == 0
        with session.transaction(doing="fill it"):
            session.execute(f"INSERT INTO {scratch} VALUES (1)", doing="insert")
        (row,) = session.execute(f"SELECT COUNT(*) AS N FROM {scratch}", doing="count")
        assert row["N"] == 1
        session.execute(f"DROP TABLE {scratch}", doing="clear away")


def test_a_commit_whose_session_ended_is_no_commit(
    local_settings: Settings, end: Callable[[Session, str], None], scratch: str
) -> None:
    with snowflake.connect(local_settings.snowflake) as session:
        session.execute(f"CREATE OR REPLACE TABLE {scratch} (a INT)", doing="make a table")
        with pytest.raises(ConnectionFailed), session.transaction(doing="fill it"):
            session.execute(f"INSERT INTO {scratch} VALUES (1)", doing="insert")
            end(session, "390114")
        (row,) = session.execute(f"SELECT COUNT(*) AS N FROM {scratch}", doing="count")
        assert row["N"] == 0
        session.execute(f"DROP TABLE {scratch}", doing="clear away")


def test_rows_of_a_temporary_table_go_with_their_session(
    local_settings: Settings, end: Callable[[Session, str], None], scratch: str
) -> None:
    with snowflake.connect(local_settings.snowflake) as session:
        session.execute(f"CREATE OR REPLACE TEMPORARY TABLE {scratch} (a INT)", doing="make a table")
        end(session, "390114")
        with pytest.raises(ConnectionFailed, match="must authenticate again"):
            session.execute(f"SELECT COUNT(*) AS N FROM {scratch}", doing="count")
        session.execute(f"CREATE TEMPORARY TABLE {scratch} (a INT)", doing="make it again")
        session.execute(f"DROP TABLE {scratch}", doing="clear away")
        end(session, "390114")
        assert session.execute("SELECT 1 AS N", doing="ask") == [{"N": 1}]  # nothing was left to lose


def test_our_sessions_are_kept_alive(local_settings: Settings) -> None:
    with snowflake.connect(local_settings.snowflake) as session:
        assert session._connection.client_session_keep_alive
        assert session._connection.heartbeat_thread.is_alive()
