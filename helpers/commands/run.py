"""`runbook run`."""

import os
import shlex
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from helpers.commands import places
from helpers.commands.held import tell_held
from helpers.commands.options import Json, Profile, one_of
from helpers.commands.output import Answer, output, say, screen
from helpers.errors import MigrationError, UsageError
from helpers.progress import duration

if TYPE_CHECKING:
    from helpers.runs.run import AttemptResult
    from helpers.runs.run_all import AllResult


@output
def run(
    phase: Annotated[str, typer.Argument(help="Number or name of a phase, such as 30 or 30_data_migration, or all.")],
    run: Annotated[str, typer.Option(help="Name of the run; its evidence goes to outputs/RUN.")],
    parameter: Annotated[
        list[str] | None, typer.Option("-p", help="NAME=VALUE: a parameter that the notebook declares; repeatable.")
    ] = None,
    parameters_file: Annotated[Path | None, typer.Option("-f", help="YAML file of parameters.")] = None,
    apply: Annotated[
        bool | None,
        typer.Option(
            "--apply/--rehearse",
            help="Apply changes, or only plan them; by default only profile local applies, up to phase 40.",
        ),
    ] = None,
    option: Annotated[str, typer.Option(help="The migration path: A, B or C.")] = "A",
    cell_timeout: Annotated[float, typer.Option(help="Time limit for one cell, in seconds.")] = 6 * 3600,
    run_timeout: Annotated[
        float | None, typer.Option(min=1, help="Time limit for the whole command, in seconds (with all).")
    ] = None,
    retries: Annotated[
        int | None,
        typer.Option(min=0, help="Number of retries after a transient error; default: 0, or 3 with all."),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Do not print a line for each cell on standard error.")
    ] = False,
    profile: Profile = None,
    as_json: Json = False,
) -> Answer:
    """Execute a phase's notebook as a new attempt, and archive it with its HTML; `all` goes through every phase.

    Run it again, and `runbook run all` continues where it stopped.

    Example: runbook run 30 --run first -p tables='["sales_*"]'
    """
    from helpers.runs.parent_process import heed_parent

    heed_parent()
    from helpers import settings as profiles
    from helpers.runs import parameters
    from helpers.runs.cell_progress import Console as CellByCell
    from helpers.runs.cell_progress import Silence
    from helpers.runs.holds import settle_snapshots
    from helpers.runs.notify import Webhook
    from helpers.runs.phase_display import Display
    from helpers.runs.retry import execute_patiently
    from helpers.runs.run import execute
    from helpers.runs.run_all import Order, applies, run_all

    one_of("--option", option, ("A", "B", "C"))
    name = profile or os.environ.get("RUNBOOK_PROFILE") or profiles.DEFAULT_PROFILE
    _refuse_option(name, option)
    places.open_run_folder(run)
    if not quiet:  # a phase that `run all` has started is told of by that
        tell_held(run, profile)
    shared = parameters.from_file(parameters_file) if parameters_file else {}
    shared |= parameters.from_arguments(parameter or ())
    if phase == "all":
        order = Order(
            run, name, option, places.RUNBOOKS, places.OUTPUTS, places.COMMAND, apply=apply, parameters=shared, cell_timeout=cell_timeout,
            run_timeout=run_timeout, retries=3 if retries is None else retries,
        )  # fmt: skip
        secret = profiles.load(name).notify.webhook
        display = Display()
        try:
            whole = run_all(order, display=display, webhook=Webhook(secret.get_secret_value() if secret else None))
        finally:
            display.close()
        return Answer(whole.as_dict(), lambda: _show_phases(whole, name), whole.exit_code)
    notebook = places.notebook(phase)
    given: dict[str, object] = {"profile": name, "apply": applies(name, notebook.stem, apply)} | shared
    if "option" in shared:
        raise UsageError(
            "run a phase", on="parameter option", why="an option of the command sets it", next_step="use --option"
        )
    if "option" in {each.name for each in parameters.declared(notebook)}:
        given["option"] = option
    report = Silence() if quiet else CellByCell()

    def once() -> "AttemptResult":
        return execute(
            notebook, run=run, parameters=given, outputs=places.OUTPUTS, option=option, cell_timeout=cell_timeout,
            report=report,
        )  # fmt: skip

    result = execute_patiently(once, retries=retries or 0, say=lambda line: screen.print(line, markup=False))
    failure = result.failure
    summary = {
        "run": run, "phase": notebook.stem, "status": result.status, "exit_code": result.exit_code,
        "seconds": round(result.seconds, 1), "notebook": str(result.notebook), "html": str(result.html) if result.html else None,
        "summary": result.summary(), "stages": result.stages(),
        "failure": vars(failure) if failure else None,
    }  # fmt: skip

    def show() -> None:
        stages = [(title, duration(seconds)) for title, seconds in result.stages().items()]
        screen.table(f"{notebook.stem}: {result.status} after {duration(result.seconds)}", "stage", "took", rows=stages)
        if failure:
            say(f"cell {failure.cell}: {failure.message}")
            if result.exit_code in (1, 2):
                _say_whom_to_call(name)
        if words := result.summary():
            say(words, style="bold")
        say(f"notebook  {result.notebook}\nhtml      {result.html or result.html_error}")

    def settle() -> None:
        """The last thing that is done: a command that is killed before goes on in this snapshot when it is repeated."""
        if given["apply"]:
            for each in settle_snapshots(run, result):
                say(f"let go {each}: the next attempt takes another")
            tell_held(run, profile)
        elif result.status == "done" and not as_json:
            _say_how_to_apply()

    return Answer(summary, show, result.exit_code, settle)


def _refuse_option(profile: str, option: str) -> None:
    """Refuses a path that the profile contradicts before the run is opened for it; what else is wrong with the profile, its phases tell."""
    from helpers import settings as profiles
    from helpers.errors import MigrationError

    try:
        found = profiles.load(profile)
    except MigrationError:
        return
    found.for_option(option)


def _show_phases(whole: "AllResult", profile: str) -> None:
    from helpers.checklist import ROLLBACK

    rows = [
        (each.phase, each.state, "" if each.seconds is None else duration(each.seconds), each.why)
        for each in whole.phases
    ]
    screen.table(f"run {whole.run}, option {whole.option}", "phase", "state", "took", "why", rows=rows)
    say(whole.summary(), style="bold")
    if whole.exit_code in (1, 2):
        _say_whom_to_call(profile)
    # The rollback is rehearsed in any case.
    if not whole.exit_code and set(whole.rehearsed) - {ROLLBACK}:
        _say_how_to_apply()


def _say_whom_to_call(profile: str) -> None:
    from helpers import settings

    with suppress(MigrationError):  # where the settings are what failed, the failure says so
        say(settings.load(profile).whom_to_call)


def _say_how_to_apply() -> None:
    """The last line of a rehearsal: the same command, which acts."""
    words = [word for word in sys.argv[1:] if word != "--rehearse"]
    say(f"this was a rehearsal: what it shows was only planned; to do it: {shlex.join(['runbook', *words, '--apply'])}")
