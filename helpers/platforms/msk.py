"""Amazon MSK: the token of IAM that takes a password's place (SASL/OAUTHBEARER)."""

from __future__ import annotations

from aws_msk_iam_sasl_signer import MSKAuthTokenProvider
from botocore.credentials import CredentialProvider, Credentials
from botocore.exceptions import BotoCoreError, ClientError

from helpers.errors import ConnectionFailed
from helpers.platforms import aws_sessions
from helpers.redaction import remember
from helpers.settings import Kafka


def token(kafka: Kafka) -> tuple[str, float]:
    """A token that logs in during the next quarter of an hour, and when it ends, in seconds since 1970; it is signed here.

    It is the address of `kafka-cluster:Connect` in the cluster's region, signed by the profile's credentials, in Base64
    (https://github.com/aws/aws-msk-iam-sasl-signer-python).

    Raises:
        ConnectionFailed: there are no credentials to sign it with.
    """
    region = str(kafka.region or kafka.broker_region)
    try:
        session = aws_sessions.session(
            region, profile_name=kafka.profile_name, role_arn=kafka.role_arn, external_id=kafka.external_id
        )
        found = session.get_credentials()
        if found is None:
            raise _refused(kafka, region, "there are no credentials")
        # As they are at one moment: a role's are renewed beside us.
        frozen = found.get_frozen_credentials()
        signer = _Given(Credentials(frozen.access_key, frozen.secret_key, frozen.token))
        made, ends = MSKAuthTokenProvider.generate_auth_token_from_credentials_provider(region, signer)
    except (BotoCoreError, ClientError) as error:
        raise _refused(kafka, region, str(error)) from None
    return remember(made), ends / 1000


class _Given(CredentialProvider):  # type: ignore[misc]  # of botocore, which has no types
    """Credentials that are there already, in the form that the signer takes."""

    def __init__(self, found: Credentials) -> None:
        super().__init__()
        self._found = found

    def load(self) -> Credentials:
        return self._found


def _refused(kafka: Kafka, region: str, why: str) -> ConnectionFailed:
    return ConnectionFailed(
        "sign a token for MSK",
        on=f"Kafka {kafka.bootstrap} in {region}",
        why=why,
        next_step="let AWS credentials be found (a role, SSO, the environment, or kafka.profile_name and kafka.role_arn) "
        "that may kafka-cluster:Connect",
    )
