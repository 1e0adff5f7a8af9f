"""Who we are to AWS, or to what speaks its protocols: keys, a profile of AWS's own files, or a role that is assumed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import boto3
import botocore.session
from botocore.credentials import AssumeRoleCredentialFetcher, DeferredRefreshableCredentials

from helpers.settings.stage import AwsIdentity

ROLE_SESSION = "migration-runbooks"
"""What an assumed role's session is called in CloudTrail."""


@dataclass(frozen=True, repr=False)
class Keys:
    """Keys as they are now; those of a role or of SSO last for a time."""

    access_key: str
    secret_key: str
    session_token: str | None


def session_of(identity: AwsIdentity, region: str | None) -> boto3.Session:
    """The session of a section; arguments and errors as of `session`."""
    # Where the section does not say who we are, the environment does, and may say so anew.
    made = session if identity.is_named else session.__wrapped__
    secret, token = (
        each.get_secret_value() if each else None for each in (identity.secret_key, identity.session_token)
    )
    return made(
        region, profile_name=identity.profile_name, role_arn=identity.role_arn, external_id=identity.external_id,
        access_key=identity.access_key, secret_key=secret, session_token=token,
    )  # fmt: skip


def keys_of(identity: AwsIdentity, region: str | None) -> Keys | None:
    """What clients are given that do not ask boto3; None where there are no credentials. Errors as of `session`."""
    found = session_of(identity, region).get_credentials()
    if found is None:
        return None
    frozen = found.get_frozen_credentials()
    return Keys(frozen.access_key, frozen.secret_key, frozen.token)


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
