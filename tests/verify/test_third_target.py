"""A target that the product does not know needs one folder and one row of the registry to be verified as the others are.

Would catch: a place outside the folders of the engines that names one of them, and refuses or mistreats all others.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest
from quality_support import STAR, broken, in_target
from third_target import adapter

from helpers import engines
from helpers.load import duckdb as loading
from helpers.verify import Options, Selection
from helpers.verify.about import About


@pytest.fixture
def migrated(migration: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setitem(engines.ADAPTERS, "duckdb", "third_target.adapter")
    monkeypatch.setattr(adapter, "FILE", tmp_path / "target.duckdb")
    migration.source(*STAR)
    loading.load(migration.export(), migration.bucket, adapter.FILE, adapter.SCHEMA)
    return migration


def _change(*statements: str) -> None:
    with duckdb.connect(str(adapter.FILE)) as connection:
        connection.execute(f"USE {adapter.SCHEMA}")
        for statement in statements:
            connection.execute(statement)


def test_a_third_target_is_verified_from_its_folder_alone(migrated: Any) -> None:
    report = migrated.verify("duckdb")
    assert {t.name: (t.verdict, t.missing, t.extra, t.changed) for t in report.tables} == dict.fromkeys(
        ("calendar", "months", "products", "sales"), ("equal", 0, 0, 0)
    )
    _change(
        "UPDATE sales SET price = price + 0.01 WHERE sale_id = 7", "DELETE FROM products WHERE product_key = 5", "CREATE TABLE more (a INT)",
    )  # fmt: skip
    found = {t.name: t for t in migrated.verify("duckdb").tables}
    assert [(c.key, c.column, c.source, c.target) for c in found["sales"].cells] == [
        ({"sale_id": "7"}, "price", "7.75", "7.76")
    ]
    assert (found["products"].missing, found["more"].verdict) == (1, "different")
    options = Options(Selection(where="region = 'North' AND sold_at >= '2024-02-01'"))
    (table,) = migrated.verify("duckdb", tables=("sales",), options=options).tables
    assert (table.verdict, 0 < table.rows_source < 600) == ("equal", True)


def test_a_third_targets_rules_and_figures_are_checked(migrated: Any) -> None:
    with in_target(migrated, "duckdb") as sides:
        assert broken(sides.results()) == {}
        assert sides.figures().equal
    _change("UPDATE sales SET via = 'fax', amount = amount + 1 WHERE sale_id = 7")
    with in_target(migrated, "duckdb") as sides:
        assert broken(sides.results()) == {"sales:accepted-values:via": ("fail", 1)}
        assert {f.measure for t in sides.figures().tables for f in t.differences} == {
            "rows",
            "amount",
            "sold",
            "price",
            "weight",
        }


def test_a_third_target_is_named_as_its_adapter_names_it(migrated: Any) -> None:
    from helpers import verify as verifying
    from helpers.verify.verdict import named

    with verifying.planned(migrated.settings, target="duckdb") as plan:
        about = About.from_plan(plan)
    assert (about.target, about.on_stand_in, named("duckdb")) == (f"DuckDB file {adapter.FILE}", "", "DuckDB")
