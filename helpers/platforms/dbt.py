"""dbt as a process of its own: builds what is selected, and tells what became of each model and each test.

dbt pins other versions than ours, so it runs in the environment "dbt". Everything that it knows of the target it has from
variables of its own process: no file and no command line holds a password.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from helpers.errors import LoadError, SettingsError, UsageError
from helpers.platforms import environments, snowflake_login
from helpers.platforms.child_environment import child_environment
from helpers.platforms.scratch_folder import scratch_folder
from helpers.redaction import redact
from helpers.settings import Settings

_PROFILES = Path(__file__).with_name("dbt_environment") / "profiles.yml"
"""Our connections, as dbt takes them; a project's own profiles are not read."""

GOOD = ("success", "pass", "warn")
"""How a node ended that stands in nobody's way
(https://docs.getdbt.com/reference/artifacts/run-results-json)."""


@dataclass(frozen=True)
class Node:
    """A model or a test, and how it ended.

    Attributes:
        name: as the project calls it.
        kind: "model", "test" or what else dbt has.
        status: dbt's word, such as "success", "pass", "fail", "error" or "skipped".
        failures: rows that a test found.
        message: dbt's, empty where it says nothing.
        seconds: of execution.
        sql: as it was sent; of a test, the query whose rows are its failures.
    """

    name: str
    kind: str
    status: str
    failures: int
    message: str
    seconds: float
    sql: str

    @property
    def good(self) -> bool:
        """Whether it is as it should be; what was skipped is not."""
        return self.status in GOOD


