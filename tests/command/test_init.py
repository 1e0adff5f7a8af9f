"""`runbook init`: from a URL to a profile that loads, and what it says where that cannot be.

Would catch: a secret in the file, on the screen or in an error; a file that is broken, or changed where it should not be; a
proposal that is no TOML, or that the settings refuse; a name in the catalog that ends a comment or a key; a URL that leads
elsewhere than its writer means; a next command that does not work.
"""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import stat
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import library_support
import pytest

from helpers import settings as profiles
from helpers.errors import SettingsError
from helpers.onboarding import connection, parts, profile_file
from helpers.settings import Source

Command = Callable[..., "subprocess.CompletedProcess[str]"]

ODD = (
    'CREATE TABLE "Order Details" ("order" int PRIMARY KEY, "Ship ""To""" text)',
    'CREATE TABLE "[x]\n#= \'" (id int PRIMARY KEY, email text, "user_name\n[profiles.evil]" text)',
    "CREATE SCHEMA other",
    "CREATE TABLE other.same (id int, last_name text, born date DEFAULT '-infinity', n numeric(60, 2))",
    "CREATE TABLE same (ID int PRIMARY KEY)",
    'CREATE TABLE "SAME" (id int PRIMARY KEY)',
)


@pytest.fixture
def url(migration: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """The source of this test as a URL, which the environment has as PLACE_URL."""
    found = library_support.url(migration.settings.source)
    monkeypatch.setenv("PLACE_URL", found)
    return found


def secret(migration: Any) -> str:
    return str(migration.settings.source.password.get_secret_value())


def agreed(text: str) -> str:
    """The profile with every proposal taken."""
    return "\n".join(re.sub(r"^#(?=[^ ])", "", line) for line in text.splitlines())


def test_the_librarys_profile_loads_with_and_without_what_it_proposes(
    migration: Any, url: str, runbook: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library_support.build(migration.settings.source)
    for part in ("dbt", "airflow"):
        shutil.copytree(library_support.FOLDER / part, tmp_path / part)
    told = runbook("init", "--from-env", "PLACE_URL", "--profile", "library", folder=tmp_path)
    assert told.returncode == 0, told.stderr
    text = (tmp_path / "migration.toml").read_text()
    assert secret(migration) not in text + told.stdout + told.stderr
    assert re.search(r"next +\S*runbook run 30 --run first\S* --profile library --apply$", told.stdout, re.MULTILINE)

    settings = profiles.load("library", tmp_path / "migration.toml")
    assert settings.source.dbname == migration.settings.source.dbname
    assert settings.source.password == migration.settings.source.password
    assert settings.stage.url.endswith("/library/") and settings.snowflake.schema_ == "LIBRARY"
    assert settings.values.tables.schema_ == "{schema}", "loans.event and catalogue.event would be one table"
    assert re.search(r"^#   loans\.loan +3,000 rows", text, re.MULTILINE)
    assert settings.dbt.project == "dbt" and set(settings.dags.legacy) == {"library_nightly", "library_cloud"}

    monkeypatch.setenv("LIBRARY_APP_PASSWORD", "AppOfTests-1")
    other = tmp_path / "agreed"
    other.mkdir()
    (other / "migration.toml").write_text(agreed(text))
    whole = profiles.load("library", other / "migration.toml").values
    assert whole.export.policies == {"loans.reservation.wanted_until": "null+flag"}
    assert {"email", "phone", "street", "full_name", "birth_date"} == set(whole.tables.match["members.person"].mask)
    assert whole.tables.match["members.person"].omit == ("password_hash",)
    assert "members.person.email" in ((whole.compliance and whole.compliance.personal) or ())


def test_names_that_would_end_a_key_or_a_comment_stay_names(
    migration: Any, url: str, runbook: Command, tmp_path: Path
) -> None:
    migration.source(*ODD)
    assert runbook("init", "--from-env", "PLACE_URL", "--profile", "odd", folder=tmp_path).returncode == 0
    text = (tmp_path / "migration.toml").read_text()
    for each in (text, agreed(text)):
        assert set(tomllib.loads(each)["profiles"]) == {"odd"}
    match = profiles.load("odd", tmp_path / "migration.toml").values.tables.match
    assert match["public.Order Details"].name == "Order_Details"
    assert {each.name for each in match.values()} >= {"same_2"} or {each.name for each in match.values()} >= {"SAME_2"}
    assert '#"other.same.born" = "null+flag"' in text and '#"other.same.n" = "text"' in text


def test_a_file_is_added_to_and_a_profile_never_written_over(
    migration: Any, url: str, runbook: Command, tmp_path: Path
) -> None:
    migration.source("CREATE TABLE t (id int PRIMARY KEY)")
    file = tmp_path / "migration.toml"
    before = b'# ours\r\n[profiles.local]\nstack = "local"   # \xc3\xa9'
    file.write_bytes(before)
    file.chmod(0o640)
    assert runbook("init", "--from-env", "PLACE_URL", "--profile", "mine", folder=tmp_path).returncode == 0
    after = file.read_bytes()
    assert after.startswith(before) and stat.S_IMODE(file.stat().st_mode) == 0o640
    for name, why in (("mine", "none is ever written over"), ("source", "is a section"), ("a b", "letters, digits")):
        refused = runbook("init", "--from-env", "PLACE_URL", "--profile", name, folder=tmp_path)
        assert refused.returncode == 2 and why in refused.stderr
    assert file.read_bytes() == after and [each.name for each in tmp_path.iterdir()] == ["migration.toml"]
    file.write_bytes(b"[profiles")
    broken = runbook("init", "--from-env", "PLACE_URL", "--profile", "other", folder=tmp_path)
    assert broken.returncode == 2 and "nothing was added" in broken.stderr and file.read_bytes() == b"[profiles"


def test_what_would_not_load_is_not_kept(tmp_path: Path) -> None:
    file = tmp_path / "migration.toml"
    file.write_text("[profiles.a]\n")
    with pytest.raises(SettingsError, match="there is no such key"):
        profile_file.add(file, "b", "[profiles.b]\nnonsense = 1\n")
    assert file.read_text() == "[profiles.a]\n" and list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("postgresql://u:p@ss-4711@h/d", "hold a character that ends them"),
        ("postgresql://u:p/ss-4711@h/d", "hold a character that ends them"),
        ("postgresql://u:p#ss-4711@h/d", "hold a character that ends them"),
        ("postgresql://u:p%ss-4711@h/d", "hold a character that ends them"),
        ("postgresql://u:p ss-4711@h/d", "hold a character that ends them"),
        ("jdbc:postgresql://h/d?user=u&password=pss-4711", "a URL of JDBC"),
        ("mysql://u:pss-4711@h/d", "a URL of mysql, and none of PostgreSQL"),
        ("postgresql://u:pss-4711@h/d?sslmod=require", "libpq does not understand it"),
        ("postgresql://u:pss-4711@h:port/d", "port"),
        ("postgresql://u:pss-4711@h/d?sslmode=no-verify", "sslmode"),
        ("host=h dbname=d pss-4711", "libpq does not understand it"),
    ],
)
def test_a_url_that_leads_elsewhere_is_refused_and_never_shown(written: str, why: str) -> None:
    with pytest.raises(SettingsError, match=why) as caught:
        connection.from_variable("PLACE_URL", {"PLACE_URL": written})
    assert "4711" not in str(caught.value)


