"""Views, functions, procedures, triggers and check constraints of the source, each with its SQL, and a draft for the targets where
one can be made.

What the targets do not know, such as triggers, and code in a procedural language is listed without a draft.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

from helpers.assessment.drafts import DIALECTS, VIEWS, Draft, Place, draft_of
from helpers.errors import SourceRefused
from helpers.finding import Finding, note, warning
from helpers.model import places
from helpers.model.manifest import NextValue, folder
from helpers.redaction import without_secrets
from helpers.settings import Settings, Source
from helpers.source import sequences
from helpers.source.asking import asking, rows

_LONGEST = 150
"""Characters of a file's name, of which most disks take 255 bytes."""


@dataclass(frozen=True)
class Code:
    """One object of the source that stays behind.

    Attributes:
        kind: "view", "materialized view", "function", "procedure", "aggregate", "trigger" or "check constraint".
        name: with the types of its arguments, or the table that a trigger or constraint is on.
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
        name = folder(self.schema, self.name)
        if len(name) > _LONGEST:
            name = f"{name[:_LONGEST]}-{sha256(name.encode()).hexdigest()[:8]}"
        return f"{name}.{self.kind.replace(' ', '-')}.sql"

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
        files: of each object by `Code.file`, the files below the folder by target, the source's SQL under "source".
    """

    code: tuple[Code, ...]
    sequences: tuple[NextValue, ...]
    unread: str = ""
    files: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "code": [each.as_dict(self.files.get(each.file, {})) for each in self.code],
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
            row["kind"], row["schema"], row["name"], row["language"], without_secrets(row["sql"] or ""),
            tuple(draft_of(row, target, put) for target in targets),
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
            files.setdefault(each.file, {})[target] = str(path.relative_to(into))
    return Listed(listed.code, listed.sequences, listed.unread, files)


def _headed(code: Code, draft: Draft) -> str:
    head = [
        f"-- DRAFT for {draft.target}, translated by sqlglot {version('sqlglot')} from the {code.kind} {code} of PostgreSQL.",
        "-- Nobody has run it. Read it, run it, and compare its rows with the source's before anybody relies on it.",
    ]
    head += [f"-- {draft.why}"] if draft.why else []
    return "\n".join([*head, without_secrets(draft.sql)])


def _read(source: Source) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    with asking(source, "list views, functions and triggers") as cursor:
        for query in (_VIEWS, _FUNCTIONS, _TRIGGERS, _CHECKS):
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
_CHECKS = f"""
    SELECT 'check constraint' AS kind, n.nspname AS schema, k.conname || ' on ' || c.relname AS name, 'sql' AS language,
           c.relname AS table, k.conname AS constraint, pg_get_constraintdef(k.oid) AS sql,
           pg_get_expr(k.conbin, k.conrelid) AS body
    FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE k.contype = 'c' AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND {_OF_USERS}
      AND {_NOT_OF_EXTENSIONS.format(catalog="pg_class", oid="c.oid")}
    ORDER BY 2, 3
"""
