"""Nothing outside the sample and the local stack names a table, mart, DAG, query or test of the sample.

Would catch: a step that asks a team's database for the sample's tables, or ticks a box by the sample's.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from helpers import PROJECT

PIPELINE = PROJECT / "pipeline"
OWN = ("helpers/pipelines/sample/", "helpers/local/")
WORDS = {"customers", "open_orders", "payments", "shipments", "stores"}
"""Names of the sample that are words of every text: they count within quotation marks and behind a schema alone."""


def names() -> set[str]:
    """Tables and views by the SQL, marts by dbt's files, DAGs by the description, tests by their files."""
    sql = "\n".join(path.read_text(encoding="utf-8") for path in PIPELINE.glob("legacy/*.sql"))
    found = set(re.findall(r"CREATE (?:TABLE|VIEW|MATERIALIZED VIEW) public\.(\w+)", sql))
    found |= {path.stem for path in PIPELINE.glob("dbt/models/**/*.sql")}
    described = tomllib.loads((PROJECT / OWN[0] / "description.toml").read_text(encoding="utf-8"))
    dags = described["dags"]
    found |= {*dags["legacy"], *dags["modern"], *dags["retired"], *described["figures"]}
    return found | {path.stem for path in PROJECT.glob("tests/integration/test_*.py")}


def test_nothing_outside_the_sample_names_what_is_the_samples() -> None:
    known = names()
    assert {"raw_orders", "sales_lines", "open_orders", "cloud_sales_pipeline_dag", "test_modern_pipeline"} <= known
    plain = "|".join(sorted(known - WORDS))
    quoted = "|".join(sorted(known & WORDS))
    pattern = re.compile(rf"\b(?:{plain})\b|(?<=public\.)(?:{quoted})\b|(?<=[\"\'])(?:{quoted})(?=[\"\'])")
    wrong = []
    for path in sorted((PROJECT / "helpers").rglob("*")):
        name = path.relative_to(PROJECT).as_posix()
        if path.suffix in (".py", ".toml", ".sql", ".j2", ".yml") and not name.startswith(OWN) and name not in QUOTE:
            lines = path.read_text(encoding="utf-8").splitlines()
            wrong += [f"{name}:{n}: {found[0]}" for n, line in enumerate(lines, 1) if (found := pattern.search(line))]
    assert wrong == []


QUOTE = {"helpers/checklist.toml"}
"""The quoted document."""


def test_every_name_of_the_sample_is_still_one() -> None:
    assert all(Path(PROJECT, each).is_file() for each in QUOTE)
