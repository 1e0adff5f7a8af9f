"""Tries once everything that the phases will do on S3, Snowflake and Databricks, and undoes it."""

from __future__ import annotations

from collections.abc import Iterator
from secrets import token_bytes, token_hex
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from helpers.errors import MigrationError, StageError
from helpers.finding import Finding, Severity, failed, note, stop, warning
from helpers.platforms import aws, snowflake, spark
from helpers.platforms.s3 import Bucket
from helpers.platforms.snowflake import identifier
from helpers.redaction import redact
from helpers.settings import Aws, Compliance, Databricks, Settings, Snowflake, Stage

SCRATCH = "RUNBOOK_ACCESS_"
"""How the objects begin that a check makes and removes again."""


def try_stage(settings: Settings, *, write: bool) -> Iterator[Finding]:
    """The stage's bucket: an object is written, read back and deleted; then what protects the bucket.

    Args:
        write: whether to write; without it the bucket is only listed.
    """
    stage, asked = settings.stage, settings.values.compliance or Compliance()
    bucket = Bucket.open(stage)
    try:
        if write:
            yield note(str(bucket.location), _written(bucket))
        else:
            bucket.sizes(SCRATCH)
            yield note(str(bucket.location), "can be listed; nothing was written")
    except MigrationError as error:
        yield failed(str(bucket.location), error)
        return
    yield from _look_at_versions(bucket, asked)
    yield from _look_at_encryption(bucket, asked)
    yield from _look_at_region(stage, asked)


def try_account(account: Aws | None) -> Iterator[Finding]:
    """Whose credentials the infrastructure would be made with."""
    if account is None:
        fix = "add [profiles.X.aws] before phase 10"
        yield warning("AWS", "the profile names no account for the infrastructure", fix)
    elif account.engine == "moto":
        yield note(aws.address(account), "it takes any credentials, so there is nothing to try")
    else:
        try:
            with aws.told(account, "ask who we are", on="STS"):
                answer = aws.client(account, "sts").get_caller_identity()
            yield note(aws.address(account), f"answers as {answer['Arn']}")
        except MigrationError as error:
            yield failed(aws.address(account), error)


def try_snowflake(target: Snowflake, *, write: bool, stand_in: bool) -> Iterator[Finding]:
    """The Snowflake account: who we are, and a schema with a table made, filled, read and dropped.

    Args:
        target: the account.
        write: whether to make anything; without it we only connect.
        stand_in: whether the profile lives on the local stack.
    """
    on = snowflake.address(target)
    try:
        with snowflake.connect(target) as session:
            (who,) = session.execute(
                "SELECT CURRENT_VERSION() AS VERSION, CURRENT_USER() AS USER_NAME, CURRENT_ROLE() AS ROLE_NAME",
                doing="ask who we are",
            )
            yield note(on, f"version {who['VERSION']}, as {who['USER_NAME']}, role {who['ROLE_NAME']}")
            if target.role and str(who["ROLE_NAME"]).upper() != target.role.upper():
                fix = f"GRANT ROLE {target.role} TO USER {target.user}"
                yield stop(on, f"the role is {who['ROLE_NAME']}, and the profile names {target.role}", fix)
            if write:
                yield note(on, _made(session, target))
    except MigrationError as error:
        yield failed(on, error)
        return
    if stand_in:
        what = "this is fakesnow, a stand-in: it has no roles and no warehouses, so their rights are not proven"
        fix = "run this phase with a profile of the real account"
        yield warning(on, what, fix)
    elif not target.warehouse:
        yield warning(on, "the profile names no warehouse", "name one, or give the user a default")


