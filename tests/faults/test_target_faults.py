"""Faults of S3, Snowflake, Spark and Kafka and what a person is told of them: class, whether it may pass, and the cure.

Would catch: a wrong key or an expired certificate that is tried again, a service that is busy told as a wrong bucket, a reason
that is lost with the second line of a message.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import duckdb
import psycopg2
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import SecretStr
from snowflake.connector import errors as snowflake_errors

from helpers.errors import ConnectionFailed, DiskRefused, LoadError, MigrationError, StageError
from helpers.platforms import duck, kafka, snowflake, spark
from helpers.platforms.faults import driver_error
from helpers.platforms.faults import duck as duck_faults
from helpers.platforms.faults import s3 as faults
from helpers.platforms.faults import snowflake as snowflake_faults
from helpers.platforms.faults import spark as spark_faults
from helpers.platforms.s3 import Bucket
from helpers.platforms.uploads import HashedUploads
from helpers.settings import Databricks, Kafka, Settings

STAGES: dict[str, tuple[dict[str, Any], bool, str]] = {
    "wrong secret": ({"secret_key": SecretStr("wrong-secret")}, False, "secret_key"),
    "unknown key": ({"access_key": "nobody"}, False, "access_key"),
    "no such bucket": ({"url": "s3://no-such-bucket/x/"}, False, "create it"),
    "nobody listens": ({"endpoint": "http://127.0.0.1:1"}, True, "check that it runs"),
    "no such host": ({"endpoint": "http://no-such-host.invalid:9000"}, False, "correct endpoint"),
    "TLS that it lacks": ({"endpoint": "https"}, False, "correct the scheme of endpoint"),
}


@pytest.mark.parametrize("fault", STAGES)
def test_every_client_of_s3_has_the_same_answer(local_settings: Settings, fault: str) -> None:
    changed, transient, cure = STAGES[fault]
    stage = local_settings.stage
    if changed.get("endpoint") == "https":
        changed = {"endpoint": str(stage.endpoint).replace("http:", "https:")}
    bucket = Bucket.open(stage.model_copy(update=changed))
    with pytest.raises(StageError) as told:
        bucket.write("x", b"")
    assert (told.value.transient, told.value.exit_code) == (transient, 2), told.value
    assert cure in told.value.next_step
    with closing(duck.connect()) as connection:
        connection.register_filesystem(HashedUploads(bucket))
        with pytest.raises(duckdb.Error) as raised:
            connection.execute("COPY (SELECT 1 AS x) TO 'upload://x.parquet' (FORMAT parquet)")
    through = duck_faults.told(raised.value, "export", on="t")
    assert (type(through), through.transient, through.next_step) == (StageError, transient, told.value.next_step), (
        through
    )


@pytest.mark.parametrize(
    ("code", "status", "transient", "cure"),
    [
        ("AccessDenied", 403, False, "s3:PutObject"), ("ExpiredToken", 400, False, "log in again"),
        ("RequestTimeTooSkewed", 403, False, "clock"), ("PermanentRedirect", 301, False, "region"),
        ("SlowDown", 503, True, "busy"), ("InternalError", 500, True, "busy"), ("RequestTimeout", 400, True, "busy"),
        ("QuotaExceeded", 403, False, "free space in the bucket"), ("Unheard", 403, False, "s3:PutObject"),
        ("Unheard", 503, True, "busy"), ("Unheard", 418, False, "check the bucket's name"),
    ],
)  # fmt: skip
def test_what_s3_answers_is_told_by_its_code(
    answering: Any, code: str, status: int, transient: bool, cure: str
) -> None:
    answering(status, f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode())
    client = boto3.client(
        "s3", endpoint_url=answering.address, aws_access_key_id="a", aws_secret_access_key="b", region_name="us-east-1",
        config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
    )  # fmt: skip
    with pytest.raises((BotoCoreError, ClientError)) as raised:
        client.get_object(Bucket="b", Key="k")
    told = faults.told(raised.value, "read k", on="s3://b/")
    assert (type(told), told.transient) == (StageError, transient), told
    assert cure in told.next_step


@pytest.fixture
def answering() -> Iterator[Any]:
    """A service of HTTP that says the same to everybody."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = said
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    said: tuple[int, bytes] = (200, b"")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def say(status: int, body: bytes) -> None:
        nonlocal said
        said = (status, body)

    say.address = f"http://127.0.0.1:{server.server_port}"  # type: ignore[attr-defined]
    yield say
    server.shutdown()
    server.server_close()


