"""What a target's tables have from their owner: objects that no load made are not touched, and what the owner attached to ours
(grants, policies, tags) stays when a table has to be replaced.

CREATE OR REPLACE loses all of it but what COPY GRANTS copies, and SWAP WITH takes it along with the former table
(https://docs.snowflake.com/en/sql-reference/sql/create-table, …/sql/alter-table).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from helpers.engines.shapes import TableShape
from helpers.engines.snowflake.catalog import TABLE, Present
from helpers.engines.snowflake.records import NEW_SUFFIX, Made
from helpers.errors import LoadError, TargetRefused
from helpers.model import names
from helpers.model.catalog import ForeignKey
from helpers.model.keys import AnyKey
from helpers.model.manifest import StagedTable
from helpers.model.names import Refusal
from helpers.model.places import TargetTable
from helpers.platforms import snowflake
from helpers.platforms.snowflake import Session, identifier, literal
from helpers.settings import Snowflake

_NOT_OF_THIS_EDITION = "Unsupported feature"


@dataclass(frozen=True)
class Attached:
    """Something that an owner has put on a table.

    Attributes:
        what: in words.
        columns: that it is on or reads; none where it is on the table.
        clause: the statement that puts it on another table, with {table} for its name; empty where there is none.
        typed: whether it is written for its columns' types.
    """

    what: str
    columns: tuple[str, ...]
    clause: str
    typed: bool = False


def refusals(
    session: Session, chosen: Sequence[StagedTable], present: Mapping[TargetTable, Present], target: Snowflake
) -> list[Refusal]:
    """Of names that lie in the target already, and of what is no table there; not those of the chosen names alone."""
    own = target.schema_
    wanted = {staged.there(own): staged for staged in chosen}
    found = [
        names.in_the_way(staged, there.kind.lower())
        for table, staged in wanted.items()
        if (there := present.get(table)) and there.kind != TABLE
    ]
    placed = [(staged, table) for table, staged in wanted.items()]
    others = [(names.Other(table.shown(own)), table) for table in present if table not in wanted]
    ours = {str(staged) for staged in chosen}
    known = {
        refusal.on for refusal in names.refusals([(staged, staged.there(own)) for staged in chosen], snowflake.NAMES)
    }
    only_case = [
        each for each in names.alike([*others, *placed], _FOLDING) if ours & set(each.tables) and each.on not in known
    ]
    return [*found, *only_case] if only_case and not _tells_case_apart(session) else found


_FOLDING = replace(
    snowflake.NAMES,
    engine="this target, other than Snowflake itself (the local stand-in is such a one),",
    tells_case_apart=False,
)


def _tells_case_apart(session: Session) -> bool:
    asked = 'SELECT COUNT(*) AS N FROM (SELECT 1 AS "a", 2 AS "A") AS T WHERE T."a" <> T."A"'
    (row,) = session.execute(asked, doing="ask whether names that differ only in case are two")
    return int(row["N"]) == 1


def foreign(
    needed: Iterable[TargetTable], present: Mapping[TargetTable, Present], recorded: Mapping[TargetTable, Made]
) -> dict[TargetTable, str]:
    """Of the tables that a load needs, those at whose names something lies that no load made, and what it is."""
    found = {}
    for table in needed:
        there, made = present.get(table), recorded.get(table)
        # A load that was broken off has swapped a table and its successor, or not yet.
        pair = {table, successor(table), table.renamed(table.name.removesuffix(NEW_SUFFIX))}
        if there and there.created not in {recorded[one].created for one in pair & recorded.keys()}:
            kind = "table" if there.kind == TABLE else there.kind.lower()
            remade = f", made anew since the load {made.load_id}" if made else ""
            found[table] = f"{_article(kind)} {kind}{remade}"
    return found


UNFINISHED = "being loaded, without its rows yet: the load "
"""How the comment of a new table begins until its rows are there and it is recorded; the load's id follows."""


