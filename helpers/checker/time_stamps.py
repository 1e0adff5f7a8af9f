"""Time stamps of ledger lines by an outside authority (RFC 3161).

The package `rfc3161-client` reads them. Where it is not installed, as beside `verify-evidence.pyz`, stamps are listed with the
command by which OpenSSL checks them.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from cryptography.x509 import Certificate, load_pem_x509_certificates

from helpers.errors import UsageError

FOLDER = "anchors"
_SHA256 = "2.16.840.1.101.3.4.2.1"  # RFC 5754, section 2.2


class StampError(Exception):
    """A file that is no stamp of what it should be one of."""


def readable() -> bool:
    """Whether stamps can be read here."""
    return find_spec("rfc3161_client") is not None


def certificates(path: Path) -> tuple[Certificate, ...]:
    """The authorities' roots in a PEM file.

    Raises:
        UsageError: it holds none, or stamps cannot be checked here.
    """
    why, next_step = "the package rfc3161-client is not installed", "install it, or check the stamps with openssl"
    if readable():
        try:
            return tuple(load_pem_x509_certificates(path.read_bytes()))
        except (OSError, ValueError) as error:
            why, next_step = str(error), "give the PEM file of the authority's root certificate"
    raise UsageError("check the time stamps", on=str(path), why=why, next_step=next_step)


def certain_by(data: bytes, digest: str, roots: Sequence[Certificate] = (), nonce: int | None = None) -> str:
    """The time before which what is stamped was there; proven only where roots are given.

    Args:
        data: the authority's answer.
        digest: SHA-256 of what should be stamped, in hexadecimal.
        roots: certificates of authorities that are trusted; a certificate needs to be valid at the stamp's time only.
        nonce: of the request, where it is known.

    Raises:
        StampError: it cannot be read, is of something else, or by no authority that is trusted.
    """
    from rfc3161_client import VerifierBuilder, decode_timestamp_response
    from rfc3161_client.errors import VerificationError

    try:
        answer = decode_timestamp_response(data)
        if answer.status:
            raise StampError(
                f"the authority refused it: status {answer.status} {' '.join(answer.status_string)}".strip()
            )
        info = answer.tst_info
        imprint = info.message_imprint
        if (imprint.hash_algorithm.dotted_string, imprint.message.hex()) != (_SHA256, digest):
            raise StampError("it is the time stamp of something else")
        if nonce is not None and info.nonce != nonce:
            raise StampError("it is the answer to another request")
        if roots:
            VerifierBuilder(roots=list(roots)).build().verify(answer, bytes.fromhex(digest))
        return info.gen_time.isoformat()
    except VerificationError as error:
        raise StampError(f"no authority that is trusted here stamped it: {error}") from None
    except (ValueError, TypeError) as error:
        raise StampError(f"it is no time stamp: {error}") from None


def openssl_command(file: str, digest: str) -> str:
    """The same check for whoever has OpenSSL and the authority's root."""
    return shlex.join(("openssl", "ts", "-verify", "-digest", digest, "-in", file, "-CAfile", "AUTHORITY.pem"))
