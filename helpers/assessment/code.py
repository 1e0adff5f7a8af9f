"""Views, functions, procedures and triggers of the source, each with its SQL, and a draft for the targets where one can be made.

A draft is sqlglot's translation (https://sqlglot.com): nobody has run it, and two dialects that both take a statement need not
mean the same by it. What the targets do not know, such as triggers, and code in a procedural language is listed without a draft.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from helpers.errors import SourceRefused
from helpers.finding import Finding, note, warning
from helpers.model import places
from helpers.model.manifest import NextValue, folder
from helpers.redaction import HIDDEN, redact
from helpers.settings import Settings, Source
from helpers.source import sequences
from helpers.source.asking import asking, rows

DIALECTS = {"snowflake": "snowflake", "databricks": "databricks"}
"""Target → sqlglot's name of its SQL."""

VIEWS = ("view", "materialized view")

Place = Callable[[str, str, str], "tuple[str, str]"]
"""From a target, and a schema and name of the source: the schema and name there."""


@dataclass(frozen=True)
class Draft:
    """What a target would be given; `sql` is empty where there is no draft, for the reason in `why`.

    Attributes:
        why: also what to look at in a draft: functions and types that sqlglot hands on as it found them.
    """

    target: str
    sql: str
    why: str = ""


@dataclass(frozen=True)
class Code:
    """One object of the source that stays behind.

    Attributes:
        kind: "view", "materialized view", "function", "procedure", "aggregate" or "trigger".
        name: with the types of its arguments, or the table that a trigger is on.
        language: of its body; "sql" for a view.
        sql: as PostgreSQL prints it, with what looks like a secret masked.
    """

    kind: str
    schema: str
    name: str
    language: str
    sql: str
    drafts: tuple[Draft, ...] = ()

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def file(self) -> str:
        """A name for its files that is safe on every disk."""
        return f"{folder(self.schema, self.name)[:150]}.{self.kind.replace(' ', '-')}.sql"

    def as_dict(self, files: Mapping[str, str]) -> dict[str, Any]:
        """For `--json`, with the file of each draft."""
        return {
            "kind": self.kind, "schema": self.schema, "name": self.name, "language": self.language,
            "drafts": {
                d.target: {"verdict": "draft" if d.sql else "no draft", "why": d.why, "file": files.get(d.target)}
                for d in self.drafts
            },
        }  # fmt: skip


@dataclass(frozen=True)
class Listed:
    """What a source has of code and sequences.

    Attributes:
        unread: why something could not be listed; empty where all was.
    """

    code: tuple[Code, ...]
    sequences: tuple[NextValue, ...]
    unread: str = ""
    files: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "code": [each.as_dict(self.files.get(str(each), {})) for each in self.code],
            "sequences": [{"schema": each.schema_, **each.model_dump(exclude={"schema_"})} for each in self.sequences],
            "code_unread": self.unread,
        }


def take(settings: Settings) -> Listed:
    """Lists the code and the sequences of a profile's source; no row is read.

    Args:
        settings: the profile; drafts are made for the targets that it names, or for both where it names none, and read the
            tables where the profile's patterns put them.

    Raises:
        ConnectionFailed, SourceRefused: see `asking`.
    """
    source = settings.source
    named = {name: target.schema_ for name, target in settings.targets.items() if name in DIALECTS}
    targets: dict[str, str | None] = {**named} or dict.fromkeys(DIALECTS)

    def put(target: str, schema: str, name: str) -> tuple[str, str]:
        return places.place(settings.tables, schema, name, targets[target] or schema)

    try:
        found, unread = _read(source), ""
    except SourceRefused as error:
        found, unread = [], error.why
    with asking(source, "list the sequences") as cursor:
        following = sequences.next_values(cursor, source.schemas)
    code = tuple(
        Code(
            row["kind"], row["schema"], row["name"], row["language"], masked(row["sql"] or ""),
            tuple(_draft(row, target, put) for target in targets),
        )
        for row in found
    )  # fmt: skip
    return Listed(_named_apart(code, put), following, unread)


def _named_apart(code: Sequence[Code], put: Place) -> tuple[Code, ...]:
    """The same, each draft of a view that would have another's name in its target saying so."""
    of_name: dict[tuple[str, str, str], list[str]] = {}
    views = [each for each in code if each.kind in VIEWS]
    for each in views:
        for draft in each.drafts:
            schema, name = put(draft.target, each.schema, each.name)
            of_name.setdefault((draft.target, schema, name.lower()), []).append(str(each))

    def said(each: Code, draft: Draft) -> Draft:
        schema, name = put(draft.target, each.schema, each.name)
        others = [other for other in of_name[draft.target, schema, name.lower()] if other != str(each)]
        if not draft.sql or not others:
            return draft
        why = f"{', '.join(others)} would have the same name there: name one of them otherwise"
        return replace(draft, why="; ".join(filter(None, (draft.why, why))))

    return tuple(
        replace(each, drafts=tuple(said(each, draft) for draft in each.drafts)) if each.kind in VIEWS else each
        for each in code
    )


