"""The assessment's checks, each with what it is there to find: a thing is spoiled, and its gate closes.

Would catch: a check that passes where a right is missing, a limit is missed, a superuser is connected, a bucket takes nothing, a
certificate has ended, or a backup is cut short or restores other rows; a list of integrations that lacks one; a choice that is
taken without a signature; a box of another path in the ledger, or one of the chosen path that is missing there.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import psycopg2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from helpers.archive import backup, recovery
from helpers.assessment import growth, hybrid, paths, security
from helpers.doctor import network, trial
from helpers.errors import (
    AwaitingPerson,
    BackupError,
    ConnectionFailed,
    GateClosed,
    SettingsError,
    SourceRefused,
    UsageError,
)
from helpers.evidence import approvals
from helpers.evidence.declared import declared_steps
from helpers.finding import Finding
from helpers.ledger import folders, keys
from helpers.ledger.ledger import Ledger
from helpers.phases.p00_assessment.assessment import INTEGRATIONS, Assessment
from helpers.phases.p00_assessment.path_selection import PathSelection
from helpers.platforms import snowflake, spark
from helpers.platforms.s3 import Bucket
from helpers.settings import Settings, Tables

Walk = Callable[..., Assessment]
READER_PASSWORD = "ReaderOfTests-1"


@pytest.fixture
def walk(migration: Any, migration_toml: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Walk:
    """An assessment of a small source with the legacy tables' names: `walk("B", extra="[profiles.local.tables] …")`."""
    migration.source(
        "CREATE TABLE stores (store_id int PRIMARY KEY, name text)",
        "CREATE TABLE customers (customer_id int PRIMARY KEY, name text, email text)",
        "CREATE TABLE orders (order_id int PRIMARY KEY, store_id int REFERENCES stores, day date, sales numeric)",
        "CREATE TABLE sales_daily (day date PRIMARY KEY, sales numeric)",
        "CREATE VIEW by_store AS SELECT name, sum(sales) AS sales FROM orders JOIN stores USING (store_id) GROUP BY name",
        "CREATE VIEW by_store_twice AS SELECT * FROM by_store",
        "INSERT INTO stores SELECT n, 'store ' || n FROM generate_series(1, 5) n",
        "INSERT INTO orders SELECT n, n % 5 + 1, date '2024-12-31' - n % 700, n * 1.25 FROM generate_series(1, 1000) n",
    )
    (tmp_path / "aggregate.sql").write_text(
        "-- fills; twice\nINSERT INTO sales_daily\nWITH a AS (SELECT day, sum(sales) FROM public.orders GROUP BY day)\nSELECT * FROM a;\n"
    )
    monkeypatch.chdir(tmp_path)
    own = migration.settings.values

    def walked(
        option: str = "A",
        *,
        apply: bool = True,
        source: str = "",
        stage: str = "",
        snow: str = "",
        sla: str = "",
        extra: str = "",
    ) -> Assessment:
        migration_toml(
            '[profiles.local]\nstack = "local"\n'
            f'[profiles.local.source]\ndbname = "{own.source.dbname}"\n{source}\n'
            f'[profiles.local.stage]\n{stage or f"""url = "{own.stage.url}" """}\n'
            f'[profiles.local.snowflake]\nschema = "{own.snowflake.schema_}"\n{snow}\n'
            f'[profiles.local.sla]\nqueries = ["aggregate.sql"]\nviews = ["by_store"]\n{sla or "seconds = { sales_daily = 60, by_store = 60, open_orders = 60, product_ranking = 60, sales_monthly = 60 }"}\n'
            f"{extra}\n"
        )  # fmt: skip
        return Assessment("local", option, apply=apply)

    return walked


def unknown_limits(found: Assessment) -> Assessment:
    """Profile local promises times for the sample's own tables, which this source does not have."""
    values = found.settings.values
    assert values.sla
    seconds = {name: limit for name, limit in values.sla.seconds.items() if name in ("sales_daily", "by_store")}
    sla = values.sla.model_copy(update={"seconds": seconds})
    found.settings = Settings("local", found.settings.file, values.model_copy(update={"sla": sla}))
    return found


