"""What a session's parameters do to a statement, to its result and to how long it may take.

https://docs.snowflake.com/en/sql-reference/parameters, one section a parameter. What they do to a value's text is in `expressions`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
from snowflake.connector.errors import ProgrammingError
from sqlglot import exp

from helpers.local.standin.names import text
from helpers.local.standin.parameters import DEFAULTS
from helpers.local.standin.session import Session
from helpers.local.standin.texts import Texts, strftime_format

T = exp.DataType.Type
_TIMESTAMPS = {"TIMESTAMP_NTZ": T.TIMESTAMPNTZ, "TIMESTAMP_LTZ": T.TIMESTAMPLTZ, "TIMESTAMP_TZ": T.TIMESTAMPTZ}


def settled(session: Session, tree: Any) -> Any:
    """A statement with the names and types that the session's parameters make of those written.

    QUOTED_IDENTIFIERS_IGNORE_CASE takes quoted names for upper case, in what is made and in what is looked for.
    TIMESTAMP_TYPE_MAPPING says which of three types TIMESTAMP is.
    """
    if session.is_on("QUOTED_IDENTIFIERS_IGNORE_CASE"):
        for name in tree.find_all(exp.Identifier):
            if name.args.get("quoted"):
                name.set("this", name.this.upper())
    wanted = session.parameter("TIMESTAMP_TYPE_MAPPING")
    if wanted != DEFAULTS["TIMESTAMP_TYPE_MAPPING"]:
        for kind in tree.find_all(exp.DataType):
            if kind.this == T.TIMESTAMP:
                kind.set("this", _TIMESTAMPS[wanted])
        for call in tree.find_all(exp.Anonymous):
            if call.name.upper() == "TO_TIMESTAMP":
                call.set("this", f"TO_{wanted}")
    return tree


def follow(session: Session) -> None:
    """Gives DuckDB's session what it has settings of its own for."""
    session.duck.execute(f"SET SESSION TimeZone = {text(session.parameter('TIMEZONE'))}")
    order = session.parameter("DEFAULT_NULL_ORDERING")
    session.duck.execute(
        f"SET SESSION default_null_order = {text('nulls_first_on_asc_last_on_desc' if order == 'FIRST' else 'nulls_last_on_asc_first_on_desc')}"
    )


def texts(session: Session) -> Texts:
    """How values become texts, and texts values, in this session."""
    general = session.parameter("TIMESTAMP_OUTPUT_FORMAT")
    zoned = (
        session.parameter("TIMESTAMP_LTZ_OUTPUT_FORMAT") or session.parameter("TIMESTAMP_TZ_OUTPUT_FORMAT") or general
    )
    inputs = {kind: session.parameter(f"{kind}_INPUT_FORMAT") for kind in ("DATE", "TIME", "TIMESTAMP")}
    return Texts(
        date=strftime_format(session.parameter("DATE_OUTPUT_FORMAT")),
        time=strftime_format(session.parameter("TIME_OUTPUT_FORMAT")),
        timestamp=strftime_format(session.parameter("TIMESTAMP_NTZ_OUTPUT_FORMAT") or general),
        zoned=strftime_format(zoned),
        binary=session.parameter("BINARY_OUTPUT_FORMAT"),
        from_binary=session.parameter("BINARY_INPUT_FORMAT"),
        inputs={kind: strftime_format(form) for kind, form in inputs.items() if form.upper() != "AUTO"},
        week_start=int(session.parameter("WEEK_START")),
        week_policy=int(session.parameter("WEEK_OF_YEAR_POLICY")),
        century=int(session.parameter("TWO_DIGIT_CENTURY_START")),
        zone="UTC" if (zone := session.parameter("TIMEZONE")) == "Etc/UTC" else zone,
    )


def limited(session: Session, table: pa.Table | None) -> pa.Table | None:
    """ROWS_PER_RESULTSET: the rest of the rows is left out, and nothing says so."""
    most = int(session.parameter("ROWS_PER_RESULTSET"))
    return table.slice(0, most) if table is not None and most else table


@contextmanager
def in_time(session: Session) -> Iterator[None]:
    """STATEMENT_TIMEOUT_IN_SECONDS: 0 is the longest there is, a week.

    Raises:
        ProgrammingError: it took longer.
    """
    seconds = int(session.parameter("STATEMENT_TIMEOUT_IN_SECONDS"))
    if not 0 < seconds < int(DEFAULTS["STATEMENT_TIMEOUT_IN_SECONDS"]):
        yield
        return
    late = threading.Event()

    def interrupt() -> None:
        late.set()
        session.duck.interrupt()

    timer = threading.Timer(seconds, interrupt)
    timer.start()
    try:
        yield
    except Exception:
        if not late.is_set():
            raise
        raise ProgrammingError(
            msg=f"Statement reached its statement or warehouse timeout of {seconds} second(s) and was canceled.",
            errno=630,
            sqlstate="57014",
        ) from None
    finally:
        timer.cancel()
