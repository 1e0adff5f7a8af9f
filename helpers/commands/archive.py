"""`runbook archive`."""

from typing import TYPE_CHECKING, Annotated

import typer

from helpers.commands import places
from helpers.commands.options import PlanOnly, Profile, Run, SourceDsn, load_profile
from helpers.commands.output import Answer, output, say, screen, show_left_out
from helpers.progress import duration, progress

if TYPE_CHECKING:
    from helpers.archive.record import RestoreTest


@output
def archive(
    restore_dsn_env: Annotated[
        str | None, typer.Option(help="Environment variable with the DSN of another server for the restore test.")
    ] = None,
    retest: Annotated[
        str | None, typer.Option(help="Name of a finished archive: only repeat its restore test.")
    ] = None,
    plan: PlanOnly = False,
    run: Run = None,
    source_dsn_env: SourceDsn = None,
    profile: Profile = None,
) -> Answer:
    """Lock the legacy data in S3, as Parquet and as a dump of one snapshot, and test that the dump restores; exit 1 if not.

    Run it again to resume an interrupted archive.

    Example: runbook archive --plan; runbook archive
    """
    from helpers import archive as archiving
    from helpers.ledger.folders import create_exclusively, make_private
    from helpers.settings import source_from_dsn

    settings = load_profile(profile, source_dsn_env)
    server = source_from_dsn(restore_dsn_env) if restore_dsn_env else None
    name = places.open_run_folder(run).name if run else None
    folder = archiving.working_folder(places.OUTPUTS, run=name, profile=settings.profile)
    if retest:
        with progress("restore test") as report:
            tested = archiving.retest(settings, retest, folder, server=server, progress=report)
        return Answer(
            tested.model_dump(mode="json"), lambda: _show_restore(tested), 0 if tested.verdict == "equal" else 1
        )
    what = archiving.plan_archive(settings, folder, server=server)
    if plan:
        own, rows = settings.archive, [(t.table, t.rows, t.bytes) for t in what.tables]
        value = {
            "plan": [vars(table) for table in what.tables], "location": f"{what.bucket.location}{what.state.name}/",
            "mode": own.mode, "retention_days": own.retention_days, "goes_on": what.resumed,
        }  # fmt: skip

        def preview() -> None:
            screen.table("would archive", "table", "rows (about)", "bytes in the source", rows=rows)
            goes_on = "goes on with" if what.resumed else "to"
            days = f"{own.retention_days:,} day{'' if own.retention_days == 1 else 's'}"
            say(f"{goes_on} {value['location']}, locked for {days} ({own.mode})")

        return Answer(value, preview)
    try:
        with progress("archive") as report:
            done = archiving.archive(what, progress=report)
    except BaseException:
        screen.print("what is written stays: the same command goes on with it", markup=False)
        raise
    if run:
        from helpers.evidence.heads import record_file

        kept = places.unused(places.run_folder(run) / "archive" / f"{done.name}.json")
        make_private(kept.parent)
        create_exclusively(kept, done.model_dump_json(indent=1))
        record_file(places.run_folder(run), kept)

    def show() -> None:
        dump = done.file(done.dump)
        screen.table(
            f"archive {done.name} at LSN {done.lsn}",
            "what", "files", "bytes",
            rows=[(f"Parquet, {done.rows:,} rows", len(done.files) - 1, done.bytes - dump.bytes), ("dump", 1, dump.bytes)],
        )  # fmt: skip
        say(f"in {done.location}, locked until {done.retain_until:%Y-%m-%d %H:%M} UTC ({done.mode})")
        show_left_out(done.left_out, "not in the Parquet files")
        _show_restore(done.restore_test)

    return Answer(done.model_dump(mode="json"), show, 0 if done.proved else 1)


def _show_restore(tested: "RestoreTest") -> None:
    rows = [(t.table, t.verdict, t.rows if t.rows is not None else "", t.differences) for t in tested.tables]
    if rows:
        say(f"the dump was restored on {tested.server}")
        screen.table("restored dump against the Parquet files", "table", "verdict", "rows", "differences", rows=rows)  # fmt: skip
    for sentence in tested.findings:
        say(sentence)
    verdict = "[bold green]RESTORES[/]" if tested.verdict == "equal" else f"[bold red]{tested.verdict.upper()}[/]"
    screen.print(f"{verdict}: {tested.rows:,} rows compared cell by cell in {duration(tested.seconds)}")
