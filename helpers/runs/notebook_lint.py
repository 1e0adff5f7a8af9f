"""Checks the conventions that every runbook follows: `python -m helpers.runs.notebook_lint runbooks/`."""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import sqlglot
from IPython.core.inputtransformer2 import TransformerManager
from sqlglot import exp

from helpers.credentials import named_like_a_secret, secret_in
from helpers.errors import UsageError
from helpers.runs.parameters import declared_in

TAGS = frozenset(
    "parameters setup check mutating manual gate evidence rollback nbval-check-output nbval-ignore-output".split()
)
"""`raises-exception` is not among them: it would let a run pass a closed gate."""

STEP_TAGS = TAGS & {"check", "mutating", "manual", "gate", "evidence", "rollback"}
OPENING = ("purpose", "owner", "planned time", "point of no return", "rollback")
LONGEST_CELL = 15

_ID = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
_RANDOM = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?=[a-f]*[0-9])[0-9a-f]{8}")
_MACHINE_PATH = re.compile(
    r"(?<![\w.:/<~-])/(?:home|root|Users|work|tmp|private|mnt|opt|usr|var|srv|data)/\w|\b[A-Z]:\\\\?\w"
)
_SQL_HEAD = re.compile(r"%%sql(?:[ \t]+(?:--?[\w-]+|<<|[\w-]+))*[ \t]*")
_CONNECTS = re.compile(r"%(?:load_ext sql|config SqlMagic\.\w+ *= *\S+|sql \w+ --alias \w+)")
_NBVAL_COMMENT = re.compile(r"^\s*#+\s*(?:NBVAL|PYTEST_VALIDATE)_\w+", re.M)
_SQL_WORD = re.compile(r"^\s*(?:select|with|show|describe|desc)\b", re.IGNORECASE)
_CHANGES = (exp.DML, exp.DDL, exp.Drop, exp.Alter, exp.TruncateTable, exp.Into, exp.Lock, exp.Transaction)
_READS = (exp.Query, exp.Show, exp.Describe)


@dataclass(frozen=True)
class Complaint:
    """One thing to change in one notebook; `cell` is empty when it concerns the whole."""

    path: Path
    cell: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}{f'#{self.cell}' if self.cell else ''}: {self.message}"


def main(arguments: list[str]) -> int:
    """Prints the findings of the given notebooks and folders; 1 when there are any, 2 when there is nothing to read."""
    paths = [path for each in arguments for path in _notebooks(Path(each))]
    if not paths:
        print("no notebooks there; usage: python -m helpers.runs.notebook_lint runbooks/", file=sys.stderr)  # noqa: T201
        return 2
    findings = [finding for path in paths for finding in lint(path)]
    for finding in findings:
        print(finding)  # noqa: T201
    print(f"{len(paths)} notebooks, {len(findings)} findings", file=sys.stderr)  # noqa: T201
    return 1 if findings else 0


def lint(path: Path) -> list[Complaint]:
    """Checks one runbook against the conventions.

    Returns:
        What to change, in the notebook's order; nothing when it is as it should be.
    """
    try:
        # Not nbformat.read: it gives ids to cells that have none and others to cells that share one.
        nb = nbformat.v4.reads_json(path.read_text(encoding="utf-8"))
        if problem := next(iter(nbformat.validator.iter_validate(nb)), None):
            raise problem
    except Exception as error:  # a damaged notebook is a finding like any other
        return [Complaint(path, "", f"is no valid notebook: {type(error).__name__}: {str(error).splitlines()[0]}")]
    found = [("", message) for message in _check_notebook(nb)]
    seen: set[str] = set()
    for cell in nb.cells:
        name = cell.get("id", "")
        found += [(name, message) for message in (*_check_id(name, cell, path, seen), *_check_cell(cell))]
    return [Complaint(path, name, message) for name, message in found]


def _check_notebook(nb: Any) -> Iterator[str]:
    if (nb.nbformat, nb.nbformat_minor) < (4, 5):
        yield f"nbformat {nb.nbformat}.{nb.nbformat_minor} has no cell ids; save it as 4.5"
    if nb.metadata.get("kernelspec", {}).get("name") != "python3":
        yield "kernelspec is not python3: nobody else has another one"
    if not nb.cells:
        yield "is empty"
        return
    yield from _check_opening(nb.cells[0])
    yield from _check_order(nb.cells)
    sources = "\n".join(cell.source for cell in nb.cells)
    if "%%sql" in sources and not re.search(r"^%config SqlMagic\.short_errors *= *False", sources, re.M):
        yield "queries without `%config SqlMagic.short_errors = False`: nbval lets a failing query pass"
    last = nb.cells[-1]
    if last.cell_type != "markdown" or not re.search(r"^#+ .*related", last.source, re.I | re.M):
        yield 'its last cell is not "Related links"'
    elif not re.search(r"\]\([^)]+\)", last.source):
        yield "its related links have no link"


def _check_opening(first: Any) -> Iterator[str]:
    if first.cell_type != "markdown" or not first.source.startswith("# "):
        yield "does not begin with a title (# …)"
        return
    rows = [line.lower() for line in first.source.splitlines() if line.lstrip().startswith("|")]
    for entry in OPENING:
        if not any(entry in row for row in rows):
            yield f"the table under its title has no row {entry!r}"


def _check_order(cells: list[Any]) -> Iterator[str]:
    places = {tag: [i for i, cell in enumerate(cells) if tag in _tags(cell)] for tag in ("parameters", "setup")}
    for tag, found in places.items():
        if len(found) != 1:
            yield f"has {len(found)} cells tagged {tag}, not one"
    if places["parameters"] and places["setup"]:
        if places["parameters"][0] > places["setup"][0]:
            yield "its parameters come after its setup"
        first_code = next(i for i, cell in enumerate(cells) if cell.cell_type == "code")
        if first_code != min(places["parameters"]):
            yield "its first code cell is not the one tagged parameters"


