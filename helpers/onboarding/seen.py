"""What the catalog of a source says: its tables, and which of their columns and names need a word in the profile."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from helpers.assessment import inventory, security
from helpers.assessment.inventory import Inventory
from helpers.errors import UsageError
from helpers.model import types
from helpers.model.catalog import Catalog, Column, Table
from helpers.platforms.postgres import address
from helpers.platforms.spark import SESSION_CATALOG
from helpers.settings import Source
from helpers.source.asking import asking, rows
from helpers.source.catalog import read_catalog

_NEVER_FINITE = re.compile(r"'-?infinity'|'NaN'", re.IGNORECASE)


@dataclass(frozen=True)
class Seen:
    """A source's catalog.

    Attributes:
        inventory: objects, rows by the server's statistics, sizes, rights.
        catalog: the tables that would move, and why others stay behind.
        personal: columns that look like personal data by their names, as "schema.table.column".
    """

    inventory: Inventory
    catalog: Catalog
    personal: tuple[str, ...]

    @property
    def schemas(self) -> tuple[str, ...]:
        """Those of the tables that move."""
        return tuple(sorted({table.schema for table in self.catalog.tables}))

    @property
    def unreadable(self) -> tuple[str, ...]:
        """Tables that the role may not select from."""
        moving = {str(table) for table in self.catalog.tables}
        return tuple(str(each) for each in self.inventory.relations if not each.readable and str(each) in moving)


@dataclass(frozen=True)
class Suggestion:
    """A policy that a column will likely need: its key in `export.policies`, the policy, and why."""

    key: str
    policy: str
    why: str


def look(source: Source) -> Seen:
    """Reads the catalog and the statistics, in read-only transactions; no row of a table.

    Raises:
        ConnectionFailed, SourceRefused: see `asking`, `read_catalog`.
        UsageError: the role sees no table there.
    """
    found = inventory.take(source)
    with asking(source, "read the catalog") as cursor:
        catalog = read_catalog(cursor, schemas=source.schemas)
        if not catalog.tables:
            others = [str(row["datname"]) for row in rows(cursor, _DATABASES)]
            hint = f"; the server has {', '.join(others)}" if others else ""
            raise UsageError(
                "find a table to move", on=address(source), why=f"the database has none that could move{hint}",
                next_step="name the right database in the connection",
            )  # fmt: skip
        return Seen(found, catalog, security.personal_columns(cursor, source.schemas))


def policies(tables: Iterable[Table]) -> tuple[Suggestion, ...]:
    """What the census will likely refuse, as far as the catalog tells, and the policy that lets it through."""
    return tuple(
        Suggestion(f"{table}.{column.name}", *found)
        for table in tables
        for column in table.columns
        if (found := _policy(table, column))
    )


def _policy(table: Table, column: Column) -> tuple[str, str] | None:
    kind = column.type
    if not types.known(kind):
        return "text", f"the type {kind.sql} has no mapping: it travels as PostgreSQL prints it"
    if kind.name == "numeric" and kind.precision is not None and not types.fits_declared(kind):
        return "text", f"{kind.sql} may have more digits than a target holds"
    if kind.name in types.MASKED and column.name not in table.key and _NEVER_FINITE.search(column.default or ""):
        return (
            "null+flag",
            f"its default, {column.default}, is in no target: NULL, and what it was in a column beside it",
        )
    return None


def clashing_schemas(tables: Iterable[Table]) -> tuple[str, ...]:
    """Names that tables of several schemas share, for a target that does not tell case apart."""
    places: dict[str, set[str]] = {}
    for table in tables:
        places.setdefault(SESSION_CATALOG.key(table.name), set()).add(table.schema)
    return tuple(sorted(name for name, schemas in places.items() if len(schemas) > 1))


def renamed(tables: Iterable[Table]) -> dict[str, str]:
    """Tables whose own name a target refuses, or takes for another of the same schema, each with one that is taken."""
    found: dict[str, str] = {}
    taken: dict[str, set[str]] = {}
    for table in tables:
        known = taken.setdefault(table.schema, set())
        name = table.name
        if SESSION_CATALOG.objection(name) or SESSION_CATALOG.key(name) in known:
            name = found[str(table)] = SESSION_CATALOG.suggested(name, known)
        known.add(SESSION_CATALOG.key(name))
    return found


_DATABASES = """
    SELECT datname FROM pg_database
    WHERE datallowconn AND NOT datistemplate AND datname <> current_database() AND has_database_privilege(oid, 'CONNECT')
    ORDER BY 1 LIMIT 20
"""
