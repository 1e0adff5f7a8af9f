"""From the texts of a slot to the staged form of a copy: PostgreSQL itself evaluates the expressions that it evaluated for the copy.

So masks, policies, filters, generated columns and every type's form are the copy's. A value that the copy would have refused, one that
its staged type does not hold, and a row that cannot be told stop their table, with the row's key; nothing of it is staged then.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import duckdb

from helpers import digests
from helpers.digests.canonical import kind_of
from helpers.errors import SourceFailed, StageError
from helpers.export.worker import ROW_GROUP, null_counts
from helpers.model import limits as limiting
from helpers.model.batch import BatchColumns, ChangedTable, batch_columns, key_columns
from helpers.model.catalog import Table
from helpers.model.limits import Limit
from helpers.model.manifest import StagedColumn, StagedFile, StagedTable
from helpers.platforms import duck, postgres
from helpers.platforms.faults import duck as faults
from helpers.platforms.postgres import identifier, literal
from helpers.platforms.s3 import Bucket
from helpers.platforms.uploads import HashedUploads
from helpers.settings import Policy, Source
from helpers.source import census_scan
from helpers.sync.changes import UNCHANGED, Relation, Value
from helpers.sync.collapse import Collapsed, Key, Live

CHUNK_ROWS, CHUNK_CHARACTERS = 20_000, 4_000_000
"""Of one statement: its texts stand in it, and are parsed twice."""

_GENERATED = "GENERATED ALWAYS AS ("


class CannotBeStaged(ValueError):  # noqa: N818 - says what is so
    """A row that cannot travel as the copy's did; the words say which and why."""


@dataclass(frozen=True)
class Refusals:
    """What the copy's census would have refused of a table, asked of each row.

    Attributes:
        reasons: for people, each with the name of its column.
        conditions: true of a value that is refused, over the table's columns.
    """

    reasons: tuple[str, ...]
    conditions: tuple[str, ...]


def refusals(cursor: Any, table: Table, staged: StagedTable, policies: dict[str, Policy]) -> Refusals:
    """What is refused of the rows of a table that is followed.

    Args:
        cursor: of psycopg2 on the source.
        table: from its catalog.
        staged: as it was copied: its types are settled.
        policies: of the profile's export.
    """
    by_source = {column.source: column for column in staged.columns if column.flag_of is None}
    reasons, conditions = [], []
    for question in census_scan.ask(cursor, table, policies).columns:
        column = question.column
        if column.name not in by_source:
            continue
        _, _, places = kind_of(by_source[column.name].parquet)
        limits = [*question.limits, *([limiting.too_fine(places)] if question.measured else [])]
        for limit in limits:
            if _is_refused(limit, question):
                reasons.append(f"{column.name}: {limit.reason}")
                conditions.append(limit.condition.format(c=column.sql))
    return Refusals(tuple(reasons), tuple(conditions))


def _is_refused(limit: Limit, question: census_scan.Question) -> bool:
    if question.policy is None:
        return True
    if question.policy.constant is None:
        of_bytes = question.column.type.name == "bytea" and limit.length == "octet_length({c})"
        return not limit.as_text and not of_bytes
    return not limit.masked


@dataclass(frozen=True)
class _Type:
    """How texts of a type become values: as elements of an array's literal, or each by a cast."""

    array: str | None
    cast: str


