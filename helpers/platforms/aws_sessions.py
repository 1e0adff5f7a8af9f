"""Who we are to AWS, or to what speaks its protocols: keys, a profile of AWS's own files, or a role that is assumed."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import boto3
import botocore.session
from botocore.credentials import AssumeRoleCredentialFetcher, DeferredRefreshableCredentials

ROLE_SESSION = "migration-runbooks"
"""What an assumed role's session is called in CloudTrail."""


@lru_cache(maxsize=16)
def session(
    region: str | None,
    *,
    profile_name: str | None = None,
    role_arn: str | None = None,
    external_id: str | None = None,
    access_key: str | None = None,
    secret_key: str | None = None,
    session_token: str | None = None,
) -> boto3.Session:
    """A session whose credentials are renewed for as long as it is used, where they can be.

    Args:
        region: of its clients.
        profile_name: without it and without keys, the default chain (role, SSO, environment).
        role_arn: is assumed by what the other arguments lead to.
        external_id: what the role's owner asks for.
        access_key, secret_key, session_token: the session's own.

    Raises:
        BotoCoreError: there is no such profile, or there are no credentials to assume the role with.
    """
    own = boto3.Session(
        region_name=region, profile_name=profile_name, aws_access_key_id=access_key, aws_secret_access_key=secret_key,
        aws_session_token=session_token,
    )  # fmt: skip
    if role_arn is None:
        return own
    extra: dict[str, Any] = {"RoleSessionName": ROLE_SESSION} | ({"ExternalId": external_id} if external_id else {})
    base = own._session
    fetcher = AssumeRoleCredentialFetcher(base.create_client, own.get_credentials(), role_arn, extra_args=extra)
    assumed = botocore.session.Session()
    # botocore has this for profiles of its files alone (https://github.com/boto/botocore/issues/761).
    assumed._credentials = DeferredRefreshableCredentials(method="assume-role", refresh_using=fetcher.fetch_credentials)
    return boto3.Session(region_name=region, botocore_session=assumed)
