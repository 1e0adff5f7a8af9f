"""Dumps a whole database into one file with pg_dump, and restores it into a scratch database.

A dump is written under another name and renamed when it is complete. The name of a scratch database says that it is one and
since when, and an open session of that name marks it as in use; one that a killed restore left behind is dropped by the next.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2.extensions import make_dsn

from helpers.errors import BackupError, UsageError
from helpers.platforms import pg_tools, postgres
from helpers.platforms.faults import Fault
from helpers.platforms.faults import postgres as faults
from helpers.platforms.pg_tools import Tools
from helpers.platforms.postgres import identifier
from helpers.progress import Progress
from helpers.settings import Source

PART = ".part"
SCRATCH = "runbook_restore_"
SESSION = "migration-runbooks "
"""With the scratch database's name behind it, the name of the session that marks it as in use."""

NOT_RESTORED = ("EVENT TRIGGER", "PUBLICATION", "SUBSCRIPTION")
"""Entries of a dump that a scratch database goes without: they would act beyond it, and ask for a superuser."""


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
        UsageError: `path` is taken, or another process writes it.
    """
    number, version = pg_tools.server_version(source)
    tools = pg_tools.tools_for(number, on=postgres.address(source))
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
def restored(dump: Dump, source: Source, *, report: Progress | None = None) -> Iterator[Source]:
    """Restores a dump into a scratch database, which is dropped with the block.

    Owners and grants are left out, since their roles may not be there; so is what `NOT_RESTORED` names.

    Args:
        dump: is checked first.
        source: a server whose role may create databases, and its database to connect to; it is not changed.

    Yields:
        The scratch database.

    Raises:
        BackupError: the dump is not whole or does not restore, or no database could be made.
        ConnectionFailed: the server cannot be reached.
    """
    check(dump)
    number, _ = pg_tools.server_version(source)
    tools = pg_tools.tools_for(number, on=postgres.address(source))
    remove_stale(source)
    create = _create_statement(tools, dump)
    with _session(source) as server:
        name = _scratch_name(server)
        scratch = source.model_copy(update={"dbname": name})
        try:
            with _refused("create a scratch database", source):
                server.cursor().execute(create.format(name=identifier(name)))
            _restore(tools, dump, scratch, _table_by_table(source, "processing data for table", report))
            yield scratch
        finally:
            _drop(server, name, source)


def remove_stale(source: Source) -> list[str]:
    """Drops scratch databases that killed restores left on the server; returns their names.

    Raises:
        ConnectionFailed: the server cannot be reached.
    """
    with _session(source) as server:
        cursor = server.cursor()
        cursor.execute(
            "SELECT datname FROM pg_database d WHERE datname ~ %s AND pg_has_role(datdba, 'USAGE') "
            "AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.application_name = %s || d.datname)",
            [rf"^{SCRATCH}\d{{14}}_", SESSION],
        )
        names = [str(name) for (name,) in cursor.fetchall()]
        for name in names:
            _drop(server, name, source)
        return names


def _restore(tools: Tools, dump: Dump, scratch: Source, line: Callable[[str], None] | None) -> None:
    contents = tools.listed(["--list", str(dump.path)], on=str(dump.path)).splitlines()
    wanted = [
        entry for entry in contents if not re.match(rf"\d+; \d+ \d+ (COMMENT - )?({'|'.join(NOT_RESTORED)})", entry)
    ]
    with tempfile.NamedTemporaryFile("w", prefix="runbook-restore-", suffix=".list") as chosen:
        chosen.write("\n".join(wanted) + "\n")
        chosen.flush()
        # The name is ours, but libpq reads a database's name on the command line as a connection string.
        arguments = [
            f"--dbname={make_dsn(dbname=scratch.dbname)}", "--no-password", "--verbose", "--exit-on-error", "--no-owner",
            "--no-privileges", "--no-tablespaces", "--no-security-labels", f"--use-list={chosen.name}", str(dump.path),
        ]  # fmt: skip
        tools.run(
            "pg_restore", arguments, source=scratch, on=f"{dump.path} into {postgres.address(scratch)}",
            doing="restore the dump", line=line,
        )  # fmt: skip


def _create_statement(tools: Tools, dump: Dump) -> str:
    """What makes a database with the encoding and the collation of the dumped one; `{name}` stands for its name."""
    script = tools.listed(["--create", "--schema-only", "--file=-", str(dump.path)], on=str(dump.path))
    found = re.search(
        r'^CREATE DATABASE (?:"(?:[^"]|"")+"|\S+) (WITH TEMPLATE = template0 [^;]*);$', script, re.MULTILINE
    )
    if found is None:
        raise _not_whole(dump, "it does not say how its database was made")
    made = re.sub(r" TABLESPACE = \S+", "", found[1])
    return "CREATE DATABASE {name} " + made.replace("{", "{{").replace("}", "}}")


def _scratch_name(server: Any) -> str:
    """A name with the server's time; from here on the session marks it as in use."""
    cursor = server.cursor()
    cursor.execute("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDDHH24MISS')")
    (now,) = cursor.fetchone()
    name = f"{SCRATCH}{now}_{secrets.token_hex(3)}"
    cursor.execute("SELECT set_config('application_name', %s, false)", [SESSION + name])
    return name


@contextmanager
def _session(source: Source) -> Iterator[Any]:
    connection = postgres.connect(
        source,
        application="migration-runbooks restore",
        # A database that is frozen for a cutover is read-only by default; the scratch databases beside it are not its data.
        settings={"statement_timeout": "0", "idle_session_timeout": "0", "default_transaction_read_only": "off"},
    )
    connection.autocommit = True
    try:
        yield connection
    finally:
        connection.close()


def _drop(server: Any, name: str, source: Source) -> None:
    """Drops a scratch database, by another session where this one was lost meanwhile."""
    try:
        postgres.drop_database(server.cursor(), name)
    except psycopg2.Error:
        with _session(source) as another, _refused("drop the scratch database", source):
            postgres.drop_database(another.cursor(), name)


@contextmanager
def _refused(doing: str, source: Source) -> Iterator[None]:
    try:
        yield
    except psycopg2.Error as error:
        cure = "let the role create databases (ALTER ROLE … CREATEDB), or name another server for the restore"
        told = faults.told(error, doing, on=postgres.address(source), cure=cure, rights=cure)
        raise Fault(BackupError, told.next_step, told.transient).told(doing, on=told.on, why=told.why) from None


def _table_by_table(source: Source, words: str, report: Progress | None) -> Callable[[str], None] | None:
    """Tells of each table that a program's verbose output names; its rows count as done when the next one begins."""
    if report is None:
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