@pytest.fixture
def reader(migration: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A role that may log in and nothing else; its lines for the profile's source."""
    name = f"reader_{os.getpid()}"
    migration.source(f"DROP ROLE IF EXISTS {name}", f"CREATE ROLE {name} LOGIN PASSWORD '{READER_PASSWORD}'")
    monkeypatch.setenv("READER_PASSWORD", READER_PASSWORD)
    yield f'user = "{name}"\npassword = {{ env = "READER_PASSWORD" }}'
    with migration.superuser() as cursor:
        cursor.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


def told(capsys: Any) -> str:
    return str(capsys.readouterr().out)


def listed(phase: Assessment) -> list[dict[str, Any]]:
    """The list of downstream integrations as the run keeps it for phase 40."""
    kept = phase.run.view()["s00-integrations"].result or {}
    found: list[dict[str, Any]] = json.loads((folders.run_folder() / kept[INTEGRATIONS]).read_text())
    return found


def stops(found: Iterator[Finding] | list[Finding]) -> list[Finding]:
    return [each for each in found if each.severity == "stop"]


def test_a_role_without_rights_closes_the_first_gates_and_with_them_passes(
    walk: Walk, reader: str, migration: Any
) -> None:
    role = reader.split('"')[1]
    with pytest.raises(GateClosed, match=f"the role {role} may not select from it") as closed:
        walk(source=reader).check_usage()
    assert f"GRANT SELECT ON public.orders TO {role}" in closed.value.next_step
    with pytest.raises(SourceRefused, match="GRANT SELECT"):
        walk(source=reader).check_volume()
    with pytest.raises(GateClosed, match="the list may be incomplete") as closed:
        walk(source=reader).check_integrations()
    assert f"GRANT pg_monitor TO {role}" in closed.value.next_step

    with migration.superuser() as cursor:
        cursor.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}; GRANT pg_read_all_stats TO {role}")
    phase = walk(source=reader)
    assert not phase.check_usage().rehearsed
    phase.check_volume()
    phase.check_integrations()
    assert phase.objects()["objects"].to_dict() == {"table": 4, "view": 2, "foreign key": 1}
    assert phase.types().loc["text", "columns"] == 3
    assert phase.volume().loc["public.orders", "rows"] == 1000
    # What our own role may read and does not move, two views, is no reader's of the target.
    assert phase.integrations().loc[role, "uses"].count("public.") == 4


def test_a_stopped_server_and_an_empty_database_are_no_assessment(walk: Walk, migration: Any) -> None:
    with pytest.raises(ConnectionFailed):
        walk(source="port = 1").check_usage()
    with pytest.raises(GateClosed, match=r"the source at .*:1: cannot be reached"):
        walk(source="port = 1").check_network()
    with pytest.raises(GateClosed, match="there is no table to move"):
        walk(source='schemas = ["pg_catalog"]').check_usage()


def test_growth_is_by_the_rows_own_dates_and_never_by_a_birthday_or_the_future(migration: Any) -> None:
    migration.source(
        "CREATE TABLE a (id int, born date, birth_date date NOT NULL, at timestamptz)",
        "INSERT INTO a SELECT n, NULL, '1990-01-01', timestamptz '2024-12-31 12:00Z' - make_interval(days => n) FROM generate_series(0, 499) n",
        "INSERT INTO a VALUES (0, NULL, '1990-01-01', 'infinity'), (0, NULL, '1990-01-01', '9999-01-01'), (0, NULL, '1990-01-01', NULL)",
        "ALTER TABLE a DROP COLUMN born",
        "CREATE TABLE empty (day date)",
    )
    (found,) = growth.measure(migration.settings)
    assert (found.by, str(found.last), found.last_year, found.year_before) == ("at", "2024-12-31", 365, 135)