def try_databricks(target: Databricks) -> Iterator[Finding]:
    """The Spark Connect server: a session is opened, and a query answered."""
    on = spark.address(target)
    try:
        with spark.connect(target) as session:
            number = int.from_bytes(token_bytes(2))
            (row,) = session.execute(f"SELECT {number} + 1 AS answer", doing="ask for a sum")
            if row["answer"] != number + 1:
                yield stop(on, f"it takes {number} + 1 for {row['answer']}", "find out what answers there")
                return
            yield note(on, "a session was opened, and a query answered")
    except MigrationError as error:
        yield failed(on, error)
        return
    if target.engine == "pysail":
        what = "this is pysail, a stand-in: it asks for no token and keeps no catalog, so rights are not proven"
        fix = "run this phase with a profile of the real workspace"
        yield warning(on, what, fix)


def _written(bucket: Bucket) -> str:
    name, content = f"{SCRATCH}{token_hex(8)}", token_bytes(1024)
    bucket.write(name, content)
    try:
        same = bucket.read(name) == content
    finally:
        bucket.remove([name])
    if not same or bucket.read(name) is not None:
        raise _unlike(
            "read and delete an object",
            str(bucket.location),
            "what was read is not what was written, or it is still there",
        )
    return "an object was written, read back and deleted"


def _made(session: Any, target: Snowflake) -> str:
    """A schema of its own: loading makes schemas too, and nothing else of the account is touched."""
    schema = identifier(target.database, SCRATCH + token_hex(6).upper())
    session.execute(f"CREATE SCHEMA {schema}", doing="create a schema")
    try:
        session.execute(f"CREATE TABLE {schema}.T (N NUMBER)", doing="create a table")
        session.execute(f"INSERT INTO {schema}.T VALUES (7)", doing="insert a row")
        (row,) = session.execute(f"SELECT N FROM {schema}.T", doing="read the row")
    finally:
        session.execute(f"DROP SCHEMA IF EXISTS {schema}", doing="drop the schema")
    if int(row["N"]) != 7:
        raise _unlike("read back a row", snowflake.address(target), f"7 was written, {row['N']} was read")
    return "a schema and a table were made, filled, read and dropped"


def _look_at_versions(bucket: Bucket, asked: Compliance) -> Iterator[Finding]:
    try:
        answer = bucket.client.get_bucket_versioning(Bucket=bucket.location.bucket)
        on, why = answer.get("Status") == "Enabled", "keeps no versions of an object"
    except (BotoCoreError, ClientError) as error:
        on, why = False, f"does not say whether it keeps versions: {redact(str(error))}"
    if on:
        yield note(bucket.location.bucket, "keeps versions of an object")
    else:
        severity: Severity = "stop" if asked.versioned_stage else "note"
        yield Finding(severity, bucket.location.bucket, why, "switch versioning on" if asked.versioned_stage else "")


def _look_at_encryption(bucket: Bucket, asked: Compliance) -> Iterator[Finding]:
    try:
        answer = bucket.client.get_bucket_encryption(Bucket=bucket.location.bucket)
        rules = answer["ServerSideEncryptionConfiguration"]["Rules"]
        how = ", ".join(rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] for rule in rules)
        yield note(bucket.location.bucket, f"encrypts objects at rest by {how}")
    except (BotoCoreError, ClientError, KeyError) as error:
        code = error.response["Error"]["Code"] if isinstance(error, ClientError) else type(error).__name__
        severity: Severity = "stop" if asked.encrypted_stage else "warning"
        fix = "switch default encryption on (SSE-KMS), where the service has it"
        yield Finding(severity, bucket.location.bucket, f"does not say that it encrypts objects at rest ({code})", fix)


def _look_at_region(stage: Stage, asked: Compliance) -> Iterator[Finding]:
    if asked.regions and stage.region not in asked.regions:
        fix = "use a bucket in an allowed region"
        yield stop(stage.url, f"lies in {stage.region}, and only {', '.join(asked.regions)} is allowed", fix)


def _unlike(what: str, on: str, why: str) -> MigrationError:
    return StageError(what, on=on, why=why, next_step="find out what blocks the connection to the service")