def unfinished(present: Mapping[TargetTable, Present], recorded: Mapping[TargetTable, Made]) -> set[TargetTable]:
    """Tables that a load of ours had made and not recorded when it was broken off; they have no rows."""
    return {
        table for table, there in present.items()
        if there.comment.startswith(UNFINISHED) and not ((made := recorded.get(table)) and made.created == there.created)
    }  # fmt: skip


def successor(table: TargetTable) -> TargetTable:
    """What the table that takes another's place is called, for a moment, beside it."""
    return table.renamed(table.name + NEW_SUFFIX)


def attached(session: Session, target: Snowflake, table: TargetTable) -> tuple[Attached, ...]:
    """What the owner has put on a table, as far as this role may see it.

    Raises:
        TargetRefused: the target does not say.
    """
    return tuple(
        one for of_a_kind in (_grants, _policies, _tags, _properties, _parameters, _dependents)
        for one in of_a_kind(session, target, table)
    )  # fmt: skip


def refuse_masked(session: Session, target: Snowflake, table: TargetTable) -> None:
    """Raises `TargetRefused` where a masking policy lies on a table that a load has made beside the target's schema.

    A policy of a tag on the database or an account masks each column of its type, in the table too that files land in: what is read
    from there would be written masked (https://docs.snowflake.com/en/user-guide/tag-based-masking-policies).
    """
    try:
        found = session.execute(_policies_of(target, table), doing="ask for policies on what a load makes")
    except LoadError:
        return  # an edition without policies, or a role that may not ask
    if named := sorted(
        {f"{row['POLICY_NAME']}{f' by the tag {tag}' if (tag := row['TAG_NAME']) else ''}" for row in found}
    ):
        raise TargetRefused(
            "load what is staged and no mask of it",
            on=snowflake.address(target),
            why=f"masked would be what a load reads in the schema {table.schema}, by the policy {', '.join(named)}",
            next_step="nothing was changed. Take the schema out of the tag (ALTER SCHEMA … UNSET TAG, or set the tag on the schemas that "
            "people read), or let the policy show this role what is there",
        )


def keys(target: Snowflake, found: TableShape, ours: Sequence[str]) -> Iterator[Attached]:
    """The keys that the owner has told Snowflake of: those beside the primary one that no load made."""
    told: list[AnyKey] = [key for key in found.keys or () if not key.primary]
    for key in [*told, *(found.foreign_keys or ())]:
        if key.name in ours:
            continue
        listed = ", ".join(map(identifier, key.columns))
        clause = f"ALTER TABLE {{table}} ADD UNIQUE ({listed})"
        if isinstance(key, ForeignKey):
            referenced = ", ".join(map(identifier, key.referenced))
            other = identifier(target.database, key.schema, key.table)
            clause = f"ALTER TABLE {{table}} ADD FOREIGN KEY ({listed}) REFERENCES {other} ({referenced})"
        yield Attached(f"the key {key.name}", key.columns, clause)


def refuse_lost(target: Snowflake, table: TargetTable, why: str, lost: list[Attached]) -> None:
    """Raises `TargetRefused` that names what would be lost, where something would."""
    if not lost:
        return
    raise TargetRefused(
        f"replace {table.shown(target.schema_)} and keep what its owner put on it",
        on=snowflake.address(target),
        why=f"{why}, for which {'the column goes or ' if any(a.columns for a in lost) else ''}another table takes its place; this "
        f"cannot be carried: {'; '.join(a.what for a in lost)}",
        next_step="nothing was changed. Have its owner remove it (ALTER TABLE … UNSET MASKING POLICY, DROP ROW ACCESS POLICY, UNSET "
        "TAG, DROP SEARCH OPTIMIZATION; DROP STREAM), run the load, and put it on again in the form that the new definition needs",
    )


