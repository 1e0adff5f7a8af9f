"""The engine's own signature under the ledger, at the end of each attempt.

Anybody can recompute a chain of hashes. The machine's key signs the head of the chain at that time, so that rewriting
what came before takes that key, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from helpers.checker import dsse
from helpers.checker.dsse import Signer
from helpers.checker.ledger_reader import LEDGER, Line, read
from helpers.checker.record import last_of_the_engine
from helpers.errors import UsageError
from helpers.evidence import counter
from helpers.ledger import keys
from helpers.ledger.folders import create_exclusively, make_private
from helpers.ledger.ledger import Ledger as RunLedger
from helpers.ledger.ledger import file_digest

FOLDER = "heads"


class Ledger(Protocol):
    """What this package asks of `helpers.ledger.ledger.Ledger`."""

    @property
    def head(self) -> str:
        """SHA-256 of the last line."""

    def append(self, event: str, **fields: Any) -> object:
        """Writes one line."""


def run_key_facts() -> dict[str, str]:
    """Fields of `run-opened` by which the run's later signatures are checked.

    Returns:
        `run_key`, the public key of this machine as PEM text.

    Raises:
        UsageError: the key cannot be read or made.
    """
    return {"run_key": keys.run_signer().public_key.pem}


def refuse_another_key(lines: Sequence[Line], run: str) -> None:
    """Raises UsageError where the run was opened with another machine's key: what this one signs would not hold."""
    named = lines[0].text("run_key") if lines else ""
    if named and named != keys.run_signer().public_key.pem:
        raise UsageError(
            "continue the run",
            on=f"run {run}",
            why=f"it was opened with another machine's key than {keys.run_key_path()}",
            next_step=f"go on where it was begun, or with that key ({keys.RUN_KEY}=PATH): a new key begins with a new run",
        )


def sign_head(run_folder: Path, ledger: Ledger, signer: Signer | None = None) -> Path:
    """Signs the ledger's last line, records that as `head-signed`, and moves the machine's counter of the run on.

    The engine calls it after `attempt-ended`.

    Args:
        run_folder: the run's.
        ledger: of that run; a line that somebody else writes meanwhile is not covered.
        signer: the machine's key when None.

    Returns:
        The envelope's file.

    Raises:
        UsageError: the machine's key cannot be read.
    """
    own = signer is None
    signer = signer or keys.run_signer()
    head = ledger.head
    envelope = dsse.sign(
        "ledger-head", {"ledger-line": head}, {"run": run_folder.name, "key_id": signer.public_key.keyid}, signer
    )
    path = write_exclusively(run_folder, f"{FOLDER}/{dsse.short(head)}.dsse.json", envelope)
    ledger.append(
        "head-signed",
        head=head,
        key_id=signer.public_key.keyid,
        envelope=path.relative_to(run_folder).as_posix(),
    )
    if own:
        counter.advance(read((run_folder / LEDGER).read_bytes())[0])
    return path


def sign_what_is_unsigned(run_folder: Path, ledger: Ledger) -> None:
    """Signs the ledger's head where lines of the engine stand behind its last signature, and this is the run's machine.

    A kill leaves such lines, and so does what a command records between two attempts.

    Raises:
        UsageError: the machine's key cannot be read.
    """
    lines, _ = read((run_folder / LEDGER).read_bytes())
    places = {line.digest: line.n for line in lines}
    signed = max((places.get(line.text("head"), 0) for line in lines if line.event == "head-signed"), default=0)
    behind = last_of_the_engine(lines) > signed
    if behind and lines[0].text("run_key") == keys.run_signer().public_key.pem:
        sign_head(run_folder, ledger)


def record_file(run_folder: Path, path: Path) -> None:
    """Tells a run's ledger of a file that a command left in its folder; nothing where nobody has begun the run.

    A file that no line names stands against a seal; of two lines about one file the later counts.
    """
    if (run_folder / LEDGER).exists():
        ledger = RunLedger.open(run_folder)
        ledger.append("kept", files=[{"path": path.relative_to(run_folder).as_posix(), "sha256": file_digest(path)}])
        sign_what_is_unsigned(run_folder, ledger)


def write_exclusively(run_folder: Path, name: str, content: bytes) -> Path:
    """Writes a new file of a run; one of that name is never replaced, the new one gets a number.

    Raises:
        UsageError: every number up to a thousand is taken.
    """
    wanted = run_folder / name
    make_private(wanted.parent)
    stem, suffix = wanted.name.split(".", 1)
    for number in range(1, 1000):
        path = wanted if number == 1 else wanted.with_name(f"{stem}-{number}.{suffix}")
        if create_exclusively(path, content):
            return path
    raise UsageError(
        "write a file of the run", on=str(wanted), why="a thousand of that name exist", next_step="look into the folder"
    )
