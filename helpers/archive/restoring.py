"""Where a dump is restored: never on the source. On the server that the profile names, else on one that is started here for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from helpers.errors import BackupError
from helpers.platforms import pg_tools, postgres
from helpers.platforms.scratch_folder import scratch_folder
from helpers.settings import Settings, Source
from helpers.settings.local_stack import local_stack


@dataclass(frozen=True)
class Place:
    """A server on which databases may be made.

    Attributes:
        server: with the role that restores, and its database to connect to.
        admin: the same as a superuser, where the server is ours; None where it is somebody's.
        what: how people call it, with its version.
        is_here: whether it keeps what is restored on this machine's disk.
    """

    server: Source
    admin: Source | None
    what: str
    is_here: bool


@contextmanager
def place(settings: Settings, version: int, *, named: Source | None = None) -> Iterator[Place]:
    """A server for a restore, for the length of the block.

    Args:
        settings: the profile, whose `backup.restore` names one.
        version: of the dumped server, as libpq counts, such as 150004.
        named: another one, which wins.

    Raises:
        BackupError: none fits; see `refuse_without_place`.
        ConnectionFailed: the named one cannot be reached.
        LocalStackError: one could not be started here.
    """
    refuse_without_place(settings, version, named=named)
    if server := named or settings.backup.restore:
        _, said = pg_tools.server_version(server)
        yield Place(server, None, f"{postgres.address(server)} (version {said})", False)
        return
    major, where = _nearest(version)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(scratch_folder("restore")))
        # PostgreSQL may run under another account, and keeps its own folder to itself.
        folder.chmod(0o711)
        owner, admin = stack.enter_context(local_stack().restore_server(major, folder))
        server = Source.model_validate(owner)
        _, said = pg_tools.server_version(server)
        other = "" if major == version // 10_000 else f", while the source is of version {version // 10_000}"
        what = f"PostgreSQL {said}, started on this machine for it{other} ({where})"
        yield Place(server, Source.model_validate(admin), what, True)


def refuse_without_place(settings: Settings, version: int, *, named: Source | None = None) -> None:
    """Raises what `place` would, without starting anything.

    Raises:
        BackupError: no installed version is as new as the source, or the named server is older than it.
        ConnectionFailed: the named one cannot be reached.
    """
    wanted = version // 10_000
    if server := named or settings.backup.restore:
        number, said = pg_tools.server_version(server)
        pg_tools.tools_for(max(number, version), on=postgres.address(server))
        if number // 10_000 < wanted:
            raise BackupError(
                "find a server to restore on",
                on=postgres.address(server),
                why=f"it is of version {said}, and the source is of {wanted}: a dump goes to the same version or a newer one",
                next_step=f"name a server of version {wanted} or newer",
            )
        return
    _nearest(version)


def _nearest(version: int) -> tuple[int, str]:
    wanted, known = version // 10_000, local_stack().restore_majors()
    if fitting := sorted(major for major in known if major >= wanted):
        return fitting[0], known[fitting[0]]
    have = ", ".join(map(str, sorted(known))) or "none"
    raise BackupError(
        "find a server to restore on",
        on="this machine",
        why=f"the source is of version {wanted}, and what can be started here is older: {have}",
        next_step="name a server under [profiles.NAME.backup.restore], whose role may create databases; or say which backup exists: "
        'existing = { what = "…", link = "…", restored_on = 2026-11-20 } under [profiles.NAME.backup]',
    )
