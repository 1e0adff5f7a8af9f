"""The embedded stack: PostgreSQL, S3, the Snowflake stand-in and, once they are asked for, a Spark Connect server, Airflow and
stand-ins for AWS and Kafka; all on loopback and below one folder.

`up` is idempotent: it starts what is not running and leaves the rest alone, so it is also the repair after a crash or
a reboot. Ports and passwords are chosen once and remembered in a state file that only its owner can read.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import shutil
import stat
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers.errors import LocalStackError
from helpers.local.servers import airflow, processes
from helpers.local.servers.airflow import Airflow
from helpers.local.servers.aws import Aws
from helpers.local.servers.kafka import Kafka
from helpers.local.servers.postgres import Postgres, binaries_for
from helpers.local.servers.processes import LOOPBACK, LOWEST_FREE_SPACE, Account, Running
from helpers.local.servers.s3 import ACCESS_KEY, BUCKET, S3
from helpers.local.servers.snowflake import Snowflake
from helpers.local.servers.spark import Spark

PROJECT = Path(__file__).resolve().parents[2]
RELOCATED = Path("/var/tmp")  # noqa: S108 - only under a name nobody else can have made, see `_relocate`
SERVERS = ("postgres", "s3", "snowflake")
ON_DEMAND = ("spark", "aws", "kafka", "airflow")
"""Not started by `up`, but by what first needs it; `down` stops it like the others."""
PORTS = {
    "postgres": "RUNBOOK_POSTGRES_PORT",
    "s3": "RUNBOOK_S3_PORT",
    "snowflake": "RUNBOOK_SNOWFLAKE_PORT",
    "spark": "RUNBOOK_SPARK_PORT",
    "aws": "RUNBOOK_AWS_PORT",
    "kafka": "RUNBOOK_KAFKA_PORT",
    "airflow": "RUNBOOK_AIRFLOW_PORT",
}
LABELS = {
    "postgres": "PostgreSQL",
    "s3": "S3",
    "snowflake": "the Snowflake stand-in",
    "spark": "Spark Connect",
    "aws": "the AWS stand-in (moto)",
    "kafka": "the Kafka stand-in (noida-db)",
    "airflow": "Airflow",
}
PORTS_NEEDED = {"s3": 8}
"""Where it is more than one."""
TOLD_OF = {"spark": ("s3",)}
"""The servers whose ports a server was given when it started."""

Server = Postgres | S3 | Snowflake | Spark | Aws | Kafka | Airflow


@dataclass(frozen=True)
class Environment:
    """How to reach the local stack. Its text names no secret: it lands in notebooks and logs."""

    postgres_dsn: str
    s3: dict[str, str]
    snowflake: dict[str, Any]
    delta_root: str

    def as_dict(self) -> dict[str, Any]:
        return {
            "postgres_dsn": self.postgres_dsn,
            "s3": dict(self.s3),
            "snowflake": dict(self.snowflake),
            "delta_root": self.delta_root,
        }

    def __repr__(self) -> str:
        postgres = self.postgres_dsn.rpartition("@")[2]
        snowflake = f"{self.snowflake['host']}:{self.snowflake['port']}"
        return f"Environment(postgres={postgres}, s3={self.s3['endpoint']}, snowflake={snowflake})"


@dataclass(frozen=True)
class ServerStatus:
    name: str
    running: bool
    pid: int | None
    port: int | None
    detail: str
    on_demand: bool = False
    """Whether it starts when it is needed, so that its standing still is no fault."""


def up(root: Path | None = None, *, report: Callable[[str], None] = lambda line: None) -> Environment:
    """Start what is not running; returns when all three servers answer."""
    with _locked(root, create=True) as home:
        _require_space(home)
        state = _State.read(home)
        account = Account.for_postgres()
        binaries = binaries_for(account, home)
        taken = {port for name in SERVERS if _alive(state, name, home) for port in state.ports(name)}
        missing = [name for name in SERVERS if not _alive(state, name, home)]
        for name in missing:
            state.choose_ports(name, taken)
        state.write()
        servers = {name: _server(state, name, home, account, binaries) for name in SERVERS}
        with ThreadPoolExecutor(len(SERVERS)) as pool:
            starts = [pool.submit(_start, state, name, servers[name], report) for name in missing]
        for started in starts:
            started.result()
        for name in SERVERS:
            if name not in missing:
                report(f"{servers[name].name} is running on {LOOPBACK}:{servers[name].port}")
        return _environment(servers)


def spark(root: Path | None = None) -> str:
    """The URL of the Spark Connect server, as `on_demand` gives it."""
    server = on_demand("spark", root)
    assert isinstance(server, Spark)
    return server.url


def aws(root: Path | None = None) -> str:
    """The endpoint of the AWS stand-in, as `on_demand` gives it."""
    server = on_demand("aws", root)
    assert isinstance(server, Aws)
    return server.endpoint


def airflow_if_up(root: Path | None = None) -> dict[str, str] | None:
    """URL, user and password of the stack's Airflow; None while it does not run."""
    home = _existing(root)
    if home is None:
        return None
    state = _State.read(home)
    if not _alive(state, "airflow", home):
        return None
    server = _server(state, "airflow", home)
    assert isinstance(server, Airflow)
    return {"url": server.url, "user": airflow.USER, "password": server.password}