def test_every_kind_of_integration_is_listed_and_kept_for_later(
    walk: Walk, migration: Any, monkeypatch: Any, tmp_path: Path
) -> None:
    attempt(tmp_path, monkeypatch)
    slot = f"slot_{os.getpid()}"
    dsn = migration.settings.source
    till = psycopg2.connect(
        host=dsn.host, port=dsn.port, dbname=dsn.dbname, user=dsn.user, password=dsn.password.get_secret_value(),
        application_name="till 3",
    )  # fmt: skip
    migration.source(f"SELECT pg_create_logical_replication_slot('{slot}', 'test_decoding')")
    try:
        migration.source(
            "CREATE PUBLICATION cdc FOR TABLE orders", "GRANT SELECT ON orders TO PUBLIC"
        ) if False else None
        phase = walk()
        migration.source("CREATE PUBLICATION cdc FOR TABLE orders", "GRANT SELECT ON orders TO PUBLIC")
        phase.check_integrations()
        kinds = {(i["kind"], i["name"]) for i in listed(phase)}
        assert {
            ("application", "till 3"),
            ("role", "PUBLIC"),
            ("replication slot", slot),
            ("publication", "cdc"),
        } == kinds
        evidence = json.loads(next(tmp_path.glob("outputs/r/*/*s00-integrations.json")).read_text())
        assert any(f["severity"] == "warning" and slot in f["on"] and "nobody reads it" in f["what"] for f in evidence)
    finally:
        till.close()
        migration.source(f"SELECT pg_drop_replication_slot('{slot}')")


@pytest.mark.parametrize(
    ("sla", "says"),
    [
        ("seconds = { sales_daily = 0.000001 }", "sales_daily: takes .* were promised"),
        ("total_seconds = 0.000001", "all queries: take"),
        ("seconds = { nothing = 5 }", "nothing: has a limit, and no query of that name was timed"),
    ],
)
def test_a_promise_that_is_missed_closes_the_gate(walk: Walk, sla: str, says: str) -> None:
    with pytest.raises(GateClosed, match=says):
        walk(sla=sla).check_performance()


def test_the_aggregation_runs_and_writes_nothing(walk: Walk, migration: Any, tmp_path: Path) -> None:
    phase = unknown_limits(walk())
    phase.check_performance()
    baseline = phase.baseline()
    assert dict(baseline["rows"]) == {"sales_daily": 700, "by_store": 5}
    assert (baseline["slowest, s"] >= baseline["fastest, s"]).all()
    assert migration.source("SELECT count(*) FROM sales_daily") == [(0,)]
    (tmp_path / "aggregate.sql").write_text("INSERT INTO x SELECT no_such_column FROM public.orders;\n")
    with pytest.raises(GateClosed, match="could not be timed: column"):
        phase.check_performance()
    (tmp_path / "aggregate.sql").write_text(
        "INSERT INTO x WITH d AS (DELETE FROM public.orders RETURNING 1) SELECT * FROM d;\n"
    )
    with pytest.raises(GateClosed, match="read-only transaction"):
        phase.check_performance()
    assert migration.source("SELECT count(*) FROM orders") == [(1000,)]
    (tmp_path / "aggregate.sql").write_text("UPDATE x SET y = 1;\n")
    with pytest.raises(SettingsError, match="neither INSERT INTO"):
        phase.check_performance()
    migration.source("DROP VIEW by_store CASCADE")
    (tmp_path / "aggregate.sql").write_text("INSERT INTO x SELECT 1;\n")
    with pytest.raises(GateClosed, match="there is no such view"):
        phase.check_performance()


def test_a_superuser_application_closes_the_gate_unless_it_is_named(walk: Walk, migration: Any) -> None:
    walk().check_security()
    with migration.superuser("nightly load"):
        with pytest.raises(GateClosed, match="application nightly load: it is connected as the superuser postgres"):
            walk().check_security()
        walk(extra='[profiles.local.compliance]\nsuperusers = ["postgres"]').check_security()


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("require_tls = true", "our own connection has none, and the server offers none"),
        ('personal = ["public.customers.name"]', "public.customers.email: looks like personal data"),
    ],
)
def test_what_compliance_asks_for_and_is_not_so_closes_the_gate(walk: Walk, asked: str, says: str) -> None:
    with pytest.raises(GateClosed, match=says):
        walk(extra=f"[profiles.local.compliance]\n{asked}").check_security()
    walk(extra='[profiles.local.compliance]\npersonal = ["public.customers.*"]').check_security()


