"""A Databricks workspace as it is documented: one TLS address that gives tokens, answers REST, and passes Spark Connect on to pysail.

Tokens come from /oidc/v1/token (https://docs.databricks.com/aws/en/dev-tools/auth/oauth-m2m) and end when they say so; a call of Spark
Connect without one that is valid is UNAUTHENTICATED, before the server behind sees it.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass
class Workspace:
    """What it was asked, and what it answers.

    Attributes:
        identity: the token of another issuer that its federation policy trusts
            (https://docs.databricks.com/aws/en/dev-tools/auth/oauth-federation-exchange).
        valid_seconds: of a token.
        rest: answers by path, without `/api/`; a list of answers is its pages.
        metadata: of each call of Spark Connect, refused ones too.
    """

    client_id: str = "the-principal"
    client_secret: str = "of-the-principal-and-long"
    identity: str = "identity-token-of-a-runner"
    valid_seconds: float = 3600
    rest: dict[str, Any] = field(default_factory=dict)
    silent: bool = False
    metadata: list[dict[str, str]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    tokens: dict[str, float] = field(default_factory=dict)
    host: str = ""
    authority: Path = Path()
    _numbers: Any = field(default_factory=lambda: itertools.count(1))

    def new_token(self) -> dict[str, Any]:
        token = f"token-number-{next(self._numbers)}-and-some-more"
        self.tokens[token] = time.monotonic() + self.valid_seconds
        return {
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": int(self.valid_seconds),
            "scope": "all-apis",
        }

    def knows(self, header: str | None) -> bool:
        return self.tokens.get((header or "").removeprefix("Bearer "), 0) > time.monotonic()

    @property
    def sent(self) -> list[str]:
        """The tokens that calls of Spark Connect brought, each once."""
        return list(dict.fromkeys(call.get("authorization", "") for call in self.metadata))


@contextlib.contextmanager
def running(folder: Path, monkeypatch: Any, *, backend: str = "127.0.0.1:1") -> Iterator[Workspace]:
    """A workspace on this machine, whose certificate this process trusts.

    Args:
        folder: for its certificate.
        monkeypatch: of the test.
        backend: host and port of the Spark Connect server behind it.
    """
    workspace = Workspace()
    pem = folder / "workspace.pem"
    pem.write_bytes(_certificate())
    workspace.authority = pem
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(pem))
    trusting = partial(grpc.ssl_channel_credentials, root_certificates=pem.read_bytes())
    monkeypatch.setattr(grpc, "ssl_channel_credentials", trusting)
    web = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Web, workspace))
    threading.Thread(target=web.serve_forever, daemon=True).start()
    passing = grpc.server(ThreadPoolExecutor(8), handlers=[_Passing(workspace, grpc.insecure_channel(backend))])
    calls = passing.add_insecure_port("127.0.0.1:0")
    passing.start()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    context.set_alpn_protocols(["h2", "http/1.1"])
    listener = socket.create_server(("127.0.0.1", 0))
    workspace.host = f"localhost:{listener.getsockname()[1]}"
    behind = {"h2": calls, "http/1.1": web.server_port, None: web.server_port}
    threading.Thread(target=_serve, args=(listener, context, behind), daemon=True).start()
    try:
        yield workspace
    finally:
        listener.close()
        web.shutdown()
        passing.stop(0)


def _serve(listener: socket.socket, context: ssl.SSLContext, behind: Mapping[str | None, int]) -> None:
    with contextlib.suppress(OSError):
        while True:
            plain, _ = listener.accept()
            threading.Thread(target=_connection, args=(plain, context, behind), daemon=True).start()


def _connection(plain: socket.socket, context: ssl.SSLContext, behind: Mapping[str | None, int]) -> None:
    with contextlib.suppress(OSError):
        secure = context.wrap_socket(plain, server_side=True)
        there = socket.create_connection(("127.0.0.1", behind[secure.selected_alpn_protocol()]))
        threading.Thread(target=_copy, args=(there, secure), daemon=True).start()
        _copy(secure, there)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for each in (source, target):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


class _Passing(grpc.GenericRpcHandler):
    """Every method of Spark Connect as bytes, for a token that is valid."""

    def __init__(self, workspace: Workspace, channel: grpc.Channel) -> None:
        self._workspace = workspace
        self._channel = channel

    def service(self, details: Any) -> Any:
        metadata = {key: value for key, value in details.invocation_metadata if isinstance(value, str)}
        self._workspace.metadata.append(metadata)
        kind = {"ExecutePlan": "unary_stream", "ReattachExecute": "unary_stream", "AddArtifacts": "stream_unary"}.get(
            details.method.rpartition("/")[2], "unary_unary"
        )
        ask = getattr(self._channel, kind)(details.method, request_serializer=None, response_deserializer=None)

        def answer(request: Any, context: Any) -> Any:
            if not self._workspace.knows(metadata.get("authorization")):
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "the token is not valid or has expired")
            try:
                return iter(list(ask(request))) if kind == "unary_stream" else ask(request)
            except grpc.RpcError as error:
                context.set_trailing_metadata(error.trailing_metadata())
                context.abort(error.code(), error.details())

        return getattr(grpc, f"{kind}_rpc_method_handler")(answer)


class _Web(BaseHTTPRequestHandler):
    def __init__(self, workspace: Workspace, *arguments: Any) -> None:
        self._workspace = workspace
        super().__init__(*arguments)

    def log_message(self, *arguments: Any) -> None:
        pass

    def do_POST(self) -> None:
        workspace = self._workspace
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        workspace.asked.append(f"POST {self.path} {json.dumps(form, sort_keys=True)}")
        if workspace.silent:
            time.sleep(2)
            return
        known = base64.b64encode(f"{workspace.client_id}:{workspace.client_secret}".encode()).decode()
        exchanged = form.get("grant_type") == ["urn:ietf:params:oauth:grant-type:token-exchange"]
        if self.path != "/oidc/v1/token":
            self._answer(404, {"error_code": "NOT_FOUND"})
        elif (
            exchanged and (form["subject_token"], form["client_id"]) == ([workspace.identity], [workspace.client_id])
        ) or (not exchanged and self.headers["Authorization"] == f"Basic {known}"):
            self._answer(200, workspace.new_token())
        else:
            said = f"Client authentication failed for {self.headers['Authorization']}"
            self._answer(401, {"error": "invalid_client", "error_description": said})

    def do_GET(self) -> None:
        workspace, parts = self._workspace, urlsplit(self.path)
        workspace.asked.append(f"GET {self.path}")
        if self.path == "/oidc/.well-known/oauth-authorization-server":
            place = f"https://{workspace.host}/oidc"
            return self._answer(
                200, {"authorization_endpoint": f"{place}/v1/authorize", "token_endpoint": f"{place}/v1/token"}
            )
        if not workspace.knows(self.headers["Authorization"]):
            return self._answer(
                401, {"error_code": "401", "message": "Credential was not sent or was of an unsupported type"}
            )
        found = workspace.rest.get(parts.path.removeprefix("/api/"))
        if found is None:
            return self._answer(404, {"error_code": "NOT_FOUND", "message": f"{parts.path} does not exist."})
        if isinstance(found, list):
            number = int(parse_qs(parts.query).get("page_token", ["0"])[0])
            more = {"next_page_token": str(number + 1)} if number + 1 < len(found) else {}
            found = found[number] | more
        self._answer(200, found)

    def _answer(self, status: int, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _certificate() -> bytes:
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    return made.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
