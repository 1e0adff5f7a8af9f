"""What an owner puts on a table: masking and row access policies, tags.

They are kept with the table and answered to those who ask (POLICY_REFERENCES, TAG_REFERENCES). A rename and a swap take them along,
CREATE OR REPLACE loses them. `masking` makes the policies act.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from snowflake.connector.errors import ProgrammingError
from sqlglot import exp

from helpers.local.standin import access, names, notes
from helpers.local.standin.account import ACCOUNT, OWNERSHIP
from helpers.local.standin.declared import Declared
from helpers.local.standin.names import first, identifier, status, text, unquoted
from helpers.local.standin.privileges import Need
from helpers.local.standin.session import Session

PART = r'(?:"(?:[^"]|"")+"|[A-Za-z_][\w$]*)'
NAME = rf"{PART}(?:\s*\.\s*{PART}){{0,2}}"
_COLUMN = rf"(?:(?:ALTER|MODIFY)\s+(?:COLUMN\s+)?(?P<column>{PART})\s+)?"
_KINDS = {"MASKING": "MASKING_POLICY", "ROW ACCESS": "ROW_ACCESS_POLICY"}

POLICY_COLUMNS = (
    "POLICY_DB", "POLICY_SCHEMA", "POLICY_NAME", "POLICY_KIND", "REF_DATABASE_NAME", "REF_SCHEMA_NAME", "REF_ENTITY_NAME",
    "REF_ENTITY_DOMAIN", "REF_COLUMN_NAME", "REF_ARG_COLUMN_NAMES", "TAG_DATABASE", "TAG_SCHEMA", "TAG_NAME", "POLICY_STATUS",
)  # fmt: skip
TAG_COLUMNS = (
    "TAG_DATABASE", "TAG_SCHEMA", "TAG_NAME", "TAG_VALUE", "LEVEL", "OBJECT_DATABASE", "OBJECT_SCHEMA", "OBJECT_NAME", "DOMAIN",
    "COLUMN_NAME",
)  # fmt: skip


def answer(session: Session, command: str) -> str | None:
    """What DuckDB answers to a statement of this subject; None where it is another's."""
    said = command.strip().rstrip(";")
    for pattern, handle, kind in _STATEMENTS:
        if match := re.fullmatch(pattern, said, re.IGNORECASE | re.DOTALL):
            _require(session, match, kind)
            if session._in_transaction:
                session.end("COMMIT")
            done = handle(session, match)
            with session.account.changing():  # what is known of the policies is asked anew
                return done
    return None


def is_ours(command: str) -> bool:
    """Whether a statement, which sqlglot does not know, is of this subject."""
    said = command.strip().rstrip(";")
    return any(re.fullmatch(pattern, said, re.IGNORECASE | re.DOTALL) for pattern, *_ in _STATEMENTS)


def _require(session: Session, match: re.Match[str], kind: str) -> None:
    """CREATE of the kind on the schema; to put one on a table, its ownership and APPLY, or APPLY of the kind on the account
    (https://docs.snowflake.com/en/user-guide/security-column-intro#managing-column-level-security)."""
    given = match.groupdict()
    if "dropped" in given:
        what = (_kind(match), *_qualified(session, match["dropped"]))
        access.require(session, Need(what, (OWNERSHIP,)))
        return
    if "table" not in given:
        schema = ("SCHEMA", *_qualified(session, match["name"])[:2])
        for privilege in ("USAGE", f"CREATE {kind}"):
            access.require(session, Need(schema, (privilege,)))
        return
    everywhere = session.account.holds(session.roles, ACCOUNT, f"APPLY {kind}")
    table = ("TABLE", *_qualified(session, match["table"]))
    access.require(session, Need(table, () if everywhere else (OWNERSHIP,)))
    if (name := given.get("policy") or given.get("tag")) and not everywhere:
        access.require(session, Need((kind.replace(" ", "_"), *_qualified(session, name)), ("APPLY",)))


def references_query(session: Session, rows: exp.TableFromRows) -> str | None:
    """A query that gives what POLICY_REFERENCES, TAG_REFERENCES or TAG_REFERENCES_ALL_COLUMNS say of a table."""
    call = rows.find(exp.Anonymous)
    function = call.name.upper() if call else ""
    if call is None or function not in ("POLICY_REFERENCES", "TAG_REFERENCES", "TAG_REFERENCES_ALL_COLUMNS"):
        return None
    given = [one.expression if isinstance(one, exp.Kwarg) else one for one in call.expressions]
    if function == "POLICY_REFERENCES" and [one.name.upper() for one in call.expressions] != [
        "REF_ENTITY_NAME",
        "REF_ENTITY_DOMAIN",
    ]:
        raise names.unsupported("POLICY_REFERENCES but with REF_ENTITY_NAME and REF_ENTITY_DOMAIN")
    if given[1].name.upper() != "TABLE":
        raise names.unsupported(f"{function} of a {given[1].name}")
    columns = POLICY_COLUMNS if function == "POLICY_REFERENCES" else TAG_COLUMNS
    return rows_query(columns, _references(session, function, given[0].name))


