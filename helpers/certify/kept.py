"""Where certifications are kept, and when they expire.

That of a service lies beside the stage, where every machine of the team finds it; that of a stand-in in the local stack's folder,
once for each state of its code and ours.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from helpers.certify import fingerprint
from helpers.certify.report import Certification
from helpers.certify.scratch import FOLDER
from helpers.engines import engine
from helpers.errors import StageError
from helpers.model import stored
from helpers.platforms.s3 import Bucket
from helpers.settings import Settings
from helpers.settings.local_stack import local_stack


def standing(settings: Settings, target: str, *, wake: bool = True) -> tuple[Certification | None, str]:
    """The certification of a target that is kept, None where there is none, and why it counts no more; empty where it does.

    Args:
        wake: as `require`.

    Raises:
        ConnectionFailed, StageError: the target or the stage cannot be asked.
    """
    found = read(settings, target)
    if found is None:
        return None, ""
    section, days = settings.target(target), settings.certification.days
    if found.stand_in:
        program = local_stack().program(section)
        same = program and (found.product, found.program) == (fingerprint.of_product(target), program)
        return found, "" if same else "the stand-in's code or ours is another since"
    if found.product != fingerprint.of_product(target):
        return found, "it has expired: the SQL that the product generates is another since, or its libraries are"
    if found.settings != fingerprint.of_settings(section, settings.stage):
        return found, "it has expired: the profile's target or stage is another since"
    if found.days > days:
        return (
            found,
            f"it has expired: it is {found.days:.0f} days old, and [profiles.{settings.profile}.certification] days is {days}",
        )
    if wake:
        with engine(target).trial(section, settings.stage) as trial:
            now = trial.identity()
        if now.version != found.engine_version:
            return found, f"it has expired: the engine moved from {found.engine_version} to {now.version}"
        if now.role != found.role or now.where != found.where:
            return (
                found,
                f"it has expired: it was of the role {found.role} at {found.where}, and we work as {now.role} at {now.where}",
            )
        moved = [
            f"{name} from {found.parameters.get(name)!r} to {now.parameters.get(name)!r}"
            for name in sorted(found.parameters.keys() | now.parameters.keys())
            if found.parameters.get(name) != now.parameters.get(name)
        ]
        if moved:
            return found, f"it has expired: parameters of the session moved: {', '.join(moved)}"
    return found, ""


def keep(settings: Settings, target: str, found: Certification) -> None:
    """Keeps a certification in the place of the last one."""
    content = found.model_dump_json(indent=1).encode()
    if found.stand_in:
        file = _file(target)
        part = file.with_suffix(f".{os.getpid()}")
        part.write_bytes(content)
        part.replace(file)
    else:
        Bucket.open(settings.stage).write(_name(settings, target), content)


def stand_in(settings: Settings, target: str) -> str:
    """The program of the local stack that answers in a service's place; empty where it is the service."""
    service = {"snowflake": "Snowflake", "databricks": "Databricks"}.get(target, "")
    return settings.stand_ins.get(service, "")


def read(settings: Settings, target: str) -> Certification | None:
    """What is kept of a target, whether it still counts or not; None where nothing is.

    Raises:
        ConnectionFailed, StageError: the stage cannot be asked.
    """
    if stand_in(settings, target):
        file = _file(target)
        content, on = (file.read_bytes() if file.exists() else None), str(file)
    else:
        bucket, name = Bucket.open(settings.stage), _name(settings, target)
        content, on = bucket.read(name), f"{bucket.location}{name}"
    try:
        return stored.parse(content, Certification, doing="understand the certification", on=on, cure="certify again")
    except StageError:
        return None  # of another version of ours, which generates other SQL anyway


def _name(settings: Settings, target: str) -> str:
    where = engine(target).destination(settings.target(target)).where
    return f"{FOLDER}{target}-{sha256(where.encode()).hexdigest()[:12]}.json"


def _file(target: str) -> Path:
    folder = local_stack().root() / "certified"
    folder.mkdir(exist_ok=True)
    return folder / f"{target}.json"


@contextmanager
def alone(target: str) -> Iterator[None]:
    """One certification of a stand-in at a time: the others wait for its answer."""
    with _file(target).with_suffix(".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