def _grants(session: Session, target: Snowflake, table: TargetTable) -> Iterator[Attached]:
    for row in _ask(session, f"SHOW GRANTS ON TABLE {_full(target, table)}", table):
        privilege, to, grantee = str(row["privilege"]), str(row["granted_to"]), str(row["grantee_name"])
        if privilege == "OWNERSHIP":
            continue
        carried = to == "ROLE" and re.fullmatch(r"[A-Z ]+", privilege)
        option = " WITH GRANT OPTION" if str(row["grant_option"]).lower() == "true" else ""
        clause = f"GRANT {privilege} ON TABLE {{table}} TO ROLE {identifier(grantee)}{option}" if carried else ""
        yield Attached(f"the grant of {privilege} to {to.lower()} {grantee}", (), clause)


def _policies(session: Session, target: Snowflake, table: TargetTable) -> Iterator[Attached]:
    """https://docs.snowflake.com/en/sql-reference/functions/policy_references"""
    for row in _ask(session, _policies_of(target, table), table):
        if row["TAG_NAME"]:
            continue  # it comes with its tag
        policy = identifier(row["POLICY_DB"], row["POLICY_SCHEMA"], row["POLICY_NAME"])
        arguments = tuple(json.loads(row["REF_ARG_COLUMN_NAMES"] or "[]"))
        column, kind = row["REF_COLUMN_NAME"], str(row["POLICY_KIND"])
        columns = (*([column] if column else []), *arguments)
        listed = ", ".join(map(identifier, columns))
        clause = ""
        if kind == "MASKING_POLICY":
            using = f" USING ({listed})" if arguments else ""
            clause = f"ALTER TABLE {{table}} ALTER COLUMN {identifier(column)} SET MASKING POLICY {policy}{using}"
        elif kind == "ROW_ACCESS_POLICY":
            clause = f"ALTER TABLE {{table}} ADD ROW ACCESS POLICY {policy} ON ({listed})"
        on = f" on {', '.join(columns)}" if columns else ""
        yield Attached(f"the {kind.lower().replace('_', ' ')} {policy}{on}", columns, clause, typed=True)


def _policies_of(target: Snowflake, table: TargetTable) -> str:
    return (
        "SELECT POLICY_DB, POLICY_SCHEMA, POLICY_NAME, POLICY_KIND, REF_COLUMN_NAME, REF_ARG_COLUMN_NAMES, TAG_NAME "
        f"FROM TABLE({identifier(target.database)}.INFORMATION_SCHEMA.POLICY_REFERENCES("
        f"REF_ENTITY_NAME => {literal(_full(target, table))}, REF_ENTITY_DOMAIN => 'TABLE'))"
    )


def _tags(session: Session, target: Snowflake, table: TargetTable) -> Iterator[Attached]:
    """https://docs.snowflake.com/en/sql-reference/functions/tag_references, …/tag_references_all_columns"""
    for function, level in (("TAG_REFERENCES", "TABLE"), ("TAG_REFERENCES_ALL_COLUMNS", "COLUMN")):
        asked = (
            "SELECT TAG_DATABASE, TAG_SCHEMA, TAG_NAME, TAG_VALUE, LEVEL, COLUMN_NAME "
            f"FROM TABLE({identifier(target.database)}.INFORMATION_SCHEMA.{function}({literal(_full(target, table))}, 'TABLE'))"
        )
        for row in _ask(session, asked, table):
            if row["LEVEL"] != level:
                continue  # inherited: whoever takes the place inherits it too
            tag = identifier(row["TAG_DATABASE"], row["TAG_SCHEMA"], row["TAG_NAME"])
            columns = (row["COLUMN_NAME"],) if level == "COLUMN" else ()
            of_column = "".join(f"ALTER COLUMN {identifier(column)} " for column in columns)
            clause = f"ALTER TABLE {{table}} {of_column}SET TAG {tag} = {literal(row['TAG_VALUE'])}"
            yield Attached(f"the tag {tag}{f' on {columns[0]}' if columns else ''}", columns, clause)


