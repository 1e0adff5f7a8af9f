"""The threads of an export: each has one DuckDB connection in the plan's snapshot and writes part after part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import duckdb

from helpers import digests
from helpers.errors import SourceFailed, StageError
from helpers.export.state import PartState, TableState
from helpers.model.catalog import Table
from helpers.model.manifest import StagedColumn, StagedFile
from helpers.platforms import postgres
from helpers.platforms.faults import duck as faults
from helpers.platforms.postgres import literal
from helpers.platforms.s3 import Bucket
from helpers.platforms.uploads import HashedUploads
from helpers.settings import Export, Source
from helpers.source.readers import Readers

ROW_GROUP = "ROW_GROUP_SIZE 122880, ROW_GROUP_SIZE_BYTES '64MB'"
"""DuckDB's default number of rows, and a bound for rows with large values."""


class Workers:
    """What the threads of one export share.

    Args:
        export: the export's name, under which its sessions show in `pg_stat_activity`.
    """

    def __init__(
        self, source: Source, options: Export, snapshot: str, bucket: Bucket, tables: Sequence[Table], export: str
    ) -> None:
        self._address = postgres.address(source)
        self._bucket = bucket
        self._export = export
        self._uploads = HashedUploads(bucket)
        self._readers = Readers(
            source,
            options,
            snapshot,
            tables,
            application=f"migration-runbooks {export}",
            prepare=lambda connection: connection.register_filesystem(self._uploads),
        )

    def submit(self, table: TableState, part: PartState) -> Future[StagedFile]:
        """Has one part read and its file written by the next thread that is free.

        Raises:
            ConnectionFailed, SourceFailed, StageError: from the future: the source broke off or the bucket did not take the file.
        """
        return self._readers.pool.submit(self._write, table, part)

    def _write(self, table: TableState, part: PartState) -> StagedFile:
        path = f"{self._export}/{part.name}"
        rows = f"{digests.select(table.columns)} FROM {part.range.rows(table.condition)}"
        metadata = ", ".join(f"{literal(f'postgres:{c.field}')}: {literal(c.postgres)}" for c in table.columns)
        try:
            answer = self._readers.connection().execute(
                f"COPY (SELECT {digests.casts(table.columns)} FROM postgres_query('source', {literal(rows)})) "
                f"TO {literal(f'upload://{path}')} (FORMAT parquet, COMPRESSION zstd, {ROW_GROUP}, KV_METADATA {{{metadata}}}, RETURN_STATS)"
            )
            _, count, *_, statistics, _ = answer.fetchall()[0]
        except (duckdb.Error, OSError) as error:
            where = f"{table.schema_}.{table.name}, {part.name}, from {self._address} to {self._bucket.location}"
            cure = "the former export is untouched; mend the cause and run the same command again: with --run it goes on where it was"
            of_source = faults.is_of_the_source(error)
            if of_source:
                self._readers.renew()  # the server ends a transaction in which something failed
            kind = SourceFailed if of_source else StageError
            raise faults.told(error, "export", on=where, kind=kind, cure=cure) from None
        upload = self._uploads.uploads[path]
        nulls = null_counts([c.field for c in table.columns], statistics)
        return StagedFile(path=path, rows=count, bytes=upload.bytes, sha256=upload.sha256, nulls=nulls)

    def rows_under_way(self, cursor: Any) -> int:
        """Rows that the source has sent for files that are not finished, from `pg_stat_progress_copy`."""
        cursor.execute("SELECT pg_stat_clear_snapshot()")
        cursor.execute(
            "SELECT coalesce(sum(p.tuples_processed), 0)::int8 FROM pg_stat_progress_copy p "
            "JOIN pg_stat_activity a USING (pid) WHERE a.application_name = %s",
            (self._readers.application,),
        )
        return int(cursor.fetchone()[0])

    def interrupt(self) -> None:
        """Ends what runs: a cancelled export leaves no query behind on the source."""
        self._readers.interrupt()

    def close(self) -> None:
        """Ends the workers' transactions."""
        self._readers.close()


def null_counts(
    fields: Sequence[str], statistics: Mapping[str, Mapping[str, str]]
) -> tuple[tuple[str, int], ...] | None:
    """The fields that have NULLs, each with how many, from what DuckDB says of the file that it wrote, by quoted name
    (https://duckdb.org/docs/stable/sql/statements/copy#copy--to-options); None where it does not say it of every column.
    """
    counted = {field: statistics.get(postgres.identifier(field), {}).get("null_count") for field in fields}
    if None in counted.values():
        return None
    return tuple((field, int(count)) for field, count in counted.items() if count and int(count))


def is_unchanged(
    source: Source, options: Export, snapshot: str, table: Table, columns: Sequence[StagedColumn], finished: TableState
) -> bool:
    """Whether `table` in `snapshot` has the rows that an earlier export has finished.

    Raises:
        ConnectionFailed, SourceRefused: the source cannot be read, or the table was rewritten since the snapshot.
    """
    assert finished.digest is not None
    if finished.digest.engine != digests.ENGINES["native"]:
        return False
    try:
        with Readers(source, options, snapshot, [table]) as readers:
            found = digests.sum_source(readers, table, columns, finished.key, finished.digest.segments, "native")
    except duckdb.ConversionException:
        return False
    except duckdb.Error as error:
        where = f"{table} of {postgres.address(source)}"
        raise faults.told(error, "read the source", on=where, kind=SourceFailed) from None
    return found.fingerprint == finished.digest.fingerprint
