"""`runbook sync`: the changes after the copy."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from helpers.commands.options import Profile, SourceDsn, load_profile
from helpers.commands.output import Answer, output, say, screen

if TYPE_CHECKING:
    from helpers.sync.status import Status

app = typer.Typer(no_args_is_help=True, help="Follow what is changed in the source after the copy.")

Stage = Annotated[
    str | None,
    typer.Option("--source", help="s3://bucket/prefix/ of the copy that is followed; default: the profile's stage."),
]


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