def test_personal_data_are_known_by_the_usual_spellings_of_their_names(migration: Any) -> None:
    with migration.superuser("names") as cursor:
        cursor.execute("CREATE SCHEMA names")
        cursor.execute(
            'CREATE TABLE names.person (emailaddress text, "BirthDate" date, phonenumber text, "NationalIDNumber" text,'
            " home_phone text, addressline1 text, cardnumber text, middlename text,"
            " email_id int, address_id int, phone_type text, rebirth text, zipper text, taxrate int)"
        )
        try:
            found = security.personal_columns(cursor, ["names"])
        finally:
            cursor.execute("DROP SCHEMA names CASCADE")
    wanted = "BirthDate NationalIDNumber addressline1 cardnumber emailaddress home_phone middlename phonenumber"
    assert [name.removeprefix("names.person.") for name in found] == wanted.split()


def test_what_everybody_may_do_is_told(walk: Walk, migration: Any, monkeypatch: Any, tmp_path: Path) -> None:
    attempt(tmp_path, monkeypatch)
    phase = walk()
    migration.source(
        "GRANT SELECT ON customers TO PUBLIC", "CREATE SCHEMA shared", "GRANT CREATE ON SCHEMA shared TO PUBLIC"
    )
    phase.check_security()
    found = json.loads(next(tmp_path.glob("outputs/r/*/*s00-security.json")).read_text())
    fixes = {f["fix"] for f in found if f["severity"] == "warning"}
    assert {"REVOKE ALL ON public.customers FROM PUBLIC", "REVOKE CREATE ON SCHEMA shared FROM PUBLIC"} <= fixes


@pytest.mark.parametrize(
    ("stage", "asked", "says"),
    [
        ('url = "s3://no-such-bucket/x/"', "", "there is no bucket no-such-bucket"),
        (
            'url = "s3://migration/x/"\nendpoint = "ENDPOINT"\naccess_key = "nobody"\nsecret_key = { env = "NOBODYS_KEY" }',
            "",
            "could not list",
        ),
        ('url = "s3://migration/x/"', "versioned_stage = true", "keeps no versions"),
        ('url = "s3://migration/x/"', "encrypted_stage = true", "does not say that it encrypts"),
        ('url = "s3://migration/x/"', 'regions = ["eu-central-1"]', "lies in us-east-1"),
    ],
)
def test_a_stage_that_takes_nothing_or_lacks_what_is_asked_closes_the_gate(
    walk: Walk, migration: Any, monkeypatch: pytest.MonkeyPatch, stage: str, asked: str, says: str
) -> None:
    monkeypatch.setenv("NOBODYS_KEY", "of-nobody-at-all")
    # Another name of the same server, so that it counts as the profile's own.
    stage = stage.replace("ENDPOINT", migration.settings.stage.endpoint.replace("127.0.0.1", "localhost"))
    with pytest.raises(GateClosed, match=says):
        walk(stage=stage, extra=f"[profiles.local.compliance]\n{asked}").check_aws()


def test_the_stage_is_left_as_it_was(walk: Walk, migration: Any, monkeypatch: Any) -> None:
    walk().check_aws()
    assert not [name for name in migration.bucket.sizes() if trial.SCRATCH in name]
    monkeypatch.setattr(Bucket, "write", lambda *given: pytest.fail("a rehearsal writes"))
    walk(apply=False).check_aws()