def write(listed: Listed, into: Path) -> Listed:
    """Writes each draft, and the source's SQL beside it, as files below a folder; returns the list with their names.

    Args:
        listed: what there is.
        into: the folder; it is made where there is something to write.
    """
    files: dict[str, dict[str, str]] = {}
    for each in listed.code:
        for target, sql in [
            ("source", each.sql),
            *((draft.target, _headed(each, draft)) for draft in each.drafts if draft.sql),
        ]:
            path = into / target / each.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(sql.rstrip() + "\n", encoding="utf-8")
            files.setdefault(str(each), {})[target] = str(path.relative_to(into))
    return Listed(listed.code, listed.sequences, listed.unread, files)


def masked(sql: str) -> str:
    """SQL without the secrets of this process and without literals that look like one: code holds passwords that nobody knows of."""
    sql = _IN_URL.sub(rf"\1{HIDDEN}@", redact(sql))
    return _LITERAL.sub(_masked_literal, sql)


def _masked_literal(found: re.Match[str]) -> str:
    before = found.string[max(0, found.start() - 60) : found.start()].rpartition("\n")[2]
    if _NAMED.search(before):
        return f"'{HIDDEN}'"
    return _ASSIGNED.sub(rf"\1{HIDDEN}", found[0])


_WORDS = r"(?:password|passwd|pwd|passphrase|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credential)\w*"
_IN_URL = re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s:/@']*:)[^\s@']+@", re.IGNORECASE)
_LITERAL = re.compile(r"'(?:[^'\n]|'')*'")
_NAMED = re.compile(rf"{_WORDS}[\w\s\"':=>,]{{0,30}}$", re.IGNORECASE)
"""What stands before a literal that is a secret: a word for one, and then only a type, a sign or the end of another literal."""
_ASSIGNED = re.compile(rf"({_WORDS}\s*[=:]\s*)[^\s';,&]+", re.IGNORECASE)
"""A secret within a literal, such as a connection string."""


def _draft(row: Mapping[str, Any], target: str, place: Place) -> Draft:
    if row["kind"] == "trigger":
        return Draft(target, "", "no target has triggers: what writes the table has to do its work")
    if row["kind"] == "aggregate":
        return Draft(target, "", "an aggregate: it has to be written anew")
    if row["kind"] in ("function", "procedure") and row["language"] != "sql":
        return Draft(target, "", f"a {row['kind']} in {row['language']}: it has to be written anew")
    if not row["body"]:
        return Draft(target, "", f"a {row['kind']} whose body is not told as text: it has to be written anew")
    try:
        statements = [tree for tree in sqlglot.parse(row["body"], read="postgres") if tree is not None]
        if any(isinstance(tree, exp.Command) for tree in statements):
            return Draft(target, "", "sqlglot does not parse all of it")
        unknown = sorted({name for tree in statements for name in _taken_over(tree)})
        for tree in statements:
            _move_tables(tree, target, place)
        body = ";\n".join(
            tree.sql(dialect=DIALECTS[target], identify=True, pretty=True, unsupported_level=sqlglot.ErrorLevel.RAISE)
            for tree in statements
        )
    except (SqlglotError, ValueError, RecursionError) as error:
        return Draft(target, "", f"sqlglot cannot translate it: {' '.join(str(error).split())[:300]}")
    said = (
        f"look at {', '.join(unknown)}: which the target may not know, and which were taken over as they are"
        if unknown
        else ""
    )
    if row["kind"] in VIEWS:
        schema, name = place(target, row["schema"], row["name"])
        quoted = exp.table_(name, db=schema, quoted=True).sql(dialect=DIALECTS[target])
        # Both targets have materialized views of their own kind, with limits of their own: a plain view means the same.
        return Draft(target, f"CREATE VIEW {quoted} AS\n{body};", said)
    return Draft(target, f"{body};", f"the body alone: its signature is to be written{'; ' + said if said else ''}")


def _taken_over(tree: exp.Expr) -> Iterator[str]:
    """Functions that sqlglot does not know, and types of PostgreSQL's own or of its users, which it writes as it found them."""
    yield from (call.name for call in tree.find_all(exp.Anonymous))
    for kind in tree.find_all(exp.DataType):
        if kind.this in _OF_POSTGRESQL:
            yield f"the type {kind.sql(dialect='postgres')}"


_OF_POSTGRESQL = {
    exp.DataType.Type[name]
    for name in ("USERDEFINED", "XML", "MONEY", "HSTORE", "INET", "BIT", "INTERVAL", "INT4RANGE", "INT8RANGE", "NUMRANGE", "TSRANGE",
                 "TSTZRANGE", "DATERANGE", "OBJECT_IDENTIFIER")
    if name in exp.DataType.Type.__members__
}  # fmt: skip


