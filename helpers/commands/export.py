"""`runbook export`."""

from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Any

import typer

from helpers.commands import places
from helpers.commands.held import tell_held
from helpers.commands.options import (
    Exclude,
    OnlyFailed,
    PlanOnly,
    Profile,
    Run,
    SourceDsn,
    Tables,
    load_profile,
    only_failed_of_a_run,
)
from helpers.commands.output import Answer, output, say, screen, show_left_out
from helpers.errors import UsageError
from helpers.progress import progress

if TYPE_CHECKING:
    from collections.abc import Mapping

    from helpers.model.manifest import Manifest


@output
def export(
    target_location: Annotated[
        str | None, typer.Option(help="s3://bucket/prefix/; default: the profile's stage.")
    ] = None,
    output_format: Annotated[str, typer.Option(help="parquet is the only format.")] = "parquet",
    tables: Tables = None,
    exclude: Exclude = None,
    hold_snapshot: Annotated[
        bool,
        typer.Option(help="Keep the snapshot open until it is verified, for the profile's hours at most (default: 6)."),
    ] = False,
    follow: Annotated[
        bool,
        typer.Option(
            "--follow",
            help="Publish the tables and keep a slot from the same snapshot, for `runbook sync` to go on from.",
        ),
    ] = False,
    include_views: Annotated[bool, typer.Option(help="Export views and materialized views too.")] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, max=64, help="Number of parallel readers; default: the profile's.")
    ] = None,
    only_failed: OnlyFailed = False,
    plan: PlanOnly = False,
    run: Run = None,
    source_dsn_env: SourceDsn = None,
    profile: Profile = None,
) -> Answer:
    """Write every table of the source as Parquet files to S3, in one snapshot, with a manifest.

    With --run, an interrupted export resumes where it stopped, and a table that cannot be exported is set aside: the others go
    on, the exit code is 1, and `--only-failed --run NAME` exports it once its cause is mended.

    Example: runbook export --output-format parquet --target-location s3://your-bucket/migration/
    """
    from helpers import export as exporting
    from helpers.evidence.heads import record_file
    from helpers.export.resume import NAME, Pointer, find_unfinished, of_run
    from helpers.load import beforehand
    from helpers.model import sync as records
    from helpers.platforms.s3 import Bucket
    from helpers.source import held_snapshots
    from helpers.sync import setup

    if output_format != "parquet":
        why = "only parquet keeps every value"
        raise UsageError("export", on=f"--output-format {output_format}", why=why, next_step="use parquet")
    only_failed_of_a_run(only_failed, run, tables, exclude, include_views)
    if follow and (include_views or only_failed):
        on = "--include-views" if include_views else "--only-failed"
        why = "a view's rows have no changes to follow" if include_views else "the set-up of what follows stands"
        raise UsageError("follow changes", on=f"--follow {on}", why=why, next_step=f"leave --follow or {on} out")
    folder = places.open_run_folder(run) if run else None
    tell_held(run, profile)
    settings = load_profile(profile, source_dsn_env)
    if workers:
        settings = settings.with_workers(workers)
    location = target_location or settings.stage.url
    options: dict[str, Any] = {
        "location": location, "tables": tuple(tables or ()), "exclude": tuple(exclude or ()),
        "include_views": include_views,
        "resume": find_unfinished(folder, location), "keep_for_resume": run is not None and not plan,
        "run": run or "", "set_aside": run is not None,
    }  # fmt: skip
    if only_failed and folder:
        former = of_run(folder, Bucket.open(settings.stage, location), what="export what was set aside")
        if not former.set_aside:
            return _nothing_failed(former)
        setup.refuse_late(settings, Bucket.open(settings.stage, location), former.failed)
        options = {"location": location, "only_failed": True}
    warned: list[str] = []

    options["objections"] = lambda planned: beforehand.refused_by_all(settings, planned, warn=warned.append)
    manifest, sync = None, None
    begun = False
    bucket, chosen = Bucket.open(settings.stage, location), (tuple(tables or ()), tuple(exclude or ()))
    try:
        if follow and plan:
            setup.check(settings, bucket, *chosen)
        with ExitStack() as stack:
            report = stack.enter_context(progress("export"))
            following = stack.enter_context(setup.prepared(settings, bucket, *chosen)) if follow and not plan else None
            if following:
                options["follow"] = following.follow
            what = stack.enter_context(
                exporting.planned(settings, progress=report, release=not hold_snapshot or plan, **options)
            )
            if following:
                setup.refuse_unpublished(following, what.catalog.tables, what.snapshot)
            if views := [str(c.table) for c in what.census if c.table.kind == "v"]:
                say(
                    f"{', '.join(views)}: reading a view runs the functions in it as {settings.source.user}, whoever owns them"
                )
            if not what.refused:
                beforehand.ask_targets(what.unwritten, what.bucket, settings, warn=warned.append)
            for line in warned:
                say(line)
            if what.resumed:
                done = sum(1 for table in what.state.tables for part in table.parts if part.file)
                all_parts = sum(len(table.parts) for table in what.state.tables)
                screen.print(
                    f"goes on with the export {what.state.export}: {done:,} of {all_parts:,} files are there",
                    markup=False,
                )
            if not plan:
                if folder and not only_failed:
                    begun = not what.refused
                    Pointer(location=location, export=what.state.export).write(folder)
                    record_file(folder, folder / NAME)
                manifest = exporting.export(what, progress=report)
                if following or (only_failed and records.read_if_any(bucket)):
                    sync = setup.keep(following or setup.of(settings, bucket), manifest, what.snapshot)
    except BaseException:
        if begun and held_snapshots.held(run):
            say(f"what is written stays: `runbook export --run {run}` goes on with it")
            tell_held(run, profile)
        raise
    if manifest is None:
        parts = {str(table): len(table.parts) for table in what.state.tables}
        rows = [
            (
                str(c.table),
                c.rows,
                parts.get(str(c.table), 0),
                "; ".join(dict.fromkeys(what.refusals(str(c.table)))) or "exact",
            )
            for c in what.census
        ]
        counted = {table for table, *_ in rows}
        rows += [(name, 0, 0, why) for name, why in what.state.failed.items() if name not in counted]

        def preview() -> None:
            screen.table(f"would export to {what.bucket.location}", "table", "rows", "files", "verdict", rows=rows)
            for refusal in what.names:
                say(f"refused: {refusal} → {refusal.cure}")
            _show_set_aside(what.state.failed)
            show_left_out(what.state.left_out)

        planned = [dict(zip(("table", "rows", "files", "verdict"), row, strict=True)) for row in rows]
        aside = what.state.failed
        value = {"plan": planned, "refused": list(what.refused), "left_out": what.state.left_out, "set_aside": aside}
        return Answer(value, preview, 1 if what.refused or aside else 0)
    summary = {
        "export": manifest.export, "location": str(what.bucket.location), "lsn": manifest.lsn, "lsn_exact": manifest.lsn_exact,
        "why_approximate": manifest.why_approximate, "snapshot": manifest.snapshot, "held": hold_snapshot or bool(run and manifest.set_aside), "set_aside": manifest.failed, "left_out": manifest.left_out,
        "tables": [{"schema": t.schema_, "name": t.name, "rows": t.rows, "files": len(t.files), "bytes": t.bytes} for t in manifest.tables],
    }  # fmt: skip
    if sync:
        summary |= {"slot": sync.slot, "publication": sync.publication}

    def show() -> None:
        rows = [(str(t), t.rows, len(t.files), t.bytes) for t in manifest.tables]
        screen.table(
            f"exported to {what.bucket.location} at LSN {manifest.lsn}", "table", "rows", "files", "bytes", rows=rows
        )
        if not manifest.lsn_exact:
            screen.print(f"the LSN is approximate: {manifest.why_approximate}", markup=False)
        show_left_out(manifest.left_out)
        _show_set_aside(manifest.failed)
        if sync:
            say(
                f"the slot {sync.slot} keeps what is changed from here on, and the source's log with it, until `runbook sync stop`"
            )
        if manifest.set_aside:
            say(f"mend that, then: runbook export --only-failed --run {run}; the snapshot is held for it")

    return Answer(summary, show, 1 if manifest.set_aside else 0)


def _show_set_aside(failed: "Mapping[str, str]") -> None:
    for name, why in failed.items():
        say(f"set aside: {name}: {why}")


def _nothing_failed(manifest: "Manifest") -> Answer:
    """The answer where a run's export has set nothing aside."""
    said = f"nothing was set aside: all {len(manifest.tables):,} tables of the export {manifest.export} are there"
    return Answer({"export": manifest.export, "lsn": manifest.lsn, "set_aside": {}}, lambda: say(said))
