"""The embedded stack: PostgreSQL, S3, the Snowflake stand-in and, on first use, a Spark Connect server, Airflow and
stand-ins for AWS and Kafka; all on loopback and below one folder. Apache Spark starts where somebody asks for it.

`up` is idempotent: it starts what is not running and leaves the rest alone, so it is also the repair after a crash or
a reboot. Ports and passwords are chosen once and remembered in a state file that only its owner can read.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from helpers.errors import LocalStackError
from helpers.local.folder import absolute, default_root, existing, locked, require_space
from helpers.local.servers import airflow, apache_spark, processes
from helpers.local.servers.airflow import Airflow
from helpers.local.servers.apache_spark import ApacheSpark
from helpers.local.servers.aws import Aws
from helpers.local.servers.kafka import Kafka
from helpers.local.servers.postgres import Postgres, binaries_for
from helpers.local.servers.processes import LOOPBACK, Account
from helpers.local.servers.s3 import ACCESS_KEY, BUCKET, S3
from helpers.local.servers.server import LocalServer
from helpers.local.servers.snowflake import Snowflake
from helpers.local.servers.spark import Spark
from helpers.local.state import State

KINDS: dict[str, type[LocalServer]] = {
    "postgres": Postgres, "s3": S3, "snowflake": Snowflake, "spark": Spark, apache_spark.NAME: ApacheSpark, "aws": Aws, "kafka": Kafka, "airflow": Airflow,
}  # fmt: skip
SERVERS = ("postgres", "s3", "snowflake")
ON_DEMAND = ("spark", apache_spark.NAME, "aws", "kafka", "airflow")
"""Not started by `up`, but by what first needs it; `down` stops it like the others."""
TOLD_OF = {"spark": ("s3",), apache_spark.NAME: ("s3",)}
"""The servers whose ports a server was given when it started."""

DELTA_ROOTS = {"pysail": f"s3://{BUCKET}/delta", apache_spark.NAME: apache_spark.DELTA_ROOT}
"""Below which each engine keeps its Delta tables: neither has the other's in its catalog."""

Server = TypeVar("Server", bound=LocalServer)


@dataclass(frozen=True)
class Environment:
    """How to reach the local stack. Its text names no secret: it lands in notebooks and logs."""

    postgres_dsn: str
    s3: dict[str, str]
    snowflake: dict[str, Any]
    delta_root: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

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
    with locked(root, create=True) as home:
        require_space(home)
        state = State.read(home)
        account = Account.for_postgres()
        binaries = binaries_for(account, home)
        taken = {port for name in SERVERS if _alive(state, name, home) for port in state.ports(name)}
        missing = [name for name in SERVERS if not _alive(state, name, home)]
        for name in missing:
            state.choose_ports(name, KINDS[name].name, taken)
        state.write()
        servers = {name: _server(state, name, home, account, binaries) for name in SERVERS}
        with ThreadPoolExecutor(len(SERVERS)) as pool:
            starts = [pool.submit(_start, state, name, servers[name], report) for name in missing]
        for started in starts:
            started.result()
        for name in SERVERS:
            if name not in missing:
                report(f"{servers[name].name} is running on {LOOPBACK}:{servers[name].port}")
        return _environment(servers, DELTA_ROOTS[_delta_engine(state)])


def airflow_if_up() -> dict[str, str] | None:
    """URL, user and password of the stack's Airflow; None while it does not run."""
    if (home := existing(None)) is None:
        return None
    state = State.read(home)
    if not _alive(state, "airflow", home):
        return None
    server = _server(state, "airflow", home)
    assert isinstance(server, Airflow)
    return {"url": server.url, "user": airflow.USER, "password": server.password}


