"""Sessions of a Spark Connect server: Databricks, Apache Spark, or the local stack's pysail."""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import pyarrow as pa

from helpers.errors import MigrationError, SessionRefused
from helpers.platforms import databricks_login, statements
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
    reserved=frozenset({"information_schema", "builtin", "session"}),
)
"""https://docs.databricks.com/aws/en/sql/language-manual/sql-ref-names and …/sql-ref-reserved-words."""

SESSION_CATALOG = NameRules(
    "Spark's own catalog",
    forbidden=re.compile(r"[^A-Za-z0-9_]"),
    words="only unaccented letters, digits and _",
    tells_case_apart=False,
    reserved=frozenset({"global_temp", "builtin", "session", "information_schema"}),
)
"""Of Apache Spark, and of Databricks the Hive metastore: INVALID_SCHEMA_OR_RELATION_NAME in
https://spark.apache.org/docs/latest/sql-error-conditions.html; `global_temp` holds its global temporary views
(https://spark.apache.org/docs/latest/sql-getting-started.html#global-temporary-view). pysail takes any name, so it is held to these."""

_SESSION_CATALOGS = frozenset({"spark_catalog", "hive_metastore"})

RETRIES = {"spark": 8, "apache-spark": 2, "pysail": 2}
"""Of a call that does not get through; eight of them take about three minutes, in which a stopped cluster may start."""


_ATTEMPT_SECONDS = 20.0
"""One attempt at a connection, gRPC's default."""

_KEEPALIVE_SECONDS = 300
"""Between two questions whether the server is there; a server of Java's gRPC takes more of them for an attack
(https://grpc.io/docs/guides/keepalive/)."""


ON_THIS_MACHINE = "Apache Spark on this machine"
"""What the local stack's engine "apache-spark" is to people: Spark itself, and no Databricks."""


def address(target: Databricks) -> str:
    """How the target is named to people."""
    place = ".".join(part for part in (target.catalog, target.schema_) if part)
    if target.engine == "apache-spark":
        return f"Delta tables below {target.delta_root}, {place} ({ON_THIS_MACHINE}, no Databricks)"
    if target.engine == "pysail":
        return f"Delta tables below {target.delta_root}, {place} (pysail, the local stand-in for Databricks)"
    return f"{f'Databricks {target.host}' if target.host else f'Spark {target.url}'}, {place}"


def names(target: Databricks) -> NameRules:
    """What the target's catalog takes for a name; where none is named, a Databricks has Unity Catalog and a Spark its own."""
    if target.catalog:
        return SESSION_CATALOG if target.catalog.lower() in _SESSION_CATALOGS else UNITY_CATALOG
    return UNITY_CATALOG if target.host else SESSION_CATALOG


def engine(target: Databricks) -> str:
    """What answers, in a word or two for a table's cell."""
    if target.engine != "spark":
        return "pysail, a stand-in" if target.engine == "pysail" else ON_THIS_MACHINE
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
    from pyspark.sql.connect.client.retries import DefaultPolicy
    from pyspark.sql.connect.session import SparkSession

    from helpers.platforms.spark_channel import Channel

    # Of the client, on standard error: what they mean is in its exceptions. Not for a block of code, which other threads are in, too.
    warnings.filterwarnings("ignore", module=r"pyspark\.")
    where, until = address(target), time.monotonic() + target.connect_timeout_seconds
    login = databricks_login.login(target)
    if login:
        login.header()  # a login that is refused is told by its own error, and not tried again by gRPC

    class Patience(DefaultPolicy):
        """gRPC calls a login that is refused an absent server, which is asked again."""

        def can_retry(self, e: BaseException) -> bool:
            return not (login and login.refused) and bool(super().can_retry(e))

    class WhileConnecting(Patience):
        def can_retry(self, e: BaseException) -> bool:
            return time.monotonic() < until and super().can_retry(e)

    session: Any = None
    try:
        channel = Channel(_url(target), _options(target), databricks_login.compute(target), login)
        session = SparkSession.builder.channelBuilder(channel).create()
        session.client.set_retry_policies([WhileConnecting(max_retries=RETRIES[target.engine])])
        session.conf.get(
            "spark.sql.session.timeZone"
        )  # a server that does not answer is asked once, not for each setting
        refused = _too_old(session.version, target) or _hold(session, target, PySparkException)
        session.client.set_retry_policies([Patience(max_retries=RETRIES[target.engine])])
    except (PySparkException, RpcError, OSError, ValueError) as error:
        if session:
            session.release_session_on_close = False  # a server that did not answer is not asked once more
            _end(session)
        raise faults.entry_refused(error, on=where) from None
    try:
        if refused:
            raise SessionRefused(
                "hold the session's settings",
                on=where,
                why="; ".join(refused),
                next_step=f"let the session set it, or have the cluster's administrator set it; for a version: {_NEWER}",
            )
        yield Session(session, where, login)
    finally:
        with suppress(PySparkException, RpcError):
            _end(session)


