"""The HTTP side: fakesnow's application with our sessions, a password, and results that keep their values."""

from __future__ import annotations

import json
import logging
import secrets
import shutil
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import duckdb
import fakesnow.arrow
import fakesnow.converter
import fakesnow.cursor
import fakesnow.dialect
import fakesnow.server
import fakesnow.transforms
import pyarrow as pa
import uvicorn
from fakesnow import info_schema
from fakesnow.transforms import show
from snowflake.connector.errors import ProgrammingError
from sqlglot import exp
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from helpers.local.standin import (
    access,
    databases,
    effects,
    errors,
    expressions,
    first_account,
    logins,
    macros,
    names,
    wire,
)
from helpers.local.standin.account import PUBLIC, Account
from helpers.local.standin.code import own_digest
from helpers.local.standin.endings import NO_LONGER_EXISTS, Endings, body_of, session_id, token_of
from helpers.local.standin.names import VERSION, Name, unquoted
from helpers.local.standin.parameters import LEVELS
from helpers.local.standin.session import Session
from helpers.local.standin.stage import Stage
from helpers.local.standin.statements import Connection, parsed

_ASKED = ("databaseName", "schemaName", "roleName", "warehouse")

ROWS_IN_AN_ANSWER = 50_000
"""The rest of a result lies in files of as many rows each, which the connector reads one by one, as from the real service."""

_rest: ContextVar[list[pa.Table]] = ContextVar("rest")
"""What did not go into the answer that is being made."""


