"""A figure's query as each side is asked it: relations by their names there, and one query's words in the other side's SQL."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers.errors import SettingsError
from helpers.pipelines.readers import Reader
from helpers.platforms import postgres
from helpers.platforms.postgres import identifier
from helpers.settings import Figure, Settings

_RELATION = re.compile(r"\{\s*([^\W\d][\w $-]*?)(?:\.([^\W\d][\w $-]*?))?\s*\}")
"""`{name}` or `{schema.name}`; no array or JSON in a constant looks like that but one of a single word."""

_HIDDEN = "relation_of_figure_{}"
"""What stands for a relation while a query is translated."""

LOCKABLE = "rpv"
"""Kinds of relations that LOCK TABLE takes (https://www.postgresql.org/docs/current/sql-lock.html)."""


@dataclass(frozen=True)
class Relation:
    """A relation of the source."""

    schema: str
    name: str
    kind: str

    @property
    def sql(self) -> str:
        """As SQL names it."""
        return identifier(self.schema, self.name)

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True)
class Question:
    """What one side is asked.

    Attributes:
        text: as the profile has it.
        sql: as it is sent.
        relations: of the source, by what stands in the braces.
        tables: migrated tables that a target is asked for.
    """

    text: str
    sql: str
    relations: Mapping[str, Relation]
    tables: tuple[str, ...] = ()


def sql_text(settings: Settings, written: str, key: str) -> str:
    """SQL as the profile has it: the text itself, or what stands in the .sql file that it names.

    Args:
        key: of the profile, for an error.

    Raises:
        SettingsError: the file cannot be read, or holds nothing.
    """
    text = written
    if written.strip().endswith(".sql"):
        path: Path = settings.path(written.strip())
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(
                f"read {key}",
                on=str(path),
                why=str(error),
                next_step="name a file relative to migration.toml, or write the SQL",
            ) from None
    if not (text := text.strip().rstrip(";").strip()):
        raise SettingsError(f"read {key}", on=written or key, why="it is empty", next_step="write a query")
    return text


def of_source(settings: Settings, cursor: Any, name: str, figure: Figure) -> Question:
    """What the source is asked.

    Raises:
        SettingsError: it has no relation of such a name, or several.
    """
    which = "query" if figure.query is not None else "source"
    return _in_source(settings, cursor, name, which, figure.query or figure.source or "")


def again(settings: Settings, cursor: Any, name: str, figure: Figure) -> Question:
    """The other way to the same figure, asked of the source too; raises as `of_source`."""
    return _in_source(settings, cursor, name, "recomputed", figure.recomputed or "")


def _in_source(settings: Settings, cursor: Any, name: str, which: str, written: str) -> Question:
    key = f"profiles.{settings.profile}.figures.{name}.{which}"
    text = sql_text(settings, written, key)
    there: dict[str, Relation] = {}
    for match in _RELATION.finditer(text):
        found = relation_in_source(cursor, settings.source.schemas, match[1], match[2])
        if found is None:
            where = ", ".join(settings.source.schemas) or "any schema"
            raise SettingsError(
                f"read {key}", on=match[0], why=f"the source has no such table or view in {where}",
                next_step="write it as {schema.name}, and see that the profile's source is the right database",
            )  # fmt: skip
        there[match[0]] = found
    return Question(text, _RELATION.sub(lambda match: there[match[0]].sql, text), there)


def relation_in_source(cursor: Any, schemas: Sequence[str], first: str, second: str | None = None) -> Relation | None:
    """A table or view of the source, by "name" or by schema and name; the first of `schemas` that has it counts."""
    schema, name = (first, second) if second else (None, first)
    cursor.execute(
        "SELECT n.nspname::text, c.relname::text, c.relkind::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.relname = %(name)s AND c.relkind IN ('r', 'p', 'v', 'm', 'f')"
        " AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_%%'"
        " AND (%(schema)s::text IS NULL OR n.nspname = %(schema)s)"
        " AND (%(schema)s::text IS NOT NULL OR %(schemas)s::text[] = '{}' OR n.nspname = ANY (%(schemas)s))"
        " ORDER BY array_position(%(schemas)s::text[], n.nspname::text), n.nspname = 'public' DESC, n.nspname LIMIT 1",
        {"name": name, "schema": schema, "schemas": list(schemas)},
    )
    row = cursor.fetchone()
    return Relation(*row) if row else None


