"""A table's definition in the target against what the source's asks for: every drift has a name and a severity.

| finding              | severity | what                                                                                     |
|----------------------|----------|------------------------------------------------------------------------------------------|
| table-missing        | error    | no table of that name                                                                    |
| column-missing       | error    |                                                                                          |
| column-added         | error    |                                                                                          |
| column-renamed       | error    | one missing and one added column that are the same one, by what `renames` goes by        |
| columns-reordered    | warning  |                                                                                          |
| type-narrowed        | error    | fewer digits before the point, characters or digits of a second, a smaller integer       |
| precision-lost       | error    | fewer digits after the point, a float for an exact number, a date for a timestamp        |
| type-changed         | error    | another kind of values                                                                   |
| type-widened         | warning  | another type that holds every value                                                      |
| nullability-lost     | error    | NOT NULL in the source, not in the target                                                |
| nullability-added    | warning  | NOT NULL in the target alone                                                             |
| default-changed      | warning  | another constant, one in place of an expression, or only one side has any                |
| key-missing          | error    | a warning where the target does not enforce keys                                         |
| key-changed          | error    | likewise; a warning too where the same columns are a key of another kind or order        |
| key-added            | warning  | rows that the source takes may be refused                                                |
| foreign-key-missing  | warning  | it says nothing of the rows                                                              |
| foreign-key-changed  | warning  | the same columns refer to others                                                         |
| foreign-key-added    | warning  |                                                                                          |
| comment-changed      | warning  |                                                                                          |

Only an error makes a table different. What one side does not tell is never a finding: `not_compared` names it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from itertools import islice
from typing import Literal

from helpers.engines.shapes import ColumnShape, TableShape
from helpers.model import declared, defaults
from helpers.model.catalog import ForeignKey, Key
from helpers.model.declared import Ddl
from helpers.verify.report import SchemaFinding

Severity = Literal["error", "warning"]

ALIKE = 0.6
"""Share of equal letters from which two names are alike: where `difflib.get_close_matches` draws the line."""

PAIRS_LOOKED_AT = 100_000
"""Of names; only tables with hundreds of columns that the other side does not have come to more, and then the place decides."""

_OF_TYPES: dict[declared.Change, Severity] = {
    "type-narrowed": "error",
    "precision-lost": "error",
    "type-changed": "error",
    "type-widened": "warning",
}


def compare_schema(
    expected: TableShape, found: TableShape | None, *, mapping: Mapping[str, str] | None = None
) -> tuple[SchemaFinding, ...]:
    """Findings in the order of the expected columns, then of the added ones, then those of the table.

    Args:
        expected: the table that an export and load of the source as it is now would make.
        found: what the target has, or None where the table is absent.
        mapping: expected column → its name in the target, where that is another on purpose.
    """
    if found is None:
        return (SchemaFinding("table-missing", "error", None, f"{len(expected.columns)} columns", None),)
    names = counterparts(expected, found, mapping=mapping)
    pairs = [(column, names.get(column.name)) for column in expected.columns]
    return (
        *(f for column, name in pairs for f in _column_findings(column, found, name, mapping or {})),
        *(
            SchemaFinding("column-added", "error", column.name, None, column.type.text)
            for column in found.columns
            if column.name not in names.values()
        ),
        *_reordered(expected, found, names),
        *_key_findings(expected, found, names),
        *_foreign_key_findings(expected, found, names),
        *_comment_findings(None, expected.comment, found.comment),
    )


def counterparts(
    expected: TableShape, found: TableShape, *, mapping: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The columns that both sides have, whatever they are called: expected name → name in the target, in expected order.

    Their values are to be compared; every other column is a finding of `compare_schema`.
    """
    there = {column.name for column in found.columns}
    known = {c.name: (mapping or {}).get(c.name, c.name) for c in expected.columns}
    named = {name: target for name, target in known.items() if target in there}
    renamed = renames(expected, found, mapping=mapping)
    both = named | renamed
    return {column.name: both[column.name] for column in expected.columns if column.name in both}


