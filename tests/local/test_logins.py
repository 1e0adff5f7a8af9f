"""Every way to log in to Snowflake, from the profile's keys to what reaches the login by the genuine connector, and dbt.

Would catch: a key that the connector is never given, a token of another user that is taken, a JWT that is not checked, a token that is
asked for anew with each session, a browser that is waited for where nobody sits, a secret of dbt's that it does not mask.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import jwt
import pytest
import yaml  # type: ignore[import-untyped]
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from pydantic import SecretStr

from helpers.doctor.snowflake import look_at_connection
from helpers.errors import ConnectionFailed, SettingsError
from helpers.platforms import dbt, snowflake, snowflake_login
from helpers.platforms.snowflake import Session, identifier
from helpers.settings import Compliance, Settings, Snowflake

PHRASE = "a-long-passphrase"
NOBODY = dict.fromkeys(
    ("password", "private_key", "private_key_file", "private_key_passphrase", "token", "token_file", "authenticator")
)


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def _pem(key: rsa.RSAPrivateKey, phrase: str | None = None) -> bytes:
    how = BestAvailableEncryption(phrase.encode()) if phrase else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how)


def _public(key: rsa.RSAPrivateKey) -> str:
    return base64.b64encode(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()


@pytest.fixture
def admin(administrator: Snowflake) -> Iterator[Session]:
    with snowflake.connect(administrator) as session:
        yield session


@pytest.fixture
def registered(local_settings: Settings, admin: Session, key: rsa.RSAPrivateKey) -> Iterator[str]:
    """The profile's user has the key's public half."""
    user = identifier(local_settings.snowflake.user)
    admin.execute(f"ALTER USER {user} SET RSA_PUBLIC_KEY = '{_public(key)}'", doing="register the key")
    yield user
    admin.execute(f"ALTER USER {user} UNSET RSA_PUBLIC_KEY", doing="take the key back")


def _with(settings: Settings, **login: Any) -> Snowflake:
    """The profile's section with another login, checked as the file's would be."""
    kept = settings.snowflake.model_dump(by_alias=True, exclude=set(NOBODY), exclude_none=True)
    return Snowflake.model_validate({**kept, **login})


def _secret(text: str) -> Any:
    from helpers.settings import Resolved

    return Resolved(text)


def _logs_in(target: Snowflake) -> bool:
    with snowflake.connect(target) as session:
        return session.execute("SELECT 1 AS N", doing="ask") == [{"N": 1}]


@pytest.mark.parametrize("form", ["file", "encrypted file", "secret", "encrypted secret", "base64"])
def test_a_key_pair_logs_in_from_a_file_and_from_a_secret(
    local_settings: Settings, registered: str, key: rsa.RSAPrivateKey, tmp_path: Path, form: str
) -> None:
    phrase = PHRASE if "encrypted" in form else None
    pem = _pem(key, phrase)
    if "file" in form:
        file = tmp_path / "key.p8"
        file.write_bytes(pem)
        login: dict[str, Any] = {"private_key_file": str(file)}
    elif form == "base64":
        der = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        login = {"private_key": _secret(base64.b64encode(der).decode())}
    else:
        login = {"private_key": _secret(pem.decode())}
    if phrase:
        login["private_key_passphrase"] = _secret(phrase)
    target = _with(local_settings, authenticator="snowflake_jwt", **login)
    assert _logs_in(target)


def test_a_key_that_is_not_the_users_is_refused_once_and_says_how_to_register_it(
    local_settings: Settings, registered: str
) -> None:
    another = rsa.generate_private_key(65537, 2048)
    with pytest.raises(ConnectionFailed) as refused:
        snowflake.open_connection(_with(local_settings, private_key=_secret(_pem(another).decode())))
    assert "RSA_PUBLIC_KEY" in refused.value.next_step
    assert not refused.value.transient


def test_a_passphrase_that_does_not_open_the_key_is_a_setting(local_settings: Settings, key: rsa.RSAPrivateKey) -> None:
    wrong = _with(
        local_settings,
        private_key=_secret(_pem(key, PHRASE).decode()),
        private_key_passphrase=_secret("another-passphrase"),
    )
    with pytest.raises(SettingsError, match="private_key") as refused:
        snowflake.open_connection(wrong)
    assert "BEGIN" not in str(refused.value) and "another-passphrase" not in str(refused.value)


def _claims(target: Snowflake, key: rsa.RSAPrivateKey, **changed: Any) -> dict[str, Any]:
    from snowflake.connector.auth.keypair import AuthByKeyPair

    now = int(time.time())
    named = f"{target.account}.{target.user}".upper()
    issuer = f"{named}.{AuthByKeyPair.calculate_public_key_fingerprint(key)}"
    return {"iss": issuer, "sub": named, "iat": now, "exp": now + 60} | changed


@pytest.mark.parametrize(
    ("changed", "signed_by_another", "code"),
    [
        ({}, False, ""), ({}, True, "394300"), ({"exp": int(time.time()) - 10}, False, "394301"), ({"sub": "LOCAL.OTHER"}, False, "394300"),
        ({"iss": "LOCAL.RUNBOOK.SHA256:x"}, False, "394304"), ({"exp": int(time.time()) + 7200}, False, "394303"),
    ],
)  # fmt: skip
def test_the_standin_checks_a_jwt_as_documented(
    local_settings: Settings,
    registered: str,
    key: rsa.RSAPrivateKey,
    changed: dict[str, Any],
    signed_by_another: bool,
    code: str,
) -> None:
    import requests

    target = local_settings.snowflake
    signer = rsa.generate_private_key(65537, 2048) if signed_by_another else key
    token = jwt.encode(_claims(target, key, **changed), signer, "RS256")
    there = target.connect
    answer = requests.post(
        f"http://{there['host']}:{there['port']}/session/v1/login-request",
        json={"data": {"LOGIN_NAME": target.user, "AUTHENTICATOR": "SNOWFLAKE_JWT", "TOKEN": token}},
        timeout=10,
    ).json()
    assert (answer.get("code") or "", answer["success"]) == (code, not code)


def test_a_programmatic_access_token_is_one_users(local_settings: Settings, admin: Session, tmp_path: Path) -> None:
    user = identifier(local_settings.snowflake.user)
    (made,) = admin.execute(f"ALTER USER {user} ADD PROGRAMMATIC ACCESS TOKEN ours DAYS_TO_EXPIRY = 1", doing="add one")
    file = tmp_path / "token"
    file.write_text(f"{made['token_secret']}\n")
    of_a_file = _with(local_settings, authenticator="programmatic_access_token", token_file=str(file))
    assert _logs_in(of_a_file)
    token = _secret(made["token_secret"])
    for wrong in ({"user": "ANOTHER", "token": token}, {"token": _secret("no-such-token-at-all")}):
        with pytest.raises(ConnectionFailed, match="token is invalid") as refused:
            snowflake.open_connection(_with(local_settings, authenticator="programmatic_access_token", **wrong))
        assert not refused.value.transient and "no-such-token-at-all" not in str(refused.value)
    admin.execute(f"ALTER USER {user} REMOVE PROGRAMMATIC ACCESS TOKEN ours", doing="remove it")
    with pytest.raises(ConnectionFailed):
        snowflake.open_connection(of_a_file)


class Provider:
    """An identity provider of the test's own: it gives signed tokens, and counts what it is asked."""

    def __init__(self, user: str) -> None:
        self.key = rsa.generate_private_key(65537, 2048)
        self.asked: list[dict[str, str]] = []
        self.user, self.lasts = user, 600
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                provider.asked.append({name: values[0] for name, values in parse_qs(body).items()})
                right = self.headers["Authorization"] == "Basic " + base64.b64encode(b"client:client-secret").decode()
                self.say(*((200, provider.answer()) if right else (401, {"error": "invalid_client"})))

            def do_GET(self) -> None:
                jwk = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(provider.key.public_key())) | {"kid": "one"}
                found = {"jwks_uri": f"{provider.url}/keys"} if "well-known" in self.path else {"keys": [jwk]}
                self.say(200, found)

            def say(self, status: int, found: dict[str, Any]) -> None:
                body = json.dumps(found).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def token(self, audience: str, **changed: Any) -> str:
        claims = {"iss": self.url, "sub": self.user, "aud": audience, "exp": int(time.time()) + self.lasts} | changed
        return jwt.encode(claims, self.key, "RS256", headers={"kid": "one"})

    def answer(self) -> dict[str, Any]:
        n = len(self.asked)
        return {"access_token": self.token("snowflake"), "refresh_token": f"refresh-{n}", "expires_in": self.lasts}


