"""Amazon RDS: the token that takes a password's place."""

from __future__ import annotations

from helpers.errors import ConnectionFailed
from helpers.platforms import aws_sessions
from helpers.redaction import remember
from helpers.settings import Source


def token(source: Source) -> str:
    """A token with which the source's user logs in during the next quarter of an hour; it is signed here, and nobody is asked.

    https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.html

    Raises:
        ConnectionFailed: there are no credentials to sign it with.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    ((host, port),) = source.hosts
    try:
        session = aws_sessions.session(source.region, profile_name=source.profile_name, role_arn=source.role_arn)
        made = session.client("rds").generate_db_auth_token(DBHostname=host, Port=port, DBUsername=source.user)
    except (BotoCoreError, ClientError) as error:
        raise ConnectionFailed(
            "sign a token for RDS",
            on=f"{source.user} at {host}:{port}",
            why=str(error),
            next_step="let AWS credentials be found (a role, SSO, the environment, or source.profile_name) that may "
            f"rds-db:connect as {source.user}",
        ) from None
    return remember(str(made))