def on_demand(
    kind: type[Server], root: Path | None = None, *, report: Callable[[str], None] = lambda line: None
) -> Server:
    """A server of `ON_DEMAND`, which starts now unless it runs; the stack must be up.

    A server that was told of another one, which has moved since, is started anew.

    Args:
        kind: its class.
        root: the stack's folder.
        report: is told of the start.

    Raises:
        LocalStackError: the stack is not up, or the server did not start.
    """
    environment(root)
    name = next(name for name, each in KINDS.items() if each is kind)
    with locked(root, create=False) as home:
        state = State.read(home)
        server = _server(state, name, home)
        told = {other: state.port(other) for other in TOLD_OF.get(name, ())}
        if _alive(state, name, home):
            if state.servers(name).get("told") == told:
                return cast(Server, server)
            _stop(state, name, server)
        taken = {port for other in KINDS for port in state.ports(other) if other != name}
        state.choose_ports(name, kind.name, taken)
        state.servers(name)["told"] = told
        state.write()
        server = _server(state, name, home)
        _start(state, name, server, report)
        return cast(Server, server)


def use_apache_spark(root: Path | None = None, *, report: Callable[[str], None] = lambda line: None) -> None:
    """Starts Apache Spark, and makes it what loads Delta tables on profile `local` until `down`.

    Raises:
        LocalStackError: the stack is not up, or it did not start.
    """
    on_demand(ApacheSpark, root, report=report)
    with locked(root, create=False) as home:
        state = State.read(home)
        state.content["delta"] = apache_spark.NAME
        state.write()


def delta_engine(root: Path | None = None) -> str:
    """What loads Delta tables on profile `local`: "pysail", or "apache-spark" since somebody asked for it."""
    home = existing(root)
    return _delta_engine(State.read(home)) if home else "pysail"


def _delta_engine(state: State) -> str:
    return str(state.content.get("delta", "pysail"))


def apache_spark_server(root: Path | None = None) -> ApacheSpark:
    """How the stack's Apache Spark is reached, whether or not it runs."""
    found = home(root)
    server = _server(State.read(found), apache_spark.NAME, found)
    assert isinstance(server, ApacheSpark)
    return server


def down(root: Path | None = None, *, in_a_hurry: bool = False) -> list[str]:
    """Stop every server and what they left behind; returns the names of those that were running.

    Args:
        root: the stack's folder.
        in_a_hurry: without patience for an orderly end, as where the data are deleted next.
    """
    with locked(root, create=False) as home:
        if home is None:
            return []
        state = State.read(home)
        state.content.pop("delta", None)
        state.write()
        servers = {name: _server(state, name, home) for name in KINDS}
        with ThreadPoolExecutor(len(servers)) as pool:
            results = list(pool.map(lambda name: _stop(state, name, servers[name], in_a_hurry), servers))
        if left := processes.strays(home):
            raise LocalStackError(
                "stop the local stack",
                on=str(home),
                why=f"the processes {', '.join(map(str, left))} still work there",
                next_step="end them, then run `runbook local down` again",
            )
        return [server.name for server, was in zip(servers.values(), results, strict=True) if was]


def status(root: Path | None = None) -> list[ServerStatus]:
    """What runs, without starting or changing anything."""
    home = existing(root)
    if home is None:
        return [ServerStatus(name, False, None, None, "never started", name in ON_DEMAND) for name in KINDS]
    state = State.read(home)
    rows = []
    for name in KINDS:
        server = _server(state, name, home)
        running = state.running(name)
        alive = running is not None and running.process(server.marker) is not None
        idle = "starts when it is needed" if name in ON_DEMAND else "stopped"
        pid, port = running.pid if running and alive else None, state.port(name) or None
        rows.append(ServerStatus(name, alive, pid, port, str(server.data) if alive else idle, name in ON_DEMAND))
    return rows


