"""Primary and foreign keys in Unity Catalog: information that it keeps and does not enforce, made when all tables are there.

Delta's log knows none, so a table without Unity Catalog has none
(https://docs.databricks.com/en/tables/constraints.html, …/sql/language-manual/sql-ref-syntax-ddl-alter-table-add-constraint.html).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from helpers.engines.delta.catalog import key as name_key
from helpers.engines.delta.catalog import qualified
from helpers.errors import LoadError
from helpers.model.catalog import ForeignKey, Key
from helpers.model.keys import AnyKey, Told
from helpers.platforms import spark
from helpers.platforms.spark import Session, identifier, literal
from helpers.settings import Databricks

NO_PLACE = "a Delta table has no place for keys; Unity Catalog has, and this is none"
NO_UNIQUE = "of a unique key that is not the primary one not every version of Unity Catalog can be told"
NOT_PRIMARY = "it does not refer to a primary key"


@dataclass(frozen=True)
class Present:
    """The keys of a schema, by the name that the catalog goes by for their table."""

    keys: Mapping[str, tuple[Key, ...]]
    foreign_keys: Mapping[str, tuple[ForeignKey, ...]]

    def of_table(self, name: str) -> tuple[AnyKey, ...]:
        """The keys of a table; those that refer to others first."""
        return (*self.foreign_keys.get(name, ()), *self.keys.get(name, ()))


def has_keys(target: Databricks) -> bool:
    """Whether the target's catalog has a place for keys."""
    return target.engine != "pysail" and spark.names(target) is spark.UNITY_CATALOG


def read(session: Session, target: Databricks) -> Present | None:
    """Primary and foreign keys of the target's schema; None where its catalog does not tell them to this user."""
    if not has_keys(target):
        return None
    try:
        constraints = _view(session, target, "table_constraints", "table_schema")
        columns = _view(session, target, "key_column_usage", "table_schema")
        references = _view(session, target, "referential_constraints", "constraint_schema")
    except LoadError:
        return None
    parts: dict[str, list[dict[str, Any]]] = {}
    for row in sorted(columns, key=lambda row: int(row["ordinal_position"])):
        parts.setdefault(row["constraint_name"], []).append(row)
    primary = {
        row["constraint_name"]: row["table_name"] for row in constraints if row["constraint_type"] == "PRIMARY KEY"
    }
    keys: dict[str, list[Key]] = {}
    for name, table in primary.items():
        columns_of = tuple(part["column_name"] for part in parts.get(name, ()))
        keys.setdefault(name_key(target, table), []).append(Key(columns_of, primary=True, name=name))
    foreign: dict[str, list[ForeignKey]] = {}
    for row in references:
        own, to = parts.get(row["constraint_name"], []), parts.get(row["unique_constraint_name"], [])
        if not own or not to:
            continue  # what it refers to lies in another schema, of which no load told
        positions = (int(part["position_in_unique_constraint"]) for part in own)
        reference = ForeignKey(
            tuple(part["column_name"] for part in own), row["unique_constraint_schema"], to[0]["table_name"],
            tuple(to[position - 1]["column_name"] for position in positions), row["constraint_name"],
        )  # fmt: skip
        foreign.setdefault(name_key(target, own[0]["table_name"]), []).append(reference)
    return Present({t: tuple(found) for t, found in keys.items()}, {t: tuple(found) for t, found in foreign.items()})


def tell(
    session: Session, target: Databricks, told: Sequence[Told], ours: Mapping[str, Sequence[str]]
) -> tuple[dict[str, str], dict[str, tuple[str, ...]]]:
    """Makes the keys that are missing and drops those that loads made and the source no longer has.

    Args:
        session: in the target's catalog.
        target: the profile's section.
        told: the keys that the target is to have.
        ours: names of the constraints that loads made, of each of our tables that is there.

    Returns:
        Each key that the target did not take, and why; and for each table that was changed, the constraints that loads made on it.
    """
    present = read(session, target)
    if present is None:
        why = "the catalog does not tell this user its keys" if has_keys(target) else NO_PLACE
        return {str(each): why for each in told}, {}
    refused: dict[str, str] = {}
    changed: dict[str, list[str]] = {}

    def done(table: str, clause: str, what: str, doing: str) -> bool:
        try:
            session.execute(f"ALTER TABLE {qualified(target, table)} {clause}", doing=doing)
        except LoadError as error:
            refused[what] = error.why
            return False
        return True

    known = {table: present.of_table(name_key(target, table)) for table in ours}
    wanted = [each for each in told if _is_known(each, told, refused) and each.table in ours]
    # Foreign keys go before the keys that they refer to.
    for foreign in (True, False):
        for table, made in ours.items():
            own = [_form(target, each.key) for each in wanted if each.table == table]
            for key in known[table]:
                if isinstance(key, ForeignKey) != foreign or key.name not in made or _form(target, key) in own:
                    continue
                clause = f"DROP CONSTRAINT IF EXISTS {identifier(key.name)}"
                doing = f"drop the key {key.name} of {table}, which the source no longer has"
                if done(table, clause, f"{key} of {table}", doing):
                    kept = changed.setdefault(table, list(made))
                    kept.remove(key.name)
    for each in wanted:
        table = each.table
        if _form(target, each.key) in (_form(target, key) for key in known[table]):
            continue
        clause = f"ADD CONSTRAINT {identifier(each.name or f'{table}_pkey')} {_clause(target, each.key)}"
        if done(table, clause, str(each), f"tell of {each}"):
            changed.setdefault(table, list(ours[table])).append(each.name or f"{table}_pkey")
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
        and other.table == key.table
        for other in told
    )
    if not primary:
        refused[str(each)] = NOT_PRIMARY
    return primary


def _form(target: Databricks, key: AnyKey) -> tuple[Any, ...]:
    """What makes two keys the same where the catalog keeps names of tables in small letters."""
    if isinstance(key, ForeignKey):
        return (key.columns, name_key(target, key.table), key.referenced)
    return (key.columns,)


def _clause(target: Databricks, key: AnyKey) -> str:
    columns = ", ".join(map(identifier, key.columns))
    if not isinstance(key, ForeignKey):
        return f"PRIMARY KEY ({columns})"
    referenced = ", ".join(map(identifier, key.referenced))
    return f"FOREIGN KEY ({columns}) REFERENCES {qualified(target, key.table)} ({referenced})"


def _view(session: Session, target: Databricks, view: str, schema: str) -> list[dict[str, Any]]:
    """https://docs.databricks.com/en/sql/language-manual/sql-ref-information-schema.html"""
    place = identifier(target.catalog, "information_schema", view) if target.catalog else f"information_schema.{view}"
    sql = f"SELECT * FROM {place} WHERE {schema} = {literal(target.schema_.lower())}"
    return session.execute(sql, doing="list the keys of the target")
