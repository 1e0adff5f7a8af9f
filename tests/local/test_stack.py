"""The embedded stack starts once, survives what happens to it, and leaves nothing behind."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import psutil
import psycopg2
import pytest
import snowflake.connector
from botocore.exceptions import ClientError
from waiting import wait_for

from helpers import PROJECT
from helpers.errors import LocalStackError
from helpers.local import stack
from helpers.local.servers import processes
from helpers.local.servers.spark import Spark
from helpers.local.state import State
from helpers.process_identity import lives, start_of

TWO_UPS = "import sys; from pathlib import Path; from helpers.local import stack; print(stack.up(Path(sys.argv[1])))"


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A stack of the test's own, for tests that stop it."""
    place = tmp_path / "own"
    yield place
    stack.remove(place)


def pids(root: Path) -> dict[str, int | None]:
    return {row.name: row.pid for row in stack.status(root)}


def write_everywhere(env: stack.Environment) -> None:
    with psycopg2.connect(env.postgres_dsn) as connection, connection.cursor() as cursor:
        cursor.execute("create table if not exists kept (a int); insert into kept values (1)")
    s3(env).put_object(Bucket=env.s3["bucket"], Key="kept", Body=b"1")
    with snowflake.connector.connect(**env.snowflake) as connection:
        connection.cursor().execute("CREATE TABLE IF NOT EXISTS kept (a VARCHAR(3)) COMMENT='kept'")
        connection.cursor().execute("INSERT INTO kept VALUES ('1')")


def read_everywhere(env: stack.Environment) -> None:
    with psycopg2.connect(env.postgres_dsn) as connection, connection.cursor() as cursor:
        cursor.execute("select count(*) from kept")
        assert cursor.fetchone() == (1,)
    assert s3(env).get_object(Bucket=env.s3["bucket"], Key="kept")["Body"].read() == b"1"
    with snowflake.connector.connect(**env.snowflake) as connection:
        cursor = connection.cursor()
        assert cursor.execute("SELECT * FROM kept").fetchall() == [("1",)]
        found = cursor.execute("SELECT COMMENT FROM INFORMATION_SCHEMA.TABLES WHERE TABLE_NAME = 'KEPT'").fetchall()
        assert found == [("kept",)]


def s3(env: stack.Environment, secret: str | None = None) -> object:
    return boto3.client(
        "s3",
        endpoint_url=env.s3["endpoint"],
        aws_access_key_id=env.s3["access_key"],
        aws_secret_access_key=secret or env.s3["secret_key"],
        region_name="us-east-1",
    )


def test_up_again_changes_nothing(local_environment: stack.Environment, local_root: Path) -> None:
    before = pids(local_root)
    again = stack.up(local_root)
    assert again == local_environment == stack.environment(local_root)
    assert pids(local_root) == before


def test_the_environment_has_the_agreed_form_and_its_text_no_secret(local_environment: stack.Environment) -> None:
    content = local_environment.as_dict()
    assert set(content) == {"postgres_dsn", "s3", "snowflake", "delta_root"}
    assert set(content["s3"]) == {"endpoint", "access_key", "secret_key", "bucket"}
    assert content["delta_root"] == "s3://migration/delta"
    assert content["postgres_dsn"].startswith("postgresql://sales:") and content["postgres_dsn"].endswith("/sales")
    for secret in (content["s3"]["secret_key"], content["snowflake"]["password"], content["postgres_dsn"]):
        assert secret not in repr(local_environment)


def test_secrets_are_neither_readable_by_others_nor_in_a_command_line(
    local_environment: stack.Environment, local_root: Path
) -> None:
    assert ((local_root / "state.json").stat().st_mode & 0o777) == 0o600
    content = local_environment.as_dict()
    password = content["postgres_dsn"].split(":")[2].split("@")[0]
    secrets = (password, content["s3"]["secret_key"], content["snowflake"]["password"])
    for pid in pids(local_root).values():
        command = " ".join(psutil.Process(pid).cmdline())
        assert not any(secret in command for secret in secrets)