def environment(root: Path | None = None) -> Environment:
    """How to reach the stack that `up` started."""
    home = existing(root)
    dead = [row.name for row in status(root) if not row.running and not row.on_demand]
    if home is None or dead:
        raise LocalStackError(
            "reach the local stack",
            on=str(root or default_root()),
            why="it was never started here" if home is None else f"not running: {', '.join(dead)}",
            next_step="run `runbook local up`",
        )
    state = State.read(home)
    return _environment({name: _server(state, name, home) for name in SERVERS}, DELTA_ROOTS[_delta_engine(state)])


def snowflake_product(root: Path | None = None) -> dict[str, str]:
    """User, password, role and warehouse of the product in the Snowflake stand-in; the environment names the administrator's.

    Raises:
        LocalStackError: the stack is not up, or its stand-in was started by a version that had one user.
    """
    place = home(root)
    server = _server(State.read(place), "snowflake", place)
    assert isinstance(server, Snowflake)
    if "product_user" not in json.loads(server.configuration.read_text(encoding="utf-8")):
        raise LocalStackError(
            "log in to the Snowflake stand-in",
            on=str(place),
            why="it was started by an earlier version, which had one user and no roles",
            next_step="run `runbook local down`, then `runbook local up`: what it holds stays",
        )
    return server.product


def home(root: Path | None = None) -> Path:
    """The folder of a stack that is up; raises `LocalStackError` as `environment` does."""
    environment(root)
    found = existing(root)
    assert found
    return Path(found)


def remove(root: Path | None = None) -> None:
    """Stop the stack and delete its data, wherever a link says they are."""
    place = absolute(root or default_root())
    down(root, in_a_hurry=True)
    home = existing(root)
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


def _server(
    state: State, name: str, home: Path, account: Account | None = None, binaries: Path | None = None
) -> LocalServer:
    folder, ports = home / name, state.ports(name) or [0]
    if name == "postgres":
        superuser, owner = state.password("superuser"), state.password("owner")
        return Postgres(folder, ports[0], binaries or Path(), account or Account(), superuser, owner)
    if name == "s3":
        return S3(folder, ports[0], tuple(ports[1:]), state.password("s3"))
    if name == "spark":
        return Spark(folder, ports[0], f"http://{LOOPBACK}:{state.port('s3')}", state.password("s3"))
    if name == apache_spark.NAME:
        s3 = f"http://{LOOPBACK}:{state.port('s3')}"
        return ApacheSpark(folder, ports[0], state.password(name), s3, state.password("s3"))
    if name == "aws":
        return Aws(folder, ports[0])
    if name == "kafka":
        return Kafka(folder, ports[0])
    if name == "airflow":
        return Airflow(folder, ports[0], state.password("airflow"), home)
    return Snowflake(folder, ports[0], state.password("snowflake"), state.password("migration"))


def _alive(state: State, name: str, home: Path) -> bool:
    running = state.running(name)
    return running is not None and running.process(_server(state, name, home).marker) is not None


def _start(state: State, name: str, server: LocalServer, report: Callable[[str], None]) -> None:
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


def _stop(state: State, name: str, server: LocalServer, in_a_hurry: bool = False) -> bool:
    patience = 0.0 if in_a_hurry else server.patience
    running = state.running(name)
    was_running = running is not None and processes.stop(
        running, server.marker, by=server.stop_signal, patience=patience
    )
    strays = processes.stop_strays(server.data)
    if running is not None:
        state.remember(name, None)
    return was_running or strays > 0


def _environment(servers: dict[str, LocalServer], delta_root: str) -> Environment:
    postgres, s3, snowflake = servers["postgres"], servers["s3"], servers["snowflake"]
    if not (isinstance(postgres, Postgres) and isinstance(s3, S3) and isinstance(snowflake, Snowflake)):
        raise TypeError("the servers are not what their names say")
    return Environment(
        postgres_dsn=postgres.dsn,
        s3={"endpoint": s3.endpoint, "access_key": ACCESS_KEY, "secret_key": s3.secret_key, "bucket": BUCKET},
        snowflake=snowflake.connection,
        delta_root=delta_root.replace("s3a://", "s3://", 1),
    )
