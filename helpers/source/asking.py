"""Questions to the source's own catalog, each answered as rows by column name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2

from helpers.platforms import postgres
from helpers.platforms.faults import postgres as faults
from helpers.settings import Source
from helpers.source.comments import codec_of

APPLICATION = "migration-runbooks assessment"

OF_USERS = """n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' AND c.relpersistence <> 't'
              AND (cardinality(%(schemas)s::text[]) = 0 OR n.nspname = ANY (%(schemas)s))
              AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')"""
"""The condition of relations `c` in namespaces `n` that are neither PostgreSQL's own nor an extension's."""


class NoText(str):
    """A name of bytes that are no text in UTF-8; they stand in it as `\\xff`."""


def as_bytes(sql: str) -> str:
    """The expression `sql`, a name, as bytes: for one that is no text in UTF-8 the server would refuse a query's every row."""
    return f"convert_to(({sql})::text, current_setting('server_encoding'))"


@contextmanager
def asking(source: Source, doing: str) -> Iterator[Any]:
    """A cursor of a read-only transaction.

    Args:
        source: the server.
        doing: the clause that an error begins with ("list the roles").

    Raises:
        ConnectionFailed: the server did not let us in, or went away.
        SourceRefused: it did not answer a question: a right is missing, or somebody holds a lock.
    """
    try:
        with postgres.reading(source, application=APPLICATION) as cursor:
            yield cursor
    except psycopg2.Error as error:
        raise faults.told(
            error, doing, on=postgres.address(source),
            rights=faults.grant(error)
            or "give the role the right that the message names (pg_monitor has most of them), then run it again",
        ) from None  # fmt: skip


def rows(cursor: Any, sql: str, values: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """The rows of one query by column name, what comes `as_bytes` as text; `%(name)s` stands for each of `values`."""
    codec = codec_of(cursor)
    found = postgres.rows(cursor, sql, values)
    return [{name: _text(value, codec) for name, value in row.items()} for row in found]


def _text(value: Any, codec: str) -> Any:
    if isinstance(value, list):
        return [_text(each, codec) for each in value]
    if not isinstance(value, memoryview):
        return value
    try:
        return bytes(value).decode(codec)
    except UnicodeDecodeError:
        return NoText(bytes(value).decode(codec, errors="backslashreplace"))
