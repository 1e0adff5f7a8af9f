"""The roles of docs/rights.md at the targets: with any one right less the doctor names that one, and its statement cures it.

There is no account: what the scripts grant is kept in the form in which Snowflake's SHOW GRANTS and Unity Catalog's
effective-permissions answer, by their documentation. S3 is the real server, with identities of its own.

Would catch: a right of the page that the doctor does not ask for, one that it asks for and the page does not grant, a cure that
grants something else or is not quoted; a bucket that answers though its keys may not list or read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import rights_support
from pydantic import SecretStr

from helpers import doctor
from helpers import export as exporting
from helpers.doctor import snowflake_rights
from helpers.doctor.buckets import WRITES
from helpers.finding import Finding
from helpers.local.servers import processes
from helpers.local.servers.s3 import BUCKET, S3, SERVICES
from helpers.settings import Archive, Settings, Snowflake

_GRANT = re.compile(r"GRANT (?P<privileges>[A-Z, ]+) ON (?P<kind>[A-Z]+) (?P<name>\S+) TO ROLE (?P<role>\S+)")

TARGET = Snowflake(
    account="myorg-myaccount", user="MIGRATION", database="LIBRARY", schema="MIGRATED", warehouse="MIGRATION_WH", role="MIGRATION_ROLE",
    storage_integration="MIGRATION_S3",
)  # fmt: skip


def granted(statements: list[str]) -> list[dict[str, str]]:
    """What SHOW GRANTS TO ROLE answers after some GRANT statements
    (https://docs.snowflake.com/en/sql-reference/sql/show-grants#examples)."""
    rows = []
    for statement in statements:
        if found := _GRANT.fullmatch(statement):
            for privilege in found["privileges"].split(", "):
                rows.append(
                    {"privilege": privilege, "granted_on": found["kind"], "name": found["name"], "granted_to": "ROLE"}
                )
    return rows


OF_SNOWFLAKE = [each for each in rights_support.statements("snowflake") if _GRANT.fullmatch(each)]


@pytest.mark.parametrize("gone", [None, *OF_SNOWFLAKE])
def test_snowflakes_script_suffices_and_each_right_less_is_named(gone: str | None) -> None:
    left = [each for each in OF_SNOWFLAKE if each != gone]
    lacking = snowflake_rights.missing(
        granted(left), "MIGRATION_ROLE", TARGET, "MIGRATION_WH", {"MIGRATED": False, "MIGRATED__migration": False}
    )
    assert len(lacking) == (1 if gone else 0)
    for lack in lacking:
        assert lack.cure.replace('"', "") == gone
        cured = granted([*left, lack.cure.replace('"', "")])
        assert not snowflake_rights.missing(
            cured, "MIGRATION_ROLE", TARGET, "MIGRATION_WH", {"MIGRATED": False, "MIGRATED__migration": False}
        )


def test_schemas_that_an_administrator_made_need_rights_of_their_own_and_owners_need_none() -> None:
    there = {"MIGRATED": True, "OTHER": True, "MIGRATED__migration": True}
    lacking = snowflake_rights.missing(granted(OF_SNOWFLAKE), "MIGRATION_ROLE", TARGET, "MIGRATION_WH", there)
    assert {(lack.right, lack.on) for lack in lacking} == {
        ("USAGE", 'schema "LIBRARY"."MIGRATED"'), ("CREATE TABLE", 'schema "LIBRARY"."MIGRATED"'),
        ("USAGE", 'schema "LIBRARY"."OTHER"'), ("CREATE TABLE", 'schema "LIBRARY"."OTHER"'),
        ("CREATE STAGE", 'schema "LIBRARY"."MIGRATED__migration"'),
        ("USAGE", 'schema "LIBRARY"."MIGRATED__migration"'), ("CREATE TABLE", 'schema "LIBRARY"."MIGRATED__migration"'),
    }  # fmt: skip
    owned = [{"privilege": "OWNERSHIP", "granted_on": "SCHEMA", "name": f'LIBRARY."{schema}"'} for schema in there]
    assert not snowflake_rights.missing(
        [*granted(OF_SNOWFLAKE), *owned], "MIGRATION_ROLE", TARGET, "MIGRATION_WH", there
    )


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