@dataclass(frozen=True)
class DbtResult:
    """What one call of dbt did, in dbt's order.

    Attributes:
        target: "snowflake" or "duckdb".
        file: the database of target duckdb.
        relations: of each model that is one in the target, its name as SQL there has it.
        seconds: of wall clock, dbt's own start included.
    """

    target: str
    nodes: tuple[Node, ...]
    seconds: float
    file: Path | None = None
    relations: Mapping[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether something was built and tested, and all of it is well."""
        return bool(self.nodes) and all(node.good for node in self.nodes)

    @property
    def bad(self) -> tuple[Node, ...]:
        """What failed, ended in an error, or was skipped for that."""
        return tuple(node for node in self.nodes if not node.good)

    def nodes_of(self, kind: str) -> tuple[Node, ...]:
        """The models, or the tests."""
        return tuple(node for node in self.nodes if node.kind == kind)


def build(
    settings: Settings,
    select: Sequence[str] = (),
    *,
    variables: Mapping[str, str] | None = None,
    file: Path | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> DbtResult:
    """`dbt build`: models in their order, each followed by its tests; what rests on a failed test is skipped.

    Args:
        settings: the profile; its section dbt names the project and the target.
        select: dbt's selectors; the whole project where there are none.
        variables: of the project, such as load_id; they are no place for secrets.
        file: the DuckDB database with the staged tables; needed, and used, where the profile's engine is duckdb.
        report: is told when dbt is installed, and its lines.

    Returns:
        How each node ended: a failed test is part of the answer and raises nothing.

    Raises:
        LoadError: dbt ended before it had run anything: the project or the connection is wrong.
        SettingsError: the profile names no project, or a folder that is none.
        UsageError: engine duckdb without a file.
        LocalStackError: dbt could not be installed.
    """
    engine = settings.dbt.engine
    if engine == "duckdb" and file is None:
        raise UsageError(
            "build the marts in DuckDB", on="engine duckdb", why="no database file is named",
            next_step="load the stage into one: helpers.load.duckdb.load",
        )  # fmt: skip
    project = project_folder(settings)
    python = environments.python("dbt", report=report)
    started = time.monotonic()
    with scratch_folder("dbt") as made:
        text = _PROFILES.read_text(encoding="utf-8").replace("\nPROFILE:", f"\n{json.dumps(_profile_name(project))}:")
        Path(made, "profiles.yml").write_text(text, encoding="utf-8")
        chosen: list[str] = ["--select", *select] if select else []
        command: list[str] = [
            str(python.with_name("dbt")), "build", *chosen, "--target", engine,
            "--vars", json.dumps(dict(variables or {})), "--project-dir", str(project), "--profiles-dir", str(made),
            "--target-path", str(Path(made, "target")), "--log-path", str(Path(made, "logs")),
        ]  # fmt: skip
        done = subprocess.run(
            command, env=_environment(settings, file), cwd=settings.file.parent, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False,
        )  # fmt: skip
        for line in done.stdout.splitlines():
            report(redact(line))
        results = Path(made, "target", "run_results.json")
        if not results.exists():
            raise _failed(select, done.stdout)
        nodes = _nodes(json.loads(results.read_text(encoding="utf-8")))
        manifest = Path(made, "target", "manifest.json")
        relations = _relations(json.loads(manifest.read_text(encoding="utf-8"))) if manifest.exists() else {}
    seconds = time.monotonic() - started
    return DbtResult(engine, nodes, seconds, file if engine == "duckdb" else None, relations)


def project_folder(settings: Settings) -> Path:
    """The folder of the profile's dbt project.

    Raises:
        SettingsError: it names none, or one without dbt_project.yml.
    """
    named = settings.dbt.project
    key = f"profiles.{settings.profile}.dbt.project"
    if named is None:
        why, cure = (
            "it is not set, so the pipeline has no dbt",
            'name the folder with dbt_project.yml, for example project = "dbt"',
        )
        raise SettingsError(f"read {key}", on=str(settings.file), why=why, next_step=cure)
    folder = settings.path(named)
    if not (folder / "dbt_project.yml").is_file():
        cure = "name the folder that has it, relative to migration.toml"
        raise SettingsError(f"read {key}", on=str(folder), why="there is no dbt_project.yml", next_step=cure)
    return folder


def model_names(folder: Path) -> tuple[str, ...]:
    """The models of a project by its files, for a plan; what is selected of them, dbt knows."""
    text = yaml.safe_load((folder / "dbt_project.yml").read_text(encoding="utf-8"))
    paths = (text or {}).get("model-paths") or ["models"]
    return tuple(sorted(file.stem for path in paths for file in (folder / path).rglob("*.sql")))


def _profile_name(folder: Path) -> str:
    """What dbt_project.yml calls its profile."""
    try:
        found = yaml.safe_load((folder / "dbt_project.yml").read_text(encoding="utf-8"))
        return str(found.get("profile") or found["name"])
    except (yaml.YAMLError, KeyError, AttributeError, OSError) as error:
        why = f"dbt_project.yml cannot be read: {str(error).splitlines()[0]}"
        raise SettingsError("run dbt", on=str(folder), why=why, next_step="correct dbt_project.yml") from None


def _environment(settings: Settings, file: Path | None) -> dict[str, str]:
    no_proxy = ",".join(filter(None, [os.environ.get("NO_PROXY"), "127.0.0.1", "localhost"]))
    common = child_environment() | {
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        "DO_NOT_TRACK": "1",
        "NO_PROXY": no_proxy,
        "no_proxy": no_proxy,
        "AWS_EC2_METADATA_DISABLED": "true",
        "TZ": "UTC",
        "RUNBOOK_DBT_SCHEMA": settings.marts_schema,
        "RUNBOOK_DBT_THREADS": str(settings.dbt.threads),
    }
    if settings.dbt.engine == "duckdb":
        assert file
        return common | {
            "RUNBOOK_DBT_FILE": str(file),
            "RUNBOOK_DBT_SOURCE_DATABASE": file.stem,
            "RUNBOOK_DBT_SOURCE_SCHEMA": settings.migrated_schema,
        }
    target = settings.snowflake
    named = {
        "RUNBOOK_DBT_ACCOUNT": target.account,
        "RUNBOOK_DBT_USER": target.user,
        "RUNBOOK_DBT_DATABASE": target.database,
        "RUNBOOK_DBT_SOURCE_DATABASE": target.database,
        "RUNBOOK_DBT_SOURCE_SCHEMA": target.schema_,
        "RUNBOOK_DBT_WAREHOUSE": target.warehouse,
        "RUNBOOK_DBT_ROLE": target.role,
        **snowflake_login.for_dbt(target),
        **{
            f"RUNBOOK_DBT_{name.upper()}": str(target.connect[name])
            for name in ("host", "port", "protocol", "proxy_host", "proxy_port")
            if name in target.connect
        },
    }
    return common | {name: value for name, value in named.items() if value}


def _nodes(results: Mapping[str, Any]) -> tuple[Node, ...]:
    return tuple(
        Node(
            name=_name(str(each["unique_id"])),
            kind=str(each["unique_id"]).partition(".")[0],
            status=str(each["status"]),
            failures=int(each.get("failures") or 0),
            message=redact(str(each.get("message") or "")),
            seconds=float(each.get("execution_time") or 0),
            sql=str(each.get("compiled_code") or ""),
        )
        for each in results["results"]
    )


def _relations(manifest: Mapping[str, Any]) -> dict[str, str]:
    found = (
        each
        for each in manifest.get("nodes", {}).values()
        if each.get("resource_type") in ("model", "seed", "snapshot")
    )
    return {str(each["name"]): str(each["relation_name"]) for each in found if each.get("relation_name")}


def _name(unique_id: str) -> str:
    """ "model.library.monthly_loans" is monthly_loans; a generic test has a hash of its arguments behind its name."""
    kind, _, rest = unique_id.partition(".")
    name = rest.partition(".")[2]
    return name.partition(".")[0] if kind == "test" else name


def _failed(select: Sequence[str], output: str) -> LoadError:
    lines = [line for line in redact(output).splitlines() if line.strip()]
    said = [line.split("  ", 1)[-1].strip() for line in lines[-6:]]
    return LoadError(
        "run dbt",
        on=f"--select {' '.join(select)}" if select else "the whole project",
        why="it ended before it ran anything: " + (" / ".join(said) or "it said nothing"),
        next_step="correct what it names: the project, or the connection in the profile",
    )
