"""What only writing tells: an object, and a schema with a table, are made, read and removed again. Phase 00 does it, the doctor never."""

from __future__ import annotations

from collections.abc import Iterator
from secrets import token_bytes, token_hex

from helpers.errors import MigrationError, StageError
from helpers.finding import Finding, failed, note
from helpers.platforms import snowflake
from helpers.platforms.s3 import Bucket
from helpers.platforms.snowflake import identifier
from helpers.settings import Snowflake, Stage

SCRATCH = "RUNBOOK_ACCESS_"
"""How the objects begin that a trial makes and removes again."""


def write_stage(stage: Stage) -> Iterator[Finding]:
    """An object in the stage's bucket is written, read back and deleted."""
    bucket = Bucket.open(stage)
    name, content, on = f"{SCRATCH}{token_hex(8)}", token_bytes(1024), str(bucket.location)
    try:
        bucket.write(name, content)
        try:
            same = bucket.read(name) == content
        finally:
            bucket.remove([name])
        if not same or bucket.read(name) is not None:
            raise _unlike(
                "read and delete an object", on, "what was read is not what was written, or it is still there"
            )
        yield note(on, "an object was written, read back and deleted")
    except MigrationError as error:
        yield failed(on, error)


def make_in_snowflake(target: Snowflake) -> Iterator[Finding]:
    """A schema of its own with a table, since loading makes schemas too; nothing else of the account is touched."""
    on, schema = snowflake.address(target), identifier(target.database, SCRATCH + token_hex(6).upper())
    try:
        with snowflake.connect(target) as session:
            session.execute(f"CREATE SCHEMA {schema}", doing="create a schema")
            try:
                session.execute(f"CREATE TABLE {schema}.T (N NUMBER)", doing="create a table")
                session.execute(f"INSERT INTO {schema}.T VALUES (7)", doing="insert a row")
                (row,) = session.execute(f"SELECT N FROM {schema}.T", doing="read the row")
            finally:
                session.execute(f"DROP SCHEMA IF EXISTS {schema}", doing="drop the schema")
            if int(row["N"]) != 7:
                raise _unlike("read back a row", on, f"7 was written, {row['N']} was read")
        yield note(on, "a schema and a table were made, filled, read and dropped")
    except MigrationError as error:
        yield failed(on, error)


def _unlike(what: str, on: str, why: str) -> MigrationError:
    return StageError(what, on=on, why=why, next_step="find out what blocks the connection to the service")
