"""`runbook verify`."""

from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from helpers.best_effort import best_effort
from helpers.commands import places
from helpers.commands.held import tell_held
from helpers.commands.options import (
    Exclude,
    OnlyFailed,
    PlanOnly,
    PlanSql,
    Profile,
    Run,
    SourceDsn,
    Tables,
    listed,
    load_profile,
    one_of,
    only_failed_of_a_run,
)
from helpers.commands.output import Answer, output, planned, say, screen, tell_cost
from helpers.engines import ADAPTERS, engine
from helpers.errors import SourceRefused, UsageError
from helpers.progress import progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from helpers.engines.columns import TablePlan
    from helpers.settings import Settings


@output
def verify(
    source: Annotated[
        str,
        typer.Option(help="postgresql, or manifest: use the digests kept at the export, without reading PostgreSQL."),
    ] = "postgresql",
    target: Annotated[str, typer.Option(help="snowflake, databricks, stage or postgresql.")] = "snowflake",
    check: Annotated[str, typer.Option(help="row-counts, schema, data-quality, sample-data or full.")] = "full",
    tables: Tables = None,
    exclude: Exclude = None,
    where: Annotated[str | None, typer.Option(help="Only rows that meet this condition, in PostgreSQL's SQL.")] = None,
    since: Annotated[str | None, typer.Option(help="COLUMN=VALUE: only rows whose COLUMN is at least VALUE.")] = None,
    sample: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Fraction of the rows to compare, such as 0.01.")
    ] = None,
    names: Annotated[
        list[str] | None,
        typer.Option("--map", help="SCHEMA.TABLE[.COLUMN]=NAME: its name in the target; repeatable."),
    ] = None,
    tolerance: Annotated[
        list[str] | None,
        typer.Option(help="SCHEMA.TABLE.COLUMN=NUMBER: largest difference that counts as equal; repeatable."),
    ] = None,
    witness: Annotated[
        bool, typer.Option(help="Compute the source's digests inside PostgreSQL, independently of the reader.")
    ] = False,
    fence: Annotated[
        bool,
        typer.Option(
            "--fence",
            help="Hold the sync at a position that the target reaches, and compare there while the source goes on.",
        ),
    ] = False,
    location: Annotated[str | None, typer.Option(help="s3://bucket/prefix/; default: the profile's stage.")] = None,
    source_dsn_env: SourceDsn = None,
    target_dsn_env: Annotated[
        str | None, typer.Option(help="Environment variable with the target's DSN, for --target postgresql.")
    ] = None,
    only_failed: OnlyFailed = False,
    plan: PlanOnly = False,
    sql: PlanSql = False,
    run: Run = None,
    profile: Profile = None,
) -> Answer:
    """Compare source and target, by default cell by cell; exit 1 when they differ.

    With --run, a table that cannot be read is refused by itself and the others are compared; `--only-failed --run NAME` compares
    those again that were not equal. Of the whole, only a verification of all tables says anything.

    Example: runbook verify --source postgresql --target snowflake --json
    """
    from helpers import certify
    from helpers import verify as verifying
    from helpers.evidence.heads import sign_what_is_unsigned
    from helpers.ledger import verifications
    from helpers.ledger.folders import make_private
    from helpers.ledger.ledger import NAME, Ledger
    from helpers.settings import source_from_dsn
    from helpers.verify.about import About
    from helpers.verify.page import write as write_page
    from helpers.verify.terminal import show as show_verification

    one_of("--source", source, ("postgresql", "manifest"))
    one_of("--target", target, ADAPTERS)
    one_of("--check", check, ("row-counts", "schema", "data-quality", "sample-data", "full"))
    only_failed_of_a_run(only_failed, run, tables, exclude)
    folder = places.open_run_folder(run) if run else None
    tell_held(run, profile)
    settings = load_profile(profile, source_dsn_env)
    if target == "postgresql" and not target_dsn_env:
        raise UsageError(
            "verify against another PostgreSQL", on="--target postgresql", why="no target server is named",
            next_step="name an environment variable with its DSN: --target-dsn-env TARGET_DSN",
        )  # fmt: skip
    if target in settings.targets:
        with progress("certify", unit="questions") as report:
            certify.require(settings, target, progress=report)
    if source == "manifest" and target in settings.targets:
        _refuse_followed(settings, target, location)
    if only_failed and folder:
        tables = _failed_before(settings, folder, target, location, live=source == "postgresql")
    tolerances = settings.verify.tolerances | {k: _number(k, v) for k, v in _pairs("--tolerance", tolerance).items()}
    options = verifying.Options(
        verifying.Selection(where, since, sample), settings.verify.names | _pairs("--map", names), tolerances, witness
    )
    begun = datetime.now(UTC)
    if fence and (source != "postgresql" or target not in settings.targets or plan):
        raise UsageError(
            "verify at a fence", on="--fence", why="it is a position of the source that a sync takes a target to",
            next_step="give it with --source postgresql and a target that loads fill, without --plan",
        )  # fmt: skip
    with (
        _at_fence(settings, target, location, fence) as (given, stays),
        listed(plan, sql) as listing,
        progress("verify", unit="tables" if check == "data-quality" else "rows") as report,
        verifying.planned(
            settings,
            target=target,
            source_name=source,  # type: ignore[arg-type]
            check=check,  # type: ignore[arg-type]
            tables=tuple(tables or ()),
            exclude=tuple(exclude or ()),
            target_source=source_from_dsn(target_dsn_env) if target_dsn_env else None,
            location=location,
            cells_folder=places.unused(folder / "verify") if folder else None,
            options=options,
            **given,
            set_aside=folder is not None,
            progress=report,
        ) as what,
    ):
        if folder and not plan:
            with best_effort("the run's folder could not be made"):
                make_private(folder)
        found = None if plan else verifying.verify(what, progress=report)
        stays()
        if sql:
            verifying.rehearse(what)
    if found is None:
        tell_cost(
            engine(target).estimated_cost(settings, "verify", sum(_bytes(p) for p in what.tables), len(what.tables))
        )
        rows = [
            (str(p.table), p.rows, ", ".join(p.key) or "no key: as a multiset", p.selection or "all rows")
            for p in what.tables
        ]
        return planned(
            "would compare",
            ("table", "rows", "key", "compared"),
            rows,
            shown=("table", "rows (about)", "by key", "compared"),
            listing=listing,
        )
    about = About.from_plan(what)
    page: Path | None = None
    if found.tables and not found.business:
        with best_effort("the report page could not be written"):
            page = write_page(found, what.cells_folder / "report.html", about=about)
    if folder:
        # Of what narrows it, only what was given: an equal verdict on less does not outweigh a difference.
        given = {
            "check": check if check != "full" else None, "tables": tables, "exclude": exclude, "where": where, "since": since, "sample": sample,
            "map": names, "tolerance": tolerance, "location": location,
        }  # fmt: skip
        with best_effort(f"{folder.name} was not told of this verification"):
            verifications.record(folder, found, what, {name: value for name, value in given.items() if value})
            if (folder / NAME).exists():
                sign_what_is_unsigned(folder, Ledger.open(folder))
    with best_effort("the export's snapshot was not let go"):
        verifying.release_when_proved(what, found, everything=not tables and not exclude)

    def show() -> None:
        show_verification(screen, found, about)
        tell_cost(engine(target).actual_cost(settings, begun))
        if page:
            say(f"the report for people: {page}")

    return Answer(found.as_dict() | {"page": str(page) if page else None}, show, 0 if found.equal else 1)


