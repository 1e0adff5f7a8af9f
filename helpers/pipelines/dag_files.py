"""The pipeline's DAGs, read from their files without Airflow, for a rehearsal.

A file is parsed, never executed. What imports and expressions evaluate to, only Airflow knows.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from helpers.errors import UsageError


@dataclass(frozen=True)
class DagFile:
    """One DAG, as its file has it.

    Attributes:
        name: its id.
        file: the file's name.
        schedule: the cron text, or the expression as it is written; "none" where there is none.
        description: of the file's author.
        deprecated: whether it is tagged so.
    """

    name: str
    file: str
    schedule: str
    description: str
    deprecated: bool


def read(folder: Path, wanted: Sequence[str] = ()) -> list[DagFile]:
    """Every DAG of a folder, by name.

    Args:
        folder: with the DAGs' files; what lies below it is left alone.
        wanted: ids that it must have.

    Raises:
        UsageError: there is no such folder, a file is not Python, a DAG's id is no literal, two have one id, or one is missing.
    """
    if not folder.is_dir():
        raise _refused(folder, "there is no such folder", "correct folder under [profiles.X.dags]")
    found: dict[str, DagFile] = {}
    for path in sorted(folder.glob("*.py")):
        for dag in _dags(path):
            if other := found.get(dag.name):
                raise _refused(path, f"{dag.name} is also in {other.file}", "give one of them another id")
            found[dag.name] = dag
    if missing := [name for name in wanted if name not in found]:
        why = f"no file in {folder.name} has {', '.join(missing)}; it has {', '.join(sorted(found)) or 'no DAG'}"
        raise UsageError(
            "find the DAGs", on=", ".join(missing), why=why,
            next_step="put the files there, or correct the names under [profiles.X.dags]",
        )  # fmt: skip
    return [found[name] for name in sorted(found)]


def _dags(path: Path) -> Iterator[DagFile]:
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=path.name)
    except (SyntaxError, ValueError) as error:
        line = f"line {error.lineno}: {error.msg}" if isinstance(error, SyntaxError) else str(error)
        raise _refused(path, f"it is not Python: {line}", "correct the file") from None
    names = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id="DAG") | ast.Attribute(attr="DAG")):
                yield _dag(path, node, names)


def _dag(path: Path, call: ast.Call, names: Mapping[str, ast.expr]) -> DagFile:
    given = {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}
    name = _literal(given.get("dag_id") or next(iter(call.args), None))
    if not isinstance(name, str) or not name:
        raise _refused(path, f"line {call.lineno}: the id of a DAG is no literal text", "write the id itself there")
    tags = _literal(given.get("tags"))
    description = _literal(given.get("description"))
    return DagFile(
        name, path.name, _schedule(given.get("schedule"), names), str(description or ""),
        isinstance(tags, list | tuple) and "deprecated" in tags,
    )  # fmt: skip


def _schedule(node: ast.expr | None, names: Mapping[str, ast.expr]) -> str:
    if isinstance(node, ast.Name):
        node = names.get(node.id, node)
    match node:
        case None | ast.Constant(value=None):
            return "none"
        case ast.Constant(value=value) | ast.Call(args=[ast.Constant(value=value), *_]):
            return str(value)
    return ast.unparse(node)


def _literal(node: ast.expr | None) -> object:
    if node is None:
        return None
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError):
        return None


def _refused(path: Path, why: str, next_step: str) -> UsageError:
    return UsageError("read the DAGs", on=path.name, why=why, next_step=next_step)
