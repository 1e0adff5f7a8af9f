"""The parts of a pipeline that lie in a folder: dbt projects, DAGs, databases of a compose file."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from helpers import PROJECT
from helpers.errors import UsageError
from helpers.pipelines import dag_files

_DEEPEST = 4
_MOST_FOLDERS = 5_000
_NOT_THEIRS = frozenset({"node_modules", "site-packages", "dbt_packages", "target", "__pycache__", "venv"})
_OURS = frozenset(
    {"architecture", "benchmarks", "docs", "helpers", "operations", "outputs", "pipeline", "runbooks", "tests", "tools"}
)
"""Folders of this project, which are no part of anybody's pipeline."""

_POSTGRES = re.compile(r"(?:^|/)(?:postgres|postgis|pgvector|timescaledb|postgresql)(?:$|[:/@-])")
_REFERENCE = re.compile(r"\$\{(\w+)(?::?-([^}]*))?\}|\$(\w+)")


@dataclass(frozen=True)
class DagFolder:
    """A folder with DAGs: their ids, or why they could not be read."""

    path: str
    names: tuple[str, ...]
    problem: str = ""


@dataclass(frozen=True)
class ComposeDatabase:
    """A PostgreSQL of a compose file, as this machine reaches it; its password is not read."""

    file: str
    service: str
    port: int
    dbname: str
    user: str


@dataclass(frozen=True)
class Parts:
    """What was found; paths are relative to the folder."""

    dbt: tuple[str, ...] = ()
    dags: tuple[DagFolder, ...] = ()
    databases: tuple[ComposeDatabase, ...] = ()


def find(folder: Path) -> Parts:
    """Looks a few folders deep; what cannot be read is passed over."""
    dbt: list[str] = []
    dags: list[DagFolder] = []
    databases: list[ComposeDatabase] = []
    for path, files in _folders(folder):
        where = path.relative_to(folder).as_posix()
        if "dbt_project.yml" in files:
            dbt.append(where)
        if any(_speaks_of_dags(path / name) for name in files if name.endswith(".py")):
            dags.append(_dag_folder(path, where))
        for name in files:
            if re.fullmatch(r"(?:docker-)?compose(?:[.-][\w.-]+)?\.ya?ml", name):
                databases += _databases(path / name, (path / name).relative_to(folder).as_posix())
    return Parts(tuple(dbt), tuple(dags), tuple(databases))


def _folders(top: Path) -> Iterator[tuple[Path, list[str]]]:
    for here, folders, files in islice(os.walk(top), _MOST_FOLDERS):
        path = Path(here)
        ours = _OURS if path.resolve() == PROJECT.resolve() else frozenset()
        deep = len(path.relative_to(top).parts) >= _DEEPEST
        folders[:] = [] if deep else sorted(n for n in folders if n[0] != "." and n not in _NOT_THEIRS | ours)
        yield path, sorted(files)


def _speaks_of_dags(file: Path) -> bool:
    try:
        text = file.read_text(encoding="utf-8") if file.stat().st_size < 1_000_000 else ""
    except (OSError, UnicodeDecodeError):
        return False
    return bool(re.search(r"^\s*(?:from|import)\s+airflow\b", text, re.MULTILINE)) and bool(
        re.search(r"\bDAG\(|@dag\b", text)
    )


def _dag_folder(path: Path, where: str) -> DagFolder:
    try:
        return DagFolder(where, tuple(dag.name for dag in dag_files.read(path)))
    except UsageError as error:
        return DagFolder(where, (), f"{error.on}: {error.why}")


def _databases(file: Path, where: str) -> Iterator[ComposeDatabase]:
    try:
        services = yaml.safe_load(file.read_text(encoding="utf-8"))["services"]
        described = [(str(name), each) for name, each in services.items() if isinstance(each, dict)]
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, AttributeError):
        return
    for name, service in described:
        if not _POSTGRES.search(str(service.get("image", ""))) or not (port := _published(service.get("ports"))):
            continue
        environment = _environment(service.get("environment"))
        user = environment.get("POSTGRES_USER") or "postgres"
        yield ComposeDatabase(where, name, port, environment.get("POSTGRES_DB") or user, user)


def _published(ports: Any) -> int | None:
    for each in ports if isinstance(ports, list) else ():
        if isinstance(each, dict):
            target, published = str(each.get("target")), str(each.get("published"))
        else:
            *before, target = _filled(str(each)).removesuffix("/tcp").split(":")
            published = before[-1] if before else ""
        if target == "5432" and _filled(published).isdigit():
            return int(_filled(published))
    return None


def _environment(written: Any) -> dict[str, str]:
    if isinstance(written, list):
        written = dict(str(each).partition("=")[::2] for each in written)
    given: Mapping[Any, Any] = written if isinstance(written, dict) else {}
    return {str(name): _filled(str(value)) for name, value in given.items() if value is not None}


def _filled(text: str) -> str:
    """With its variables, or what is written for where they are not set."""
    return _REFERENCE.sub(lambda found: os.environ.get(found[1] or found[3]) or found[2] or "", text)
