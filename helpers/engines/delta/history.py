"""What was done to a Delta table since a version: its keeper's maintenance leaves every row as it was, and other commits do not.

Databricks optimizes, vacuums and analyzes tables by itself
(https://docs.databricks.com/aws/en/optimizations/predictive-optimization), so a version moves though nobody wrote. Whoever asks
whether a table is as a load left it asks `changes`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

MAINTENANCE = frozenset({
    "OPTIMIZE", "REORG", "REORG TABLE UPGRADE UNIFORM", "VACUUM START", "VACUUM END", "COMPUTE STATS", "ANALYZE", "CLUSTER BY", "FSCK",
    "SET TBLPROPERTIES", "UNSET TBLPROPERTIES", "ADD CONSTRAINT", "DROP CONSTRAINT", "CHANGE COLUMN", "UPDATE COLUMN METADATA",
    "UPGRADE PROTOCOL", "ADD FEATURE", "SET TABLE COMMENT", "UPDATE TABLE METADATA", "UPDATE FIELD METADATA", "AUTO_OPTIMIZE",
    "Empty Commit", "ROW TRACKING BACKFILL",
})  # fmt: skip
"""Operations that leave rows and columns as they were: what Delta Lake calls them
(https://github.com/delta-io/delta/blob/master/spark/src/main/scala/org/apache/spark/sql/delta/DeltaOperations.scala), delta-rs, and
Databricks (https://docs.databricks.com/aws/en/tables/history-schema). Another name counts as a change."""

COLUMNS_ADDED = frozenset({"ADD COLUMNS", "ADD COLUMN"})
"""What Delta Lake and delta-rs call it when a table gets columns, which are NULL in the rows that are there."""

_RESTORE = "RESTORE"
_MERGE = "MERGE"

_MARK = re.compile(r"\bsync_([0-9a-f]{32})_([0-9a-f]{1,16})\b")


@dataclass(frozen=True)
class Applied:
    """What a commit of a sync says of itself.

    A MERGE's commit keeps the text of its condition, on Databricks and Apache Spark
    (https://github.com/delta-io/delta/blob/master/spark/src/main/scala/org/apache/spark/sql/delta/DeltaOperations.scala, Merge) as in
    pysail. So the condition names a column that is called after the sync and the position: it lies in the very commit, and needs
    neither a setting of the session, which serverless compute refuses, nor a second commit.
    """

    sync: str
    position: int

    @property
    def column(self) -> str:
        """The column's name."""
        return f"sync_{self.sync}_{self.position:x}"


@dataclass(frozen=True)
class Commit:
    """One version of a table.

    Attributes:
        operation: as the history calls it.
        restored: the version that it brought back; None where it brought none back, or says none.
        changes_data: whether its actions say that rows changed; None where they cannot be read.
        changes_columns: whether it has a new definition; None likewise.
        applied: the batch of a sync that it took in; None for any other commit.
    """

    version: int
    operation: str
    restored: int | None = None
    changes_data: bool | None = None
    changes_columns: bool | None = None
    applied: Applied | None = None

    @property
    def is_maintenance(self) -> bool:
        """Whether every row stays as it was."""
        if self.changes_data is None:
            return self.operation in MAINTENANCE
        return not self.changes_data and (self.operation in MAINTENANCE or not self.changes_columns)


def commit(told: dict[str, Any], actions: bytes | None = None) -> Commit:
    """A commit as a row of DESCRIBE HISTORY or of delta-rs tells it.

    Args:
        told: with `version`, `operation` and mostly `operationParameters`.
        actions: the commit's file in the log, where it can be read
            (https://github.com/delta-io/delta/blob/master/PROTOCOL.md#add-file-and-remove-file, dataChange).
    """
    version, operation = int(told["version"]), str(told["operation"])
    parameters = dict(told.get("operationParameters") or {})
    named = str(parameters.get("version")) if operation == _RESTORE else ""
    restored = int(named) if named.isdigit() else None
    mark = _MARK.search(str(parameters)) if operation == _MERGE else None
    applied = Applied(mark[1], int(mark[2], 16)) if mark else None
    if actions is None:
        return Commit(version, operation, restored, applied=applied)
    found = [json.loads(line) for line in actions.splitlines() if line.strip()]
    files = [action[kind] for action in found for kind in ("add", "remove", "cdc") if kind in action]
    data = any(file.get("dataChange", True) for file in files)
    return Commit(version, operation, restored, data, any("metaData" in action for action in found), applied)


def nobodys(commit: Commit) -> bool:
    """That no commit is ours."""
    return False


def changes(
    commits: Iterable[Commit], *, left: int, now: int, ours: Callable[[Commit], bool] = nobodys
) -> tuple[str, ...]:
    """What changed a table's rows between two of its versions, the first first; empty where they are the same rows.

    A restoration of the version that was left, or of one with the same rows, makes good what was done before it.

    Args:
        commits: those behind `left`, in any order.
        left: the version that somebody left.
        now: the present version.
        ours: whether a commit is whoever's asks, and no other's; it leaves the table anew.
    """
    if now < left:
        return (f"its history ends at version {now}",)
    known = {each.version: each for each in commits}
    same = {left}
    others: list[str] = []
    for version in range(left + 1, now + 1):
        if (each := known.get(version)) is None:
            others.append(f"version {version}, which its history does not tell any more")
        elif (each.is_maintenance and version - 1 in same) or each.restored in same:
            same.add(version)
        elif ours(each):
            same = {version} if version - 1 in same else set()
        elif not each.is_maintenance:
            others.append(each.operation)
    return () if now in same else tuple(others or ["a restoration"])


def reached(commits: Iterable[Commit], *, left: int, at: int, now: int, ours: Callable[[Commit], bool]) -> int | None:
    """The position of a sync that a table's present version has; None where somebody else changed its rows.

    Args:
        commits: those behind `left`, in any order.
        left: the version that the sync left.
        at: its position.
        now: the present version.
        ours: whether a commit is the sync's.
    """
    known = {each.version: each for each in commits}
    found: dict[int, int | None] = {left: at}
    for version in range(left + 1, now + 1):
        each, before = known.get(version), found[version - 1]
        if each is None:
            found[version] = None
        elif each.restored is not None:
            found[version] = found.get(each.restored)
        elif ours(each):
            found[version] = each.applied.position if each.applied and before is not None else before
        else:
            found[version] = before if each.is_maintenance else None
    return found.get(now)