def on_demand(name: str, root: Path | None = None, *, report: Callable[[str], None] = lambda line: None) -> Server:
    """One of `ON_DEMAND`, which starts now unless it runs; the stack must be up.

    A server that was told of another one, which has moved since, is started anew.

    Args:
        name: of the server.
        root: the stack's folder.
        report: is told of the start.

    Raises:
        LocalStackError: the stack is not up, or the server did not start.
    """
    environment(root)
    with _locked(root, create=False) as home:
        state = _State.read(home)
        server = _server(state, name, home)
        told = {other: state.port(other) for other in TOLD_OF.get(name, ())}
        if _alive(state, name, home):
            if state.servers(name).get("told") == told:
                return server
            _stop(state, name, server)
        state.choose_ports(
            name, {port for other in SERVERS + ON_DEMAND for port in state.ports(other) if other != name}
        )
        state.servers(name)["told"] = told
        state.write()
        server = _server(state, name, home)
        _start(state, name, server, report)
        return server


def kafka(root: Path | None = None) -> str:
    """Where the Kafka stand-in is reached, as `on_demand` gives it."""
    server = on_demand("kafka", root)
    assert isinstance(server, Kafka)
    return server.bootstrap


def down(root: Path | None = None) -> list[str]:
    """Stop every server and what they left behind; returns the names of those that were running."""
    return _down(root)


def status(root: Path | None = None) -> list[ServerStatus]:
    """What runs, without starting or changing anything."""
    home = _existing(root)
    if home is None:
        return [
            ServerStatus(name, False, None, None, "never started", name in ON_DEMAND) for name in SERVERS + ON_DEMAND
        ]
    state = _State.read(home)
    rows = []
    for name in SERVERS + ON_DEMAND:
        server = _server(state, name, home)
        running = state.running(name)
        alive = running is not None and running.process(server.marker) is not None
        idle = "starts when it is needed" if name in ON_DEMAND else "stopped"
        pid, port = running.pid if running and alive else None, state.port(name) or None
        rows.append(ServerStatus(name, alive, pid, port, str(server.data) if alive else idle, name in ON_DEMAND))
    return rows


def environment(root: Path | None = None) -> Environment:
    """How to reach the stack that `up` started."""
    home = _existing(root)
    dead = [row.name for row in status(root) if not row.running and not row.on_demand]
    if home is None or dead:
        raise LocalStackError(
            "reach the local stack",
            on=str(root or default_root()),
            why="it was never started here" if home is None else f"not running: {', '.join(dead)}",
            next_step="run `runbook local up`",
        )
    state = _State.read(home)
    return _environment({name: _server(state, name, home) for name in SERVERS})


def home(root: Path | None = None) -> Path:
    """The folder of a stack that is up; raises `LocalStackError` as `environment` does."""
    environment(root)
    found = _existing(root)
    assert found
    return Path(found)


def remove(root: Path | None = None) -> None:
    """Stop the stack and delete its data, wherever a link says they are."""
    place = _absolute(root or default_root())
    _down(root, in_a_hurry=True)
    home = _existing(root)
    if home is not None and home != place:
        shutil.rmtree(home)
    if place.is_symlink():
        place.unlink()
    elif place.exists():
        if not (place / "state.json").exists() and not (place / "lock").exists() and any(place.iterdir()):
            raise LocalStackError(
                "delete the local stack",
                on=str(place),
                why="the folder holds files but no stack",
                next_step="look at it and remove it yourself",
            )
        shutil.rmtree(place)


