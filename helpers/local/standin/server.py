"""The HTTP side: fakesnow's application with our sessions, a password, and results that keep their values."""

from __future__ import annotations

import datetime
import gzip
import hashlib
import hmac
import json
import logging
import secrets
import shutil
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import duckdb
import fakesnow.arrow
import fakesnow.converter
import fakesnow.server
import fakesnow.transforms
import pyarrow as pa
import pyarrow.compute as pc
import uvicorn
from fakesnow import info_schema
from fakesnow.transforms import show
from sqlglot import exp
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from helpers.local.standin import attached, databases, declared, expressions, names
from helpers.local.standin.names import VERSION, Name, unquoted
from helpers.local.standin.session import Session
from helpers.local.standin.stage import Stage
from helpers.local.standin.statements import Connection

ROWS_IN_AN_ANSWER = 50_000
"""The rest of a result lies in files of as many rows each, which the connector reads one by one, as from the real service."""

_rest: ContextVar[list[pa.Table]] = ContextVar("rest")
"""What did not go into the answer that is being made."""

LARGEST_INT64, SMALLEST_INT64 = (1 << 63) - 1, -(1 << 63)

ROW_TYPES = {
    **dict.fromkeys(expressions.INTEGERS, "fixed"),
    "DECIMAL": "fixed",
    "DOUBLE": "real",
    "FLOAT": "real",
    "BOOLEAN": "boolean",
    "VARCHAR": "text",
    "UUID": "text",
    '"NULL"': "text",
    "NULL": "text",
    "JSON": "variant",
    "BLOB": "binary",
    "DATE": "date",
    "TIME": "time",
    "TIMESTAMP": "timestamp_ntz",
    "TIMESTAMP_NS": "timestamp_ntz",
    "TIMESTAMP WITH TIME ZONE": "timestamp_tz",
}


