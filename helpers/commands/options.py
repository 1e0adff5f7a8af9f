"""Options that commands share, and the choices that an option has."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from helpers import log
from helpers.errors import UsageError

if TYPE_CHECKING:
    from helpers.settings import Settings

Profile = Annotated[str | None, typer.Option(help="Profile of migration.toml; without it RUNBOOK_PROFILE or local.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output and nothing else.")]
Log = Annotated[
    str,
    typer.Option(
        "--log", envvar=log.FORM, help="Log lines on standard error: quiet, text, or json for a log collector."
    ),
]
Run = Annotated[str | None, typer.Option(help="The run this belongs to; its files go to outputs/RUN.")]
Tables = Annotated[list[str] | None, typer.Option(help="Glob over table or schema.table; repeat for more.")]
Exclude = Annotated[
    list[str] | None,
    typer.Option(help="Glob over table or schema.table: left out, not counted, not locked; repeat for more."),
]
SourceDsn = Annotated[
    str | None,
    typer.Option("--source-dsn-env", help="Environment variable with the source's DSN, instead of the profile's."),
]
PlanOnly = Annotated[bool, typer.Option("--plan", help="Show what would be done, and do nothing.")]


def load_profile(name: str | None, source_dsn_env: str | None = None) -> Settings:
    """The settings of a profile, with the source that an environment variable names, if one is given.

    Raises:
        SettingsError, LocalStackError: as `settings.load` and `settings.source_from_dsn`.
    """
    from helpers import settings

    found = settings.load(name)
    return found.with_source(settings.source_from_dsn(source_dsn_env)) if source_dsn_env else found


def one_of(option: str, value: str, known: Iterable[str]) -> None:
    """Raises `UsageError` where an option has no such choice."""
    if value not in known:
        why = "there is no such choice"
        cure = f"use one of: {', '.join(known)}"
        raise UsageError("understand the command", on=f"{option} {value}", why=why, next_step=cure)
