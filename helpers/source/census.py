"""Counts the values that would change on their way, before anything moves.

One scan a table answers every question about every column. Only where a value is refused does a second query fetch up to
three examples, and never the value itself where that is what is too long.
"""

from __future__ import annotations

from collections.abc import Mapping as MappingType
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Literal

from helpers.model import limits as limiting
from helpers.model import policies as deciding
from helpers.model import types
from helpers.model.catalog import Column, Table
from helpers.model.limits import Limit
from helpers.model.policies import Chosen, check_policies
from helpers.model.types import Mapping
from helpers.platforms.postgres import literal, value
from helpers.settings import Policy
from helpers.source import census_scan as scanning
from helpers.source.census_scan import SELECTED, Answer, Answers, Question, Questions
from helpers.source.readers import Range

Verdict = Literal["exact", "re-encoded", "refused"]

EXAMPLES = 3
SHOWN = 100
"""Characters of a value, and of each part of its key, that an example shows."""


@dataclass(frozen=True)
class Example:
    """One value that is refused.

    Attributes:
        row: the key's columns as text; without a key, where the row lies ("ctid").
        value: as PostgreSQL prints it, cut after 100 characters; None where it is too long to be fetched.
        bytes: how long such a value is.
    """

    row: dict[str, str]
    value: str | None
    bytes: int | None = None

    def __str__(self) -> str:
        at = ", ".join(f"{name}={text}" for name, text in self.row.items()) or "a row without a key"
        return f"{at}: {self.value}" if self.bytes is None else f"{at}: {self.bytes:,} bytes"


@dataclass(frozen=True)
class Field:
    """One column of the staged file and of the target.

    Attributes:
        flag_of: for a flag column: the column whose original text it keeps; `{c}` in its mapping is that column.
    """

    name: str
    mapping: Mapping
    not_null: bool
    comment: str | None
    flag_of: str | None = None


@dataclass(frozen=True)
class ColumnCensus:
    """What one column holds, and how it will travel.

    Attributes:
        refusals: reason → how many values it concerns; empty unless the verdict is "refused".
        policy: the policy of migration.toml that applies here.
        touched: values that the policy made travel in another way.
        examples: reason → up to three of the values that are refused.
        information: what → how many values keep it only because they travel as text.
        flag: the flag column that the policy adds.
        cures: what helps against the refusals.
    """

    column: Column
    verdict: Verdict
    mapping: Mapping
    refusals: dict[str, int] = field(default_factory=dict)
    policy: str | None = None
    touched: int = 0
    examples: dict[str, tuple[Example, ...]] = field(default_factory=dict)
    information: dict[str, int] = field(default_factory=dict)
    flag: Field | None = None
    cures: tuple[str, ...] = ()

    @property
    def fields(self) -> tuple[Field, ...]:
        """The column as it is staged, and its flag column where a policy adds one."""
        not_null = self.column.not_null and self.policy != "null+flag"
        own = Field(self.column.name, self.mapping, not_null, self.column.comment)
        return (own, self.flag) if self.flag else (own,)


@dataclass(frozen=True)
class TableCensus:
    """Every row of one table, counted once."""

    table: Table
    rows: int
    columns: tuple[ColumnCensus, ...]
    refusals: tuple[str, ...] = ()
    """Why the table as a whole cannot be moved."""

    @property
    def fields(self) -> tuple[Field, ...]:
        """The columns of the staged file and of the target, in their order."""
        return tuple(f for column in self.columns for f in column.fields)

    @property
    def cures(self) -> tuple[str, ...]:
        """What helps against what is refused, each once."""
        of_table = (_WHOLE_TABLE,) if self.refusals else ()
        return tuple(dict.fromkeys((*of_table, *(cure for column in self.columns for cure in column.cures))))

    @property
    def refused(self) -> tuple[str, ...]:
        """One sentence for each thing that stands in the way."""
        columns = (
            f"{self.table}.{c.column.name} ({c.column.type.sql}): {f'{count:,} × ' if count else ''}{reason}"
            + (f" (for example {'; '.join(str(e) for e in c.examples[reason])})" if c.examples.get(reason) else "")
            for c in self.columns
            for reason, count in c.refusals.items()
        )
        return (*self.refusals, *columns)


_WHOLE_TABLE = "no policy helps a whole table: leave it out, or change it (DETACH a foreign partition and move its rows from where they live)"


