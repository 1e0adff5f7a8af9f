"""COPY INTO of Parquet files, and what it remembers of loaded files.

fakesnow forgets that a file changed and loads half of a failing COPY. Here a COPY is one transaction, which also holds the memory of
what it loaded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet
from botocore.exceptions import BotoCoreError, ClientError
from snowflake.connector.errors import ProgrammingError
from sqlglot import exp

from helpers.local.standin import refusals
from helpers.local.standin.names import first, identifier, text, unsupported
from helpers.local.standin.notes import table_id
from helpers.local.standin.parquet_columns import ParquetFormat, storage, stored
from helpers.local.standin.session import Session
from helpers.local.standin.stage import Stage
from helpers.local.standin.stages import StagedFile, listed, no_access, properties_of, resolve

MOST_FILES = 1000
"""In FILES (https://docs.snowflake.com/en/sql-reference/sql/copy-into-table#optional-parameters)."""

RESULT = (
    "file",
    "status",
    "rows_parsed",
    "rows_loaded",
    "error_limit",
    "errors_seen",
    "first_error",
    "first_error_line",
    "first_error_character",
    "first_error_column_name",
)


@dataclass(frozen=True)
class Options:
    """The options of a COPY INTO; what is not known is refused rather than ignored."""

    files: tuple[str, ...] = ()
    pattern: str | None = None
    match: str = "NONE"
    force: bool = False
    format: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, statement: exp.Copy) -> Options:
        found: dict[str, Any] = {}
        for option in statement.args.get("params") or []:
            name, value = option.this.name.upper(), option.expression
            if name == "FILES":
                found["files"] = tuple(literal.name for literal in option.find_all(exp.Literal))
                if len(found["files"]) > MOST_FILES:
                    raise ProgrammingError(
                        msg=f"SQL compilation error:\nThe number of files in FILES, {len(found['files'])}, exceeds {MOST_FILES}.",
                        errno=1008,
                        sqlstate="22023",
                    )
            elif name == "PATTERN":
                found["pattern"] = value.name
            elif name == "MATCH_BY_COLUMN_NAME":
                found["match"] = value.name.upper()
            elif name == "FORCE":
                found["force"] = value is None or (isinstance(value, exp.Boolean) and bool(value.this))
            elif name == "FILE_FORMAT":
                found["format"] = properties_of(option.expressions)
            elif name == "ON_ERROR":
                if value.name.upper() != "ABORT_STATEMENT":
                    raise unsupported(f"ON_ERROR = {value.name}")
            elif name == "ENFORCE_LENGTH":
                if not (isinstance(value, exp.Boolean) and value.this):
                    raise unsupported(f"COPY INTO with {name} = FALSE")
            elif name not in ("PURGE", "SIZE_LIMIT", "RETURN_FAILED_ONLY") or (
                isinstance(value, exp.Boolean) and value.this
            ):
                raise unsupported(f"COPY INTO with {name}")
        return cls(**found)


def copy_into(session: Session, statement: exp.Copy) -> str:
    """Load what was not loaded before; returns the query of the result set. The caller holds the transaction."""
    options = Options.read(statement)
    source = statement.args["files"][0]
    select = source.this if isinstance(source.this, exp.Select) else None
    reference = select.args["from_"].this.this.name if select is not None else source.this.name
    stage, prefix = resolve(session, reference)
    form = {**stage.format, **options.format}
    if form.get("TYPE", "CSV").upper() != "PARQUET":
        raise unsupported(f"COPY INTO of {form.get('TYPE', 'CSV')} files")
    parquet_format = ParquetFormat.read(form)
    target = statement.this
    table = target.this if isinstance(target, exp.Schema) else target
    named = [column.name for column in target.expressions] if isinstance(target, exp.Schema) else None
    database, _, _ = session.qualified(table)
    place = session.place(*session.qualified(table))
    columns = _columns(session, table)
    owner = table_id(session, table)
    temporary = session.qualified(table) in session.temporary
    loads = "temp.main._loads" if temporary else f"{identifier(database)}._fs_information_schema._loads"
    results: list[tuple[Any, ...]] = []
    filesystem = stage.filesystem()
    for file in _chosen(stage, prefix, options):
        url = f"{stage.scheme}{stage.bucket}/{file.key}"
        known = first(
            session.duck,
            f"select 1 from {loads} where table_id = ? and file = ? and etag = ? and loaded_at > now() - interval 64 days",
            [owner, url, file.etag],
        )
        if known and not options.force:
            if options.files:
                results.append((url, "LOAD_SKIPPED", 0, 0, None, 1, "File was loaded before.", None, None, None))
            continue
        with _opened(filesystem, f"{stage.bucket}/{file.key}") as parquet:
            arrow = parquet.schema_arrow
            chosen = _select_list(session, select, arrow, columns, named, options.match, file, parquet_format)
            try:
                rows = _insert(session, parquet, place, chosen)
            except duckdb.Error as error:
                raise refusals.located(session, parquet, file.key, table.name, chosen, error) from None
        session.duck.execute(f"delete from {loads} where table_id = ? and file = ?", [owner, url])
        session.duck.execute(
            f"insert into {loads}(table_id, file, etag, rows) values (?, ?, ?, ?)", [owner, url, file.etag, rows]
        )
        results.append((url, "LOADED", rows, rows, 1, 0, None, None, None, None))
    return _result_query(results)