@pytest.mark.parametrize(
    ("snow", "says"),
    [
        ('user = "nobody"\npassword = { env = "READER_PASSWORD" }', "could not connect"),
        ('role = "AUDITOR"', "Role 'AUDITOR' specified in the connect string is not granted to this user"),
    ],
)
def test_a_snowflake_that_does_not_let_us_in_closes_the_gate(
    walk: Walk, snow: str, says: str, monkeypatch: Any
) -> None:
    monkeypatch.setenv("READER_PASSWORD", READER_PASSWORD)
    with pytest.raises(GateClosed, match=says):
        walk(snow=snow).check_snowflake()


def test_snowflake_is_left_as_it_was(walk: Walk, migration: Any) -> None:
    phase = walk()
    phase.check_snowflake()
    database = migration.settings.snowflake.database
    with snowflake.connect(migration.settings.snowflake) as session:
        left = session.execute(
            f"SELECT SCHEMA_NAME FROM {database}.INFORMATION_SCHEMA.SCHEMATA", doing="list the schemas"
        )
    assert not [row for row in left if trial.SCRATCH in str(row)]


def test_databricks_answers_or_the_gate_is_closed(walk: Walk, monkeypatch: pytest.MonkeyPatch) -> None:
    phase = walk()
    phase.check_databricks()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setitem(spark.RETRIES, "pysail", 0)
        monkeypatch.setattr(spark, "_url", lambda target: f"sc://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(GateClosed, match="could not"):
            phase.check_databricks()
    assert phase._answering == {"databricks": False}


def test_a_path_without_any_target_is_closed(walk: Walk) -> None:
    phase = walk()
    phase.settings = Settings(
        "local", phase.settings.file, phase.settings.values.model_copy(update={"snowflake": None})
    )
    assert phase.check_snowflake()
    phase.settings = Settings(
        "local", phase.settings.file, phase.settings.values.model_copy(update={"databricks": None})
    )
    with pytest.raises(GateClosed, match="the profile does not name it"):
        phase.check_databricks()


@pytest.fixture
def tls(tmp_path: Path) -> Iterator[Callable[[int], tuple[int, Path]]]:
    """Servers with a certificate of their own that ends in so many days."""
    open_servers: list[socket.socket] = []

    def serve(days: int) -> tuple[int, Path]:
        key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
        now = dt.datetime.now(dt.UTC)
        made = (
            x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(now - dt.timedelta(days=90))
            .not_valid_after(now + dt.timedelta(days=days, hours=1))
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=True)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )  # fmt: skip
        certificate, private = tmp_path / f"{days}.crt", tmp_path / f"{days}.key"
        certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        private.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))  # fmt: skip
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, private)
        listening = socket.create_server(("127.0.0.1", 0))
        open_servers.append(listening)

        def answer() -> None:
            while True:
                try:
                    plain, _ = listening.accept()
                except OSError:
                    return
                try:
                    with context.wrap_socket(plain, server_side=True) as secure:
                        secure.recv(1)
                except OSError:
                    plain.close()

        threading.Thread(target=answer, daemon=True).start()
        return listening.getsockname()[1], certificate

    yield serve
    for each in open_servers:
        each.close()


def seen(endpoint: network.Endpoint) -> Finding:
    (finding,) = network.findings(network.reach([endpoint]))
    return finding


def test_certificates_are_looked_at(tls: Any, migration: Any) -> None:
    port, own = tls(200)
    trusted = network.Endpoint("x", "127.0.0.1", port, tls=True, authority=str(own))
    assert (seen(trusted).severity, "valid for 200 days" in seen(trusted).what) == ("note", True)
    untrusted = seen(network.Endpoint("x", "127.0.0.1", port, tls=True))
    assert (untrusted.severity, "not trusted" in untrusted.what) == ("stop", True)
    assert seen(network.Endpoint("x", "127.0.0.1", port, tls=True, verify=False)).severity == "note"
    assert "not trusted" in seen(network.Endpoint("x", "localhost", port, tls=True, authority=str(own))).what
    port, own = tls(5)
    soon = seen(network.Endpoint("x", "127.0.0.1", port, tls=True, authority=str(own)))
    assert (soon.severity, soon.what) == ("warning", "its certificate ends in 5 days")
    port, own = tls(-3)
    assert seen(network.Endpoint("x", "127.0.0.1", port, tls=True, authority=str(own))).severity == "stop"
    assert seen(network.Endpoint("x", "127.0.0.1", port, tls=True, verify=False)).severity == "stop"
    source = migration.settings.source
    no_tls = seen(network.Endpoint("the source", source.host, source.port, tls="postgres"))
    assert (no_tls.severity, "offers no TLS" in no_tls.what) == ("stop", True)


