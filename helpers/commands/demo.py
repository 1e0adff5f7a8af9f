"""The whole checklist on the local stack, to sealed evidence: `make demo-full`.

It calls the commands that people call and prints each: `runbook run all`; whenever that waits for a person, `attest` or
`approve` with the local stack's test keys; and so on to the end of the run; then `seal` and `verify-evidence`.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from helpers import PROJECT
from helpers.errors import AwaitingPerson, MigrationError, SignatureRefused, UsageError
from helpers.ledger import keys
from helpers.ledger.ledger import NAME as LEDGER
from helpers.ledger.ledger import Ledger
from helpers.ledger.view import view
from helpers.local import people, stack

OUTPUTS = PROJECT / "outputs"

_MOST_SIGNATURES = 60
"""Far more than the checklist asks for: a signature that does not let the run go on must not be asked for for ever."""


def main(
    run: Annotated[str, typer.Option(help="The run's name.")],
    option: Annotated[str, typer.Option(help="The migration path: A, B or C.")] = "A",
    profile: Annotated[str, typer.Option(help="A profile of the local stack.")] = "local",
) -> None:
    """Goes through a migration path on the local stack, signing with test keys.

    Example: python -m helpers.commands.demo --run full --option A
    """
    try:
        evidence = walk(run, option, profile)
    except MigrationError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(error.exit_code) from None
    typer.echo(f"sealed and checked: {evidence}")


def walk(run: str, option: str, profile: str = "local") -> Path:
    """Runs, signs, goes on, seals and checks.

    Args:
        run: its name.
        option: the migration path.
        profile: one that lives on the local stack, whose people's keys are the test keys.

    Returns:
        The sealed archive.

    Raises:
        UsageError: the run stopped for another reason than a person, or a command did not do what it should.
    """
    home = stack.home()
    make_keys(home)
    for _ in range(_MOST_SIGNATURES):
        code = _runbook("run", "all", "--run", run, "--option", option, "--profile", profile, "--apply")
        if code != AwaitingPerson.exit_code:
            break
        _sign(run, home, profile)
    if code:
        raise _stopped("run all phases", run, f"runbook run all exited with {code}")
    sealer = people.private_key(home, "sealer")
    _must("seal", "--run", run, "--profile", profile, "--key", str(sealer))
    archive = OUTPUTS / run / "evidence.zip"
    _must("verify-evidence", str(archive), "--public-key", f"{sealer}.pub")
    return archive


def make_keys(home: Path) -> None:
    """The keys of the local stack's people, and of one who seals; those that are there stay.

    Args:
        home: the stack's folder.
    """
    for name in (*people.NAMES, "sealer"):
        if not people.private_key(home, name).exists():
            keys.generate(people.private_key(home, name))


def _sign(run: str, home: Path, profile: str) -> None:
    """Whatever the run waits for is signed by as many people as there are; the next call looks whether that was enough."""
    found = view(Ledger(OUTPUTS / run / LEDGER).entries())
    waiting = {each.step: each.line.get("what") for each in found if each.state == "awaiting" and each.line}
    if not waiting:
        raise _stopped("sign what is awaited", run, "it waits for a person, and no step says for whose signature")
    for step, what in waiting.items():
        words = (
            ["attest", step, "--note", "a rehearsal on the local stack"] if what == "attestation" else ["approve", step]
        )
        for person in people.NAMES:
            key = str(people.private_key(home, person))
            code = _runbook(*words, "--run", run, "--profile", profile, "--by", person, "--key", key)
            if code not in (0, SignatureRefused.exit_code):  # refused: it has been signed by them, or by enough people
                raise _stopped("sign what is awaited", run, f"runbook {words[0]} {step} exited with {code}")


def _must(*words: str) -> None:
    if code := _runbook(*words):
        raise _stopped(words[0], words[1], f"runbook {' '.join(words)} exited with {code}")


def _runbook(*words: str) -> int:
    typer.echo(f"\n$ runbook {' '.join(words)}", err=True)
    return subprocess.run([sys.executable, "-m", "helpers", *words], check=False).returncode


def _stopped(what: str, run: str, why: str) -> UsageError:
    cure = "read what it printed above; correct that, and run the same command again"
    return UsageError(what, on=f"run {run}", why=why, next_step=cure)


if __name__ == "__main__":
    typer.run(main)