def _references(session: Session, function: str, name: str) -> list[dict[str, Any]]:
    database, schema, table = _qualified(session, name)
    note = notes.read_note(session, named_table(session, name))
    if function == "POLICY_REFERENCES":
        entity = {
            "REF_DATABASE_NAME": database,
            "REF_SCHEMA_NAME": schema,
            "REF_ENTITY_NAME": table,
            "REF_ENTITY_DOMAIN": "TABLE",
        }
        return [
            dict.fromkeys(POLICY_COLUMNS) | policy | entity | {"POLICY_STATUS": "ACTIVE"}
            for policy in note.get("policies", ())
        ]
    entity = {"OBJECT_DATABASE": database, "OBJECT_SCHEMA": schema, "OBJECT_NAME": table}
    of_columns = function == "TAG_REFERENCES_ALL_COLUMNS"
    return [
        dict.fromkeys(TAG_COLUMNS) | tag | entity
        for tag in note.get("tags", ())
        if (tag["LEVEL"] == "COLUMN") == of_columns
    ]


def policies_on(note: dict[str, Any], column: str) -> list[str]:
    """Policies that a column carries or that read it."""
    return [
        policy["POLICY_NAME"]
        for policy in note.get("policies", ())
        if column == policy["REF_COLUMN_NAME"] or f'"{column}"' in (policy["REF_ARG_COLUMN_NAMES"] or "")
    ]


def _create_policy(session: Session, match: re.Match[str]) -> str:
    database, schema, name = _qualified(session, match["name"])
    kind = _kind(match)
    _add_object(session, match, database, schema, name, kind, match["signature"])
    return status(f"{kind.replace('_', ' ').capitalize()} {name} successfully created.")


def _kind(match: re.Match[str]) -> str:
    written = " ".join(match["kind"].upper().split())
    return _KINDS.get(written, written)


def _drop_object(session: Session, match: re.Match[str]) -> str:
    kind, (database, schema, name) = _kind(match), _qualified(session, match["dropped"])
    if _object(session, database, schema, name, kind) is None:
        if not match["exists"]:
            raise names.missing(kind.replace("_", " ").capitalize(), name)
        return status("Drop statement executed successfully.")
    used = first(
        session.duck,
        "select table_name from duckdb_tables() where database_name = ? and comment like ?",
        [database, f'%_NAME": "{name}"%'],
    )
    if used is not None:
        raise ProgrammingError(
            msg=f"SQL compilation error:\n{kind.replace('_', ' ').capitalize()} {name} cannot be dropped/replaced as it is associated "
            "with one or more entities.", errno=3558, sqlstate="42S02",
        )  # fmt: skip
    session.duck.execute(
        f"DELETE FROM {_objects(database)} WHERE schema = ? AND name = ? AND kind = ?", [schema, name, kind]
    )
    session.account.forget((kind, database, schema, name))
    return status(f"{name} successfully dropped.")


def _create_tag(session: Session, match: re.Match[str]) -> str:
    database, schema, name = _qualified(session, match["name"])
    _add_object(session, match, database, schema, name, "TAG", "")
    return status(f"Tag {name} successfully created.")


def _add_object(
    session: Session, match: re.Match[str], database: str, schema: str, name: str, kind: str, signature: str
) -> None:
    if _object(session, database, schema, name, kind) is not None:
        if match["exists"]:
            return
        if not match["replace"]:
            raise names.already_exists(name)
        session.duck.execute(
            f"DELETE FROM {_objects(database)} WHERE schema = ? AND name = ? AND kind = ?", [schema, name, kind]
        )
    session.duck.execute(
        f"INSERT INTO {_objects(database)} VALUES (?, ?, ?, ?, ?)",
        [schema, name, kind, signature, match.groupdict().get("body")],
    )
    with session.account.changing():
        session.account.own((kind, database, schema, name), session.needed_role())


