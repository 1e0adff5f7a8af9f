"""What a certification asks of Snowflake beside what a load and a verification send."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version

from helpers.engines.certifying import Identity, PutOn, Trial
from helpers.engines.snowflake import owner, positions
from helpers.engines.snowflake.cost import CREDITS_PER_HOUR
from helpers.engines.snowflake.records import SCHEMA_SUFFIX, TABLE
from helpers.errors import LoadError
from helpers.model.places import TargetTable
from helpers.platforms import snowflake
from helpers.platforms.snowflake import Session, identifier, literal
from helpers.settings import Snowflake

_NO_ANSWER = re.compile(
    r"QUERY_TAG|TIMEOUT|^CLIENT_|^LOG_|^TRACE_|^METRIC_|_LEVEL$|SIMULATED_DATA|AUTO_EVENT|RESULT_CACHE|_RETENTION_|CONCURRENCY"
)
"""Parameters that change no value of an answer: how long, how it is logged, how the client fetches it."""

MASK, ROWS, TAG = "RUNBOOK_MASK", "RUNBOOK_ROWS", "RUNBOOK_TAG"


@contextmanager
def trial(target: Snowflake) -> Iterator[SnowflakeTrial]:
    """A session of its own, which ends with the block; `ConnectionFailed` where there is no answer."""
    with snowflake.connect(target) as session:
        yield SnowflakeTrial(target, session)


class SnowflakeTrial(Trial):
    """The account of a profile."""

    records = (TABLE, positions.TABLE)
    transacts = True

    def __init__(self, target: Snowflake, session: Session) -> None:
        self._target, self._session = target, session

    def identifier(self, name: str) -> str:
        return identifier(name)

    def identity(self) -> Identity:
        (who,) = self._session.execute(
            "SELECT CURRENT_VERSION() AS VERSION, CURRENT_REGION() AS REGION, CURRENT_ACCOUNT() AS ACCOUNT, CURRENT_ROLE() AS ROLE_NAME",
            doing="ask who answers",
        )
        rows = self._session.execute("SHOW PARAMETERS IN SESSION", doing="read the session's parameters")
        held = {str(row["key"]): str(row["value"]) for row in rows if not _NO_ANSWER.search(str(row["key"]))}
        return Identity(
            "Snowflake", str(who["VERSION"]), f"{who['REGION']}, account {who['ACCOUNT']}", str(who["ROLE_NAME"]), held,
            f"snowflake-connector-python {version('snowflake-connector-python')}",
        )  # fmt: skip

    def schemas(self, prefix: str) -> tuple[str, ...]:
        sql = f"SHOW SCHEMAS LIKE {literal(prefix + '%')} IN DATABASE {identifier(self._target.database)}"
        names = (str(row["name"]) for row in self._session.execute(sql, doing="look for schemas of certifications"))
        return tuple(name for name in names if name.upper().startswith(prefix.upper()))

    def drop(self, schema: str) -> None:
        for name in (schema, schema + SCHEMA_SUFFIX):
            sql = f"DROP SCHEMA IF EXISTS {identifier(self._target.database, name)} CASCADE"
            self._session.execute(sql, doing="drop the certification's schema")

    def tables(self, schema: str) -> tuple[TargetTable, ...]:
        return tuple(table for each in (schema, schema + SCHEMA_SUFFIX) for table in self._tables_in(each))

    def _tables_in(self, schema: str) -> Iterator[TargetTable]:
        sql = f"SHOW TABLES IN SCHEMA {identifier(self._target.database, schema)}"
        for row in self._session.execute(sql, doing=f"look at what lies in the schema {schema}"):
            yield TargetTable(schema, str(row["name"]))

    def clear(self, schema: str, tables: Collection[TargetTable]) -> None:
        doing = f"empty the certification's schema {schema}"
        for table in tables:
            self._session.execute(f"DROP TABLE IF EXISTS {self._full(table)}", doing=doing)
        for kind, name in (("MASKING POLICY", MASK), ("ROW ACCESS POLICY", ROWS), ("TAG", TAG)):
            place = identifier(self._target.database, schema, name)
            self._session.execute(f"DROP {kind} IF EXISTS {place}", doing=doing)

    def put_on(self, table: TargetTable, text_column: str, number_column: str) -> Iterator[PutOn]:
        full, text, number = self._full(table), identifier(text_column), identifier(number_column)
        mask, rows, tag = (identifier(self._target.database, table.schema, name) for name in (MASK, ROWS, TAG))
        # Whoever has no right on the schema sees nothing of it, whatever PUBLIC may.
        yield self._put("a grant of SELECT", f"GRANT SELECT ON TABLE {full} TO ROLE PUBLIC")
        yield self._put("a grant of INSERT", f"GRANT INSERT ON TABLE {full} TO ROLE PUBLIC")
        yield self._put("clustering", f"ALTER TABLE {full} CLUSTER BY ({text}, {number})")
        yield self._put("change tracking", f"ALTER TABLE {full} SET CHANGE_TRACKING = TRUE")
        yield self._put("a retention", f"ALTER TABLE {full} SET DATA_RETENTION_TIME_IN_DAYS = 0")
        yield self._put(
            "a masking policy", f"CREATE MASKING POLICY IF NOT EXISTS {mask} AS (val VARCHAR) RETURNS VARCHAR -> val",
            f"ALTER TABLE {full} MODIFY COLUMN {text} SET MASKING POLICY {mask}",
        )  # fmt: skip
        yield self._put(
            "a row access policy", f"CREATE ROW ACCESS POLICY IF NOT EXISTS {rows} AS (val NUMBER) RETURNS BOOLEAN -> TRUE",
            f"ALTER TABLE {full} ADD ROW ACCESS POLICY {rows} ON ({number})",
        )  # fmt: skip
        yield self._put(
            "a tag", f"CREATE TAG IF NOT EXISTS {tag}", f"ALTER TABLE {full} SET TAG {tag} = 'table'",
            f"ALTER TABLE {full} ALTER COLUMN {text} SET TAG {tag} = 'column'",
        )  # fmt: skip

    def _put(self, what: str, *statements: str) -> PutOn:
        try:
            for sql in statements:
                self._session.execute(sql, doing=f"put {what} on a table")
        except LoadError as error:
            return PutOn(what, error.why)
        return PutOn(what)

    def on(self, table: TargetTable) -> frozenset[str]:
        return frozenset(each.what for each in owner.attached(self._session, self._target, table))

    def take_off(self, table: TargetTable) -> None:
        full = self._full(table)
        for each in owner.attached(self._session, self._target, table):
            column = "".join(f" ALTER COLUMN {identifier(name)}" for name in each.columns[:1])
            if "masking policy" in each.what:
                self._session.execute(
                    f"ALTER TABLE {full}{column} UNSET MASKING POLICY", doing="take the masking policy off"
                )
            elif "row access policy" in each.what:
                self._session.execute(
                    f"ALTER TABLE {full} DROP ALL ROW ACCESS POLICIES", doing="take the row access policy off"
                )

    def copied(self, table: TargetTable, condition: str) -> int | None:
        doing, found = "look at the copies of what others wrote", 0
        for copy in self._tables_in(table.schema + SCHEMA_SUFFIX):
            if copy.name.startswith(f"{table.name}__"):
                sql = f"SELECT COUNT(*) AS N FROM {self._full(copy)} WHERE {condition}"
                (row,) = self._session.execute(sql, doing=doing)
                found += int(row["N"])
        return found

    def undone(self, table: TargetTable) -> bool:
        full, doing = self._full(table), "empty a table and roll that back"
        with suppress(_Undone), self._session.transaction(doing=doing):
            self._session.execute(f"INSERT OVERWRITE INTO {full} SELECT * FROM {full} LIMIT 0", doing=doing)
            raise _Undone
        return True

    def cost(self, seconds: float) -> str:
        try:
            (row,) = self._session.execute("SELECT CURRENT_WAREHOUSE() AS NAME", doing="ask for the warehouse")
            (found, *_) = self._session.execute(
                f"SHOW WAREHOUSES LIKE {literal(str(row['NAME']))}", doing="look at the warehouse"
            )
        except (LoadError, ValueError):
            return ""
        size = str(found.get("size"))
        if size not in CREDITS_PER_HOUR:
            return ""
        return f"about {CREDITS_PER_HOUR[size] * seconds / 3600:.3f} credits of a warehouse of size {size}"

    def _full(self, table: TargetTable) -> str:
        return identifier(self._target.database, *table)


class _Undone(Exception):  # noqa: N818 - no error: how a transaction is broken off
    pass
