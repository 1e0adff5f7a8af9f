"""Comments on tables and columns; one that is no text in UTF-8 stays behind alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg2.extensions import encodings

NO_TEXT = "its bytes are no text that UTF-8 has, so it does not move: write it anew with COMMENT ON"


@dataclass(frozen=True)
class Comments:
    """By table (its OID) and number of the column, 0 for the table itself.

    Attributes:
        lost: those that cannot be read.
    """

    texts: dict[tuple[int, int], str]
    lost: frozenset[tuple[int, int]]


def codec_of(cursor: Any) -> str:
    """Python's name for the database's encoding."""
    encoding = cursor.connection.get_parameter_status("server_encoding")
    # A database of SQL_ASCII does not say what its bytes mean; where they are UTF-8, they are taken for it.
    return "utf-8" if encoding == "SQL_ASCII" else str(encodings.get(encoding, "ascii"))


def read_comments(cursor: Any, oids: Sequence[int]) -> Comments:
    """Comments on tables and their columns.

    They come as bytes: a server that finds a character without a form in UTF-8 refuses the whole answer.

    Args:
        cursor: a psycopg2 cursor.
        oids: of the tables.
    """
    codec = codec_of(cursor)
    cursor.execute(
        "SELECT objoid, objsubid, convert_to(description, current_setting('server_encoding')) FROM pg_catalog.pg_description "
        "WHERE classoid = 'pg_catalog.pg_class'::pg_catalog.regclass AND objoid = ANY (%s::oid[])",
        [list(oids)],
    )
    texts, lost = {}, set()
    for table, number, content in cursor.fetchall():
        try:
            texts[table, number] = bytes(content).decode(codec)
        except UnicodeDecodeError:
            lost.add((table, number))
    return Comments(texts, frozenset(lost))
