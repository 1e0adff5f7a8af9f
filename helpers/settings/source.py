"""The source: where it is, how it is read and how it is compared."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PrivateAttr, SecretStr, field_validator, model_validator

from helpers.settings import libpq
from helpers.settings.section import FileAnywhere, Secret, Section, Server, example


@dataclass(frozen=True)
class Instance:
    """One running server, of several that a source may lead to.

    Attributes:
        host: as the source names it, by which certificates and password files go.
        address: the one that the connection was made to; empty where `host` leads to no other.
        port: of it.
        started: when its first process did, in PostgreSQL's text: two servers never agree in that, nor one before and after a
            restart.
    """

    host: str
    address: str
    port: int
    started: str


def _ports(value: object) -> object:
    """A port, or libpq's list of one for each host."""
    text = str(value).strip()
    each = text.split(",")
    if isinstance(value, bool) or not all(
        port.isascii() and port.isdigit() and 1 <= int(port) <= 65535 for port in each
    ):
        raise ValueError(
            'a port is a whole number from 1 to 65535; for several hosts one for all, or a list like "5432,5433"'
        )
    return int(text) if len(each) == 1 else text


class Source(Server):
    """The PostgreSQL server that is migrated."""

    url: Annotated[Secret, example({"env": "SOURCE_URL"})] = None
    """A libpq URL or DSN, which gives host, dbname, user and what else it says; always a reference, since it may hold a password."""
    service: Annotated[str | None, example("sales")] = None
    """A service of libpq's service files (`PGSERVICEFILE`, `~/.pg_service.conf`, `pg_service.conf` of the system), which gives
    host, dbname, user and what else it says; keys beside it win."""
    host: Annotated[str, example("db.example.com")]
    """Name or address of the server, or the folder of its Unix socket; several with commas between, tried in turn."""
    port: Annotated[int | str, BeforeValidator(_ports)] = 5432
    """Port of the server; for several hosts one for all, or a list such as "5432,5433"."""
    dbname: Annotated[str, example("sales")]
    """The database to migrate."""
    user: Annotated[str, example("migration")]
    """A role with SELECT on the tables; REPLICATION gives the snapshot an exact LSN."""
    password: Annotated[Secret, example({"env": "PGPASSWORD"})] = None
    """The role's password; without it `PGPASSWORD` of the environment, then the password file."""
    passfile: Annotated[FileAnywhere, example("/etc/migration/pgpass")] = None
    """A password file; without it `PGPASSFILE` of the environment, then `~/.pgpass`."""
    auth: Literal["password", "rds-iam"] = "password"
    """"rds-iam" logs in to Amazon RDS by IAM: a token that is signed here takes the password's place, anew for each connection."""
    region: Annotated[str | None, example("eu-central-1")] = None
    """With "rds-iam": the database's region; without it, that of AWS's own files or environment."""
    profile_name: Annotated[str | None, example("migration")] = None
    """With "rds-iam": a profile of AWS's own files; without it, the default credential chain."""
    role_arn: Annotated[
        str | None, example("arn:aws:iam::123456789012:role/migration", pattern=r"^arn:aws[a-z-]*:iam::")
    ] = None
    """With "rds-iam": a role that is assumed first."""
    sslmode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] = "prefer"
    """How libpq uses TLS."""
    sslrootcert: Annotated[FileAnywhere, example("/etc/ssl/certs/rds-global-bundle.pem")] = None
    """File with the certificates of the authorities to trust; "system" for those of this machine."""
    sslcert: Annotated[FileAnywhere, example("/etc/migration/client.crt")] = None
    """File with the client's certificate, where the server asks for one."""
    sslkey: Annotated[FileAnywhere, example("/etc/migration/client.key")] = None
    """File with the certificate's private key, which only its owner may read."""
    sslpassword: Annotated[Secret, example({"env": "CLIENT_KEY_PASSWORD"})] = None
    """Opens the private key."""
    target_session_attrs: Literal["any", "read-write", "read-only", "primary", "standby", "prefer-standby"] = "any"
    """Which of several hosts is meant."""
    load_balance_hosts: Literal["disable", "random"] = "disable"
    """Whether several hosts are tried in their order or by chance. A snapshot lies on one of them: all its readers go there."""
    connect: Annotated[dict[str, str | int], example({"keepalives_idle": 30, "gssencmode": "disable"})] = Field(
        default_factory=dict
    )
    """Further keywords of a libpq connection."""
    schemas: Annotated[tuple[str, ...], example(["public"])] = ()
    """Schemas to migrate; empty means every schema that is not PostgreSQL's own."""
    _mask_salt: SecretStr | None = PrivateAttr(default=None)

    @property
    def mask_salt(self) -> SecretStr | None:
        """What masks put before a value, `tables.mask_salt`: every session has it, so that no query need name it."""
        return self._mask_salt

    def with_mask_salt(self, salt: SecretStr | None) -> Source:
        """The same with a salt for its sessions."""
        found = self.model_copy()
        found._mask_salt = salt
        return found

    _instance: Instance | None = PrivateAttr(default=None)

    @model_validator(mode="before")
    @classmethod
    def _as_keys(cls, given: Any) -> Any:
        return libpq.expanded(given, frozenset(cls.model_fields)) if isinstance(given, dict) else given

    @model_validator(mode="after")
    def _is_one_connection(self) -> Source:
        hosts, ports = (len(str(each).split(",")) for each in (self.host, self.port))
        if ports not in (1, hosts):
            raise ValueError(f"it has {hosts} hosts and {ports} ports: give one port for all, or one for each")
        if self.connect:
            libpq.refuse_unknown(self.connect, frozenset(type(self).model_fields))
        if why := next(_without_effect(self), None):
            raise ValueError(f"{why}: take one of them away")
        return self

    @property
    def hosts(self) -> tuple[tuple[str, int], ...]:
        """Every host with its port."""
        names, ports = self.host.split(","), str(self.port).split(",")
        return tuple(zip(names, map(int, ports * len(names) if len(ports) == 1 else ports), strict=False))

    @property
    def instance(self) -> Instance | None:
        """The one server that is meant, where that was settled."""
        return self._instance

    def on(self, instance: Instance | None) -> Source:
        """The same, on one server: every connection goes there, and refuses another."""
        found = self.model_copy()
        found._instance = instance
        return found