def _end(session: Any) -> None:
    """Closes it once and for all. Its `__del__` would close it again, which waits, under the lock of all sessions of this process, for
    calls that are under way: collected on the thread that one of these needs for its header, it would wait for ever.
    """
    try:
        session.stop()
    finally:
        session.client.close = lambda: None


def _options(target: Databricks) -> list[tuple[str, int]]:
    """The time-outs as gRPC has them (https://grpc.github.io/grpc/core/group__grpc__arg__keys.html)."""
    return [
        ("grpc.min_reconnect_backoff_ms", int(1000 * min(target.connect_timeout_seconds, _ATTEMPT_SECONDS))),
        ("grpc.keepalive_time_ms", 1000 * _KEEPALIVE_SECONDS),
        ("grpc.keepalive_timeout_ms", int(1000 * target.answer_timeout_seconds)),
    ]


RUNTIMES = {(4, 0): "17", (4, 1): "18", (4, 2): "19"}
"""Databricks' runtimes by the Spark that they have (https://docs.databricks.com/aws/en/release-notes/runtime/)."""

_NEWER = "a cluster of a newer runtime, serverless compute, or an Apache Spark of the client's version or newer"


def client_version() -> str:
    """Of our Spark Connect client."""
    from pyspark import __version__

    return str(__version__)


def client_runtime() -> str:
    """The oldest runtime of Databricks that our client may speak to: it must be the client's own version or newer
    (https://docs.databricks.com/aws/en/release-notes/dbconnect/)."""
    return RUNTIMES[_release(client_version())]


def _release(version: str) -> tuple[int, int]:
    major, minor = version.split(".")[:2]
    return int(major), int(re.match(r"\d+", minor)[0])  # type: ignore[index]


def _too_old(server: str, target: Databricks) -> list[str]:
    """Why the server's version is not one for our client: Spark's protocol lets an older client ask a newer server, as its own tests
    do (https://issues.apache.org/jira/browse/SPARK-48088), not the other way round."""
    client = client_version()
    if target.engine == "pysail" or not re.match(r"\d+\.\d+", server) or _release(server) >= _release(client):
        return []
    needed = f" (Databricks Runtime {client_runtime()})" if target.host else ""
    return [
        f"the server has Spark {server}, and pyspark-client {client} needs {'.'.join(client.split('.')[:2])}{needed} or newer"
    ]


_SHOWN_BY = {
    "spark.sql.session.timeZone": ("current_timezone()", ("UTC", "Etc/UTC")),
    "spark.sql.timestampType": ("typeof(TIMESTAMP '2000-01-01 00:00:00')", ("timestamp",)),
    "spark.sql.parser.escapedStringLiterals": ("'\\u0041'", ("A",)),
    "spark.sql.caseSensitive": ("(SELECT A FROM VALUES ('taken') AS t(a))", ("taken",)),
}
"""How an answer shows a setting that a server does not tell: serverless compute knows few of them
(https://docs.databricks.com/aws/en/spark/conf)."""


