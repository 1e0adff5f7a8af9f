"""The account that the local stack starts with: an administrator, and the user that the product logs in as, with the rights of
docs/rights.md and no others.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from helpers.local.standin import grants
from helpers.local.standin.account import ADMINISTRATOR, Account, Object
from helpers.local.standin.session import Session
from helpers.local.standin.statements import Connection

FILE = "account.json"


@dataclass(frozen=True)
class Names:
    """Who is in it.

    Attributes:
        administrator: whom outside programs log in as, who may do anything.
        user: whom the product logs in as.
    """

    administrator: str
    administrators_password: str = field(repr=False)
    user: str
    password: str = field(repr=False)
    role: str
    warehouse: str
    integration: str
    database: str

    def rights(self) -> tuple[str, ...]:
        """What docs/rights.md grants the product's user."""
        return (
            f"CREATE ROLE {self.role}",
            f"CREATE USER {self.user} TYPE = SERVICE DEFAULT_ROLE = {self.role} DEFAULT_WAREHOUSE = {self.warehouse}",
            f"GRANT ROLE {self.role} TO USER {self.user}",
            f"GRANT ROLE {self.role} TO ROLE SYSADMIN",
            f"GRANT USAGE ON WAREHOUSE {self.warehouse} TO ROLE {self.role}",
            f"GRANT USAGE ON DATABASE {self.database} TO ROLE {self.role}",
            f"GRANT CREATE SCHEMA ON DATABASE {self.database} TO ROLE {self.role}",
            f"GRANT USAGE ON INTEGRATION {self.integration} TO ROLE {self.role}",
            f"GRANT SELECT ON FUTURE TABLES IN DATABASE {self.database} TO ROLE {self.role}",
            f"GRANT SELECT ON FUTURE VIEWS IN DATABASE {self.database} TO ROLE {self.role}",
        )


def opened(duck: duckdb.DuckDBPyConnection, folder: Path, names: Names) -> Account:
    """The account of a data folder. What an earlier version made there, which had one role, is the product's role's from now on.

    Args:
        duck: with every database of the folder attached.
        folder: where the account is kept.
        names: who is in it.
    """
    account = Account(folder / FILE)
    _reconcile(duck, account, names)
    if account.is_new:
        with account.changing():
            account.users[names.administrator] = {
                "ROLES": [ADMINISTRATOR], "DEFAULT_ROLE": ADMINISTRATOR, "DEFAULT_WAREHOUSE": names.warehouse,
            }  # fmt: skip
        session = Connection(
            duck.cursor(), folder, {}, account=account, user=names.administrator, role=ADMINISTRATOR, warehouse=None
        )
        made = (
            f"CREATE WAREHOUSE {names.warehouse} WITH WAREHOUSE_SIZE = XSMALL AUTO_SUSPEND = 60 AUTO_RESUME = TRUE",
            f"CREATE STORAGE INTEGRATION {names.integration} TYPE = EXTERNAL_STAGE STORAGE_PROVIDER = 'S3' ENABLED = TRUE "
            "STORAGE_ALLOWED_LOCATIONS = ('*')",
        )
        for statement in (*made, *names.rights()):
            _run(session, statement)
        session.duck.close()
        _hand_over(duck, account, names)
    with account.changing():
        account.set_password(names.administrator, names.administrators_password)
        account.set_password(names.user, names.password)
    return account


def _run(session: Session, statement: str) -> None:
    if grants.answer(session, statement) is None:
        raise ValueError(f"no statement about the account: {statement}")


def _reconcile(duck: duckdb.DuckDBPyConnection, account: Account, names: Names) -> None:
    """Objects that nobody owns, as after a crash, are their schema's owner's; of those that are gone nothing is held."""
    there = _there(duck)
    with account.changing():
        for kind in ("DATABASE", "SCHEMA", "TABLE", "STAGE"):
            for gone in set(account.objects(kind)) - there:
                account.forget(gone)
        for what in sorted(there, key=len):
            if not account.exists(what):
                above: Object = ("SCHEMA", *what[1:3]) if len(what) == 4 else ("DATABASE", what[1])
                account.own(what, account.owner(above) or ADMINISTRATOR)


def _hand_over(duck: duckdb.DuckDBPyConnection, account: Account, names: Names) -> None:
    """What is there when the account is made: the product's role owns its schemas, as if it had made them."""
    with account.changing():
        there = _there(duck)
        used = {what[1:3] for what in there if len(what) == 4}
        for what in there:
            if what[0] == "DATABASE":
                account.grant(what, names.role, ["USAGE", "CREATE SCHEMA"])
            elif what[-1] != "PUBLIC" or what[1:] in used:
                account.give(what, names.role, keep=True)
        for database, schema, table, said in _comments(duck):
            for privilege, role, option in json.loads(said).get("grants", ()):
                if role in account.roles:
                    account.grant(("TABLE", database, schema, table), role, [privilege], option=option == "true")


_OWN = "database_name not in ('system', 'temp', 'memory', '_fs_global') and schema_name not in ('main', '_fs_information_schema', 'information_schema', 'pg_catalog')"  # fmt: skip


def _there(duck: duckdb.DuckDBPyConnection) -> set[Object]:
    schemas = duck.execute(f"select database_name, schema_name from duckdb_schemas() where {_OWN}").fetchall()
    tables = duck.execute(
        f"select database_name, schema_name, table_name from duckdb_tables() where {_OWN} "
        f"union all select database_name, schema_name, view_name from duckdb_views() where not internal and {_OWN}"
    ).fetchall()
    databases = {("DATABASE", row[0]) for row in schemas}
    return {*databases, *(("SCHEMA", *row) for row in schemas), *(("TABLE", *row) for row in tables)}


def _comments(duck: duckdb.DuckDBPyConnection) -> list[tuple[str, str, str, str]]:
    return duck.execute(
        f"select database_name, schema_name, table_name, comment from duckdb_tables() where {_OWN} and comment like '%\"grants\"%'"
    ).fetchall()
