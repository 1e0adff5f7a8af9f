"""S3 as people have it: an own authority behind a proxy, the bucket in the host or in the path, a key of KMS, a role.

Four clients reach it: boto3, DuckDB, Arrow and delta-rs. Would catch: one of them that is not given a key, trusts any certificate,
or goes around the proxy; an object that a service keeps in the clear.
"""

from __future__ import annotations

import json
import select
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from helpers.doctor import network
from helpers.errors import MigrationError, StageError
from helpers.platforms import aws_sessions, duck
from helpers.platforms.delta import storage_options
from helpers.platforms.s3 import Bucket, retain_until
from helpers.settings import Resolved, Settings, Stage
from helpers.settings.local_stack import local_stack
from tests.movers.test_connections import _written

BIG = 17 << 20
"""More than one part."""


@contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server whose every connection is served by a thread; its port."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    plain, _ = server.accept()
                    threading.Thread(target=_quietly, args=(serve, plain), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1]


def _quietly(serve: Callable[[socket.socket], None], plain: socket.socket) -> None:
    with suppress(OSError), closing(plain):
        serve(plain)


def _pass_on(one: socket.socket, other: socket.socket) -> None:
    while True:
        ready, _, _ = select.select([one, other], [], [], 0 if getattr(one, "pending", int)() else 10)
        for each in ready or ([one] if getattr(one, "pending", int)() else []):
            data = each.recv(1 << 16)
            if not data:
                return
            (other if each is one else one).sendall(data)


def _head(client: socket.socket) -> str:
    head = b""
    while b"\r\n\r\n" not in head and (more := client.recv(1)):
        head += more
    return head.decode(errors="replace")


@contextmanager
def connect_proxy(seen: list[str]) -> Iterator[str]:
    """A proxy that knows CONNECT alone."""

    def serve(client: socket.socket) -> None:
        method, target, _ = _head(client).split(" ", 2)
        seen.append(f"{method} {target}")
        host, _, port = target.rpartition(":")
        with closing(socket.create_connection((host, int(port)))) as server:
            client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            _pass_on(client, server)

    with listening(serve) as port:
        yield f"http://127.0.0.1:{port}"


