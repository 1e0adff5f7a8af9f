"""JSON that one command stores and a later one reads back."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from helpers.errors import StageError


class Stored(BaseModel):
    """Base of what is stored: immutable, and read back only if no field is unknown."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Kind = TypeVar("Kind", bound=BaseModel)


def parse(content: bytes | None, kind: type[Kind], *, doing: str, on: str, cure: str) -> Kind | None:
    """What was stored, or None where nothing was.

    Args:
        content: the JSON.
        kind: what it must be.
        doing: the clause that an error begins with.
        on: where the content comes from.
        cure: what an error tells to do.

    Raises:
        StageError: it is something else, such as what another version of this program stored.
    """
    if content is None:
        return None
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        why = str(error.errors(include_url=False, include_input=False)[0])
        raise StageError(doing, on=on, why=why, next_step=cure) from None
