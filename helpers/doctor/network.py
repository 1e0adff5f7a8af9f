"""Whether every host and port that the phases need can be reached, and how long its certificate is valid."""

from __future__ import annotations

import base64
import socket
import ssl
import struct
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from urllib.parse import unquote, urlsplit

from cryptography import x509

from helpers.doctor.subject import Subject
from helpers.finding import Finding, Severity, note
from helpers.platforms import postgres
from helpers.platforms.databricks_login import THIS_MACHINE, place
from helpers.platforms.proxies import proxy_for
from helpers.settings import Settings

TIMEOUT = 5.0
EXPIRES_SOON_DAYS = 30

_SSL_REQUEST = struct.pack("!ii", 8, 80877103)
"""What a PostgreSQL client sends before TLS (https://www.postgresql.org/docs/current/protocol-message-formats.html)."""


@dataclass(frozen=True)
class Endpoint:
    """A place to reach.

    Attributes:
        what: whose it is.
        tls: whether TLS is spoken there; "postgres" where it is asked for first, "postgres, if offered" where plain text will do.
        verify: whether the certificate has to be one that is trusted, for this host.
        authority: a file with the certificates that are trusted; the system's where None.
        others: whether others stand for it where it does not answer.
        web: whether it is asked over HTTP, and so through the proxy that the environment names.
    """

    what: str
    host: str
    port: int
    tls: bool | str = False
    verify: bool = True
    authority: str | None = None
    others: bool = False
    web: bool = False

    def __str__(self) -> str:
        return f"{self.what} at {self.host}:{self.port}"


@dataclass(frozen=True)
class Reached:
    """How it went: `milliseconds` to connect; `expires` of the certificate, None without TLS; `why_not` where it failed."""

    endpoint: Endpoint
    milliseconds: float | None
    expires: datetime | None = None
    why_not: str = ""


def examine(subject: Subject) -> Iterator[Finding]:
    """Every host and port of the profile."""
    yield from findings(reach(endpoints(subject.settings)))


def endpoints(settings: Settings) -> tuple[Endpoint, ...]:
    """What the profile names; the stand-ins that start when they are needed answer by themselves."""
    values = settings.values
    found = []
    if source := values.source:
        verify = source.sslmode in ("verify-ca", "verify-full")
        tls: bool | str = "postgres" if source.sslmode in ("require", "verify-ca", "verify-full") else False
        tls = "postgres, if offered" if source.sslmode in ("allow", "prefer") else tls
        authority, others = postgres.trusted(source.sslrootcert), len(source.hosts) > 1
        found += [
            Endpoint("the source", host, port, tls, verify, authority, others)
            for host, port in source.hosts
            if not host.startswith(("/", "@"))  # a socket of this machine
        ]
    stages = {
        "the stage": values.stage,
        "the archive": values.archive and settings.archive_stage,
        "the archive of evidence": values.evidence and settings.evidence_stage,
    }
    for what, stage in stages.items():
        if stage:
            where = stage.endpoint or f"https://s3.{stage.region}.amazonaws.com"
            found.append(replace(_endpoint(what, where), authority=stage.ca_file))
    if target := values.snowflake:
        host = str(target.connect.get("host") or f"{target.account}.snowflakecomputing.com")
        plain = target.connect.get("protocol") == "http"
        there = int(target.connect.get("port") or (80 if plain else 443))
        found.append(Endpoint("Snowflake", host, there, not plain, web=True))
    if (lake := values.databricks) and lake.engine == "spark":
        known = _endpoint("Databricks", lake.url or f"sc://{place(lake)}", tls=bool(lake.host or lake.token))
        found.append(replace(known, tls=known.tls and known.host != THIS_MACHINE))
    if values.airflow:
        found.append(_endpoint("Airflow", values.airflow.url))
    if values.aws and values.aws.endpoint:
        found.append(_endpoint("AWS", values.aws.endpoint))
    if (kafka := values.kafka) and kafka.engine != "noida-db":
        for broker in (kafka.bootstrap or "").split(","):
            host, _, port = broker.rpartition(":")
            found.append(Endpoint("Kafka", host, int(port), kafka.tls, authority=kafka.ca_file))
    if values.evidence and values.evidence.timestamp_url:
        found.append(_endpoint("the time-stamping authority", values.evidence.timestamp_url))
    return tuple(dict.fromkeys(found))


def reach(wanted: Sequence[Endpoint]) -> tuple[Reached, ...]:
    """Connects to each once, all at the same time; none is an error but part of the answer."""
    with ThreadPoolExecutor(max(len(wanted), 1)) as pool:
        return tuple(pool.map(_reach, wanted))


