"""A local Delta table with another definition, in one commit: pysail has no `ALTER COLUMN` to give one its constraints."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import quote

import duckdb
import pyarrow as pa
from deltalake import DeltaTable, Schema, write_deltalake
from deltalake.exceptions import DeltaError

from helpers.digests import files_of
from helpers.errors import LoadError
from helpers.model.manifest import StagedColumn, StagedTable
from helpers.platforms import duck
from helpers.platforms.delta import Lake, storage_options
from helpers.platforms.faults import duck as faults
from helpers.platforms.postgres import identifier
from helpers.platforms.s3 import Bucket

ROWS_PER_BATCH = 50_000

_ARROW = {
    "BOOLEAN": pa.bool_(), "SMALLINT": pa.int16(), "INTEGER": pa.int32(), "BIGINT": pa.int64(), "FLOAT": pa.float32(),
    "DOUBLE": pa.float64(), "VARCHAR": pa.string(), "BLOB": pa.binary(), "DATE": pa.date32(), "TIMESTAMP": pa.timestamp("us"),
    "TIMESTAMPTZ": pa.timestamp("us", "UTC"),
}  # fmt: skip


def replace(lake: Lake, name: str, staged: StagedTable, stage: Bucket) -> None:
    """Replaces a table's rows and definition by those that are staged.

    Args:
        lake: of the table's schema.
        name: of the table there.
        staged: what it is to hold.
        stage: where its files are.

    Raises:
        LoadError: the files or the table cannot be read or written; the table is as it was.
    """
    schema = pa.schema([_field(column) for column in staged.columns])
    names = ", ".join(f"{identifier(c.field)} AS {identifier(c.name)}" for c in staged.columns)
    options = storage_options(lake.bucket.stage, lake.bucket.location.bucket)
    url = lake.location(name)
    with duck.connect(memory="512MB") as connection:
        duck.enable_s3(connection, stage.stage)
        try:
            query = f"SELECT {names} FROM {files_of(stage, (file.path for file in staged.files))}"
            arriving = connection.execute(query).to_arrow_reader(ROWS_PER_BATCH)
            batches = (pa.RecordBatch.from_arrays(_cast(batch, schema), schema=schema) for batch in arriving)
            reader = pa.RecordBatchReader.from_batches(schema, batches)
            write_deltalake(url, reader, mode="overwrite", schema_mode="overwrite", storage_options=options)
            table = DeltaTable(url, storage_options=options)
            if (table.metadata().description or "") != (staged.comment or ""):
                table.alter.set_table_description(staged.comment or "")
        except (DeltaError, duckdb.Error, pa.ArrowException, OSError, ValueError) as error:
            cure = "the table is as it was before; read the message, then run the same command again"
            raise faults.told(error, f"replace {staged}", on=url, kind=LoadError, cure=cure) from None


def add_columns(lake: Lake, name: str, columns: Sequence[StagedColumn]) -> None:
    """Gives a table more columns, which are NULL in the rows that it has.

    Raises:
        LoadError: the table cannot be read or written; it is as it was.
    """
    url = lake.location(name)
    try:
        table = DeltaTable(url, storage_options=storage_options(lake.bucket.stage, lake.bucket.location.bucket))
        added = pa.schema([_field(column.model_copy(update={"not_null": False})) for column in columns])
        table.alter.add_columns(list(Schema.from_arrow(added).fields))
    except (DeltaError, OSError, ValueError) as error:
        raise faults.told(
            error, f"add columns to {name}", on=url, kind=LoadError, cure="run the same command again"
        ) from None


def as_url(key: str) -> str:
    """An object's key as pysail reads it: percent-encoded; Spark takes a path as it stands
    (https://hadoop.apache.org/docs/stable/api/org/apache/hadoop/fs/Path.html).
    """
    return quote(key)


def _cast(batch: pa.RecordBatch, schema: pa.Schema) -> list[pa.Array]:
    return [column.cast(field.type) for column, field in zip(batch.columns, schema, strict=True)]


def _field(column: StagedColumn) -> pa.Field:
    sized = re.fullmatch(r"DECIMAL\((\d+),(\d+)\)", column.parquet)
    kind = pa.decimal128(int(sized[1]), int(sized[2])) if sized else _ARROW[column.parquet]
    metadata = {"comment": column.comment} if column.comment else None
    return pa.field(column.name, kind, nullable=not column.not_null, metadata=metadata)
