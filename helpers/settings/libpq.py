"""Where a PostgreSQL server is, as people have written it down for libpq: a URL, a DSN, or a service of a service file.

Each becomes keys of a section before a driver sees it: the libpq in psycopg2, the one in DuckDB and the one of pg_dump were built
with different folders for service files, so that the same name would lead one of them elsewhere, or nowhere.
"""

from __future__ import annotations

import getpass
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from helpers.redaction import remember
from helpers.settings.section import Resolved

OURS = frozenset({"application_name", "fallback_application_name", "client_encoding"})
"""What a URL or a service may say, and every session of ours has in its own way."""

SECRETS = frozenset({"password", "sslpassword", "oauth_client_secret"})

SOCKET_FOLDERS = ("/var/run/postgresql", "/run/postgresql", "/tmp")  # noqa: S108 - looked at, never written
"""Where distributions (the first two) and PostgreSQL itself put a server's socket."""

_DRIVER = re.compile(r"^(postgres(?:ql)?)\+\w+://")
"""SQLAlchemy's way to name a driver, which libpq does not know."""


def expanded(section: Mapping[str, Any], own: frozenset[str]) -> dict[str, Any]:
    """A section whose `url` or `service` is replaced by the keys that it stands for.

    Args:
        section: as it was given.
        own: the keys of such a section; what else a URL says belongs into its `connect`.

    Raises:
        ValueError: the URL cannot be read, the service is not there, or a key says something else than the URL beside it.
    """
    given = {key: value for key, value in section.items() if value is not None}
    if "url" in given and "service" in given:
        raise ValueError("url and service are two ways to say where the server is: take one of them away")
    if "service" in given:
        found = keys(_service(str(given["service"])), own)
        # As libpq has it: what stands beside the service wins.
        merged = {**found, **given, "connect": {**found.get("connect", {}), **given.get("connect", {})}}
    elif isinstance(given.get("url"), Resolved):
        found = keys(parsed(given["url"]), own)
        twice = [key for key in given if key in found and key != "connect" and str(given[key]) != str(found[key])]
        if twice:
            raise ValueError(f"url says {', '.join(sorted(twice))}, too, and otherwise: take {'it' if len(twice) == 1 else 'them'} away")  # fmt: skip
        merged = {**found, **given, "connect": {**found.get("connect", {}), **given.get("connect", {})}}
    else:
        return dict(section)
    return _with_defaults({key: value for key, value in merged.items() if key not in ("url", "service")})


def parsed(dsn: str) -> dict[str, str]:
    """A libpq URL or DSN as libpq's keywords, those of a service that it names among them.

    Raises:
        ValueError: libpq does not understand it. The text is not in the error: it may hold a password.
    """
    from psycopg2 import ProgrammingError  # a quarter of a second of every command's start, for those who need it
    from psycopg2.extensions import parse_dsn

    try:
        found: dict[str, str] = parse_dsn(_DRIVER.sub(r"\1://", dsn.strip()))
    except ProgrammingError as error:
        unknown = re.search(r'invalid (?:URI query parameter|connection option):? "(\w+)"', str(error))
        why = f"it has no option {unknown[1]!r}: take it out of the URL" if unknown else "it is no URL or DSN"
        raise ValueError(f"libpq does not understand it: {why}") from None
    if "port" in found:
        # "postgresql://a,b:5433/" gives ",5433", an empty one being the usual.
        found["port"] = ",".join(port or "5432" for port in found["port"].split(","))
    if "service" in found:
        found = {**_service(found.pop("service")), **found}
    return found


def keys(keywords: Mapping[str, str], own: frozenset[str]) -> dict[str, Any]:
    """libpq's keywords as keys of a section: its secrets as such, and what it has no key for as a table `connect`.

    Args:
        keywords: of a URL, a DSN or a service.
        own: the section's keys.

    Raises:
        ValueError: a keyword would make it no connection to a database.
    """
    if "replication" in keywords:
        raise ValueError("replication makes another kind of connection of it: take it out")
    found: dict[str, Any] = {}
    further: dict[str, str] = {}
    for name, value in keywords.items():
        if name == "connect_timeout":
            found["connect_timeout_seconds"] = value
        elif name in SECRETS:
            found[name] = Resolved(remember(value))
        elif name in own:
            found[name] = value
        elif name not in OURS:
            further[name] = value
    return {**found, **({"connect": further} if further else {})}


def refuse_unknown(connect: Mapping[str, str | int], own: frozenset[str]) -> None:
    """Raises `ValueError` for a keyword that libpq does not have, or for which there is a key or a way of ours."""
    from psycopg2 import ProgrammingError
    from psycopg2.extensions import make_dsn

    for name, value in connect.items():
        if name in own or name in SECRETS or name in OURS or name in ("connect_timeout", "replication"):
            why = "is a key of the section itself" if name in own | SECRETS else "is set for every session"
            raise ValueError(f"connect.{name} {why}: take it out of connect")
        try:
            make_dsn(**{name: value})
        except ProgrammingError:
            raise ValueError(f"connect.{name} is no keyword of libpq: correct it") from None


def service_files() -> Iterator[Path]:
    """The files in which libpq looks for a service, in its order: the user's, then the system's
    (https://www.postgresql.org/docs/current/libpq-pgservice.html)."""
    named = os.environ.get("PGSERVICEFILE")
    yield Path(named) if named else Path.home() / ".pg_service.conf"
    folders = [os.environ.get("PGSYSCONFDIR") or _sysconfdir(), "/etc/postgresql-common", "/etc"]
    yield from (Path(folder) / "pg_service.conf" for folder in dict.fromkeys(filter(None, folders)))


def _sysconfdir() -> str:
    try:
        told = subprocess.run(["pg_config", "--sysconfdir"], capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return ""
    return told.stdout.strip()


def _service(name: str) -> dict[str, str]:
    looked = list(service_files())
    for file in looked:
        try:
            text = file.read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"the service file {file} cannot be read: {type(error).__name__}") from None
        found = _group(text, name, file)
        if found is not None:
            return found
    raise ValueError(f"there is no service [{name}] in {', '.join(map(str, looked))}")


def _group(text: str, name: str, file: Path) -> dict[str, str] | None:
    """A service's keywords, or None where the file has no such service; the first value of a keyword counts, as in libpq."""
    found: dict[str, str] | None = None
    for number, line in enumerate(map(str.strip, text.splitlines()), 1):
        if line.startswith("["):
            if found is not None:
                break
            if line == f"[{name}]":
                found = {}
        elif found is not None and line and not line.startswith("#"):
            key, equals, value = line.partition("=")
            if not equals or key == "service" or key.startswith("ldap"):
                why = "is no key=value" if not equals else "names another service or a directory, which is not followed"
                raise ValueError(f"line {number} of the service file {file} {why}")
            found.setdefault(key, value)
    return found


def _with_defaults(section: dict[str, Any]) -> dict[str, Any]:
    """What libpq takes where a URL or a service does not say it: the system's user, a database of that name, a local socket."""
    user = section.get("user") or getpass.getuser()
    port = str(section.get("port") or 5432).partition(",")[0]
    sockets = (folder for folder in SOCKET_FOLDERS if Path(folder, f".s.PGSQL.{port}").exists())
    host = section.get("host") or section.get("connect", {}).get("hostaddr") or next(sockets, "localhost")
    return {**section, "user": user, "dbname": section.get("dbname") or user, "host": host}
