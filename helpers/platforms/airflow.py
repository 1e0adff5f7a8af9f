"""Airflow 3 over its REST interface: which DAGs are on, one run of a DAG, and what its tasks said.

Version 2 of the interface, https://airflow.apache.org/docs/apache-airflow/stable/stable-rest-api-ref.html.
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import requests

from helpers import settings as profiles
from helpers.errors import ConnectionFailed, PipelineFailed, SettingsError, UsageError
from helpers.progress import Progress
from helpers.redaction import redact
from helpers.settings import Settings

SECONDS_FOR_A_RUN = 3600.0
SECONDS_TO_BE_READ = 90.0
"""In which a new DAG file must have been read."""

POLL = 1.0
ENDED = ("success", "failed")
FAILED = ("failed", "upstream_failed")
LINES_SHOWN = 20
"""Of a failed task's log."""

_PAGE = 100
_FOLDED = re.compile(r"^::group::(?:(?!^::group::).)*?^::endgroup::$", re.M | re.S)


@dataclass(frozen=True)
class Dag:
    """A DAG as Airflow has it."""

    name: str
    enabled: bool
    tags: tuple[str, ...]
    import_errors: bool


@dataclass(frozen=True)
class Task:
    """A task of a run.

    Attributes:
        state: Airflow's word, such as "success", "failed", "upstream_failed"; "waiting" where it has none yet.
        attempt: which attempt at it.
        seconds: it took; None before its end.
    """

    name: str
    state: str
    attempt: int
    seconds: float | None


@dataclass(frozen=True)
class ImportProblem:
    """A DAG file that Airflow cannot read, and the last line of why."""

    file: str
    why: str


def connect(settings: Settings) -> Airflow:
    """The profile's Airflow, once it lets us in.

    Raises:
        ConnectionFailed: it is not up, or does not answer.
        SettingsError: the profile names none, or it refuses user or password.
    """
    if settings.values.airflow is None and settings.values.stack == "local":
        raise ConnectionFailed(
            "reach Airflow",
            on="the local stack",
            why="it is not up",
            next_step="runbook local up --airflow, then run it again",
        )
    found = Airflow(settings.airflow)
    found.dags()
    return found


def address(airflow: profiles.Airflow) -> str:
    """How it is named to people."""
    return f"Airflow of the local stack ({airflow.url})" if airflow.engine == "local" else f"Airflow {airflow.url}"


