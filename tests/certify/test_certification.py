"""A target is trusted once it has answered golden questions, and only as long as the answer counts.

Would catch: a load or a verification of a target that nobody has asked, an answer that outlives the engine, the SQL or the settings
that it was given for, a stand-in's answer taken for a service's, a scratch schema or files that stay.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from profile_support import whole_profile

from helpers import certify
from helpers.certify import fingerprint, kept, scratch
from helpers.certify.report import Certification
from helpers.engines import engine
from helpers.local import folder
from helpers.platforms import snowflake, statements
from helpers.platforms.s3 import Bucket
from helpers.settings import Settings

ANOTHER_NAME = "127.1"
"""Of this machine's loopback: a server that answers there counts as a service."""


@pytest.fixture(scope="module")
def certified(local_settings: Settings) -> Certification:
    """The stand-in's, made by the first test that needs one."""
    return certify.require(local_settings, "snowflake")


@pytest.fixture
def service(migration: Any) -> Settings:
    """The stand-in as a service, with a stage of the test's own, so that nothing is known of it."""
    target = migration.settings.snowflake
    connect = {**target.connect, "host": ANOTHER_NAME}
    values = migration.settings.values.model_copy(update={"snowflake": target.model_copy(update={"connect": connect})})
    return replace(migration.settings, values=values)


def _of_service(profile: Settings, found: Certification, **changed: Any) -> Certification:
    """A stand-in's certification as that of a service, which would take a minute."""
    with engine("snowflake").trial(profile.snowflake, profile.stage) as trial:
        who = trial.identity()
    own = {
        "stand_in": "", "program": "", "engine_version": who.version, "where": who.where, "role": who.role,
        "parameters": dict(who.parameters), "settings": fingerprint.of_settings(profile.snowflake, profile.stage),
    }  # fmt: skip
    return found.model_copy(update={**own, **changed})


def test_the_stand_in_is_certified_when_it_is_first_used_and_named_as_one(
    certified: Certification, local_settings: Settings, runbook: Callable[..., Any], migration: Any, migration_toml: Any
) -> None:
    assert certified.passed
    assert certified.stand_in == "fakesnow"
    assert {table.verdict for table in certified.tables} == {"ok"}
    assert {"texts", "floats", "times", "decimals", "long"} <= {
        table.name.partition(".")[2] for table in certified.tables
    }
    assert (folder.default_root() / "certified" / "snowflake.json").exists()
    with engine("snowflake").trial(local_settings.snowflake, local_settings.stage) as trial:
        assert certified.scratch not in trial.schemas(scratch.PREFIX)
    assert not Bucket.open(local_settings.stage).sizes(f"{scratch.FOLDER}{certified.scratch}/")
    sent: list[str] = []
    with statements.heard(lambda _, sql: sent.append(sql)):
        assert certify.require(local_settings, "snowflake") == certified
    assert not sent  # what is known of a stand-in's code is not asked again
    done = runbook("doctor", "--only", "snowflake", "--json", folder=migration_toml(migration.profile).parent)
    (shown,) = [each for each in json.loads(done.stdout)["findings"] if each["check"] == "certification"]
    assert (shown["verdict"], "fakesnow, a stand-in for Snowflake" in shown["found"]) == ("ok", True)


