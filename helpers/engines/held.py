"""How one side holds a column, as far as a condition, a check or a sum depends on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Literal, cast

from helpers.model.catalog import PgType
from helpers.model.declared import POSTGRESQL, Declared

Form = Literal["number", "float", "text", "boolean", "date", "timestamp", "timestamptz", "time", "bytes", "other"]

_FORMS: Mapping[str, Form] = {
    "padded text": "text",
    "timetz": "other",
    "interval": "other",
    "bits": "other",
    "fixed bits": "other",
}
"""Of the families that are not forms themselves."""


@dataclass(frozen=True)
class Held:
    """How one side holds a column of the source.

    Attributes:
        sql: its value there.
        type: as the side names it.
        wanted: the form that it should have there; `text` where a policy or the target's types make it text.
        form: the form that it has.
        digits: of an exact number: in total, or None where the type sets no limit.
        scale: of an exact number: digits after the point.
        kept: the condition under which the column itself holds the source's value, None where it always does; a policy
            keeps the others in a flag column.
    """

    sql: str
    type: str
    wanted: Form
    form: Form
    digits: int | None = None
    scale: int = 0
    kept: str | None = None

    @property
    def as_wanted(self) -> bool:
        """Whether the column's type is of the form that the migration gives it."""
        return self.form == self.wanted


def form_of(kind: PgType) -> Form:
    """The form of a PostgreSQL type; `other` is what has a comparison of its own, and travels as text."""
    if kind.kind == "e":
        return "text"
    return declared_form(POSTGRESQL.read(kind.sql))[0] if kind.kind == "b" and kind.element is None else "other"


def digits_of(kind: PgType) -> tuple[int | None, int]:
    """Digits and digits after the point that a PostgreSQL type of form `number` allows; (None, 0) for no limit."""
    return declared_form(POSTGRESQL.read(kind.sql))[1:]


def declared_form(kind: Declared) -> tuple[Form, int | None, int]:
    """The form of a type, and of an exact number its digits (None for no limit) and digits after the point."""
    if kind.name.startswith("TIMESTAMP_TZ"):  # of Snowflake's, whose offset no comparison looks at
        return "timestamptz", None, 0
    if kind.family != "number":
        return _FORMS.get(kind.family, cast(Form, kind.family)), None, 0
    places = kind.places or 0
    return (
        "number",
        None if inf in (kind.needs, places) else int(kind.needs + places),
        0 if places == inf else int(places),
    )