def default_root() -> Path:
    return Path(os.environ.get("RUNBOOK_LOCAL_ROOT") or PROJECT / ".local")


def _down(root: Path | None, *, in_a_hurry: bool = False) -> list[str]:
    stopped: list[str] = []
    with _locked(root, create=False) as home:
        if home is None:
            return stopped
        state = _State.read(home)
        names = SERVERS + ON_DEMAND
        servers = {name: _server(state, name, home) for name in names}
        with ThreadPoolExecutor(len(names)) as pool:
            results = list(pool.map(lambda name: _stop(state, name, servers[name], in_a_hurry), names))
        stopped = [servers[name].name for name, was in zip(names, results, strict=True) if was]
        left = processes.strays(home)
        if left:
            raise LocalStackError(
                "stop the local stack",
                on=str(home),
                why=f"the processes {', '.join(map(str, left))} still work there",
                next_step="end them, then run `runbook local down` again",
            )
        return stopped


class _State:
    """Ports, processes and passwords, written as a whole and atomically, by several threads of one `up`."""

    def __init__(self, file: Path, content: dict[str, Any]) -> None:
        self.file = file
        self.content = content
        self.lock = threading.Lock()

    @classmethod
    def read(cls, home: Path) -> _State:
        file = home / "state.json"
        if file.exists():
            return cls(file, json.loads(file.read_text()))
        passwords = {name: secrets.token_urlsafe(24) for name in ("superuser", "owner", "s3", "snowflake", "airflow")}
        return cls(file, {"servers": {name: {} for name in SERVERS}, "passwords": passwords})

    def write(self) -> None:
        unfinished = self.file.with_suffix(".unfinished")
        with self.lock:
            unfinished.touch(mode=0o600)
            unfinished.write_text(json.dumps(self.content, indent=1))
            unfinished.replace(self.file)

    def servers(self, name: str) -> dict[str, Any]:
        """What is known of one server; a stack of an earlier version knows nothing of some."""
        known: dict[str, Any] = self.content["servers"].setdefault(name, {})
        return known

    def password(self, name: str) -> str:
        if name not in self.content["passwords"]:  # a stack of an earlier version
            self.content["passwords"][name] = secrets.token_urlsafe(24)
            self.write()
        return str(self.content["passwords"][name])

    def ports(self, name: str) -> list[int]:
        return [int(port) for port in self.servers(name).get("ports", [])]

    def port(self, name: str) -> int:
        ports = self.ports(name)
        return ports[0] if ports else 0

    def choose_ports(self, name: str, taken: set[int]) -> None:
        label = LABELS[name]
        remembered = self.ports(name)
        ports = [processes.choose_port(label, self.port(name), setting=PORTS[name], taken=taken)]
        for place in range(1, PORTS_NEEDED.get(name, 1)):
            before = remembered[place] if place < len(remembered) else None
            ports.append(processes.choose_port(label, before, setting="", taken=taken))
        self.servers(name)["ports"] = ports

    def running(self, name: str) -> Running | None:
        known = self.servers(name)
        return Running(int(known["pid"]), float(known["created"])) if "pid" in known else None

    def remember(self, name: str, running: Running | None) -> None:
        with self.lock:
            known = self.servers(name)
            if running is None:
                known.pop("pid", None)
                known.pop("created", None)
            else:
                known.update(pid=running.pid, created=running.created)
        self.write()


def _server(
    state: _State, name: str, home: Path, account: Account | None = None, binaries: Path | None = None
) -> Server:
    folder, ports = home / name, state.ports(name) or [0]
    if name == "postgres":
        superuser, owner = state.password("superuser"), state.password("owner")
        return Postgres(folder, binaries or Path(), account or Account(), ports[0], superuser, owner)
    if name == "s3":
        return S3(folder, ports[0], tuple(ports[1:]), state.password("s3"))
    if name == "spark":
        return Spark(folder, ports[0], f"http://{LOOPBACK}:{state.port('s3')}", state.password("s3"))
    if name == "aws":
        return Aws(folder, ports[0])
    if name == "kafka":
        return Kafka(folder, ports[0])
    if name == "airflow":
        return Airflow(folder, ports[0], state.password("airflow"), home)
    return Snowflake(folder, ports[0], state.password("snowflake"))


def _alive(state: _State, name: str, home: Path) -> bool:
    running = state.running(name)
    return running is not None and running.process(_server(state, name, home).marker) is not None


