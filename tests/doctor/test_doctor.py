"""`runbook doctor`: one pass, every system's answer, whatever else does not answer; and phase 00 shows the same.

Would catch: a system that is down and takes the others' answers along, or is waited for longer than its time-outs say; a finding
that phase 00 does not show; a verdict, an exit code or a key of the JSON that is not what the design says; something written.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import SecretStr

from helpers import doctor
from helpers.doctor import Examined, machine, people
from helpers.doctor import source as of_source
from helpers.doctor.subject import Subject
from helpers.errors import UsageError
from helpers.finding import Finding
from helpers.phases.p00_assessment.assessment import EXAMINED, Assessment
from helpers.platforms import kafka, postgres, snowflake
from helpers.settings import Approvals, Compliance, Export, Kafka, Settings, Snowflake

KEYS = {"system", "check", "verdict", "found", "needed", "cure"}


def changed(settings: Settings, **sections: Any) -> Settings:
    return Settings(settings.profile, settings.file, settings.values.model_copy(update=sections))


def of(found: tuple[Examined, ...], system: str) -> dict[str, Finding]:
    return {each.finding.on: each.finding for each in found if each.system == system}


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(16)
        yield int(server.getsockname()[1])


def test_the_command_answers_ready_and_writes_nothing(migration: Any, migration_toml: Any, runbook: Any) -> None:
    migration.source("CREATE TABLE a (id int PRIMARY KEY)", "INSERT INTO a VALUES (1)")
    folder = migration_toml(migration.profile).parent
    before = migration.source("SELECT pg_current_wal_insert_lsn(), xact_commit FROM pg_stat_database WHERE datname = current_database()")  # fmt: skip
    done = runbook("doctor", "--json", folder=folder)
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["verdict"]) == (0, "ready"), [
        f for f in answer["findings"] if f["verdict"] == "wrong"
    ]
    assert all(set(each) == KEYS and all(isinstance(v, str) for v in each.values()) for each in answer["findings"])
    assert {each["verdict"] for each in answer["findings"]} == {"ok", "not checked"}
    assert {"source", "stage", "snowflake", "databricks", "people", "network"} <= {
        f["system"] for f in answer["findings"]
    }
    assert migration.source("SELECT count(*) FROM pg_replication_slots WHERE database = current_database()") == [(0,)]
    assert not migration.bucket.sizes() and before


def test_what_is_wrong_is_exit_1_and_can_be_asked_alone(migration: Any, migration_toml: Any, runbook: Any) -> None:
    folder = migration_toml(migration.profile).parent
    done = runbook("doctor", "--only", "source.tables", folder=folder)
    assert done.returncode == 1 and "✘ tables: none would move" in done.stdout
    assert "max_connections" not in done.stdout and done.stdout.rstrip().endswith(
        "not ready: 1 of 1 findings are wrong"
    )
    assert runbook("doctor", "--only", "people", folder=folder).returncode == 0


def test_what_cannot_run_is_exit_2(migration: Any, migration_toml: Any, runbook: Any) -> None:
    folder = migration_toml(migration.profile).parent
    for arguments, says in (
        (("--certify", "--only", "source"), "--only"), (("--only", "sauce"), "use one of: this machine"), (("--profile", "nobody"), "nobody"),
    ):  # fmt: skip
        done = runbook("doctor", *arguments, folder=folder)
        assert (done.returncode, says in done.stderr) == (2, True), done.stderr


def test_systems_that_do_not_answer_are_findings_and_keep_nobody_waiting(migration: Any, silent: int) -> None:
    values = migration.settings.values
    slow = {"connect_timeout_seconds": 1.0, "answer_timeout_seconds": 1.0}
    settings = changed(
        migration.settings,
        source=values.source.model_copy(update={"port": silent, **slow}),
        stage=values.stage.model_copy(update={"endpoint": f"http://127.0.0.1:{silent}", **slow}),
        snowflake=values.snowflake.model_copy(update={"connect": {**values.snowflake.connect, "port": silent}, **slow}),
    )
    began = time.monotonic()
    told: list[tuple[int, int]] = []
    found = doctor.examine(
        settings,
        ("source", "stage", "snowflake", "people"),
        progress=lambda done, total, what: told.append((done, total)),
    )
    assert time.monotonic() - began < 100
    assert not doctor.ready(found) and told[-1] == (4, 4)
    wrong = {each.system for each in found if each.verdict == "wrong"}
    assert wrong == {"source", "stage", "snowflake"}
    assert of(found, "people")["keys"].severity == "note"
    assert of(found, "snowflake")["names"].severity == "unchecked"


def test_phase_00_shows_every_system_in_one_box() -> None:
    shown = [system for systems in EXAMINED.values() for system in systems]
    assert sorted(shown) == sorted(doctor.SYSTEMS)


def test_phase_00_shows_the_doctors_findings_in_a_rehearsal_too(
    migration: Any, migration_toml: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    migration.source("CREATE TABLE a (id int PRIMARY KEY)")
    monkeypatch.chdir(migration_toml(migration.profile).parent)
    phase = Assessment("local", "A", apply=False)
    for check in (
        phase.check_security,
        phase.check_aws,
        phase.check_snowflake,
        phase.check_databricks,
        phase.check_network,
    ):
        check()
    shown = {finding.on for found in phase.found.values() for finding in found}
    assert {f"{each.system}: {each.finding.on}" for each in doctor.examine(phase.settings)} <= shown


def test_limits_that_would_be_met_are_named_with_what_raises_them(migration: Any) -> None:
    migration.source("CREATE TABLE a (id int PRIMARY KEY)")
    role, database = f"few_{os.getpid()}", migration.settings.source.dbname
    migration.source(
        f"CREATE ROLE {role} LOGIN PASSWORD 'OfTests-1' CONNECTION LIMIT 3", f"GRANT SELECT ON a TO {role}"
    )
    source = migration.settings.source.model_copy(update={"user": role, "password": SecretStr("OfTests-1")})
    try:
        found = of(doctor.examine(changed(migration.settings, source=source), ("source",)), "source")
        limit = found["connection limit of the role"]
        assert limit.severity == "stop" and limit.fix.startswith(f"ALTER ROLE {role} CONNECTION LIMIT ")
        with migration.superuser() as cursor:
            cursor.execute(limit.fix)
            cursor.execute(f"ALTER DATABASE {database} CONNECTION LIMIT 2")
        found = of(doctor.examine(changed(migration.settings, source=source), ("source",)), "source")
        assert found["connection limit of the role"].severity == "note"
        assert found["connection limit of the database"].severity == "stop"
        many = changed(migration.settings, export=Export(workers=64))
        assert (
            "workers"
            in of(doctor.examine(many, ("source.connection*",)), "source")["connection limit of the database"].needed
        )
    finally:
        with migration.superuser() as cursor:
            cursor.execute(f"ALTER DATABASE {database} CONNECTION LIMIT -1; DROP OWNED BY {role}; DROP ROLE {role}")


def test_open_transactions_and_long_snapshots_are_told(migration: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    migration.source("CREATE TABLE a (id int PRIMARY KEY)", "INSERT INTO a SELECT generate_series(1, 20000)")
    monkeypatch.setattr(of_source, "LONG_TRANSACTION_SECONDS", 0.0)
    monkeypatch.setattr(of_source, "BYTES_A_SECOND", 1)
    with closing(postgres.connect(migration.settings.source, settings={"search_path": "public"})) as writer:
        writer.cursor().execute("INSERT INTO a VALUES (-1)")
        found = of(doctor.examine(migration.settings, ("source",)), "source")
    assert "session" in found["open transactions"].what
    assert found["snapshot"].severity == "stop" and "hold_snapshot_hours" in found["snapshot"].fix


def test_a_target_that_others_fill_and_names_that_clash_are_told(migration: Any) -> None:
    migration.source(
        "CREATE TABLE a (id int PRIMARY KEY)",
        'CREATE TABLE "A b" (id int)',
        "CREATE SCHEMA s",
        "CREATE TABLE s.a (id int)",
    )
    found = doctor.examine(migration.settings, ("snowflake", "databricks"))
    assert of(found, "snowflake")["names"].severity == of(found, "databricks")["names"].severity == "stop"
    assert {"s.a", "public.a"} <= {word.rstrip(":") for word in of(found, "snowflake")["names"].what.split()}
    migration.source("DROP SCHEMA s CASCADE")
    target = migration.settings.snowflake
    with snowflake.connect(target) as session:
        schema = snowflake.identifier(target.database, target.schema_)
        for statement in (f"CREATE SCHEMA {schema}", f'CREATE TABLE {schema}."a" (X INT)'):
            session.execute(statement, doing="stand in the way")
    theirs = of(doctor.examine(migration.settings, ("snowflake",)), "snowflake")["target's tables"]
    assert theirs.severity == "stop" and theirs.what.startswith("a is a table that no load of ours made")


def test_a_manifest_of_another_source_is_not_to_be_replaced(migration: Any) -> None:
    migration.source("CREATE TABLE a (id int PRIMARY KEY)")
    migration.export()
    assert of(doctor.examine(migration.settings, ("stage",)), "stage")["manifest"].severity == "note"
    other = migration.settings.source.model_copy(update={"dbname": "postgres"})
    found = of(doctor.examine(changed(migration.settings, source=other), ("stage",)), "stage")["manifest"]
    assert found.severity == "stop" and "would replace it" in found.what


def test_a_stage_is_missed_only_where_there_is_a_target(local_settings: Settings) -> None:
    without = changed(local_settings, stage=None)
    assert [each.verdict for each in doctor.examine(without, ("stage",))] == ["wrong"]
    stays = changed(local_settings, stage=None, snowflake=None, databricks=None)
    assert [each.verdict for each in doctor.examine(stays, ("stage", "snowflake", "databricks"))] == ["not checked"]


def test_people_without_a_key_or_too_few_of_them_are_told(local_settings: Settings) -> None:
    (alice, key), *_ = local_settings.approvals.people.items()
    tomorrow = date.today() + timedelta(days=2)

    def found(**approvals: Any) -> dict[str, Finding]:
        settings = changed(local_settings, approvals=Approvals(**approvals))
        return {each.on: each for each in people.examine(Subject(settings))}

    assert found(people={alice: key})["keys"].severity == "note"
    assert found(people={alice: "no-such-file.pem"})["keys"].severity == "stop"
    assert found(people={alice: key}, threshold=2)["people for cutover"].severity == "stop"
    assert "signs from" in found(people={alice: key}, **{"from": {alice: tomorrow}})[f"key of {alice}"].what


def test_a_machine_that_is_too_small_is_told(migration: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "MEMORY_OF_A_WORKER", 1 << 60)
    monkeypatch.setattr(machine, "OUTPUTS_BYTES", 1 << 60)
    found = {each.on: each for each in machine.examine(Subject(migration.settings))}
    assert found["memory"].severity == found["disk of outputs"].severity == "stop"
    assert found["disk for the backup"].severity == "note"


def test_files_that_a_profile_names_are_looked_at(local_settings: Settings, tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "migration")])
    now = datetime.now(UTC)

    def certificate(days: int) -> str:
        made = x509.CertificateBuilder(
            name, name, key.public_key(), 1, now - timedelta(days=99), now + timedelta(days=days, hours=1)
        )
        path = tmp_path / f"client-{days}.crt"
        path.write_bytes(made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        return str(path)

    secret = tmp_path / "client.key"
    secret.write_text("of this test")

    def found(**keys: str) -> dict[str, str]:
        source = local_settings.source.model_copy(update={"sslkey": str(secret), **keys})
        return {
            each.finding.on: each.finding.severity
            for each in doctor.examine(changed(local_settings, source=source), ("files",))
        }

    secret.chmod(0o644)
    assert found(sslcert=certificate(400)) == {"source.sslcert": "note", "source.sslkey": "warning"}
    secret.chmod(0o600)
    assert found(sslcert=certificate(9)) == {"source.sslcert": "warning", "source.sslkey": "note"}
    assert found(sslcert=certificate(-2)) == {"source.sslcert": "stop", "source.sslkey": "note"}
    assert found(sslcert=str(secret), sslrootcert=str(tmp_path / "none.pem")) == {
        "source.sslrootcert": "stop", "source.sslcert": "stop", "source.sslkey": "note",
    }  # fmt: skip


def test_brokers_and_a_topic_that_is_not_there_are_told(local_settings: Settings) -> None:
    servers = kafka.configuration(local_settings.kafka)["bootstrap.servers"]
    name = f"doctor-{os.getpid()}"
    own = Kafka(bootstrap=servers, topic=name, security="PLAINTEXT", landing="s3://x/", replicas=1, partitions=2)
    settings = changed(local_settings, kafka=own)
    missing = of(doctor.examine(settings, ("kafka",)), "kafka")["topic"]
    assert missing.severity == "warning" and missing.fix == f"runbook kafka create-topic --topic {name}"
    kafka.create_topic(own)
    found = of(doctor.examine(settings, ("kafka",)), "kafka")
    assert found["topic"].what == f"{name} has 2 partitions" and found["rights"].severity in ("unchecked", "note")
    nowhere = changed(
        local_settings, kafka=own.model_copy(update={"bootstrap": "127.0.0.1:9", "answer_timeout_seconds": 1.0})
    )
    assert not doctor.ready(doctor.examine(nowhere, ("kafka",)))


def test_what_compliance_demands_of_the_connection_is_asked(local_settings: Settings) -> None:
    demanding = changed(local_settings, compliance=Compliance(require_tls=True))
    assert of(doctor.examine(demanding, ("security",)), "security")["TLS"].severity == "stop"


def test_a_finding_holds_no_secret(migration: Any) -> None:
    secret = "Of-Nobody-77"
    target = migration.settings.snowflake
    wrong = Snowflake(
        account=target.account, user="X", database="D", schema="S", password=SecretStr(secret), connect=target.connect
    )
    from helpers.redaction import remember

    remember(secret)
    found = doctor.examine(changed(migration.settings, snowflake=wrong), ("snowflake",))
    assert not doctor.ready(found) and secret not in json.dumps(doctor.as_dict(found))


def test_a_fault_of_a_check_is_a_finding(local_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(subject: Subject) -> Iterator[Finding]:
        raise ZeroDivisionError("of this test")

    monkeypatch.setattr(people, "examine", broken)
    (found,) = doctor.examine(local_settings, ("people",))
    assert found.verdict == "wrong" and "ZeroDivisionError" in found.finding.what
    with pytest.raises(UsageError, match="no system matches"):
        doctor.examine(local_settings, ("nothing",))
    assert threading.active_count() < 50