def of_target(settings: Settings, reader: Reader, name: str, figure: Figure, source: Question) -> Question:
    """What the target is asked: the figure's own query for it, or the source's, in the target's SQL.

    Raises:
        SettingsError: the target has no relation of such a name, or the query cannot be read as one.
    """
    which = "query" if figure.target is None else "target"
    key = f"profiles.{settings.profile}.figures.{name}.{which}"
    text = source.text if figure.target is None else sql_text(settings, figure.target, key)
    there = {match[0]: _in_target(settings, reader, match, source, key) for match in _RELATION.finditer(text)}
    tables = tuple(
        sorted(
            {str(source.relations.get(braces, braces.strip("{} "))) for braces, (_, mart) in there.items() if not mart}
        )
    )
    if figure.target is not None:
        sql = _RELATION.sub(lambda match: there[match[0]][0], text)
        _parsed(sql, reader.dialect, key)
    else:
        sql = _translated(text, {braces: relation for braces, (relation, _) in there.items()}, reader, key)
    return Question(text, sql, source.relations, tables)


def _in_target(
    settings: Settings, reader: Reader, match: re.Match[str], source: Question, key: str
) -> tuple[str, bool]:
    """A relation as the target's SQL names it, and whether it is a mart."""
    name = match[2] or match[1]
    if settings.dbt.project and reader.columns(mart := reader.mart(name)) is not None:
        return mart, True
    known = source.relations.get(match[0])
    migrated = reader.migrated(known.schema if known else match[1] if match[2] else "", known.name if known else name)
    if reader.columns(migrated) is None:
        raise SettingsError(
            f"read {key}", on=match[0], why=f"{reader.engine} has neither a mart nor a migrated table of that name",
            next_step="migrate it, build the marts (runbook marts), or ask for another relation in figures.NAME.target",
        )  # fmt: skip
    return migrated, False


def _parsed(sql: str, dialect: str, key: str) -> Any:
    """A query as sqlglot reads it, and nothing but one query: a target's session has no way to be read-only."""
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    try:
        statements = [each for each in sqlglot.parse(sql, dialect=dialect) if each]
    except SqlglotError as error:
        why = f"it cannot be read as SQL of {dialect}: {str(error).splitlines()[0]}"
    else:
        first = statements[0] if len(statements) == 1 else None
        if isinstance(first, exp.Query) and not first.find(exp.Into, exp.DML, exp.DDL):
            return first
        why = "it is no single query, and a figure only reads"
    raise SettingsError(
        f"read {key}", on=key, why=why, next_step="write one SELECT; for a target of its own words: figures.NAME.target"
    )


def _translated(text: str, relations: Mapping[str, str], reader: Reader, key: str) -> str:
    """PostgreSQL's query in another SQL. Its names are folded as PostgreSQL folds them, and then quoted; a relation whose columns
    are written in capitals there, as dbt makes them in Snowflake, gives them in small letters."""
    import sqlglot
    from sqlglot import exp
    from sqlglot.optimizer.normalize_identifiers import normalize_identifiers

    hidden = {braces: _HIDDEN.format(number) for number, braces in enumerate(relations)}
    tree = normalize_identifiers(
        _parsed(_RELATION.sub(lambda m: hidden[m[0]], text), "postgres", key), dialect="postgres"
    )
    for each in tree.find_all(exp.Identifier):
        each.set("quoted", True)
    for braces, placeholder in hidden.items():
        for table in [each for each in tree.find_all(exp.Table) if each.name == placeholder]:
            alias = table.alias or braces.strip("{} ").rpartition(".")[2]
            columns = reader.columns(relations[braces]) or ()
            own = relations[braces]
            if reader.dialect == "snowflake" and columns and all(column == column.upper() for column in columns):
                small = (f"{_quoted(reader, column)} AS {_quoted(reader, column.lower())}" for column in columns)
                own = f"(SELECT {', '.join(small)} FROM {own})"
            named_so = f"SELECT * FROM {own} AS {_quoted(reader, alias)}"
            place = sqlglot.parse_one(named_so, dialect=reader.dialect).find(exp.From)
            assert place
            table.replace(place.this)
    return str(tree.sql(dialect=reader.dialect))


def _quoted(reader: Reader, name: str) -> str:
    from sqlglot import exp

    return str(exp.to_identifier(name, quoted=True).sql(dialect=reader.dialect))


def locked(cursor: Any, questions: Iterable[Question]) -> str:
    """Locks what will be read, then begins to read: the transaction's snapshot is taken by its first query, and what is
    truncated later waits. Returns the source's LSN, which is about that of the snapshot."""
    found = {each.sql for question in questions for each in question.relations.values() if each.kind in LOCKABLE}
    cursor.connection.rollback()
    locks = f"; LOCK TABLE {', '.join(sorted(found))} IN ACCESS SHARE MODE" if found else ""
    cursor.connection.begin(f"SET LOCAL lock_timeout = '30s'{locks}")
    return read_lsn(cursor)


def read_lsn(cursor: Any) -> str:
    """The source's position in its log now; of a standby that of what it has replayed."""
    position = "CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END"
    return str(postgres.value(cursor, f"SELECT {position}::text"))
