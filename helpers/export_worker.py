"""The threads of an export: each has one DuckDB connection in the plan's snapshot and writes part after part."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from typing import Any

import duckdb

from helpers import snapshot as snapshots
from helpers.catalog import Table
from helpers.errors import ConnectionFailed, StageError
from helpers.export_state import PartState, TableState
from helpers.manifest import Digest, StagedColumn, StagedFile
from helpers.platforms import duck, postgres
from helpers.platforms.postgres import identifier, literal
from helpers.platforms.s3 import Bucket, HashedUploads
from helpers.redaction import redact
from helpers.settings import Export, Source

MEMORY_PER_WORKER = "384MB"
"""Of DuckDB; libpq and the upload's parts come on top. Two workers stay well under the 1.5 GB of the design."""

ROW_GROUP = "ROW_GROUP_SIZE 122880, ROW_GROUP_SIZE_BYTES '64MB'"
"""DuckDB's default number of rows, and a bound for rows with large values."""

ROWS_PER_SEGMENT = 4096
MOST_SEGMENTS = 1024

DIGITS_PARSED_QUICKLY = 18
"""DuckDB keeps a decimal of so many digits in 64 bits; measured in benchmarks/export.py."""


class Workers:
    """What the threads of one export share.

    Args:
        tables: locked by every worker at its start, so that it never queues for a lock behind an ALTER that waits for
            this export to end.
        export: the export's name, under which its sessions show in `pg_stat_activity`.
    """

    def __init__(
        self, source: Source, options: Export, snapshot: str, bucket: Bucket, tables: Sequence[Table], export: str
    ) -> None:
        self._source = source
        self._options = options
        self._snapshot = snapshot
        self._bucket = bucket
        self._tables = tables
        self._export = export
        self._uploads = HashedUploads(bucket)
        self._local = threading.local()
        self._all: list[duckdb.DuckDBPyConnection] = []
        self._stopped = False

    def write(self, table: TableState, part: PartState) -> StagedFile:
        """Reads one part and writes its file.

        Raises:
            StageError: the source broke off or the bucket did not take the file.
        """
        path = f"{self._export}/{part.name}"
        rows = f"{_select(table.columns)} FROM {part.relation}{part.condition}"
        metadata = ", ".join(f"{literal(f'postgres:{c.field}')}: {literal(c.postgres)}" for c in table.columns)
        try:
            answer = self._connection().execute(
                f"COPY (SELECT {_casts(table.columns)} FROM postgres_query('source', {literal(rows)})) "
                f"TO 'upload://{path}' (FORMAT parquet, COMPRESSION zstd, {ROW_GROUP}, KV_METADATA {{{metadata}}})"
            )
            count = answer.fetchall()[0][0]
        except (duckdb.Error, OSError) as error:
            raise StageError(
                "export",
                on=f"{table.schema_}.{table.name}, {part.name}, to {self._bucket.location}",
                why=redact(str(error)),
                next_step="the former export is untouched; mend the cause (space and permissions of the bucket, the "
                "source's log) and run the same command again: with --run it goes on where it was",
            ) from None
        upload = self._uploads.uploads[path]
        return StagedFile(path=path, rows=count, bytes=upload.bytes, sha256=upload.sha256)

    def rows_under_way(self, cursor: Any) -> int:
        """Rows that the source has sent for files that are not finished, from `pg_stat_progress_copy`."""
        cursor.execute("SELECT pg_stat_clear_snapshot()")
        cursor.execute(
            "SELECT coalesce(sum(p.tuples_processed), 0)::int8 FROM pg_stat_progress_copy p "
            "JOIN pg_stat_activity a USING (pid) WHERE a.application_name = %s",
            (self._application,),
        )
        return int(cursor.fetchone()[0])

    def interrupt(self) -> None:
        """Ends what runs: a cancelled export leaves no query behind on the source."""
        self._stopped = True
        for connection in self._all:
            connection.interrupt()

    def close(self) -> None:
        """Ends the workers' transactions."""
        for connection in self._all:
            duck.close(connection)

    @property
    def _application(self) -> str:
        return f"migration-runbooks {self._export}"

    def _connection(self) -> duckdb.DuckDBPyConnection:
        if self._stopped:
            raise duckdb.InterruptException("the export was stopped")
        if not hasattr(self._local, "connection"):
            connection = duck.connect(memory=MEMORY_PER_WORKER, threads=1)
            self._all.append(connection)
            connection.register_filesystem(self._uploads)
            limits = {
                "statement_timeout": f"{int(self._options.statement_timeout_seconds * 1000)}ms",
                "lock_timeout": f"{int(self._options.lock_timeout_seconds * 1000)}ms",
            }
            duck.attach_postgres(connection, self._source, application=self._application, settings=limits)
            duck.read_snapshot(connection, self._snapshot)
            duck.execute_remotely(connection, "; ".join(snapshots.lock_statement(table) for table in self._tables))
            self._local.connection = connection
        connection_of_thread: duckdb.DuckDBPyConnection = self._local.connection
        return connection_of_thread