def _start(state: _State, name: str, server: Server, report: Callable[[str], None]) -> None:
    report(f"starting {server.name} on {LOOPBACK}:{server.port}")
    server.folder.mkdir(mode=0o711 if name == "postgres" else 0o700, exist_ok=True)
    log_start = server.log_start()
    running = server.start()
    state.remember(name, running)  # before it answers, so that `down` finds it if we are killed meanwhile
    try:
        server.wait(running, log_start)
    except BaseException:
        processes.stop(running, server.marker, by=server.stop_signal)
        state.remember(name, None)
        raise
    report(f"{server.name} is up on {LOOPBACK}:{server.port}")


def _stop(state: _State, name: str, server: Server, in_a_hurry: bool = False) -> bool:
    patience = 0.0 if in_a_hurry else server.patience
    running = state.running(name)
    was_running = running is not None and processes.stop(
        running, server.marker, by=server.stop_signal, patience=patience
    )
    strays = processes.stop_strays(server.data)
    if running is not None:
        state.remember(name, None)
    return was_running or strays > 0


def _environment(servers: dict[str, Server]) -> Environment:
    postgres, s3, snowflake = servers["postgres"], servers["s3"], servers["snowflake"]
    if not (isinstance(postgres, Postgres) and isinstance(s3, S3) and isinstance(snowflake, Snowflake)):
        raise TypeError("the servers are not what their names say")
    return Environment(
        postgres_dsn=postgres.dsn,
        s3={"endpoint": s3.endpoint, "access_key": ACCESS_KEY, "secret_key": s3.secret_key, "bucket": BUCKET},
        snowflake=snowflake.connection,
        delta_root=f"s3://{BUCKET}/delta",
    )


@contextmanager
def _locked(root: Path | None, *, create: bool) -> Iterator[Any]:
    """The data's real folder, with the lock that keeps two `up` apart; None when there is none and none is wanted."""
    home = _create(_absolute(root or default_root())) if create else _existing(root)
    if home is None:
        yield None
        return
    with (home / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield home


def _existing(root: Path | None) -> Path | None:
    place = _absolute(root or default_root())
    home = place.resolve()
    return home if (home / "state.json").exists() or (home / "lock").exists() else None


def _absolute(path: Path) -> Path:
    """Absolute without following a link at its end, which may be ours."""
    return path.parent.resolve() / path.name


def _create(place: Path) -> Path:
    """The folder the data live in: `place`, or what `place` links to when PostgreSQL could not get there."""
    account = Account.for_postgres()
    if place.is_symlink():
        if not place.exists():
            place.unlink()
        else:
            return place.resolve()
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        if account.reaches(place.parent):
            place.mkdir(mode=0o700 if account.uid is None else 0o711, exist_ok=True)
            return place
        return _relocate(place)
    if account.reaches(place) or account.reaches(place.parent):
        place.chmod(0o700 if account.uid is None else 0o711)  # our own folder; those above it are not ours to change
        return place
    if any(place.iterdir()):
        raise LocalStackError(
            "start PostgreSQL as `nobody`",
            on=str(place),
            why="that account cannot reach the folder",
            next_step="set RUNBOOK_LOCAL_ROOT to a folder it can reach",
        )
    place.rmdir()
    return _relocate(place)


def _relocate(place: Path) -> Path:
    """Put the data where `nobody` gets to, and a link in their place: a clone may be in a folder closed to others."""
    name = hashlib.sha256(str(place).encode()).hexdigest()[:16]
    home = RELOCATED / f"migration-runbooks-{name}"
    with suppress(FileExistsError):
        home.mkdir(mode=0o711)
    found = home.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise LocalStackError(
            "put the local data where PostgreSQL can reach them",
            on=str(home),
            why="somebody else made that name first",
            next_step="set RUNBOOK_LOCAL_ROOT to a folder that every user can traverse",
        )
    home.chmod(0o711)
    with suppress(FileExistsError):
        place.symlink_to(home)
    return home


def _require_space(home: Path) -> None:
    free = shutil.disk_usage(home).free
    if free < LOWEST_FREE_SPACE:
        raise LocalStackError(
            "start the local stack",
            on=str(home),
            why=f"only {free / (1 << 30):.2f} GB of disk are free, it wants {LOWEST_FREE_SPACE / (1 << 30):.0f}",
            next_step="free some space, or set RUNBOOK_LOCAL_ROOT to a folder on another disk",
        )
