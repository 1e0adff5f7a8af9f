"""`runbook doctor`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from helpers.commands.options import Profile, SourceDsn, load_profile, one_of
from helpers.commands.output import Answer, output, say, screen
from helpers.errors import UsageError
from helpers.progress import progress

if TYPE_CHECKING:
    from helpers.doctor import Examined
    from helpers.settings import Settings


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
            "--certify",
            help="Send golden values through each target, in a scratch schema that is dropped again: a minute or two, a few cents.",
        ),
    ] = False,
    target: Annotated[str | None, typer.Option(help="With --certify: only this one, snowflake or databricks.")] = None,
    source_dsn_env: SourceDsn = None,
    profile: Profile = None,
) -> Answer:
    """Check every right, setting, version and limit of everything the profile configures, writing nothing. Exit 1 when something is wrong.

    A missing right is shown with the statement that grants it; docs/rights.md has them all. With --certify a target answers golden
    questions, which every load and verification asks for; docs/certification.md says which.

    Example: runbook doctor --profile production; runbook doctor --only source --json; runbook doctor --certify --target snowflake
    """  # fmt: skip
    from helpers import doctor as examining

    if (target or only) and bool(only) == certify:
        given = "--only with --certify" if certify else "--target"
        why = "--only chooses what is checked, --certify asks all there is to ask of a target, and --target chooses that one"
        raise UsageError(
            "understand the command",
            on=given,
            why=why,
            next_step="take --only away, or give --target with --certify alone",
        )
    settings = load_profile(profile, source_dsn_env)
    if certify:
        return _certified(settings, target)
    with progress("doctor", unit="systems") as report:
        found = examining.examine(settings, tuple(only or ()), progress=report)
    return Answer(examining.as_dict(found), lambda: _show(found), 0 if examining.ready(found) else 1)


def _certified(settings: "Settings", target: str | None) -> Answer:
    from helpers import certify
    from helpers.doctor import as_dict, ready
    from helpers.doctor.certification import examined
    from helpers.engines import destination
    from helpers.settings import TARGETS

    if target:
        one_of("--target", target, TARGETS)
    chosen = [target] if target else list(settings.targets) or [settings.main_target.adapter]
    found = []
    for each in chosen:
        section = settings.target(each)
        say(f"certifies {destination(section).where}: {certify.BEFOREHAND}")
        with progress(f"certify {each}", unit="questions") as report:
            found += examined(certify.certify(settings, each, progress=report), each)
    return Answer(as_dict(found), lambda: _show(found), 0 if ready(found) else 1)


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