def _check_id(name: str, cell: Any, path: Path, seen: set[str]) -> Iterator[str]:
    if not name:
        yield "a cell has no id"
        return
    if name in seen:
        yield "its id is used twice"
    seen.add(name)
    if not _ID.fullmatch(name) or _RANDOM.fullmatch(name):
        yield "its id is not one that somebody chose (lower-case words with dashes)"
    step = re.match(r"\d+", path.stem)
    if step and _tags(cell) & STEP_TAGS and not name.startswith(f"s{step[0]}-"):
        yield f"a step's id begins with s{step[0]}-"


def _check_cell(cell: Any) -> Iterator[str]:
    tags = _tags(cell)
    if unknown := tags - TAGS:
        yield f"has tags outside the closed list: {', '.join(sorted(unknown))}"
    texts = [cell.source, *_output_texts(cell)]
    if kind := next(filter(None, map(secret_in, texts)), None):
        yield f"seems to hold {kind}"
    if any(_MACHINE_PATH.search(text) for text in texts):
        yield "holds a path of one machine"
    if cell.cell_type == "code":
        yield from _check_code(cell, tags)


def _check_code(cell: Any, tags: set[str]) -> Iterator[str]:
    lines = len(cell.source.splitlines())
    if lines > LONGEST_CELL:
        yield f"has {lines} lines; at most {LONGEST_CELL} (aim at 12): the rest is a helper"
    if "nbval-check-output" in tags and (cell.execution_count is None or not cell.outputs):
        yield "is marked nbval-check-output and has no output to compare: nbval skips it in silence"
    if comment := _NBVAL_COMMENT.search(cell.source):
        yield f"has the comment {comment[0].strip()}, by which nbval passes over an error or an output: only tags say that"
    if any(output.output_type == "error" for output in cell.outputs):
        yield "is stored with an error as its output"
    if "parameters" in tags:
        try:
            names = [parameter.name for parameter in declared_in(cell.source, where="the parameters cell")]
            for name in filter(named_like_a_secret, names):
                yield f"has the parameter {name}, by its name a secret: parameters are stored in clear text"
        except UsageError as error:
            yield f"{error.on}: {error.why}"
    if cell.source.lstrip().startswith("%%"):
        yield from _check_magic(cell.source.lstrip())
        return
    yield from dict.fromkeys(_check_python(cell.source, imports="setup" in tags))


def _check_python(source: str, *, imports: bool) -> Iterator[str]:
    try:
        tree = ast.parse(TransformerManager().transform_cell(source))  # type: ignore[no-untyped-call]
    except SyntaxError as error:
        yield f"is not Python: {error.msg}"
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom) and not imports:
            yield "imports outside the setup cell"
        if isinstance(node, ast.Try | ast.TryStar) or (
            isinstance(node, ast.Name | ast.Attribute) and _suppresses(node)
        ):
            yield "catches errors: what a closed gate raises must end the run"
        if (magic := _magic(node)) is not None and not _CONNECTS.fullmatch(magic):
            yield f"uses {magic.split()[0]}; a query goes into a %%sql cell, everything else into a helper"


def _suppresses(node: ast.Name | ast.Attribute) -> bool:
    return (node.id if isinstance(node, ast.Name) else node.attr) == "suppress"


def _magic(node: ast.AST) -> str | None:
    """The line magic or shell command that IPython made this call of, as it was written."""
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Call(func=ast.Name(id="get_ipython")), attr=attr), args=arguments):
            words = [str(each.value) for each in arguments if isinstance(each, ast.Constant)]
            return f"%{' '.join(words)}" if attr == "run_line_magic" else f"!{' '.join(words)}"
    return None


def _check_magic(source: str) -> Iterator[str]:
    if not source.startswith("%%sql"):
        yield f"uses {source.split()[0]}; only %%sql is for runbooks"
        return
    head, _, body = source.partition("\n")
    if not _SQL_HEAD.fullmatch(head) or any(_SQL_WORD.match(word) for word in head.split()[1:]):
        yield "has SQL in its %%sql line; write `%%sql alias` and the query below it"
    # jupysql fills in {{name}}; any name does for reading the statement.
    text = re.sub(r"\{\{.*?\}\}", "x", body, flags=re.S)
    try:
        statements = [each for each in sqlglot.parse(text, read="postgres") if each is not None]
    except sqlglot.errors.SqlglotError:
        yield "holds SQL that cannot be read, so it cannot be told that it only looks"
        return
    if not statements or not all(_only_reads(each) for each in statements):
        yield "changes something: %%sql cells are for looking (SELECT, WITH, SHOW, DESCRIBE)"


def _only_reads(statement: exp.Expr) -> bool:
    """Also inside: PostgreSQL's WITH may hold a DELETE, its SELECT an INTO."""
    if isinstance(statement, exp.Command):
        return str(statement.this).upper() in {"SHOW", "DESCRIBE", "DESC"}
    return isinstance(statement, _READS) and not any(
        isinstance(node, _CHANGES) and not isinstance(node, exp.Query) for node in statement.walk()
    )


def _output_texts(cell: Any) -> Iterator[str]:
    for output in cell.get("outputs", []):
        yield output.get("text", "")
        yield "\n".join(output.get("traceback", []))
        for kind, data in output.get("data", {}).items():
            if not kind.startswith("image/"):
                yield data if isinstance(data, str) else json.dumps(data)


def _tags(cell: Any) -> set[str]:
    return set(cell.metadata.get("tags", []))


def _notebooks(path: Path) -> list[Path]:
    return sorted(path.glob("*.ipynb")) if path.is_dir() else [path]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
