"""How golden values that came out otherwise are told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from helpers.certify.report import Value
from helpers.finding import Finding, note, stop

SHOWN = 5
"""Values of one column that a finding shows; the report has all that the verification keeps."""

_LONGEST = 200

LOADED = "the statements that load (COPY or the view of the files, INSERT with its casts)"
READ = "the statement that computes the canonical form"

DO_NOT_TRUST = (
    "do not load into this target: its values would not be PostgreSQL's. docs/certification.md#reading-a-no says where such a difference "
    "comes from; correct that, then run the certification again"
)


def differing(
    table: str, columns: Sequence[str], said: Mapping[str, Sequence[str]], found: Mapping[str, Sequence[str]]
) -> Iterator[Value]:
    """The pieces of canonical forms that an engine computes otherwise; both sides by the row's key."""
    for row in sorted(said.keys() | found.keys()):
        golden_row, there = said.get(row), found.get(row)
        if golden_row is None or there is None:
            yield Value(
                table=table,
                row=row,
                column="the row",
                golden="there" if golden_row else None,
                found="there" if there else None,
                by=LOADED,
            )
            continue
        for column, one, other in zip(columns, golden_row, there, strict=True):
            if one != other:
                yield Value(table=table, row=row, column=column, golden=one, found=other, by=READ)


def told(wrong: Sequence[Value], name: str, rows: int) -> Iterator[Finding]:
    """A finding for the first values of each column that differ, or one that none do."""
    by_column: dict[str, list[Value]] = {}
    for value in wrong:
        by_column.setdefault(value.column, []).append(value)
    for column, values in by_column.items():
        for value in values[:SHOWN]:
            yield stop(
                f"{value.table}.{column}, row {value.row}",
                f"{_shown(value.found)}, by {value.by}",
                DO_NOT_TRUST,
                _shown(value.golden),
            )
        if len(values) > SHOWN:
            yield stop(
                f"{values[0].table}.{column}",
                f"{len(values) - SHOWN:,} further values differ: the report has them",
                DO_NOT_TRUST,
            )
    if not wrong:
        yield note(name, f"{rows:,} rows as PostgreSQL has them")


def _shown(text: str | None) -> str:
    if text is None:
        return "NULL"
    return repr(text) if len(text) <= _LONGEST else f"{text[:_LONGEST]!r}… ({len(text):,} characters)"
