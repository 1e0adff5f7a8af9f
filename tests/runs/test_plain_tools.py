"""Other tools run the same runbooks safely: papermill, Jupyter's own executor, nbval, a scheduler.

Would catch: a gate that holds under our engine only, so that a tool that runs on after a failed cell loads what the gate
refused; evidence that a tool writes over; a sanitize file that hides a wrong figure; a schedule that names an option which the
command does not have.
"""

from __future__ import annotations

import ast
import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output
from nbval.plugin import get_sanitize_patterns
from run_support import KERNELSPEC, PROJECT, own_project
from typer.testing import CliRunner

from helpers.commands.app import app

PHASE = "30_data_migration"
SANITIZE = PROJECT / "runbooks" / "nbval-sanitize.cfg"

SPOIL = """
import hashlib, io, pyarrow, pyarrow.parquet
from helpers import settings
from helpers.model import manifest
from helpers.platforms.s3 import Bucket
bucket = Bucket.open(settings.load("local").stage)
found = manifest.read(bucket)
(table,) = (t for t in found.tables if t.name == "a")
file = table.files[0]
rows = pyarrow.parquet.read_table(io.BytesIO(bucket.read(file.path)))
sink = io.BytesIO()
pyarrow.parquet.write_table(pyarrow.concat_tables([rows.slice(1), rows.slice(1, 1)]), sink)
bucket.write(file.path, sink.getvalue())
wrong = file.model_copy(update={"bytes": len(sink.getvalue()), "sha256": hashlib.sha256(sink.getvalue()).hexdigest()})
tables = tuple(
    t.model_copy(update={"files": (wrong, *t.files[1:])}) if t is table else t for t in found.tables
)
bucket.write(manifest.NAME, found.model_copy(update={"tables": tables}).model_dump_json().encode())
"""
"""Behind the export's back: one row in place of another, and a manifest that agrees with it."""


def papermill(folder: Path) -> list[str]:
    (folder / "params.yaml").write_text("tables: [a]\n")
    return ["papermill", f"runbooks/{PHASE}.ipynb", "out.ipynb", "-f", "params.yaml"]


def jupyter(folder: Path) -> list[str]:
    return ["jupyter-execute", "--allow-errors", "--output=../out.ipynb", f"runbooks/{PHASE}.ipynb"]


def nbval(folder: Path) -> list[str]:
    return ["pytest", "--nbval-lax", "-p", "no:cacheprovider", "-c", os.devnull, f"runbooks/{PHASE}.ipynb"]


def digests(folder: Path) -> dict[str, str]:
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    "tool", [papermill, pytest.param(jupyter, marks=pytest.mark.slow), pytest.param(nbval, marks=pytest.mark.slow)]
)
def test_a_closed_gate_holds_and_evidence_stays(
    migration: Any, tmp_path: Path, tool: Callable[[Path], list[str]]
) -> None:
    own_project(tmp_path, migration, PHASE)
    migration.source("CREATE TABLE a AS SELECT n, md5(n::text) AS v FROM generate_series(1, 100) n")
    runbook = tmp_path / "runbooks" / f"{PHASE}.ipynb"
    nb = nbformat.read(runbook, as_version=4)
    place = next(n for n, cell in enumerate(nb.cells) if cell.id == "s30-export-act")
    nb.cells.insert(place + 1, new_code_cell(SPOIL, id="spoil"))
    nbformat.write(nb, runbook)
    evidence = tmp_path / "outputs" / "r" / PHASE
    evidence.mkdir(parents=True)
    (evidence / "attempt-01.ipynb").write_text("the record of a former run")
    before = digests(evidence.parent) | digests(tmp_path / "runbooks")

    program, *words = tool(tmp_path)
    done = subprocess.run(
        [str(Path(sys.executable).parent / program), *words], cwd=tmp_path, capture_output=True, text=True, timeout=280
    )
    told = done.stdout + done.stderr

    out = tmp_path / "out.ipynb"
    if tool is not jupyter:  # which was told to go on
        assert done.returncode != 0, told
    if out.exists():
        cells = {cell.id: cell for cell in nbformat.read(out, as_version=4).cells}
        errors = {
            name: output.ename
            for name, cell in cells.items()
            for output in cell.get("outputs", [])
            if output.output_type == "error"
        }
        assert next(iter(errors.items())) == ("s30-stage-gate-check", "GateClosed"), errors
        assert (cells["s30-load-act"].execution_count is None) or "s30-load-act" in errors
    else:
        assert "GateClosed" in told
    named_a = (
        "SELECT TABLE_NAME FROM INFORMATION_SCHEMA.TABLES WHERE TABLE_SCHEMA = CURRENT_SCHEMA() AND TABLE_NAME = 'a'"
    )
    tables = migration.target(named_a) if _schema(migration) else []
    assert tables == []
    assert digests(evidence.parent) | digests(tmp_path / "runbooks") == before
    assert {path.name.split("-")[0] for path in (tmp_path / "outputs").iterdir()} == {"r", "interactive"}


def _schema(migration: Any) -> bool:
    from helpers.platforms import snowflake

    target = migration.settings.snowflake
    with snowflake.connect(target) as session:
        return target.schema_ in {
            row["name"] for row in session.execute("SHOW SCHEMAS IN DATABASE " + target.database, doing="look")
        }