def _move_tables(tree: exp.Expr, target: str, place: Place) -> None:
    local = {cte.alias for cte in tree.find_all(exp.CTE)}
    for table in tree.find_all(exp.Table):
        if isinstance(table.this, exp.Identifier) and (table.db or table.name not in local):
            schema, name = place(target, table.db or "public", table.name)
            table.set("db", exp.to_identifier(schema, quoted=True))
            table.set("this", exp.to_identifier(name, quoted=True))


def _headed(code: Code, draft: Draft) -> str:
    head = [
        f"-- DRAFT for {draft.target}, translated by sqlglot {version('sqlglot')} from the {code.kind} {code} of PostgreSQL.",
        "-- Nobody has run it. Read it, run it, and compare its rows with the source's before anybody relies on it.",
    ]
    head += [f"-- {draft.why}"] if draft.why else []
    return "\n".join([*head, masked(draft.sql)])


def _read(source: Source) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    with asking(source, "list views, functions and triggers") as cursor:
        for query in (_VIEWS, _FUNCTIONS, _TRIGGERS):
            found += rows(cursor, query, {"schemas": list(source.schemas)})
    return found


def findings(listed: Listed) -> Iterator[Finding]:
    """What to know of it."""
    if listed.code:
        drafts = sum(any(draft.sql for draft in each.drafts) for each in listed.code)
        yield note(
            f"{len(listed.code)} objects with code", f"of {drafts} there is a draft for a target, which nobody has run"
        )
    if listed.unread:
        yield warning(
            "views, functions and triggers",
            f"could not be listed: {listed.unread}",
            "give the role what the message names",
        )
    if unread := [str(each) for each in listed.sequences if each.value is None]:
        fix = "GRANT SELECT ON ALL SEQUENCES IN SCHEMA … to the role, or look at them yourself"
        yield warning(", ".join(unread), "nobody can tell what it gives next", fix)


def code_rows(listed: Listed) -> Sequence[tuple[str, ...]]:
    """For a table: the object, its kind and language, and what there is for each target."""

    def said(drafts: Sequence[Draft]) -> str:
        words = {draft.target: ("draft" if draft.sql else f"none: {draft.why}") for draft in drafts}
        if len(set(words.values())) == 1:
            return next(iter(words.values()))
        return "; ".join(f"{target}: {each}" for target, each in words.items())

    return [(str(each), each.kind, each.language, said(each.drafts)) for each in listed.code]


def sequence_rows(listed: Listed) -> Sequence[tuple[str, str, object, int]]:
    """For a table: each sequence, the column whose values it makes, what it gives next, and its step."""
    return [(str(s), s.column, s.why if s.value is None else s.value, s.increment) for s in listed.sequences]


_OF_USERS = """n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
      AND (cardinality(%(schemas)s::text[]) = 0 OR n.nspname = ANY (%(schemas)s))"""
_NOT_OF_EXTENSIONS = """NOT EXISTS (
          SELECT FROM pg_depend d WHERE d.classid = '{catalog}'::regclass AND d.objid = {oid} AND d.deptype = 'e')"""

_VIEWS = f"""
    SELECT CASE c.relkind WHEN 'v' THEN 'view' ELSE 'materialized view' END AS kind, n.nspname AS schema, c.relname AS name,
           'sql' AS language, pg_get_viewdef(c.oid) AS sql, pg_get_viewdef(c.oid) AS body
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('v', 'm') AND {_OF_USERS} AND {_NOT_OF_EXTENSIONS.format(catalog="pg_class", oid="c.oid")}
    ORDER BY 2, 3
"""
_FUNCTIONS = f"""
    SELECT CASE p.prokind WHEN 'p' THEN 'procedure' WHEN 'a' THEN 'aggregate' ELSE 'function' END AS kind, n.nspname AS schema,
           p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')' AS name, l.lanname AS language,
           CASE WHEN p.prokind = 'a' THEN 'an aggregate' ELSE pg_get_functiondef(p.oid) END AS sql,
           CASE WHEN p.prokind <> 'a' THEN p.prosrc END AS body
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang
    WHERE {_OF_USERS} AND {_NOT_OF_EXTENSIONS.format(catalog="pg_proc", oid="p.oid")}
    ORDER BY 2, 3
"""
_TRIGGERS = f"""
    SELECT 'trigger' AS kind, n.nspname AS schema, t.tgname || ' on ' || c.relname AS name, 'sql' AS language,
           pg_get_triggerdef(t.oid) AS sql, '' AS body
    FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE NOT t.tgisinternal AND NOT c.relispartition AND {_OF_USERS}
    ORDER BY 2, 3
"""
