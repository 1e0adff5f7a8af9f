"""What a role of Snowflake lacks for a load, as the statements that grant it: read from SHOW GRANTS, which starts no warehouse.

https://docs.snowflake.com/en/user-guide/security-access-control-privileges
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from helpers.engines.snowflake.records import SCHEMA_SUFFIX
from helpers.platforms.snowflake import identifier
from helpers.settings import Snowflake


@dataclass(frozen=True)
class Lack:
    """A privilege that the role does not have.

    Attributes:
        kind: of the object.
        on: the kind again, and its name.
        cure: the statement that grants it.
        needed: what for.
    """

    right: str
    kind: str
    on: str
    cure: str
    needed: str


def missing(
    held: Iterable[Mapping[str, Any]], role: str, target: Snowflake, warehouse: str | None, schemas: Mapping[str, bool]
) -> tuple[Lack, ...]:
    """What of a load's needs is not granted.

    Args:
        held: rows of SHOW GRANTS TO ROLE, of the role and of all that were granted to it.
        role: that is to get what is missing.
        target: where the tables go.
        warehouse: that computes; None where neither the profile nor the user names one.
        schemas: those that get tables, those of the records, and those of certifications; whether each is there.
    """
    return _not_granted(held, role, _needs(target, warehouse, schemas))


def missing_to_verify(
    held: Iterable[Mapping[str, Any]], role: str, target: Snowflake, schemas: Iterable[str]
) -> tuple[Lack, ...]:
    """What of a verification's needs is not granted, but for SELECT, which may be granted table by table.

    Args:
        held: as for `missing`.
        role: that verifies.
        target: where the tables are.
        schemas: those that are there and get tables.
    """
    needs = [("USAGE", "DATABASE", identifier(target.database), "to reach the schemas")]
    if target.warehouse:
        needs.append(("USAGE", "WAREHOUSE", identifier(target.warehouse), "to compute the comparison"))
    needs += (("USAGE", "SCHEMA", identifier(target.database, schema), "to reach the tables") for schema in schemas)
    return _not_granted(held, role, needs)


def _not_granted(
    held: Iterable[Mapping[str, Any]], role: str, needs: Iterable[tuple[str, str, str, str]]
) -> tuple[Lack, ...]:
    granted = {(str(g["privilege"]), str(g["granted_on"]).replace("_", " "), plain(str(g["name"]))) for g in held}
    found = []
    for right, kind, name, needed in needs:
        owned = ("OWNERSHIP", kind, plain(name)) in granted
        if not owned and not {(right, kind, plain(name)), ("ALL PRIVILEGES", kind, plain(name))} & granted:
            found.append(Lack(right, kind, f"{kind.lower()} {name}", f"GRANT {right} ON {kind} {name} TO ROLE {identifier(role)}", needed))  # fmt: skip
    return tuple(found)


def _needs(
    target: Snowflake, warehouse: str | None, schemas: Mapping[str, bool]
) -> Iterator[tuple[str, str, str, str]]:
    database = identifier(target.database)
    if warehouse:
        yield "USAGE", "WAREHOUSE", identifier(warehouse), "to compute: loads and comparisons"
    yield "USAGE", "DATABASE", database, "to reach the schemas"
    if target.storage_integration:
        yield "USAGE", "INTEGRATION", identifier(target.storage_integration), "to read the stage"
    if missing_schemas := [schema for schema, there in schemas.items() if not there]:
        needed = f"to make {' and '.join(missing_schemas)}, and own what was made"
        yield "CREATE SCHEMA", "DATABASE", database, needed
    for schema in (schema for schema, there in schemas.items() if there):
        place = identifier(target.database, schema)
        yield "USAGE", "SCHEMA", place, "to reach the tables"
        yield "CREATE TABLE", "SCHEMA", place, "a load makes tables"
        if schema.endswith(SCHEMA_SUFFIX):
            yield "CREATE STAGE", "SCHEMA", place, "a load reads the files through a temporary stage"


def plain(name: str) -> str:
    """A name as SHOW GRANTS writes it, quoted or not, in one way."""
    return name.replace('"', "")