def take_census(cursor: Any, table: Table, policies: MappingType[str, Policy]) -> TableCensus:
    """Scans `table` once, in the cursor's snapshot.

    Args:
        cursor: a psycopg2 cursor.
        table: from the catalog of the same snapshot.
        policies: "schema.table.column", "schema.table.*" or a type's name → policy, from `migration.toml`.

    Raises:
        SettingsError: a policy that cannot be meant for the column it names.
        SourceRefused: see `census_scan.scan`.
    """
    if refused := refused_whole(table):
        return refused
    questions = scanning.ask(cursor, table, policies)
    return judge(cursor, questions, scanning.scan(cursor, questions))


def judge(cursor: Any, questions: Questions, answers: Answers) -> TableCensus:
    """What the answers of a whole table's scan mean; examples of what is refused are fetched with `cursor`.

    Raises:
        SettingsError, SourceRefused: see `take_census`.
    """
    table = questions.table
    columns = []
    taken = [column.name for column in table.columns]
    with scanning.reading(table):
        for question, answer in zip(questions.columns, answers.columns, strict=True):
            column = _judge(cursor, table, question, answer, answers.rows, taken)
            taken += [column.flag.name] if column.flag else []
            columns.append(column)
    census = TableCensus(table, answers.rows, tuple(columns))
    if len(census.fields) > SELECTED:
        why = f"{table}: {len(census.fields):,} columns with the flag columns, and PostgreSQL selects {SELECTED:,} at once"
        return replace(census, refusals=(why,))
    return census


def refused_whole(table: Table) -> TableCensus | None:
    """The census of a table of which no row is read: some of them live on another server, which no snapshot of this one shows."""
    foreign = tuple(f"{table}: the partition {h.schema}.{h.name} is a foreign table" for h in table.heaps if h.foreign)
    if not foreign:
        return None
    mapped = ((c, types.mapping(c) if types.known(c.type) else types.as_text()) for c in table.columns)
    return TableCensus(table, 0, tuple(ColumnCensus(c, "exact", mapping) for c, mapping in mapped), foreign)


def _judge(cursor: Any, table: Table, asked: Question, answer: Answer, rows: int, taken: list[str]) -> ColumnCensus:
    column, policy = asked.column, asked.policy
    # The last count, of values of an unknown type, belongs to none of these.
    counts = dict(zip((*asked.limits, *asked.information), answer.counts, strict=False))
    information = {reason: counts[reason] for reason in asked.information if counts[reason]}
    found = {limit: counts[limit] for limit in asked.limits}
    if policy is not None and policy.constant is None:
        return _judge_as_text(cursor, table, asked, found, information, answer.counts[-1] if asked.unknown else 0)
    if asked.unknown:
        key = asked.unknown if asked.unknown == column.type.name else f"{table}.{column.name}"
        why = (
            f"a type without a mapping, {asked.unknown} "
            f'(policies."{key}" = "text" lets it through as PostgreSQL prints it)'
        )
        named = str(policy) if policy else None
        return ColumnCensus(column, "refused", types.as_text(), {why: rows}, named, cures=(limiting.BY_POLICY,))
    scale = 0
    if asked.measured:
        scale, together = _scale(answer.maxima, policy)
        if together and (count := _count(cursor, table, column, together)):
            found[together] = count
    mapping = types.mapping(column, scale=scale)
    if policy is None:
        return _verdict(cursor, table, ColumnCensus(column, "exact", mapping, information=information), found)
    return _judge_masked(cursor, table, asked, policy, mapping, found, information, taken, rows)


def _judge_as_text(
    cursor: Any, table: Table, asked: Question, found: dict[Limit, int], information: dict[str, int], unknown: int
) -> ColumnCensus:
    touched = unknown or sum(count for limit, count in found.items() if limit.as_text)
    census = ColumnCensus(
        asked.column, "exact", types.as_text(), policy="text", touched=touched, information=information
    )
    binary = asked.column.type.name == "bytea" and asked.column.type.kind == "b"
    left = {limit: n for limit, n in found.items() if not limit.as_text and not (binary and _limits_bytes(limit))}
    return _verdict(cursor, table, census, left)


def _limits_bytes(limit: Limit) -> bool:
    """Whether a limit concerns bytea itself and not its text, which is twice as long."""
    return limit.length == "octet_length({c})"


