"""How much the command imports before it answers.

Would catch: an import at the top of a file that makes every call of the command, and each test of it, wait for a driver.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import PROJECT
from helpers.ledger.ledger import Ledger

HEAVY = {
    "boto3", "deltalake", "duckdb", "IPython", "nbformat", "pandas", "papermill", "polars", "psycopg2", "pyarrow", "pyspark", "requests",
    "securesystemslib", "snowflake", "sqlglot",
}  # fmt: skip

PROGRAM = """
import json, sys
from pathlib import Path
from helpers.commands import main, places
places.OUTPUTS = Path(sys.argv.pop(1))
if "status" in sys.argv:
    from helpers.source import held_snapshots
    held_snapshots.RECORDS = places.OUTPUTS / "held"  # another test's snapshot would be asked about
try:
    main()
except SystemExit as ended:
    print(json.dumps([ended.code, sorted({name.partition(".")[0] for name in sys.modules})]))
"""


@pytest.mark.parametrize(
    ("words", "also_heavy"), [("--help", {"pydantic", "psutil"}), ("status", set()), ("status --run r", set())]
)
def test_an_answer_waits_for_no_driver(words: str, also_heavy: set[str], tmp_path: Path) -> None:
    folder = tmp_path / "r"
    folder.mkdir()
    Ledger.open(folder).append("run-opened", run="r", option="A", profile="local")
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), *words.split()]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    code, imported = json.loads(done.stdout.splitlines()[-1])
    assert code == 0
    assert not (HEAVY | also_heavy) & set(imported)


def test_a_snapshot_waits_for_no_driver_but_its_own() -> None:
    """Each export and each verification starts a keeper, and waits for it."""
    program = (
        "import json, sys, helpers.source.keeper; print(json.dumps([name.partition('.')[0] for name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert not (HEAVY | {"pydantic"}) - {"psycopg2"} & set(json.loads(done.stdout))


def test_reading_a_notebook_compiles_no_grammar() -> None:
    program = "import sys, helpers.evidence.html; print('nbformat' in sys.modules, 'lark' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]
