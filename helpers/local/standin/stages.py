"""CREATE STAGE, DROP STAGE, LIST, and the files that a reference names.

fakesnow drops a stage's credentials and endpoint; here a stage is a client with its own. Stages live in the server's memory only,
so that no secret of theirs reaches a disk: after a restart they are gone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from botocore.exceptions import BotoCoreError, ClientError
from snowflake.connector.errors import ProgrammingError
from sqlglot import exp

from helpers.local.standin.names import Name, already_exists, missing, table, text, unquoted, unsupported
from helpers.local.standin.parquet_columns import null_if
from helpers.local.standin.session import Session
from helpers.local.standin.stage import Stage

SCHEMES = ("s3compat://", "s3://")
NAME = r'(?:"(?:[^"]|"")*"|[A-Za-z_%~][\w$%]*)'
REFERENCE = re.compile(rf"@({NAME}(?:\.{NAME}){{0,2}})(?:/(.*))?$", re.DOTALL)


@dataclass(frozen=True)
class StagedFile:
    key: str
    etag: str


def create_stage(session: Session, statement: exp.Create) -> str:
    name = session.qualified(statement.this)
    if name in session.stages and not statement.args.get("replace"):
        if statement.args.get("exists"):
            return f"{name[2]} already exists, statement succeeded."
        raise already_exists(name[2])
    url, endpoint, credentials, form, integration = None, None, {}, {}, None
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
        elif one.this.name.upper() == "STORAGE_INTEGRATION":
            integration = one.args["value"].name
    if integration is not None:
        _require_allowed(session, integration, url or "")
    if url is None:
        raise unsupported("internal stages")
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


def _require_allowed(session: Session, written: str, url: str) -> None:
    """https://docs.snowflake.com/en/sql-reference/sql/create-storage-integration#required-parameters"""
    held = session.account.integrations
    name = written if written in held else written.upper()
    if name not in held:
        raise missing("Integration", name)
    allowed = [each for each in held[name].get("STORAGE_ALLOWED_LOCATIONS", "").split(",") if each]
    if held[name]["ENABLED"].lower() != "true" or not any(each == "*" or url.startswith(each) for each in allowed):
        raise ProgrammingError(
            msg=f"SQL compilation error:\nLocation '{url}' is not allowed by integration {name}. Please use DESC INTEGRATION to check "
            "out allowed and blocked locations.", errno=3167, sqlstate="42601",
        )  # fmt: skip


def drop_stage(session: Session, statement: exp.Drop) -> str:
    name = session.qualified(statement.args["tables"][0])
    if session.stages.pop(name, None) is None and not statement.args.get("exists"):
        raise missing("Stage", name[2])
    return f"{name[2]} successfully dropped."


def list_query(session: Session, reference: str) -> str:
    stage, prefix = resolve(session, reference)
    rows = [
        f"({text(stage.scheme + stage.bucket + '/' + file.key)}, {text(file.etag)})" for file in listed(stage, prefix)
    ]
    values = ", ".join(rows) or "(null, null)"
    return f"select * from (values {values}) as files(name, md5) where name is not null"


def properties_of(expressions: list[exp.Expression]) -> dict[str, str]:
    found = {}
    for one in expressions:
        if isinstance(one, exp.Property):
            value = one.args["value"]
            if one.this.name.upper() == "NULL_IF":
                found["NULL_IF"] = null_if(value)
                continue
            found[one.this.name.upper()] = str(value.this) if isinstance(value, exp.Boolean) else value.name
    return found


def named_stage(session: Session, reference: str) -> Name:
    """The stage of `@database.schema.stage/path`; raises where it is another location."""
    match = REFERENCE.match(reference)
    if match is None:
        raise unsupported(f"the location {reference!r}: only a named stage")
    return session.qualified(table([unquoted(part) for part in re.findall(NAME, match.group(1))]))


def resolve(session: Session, reference: str) -> tuple[Stage, str]:
    name = named_stage(session, reference)
    if name not in session.stages:
        raise missing("Stage", ".".join(name))
    stage = session.stages[name]
    match = REFERENCE.match(reference)
    inner = (match and match.group(2)) or ""
    return stage, stage.prefix + ("/" if inner and stage.prefix and not stage.prefix.endswith("/") else "") + inner


def listed(stage: Stage, prefix: str) -> list[StagedFile]:
    try:
        pages = stage.client().get_paginator("list_objects_v2").paginate(Bucket=stage.bucket, Prefix=prefix)
        found = [StagedFile(one["Key"], one["ETag"]) for page in pages for one in page.get("Contents", [])]
    except (ClientError, BotoCoreError) as error:
        raise no_access(error, f"{stage.scheme}{stage.bucket}/{prefix}") from error
    return [file for file in found if not file.key.endswith("/")]


def no_access(error: Exception, url: str) -> ProgrammingError:
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