def _judge_masked(
    cursor: Any,
    table: Table,
    asked: Question,
    policy: Chosen,
    mapping: Mapping,
    found: dict[Limit, int],
    information: dict[str, int],
    taken: list[str],
    rows: int,
) -> ColumnCensus:
    column = asked.column
    condition = " OR ".join(f"({limit.condition})" for limit in found if limit.masked)
    name = deciding.flag_name(column.name, taken)
    comment = f"PostgreSQL's text of what {column.name} held, where no target holds it"
    census = ColumnCensus(
        column,
        "exact",
        deciding.masked(mapping, condition, policy.constant or "NULL"),
        policy=str(policy),
        touched=sum(count for limit, count in found.items() if limit.masked),
        information=information,
        flag=Field(name, deciding.flag(condition), False, comment, flag_of=column.name),
    )
    if column.name in table.key:
        why = f"the policy {policy} on a column of the key, where two rows could become one"
        return replace(census, verdict="refused", refusals={why: rows}, cures=("take that policy off the key",))
    return _verdict(cursor, table, census, {limit: n for limit, n in found.items() if not limit.masked})


def _verdict(cursor: Any, table: Table, census: ColumnCensus, found: dict[Limit, int]) -> ColumnCensus:
    refused = {limit: count for limit, count in found.items() if count}
    if not refused:
        return replace(census, verdict="re-encoded" if census.mapping.note else "exact")
    return replace(
        census,
        verdict="refused",
        refusals={limit.reason: count for limit, count in refused.items()},
        cures=tuple(dict.fromkeys(limit.cure for limit in refused)),
        examples={limit.reason: _examples(cursor, table, census.column, limit) for limit in refused},
    )


def _scale(measured: tuple[Decimal | None, ...], policy: Chosen | None) -> tuple[int, Limit | None]:
    """Digits after the point for a numeric without a usable limit, and what is too fine where not all fit together."""
    places, largest = int(measured[0] or 0), measured[1] or Decimal(0)
    whole = len(str(int(largest))) if largest >= 1 else 0
    if policy is not None:
        places, whole = max(places, policy.places), max(whole, policy.whole)
    room = min(types.DECIMAL_DIGITS - whole, types.DECIMAL_SCALE)
    if policy is not None and policy.places > room:
        raise deciding.no_room(policy, room)
    # Places up to the spare ones were not measured: where not even those have room, values have to be counted again.
    if places > room or room < types.SPARE_SCALE:
        return room, limiting.too_fine(room)
    return max(places, types.SPARE_SCALE), None


def _count(cursor: Any, table: Table, column: Column, limit: Limit) -> int:
    condition = limit.condition.format(c=column.sql)
    return int(value(cursor, f"SELECT count(*) FROM {Range(table.sql, where=table.condition).rows(f'({condition})')}"))


def _examples(cursor: Any, table: Table, column: Column, limit: Limit) -> tuple[Example, ...]:
    def cut(sql: str) -> str:
        text = f"left({sql}::text, {SHOWN})"
        if cursor.connection.get_parameter_status("server_encoding") == "SQL_ASCII":
            return f"regexp_replace({text}, '[^\\x01-\\x7f]', '?', 'g')"
        return text

    quoted = column.sql
    shown_as = {c.name: c.sql for c in table.columns}
    # A key that is itself too long is not fetched either.
    key = [name for name in table.key if name != column.name or limit.length is None]
    where = [(name, cut(shown_as[name])) for name in key]
    if not table.key and table.heaps:
        where = [("table", "tableoid::pg_catalog.regclass::text")] if table.partitioned else []
        where += [("ctid", "ctid::text")]
    shown = limit.length.format(c=quoted) if limit.length else cut(quoted)
    named = ", ".join(f"{literal(name)}, {sql}" for name, sql in where)
    cursor.execute(
        f"SELECT json_build_object({named}), {shown} FROM "
        f"{Range(table.sql, where=table.condition).rows(f'({limit.condition.format(c=quoted)})')} LIMIT {EXAMPLES}"
    )
    return tuple(
        Example(row, None, int(value)) if limit.length else Example(row, str(value)) for row, value in cursor.fetchall()
    )


__all__ = ["ColumnCensus", "Example", "Field", "TableCensus", "check_policies", "take_census"]