@pytest.mark.parametrize("command", ["load", "verify"])
def test_a_service_that_nobody_has_asked_is_refused_with_the_command(
    migration: Any,
    service: Settings,
    tmp_path: Path,
    runbook: Callable[..., Any],
    command: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    migration.source("CREATE TABLE a (id int PRIMARY KEY)", "INSERT INTO a VALUES (1)")
    migration.export()
    text, secrets = whole_profile(service, "real")
    (tmp_path / "migration.toml").write_text(text)
    for name, secret in secrets.items():
        monkeypatch.setenv(name, secret)
    done = runbook(command, "--target", "snowflake", "--profile", "real", "--json", folder=tmp_path)
    error = json.loads(done.stdout)["error"]
    assert (done.returncode, error["type"]) == (2, "NotCertified")
    assert "never certified" in error["why"]
    assert "runbook doctor --certify --target snowflake --profile real" in error["next"]
    own = migration.settings.snowflake
    with snowflake.connect(own) as session:
        rows = session.execute(f'SHOW SCHEMAS IN DATABASE "{own.database}"', doing="look")
    assert own.schema_ not in {row["name"] for row in rows}


def test_an_answer_counts_until_what_it_rests_on_changes(service: Settings, certified: Certification) -> None:
    def why(**changed: Any) -> str:
        kept.keep(service, "snowflake", _of_service(service, certified, **changed))
        return kept.standing(service, "snowflake")[1]

    assert why() == ""
    assert certify.require(service, "snowflake").passed
    assert "the engine moved from 8.1 to" in why(engine_version="8.1")
    assert "the SQL that the product generates is another" in why(product="0" * 64)
    assert "target or stage is another" in why(settings="0" * 64)
    assert "it was of the role NOBODY" in why(role="NOBODY")
    held = dict(_of_service(service, certified).parameters) | {"TIMEZONE": "Europe/Berlin"}
    assert "TIMEZONE from 'Europe/Berlin' to 'UTC'" in why(parameters=held)
    old = (datetime.now(UTC) - timedelta(days=31)).isoformat(timespec="seconds")
    assert "31 days old, and [profiles.local.certification] days is 30" in why(finished=old)
    with pytest.raises(certify.NotCertified, match="31 days old"):
        certify.require(service, "snowflake")


def test_an_answer_of_no_is_refused_with_what_differs(service: Settings, certified: Certification) -> None:
    wrong = certified.answers[0].model_copy(
        update={"verdict": "wrong", "check": "public.texts.body, row 0,", "found": "NULL", "needed": "'\\\\N'"}
    )
    kept.keep(service, "snowflake", _of_service(service, certified, answers=(*certified.answers, wrong)))
    with pytest.raises(certify.CertificationFailed, match=r"public\.texts\.body, row 0,: NULL, needed") as caught:
        certify.require(service, "snowflake")
    assert caught.value.exit_code == 1


def test_settings_that_cannot_change_an_answer_leave_it(service: Settings) -> None:
    target, stage = service.snowflake, service.stage
    before = fingerprint.of_settings(target, stage)
    for harmless in ({"answer_timeout_seconds": 7.0}, {"password": None}, {"connect_timeout_seconds": 5.0}):
        assert fingerprint.of_settings(target.model_copy(update=harmless), stage) == before
    for telling in ({"role": "OTHER"}, {"database": "OTHER"}, {"schema_": "OTHER"}, {"account": "other"}):
        assert fingerprint.of_settings(target.model_copy(update=telling), stage) != before


def test_what_a_killed_certification_left_goes_with_the_next_and_nothing_else(migration: Any) -> None:
    target, bucket = migration.settings.snowflake, migration.bucket
    own = scratch.new_scratch(migration.settings, "snowflake").name
    dead, old, others = (
        own.rpartition("_")[0] + "_999999999", "RUNBOOK_CERTIFY_202001010000_ABCDEF_1", "RUNBOOK_CERTIFY_MINE",
    )  # fmt: skip
    for name in (own, dead, f"{dead}__migration", old, others):
        _made(target, name)
        bucket.write(f"{scratch.FOLDER}{name}/file", b"x")
    with engine("snowflake").trial(target, migration.settings.stage) as trial:
        assert scratch.remove_left(trial, bucket) == []
        assert {own, others} <= set(trial.schemas(scratch.PREFIX))
        assert not {dead, f"{dead}__migration", old} & set(trial.schemas(scratch.PREFIX))
        assert {path.split("/")[1] for path in bucket.sizes(scratch.FOLDER)} == {own, others}
        for name in (own, others):
            trial.drop(name)


def _made(target: Any, name: str) -> None:
    with snowflake.connect(target) as session:
        session.execute(f'CREATE SCHEMA "{target.database}"."{name}"', doing="leave a schema")
