"""Schemas of Snowflake, read through the genuine connector; digests are computed in its warehouse."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from copy import copy
from functools import cache

from helpers.engines import texts
from helpers.engines.columns import Segments, TablePlan
from helpers.engines.shapes import TableShape
from helpers.engines.snowflake.catalog import TABLE, read_present, read_tables
from helpers.engines.snowflake.dialect import SQL
from helpers.engines.snowflake.policies import veiled
from helpers.engines.snowflake.scan import digest_query, scanned, value
from helpers.engines.sql import Sql
from helpers.engines.warehouse import Warehouse
from helpers.errors import LoadError, MigrationError
from helpers.model.places import TargetTable
from helpers.model.types import Comparison
from helpers.platforms import snowflake

_RENDER = {
    "BINARY": "HEX_ENCODE({c})",
    "DATE": "TO_VARCHAR({c}, 'YYYY-MM-DD')",
    "TIME": "TO_VARCHAR({c}, 'HH24:MI:SS.FF9')",
    "TIMESTAMP_NTZ": "TO_VARCHAR({c}, 'YYYY-MM-DD HH24:MI:SS.FF9')",
    "TIMESTAMP_LTZ": "TO_VARCHAR({c}, 'YYYY-MM-DD HH24:MI:SS.FF9')",
    "TIMESTAMP_TZ": "TO_VARCHAR(CONVERT_TIMEZONE('UTC', {c}), 'YYYY-MM-DD HH24:MI:SS.FF9')",
    "FLOAT": "{c}",
    "VARCHAR": "{c}",
}
"""Per Snowflake type: text that does not depend on the session, with every digit; floats travel as they are, since
Snowflake's own text of a FLOAT is rounded."""

_SHORTEN_FRACTION = "regexp_replace(regexp_replace({c}, '(\\.\\d*?)0+$', '\\1'), '\\.$', '')"


class SnowflakeSide(Warehouse):
    """Schemas of a Snowflake database.

    Args:
        session: in UTC.
        database: which has the schemas.
        tables: that are compared; nothing else that lies beside them is looked at.
        exempt: the role that the profile takes for one whom no policy hides anything from; the session has it.
    """

    name = "snowflake"
    digested = "in Snowflake's warehouse"
    sql: Sql = SQL

    def __init__(
        self, session: snowflake.Session, database: str, tables: Collection[TargetTable], exempt: str | None = None
    ) -> None:
        super().__init__(session)
        self._database = database
        self._present = read_present(session, database, {table.schema for table in tables}) if tables else {}
        self._shapes = read_tables(session, database, tables, self._present)
        self._veiled = veiled(session, database, [t for t in self._shapes if self._present[t].kind == TABLE])
        if exempt and self._veiled:
            what = "; ".join(f"{words} of {table}" for table, words in self._veiled.items())
            self.digested += f" as {exempt}, which the profile takes for exempt from {what}"
            self._veiled = {}

    def over(self, session: snowflake.Session) -> SnowflakeSide:
        """The same tables, as they were found, over another session."""
        other = copy(self)
        other._session = session
        return other

    def tables(self) -> list[TargetTable]:
        return [table for table, found in self._present.items() if found.kind == TABLE]

    def shape(self, plan: TablePlan) -> TableShape | None:
        return self._shapes.get(plan.there)

    def rows(self, table: TargetTable) -> int:
        return self._count(snowflake.identifier(self._database, *table))

    def relation(self, plan: TablePlan) -> str:
        if veil := self._veiled.get(plan.there):
            raise LoadError(
                f"read {plan.there} as it is", on=self._database, why=f"between this role and its rows stands {veil}",
                next_step="set verify_role in [profiles.X.snowflake] to a role that the policies let see everything, or have the policies "
                "taken off for the verification; masked values are never compared",
            )  # fmt: skip
        return snowflake.identifier(self._database, *plan.there)

    def count(self, plan: TablePlan) -> int:
        return (
            self._count(scanned(plan, self.relation(plan)).where(plan.sample)) if plan.sample else super().count(plan)
        )

    def digest_query(self, plan: TablePlan, segments: int) -> str:
        return digest_query(plan, self.relation(plan), segments)

    def rows_query(self, plan: TablePlan, chosen: Segments | None, types: Mapping[str, str]) -> str:
        if not chosen and not plan.sample:
            return super().rows_query(plan, chosen, types)
        scan = scanned(plan, self.relation(plan))
        sent = (f"{self.sent(value(n), types[c.there])} AS C{n}" for n, c in enumerate(plan.columns))
        return f"SELECT {', '.join(sent)} FROM {scan.where(plan.sample, chosen)}"

    def sent(self, name: str, kind: str) -> str:
        return _RENDER.get(kind.partition("(")[0], "TO_VARCHAR({c})").format(c=name)

    def arrived(self, name: str, kind: str) -> str:
        match kind.partition("(")[0]:
            case "FLOAT":
                return texts.float_text(name)
            case "BINARY":
                return f"'\\x' || lower({name})"
            case "TIME" | "TIMESTAMP_NTZ":
                return _SHORTEN_FRACTION.format(c=name)
            case "TIMESTAMP_LTZ" | "TIMESTAMP_TZ":
                return _SHORTEN_FRACTION.format(c=name) + " || '+00'"
            case "NUMBER":
                return texts.with_leading_zero(name)
            case _:
                return f"CAST({name} AS VARCHAR)"

    def value(self, text: str, comparison: Comparison) -> str:
        # Snowflake has no single-precision type: a real arrives as the double of the same value.
        return super().value(text, "float8" if comparison == "float4" else comparison)

    @cache  # noqa: B019 - as long as the session
    def zone(self) -> str | None:
        try:
            rows = self._session.execute("SHOW PARAMETERS LIKE 'TIMEZONE' IN ACCOUNT", doing="read the account's zone")
        except MigrationError:
            return None
        return str(rows[0]["value"]) if rows else None
