"""Who we are at Databricks: tokens that end are renewed while a session goes on, and no text of ours holds one.

The workspace gives tokens and checks them as documented; behind it pysail answers, since there is no account.

Would catch: a token that is asked for once and sent for hours; a token or secret in a URL, an error or a process list; a refused
secret that is sent again and again; a call without the header that names the cluster or the serverless session; a server older
than our client, with which Databricks does not promise anything.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import databricks_workspace
import pytest
from databricks_workspace import Workspace
from pydantic import SecretStr, ValidationError

from helpers.errors import ConnectionFailed, SessionRefused
from helpers.local import stack
from helpers.local.servers.spark import Spark
from helpers.platforms import databricks_login, spark
from helpers.settings import Databricks


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, local_settings: Any) -> Iterator[Workspace]:
    databricks_login._logins.clear()
    with databricks_workspace.running(
        tmp_path, monkeypatch, backend=stack.on_demand(Spark).url.removeprefix("sc://")
    ) as made:
        yield made


def of(workspace: Workspace, **settings: Any) -> Databricks:
    known = {"client_id": workspace.client_id, "client_secret": SecretStr(workspace.client_secret)}
    if "token" in settings:
        known = {}
    place = {} if "serverless" in settings else {"cluster_id": "1125-x"}
    return Databricks.model_validate(
        {"host": workspace.host, "schema": "m", "connect_timeout_seconds": 5} | place | known | settings
    )


def test_a_service_principals_tokens_are_renewed_while_the_session_goes_on(workspace: Workspace) -> None:
    """The SDK takes a token for one that has ended 40 seconds before it does."""
    workspace.valid_seconds, began = 41, time.monotonic()
    with spark.connect(of(workspace)) as session:
        for _ in range(4):
            assert session.execute("SELECT 1 + 1 AS two", doing="ask") == [{"two": 2}]
            time.sleep(0.5)
        # One a second, however many calls there were.
        assert 2 <= len(workspace.sent) == len(workspace.tokens) <= time.monotonic() - began + 2
        workspace.tokens.clear()
        workspace.client_secret = "which-was-taken-back"
        time.sleep(1.1)
        with pytest.raises(ConnectionFailed, match="get a token for the service principal") as caught:
            session.execute("SELECT 1", doing="ask")
    assert not any(token in str(caught.value) for token in (*workspace.sent, "of-the-principal-and-long"))
    assert {call["x-databricks-cluster-id"] for call in workspace.metadata} == {"1125-x"}
    assert all("x-databricks-session-id" not in call for call in workspace.metadata)
    asked = {each for each in workspace.asked if each.startswith("POST")}
    assert asked == {'POST /oidc/v1/token {"grant_type": ["client_credentials"], "scope": ["all-apis"]}'}


def test_one_token_serves_all_sessions_and_threads_of_a_process(workspace: Workspace) -> None:
    target = of(workspace)
    found: list[Any] = []

    def one() -> None:
        with spark.connect(target) as session:
            found.extend(session.execute("SELECT 1 AS one", doing="ask"))

    threads = [threading.Thread(target=one) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert (found, len(workspace.tokens)) == ([{"one": 1}] * 4, 1)


def test_serverless_names_the_session_and_a_token_of_a_person_serves(workspace: Workspace) -> None:
    workspace.tokens["dapi-of-a-person"] = time.monotonic() + 60
    with spark.connect(of(workspace, serverless=True, token=SecretStr("dapi-of-a-person"))) as session:
        session.execute("SELECT 1", doing="ask")
    (name,) = {call["x-databricks-session-id"] for call in workspace.metadata}
    assert uuid.UUID(name).version == 4
    assert (workspace.sent, workspace.asked) == (["Bearer dapi-of-a-person"], [])


def test_a_refused_login_is_told_once_without_its_secret(workspace: Workspace) -> None:
    for target in (
        of(workspace, client_secret=SecretStr("another-secret-of-nobody")),
        of(workspace, token=SecretStr("dapi-that-nobody-knows;=x")),
    ):
        with pytest.raises(ConnectionFailed) as caught, spark.connect(target):
            pass
        said = str(caught.value) + repr(caught.value.as_dict())
        assert not caught.value.transient
        assert all(each not in said for each in ("another-secret", "dapi-that", "YW5vdGhlc"))
        assert "client_secret" in caught.value.next_step
    assert len([each for each in workspace.asked if "oidc" in each]) == 1


def test_an_identity_token_is_exchanged_and_needs_no_secret(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = of(workspace, federation="env-oidc", client_secret=None)
    monkeypatch.setenv("DATABRICKS_OIDC_TOKEN", "identity-of-somebody-else")
    monkeypatch.setenv("DATABRICKS_TOKEN", "dapi-of-the-environment")
    with pytest.raises(ConnectionFailed, match="exchange the identity token") as caught, spark.connect(target):
        pass
    assert "identity-of-somebody" not in str(caught.value)
    assert "federation policy" in caught.value.next_step
    monkeypatch.setenv("DATABRICKS_OIDC_TOKEN", workspace.identity)
    with spark.connect(target) as session:
        assert session.execute("SELECT 1 AS one", doing="ask") == [{"one": 1}]
    assert workspace.sent == [f"Bearer {token}" for token in workspace.tokens]


def test_a_silent_token_endpoint_is_given_up(workspace: Workspace) -> None:
    workspace.silent = True
    began = time.monotonic()
    with (
        pytest.raises(ConnectionFailed, match="get a token") as caught,
        spark.connect(of(workspace, answer_timeout_seconds=1)),
    ):
        pass
    assert (caught.value.transient, time.monotonic() - began < 60) == (True, True)


def test_a_server_older_than_our_client_is_refused(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spark, "client_version", lambda: "4.2.0")
    with (
        pytest.raises(
            SessionRefused, match=r"pyspark-client 4\.2\.0 needs 4\.2 \(Databricks Runtime 19\) or newer"
        ) as caught,
        spark.connect(of(workspace)),
    ):
        pass
    assert "newer runtime" in caught.value.next_step
    assert [
        spark.client_runtime(),
        bool(spark._too_old("4.0.0", of(workspace))),
        spark._too_old("4.10.0", of(workspace)),
    ] == ["19", True, []]


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"cluster_id": None}, "either cluster_id or serverless"),
        ({"serverless": True, "cluster_id": "c"}, "either cluster_id or serverless"),
        ({"client_secret": None}, "client_id needs client_secret"),
        ({"token": SecretStr("t"), "client_id": "c", "client_secret": SecretStr("s")}, "one login"),
        ({"federation": "env-oidc"}, "one login"),
        ({"host": None, "url": "sc://x"}, "are Databricks'"),
        ({"host": "https://adb-1.azuredatabricks.net"}, "pattern"),
    ],
)
def test_a_profile_names_one_place_and_one_login(wrong: dict[str, Any], why: str) -> None:
    whole = {"host": "h", "schema": "m", "cluster_id": "c", "client_id": "i", "client_secret": SecretStr("s")}
    Databricks.model_validate(whole)
    with pytest.raises(ValidationError, match=why):
        Databricks.model_validate(whole | wrong)