def _set_masking(session: Session, match: re.Match[str]) -> str:
    table, column, policy = (
        named_table(session, match["table"]),
        unquoted(match["column"]),
        _qualified(session, match["policy"]),
    )
    signature = _known(session, policy, "MASKING_POLICY")
    note, declared = notes.read_note(session, table), notes.declared_type(session, table, column)
    first = re.split(r",(?![^(]*\))", signature)[0].strip()  # the comma of NUMBER(10,2) parts no arguments
    wanted = exp.DataType.build(re.split(r"\s+", first, maxsplit=1)[1], dialect="snowflake")
    if Declared.read(wanted).name != declared:
        raise ProgrammingError(
            msg=f"SQL compilation error:\nColumn {column} of type {declared} does not have the type of the masking policy "
            f"{policy[2]}: {signature}", errno=3505, sqlstate="42601",
        )  # fmt: skip
    if any(p["REF_COLUMN_NAME"] == column for p in note.get("policies", ())) and not match["force"]:
        raise ProgrammingError(
            msg=f"SQL compilation error:\nSpecified column already attached to another masking policy: {column}",
            errno=3001,
        )
    arguments = parts_of(match["using"])[1:] if match["using"] else []
    others = [p for p in note.get("policies", ()) if p["REF_COLUMN_NAME"] != column]
    return _noted(session, table, policies=[*others, _policy(policy, "MASKING_POLICY", column, arguments)])


def _unset_masking(session: Session, match: re.Match[str]) -> str:
    table, column = named_table(session, match["table"]), unquoted(match["column"])
    note = notes.read_note(session, table)
    return _noted(session, table, policies=[p for p in note.get("policies", ()) if p["REF_COLUMN_NAME"] != column])


def _add_row_access(session: Session, match: re.Match[str]) -> str:
    table, policy = named_table(session, match["table"]), _qualified(session, match["policy"])
    _known(session, policy, "ROW_ACCESS_POLICY")
    note, columns = notes.read_note(session, table), parts_of(match["columns"])
    for column in columns:
        notes.declared_type(session, table, column)
    if any(p["POLICY_KIND"] == "ROW_ACCESS_POLICY" for p in note.get("policies", ())):
        raise ProgrammingError(
            msg=f"SQL compilation error:\nObject {table.name} already has a ROW_ACCESS_POLICY.", errno=3007
        )
    return _noted(
        session, table, policies=[*note.get("policies", ()), _policy(policy, "ROW_ACCESS_POLICY", None, columns)]
    )


def _drop_row_access(session: Session, match: re.Match[str]) -> str:
    table = named_table(session, match["table"])
    note = notes.read_note(session, table)
    return _noted(
        session, table, policies=[p for p in note.get("policies", ()) if p["POLICY_KIND"] != "ROW_ACCESS_POLICY"]
    )


def _set_tag(session: Session, match: re.Match[str]) -> str:
    table, tag = named_table(session, match["table"]), _qualified(session, match["tag"])
    _known(session, tag, "TAG")
    column = unquoted(match["column"]) if match["column"] else None
    if column:
        notes.declared_type(session, table, column)
    value = match["value"].replace("''", "'").replace("\\\\", "\\")
    made = dict(zip(("TAG_DATABASE", "TAG_SCHEMA", "TAG_NAME"), tag, strict=True)) | {
        "TAG_VALUE": value, "LEVEL": "COLUMN" if column else "TABLE", "DOMAIN": "COLUMN" if column else "TABLE", "COLUMN_NAME": column,
    }  # fmt: skip
    return _noted(session, table, tags=[*_tags_but(session, table, tag, column), made])


def _unset_tag(session: Session, match: re.Match[str]) -> str:
    table, tag = named_table(session, match["table"]), _qualified(session, match["tag"])
    column = unquoted(match["column"]) if match["column"] else None
    return _noted(session, table, tags=_tags_but(session, table, tag, column))


def _tags_but(
    session: Session, table: exp.Table, tag: tuple[str, str, str], column: str | None
) -> list[dict[str, Any]]:
    this = (*tag, column)
    keys = ("TAG_DATABASE", "TAG_SCHEMA", "TAG_NAME", "COLUMN_NAME")
    return [t for t in notes.read_note(session, table).get("tags", ()) if tuple(t[key] for key in keys) != this]


def rows_query(columns: tuple[str, ...], rows: list[dict[str, Any]]) -> str:
    """A query of DuckDB's that gives these rows of texts."""
    made = [
        ", ".join(f"{'NULL::VARCHAR' if row[c] is None else text(str(row[c]))} AS {identifier(c)}" for c in columns)
        for row in rows
    ]
    nothing = ", ".join(f"NULL::VARCHAR AS {identifier(c)}" for c in columns)
    return " UNION ALL ".join(f"SELECT {row}" for row in made) or f"SELECT {nothing} WHERE false"


def _noted(session: Session, table: exp.Table, **kept: Any) -> str:
    notes.update_note(session, table, **kept)
    return status()


