"""The token that logs in to Amazon MSK by IAM: whose it is, for which cluster, until when, and that nobody sees it.

Would catch: a token of other credentials than the profile's role, of another region, or signed once for a run of hours.
"""

from __future__ import annotations

import base64
import time
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import boto3
import pytest
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from helpers.errors import ConnectionFailed
from helpers.platforms import aws_sessions, kafka, msk
from helpers.redaction import redact
from helpers.settings import Kafka, Settings
from helpers.settings.local_stack import local_stack

BROKERS = "b-1.sales.abc123.c2.kafka.eu-central-1.amazonaws.com:9098"


def section(**keys: Any) -> Kafka:
    common = {"bootstrap": BROKERS, "topic": "orders", "landing": "s3://x/", "mechanism": "AWS_MSK_IAM"}
    return Kafka.model_validate({**common, **keys})


def read(token: str) -> tuple[str, dict[str, str]]:
    address = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()
    return address, dict(parse_qsl(urlsplit(address).query, strict_parsing=True))


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> Credentials:
    found = Credentials("AKIAMIGRATION", "of-the-role-only")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", found.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", found.secret_key)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
    aws_sessions.session.cache_clear()
    return found


def signature(found: dict[str, str], region: str, keys: Credentials, monkeypatch: pytest.MonkeyPatch) -> str:
    """What botocore signs for the same request at the same moment."""
    at = datetime.strptime(found["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    params = {"Action": "kafka-cluster:Connect"}
    request = AWSRequest(method="GET", url=f"https://kafka.{region}.amazonaws.com/", params=params)
    with monkeypatch.context() as patch:
        patch.setattr("botocore.auth.get_current_datetime", lambda **_: at)
        SigV4QueryAuth(keys, "kafka-cluster", region, expires=900).add_auth(request)
    return dict(parse_qsl(urlsplit(request.url).query))["X-Amz-Signature"]


@pytest.mark.parametrize(("given", "region"), [({}, "eu-central-1"), ({"region": "us-west-2"}, "us-west-2")])
def test_a_token_is_the_signed_address_of_connect(
    keys: Credentials, monkeypatch: pytest.MonkeyPatch, given: dict[str, str], region: str
) -> None:
    token, ends = msk.token(section(**given))
    address, found = read(token)
    assert "=" not in token
    assert address.startswith(f"https://kafka.{region}.amazonaws.com/?")
    assert (found["Action"], found["X-Amz-Expires"]) == ("kafka-cluster:Connect", "900")
    day = found["X-Amz-Date"][:8]
    assert found["X-Amz-Credential"] == f"AKIAMIGRATION/{day}/{region}/kafka-cluster/aws4_request"
    assert 890 < ends - time.time() <= 901
    assert found["X-Amz-Signature"] == signature(found, region, keys, monkeypatch)
    assert "of-the-role-only" not in address
    assert redact(f"token {token}") == "token •••"


def test_it_is_signed_by_the_role_of_the_profile(
    local_settings: Settings, keys: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint, access_key, secret_key = local_stack().aws()
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret_key)
    role = "arn:aws:iam::123456789012:role/migration"
    _, found = read(msk.token(section(role_arn=role, external_id="migration-2026"))[0])
    assert not found["X-Amz-Credential"].startswith(access_key)
    caller = boto3.client("sts", region_name="eu-central-1", endpoint_url=endpoint)
    whose = caller.get_access_key_info(AccessKeyId=found["X-Amz-Credential"].split("/")[0])
    assert whose["Account"] == "123456789012"
    assert found["X-Amz-Security-Token"]


def test_it_is_signed_anew_each_time_and_an_old_one_serves_while_it_lasts(
    keys: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = iter((1000.0, 2000.0))
    signs = [lambda: (f"token {next(moments)}", time.time() + 900)]
    monkeypatch.setattr(msk, "token", lambda _: signs[-1]())
    callback = kafka.configuration(section())["oauth_cb"]
    assert [callback("")[0] for _ in range(2)] == ["token 1000.0", "token 2000.0"]

    def gone() -> tuple[str, float]:
        raise ConnectionFailed("sign a token for MSK", on="x", why="no network", next_step="wait")

    signs.append(gone)
    assert callback("")[0] == "token 2000.0"
    later = time.time() + 901
    monkeypatch.setattr("helpers.platforms.kafka.time.time", lambda: later)
    with pytest.raises(ConnectionFailed):
        callback("")


def test_without_credentials_it_says_whose_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    aws_sessions.session.cache_clear()
    with pytest.raises(ConnectionFailed, match="there are no credentials") as told:
        kafka.topics(section(answer_timeout_seconds=5.0))
    assert "kafka.role_arn" in told.value.next_step
