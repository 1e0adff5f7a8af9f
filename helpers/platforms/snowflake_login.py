"""How a login reaches Snowflake's connector, dbt, and other clients: each method of `helpers.settings.snowflake` in their words."""

from __future__ import annotations

import base64
import os
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
    load_pem_private_key,
)

from helpers.errors import ConnectionFailed, SettingsError
from helpers.redaction import remember
from helpers.settings import Snowflake
from helpers.settings.snowflake import METHODS, OKTA

_RENEWED_BEFORE_SECONDS = 60.0
"""An access token that has less time left is not used for another login."""


@dataclass
class _Grant:
    """What an identity provider gave for a refresh token."""

    access_token: str
    until: float
    refresh_token: str


_grants: dict[tuple[str, str, str], _Grant] = {}
_asking = threading.Lock()


def described(target: Snowflake) -> str:
    """The method of a login as people call it."""
    name = target.method or ""
    return "Okta's single sign-on" if name.startswith(OKTA) else METHODS[name].words if name in METHODS else "nothing"


def arguments(target: Snowflake) -> dict[str, Any]:
    """The keyword arguments of `snowflake.connector.connect` that log in.

    Raises:
        SettingsError: the profile names no way to log in, a file of it cannot be read, or a browser is asked for where nobody sits.
        ConnectionFailed: the identity provider gives no token.
    """
    match target.method:
        case None:
            raise _unread("authenticator", target, "it names no way to log in", METHODS["snowflake_jwt"].shown)
        case "snowflake":
            return {"password": _secret(target, "password")}
        case "snowflake_jwt":
            if target.private_key_file:
                phrase = _secret(target, "private_key_passphrase")
                given = {"private_key_file": target.private_key_file}
                return {"authenticator": "SNOWFLAKE_JWT", **given, **({"private_key_file_pwd": phrase} if phrase else {})}  # fmt: skip
            return {"authenticator": "SNOWFLAKE_JWT", "private_key": _der(target)}
        case "oauth" | "programmatic_access_token":
            return {"authenticator": str(target.method).upper(), "token": _token(target)}
        case "oauth_refresh_token":
            return {"authenticator": "OAUTH", "token": _access_token(target)}
        case "oauth_client_credentials":
            scope = {"oauth_scope": target.oauth_scope} if target.oauth_scope else {}
            return {
                "authenticator": "OAUTH_CLIENT_CREDENTIALS", "oauth_client_id": target.oauth_client_id,
                "oauth_client_secret": _secret(target, "oauth_client_secret"), "oauth_token_request_url": target.oauth_token_url, **scope,
            }  # fmt: skip
        case "workload_identity":
            return {"authenticator": "WORKLOAD_IDENTITY", **_identity(target)}
        case "externalbrowser":
            _somebody_is_there(target)
            # Else each session opens a page of its own (https://docs.snowflake.com/en/user-guide/admin-security-fed-auth-use).
            return {"authenticator": "EXTERNALBROWSER", "client_store_temporary_credential": True}
        case okta:
            return {"authenticator": okta, "password": _secret(target, "password")}


