"""The command `runbook`: what a terminal, a scheduler and another program call.

Exit codes: 0 done and true; 1 ran, and the answer is no; 2 could not run; 3 awaiting a person; 4 aborted.

Every call imports this file, so it and the topics that it lists import little; what is heavy is imported inside a command.
The topics do without `from __future__ import annotations`: typer would compile the text of each option again.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import NoReturn

import typer
from rich.text import Text
from typer._click.exceptions import UsageError as WrongArguments  # typer carries its own click and exports no base

from helpers.commands import (
    archive,
    assess,
    doctor,
    evidence,
    export,
    init,
    kafka,
    load,
    local,
    pipelines,
    run,
    settings,
    status,
    sync,
    verify,
)  # fmt: skip
from helpers.commands.output import ABORTED, print_json, screen
from helpers.credentials import remember_environment
from helpers.errors import MigrationError, Unexpected, UsageError
from helpers.screen import open_streams
from helpers.stopping import end_when_told

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Move a PostgreSQL sales pipeline to Snowflake or Databricks, and prove that every cell arrived.\n\n"
    "Example: runbook local up; runbook run 30 --run first",
)
for command in (
    init.init, doctor.doctor, export.export, load.load, verify.verify, run.run, assess.assess,
    pipelines.rehearse_rollback, pipelines.benchmark, pipelines.marts, pipelines.aggregate,
    settings.settings, status.status, status.control_room,
    evidence.keygen, evidence.attest, evidence.approve, evidence.seal, evidence.verify_evidence, archive.archive,
):  # fmt: skip
    app.command()(command)
app.add_typer(kafka.app, name="kafka")
app.add_typer(local.app, name="local")
app.add_typer(sync.app, name="sync")


_TYPER_INTERRUPTED = 130
"""What typer makes of a KeyboardInterrupt; no command of ours returns it."""


def main() -> None:
    """The command as a process of its own, which ends when it is told to."""
    open_streams()
    threading.excepthook = _in_a_thread
    end_when_told(ABORTED)
    run_command()


def run_command() -> None:
    """Runs the command; every expected failure becomes one sentence and an exit code."""
    as_json = "--json" in sys.argv[1:]
    remember_environment(os.environ)
    try:
        code = app(prog_name="runbook", standalone_mode=False) or 0
        if code == _TYPER_INTERRUPTED:
            raise KeyboardInterrupt
        sys.exit(code)
    except WrongArguments as error:
        if not error.format_message():  # called without a word, it has shown its help
            sys.exit(UsageError.exit_code)
        help_line = f"see: {error.ctx.command_path} --help" if error.ctx else "see: runbook --help"
        _fail(
            UsageError(
                "understand the command", on=" ".join(sys.argv[1:2]), why=error.format_message(), next_step=help_line
            ),
            as_json,
        )
    except MigrationError as error:
        _fail(error, as_json)
    except (KeyboardInterrupt, typer.Abort):
        screen.print("aborted: nothing is left half-done; run the same command again")
        sys.exit(ABORTED)
    except Exception as error:
        if os.environ.get("RUNBOOK_DEBUG"):
            raise
        from helpers.platforms.faults import driver_error  # and with it every client

        _fail(driver_error(error) or Unexpected.of(error), as_json)


def _in_a_thread(error: threading.ExceptHookArgs) -> None:
    """The connector aborts a lost query from a thread of its own; the main thread tells of the same loss in a sentence."""
    if not error.exc_type.__module__.startswith("snowflake."):
        threading.__excepthook__(error)


def _fail(error: MigrationError, as_json: bool) -> NoReturn:
    if as_json:
        print_json({"error": error.as_dict()})
    else:
        screen.print(Text.assemble(("✘", "bold red"), f" Could not {error.what}"), soft_wrap=True)
        for label, text in (("on", error.on), ("why", error.why), ("next", error.next_step)):
            screen.print(f"  [dim]{label:<5}[/]", end="")
            screen.print(text, markup=False, soft_wrap=True)
        if error.transient:
            screen.print("  [dim]retry[/] the same command may succeed when it is repeated")
    sys.exit(error.exit_code)