def _without_effect(source: Source) -> Iterator[str]:
    """Keys that another one would make nobody read, or that a server could not be reached with."""
    certificates = [name for name in ("sslrootcert", "sslcert", "sslkey") if getattr(source, name)]
    if certificates and source.sslmode == "disable":
        yield f'{certificates[0]} says nothing beside sslmode = "disable"'
    if source.sslrootcert == "system" and source.sslmode != "verify-full":
        yield f'sslrootcert = "system" trusts every public authority, which proves nothing beside sslmode = "{source.sslmode}" (write "verify-full")'
    if bool(source.sslcert) != bool(source.sslkey):
        yield "sslcert and sslkey are one certificate and its key, and one of the two is missing (add it)"
    if source.sslpassword and not source.sslkey:
        yield "sslpassword opens sslkey, which is not there"
    if source.password and source.passfile:
        yield "password and passfile are two ways to say it"
    iam = source.auth == "rds-iam"
    if iam and (source.password or source.passfile):
        yield 'auth = "rds-iam" makes a token in the password\'s place'
    if iam and len(source.hosts) > 1:
        yield 'auth = "rds-iam" signs a token for one host, and there are several'
    if iam and source.sslmode in ("disable", "allow", "prefer"):
        yield f'auth = "rds-iam" sends its token through TLS alone, and sslmode = "{source.sslmode}" may do without (write "verify-full")'
    for name in ("region", "profile_name", "role_arn"):
        if getattr(source, name) and not iam:
            yield f'{name} says nothing without auth = "rds-iam"'


class Sentinel(Section):
    """The policy that replaces values no target can hold by one value, and keeps the originals in a column beside it."""

    sentinel: Annotated[str, example("9999-12-31")]
    """The value that replaces them."""

    def __str__(self) -> str:
        return f"sentinel+flag {self.sentinel}"


def _known_policy(value: object) -> object:
    if isinstance(value, dict) and set(value) == {"sentinel"}:
        constant = value["sentinel"]
        if isinstance(constant, bool | float):
            raise ValueError(f'put the sentinel in quotes: {{ sentinel = "{constant}" }}')
        if isinstance(constant, date | datetime | time):
            return Sentinel(
                sentinel=constant.isoformat(" ") if isinstance(constant, datetime) else constant.isoformat()
            )
        return Sentinel(sentinel=str(constant))
    if isinstance(value, Sentinel) or value in ("text", "null+flag"):
        return value
    raise ValueError('a policy is "text", "null+flag" or { sentinel = "a value of the column\'s type" }')


Policy = Annotated[Literal["text", "null+flag"] | Sentinel, BeforeValidator(_known_policy)]
"""What happens to values that a target cannot hold: the column becomes text; they become NULL; they become one value. The
last two keep PostgreSQL's text of each original in a further column, `NAME__original`."""


class Export(Section):
    """How hard the source is read."""

    workers: int = Field(default=2, ge=1, le=64)
    """Connections that read at the same time."""
    lock_timeout_seconds: float = Field(default=5.0, gt=0)
    """How long to wait for the lock on a table, in seconds."""
    statement_timeout_seconds: float = Field(default=0.0, ge=0)
    """How long one statement may take, in seconds; 0 for no limit, whatever the server, the database or the role say."""
    hold_snapshot_hours: float = Field(default=6.0, gt=0, le=168)
    """How long a snapshot is held for a verification or a resumed export; vacuum on the source waits for it."""
    policies: Annotated[dict[str, Policy], example({"public.orders.note": "text"})] = Field(default_factory=dict)
    """What to do with values that a target cannot hold, per "schema.table.column", "schema.table.*" or PostgreSQL type; the
    first of these that is there counts."""


class Certification(Section):
    """When a target must answer golden questions again: `runbook doctor --certify`."""

    days: int = Field(default=30, ge=1, le=3650)
    """After so many days a certification counts no more, whatever else stayed the same."""
    schema_: Annotated[str | None, example("MIGRATION_CERTIFY")] = Field(default=None, alias="schema")
    """Schema that an administrator made for certifications, where the role may make none; without it, each makes one of its own."""


class Verify(Section):
    """What may differ in the target."""

    names: Annotated[dict[str, str], example({"public.orders.order no": "order_no"})] = Field(default_factory=dict)
    """Names of columns in the target, per "schema.table.column"; a table's is `tables.match."schema.table".name`."""
    tolerances: Annotated[dict[str, float], example({"public.orders.ratio": 0.001})] = Field(default_factory=dict)
    """Per "schema.table.column": two numbers that differ by at most this count as equal; every report names it."""

    @field_validator("names")
    @classmethod
    def _is_of_columns(cls, value: dict[str, str]) -> dict[str, str]:
        if tables := [name for name in value if name.count(".") < 2]:
            instead = "; ".join(f'[profiles.X.tables.match."{name}"] name = "{value[name]}"' for name in tables)
            raise ValueError(
                f"names of columns alone; a table's name in the target is a setting of the tables: {instead}"
            )
        return value