@pytest.mark.slow
def test_papermill_runs_it_to_its_end(migration: Any, tmp_path: Path) -> None:
    own_project(tmp_path, migration, PHASE)
    migration.source("CREATE TABLE a AS SELECT 1 AS n", "CREATE TABLE b AS SELECT 1 AS n")
    (tmp_path / "outputs").mkdir()
    program, *words = papermill(tmp_path)
    subprocess.run([str(Path(sys.executable).parent / program), *words], cwd=tmp_path, check=True, capture_output=True)
    cells = {cell.id: cell for cell in nbformat.read(tmp_path / "out.ipynb", as_version=4).cells}
    assert cells["s30-summary-verdict"].outputs[0].text.startswith("EQUAL: 1 row ")


def nbval_says(folder: Path, *printed_and_stored: tuple[str, str]) -> str:
    """The last line of what it says of a notebook with a cell each."""
    cells = []
    for number, (printed, stored) in enumerate(printed_and_stored):
        tags = {"tags": ["nbval-check-output"]}
        cells.append(new_code_cell(f"print({printed!r})", id=f"s30-{number}", metadata=tags, execution_count=1))
        cells[-1].outputs = [new_output("stream", text=f"{stored}\n")]
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": KERNELSPEC}), folder / "x.ipynb")
    words = [
        "--nbval-lax",
        "--nbval-sanitize-with",
        str(SANITIZE),
        "-p",
        "no:cacheprovider",
        "-c",
        os.devnull,
        "x.ipynb",
    ]
    done = subprocess.run([sys.executable, "-m", "pytest", *words], cwd=folder, capture_output=True, text=True)
    return done.stdout.splitlines()[-1]


def test_nbval_compares_what_matters(tmp_path: Path) -> None:
    said = nbval_says(
        tmp_path, ("equal at LSN 0/16B3748", "equal at LSN 0/2A00000"), ("equal, 41 rows", "equal, 42 rows")
    )
    assert "1 failed, 1 passed" in said


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("attempt-01 at 2026-11-25T20:19:52.123456+00:00", "attempt-12 at 2027-01-01T00:00:00Z", True),
        ("export 20261125T201952Z-abcdef", "export 20270101T000000Z-0123456789ab", True),
        ("outputs/first/30/x.json", "outputs/second/30/x.json", True),
        ("load " + "a" * 32, "load " + "b" * 32, True),
        ("done in 3.2 s", "done in 4 min", True),
        ("a" * 32, "b" * 32, False),
        ("digest 64:" + "1f" * 16, "digest 64:" + "2f" * 16, False),
        ("41 rows", "42 rows", False),
        ("rows 1/2", "rows 1/3", False),
        ("2024-01-01", "2024-01-02", False),
        ("2024-01-01 10:00:00", "2024-01-01 11:00:00", False),
        ("2024-01-01T10:00:00+00:00", "2024-01-01T11:00:00+00:00", False),
        ("equal", "different", False),
        ("3.20", "3.21", False),
        (
            '<progress max="1" value="0.0"></progress> 0% <span style="x"></span>',
            '<progress max="1" value="1.0"></progress> 100% <span style="x">done</span>',
            True,
        ),
        ("0% <span>1</span>", "100% <span>1</span>", False),
    ],
)
def test_the_sanitize_file_hides_no_figure(one: str, other: str, same: bool) -> None:
    def sanitized(text: str) -> str:
        for regex, replacement in get_sanitize_patterns(SANITIZE.read_text()):
            text = re.sub(regex, replacement, text)
        return text

    assert (sanitized(one) == sanitized(other)) is same


def test_what_is_stored_is_compared_as_it_is() -> None:
    for path in (PROJECT / "runbooks").glob("*.ipynb"):
        for cell in nbformat.read(path, as_version=4).cells:
            for output in cell.get("outputs", []):
                text = output.get("text", "") + str(output.get("data", ""))
                for regex, replacement in get_sanitize_patterns(SANITIZE.read_text()):
                    if (
                        replacement == "PROGRESS"
                    ):  # nbval sees the bar as it began, a stored one as it ended: neither is a figure
                        continue
                    assert not re.search(regex, text), (path.name, cell.id, regex)


def test_schedules_name_what_the_command_has() -> None:
    dag = PROJECT / "pipeline" / "airflow" / "dags" / "runbooks_nightly.py"
    compile(dag.read_text(), dag.name, "exec")
    (command,) = (
        ast.literal_eval(node.value)
        for node in ast.parse(dag.read_text()).body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "COMMAND"
    )
    crontab = (PROJECT / "pipeline" / "airflow" / "crontab.example").read_text().splitlines()
    (line,) = (line for line in crontab if line and not line.startswith("#"))
    assert "%" not in line.replace(r"\%", "")
    shown = CliRunner().invoke(app, ["run", "--help"], env={"COLUMNS": "300", "NO_COLOR": "1"}).output
    options = set(re.findall(r"--[a-z-]+", shown))
    for text in (command, line):
        assert {"--run", "--profile"} <= set(re.findall(r"--[a-z-]+", text)) <= options
