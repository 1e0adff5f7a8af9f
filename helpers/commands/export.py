"""`runbook export`."""

from typing import Annotated, Any

import typer

from helpers.commands import places
from helpers.commands.held import tell_held
from helpers.commands.options import Exclude, PlanOnly, Profile, Run, SourceDsn, Tables, load_profile
from helpers.commands.output import Answer, output, say, screen, show_left_out
from helpers.errors import UsageError
from helpers.progress import progress


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
    include_views: Annotated[bool, typer.Option(help="Export views and materialized views too.")] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, max=64, help="Number of parallel readers; default: the profile's.")
    ] = None,
    plan: PlanOnly = False,
    run: Run = None,
    source_dsn_env: SourceDsn = None,
    profile: Profile = None,
) -> Answer:
    """Write every table of the source as Parquet files to S3, in one snapshot, with a manifest.

    With --run, an interrupted export resumes where it stopped.

    Example: runbook export --output-format parquet --target-location s3://your-bucket/migration/
    """
    from helpers import export as exporting
    from helpers.evidence.heads import record_file
    from helpers.export.resume import NAME, Pointer, find_unfinished
    from helpers.load import beforehand
    from helpers.source import held_snapshots

    if output_format != "parquet":
        why = "only parquet keeps every value"
        raise UsageError("export", on=f"--output-format {output_format}", why=why, next_step="use parquet")
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
        "run": run or "",
    }  # fmt: skip
    warned: list[str] = []

    options["objections"] = lambda planned: beforehand.refused_by_all(settings, planned, warn=warned.append)
    manifest = None
    begun = False
    try:
        with (
            progress("export") as report,
            exporting.planned(settings, progress=report, release=not hold_snapshot or plan, **options) as what,
        ):
            if views := [str(c.table) for c in what.census if c.table.kind == "v"]:
                say(
                    f"{', '.join(views)}: reading a view runs the functions in it as {settings.source.user}, whoever owns them"
                )
            if not what.refused and not what.names:
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
                if folder:
                    begun = not what.refused
                    Pointer(location=location, export=what.state.export).write(folder)
                    record_file(folder, folder / NAME)
                manifest = exporting.export(what, progress=report)
    except BaseException:
        if begun and held_snapshots.held(run):
            say(f"what is written stays: `runbook export --run {run}` goes on with it")
            tell_held(run, profile)
        raise
    if manifest is None:
        rows = [
            (str(c.table), c.rows, len(t.parts), "; ".join(dict.fromkeys(what.refusals(str(c.table)))) or "exact")
            for c, t in zip(what.census, what.state.tables, strict=True)
        ]

        def preview() -> None:
            screen.table(f"would export to {what.bucket.location}", "table", "rows", "files", "verdict", rows=rows)
            for refusal in what.names:
                say(f"refused: {refusal} → {refusal.cure}")
            show_left_out(what.state.left_out)

        planned = [dict(zip(("table", "rows", "files", "verdict"), row, strict=True)) for row in rows]
        value = {"plan": planned, "refused": list(what.refused), "left_out": what.state.left_out}
        return Answer(value, preview, 1 if what.refused else 0)
    summary = {
        "export": manifest.export, "location": str(what.bucket.location), "lsn": manifest.lsn, "lsn_exact": manifest.lsn_exact,
        "why_approximate": manifest.why_approximate, "snapshot": manifest.snapshot, "held": hold_snapshot, "left_out": manifest.left_out,
        "tables": [{"schema": t.schema_, "name": t.name, "rows": t.rows, "files": len(t.files), "bytes": t.bytes} for t in manifest.tables],
    }  # fmt: skip

    def show() -> None:
        rows = [(str(t), t.rows, len(t.files), t.bytes) for t in manifest.tables]
        screen.table(
            f"exported to {what.bucket.location} at LSN {manifest.lsn}", "table", "rows", "files", "bytes", rows=rows
        )
        if not manifest.lsn_exact:
            screen.print(f"the LSN is approximate: {manifest.why_approximate}", markup=False)
        show_left_out(manifest.left_out)

    return Answer(summary, show)
