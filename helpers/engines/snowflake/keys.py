"""Unique and foreign keys in Snowflake: information that it keeps and does not enforce, made when all tables are there.

They are made with the properties that Snowflake gives them by itself: with any other it creates no constraint and says nothing
(https://docs.snowflake.com/en/sql-reference/sql/create-table-constraint). So ON DELETE, ON UPDATE and MATCH do not travel, and
a key is NORELY: the optimizer must not drop a join on the word of a key until somebody has verified the rows, which whoever
reads the verdict may say with ALTER TABLE … ALTER CONSTRAINT … RELY.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from helpers.engines.snowflake.catalog import read_foreign_keys, read_keys
from helpers.engines.snowflake.records import Made, Record
from helpers.errors import LoadError
from helpers.model.catalog import ForeignKey
from helpers.model.keys import AnyKey, Told
from helpers.model.places import TargetTable
from helpers.platforms.snowflake import Session, identifier
from helpers.settings import Snowflake


def tell(
    session: Session, target: Snowflake, record: Record, told: Sequence[Told], recorded: Mapping[TargetTable, Made],
    new: Collection[TargetTable] = (),
) -> dict[str, str]:  # fmt: skip
    """Makes the keys that are missing and drops those that loads made and the source no longer has.

    Args:
        session: of the load.
        target: the profile's section.
        record: of the load.
        told: the keys that the target is to have, of every table of ours that is there.
        recorded: what is recorded of those tables, and of those of which there are no keys any more.
        new: tables that statements before this would have made, had they been sent; each has its primary key from its definition.

    Returns:
        Each key that the target did not take, and why. A load does not fail for them: its rows are there.
    """
    known: dict[TargetTable, list[AnyKey]] = {}
    for schema in dict.fromkeys(table.schema for table in recorded):
        for read in (read_keys, read_foreign_keys):
            found = read(session, target.database, schema)
            if found is None:
                return {str(each): "the target does not list its keys to this role" for each in told}
            for name, listed in found.items():
                known.setdefault(TargetTable(schema, name), []).extend(listed)
    for table in new:
        known[table] = [
            each.key
            for each in told
            if each.there == table and not isinstance(each.key, ForeignKey) and each.key.primary
        ]
    refused: dict[str, str] = {}
    touched: dict[TargetTable, list[str]] = {}

    def done(table: TargetTable, clause: str, what: str, doing: str) -> bool:
        try:
            session.execute(f"ALTER TABLE {identifier(target.database, *table)} {clause}", doing=doing)
        except LoadError as error:
            refused[what] = error.why
            return False
        return True

    for table, made in recorded.items():
        own = [each.key for each in told if each.there == table]
        kept = []
        for key in known.get(table, ()):
            if key.name in made.constraints:
                gone = key not in own and done(
                    table, f"DROP CONSTRAINT {identifier(key.name)}", f"{key} of {table.shown(target.schema_)}",
                    f"drop the key {key.name} of {table.shown(target.schema_)}, which the source no longer has",
                )  # fmt: skip
                kept += [] if gone else [key.name]
        if sorted(kept) != sorted(made.constraints):
            touched[table] = kept
    # What is unique is there before what refers to it.
    for each in told:
        table = each.there
        if each.key in known.get(table, ()):
            continue
        names = touched.setdefault(table, list(recorded[table].constraints))
        record.constrain(session, table, [*names, each.name])
        clause = f"ADD CONSTRAINT {identifier(each.name)} {_clause(target, each.key)}"
        if done(table, clause, str(each), f"tell of {each}"):
            names.append(each.name)
    for table, names in touched.items():
        record.constrain(session, table, names)
    if touched:
        record.settle(session, touched.keys())
    return refused


def _clause(target: Snowflake, key: AnyKey) -> str:
    columns = ", ".join(map(identifier, key.columns))
    if not isinstance(key, ForeignKey):
        return f"{'PRIMARY KEY' if key.primary else 'UNIQUE'} ({columns})"
    referenced = ", ".join(map(identifier, key.referenced))
    return f"FOREIGN KEY ({columns}) REFERENCES {identifier(target.database, key.schema, key.table)} ({referenced})"
