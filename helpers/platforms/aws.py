"""Clients of AWS's services, or of the local stack's stand-in for them.

route53 = aws.client(settings.aws, "route53")
with aws.told(settings.aws, "change the record", on=zone):
    route53.change_resource_record_sets(…)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from helpers.errors import ConnectionFailed, MigrationError
from helpers.settings import Aws
from helpers.settings.local_stack import local_stack


def client(aws: Aws, service: str) -> Any:
    """boto3's client of one service.

    Args:
        aws: the account.
        service: as boto3 names it, such as "route53" or "cloudwatch".

    Raises:
        ConnectionFailed: boto3 finds no way to reach it, such as for an endpoint that is no URL.
        LocalStackError: the local stack is not up, or the stand-in did not start.
    """
    from botocore.config import (
        Config,  # with boto3 a tenth of a second of every command's start, for the few that need it
    )
    from botocore.exceptions import BotoCoreError

    from helpers.platforms import aws_sessions

    stands_in = aws.engine == "moto"
    config = Config(
        retries={"mode": "standard", "max_attempts": 4}, connect_timeout=aws.connect_timeout_seconds,
        read_timeout=aws.answer_timeout_seconds, proxies={} if stands_in else None,
    )  # fmt: skip
    try:
        endpoint: str | None
        if stands_in:
            endpoint, key, secret = local_stack().aws()
            session = aws_sessions.session(aws.region, access_key=key, secret_key=secret)
        else:
            endpoint, session = aws.endpoint, aws_sessions.session_of(aws, aws.region)
        return session.client(service, endpoint_url=endpoint, verify=aws.ca_file, config=config)
    except (BotoCoreError, ValueError) as error:
        raise _failed(aws, f"reach {service}", service, error) from None


def address(aws: Aws) -> str:
    """How the account is named to people."""
    return f"AWS {aws.region}{' (moto, a stand-in)' if aws.engine == 'moto' else ''}"


@contextmanager
def told(aws: Aws, doing: str, *, on: str) -> Iterator[None]:
    """What the client raises in the block becomes an error that names what was tried.

    Args:
        aws: the account.
        doing: the clause that the error begins with ("change the record").
        on: the object.

    Raises:
        ConnectionFailed: the service did not answer, or refused.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise _failed(aws, doing, on, error) from None


def _failed(aws: Aws, doing: str, on: str, error: Exception) -> MigrationError:
    from helpers.platforms.faults import s3 as faults  # with boto3

    return faults.told(
        error,
        doing,
        on=f"{on} in {address(aws)}",
        kind=ConnectionFailed,
        cure="check region, credentials and what the role may do (locally: runbook local status), then run it again",
    )
