"""Where a table goes in a target: its schema and its name there, as the profile's patterns say."""

from __future__ import annotations

from typing import NamedTuple

from helpers.settings import Tables


class TargetTable(NamedTuple):
    """A table's schema and name in a target."""

    schema: str
    name: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"

    def shown(self, own: str) -> str:
        """The name for people, with its schema where that is another than the target's `own`."""
        return self.name if self.schema == own else str(self)

    def renamed(self, name: str) -> TargetTable:
        """Another table of the same schema."""
        return TargetTable(self.schema, name)


class Names(NamedTuple):
    """What a profile says of a table's place, whatever the target.

    Attributes:
        schema: None for the target's own.
        table: None for the table's own name.
    """

    schema: str | None
    table: str | None


def names_in_target(tables: Tables, schema: str, table: str) -> Names:
    """What the patterns of a profile make of one table; the only place where they are filled in.

    Args:
        tables: the profile's section.
        schema: of the table, in the source.
        table: its name there.
    """
    found = tables.matched(schema, table)
    match = found[1] if found else None
    known = {"schema": schema, "table": table}
    own_schema = (match and match.schema_) or tables.schema_
    own_name = (match and match.name) or tables.name
    named = own_name.format_map(known) if own_name else table
    return Names(own_schema.format_map(known) if own_schema else None, None if named == table else named)


def place(tables: Tables, schema: str, table: str, own: str) -> TargetTable:
    """Where a table goes in a target whose section names the schema `own`."""
    names = names_in_target(tables, schema, table)
    return TargetTable(names.schema or own, names.table or table)
