"""A source as people have it: TLS with client certificates, several hosts, a socket, a service file, a password file.

Every driver is asked: psycopg2, the keeper's process, DuckDB's reader and pg_dump. Would catch: a key that one of them is not
given, a reader that goes to another server than the one that the snapshot lies on, a secret in a process list.
"""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import psutil
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from helpers.archive import backup
from helpers.errors import ConnectionFailed, SourceRefused
from helpers.local.servers import processes
from helpers.local.servers.postgres import Postgres
from helpers.local.servers.processes import Account
from helpers.platforms import duck, pg_tools, postgres
from helpers.settings import Resolved, Settings, Source
from helpers.source import held_snapshots
from helpers.source import snapshot as snapshots

OPENS = "opens the client's key"

RULES = """
local   all  all                 trust
hostssl all  certified all       cert
hostssl all  all       all       scram-sha-256
"""

Key = ec.EllipticCurvePrivateKey


@dataclasses.dataclass
class Server:
    """A PostgreSQL 15 of Debian, which speaks TLS, unlike the embedded one."""

    source: Source
    folder: Path

    def certified(self, **keys: Any) -> Source:
        """As the role that is let in by its certificate."""
        own = {
            "user": "certified", "password": None, "sslmode": "verify-full", "sslrootcert": str(self.folder / "ca.crt"),
            "sslcert": str(self.folder / "client.crt"), "sslkey": str(self.folder / "client.key"),
            "sslpassword": Resolved(OPENS),
        }  # fmt: skip
        return Source.model_validate({**keys_of(self.source), **own, **keys})


def keys_of(source: Source) -> dict[str, Any]:
    """What a section would say."""
    found = {name: getattr(source, name) for name in source.model_fields_set}
    secret = source.password.get_secret_value() if source.password else None
    return {**found, "password": Resolved(secret) if secret else None}


def _certificate(name: str, key: Key, by: tuple[x509.Name, Key] | None = None) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer, signs = by or (subject, key)
    now = datetime.now(UTC)
    hosts: list[x509.GeneralName] = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
    builder = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30)).add_extension(x509.BasicConstraints(by is None, None), critical=True)
        .add_extension(x509.SubjectAlternativeName(hosts), critical=False)
    )  # fmt: skip
    return builder.sign(signs, hashes.SHA256())


def _written(folder: Path) -> None:
    """An authority, the server's certificate and a client's, whose key is encrypted."""
    authority, server, client = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    root = _certificate("authority", authority)
    for name, key, subject in (("server", server, "localhost"), ("client", client, "certified")):
        made = _certificate(subject, key, (root.subject, authority))
        (folder / f"{name}.crt").write_bytes(made.public_bytes(serialization.Encoding.PEM))
        hidden: Any = serialization.NoEncryption()
        if name == "client":
            hidden = serialization.BestAvailableEncryption(OPENS.encode())
        text = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden)
        (folder / f"{name}.key").touch(0o600)
        (folder / f"{name}.key").write_bytes(text)
    (folder / "ca.crt").write_bytes(root.public_bytes(serialization.Encoding.PEM))


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    binaries = pg_tools.DEBIAN / "15" / "bin"
    if not binaries.exists():
        pytest.skip("PostgreSQL 15 is not installed: apt-get install postgresql-15")
    folder = Path(tempfile.mkdtemp(prefix="runbook-tls-", dir="/tmp"))
    account, password = Account.for_postgres(), "of the TLS server"
    made = Postgres(folder, processes.free_port(set()), binaries, account, password, password)
    folder.chmod(0o711)
    _written(folder)
    secret = folder / "password"
    secret.write_text(password)
    for path in (folder, secret, folder / "server.key"):
        account.own(path)
    subprocess.run(  # type: ignore[call-overload]
        [
            binaries / "initdb", "-D", made.data, "-U", "postgres", "--pwfile", secret, "--encoding=UTF8", "--locale=C", "--no-sync",
        ],
        cwd=folder, check=True, capture_output=True, **account.options(),
    )  # fmt: skip
    with (made.data / "postgresql.conf").open("a") as file:
        file.write(
            "include 'runbook.conf'\nssl = on\nfsync = off\n"
            f"ssl_cert_file = '{folder}/server.crt'\nssl_key_file = '{folder}/server.key'\nssl_ca_file = '{folder}/ca.crt'\n"
            f"unix_socket_directories = '{folder}'\n"
        )
    (made.data / "pg_hba.conf").write_text(RULES)
    running = made.start()
    try:
        made.wait(running, 0)
        source = Source(host="localhost", port=made.port, dbname="sales", user="sales", password=Resolved(password))
        with postgres.committing(source, settings={"search_path": "public"}) as cursor:
            cursor.execute("CREATE TABLE kept AS SELECT n AS id, md5(n::text) AS note FROM generate_series(1, 50) n")
        with closing(made._connect("sales")) as connection:
            cursor = connection.cursor()
            cursor.execute("CREATE ROLE certified LOGIN REPLICATION; GRANT SELECT ON kept TO certified")
        yield Server(source, folder)
    finally:
        processes.stop(running, made.marker, by=made.stop_signal)
        shutil.rmtree(folder)


