"""Options that commands share, and the choices that an option has."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from helpers import log
from helpers.errors import UsageError

if TYPE_CHECKING:
    from helpers.platforms.statements import Listing
    from helpers.settings import Settings

Profile = Annotated[str | None, typer.Option(help="Profile in migration.toml; default: RUNBOOK_PROFILE, or local.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output and nothing else.")]
Log = Annotated[
    str,
    typer.Option(
        "--log", envvar=log.FORM, help="Log lines on standard error: quiet, text, or json for a log collector."
    ),
]
Run = Annotated[str | None, typer.Option(help="Name of the run; its files are in outputs/RUN.")]
Tables = Annotated[
    list[str] | None, typer.Option(help="Only tables matching this glob (table or schema.table); repeatable.")
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(help="Leave out tables matching this glob: neither read, counted nor locked; repeatable."),
]
OnlyFailed = Annotated[
    bool,
    typer.Option(
        "--only-failed", help="Only the tables that failed in this run before, in the same snapshot; needs --run."
    ),
]
SourceDsn = Annotated[
    str | None,
    typer.Option("--source-dsn-env", help="Environment variable with the source's DSN, in place of the profile's."),
]
PlanOnly = Annotated[bool, typer.Option("--plan", help="Show what would be done without doing it.")]


PlanSql = Annotated[
    bool,
    typer.Option(
        "--sql",
        help="With --plan: list the statements that would be sent to the target, and send none that changes it.",
    ),
]


@contextlib.contextmanager
def listed(plan: bool, sql: bool) -> Iterator[Listing | None]:
    """Lists the statements within the block and withholds what changes anything, where that is asked for.

    Raises:
        UsageError: they are asked for without --plan.
    """
    from helpers.platforms import statements

    if sql and not plan:
        raise UsageError(
            "list the statements", on="--sql", why="only a plan lists them", next_step="write --plan --sql"
        )
    with statements.listed(withhold=True) if sql else contextlib.nullcontext() as listing:
        yield listing


def load_profile(name: str | None, source_dsn_env: str | None = None) -> Settings:
    """The settings of a profile, with the source that an environment variable names, if one is given.

    Raises:
        SettingsError, LocalStackError: as `settings.load` and `settings.source_from_dsn`.
    """
    from helpers import settings

    return settings.load(name, source=settings.source_from_dsn(source_dsn_env) if source_dsn_env else None)


def only_failed_of_a_run(only_failed: bool, run: str | None, *narrowed: object) -> None:
    """Raises `UsageError` where `--only-failed` names no run, or stands beside an option that chooses tables itself."""
    if only_failed and (run is None or any(narrowed)):
        why = "it chooses tables itself" if run else "only a run knows what failed in it"
        cure = "leave the other choice out" if run else "name the run: --run NAME"
        raise UsageError("understand the command", on="--only-failed", why=why, next_step=cure)


def one_of(option: str, value: str, known: Iterable[str]) -> None:
    """Raises `UsageError` where an option has no such choice."""
    if value not in known:
        why = "there is no such choice"
        cure = f"use one of: {', '.join(known)}"
        raise UsageError("understand the command", on=f"{option} {value}", why=why, next_step=cure)
