"""The source: where it is, how it is read and how it is compared."""

from __future__ import annotations

from datetime import date, datetime, time
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PrivateAttr, SecretStr

from helpers.settings.section import Secret, Section, Server, example


class Source(Server):
    """The PostgreSQL server that is migrated."""

    host: Annotated[str, example("db.example.com")]
    """Name or address of the server."""
    port: Annotated[int, Field(ge=1, le=65535)] = 5432
    """Port of the server."""
    dbname: Annotated[str, example("sales")]
    """The database to migrate."""
    user: Annotated[str, example("migration")]
    """A role with SELECT on the tables; REPLICATION gives the snapshot an exact LSN."""
    password: Annotated[Secret, example({"env": "PGPASSWORD"})] = None
    """The role's password."""
    sslmode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] = "prefer"
    """How libpq uses TLS."""
    sslrootcert: Annotated[str | None, example("/etc/ssl/certs/rds-global-bundle.pem")] = None
    """File with the certificates of the authorities to trust."""
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


class Verify(Section):
    """What may differ in the target."""

    names: Annotated[dict[str, str], example({"public.orders": "ORDERS_2024"})] = Field(default_factory=dict)
    """Names in the target, per "schema.table" or "schema.table.column"."""
    tolerances: Annotated[dict[str, float], example({"public.orders.ratio": 0.001})] = Field(default_factory=dict)
    """Per "schema.table.column": two numbers that differ by at most this count as equal; every report names it."""
