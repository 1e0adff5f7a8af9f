"""The files that a profile names: each is there and may be read, a private key is private, and a certificate has not ended."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from helpers.doctor.network import EXPIRES_SOON_DAYS
from helpers.doctor.subject import Subject
from helpers.finding import Finding, note, stop, warning
from helpers.platforms import postgres
from helpers.settings import Settings

_READ_BY_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def examine(subject: Subject) -> Iterator[Finding]:
    """Certificates, private keys and password files."""
    for key, path, kind in _named(subject.settings):
        if not path.is_file():
            yield stop(
                key, f"there is no file {path}", "correct the path in migration.toml, or put the file there", "a file"
            )
        elif not os.access(path, os.R_OK):
            yield stop(
                key, f"{path} may not be read", f"chown or chmod it for user {os.getuid()}", "a file that we may read"
            )
        elif kind == "secret" and path.stat().st_mode & _READ_BY_OTHERS:
            yield warning(key, f"others may read {path}", f"chmod 600 {path}", "a secret that only its owner may read")
        elif kind == "certificate":
            yield from _certificate(key, path)
        else:
            yield note(key, f"{path} is there")


def _named(settings: Settings) -> Iterator[tuple[str, Path, str]]:
    values, base = settings.values, settings.file.parent
    if source := values.source:
        for key, name, kind in (
            ("source.sslrootcert", postgres.trusted(source.sslrootcert), "file"), ("source.sslcert", source.sslcert, "certificate"),
            ("source.sslkey", source.sslkey, "secret"), ("source.passfile", source.passfile, "secret"),
        ):  # fmt: skip
            if name:
                yield key, Path(name), kind
    logins = {f"downstream.{name}": reader for name, reader in values.downstream.items()}
    for section, login in {"snowflake": values.snowflake, **logins}.items():
        for key in ("private_key_file", "token_file") if login else ():
            if file := getattr(login, key):
                yield f"{section}.{key}", Path(file), "secret"
    if brokers := values.kafka:
        for key, name, kind in (
            ("kafka.ca_file", brokers.ca_file, "file"), ("kafka.certificate_file", brokers.certificate_file, "certificate"),
            ("kafka.private_key_file", brokers.private_key_file, "secret"),
        ):  # fmt: skip
            if name:
                yield key, Path(name), kind
    if values.evidence and values.evidence.timestamp_certificate:
        yield "evidence.timestamp_certificate", base / values.evidence.timestamp_certificate, "certificate"


def _certificate(key: str, path: Path) -> Iterator[Finding]:
    try:
        found = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        yield stop(key, f"{path} is no certificate in PEM: {error}", "name the certificate's file", "a certificate")
        return
    days = (found.not_valid_after_utc - datetime.now(UTC)).days
    fix = "renew it before the cutover"
    if days < 0:
        yield stop(key, f"{path} ended {-days} days ago", fix, "one that is valid")
    elif days < EXPIRES_SOON_DAYS:
        yield warning(key, f"{path} ends in {days} days", fix)
    else:
        yield note(key, f"{path} is valid for {days} days")
