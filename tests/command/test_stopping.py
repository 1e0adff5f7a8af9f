"""Every command ends within ten seconds of SIGTERM or Ctrl-C, whatever server accepts its connection and never answers.

Would catch: a driver's call that lets no KeyboardInterrupt through, a session that is closed by asking the hung server, a
thread or a child that the command waits for at its end, and one that it leaves behind.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from profile_support import whole_profile
from pydantic import SecretStr

from helpers import PROJECT
from helpers.errors import ConnectionFailed
from helpers.platforms import kafka, postgres, snowflake, spark
from helpers.settings import Databricks, Kafka, Snowflake, Source

LIMIT = 30.0

RUN = f"hanging-{os.getpid()}"


@pytest.fixture(autouse=True)
def no_run_left() -> Iterator[None]:
    yield
    shutil.rmtree(PROJECT / "outputs" / RUN, ignore_errors=True)


class Hanging:
    """A server that takes every connection and says nothing."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.asked = threading.Event()
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                self._open.append(self._listener.accept()[0])
                self.asked.set()

    def close(self) -> None:
        for each in (self._listener, *self._open):
            each.close()


@pytest.fixture
def hanging() -> Iterator[Callable[[], Hanging]]:
    with ExitStack() as stack:

        def made() -> Hanging:
            server = Hanging()
            stack.callback(server.close)
            return server

        yield made


def profile(port: int) -> str:
    """Every server of the profile is at that port."""
    here = f'127.0.0.1:{port}"\n'
    return (
        f'[profiles.x.source]\nhost = "127.0.0.1"\nport = {port}\ndbname = "d"\nuser = "u"\nsslmode = "disable"\n'
        f'[profiles.x.stage]\nurl = "s3://stage/x/"\nendpoint = "http://{here}access_key = "a"\nsecret_key = {{ env = "T" }}\n'
        '[profiles.x.snowflake]\naccount = "a"\nuser = "u"\ndatabase = "D"\nschema = "S"\npassword = { env = "T" }\n'
        f'connect = {{ host = "127.0.0.1", port = {port}, protocol = "http" }}\n'
        f'[profiles.x.databricks]\nurl = "sc://{here}schema = "s"\ndelta_root = "s3://stage/delta/"\n'
        f'[profiles.x.kafka]\nbootstrap = "{here}topic = "t"\nsecurity = "PLAINTEXT"\nlanding = "s3://stage/events/"\n'
        '[profiles.x.archive]\nurl = "s3://stage/archive/"\nretention_days = 1\n'
        f'[profiles.x.airflow]\nurl = "http://{here}user = "u"\npassword = {{ env = "T" }}\n'
    )


def start(folder: Path, *words: str, **environment: str) -> subprocess.Popen[str]:
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-m", "helpers", *words, "--profile", "x"],
        cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(PROJECT), "T": "not-a-secret", "TMPDIR": str(temporary), **environment},
    )  # fmt: skip


def stopped(
    process: subprocess.Popen[str], server: Hanging, number: signal.Signals
) -> tuple[int, float, str, list[int]]:
    """Exit code, seconds, what it said, and which of its processes live on."""
    while not server.asked.wait(0.2):
        assert process.poll() is None, process.communicate()
    time.sleep(0.5)
    family = psutil.Process(process.pid).children(recursive=True)
    began = time.monotonic()
    process.send_signal(number)
    _, said = process.communicate(timeout=120)
    seconds = time.monotonic() - began
    return process.returncode, seconds, said, [each.pid for each in psutil.wait_procs(family, timeout=30)[1]]


def assert_stopped(folder: Path, found: tuple[int, float, str, list[int]]) -> None:
    code, seconds, said, left = found
    assert code == 4, said
    assert seconds < LIMIT, said
    assert "aborted" in said
    assert "Traceback" not in said
    assert left == []
    assert list((folder / "tmp").glob("runbook-*")) == []


