"""What every section of a profile has in common: unknown keys are refused, values cannot be changed, secrets are given by reference."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, field_validator

from helpers.credentials import written_secret
from helpers.redaction import HIDDEN

_NO_PLACE = "a secret does not belong in this file"

LOCATION = r"^s3://[^/]+/?.*$"


class Resolved(str):
    """A value that came from outside the file, as opposed to one written in it; it may be a secret."""

    def __repr__(self) -> str:
        return repr(HIDDEN)


def _refuse_secret_in_file(value: object) -> object:
    if isinstance(value, str) and not isinstance(value, Resolved):
        raise ValueError(f'{_NO_PLACE}; write {{ env = "NAME" }} and set NAME')
    return str(value) if isinstance(value, Resolved) else value


def _written(value: object) -> object:
    """What of a value stands in the file."""
    if isinstance(value, dict):
        return {key: _written(each) for key, each in value.items()}
    return None if isinstance(value, Resolved) else value


def no_password(url: str | None) -> str | None:
    """Refuses a URL with user and password, wherever it came from: addresses are shown and logged."""
    if url and urlsplit(url).password is not None:
        raise ValueError("an address with a password in it would be shown; credentials have keys of their own")
    return url


Secret = Annotated[SecretStr | None, BeforeValidator(_refuse_secret_in_file)]


Address = Annotated[str, AfterValidator(no_password)]


def _whole_path(value: str | None) -> str | None:
    """A file that every process of ours finds, wherever it was started."""
    if not value or value == "system":
        return value
    path = Path(value).expanduser()
    if not path.is_absolute():
        raise ValueError("a program is started in another folder than the next: write the whole path")
    return str(path)


FileAnywhere = Annotated[str | None, AfterValidator(_whole_path)]


class Section(BaseModel):
    """One table of a profile. The text below each field is its description in the settings reference."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_secret_in_the_clear(cls, value: object) -> object:
        if kind := written_secret(_written(value)):
            raise ValueError(f'it holds {kind}, and {_NO_PLACE}; write {{ env = "NAME" }} and set NAME')
        return value


class Server(Section):
    """A section of a server that is reached over the network."""

    connect_timeout_seconds: float = Field(default=10.0, ge=1)
    """Time within which a connection must be made."""
    answer_timeout_seconds: float = Field(default=60.0, ge=1)
    """Time after which a server that has gone silent is given up; a long statement is no silence."""


def example(value: object, **limits: Any) -> Any:
    """What may be written for a key, which errors and the settings reference show, and pydantic's limits for it."""
    return Field(examples=[value], **limits)


def plain_location(value: str | None) -> str | None:
    """Refuses what not every reader of Delta takes in an address."""
    if value and not re.fullmatch(r"s3a?://[A-Za-z0-9][A-Za-z0-9.-]*(/[A-Za-z0-9._=/-]*)?", value):
        raise ValueError(
            "write it like s3://your-bucket/delta: letters, digits and . _ = - /, which every reader takes alike"
        )
    return value
