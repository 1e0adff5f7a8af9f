"""`runbook sync`: the changes after the copy."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from helpers import log
from helpers.commands.options import Json, Log, Profile, SourceDsn, load_profile, one_of
from helpers.commands.output import Answer, output, say, screen
from helpers.errors import UsageError
from helpers.stopping import ends_when_told

if TYPE_CHECKING:
    from helpers.sync.status import Status

app = typer.Typer(invoke_without_command=True)

Stage = Annotated[
    str | None,
    typer.Option("--source", help="s3://bucket/prefix/ of the copy that is followed; default: the profile's stage."),
]


@app.callback(no_args_is_help=False)
def sync(
    context: typer.Context,
    target: Annotated[
        str | None, typer.Option(help="snowflake or databricks; default: every target of the profile.")
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="Apply what has changed until now, then end (the default).")
    ] = False,
    follow: Annotated[
        bool,
        typer.Option(
            "--follow",
            help="Go on until SIGTERM or Ctrl-C, which end it behind the batch that is under way; a second one at once.",
        ),
    ] = False,
    until: Annotated[
        str | None, typer.Option(help="LSN, such as 16/B374D848: apply what was committed before it, then end.")
    ] = None,
    via: Annotated[str | None, typer.Option(help="kafka: through topics; not built yet.")] = None,
    source: Stage = None,
    source_dsn_env: SourceDsn = None,
    as_json: Json = False,
    log_form: Log = log.QUIET,
    profile: Profile = None,
) -> None:
    """Apply what is changed in the source since the copy that `runbook export --follow` has made, exactly once, to every target.

    It goes on where the targets are, whatever ended it before. A table that cannot be followed any more stops, with the reason, and the others go
    on; exit 1 says so.

    Example: runbook sync --follow; runbook sync --target snowflake --once --json
    """
    if context.invoked_subcommand is None:
        _sync(
            target=target, once=once, follow=follow, until=until, via=via, source=source, source_dsn_env=source_dsn_env,
            profile=profile, as_json=as_json, log_form=log_form,
        )  # fmt: skip


@output
def _sync(
    target: str | None, once: bool, follow: bool, until: str | None, via: str | None, source: str | None,
    source_dsn_env: str | None, profile: str | None,
) -> Answer:  # fmt: skip
    from helpers import certify
    from helpers.model import lsn
    from helpers.model.sync import ANEW
    from helpers.platforms.s3 import Bucket
    from helpers.progress import progress
    from helpers.sync.fence import Attendant
    from helpers.sync.loop import syncing

    if via is not None:
        raise UsageError(
            "sync", on=f"--via {via}", why="changes do not go through Kafka yet", next_step="leave --via out: they go to the targets directly"
        )  # fmt: skip
    if sum((once, follow, until is not None)) > 1:
        raise UsageError(
            "sync", on="--once, --follow, --until", why="each says when to end", next_step="give one of them"
        )
    settings = load_profile(profile, source_dsn_env)
    if target is not None:
        one_of("--target", target, settings.targets)
    try:
        end = lsn.parse(until) if until is not None else None
    except ValueError as error:
        raise UsageError("sync", on=f"--until {until}", why=str(error), next_step="give an LSN of the source") from None
    targets = (target,) if target else tuple(settings.targets)
    for name in targets:
        with progress("certify", unit="questions") as report:
            certify.require(settings, name, progress=report)
    bucket = Bucket.open(settings.stage, source)
    with (
        progress("sync", unit="bytes of log") as report,
        syncing(settings, bucket, targets, report=report) as running,
    ):
        running.between = Attendant(running, bucket)
        if follow:
            with ends_when_told(running.ended.set):
                running.run()
        else:
            running.run(end or running.end)
    stopped = {str(table): table.stopped for table in running.sync.tables if table.stopped}
    value = {
        "sync": running.sync.id, "position": lsn.printed(running.position), "batches": running.done.batches,
        "rows": running.done.rows, "stopped": stopped,
    }  # fmt: skip

    def show() -> None:
        rows = [(name, lsn.printed(running.position), running.done.rows.get(name, 0)) for name in targets]
        screen.table(
            f"{running.done.batches:,} batches applied", "target", "at LSN", "rows written and deleted", rows=rows
        )
        for name, why in stopped.items():
            say(f"stopped: {name}: {why} → mend it, then {ANEW}")

    return Answer(value, show, 1 if stopped else 0)


@app.command()
@output
def status(source: Stage = None, source_dsn_env: SourceDsn = None, profile: Profile = None) -> Answer:
    """Show how far each target is, what the slot keeps of the source's log, and what has stopped and why. Exit 1 where something needs a person.

    Example: runbook sync status --json
    """
    from helpers.platforms.s3 import Bucket
    from helpers.sync import status as statuses

    settings = load_profile(profile, source_dsn_env)
    found = statuses.read(settings, Bucket.open(settings.stage, source))
    stops = any(each.severity == "stop" for each in found.findings)
    return Answer(found.as_dict(), lambda: _show(found), 1 if stops else 0)


def _show(found: "Status") -> None:
    from helpers.model import lsn

    rows = [
        (name, lsn.printed(each.applied), each.lag_bytes, f"{each.lag_seconds:,.1f}", each.rows)
        for name, each in found.targets.items()
    ]
    title = f"the sync of the copy {found.sync.export}; the source is at {lsn.printed(found.server.position)}"
    screen.table(title, "target", "at LSN", "bytes behind", "seconds behind", "rows changed", rows=rows)
    if not rows:
        say(f"it has not begun: the targets are as the copy at LSN {found.sync.lsn}, where they are loaded")
    for each in found.findings:
        say(f"{each.severity}: {each.on}: {each.what}{f' → {each.fix}' if each.fix else ''}")


@app.command()
@output
def stop(
    source: Stage = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    source_dsn_env: SourceDsn = None,
    profile: Profile = None,
) -> Answer:
    """Drop the slot and the publication: what is changed from then on is told to nobody, and only a new copy can be followed again.

    Example: runbook sync stop --profile production
    """
    from helpers.platforms.s3 import Bucket
    from helpers.sync import setup

    settings = load_profile(profile, source_dsn_env)
    bucket = Bucket.open(settings.stage, source)
    if not yes and sys.stdin.isatty():
        typer.confirm(
            f"Drop the slot of the sync of {bucket.location}? Only a new copy can be followed again", abort=True
        )
    dropped = setup.stop(settings, bucket)
    said = [f"{kind} {name}" for kind, name in (("slot", dropped.slot), ("publication", dropped.publication)) if name]
    return Answer(vars(dropped), lambda: say(f"dropped: {', '.join(said)}" if said else "there was nothing to drop"))
