"""Which tables move, which stay, under which names, and what of their columns and rows."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from helpers.settings.section import Secret, Section, example

PLACEHOLDERS = ("schema", "table")
"""What a naming pattern may hold, in braces: the source's schema and the table's name."""


class Constant(Section):
    """A mask that replaces every value by one."""

    constant: Annotated[str, example("withheld")]
    """The value."""


def _known_mask(value: object) -> object:
    if isinstance(value, dict) and set(value) == {"constant"}:
        constant = value["constant"]
        return Constant(constant=constant if isinstance(constant, str) else str(constant))
    if isinstance(value, Constant) or value in ("null", "sha256"):
        return value
    raise ValueError('a mask is "null", "sha256" or { constant = "a value of the column\'s type" }')


Mask = Annotated[Literal["null", "sha256"] | Constant, BeforeValidator(_known_mask)]
"""What takes the place of every value of a column: nothing, the digest of its text, or one value."""


def _with_reasons(key: str) -> BeforeValidator:
    def given(value: object) -> object:
        if isinstance(value, list | tuple):
            return {str(glob): f"named in tables.{key}" for glob in value}
        return value

    return BeforeValidator(given)


def _pattern(value: str | None) -> str | None:
    """A naming pattern whose braces hold nothing but `PLACEHOLDERS`."""
    if value is not None:
        try:
            filled = value.format_map(dict.fromkeys(PLACEHOLDERS, "x"))
        except (KeyError, IndexError, ValueError, AttributeError):
            filled = ""
        if not filled:
            raise ValueError(f"a pattern is text with {' and '.join(f'{{{name}}}' for name in PLACEHOLDERS)} in it")
    return value


class Match(Section):
    """What is said of one table, or of each that a glob means."""

    schema_: Annotated[str | None, example("PEOPLE")] = Field(default=None, alias="schema")
    """Their schema in the target, like `tables.schema`."""
    name: Annotated[str | None, example("person")] = None
    """Their name in the target, like `tables.name`."""
    omit: Annotated[tuple[str, ...], example(["password_hash"])] = ()
    """Columns that do not move."""
    where: Annotated[str | None, example("left_on IS NULL")] = None
    """The rows that move: a condition in the SQL of the source."""
    mask: Annotated[
        dict[str, Mask], example({"email": "sha256", "phone": "null", "street": {"constant": "withheld"}})
    ] = Field(default_factory=dict)
    """Per column, what takes the place of every value: `"null"`, `"sha256"` or `{ constant = "…" }`."""
    reason: Annotated[str | None, example("the desk's own notes are nobody's business")] = None
    """Why; required beside `omit`, `where` and `mask`."""

    @field_validator("schema_", "name")
    @classmethod
    def _is_a_pattern(cls, value: str | None) -> str | None:
        return _pattern(value)

    @model_validator(mode="after")
    def _has_a_reason(self) -> Match:
        if (self.omit or self.where is not None or self.mask) and not (self.reason and self.reason.strip()):
            raise ValueError("omit, where and mask need a reason beside them: it is what a reader of the verdict sees")
        if self.where is not None and not self.where.strip():
            raise ValueError("where is empty: take it away, and every row moves")
        if both := sorted(set(self.omit) & set(self.mask)):
            raise ValueError(f"{', '.join(both)}: both omitted and masked; a column that does not move needs no mask")
        return self


class Tables(Section):
    """Which tables move and how they are named. Globs are over "name" or "schema.table"."""

    include: Annotated[tuple[str, ...], example(["catalogue.*", "loans.*"])] = ()
    """Globs of the tables that move; empty for every table of `source.schemas`."""
    exclude: Annotated[
        dict[str, str], _with_reasons("exclude"), example({"loans.import_*": "scratch tables, filled anew each night"})
    ] = Field(default_factory=dict)
    """Globs of tables that do not move, each with its reason; a plain list is taken too."""
    stay: Annotated[dict[str, str], _with_reasons("stay"), example({"members.*": "the desk goes on writing"})] = Field(
        default_factory=dict
    )
    """Option B: globs of the tables that stay in PostgreSQL, each with its reason; a plain list is taken too."""
    schema_: Annotated[str | None, example("{schema}")] = Field(default=None, alias="schema")
    """Schema of each table in the target; `{schema}` is the source's. Without it, the target section's own schema."""
    name: Annotated[str | None, example("{schema}_{table}")] = None
    """Name of each table in the target; without it, `{table}`."""
    mask_salt: Annotated[Secret, example({"env": "MASK_SALT"})] = None
    """What `mask = "sha256"` puts before each value; without it, whoever has a list of likely values finds them again."""
    match: dict[str, Match] = Field(
        default_factory=dict,
        examples=[{"members.person": {"omit": ["password_hash"], "reason": "no target needs it"}}],
    )
    """Per table or glob, what is said of those tables alone; a name written out comes before globs, and of several globs the
    first counts."""

    @field_validator("schema_", "name")
    @classmethod
    def _is_a_pattern(cls, value: str | None) -> str | None:
        return _pattern(value)

    @field_validator("include", "exclude", "stay", "match")
    @classmethod
    def _no_empty_glob(cls, value: tuple[str, ...] | Mapping[str, object]) -> object:
        if any(not glob.strip() for glob in value):
            raise ValueError("a glob is empty; write name, schema.table or a pattern such as crm.*")
        return value

    @field_validator("exclude", "stay")
    @classmethod
    def _no_empty_reason(cls, value: Mapping[str, str]) -> object:
        if glob := next((glob for glob, reason in value.items() if not reason.strip()), None):
            raise ValueError(f"{glob} has no reason: it is what a reader of the verdict sees; or write a plain list")
        return value

    @property
    def choice(self) -> Tables:
        """Which tables move, and nothing of how."""
        return self.model_copy(update={"match": {}, "mask_salt": None, "schema_": None, "name": None})

    def as_inputs(self) -> dict[str, Any]:
        """What a step's inputs hold of it, without the salt; nothing where the profile says nothing."""
        said = self.model_dump(mode="json", by_alias=True, exclude={"mask_salt"}, exclude_defaults=True)
        return {"described": said} if said else {}

    def matched(self, schema: str, table: str) -> tuple[str, Match] | None:
        """The glob of `match` that counts for a table, with what it says; None where none means it."""
        names = (f"{schema}.{table}", table)
        written = next((name for name in names if name in self.match), None)
        glob = written or next((g for g in self.match if any(fnmatchcase(name, g) for name in names)), None)
        return (glob, self.match[glob]) if glob else None