@pytest.fixture
def provider(local_settings: Settings, admin: Session) -> Iterator[Provider]:
    made = Provider(local_settings.snowflake.user)
    admin.execute(
        f"CREATE OR REPLACE SECURITY INTEGRATION idp TYPE = EXTERNAL_OAUTH ENABLED = TRUE EXTERNAL_OAUTH_TYPE = CUSTOM "
        f"EXTERNAL_OAUTH_ISSUER = '{made.url}' EXTERNAL_OAUTH_RSA_PUBLIC_KEY = '{_public(made.key)}' "
        "EXTERNAL_OAUTH_AUDIENCE_LIST = ('snowflake') EXTERNAL_OAUTH_TOKEN_USER_MAPPING_CLAIM = 'sub' "
        "EXTERNAL_OAUTH_SNOWFLAKE_USER_MAPPING_ATTRIBUTE = 'LOGIN_NAME'",
        doing="trust the provider",
    )
    yield made
    admin.execute("DROP SECURITY INTEGRATION idp", doing="trust it no more")
    made.server.shutdown()
    made.server.server_close()


def _client(provider: Provider, **more: Any) -> dict[str, Any]:
    return {"oauth_client_id": "client", "oauth_client_secret": _secret("client-secret"), "oauth_token_url": f"{provider.url}/token", **more}  # fmt: skip


