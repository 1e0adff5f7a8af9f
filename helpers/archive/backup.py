"""Dumps a whole database into one file with pg_dump, and restores it into a scratch database.

A dump is written under another name and renamed when it is complete.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from helpers.archive import extensions
from helpers.errors import BackupError, SourceFailed, UsageError
from helpers.platforms import pg_tools, postgres, scratch_database
from helpers.platforms.faults import postgres as faults
from helpers.platforms.pg_tools import Tools
from helpers.platforms.postgres import literal
from helpers.progress import Progress
from helpers.settings import Source
from helpers.source import rights
from helpers.source.asking import asking

PART = ".part"
SCRATCH = "runbook_restore_"
"""How the names of the databases that dumps are restored into begin."""

NOT_RESTORED = ("EVENT TRIGGER", "PUBLICATION", "SUBSCRIPTION", "POLICY", "ROW SECURITY", "USER MAPPING")
"""Entries of a dump that a scratch database goes without: they would act beyond it and ask for a superuser, or name roles."""


@dataclass(frozen=True)
class Dump:
    """A whole dump in pg_dump's custom format.

    Attributes:
        path: the file.
        bytes: its size.
        sha256: of its bytes, in hexadecimal digits.
        server_version: of the server that was dumped, such as "18.6".
    """

    path: Path
    bytes: int
    sha256: str
    server_version: str


def dump(source: Source, path: Path, *, snapshot: str | None = None, report: Progress | None = None) -> Dump:
    """Writes the whole database of `source` to `path`, definitions, rows and large objects.

    Args:
        source: the database; the role has to be allowed to read all of it.
        path: of the file, which must not be there.
        snapshot: an exported snapshot that somebody holds; the dump shows the database in it. Without it, in one of its own.

    Raises:
        BackupError: no pg_dump fits the server, or it could not dump; nothing is at `path` then.
        ConnectionFailed: the server cannot be reached.
        SourceFailed: the role may not read all of it.
        UsageError: `path` is taken, or another process writes it.
    """
    number, version = pg_tools.server_version(source)
    tools = pg_tools.tools_for(number, on=postgres.address(source))
    refuse_unreadable(source)
    if path.exists():
        raise UsageError("write the dump", on=str(path), why="there is a file already", next_step="name another file")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + PART)
    arguments = ["--format=custom", "--no-password", "--verbose", "--lock-wait-timeout=10s", f"--file={part}"]
    if snapshot:
        arguments.append(f"--snapshot={snapshot}")
    with _alone(part) as lock:
        try:
            tools.run(
                "pg_dump", arguments, source=source, on=postgres.address(source), doing="dump the database",
                line=_table_by_table(source, "dumping contents of table", report), keep_open=[lock],
            )  # fmt: skip
            made = _hashed(part, version)
            tools.listed(["--list", str(part)], on=str(part))
            part.rename(path)
            _sync_folder(path.parent)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    return Dump(path, made.bytes, made.sha256, version)


def refuse_unreadable(source: Source) -> None:
    """Asks for every right that a dump needs at once; pg_dump tells of the first that is missing.

    Raises:
        SourceFailed: with the statements that give what is missing.
    """
    with asking(source, "ask for the rights that a dump needs") as cursor:
        lacking = rights.missing_to_dump(cursor)
    if not lacking:
        return
    on = "; ".join(f"{lack.right} on {lack.on}" for lack in lacking)
    raise SourceFailed(
        "dump the database",
        on=postgres.address(source),
        why=f"a dump is of all of it, and the role lacks {on if len(on) < _SHOWN else f'{on[:_SHOWN]}…'}",
        next_step=f"let an owner or a superuser run: {'; '.join(lack.cure for lack in lacking)} (from PostgreSQL 14 on, GRANT "
        f"pg_read_all_data TO {faults.written(source.user)} has all but BYPASSRLS and large objects); or say which backup exists: "
        "`existing` under [profiles.NAME.backup]",
    )


_SHOWN = 600
"""Characters of what is missing: a database may have thousands of tables."""


def check(dump: Dump) -> None:
    """Reads the dump's bytes.

    Raises:
        BackupError: the file is gone, or is not what was written: cut, or changed.
    """
    try:
        found = _hashed(dump.path, dump.server_version)
    except OSError as error:
        raise _not_whole(dump, str(error)) from None
    if found.bytes < dump.bytes:
        raise _not_whole(dump, f"it has {found.bytes:,} of {dump.bytes:,} bytes: it was cut off")
    if (found.bytes, found.sha256) != (dump.bytes, dump.sha256):
        raise _not_whole(dump, f"its SHA-256 is {found.sha256}, not {dump.sha256}: its bytes were changed")


@contextmanager
def restored(
    dump: Dump,
    server: Source,
    *,
    admin: Source | None = None,
    origin: Source | None = None,
    report: Progress | None = None,
) -> Iterator[Source]:
    """Restores a dump into a scratch database, which is dropped with the block.

    Owners and grants are left out, since their roles may not be there; so is what `NOT_RESTORED` names. Where the server does not
    have the database's collation, the scratch database sorts by "C", which changes no row.

    Args:
        dump: is checked first.
        server: one whose role may create databases, and its database to connect to; it is not changed.
        admin: the same as a superuser, who then makes the extensions.
        origin: the dumped database, which is asked about extensions that the server lacks, and for the sizes of its tables.

    Yields:
        The scratch database.

    Raises:
        BackupError: the dump is not whole or does not restore, or the server lacks an extension.
        SourceFailed: no database could be made.
        ConnectionFailed: the server cannot be reached.
    """
    check(dump)
    number, _ = pg_tools.server_version(server)
    tools = pg_tools.tools_for(number, on=postgres.address(server))
    scratch_database.remove_stale(server, SCRATCH)
    definition = _definition(tools, dump)
    encoding = re.search(r"ENCODING = ('[^']*')", definition)
    plain = f"TEMPLATE template0 LOCALE 'C' ENCODING {encoding[1] if encoding else literal('UTF8')}"
    with scratch_database.scratch_database(server, SCRATCH, definition, plain) as scratch:
        within = admin.model_copy(update={"dbname": scratch.dbname}) if admin else None
        _restore(tools, dump, scratch, within, origin, _table_by_table(origin, "processing data for table", report))
        yield scratch


def _restore(
    tools: Tools,
    dump: Dump,
    scratch: Source,
    admin: Source | None,
    origin: Source | None,
    line: Callable[[str], None] | None,
) -> None:
    contents = tools.listed(["--list", str(dump.path)], on=str(dump.path)).splitlines()
    wanted = [entry for entry in contents if not _is(NOT_RESTORED, entry)]
    lacks = extensions.missing(scratch, extensions.named(wanted))
    schemas = [entry for entry in wanted if _is(("SCHEMA",), entry)]
    made = [entry for entry in wanted if _is(("EXTENSION",), entry) and not set(extensions.named([entry])) & set(lacks)]
    rest = [entry for entry in wanted if not _is(("SCHEMA", "EXTENSION"), entry)]
    _restore_entries(tools, dump, scratch, schemas, None)
    if lacks:
        extensions.stand_in(origin, scratch, lacks)
    _restore_entries(tools, dump, admin or scratch, made, None)
    if admin:
        extensions.give(admin, scratch.user)
    _restore_entries(tools, dump, scratch, rest, line)


def _is(kinds: tuple[str, ...], entry: str) -> bool:
    """Whether a line of `pg_restore --list` is of one of these kinds, or a comment on one."""
    return re.match(rf"\d+; \d+ \d+ (COMMENT - )?({'|'.join(kinds)}) ", entry) is not None


def _restore_entries(
    tools: Tools, dump: Dump, into: Source, entries: Sequence[str], line: Callable[[str], None] | None
) -> None:
    if not entries:
        return
    with tempfile.NamedTemporaryFile("w", prefix="runbook-restore-", suffix=".list") as chosen:
        chosen.write("\n".join(entries) + "\n")
        chosen.flush()
        arguments = [
            "--no-password", "--verbose", "--exit-on-error", "--no-owner", "--no-privileges", "--no-tablespaces",
            "--no-security-labels", f"--use-list={chosen.name}", str(dump.path),
        ]  # fmt: skip
        tools.run(
            "pg_restore",
            arguments,
            source=into,
            on=f"{dump.path} into {postgres.address(into)}",
            doing="restore the dump",
            line=line,
        )


def _definition(tools: Tools, dump: Dump) -> str:
    """What makes a database with the encoding and the collation of the dumped one, behind its name in CREATE DATABASE."""
    script = tools.listed(["--create", "--schema-only", "--file=-", str(dump.path)], on=str(dump.path))
    found = re.search(
        r'^CREATE DATABASE (?:"(?:[^"]|"")+"|\S+) (WITH TEMPLATE = template0 [^;]*);$', script, re.MULTILINE
    )
    if found is None:
        raise _not_whole(dump, "it does not say how its database was made")
    return re.sub(r" TABLESPACE = \S+", "", found[1])


def _table_by_table(source: Source | None, words: str, report: Progress | None) -> Callable[[str], None] | None:
    """Tells of each table that a program's verbose output names; its rows count as done when the next one begins."""
    if report is None or source is None:
        return None
    with postgres.reading(source) as cursor:
        cursor.execute(
            "SELECT n.nspname || '.' || c.relname, greatest(c.reltuples, 0)::bigint FROM pg_class c "
            "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r' AND n.nspname !~ '^pg_'"
        )
        rows: dict[str, int] = dict(cursor.fetchall())
    total, done, under_way = sum(rows.values()), 0, 0

    def line(text: str) -> None:
        nonlocal done, under_way
        _, found, rest = text.partition(words + ' "')
        if found:
            table = rest.rpartition('"')[0]
            done, under_way = done + under_way, rows.get(table, 0)
            report(done, total, f"{words.split()[0]} {table}")

    return line


@contextmanager
def _alone(part: Path) -> Iterator[int]:
    """The part's lock. The program inherits it: one that outlives us still writes, and the part is still taken."""
    with part.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            why = "another process writes it"
            raise UsageError("write the dump", on=str(part), why=why, next_step="wait for it, or end it") from None
        yield file.fileno()


def _hashed(path: Path, version: str) -> Dump:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = file.tell()
        os.fsync(file.fileno())
    return Dump(path, size, digest, version)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _not_whole(dump: Dump, why: str) -> BackupError:
    return BackupError("trust the dump", on=str(dump.path), why=why, next_step="fetch it again, or make another dump")