@pytest.mark.parametrize(
    ("written", "keys"),
    [
        ("postgresql://u:p?ss@h/d", {"host": "h", "password": "p?ss"}),
        ("postgres://u:p%40%2F%25ss@h:6543/d", {"host": "h", "port": 6543, "password": "p@/%ss"}),
        ("postgresql+psycopg2://u:secret@h/d?sslmode=verify-full&sslrootcert=system", {"sslmode": "verify-full", "sslrootcert": "system"}),
        ("postgresql://u:secret@a:1,b:2/d?target_session_attrs=read-write", {"host": "a,b", "target_session_attrs": "read-write"}),
        ("postgresql://u:secret@[::1]:5433/d?connect_timeout=7", {"host": "::1", "connect_timeout_seconds": 7.0}),
        ("host=h dbname=d user=u password='s p'", {"host": "h", "password": "s p"}),
    ],
)  # fmt: skip
def test_a_url_or_dsn_in_any_usual_form_leads_to_its_database(written: str, keys: dict[str, Any]) -> None:
    found = connection.from_variable("PLACE_URL", {"PLACE_URL": written})
    assert found.keys == {"url": {"env": "PLACE_URL"}} and (found.source.dbname, found.source.user) == ("d", "u")
    for key, value in keys.items():
        got = getattr(found.source, key)
        assert (got.get_secret_value() if key == "password" else got) == value