def test_everything_listens_on_loopback_only(local_environment: stack.Environment, local_root: Path) -> None:
    for pid in pids(local_root).values():
        for connection in psutil.Process(pid).net_connections("inet"):
            if connection.status == psutil.CONN_LISTEN:
                assert connection.laddr.ip == processes.LOOPBACK


def test_wrong_credentials_are_refused(local_environment: stack.Environment) -> None:
    dsn = local_environment.postgres_dsn
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(dsn.replace(dsn.split(":")[2].split("@")[0], "wrong"))
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        s3(local_environment, "wrong").list_buckets()  # type: ignore[attr-defined]


def test_the_owner_may_do_what_a_migration_needs(local_environment: stack.Environment) -> None:
    connection = psycopg2.connect(local_environment.postgres_dsn)
    connection.autocommit = True
    cursor = connection.cursor()
    for setting, value in {
        "wal_level": "logical",
        "TimeZone": "UTC",
        "data_checksums": "on",
        "server_encoding": "UTF8",
        "fsync": "on",
    }.items():
        cursor.execute(f"show {setting}")
        assert cursor.fetchone() == (value,)
    cursor.execute("drop database if exists trial with (force)")
    cursor.execute("create database trial")
    cursor.execute("drop database trial")
    cursor.execute("select pg_create_logical_replication_slot('trial', 'pgoutput'), pg_export_snapshot()")
    cursor.execute("select pg_drop_replication_slot('trial')")
    cursor.execute("select rolsuper from pg_roles where rolname = current_user")
    assert cursor.fetchone() == (False,)
    connection.close()


@pytest.mark.parametrize("name", stack.SERVERS)
def test_a_killed_server_is_the_only_one_restarted(
    local_environment: stack.Environment, local_root: Path, name: str
) -> None:
    before = pids(local_root)
    killed = before[name]
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    wait_for(lambda: not stack._alive(State.read(local_root.resolve()), name, local_root.resolve()))
    with pytest.raises(LocalStackError, match=rf"not running: {name}.*runbook local up"):
        stack.environment(local_root)
    assert stack.up(local_root) == local_environment
    after = pids(local_root)
    assert after[name] not in (None, killed)
    assert {other: pid for other, pid in after.items() if other != name} == {
        other: pid for other, pid in before.items() if other != name
    }


def test_data_survive_a_stop_and_a_kill_and_nothing_is_left(root: Path) -> None:
    env = stack.up(root)
    write_everywhere(env)
    url = stack.on_demand(Spark, root).url
    assert len(stack.down(root)) == 4
    assert stack.down(root) == []
    assert processes.strays(root.resolve()) == []
    with pytest.raises(LocalStackError, match="runbook local up"):
        stack.environment(root)
    again = stack.up(root)
    assert again == env
    read_everywhere(again)
    assert pids(root)["spark"] is None, "it starts when it is needed"
    assert stack.on_demand(Spark, root).url == url
    running = pids(root)
    for name in ("postgres", "s3", "snowflake", "spark"):
        pid = running[name]
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not any(stack._alive(State.read(root.resolve()), name, root.resolve()) for name in running))
    read_everywhere(stack.up(root))
    home = root.resolve()
    stack.remove(root)
    assert not root.exists() and not root.is_symlink() and not home.exists()
    assert processes.strays(home) == []


