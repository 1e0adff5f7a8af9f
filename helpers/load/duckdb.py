"""The stage → a DuckDB file, in the schemas and under the names of the target: what dbt builds the marts from where there is no account."""

from __future__ import annotations

from pathlib import Path

from helpers.errors import LoadError
from helpers.model.manifest import Manifest, StagedTable
from helpers.platforms import duck
from helpers.platforms.postgres import identifier, literal
from helpers.platforms.s3 import Bucket
from helpers.progress import Progress


def load(manifest: Manifest, bucket: Bucket, file: Path, schema: str, *, progress: Progress | None = None) -> int:
    """Writes every staged table into a DuckDB file; the tables that are there are replaced, together.

    Args:
        manifest: of the export.
        bucket: where its files are.
        file: made where there is none.
        schema: of the tables that no pattern of the profile puts elsewhere; it and the others are made where there are none.
        progress: told about the rows loaded.

    Returns:
        The rows that the file holds of these tables.

    Raises:
        LoadError: a table holds another number of rows than was staged; the file is as it was.
    """
    done, total = 0, sum(table.rows for table in manifest.tables)
    with duck.connect() as connection:
        duck.enable_s3(connection, bucket.stage)
        connection.execute(f"ATTACH {literal(str(file))} AS marts_file")
        connection.execute("BEGIN")
        for each in dict.fromkeys((schema, *(table.there(schema).schema for table in manifest.tables))):
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS marts_file.{identifier(each)}")
        for table in manifest.tables:
            if progress:
                progress(done, total, f"loading {table}")
            name = f"marts_file.{identifier(*table.there(schema))}"
            connection.execute(f"CREATE OR REPLACE TABLE {name} AS {rows_query(table, bucket)}")
            (rows,) = connection.execute(f"SELECT count(*) FROM {name}").fetchone() or (0,)
            if rows != table.rows:
                connection.execute("ROLLBACK")
                raise LoadError(
                    f"load {table}", on=str(file), why=f"{table.rows:,} rows were staged, and it holds {rows:,}",
                    next_step="verify the stage: runbook verify --target stage",
                )  # fmt: skip
            done += rows
        connection.execute("COMMIT")
        connection.execute("DETACH marts_file")
    return done


def rows_query(table: StagedTable, bucket: Bucket) -> str:
    """The rows of a staged table, under its columns' own names and in their types."""
    columns = ", ".join(f"CAST({identifier(c.field)} AS {c.parquet}) AS {identifier(c.name)}" for c in table.columns)
    files = [literal(str(bucket.location) + file.path) for file in table.files if file.rows]
    if files:
        return f"SELECT {columns} FROM read_parquet([{', '.join(files)}])"
    empty = ", ".join(f"NULL::{c.parquet} AS {identifier(c.name)}" for c in table.columns)
    return f"SELECT {empty} WHERE false"
