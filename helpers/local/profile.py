"""What the local stack gives to a profile with `stack = "local"`, and what it leaves to the profile.

A key that the stand-in understands (another database, a schema, a prefix) is merged into its section. A key that names a server
of the profile's own makes the whole section the profile's, and with it what would otherwise be written to that server. A key
that the stand-in would ignore is refused: whoever set it meant the real service.

The sample's description (`helpers/pipelines/sample/description.toml`) is given only where the source is the stack's own database.
"""

from __future__ import annotations

import json
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers import PROJECT
from helpers.errors import SettingsError
from helpers.local import folder, people, stack
from helpers.settings import Resolved, SnowflakeLogin, Source, source_keys


@dataclass(frozen=True)
class _Rule:
    """What keys of one section say beside the local stack.

    Attributes:
        own: each names a server of the profile's own.
        unheeded: mean nothing to the stand-in, so that without one of `own` they are refused.
        engines: of the stack; together with one of `own` they contradict.
        takes: sections that are not filled either where this one is the profile's own.
        kept: keys that name no server, and are given beside one of the profile's own too.
    """

    own: tuple[str, ...]
    unheeded: tuple[str, ...] = ()
    engines: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()


_RULES = {
    "source": _Rule(("host", "url", "service"), takes=("compliance",)),
    # What lies there is reached with the stage's credentials.
    "stage": _Rule(("endpoint", "region"), ("access_key", "secret_key"), takes=("archive", "kafka", "databricks")),
    "snowflake": _Rule(
        ("account", "connect.host"),
        ("storage_integration", *(key for key in SnowflakeLogin.model_fields if key != "password")),
    ),
    "databricks": _Rule(
        ("url", "host"),
        ("cluster_id", "serverless", "client_id", "client_secret", "federation", "token", "catalog"),
        tuple(stack.DELTA_ROOTS),
    ),
    "kafka": _Rule(
        ("bootstrap",),
        (
            *(
                "user",
                "password",
                "security",
                "mechanism",
                "region",
                "profile_name",
                "role_arn",
                "external_id",
                "ca_file",
            ),
            *("certificate_file", "private_key_file", "private_key_passphrase"),
        ),
        ("noida-db",),
        kept=("partitions", "replicas", "landing"),
    ),
    "aws": _Rule(("endpoint", "access_key", "secret_key"), engines=("moto",), takes=("dns",)),
    "airflow": _Rule(("url",), engines=("local",)),
    "terraform": _Rule(("module", "legacy_module")),
}
_OWN_DATABASE = ("host", "port", "dbname", "url", "service")
"""A source that has one of them otherwise is not the sample's."""

_FOR_THE_SAMPLE = {
    "aws": {"aws"},
    "kafka": {"kafka"},
    "airflow": {"airflow", "dags"},
    "dns": frozenset(),
    "terraform": frozenset(),
}
"""What stands around the sample's pipeline. To another one a stand-in is given only where the profile has one of these sections, so
that no step of its checklist is ticked by a system that it does not have; a record or a module of the sample's never."""

_WHOLE = {"approvals": ("people",), "sla": ("queries", "seconds"), "tests": ("command", "report")}
"""Tables and lists that a profile gives as a whole: more keys would be more people who may sign."""

_PLACES = {"{project}": str(PROJECT), "{python}": sys.executable}
"""What the description of the sample cannot know."""


def filled(written: dict[str, Any], profile: str, file: Path) -> dict[str, Any]:
    """The profile with the local stack's servers where it names none of its own.

    Args:
        written: as the file has it, its references resolved.
        profile: its name, for an error.
        file: likewise.

    Raises:
        SettingsError: a key that the stand-in would not heed, or that contradicts the stack's engine.
        LocalStackError: the stack is not up.
    """
    given = _sections()
    given["databricks"] = _delta(written.get("databricks", {}).get("engine"))
    samples = sample()
    if not samples or _otherwise(_OWN_DATABASE, written.get("source", {}), given["source"]):
        unnamed = {name for name, by in _FOR_THE_SAMPLE.items() if not by & written.keys()}
        given = {name: section for name, section in given.items() if name not in unnamed}
    else:
        given = merged(given, samples)
    for name, rule in _RULES.items():
        section = written.get(name, {})
        own, unheeded = (_otherwise(keys, section, given.get(name, {})) for keys in (rule.own, rule.unheeded))
        engine = section.get("engine")
        where = f"profiles.{profile}.{name}"
        if own and engine in rule.engines:
            keys = f"{where}.{own[0]} and {where}.engine = {engine!r}"
            raise _refused(keys, file, "the one names a server, the other the local stack's", "take one of them away")
        if own or (engine is not None and rule.engines and engine not in rule.engines):
            for dropped in rule.takes:
                given.pop(dropped, None)
            given[name] = {key: value for key, value in given.get(name, {}).items() if key in rule.kept}
        elif unheeded:
            raise _refused(
                ", ".join(f"{where}.{key}" for key in unheeded), file,
                "stack = \"local\" gives the section a stand-in that does not heed it",
                f"name the server, too ({' or '.join(f'{where}.{key}' for key in rule.own)}), or take it away",
            )  # fmt: skip
    for name, whole in _WHOLE.items():
        if name in given and any(key in written.get(name, {}) for key in whole):
            given[name] = {k: v for k, v in given[name].items() if k not in whole}
    if set(written.get("dns", {})) & {"zone", "record", "legacy", "modern"} and "dns" in given:
        given["dns"] = {key: given["dns"][key] for key in ("ttl", "seconds")}
    for described in ("downstream", "figures"):
        if described in written:
            given.pop(described, None)
    return merged({name: section for name, section in given.items() if section or name in written}, written)


