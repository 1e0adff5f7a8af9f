"""The Snowflake stand-in, wrong in one way: `python -m wrong_standin CONFIGURATION`, the way in a file `fault` beside that.

Runs in the stand-in's environment. The fault is read anew at each statement, so that one process serves every test.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from sqlglot import exp

from helpers.local.servers import snowflake_standin
from helpers.local.standin import (
    alterations,
    ambiguous,
    attached,
    expressions,
    keys,
    loading,
    macros,
    merging,
    notes,
    statements,
    tables,
    wire,
)
from helpers.local.standin.parquet_columns import ParquetFormat
from helpers.local.standin.session import Session

FAULT = Path(sys.argv[1]).parent / "fault"

OF_A_TYPE: dict[str, tuple[str, str]] = {
    # What COPY does to a value of a type that the target's column has.
    "NULL_IF is its default": ("VARCHAR", "nullif({v}, '\\N')"),
    "an empty text is NULL": ("VARCHAR", "nullif({v}, '')"),
    "TRIM_SPACE": ("VARCHAR", "trim({v})"),
    "characters beyond the first plane are replaced": ("VARCHAR", "regexp_replace({v}, '[\\x{{10000}}-\\x{{10FFFF}}]', '\ufffd', 'g')"),
    "texts are normalized": ("VARCHAR", "nfc_normalize({v})"),
    "texts end at 8 MiB": ("VARCHAR", "left({v}, 8388608)"),
    "timestamps have milliseconds": ("TIMESTAMP", "date_trunc('milliseconds', {v})"),
    "instants are shifted by a zone": ("TIMESTAMP WITH TIME ZONE", "{v} + interval 1 hour"),
    "an hour that a clock has twice is one": ("TIMESTAMP WITH TIME ZONE", "(({v} AT TIME ZONE 'America/New_York') AT TIME ZONE 'America/New_York')"),
    "dates before 1582 are Julian": ("DATE", "case when {v} < date '1582-10-15' then ({v} - interval 10 day)::date else {v} end"),
    "floats have 15 digits": ("DOUBLE", "case when isfinite({v}) then format('{{:.15g}}', {v})::double else {v} end"),
    "denormals are flushed to 0": ("DOUBLE", "case when abs({v}) < 2.2250738585072014e-308 then 0 else {v} end"),
    "decimals pass through a double": ("DECIMAL", "{v}::double"),
    "BINARY is read as text": ("BLOB", "hex({v})::blob"),
}  # fmt: skip

NAMES_FOLD, ROWS_SKIPPED = "names fold, and no column matches", "rows that do not fit are skipped"
SWAP_LOSES, ROLLBACK_KEEPS = "SWAP loses what owners put on", "a rolled back transaction is kept"
LITTLE_ENDIAN, STALE = "MD5_NUMBER_LOWER64 is little-endian", "the last change is always the same"
CUT, NO_ROWS, DROP_KEEPS = "comments are cut", "CLONE copies no rows", "DROP leaves the table"
NULL_STAYS, NO_NULL = "DROP NOT NULL does nothing", "SET NOT NULL does nothing"
NO_DEFAULT, NO_REFERENCES = "defaults are lost", "foreign keys are lost"
MILLISECONDS = "results have milliseconds"
TRIMMED, MIDNIGHT = "results are trimmed", "single values have no fraction of a second"
REVERSED = "results come in another order"
CHOOSES, NO_UPDATE = "a MERGE chooses between two rows", "a MERGE updates no row"
MERGED_AT_ONCE = "a MERGE is committed at once"


def fault() -> str:
    return FAULT.read_text(encoding="utf-8") if FAULT.exists() else ""


def _wrap(owner: Any, name: str) -> Callable[[Callable[..., Any]], None]:
    def with_(replacement: Callable[..., Any]) -> None:
        former = getattr(owner, name)
        setattr(owner, name, lambda *args, **kwargs: replacement(former, *args, **kwargs))

    return with_


@_wrap(ParquetFormat, "matched")
def _matched(former: Callable[..., str], self: ParquetFormat, column: Any, stored: str) -> str:
    value = former(self, column, stored)
    if fault() == NAMES_FOLD and column.name != column.name.upper():
        return f"null::{stored}"
    kind, wrong = OF_A_TYPE.get(fault(), ("", ""))
    return f"({wrong.format(v=f'({value})')})::{stored}" if kind and stored.partition("(")[0] == kind else value


@_wrap(loading, "_insert")
def _insert(former: Callable[..., int], session: Session, parquet: Any, place: str, chosen: Any) -> int:
    rows = former(session, parquet, place, chosen)
    if fault() == ROWS_SKIPPED and rows > 1:
        session.duck.execute(f"delete from {place} where rowid = (select min(rowid) from {place})")
        return rows - 1
    return rows


@_wrap(tables, "swap")
def _swap(former: Callable[..., str], session: Session, statement: Any, other: Any) -> str:
    answer = former(session, statement, other)
    if fault() == SWAP_LOSES:
        notes.update_note(session, other, grants=[], policies=[], tags=[], attached={})
    return answer


@_wrap(notes, "last_change")
def _last_change(former: Callable[..., int], *args: Any) -> int:
    return 1 if fault() == STALE else former(*args)


@_wrap(Session, "end")
def _end(former: Callable[..., None], self: Session, how: str) -> None:
    former(self, "COMMIT" if fault() == ROLLBACK_KEEPS and not self.failed else how)


@_wrap(tables, "column_comment")
def _column_comment(former: Callable[..., Any], column: Any) -> Any:
    said = former(column)
    return said[:3] if fault() == CUT and said else said


@_wrap(tables, "_comment_on_column")
def _comment_on_column(former: Callable[..., None], session: Session, table: Any, column: str, said: str) -> None:
    former(session, table, column, said[:3] if fault() == CUT else said)


@_wrap(alterations, "clone")
def _clone(former: Callable[..., str], session: Session, statement: Any) -> str:
    answer = former(session, statement)
    if fault() == NO_ROWS:
        session.duck.execute(f"delete from {session.place(*session.qualified(statement.this))}")
    return answer


@_wrap(tables, "drop_table")
def _drop_table(former: Callable[..., str], session: Session, statement: Any) -> str:
    (table,) = statement.args["tables"]
    place = session.qualified(table)
    if fault() == DROP_KEEPS and place not in session.temporary and place[2] == "dropped":
        return f"{place[2]} successfully dropped."
    return former(session, statement)


@_wrap(alterations, "_build")
def _build(
    former: Callable[..., None], session: Session, place: Any, target: Any, columns: Any, *more: Any, **named: Any
) -> None:
    changed = []
    before = {column.name: column for column in alterations._read(session, _table(place))}
    for column in columns:
        was = before.get(column.name)
        if was and fault() == NULL_STAYS:
            column = dataclasses.replace(column, nullable=column.nullable and was.nullable)
        if was and fault() == NO_NULL:
            column = dataclasses.replace(column, nullable=column.nullable or was.nullable)
        changed.append(column)
    former(session, place, target, changed, *more, **named)


def _table(place: tuple[str, str, str]) -> exp.Table:
    return exp.Table(
        **{k: exp.to_identifier(v, quoted=True) for k, v in zip(("catalog", "db", "this"), place, strict=True)}
    )


@_wrap(tables, "_definition")
def _definition(former: Callable[..., str], session: Session, column: Any, key: bool, collation: str) -> str:
    if fault() == NO_DEFAULT:
        column = column.copy()
        column.set(
            "constraints", [c for c in column.constraints if not isinstance(c.kind, exp.DefaultColumnConstraint)]
        )
    return former(session, column, key, collation)


@_wrap(keys, "add")
def _add(former: Callable[..., str], session: Session, table: Any, key: Any) -> str:
    if fault() == NO_REFERENCES and key.find(exp.ForeignKey):
        return "Statement executed successfully."
    return former(session, table, key)


@_wrap(wire, "_wire_array")
def _wire_array(former: Callable[..., Any], column: Any, kind: str) -> Any:
    if fault() == TRIMMED and kind == "text" and pa.types.is_string(column.type):
        column = pc.utf8_rtrim_whitespace(column)
    if fault() == MILLISECONDS and kind == "text" and pa.types.is_string(column.type):
        column = pc.replace_substring_regex(column, r"(\d{2}:\d{2}:\d{2}\.\d{3})\d+$", r"\1")
    if fault() == MIDNIGHT and kind == "text" and pa.types.is_string(column.type):
        column = pc.replace_substring_regex(column, r"^(\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}\.)\d+$", r"\1000")
    return former(column, kind)


@_wrap(ambiguous, "refuse")
def _refuse(former: Callable[..., None], session: Session, statement: Any) -> None:
    if fault() != CHOOSES or not isinstance(statement, exp.Merge):
        former(session, statement)


@_wrap(merging, "merge")
def _merge(former: Callable[..., Any], session: Session, statement: Any) -> Any:
    if fault() == CHOOSES:
        source = statement.args["using"]
        one_each = exp.select("*").from_(source.this.subquery("rows")).distinct(exp.column("C0", quoted=True))
        source.set("this", one_each)
    if fault() == NO_UPDATE:
        for when in statement.args["whens"].expressions:
            if isinstance(then := when.args["then"], exp.Update):
                for each in then.expressions:
                    each.set("expression", exp.column(each.this.name, table=statement.this.alias_or_name, quoted=True))
    answer = former(session, statement)
    if fault() == MERGED_AT_ONCE:
        session.end("COMMIT")
        session.begin()
    return answer


to_wire = wire.to_wire


def _to_wire(table: Any, columns: Any) -> Any:
    if fault() == REVERSED and table.num_rows:
        table = table.take(list(range(table.num_rows - 1, -1, -1)))
    return to_wire(table, columns)


wire.to_wire = _to_wire


_md5 = "_md5_lower(x) as concat('0x', right(md5(x), 16))::ubigint"
_wrong_md5 = "_wrong_md5_lower(x) as (md5_number_lower(x))::ubigint"
macros.MACROS = (*macros.MACROS, _wrong_md5)


@_wrap(expressions, "_digest")
def _digest(former: Callable[..., Any], node: Any) -> Any:
    found = former(node)
    if fault() == LITTLE_ENDIAN and found is not node and str(found.this) == "_md5_lower":
        return expressions._call("_wrong_md5_lower", node.this)
    return found


assert attached and statements  # what the stand-in's modules took from one another at import stays theirs

if __name__ == "__main__":
    snowflake_standin.main(sys.argv[1:])
