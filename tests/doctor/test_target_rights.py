"""The rights of docs/rights.md at the stage: with any one less the doctor names that one. S3 is the real server, with identities of
its own.

Would catch: a right of the page that the doctor does not ask for, one that it asks for and the page does not grant, a cure that
grants something else or is not quoted; a bucket that answers though its keys may not list or read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import rights_support
from pydantic import SecretStr

from helpers import doctor
from helpers import export as exporting
from helpers.doctor.buckets import WRITES
from helpers.finding import Finding
from helpers.local.servers import processes
from helpers.local.servers.s3 import BUCKET, S3, SERVICES
from helpers.settings import Archive, Settings

READERS = {
    "whole": ("List", "Read", "Write"),
    "lists-nothing": ("Read", "Write"),
    "reads-nothing": ("List", "Write"),
}
"""Keys of the second S3 server, and what SeaweedFS lets each do with the bucket."""


@dataclass(frozen=True, repr=False)
class Guarded(S3):
    """The stack's S3 server with keys that may do some things and no others."""

    def _identities(self) -> dict[str, Any]:
        readers = [
            {"name": name, "credentials": [{"accessKey": name, "secretKey": self.secret_key}], "actions": [f"{one}:{BUCKET}" for one in actions]}
            for name, actions in READERS.items()
        ]  # fmt: skip
        return {"identities": [*super()._identities()["identities"], *readers]}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """A second S3 server."""
    taken: set[int] = set()
    port, *inner = (processes.free_port(taken) for _ in range(2 * len(SERVICES)))
    server = Guarded(tmp_path_factory.mktemp("s3"), port, tuple(inner), "of-the-readers")
    running = server.start()
    try:
        server.wait(running, 0)
        yield server
    finally:
        processes.stop(running, server.marker, by=server.stop_signal, patience=server.patience)


def of(settings: Settings, system: str) -> dict[str, Finding]:
    return {each.finding.on: each.finding for each in doctor.examine(settings, (system,))}


@pytest.mark.slow
def test_a_key_that_may_not_list_or_read_is_told_the_policy_that_lets_it(guarded: Guarded, migration: Any) -> None:
    migration.source("CREATE TABLE a (id int PRIMARY KEY)")

    def with_key(name: str) -> Settings:
        keys = {"endpoint": guarded.endpoint, "access_key": name, "secret_key": SecretStr(guarded.secret_key)}
        stage = migration.settings.stage.model_copy(update=keys)
        return Settings("local", migration.settings.file, migration.settings.values.model_copy(update={"stage": stage}))

    with exporting.planned(with_key("whole")) as plan:
        exporting.export(plan)
    assert not [each for each in of(with_key("whole"), "stage").values() if each.severity == "stop"]
    prefix = migration.bucket.location.prefix
    listing = of(with_key("lists-nothing"), "stage")["s3:ListBucket"]
    assert listing.severity == "stop"
    assert json.loads(listing.fix) == {
        "Effect": "Allow", "Action": "s3:ListBucket", "Resource": f"arn:aws:s3:::{BUCKET}", "Condition": {"StringLike": {"s3:prefix": f"{prefix}*"}},
    }  # fmt: skip
    reading = of(with_key("reads-nothing"), "stage")["s3:GetObject"]
    assert (reading.severity, json.loads(reading.fix)["Resource"]) == ("stop", f"arn:aws:s3:::{BUCKET}/{prefix}*")


def test_a_bucket_without_object_lock_is_no_archive(migration: Any) -> None:
    values = migration.settings.values
    wrong = Archive(url=f"s3://{migration.bucket.location.bucket}/legacy/", retention_days=1)
    settings = Settings("local", migration.settings.file, values.model_copy(update={"archive": wrong}))
    assert of(settings, "archive")["Object Lock"].severity == "stop"
    assert of(migration.settings, "archive")["Object Lock"].severity == "note"


def test_keys_that_nobody_knows_and_a_bucket_that_is_not_there(migration: Any) -> None:
    def found(**keys: Any) -> dict[str, Finding]:
        stage = migration.settings.stage.model_copy(update=keys)
        return of(
            Settings("local", migration.settings.file, migration.settings.values.model_copy(update={"stage": stage})),
            "stage",
        )

    assert found(access_key="nobody", secret_key=SecretStr("of-nobody"))["bucket"].severity == "stop"
    assert found(url="s3://no-such-bucket/x/")["bucket"].what == "there is no bucket no-such-bucket"


def test_the_page_of_rights_is_a_policy_with_what_the_doctor_asks_for() -> None:
    policy = json.loads(rights_support.script("stage"))
    actions = {action for statement in policy["Statement"] for action in statement["Action"]}
    assert {"s3:ListBucket", "s3:GetObject", *WRITES} <= actions
