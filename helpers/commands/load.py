"""`runbook load`."""

import contextlib
from datetime import UTC, datetime
from typing import Annotated

import typer

from helpers.commands import places
from helpers.commands.held import tell_held
from helpers.commands.options import (
    Exclude,
    OnlyFailed,
    PlanOnly,
    PlanSql,
    Profile,
    Run,
    listed,
    load_profile,
    one_of,
    only_failed_of_a_run,
)
from helpers.commands.output import Answer, output, planned, say, screen, tell_cost
from helpers.engines import engine
from helpers.errors import LoadError
from helpers.progress import progress


@output
def load(
    target: Annotated[str, typer.Option(help="snowflake or databricks.")] = "snowflake",
    source: Annotated[
        str | None, typer.Option(help="s3://bucket/prefix/ of an export; default: the profile's stage.")
    ] = None,
    target_table: Annotated[str | None, typer.Option(help="Only this table.")] = None,
    exclude: Exclude = None,
    only_failed: OnlyFailed = False,
    plan: PlanOnly = False,
    sql: PlanSql = False,
    run: Run = None,
    profile: Profile = None,
) -> Answer:
    """Load an export's files into the target, each table in one transaction or commit.

    With --run, a table that the target does not take is set aside and the others go on; `--only-failed --run NAME` loads it
    once its cause is mended, and keeps those that hold their rows.

    Example: runbook load --target snowflake --source s3://your-bucket/migration/ --target-table orders
    """
    from helpers import certify
    from helpers import load as loading
    from helpers.export.resume import of_run
    from helpers.model import manifest as manifests
    from helpers.platforms.s3 import Bucket
    from helpers.settings import TARGETS
    from helpers.source import left_out
    from helpers.source.held_snapshots import released_when_refused

    one_of("--target", target, TARGETS)
    only_failed_of_a_run(only_failed, run, target_table, exclude)
    settings = load_profile(profile)
    bucket = Bucket.open(settings.stage, source)
    manifest = manifests.read(bucket)
    if only_failed and run:
        manifest = of_run(places.run_folder(run), bucket, what="load what failed")
    manifest = manifest.placed(settings.tables)
    say(f"the export {manifest.export} of {manifest.source}, at LSN {manifest.lsn} ({manifest.exported_at})")
    tell_held(run, profile)
    there = settings.target(target)
    with progress("certify", unit="questions") as report:
        certify.require(settings, target, progress=report)

    def let_go() -> None:
        say(f"let go the snapshot of the export, at LSN {manifest.lsn}: a verification reads the source as it is then")

    since = datetime.now(UTC)
    held = contextlib.nullcontext() if plan else released_when_refused(manifest.snapshot, manifest.source, let_go)
    with held, listed(plan, sql) as listing:
        what = loading.plan_load(manifest, bucket, there, table=target_table, exclude=exclude or ())
        say(f"into {what.there.where}")
        untold: dict[str, str] = {}
        if plan:
            size = sum(file.bytes for t in what.tables for file in t.staged.files)
            tell_cost(engine(target).estimated_cost(settings, "load", size, len(what.tables)))
            rows = [(str(t.staged), t.action, t.staged.rows, len(t.staged.files)) for t in what.tables]
            if sql:
                loading.rehearse(what)
            return planned("would load", ("table", "action", "rows", "files"), rows, listing=listing)
        failed: dict[str, LoadError] = {}
        load_id = loading.last_load(manifest, bucket, there) if only_failed else None
        with progress("load") as report:
            loaded = loading.load(
                what, load_id=load_id, progress=report, untold=untold.update, set_aside=failed if run else None
            )

    def show() -> None:
        screen.table("loaded", "table", "rows", "action", rows=[(t.table, t.rows, t.action) for t in loaded])
        if told := len(what.keys) - len(untold):
            say(f"{told:,} keys are in the target's catalog, as information that it does not enforce")
        for line in left_out.lines(untold, said="not told"):
            say(line)
        tell_cost(engine(target).actual_cost(settings, since))
        for name, why in aside.items():
            say(f"set aside: {name}: {why}")
        if failed:
            say(f"mend that, then: runbook load --target {target} --only-failed --run {run}")
        if manifest.set_aside:
            say(
                f"set aside by the export: {', '.join(manifest.failed)}: runbook export --only-failed --run {run or 'NAME'}"
            )

    aside = {name: f"{error.why} → {error.next_step}" for name, error in failed.items()}
    value = {"tables": [vars(table) for table in loaded], "keys_not_told": untold, "set_aside": aside}
    return Answer(value, show, 1 if aside else 0)
