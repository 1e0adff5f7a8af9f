"""Who may log in, and with what: passwords, key pairs, programmatic access tokens, external OAuth, workload identity by OIDC.

Each is checked as the service's documentation says: a key pair's token by signature, issuer, fingerprint and time
(https://docs.snowflake.com/en/user-guide/key-pair-auth), a token of an identity provider by the integration that names it
(https://docs.snowflake.com/en/user-guide/oauth-ext-custom). What a user has is forgotten when the stand-in ends.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
import secrets
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.request import ProxyHandler, build_opener

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from helpers.local.standin.names import missing, status, text, unquoted

_LONGEST_JWT_SECONDS = 3600
"""https://docs.snowflake.com/en/developer-guide/sql-api/authenticating: "at most an hour" after it was issued."""
_ALGORITHMS = ["RS256", "ES256", "ES384", "ES512"]


@dataclass
class User:
    """What somebody may log in with."""

    keys: dict[str, str] = field(default_factory=dict)
    tokens: dict[str, tuple[str, float]] = field(default_factory=dict, repr=False)
    identity: Mapping[str, str] | None = None


@dataclass
class Refused(Exception):  # noqa: N818
    """Why somebody is not let in, as the service says it."""

    code: str
    message: str


class Logins:
    """What the account's users have beside a password, and the providers that it trusts.

    Attributes:
        exists: whether the account has a user of some name.
    """

    def __init__(self, account: str = "LOCAL") -> None:
        self.account = account
        self.exists: Callable[[str], bool] = lambda name: False
        self.users: dict[str, User] = {}
        self.integrations: dict[str, dict[str, Any]] = {}

    def check(self, data: Mapping[str, Any], admits: Callable[[str, str], bool]) -> str:
        """The name of the user that a login request proves to be.

        Args:
            admits: whether a password is a user's.

        Raises:
            Refused: it proves nothing.
        """
        name, token = str(data.get("LOGIN_NAME") or "").upper(), str(data.get("TOKEN") or "")
        match str(data.get("AUTHENTICATOR") or "SNOWFLAKE").upper():
            case "SNOWFLAKE":
                if not admits(name, str(data.get("PASSWORD", ""))):
                    raise Refused("390100", "Incorrect username or password was specified.")
                return name
            case "SNOWFLAKE_JWT":
                return self._key_pair(name, token)
            case "PROGRAMMATIC_ACCESS_TOKEN":
                return self._access_token(name, token)
            case "OAUTH":
                return self._oauth(name, token)
            case "WORKLOAD_IDENTITY":
                return self._workload(str(data.get("PROVIDER")), token)
            case other:
                raise Refused(
                    "390190", f"There was an error related to the authenticator {other}: the account does not have it."
                )

    def _key_pair(self, name: str, token: str) -> str:
        user = self.users.get(name)
        claims = _unverified(token)
        if user is None or claims is None:
            raise _invalid_jwt("390144")
        subject = f"{self.account}.{name}"
        for public in user.keys.values():
            key: Any = load_der_public_key(base64.b64decode(public))
            der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            if claims.get("iss") != f"{subject}.SHA256:{base64.b64encode(hashlib.sha256(der).digest()).decode()}":
                continue
            if claims.get("sub") != subject:
                raise _invalid_jwt("394300")
            try:
                jwt.decode(token, key, _ALGORITHMS, options={"require": ["iss", "sub", "iat", "exp"]})
            except jwt.ExpiredSignatureError:
                raise Refused("394301", "JWT token has expired.") from None
            except jwt.PyJWTError:
                raise _invalid_jwt("394300") from None
            if int(claims["exp"]) - int(claims["iat"]) > _LONGEST_JWT_SECONDS:
                raise _invalid_jwt("394303")
            return name
        raise _invalid_jwt("394304")

    def _access_token(self, name: str, token: str) -> str:
        for owner, user in self.users.items():
            for secret, until in user.tokens.values():
                if _same(token, secret) and name in ("", owner) and until > time.time():
                    return owner
        raise Refused("394400", "Programmatic access token is invalid.")

    def _oauth(self, name: str, token: str) -> str:
        claims = _unverified(token) or {}
        for each in self.integrations.values():
            if each.get("EXTERNAL_OAUTH_ISSUER") != claims.get("iss"):
                continue
            try:
                key: Any = load_der_public_key(base64.b64decode(each["EXTERNAL_OAUTH_RSA_PUBLIC_KEY"]))
                audience = each["EXTERNAL_OAUTH_AUDIENCE_LIST"]
                jwt.decode(token, key, _ALGORITHMS, audience=audience, options={"require": ["exp"]})
            except jwt.ExpiredSignatureError:
                raise Refused("390318", "OAuth access token expired.") from None
            except jwt.PyJWTError:
                break
            owner = str(claims.get(each["EXTERNAL_OAUTH_TOKEN_USER_MAPPING_CLAIM"], "")).upper()
            if self.exists(owner) and name in ("", owner):
                return owner
            raise Refused(
                "390309", "The user you were trying to authenticate as differs from the user tied to the access token."
            )
        raise Refused("390303", "Invalid OAuth access token.")

    def _workload(self, provider: str, token: str) -> str:
        claims = _unverified(token) or {}
        for owner, user in self.users.items():
            asked = user.identity
            if (
                provider == "OIDC"
                and asked
                and (asked["ISSUER"], asked["SUBJECT"]) == (claims.get("iss"), claims.get("sub"))
            ):
                try:
                    jwt.decode(
                        token, _key_of_issuer(asked["ISSUER"], token), _ALGORITHMS, audience="snowflakecomputing.com"
                    )
                    return owner
                except (jwt.PyJWTError, OSError, ValueError, KeyError):
                    break
        raise Refused(
            "390101", "Authentication attempt rejected by the current authentication policy or workload identity."
        )

    def answer(self, command: str) -> str | None:
        """What DuckDB answers to a statement about users and integrations; None where it is another's."""
        said = command.strip().rstrip(";")
        for pattern, handle in _STATEMENTS:
            if match := re.fullmatch(pattern, said, re.IGNORECASE | re.DOTALL):
                return handle(self, match)
        return None

    def user(self, name: str) -> User:
        """What a user has; raises where there is none of that name."""
        if not self.exists(unquoted(name)):
            raise missing("User", unquoted(name))
        return self.users.setdefault(unquoted(name), User())