def test_a_full_disk_of_this_machine_is_no_full_bucket(tmp_path: Path) -> None:
    with closing(duck.connect(memory="60MB", threads=1)) as connection:
        connection.execute(f"SET temp_directory = '{tmp_path}'; SET max_temp_directory_size = '1MB'")
        with pytest.raises(duckdb.Error) as raised:
            connection.execute("SELECT * FROM range(30000000) t(i) ORDER BY hash(i)").fetchone()
    told = duck_faults.told(raised.value, "compare", on="t")
    assert (type(told), told.transient) == (DiskRefused, False), told
    assert "free space" in told.next_step


@pytest.fixture(scope="module")
def expired(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A TLS server whose certificate was valid until yesterday; its port."""
    folder = tmp_path_factory.mktemp("tls")
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now - timedelta(days=2)).not_valid_after(now - timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    pem = made.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "server.pem").write_bytes(pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                with suppress(OSError, ssl.SSLError):
                    context.wrap_socket(client, server_side=True).close()

    threading.Thread(target=serve, daemon=True).start()
    yield int(listener.getsockname()[1])
    listener.close()


def test_an_expired_certificate_is_never_transient(local_settings: Settings, expired: int) -> None:
    """Of the genuine clients, each on its own way."""
    there = {
        **local_settings.snowflake.connect,
        "host": "localhost",
        "port": expired,
        "protocol": "https",
        "login_timeout": 5,
    }
    with pytest.raises(ConnectionFailed, match="certificate") as of_snowflake:
        snowflake.open_connection(local_settings.snowflake.model_copy(update={"connect": there}))
    stage = local_settings.stage.model_copy(update={"endpoint": f"https://localhost:{expired}"})
    with pytest.raises(StageError, match="certificate") as of_s3:
        Bucket.open(stage).write("x", b"")
    assert not of_snowflake.value.transient
    assert not of_s3.value.transient


@pytest.mark.parametrize(
    ("changed", "transient", "cure"),
    [
        ({"password": SecretStr("wrong-password")}, False, "Snowflake locks"),
        ({"connect": {"host": "127.0.0.1", "port": 1}}, True, "reachable"),
        ({"private_key_file": "/nowhere/key.p8"}, False, "private_key_file"),
    ],
    ids=["wrong password", "nobody listens", "no key"],
)
def test_a_login_that_snowflake_refuses_is_not_tried_again(
    local_settings: Settings, changed: dict[str, Any], transient: bool, cure: str
) -> None:
    if "connect" in changed:
        changed = {"connect": {**local_settings.snowflake.connect, **changed["connect"], "login_timeout": 2}}
    with pytest.raises(ConnectionFailed) as told:
        snowflake.open_connection(local_settings.snowflake.model_copy(update=changed))
    assert (told.value.transient, told.value.exit_code) == (transient, 2), told.value
    assert cure in told.value.next_step
    assert "wrong-password" not in str(told.value)


def test_the_second_line_of_snowflakes_message_is_the_reason(local_settings: Settings) -> None:
    database = local_settings.snowflake.database
    with snowflake.connect(local_settings.snowflake) as session, pytest.raises(LoadError) as told:
        session.execute(f'SELECT * FROM "{database}"."INFORMATION_SCHEMA"."NO_SUCH_TABLE"', doing="read a table")
    assert "NO_SUCH_TABLE" in told.value.why
    assert "\n" not in told.value.why
    assert not told.value.transient


@pytest.mark.parametrize(
    ("number", "said", "kind", "transient", "cure"),
    [
        (3001, "SQL access control error:\nInsufficient privileges to operate on schema 'S'.", LoadError, False, "USAGE"),
        (2003, "SQL compilation error:\nObject 'D.S.T' does not exist or not authorized.", LoadError, False, "does not say which"),
        (390422, "Incoming request with IP/Token 192.0.2.1 is not allowed to access Snowflake.", ConnectionFailed, False, "network policy"),
        (250001, "Failed to connect to DB: a:443. Incoming request with IP/Token 192.0.2.1 is not allowed to access Snowflake.", ConnectionFailed, False, "network policy"),
        (250001, "Failed to connect to DB: a:443. Multi-factor authentication is required for this account.", ConnectionFailed, False, "key pair"),
        (390144, "JWT token is invalid. [6d0c]", ConnectionFailed, False, "RSA_PUBLIC_KEY"),
        (390318, "OAuth access token expired.", ConnectionFailed, False, "have a new one issued"),
        (90073, "Warehouse 'W' cannot be resumed because resource monitor 'M' has exceeded its quota.", LoadError, False, "resource monitor"),
        (630, "Statement reached its statement or warehouse timeout of 10 second(s) and was canceled.", LoadError, False, "STATEMENT_TIMEOUT"),
        (625, "Statement 'x' has locked table 'T' and was aborted.", LoadError, True, "SHOW LOCKS"),
        (390114, "Authentication token has expired.", ConnectionFailed, True, "session has ended"),
    ],
)  # fmt: skip
def test_snowflakes_numbers_have_their_cures(
    number: int, said: str, kind: type[MigrationError], transient: bool, cure: str
) -> None:
    error = snowflake_errors.ProgrammingError(msg=said, errno=number, sqlstate="XX000")
    told = snowflake_faults.told(error, "load T", on="Snowflake a")
    assert (type(told), told.transient) == (kind, transient), told
    assert cure in told.next_step
    assert said.splitlines()[-1].rstrip(".") in told.why, "the reason stands in the last line"


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("Numeric value 'hunter2' is not recognized\n  File 'x/0.parquet', row 3, column T[\"salary\":4]", 'column T["salary":4]'),
        ("Duplicate row detected during DML action\nRow Values: [\"hunter2\", 5]", "Duplicate row detected"),
        ("String 'hunter2' is too long and would be truncated\n  column \"name\"", 'column "name"'),
    ],
)  # fmt: skip
def test_a_message_keeps_the_column_and_not_the_rows_value(said: str, kept: str) -> None:
    error = snowflake_errors.ProgrammingError(msg=said, errno=100038, sqlstate="22018")
    told = snowflake_faults.told(error, "load T", on="Snowflake a")
    assert kept in told.why and "hunter2" not in str(told), told


@pytest.mark.filterwarnings("ignore:.*RETRIES_EXCEEDED")
@pytest.mark.parametrize(
    ("url", "transient", "cure"),
    [
        ("sc://127.0.0.1:1", True, "check host and cluster"),
        ("sc://no-such-host.invalid:15002", False, "name resolution"),
        ("sc://localhost:{expired}/;use_ssl=true", False, "certificate"),
    ],
)
def test_a_spark_that_is_not_to_be_had(
    expired: int, url: str, transient: bool, cure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(spark.RETRIES, "spark", 1)
    target = Databricks.model_construct(url=url.format(expired=expired), host=None, cluster_id=None, token=None, catalog=None,
                                        schema_="s", delta_root=None, files="s3", engine="spark")  # fmt: skip
    with pytest.raises(ConnectionFailed) as told, spark.connect(target) as session:
        session.execute("SELECT 1", doing="ask")
    assert told.value.transient is transient, told.value
    assert cure in told.value.next_step


@pytest.mark.parametrize(
    ("said", "kind", "transient", "cure"),
    [
        ('(org.apache.hadoop.fs.UnsupportedFileSystemException) No FileSystem for scheme "s3"\n\nJVM stacktrace:', LoadError, False, 'files = "s3a"'),
        ('No FileSystem for scheme "s3a"', LoadError, False, "hadoop-aws"),
        ("io.delta.exceptions.ConcurrentAppendException: Files were added", LoadError, True, "another writer"),
        ("getFileStatus on s3a://b/x: software.amazon.awssdk S3Exception: Forbidden (Status Code: 403): AccessDenied", LoadError, False, "right to read the stage"),
    ],
)  # fmt: skip
def test_what_hadoop_says_through_spark(said: str, kind: type[MigrationError], transient: bool, cure: str) -> None:
    """As Apache Spark 4.1 with hadoop-aws 3.4 says it, which has no class of its own for it."""
    from pyspark.errors.exceptions.connect import SparkConnectGrpcException

    told = spark_faults.told(SparkConnectGrpcException(said), "read the stage", on="Spark")
    assert (type(told), told.transient) == (kind, transient)
    assert cure in told.next_step


def test_kafka_over_a_wrong_protocol_and_nobody_there(expired: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for port, transient, cure in ((expired, False, "certificate"), (1, True, "bootstrap")):
        brokers = Kafka.model_validate(
            {
                "answer_timeout_seconds": 2.0,
                "bootstrap": f"127.0.0.1:{port}",
                "topic": "t",
                "security": "SSL",
                "landing": "s3://x/",
            }
        )
        with pytest.raises(ConnectionFailed) as told:
            kafka.topics(brokers)
        assert told.value.transient is transient, told.value
        assert cure in told.value.next_step


def test_a_raw_error_that_left_a_boundary_is_still_told() -> None:
    """The command's last net."""
    lost = driver_error(psycopg2.OperationalError("server closed the connection unexpectedly"))
    assert lost is not None
    assert (type(lost), lost.transient) == (ConnectionFailed, True)
    assert driver_error(psycopg2.ProgrammingError("no results to fetch")) is None
    assert driver_error(ValueError("of this program")) is None
