"""What a Delta table's history says of its rows, by the names that Delta Lake, Databricks and delta-rs give their operations.

Would catch: a commit of an unknown name, or one that the log has dropped, that is taken for maintenance; an OPTIMIZE whose actions say
that rows changed; a restoration by time, which names no version.
"""

from __future__ import annotations

import json

import pytest

from helpers.engines.delta.history import Commit, changes, commit


def told(*operations: str, first: int = 6) -> list[Commit]:
    return [
        commit({"version": first + n, "operation": operation.partition(" to ")[0],
                "operationParameters": {"version": operation.partition(" to ")[2] or None, "timestamp": None}})
        for n, operation in enumerate(operations)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("operations", "changed"),
    [
        ((), ()),
        (("OPTIMIZE", "VACUUM START", "VACUUM END", "COMPUTE STATS", "CLUSTER BY", "REORG", "SET TBLPROPERTIES"), ()),
        (("OPTIMIZE", "MERGE", "OPTIMIZE"), ("MERGE",)),
        (("DELETE", "UPDATE"), ("DELETE", "UPDATE")),
        (("WRITE", "RESTORE to 5"), ()),
        (("OPTIMIZE", "WRITE", "RESTORE to 6", "VACUUM START"), ()),
        (("WRITE", "OPTIMIZE", "RESTORE to 7"), ("WRITE", "RESTORE")),
        (("RESTORE to 4",), ("RESTORE",)),
        (("RESTORE",), ("RESTORE",)),
        (("WRITE", "RESTORE to 5", "TRUNCATE"), ("WRITE", "TRUNCATE")),
        (("CREATE OR REPLACE TABLE AS SELECT",), ("CREATE OR REPLACE TABLE AS SELECT",)),
        (("CLONE", "ADD COLUMNS"), ("CLONE", "ADD COLUMNS")),
        (("SOMETHING NEW",), ("SOMETHING NEW",)),
    ],
)
def test_what_was_done_behind_the_version_that_a_load_left(
    operations: tuple[str, ...], changed: tuple[str, ...]
) -> None:
    assert changes(told(*operations), left=5, now=5 + len(operations)) == changed


def test_a_history_with_a_gap_says_nothing() -> None:
    first, second, third = told("OPTIMIZE", "OPTIMIZE", "OPTIMIZE")
    assert changes([third, first], left=5, now=8) == ("version 7, which its history does not tell any more",)
    assert changes([second], left=8, now=7) == ("its history ends at version 7",)


def test_the_actions_of_a_commit_outweigh_its_name() -> None:
    def one(operation: str, *actions: dict[str, object]) -> bool:
        lines = "\n".join(json.dumps(each) for each in ({"commitInfo": {}}, *actions)).encode()
        return commit({"version": 6, "operation": operation}, lines).is_maintenance

    moved, written = {"add": {"path": "x", "dataChange": False}}, {"add": {"path": "x", "dataChange": True}}
    assert one("OPTIMIZE", moved, {"remove": {"path": "y", "dataChange": False}})
    assert not one("OPTIMIZE", moved, written)
    assert one("SOMETHING NEW", moved)
    assert not one("WRITE", {"remove": {"path": "x"}})
    assert not one("SOMETHING NEW", {"metaData": {}})
    assert one("SET TBLPROPERTIES", {"metaData": {}})
