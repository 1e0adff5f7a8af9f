"""The source as a person names it: a variable with a URL, a service of libpq's service files, or answers to questions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from helpers.errors import SettingsError
from helpers.redaction import remember
from helpers.settings import Resolved, Source

WHAT = "read the connection"
EXAMPLE = "postgresql://user:password@host:5432/database"

_URL = re.compile(r"^\s*postgres(?:ql)?(?:\+\w+)?://", re.IGNORECASE)
_ENCODE = (
    "write each character of user and password that is neither letter nor digit as %XX; this prints it so: "
    "python3 -c 'import getpass, urllib.parse; print(urllib.parse.quote(getpass.getpass(), safe=\"\"))'"
)


@dataclass(frozen=True)
class Connection:
    """Where the source is.

    Attributes:
        source: with its password, to connect.
        keys: of the profile's section `source`, as they are written: a secret is a reference.
        unset: a variable that the profile refers to and that nobody has set yet, with its value; it is in no text.
    """

    source: Source
    keys: dict[str, Any]
    unset: dict[str, str] = field(default_factory=dict, repr=False)


def is_url(text: str) -> bool:
    """Whether it begins as a URL of PostgreSQL."""
    return _URL.match(text) is not None


def variables_with_urls(environment: Mapping[str, str | None]) -> list[str]:
    """The variables that hold a URL of PostgreSQL, by name."""
    return sorted(name for name, value in environment.items() if value and is_url(value))


def from_variable(variable: str, environment: Mapping[str, str | None]) -> Connection:
    """The source that a variable names.

    Args:
        variable: its name.
        environment: of the process and of `.env`.

    Raises:
        SettingsError: it is not set, or holds no URL or DSN that libpq understands. Its text is in no error.
    """
    text = environment.get(variable)
    if not text:
        others = variables_with_urls(environment)
        hint = f"; a URL is in {', '.join(others)}" if others else ""
        raise SettingsError(
            WHAT, on=f"the variable {variable}", why=f"neither the environment nor .env has it{hint}",
            next_step=f"export {variable}='{EXAMPLE}'" if not others else f"runbook init --from-env {others[0]}",
        )  # fmt: skip
    return Connection(_source({"url": _checked(text, f"the variable {variable}")}, f"the variable {variable}"), {"url": {"env": variable}})  # fmt: skip


def from_service(name: str) -> Connection:
    """The source that a service of libpq's service files names.

    Raises:
        SettingsError: there is no such service, or it does not lead to a database.
    """
    return Connection(_source({"service": name}, f"service {name}"), {"service": name})


def from_answers(keys: Mapping[str, Any], password: str | None, variable: str) -> Connection:
    """The source that a person described.

    Args:
        keys: of the section `source`, or only `url`, of which the password becomes a reference.
        password: beside them; None where none is needed.
        variable: that the profile will refer to for the password.

    Raises:
        SettingsError: it does not lead to a database.
    """
    on = "what was answered"
    if text := keys.get("url"):
        source = _source({"url": _checked(str(text), on)}, on)
        secret = source.password.get_secret_value() if source.password else password
        written = {
            name: value
            for name in source.model_fields_set - {"url", "password", "sslpassword"}
            if (value := getattr(source, name)) not in (None, "", {})
        }
        ordered = {name: written[name] for name in Source.model_fields if name in written}
        return from_answers(ordered, secret, variable)
    given = dict(keys)
    if not password:
        return Connection(_source(given, on), dict(keys))
    given["password"] = Resolved(remember(password))
    return Connection(_source(given, on), {**keys, "password": {"env": variable}}, {variable: password})


def _source(keys: Mapping[str, Any], on: str) -> Source:
    try:
        return Source.model_validate(dict(keys))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        why = first["msg"].removeprefix("Value error, ")
        raise SettingsError(
            WHAT, on=on, why=f"{key}: {why}" if key else why, next_step=f"correct it: {EXAMPLE}, or host=… dbname=… user=…"
        ) from None  # fmt: skip


def _checked(text: str, on: str) -> Resolved:
    """A URL or DSN that leads where its writer means.

    In a URL whose password holds an @ or a /, libpq takes a part of it for the host, and says so: that would show it.
    """
    remember(text)
    text = text.strip()
    if text.lower().startswith("jdbc:"):
        raise SettingsError(
            WHAT, on=on, why="it is a URL of JDBC, which only Java knows", next_step=f"write it like {EXAMPLE}"
        )
    if not is_url(text):
        if "://" in text.partition("=")[0]:
            scheme = text.partition("://")[0]
            named = f" of {scheme}" if re.fullmatch(r"[a-z0-9+]{1,20}", scheme) else ""
            raise SettingsError(WHAT, on=on, why=f"it is a URL{named}, and none of PostgreSQL", next_step=f"write it like {EXAMPLE}")  # fmt: skip
        return Resolved(text)
    rest = text.partition("://")[2]
    credentials, _, place = rest.partition("@") if "@" in rest.partition("/")[0] else ("", "", rest)
    place = place.partition("?")[0]
    if "@" in place or re.search(r"[\s#]", f"{credentials}{place}") or re.search(r"%(?![0-9A-Fa-f]{2})", rest):
        why = "user or password hold a character that ends them there (such as @ / # % or a blank)"
        raise SettingsError(WHAT, on=on, why=why, next_step=_ENCODE)
    return Resolved(text)
