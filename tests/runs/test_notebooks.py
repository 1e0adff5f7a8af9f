"""The runbooks keep the conventions, and the check of it sees when they do not."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from run_support import KERNELSPEC, PROJECT

from helpers.credentials import secret_in
from helpers.runs.notebook_lint import lint, main
from helpers.verify.data_quality.rules.rule import Kind

RUNBOOKS = sorted((PROJECT / "runbooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", RUNBOOKS, ids=lambda path: path.name)
def test_runbook(path: Path) -> None:
    assert [str(finding) for finding in lint(path)] == []


def test_apply_has_one_default() -> None:
    parameters = {
        cell.source for path in RUNBOOKS for cell in nbformat.read(path, as_version=4).cells if cell.id == "parameters"
    }
    assert len(parameters) > 1
    assert all("\napply: bool | None = None" in each for each in parameters)


def _cell(kind: str, name: str, source: str, *tags: str) -> Any:
    cell = new_markdown_cell(source) if kind == "text" else new_code_cell(source)
    cell["id"] = name
    cell.metadata["tags"] = list(tags)
    return cell


TABLE = "| | |\n|-|-|\n| Purpose | x |\n| Owner | x |\n| Planned time | x |\n| Point of no return | x |\n| Rollback | [90](90.ipynb) |"


def good() -> Any:
    check = _cell("code", "s30-check", "counts", "check", "nbval-check-output")
    check.execution_count, check.outputs = 3, [new_output("stream", text="ok\n")]
    return new_notebook(
        metadata={"kernelspec": KERNELSPEC},
        cells=[
            _cell("text", "title", f"# Export\n\n{TABLE}"),
            _cell("code", "parameters", "apply: bool = True", "parameters"),
            _cell("code", "setup", "import helpers\n%config SqlMagic.short_errors = False", "setup"),
            _cell(
                "code",
                "s30-export",
                "%load_ext sql\n%sql engine --alias source\ncounts = helpers.export(apply)",
                "mutating",
            ),
            check,
            _cell("code", "s30-look", "%%sql source\nSELECT count(*) FROM sales WHERE day = '{{day}}'"),
            _cell("text", "links", "## Related links\n- [next](40.ipynb)"),
        ],
    )


def found_in(nb: Any, folder: Path) -> list[str]:
    path = folder / "30_export.ipynb"
    # nbformat.write would repair what is to be found.
    path.write_text(nbformat.v4.writes_json(nb))
    return [finding.message for finding in lint(path)]


def source(index: int, text: str) -> Callable[[Any], None]:
    def change(nb: Any) -> None:
        nb.cells[index].source = text

    return change


def tag(index: int, *tags: str) -> Callable[[Any], None]:
    def change(nb: Any) -> None:
        nb.cells[index].metadata.tags = list(tags)

    return change


def name(index: int, text: str) -> Callable[[Any], None]:
    def change(nb: Any) -> None:
        nb.cells[index]["id"] = text

    return change


def output(text: str) -> Callable[[Any], None]:
    def change(nb: Any) -> None:
        nb.cells[4].outputs = [new_output("stream", text=text)]

    return change


def swap(one: int, two: int) -> Callable[[Any], None]:
    def change(nb: Any) -> None:
        nb.cells[one], nb.cells[two] = nb.cells[two], nb.cells[one]

    return change


def stripped(nb: Any) -> None:
    nb.cells[4].execution_count = None


def other_kernel(nb: Any) -> None:
    nb.metadata.kernelspec["name"] = "my-venv"


def test_a_good_one_has_no_findings(tmp_path: Path) -> None:
    assert found_in(good(), tmp_path) == []
    assert main([str(tmp_path)]) == 0
    assert main([str(tmp_path / "30_export.ipynb")]) == 0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (source(0, "text"), "does not begin with a title"),
        (source(0, "# T\n\n" + TABLE.replace("Owner", "Who")), "no row 'owner'"),
        (source(6, "## Links"), "Related links"),
        (source(6, "## Related links"), "no link"),
        (swap(1, 2), "after its setup"),
        (tag(1), "0 cells tagged parameters"),
        (tag(3, "setup"), "2 cells tagged setup"),
        (tag(3, "raises-exception"), "closed list"),
        (name(3, "export"), "begins with s30-"),
        (name(3, "s30-check"), "used twice"),
        (name(5, "a1b2c3d4"), "somebody chose"),
        (name(5, "s30_look"), "somebody chose"),
        (source(3, "import os"), "imports outside"),
        (source(3, "if apply:\n    from os import path"), "imports outside"),
        (source(3, "!ls"), "uses !ls"),
        (source(2, "import helpers"), "short_errors"),
        (source(3, "%sql select 1"), "uses %sql"),
        (source(3, "%sql postgresql://host/db --alias a"), "uses %sql"),
        (source(2, "%run other.ipynb"), "uses %run"),
        (source(3, "x = ("), "not Python"),
        (source(3, "\n".join(["x = 1"] * 16)), "16 lines"),
        (source(1, "apply = compute()"), "not a literal"),
        (source(1, 'password: str = ""'), "by its name a secret"),
        (source(3, "connect(password='hunter22x')"), "seems to hold a password"),
        (source(0, "# T\n\n" + TABLE + "\nuse postgresql://me:s3cret@h/db"), "URL with a password"),
        (source(3, "# NBVAL_RAISES_EXCEPTION\nx = 1"), "only tags say that"),
        (source(4, "counts\n  ## NBVAL_SKIP"), "only tags say that"),
        (source(3, "x = 1\n#PYTEST_VALIDATE_IGNORE_OUTPUT"), "only tags say that"),
        (source(3, "try:\n    helpers.gate()\nexcept Exception:\n    pass"), "catches errors"),
        (source(3, "with contextlib.suppress(Exception):\n    helpers.gate()"), "catches errors"),
        (tag(4, "check", "gate", "nbval-skip"), "closed list"),
        (tag(4, "gate", "skip-execution"), "closed list"),
        (stripped, "nbval skips it"),
        (other_kernel, "not python3"),
        (output("postgresql://me:s3cret@h/db"), "URL with a password"),
        (output("wrote /home/me/x.json"), "path of one machine"),
        (source(5, "%%sql source\nDELETE FROM sales"), "for looking"),
        (source(5, "%%sql source\nWITH d AS (DELETE FROM sales RETURNING *) SELECT * FROM d"), "for looking"),
        (source(5, "%%sql source\nSELECT * INTO x FROM sales"), "for looking"),
        (source(5, "%%sql source\nSELECT 1; DROP TABLE sales"), "for looking"),
        (source(5, "%%sql source\nSELECT * FROM sales FOR UPDATE"), "for looking"),
        (source(5, "%%sql source\nTRUNCATE sales"), "for looking"),
        (source(5, "%%sql source\nCALL f()"), "for looking"),
        (source(5, "%%sql source\nEXPLAIN ANALYZE DELETE FROM sales"), "for looking"),
        (source(5, "%%sql select 1"), "in its %%sql line"),
        (source(5, "%%bash\nls"), "only %%sql"),
    ],
)
def test_each_departure_is_found(tmp_path: Path, change: Callable[[Any], None], says: str) -> None:
    nb = copy.deepcopy(good())
    change(nb)
    assert any(says in message for message in found_in(nb, tmp_path)), found_in(nb, tmp_path)
    assert main([str(tmp_path)]) == 1


@pytest.mark.parametrize(
    "query",
    ["SHOW TABLES", "DESCRIBE TABLE sales", "WITH a AS (SELECT 1) SELECT * FROM a", "SELECT 1 UNION ALL SELECT 2"],
)
def test_queries_that_look_are_fine(tmp_path: Path, query: str) -> None:
    nb = good()
    nb.cells[5].source = f"%%sql target --save x\n{query}"
    assert found_in(nb, tmp_path) == []


def test_a_damaged_file_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / "x.ipynb").write_text("{")
    assert "no valid notebook" in lint(tmp_path / "x.ipynb")[0].message
    assert main([str(tmp_path / "nowhere")]) == 1
    (tmp_path / "empty").mkdir()
    assert main([str(tmp_path / "empty")]) == 2


def test_the_rules_of_a_table_that_is_called_password_are_no_password() -> None:
    for kind in get_args(Kind):
        assert secret_in(f'"rule": "person.password:{kind}:rowguid"') is None
    for leaked in ("db.password:unique-hunter2", "password: hunter2", "password=unique:hunter2"):
        assert secret_in(leaked) == "a password setting"