def renames(expected: TableShape, found: TableShape, *, mapping: Mapping[str, str] | None = None) -> dict[str, str]:
    """Expected columns that the target has under another name which nobody mapped: expected name → name in the target.

    A missing and an added column are the same one where, in this order, only the case of their names differs; or their
    types agree and their names are alike; or their types agree and they stand in the same place.

    Args:
        expected: the table as it should be.
        found: the table as it is.
        mapping: expected column → its name in the target, where that is another on purpose.
    """
    known = {c.name: (mapping or {}).get(c.name, c.name) for c in expected.columns}
    there = {column.name for column in found.columns}
    missing = [column for column in expected.columns if known[column.name] not in there]
    added = [column for column in found.columns if column.name not in known.values()]
    pairs: dict[str, str] = {}
    taken: set[str] = set()

    def take(candidates: Iterable[tuple[ColumnShape, ColumnShape]]) -> None:
        for want, have in candidates:
            if want.name not in pairs and have.name not in taken:
                pairs[want.name] = have.name
                taken.add(have.name)

    def agreeing() -> Iterator[tuple[ColumnShape, ColumnShape]]:
        for want in [column for column in missing if column.name not in pairs]:
            for have in [column for column in added if column.name not in taken]:
                if _types_agree(want, have):
                    yield want, have

    folded = {have.name.casefold(): have for have in reversed(added)}
    take((want, folded[want.name.casefold()]) for want in missing if want.name.casefold() in folded)
    take(_alike(agreeing()))
    anchors = {target: name for name, target in (known | pairs).items()}
    wanted, standing = _places(expected.columns, missing), _places(found.columns, added, anchors)
    take(pair for pair in agreeing() if wanted[pair[0].name] & standing[pair[1].name])
    return pairs


def not_compared(
    expected: TableShape, found: TableShape | None, *, mapping: Mapping[str, str] | None = None
) -> tuple[str, ...]:
    """In words, each thing that one side does not tell and that `compare_schema` therefore says nothing of."""
    if found is None:
        return ()
    names = counterparts(expected, found, mapping=mapping)
    pairs = [(c, have) for c in expected.columns if c.name in names and (have := found.column(names[c.name]))]
    of_columns = {
        "digits of a second": [w.name for w, h in pairs if not declared.is_told(w.type, h.type)],
        "nullability": [w.name for w, h in pairs if w.not_null is None or h.not_null is None],
        "default": [w.name for w, h in pairs if _default_change(w, h, found.ddl) is None],
        "comment": [w.name for w, h in pairs if w.comment is None or h.comment is None],
    }
    words = [f"{what} of {', '.join(columns)}" for what, columns in of_columns.items() if columns]
    words += ["keys"] if expected.keys is None or found.keys is None else []
    words += ["foreign keys"] if expected.foreign_keys and found.foreign_keys is None and found.keys is not None else []
    words += ["comment of the table"] if expected.comment is None or found.comment is None else []
    return tuple(words)


def _types_agree(want: ColumnShape, have: ColumnShape) -> bool:
    return want.labels == have.labels and declared.change(want.type, have.type) is None


def _alike(pairs: Iterable[tuple[ColumnShape, ColumnShape]]) -> list[tuple[ColumnShape, ColumnShape]]:
    """The pairs whose names are alike, the most alike first."""
    ranked = []
    for want, have in islice(pairs, PAIRS_LOOKED_AT):
        matcher = SequenceMatcher(None, want.name.casefold(), have.name.casefold())
        # The quick ones are never less, and spare most of the slow ones.
        if min(matcher.real_quick_ratio(), matcher.quick_ratio()) >= ALIKE and (ratio := matcher.ratio()) >= ALIKE:
            ranked.append((ratio, want, have))
    return [(want, have) for _, want, have in sorted(ranked, key=lambda found: -found[0])]


def _places(
    columns: Sequence[ColumnShape], unpaired: Sequence[ColumnShape], anchors: Mapping[str, str] | None = None
) -> dict[str, set[tuple[str | None, int]]]:
    """Where each unpaired column stands: from the start of the table, and from the paired column before it."""
    alone = {column.name for column in unpaired}
    places: dict[str, set[tuple[str | None, int]]] = {}
    before, steps = None, 0
    for index, column in enumerate(columns):
        steps += 1
        if column.name in alone:
            places[column.name] = {(None, index), (before, steps)} if before else {(None, index)}
        else:
            before, steps = (anchors or {}).get(column.name, column.name), 0
    return places


def _column_findings(
    want: ColumnShape, found: TableShape, name: str | None, mapping: Mapping[str, str]
) -> Iterator[SchemaFinding]:
    have = found.column(name) if name is not None else None
    if have is None:
        where = f" as {mapping[want.name]}" if want.name in mapping else ""
        yield SchemaFinding("column-missing", "error", want.name, f"{want.type}{where}", None)
        return
    should = mapping.get(want.name, want.name)
    if have.name != should:
        yield SchemaFinding("column-renamed", "error", want.name, should, _renamed(should, have.name))
    yield from _type_findings(want, have)
    if want.not_null is not None and have.not_null is not None and want.not_null != have.not_null:
        lost = want.not_null
        yield SchemaFinding(
            "nullability-lost" if lost else "nullability-added", "error" if lost else "warning", want.name,
            "NOT NULL" if lost else "nullable", "nullable" if lost else "NOT NULL",
        )  # fmt: skip
    if _default_change(want, have, found.ddl):
        shown = [text or "no default" for text in (want.default, have.default)]
        yield SchemaFinding("default-changed", "warning", want.name, *shown)
    yield from _comment_findings(want.name, want.comment, have.comment)