def test_a_backup_is_proven_though_the_source_moves_on(walk: Walk, migration: Any, monkeypatch: Any) -> None:
    whole = backup.dump

    def dump_then_write(*given: Any, **options: Any) -> Any:
        made = whole(*given, **options)
        migration.source(
            "INSERT INTO orders VALUES (-1, 1, now(), 1)", "UPDATE orders SET sales = 0 WHERE order_id < 10"
        )
        return made

    monkeypatch.setattr(backup, "dump", dump_then_write)
    phase = walk()
    assert not phase.check_backup().rehearsed
    assert set(phase.backup()["restored"]) == {"equal"}
    assert phase.backup().loc["public.orders", "source rows"] == 1000
    assert migration.source(f"SELECT datname FROM pg_database WHERE datname LIKE '{backup.SCRATCH}%'") == []


def test_a_backup_that_is_cut_short_closes_the_gate(walk: Walk, monkeypatch: Any) -> None:
    whole = backup.dump

    def cut(*given: Any, **options: Any) -> Any:
        made = whole(*given, **options)
        made.path.write_bytes(made.path.read_bytes()[:-100])
        return made

    monkeypatch.setattr(backup, "dump", cut)
    with pytest.raises(GateClosed, match="it was cut off"):
        walk().check_backup()


def test_a_restore_with_other_rows_closes_the_gate(walk: Walk, migration: Any, monkeypatch: Any) -> None:
    restored = backup.restored

    @contextmanager
    def spoiled(*given: Any, **options: Any) -> Iterator[Any]:
        with restored(*given, **options) as scratch:
            dsn = {"host": scratch.host, "port": scratch.port, "dbname": scratch.dbname, "user": scratch.user}
            with closing(psycopg2.connect(**dsn, password=scratch.password.get_secret_value())) as connection:
                connection.autocommit = True
                connection.cursor().execute("UPDATE orders SET sales = sales + 0.01 WHERE order_id = 77")
            yield scratch

    monkeypatch.setattr(backup, "restored", spoiled)
    with pytest.raises(GateClosed, match=r"public.orders: the restored table is different: 1 changed"):
        walk().check_backup()


def test_a_full_disk_is_seen_before_anything_is_written(migration: Any, monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.setattr(recovery.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1})())
    monkeypatch.setattr(backup, "dump", lambda *given, **options: pytest.fail("a full disk is written to"))
    with pytest.raises(BackupError, match="1 are free"):
        recovery.recover(migration.settings, cells_folder=tmp_path)


def test_a_hybrid_names_tables_that_exist_and_what_joins_both_sides(walk: Walk, migration: Any) -> None:
    walk()

    def parted_by(**described: Any) -> hybrid.Split:
        return hybrid.split(migration.settings.with_tables(Tables.model_validate(described)))

    parted = parted_by(stay={"stores": "the shops write them"}, exclude=["sales_daily"])
    assert parted.stay == {"public.stores": "stays in PostgreSQL by tables.stay stores: the shops write them"}
    assert set(parted.move) == {"public.customers", "public.orders"}
    assert parted.views == dict.fromkeys(
        ("public.by_store", "public.by_store_twice"), ("public.orders", "public.stores")
    )
    assert parted.references == (("public.orders", "public.stores"),)
    assert {"moves: public.orders", "foreign key between the sides: public.orders → public.stores"} < set(parted.lines)
    assert sum(line.startswith(("stays: public.stores", "left out: public.sales_daily")) for line in parted.lines) == 2
    half = {"public.orders": {"where": "id > 1", "reason": "the first was a trial"}}
    assert "moves: public.orders (only rows that match id > 1: the first was a trial)" in parted_by(match=half).lines
    assert [f.severity for f in hybrid.findings(parted)] == ["warning"] * 3
    assert not list(hybrid.findings(parted_by(stay=["stores", "public.ord*"])))
    assert stops(hybrid.findings(parted_by(stay=["*"])))
    assert stops(hybrid.findings(parted_by()))
    with pytest.raises(SettingsError, match="no_such"):
        parted_by(stay=["stores", "no_such*"])