def test_oauth_by_an_access_token(local_settings: Settings, provider: Provider) -> None:
    target = _with(local_settings, authenticator="oauth", token=_secret(provider.token("snowflake")))
    assert _logs_in(target)
    for token in (
        provider.token("snowflake", exp=1),
        provider.token("another"),
        provider.token("snowflake", sub="WHO"),
    ):
        with pytest.raises(ConnectionFailed) as refused:
            snowflake.open_connection(_with(local_settings, authenticator="oauth", token=_secret(token)))
        assert "token" in refused.value.next_step and token not in str(refused.value)
        assert not refused.value.transient


def test_oauth_by_client_credentials_is_the_connectors_own(local_settings: Settings, provider: Provider) -> None:
    target = _with(
        local_settings, authenticator="oauth_client_credentials", **_client(provider, oauth_scope="session:role:R")
    )
    assert _logs_in(target)
    assert provider.asked == [{"grant_type": "client_credentials", "scope": "session:role:R"}]


def test_a_refresh_token_is_exchanged_once_and_its_successor_is_used_next(
    local_settings: Settings, provider: Provider
) -> None:
    target = _with(
        local_settings,
        authenticator="oauth_refresh_token",
        oauth_refresh_token=_secret("refresh-0"),
        **_client(provider),
    )
    assert _logs_in(target) and _logs_in(target)
    assert [each["refresh_token"] for each in provider.asked] == ["refresh-0"], "a token that lasts is used again"
    snowflake_login._grants.clear()
    provider.lasts = 30  # less than a login may take
    assert _logs_in(target) and _logs_in(target)
    assert [each["refresh_token"] for each in provider.asked] == ["refresh-0", "refresh-0", "refresh-2"]


def test_a_client_that_the_provider_does_not_know_is_told_with_its_code(
    local_settings: Settings, provider: Provider
) -> None:
    wrong = _client(provider) | {"oauth_client_secret": _secret("not-the-secret")}
    target = _with(
        local_settings, authenticator="oauth_refresh_token", oauth_refresh_token=_secret("refresh-x"), **wrong
    )
    with pytest.raises(ConnectionFailed, match="invalid_client") as refused:
        snowflake.open_connection(target)
    assert not refused.value.transient and "not-the-secret" not in str(refused.value)