def _renamed(expected: str, found: str) -> str:
    if expected.casefold() != found.casefold():
        return found
    return f"{found} (only the case differs: a query that quotes the one name does not find the other)"


def _type_findings(want: ColumnShape, have: ColumnShape) -> Iterator[SchemaFinding]:
    if change := declared.change(want.type, have.type):
        yield SchemaFinding(change, _OF_TYPES[change], want.name, want.type.text, have.type.text)
    elif want.labels != have.labels:
        change = _label_change(want.labels, have.labels)
        shown = [f"{column.type} ({', '.join(column.labels)})" for column in (want, have)]
        yield SchemaFinding(change, _OF_TYPES[change], want.name, *shown)


def _label_change(want: Sequence[str], have: Sequence[str]) -> declared.Change:
    """An enum without a label holds less; one with the labels in another order sorts otherwise."""
    if not set(want) <= set(have):
        return "type-narrowed"
    return "type-widened" if [label for label in have if label in want] == list(want) else "type-changed"


def _default_change(want: ColumnShape, have: ColumnShape, ddl: Ddl) -> bool | None:
    """Whether a row without the column gets another value; None where that cannot be told."""
    if want.default is None or have.default is None:
        return None
    if want.type.family != have.type.family:
        return None
    same = defaults.same(want.default, have.default, want.type, ddl)
    return None if same is None else not same


def _reordered(expected: TableShape, found: TableShape, names: Mapping[str, str]) -> Iterator[SchemaFinding]:
    """One finding, from the first column that stands elsewhere to the last."""
    common = [names[column.name] for column in expected.columns if column.name in names]
    order = [column.name for column in found.columns if column.name in names.values()]
    apart = [index for index, (want, have) in enumerate(zip(common, order, strict=True)) if want != have]
    if apart:
        part = slice(apart[0], apart[-1] + 1)
        yield SchemaFinding("columns-reordered", "warning", None, ", ".join(common[part]), ", ".join(order[part]))


def _key_findings(expected: TableShape, found: TableShape, names: Mapping[str, str]) -> Iterator[SchemaFinding]:
    if expected.keys is None or found.keys is None:
        return
    enforced: Severity = "error" if found.ddl.enforces_keys else "warning"
    wanted = [Key(tuple(names.get(name, name) for name in key.columns), key.primary) for key in expected.keys]
    missing = [key for key in wanted if key not in found.keys]
    added = [key for key in found.keys if key not in wanted]
    for key in missing:
        alike = next((other for other in added if set(other.columns) == set(key.columns)), None)
        other = alike or next((other for other in added if other.primary and key.primary), None)
        if other is None:
            yield SchemaFinding("key-missing", enforced, None, str(key), None)
            continue
        added.remove(other)
        yield SchemaFinding("key-changed", "warning" if alike else enforced, None, str(key), str(other))
    for key in added:
        yield SchemaFinding("key-added", "warning", None, None, str(key))


def _foreign_key_findings(expected: TableShape, found: TableShape, names: Mapping[str, str]) -> Iterator[SchemaFinding]:
    if expected.foreign_keys is None or found.foreign_keys is None:
        return
    wanted = {_compared(key, names): key for key in expected.foreign_keys}
    there = {_compared(key, {}): key for key in found.foreign_keys}
    added = [key for each, key in there.items() if each not in wanted]
    for each, key in wanted.items():
        if each in there:
            continue
        columns = {column for column, _ in each[1]}
        other = next((one for one in added if set(one.columns) == columns), None)
        if other is None:
            yield SchemaFinding("foreign-key-missing", "warning", None, _written(key), None)
        else:
            added.remove(other)
            yield SchemaFinding("foreign-key-changed", "warning", None, _written(key), _written(other))
    for key in added:
        yield SchemaFinding("foreign-key-added", "warning", None, None, _written(key))


def _compared(key: ForeignKey, names: Mapping[str, str]) -> tuple[str, frozenset[tuple[str, str]]]:
    """What of a foreign key has to be the same; a catalog may keep the names of schemas in small letters."""
    return f"{key.schema.lower()}.{key.table}", frozenset(
        (names.get(name, name), to) for name, to in zip(key.columns, key.referenced, strict=True)
    )


def _written(key: ForeignKey) -> str:
    return f"FOREIGN KEY ({', '.join(key.columns)}) REFERENCES {key.table} ({', '.join(key.referenced)})"


def _comment_findings(column: str | None, want: str | None, have: str | None) -> Iterator[SchemaFinding]:
    if want is not None and have is not None and want != have:
        yield SchemaFinding("comment-changed", "warning", column, want or "no comment", have or "no comment")
