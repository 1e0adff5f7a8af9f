"""Sessions of a Spark Connect server: Databricks, Apache Spark, or the local stack's pysail."""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import pyarrow as pa

from helpers.errors import SessionRefused
from helpers.platforms.faults import spark as faults
from helpers.platforms.naming import NameRules
from helpers.settings import Databricks
from helpers.settings.local_stack import local_stack

SETTINGS = {
    "spark.sql.session.timeZone": "UTC",
    # A cast fails instead of giving NULL, and so does a value that a column cannot hold.
    "spark.sql.ansi.enabled": "true",
    "spark.sql.storeAssignmentPolicy": "ANSI",
    # The proleptic Gregorian calendar, which PostgreSQL has too.
    "spark.sql.parquet.datetimeRebaseModeInWrite": "CORRECTED",
    # TIMESTAMP is an instant.
    "spark.sql.timestampType": "TIMESTAMP_LTZ",
    # Texts are left as they are, and a backslash in a constant is an escape.
    "spark.sql.variable.substitute": "false",
    "spark.sql.parser.escapedStringLiterals": "false",
    "spark.sql.caseSensitive": "false",
}
"""Set and read back (https://spark.apache.org/docs/latest/configuration.html#spark-sql)."""

UNITY_CATALOG = NameRules(
    "Unity Catalog",
    longest=255,
    forbidden=re.compile(r"[ ./\x00-\x1f\x7f]"),
    words="no spaces, dots, slashes or control characters",
    tells_case_apart=False,
)
"""https://docs.databricks.com/aws/en/sql/language-manual/sql-ref-names; pysail stands in for it."""

SESSION_CATALOG = NameRules(
    "Spark's own catalog",
    forbidden=re.compile(r"[^A-Za-z0-9_]"),
    words="only unaccented letters, digits and _",
    tells_case_apart=False,
)
"""Of Apache Spark, and of Databricks the Hive metastore: INVALID_SCHEMA_OR_RELATION_NAME in
https://spark.apache.org/docs/latest/sql-error-conditions.html."""

_SESSION_CATALOGS = frozenset({"spark_catalog", "hive_metastore"})

RETRIES = {"spark": 8, "pysail": 2}
"""Of a call that does not get through; eight of them take about three minutes, in which a stopped cluster may start."""


_ATTEMPT_SECONDS = 20.0
"""One attempt at a connection, gRPC's default."""

_KEEPALIVE_SECONDS = 300
"""Between two questions whether the server is there; a server of Java's gRPC takes more of them for an attack
(https://grpc.io/docs/guides/keepalive/)."""


def address(target: Databricks) -> str:
    """How the target is named to people."""
    place = ".".join(part for part in (target.catalog, target.schema_) if part)
    if target.engine == "pysail":
        return f"Delta tables below {target.delta_root}, {place} (pysail, the local stand-in for Databricks)"
    return f"{f'Databricks {target.host}' if target.host else f'Spark {target.url}'}, {place}"


def names(target: Databricks) -> NameRules:
    """What the target's catalog takes for a name; where none is named, a Databricks has Unity Catalog and a Spark its own."""
    if target.catalog:
        return SESSION_CATALOG if target.catalog.lower() in _SESSION_CATALOGS else UNITY_CATALOG
    return SESSION_CATALOG if target.url else UNITY_CATALOG


def engine(target: Databricks) -> str:
    """What answers, in a word or two for a table's cell."""
    if target.engine == "pysail":
        return "pysail, a stand-in"
    return "Databricks" if target.host else "Spark"


@contextmanager
def connect(target: Databricks) -> Iterator[Session]:
    """A session that holds `SETTINGS`, and is closed with the block.

    Raises:
        ConnectionFailed: no answer, or no entry.
        SessionRefused: a setting does not hold.
    """
    # A quarter of a second of every command's start, for the few that need it.
    from grpc import RpcError
    from pyspark.errors import PySparkException
    from pyspark.sql.connect.client.core import DefaultChannelBuilder
    from pyspark.sql.connect.client.retries import DefaultPolicy
    from pyspark.sql.connect.session import SparkSession

    where, until = address(target), time.monotonic() + target.connect_timeout_seconds

    class WhileConnecting(DefaultPolicy):
        def can_retry(self, e: BaseException) -> bool:
            return time.monotonic() < until and bool(super().can_retry(e))

    try:
        builder = SparkSession.builder.channelBuilder(DefaultChannelBuilder(_url(target), _channel(target)))
        session: Any = builder.create()
        session.client.set_retry_policies([WhileConnecting(max_retries=RETRIES[target.engine])])
        session.conf.get(
            "spark.sql.session.timeZone"
        )  # a server that does not answer is asked once, not for each setting
        refused = _hold(session, PySparkException)
        session.client.set_retry_policies([DefaultPolicy(max_retries=RETRIES[target.engine])])
    except (PySparkException, RpcError, OSError, ValueError) as error:
        raise faults.entry_refused(error, on=where) from None
    try:
        if refused:
            raise SessionRefused(
                "hold the session's settings",
                on=where,
                why="; ".join(refused),
                next_step="let the session set it, or have the cluster's administrator set it",
            )
        yield Session(session, where)
    finally:
        with suppress(PySparkException, RpcError):
            session.stop()


