"""JSON and arrays: the same value in another form, or nearly the same."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from helpers.verify.hypotheses.base import SELF_EVIDENT, TEXTS, Hypothesis, Said, fixed
from helpers.verify.hypotheses.examined import examined
from helpers.verify.hypotheses.pairs import Family

JSON: frozenset[Family] = frozenset({"json"})
ARRAYS: frozenset[Family] = frozenset({"array"})

DEPTH = 100
"""Levels of nesting that are compared."""

LEVELS = {
    "spacing": "spacing",
    "spelling": "how numbers and characters are spelt (1.10 and 1.1, \\u00e9 and é)",
    "order": "the order of keys",
    "doubled": "doubled keys, of which one is left",
    "double": "numbers, which are rounded to doubles",
    "nulls": "members that are null, which are left out",
}
"""What may differ between two documents, each level including those before."""

CAUSES = {
    "doubled": ("json-duplicate-keys", "The target keeps one of several equal keys (jsonb, VARIANT and most parsers do): keep the document as text."),
    "double": ("json-numbers-rounded", "A parser reads numbers as doubles (JavaScript, Python's json, VARIANT): keep the document as text, or parse into Decimal."),
    "nulls": ("json-nulls-dropped", "STRIP_NULL_VALUES of the file format, or a serialiser that leaves null out: switch it off."),
}  # fmt: skip

JSON_LIKE = "regexp_matches(s, '^\\s*[\\[{]') AND regexp_matches(t, '^\\s*[\\[{]')"

OUTSIDE_STRINGS = re.compile(r'("(?:[^"\\]|\\.)*")|\s+', re.DOTALL)


class _Object(list[tuple[str, Any]]):
    """Members in their order, doubled keys and all."""


@dataclass(frozen=True)
class _Leniency:
    """What two documents may differ in and still have the same form."""

    ordered: bool = True
    doubled: bool = True
    number: Callable[[Decimal], object] = lambda number: number
    nulls: bool = True
    numbers_as_text: bool = False
    lists_ordered: bool = True


def _double(number: Decimal) -> object:
    try:
        return float(number)
    except (OverflowError, ValueError):
        return number


STEPS = (
    ("spelling", _Leniency()),
    ("order", _Leniency(ordered=False)),
    ("doubled", _Leniency(ordered=False, doubled=False)),
    ("double", _Leniency(ordered=False, doubled=False, number=_double)),
    ("nulls", _Leniency(ordered=False, doubled=False, number=_double, nulls=False)),
)


def _parse(text: str) -> Any:
    """The document with exact numbers; raises ValueError where it is none, or too deep."""
    try:
        return json.loads(text, parse_float=Decimal, parse_int=Decimal, object_pairs_hook=_Object)
    except (RecursionError, ArithmeticError) as error:
        raise ValueError(str(error)) from None


def _form(value: Any, allow: _Leniency, depth: int = 0) -> object:
    if depth > DEPTH:
        raise ValueError("nested too deep")
    if isinstance(value, _Object):
        members = [(k, _form(v, allow, depth + 1)) for k, v in value if allow.nulls or v is not None]
        kept = members if allow.doubled else list(dict(members).items())
        return ("object", tuple(kept if allow.ordered else sorted(kept, key=repr)))
    if isinstance(value, list):
        items = [_form(item, allow, depth + 1) for item in value]
        return ("array", tuple(items if allow.lists_ordered else sorted(items, key=repr)))
    if isinstance(value, Decimal):
        return (
            ("text", format(value, "f"))
            if allow.numbers_as_text and abs(value.adjusted()) < DEPTH
            else ("number", allow.number(value))
        )
    return ("text", value) if isinstance(value, str) else (type(value).__name__, value)


def _reformatted(s: str, t: str) -> Iterator[str]:
    if OUTSIDE_STRINGS.sub(r"\1", s) == OUTSIDE_STRINGS.sub(r"\1", t):
        yield "spacing"
        return
    try:
        one, other = _parse(s), _parse(t)
        yield from [level for level, allow in STEPS if _form(one, allow) == _form(other, allow)][:1]
    except ValueError:
        return


def _say_reformatted(answer: str) -> Said:
    levels = answer.split("|")
    named = [LEVELS[level] for level in levels]
    what = "the target is the same JSON but for " + (
        " and ".join([", ".join(named[:-1]), named[-1]]) if named[1:] else named[0]
    )
    plain = "The document was parsed and written again on the way (jsonb, VARIANT, a JSON library): compare it by value, or keep it as text."
    cause, likely = CAUSES.get(levels[-1], ("json-reformatted", plain))
    return Said(what, likely, 1.0 + len(levels), cause=cause)


def _nearly(s: str, t: str) -> Iterator[str]:
    try:
        one, other = _parse(s), _parse(t)
        if (
            isinstance(other, str)
            and not isinstance(one, str)
            and _form(_parse(other), _Leniency()) == _form(one, _Leniency())
        ):
            yield "quoted"
        for answer, allow in (
            ("texts", _Leniency(ordered=False, numbers_as_text=True)),
            ("lists", _Leniency(ordered=False, lists_ordered=False)),
        ):
            if _form(one, allow) == _form(other, allow):
                yield answer
    except ValueError:
        return


NEARLY = {
    "quoted": Said(
        "the target is a JSON string that holds the source's document",
        "The document was serialised twice: parse it when loading (PARSE_JSON, from_json).", 1, cause="json-quoted",
    ),
    "texts": Said(
        "numbers within the JSON became texts, or the reverse",
        "A serialiser writes numbers as strings (Decimal's default=str): write them as numbers.", 2, cause="json-numbers-as-texts",
    ),
    "lists": Said(
        "the elements of arrays within the JSON are in another order",
        "Arrays are aggregated without an order: add ORDER BY to the aggregate.", 3, least=2, cause="json-elements-reordered",
    ),
}  # fmt: skip


def _plain(array: str) -> str:
    """SQL of an array's text without what its format adds."""
    return f"lower(regexp_replace(translate({array}, '{{}}', '[]'), '[\\s\"'']', '', 'g'))"


def _elements(array: str) -> str:
    return f"list_sort(string_split(trim({array}, '{{}}[]'), ','))"


HYPOTHESES: tuple[Hypothesis, ...] = (
    examined(
        "json-reformatted", JSON | TEXTS, JSON_LIKE,
        _reformatted, _say_reformatted, accident=SELF_EVIDENT, levels=tuple(LEVELS),
    ),
    examined("json-reformatted", JSON, "true", _nearly, NEARLY.__getitem__, accident=1e-4),
    fixed("array-bounds-lost", ARRAYS, "t = regexp_replace(s, '^\\[[^=]*\\]=', '') AND lt < ls", accident=SELF_EVIDENT),
    fixed("array-reformatted", ARRAYS, f"{_plain('s')} = {_plain('t')}", accident=1e-4),
    fixed("array-elements-reordered", ARRAYS, f"{_elements('s')} = {_elements('t')}", least=2),
)  # fmt: skip
