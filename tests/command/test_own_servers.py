"""A setting that is given is heeded or refused: beside the local stack, under a wrong name, and in a wrong place.

Would catch: a profile that names a real Kafka and is served by the stand-in, a local bucket's name used in somebody's account,
a misspelt key that is left unread.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers import settings
from helpers.errors import SettingsError, UsageError
from helpers.platforms import spark
from helpers.settings import Settings

HEAD = '[profiles.mine]\nstack = "local"\n'


@pytest.fixture
def load(
    migration_toml: Callable[..., Path], local_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Settings]:
    monkeypatch.setenv("A_SECRET", "of-the-profile")

    return lambda text: settings.load("mine", migration_toml(text))


OWN: dict[str, tuple[str, dict[str, object], tuple[str, ...]]] = {
    # What the section then says, and which sections the stack does not fill any more.
    "source": (
        'host = "db.example.com"\ndbname = "d"\nuser = "u"\n',
        {"host": "db.example.com", "port": 5432, "password": None},
        ("sla", "compliance", "aws", "dns", "kafka", "airflow"),
    ),
    "stage": ('url = "s3://lake/x/"\nregion = "eu-central-1"\n', {"endpoint": None, "access_key": None}, ("archive", "kafka", "databricks")),
    "snowflake": (
        'account = "org-acc"\nuser = "U"\ndatabase = "D"\nschema = "S"\npassword = { env = "A_SECRET" }\n',
        {"account": "org-acc", "connect": {}}, (),
    ),
    "databricks": ('url = "sc://spark.example.com:15002"\nschema = "s"\n', {"engine": "spark", "delta_root": None}, ()),
    "kafka": ('bootstrap = "b:9092"\ntopic = "t"\nsecurity = "PLAINTEXT"\n', {"engine": "kafka", "bootstrap": "b:9092", "replicas": 1}, ()),
    "aws": ('endpoint = "http://127.0.0.1:5000"\n', {"engine": "aws", "endpoint": "http://127.0.0.1:5000"}, ("dns",)),
    "airflow": ('url = "https://airflow.example.com"\nuser = "u"\n', {"engine": "airflow", "password": None}, ()),
}  # fmt: skip


def test_apache_spark_takes_pysails_place_where_the_profile_says_so(load: Any) -> None:
    found = load(f'{HEAD}[profiles.mine.databricks]\nengine = "apache-spark"\n')
    target = found.databricks
    assert (target.engine, target.files, target.delta_root) == ("apache-spark", "s3a", "s3a://migration/delta-spark")
    assert target.token and spark.names(target) is spark.SESSION_CATALOG
    assert found.stand_ins["Databricks"] == spark.ON_THIS_MACHINE
    assert spark.address(target).endswith("(Apache Spark on this machine, no Databricks)")
    assert load(HEAD).databricks.engine == "pysail"


def test_apache_spark_of_the_stack_needs_the_stack(migration_toml: Callable[..., Path]) -> None:
    text = '[profiles.mine.databricks]\nengine = "apache-spark"\nschema = "s"\ndelta_root = "s3a://b/d"\n'
    with pytest.raises(SettingsError, match="the profile needs stack"):
        settings.load("mine", migration_toml(text))


@pytest.mark.parametrize("section", OWN)
def test_a_server_of_the_profiles_own_is_the_one_that_is_asked(load: Any, section: str) -> None:
    text, says, left = OWN[section]
    found = load(f"{HEAD}[profiles.mine.{section}]\n{text}").values
    assert {key: getattr(getattr(found, section), key) for key in says} == says
    assert [name for name in left if getattr(found, name) is not None] == []
    others = {"source", "stage", "snowflake", "databricks", "kafka", "aws"} - {section, *left}
    assert all(getattr(found, name) is not None for name in others)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('[profiles.mine.kafka]\nbootstrap = "b:1"\nengine = "noida-db"\n', ["mine.kafka.bootstrap", "engine"]),
        ('[profiles.mine.kafka]\nuser = "u"\nsecurity = "SASL_SSL"\n', ["mine.kafka.user", "mine.kafka.security", "mine.kafka.bootstrap"]),
        ('[profiles.mine.databricks]\nhost = "adb"\nengine = "pysail"\n', ["mine.databricks.host", "engine"]),
        ('[profiles.mine.databricks]\ntoken = { env = "A_SECRET" }\n', ["mine.databricks.token", "mine.databricks.url"]),
        ('[profiles.mine.databricks]\nengine = "spark"\nschema = "s"\n', ["mine.databricks", "name the server"]),
        ('[profiles.mine.snowflake]\nprivate_key_file = "k.p8"\n', ["mine.snowflake.private_key_file", "mine.snowflake.account"]),
        ('[profiles.mine.stage]\naccess_key = "a"\nsecret_key = { env = "A_SECRET" }\n', ["mine.stage.access_key", "mine.stage.endpoint"]),
        ('[profiles.mine.snowflake.connect]\nhost = "proxy"\n', ["mine.snowflake.account"]),
        ('[profiles.mine.aws]\nendpoint = "http://h"\nengine = "moto"\n', ["mine.aws.endpoint", "engine"]),
    ],
)  # fmt: skip
def test_what_a_stand_in_does_not_heed_is_refused(load: Any, text: str, names: list[str]) -> None:
    with pytest.raises(SettingsError) as told:
        load(HEAD + text)
    assert all(name in str(told.value) for name in names), told.value


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('source]\nhost = "h"\ndbname = "d"\nuser = "u"\nsslmode = "disable"\nsslrootcert = "/r.pem"', ["sslrootcert", "sslmode"]),
        ('stage]\nurl = "s3://b/"\naccess_key = "a"', ["stage", "secret_key"]),
        ('aws]\nsecret_key = { env = "A_SECRET" }', ["aws", "access_key"]),
        (
            'snowflake]\naccount = "a"\nuser = "u"\ndatabase = "d"\nschema = "s"\npassword = { env = "A_SECRET" }\nprivate_key_file = "k"',
            ["password", "private_key_file"],
        ),
        (
            'kafka]\nbootstrap = "b:1"\ntopic = "t"\nsecurity = "SSL"\nuser = "u"\nlanding = "s3://b/"',
            ["kafka.user", "kafka.security"],
        ),
    ],
)  # fmt: skip
def test_a_key_that_another_makes_void_is_refused(load: Any, text: str, names: list[str]) -> None:
    with pytest.raises(SettingsError) as told:
        load(f"[profiles.mine.{text}\n")
    assert all(name in str(told.value) for name in names), told.value


def test_what_the_local_stack_heeds_is_merged(load: Any, local_settings: Settings) -> None:
    found = load(
        f'{HEAD}[profiles.mine.source]\ndbname = "other"\n[profiles.mine.stage]\nurl = "s3://migration/p/"\n'
        '[profiles.mine.approvals.people]\ncarol = "carol.pem.pub"\n[profiles.mine.dns]\nzone = "z.example.com"\n'
        'record = "r.z.example.com"\nlegacy = "a"\nmodern = "b"\n[profiles.mine.kafka]\nengine = "kafka"\nbootstrap = "b:1"\ntopic = "t"\n'
        'security = "PLAINTEXT"\n[profiles.mine.sla]\nseconds = { own = 1 }\n'
    )
    assert (found.source.dbname, found.source.host) == ("other", local_settings.source.host)
    assert (found.stage.url, found.stage.endpoint) == ("s3://migration/p/", local_settings.stage.endpoint)
    assert list(found.approvals.people) == ["carol"]
    assert (found.dns.record, found.dns.ttl) == ("r.z.example.com", 30)
    assert found.values.aws is None and found.terraform.module is None
    assert found.kafka.landing == local_settings.kafka.landing
    assert found.values.sla.seconds == {"own": 1}


def test_another_source_from_the_environment_gets_nothing_of_the_samples(
    load: Any, local_settings: Settings, migration_toml: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    described = ("figures", "sla", "downstream", "dns", "kafka")
    own = local_settings.source
    secret = own.password.get_secret_value() if own.password else ""
    for place, is_the_samples in ((f"{own.host}:{own.port}/{own.dbname}", True), ("db.example.com/theirs", False)):
        monkeypatch.setenv("ANOTHER", f"postgresql://{own.user}:{secret}@{place}")
        for section in ("", '[profiles.mine.source]\nhost = "first.example.com"\ndbname = "first"\nuser = "u"\n'):
            found = settings.load("mine", migration_toml(HEAD + section), source=settings.source_from_dsn("ANOTHER"))
            assert (found.source.host, found.source.dbname) == (
                settings.source_from_dsn("ANOTHER").host,
                place.split("/")[1],
            )
            given = [name for name in described if getattr(found.values, name)]
            assert bool(given) is is_the_samples, (place, section, given)
            own_parts = (found.dags.legacy, found.tests.command, found.dbt.project)
            assert [bool(part) for part in own_parts] == [is_the_samples] * 3


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[profiles.mine.source]\nhostt = "h"\n', "write host"),
        ("[profiles.mine.exprt]\nworkers = 2\n", "write export"),
        ("[profiles.mine.source]\nworkers = 2\n", "it belongs under [profiles.mine.export]"),
        ("[profiles.mine]\nworkers = 2\n", "it belongs under [profiles.mine.export]"),
        ('[profiles.mine.stage]\n[profiles.mine.stage.kafka]\ntopic = "x"\n', "it is a section: [profiles.mine.kafka]"),
        ("[profiles.mine.downstream.bi]\nread = []\n", "write reads"),
        ('[profiles.mine.source]\npassword = { env = "A_SECRET", key = "x" }\n', "its keys are env"),
        ("[profiles.mine]\n[export]\nworkers = 2\n", "write it as [profiles.mine.export]"),
        ("[profiles.mine]\n[profile.mine.source]\n", "write it as [profiles.mine]"),
        ("[profiles.mine]\n[profiles.export]\nworkers = 2\n", "write it as [profiles.mine.export]"),
    ],
)
def test_a_key_that_nobody_reads_is_refused_with_its_place(load: Any, text: str, says: str) -> None:
    with pytest.raises(SettingsError) as told:
        load(text)
    assert says in told.value.next_step, told.value


def test_a_foreign_source_goes_through_the_local_stack(
    migration: Any, load: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The documented way: own data, rehearsed against the embedded S3 and the stand-ins."""
    own = migration.settings.source
    migration.source("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    monkeypatch.setenv("OWN_PASSWORD", own.password.get_secret_value())
    found = load(
        f'{HEAD}[profiles.mine.source]\nhost = "localhost"\nport = {own.port}\ndbname = "{own.dbname}"\nuser = "{own.user}"\n'
        f'password = {{ env = "OWN_PASSWORD" }}\n[profiles.mine.stage]\nurl = "{migration.settings.stage.url}"\n'
        f'[profiles.mine.snowflake]\nschema = "{migration.settings.snowflake.schema_}"\n'
    )
    there = type(migration)(found)
    there.migrate()
    assert there.verify().equal


def test_what_stays_is_the_path_s_and_the_sample_s_only_where_the_source_is(
    load: Any, local_settings: Settings
) -> None:
    assert local_settings.for_option("A") is local_settings
    assert list(local_settings.for_option("B").tables.stay) == ["event_log"]
    own = load(f'{HEAD}[profiles.mine.source]\ndbname = "d"\n')
    assert own.for_option("B").tables.stay == {}
    staying = load(f'{HEAD}[profiles.mine.tables]\nstay = ["crm.*"]\n')
    assert list(staying.for_option("B").tables.stay) == ["crm.*"]
    assert staying.for_option("C").tables.stay == {}
    with pytest.raises(UsageError, match=r"crm\.\* would stay"):
        staying.for_option("A")