def digest_of_files(bucket: Bucket, table: TableState) -> Digest:
    """Reads a table's files back from the stage and sums up their rows.

    What is hashed is what the bucket holds, not what this process believes to have sent.
    """
    files = [part.file.path for part in table.parts if part.file]
    urls = ", ".join(literal(f"s3://{bucket.location.bucket}/{bucket.location.key(path)}") for path in files)
    names = [identifier(column.field) for column in table.columns]
    segments = min(MOST_SEGMENTS, 1 + table.rows // ROWS_PER_SEGMENT)
    with duck.connect() as connection:
        duck.enable_s3(connection, bucket.stage)
        return _digest(connection, f"read_parquet([{urls}])", names, _key_names(table.columns, table.key), segments)


def digest_of_source(
    source: Source, snapshot: str, table: Table, columns: Sequence[StagedColumn], key: Sequence[str], segments: int
) -> Digest:
    """The digest that `digest_of_files` would give for an export of `table` in `snapshot`.

    Raises:
        SourceRefused: the table was rewritten since the snapshot.
    """
    connection = duck.connect()
    with snapshots.reading(source, snapshot) as cursor:
        snapshots.lock(cursor, [table], timeout_seconds=10)
        try:
            duck.attach_postgres(connection, source)
            duck.read_snapshot(connection, snapshot)
            rows = f"{_select(columns)} FROM {table.sql}"
            staged = f"(SELECT {_casts(columns)} FROM postgres_query('source', {literal(rows)}))"
            names = [identifier(column.field) for column in columns]
            return _digest(connection, staged, names, _key_names(columns, key), segments)
        except duckdb.Error as error:
            raise ConnectionFailed(
                "read the source",
                on=f"{table} of {postgres.address(source)}",
                why=redact(str(error)),
                next_step="check the server's log, then run the same command again",
            ) from None
        finally:
            duck.close(connection)


def _select(columns: Sequence[StagedColumn]) -> str:
    return "SELECT " + ", ".join(f"{c.read.format(c=identifier(c.source))} AS c{n}" for n, c in enumerate(columns))


def _casts(columns: Sequence[StagedColumn]) -> str:
    return ", ".join(f"{_cast(f'c{n}', c.parquet)} AS {identifier(c.field)}" for n, c in enumerate(columns))


def _cast(text: str, parquet: str) -> str:
    """From what PostgreSQL sent to the staged type.

    DuckDB parses a decimal of more than 18 digits a hundred times more slowly than an integer, so such a number is read
    as one and scaled; a text without exactly the type's places is an error, never a rounded value.
    """
    wide = re.fullmatch(r"DECIMAL\((\d+),(\d+)\)", parquet)
    if not wide or int(wide[1]) <= DIGITS_PARSED_QUICKLY or wide[2] == "0":
        return f"CAST({text} AS {parquet})"
    places = int(wide[2])
    unit = f"CAST('0.{'1'.rjust(places, '0')}' AS DECIMAL({places},{places}))"
    scaled = f"CAST(CAST(CAST(replace({text}, '.', '') AS HUGEINT) AS DECIMAL(38,0)) * {unit} AS {parquet})"
    return (
        f"CASE WHEN {text} IS NULL THEN NULL WHEN strpos({text}, '.') = length({text}) - {places} THEN {scaled} "
        f"ELSE CAST(error('not a number of {places} places: ' || {text}) AS {parquet}) END"
    )


def _key_names(columns: Sequence[StagedColumn], key: Sequence[str]) -> list[str]:
    return [identifier(c.field) for name in key for c in columns if c.name == name]


def _digest(
    connection: duckdb.DuckDBPyConnection, rows: str, names: list[str], key: list[str], segments: int
) -> Digest:
    """DuckDB's own hash is two to three times cheaper than MD5; all staged types are scalars, for which it is sound."""
    found = dict.fromkeys(range(segments), "0:0000000000000000")
    for segment, count, total in connection.execute(
        f"SELECT hash({', '.join(key or names)}) % {segments}, count(*), sum(hash({', '.join(names)})) FROM {rows} GROUP BY 1"
    ).fetchall():
        found[segment] = f"{count}:{int(total) % 2**64:016x}"
    return Digest(engine=f"duckdb {duckdb.__version__} hash()", sums=tuple(found[n] for n in range(segments)))
