"""Names, texts and errors: what every other file of the stand-in writes with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import duckdb
from snowflake.connector.errors import ProgrammingError
from sqlglot import exp

Name = tuple[str, str, str]
"""Database, schema and the object's own name."""

VERSION = "10.0.0 local-stand-in"
DONE = "Statement executed successfully."


def identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def unquoted(written: str) -> str:
    """A name as it was meant: without its quotes, or in upper case where it had none."""
    return written[1:-1].replace('""', '"') if written.startswith('"') else written.upper()


def path(database: str, schema: str, name: str) -> str:
    return f"{identifier(database)}.{identifier(schema)}.{identifier(name)}"


def table(parts: list[str]) -> exp.Table:
    """A table by its names, the database's first where it has one."""
    kinds = zip(("this", "db", "catalog"), reversed(parts), strict=False)
    return exp.Table(**{kind: exp.to_identifier(part, quoted=True) for kind, part in kinds})


def status(message: str = DONE) -> str:
    """A query whose result is what the real service says of a statement that has none."""
    return f'select {text(message)} as "status"'


def first(duck: duckdb.DuckDBPyConnection, query: str, parameters: list[Any] | None = None) -> tuple[Any, ...] | None:
    """The first row, with the rest taken as well: DuckDB refuses other work beside a half-read result."""
    rows: list[tuple[Any, ...]] = duck.execute(query, parameters).fetchall()
    return rows[0] if rows else None


def attached(duck: duckdb.DuckDBPyConnection, name: str) -> bool:
    return first(duck, "select 1 from duckdb_databases() where database_name = ?", [name]) is not None


def missing(kind: str, name: str) -> ProgrammingError:
    """What is not there, or not for this role."""
    if kind == "Column":
        where = "SQL compilation error: error line 1 at position 0"
        return ProgrammingError(msg=f"{where}\ninvalid identifier '{name}'", errno=904, sqlstate="42000")
    return ProgrammingError(
        msg=f"SQL compilation error:\n{kind} '{name}' does not exist or not authorized.",
        errno=2003,
        sqlstate="02000" if kind in ("Schema", "Database") else "42S02",
    )


def already_exists(name: str) -> ProgrammingError:
    return ProgrammingError(
        msg=f"SQL compilation error:\nObject '{name}' already exists.", errno=2002, sqlstate="42710"
    )


def unsupported(what: str) -> ProgrammingError:
    return ProgrammingError(msg=f"The local stand-in does not support {what}.", errno=2, sqlstate="0A000")


def only_case_differs(kind: str, name: str, other: str) -> ProgrammingError:
    return ProgrammingError(
        msg=f"The {kind} names '{other}' and '{name}' differ only in case: the real service tells them apart, "
        "the local stand-in (DuckDB) cannot.",
        errno=2,
        sqlstate="0A000",
    )


@contextmanager
def all_or_nothing(duck: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """A transaction of DuckDB's."""
    duck.begin()
    try:
        yield
        duck.commit()
    except BaseException:
        duck.rollback()
        raise