def test_two_commands_at_once(tmp_path: Path, hanging: Callable[[], Hanging]) -> None:
    server, other = hanging(), hanging()
    folders = [tmp_path / "export", tmp_path / "load"]
    for folder, each in zip(folders, (server, other), strict=True):
        folder.mkdir()
        (folder / "migration.toml").write_text(profile(each.port))
    export, load = start(folders[0], "export"), start(folders[1], "load", "--target", "databricks")
    with ThreadPoolExecutor() as pool:
        ended = pool.map(stopped, (export, load), (server, other), (signal.SIGTERM, signal.SIGINT))
        for folder, found in zip(folders, ended, strict=True):
            assert_stopped(folder, found)


def test_a_server_that_hangs_is_given_up_when_the_profile_says(hanging: Callable[[], Hanging]) -> None:
    port = hanging().port
    soon = {"connect_timeout_seconds": 1, "answer_timeout_seconds": 1}
    source = Source(host="127.0.0.1", port=port, dbname="d", user="u", sslmode="disable", **soon)
    spark_server = Databricks.model_validate({"url": f"sc://127.0.0.1:{port}", "schema": "s", **soon})
    brokers = Kafka.model_validate(
        {"bootstrap": f"127.0.0.1:{port}", "topic": "t", "security": "PLAINTEXT", "landing": "s3://x/", **soon}
    )
    account = {"account": "a", "user": "u", "password": SecretStr("x"), "database": "d", "schema": "s"}
    there = {"host": "127.0.0.1", "port": port, "protocol": "http"}
    warehouse = Snowflake.model_validate({**account, **soon, "connect": there})

    def given_up(ask: Callable[[], object]) -> tuple[bool, float]:
        began = time.monotonic()
        with pytest.raises(ConnectionFailed) as told:
            ask()
        return told.value.transient, time.monotonic() - began

    asks = (
        lambda: postgres.connect(source),
        lambda: spark.connect(spark_server).__enter__(),
        lambda: kafka.topics(brokers),
        lambda: snowflake.open_connection(warehouse),
    )
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(given_up, asks))
    assert [transient for transient, _ in found] == [True] * 4
    assert max(seconds for _, seconds in found) < 60, found


COMMANDS = {
    "source": [
        ("export",), ("verify",), ("verify", "--check", "row-counts"), ("verify", "--check", "schema"), ("assess",), ("assess", "--census"),
        ("aggregate",), ("kafka", "produce"), ("run", "30", "--run", RUN),
    ],
    "stage": [("archive",), ("load", "--target", "snowflake"), ("load", "--target", "databricks"), ("verify", "--source", "manifest")],
    "snowflake": [("load", "--target", "snowflake"), ("verify", "--target", "snowflake")],
    "databricks": [("load", "--target", "databricks"), ("verify", "--target", "databricks")],
    "kafka": [("kafka", "topics")],
}  # fmt: skip


@pytest.fixture(scope="module")
def migrated(fresh_migration: Callable[..., Any]) -> Iterator[Any]:
    with fresh_migration() as found:
        found.source("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t SELECT generate_series(1, 100)")
        found.migrate()
        yield found


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda each: each.name)
@pytest.mark.parametrize(
    ("section", "words"), [(section, words) for section, each in COMMANDS.items() for words in each], ids=lambda each: "-".join(word for word in each if word != RUN) if isinstance(each, tuple) else each
)  # fmt: skip
def test_whatever_server_hangs(
    tmp_path: Path, hanging: Callable[[], Hanging], migrated: Any, section: str, words: tuple[str, ...], number: signal.Signals
) -> None:  # fmt: skip
    server = hanging()
    whole, secrets = whole_profile(migrated.settings, "x")
    own = {f"[profiles.x.{each.partition(']')[0]}": each for each in whole.split("[profiles.x.")[1:]}
    hung = {f"[profiles.x.{each.partition(']')[0]}": each for each in profile(server.port).split("[profiles.x.")[1:]}
    own.pop("[profiles.x.snowflake.connect" if section == "snowflake" else "", None)
    wanted = f"[profiles.x.{section}"
    parts = {**{name: part for name, part in hung.items() if name not in own}, **own, wanted: hung[wanted]}
    (tmp_path / "migration.toml").write_text("".join(f"[profiles.x.{part}" for part in parts.values()))
    assert_stopped(tmp_path, stopped(start(tmp_path, *words, **secrets), server, number))
