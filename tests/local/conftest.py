"""A local stack of the tests' own: nothing of the developer's is touched, and nothing is left behind."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.parquet
import pytest
import snowflake.connector

from helpers.engines.snowflake.copying import FILE_FORMAT
from helpers.local import stack


@pytest.fixture(scope="session")
def local_root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("stack") / "local"
    yield root
    stack.remove(root)


@pytest.fixture(scope="session")
def started(local_root: Path) -> stack.Environment:
    return stack.up(local_root)


@pytest.fixture
def local_environment(started: stack.Environment, local_root: Path) -> stack.Environment:
    """The stack, up: a test before may have killed part of it."""
    return stack.up(local_root)


@pytest.fixture
def connection(local_environment: stack.Environment) -> Iterator[Any]:
    """A connection in a schema of the test's own."""
    with snowflake.connector.connect(**local_environment.snowflake) as connection:
        schema = f"T{uuid.uuid4().hex[:8].upper()}"
        connection.cursor().execute(f'CREATE SCHEMA "STAND_IN"."{schema}"')
        yield connection
        connection.cursor().execute("ROLLBACK")
        connection.cursor().execute(f'DROP SCHEMA "STAND_IN"."{schema}"')


Run = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture
def run(connection: Any) -> Run:
    def execute(statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        cursor = connection.cursor()
        rows: list[tuple[Any, ...]] = cursor.execute(statement, parameters or None).fetchall()
        return rows

    return execute


@pytest.fixture
def put(local_environment: stack.Environment) -> Callable[[str, pa.Table], None]:
    """Write a table to the bucket as Parquet."""
    s3 = local_environment.s3
    client = boto3.client(
        "s3",
        endpoint_url=s3["endpoint"],
        aws_access_key_id=s3["access_key"],
        aws_secret_access_key=s3["secret_key"],
        region_name="us-east-1",
    )

    def write(key: str, table: pa.Table) -> None:
        sink = pa.BufferOutputStream()
        pyarrow.parquet.write_table(table, sink)
        client.put_object(Bucket=s3["bucket"], Key=key, Body=sink.getvalue().to_pybytes())

    return write


@pytest.fixture
def create_stage(local_environment: stack.Environment, run: Run) -> Callable[..., None]:
    """Make a stage exactly as the loader does."""
    s3 = local_environment.s3

    loaders = " ".join(f"{option}={value}" for option, value in FILE_FORMAT.items())

    def create(
        name: str, prefix: str, *, secret: str | None = None, scheme: str = "s3compat", form: str = loaders
    ) -> None:
        run(
            f"CREATE OR REPLACE TEMPORARY STAGE \"{name}\" URL='{scheme}://{s3['bucket']}/{prefix}' "
            f"ENDPOINT='{s3['endpoint'].removeprefix('http://')}' "
            f"CREDENTIALS=(AWS_KEY_ID='{s3['access_key']}' AWS_SECRET_KEY='{secret or s3['secret_key']}') "
            f"FILE_FORMAT=({form})"
        )

    return create


@pytest.fixture
def stage(create_stage: Callable[..., None]) -> tuple[str, str]:
    """A stage's name, and the prefix in the bucket that it stands for."""
    prefix = f"some prefix/{uuid.uuid4().hex}/"
    create_stage("x", prefix)
    return "x", prefix
