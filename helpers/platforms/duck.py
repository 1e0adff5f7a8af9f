"""DuckDB with the extensions that came from the package index, so that nothing is downloaded at run time."""

from __future__ import annotations

import os
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

import duckdb

from helpers.platforms import pg_session
from helpers.platforms.postgres import address, dsn, literal, refuse_another_server, trusted
from helpers.platforms.postgres import wanted as settings_of
from helpers.platforms.proxies import proxy_for
from helpers.settings import Source, Stage


def connect(*, memory: str = "1GB", threads: int = 2, spill: Path | None = None) -> duckdb.DuckDBPyConnection:
    """A database of our own that spills to disk.

    Args:
        memory: DuckDB's limit, with its unit.
        threads: how many it may use.
        spill: the folder for what does not fit, and for the tables, which then need no memory; without it they are kept in
            memory, and what does not fit goes where DuckDB chooses, beside the working folder.
    """
    connection = duckdb.connect(
        str(spill / "tables.duckdb") if spill else ":memory:",
        config={"allow_unsigned_extensions": "true", "memory_limit": memory, "threads": threads},
    )
    if spill:
        # The tables go with the folder, so that nothing need be written when the connection ends.
        connection.execute(f"SET temp_directory = {literal(str(spill))}; PRAGMA disable_checkpoint_on_shutdown")
    # Rows are identified by their key or their content, never by arrival; giving up the order halves the memory.
    # A staged file is read once, so that keeping it in memory helps nobody.
    # What was freed goes back soon: the process's memory is what people see.
    # Where Python is interactive, DuckDB draws a bar of its own on standard output, which is the answer's.
    connection.execute(
        "SET preserve_insertion_order = false; SET enable_external_file_cache = false; SET TimeZone = 'UTC'; "
        "SET enable_progress_bar = false; SET allocator_flush_threshold = '16MB'"
    )
    return connection


def answers(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether the database still serves; a fault within DuckDB closes all of it."""
    try:
        return connection.execute("SELECT 1").fetchall() == [(1,)]
    except duckdb.Error:
        return False


def attach_postgres(
    connection: duckdb.DuckDBPyConnection,
    source: Source,
    snapshot: str | None = None,
    *,
    application: str = "migration-runbooks reader",
    settings: dict[str, str] | None = None,
) -> None:
    """Attaches a PostgreSQL server read-only, as the database `source`, and begins a transaction that holds the settings.

    Every `postgres_query` until its end is of that transaction; only a scan of a table would open further connections.

    Args:
        snapshot: an exported one, which the transaction is to see; without it, it has one of its own.
        application: the session's name in `pg_stat_activity`.
        settings: server settings for the session.

    Raises:
        duckdb.Error: the server or the snapshot is not to be had.
        SessionRefused: a setting does not hold.
        SourceRefused: another server answers than the one that the source is settled on.
    """
    load(connection, "postgres_scanner")
    connection_string = dsn(source, application=application, settings=settings)
    connection.execute(f"ATTACH {literal(connection_string)} AS source (TYPE postgres, READ_ONLY)")
    connection.execute("BEGIN")
    wanted = {**settings_of(source, settings), "application_name": application}
    first = [f"SET TRANSACTION SNAPSHOT {literal(snapshot)}"] if snapshot else []
    try:
        execute_remotely(connection, pg_session.setting(wanted, first=first))
    except duckdb.Error:
        refuse_another_server(source)
        raise
    found = connection.execute(f"FROM postgres_query('source', {literal(pg_session.READING_BACK)})").fetchall()
    modes = {"transaction_isolation": "repeatable read", "transaction_read_only": "on"}
    pg_session.check(dict(found), {**wanted, **modes}, on=address(source))
    pg_session.check_instance(dict(found), source.instance.started if source.instance else None, on=address(source))


def execute_remotely(connection: duckdb.DuckDBPyConnection, statement: str) -> None:
    """Runs a statement in the attached server's transaction."""
    connection.execute(f"CALL postgres_execute('source', {literal(statement)})")


def close(connection: duckdb.DuckDBPyConnection) -> None:
    """Ends the transaction, then the connection.

    DuckDB's PostgreSQL client ends the process where a transaction is left open on a server that is gone.
    """
    with suppress(duckdb.Error):
        connection.execute("ROLLBACK")
    connection.close()


def enable_s3(connection: duckdb.DuckDBPyConnection, stage: Stage) -> None:
    """Lets the connection read `s3://` with the stage's credentials."""
    load(connection, "httpfs")
    from helpers.platforms.aws_sessions import keys_of  # with boto3 a tenth of a second of every reader's start

    where = stage.endpoint or f"https://s3.{stage.region}.amazonaws.com"
    connection.execute(f"SET http_timeout = {int(stage.answer_timeout_seconds)}")
    # Empty, it would take HTTP_PROXY for an address that NO_PROXY takes out.
    if (proxy := proxy_for(where)) or any(os.environ.get(name) for name in ("HTTP_PROXY", "http_proxy")):
        _set_proxy(connection, proxy)
    if where.startswith("https:") and (authorities := stage.ca_file or trusted("system")) != "system":
        # DuckDB's own default is to trust every certificate.
        connection.execute(
            f"SET ca_cert_file = {literal(str(authorities))}; SET enable_server_cert_verification = true"
        )
    # boto3 finds the keys: DuckDB's own chain needs an extension that is not on the package index.
    keys = keys_of(stage, stage.region)
    said = f"KEY_ID {literal(keys.access_key)}, SECRET {literal(keys.secret_key)}" if keys else "KEY_ID '', SECRET ''"
    if keys and keys.session_token:
        said += f", SESSION_TOKEN {literal(keys.session_token)}"
    scheme, _, host = (stage.endpoint or "").rpartition("://")
    if host:
        said += f", ENDPOINT {literal(host)}, USE_SSL {str(scheme != 'http').lower()}"
    if host or stage.path_style is not None:
        said += f", URL_STYLE '{'path' if stage.addressing == 'path' else 'vhost'}'"
    connection.execute(f"CREATE OR REPLACE SECRET stage (TYPE s3, {said}, REGION {literal(stage.region)})")


def _set_proxy(connection: duckdb.DuckDBPyConnection, proxy: str | None) -> None:
    parts = urlsplit(proxy or "")
    connection.execute(f"SET http_proxy = {literal(f'{parts.hostname}:{parts.port or 80}' if proxy else '')}")
    if parts.username:
        name, word = unquote(parts.username), unquote(parts.password or "")
        connection.execute(f"SET http_proxy_username = {literal(name)}; SET http_proxy_password = {literal(word)}")


def load(connection: duckdb.DuckDBPyConnection, extension: str) -> None:
    """Loads an extension from the package that carries it."""
    package = find_spec(f"duckdb_extension_{extension}")
    if package is None or package.origin is None:
        raise ModuleNotFoundError(
            f"duckdb-extension-{extension.replace('_', '-')} is not installed; see requirements.txt"
        )
    file = next(Path(package.origin).parent.rglob("*.duckdb_extension"))
    connection.execute(f"LOAD {literal(str(file))}")