def _chosen(stage: Stage, prefix: str, options: Options) -> list[StagedFile]:
    """The files to load: those named, each of which has to be there, or those listed that match the pattern."""
    if not options.files:
        files = listed(stage, prefix)
        if options.pattern is not None:
            pattern = re.compile(options.pattern)
            files = [file for file in files if pattern.fullmatch(file.key)]
        return files
    client, chosen = stage.client(), []
    for name in options.files:
        try:
            etag = client.head_object(Bucket=stage.bucket, Key=prefix + name)["ETag"]
        except (ClientError, BotoCoreError) as error:
            raise no_access(error, f"{stage.scheme}{stage.bucket}/{prefix}{name}") from error
        chosen.append(StagedFile(prefix + name, etag))
    return chosen


def _opened(filesystem: pyarrow.fs.S3FileSystem, path: str) -> pyarrow.parquet.ParquetFile:
    try:
        return pyarrow.parquet.ParquetFile(filesystem.open_input_file(path), pre_buffer=True)
    except pa.ArrowInvalid as error:
        raise ProgrammingError(
            msg=f"Error parsing the parquet file: {error} File '{path}'", errno=100184, sqlstate="22000"
        ) from error
    except OSError as error:
        raise ProgrammingError(
            msg=f"Failure using stage area. Cause: [{error}]", errno=91003, sqlstate="42501"
        ) from error


def _columns(session: Session, table: exp.Table) -> dict[str, str]:
    """The target's columns with the type each is stored in, in their order."""
    rows = session.duck.execute(f"describe {session.place(*session.qualified(table))}").fetchall()
    return {row[0]: row[1] for row in rows}


def _select_list(
    session: Session,
    select: exp.Select | None,
    arrow: Any,
    columns: dict[str, str],
    named: list[str] | None,
    match: str,
    file: StagedFile,
    form: ParquetFormat,
) -> list[tuple[str, str]]:
    """Pairs of a target column and the expression that fills it from the file."""
    if select is not None:
        expressions = [_as_file_column(one.unalias(), file) for one in select.expressions]
        return list(zip(named or columns, (session.translated(one) for one in expressions), strict=False))
    if match == "NONE":
        if list(columns.values()) != ["JSON"]:
            raise ProgrammingError(
                msg="SQL compilation error:\nPARQUET file format can produce one and only one column of type variant, "
                "object, or array. Load data into separate columns using the MATCH_BY_COLUMN_NAME copy option or copy "
                "with transformation.",
                errno=2019,
                sqlstate="0A000",
            )
        return [(next(iter(columns)), "to_json(_file)")]
    fold = str.lower if match == "CASE_INSENSITIVE" else str
    in_file = {fold(column.name): column for column in arrow}
    # What the file does not have becomes NULL, not the column's default, and where it has nothing of it each row is one of NULLs.
    return [
        (name, form.matched(in_file[fold(name)], stored) if fold(name) in in_file else f"null::{stored}")
        for name, stored in columns.items()
    ]


def _as_file_column(expression: exp.Expression, file: StagedFile) -> exp.Expression:
    """`$1:"column"` and the metadata columns of a COPY with a transformation."""

    def replaced(node: Any) -> Any:
        if isinstance(node, exp.JSONExtract) and isinstance(node.this, exp.Parameter):
            key = node.expression.find(exp.JSONPathKey)
            return exp.column(exp.to_identifier(key.this, quoted=True))
        if isinstance(node, exp.Column) and node.name.upper() == "METADATA$FILENAME":
            return exp.Literal.string(file.key)
        return node

    made: exp.Expression = expression.copy().transform(replaced)
    return made


def _insert(session: Session, parquet: Any, place: str, chosen: list[tuple[str, str]]) -> int:
    schema = pa.schema([pa.field(one.name, storage(one.type)) for one in parquet.schema_arrow])

    def batches() -> Iterator[Any]:
        for batch in parquet.iter_batches(batch_size=1 << 17):
            yield pa.RecordBatch.from_arrays([stored(one) for one in batch.columns], schema=schema)

    reader = pa.RecordBatchReader.from_batches(schema, batches())
    names = ", ".join(identifier(name) for name, _ in chosen)
    values = ", ".join(expression for _, expression in chosen)
    session.duck.register("_file", reader)
    try:
        row = first(session.duck, f"insert into {place} ({names}) select {values} from _file")
    except BaseException:
        with suppress(duckdb.Error):  # the transaction is broken and takes the registration with it
            session.duck.unregister("_file")
        raise
    session.duck.unregister("_file")
    return int(row[0]) if row else 0


def _result_query(results: list[tuple[Any, ...]]) -> str:
    if not results:
        return "select 'Copy executed with 0 files processed.' as \"status\""

    def literal(value: Any) -> str:
        return "null" if value is None else str(value) if isinstance(value, int) else text(value)

    rows = ", ".join(f"({', '.join(literal(value) for value in row)})" for row in results)
    names = ", ".join(identifier(name) for name in RESULT)
    return f"select * from (values {rows}) as results({names})"