def for_dbt(target: Snowflake) -> dict[str, str]:
    """The same as variables of dbt's process, which its profile reads; secrets under names that dbt masks.

    A token that has to be asked for is asked for here: dbt knows neither another provider than the account nor client credentials
    (https://docs.getdbt.com/docs/core/connect-data-platform/snowflake-setup).
    """
    match target.method:
        case "snowflake_jwt":
            if target.private_key_file:
                found = {"RUNBOOK_DBT_PRIVATE_KEY_FILE": target.private_key_file}
                phrase = _secret(target, "private_key_passphrase")
                return found | ({"DBT_ENV_SECRET_PASSPHRASE": phrase} if phrase else {})
            return {"DBT_ENV_SECRET_PRIVATE_KEY": base64.b64encode(_der(target)).decode()}
        case "oauth" | "oauth_refresh_token" | "oauth_client_credentials":
            token = _token(target) if target.method == "oauth" else _access_token(target)
            return {"RUNBOOK_DBT_AUTHENTICATOR": "oauth", "DBT_ENV_SECRET_TOKEN": token}
        case "programmatic_access_token":
            return {"RUNBOOK_DBT_AUTHENTICATOR": "programmatic_access_token", "DBT_ENV_SECRET_TOKEN": _token(target)}
        case "workload_identity":
            identity = _identity(target)
            named = {
                "RUNBOOK_DBT_AUTHENTICATOR": "workload_identity",
                "RUNBOOK_DBT_IDENTITY_PROVIDER": identity["workload_identity_provider"],
                "RUNBOOK_DBT_ENTRA_RESOURCE": identity.get("workload_identity_entra_resource"),
                "DBT_ENV_SECRET_TOKEN": identity.get("token"),
            }
            return {name: value for name, value in named.items() if value}
        case _:
            given = arguments(target)
            named = {"RUNBOOK_DBT_AUTHENTICATOR": given.get("authenticator"), "DBT_ENV_SECRET_PASSWORD": given.get("password")}  # fmt: skip
            return {name: value.lower() if value == "EXTERNALBROWSER" else value for name, value in named.items() if value}  # fmt: skip


def for_clients(target: Snowflake) -> dict[str, str]:
    """The same as the variables that Snowflake's own clients read
    (https://docs.snowflake.com/en/developer-guide/snowflake-cli/connecting/configure-connections)."""
    if target.method is None:
        return {}
    named: dict[str, Any] = {
        "SNOWFLAKE_PASSWORD": _secret(target, "password"),
        "SNOWFLAKE_PRIVATE_KEY_FILE": target.private_key_file,
        "SNOWFLAKE_PRIVATE_KEY_FILE_PWD": _secret(target, "private_key_passphrase"),
        "SNOWFLAKE_PRIVATE_KEY_RAW": _secret(target, "private_key"),
        "SNOWFLAKE_TOKEN_FILE_PATH": target.token_file,
        "SNOWFLAKE_TOKEN": _secret(target, "token"),
        "SNOWFLAKE_WORKLOAD_IDENTITY_PROVIDER": target.workload_identity_provider,
    }
    word = target.method if target.method.startswith(OKTA) else target.method.upper()
    if target.method in ("oauth_refresh_token", "oauth_client_credentials"):
        word, named["SNOWFLAKE_TOKEN"] = "OAUTH", _access_token(target)
    if word != "SNOWFLAKE":
        named["SNOWFLAKE_AUTHENTICATOR"] = word
    return {name: str(value) for name, value in named.items() if value}


def _secret(target: Snowflake, key: str) -> str | None:
    found = getattr(target, key)
    return found.get_secret_value() if found else None


def _token(target: Snowflake) -> str:
    if target.token_file:
        try:
            return remember(Path(target.token_file).read_text(encoding="utf-8").strip())
        except (OSError, UnicodeDecodeError) as error:
            raise _unread("token_file", target, str(error), "correct the path, or let us read the file") from None
    return _secret(target, "token") or ""


def _der(target: Snowflake) -> bytes:
    """The private key of a secret, opened; a `ValueError` or `TypeError` says why it is none."""
    text = (_secret(target, "private_key") or "").strip()
    phrase = (_secret(target, "private_key_passphrase") or "").encode() or None
    try:
        key = (
            load_pem_private_key(text.encode(), phrase)
            if text.startswith("-----")
            else load_der_private_key(base64.b64decode(text, validate=True), phrase)
        )
    except (ValueError, TypeError) as error:
        why = f"it is no private key that private_key_passphrase opens: {str(error).splitlines()[0]}"
        raise _unread("private_key", target, why, "give the whole key, PEM or base64 of DER, and its passphrase") from None  # fmt: skip
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def _identity(target: Snowflake) -> dict[str, Any]:
    found = {
        "workload_identity_provider": target.workload_identity_provider,
        "workload_identity_entra_resource": target.workload_identity_entra_resource,
        "token": _token(target) if target.workload_identity_provider == "OIDC" else None,
    }
    return {name: value for name, value in found.items() if value}


