"""Would catch: an AWS client that reaches anybody but the stand-in, a stand-in that listens to others or survives `down`, and
an answer of a service that reaches a person as a traceback.

What starts the stand-in is slow: its environment is installed on the first call.
"""

from __future__ import annotations

import os
import signal

import psutil
import pytest
from pydantic import SecretStr

from helpers.errors import ConnectionFailed
from helpers.local import stack
from helpers.local.servers import processes
from helpers.platforms import aws
from helpers.settings import Aws, Settings


def test_a_service_that_does_not_answer_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    account = Aws(region="eu-central-1", endpoint="http://127.0.0.1:9", access_key="k", secret_key=SecretStr("s"))
    account = account.model_copy(update={"secret_key": None, "access_key": None})
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "none")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "none")
    with (
        pytest.raises(ConnectionFailed, match=r"list the zones \(all in AWS eu-central-1\)"),
        aws.told(account, "list the zones", on="all"),
    ):
        aws.client(account, "route53").list_hosted_zones()


@pytest.mark.slow
def test_the_stand_in_starts_when_it_is_needed_and_answers_on_loopback_alone(local_settings: Settings) -> None:
    account = local_settings.aws
    zone = aws.client(account, "route53").create_hosted_zone(
        Name="standin.example.com", CallerReference=os.urandom(8).hex()
    )
    zones = aws.client(account, "route53").list_hosted_zones_by_name(DNSName="standin.example.com")["HostedZones"]
    assert zone["HostedZone"]["Id"] in [each["Id"] for each in zones]
    (status,) = [row for row in stack.status() if row.name == "aws"]
    assert status.running and status.on_demand and status.pid
    listening = [c for c in psutil.Process(status.pid).net_connections("inet") if c.status == psutil.CONN_LISTEN]
    assert {c.laddr.ip for c in listening} == {processes.LOOPBACK}


@pytest.mark.slow
def test_a_killed_stand_in_starts_again_empty(local_settings: Settings) -> None:
    account = local_settings.aws
    aws.client(account, "sns").create_topic(Name="kept-by-nobody")
    (status,) = [row for row in stack.status() if row.name == "aws"]
    assert status.pid
    os.kill(status.pid, signal.SIGKILL)
    psutil.wait_procs([p for p in psutil.process_iter() if p.pid == status.pid], timeout=10)
    topics = aws.client(account, "sns").list_topics()["Topics"]
    assert not any(each["TopicArn"].endswith(":kept-by-nobody") for each in topics)


@pytest.mark.slow
def test_what_a_service_refuses_is_told(local_settings: Settings) -> None:
    with (
        pytest.raises(ConnectionFailed, match=r"delete the zone \(Z0 in AWS us-east-1 \(moto, a stand-in\)\)"),
        aws.told(local_settings.aws, "delete the zone", on="Z0"),
    ):
        aws.client(local_settings.aws, "route53").delete_hosted_zone(Id="Z0NONE")