class Airflow:
    """One Airflow and a user of it; a token is fetched when it is needed."""

    def __init__(self, airflow: profiles.Airflow) -> None:
        self.address = address(airflow)
        self._airflow = airflow
        self._timeout = (airflow.connect_timeout_seconds, airflow.answer_timeout_seconds)
        self._session = requests.Session()
        # Loopback goes direct, whatever proxy the machine names.
        self._session.trust_env = airflow.engine != "local"
        self._has_token = False

    def dags(self) -> list[Dag]:
        """Every DAG that Airflow has read, by name."""
        found: list[dict[str, Any]] = []
        while True:
            page = self._ask("GET", "dags", params={"limit": _PAGE, "offset": len(found), "order_by": "dag_id"})
            found += page["dags"]
            if not page["dags"] or len(found) >= page["total_entries"]:
                return [_dag(each) for each in found]

    def enabled(self, dag: str) -> bool:
        """Whether its schedule is on.

        Raises:
            UsageError: Airflow has no such DAG.
        """
        return self._dag(dag).enabled

    def enable(self, dag: str) -> None:
        """Switches its schedule on; nothing where it is on.

        Raises:
            UsageError: Airflow has no such DAG, and has not read one within a minute and a half.
        """
        self._switch(dag, on=True)

    def disable(self, dag: str) -> None:
        """Switches its schedule off; what runs goes on to its end.

        Raises:
            UsageError: as `enable`.
        """
        self._switch(dag, on=False)

    def trigger(self, dag: str, *, run_id: str | None = None) -> str:
        """Starts one run of an enabled DAG; its id.

        Args:
            dag: its id.
            run_id: without it Airflow makes one.

        Raises:
            UsageError: there is no such DAG, or it is disabled, so that the run would wait for ever.
        """
        if not self.enabled(dag):
            raise UsageError(
                "start a run", on=f"{dag} in {self.address}", why="it is paused, so the run would wait",
                next_step="unpause it first",
            )  # fmt: skip
        body = {"logical_date": None, **({"dag_run_id": run_id} if run_id else {})}
        return str(self._ask("POST", f"dags/{quote(dag)}/dagRuns", json=body)["dag_run_id"])

    def state(self, dag: str, run_id: str) -> str:
        """Of a run: "queued", "running", "success" or "failed"."""
        return str(self._ask("GET", _run(dag, run_id))["state"])

    def follow(
        self, dag: str, run_id: str, report: Progress | None = None, *, seconds: float = SECONDS_FOR_A_RUN
    ) -> str:
        """Waits for the end of a run; "success" or "failed".

        Args:
            dag: its id.
            run_id: as `trigger` gave it.
            report: told of tasks that ended, of tasks in all, and of what runs.
            seconds: that it may take.

        Raises:
            PipelineFailed: it has not ended by then; it goes on in Airflow.
        """
        until = time.monotonic() + seconds
        while (state := self.state(dag, run_id)) not in ENDED:
            if time.monotonic() > until:
                raise PipelineFailed(
                    "see a run's end", on=f"{dag}, run {run_id}", why=f"it is still {state} after {seconds:.0f} s",
                    next_step=f"look at it in {self.address}; it is still running there",
                )  # fmt: skip
            if report:
                self._report(dag, run_id, state, report)
            time.sleep(POLL)
        if report:
            self._report(dag, run_id, state, report)
        return state

    def tasks(self, dag: str, run_id: str) -> list[Task]:
        """Of a run, in the order in which they began; those that have not, last."""
        found = self._ask("GET", f"{_run(dag, run_id)}/taskInstances", params={"limit": _PAGE})["task_instances"]
        found.sort(key=lambda each: (each["start_date"] is None, each["start_date"] or "", each["task_id"]))
        return [Task(t["task_id"], t["state"] or "waiting", int(t["try_number"]), t["duration"]) for t in found]

    def log(self, dag: str, run_id: str, task: str, attempt: int) -> list[str]:
        """Lines of one attempt at a task, known secrets masked."""
        path = f"{_run(dag, run_id)}/taskInstances/{quote(task, safe='')}/logs/{max(attempt, 1)}"
        content = self._ask("GET", path, params={"full_content": "true"})["content"]
        return [redact(line) for each in content for line in _lines(each)]

    def log_of_failed(self, dag: str, run_id: str) -> str:
        """The end of the log of the task that failed first; empty where none did."""
        failed = next((task for task in self.tasks(dag, run_id) if task.state == "failed"), None)
        if failed is None:
            return ""
        log = telling(self.log(dag, run_id, failed.name, failed.attempt))
        return "\n".join([f"{failed.name}:", *log[-LINES_SHOWN:]])

    def import_errors(self) -> list[ImportProblem]:
        """DAG files that Airflow cannot read."""
        found = self._ask("GET", "importErrors", params={"limit": _PAGE})["import_errors"]
        return [ImportProblem(str(each["filename"]), _last_line(each["stack_trace"])) for each in found]

    def variable(self, name: str) -> str | None:
        """The value of a variable; None where there is none."""
        found = self._ask("GET", f"variables/{quote(name, safe='')}", missing=True)
        return None if found is None else str(found["value"])

    def set_variable(self, name: str, value: str, *, description: str) -> None:
        """Writes a variable, which every user of Airflow may read: no secret belongs there."""
        body = {"key": name, "value": value, "description": description}
        if self.variable(name) is None:
            self._ask("POST", "variables", json=body)
        else:
            self._ask("PATCH", f"variables/{quote(name, safe='')}", json=body)

    def version(self) -> str:
        """Airflow's own."""
        return str(self._ask("GET", "version")["version"])

    def role(self) -> str | None:
        """The user's role where Airflow's simple auth manager says it in the token ("viewer", "user", "op", "admin"); else None.

        https://airflow.apache.org/docs/apache-airflow/stable/core-concepts/auth-manager/simple/index.html
        """
        if not self._has_token:
            self._log_in()
        token = str(self._session.headers["Authorization"]).removeprefix("Bearer ")
        try:
            body = token.split(".")[1]
            told = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        except (ValueError, IndexError):
            return None
        return str(told["role"]).lower() if told.get("role") else None

    def _report(self, dag: str, run_id: str, state: str, report: Progress) -> None:
        tasks = self.tasks(dag, run_id)
        over = [task for task in tasks if task.state in (*ENDED, "skipped", "upstream_failed")]
        at_work = ", ".join(task.name for task in tasks if task.state == "running")
        report(len(over), len(tasks), at_work or state)

    def _dag(self, dag: str) -> Dag:
        found = self._ask("GET", f"dags/{quote(dag, safe='')}", missing=True)
        if found is None:
            raise self._unknown(dag)
        return _dag(found)

    def _switch(self, dag: str, *, on: bool) -> None:
        until = time.monotonic() + SECONDS_TO_BE_READ
        path = f"dags/{quote(dag, safe='')}"
        while self._ask("PATCH", path, json={"is_paused": not on}, missing=True) is None:
            if time.monotonic() > until or self._broken(dag):
                raise self._unknown(dag)
            time.sleep(POLL)

    def _broken(self, dag: str) -> list[ImportProblem]:
        return [problem for problem in self.import_errors() if dag in problem.file]

    def _unknown(self, dag: str) -> UsageError:
        problems = self._broken(dag) or self.import_errors()
        why = "; ".join(f"{problem.file}: {problem.why}" for problem in problems)
        return UsageError(
            "find a DAG", on=f"{dag} in {self.address}",
            why=f"Airflow has not read one of that name{f', and cannot read {why}' if why else ''}",
            next_step="correct the DAG file" if why else "put the DAG's file where that Airflow reads its DAGs",
        )  # fmt: skip

    def _ask(self, method: str, path: str, *, missing: bool = False, **options: Any) -> Any:
        """One call; None for what is not there, where `missing` allows that."""
        if not self._has_token:
            self._log_in()
        answer = self._call(method, f"api/v2/{path}", **options)
        if answer.status_code == 401:  # the token has had its time
            self._log_in()
            answer = self._call(method, f"api/v2/{path}", **options)
        if answer.status_code == 404 and missing:
            return None
        if answer.status_code in (401, 403):
            raise SettingsError(
                f"{method} {path}", on=self.address, why=f"the user {self._airflow.user} is not allowed to do that",
                next_step="give the user a role that may edit DAGs and variables and start runs",
            )  # fmt: skip
        if not answer.ok:
            failed = self._failed(f"{method} {path}", f"status {answer.status_code}: {_detail(answer)}")
            failed.transient = answer.status_code >= 500 or answer.status_code in (408, 429)
            raise failed
        try:
            return answer.json() if answer.content else {}
        except ValueError:
            raise self._failed(f"{method} {path}", "its answer is no JSON") from None

    def _log_in(self) -> None:
        password = self._airflow.password
        body = {"username": self._airflow.user, "password": password.get_secret_value() if password else ""}
        self._session.headers.pop("Authorization", None)
        answer = self._call("POST", "auth/token", json=body)
        if answer.status_code in (401, 403, 422):
            raise SettingsError(
                "log in to Airflow", on=self.address, why=f"it refuses the password of the user {self._airflow.user}",
                next_step="correct user and password of the profile's section airflow",
            )  # fmt: skip
        try:
            token = answer.json()["access_token"]
        except (ValueError, KeyError, TypeError):
            raise self._failed("log in to Airflow", f"status {answer.status_code}, and no token") from None
        self._session.headers["Authorization"] = f"Bearer {token}"
        self._has_token = True

    def _call(self, method: str, path: str, **options: Any) -> requests.Response:
        try:
            return self._session.request(
                method, f"{self._airflow.url.rstrip('/')}/{path}", timeout=self._timeout, allow_redirects=False,
                headers={"Accept": "application/json"}, **options,
            )  # fmt: skip
        except requests.RequestException as error:
            failed = self._failed(f"{method} {path}", _why(error, self._timeout[1]))
            failed.transient = not isinstance(error, _NEVER_PASSING)
            raise failed from None

    def _failed(self, doing: str, why: str) -> ConnectionFailed:
        start = "runbook local up --airflow" if self._airflow.engine == "local" else "see that it is up"
        return ConnectionFailed(doing, on=self.address, why=why, next_step=f"{start}, then run it again")