def findings(reached: Sequence[Reached], now: datetime | None = None) -> Iterator[Finding]:
    """What cannot be reached, and whose certificate ends soon."""
    for each in reached:
        on = str(each.endpoint)
        if each.why_not:
            yield Finding(
                "warning" if each.endpoint.others else "stop",
                on,
                each.why_not,
                "open the port in the security group or firewall, or correct host and port; for a certificate, renew it or name its authority",
            )
            continue
        days = (each.expires - (now or datetime.now(UTC))).days if each.expires else None
        if days is not None and days < EXPIRES_SOON_DAYS:
            severity: Severity = "stop" if days < 0 else "warning"
            yield Finding(severity, on, f"its certificate ends in {days} days", "renew it before the cutover")
        elif each.expires is None:
            yield note(on, "is reached, without TLS")
        else:
            yield note(on, f"is reached, and its certificate is valid for {days} days")


def _endpoint(what: str, url: str, tls: bool = False) -> Endpoint:
    parts = urlsplit(url)
    secure = tls or parts.scheme == "https"
    return Endpoint(what, parts.hostname or "", parts.port or (443 if secure else 80), secure, web=True)


def _reach(endpoint: Endpoint) -> Reached:
    began = time.monotonic()
    try:
        with _connected(endpoint) as plain:
            took = (time.monotonic() - began) * 1000
            if not endpoint.tls:
                return Reached(endpoint, took)
            try:
                expires = _expiry(endpoint, plain)
            except _NotOfferedError:
                if endpoint.tls == "postgres":
                    raise
                return Reached(endpoint, took)
        if endpoint.verify:
            with _connected(endpoint) as plain:
                _handshake(endpoint, plain, ssl.create_default_context(cafile=endpoint.authority)).close()
    except ssl.SSLCertVerificationError as error:
        return Reached(endpoint, None, why_not=f"its certificate is not trusted: {error.verify_message}")
    except (OSError, ValueError) as error:
        return Reached(endpoint, None, why_not=f"cannot be reached: {error}")
    return Reached(endpoint, took, expires)


def _connected(endpoint: Endpoint) -> socket.socket:
    """A connection to it, through the proxy where there is one; without TLS a proxy passes requests on, and is all that is reached."""
    scheme = "https" if endpoint.tls else "http"
    proxy = urlsplit(proxy_for(f"{scheme}://{endpoint.host}:{endpoint.port}") or "") if endpoint.web else None
    if not proxy or not proxy.hostname:
        return socket.create_connection((endpoint.host, endpoint.port), timeout=TIMEOUT)
    plain = socket.create_connection((proxy.hostname, proxy.port or 80), timeout=TIMEOUT)
    if endpoint.tls:
        word = base64.b64encode(f"{unquote(proxy.username or '')}:{unquote(proxy.password or '')}".encode()).decode()
        known = f"Proxy-Authorization: Basic {word}\r\n" if proxy.username else ""
        target = f"{endpoint.host}:{endpoint.port}"
        plain.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{known}\r\n".encode())
        answer = b""
        while not answer.endswith(b"\r\n\r\n") and (more := plain.recv(1)):
            answer += more
        if answer.split(b" ", 2)[1:2] != [b"200"]:
            plain.close()
            said = answer.partition(b"\r\n")[0].decode(errors="replace") or "nothing"
            raise ValueError(f"the proxy {proxy.hostname}:{proxy.port or 80} says {said}")
    return plain


def _expiry(endpoint: Endpoint, plain: socket.socket) -> datetime:
    """Of whatever certificate is shown: what is not trusted is told apart from what has ended."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with _handshake(endpoint, plain, context) as secure:
        shown = secure.getpeercert(binary_form=True)
    if not shown:
        raise ValueError("it shows no certificate")
    return x509.load_der_x509_certificate(shown).not_valid_after_utc


class _NotOfferedError(ValueError):
    """A server of PostgreSQL that speaks plain text alone."""


def _handshake(endpoint: Endpoint, plain: socket.socket, context: ssl.SSLContext) -> ssl.SSLSocket:
    if endpoint.tls in ("postgres", "postgres, if offered"):
        plain.sendall(_SSL_REQUEST)
        if plain.recv(1) != b"S":
            raise _NotOfferedError("it offers no TLS, which the profile's sslmode asks for")
    return context.wrap_socket(plain, server_hostname=endpoint.host)