@contextmanager
def behind_tls(endpoint: str, folder: Path) -> Iterator[str]:
    """The same server under a certificate of an authority of ours."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.crt", folder / "server.key")
    there = urlsplit(endpoint)

    def serve(plain: socket.socket) -> None:
        with (
            context.wrap_socket(plain, server_side=True) as client,
            closing(socket.create_connection((there.hostname, there.port))) as server,
        ):
            _pass_on(client, server)

    with listening(serve) as port:
        yield f"https://localhost:{port}"


@pytest.fixture
def stage(local_settings: Settings) -> Stage:
    return local_settings.stage


def with_keys(stage: Stage, **keys: Any) -> Stage:
    secret = stage.secret_key.get_secret_value() if stage.secret_key else ""
    own = {name: getattr(stage, name) for name in ("url", "endpoint", "access_key", "ca_file")}
    own["secret_key"] = Resolved(secret)
    return Stage.model_validate({**own, **keys})


DELTA = """
import json, sys
from deltalake import DeltaTable
DeltaTable.is_deltatable(sys.argv[1], json.loads(sys.stdin.read()))
"""


def by_delta(bucket: Bucket) -> None:
    """In a process of its own: it keeps the interpreter to itself, which our servers need meanwhile."""
    options = {**storage_options(bucket.stage), "max_retries": "0"}
    command = [sys.executable, "-c", DELTA, f"{bucket.location}connections"]
    subprocess.run(command, input=json.dumps(options), text=True, check=True, capture_output=True, timeout=60)


def clients(stage: Stage) -> dict[str, Callable[[], object]]:
    """By client: looks for an object of the stage, or a table."""
    bucket = Bucket.open(stage)

    def by_duckdb() -> object:
        with closing(duck.connect()) as connection:
            duck.enable_s3(connection, stage)
            return connection.execute(f"FROM read_text('{bucket.location}connections/there')").fetchall()

    def by_arrow() -> object:
        return bucket.filesystem().get_file_info(f"{bucket.location.bucket}/{bucket.location.key('connections/there')}")

    return {
        "boto3": lambda: bucket.read("connections/there"),
        "duckdb": by_duckdb,
        "arrow": by_arrow,
        "delta": lambda: by_delta(bucket),
    }


def test_an_own_authority_is_trusted_by_every_client_through_a_proxy(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, seen = Path(name), list[str]()
        _written(folder)
        Bucket.open(stage).write("connections/there", b"said")
        with behind_tls(str(stage.endpoint), folder) as endpoint, connect_proxy(seen) as proxy:
            own = with_keys(stage, endpoint=endpoint, ca_file=str(folder / "ca.crt"), connect_timeout_seconds=20)
            monkeypatch.setenv("HTTPS_PROXY", proxy)
            monkeypatch.setenv("SSL_CERT_FILE", str(folder / "ca.crt"))  # which is all that delta-rs looks at
            for client, ask in clients(own).items():
                seen.clear()
                found = ask()
                assert f"CONNECT localhost:{urlsplit(endpoint).port}" in seen, client
                if client in ("boto3", "duckdb"):
                    assert b"said" in str(found).encode()
            seen.clear()
            at = network.Endpoint(
                "the stage", "localhost", urlsplit(endpoint).port or 0, True, authority=own.ca_file, web=True
            )
            assert network.reach([at])[0].why_not == "" and len(seen) == 2
            monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
            for client, ask in clients(with_keys(own, answer_timeout_seconds=59)).items():
                seen.clear()
                ask()
                assert seen == [], client
            stranger = with_keys(own, ca_file=str(folder / "client.crt"), connect_timeout_seconds=1)
            monkeypatch.delenv("SSL_CERT_FILE")
            refused = []
            for client, ask in clients(stranger).items():
                try:
                    ask()
                except Exception:
                    refused.append(client)
            assert refused == ["boto3", "duckdb", "arrow", "delta"]


@pytest.mark.parametrize(("path_style", "host", "path"), [(None, "s3.test", "/lake"), (False, "lake.s3.test", "/")])
def test_every_client_puts_the_buckets_name_where_the_profile_says(
    monkeypatch: pytest.MonkeyPatch, path_style: bool | None, host: str, path: str
) -> None:
    seen: list[str] = []

    def serve(client: socket.socket) -> None:
        seen.append(_head(client).split(" ", 2)[1])
        client.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    with listening(serve) as port:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
        keys = {"endpoint": "http://s3.test", "access_key": "a", "secret_key": Resolved("b"), "path_style": path_style}
        for client, ask in clients(Stage.model_validate({"url": "s3://lake/x/", **keys})).items():
            seen.clear()
            with suppress(Exception):
                ask()
            assert seen, client
            assert all(urlsplit(each).hostname == host and urlsplit(each).path.startswith(path) for each in seen), (client, seen)  # fmt: skip


@pytest.fixture
def moto(local_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """It says what it was asked to encrypt by, and has roles; keys and policies it does not check."""
    endpoint, key, secret = local_stack().aws()
    keys = {"endpoint": endpoint, "access_key": key, "secret_key": Resolved(secret)}
    found = Stage.model_validate({"url": "s3://encrypted/x/", **keys})
    client = Bucket.open(found).client
    with suppress(client.exceptions.BucketAlreadyOwnedByYou):
        client.create_bucket(Bucket="encrypted", ObjectLockEnabledForBucket=True)
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", endpoint)
    return found


def test_every_object_is_encrypted_by_the_key_of_the_profile(moto: Stage, tmp_path: Path) -> None:
    key = "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
    bucket = Bucket.open(with_keys(moto, kms_key=key))
    bucket.write("written", b"1")
    bucket.create("created", b"2", {})
    for name, size in (("small", 9), ("large", BIG)):
        stream = bucket.output(name)
        stream.write(bytes(size))
        stream.close()
        assert bucket.sizes(name) == {name: size}
    (tmp_path / "file").write_bytes(b"locked")
    with pytest.raises(StageError, match="GetObjectRetention"):  # which moto fails at, when the object is there
        bucket.write_locked("locked", tmp_path / "file", until=retain_until(1), mode="GOVERNANCE")
    for name in ("written", "created", "small", "large", "locked"):
        told = bucket.client.head_object(Bucket="encrypted", Key=f"x/{name}")
        assert (told["ServerSideEncryption"], told["SSEKMSKeyId"]) == ("aws:kms", key), name


def test_a_service_that_does_not_encrypt_is_refused(stage: Stage) -> None:
    def serve(client: socket.socket) -> None:
        _head(client)
        client.sendall(b'HTTP/1.1 200 OK\r\nETag: "1"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n')

    with listening(serve) as port:
        bucket = Bucket.open(with_keys(stage, kms_key="alias/none", endpoint=f"http://127.0.0.1:{port}"))
        with pytest.raises(StageError, match="without a word of the key alias/none"):
            bucket.write("hidden", b"1")
        stream = bucket.output("hidden-too")
        stream.write(b"1")
        with pytest.raises(StageError, match="without a word of the key alias/none"):
            stream.close()


def test_a_role_is_assumed_for_every_client_and_renewed(moto: Stage) -> None:
    found = with_keys(moto, role_arn="arn:aws:iam::123456789012:role/migration", external_id="ours")
    keys = aws_sessions.keys_of(found, "us-east-1")
    assert keys and keys.session_token and keys.access_key != moto.access_key
    assert storage_options(found)["AWS_SESSION_TOKEN"] == keys.session_token
    Bucket.open(found).write("by-the-role", b"1")
    with closing(duck.connect()) as connection:
        duck.enable_s3(connection, found)
        assert connection.execute("SELECT content FROM read_text('s3://encrypted/x/by-the-role')").fetchall() == [("1",)]  # fmt: skip
    credentials = aws_sessions.session_of(found, "us-east-1").get_credentials()
    assert credentials.method == "assume-role" and credentials.refresh_needed(refresh_in=10**9)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"access_key": "a"}, "name both"),
        ({"session_token": Resolved("t")}, "belongs to access_key"),
        ({"profile_name": "p", "access_key": "a", "secret_key": Resolved("s")}, "two ways"),
        ({"external_id": "ours"}, "role_arn"),
        ({"endpoint": "http://h", "ca_file": "/c.pem"}, "without TLS"),
    ],
)
def test_keys_of_a_store_that_contradict_are_refused(keys: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Stage.model_validate({"url": "s3://b/x/", **keys})


def test_a_profile_of_aws_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(MigrationError, match="nobody"):
        Bucket.open(Stage(url="s3://b/x/", profile_name="nobody")).read("x")
