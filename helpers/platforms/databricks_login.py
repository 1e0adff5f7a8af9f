"""Who we are at a Databricks workspace: a personal access token, or OAuth's, which last an hour and are renewed.

databricks-sdk keeps a token until it is about to end and renews it once for all threads; its federation exchanges an identity token
of another issuer. The token is asked for at the address that is documented, with time-outs, which the SDK's own request lacks
(https://docs.databricks.com/aws/en/dev-tools/auth/oauth-m2m).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import requests

from helpers.errors import ConnectionFailed
from helpers.redaction import redact, remember
from helpers.settings import Databricks

CLUSTER = "x-databricks-cluster-id"
"""https://docs.databricks.com/aws/en/dev-tools/databricks-connect/advanced"""

SESSION = "x-databricks-session-id"
"""By which mlflow knows a session of serverless compute, and public clients ask for one
(https://github.com/mlflow/mlflow/blob/master/mlflow/utils/databricks_utils.py); Databricks documents its own client alone."""

THIS_MACHINE = "localhost"
"""The host of a `url` to which a token is sent without TLS, as pyspark's own client does."""

_CURE = "correct host, client_id and client_secret of the profile's section databricks, or make the service principal a new secret"


class Login:
    """What is sent as the header Authorization.

    Attributes:
        refused: why the last header was not to be had, where asking again does not help.
    """

    def __init__(self, make: Callable[[], str]) -> None:
        self._make = make
        self.refused: ConnectionFailed | None = None

    def header(self) -> str:
        """The header for one request; a token that is about to end is renewed before.

        Raises:
            ConnectionFailed: nobody gives a token.
        """
        try:
            made = self._make()
        except ConnectionFailed as error:
            self.refused = None if error.transient else error
            raise
        self.refused = None
        return made


def compute(target: Databricks) -> dict[str, str]:
    """The headers that say where statements run."""
    if target.cluster_id:
        return {CLUSTER: target.cluster_id}
    return {SESSION: str(uuid4())} if target.serverless else {}


def place(target: Databricks) -> str:
    """The workspace as host and port."""
    return target.host if ":" in (target.host or "") else f"{target.host}:443"  # type: ignore[return-value]


_logins: dict[object, Login] = {}
"""One for each identity of this process, so that its sessions share a token."""


def login(target: Databricks) -> Login | None:
    """The profile's; None where the server asks for nothing."""
    key = (target.host, target.client_id, target.client_secret, target.federation, target.token)
    if key not in _logins and (made := _made(target)):
        _logins[key] = made
    return _logins.get(key)


def _made(target: Databricks) -> Login | None:
    if target.token:
        header = f"Bearer {target.token.get_secret_value()}"
        return Login(lambda: header)
    if target.federation:
        return Login(_federated(target))
    return Login(_service_principal(target)) if target.client_id else None


def ask(target: Databricks, path: str) -> dict[str, Any]:
    """Asks the workspace's REST interface (https://docs.databricks.com/api/workspace/introduction).

    Args:
        target: with a host.
        path: behind `/api/`.

    Raises:
        ConnectionFailed: no answer, or a refusal.
    """
    known = login(target)
    headers, patience = {"Authorization": known.header()} if known else {}, _patience(target)
    return _answer(
        f"ask {path.partition('?')[0]}", target, "correct host, cluster_id or login of the profile's section databricks",
        lambda: requests.get(f"https://{place(target)}/api/{path}", headers=headers, allow_redirects=False, timeout=patience),
    )  # fmt: skip


def ask_all(target: Databricks, path: str, key: str) -> list[dict[str, Any]]:
    """The same of a list in Unity Catalog, page by page: one may be empty and not the last
    (https://docs.databricks.com/aws/en/data-governance/unity-catalog/paginate-legacy-list-apis).

    Args:
        target: with a host.
        path: behind `/api/`.
        key: of the answer, under which the list is.
    """
    found: list[dict[str, Any]] = []
    page, paged = "", f"{path}{'&' if '?' in path else '?'}max_results=0"
    while True:
        answer = ask(target, f"{paged}{page}")
        found += answer.get(key) or []
        if not (token := answer.get("next_page_token")):
            return found
        page = f"&page_token={quote(str(token), safe='')}"


def _service_principal(target: Databricks) -> Callable[[], str]:
    from databricks.sdk.oauth import Refreshable, Token

    assert target.client_id
    assert target.client_secret
    known, patience = (target.client_id, target.client_secret.get_secret_value()), _patience(target)

    class ServicePrincipal(Refreshable):  # type: ignore[misc] # the SDK's, which mypy does not read
        def refresh(self) -> Token:
            found = _answer(
                "get a token for the service principal", target, _CURE,
                lambda: requests.post(
                    f"https://{place(target)}/oidc/v1/token", auth=known, allow_redirects=False, timeout=patience,
                    data={"grant_type": "client_credentials", "scope": "all-apis"},
                ),
            )  # fmt: skip
            expiry = datetime.now() + timedelta(
                seconds=int(found["expires_in"])
            )  # without a zone, as the SDK compares it
            return Token(remember(found["access_token"]), found.get("token_type", "Bearer"), expiry=expiry)

    tokens = ServicePrincipal(disable_async=False)

    def header() -> str:
        token = tokens.token()
        return f"{token.token_type} {token.access_token}"

    return header


def _federated(target: Databricks) -> Callable[[], str]:
    """https://docs.databricks.com/aws/en/dev-tools/auth/oauth-federation-exchange"""
    from databricks.sdk.config import Config

    made: list[Config] = []

    def header() -> str:
        try:
            if not made:
                made.append(Config(
                    host=f"https://{place(target)}", auth_type=target.federation, client_id=target.client_id,
                    discovery_url=f"https://{place(target)}/oidc/.well-known/oauth-authorization-server",
                    http_timeout_seconds=target.answer_timeout_seconds, retry_timeout_seconds=int(target.connect_timeout_seconds),
                ))  # fmt: skip
            return str(made[0].authenticate()["Authorization"])
        except Exception as error:  # ValueError, requests' own, the SDK's DatabricksError
            raise _failed(
                "exchange the identity token", target, redact(str(error))[:300],
                "correct the federation policy, client_id, or the variable or file with the identity token",
            ) from None  # fmt: skip

    return header


def _answer(doing: str, target: Databricks, cure: str, request: Callable[[], requests.Response]) -> dict[str, Any]:
    transient = True
    try:
        answer = request()
        if answer.ok:
            found: dict[str, Any] = answer.json()
            return found
        # A login that was refused is not sent again and again.
        transient = answer.status_code in (429, 500, 502, 503, 504)
        why = f"status {answer.status_code}: {redact(answer.text)[:300]}"
    except (requests.RequestException, ValueError) as error:
        why = f"{type(error).__name__}: nobody answers there as a workspace does"
    refused = _failed(doing, target, why, cure)
    refused.transient = transient
    raise refused


def _failed(doing: str, target: Databricks, why: str, cure: str) -> ConnectionFailed:
    return ConnectionFailed(doing, on=f"Databricks {target.host}", why=why, next_step=cure)


def _patience(target: Databricks) -> tuple[float, float]:
    return min(target.connect_timeout_seconds, 30.0), target.answer_timeout_seconds