@dataclass(frozen=True)
class Configuration:
    host: str
    port: int
    user: str
    password: str = field(repr=False)
    folder: str
    database: str
    schema: str


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
    _cure_fakesnow()
    stages: dict[Name, Stage] = {}
    results = folder / "results"
    shutil.rmtree(results, ignore_errors=True)
    routes = {
        "/session/v1/login-request": Route(
            "/session/v1/login-request", _login(configuration, duck, folder, stages), methods=["POST"]
        ),
        "/session": Route("/session", _end_session(results), methods=["POST"]),
        "/queries/v1/query-request": Route(
            "/queries/v1/query-request",
            _query(f"http://{configuration.host}:{configuration.port}/results", results),
            methods=["POST"],
        ),
    }
    application = fakesnow.server.app
    application.debug = False
    application.router.routes = [
        *(routes.get(getattr(route, "path", ""), route) for route in application.router.routes),
        Route("/stand-in", lambda _: JSONResponse({"stand-in": "Snowflake", "version": VERSION})),
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
    expressions.install_macros(duck)
    return duck


def _cure_fakesnow() -> None:
    """The places where fakesnow itself computes or reports something else than the real service."""
    expressions.parse_plainly()
    transforms: Any = fakesnow.transforms
    transforms.numeric_agg_implicit_cast = _unchanged  # it summed NUMBER as DOUBLE
    transforms.integer_precision = expressions.whole_numbers
    transforms.to_timestamp = expressions.timestamps_from_integers
    transforms.current_version = _current_version
    server: Any = fakesnow.server
    server.parse_one = attached.parsed  # of statements that sqlglot does not know
    server.from_binding = bound_value
    server.describe_as_rowtype = row_type
    server.to_sf = to_wire
    server.to_ipc = _first_rows


def _unchanged(node: Any) -> Any:
    return node


def _current_version(node: Any) -> Any:
    """Says what it is, so that nobody takes a result from here for one from there."""
    return exp.Literal.string(VERSION) if isinstance(node, exp.CurrentVersion) else node


def _login(
    configuration: Configuration, duck: duckdb.DuckDBPyConnection, folder: Path, stages: dict[Name, Stage]
) -> Callable[[Request], Any]:
    """Logging in with the password; fakesnow lets anybody in and creates the database that they name."""

    async def login(request: Request) -> JSONResponse:
        body = await request.body()
        if request.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        data = json.loads(body)["data"]
        given = str(data.get("PASSWORD", "")).encode()
        right = str(data.get("LOGIN_NAME", "")).upper() == configuration.user.upper()
        if not (hmac.compare_digest(given, configuration.password.encode()) and right):
            return JSONResponse(
                {
                    "data": {"nextAction": None, "authnMethod": "USERNAME_PASSWORD"},
                    "code": "390100",
                    "message": "Incorrect username or password was specified.",
                    "success": False,
                }
            )
        database, schema = (
            unquoted(name) if (name := request.query_params.get(key)) else None
            for key in ("databaseName", "schemaName")
        )
        parameters = data.get("SESSION_PARAMETERS") or {}
        autocommit = str(parameters.get("AUTOCOMMIT", True)).lower() != "false"
        session = Connection(
            duck.cursor(), folder, stages, database=database, schema=schema, autocommit=autocommit, given=parameters
        )
        token = secrets.token_urlsafe(32)
        fakesnow.server.sessions[token] = session
        return JSONResponse({"data": _session_data(session, token, autocommit), "success": True})

    return login


def _session_data(session: Session, token: str, autocommit: bool) -> dict[str, Any]:
    return {
        "token": token,
        "masterToken": token,
        "validityInSeconds": 3600,
        "masterValidityInSeconds": 14400,
        "serverVersion": VERSION,
        "sessionId": id(session),
        "parameters": [
            {"name": "AUTOCOMMIT", "value": autocommit},
            {"name": "TIMEZONE", "value": "UTC"},
            {"name": "CLIENT_SESSION_KEEP_ALIVE_HEARTBEAT_FREQUENCY", "value": 3600},
            {"name": "CLIENT_STAGE_ARRAY_BINDING_THRESHOLD", "value": 0},
            {"name": "CLIENT_TELEMETRY_ENABLED", "value": False},
        ],
        "sessionInfo": {
            "databaseName": session.database,
            "schemaName": session.schema,
            "warehouseName": "LOCAL",
            "roleName": "ACCOUNTADMIN",
        },
    }


def _end_session(results: Path) -> Callable[[Request], Any]:
    """A closed connection gives up its transaction, its temporary tables and its results at once."""

    async def end(request: Request) -> JSONResponse:
        session = fakesnow.server.sessions.get(_token(request))
        if session is None:
            return JSONResponse(
                {
                    "data": None,
                    "code": "390104",
                    "message": "User must login again to access the service.",
                    "success": False,
                },
                status_code=401,
            )
        if request.query_params.get("delete"):
            del fakesnow.server.sessions[_token(request)]
            session.duck.close()
            shutil.rmtree(_results_folder(request, results), ignore_errors=True)
        return JSONResponse({"data": None, "code": None, "message": None, "success": True})

    return end


def _query(url: str, results: Path) -> Callable[[Request], Any]:
    """A query's answer, and the files with what has no room in it.

    Args:
        url: below which the files are read; their names cannot be guessed.
        results: their folder; a session's are removed when it ends.
    """

    async def query(request: Request) -> Any:
        rest: list[pa.Table] = []
        _rest.set(rest)
        try:
            response = await fakesnow.server.query_request(request)
        except Exception as error:
            # An answer too: the connector repeats a request that ends in an HTTP 500 for minutes.
            return _fault(f"{type(error).__name__}: {error}")
        if response.status_code >= 500:
            return _fault(json.loads(response.body)["message"])
        if not rest:
            return response
        answer = json.loads(response.body)
        answer["data"]["chunks"] = [_kept(table, url, _results_folder(request, results)) for table in rest]
        answer["data"]["chunkHeaders"] = {}
        return JSONResponse(answer)

    return query


def _first_rows(table: pa.Table) -> pa.Buffer:
    """The rows that go into the answer, as Arrow's stream; those behind them are left for files."""
    _rest.get().extend(
        table.slice(start, ROWS_IN_AN_ANSWER) for start in range(ROWS_IN_AN_ANSWER, table.num_rows, ROWS_IN_AN_ANSWER)
    )
    return fakesnow.arrow.to_ipc(table.slice(0, ROWS_IN_AN_ANSWER))


def _results_folder(request: Request, results: Path) -> Path:
    """The folder of a session's results; who knows its name knew the session's token."""
    return results / hashlib.sha256(_token(request).encode()).hexdigest()


def _token(request: Request) -> str:
    return str(request.headers.get("Authorization", ""))[17:-1]


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


def _fault(why: str) -> JSONResponse:
    message = f"The local stand-in could not do this: {why[:2000]}"
    data = {"errorCode": "000002", "sqlState": "0A000"}
    return JSONResponse({"data": data, "code": "000002", "message": message, "success": False})


def bound_value(binding: dict[str, Any]) -> Any:
    """A bound parameter, exact: NULL, decimals and microseconds did not survive fakesnow's floats."""
    kind, value = binding["type"], binding["value"]
    if value is None:
        return None
    if kind == "FIXED":
        return int(value) if value.lstrip("-").isdigit() else Decimal(value)
    if kind == "REAL":
        return float(value)
    if kind == "TIME":
        return (datetime.datetime.min + datetime.timedelta(microseconds=int(value) // 1000)).time()
    if kind in ("TIMESTAMP_NTZ", "TIMESTAMP_LTZ"):
        moment = datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=int(value) // 1000)
        return moment if kind == "TIMESTAMP_NTZ" else moment.replace(tzinfo=datetime.UTC)
    if kind == "DATE":
        return datetime.date(1970, 1, 1) + datetime.timedelta(milliseconds=int(value))
    return fakesnow.converter.from_binding(binding)


def row_type(described: list[tuple[Any, ...]]) -> list[dict[str, Any]]:
    """The columns of a result; times have six digits, which is what DuckDB keeps."""
    return [_column_info(column[0], column[1]) for column in described]


def _column_info(name: str, type_: str) -> dict[str, Any]:
    kind = ROW_TYPES.get("DECIMAL" if type_.startswith("DECIMAL") else type_)
    if kind is None:
        kind = "variant"
    info: dict[str, Any] = {
        "name": name,
        "database": "",
        "schema": "",
        "table": "",
        "nullable": True,
        "type": kind,
        "byteLength": None,
        "length": None,
        "scale": None,
        "precision": None,
        "collation": None,
    }
    if kind == "fixed":
        digits = type_[8:-1].split(",") if type_.startswith("DECIMAL") else ["38", "0"]
        info.update(precision=int(digits[0]), scale=int(digits[1]))
    elif kind == "text":
        info.update(byteLength=declared.LONGEST_TEXT, length=declared.LONGEST_TEXT)
    elif kind == "binary":
        info.update(byteLength=declared.LONGEST_BINARY, length=declared.LONGEST_BINARY)
    elif kind.startswith("time"):
        info.update(precision=0, scale=6)
    return info


def to_wire(table: pa.Table, columns: list[dict[str, Any]]) -> pa.Table:
    """A result as the connector expects it: times as integers, whole numbers as int64 where they fit."""
    arrays, fields = [], []
    for column, info in zip(table.columns, columns, strict=True):
        array = _wire_array(column, info["type"])
        metadata = {
            "logicalType": info["type"].upper(),
            "precision": str(info["precision"] or 38),
            "scale": str(info["scale"] or 0),
            "charLength": str(info["length"] or 0),
        }
        arrays.append(array)
        fields.append(pa.field(info["name"], array.type, metadata=metadata))
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def _wire_array(column: Any, kind: str) -> Any:
    type_ = column.type
    if kind == "timestamp_tz":
        return _zoned(column.cast(pa.timestamp("us", "UTC")))
    if kind == "timestamp_ntz":
        return column.cast(pa.timestamp("us")).cast(pa.int64())
    if kind == "time":
        return column.cast(pa.time64("us")).cast(pa.int64())
    if kind == "fixed" and (pa.types.is_unsigned_integer(type_) or (pa.types.is_decimal(type_) and type_.scale == 0)):
        limits = pc.min_max(column)
        low, high = limits["min"].as_py(), limits["max"].as_py()
        if low is None or (low >= SMALLEST_INT64 and high <= LARGEST_INT64):
            return column.cast(pa.int64())
        return column.cast(pa.decimal128(38, 0))
    if pa.types.is_null(type_):
        return column.cast(pa.string())
    if kind == "variant" and not pa.types.is_string(type_):
        return column.cast(pa.string())
    return column


def _zoned(column: Any) -> Any:
    """TIMESTAMP_TZ travels as second, nanosecond and offset; NULL stays NULL (it came back as 1970-01-01)."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    array = pa.concat_arrays(array.chunks) if isinstance(array, pa.ChunkedArray) else array
    nulls = pc.is_null(array)
    whole = pc.fill_null(array.cast(pa.int64()), 0)
    seconds = pc.cast(pc.floor_temporal(pc.cast(whole, pa.timestamp("us")), unit="second"), pa.int64())
    fraction = pc.multiply(pc.subtract(whole, seconds), 1000).cast(pa.int32())
    epoch = pc.divide(seconds, 1_000_000)
    offset = pa.array([1440], pa.int32()).take(pa.array([0] * len(array), pa.int32()))
    return pa.StructArray.from_arrays([epoch, fraction, offset], ["epoch", "fraction", "timezone"], mask=nulls)
