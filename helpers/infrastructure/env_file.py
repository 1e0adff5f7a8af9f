"""`.env`: what a profile needs from it, what is wrong with it, and its first copy from `.env.example`."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path

from dotenv import dotenv_values

from helpers import PROJECT
from helpers.credentials import named_like_a_secret
from helpers.finding import Finding, stop, warning
from helpers.ledger.folders import create_exclusively
from helpers.redaction import SHORTEST
from helpers.settings.references import referred_variables

NAME = ".env"
EXAMPLE = ".env.example"

_COMMENTED = re.compile(r"^#?\s*(?:export\s+)?([A-Za-z_]\w*)=")


def findings(profile: str, file: Path, needed: Mapping[str, str]) -> Iterator[Finding]:
    """What is wrong with the environment of a profile: what the phases need stops, what looks like a mistake is a warning.

    Args:
        file: the settings, beside which `.env` and `.env.example` lie.
        needed: further variables without which a phase cannot act, each with what it is for.

    Raises:
        SettingsError: the settings cannot be read.
    """
    folder = file.parent
    path, example = folder / NAME, folder / EXAMPLE
    own = dotenv_values(path) if path.exists() else {}
    values = {name: value for name, value in {**own, **os.environ}.items() if value}
    keys = referred_variables(file, profile)
    for name, why in sorted({**{name: f"{key} refers to it" for name, key in keys.items()}, **needed}.items()):
        if name not in values:
            yield stop(name, f"neither the environment nor {NAME} has it, and {why}", f"set {name} in {NAME}")
    if path.exists():
        yield from _look_at_file(path, own, example)
    for name, tracked in _tracked_secrets(folder, own, _secret_ones(keys)):
        yield stop(tracked, f"git tracks it, and it holds the value of {name}", "take it out, and change that secret")


def referred(profile: str, file: Path) -> tuple[str, ...]:
    """The variables of the environment that a profile refers to."""
    return tuple(sorted(referred_variables(file, profile)))


def copy(folder: Path = PROJECT, names: Sequence[str] = ()) -> bool:
    """Writes `.env` as a copy of `.env.example`, or where there is none with `names` as comments; for its owner alone to read.

    Returns:
        Whether it was made; one that is there is never touched.
    """
    text = _text(folder / EXAMPLE) or "".join(f"# {name}=\n" for name in names)
    return create_exclusively(folder / NAME, text)


def offered(example: Path) -> tuple[str, ...]:
    """The names that `.env.example` shows, set or as a comment; none where there is no such file."""
    return tuple(match[1] for line in _text(example).splitlines() if (match := _COMMENTED.match(line)))


def _text(example: Path) -> str:
    return example.read_text(encoding="utf-8") if example.exists() else ""


def _look_at_file(path: Path, own: Mapping[str, str | None], example: Path) -> Iterator[Finding]:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        yield stop(NAME, f"others may read it (mode {mode:o})", f"chmod 600 {NAME}")
    if _git(path.parent, "ls-files", "--error-unmatch", NAME) is not None:
        yield stop(NAME, "git tracks it", f"git rm --cached {NAME}, and change every secret in it")
    if example.exists():
        known = set(offered(example))
        for name in sorted(set(own) - known):
            yield warning(name, f"{NAME} has it and {EXAMPLE} does not", "correct the name, or add it there")


def _secret_ones(references: Mapping[str, str]) -> Set[str]:
    """The variables that stand for a secret by the key that refers to them: PGPASSWORD does not look like one."""
    keys = {name: key.rpartition(".")[2] for name, key in references.items() if name != "VAULT_ADDR"}
    return {name for name, key in keys.items() if key == "webhook" or named_like_a_secret(key)}


def _tracked_secrets(folder: Path, own: Mapping[str, str | None], secret: Set[str]) -> Iterator[tuple[str, str]]:
    """Each secret of `.env` that stands in a file that git tracks, as far as a search for its text finds it."""
    for name, value in sorted(own.items()):
        if not value or len(value) < 2 * SHORTEST or not (name in secret or named_like_a_secret(name)):
            continue
        # By standard input, since a command line is everybody's to read; a key's longest line stands for the key.
        line = max(value.splitlines(), key=len)
        listed = _git(folder, "grep", "--files-with-matches", "--fixed-strings", "-z", "-f", "-", given=line)
        for file in sorted((listed or "").split("\0")):
            if file:
                yield name, file


def _git(folder: Path, *arguments: str, given: str = "") -> str | None:
    """What git prints; None where it says no, or there is no git or repository."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, input=given, capture_output=True, text=True, check=False, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