def _failed_before(settings: "Settings", folder: Path, target: str, location: str | None, *, live: bool) -> list[str]:
    """The tables that the run's last verification did not find equal.

    Raises:
        UsageError: there is none, or nothing failed in it.
        SourceRefused: the snapshot in which the others were compared is gone.
    """
    from helpers.ledger.verifications import last_failed
    from helpers.model import manifest as manifests
    from helpers.platforms.s3 import Bucket
    from helpers.source import snapshot as snapshots

    again = f"verify all tables: runbook verify --target {target} --run {folder.name}"
    found = last_failed(folder, {target, "delta"} if target == "databricks" else {target})
    if not found or not found[0]:
        why = f"nothing failed in {found[1].name}" if found else "the run has verified nothing against this target"
        raise UsageError("verify what failed", on=folder.name, why=why, next_step=again)
    if live:
        manifest = manifests.read(Bucket.open(settings.stage, location))
        if not snapshots.is_held(settings.source.on(manifest.instance), manifest.snapshot):
            why = f"nobody holds the snapshot at LSN {manifest.lsn} any more: these tables would be compared at another LSN than the others"
            raise SourceRefused("verify what failed", on=", ".join(found[0]), why=why, next_step=again)
    say(f"verifies again what was not equal in {found[1].name}: {', '.join(found[0])}")
    return found[0]


def _bytes(table: "TablePlan") -> int:
    """Of the staged files, or, where nothing is staged, of the source's heaps."""
    return (
        sum(file.bytes for file in table.staged.files)
        if table.staged
        else sum(heap.bytes for heap in table.table.heaps)
    )


def _pairs(option: str, given: list[str] | None) -> dict[str, str]:
    pairs = dict(text.rpartition("=")[::2] for text in given or ())
    if bad := next((text for text in given or () if not all(text.rpartition("="))), None):
        raise UsageError("understand the command", on=f"{option} {bad}", why="it is not NAME=VALUE", next_step="write schema.table=NAME")  # fmt: skip
    return pairs


def _refuse_followed(settings: "Settings", target: str, location: str | None) -> None:
    """Raises `UsageError` where a sync has changed the target since the export, whose digests are then of other rows."""
    from helpers.model import lsn
    from helpers.platforms.s3 import Bucket

    if found := engine(target).followed(settings.target(target), Bucket.open(settings.stage, location)):
        raise UsageError(
            "verify with the digests of the export", on=f"--source manifest, --target {target}",
            why=f"a sync follows on the export, and has brought the target to LSN {lsn.printed(found.position)}",
            next_step="compare with the source at a position that both reach: runbook verify --fence",
        )  # fmt: skip


@contextmanager
def _at_fence(
    settings: "Settings", target: str, location: str | None, wanted: bool
) -> "Iterator[tuple[dict[str, Any], Callable[[], None]]]":
    """What a verification at a fence is planned with, and what makes sure behind it that the target has stayed there."""
    if not wanted:
        yield {}, lambda: None
        return
    from helpers.platforms.s3 import Bucket
    from helpers.sync import fence

    bucket = Bucket.open(settings.stage, location)
    with (
        progress("sync", unit="bytes of log") as report,
        fence.taken(settings, bucket, [target], progress=report) as snapshot,
    ):
        given = {
            "snapshot": snapshot,
            "snapshot_note": "a fence that the target was taken to, while the source went on",
        }
        yield given, lambda: fence.require_at(settings, bucket, [target], snapshot)


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(
            "understand the command",
            on=f"--tolerance {name}={text}",
            why=f"{text} is not a number",
            next_step="write 1e-9",
        ) from None
