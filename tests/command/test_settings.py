"""Settings say what is wrong, where it was sought and what to write instead, and never show a secret.

Would catch: a secret accepted in the file, an error without the key's name, a reference that is read from elsewhere.
"""

from __future__ import annotations

import json
import re
import threading
import tomllib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel, ValidationError

from helpers import PROJECT, redaction, settings
from helpers.errors import SettingsError
from helpers.settings import reference
from helpers.settings.problems import example_of

SOURCE = """
[profiles.production.source]
host = "db.example.com"
dbname = "sales"
user = "reader"
sslmode = "verify-full"
password = {password}
"""


@pytest.fixture
def write(migration_toml: Callable[..., Path]) -> object:
    return migration_toml


def _load(write: object, text: str, profile: str = "production") -> settings.Settings:
    return settings.load(profile, write(text))  # type: ignore[operator]


def test_a_secret_comes_from_the_environment_and_shows_nowhere(write: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SALES_PASSWORD", "p@ss word/42")
    found = _load(write, SOURCE.format(password='{ env = "SALES_PASSWORD" }'))
    assert found.source.password is not None
    assert found.source.password.get_secret_value() == "p@ss word/42"
    assert "p@ss" not in repr(found)
    assert redaction.redact("postgresql://x:p%40ss%20word%2F42@h p@ss word/42") == "postgresql://x:•••@h •••"


def test_dotenv_beside_the_file_is_read_and_the_environment_wins(
    write: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("FIRST=from-file\nSECOND=from-file\n")
    monkeypatch.setenv("SECOND", "from-environment")
    for name, value in (("FIRST", "from-file"), ("SECOND", "from-environment")):
        password = _load(write, SOURCE.format(password=f'{{ env = "{name}" }}')).source.password
        assert password is not None
        assert password.get_secret_value() == value


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (
            SOURCE.format(password='"hunter2-in-the-file"'),
            ["profiles.production.source.password", "does not belong in this file"],
        ),
        (
            SOURCE.format(password='{ env = "NOT_SET_ANYWHERE" }'),
            ["profiles.production.source.password", "NOT_SET_ANYWHERE", ".env"],
        ),
        (
            '[profiles.production.source]\nhost = "h"\nuser = "u"\n',
            ["profiles.production.source.dbname", 'dbname = "sales"'],
        ),
        ('[profiles.production.source]\nhostt = "h"\n', ["profiles.production.source"]),
        ("[profiles.production.export]\nhold_snapshot_hours = 0\n", ["profiles.production.export.hold_snapshot_hours"]),
        (
            "[profiles.production.export]\nhold_snapshot_hours = 169\n",
            ["profiles.production.export.hold_snapshot_hours"],
        ),
        ("[profiles.other]\n", ["production", "other"]),
        ("profiles = [", ["not valid TOML"]),
    ],
)
def test_a_wrong_setting_is_one_error_that_names_the_key(write: object, text: str, names: list[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        _load(write, text)
    assert all(name in str(caught.value) for name in names), str(caught.value)
    assert "hunter2" not in str(caught.value)


SNOWFLAKE = '[profiles.production.snowflake]\naccount = "a"\nuser = "u"\ndatabase = "d"\nschema = "s"\n'
BACKEND = '[profiles.production.terraform.backend]\nbucket = "b"\nkey = "k"\nregion = "r"\n'


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (SNOWFLAKE + 'connect = { password = "hunter2-in-the-file" }', "snowflake.connect"),
        (SNOWFLAKE + 'connect = { proxy = { passcode = "hunter2-in-the-file" } }', "snowflake.connect"),
        (SNOWFLAKE + 'connect = { proxy = "http://u:hunter2@proxy:3128" }', "snowflake.connect"),
        (BACKEND + 'secret_key = "hunter2-in-the-file"', "terraform.backend"),
        ('[profiles.production.databricks]\nschema = "s"\nurl = "sc://u:hunter2@h:1"', "databricks.url"),
        ('[profiles.production.databricks]\nschema = "s"\nurl = { env = "WITH_A_PASSWORD" }', "databricks.url"),
        ('[profiles.production.aws]\nendpoint = "https://u:hunter2@h"', "aws.endpoint"),
        ('[profiles.production.notify]\nwebhook = "https://u:hunter2@h/x"', "notify.webhook"),
        ('[profiles.production.sla]\nviews = ["postgresql://u:hunter2@h/d"]', "sla.views"),
    ],
)
def test_no_section_takes_a_secret_that_stands_in_the_file(
    write: object, monkeypatch: pytest.MonkeyPatch, text: str, key: str
) -> None:
    monkeypatch.setenv("WITH_A_PASSWORD", "sc://u:hunter2@h:1")
    with pytest.raises(SettingsError) as caught:
        _load(write, text)
    assert f"profiles.production.{key}" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_reference_among_further_arguments_is_taken_and_masked(
    write: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROXY_PASSWORD", "hunter2-of-the-proxy")
    text = SNOWFLAKE + 'connect = { proxy_password = { env = "PROXY_PASSWORD" }, login_timeout = 3 }\n' + BACKEND
    found = _load(write, text + 'secret_key = { env = "PROXY_PASSWORD" }\naccess_key = "AKIAABCDEFGHIJKLMNOP"')
    assert found.snowflake.connect["proxy_password"] == found.terraform.backend["secret_key"] == "hunter2-of-the-proxy"
    assert "hunter2" not in repr(found)
    assert "hunter2" not in redaction.redact("login with hunter2-of-the-proxy failed")


def _sections() -> Iterator[tuple[str, type[BaseModel]]]:
    for name, section in _sections_in(settings.Profile):
        yield name, section
        for inner, each in _sections_in(section):
            yield f"{name}.{inner}", each


def _sections_in(section: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    for name, field in section.model_fields.items():
        for each in (field.annotation, *get_args(field.annotation)):
            if isinstance(each, type) and issubclass(each, BaseModel):
                yield name, each


@pytest.mark.parametrize(("name", "section"), [pytest.param(*each, id=each[0]) for each in _sections()])
def test_the_example_of_a_key_is_one_that_the_key_takes(name: str, section: type[BaseModel]) -> None:
    for own, field in section.model_fields.items():
        key = field.alias or own
        _, _, written = example_of(settings.Profile, (*name.split("."), key)).partition("for example ")
        assert written or not field.is_required(), key
        value = tomllib.loads(written).get(key)
        if value is None or (isinstance(value, dict) and "env" in value):
            continue
        try:
            section.model_validate({key: value})
        except ValidationError as error:
            assert key not in {each["loc"][0] for each in error.errors() if each["loc"]}, (key, value)


def test_a_section_is_asked_for_when_it_is_needed(write: object) -> None:
    found = _load(write, "[profiles.production]\n")
    with pytest.raises(SettingsError, match=r"profiles\.production\.snowflake"):
        _ = found.snowflake


def test_the_commented_production_profile_is_valid(write: object, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (PROJECT / "migration.toml").read_text(encoding="utf-8")
    example = "\n".join(
        line.removeprefix("# ") for line in text.split("# [profiles.production.source]")[1].splitlines()
    )
    example = "[profiles.production.source]" + example.replace(
        '{ aws_secret = "prod/sales-db", key = "password", region = "eu-central-1" }', '{ env = "EXAMPLE" }'
    )
    monkeypatch.setenv("EXAMPLE", "secret")
    monkeypatch.setenv("SNOWFLAKE_KEY_PASSPHRASE", "secret")
    monkeypatch.setenv("DATABRICKS_CLIENT_SECRET", "secret")
    monkeypatch.setenv("AIRFLOW_PASSWORD", "secret")
    monkeypatch.setenv("KAFKA_PASSWORD", "secret")
    monkeypatch.setenv("SALES_APP_PASSWORD", "secret")
    monkeypatch.setenv("SLACK_WEBHOOK", "https://hooks.example.com/secret")
    found = _load(write, example)
    assert (found.databricks.catalog, found.databricks.engine) == ("main", "spark")
    assert (found.source.sslmode, found.snowflake.storage_integration, found.export.workers) == (
        "verify-full",
        "MIGRATION_S3",
        4,
    )


class _Vault(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        allowed = self.headers["X-Vault-Token"] == "token-of-the-test"
        known = self.path == "/v1/secret/data/sales"
        self.send_response(200 if allowed and known else 403)
        self.end_headers()
        if allowed and known:
            self.wfile.write(json.dumps({"data": {"data": {"password": "from-vault"}, "metadata": {}}}).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def vault() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _Vault)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_a_secret_comes_from_vault(write: object, vault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT_ADDR", vault)
    monkeypatch.setenv("VAULT_TOKEN", "token-of-the-test")
    text = SOURCE.format(password='{ vault = "secret/data/sales", key = "password" }')
    password = _load(write, text).source.password
    assert password is not None
    assert password.get_secret_value() == "from-vault"
    with pytest.raises(SettingsError, match="no field 'other'"):
        _load(write, text.replace('"password" }', '"other" }'))
    monkeypatch.setenv("VAULT_TOKEN", "another-token")
    with pytest.raises(SettingsError, match="403") as caught:
        _load(write, text)
    assert "another-token" not in str(caught.value)


def test_a_dsn_in_the_environment_is_a_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THERE", "postgresql://me:hidden%21pw@db.example.com:5433/sales?sslmode=require")
    source = settings.source_from_dsn("THERE")
    assert (source.host, source.port, source.dbname, source.sslmode) == ("db.example.com", 5433, "sales", "require")
    monkeypatch.setenv("THERE", "postgresql://me:hidden%21pw@[broken")
    with pytest.raises(SettingsError) as caught:
        settings.source_from_dsn("THERE")
    assert "hidden" not in str(caught.value)


def test_the_page_says_what_the_classes_say() -> None:
    assert reference.FILE.read_text(encoding="utf-8") == reference.page(), "run: runbook settings --reference"


def test_every_key_has_a_description_and_an_example() -> None:
    rows = [line for line in reference.page().splitlines() if line.startswith("| `")]
    for row in rows[3:]:  # below those of the references
        key, _, _, example, description = (cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1])
        assert example.strip("`").startswith(f"{key.strip('`')} = "), row
        assert description, row
    assert len(rows) - 3 == sum(len(section.model_fields) for _, section in _sections())


@pytest.mark.parametrize("dotenv", [False, True])
def test_the_environment_wins_over_the_file(
    write: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dotenv: bool
) -> None:
    given = {
        "RUNBOOK_SOURCE__PORT": "5433",
        "RUNBOOK_SOURCE__SCHEMAS": '["sales"]',
        "RUNBOOK_SOURCE__SSLMODE": "require",
        "RUNBOOK_SOURCE__PASSWORD": "given-outside",
        "RUNBOOK_EXPORT__WORKERS": "7",
        "RUNBOOK_SNOWFLAKE": '{"account": "a", "user": "u", "database": "d", "schema": "s"}',
    }
    if dotenv:
        (tmp_path / ".env").write_text("".join(f"{name}='{value}'\n" for name, value in given.items()))
        monkeypatch.setenv("RUNBOOK_EXPORT__WORKERS", "8")
    else:
        for name, value in given.items():
            monkeypatch.setenv(name, value)
    # The file's own reference leads nowhere, and is not followed.
    found = _load(write, SOURCE.format(password='{ env = "NOT_SET_ANYWHERE" }'))
    assert (found.source.host, found.source.port, found.source.schemas) == ("db.example.com", 5433, ("sales",))
    assert (found.source.sslmode, found.export.workers, found.snowflake.schema_) == ("require", 8 if dotenv else 7, "s")
    assert found.source.password is not None
    assert found.source.password.get_secret_value() == "given-outside"
    assert redaction.redact("given-outside") == redaction.HIDDEN


@pytest.mark.parametrize(
    ("variable", "value", "names"),
    [
        ("RUNBOOK_EXPORT__WORKERS", "many", ["profiles.production.export.workers", "RUNBOOK_EXPORT__WORKERS"]),
        ("RUNBOOK_EXPORT__WORKRES", "2", ["profiles.production.export.workres", "RUNBOOK_EXPORT__WORKRES", "workers"]),
        ("RUNBOOK_EXPROT__WORKERS", "2", ["RUNBOOK_EXPROT__WORKERS", "exprot"]),
        ("RUNBOOK_SOURCE__SCHEMAS", "public", ["RUNBOOK_SOURCE__SCHEMAS", "JSON"]),
        ("RUNBOOK_APPROVALS__THRESHOLD", "1", ["RUNBOOK_APPROVALS__THRESHOLD", "only be set in the file"]),
        ("RUNBOOK_APPROVALS", "{}", ["RUNBOOK_APPROVALS", "only be set in the file"]),
    ],
)
def test_a_wrong_variable_is_named(
    write: object, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, names: list[str]
) -> None:
    monkeypatch.setenv(variable, value)
    monkeypatch.setenv("A_PASSWORD", "of-the-source")
    with pytest.raises(SettingsError) as caught:
        _load(write, SOURCE.format(password='{ env = "A_PASSWORD" }'))
    assert all(name in str(caught.value) for name in names), str(caught.value)


def test_who_is_called_is_said_in_order_or_that_nobody_is_named(write: object) -> None:
    assert "[[profiles.production.escalation]]" in _load(write, "[profiles.production]\n").whom_to_call
    contact = '[[profiles.production.escalation]]\nname = "{}"\nrole = "on call"\nreach = "+1"\n'
    said = _load(write, contact.format("Ana") + contact.format("Bo")).whom_to_call.splitlines()
    assert said[1:] == ["  1. Ana, on call: +1", "  2. Bo, on call: +1"]
    with pytest.raises(SettingsError, match=r'escalation\.0\.reach.*reach = "') as caught:
        _load(write, '[[profiles.production.escalation]]\nname = "Ana"\nrole = "on call"\n')
    assert "production" in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "value", "key", "cure"),
    [
        ("RUNBOOK_SOURCE__PORT", "99999", "production.source.port", "for example port = 5432"),
        (
            "RUNBOOK_VERIFY__TOLERANCES",
            '{"a.b.c": "x"}',
            "verify.tolerances.a.b.c",
            'for example tolerances = { "public',
        ),
    ],
)
def test_a_wrong_value_is_refused_with_an_example_of_its_key(
    write: object, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, key: str, cure: str
) -> None:
    monkeypatch.setenv(variable, value)
    monkeypatch.setenv("P", "x")
    with pytest.raises(SettingsError, match=re.escape(key)) as refused:
        _load(write, SOURCE.format(password='{ env = "P" }'))
    assert cure in refused.value.next_step
    assert variable in str(refused.value.on)


TABLES = "[profiles.production.tables]\n"
MATCH = '[profiles.production.tables.match."crm.*"]\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[profiles.production.hybrid]\nstay = ["crm.*"]', "[profiles.production.tables] stay = {"),
        (TABLES + 'name = "{schema}_{tabel}"', "{schema}"),
        (TABLES + 'include = [""]', "a glob is empty"),
        (TABLES + 'stay = { "crm.*" = "" }', "has no reason"),
        (TABLES + 'mask_salt = "in the file"', "does not belong in this file"),
        (TABLES + 'stey = ["crm.*"]', "write stay"),
        (MATCH + 'omitt = ["note"]', "write omit"),
        (MATCH + 'omit = ["note"]', "need a reason"),
        (MATCH + 'where = " "\nreason = "x"', "where is empty"),
        (MATCH + 'mask = { note = "md5" }\nreason = "x"', '"sha256"'),
        (MATCH + 'mask = { note = "null" }\nomit = ["note"]\nreason = "x"', "both omitted and masked"),
    ],
)
def test_a_table_setting_that_cannot_be_meant_is_refused(write: object, text: str, said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        _load(write, text)
    assert "profiles.production." in str(refused.value)
    assert said in str(refused.value)