def _channel(target: Databricks) -> list[tuple[str, int]]:
    """The time-outs as gRPC has them (https://grpc.github.io/grpc/core/group__grpc__arg__keys.html)."""
    return [
        ("grpc.min_reconnect_backoff_ms", int(1000 * min(target.connect_timeout_seconds, _ATTEMPT_SECONDS))),
        ("grpc.keepalive_time_ms", 1000 * _KEEPALIVE_SECONDS),
        ("grpc.keepalive_timeout_ms", int(1000 * target.answer_timeout_seconds)),
    ]


def _hold(session: Any, error: type[Exception]) -> list[str]:
    """Sets what `SETTINGS` says; what does not hold, in words. What a server does not know, it does in its own one way."""
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the client, about names that it takes for mistakes
        for name, value in SETTINGS.items():
            with suppress(error):
                session.conf.set(name, value)
            with suppress(error):
                if (held := session.conf.get(name)).casefold() != value.casefold():
                    found.append(f"{name} is {held} after it was set to {value}")
    return found


class Session:
    """Statements over one session, with errors that name what was tried."""

    def __init__(self, session: Any, where: str) -> None:
        self._session = session
        self._where = where

    def execute(self, sql: str, *, doing: str) -> list[dict[str, Any]]:
        """Runs one statement and returns its rows by column name.

        Args:
            sql: one statement.
            doing: the clause that an error begins with ("create the table …").
        """
        with self._errors(doing):
            rows: list[dict[str, Any]] = self._session.sql(sql).toArrow().to_pylist()
            return rows

    def batches(self, sql: str, *, doing: str) -> Iterator[pa.Table]:
        """Runs a query and yields its rows as Arrow tables, as they arrive."""
        with self._errors(doing):
            frame = self._session.sql(sql)
            client = self._session.client
            for part in client.to_table_as_iterator(frame._plan.to_proto(client), {}):
                if isinstance(part, pa.Table):
                    yield part

    def columns(self, table: str, *, doing: str) -> list[tuple[str, str, bool, str]]:
        """Of a table: name, type as DDL writes it, whether NULL is allowed, and the comment."""
        with self._errors(doing):
            fields = self._session.table(table).schema.fields
            return [
                (f.name, f.dataType.simpleString().upper(), f.nullable, (f.metadata or {}).get("comment", ""))
                for f in fields
            ]

    def view_of_files(self, name: str, files: Sequence[str], fields: Sequence[tuple[str, str]], *, doing: str) -> None:
        """Makes Parquet files readable under a name of this session.

        Args:
            name: unquoted.
            files: their URLs.
            fields: name and type of each column, as a Delta log writes it; a file with another type is an error.
        """
        from pyspark.sql.types import StructType

        with self._errors(doing):
            # Of JSON, which the client reads by itself; its parser of DDL asks whichever server it spoke to last.
            columns = [{"name": field, "type": kind, "nullable": True, "metadata": {}} for field, kind in fields]
            schema = StructType.fromJson({"type": "struct", "fields": columns})
            # Old dates are as PostgreSQL has them: the files say nothing of the calendar that Spark had before version 3.
            reader = self._session.read.schema(schema).option("datetimeRebaseMode", "CORRECTED")
            reader.parquet(*files).createOrReplaceTempView(name)

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        from grpc import RpcError
        from pyspark.errors import PySparkException

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the client, on standard error; what it means is in its exception
                yield
        except (PySparkException, RpcError) as error:
            raise faults.told(error, doing, on=self._where) from None


def identifier(*parts: str) -> str:
    """A name, or a dotted one, quoted so that every character survives; Spark never tells names apart by case alone."""
    return ".".join("`" + part.replace("`", "``") + "`" for part in parts)


def literal(text: str) -> str:
    """A string constant. The dollar is written by its number, lest a server puts the value of a variable in its place
    (https://spark.apache.org/docs/latest/sql-ref-literals.html)."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("$", "\\u0024")
    return f"'{escaped}'"


def _url(target: Databricks) -> str:
    if target.engine == "pysail":
        return local_stack().spark()
    url = target.url or f"sc://{target.host}:443"
    token = f"token={target.token.get_secret_value()};" if target.token else ""
    cluster = f"x-databricks-cluster-id={target.cluster_id};" if target.cluster_id else ""
    parameters = f"use_ssl=true;{token}{cluster}" if token or cluster else ""
    return f"{url.rstrip('/')}/;{parameters}" if parameters else url