def assessed(phase: Assessment) -> PathSelection:
    """Walks through the checks as the notebook does."""
    unknown_limits(phase)
    for check in (
        phase.check_usage, phase.check_volume, phase.check_integrations, phase.check_performance, phase.check_security,
        phase.check_aws, phase.check_snowflake, phase.check_databricks, phase.check_network, phase.check_backup,
    ):  # fmt: skip
        check()
    return PathSelection(phase)


def attempt(folder: Path, monkeypatch: pytest.MonkeyPatch, option: str = "A") -> Ledger:
    """Makes this process one of a run's attempts."""
    opened = folders.open_attempt(folder / "outputs", "r", "00_assessment")
    for name, value in opened.environment().items():
        monkeypatch.setenv(name, value)
    ledger = Ledger.open(folder / "outputs/r")
    ledger.append("run-opened", run="r", option=option, profile="local", apply=True, run_key="")
    return ledger


def walk_the_path(selection: PathSelection) -> pd.DataFrame:
    boxes = selection.boxes()
    selection.choose()
    return boxes


STAYS = '[profiles.local.tables]\nstay = ["stores"]'


def test_the_choice_waits_for_a_signature_and_only_the_chosen_boxes_are_recorded(
    walk: Walk, tmp_path: Path, monkeypatch: Any
) -> None:
    ledger = attempt(tmp_path, monkeypatch)
    keys.generate(tmp_path / "alice.pem")
    phase = walk(extra='[profiles.local.approvals.people]\nalice = "alice.pem.pub"')
    selection = assessed(phase)
    with pytest.raises(AwaitingPerson, match="s00-a-choice"):
        walk_the_path(selection)
    approvals.approve(
        tmp_path / "outputs/r",
        "s00-a-choice",
        by="alice",
        key=tmp_path / "alice.pem",
        settings=phase.settings,
        ledger=ledger,
    )
    boxes = walk_the_path(selection)
    assert list(boxes["answer"]) == ["passed"] * 4 + ["not chosen"] * 9
    assert list(boxes["box"][:4]) == ["Target Architecture", "Benefits", "Effort", "Timeline"]
    done = {e.get("step"): e for e in ledger.entries() if e.event == "step-done"}
    declared = {s.step for s in declared_steps("A") if s.phase == "00_assessment"}
    assert done.keys() == declared
    assert done["s00-a-choice"].get("result")["by"] == ["alice"]
    assert done["s00-a-choice"].get("result")["option"] == "A"
    listed(phase)
    # Another score is another plan, which nobody has signed.
    selection.criteria = paths.score(
        paths.Facts(0, None, None, None, 99, (0, 2), paths.support(None, "18.1"), dt.date(2026, 1, 1))
    )
    with pytest.raises(AwaitingPerson):
        selection.choose()