def is_ours(command: str) -> bool:
    """Whether a statement is about what somebody logs in with."""
    said = command.strip().rstrip(";")
    return any(re.fullmatch(pattern, said, re.IGNORECASE | re.DOTALL) for pattern, _ in _STATEMENTS)


LOGINS = Logins()
"""Of this process, which is one account."""


def _set_key(logins: Logins, match: re.Match[str]) -> str:
    user, value = logins.user(match["user"]), "".join(match["value"].split())
    try:
        load_der_public_key(base64.b64decode(value, validate=True))
    except (ValueError, binascii.Error, UnsupportedAlgorithm):
        raise missing(
            "New public key rejected by current policy. Reason: 'Invalid public key'", match["user"]
        ) from None
    user.keys[match["key"].upper()] = value
    return status()


def _unset_key(logins: Logins, match: re.Match[str]) -> str:
    logins.user(match["user"]).keys.pop(match["key"].upper(), None)
    return status()


def _add_token(logins: Logins, match: re.Match[str]) -> str:
    days = re.search(r"DAYS_TO_EXPIRY\s*=\s*(\d+)", match["rest"] or "", re.IGNORECASE)
    secret = secrets.token_urlsafe(48)
    until = time.time() + 86_400 * int(days[1] if days else 15)
    logins.user(match["user"]).tokens[unquoted(match["token"])] = (secret, until)
    return f'SELECT {text(unquoted(match["token"]))} AS "token_name", {text(secret)} AS "token_secret"'


def _remove_token(logins: Logins, match: re.Match[str]) -> str:
    if logins.user(match["user"]).tokens.pop(unquoted(match["token"]), None) is None:
        raise missing("Programmatic access token", match["token"])
    return status()


def _set_identity(logins: Logins, match: re.Match[str]) -> str:
    logins.user(match["user"]).identity = _properties(match["rest"])
    return status()


def _integrate(logins: Logins, match: re.Match[str]) -> str:
    said = _properties(match["rest"])
    listed = re.findall(r"AUDIENCE_LIST\s*=\s*\(([^)]*)\)", match["rest"], re.IGNORECASE)
    said["EXTERNAL_OAUTH_AUDIENCE_LIST"] = re.findall(r"'([^']*)'", " ".join(listed))
    logins.integrations[unquoted(match["name"])] = said
    return status()


_PART = r'(?:"(?:[^"]|"")+"|[A-Za-z_][\w$]*)'
_STATEMENTS: tuple[tuple[str, Callable[[Logins, re.Match[str]], str]], ...] = (
    (rf"ALTER\s+USER\s+(?P<user>{_PART})\s+SET\s+(?P<key>RSA_PUBLIC_KEY(?:_2)?)\s*=\s*'(?P<value>[^']*)'", _set_key),
    (rf"ALTER\s+USER\s+(?P<user>{_PART})\s+UNSET\s+(?P<key>RSA_PUBLIC_KEY(?:_2)?)", _unset_key),
    (
        rf"ALTER\s+USER\s+(?P<user>{_PART})\s+ADD\s+(?:PROGRAMMATIC\s+ACCESS\s+TOKEN|PAT)\s+(?P<token>{_PART})(?P<rest>.*)",
        _add_token,
    ),
    (
        rf"ALTER\s+USER\s+(?P<user>{_PART})\s+REMOVE\s+(?:PROGRAMMATIC\s+ACCESS\s+TOKEN|PAT)\s+(?P<token>{_PART})",
        _remove_token,
    ),
    (rf"ALTER\s+USER\s+(?P<user>{_PART})\s+SET\s+WORKLOAD_IDENTITY\s*=\s*\((?P<rest>.*)\)", _set_identity),
    (
        rf"CREATE\s+(?:OR\s+REPLACE\s+)?SECURITY\s+INTEGRATION\s+(?P<name>{_PART})\s+(?P<rest>TYPE\s*=\s*EXTERNAL_OAUTH\b.*)",
        _integrate,
    ),
)


def _properties(said: str) -> dict[str, Any]:
    return {name.upper(): value for name, value in re.findall(r"(\w+)\s*=\s*'?([^',\s()]+)'?", said)}


def _unverified(token: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
        return found
    except jwt.PyJWTError:
        return None


def _key_of_issuer(issuer: str, token: str) -> Any:
    """https://openid.net/specs/openid-connect-discovery-1_0.html#ProviderConfig"""
    opener = build_opener(ProxyHandler({}))
    described = json.load(opener.open(f"{issuer}/.well-known/openid-configuration", timeout=5))
    keys = json.load(opener.open(described["jwks_uri"], timeout=5))
    named = jwt.get_unverified_header(token).get("kid")
    return next(jwt.PyJWK(key).key for key in keys["keys"] if key.get("kid") == named)


def _same(given: str, right: str) -> bool:
    return hmac.compare_digest(given.encode(), right.encode())


def _invalid_jwt(code: str) -> Refused:
    return Refused(code, f"JWT token is invalid. [{uuid.uuid4()}]")