def test_a_service_of_libpqs_files_leads_there(
    migration: Any, runbook: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    migration.source("CREATE TABLE t (id int PRIMARY KEY)")
    source, services = migration.settings.source, tmp_path / "services"
    services.write_text(
        f"[place]\nhost={source.host}\nport={source.port}\ndbname={source.dbname}\nuser={source.user}\npassword={secret(migration)}\n"
    )
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    assert runbook("init", "--service", "place", "--profile", "mine", folder=tmp_path).returncode == 0
    assert 'service = "place"' in (tmp_path / "migration.toml").read_text()
    assert secret(migration) not in (tmp_path / "migration.toml").read_text()
    assert profiles.load("mine", tmp_path / "migration.toml").source.dbname == source.dbname
    told = runbook("init", "--service", "elsewhere", "--profile", "other", folder=tmp_path)
    assert told.returncode == 2 and "there is no service [elsewhere]" in told.stderr


def test_where_nobody_can_be_asked_it_says_what_to_do(
    runbook: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_URL", "postgres://u:geheim-4711@h/d")
    told = runbook("init", folder=tmp_path)
    assert told.returncode == 2 and "init --from-env SHOP_URL" in told.stderr and "4711" not in told.stderr
    told = runbook("init", "--from-env", "NOWHERE", folder=tmp_path)
    assert told.returncode == 2 and "neither the environment nor .env has it" in told.stderr
    told = runbook("init", "postgres://u:geheim-4711@h/d", folder=tmp_path)
    assert told.returncode == 2 and "can read a command line" in told.stderr and "4711" not in told.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_server_or_database_that_is_not_there_is_named_with_its_cure(
    migration: Any, url: str, runbook: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source: Source = migration.settings.source
    empty = runbook("init", "--from-env", "PLACE_URL", folder=tmp_path)
    assert empty.returncode == 2 and "the database has none that could move; the server has" in empty.stderr
    monkeypatch.setenv("PLACE_URL", library_support.url(source.model_copy(update={"dbname": "no_such"})))
    unknown = runbook("init", "--from-env", "PLACE_URL", folder=tmp_path)
    assert unknown.returncode == 2 and "the server has no such database" in unknown.stderr
    monkeypatch.setenv("PLACE_URL", library_support.url(source.model_copy(update={"port": 9})))
    silent = runbook("init", "--from-env", "PLACE_URL", folder=tmp_path)
    assert silent.returncode == 2 and "Connection refused" in silent.stderr
    assert list(tmp_path.iterdir()) == [] and secret(migration) not in unknown.stderr + silent.stderr


def test_tables_that_may_not_be_read_come_with_their_grants(
    migration: Any, runbook: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    role = f"reader_{os.getpid()}"
    migration.source("CREATE TABLE seen (id int PRIMARY KEY)", "CREATE TABLE unseen (id int PRIMARY KEY)")
    with migration.superuser() as cursor:
        cursor.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'ReaderOfTests-1'; GRANT SELECT ON seen TO {role}")
        try:
            own = (
                f"postgresql://{role}:ReaderOfTests-1@{migration.settings.source.host}:{migration.settings.source.port}"
            )
            monkeypatch.setenv("PLACE_URL", f"{own}/{migration.settings.source.dbname}")
            told = runbook("init", "--from-env", "PLACE_URL", "--profile", "mine", folder=tmp_path)
        finally:
            cursor.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
    assert told.returncode == 0 and f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role};" in told.stdout
    assert re.search(
        r"^#   public\.unseen .*\(may not be read by this role\)$",
        (tmp_path / "migration.toml").read_text(),
        re.MULTILINE,
    )


def test_it_asks_in_a_terminal_and_keeps_the_password_where_only_its_owner_reads(
    migration: Any, tmp_path: Path
) -> None:
    migration.source("CREATE TABLE t (id int PRIMARY KEY)")
    source, file = migration.settings.source, tmp_path / "migration.toml"
    answers = [source.host, str(source.port), source.dbname, source.user, secret(migration), "y"]
    seen = _in_a_terminal([sys.executable, "-m", "helpers", "init", "--profile", "asked"], answers, tmp_path)
    assert "profile asked added" in seen and secret(migration) not in seen
    assert 'password = { env = "ASKED_PASSWORD" }' in file.read_text() and secret(migration) not in file.read_text()
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
    assert profiles.load("asked", file).source.password == source.password


def _in_a_terminal(command: list[str], answers: list[str], folder: Path) -> str:
    """Answers each question of a command as a person would; what the terminal showed."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(folder)
        os.execvpe(command[0], command, {**os.environ, "PYTHONPATH": str(Path(profiles.__file__).parents[2])})
    seen, asked, ends = "", "", time.monotonic() + 120
    while time.monotonic() < ends:
        if select.select([terminal], [], [], 0.3)[0]:
            try:
                read = os.read(terminal, 4096).decode(errors="replace")
            except OSError:  # the command has ended
                break
            seen, asked = seen + read, asked + read
        elif answers and asked.rstrip().endswith(":"):
            os.write(terminal, answers.pop(0).encode() + b"\n")
            asked = ""
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, seen
    return seen


def test_the_parts_of_a_pipeline_are_found_where_they_lie(tmp_path: Path) -> None:
    (tmp_path / "etl" / "dags").mkdir(parents=True)
    (tmp_path / "etl" / "dags" / "nightly.py").write_text(
        "from airflow.sdk import DAG\nwith DAG(dag_id='nightly'):\n    pass\n"
    )
    (tmp_path / "etl" / "broken").mkdir()
    (tmp_path / "etl" / "broken" / "x.py").write_text("import airflow\nDAG(dag_id=name())\n")
    for project in ("warehouse", "node_modules/other", "a/b/c/d/e"):
        (tmp_path / project).mkdir(parents=True)
        (tmp_path / project / "dbt_project.yml").write_text("name: x\n")
    (tmp_path / "docker-compose.yml").write_text(
        "services:\n  db:\n    image: postgis/postgis:16-3.4\n    environment: [POSTGRES_USER=shop, 'POSTGRES_DB=${NO_SUCH:-shop_db}']\n"
        "    ports: ['127.0.0.1:5433:5432']\n  cache:\n    image: redis\n"
    )
    (tmp_path / "compose.broken.yml").write_text("services: [")
    found = parts.find(tmp_path)
    assert found.dbt == ("warehouse",)
    assert [(each.path, each.names) for each in found.dags] == [("etl/broken", ()), ("etl/dags", ("nightly",))]
    assert "no literal text" in found.dags[0].problem
    assert found.databases == (parts.ComposeDatabase("docker-compose.yml", "db", 5433, "shop_db", "shop"),)


def test_nothing_of_this_project_is_taken_for_somebodys_pipeline() -> None:
    assert parts.find(Path(profiles.__file__).parents[2]) == parts.Parts()