def reads_everywhere(source: Source, folder: Path) -> Source:
    """The table, by every driver, in one snapshot; the source on the server that answered."""
    snapshot = snapshots.take(source)
    try:
        on = snapshots.on(source, snapshot)
        with snapshots.reading(on, snapshot.name) as cursor:
            assert postgres.value(cursor, "SELECT count(*) FROM public.kept") == 50
        with closing(duck.connect()) as connection:
            duck.attach_postgres(connection, on, snapshot.name)
            query = "FROM postgres_query('source', 'SELECT count(*) FROM public.kept')"
            assert connection.execute(query).fetchall() == [(50,)]
            connection.execute("ROLLBACK")
        path = folder / "made.dump"
        backup.dump(on, path, snapshot=snapshot.name)
        path.unlink()
    finally:
        held_snapshots.release(snapshot)
    return on


def test_a_client_certificate_and_the_servers_name_are_proved_by_every_driver(server: Server, tmp_path: Path) -> None:
    reads_everywhere(server.certified(), tmp_path)
    for wrong, says in (
        ({"sslrootcert": None}, "root certificate"),
        ({"sslrootcert": str(server.folder / "client.crt")}, "certificate verify failed"),
        ({"sslpassword": Resolved("another word")}, "private key|decrypt"),
        ({"user": "sales", "sslcert": None, "sslkey": None, "sslpassword": None}, "no password"),
    ):
        with pytest.raises(ConnectionFailed, match=says):
            postgres.connect(server.certified(**wrong))


def test_a_socket_serves_every_driver_whatever_the_environment_says(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PGSERVICE", "PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGUSER", "PGTARGETSESSIONATTRS"):
        monkeypatch.setenv(name, "192.0.2.1")
    keys = {**keys_of(server.source), "host": str(server.folder), "password": None}
    on = reads_everywhere(Source.model_validate(keys), tmp_path)
    assert str(server.folder) in postgres.address(on)


def test_a_service_and_a_password_file_serve_every_driver(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = server.source
    (tmp_path / "services").write_text(
        f"# ours\n[other]\nhost=nowhere.invalid\n\n[sales]\nhost=localhost\nport={source.port}\ndbname=sales\nuser=sales\n"
        "sslmode=verify-full\n"
        + f"sslrootcert={server.folder}/ca.crt\nkeepalives_idle=7\napplication_name=theirs\n[last]\nport=1\n"
    )
    assert source.password
    secret = source.password.get_secret_value()
    passwords = tmp_path / "passwords"
    passwords.touch(0o600)
    passwords.write_text(f"localhost:{source.port}:sales:sales:{secret}\n")
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    found = Source.model_validate({"service": "sales", "passfile": str(passwords)})
    assert (found.host, found.port, found.connect) == ("localhost", source.port, {"keepalives_idle": "7"})
    reads_everywhere(found, tmp_path)
    monkeypatch.setenv("PGPASSFILE", str(passwords))
    reads_everywhere(Source.model_validate({"service": "sales"}), tmp_path)
    passwords.write_text("")
    with pytest.raises(ConnectionFailed, match="no password"):
        postgres.connect(Source.model_validate({"service": "sales"}))


def test_the_host_that_serves_is_the_one_that_all_readers_go_to(
    server: Server, local_settings: Settings, tmp_path: Path
) -> None:
    dead = processes.free_port({server.source.port})
    keys = {**keys_of(server.source), "target_session_attrs": "read-write"}
    several = Source.model_validate({**keys, "host": "127.0.0.1,localhost", "port": f"{dead},{server.source.port}"})
    on = reads_everywhere(several, tmp_path)
    assert on.instance and (on.instance.host, on.instance.port) == ("localhost", server.source.port)
    # Records are compared: what a source is called does not depend on which of its servers answered.
    assert postgres.address(on) == postgres.address(several) == f"PostgreSQL sales at 127.0.0.1:{dead},localhost:{server.source.port} as sales"  # fmt: skip
    with pytest.raises(ConnectionFailed, match="server is not in hot standby mode"):
        postgres.connect(Source.model_validate({**keys_of(several), "target_session_attrs": "standby"}))


def test_another_server_in_the_snapshots_place_is_refused_by_every_driver(
    server: Server, local_settings: Settings, tmp_path: Path
) -> None:
    snapshot = snapshots.take(server.source)
    try:
        on = snapshots.on(server.source, snapshot)
        assert on.instance
        # As if the name led to another server by now: the local stack's own.
        other = local_settings.source
        assert other.password
        moved = other.on(dataclasses.replace(on.instance, host=other.host, port=int(other.port)))
        with pytest.raises(SourceRefused, match="another of several"), snapshots.reading(moved, snapshot.name):
            pass
        assert not snapshots.is_held(moved, snapshot.name)
        with closing(duck.connect()) as connection, pytest.raises(SourceRefused, match="another of several"):
            duck.attach_postgres(connection, moved, snapshot.name)
        with pytest.raises(SourceRefused, match="another of several"):
            backup.dump(moved, tmp_path / "made.dump")
    finally:
        held_snapshots.release(snapshot)


def test_no_secret_stands_in_a_process_list(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # where no other test's files come and go
    source = server.certified()
    seen: set[str] = set()
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            for process in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):
                    seen.update(process.cmdline())

    watch = threading.Thread(target=look)
    watch.start()
    try:
        reads_everywhere(source, tmp_path)
    finally:
        stop.set()
        watch.join()
    assert any("pg_dump" in each for each in seen)
    assert not [each for each in seen if OPENS in each]
    assert not list(Path(tempfile.gettempdir()).glob("runbook-service-*/pg_service.conf"))