def _dag(found: Mapping[str, Any]) -> Dag:
    tags = tuple(sorted(str(tag["name"]) for tag in found.get("tags") or ()))
    return Dag(str(found["dag_id"]), not found["is_paused"], tags, bool(found.get("has_import_errors")))


def _run(dag: str, run_id: str) -> str:
    return f"dags/{quote(dag, safe='')}/dagRuns/{quote(run_id, safe='')}"


def _lines(entry: Any) -> Sequence[str]:
    """Of one entry of a log: its event, and the exception that it may carry."""
    if not isinstance(entry, dict):
        return str(entry).splitlines()
    lines = str(entry.get("event", "")).splitlines()
    for error in entry.get("error_detail") or ():
        lines.append(f"{error.get('exc_type')}: {error.get('exc_value')}")
    return lines


def telling(log: Sequence[str]) -> list[str]:
    """What a task itself said: without what Airflow folds away in its pages, unless it broke off in there."""
    text = _FOLDED.sub("", "\n".join(log))
    return [line for line in text.splitlines() if line.strip() and not line.startswith("::")]


def _last_line(text: object) -> str:
    lines = redact(str(text or "")).strip().splitlines()
    return lines[-1].strip() if lines else "no reason was given"


def _detail(answer: requests.Response) -> str:
    try:
        detail = answer.json().get("detail")
    except (ValueError, AttributeError):
        detail = answer.text
    return redact(str(detail))[:300]


_NEVER_PASSING = (requests.exceptions.SSLError, requests.exceptions.InvalidURL, requests.exceptions.InvalidProxyURL)


def _why(error: requests.RequestException, seconds: float) -> str:
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate is not one to trust, or it speaks no TLS: correct url, or name the authority (REQUESTS_CA_BUNDLE)"
    if isinstance(error, requests.Timeout):
        return f"no answer within {seconds:g} s"
    if isinstance(error, requests.exceptions.ChunkedEncodingError | requests.exceptions.ContentDecodingError):
        return "it broke off in the middle of its answer"
    if isinstance(error, requests.ConnectionError):
        return "nobody answers there, or it hung up"
    return type(error).__name__
