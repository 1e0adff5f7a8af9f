"""`runbook settings`."""

from typing import Annotated

import typer

from helpers.commands.options import one_of
from helpers.commands.output import Answer, output, say, screen


@output
def settings(
    section: Annotated[str | None, typer.Argument(help="Only this section, such as export.")] = None,
    reference: Annotated[
        bool,
        typer.Option("--reference", help="Print docs/configuration/settings.md, generated from the settings' classes."),
    ] = False,
) -> Answer:
    """List every key of migration.toml: type, default, example and meaning.

    Example: runbook settings export
    """
    from helpers.settings import Profile
    from helpers.settings import reference as rendered

    if reference:
        changed = rendered.write()
        summary = {"file": str(rendered.FILE), "changed": changed}
        return Answer(summary, lambda: screen.print(f"{rendered.FILE}: {'written' if changed else 'unchanged'}"))
    if section is not None:
        one_of("SECTION", section, tuple(Profile.model_fields))
    text = rendered.section(section) if section else rendered.page()
    return Answer({"reference": text}, lambda: say(text))