@pytest.mark.parametrize(
    ("option", "extra"), [("B", STAYS), ("C", "[profiles.local.legacy]\nsupported_until = 2025-09-30")]
)
def test_another_path_records_its_own_boxes_and_a_rehearsal_plans_them(
    walk: Walk, option: str, extra: str, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    ledger = attempt(tmp_path, monkeypatch, option)
    phase = walk(option, apply=False, extra=extra)
    walk_the_path(assessed(phase))
    planned = {e.get("step") for e in ledger.entries()} - {None}
    assert planned == {s.step for s in declared_steps(option) if s.phase == "00_assessment"}
    assert {e.event for e in ledger.entries() if e.get("step")} == {"step-planned"}
    shown = told(capsys)
    assert f"PLAN s00-{option.lower()}-choice: take option {option}" in shown
    notes = list(tmp_path.glob("outputs/r/*/*s00-c-note.json"))
    assert len(notes) == (option == "C")
    assert all("support of its components ended" in path.read_text() for path in notes)
    assert phase.tokens["s00-backup"].rehearsed


def test_without_a_run_nobody_is_asked_and_a_missing_part_of_the_path_closes_its_gate(
    walk: Walk, migration: Any
) -> None:
    phase = walk("B")
    selection = assessed(phase)
    with pytest.raises(GateClosed, match="no table stays"):
        selection.boxes()
    with pytest.raises(UsageError, match=r"no token|not the gate"):
        selection.choose()
    with pytest.raises(UsageError, match="no such option"):
        Assessment("local", "D", apply=True)
    with pytest.raises(UsageError, match="has not run in this session"):
        PathSelection(walk("A"))


facts = st.builds(
    paths.Facts,
    bytes=st.integers(0, 10**15),
    last_year=st.none() | st.integers(0, 10**12),
    year_before=st.none() | st.integers(0, 10**12),
    slowest_share=st.none() | st.floats(0, 1e6),
    integrations=st.integers(0, 1000),
    targets=st.none() | st.sampled_from([(0, 0), (0, 2), (1, 1), (1, 2), (2, 2)]),
    support=st.builds(
        paths.support,
        st.none() | st.dates(dt.date(2020, 1, 1), dt.date(2040, 1, 1)),
        st.sampled_from(["9.6.24", "14.1", "18.0", "19.0"]),
    ),
    today=st.dates(dt.date(2020, 1, 1), dt.date(2040, 1, 1)),
)


@given(facts)
def test_every_score_is_a_share_of_a_hundred(given_facts: paths.Facts) -> None:
    criteria = paths.score(given_facts)
    assert sum(each.weight for each in criteria) == 100
    assert all(0 <= points <= paths.MOST_POINTS for each in criteria for points in each.points)
    found = paths.totals(criteria)
    assert all(0 <= points <= 100 for points in found.values())
    assert found[paths.recommended(criteria)] == max(found.values())


def test_what_is_measured_moves_the_recommendation() -> None:
    today = dt.date(2026, 1, 1)
    own = paths.support(dt.date(2025, 9, 30), "18.1")
    assert paths.recommended(paths.score(paths.Facts(10**12, 300, 100, 2.0, 0, (1, 1), own, today))) == "A"
    assert paths.recommended(paths.score(paths.Facts(10**10, 105, 100, 0.7, 20, (1, 2), own, today))) == "B"
    assert paths.recommended(paths.score(paths.Facts(10**6, 100, 100, 0.01, 3, (0, 2), own, today))) == "C"


@pytest.mark.parametrize(
    ("said", "version", "ended", "words"),
    [
        (dt.date(2026, 1, 1), "9.6.24", False, "ends on 01 January 2026 (legacy.supported_until)"),
        (dt.date(2025, 12, 31), "18.1", True, "ended on 31 December 2025 (legacy.supported_until)"),
        (None, "13.23", True, "ended on 13 November 2025 (PostgreSQL 13)"),
        (None, "9.6.24", True, "ended on 21 November 2024 (PostgreSQL 9)"),
        (None, "18.1", False, "ends on 14 November 2030 (PostgreSQL 18)"),
        (None, "19beta1", False, "no end is known (PostgreSQL 19)"),
    ],
)
def test_support_ends_when_the_settings_say_or_with_the_server_s_version(
    said: dt.date | None, version: str, ended: bool, words: str
) -> None:
    found, today = paths.support(said, version), dt.date(2026, 1, 1)
    assert (found.has_ended(today), found.said(today)) == (ended, words)