def _access_token(target: Snowflake) -> str:
    """An access token for a refresh token or for the client itself; one that still lasts is used again, and a refresh token that is
    replaced with each use (https://docs.snowflake.com/en/user-guide/oauth-custom) by its successor."""
    refresh = _secret(target, "oauth_refresh_token") or ""
    url = target.oauth_token_url or f"{_account_url(target)}/oauth/token-request"
    key = (url, str(target.oauth_client_id), refresh)
    with _asking:
        held = _grants.get(key)
        if held and held.until - _RENEWED_BEFORE_SECONDS > time.monotonic():
            return held.access_token
        fields = {"grant_type": "refresh_token", "refresh_token": held.refresh_token if held else refresh}
        if not refresh:
            role = f"session:role:{target.role}" if target.role else ""
            fields = {"grant_type": "client_credentials", "scope": target.oauth_scope or role}
        elif target.oauth_scope:
            fields["scope"] = target.oauth_scope
        given = _asked(url, target, fields)
        token, successor = remember(str(given["access_token"])), str(given.get("refresh_token") or fields.get("refresh_token", ""))  # fmt: skip
        lasts = float(given.get("expires_in") or 0)
        _grants[key] = _Grant(token, time.monotonic() + lasts, remember(successor))
        return token


def _account_url(target: Snowflake) -> str:
    host = target.connect.get("host") or f"{target.account}.snowflakecomputing.com"
    port = f":{target.connect['port']}" if "port" in target.connect else ""
    return f"{target.connect.get('protocol', 'https')}://{host}{port}"


def _asked(url: str, target: Snowflake, fields: dict[str, str]) -> dict[str, Any]:
    """https://datatracker.ietf.org/doc/html/rfc6749#section-5: an answer in JSON, or an error's code in JSON."""
    doing = "ask the identity provider for an access token"
    cure = "correct oauth_client_id, oauth_client_secret and oauth_token_url in the profile, or have a new refresh token issued"
    try:
        answer = requests.post(
            url, data=fields, timeout=target.connect_timeout_seconds, allow_redirects=False,
            auth=(str(target.oauth_client_id), _secret(target, "oauth_client_secret") or ""), headers={"Accept": "application/json"},
        )  # fmt: skip
    except requests.RequestException as error:
        raise ConnectionFailed(doing, on=url, why=type(error).__name__, next_step="check oauth_token_url, and that it can be reached from here") from None  # fmt: skip
    try:
        found = answer.json()
    except ValueError:
        found = {}
    if answer.ok and isinstance(found, dict) and found.get("access_token"):
        return found
    said = " ".join(
        str(found[key]) for key in ("error", "error_description") if isinstance(found, dict) and found.get(key)
    )
    refused = ConnectionFailed(doing, on=url, why=f"HTTP {answer.status_code} {said}".strip(), next_step=cure)
    refused.transient = answer.status_code >= 500 or answer.status_code == 429
    raise refused


def _somebody_is_there(target: Snowflake) -> None:
    """A page in a browser needs a person at this command, or at this notebook: JupyterLab names the notebook to its kernels
    (JPY_SESSION_NAME), papermill does not."""
    if (sys.stdin and sys.stdin.isatty()) or os.environ.get("JPY_SESSION_NAME"):
        return
    why = "a browser logs people in, and nobody sits at this command: it has no terminal"
    cure = (
        f"take a way that needs nobody, such as a key pair: {METHODS['snowflake_jwt'].shown}; or run it in a terminal"
    )
    raise _unread("authenticator", target, why, cure)


def _unread(key: str, target: Snowflake, why: str, next_step: str) -> SettingsError:
    return SettingsError(f"log in by snowflake.{key}", on=f"Snowflake {target.account}, user {target.user}", why=why, next_step=next_step)  # fmt: skip