@dataclass(frozen=True)
class Configuration:
    """What a server is started with; `user` is the administrator's, `product_user` the product's."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    product_user: str
    product_password: str = field(repr=False)
    role: str
    warehouse: str
    integration: str
    folder: str
    database: str
    schema: str

    @property
    def names(self) -> first_account.Names:
        return first_account.Names(
            self.user, self.password, self.product_user, self.product_password, self.role, self.warehouse, self.integration,
            self.database,
        )  # fmt: skip


def serve(configuration: Configuration) -> None:
    """Attach what is in the data folder and answer until we are told to end."""
    folder = Path(configuration.folder)
    duck = _opened(folder)
    for file in sorted(folder.glob("*.db")):
        databases.attach(duck, folder, unquote(file.stem))
    if not names.attached(duck, configuration.database):
        databases.attach(duck, folder, configuration.database)
    place = f"{names.identifier(configuration.database)}.{names.identifier(configuration.schema)}"
    duck.execute(f"CREATE SCHEMA IF NOT EXISTS {place}")
    account = first_account.opened(duck, folder, configuration.names)
    _cure_fakesnow()
    logins.LOGINS.exists = account.users.__contains__
    stages: dict[Name, Stage] = {}
    results, own = folder / "results", own_digest()
    shutil.rmtree(results, ignore_errors=True)
    endings = Endings(fakesnow.server.sessions, configuration.password, results)
    answer = _query(f"http://{configuration.host}:{configuration.port}/results", endings)
    routes = {
        "/session/v1/login-request": Route(
            "/session/v1/login-request", _login(account, duck, folder, stages, endings), methods=["POST"]
        ),
        "/session": Route("/session", _end_session(endings), methods=["POST"]),
        "/session/heartbeat": Route("/session/heartbeat", _heartbeat(endings), methods=["POST"]),
        "/queries/v1/query-request": Route("/queries/v1/query-request", endings.answering(answer), methods=["POST"]),
    }
    application = fakesnow.server.app
    application.debug = False
    application.router.routes = [
        *(routes.get(getattr(route, "path", ""), route) for route in application.router.routes),
        Route("/stand-in", lambda _: JSONResponse({"stand-in": "Snowflake", "version": VERSION, "code": own})),
        Route("/stand-in/endings", endings.demand, methods=["POST"]),
        Route("/session/token-request", endings.renew, methods=["POST"]),
        Mount("/results", StaticFiles(directory=results, check_dir=False)),
        Route("/telemetry/send", lambda _: JSONResponse({"success": True}), methods=["POST"]),
    ]
    # fakesnow logs statements, and a CREATE STAGE holds a secret.
    logging.getLogger("fakesnow.server").setLevel(logging.CRITICAL)
    uvicorn.run(
        application,
        host=configuration.host,
        port=configuration.port,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=3,  # a client that keeps its connection open does not keep us
    )
    for session in fakesnow.server.sessions.values():
        session.duck.close()
    duck.close()


def _opened(folder: Path) -> duckdb.DuckDBPyConnection:
    """An instance in memory to which the databases' files are attached; fakesnow's own tables are remade each time."""
    duck = duckdb.connect(
        ":memory:",
        config={"lambda_syntax": "ENABLE_SINGLE_ARROW", "temp_directory": str(folder / "spill"), "memory_limit": "50%"},
    )
    duck.execute("ATTACH ':memory:' AS _fs_global")
    duck.execute(info_schema.fs_global_creation_sql())
    duck.execute(show.fs_global_creation_sql())
    duck.execute("SET GLOBAL TimeZone = 'UTC'")
    macros.install_macros(duck)
    return duck


def _cure_fakesnow() -> None:
    """The places where fakesnow itself computes or reports something else than the real service."""
    expressions.parse_plainly()
    transforms: Any = fakesnow.transforms
    transforms.numeric_agg_implicit_cast = _unchanged  # it summed NUMBER as DOUBLE
    transforms.integer_precision = expressions.whole_numbers
    transforms.to_timestamp = expressions.timestamps_from_integers
    transforms.trim_cast_varchar = expressions.trim_of_a_text
    transforms.current_version = _current_version
    for module in (fakesnow.dialect, fakesnow.cursor):
        module.syntax_error = errors.syntax_error
    server: Any = fakesnow.server
    server.parse_one = parsed  # of statements that sqlglot does not know
    server.from_binding = wire.bound_value
    server.describe_as_rowtype = wire.row_type
    server.to_sf = wire.to_wire
    server.to_ipc = _first_rows


def _unchanged(node: Any) -> Any:
    return node


def _current_version(node: Any) -> Any:
    """Says what it is, so that nobody takes a result from here for one from there."""
    return exp.Literal.string(VERSION) if isinstance(node, exp.CurrentVersion) else node


def _login(
    account: Account,
    duck: duckdb.DuckDBPyConnection,
    folder: Path,
    stages: dict[Name, Stage],
    endings: Endings,
) -> Callable[[Request], Any]:
    """Logging in as `logins` has it; fakesnow lets anybody in and creates the database that they name."""

    async def login(request: Request) -> JSONResponse:
        data = (await body_of(request))["data"]
        try:
            user = logins.LOGINS.check(data, account.admits)
        except logins.Refused as refused:
            said = {"nextAction": None, "authnMethod": str(data.get("AUTHENTICATOR") or "USERNAME_PASSWORD")}
            return JSONResponse({"data": said, "code": refused.code, "message": refused.message, "success": False})
        asked = {key: unquoted(name) for key in _ASKED if (name := request.query_params.get(key))}
        own = account.users[user]
        role = asked.get("roleName", own.get("DEFAULT_ROLE", PUBLIC))
        if role not in account.reach(*account.roles_of(user)):
            return JSONResponse(
                {
                    "data": {"nextAction": None},
                    "code": "390189",
                    "message": f"Role '{role}' specified in the connect string is not granted to this user. Contact your local "
                    "system administrator, or attempt to login with another role, e.g. PUBLIC.",
                    "success": False,
                }
            )
        parameters = data.get("SESSION_PARAMETERS") or {}
        inherited = LEVELS.inherited(str(data.get("LOGIN_NAME", "")).upper())
        usual = inherited.get("AUTOCOMMIT", ("true", ""))[0]
        autocommit = str(parameters.get("AUTOCOMMIT", usual)).lower() != "false"
        session = Connection(
            duck.cursor(), folder, stages, autocommit=autocommit, given=parameters, account=account, user=user, role=role,
            warehouse=asked.get("warehouse", own.get("DEFAULT_WAREHOUSE")),
        )  # fmt: skip
        session.inherited = inherited
        effects.follow(session)
        access.enter(session, asked.get("databaseName"), asked.get("schemaName"))
        token = secrets.token_urlsafe(32)
        fakesnow.server.sessions[token] = session
        return JSONResponse({"data": _session_data(session, token, endings.opened(token), autocommit), "success": True})

    return login


def _session_data(session: Session, token: str, master: str, autocommit: bool) -> dict[str, Any]:
    return {
        "token": token,
        "masterToken": master,
        "validityInSeconds": 3600,
        "masterValidityInSeconds": 14400,
        "serverVersion": VERSION,
        "sessionId": session_id(session),
        "parameters": [
            {"name": "AUTOCOMMIT", "value": autocommit},
            {"name": "TIMEZONE", "value": session.parameter("TIMEZONE")},
            {"name": "CLIENT_SESSION_KEEP_ALIVE_HEARTBEAT_FREQUENCY", "value": 3600},
            {"name": "CLIENT_STAGE_ARRAY_BINDING_THRESHOLD", "value": 0},
            {"name": "CLIENT_TELEMETRY_ENABLED", "value": False},
        ],
        "sessionInfo": {
            "databaseName": session.database,
            "schemaName": session.schema,
            "warehouseName": session.warehouse,
            "roleName": session.role,
        },
    }


def _end_session(endings: Endings) -> Callable[[Request], Any]:
    """A closed connection gives up its transaction, its temporary tables and its results at once."""

    async def end(request: Request) -> JSONResponse:
        token = token_of(request)
        if (refusal := endings.refused(token)) is not None:
            return refusal
        if request.query_params.get("delete"):
            endings.end(token, NO_LONGER_EXISTS)
        return JSONResponse({"data": None, "code": None, "message": None, "success": True})

    return end


def _heartbeat(endings: Endings) -> Callable[[Request], Any]:
    async def heartbeat(request: Request) -> JSONResponse:
        refusal = endings.refused(token_of(request))
        return refusal or JSONResponse({"data": None, "code": None, "message": None, "success": True})

    return heartbeat


def _query(url: str, endings: Endings) -> Callable[[Request], Any]:
    """A query's answer, and the files with what has no room in it.

    Args:
        url: below which the files are read; their names cannot be guessed.
        endings: which knows a session's folder for them, and removes it when the session ends.
    """

    async def query(request: Request) -> Any:
        rest: list[pa.Table] = []
        folder = endings.results_of(endings.sessions[token_of(request)])
        _rest.set(rest)
        try:
            response = await fakesnow.server.query_request(request)
        except ProgrammingError as error:
            return _refused(error)
        except Exception as error:
            # An answer too: the connector repeats a request that ends in an HTTP 500 for minutes.
            return _fault(f"{type(error).__name__}: {error}")
        if response.status_code >= 500:
            return _fault(json.loads(response.body)["message"])
        if not rest:
            return response
        answer = json.loads(response.body)
        answer["data"]["chunks"] = [_kept(table, url, folder) for table in rest]
        answer["data"]["chunkHeaders"] = {}
        return JSONResponse(answer)

    return query


def _first_rows(table: pa.Table) -> pa.Buffer:
    """The rows that go into the answer, as Arrow's stream; those behind them are left for files."""
    _rest.get().extend(
        table.slice(start, ROWS_IN_AN_ANSWER) for start in range(ROWS_IN_AN_ANSWER, table.num_rows, ROWS_IN_AN_ANSWER)
    )
    return fakesnow.arrow.to_ipc(table.slice(0, ROWS_IN_AN_ANSWER))


def _kept(table: pa.Table, url: str, folder: Path) -> dict[str, Any]:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = folder / secrets.token_urlsafe(32)
    file.write_bytes(fakesnow.arrow.to_ipc(table))
    size = file.stat().st_size
    return {
        "url": f"{url}/{folder.name}/{file.name}",
        "rowCount": table.num_rows,
        "uncompressedSize": size,
        "compressedSize": size,
    }


def _refused(error: ProgrammingError) -> JSONResponse:
    code = f"{error.errno:06d}"
    data = {"errorCode": code, "sqlState": error.sqlstate}
    return JSONResponse({"data": data, "code": code, "message": error.msg, "success": False})


def _fault(why: str) -> JSONResponse:
    message = f"The local stand-in could not do this: {why[:2000]}"
    data = {"errorCode": "000002", "sqlState": "0A000"}
    return JSONResponse({"data": data, "code": "000002", "message": message, "success": False})