def test_a_process_under_a_reused_number_is_not_ours(root: Path) -> None:
    """After a reboot the remembered numbers belong to somebody else."""
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        created = start_of(stranger.pid)
        assert processes.Running(stranger.pid, created).process("sleep") is not None
        assert processes.Running(stranger.pid, start_of(os.getpid())).process("sleep") is None
        assert processes.Running(stranger.pid, created).process("postgres") is None
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the kernel writes down when a process started")
def test_a_server_that_runs_is_known_after_the_clock_was_set(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux derives the time of day of a start from the present one; a virtual machine that is resumed jumps."""
    server = subprocess.Popen(["sleep", "60"])
    try:
        created = start_of(server.pid)
        before = psutil.Process(server.pid).create_time()
        boot_time = psutil._pslinux.boot_time  # type: ignore[attr-defined]
        monkeypatch.setattr("psutil._pslinux.boot_time", lambda: boot_time() + 3600)
        assert psutil.Process(server.pid).create_time() - before > 3000, "psutil tells the time of day"
        assert processes.Running(server.pid, created).process("sleep") is not None
        assert lives(server.pid, created)
    finally:
        server.kill()
        server.wait()
    assert not lives(server.pid, created)


def test_two_ups_at_once_start_one_stack(root: Path) -> None:
    command = [sys.executable, "-c", TWO_UPS, str(root)]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    both = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = {process.communicate(timeout=120)[0] for process in both}
    assert [process.returncode for process in both] == [0, 0]
    assert len(said) == 1 and said != {""}
    named = {each.pid: each for each in psutil.process_iter() if str(root.resolve()) in " ".join(_command(each))}
    servers = [each for each in named.values() if each.ppid() not in named]  # PostgreSQL's has children of its name
    assert len(servers) == 3


def test_a_taken_port_is_one_sentence(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind((processes.LOOPBACK, 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setenv("RUNBOOK_POSTGRES_PORT", str(port))
        with pytest.raises(LocalStackError, match=rf"port {port} of 127\.0\.0\.1.*taken") as caught:
            stack.up(root)
    assert "\n" not in str(caught.value)
    assert all(pid is None for pid in pids(root).values())


def test_a_full_disk_and_a_missing_environment_are_one_sentence(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))  # type: ignore[attr-defined]
        with pytest.raises(LocalStackError, match="of disk are free"):
            stack.up(root)
    monkeypatch.setenv("RUNBOOK_SNOWFLAKE_PYTHON", "/nowhere/python")
    with pytest.raises(LocalStackError, match="RUNBOOK_SNOWFLAKE_PYTHON"):
        stack.up(root)


def test_a_server_that_dies_at_start_shows_its_own_log(root: Path) -> None:
    stack.up(root)
    stack.down(root)
    (root / "postgres" / "data" / "postgresql.conf").write_text("no_such_setting = 1\n")
    with pytest.raises(LocalStackError, match="no_such_setting"):
        stack.up(root)


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else, or be kept out of nobody's reach")
def test_root_in_a_closed_folder(tmp_path: Path) -> None:
    """A clone in a folder of mode 0700: the data go elsewhere, the folder stays as it is."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    root = closed / "local"
    try:
        write_everywhere(stack.up(root))
        assert root.is_symlink()
        assert (closed.stat().st_mode & 0o777) == 0o700
        stack.down(root)
        read_everywhere(stack.up(root))
    finally:
        home = root.resolve()
        stack.remove(root)
    assert not home.exists()


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else; for others every test is this one")
def test_an_ordinary_user(tmp_path_factory: pytest.TempPathFactory) -> None:
    nobody = pwd.getpwnam("nobody")
    if subprocess.run(["test", "-x", sys.executable], user=nobody.pw_uid, cwd="/", check=False).returncode:
        pytest.skip("this environment's Python cannot be reached by an ordinary user")
    folder = Path("/var/tmp") / f"runbook-test-{os.getpid()}"
    folder.mkdir(mode=0o700)
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    script = "from pathlib import Path; from helpers.local import stack; r = Path({!r}); print(stack.up(r)); stack.{}"
    try:
        made = subprocess.run(
            [sys.executable, "-c", script.format(str(folder / "local"), "remove(r)")],
            cwd=folder,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT), "HOME": str(folder)},
            user=nobody.pw_uid,
            group=nobody.pw_gid,
            extra_groups=[],
            capture_output=True,
            text=True,
            check=False,
        )
        assert made.returncode == 0, made.stderr
        assert not (folder / "local").exists()
    finally:
        shutil.rmtree(folder)


def _command(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []
