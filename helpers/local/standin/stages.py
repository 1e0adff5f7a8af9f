"""Stages on S3 and COPY INTO of Parquet files.

fakesnow drops a stage's credentials and endpoint, forgets that a file changed, and loads half of a failing COPY. Here a
stage is a client with its own credentials; a COPY is one transaction, which also holds the memory of what it loaded.
Stages live in the server's memory only, so that no secret of theirs reaches a disk: after a restart they are gone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import boto3
import duckdb
import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from snowflake.connector.errors import ProgrammingError
from sqlglot import exp

from helpers.local.standin import tables
from helpers.local.standin.tables import identifier, text

if TYPE_CHECKING:
    from helpers.local.standin.session import Session

SCHEMES = ("s3compat://", "s3://")
NAME = r'(?:"(?:[^"]|"")*"|[A-Za-z_%~][\w$%]*)'
REFERENCE = re.compile(rf"@({NAME}(?:\.{NAME}){{0,2}})(?:/(.*))?$", re.DOTALL)
LOOPBACK = re.compile(r"(https?://)?(127\.[\d.]+|localhost|\[::1\])(:\d+)?/?$")

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
class Stage:
    """Where files are, and the credentials to read them with."""

    scheme: str
    bucket: str
    prefix: str
    endpoint: str | None
    key: str | None
    secret: str | None = field(repr=False)
    token: str | None = field(repr=False)
    format: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str | None:
        """The real service speaks TLS only; plain HTTP is the stand-in's exception, for loopback."""
        if self.endpoint is None:
            return None
        if self.endpoint.startswith(("http://", "https://")):
            return self.endpoint
        return f"{'http' if LOOPBACK.match(self.endpoint) else 'https'}://{self.endpoint}"

    def client(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=self.key or "",
            aws_secret_access_key=self.secret or "",
            aws_session_token=self.token,
            region_name="us-east-1",
            config=Config(
                connect_timeout=5,
                read_timeout=60,
                retries={"total_max_attempts": 2},
                s3={"addressing_style": "path" if self.endpoint else "auto"},
            ),
        )

    def filesystem(self) -> pyarrow.fs.S3FileSystem:
        url = self.url
        return pyarrow.fs.S3FileSystem(
            access_key=self.key or "",
            secret_key=self.secret or "",
            session_token=self.token,
            region="us-east-1",
            endpoint_override=url.split("://", 1)[1] if url else None,
            scheme=url.split("://", 1)[0] if url else "https",
        )


@dataclass(frozen=True)
class StagedFile:
    key: str
    etag: str


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
                    raise tables.unsupported(f"ON_ERROR = {value.name}")
            elif name not in ("PURGE", "SIZE_LIMIT") or (isinstance(value, exp.Boolean) and value.this):
                raise tables.unsupported(f"COPY INTO with {name}")
        return cls(**found)


def create_stage(session: Session, statement: exp.Create) -> str:
    name = session.qualified(statement.this)
    if name in session.stages and not statement.args.get("replace"):
        if statement.args.get("exists"):
            return f"{name[2]} already exists, statement succeeded."
        raise tables.already_exists(name[2])
    url, endpoint, credentials, form = None, None, {}, {}
    properties = statement.args.get("properties")
    for one in properties.expressions if properties else []:
        if isinstance(one, exp.CredentialsProperty):
            credentials = properties_of(one.expressions)
        elif isinstance(one, exp.FileFormatProperty):
            form = properties_of(one.expressions)
        elif type(one) is not exp.Property:
            continue  # TEMPORARY is a property without a name
        elif one.this.name.upper() == "URL":
            url = one.args["value"].name
        elif one.this.name.upper() == "ENDPOINT":
            endpoint = one.args["value"].name
    if url is None:
        raise tables.unsupported("internal stages")
    scheme = next((scheme for scheme in SCHEMES if url.startswith(scheme)), None)
    if scheme is None:
        raise ProgrammingError(msg=f"SQL compilation error:\ninvalid URL prefix found in: '{url}'", errno=1011)
    bucket, _, prefix = url[len(scheme) :].partition("/")
    session.stages[name] = Stage(
        scheme,
        bucket,
        prefix,
        endpoint,
        credentials.get("AWS_KEY_ID"),
        credentials.get("AWS_SECRET_KEY"),
        credentials.get("AWS_TOKEN"),
        form,
    )
    return f"Stage area {name[2]} successfully created."


def drop_stage(session: Session, statement: exp.Drop) -> str:
    name = session.qualified(statement.args["tables"][0])
    if session.stages.pop(name, None) is None and not statement.args.get("exists"):
        raise tables.missing("Stage", name[2])
    return f"{name[2]} successfully dropped."


def list_query(session: Session, reference: str) -> str:
    stage, prefix = _resolve(session, reference)
    rows = [
        f"({text(stage.scheme + stage.bucket + '/' + file.key)}, {text(file.etag)})" for file in _listed(stage, prefix)
    ]
    values = ", ".join(rows) or "(null, null)"
    return f"select * from (values {values}) as files(name, md5) where name is not null"


def copy_into(session: Session, statement: exp.Copy) -> str:
    """Load what was not loaded before; returns the query of the result set. The caller holds the transaction."""
    options = Options.read(statement)
    source = statement.args["files"][0]
    select = source.this if isinstance(source.this, exp.Select) else None
    reference = select.args["from_"].this.this.name if select is not None else source.this.name
    stage, prefix = _resolve(session, reference)
    form = {**stage.format, **options.format}
    if form.get("TYPE", "CSV").upper() != "PARQUET":
        raise tables.unsupported(f"COPY INTO of {form.get('TYPE', 'CSV')} files")
    target = statement.this
    table = target.this if isinstance(target, exp.Schema) else target
    named = [column.name for column in target.expressions] if isinstance(target, exp.Schema) else None
    database, _, _ = session.qualified(table)
    place = session.place(*session.qualified(table))
    columns = _columns(session, table)
    owner = tables.table_id(session, table)
    temporary = session.qualified(table) in session.temporary
    loads = "temp.main._loads" if temporary else f"{identifier(database)}._fs_information_schema._loads"
    results: list[tuple[Any, ...]] = []
    filesystem = stage.filesystem()
    for file in _chosen(stage, prefix, options):
        url = f"{stage.scheme}{stage.bucket}/{file.key}"
        known = tables.first(
            session.duck, f"select 1 from {loads} where table_id = ? and file = ? and etag = ?", [owner, url, file.etag]
        )
        if known and not options.force:
            if options.files:
                results.append((url, "LOAD_SKIPPED", 0, 0, None, 1, "File was loaded before.", None, None, None))
            continue
        with _opened(filesystem, f"{stage.bucket}/{file.key}") as parquet:
            arrow = parquet.schema_arrow
            chosen = _select_list(session, select, arrow, columns, named, options.match, file)
            rows = _insert(session, parquet, place, chosen)
        session.duck.execute(f"delete from {loads} where table_id = ? and file = ?", [owner, url])
        session.duck.execute(
            f"insert into {loads}(table_id, file, etag, rows) values (?, ?, ?, ?)", [owner, url, file.etag, rows]
        )
        results.append((url, "LOADED", rows, rows, 1, 0, None, None, None, None))
    return _result_query(results)


def properties_of(expressions: list[exp.Expression]) -> dict[str, str]:
    found = {}
    for one in expressions:
        if isinstance(one, exp.Property):
            value = one.args["value"]
            found[one.this.name.upper()] = str(value.this) if isinstance(value, exp.Boolean) else value.name
    return found


def _resolve(session: Session, reference: str) -> tuple[Stage, str]:
    match = REFERENCE.match(reference)
    if match is None:
        raise tables.unsupported(f"the location {reference!r}: only a named stage")
    parts = [_name(part) for part in re.findall(NAME, match.group(1))]
    kinds = zip(("this", "db", "catalog"), reversed(parts), strict=False)
    name = session.qualified(exp.Table(**{kind: exp.to_identifier(part, quoted=True) for kind, part in kinds}))
    if name not in session.stages:
        raise tables.missing("Stage", ".".join(name))
    stage = session.stages[name]
    inner = match.group(2) or ""
    return stage, stage.prefix + ("/" if inner and stage.prefix and not stage.prefix.endswith("/") else "") + inner


def _name(part: str) -> str:
    return part[1:-1].replace('""', '"') if part.startswith('"') else part.upper()


def _chosen(stage: Stage, prefix: str, options: Options) -> list[StagedFile]:
    """The files to load: those named, each of which has to be there, or those listed that match the pattern."""
    if not options.files:
        files = _listed(stage, prefix)
        if options.pattern is not None:
            pattern = re.compile(options.pattern)
            files = [file for file in files if pattern.fullmatch(file.key)]
        return files
    client, chosen = stage.client(), []
    for name in options.files:
        try:
            etag = client.head_object(Bucket=stage.bucket, Key=prefix + name)["ETag"]
        except (ClientError, BotoCoreError) as error:
            raise _no_access(error, f"{stage.scheme}{stage.bucket}/{prefix}{name}") from error
        chosen.append(StagedFile(prefix + name, etag))
    return chosen


def _listed(stage: Stage, prefix: str) -> list[StagedFile]:
    try:
        pages = stage.client().get_paginator("list_objects_v2").paginate(Bucket=stage.bucket, Prefix=prefix)
        found = [StagedFile(one["Key"], one["ETag"]) for page in pages for one in page.get("Contents", [])]
    except (ClientError, BotoCoreError) as error:
        raise _no_access(error, f"{stage.scheme}{stage.bucket}/{prefix}") from error
    return [file for file in found if not file.key.endswith("/")]


def _no_access(error: Exception, url: str) -> ProgrammingError:
    code = error.response["Error"]["Code"] if isinstance(error, ClientError) else type(error).__name__
    if code in ("404", "NoSuchKey"):
        return ProgrammingError(
            msg=f"Remote file '{url}' was not found. If you are running a copy command, please make sure files are "
            "not deleted when they are being loaded.",
            errno=100016,
            sqlstate="22000",
        )
    return ProgrammingError(
        msg=f"Failure using stage area '{url}'. Cause: [Access Denied ({code})]", errno=91003, sqlstate="42501"
    )


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
) -> list[tuple[str, str]]:
    """Pairs of a target column and the expression that fills it from the file."""
    if select is not None:
        expressions = [_of_file(one.unalias(), file) for one in select.expressions]
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
    return [
        (name, _converted(in_file[fold(name)], stored)) for name, stored in columns.items() if fold(name) in in_file
    ]


def _of_file(expression: exp.Expression, file: StagedFile) -> exp.Expression:
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


def _converted(column: Any, stored: str) -> str:
    """A column of the file as its target stores it; times become raw integers for a NUMBER, as they do over there."""
    name, type_ = identifier(column.name), column.type
    if isinstance(type_, pa.BaseExtensionType):
        type_ = type_.storage_type
    if stored.startswith("DECIMAL") and pa.types.is_timestamp(type_):
        return f"epoch_us({name})"
    if stored.startswith("DECIMAL") and pa.types.is_time(type_):
        return f"date_diff('microsecond', time '00:00:00', {name})"
    binary = pa.types.is_binary(type_) or pa.types.is_large_binary(type_) or pa.types.is_fixed_size_binary(type_)
    if stored == "VARCHAR" and binary:
        return f"hex({name})"
    if stored == "BLOB" and not binary:
        return f"unhex({name}::varchar)"
    return f"{name}::{stored}"


def _insert(session: Session, parquet: Any, place: str, chosen: list[tuple[str, str]]) -> int:
    schema = pa.schema([pa.field(one.name, _storage(one.type)) for one in parquet.schema_arrow])

    def batches() -> Iterator[Any]:
        for batch in parquet.iter_batches(batch_size=1 << 17):
            yield pa.RecordBatch.from_arrays([_stored(one) for one in batch.columns], schema=schema)

    reader = pa.RecordBatchReader.from_batches(schema, batches())
    names = ", ".join(identifier(name) for name, _ in chosen)
    values = ", ".join(expression for _, expression in chosen)
    session.duck.register("_file", reader)
    try:
        row = tables.first(session.duck, f"insert into {place} ({names}) select {values} from _file")
    except BaseException:
        with suppress(duckdb.Error):  # the transaction is broken and takes the registration with it
            session.duck.unregister("_file")
        raise
    session.duck.unregister("_file")
    return int(row[0]) if row else 0


def _storage(type_: Any) -> Any:
    return type_.storage_type if isinstance(type_, pa.BaseExtensionType) else type_


def _stored(array: Any) -> Any:
    return array.storage if isinstance(array, pa.ExtensionArray) else array


def _result_query(results: list[tuple[Any, ...]]) -> str:
    if not results:
        return "select 'Copy executed with 0 files processed.' as \"status\""

    def literal(value: Any) -> str:
        return "null" if value is None else str(value) if isinstance(value, int) else text(value)

    rows = ", ".join(f"({', '.join(literal(value) for value in row)})" for row in results)
    names = ", ".join(identifier(name) for name in RESULT)
    return f"select * from (values {rows}) as results({names})"
