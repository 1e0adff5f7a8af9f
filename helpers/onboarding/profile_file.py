"""Adding a profile to migration.toml: behind what is there, and only if the whole can be read."""

from __future__ import annotations

import os
import re
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from helpers import PROJECT
from helpers.errors import SettingsError
from helpers.settings import FILE, LOCATION, Profile, load

_NAME = re.compile(r"[A-Za-z0-9_-]+")


def place(folder: Path) -> Path:
    """The file that a profile is added to: what `RUNBOOK_SETTINGS_FILE` names, else that of the folder; in a folder of this project,
    the project's own."""
    if named := os.environ.get(LOCATION):
        return Path(named)
    inside = folder.resolve().is_relative_to(PROJECT.resolve())
    return PROJECT / FILE if inside and not (folder / FILE).exists() else folder / FILE


def default_name(database: str) -> str:
    """A profile's name after its database; one that is a section's gets something behind it."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", database).strip("_").lower() or "mine"
    return f"{name}_db" if name in Profile.model_fields else name


def check(file: Path, name: str) -> None:
    """Refuses a name that is none, or that is taken.

    Raises:
        SettingsError: also where the file is no TOML.
    """
    if not _NAME.fullmatch(name):
        raise _refused(name, file, "a profile's name is letters, digits, _ and -", "--profile another")
    if name in Profile.model_fields:
        raise _refused(
            name, file, f"{name} is a section of a profile, and cannot be a profile's name", f"--profile {name}_db"
        )
    if name in _read(file).get("profiles", {}):
        why = "the file has such a profile, and none is ever written over"
        raise _refused(name, file, why, f"--profile another, or take [profiles.{name}] out of the file")


def add(file: Path, name: str, text: str) -> None:
    """Writes the profile behind what the file has, at once or not at all.

    Raises:
        SettingsError: the name is taken; or the whole would not load, which leaves the file as it was.
        LocalStackError: the profile lives on the local stack, and that is not up.
    """
    file = file.resolve()
    check(file, name)
    before = file.read_bytes() if file.exists() else b""
    gap = b"" if not before else b"\n" if before.endswith(b"\n") else b"\n\n"
    # Beside the file, since what a profile names is relative to that, and so is .env.
    handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.", suffix=".part")
    made = Path(temporary)
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(before + gap + text.encode("utf-8"))
            out.flush()
            os.fsync(out.fileno())
        made.chmod(file.stat().st_mode & 0o777 if file.exists() else 0o644)
        load(name, made)
        if (file.read_bytes() if file.exists() else b"") != before:
            raise _refused(name, file, "somebody else changed the file meanwhile", "run the same command again")
        made.replace(file)
    except SettingsError as error:
        if str(made) not in error.on:
            raise
        raise SettingsError(
            f"add [profiles.{name}]", on=str(file), why=f"{error.what}: {error.why}",
            next_step="the file is as it was; report this, with the names of the tables if you may",
        ) from None  # fmt: skip
    finally:
        made.unlink(missing_ok=True)


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(
            "read the settings", on=str(file), why=str(error), next_step="correct that file; nothing was added to it"
        ) from None  # fmt: skip


def _refused(name: str, file: Path, why: str, next_step: str) -> SettingsError:
    return SettingsError(f"add [profiles.{name}]", on=str(file), why=why, next_step=next_step)
