"""Primary and foreign keys in Unity Catalog: information that it keeps and does not enforce, made when all tables are there.

Delta's log knows none, so a table without Unity Catalog has none
(https://docs.databricks.com/en/tables/constraints.html, …/sql/language-manual/sql-ref-syntax-ddl-alter-table-add-constraint.html).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from helpers.engines.delta.catalog import folded, qualified
from helpers.errors import LoadError
from helpers.model.catalog import ForeignKey, Key
from helpers.model.keys import AnyKey, Told
from helpers.model.places import TargetTable
from helpers.platforms import spark
from helpers.platforms.spark import Session, identifier, literal
from helpers.settings import Databricks

NO_PLACE = "a Delta table has no place for keys; Unity Catalog has, and this is none"
NO_UNIQUE = "of a unique key that is not the primary one not every version of Unity Catalog can be told"
NOT_PRIMARY = "it does not refer to a primary key"


@dataclass(frozen=True)
class Present:
    """The keys of some schemas, by what the catalog goes by for their table."""

    keys: Mapping[TargetTable, tuple[Key, ...]]
    foreign_keys: Mapping[TargetTable, tuple[ForeignKey, ...]]

    def of_table(self, table: TargetTable) -> tuple[AnyKey, ...]:
        """The keys of a table; those that refer to others first."""
        return (*self.foreign_keys.get(table, ()), *self.keys.get(table, ()))


def has_keys(target: Databricks) -> bool:
    """Whether the target's catalog has a place for keys."""
    return target.engine != "pysail" and spark.names(target) is spark.UNITY_CATALOG


def read(session: Session, target: Databricks, schemas: Iterable[str]) -> Present | None:
    """Primary and foreign keys of some schemas; None where the target's catalog does not tell them to this user."""
    if not has_keys(target):
        return None
    wanted = list(schemas)
    try:
        constraints = _view(session, target, "table_constraints", "table_schema", wanted)
        columns = _view(session, target, "key_column_usage", "table_schema", wanted)
        references = _view(session, target, "referential_constraints", "constraint_schema", wanted)
    except LoadError:
        return None
    # A constraint lies in the schema of its table, and no other has its name there.
    parts: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in sorted(columns, key=lambda row: int(row["ordinal_position"])):
        parts.setdefault((row["table_schema"], row["constraint_name"]), []).append(row)
    primary = {
        (row["table_schema"], row["constraint_name"]): row["table_name"]
        for row in constraints
        if row["constraint_type"] == "PRIMARY KEY"
    }
    keys: dict[TargetTable, list[Key]] = {}
    for (schema, name), table in primary.items():
        columns_of = tuple(part["column_name"] for part in parts.get((schema, name), ()))
        keys.setdefault(folded(target, TargetTable(schema, table)), []).append(Key(columns_of, primary=True, name=name))
    foreign: dict[TargetTable, list[ForeignKey]] = {}
    for row in references:
        own = parts.get((row["constraint_schema"], row["constraint_name"]), [])
        to = parts.get((row["unique_constraint_schema"], row["unique_constraint_name"]), [])
        if not own or not to:
            continue  # what it refers to lies in another schema, of which no load told
        positions = (int(part["position_in_unique_constraint"]) for part in own)
        reference = ForeignKey(
            tuple(part["column_name"] for part in own), row["unique_constraint_schema"], to[0]["table_name"],
            tuple(to[position - 1]["column_name"] for position in positions), row["constraint_name"],
        )  # fmt: skip
        home = folded(target, TargetTable(row["constraint_schema"], own[0]["table_name"]))
        foreign.setdefault(home, []).append(reference)
    return Present({t: tuple(found) for t, found in keys.items()}, {t: tuple(found) for t, found in foreign.items()})