def _hold(session: Any, target: Databricks, error: type[Exception]) -> list[str]:
    """Sets what `SETTINGS` says; what does not hold, in words. What a server does not tell is taken from its answers."""
    found, untold = [], []
    for name, value in SETTINGS.items():
        with suppress(error):
            session.conf.set(name, value)
        try:
            if (held := session.conf.get(name)).casefold() != value.casefold():
                found.append(f"{name} is {held} after it was set to {value}")
        except error:
            untold.append(name)
    for name in untold if target.engine != "pysail" else ():
        if name in _SHOWN_BY:
            sql, wanted = _SHOWN_BY[name]
            (answer,) = session.sql(f"SELECT {sql} AS shown").toArrow()["shown"].to_pylist()
            if answer not in wanted:
                found.append(f"{name} is not told, and {sql} is {answer}")
    return found


class Session:
    """Statements over one session, with errors that name what was tried; several threads may send theirs at once."""

    def __init__(self, session: Any, where: str, login: databricks_login.Login | None = None) -> None:
        self._session = session
        self._where = where
        self._login = login

    def execute(self, sql: str, *, doing: str, expected: list[dict[str, Any]] | None = None) -> list[dict[str, Any]]:
        """Runs one statement and returns its rows by column name.

        Args:
            sql: one statement.
            doing: the clause that an error begins with ("create the table …").
            expected: what it answers where it reads back what statements before it did, for a list of what would be sent.
        """

        def send() -> list[dict[str, Any]]:
            with self._errors(doing):
                rows: list[dict[str, Any]] = self._session.sql(sql).toArrow().to_pylist()
                return rows

        return statements.sent("spark", sql, (), send, [], expected)

    def batches(self, sql: str, *, doing: str) -> Iterator[pa.Table]:
        """Runs a query and yields its rows as Arrow tables, as they arrive."""

        def send() -> Any:
            with self._errors(doing):
                return self._session.sql(sql)

        frame = statements.sent("spark", sql, (), send, None)
        if frame is None:
            return
        with self._errors(doing):
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

        if statements.rehearsed():
            return
        with self._errors(doing):
            # Of JSON, which the client reads by itself; its parser of DDL asks whichever server it spoke to last.
            columns = [{"name": field, "type": kind, "nullable": True, "metadata": {}} for field, kind in fields]
            schema = StructType.fromJson({"type": "struct", "fields": columns})
            # Old dates are as PostgreSQL has them: the files say nothing of the calendar that Spark had before version 3.
            reader = self._session.read.schema(schema).option("datetimeRebaseMode", "CORRECTED")
            reader.parquet(*files).createOrReplaceTempView(name)

    def interrupt(self) -> None:
        """Ends the statements that run, as far as the server can."""
        with suppress(MigrationError), self._errors("end what runs"):
            self._session.interruptAll()

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        from grpc import RpcError
        from pyspark.errors import PySparkException

        try:
            yield
        except (PySparkException, RpcError) as error:
            refused = self._login.refused if self._login else None
            raise refused or faults.told(error, doing, on=self._where) from None


def identifier(*parts: str) -> str:
    """A name, or a dotted one, quoted so that every character survives; Spark never tells names apart by case alone."""
    return ".".join("`" + part.replace("`", "``") + "`" for part in parts)


def literal(text: str) -> str:
    """A string constant. The dollar is written by its number, lest a server puts the value of a variable in its place
    (https://spark.apache.org/docs/latest/sql-ref-literals.html)."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("$", "\\u0024")
    return f"'{escaped}'"


def _url(target: Databricks) -> str:
    """Without anything secret: errors of the client show it."""
    if target.engine != "spark":
        return local_stack().spark(target.engine)
    return target.url or f"sc://{databricks_login.place(target)}"