def _properties(session: Session, target: Snowflake, table: TargetTable) -> Iterator[Attached]:
    """https://docs.snowflake.com/en/sql-reference/sql/show-tables"""
    schema = identifier(target.database, table.schema)
    for row in _ask(session, f"SHOW TABLES IN SCHEMA {schema} STARTS WITH {literal(table.name)}", table):
        if row["name"] != table.name:
            continue
        if by := str(row.get("cluster_by") or ""):
            clause = f"ALTER TABLE {{table}} CLUSTER BY {by.removeprefix('LINEAR')}"
            named = tuple(part.replace('""', '"') for part in re.findall(r'"((?:[^"]|"")+)"', by))
            yield Attached(f"the clustering by {by}", named, clause)
        for name in ("CHANGE_TRACKING", "ENABLE_SCHEMA_EVOLUTION"):
            if str(row.get(name.lower()) or "").upper() in ("ON", "Y", "TRUE"):
                yield Attached(f"{name} = TRUE", (), f"ALTER TABLE {{table}} SET {name} = TRUE")
        if str(row.get("search_optimization") or "").upper() == "ON":
            yield Attached("the search optimization", (), "")


def _parameters(session: Session, target: Snowflake, table: TargetTable) -> Iterator[Attached]:
    """Those that are set on the table itself, such as the days of its history
    (https://docs.snowflake.com/en/sql-reference/sql/show-parameters).
    """
    for row in _ask(session, f"SHOW PARAMETERS IN TABLE {_full(target, table)}", table):
        if str(row["level"]).upper() == "TABLE":
            name, value = str(row["key"]), str(row["value"])
            said = value if re.fullmatch(r"-?\d+|true|false", value, re.IGNORECASE) else literal(value)
            yield Attached(f"{name} = {value}", (), f"ALTER TABLE {{table}} SET {name} = {said}")


def _dependents(session: Session, target: Snowflake, table: TargetTable) -> Iterator[Attached]:
    """What reads the table by itself and not by its name, or would have to be made again: it goes with the former table
    (https://docs.snowflake.com/en/user-guide/streams-intro#data-retention-period-and-staleness,
    …/views-materialized#how-materialized-views-are-affected-by-changes-to-base-tables, …/dynamic-tables-refresh).
    """
    place = (target.database, *table)

    def is_it(named: str) -> bool:
        return named in (".".join(place), identifier(*place))

    for row in _ask(session, "SHOW STREAMS IN ACCOUNT", table):
        if any(
            is_it(named.strip()) for named in (str(row["table_name"]), *str(row.get("base_tables") or "").split(","))
        ):
            yield Attached(f"the stream {_shown(row)}", (), "")
    for row in _ask(session, "SHOW MATERIALIZED VIEWS IN ACCOUNT", table):
        if tuple(row[f"source_{part}_name"] for part in ("database", "schema", "table")) == place:
            yield Attached(f"the materialized view {_shown(row)}", (), "")
    for row in _ask(session, "SHOW DYNAMIC TABLES IN ACCOUNT", table):
        if re.search(rf"(?<![\w$]){re.escape(table.name)}(?![\w$])", str(row["text"])):
            yield Attached(f"the dynamic table {_shown(row)}, whose query names it", (), "")


def _shown(row: Mapping[str, Any]) -> str:
    return f"{row['database_name']}.{row['schema_name']}.{row['name']}"


def _ask(session: Session, sql: str, table: TargetTable) -> list[dict[str, Any]]:
    try:
        return session.execute(sql, doing=f"ask what is attached to {table}")
    except LoadError as error:
        if _NOT_OF_THIS_EDITION in error.why:
            return []
        raise TargetRefused(
            error.what, on=error.on, why=error.why,
            next_step="let the role own the table or see its grants, policies and tags: nothing is replaced that may lose them",
        ) from None  # fmt: skip


def _full(target: Snowflake, table: TargetTable) -> str:
    return identifier(target.database, *table)


def _article(kind: str) -> str:
    return "an" if kind[:1] in "aeiou" else "a"