def tell(
    session: Session, target: Databricks, told: Sequence[Told], ours: Mapping[TargetTable, Sequence[str]]
) -> tuple[dict[str, str], dict[TargetTable, tuple[str, ...]]]:
    """Makes the keys that are missing and drops those that loads made and the source no longer has.

    Args:
        session: in the target's catalog.
        target: the profile's section.
        told: the keys that the target is to have.
        ours: names of the constraints that loads made, of each of our tables that is there.

    Returns:
        Each key that the target did not take, and why; and for each table that was changed, the constraints that loads made on it.
    """
    present = read(session, target, dict.fromkeys(table.schema for table in ours))
    if present is None:
        why = "the catalog does not tell this user its keys" if has_keys(target) else NO_PLACE
        return {str(each): why for each in told}, {}
    refused: dict[str, str] = {}
    changed: dict[TargetTable, list[str]] = {}

    def done(table: TargetTable, clause: str, what: str, doing: str) -> bool:
        try:
            session.execute(f"ALTER TABLE {qualified(target, table)} {clause}", doing=doing)
        except LoadError as error:
            refused[what] = error.why
            return False
        return True

    known = {table: present.of_table(folded(target, table)) for table in ours}
    wanted = [each for each in told if _is_known(each, told, refused) and each.there in ours]
    # Foreign keys go before the keys that they refer to.
    for foreign in (True, False):
        for table, made in ours.items():
            own = [_form(target, each.key) for each in wanted if each.there == table]
            for key in known[table]:
                if isinstance(key, ForeignKey) != foreign or key.name not in made or _form(target, key) in own:
                    continue
                clause = f"DROP CONSTRAINT IF EXISTS {identifier(key.name)}"
                doing = f"drop the key {key.name} of {table.shown(target.schema_)}, which the source no longer has"
                if done(table, clause, f"{key} of {table.shown(target.schema_)}", doing):
                    kept = changed.setdefault(table, list(made))
                    kept.remove(key.name)
    for each in wanted:
        table = each.there
        if _form(target, each.key) in (_form(target, key) for key in known[table]):
            continue
        clause = f"ADD CONSTRAINT {identifier(each.name or f'{table.name}_pkey')} {_clause(target, each.key)}"
        if done(table, clause, str(each), f"tell of {each}"):
            changed.setdefault(table, list(ours[table])).append(each.name or f"{table.name}_pkey")
    return refused, {table: tuple(names) for table, names in changed.items()}


def _is_known(each: Told, told: Iterable[Told], refused: dict[str, str]) -> bool:
    """Whether Unity Catalog has such keys; where it has not, `refused` is told why."""
    key = each.key
    if isinstance(key, Key):
        if not key.primary:
            refused[str(each)] = NO_UNIQUE
        return key.primary
    primary = any(
        isinstance(other.key, Key)
        and other.key.primary
        and other.key.columns == key.referenced
        and other.there == (key.schema, key.table)
        for other in told
    )
    if not primary:
        refused[str(each)] = NOT_PRIMARY
    return primary


def _form(target: Databricks, key: AnyKey) -> tuple[Any, ...]:
    """What makes two keys the same where the catalog keeps names of tables in small letters."""
    if isinstance(key, ForeignKey):
        return (key.columns, folded(target, TargetTable(key.schema, key.table)), key.referenced)
    return (key.columns,)


def _clause(target: Databricks, key: AnyKey) -> str:
    columns = ", ".join(map(identifier, key.columns))
    if not isinstance(key, ForeignKey):
        return f"PRIMARY KEY ({columns})"
    referenced = ", ".join(map(identifier, key.referenced))
    return f"FOREIGN KEY ({columns}) REFERENCES {qualified(target, TargetTable(key.schema, key.table))} ({referenced})"


def _view(session: Session, target: Databricks, view: str, schema: str, wanted: Iterable[str]) -> list[dict[str, Any]]:
    """https://docs.databricks.com/en/sql/language-manual/sql-ref-information-schema.html"""
    place = identifier(target.catalog, "information_schema", view) if target.catalog else f"information_schema.{view}"
    sql = f"SELECT * FROM {place} WHERE {schema} IN ({', '.join(literal(each.lower()) for each in wanted)})"
    return session.execute(sql, doing="list the keys of the target")
