"""Snowflake: the account, and how somebody logs in to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from helpers.settings.section import Address, FileAnywhere, Secret, Section, Server, example

OKTA = "https://"
"""Native single sign-on by Okta is chosen by its address (https://docs.snowflake.com/en/developer-guide/python-connector/python-connector-connect)."""


@dataclass(frozen=True)
class Method:
    """One way to log in.

    Attributes:
        words: how people call it.
        needs: keys that it cannot do without; of a group, exactly one.
        may: keys that it reads, too.
        shown: an example.
    """

    words: str
    needs: tuple[tuple[str, ...], ...]
    may: tuple[str, ...] = ()
    shown: str = ""


_TOKEN = ("token", "token_file")
_CLIENT = (("oauth_client_id",), ("oauth_client_secret",))
_OAUTH_MAY = ("oauth_token_url", "oauth_scope")

METHODS: Mapping[str, Method] = {
    "snowflake": Method(
        "a password", (("password",),), (), 'authenticator = "snowflake", password = { env = "SNOWFLAKE_PASSWORD" }'
    ),
    "snowflake_jwt": Method(
        "a key pair", (("private_key_file", "private_key"),), ("private_key_passphrase",),
        'authenticator = "snowflake_jwt", private_key_file = "/etc/migration/snowflake_rsa_key.p8"',
    ),
    "oauth": Method(
        "an OAuth access token", (_TOKEN,), (), 'authenticator = "oauth", token_file = "/run/secrets/snowflake-token"'
    ),
    "oauth_refresh_token": Method(
        "OAuth with a refresh token", (("oauth_refresh_token",), *_CLIENT), _OAUTH_MAY,
        'authenticator = "oauth_refresh_token", oauth_refresh_token = { env = "SNOWFLAKE_REFRESH_TOKEN" }, '
        'oauth_client_id = "…", oauth_client_secret = { env = "SNOWFLAKE_CLIENT_SECRET" }',
    ),
    "oauth_client_credentials": Method(
        "OAuth with client credentials", (*_CLIENT, ("oauth_token_url",)), ("oauth_scope",),
        'authenticator = "oauth_client_credentials", oauth_client_id = "…", oauth_client_secret = { env = '
        '"SNOWFLAKE_CLIENT_SECRET" }, oauth_token_url = "https://login.example.com/oauth2/token"',
    ),
    "programmatic_access_token": Method(
        "a programmatic access token", (_TOKEN,), (),
        'authenticator = "programmatic_access_token", token = { env = "SNOWFLAKE_TOKEN" }',
    ),
    "workload_identity": Method(
        "a workload's identity", (("workload_identity_provider",),), ("workload_identity_entra_resource", *_TOKEN),
        'authenticator = "workload_identity", workload_identity_provider = "AWS"',
    ),
    "externalbrowser": Method("a browser", (), (), 'authenticator = "externalbrowser"'),
}  # fmt: skip
"""By the word that the connector has for it, but for the refresh token, for which it has none
(https://docs.snowflake.com/en/developer-guide/python-connector/python-connector-connect)."""


class SnowflakeLogin(Section):
    """How somebody logs in to Snowflake; `METHODS` says which keys go together."""

    authenticator: Annotated[str | None, example("snowflake_jwt")] = None
    """"snowflake_jwt" (a key pair), "oauth", "oauth_refresh_token", "oauth_client_credentials", "programmatic_access_token", "workload_identity", "externalbrowser" (people only), "snowflake" (a password), or Okta's address. Without it, a private key or a password says which."""
    password: Annotated[Secret, example({"env": "SNOWFLAKE_PASSWORD"})] = None
    """Snowflake is ending logins by a password alone: prefer a key pair or a token."""
    private_key_file: Annotated[str | None, example("/etc/migration/snowflake_rsa_key.p8")] = None
    """File with the private key of a key pair, in PEM."""
    private_key: Annotated[Secret, example({"env": "SNOWFLAKE_PRIVATE_KEY"})] = None
    """The same key from a secret: PEM, or base64 of DER."""
    private_key_passphrase: Annotated[Secret, example({"env": "SNOWFLAKE_KEY_PASSPHRASE"})] = None
    """Opens an encrypted private key."""
    token: Annotated[Secret, example({"env": "SNOWFLAKE_TOKEN"})] = None
    """An OAuth access token, a programmatic access token, or the OIDC token of a workload."""
    token_file: Annotated[FileAnywhere, example("/var/run/secrets/snowflake/token")] = None
    """File with such a token, read at each login: what renews it renews the login."""
    oauth_client_id: Annotated[str | None, example("0oa1example")] = None
    """The client that the identity provider knows."""
    oauth_client_secret: Annotated[Secret, example({"env": "SNOWFLAKE_CLIENT_SECRET"})] = None
    """The client's secret."""
    oauth_token_url: Annotated[Address | None, example("https://login.example.com/oauth2/token")] = None
    """Where tokens are asked for; for a refresh token, without it, the account itself."""
    oauth_scope: Annotated[str | None, example("session:role:MIGRATION_ROLE")] = None
    """The scope that is asked for; without it, the role's."""
    oauth_refresh_token: Annotated[Secret, example({"env": "SNOWFLAKE_REFRESH_TOKEN"})] = None
    """Exchanged for an access token at each login."""
    workload_identity_provider: Annotated[Literal["AWS", "AZURE", "GCP", "OIDC"] | None, example("AWS")] = None
    """Who vouches for this machine; OIDC needs a token beside it."""
    workload_identity_entra_resource: Annotated[str | None, example("api://1234abcd")] = None
    """The resource in Entra ID that the account expects, for AZURE."""

    @property
    def method(self) -> str | None:
        """The way to log in, a key of `METHODS` or Okta's address; None where the section names none."""
        if self.authenticator:
            return self.authenticator if self.authenticator.startswith(OKTA) else self.authenticator.lower()
        if self.private_key_file or self.private_key:
            return "snowflake_jwt"
        return "snowflake" if self.password else None

    @property
    def login(self) -> dict[str, Any]:
        """The keys of the login, as this section has them."""
        return {name: getattr(self, name) for name in SnowflakeLogin.model_fields}

    @model_validator(mode="after")
    def _fits_together(self) -> SnowflakeLogin:
        if why := next(_misfits(self), None):
            raise ValueError(why)
        return self


def _misfits(login: SnowflakeLogin) -> Iterator[str]:
    given = {name for name, value in login.login.items() if value is not None} - {"authenticator"}
    if login.password and given & {"private_key", "private_key_file"} and not login.authenticator:
        key = "private_key_file" if login.private_key_file else "private_key"
        yield f"password and {key} are two ways to log in: take one of them away"
    if (name := login.method) is None:
        if given:
            ways = [
                word
                for word, each in METHODS.items()
                if given & {*each.may, *(key for group in each.needs for key in group)}
            ]
            yield f"{', '.join(sorted(given))} says nothing without authenticator: one of {', '.join(ways)}; for example {METHODS[ways[0]].shown}"  # fmt: skip
        return
    method = METHODS["snowflake"] if name.startswith(OKTA) else METHODS.get(name)
    if method is None:
        yield f"there is no authenticator {name!r}: one of {', '.join(METHODS)}, or Okta's address"
        return
    shown = f"; for example {method.shown}"
    for group in method.needs:
        found = [key for key in group if key in given]
        if len(found) != 1:
            what = f"two of {' and '.join(found)}" if found else "neither" if len(group) > 1 else "no"
            yield f"{method.words} needs {' or '.join(group)}, and {what} {'are' if found else 'is'} given{shown}"
    if unread := sorted(given - {*method.may, *(key for group in method.needs for key in group)}):
        yield f"{method.words} (authenticator {name!r}) does not read {', '.join(unread)}: take it away{shown}"
    if name == "workload_identity":
        provider, tokens = login.workload_identity_provider, sum(key in given for key in _TOKEN)
        if tokens != (1 if provider == "OIDC" else 0):
            yield f"OIDC needs token or token_file, and other providers read neither (provider {provider}){shown}"
        if login.workload_identity_entra_resource and provider != "AZURE":
            yield f"workload_identity_entra_resource is of AZURE, and the provider is {provider}: take it away"
    url = login.oauth_token_url
    if url and not url.startswith("https://") and not url.startswith(("http://127.0.0.1", "http://localhost")):
        yield "oauth_token_url gets the client's secret, so it must begin with https://"


_KEYS_OF_ITS_OWN = {
    "account": "account", "user": "user", "database": "database", "schema": "schema", "warehouse": "warehouse", "role": "role",
    "authenticator": "authenticator", "password": "password", "token": "token", "token_file_path": "token_file",
    "private_key": "private_key", "private_key_file": "private_key_file", "private_key_passphrase": "private_key_passphrase",
    "private_key_file_pwd": "private_key_passphrase", "oauth_client_id": "oauth_client_id",
    "oauth_client_secret": "oauth_client_secret", "oauth_token_request_url": "oauth_token_url", "oauth_scope": "oauth_scope",
    "workload_identity_provider": "workload_identity_provider",
    "workload_identity_entra_resource": "workload_identity_entra_resource",
    "client_session_keep_alive": "", "autocommit": "", "timezone": "", "session_token": "", "master_token": "", "passcode": "", "auth_class": "",
    "paramstyle": "", "converter_class": "", "numpy": "", "arrow_number_to_decimal": "",
}  # fmt: skip
"""Arguments of the connector that are keys of the section itself, or that this program depends on."""


def _further_arguments(connect: dict[str, Any]) -> dict[str, Any]:
    """Refuses in `connect` what has a key of its own, and what an answer rests on."""
    for name in connect:
        instead = _KEYS_OF_ITS_OWN.get(name.lower())
        if instead:
            raise ValueError(f"{name} is no further argument: write it as snowflake.{instead}")
        if instead is not None:
            raise ValueError(f"{name} is no further argument: this program decides it; take it away")
    return connect


class Snowflake(SnowflakeLogin, Server):
    """The Snowflake account, and where in it the tables go."""

    adapter: ClassVar[str] = "snowflake"
    account: Annotated[str, example("myorg-myaccount")]
    """Organization and account."""
    user: Annotated[str, example("MIGRATION")]
    """The user that loads."""
    database: Annotated[str, example("SALES")]
    """Database of the tables."""
    schema_: Annotated[str, example("MIGRATED")] = Field(alias="schema")
    """Schema of the tables; it holds nothing else."""
    warehouse: Annotated[str | None, example("MIGRATION_WH")] = None
    """Without it, the user's default."""
    role: Annotated[str | None, example("MIGRATION_ROLE")] = None
    """Without it, the user's default."""
    verify_role: Annotated[str | None, example("MIGRATION_AUDITOR")] = None
    """Role as which tables are verified: one that masking, row access and other policies let see everything. Without it, `role`, and a
    table that has such policies is refused."""
    storage_integration: Annotated[str | None, example("MIGRATION_S3")] = None
    """The integration by which Snowflake itself reads the stage."""
    parallel: int = Field(default=6, ge=1, le=16)
    """Tables that are loaded, or verified, at the same time, each in a session of its own. Loads record themselves in one table, for
    which Snowflake lets at most 20 statements wait."""
    credit_price: Annotated[float | None, example(2.6, gt=0)] = None
    """What a credit costs by your contract; estimates then have an amount beside the credits."""
    load_mb_per_second: float = Field(default=20.0, gt=0)
    """Megabytes of staged files that an X-Small warehouse loads in a second, for estimates: a guess until you have seen what yours does."""
    digest_mb_per_second: float = Field(default=40.0, gt=0)
    """The same of a verification."""
    connect: Annotated[dict[str, Any], AfterValidator(_further_arguments), example({"login_timeout": 30})] = Field(
        default_factory=dict
    )
    """Further keyword arguments of `snowflake.connector.connect`; a secret among them (`proxy_password`) is a reference, and what has a key of its own is refused."""
    connect_timeout_seconds: float = Field(default=60.0, ge=1)
    """Time within which a login must have succeeded, repetitions included."""

    @property
    def as_verifier(self) -> Snowflake:
        """The same with the role that verification reads as."""
        return self.model_copy(update={"role": self.verify_role}) if self.verify_role else self
