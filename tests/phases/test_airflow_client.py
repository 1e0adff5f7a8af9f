"""The client of Airflow, where the transport fails; a small real server answers wrongly. Behaviour: tests/local/test_airflow.py.

Would catch: a fault that shows as a traceback, a password in an error, a wrong password that is retried as if it could pass, a
token that has had its time and ends a run, half an answer that is taken for a whole one, a run that is followed for ever.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from pydantic import SecretStr

from helpers import PROJECT
from helpers import settings as profiles
from helpers.errors import ConnectionFailed, MigrationError, PipelineFailed, SettingsError, UsageError
from helpers.platforms import airflow as platform
from helpers.platforms.airflow import Airflow
from helpers.settings import Profile, Settings

PASSWORD = "correct-horse-7"
Answer = Callable[[BaseHTTPRequestHandler], None]


def say(status: int, value: object = None, *, length: int | None = None, text: str | None = None) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        body = (json.dumps(value) if text is None else text).encode()
        handler.send_response(status)
        handler.send_header("Content-Length", str(length or len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def sleep(handler: BaseHTTPRequestHandler) -> None:
    time.sleep(2)


@pytest.fixture
def serve() -> Iterator[Callable[..., Any]]:
    """Starts a server with an answer a "METHOD path"; gives the client, and the list of what was asked."""
    servers: list[ThreadingHTTPServer] = []

    def started(answers: dict[str, Answer | list[Answer]], *, seconds: float = 60) -> Any:
        asked: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                name = f"{self.command} {self.path.partition('?')[0]}"
                asked.append(name)
                found = answers.get(name, say(404, {"detail": "not found"}))
                (found.pop(0) if isinstance(found, list) else found)(self)

            do_GET = do_PATCH = do_POST  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        section = profiles.Airflow.model_construct(
            url=f"http://127.0.0.1:{server.server_port}",
            user="alice",
            password=SecretStr(PASSWORD),
            engine="local",
            answer_timeout_seconds=seconds,
        )
        return Airflow(section), asked

    yield started
    for server in servers:
        server.shutdown()
        server.server_close()


TOKEN = say(201, {"access_token": "t"})
NONE = say(200, {"dags": [], "total_entries": 0})


@pytest.mark.parametrize(
    ("answers", "kind", "says"),
    [
        ({"POST /auth/token": say(401, {"detail": "Invalid credentials"})}, SettingsError, "refuses the password of the user alice"),
        ({"POST /auth/token": say(422, {"detail": []})}, SettingsError, "refuses the password"),
        ({"POST /auth/token": say(201, text="<html>")}, ConnectionFailed, "no token"),
        ({"POST /auth/token": say(302, {})}, ConnectionFailed, "no token"),
        ({"POST /auth/token": sleep}, ConnectionFailed, "no answer within 0.5 s"),
        ({"POST /auth/token": TOKEN, "GET /api/v2/dags": say(403, {})}, SettingsError, "is not allowed to do that"),
        ({"POST /auth/token": TOKEN, "GET /api/v2/dags": say(401, {})}, SettingsError, "is not allowed to do that"),
        ({"POST /auth/token": TOKEN, "GET /api/v2/dags": say(500, {"detail": "boom"})}, ConnectionFailed, "status 500: boom"),
        ({"POST /auth/token": TOKEN, "GET /api/v2/dags": say(200, text='{"dags": [')}, ConnectionFailed, "no JSON"),
        ({"POST /auth/token": TOKEN, "GET /api/v2/dags": say(200, {"dags": []}, length=999)}, ConnectionFailed, "broke off|hung up"),
        ({"POST /auth/token": TOKEN, "GET /api/v2/dags": lambda handler: None}, ConnectionFailed, "hung up"),
    ],
)  # fmt: skip
def test_each_fault_is_one_sentence(
    serve: Any, answers: dict[str, Answer], kind: type[MigrationError], says: str
) -> None:
    client, _ = serve(answers, seconds=0.5 if sleep in answers.values() else 60)
    with pytest.raises(kind, match=says) as caught:
        client.dags()
    assert PASSWORD not in str(caught.value)
    assert caught.value.transient is (kind is ConnectionFailed)
    if kind is ConnectionFailed:
        assert "runbook local up --airflow" in caught.value.next_step


def test_a_server_that_is_down_names_the_command_that_starts_it() -> None:
    with pytest.raises(ConnectionFailed, match="runbook local up --airflow"):
        platform.connect(Settings("local", PROJECT / "migration.toml", Profile(stack="local")))
    with pytest.raises(SettingsError, match=r"profiles\.p\.airflow"):
        platform.connect(Settings("p", PROJECT / "migration.toml", Profile()))
    section = profiles.Airflow.model_construct(url="http://127.0.0.1:1", user="a", password=None, engine="local")
    with pytest.raises(ConnectionFailed, match=r"nobody answers.*runbook local up --airflow"):
        Airflow(section).dags()


def test_a_token_that_has_had_its_time_is_fetched_anew(serve: Any) -> None:
    client, asked = serve({"POST /auth/token": TOKEN, "GET /api/v2/dags": [NONE, say(401, {}), NONE]})
    client.dags()
    client.dags()
    assert asked == ["POST /auth/token", "GET /api/v2/dags", "GET /api/v2/dags", "POST /auth/token", "GET /api/v2/dags"]


def test_every_page_is_read(serve: Any) -> None:
    page = [{"dag_id": f"d{n}", "is_paused": False, "tags": [{"name": "x"}]} for n in range(2)]
    answers = [say(200, {"dags": page[:1], "total_entries": 2}), say(200, {"dags": page[1:], "total_entries": 2})]
    client, _ = serve({"POST /auth/token": TOKEN, "GET /api/v2/dags": answers})
    assert [dag.name for dag in client.dags()] == ["d0", "d1"]


def test_a_run_that_does_not_end_is_not_followed_for_ever(serve: Any) -> None:
    client, _ = serve({"POST /auth/token": TOKEN, "GET /api/v2/dags/d/dagRuns/r": say(200, {"state": "running"})})
    with pytest.raises(PipelineFailed, match="still running after 0 s"):
        client.follow("d", "r", seconds=0)


def test_a_run_of_a_disabled_dag_is_not_started(serve: Any) -> None:
    found = say(200, {"dag_id": "d", "is_paused": True, "tags": []})
    client, asked = serve({"POST /auth/token": TOKEN, "GET /api/v2/dags/d": found})
    with pytest.raises(UsageError, match="it is paused"):
        client.trigger("d")
    assert not any("dagRuns" in each for each in asked)


@pytest.mark.parametrize("url", ["airflow.example.com", "https://me:pw@airflow.example.com", "https://a.b/?token=x"])
def test_an_address_that_is_none_or_holds_a_secret_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="url"):
        profiles.Airflow.model_validate({"url": url, "user": "a"})


def test_of_a_log_remains_what_the_task_said() -> None:
    log = ["::group::Pre Execute", "noise", "::endgroup::", "", "said", "::group::Post Execute", "broke off"]
    assert platform.telling(log) == ["said", "broke off"]