def _policy(name: tuple[str, str, str], kind: str, column: str | None, arguments: list[str]) -> dict[str, Any]:
    listed = f"[ {', '.join(identifier(argument) for argument in arguments)} ]" if arguments else None
    return {
        "POLICY_DB": name[0], "POLICY_SCHEMA": name[1], "POLICY_NAME": name[2], "POLICY_KIND": kind, "REF_COLUMN_NAME": column,
        "REF_ARG_COLUMN_NAMES": listed,
    }  # fmt: skip


def _known(session: Session, name: tuple[str, str, str], kind: str) -> str:
    found = _object(session, *name, kind)
    if found is None:
        raise names.missing(kind.replace("_", " ").capitalize(), name[2])
    return found


def _object(session: Session, database: str, schema: str, name: str, kind: str) -> str | None:
    found = definition(session, (database, schema, name), kind)
    return found[0] if found else None


def definition(session: Session, name: tuple[str, str, str], kind: str) -> tuple[str, str | None] | None:
    """The signature of a policy or a tag, and what a policy computes; None where there is none."""
    database, schema, own = name
    if not names.attached(session.duck, database):
        raise names.missing("Database", database)
    row = first(
        session.duck,
        f"select signature, body from {_objects(database)} where schema = ? and name = ? and kind = ?",
        [schema, own, kind],
    )
    return (row[0], row[1]) if row else None


def _objects(database: str) -> str:
    return f"{identifier(database)}._fs_information_schema._policies_and_tags"


def parts_of(written: str) -> list[str]:
    """Names of a list, or of a dotted name."""
    return [unquoted(name) for name in re.findall(PART, written)]


def named_table(session: Session, name: str) -> exp.Table:
    return names.table([*_qualified(session, name)])


def _qualified(session: Session, name: str) -> tuple[str, str, str]:
    return session.qualified(names.table(parts_of(name)))


_MADE = r"CREATE\s+(?P<replace>OR\s+REPLACE\s+)?"
_ALTER = rf"ALTER\s+TABLE\s+(?P<table>{NAME})\s+"

_STATEMENTS: tuple[tuple[str, Callable[[Session, re.Match[str]], str], str], ...] = (
    (rf"{_MADE}(?P<kind>MASKING|ROW\s+ACCESS)\s+POLICY\s+(?P<exists>IF\s+NOT\s+EXISTS\s+)?(?P<name>{NAME})\s+AS\s*"
     r"\((?P<signature>[^)]*(?:\([^)]*\)[^)]*)*)\)\s*RETURNS\s+.+?->(?P<body>.+?)(?:\s+COMMENT\s*=\s*'(?:[^']|'')*')?", _create_policy, "MASKING POLICY"),
    (rf"DROP\s+(?P<kind>MASKING|ROW\s+ACCESS)\s+POLICY\s+(?P<exists>IF\s+EXISTS\s+)?(?P<dropped>{NAME})", _drop_object, ""),
    (rf"DROP\s+(?P<kind>TAG)\s+(?P<exists>IF\s+EXISTS\s+)?(?P<dropped>{NAME})", _drop_object, ""),
    (rf"{_MADE}TAG\s+(?P<exists>IF\s+NOT\s+EXISTS\s+)?(?P<name>{NAME})", _create_tag, "TAG"),
    (rf"{_ALTER}(?:ALTER|MODIFY)\s+(?:COLUMN\s+)?(?P<column>{PART})\s+SET\s+MASKING\s+POLICY\s+(?P<policy>{NAME})"
     r"(?:\s+USING\s*\((?P<using>[^)]*)\))?(?P<force>\s+FORCE)?", _set_masking, "MASKING POLICY"),
    (rf"{_ALTER}(?:ALTER|MODIFY)\s+(?:COLUMN\s+)?(?P<column>{PART})\s+UNSET\s+MASKING\s+POLICY", _unset_masking, "MASKING POLICY"),
    (rf"{_ALTER}ADD\s+ROW\s+ACCESS\s+POLICY\s+(?P<policy>{NAME})\s+ON\s*\((?P<columns>[^)]*)\)", _add_row_access, "ROW ACCESS POLICY"),
    (rf"{_ALTER}DROP\s+(?:ROW\s+ACCESS\s+POLICY\s+{NAME}|ALL\s+ROW\s+ACCESS\s+POLICIES)", _drop_row_access, "ROW ACCESS POLICY"),
    (rf"{_ALTER}{_COLUMN}SET\s+TAG\s+(?P<tag>{NAME})\s*=\s*'(?P<value>(?:[^']|'')*)'", _set_tag, "TAG"),
    (rf"{_ALTER}{_COLUMN}UNSET\s+TAG\s+(?P<tag>{NAME})", _unset_tag, "TAG"),
)  # fmt: skip