class Converter:
    """Stages the batches of one sync; one at a time.

    Args:
        source: where the expressions are evaluated.
        bucket: where the files go.
    """

    def __init__(self, source: Source, bucket: Bucket) -> None:
        self._source, self._bucket = source, bucket
        self._uploads = HashedUploads(bucket)
        self._types: dict[tuple[int, int], _Type] = {}
        self._connection: duckdb.DuckDBPyConnection | None = None

    @contextmanager
    def batch(self) -> Iterator[None]:
        """One transaction of the source, for the length of the block: between batches nothing holds vacuum back there.

        Raises:
            ConnectionFailed, SessionRefused: as `postgres.connect`.
        """
        try:
            self._open()
            yield
        except duckdb.Error as error:
            where = postgres.address(self._source)
            raise faults.told(error, "convert changes", on=where, kind=SourceFailed) from None
        finally:
            self._close()

    def _open(self) -> None:
        self._connection = duck.connect(memory="256MB")
        self._connection.register_filesystem(self._uploads)
        duck.attach_postgres(self._connection, self._source, application="migration-runbooks sync")

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            duck.close(connection)

    def stage(
        self, staged: StagedTable, relation: Relation, found: Collapsed, refused: Refusals, folder: str,
        added: Collection[str] = (),
    ) -> ChangedTable:  # fmt: skip
        """Writes what a table's changes come to as one Parquet file.

        Args:
            staged: the table as it was copied, with its key.
            relation: that its rows were described by.
            found: its changes.
            refused: what its rows may not have.
            folder: where the file goes, relative to the stage, ending in "/".
            added: columns that the table got since its copy: changes from before it have none of them, and NULL there.

        Raises:
            CannotBeStaged: a row cannot travel, so none of the table does.
            SourceFailed, ConnectionFailed, StageError: source or stage do not answer; a retry may help.
        """
        changed = ChangedTable(schema_=staged.schema_, name=staged.name, truncated=found.truncated)
        rows: list[tuple[Key, Live | None]] = [*found.live.items(), *((key, None) for key in found.deleted)]
        if not rows:
            return changed
        form = _Form.of(self, staged, relation, [live for _, live in rows if live], refused, added)
        connection = self._opened()
        table = "staged_changes"
        connection.execute(f"CREATE OR REPLACE TEMP TABLE {table} AS {form.empty()}")
        for chunk in _chunks(rows):
            self._insert(table, form, chunk)
        if refused_rows := connection.execute(form.refused(table)).fetchall():
            number, *key = refused_rows[0]
            more = f", and {len(refused_rows) - 1:,} other rows" if len(refused_rows) > 1 else ""
            raise CannotBeStaged(f"{form.named(key)}{more}: {refused.reasons[number]}")
        joined = self._join_equal_keys(connection, table, form)
        file = self._write(connection, table, form, f"{folder}{_file_name(staged)}")
        ((written, deleted),) = connection.execute(
            f"SELECT count(*) FILTER (NOT {form.gone}), count(*) FILTER ({form.gone}) FROM {table}"
        ).fetchall()
        connection.execute(f"DROP TABLE {table}")
        known = None if staged.where or joined else sum(key in found.gone for key, _ in rows)
        return changed.model_copy(
            update={
                "file": file, "written": written, "deleted": deleted, "unchanged": tuple(form.unchanged), "known": known,
            }
        )  # fmt: skip

    def type_of(self, oid: int, modifier: int) -> _Type:
        """How PostgreSQL reads texts of a type; a domain's are those of the type below it, whose values they are."""
        if (oid, modifier) not in self._types:
            query = _TYPE.format(oid=oid, modifier=modifier)
            ((array, cast),) = self._opened().execute(f"FROM postgres_query('source', {literal(query)})").fetchall()
            self._types[oid, modifier] = _Type(array, cast)
        return self._types[oid, modifier]

    def _opened(self) -> duckdb.DuckDBPyConnection:
        assert self._connection is not None, "within `batch` alone"
        return self._connection

    def _insert(self, table: str, form: _Form, rows: Sequence[tuple[Key, Live | None]]) -> None:
        query = form.query(rows)
        try:
            self._opened().execute(
                f"INSERT INTO {table} SELECT {form.casts()} FROM postgres_query('source', {literal(query)})"
            )
        except duckdb.Error as error:
            if not _is_of_a_value(error):
                raise
            # The server ends a transaction in which something failed; other tables go on in another.
            self._close()
            self._open()
            if len(rows) > 1:
                for half in (rows[: len(rows) // 2], rows[len(rows) // 2 :]):
                    self._opened().execute(f"CREATE OR REPLACE TEMP TABLE {table} AS {form.empty()}")
                    self._insert(table, form, half)
            # The server's words may have the value itself, which a mask is there to hide.
            hidden = any(column.mask for column in form.staged.columns)
            why = "a value that cannot be staged" if hidden else faults.said(error)[:300]
            raise CannotBeStaged(f"{form.named(rows[0][0])}: {why}") from None

    def _join_equal_keys(self, connection: duckdb.DuckDBPyConnection, table: str, form: _Form) -> int:
        """Takes a deleted key out where a row has one that is the same in the target: 1.0 became 1.00."""
        alike = " AND ".join(f"w.{identifier(field)} = {table}.{identifier(field)}" for field in form.keys)
        ((count,),) = connection.execute(
            f"DELETE FROM {table} WHERE {form.gone} AND EXISTS (SELECT 1 FROM {table} w WHERE NOT w.{form.gone} AND {alike})"
        ).fetchall()
        twice = connection.execute(
            f"SELECT {', '.join(f'{identifier(field)}::VARCHAR' for field in form.keys)} FROM {table} GROUP BY ALL HAVING count(*) > 1 LIMIT 1"
        ).fetchone()
        if twice:
            raise CannotBeStaged(f"{form.named(twice)}: two rows have keys that are one in the target")
        return int(count)

    def _write(self, connection: duckdb.DuckDBPyConnection, table: str, form: _Form, path: str) -> StagedFile:
        try:
            answer = connection.execute(
                f"COPY (SELECT {', '.join(map(identifier, form.written))} FROM {table}) TO {literal(f'upload://{path}')} "
                f"(FORMAT parquet, COMPRESSION zstd, {ROW_GROUP}, RETURN_STATS)"
            )
            _, count, *_, statistics, _ = answer.fetchall()[0]
        except (duckdb.Error, OSError) as error:
            raise faults.told(error, "stage changes", on=f"{self._bucket.location}{path}", kind=StageError) from None
        upload = self._uploads.uploads.pop(path)
        nulls = null_counts(form.written, statistics)
        return StagedFile(path=path, rows=count, bytes=upload.bytes, sha256=upload.sha256, nulls=nulls)


@dataclass(frozen=True)
class _Form:
    """What the rows of one table and batch are converted by."""

    staged: StagedTable
    relation: Relation
    types: tuple[_Type, ...]
    keys: dict[str, StagedColumn]
    added: BatchColumns
    unchanged: tuple[str, ...]
    computed: tuple[tuple[str, str], ...]
    refusing: Refusals

    @classmethod
    def of(
        cls, converter: Converter, staged: StagedTable, relation: Relation, live: Sequence[Live], refused: Refusals,
        added: Collection[str],
    ) -> _Form:  # fmt: skip
        types = tuple(converter.type_of(column.type_oid, column.typmod) for column in relation.columns)
        sources = {name for row in live for name, value in row.values.items() if value is UNCHANGED}
        fields = tuple(column.field for column in staged.columns if column.source in sources)
        sent = {column.name for column in relation.columns}
        computed: list[tuple[str, str]] = []
        for column in staged.columns:
            if column.source in sent or column.source in dict(computed):
                continue
            if column.source in added:
                computed.append((column.source, f"NULL::{column.postgres}"))
                continue
            if not (column.default or "").startswith(_GENERATED):
                raise CannotBeStaged(f"the stream does not send the column {column.source}")
            if sources:
                raise CannotBeStaged(
                    f"{column.source} is computed from columns that an UPDATE leaves as they are and does not tell: "
                    "ALTER TABLE … REPLICA IDENTITY FULL"
                )
            computed.append((column.source, (column.default or "")[len(_GENERATED) - 1 :].rpartition(")")[0] + ")"))
        keys = {column.field: column for column in key_columns(staged)}
        return cls(staged, relation, types, keys, batch_columns(staged, fields), fields, tuple(computed), refused)

    @property
    def gone(self) -> str:
        return identifier(self.added.deleted)

    @property
    def written(self) -> tuple[str, ...]:
        """The columns of the file."""
        fields = (column.field for column in self.staged.columns)
        return (*fields, self.added.deleted, *self.added.origin.values(), *self.added.unchanged.values())

    def named(self, key: Sequence[Any]) -> str:
        """A row as people are told of it."""
        shown = zip(self.keys.values(), key, strict=False)
        return ", ".join(f"{c.name}={'a masked value' if c.mask else str(value)[:100]}" for c, value in shown)

    def empty(self) -> str:
        """The query of the rows' table, without rows."""
        columns = [
            *((column.field, column.parquet) for column in self.staged.columns),
            (self.added.deleted, "BOOLEAN"),
            *((name, self.keys[field].parquet) for field, name in self.added.origin.items()),
            *((name, "BOOLEAN") for name in self.added.unchanged.values()),
            ("refused because", "INTEGER"),
        ]
        return (
            f"SELECT {', '.join(f'CAST(NULL AS {kind}) AS {identifier(name)}' for name, kind in columns)} WHERE false"
        )

    def refused(self, table: str) -> str:
        """The query of the refused rows: the number of the reason, and the key."""
        keys = ", ".join(f"{identifier(field)}::VARCHAR" for field in self.keys)
        return f'SELECT "refused because", {keys} FROM {table} WHERE "refused because" IS NOT NULL'

    def query(self, rows: Sequence[tuple[Key, Live | None]]) -> str:
        """The query that the source answers: c0, c1 … of the staged columns, k0 … of the origin, whether it is gone, and the rest."""
        names = [column.name for column in self.relation.columns]
        texts: list[list[Value]] = [
            [self._value(name, key, live) for key, live in rows] for name in names
        ]  # fmt: skip
        flags = [[live is None for _, live in rows]]
        origins: list[list[Value]] = []
        for position in range(len(self.staged.key)):
            origins.append([live.origin[position] if live and live.origin else None for _, live in rows])
        by_name = dict(zip(names, self.types, strict=True))
        arrays, selected = [], []
        for number, (name, values) in enumerate(zip(names, texts, strict=True)):
            arrays.append(_array(values, self.types[number]))
            selected.append(f"{_cast(f'u.a{number}', self.types[number])} AS {identifier(name)}")
        for number, (name, values) in enumerate(zip(self.staged.key, origins, strict=True)):
            arrays.append(_array(values, by_name[name]))
            selected.append(f"{_cast(f'u.o{number}', by_name[name])} AS {identifier(f'origin of the key {number}')}")
        sources = {column.field: column.source for column in self.staged.columns}
        hidden = [
            [live is not None and live.values.get(sources[field]) is UNCHANGED for _, live in rows]
            for field in self.unchanged
        ]
        for number, bits in enumerate([*flags, *hidden]):
            arrays.append(f"'{{{','.join('t' if bit else 'f' for bit in bits)}}}'::bool[]")
            selected.append(f"u.f{number} AS {identifier(f'flag {number}')}")
        aliases = [
            *(f"a{n}" for n in range(len(names))), *(f"o{n}" for n in range(len(origins))),
            *(f"f{n}" for n in range(len(flags) + len(hidden))),
        ]  # fmt: skip
        given = f"SELECT {', '.join(selected)} FROM unnest({', '.join(arrays)}) AS u ({', '.join(aliases)})"
        if self.computed:
            given = f"SELECT *, {', '.join(f'{sql} AS {identifier(name)}' for name, sql in self.computed)} FROM ({given}) AS sent"
        return self._evaluated(f"({given}) AS given", len(hidden))

    def _evaluated(self, given: str, hidden: int) -> str:
        gone = identifier("flag 0")
        if self.staged.where:
            gone = f"({gone} OR NOT coalesce(({self.staged.condition}), false))"
        values = [f"{c.read.format(c=identifier(c.source))} AS c{n}" for n, c in enumerate(self.staged.columns)]
        origins = [
            f"{column.read.format(c=identifier(f'origin of the key {n}'))} AS k{n}"
            for n, column in enumerate(self.keys.values())
        ]
        flags = [f"{identifier(f'flag {n + 1}')} AS f{n}" for n in range(hidden)]
        reasons = "".join(f" WHEN ({condition}) THEN {n}" for n, condition in enumerate(self.refusing.conditions))
        refused = f"CASE WHEN {gone} THEN NULL{reasons} END" if reasons else "NULL"
        return f"SELECT {', '.join([*values, *origins, f'{gone} AS gone', *flags, f'({refused})::int4 AS refused'])} FROM {given}"

    def casts(self) -> str:
        """From those columns to the staged ones; of what is gone nothing but the key is kept."""
        selected = []
        for n, column in enumerate(self.staged.columns):
            value = digests.cast(f"c{n}", column.parquet)
            selected.append(
                value
                if column.field in self.keys
                else f"CASE WHEN gone OR refused IS NOT NULL THEN NULL ELSE {value} END"
            )
        selected.append("gone")
        for n, column in enumerate(self.keys.values()):
            selected.append(f"CASE WHEN gone THEN NULL ELSE {digests.cast(f'k{n}', column.parquet)} END")
        selected += [f"f{n} AND NOT gone" for n in range(len(self.unchanged))]
        return ", ".join([*selected, "refused"])

    def _value(self, name: str, key: Key, live: Live | None) -> Value:
        if live is None:
            return key[self.staged.key.index(name)] if name in self.staged.key else None
        value = live.values.get(name)
        return None if value is UNCHANGED else value


def _file_name(staged: StagedTable) -> str:
    return f"{staged.schema_}.{staged.name}.parquet".replace("/", "%2F")


def _chunks(rows: Sequence[tuple[Key, Live | None]]) -> Iterator[list[tuple[Key, Live | None]]]:
    waiting = iter(rows)
    while chunk := list(islice(waiting, CHUNK_ROWS)):
        part: list[tuple[Key, Live | None]] = []
        size = 0
        for row in chunk:
            part.append(row)
            size += sum(len(v) for v in row[1].values.values() if isinstance(v, str)) if row[1] else 0
            if size >= CHUNK_CHARACTERS:
                yield part
                part, size = [], 0
        if part:
            yield part


def _array(values: Sequence[Value], kind: _Type) -> str:
    quoted = (
        "NULL" if value is None else '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"' for value in values
    )  # fmt: skip
    return f"{literal('{' + ','.join(quoted) + '}')}::{kind.array or 'text[]'}"


def _cast(text: str, kind: _Type) -> str:
    return text if kind.array else f"{text}::{kind.cast}"


_TYPE = """
WITH RECURSIVE below AS (
    SELECT {oid}::oid AS oid, {modifier}::int AS modifier
    UNION ALL SELECT t.typbasetype, t.typtypmod FROM below JOIN pg_type t ON t.oid = below.oid WHERE t.typtype = 'd'
)
SELECT CASE WHEN a.oid IS NOT NULL AND a.typdelim = ',' AND t.typtype <> 'c' THEN format_type(a.oid, b.modifier) END, format_type(t.oid, b.modifier)
FROM below b JOIN pg_type t ON t.oid = b.oid LEFT JOIN pg_type a ON a.oid = t.typarray WHERE t.typtype <> 'd'
"""
"""An array of arrays has no literal of one element each, a few types separate their elements by another mark than a comma, and unnest
makes several columns of a composite value."""


def _is_of_a_value(error: duckdb.Error) -> bool:
    """Whether a value is at fault, and neither the source's state nor the connection."""
    if digests.unfit(error) is not None:
        return True
    return faults.is_of_the_source(error) and faults.fault(error) is None
