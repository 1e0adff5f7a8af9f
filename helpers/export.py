"""PostgreSQL → Parquet on S3: every table in one snapshot, and a manifest that is written last.

Each part of a table (a leaf partition, or a range of its pages) is one SELECT inside PostgreSQL and one Parquet file.
The files lie below the export's own name, and the manifest is one object replaced at once, so a reader sees the
former export or this one, never a mixture.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

import duckdb

from helpers import manifest as manifests
from helpers import snapshot as snapshots
from helpers.catalog import Catalog, Heap, Table, measured, read_catalog
from helpers.census import ColumnCensus, TableCensus, take_census
from helpers.errors import MigrationError, SourceRefused, StageError
from helpers.manifest import Manifest, StagedColumn, StagedFile, StagedTable
from helpers.platforms import duck, postgres
from helpers.platforms.postgres import identifier, literal
from helpers.platforms.s3 import Bucket, HashedUploads
from helpers.progress import Progress
from helpers.redaction import redact
from helpers.settings import Export, Settings, Source
from helpers.snapshot import Snapshot

PAGES_PER_PART = 65_536
"""512 MiB of heap: about 100 to 250 MB of Parquet, the size that Snowflake's documentation asks for
(https://docs.snowflake.com/en/user-guide/data-load-considerations-prepare)."""


@dataclass(frozen=True)
class Part:
    """What becomes one file: the rows of one heap between two pages, or of the whole heap."""

    table: Table
    heap: Heap
    number: int
    first_page: int = 0
    end_page: int | None = None

    @property
    def condition(self) -> str:
        """The part's WHERE clause, empty for a whole heap."""
        low = f"ctid >= '({self.first_page},0)'" if self.first_page else ""
        high = f"ctid < '({self.end_page},0)'" if self.end_page is not None else ""
        return f" WHERE {' AND '.join(filter(None, (low, high)))}" if low or high else ""


@dataclass(frozen=True)
class ExportPlan:
    """What an export will read and write; nothing was written to make it."""

    name: str
    source: Source
    options: Export
    bucket: Bucket
    snapshot: Snapshot
    catalog: Catalog
    census: tuple[TableCensus, ...]
    server_version: str

    @property
    def rows(self) -> int:
        """Rows in the snapshot."""
        return sum(table.rows for table in self.census)

    @property
    def refused(self) -> tuple[str, ...]:
        """Everything that stands in the way, a sentence each."""
        return tuple(sentence for table in self.census for sentence in table.refused)


@contextmanager
def planned(
    settings: Settings,
    *,
    location: str | None = None,
    tables: tuple[str, ...] = (),
    snapshot: Snapshot | None = None,
    progress: Progress | None = None,
) -> Iterator[ExportPlan]:
    """Takes a snapshot, reads the catalog and counts every value in it; the snapshot is released with the block.

    Args:
        settings: the profile.
        location: `s3://bucket/prefix/`; without it, the profile's stage.
        tables: globs over table names; empty means all.
        snapshot: one that somebody else holds; it is then not released.
        progress: told about each table counted.

    Raises:
        ConnectionFailed, SourceRefused, UsageError: see `snapshot.take`, `snapshot.lock` and `read_catalog`.
    """
    bucket = Bucket.open(settings.stage, location)
    own = None if snapshot else snapshots.take(settings.source)
    try:
        yield plan_export(settings, bucket, snapshot or own, tables, progress)  # type: ignore[arg-type]
    finally:
        if own:
            snapshots.release(own)


def plan_export(
    settings: Settings,
    bucket: Bucket,
    snapshot: Snapshot,
    tables: tuple[str, ...] = (),
    progress: Progress | None = None,
) -> ExportPlan:
    """Reads the catalog and takes the census of every table in `snapshot`."""
    with snapshots.reading(settings.source, snapshot.name) as cursor:
        catalog = read_catalog(cursor, schemas=settings.source.schemas, tables=tables)
        snapshots.lock(cursor, catalog.tables, timeout_seconds=settings.export.lock_timeout_seconds)
        catalog = measured(cursor, catalog)
        census: list[TableCensus] = []
        expected = sum(table.estimated_rows for table in catalog.tables)
        for table in catalog.tables:
            if progress:
                progress(sum(done.rows for done in census), expected, f"census of {table}")
            census.append(take_census(cursor, table, settings.export.policies))
        cursor.execute("SHOW server_version")
        (version,) = cursor.fetchone()
    name = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ-") + uuid4().hex[:6]
    return ExportPlan(name, settings.source, settings.export, bucket, snapshot, catalog, tuple(census), version)


def export(plan: ExportPlan, *, progress: Progress | None = None) -> Manifest:
    """Writes the files of `plan`, then its manifest, then removes what the former manifest named.

    Raises:
        SourceRefused: a column cannot be moved without loss; nothing was written.
        StageError: the bucket did not take a file; the former export still stands.
    """
    if plan.refused:
        raise SourceRefused(
            "export without loss",
            on=postgres.address(plan.source),
            why="; ".join(plan.refused),
            next_step="correct the values, or name a policy in migration.toml, such as [profiles.NAME.export.policies] "
            '"schema.table.column" = "text"',
        )
    former = manifests.read_if_any(plan.bucket)
    files = _write_parts(plan, progress)
    manifest = Manifest(
        export=plan.name,
        exported_at=datetime.now(UTC).isoformat(timespec="seconds"),
        source=postgres.address(plan.source),
        server_version=plan.server_version,
        snapshot=plan.snapshot.name,
        lsn=plan.snapshot.lsn,
        lsn_exact=plan.snapshot.exact,
        engine=f"duckdb {duckdb.__version__}",
        tables=tuple(_staged(census, files[census.table.oid]) for census in plan.census),
        left_out=plan.catalog.left_out,
    )
    plan.bucket.write(manifests.NAME, manifest.model_dump_json(indent=1).encode())
    if former:
        plan.bucket.remove([file.path for table in former.tables for file in table.files])
    return manifest


def parts(table: Table) -> list[Part]:
    """Cuts a table into its files: a part for each heap, and several for one that is larger than a file should be."""
    found: list[Part] = []
    for heap in table.heaps:
        count = max(1, -(-heap.pages // PAGES_PER_PART))
        cuts = [index * heap.pages // count for index in range(count)]
        # The last range is open: pages may have been added since they were counted, with rows of this snapshot.
        for low, high in zip(cuts, [*cuts[1:], None], strict=True):
            found.append(Part(table, heap, len(found) + 1, low, high))
    return found


def _write_parts(plan: ExportPlan, progress: Progress | None) -> dict[int, list[StagedFile]]:
    files: dict[int, list[tuple[int, StagedFile]]] = {census.table.oid: [] for census in plan.census}
    work = [(census, part) for census in plan.census for part in parts(census.table)]
    work.sort(key=lambda item: -item[1].heap.pages)
    done, total, told = 0, plan.rows, threading.Lock()
    workers = _Workers(plan)

    def write(census: TableCensus, part: Part) -> None:
        nonlocal done
        file = workers.write(census, part)
        with told:
            done += file.rows
            files[census.table.oid].append((part.number, file))
            if progress:
                progress(done, total, f"{census.table} part {part.number}")

    with snapshots.reading(plan.source, plan.snapshot.name) as cursor:
        snapshots.lock(cursor, (c.table for c in plan.census), timeout_seconds=plan.options.lock_timeout_seconds)
        with ThreadPoolExecutor(plan.options.workers) as pool:
            futures = [pool.submit(write, *item) for item in work]
            try:
                finished, _ = wait(futures, return_when=FIRST_EXCEPTION)
                for future in finished:
                    future.result()
            except BaseException:
                for future in futures:
                    future.cancel()
                workers.interrupt()
                raise
            finally:
                workers.close()
    return {oid: [file for _, file in sorted(found, key=lambda pair: pair[0])] for oid, found in files.items()}


class _Workers:
    """One DuckDB connection a thread, all in the plan's snapshot."""

    def __init__(self, plan: ExportPlan) -> None:
        self._plan = plan
        self._uploads = HashedUploads(plan.bucket)
        self._local = threading.local()
        self._all: list[duckdb.DuckDBPyConnection] = []

    def write(self, census: TableCensus, part: Part) -> StagedFile:
        path = f"{self._plan.name}/{manifests.folder(part.table.schema, part.table.name)}/{part.number:05d}.parquet"
        columns = census.columns
        names = manifests.fields([c.column.name for c in columns])
        reads = ", ".join(
            f"{c.mapping.read.format(c=identifier(c.column.name))} AS c{n}" for n, c in enumerate(columns)
        )
        casts = ", ".join(f"CAST(c{n} AS {c.mapping.parquet}) AS {identifier(names[n])}" for n, c in enumerate(columns))
        rows = f"SELECT {reads} FROM ONLY {identifier(part.heap.schema, part.heap.name)}{part.condition}"
        try:
            answer = self._connection().execute(
                f"COPY (SELECT {casts} FROM postgres_query('source', {literal(rows)})) TO 'upload://{path}' "
                "(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 122880)"
            )
            count = answer.fetchall()[0][0]
        except duckdb.Error as error:
            raise self._failed(part, str(error)) from None
        except OSError as error:
            raise self._failed(part, str(error)) from None
        upload = self._uploads.uploads[path]
        return StagedFile(path=path, rows=count, bytes=upload.bytes, sha256=upload.sha256)

    def interrupt(self) -> None:
        """Ends what runs: a cancelled export leaves no query behind on the source."""
        for connection in self._all:
            connection.interrupt()

    def close(self) -> None:
        for connection in self._all:
            connection.close()

    def _connection(self) -> duckdb.DuckDBPyConnection:
        if not hasattr(self._local, "connection"):
            connection = duck.connect(memory="512MB", threads=1)
            self._all.append(connection)
            connection.register_filesystem(self._uploads)
            duck.attach_postgres(connection, self._plan.source)
            duck.read_snapshot(connection, self._plan.snapshot.name)
            self._local.connection = connection
        connection_of_thread: duckdb.DuckDBPyConnection = self._local.connection
        return connection_of_thread

    def _failed(self, part: Part, why: str) -> MigrationError:
        return StageError(
            "export",
            on=f"{part.table} part {part.number} to {self._plan.bucket.location}",
            why=redact(why),
            next_step="the former export is untouched; mend the cause (space and permissions of the bucket, "
            "the source's log) and run the same command again",
        )


def _staged(census: TableCensus, files: list[StagedFile]) -> StagedTable:
    table, rows = census.table, sum(file.rows for file in files)
    if rows != census.rows:
        raise StageError(
            "export every row",
            on=str(table),
            why=f"the snapshot has {census.rows:,} rows, {rows:,} were staged",
            next_step="report this: it must not happen within one snapshot",
        )
    names = manifests.fields([c.column.name for c in census.columns])
    return StagedTable(
        schema_=table.schema,
        name=table.name,
        key=table.key,
        comment=table.comment,
        columns=tuple(_staged_column(c, field) for c, field in zip(census.columns, names, strict=True)),
        files=tuple(files),
        rows=rows,
    )


def _staged_column(census: ColumnCensus, field: str) -> StagedColumn:
    column, mapping = census.column, census.mapping
    return StagedColumn(
        name=column.name,
        field=field,
        postgres=column.type.sql,
        parquet=mapping.parquet,
        snowflake=mapping.snowflake,
        comparison=mapping.comparison,
        read=mapping.read,
        not_null=column.not_null,
        comment=column.comment,
        encoding="re-encoded" if mapping.note else "exact",
        note=mapping.note,
        policy=census.policy,
        touched=census.touched,
    )