def sample() -> dict[str, Any]:
    """How the sample is described, by the keys of a profile; nothing where it is not installed."""
    file = PROJECT / "helpers" / "pipelines" / "sample" / "description.toml"
    if not file.exists():
        return {}
    text = file.read_text(encoding="utf-8")
    for name, place in _PLACES.items():
        text = text.replace(name, json.dumps(place)[1:-1])
    return tomllib.loads(text)


def _otherwise(keys: tuple[str, ...], written: dict[str, Any], given: dict[str, Any]) -> list[str]:
    """Those that a section has, and otherwise than the stack gives it; a dot leads into a table."""

    def value(section: Any, key: str) -> Any:
        first, _, rest = key.partition(".")
        found = section.get(first) if isinstance(section, dict) else None
        return value(found, rest) if rest else found

    # A port is a number in a file, and text in a URL.
    return [key for key in keys if (own := value(written, key)) is not None and str(own) != str(value(given, key))]


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` with what it lacks from `base`, table by table."""
    found = dict(base)
    for key, value in over.items():
        found[key] = merged(found[key], value) if isinstance(value, dict) and key in found else value
    return found


def source() -> dict[str, Any]:
    """The stack's own server, as keys of a section; raises `LocalStackError` where it is not up."""
    return source_keys(stack.environment().as_dict()["postgres_dsn"])


def hybrid_stay(own: Source) -> dict[str, str]:
    """The tables of the sample that stay on option B; none where the source is not the stack's own."""
    there = Source.model_validate(source())
    same = (own.host, own.port, own.dbname) == (there.host, there.port, there.dbname)
    return {"event_log": "what the application logs stays with it"} if same else {}


def signers() -> dict[str, str]:
    """The two people of the local stack and their public keys."""
    return people.public_keys(folder.default_root().resolve())


def _refused(keys: str, file: Path, why: str, next_step: str) -> SettingsError:
    return SettingsError(f"read {keys}", on=str(file), why=why, next_step=next_step)


def _sections() -> dict[str, Any]:
    environment = stack.environment().as_dict()
    s3, connect = environment["s3"], dict(environment["snowflake"])
    connect = {key: value for key, value in connect.items() if key not in ("user", "password")}
    named = {key: connect.pop(key) for key in ("account", "database", "schema")} | stack.snowflake_product()
    return {
        "source": source_keys(environment["postgres_dsn"]),
        "stage": {
            "url": f"s3://{s3['bucket']}/migration/",
            "endpoint": s3["endpoint"],
            "access_key": s3["access_key"],
            "secret_key": Resolved(s3["secret_key"]),
        },
        "snowflake": {**named, "password": Resolved(named["password"]), "connect": connect},
        "approvals": {"people": signers()},
        "archive": {"url": "s3://archive/legacy/", "retention_days": 1},
        "kafka": {"engine": "noida-db", "partitions": 3, "replicas": 1, "landing": f"s3://{s3['bucket']}/events/"},
        "aws": {"engine": "moto"},
        "terraform": _terraform(),
        "compliance": {"require_tls": False},
        **_airflow(),
        "dbt": {"threads": 1},
        "dns": {
            "zone": "sales.example.com",
            "record": "reports.sales.example.com",
            "legacy": "legacy.sales.example.com",
            "modern": "modern.sales.example.com",
            "ttl": 0,
            "seconds": 0,
        },
        "cutover": {"probes": 5},
    }


def _delta(engine: str | None) -> dict[str, Any]:
    """pysail, or Apache Spark where the profile names it or `runbook local up --spark` was said."""
    engine = engine if engine in stack.DELTA_ROOTS else stack.delta_engine()
    section = {"engine": engine, "schema": "migrated", "delta_root": stack.DELTA_ROOTS[engine]}
    if engine == "pysail":
        return section
    return {**section, "files": "s3a", "token": Resolved(stack.apache_spark_server().token)}


def _terraform() -> dict[str, Any]:
    return {
        "module": str(PROJECT / "pipeline" / "terraform"),
        "targets": {
            "s10-base": ["module.network", "module.storage", "module.monitoring", "module.dns"],
            "s10-snowflake": ["module.snowflake"],
            "s10-kafka": ["module.kafka"],
        },
        "legacy_module": str(PROJECT / "pipeline" / "legacy" / "terraform"),
        "variables": {"name": "sales-pipeline", "zone_name": "sales.example.com"},
    }


def _airflow() -> dict[str, Any]:
    """Only while it is up: without it, phases that can do without say so."""
    if (found := stack.airflow_if_up()) is None:
        return {}
    return {"airflow": {**found, "password": Resolved(found["password"]), "engine": "local"}}