def test_a_workload_is_known_by_its_provider(
    local_settings: Settings, admin: Session, provider: Provider, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The connector sends a workload's credential to Snowflake's hosts alone, and to those that this variable names."""
    monkeypatch.setenv("SNOWFLAKE_WIF_ALLOWED_HOST_SUFFIXES", "127.0.0.1")
    user = identifier(local_settings.snowflake.user)
    admin.execute(
        f"ALTER USER {user} SET WORKLOAD_IDENTITY = (TYPE = OIDC ISSUER = '{provider.url}' SUBJECT = 'system:serviceaccount')",
        doing="know the workload",
    )
    file = tmp_path / "projected"
    target = _with(
        local_settings, authenticator="workload_identity", workload_identity_provider="OIDC", token_file=str(file)
    )
    file.write_text(provider.token("snowflakecomputing.com", sub="system:serviceaccount"))
    assert _logs_in(target)
    file.write_text(provider.token("snowflakecomputing.com", sub="another"))
    with pytest.raises(ConnectionFailed):
        snowflake.open_connection(target)


@pytest.mark.parametrize("provider_name", ["AWS", "AZURE", "GCP"])
def test_a_clouds_identity_reaches_the_connector(local_settings: Settings, provider_name: str) -> None:
    more = {"workload_identity_entra_resource": "api://1234"} if provider_name == "AZURE" else {}
    target = _with(local_settings, authenticator="workload_identity", workload_identity_provider=provider_name, **more)
    given = {"authenticator": "WORKLOAD_IDENTITY", "workload_identity_provider": provider_name}
    assert snowflake_login.arguments(target) == given | more
    with pytest.raises(
        ConnectionFailed, match="recognized Snowflake host"
    ):  # the stand-in's is none, and the connector sees to that
        snowflake.open_connection(target)


def test_a_browser_is_refused_where_nobody_sits(local_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    target = _with(local_settings, authenticator="externalbrowser")
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    with pytest.raises(SettingsError, match="nobody sits at this command"):
        snowflake.open_connection(target)
    monkeypatch.setenv("JPY_SESSION_NAME", "30_data_migration.ipynb")
    assert snowflake_login.arguments(target)["authenticator"] == "EXTERNALBROWSER"


SECTION = {"account": "a-b", "user": "U", "database": "D", "schema": "S"}


@pytest.mark.parametrize(
    ("login", "said"),
    [
        ({"password": "p", "private_key_file": "/k"}, "two ways to log in"),
        ({"token": "t"}, "says nothing without authenticator: one of oauth, programmatic_access_token, workload_identity"),
        ({"authenticator": "oauth"}, "needs token or token_file"),
        ({"authenticator": "oauth", "token": "t", "token_file": "/t"}, "two of token and token_file"),
        ({"authenticator": "snowflake_jwt", "private_key_file": "/k", "password": "p"}, "does not read password"),
        ({"authenticator": "oauth_refresh_token", "oauth_refresh_token": "r"}, "needs oauth_client_id"),
        ({"authenticator": "oauth_client_credentials", "oauth_client_id": "c", "oauth_client_secret": "s"}, "needs oauth_token_url"),
        ({"authenticator": "workload_identity"}, "needs workload_identity_provider"),
        ({"authenticator": "workload_identity", "workload_identity_provider": "OIDC"}, "OIDC needs token"),
        ({"authenticator": "workload_identity", "workload_identity_provider": "AWS", "token": "t"}, "other providers read neither"),
        ({"authenticator": "kerberos"}, "there is no authenticator 'kerberos'"),
        ({"private_key_passphrase": "p"}, "says nothing without authenticator"),
        ({"connect": {"authenticator": "oauth"}}, "write it as snowflake.authenticator"),
        ({"connect": {"token_file_path": "/t"}}, "write it as snowflake.token_file"),
        ({"connect": {"passcode": 123456}}, "a value for passcode"),
        ({"connect": {"proxy": {"private_key": ["x"]}}}, "a value for private_key"),
        ({"connect": {"client_session_keep_alive": False}}, "this program decides it"),
    ],
)  # fmt: skip
def test_a_wrong_combination_is_one_sentence_with_an_example(login: dict[str, Any], said: str) -> None:
    secret = ("password", "token", "oauth_refresh_token", "oauth_client_secret", "private_key_passphrase")
    given = {name: _secret(value) if name in secret else value for name, value in login.items()}
    with pytest.raises(ValueError, match="validation error") as refused:
        Snowflake.model_validate(SECTION | given)
    assert said in str(refused.value)


def test_the_security_check_reads_the_method(local_settings: Settings) -> None:
    logins = {
        "with a password": {"password": _secret("p")},
        "with a key pair": {"private_key_file": "/k"},
        "with a workload's identity": {"authenticator": "workload_identity", "workload_identity_provider": "GCP"},
        "with OAuth with client credentials": {
            "authenticator": "oauth_client_credentials", "oauth_client_id": "c", "oauth_client_secret": _secret("s"),
            "oauth_token_url": "https://login.example.com/t",
        },
    }  # fmt: skip
    for words, login in logins.items():
        found = {each.on: each for each in look_at_connection(Snowflake.model_validate(SECTION | login), Compliance())}
        assert words in found["login"].what
        assert found["login"].severity == ("warning" if "password" in words else "note")


def test_dbt_logs_in_the_same_way(
    local_settings: Settings, key: rsa.RSAPrivateKey, provider: Provider, tmp_path: Path
) -> None:
    """By the keys that its adapter documents, from variables alone."""
    pem = tmp_path / "key.p8"
    pem.write_bytes(_pem(key))
    wanted: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "file": ({"private_key_file": str(pem)}, {"private_key_path": str(pem), "private_key": "", "authenticator": ""}),
        "secret": (
            {"private_key": _secret(_pem(key, PHRASE).decode()), "private_key_passphrase": _secret(PHRASE)},
            {"private_key": base64.b64encode(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())).decode(), "private_key_passphrase": ""},
        ),
        "PAT": ({"authenticator": "programmatic_access_token", "token": _secret("pat-1234")}, {"authenticator": "programmatic_access_token", "token": "pat-1234"}),
        "OAuth": ({"authenticator": "oauth", "token": _secret("access-1234")}, {"authenticator": "oauth", "token": "access-1234"}),
        "workload": (
            {"authenticator": "workload_identity", "workload_identity_provider": "AWS"},
            {"authenticator": "workload_identity", "workload_identity_provider": "AWS", "token": ""},
        ),
        "password": ({"password": _secret("pass-1234")}, {"password": "pass-1234", "authenticator": ""}),
    }  # fmt: skip
    for login, rendered in wanted.values():
        found = _rendered(_with(local_settings, **login))
        assert {name: found[name] for name in rendered} == rendered
    minted = _rendered(_with(local_settings, authenticator="oauth_client_credentials", **_client(provider)))
    assert minted["authenticator"] == "oauth"
    assert jwt.decode(minted["token"], options={"verify_signature": False})["iss"] == provider.url


def _rendered(target: Snowflake) -> dict[str, Any]:
    """Our dbt profile, as dbt renders it; a secret must come from a variable that dbt masks."""
    import jinja2

    variables = snowflake_login.for_dbt(target) | {
        f"RUNBOOK_DBT_{name}": "1" for name in ("ACCOUNT", "USER", "DATABASE", "SCHEMA", "THREADS", "FILE")
    }
    hidden = [value for name, value in variables.items() if not name.startswith("DBT_ENV_SECRET")]
    for name in ("password", "token", "private_key", "private_key_passphrase", "oauth_client_secret"):
        value = getattr(target, name)
        assert not isinstance(value, SecretStr) or value.get_secret_value() not in hidden
    environment = jinja2.Environment()
    environment.filters["as_number"] = int
    profile = yaml.safe_load(dbt._PROFILES.read_text(encoding="utf-8"))["PROFILE"]["outputs"]["snowflake"]

    def variable(name: str, default: str | None = None) -> str:
        found = variables.get(name, default)
        assert found is not None, name
        return found

    return {k: environment.from_string(v).render(env_var=variable) if isinstance(v, str) else v for k, v in profile.items()}  # fmt: skip


def test_a_password_still_logs_in(local_settings: Settings) -> None:
    with closing(snowflake.open_connection(local_settings.snowflake)) as connection:
        assert connection.user.upper() == local_settings.snowflake.user.upper()
