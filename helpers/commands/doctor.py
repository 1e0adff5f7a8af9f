"""`runbook doctor`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from helpers.commands.options import Profile, SourceDsn, load_profile
from helpers.commands.output import Answer, output, say, screen
from helpers.errors import UsageError
from helpers.progress import progress

if TYPE_CHECKING:
    from helpers.doctor import Examined


@output
def doctor(
    only: Annotated[
        list[str] | None,
        typer.Option(
            help='Only systems matching this glob ("source", "s*"), or one check ("source.SELECT"); repeatable.'
        ),
    ] = None,
    certify: Annotated[
        bool,
        typer.Option(
            "--certify", help="Send golden values through the real target, in a scratch schema: not built yet."
        ),
    ] = False,
    target: Annotated[str | None, typer.Option(help="With --certify: the target to certify.")] = None,
    source_dsn_env: SourceDsn = None,
    profile: Profile = None,
) -> Answer:
    """Check every right, setting, version and limit of everything the profile configures, writing nothing. Exit 1 when something is wrong.

    A missing right is shown with the statement that grants it; docs/rights.md has them all.

    Example: runbook doctor --profile production; runbook doctor --only source --json
    """  # fmt: skip
    from helpers import doctor as examining

    if certify or target:
        why = "sending golden values through a real target is not built yet"
        cure = "run it without --certify and --target; phase 00 with --apply makes, fills and removes a scratch schema"
        raise UsageError("certify a target", on="--certify" if certify else "--target", why=why, next_step=cure)
    settings = load_profile(profile, source_dsn_env)
    with progress("doctor", unit="systems") as report:
        found = examining.examine(settings, tuple(only or ()), progress=report)
    return Answer(examining.as_dict(found), lambda: _show(found), 0 if examining.ready(found) else 1)


_MARKS = {"stop": ("✘", "bold red"), "warning": ("!", "yellow"), "unchecked": ("?", "dim"), "note": ("✔", "green")}
_ORDER = list(_MARKS)


def _show(found: "Sequence[Examined]") -> None:
    from rich.text import Text

    from helpers.screen import printable

    for system in dict.fromkeys(each.system for each in found):
        screen.print(Text(system, style="bold"))
        own = (each.finding for each in found if each.system == system)
        for finding in sorted(own, key=lambda each: _ORDER.index(each.severity)):
            mark, style = _MARKS[finding.severity]
            needed = f"; needed: {finding.needed}" if finding.needed and finding.severity != "note" else ""
            line = Text.assemble(
                "  ", (mark, style), f" {printable(finding.on)}: {printable(finding.what)}{printable(needed)}"
            )
            screen.print(line, soft_wrap=True)
            if finding.fix:
                say(f"      → {printable(finding.fix)}")
    wrong = sum(each.verdict == "wrong" for each in found)
    unasked = sum(each.verdict == "not checked" for each in found)
    verdict = (
        f"not ready: {wrong} of {len(found)} findings are wrong"
        if wrong
        else f"ready: nothing of {len(found)} findings is wrong"
    )
    say(f"{verdict}{f'; {unasked} could not be checked' if unasked else ''}")
