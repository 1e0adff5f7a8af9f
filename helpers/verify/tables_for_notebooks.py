"""A report's findings as tables for a notebook."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from helpers.verify.report import Report, TableReport

WHOLE_ROW = "(the whole row)"


def verdicts(report: Report) -> pd.DataFrame:
    """Per table: the verdict, rows on both sides, cells compared, what differs in a few words, and the digest of the source's rows."""
    return pd.DataFrame(
        {
            "table": str(t),
            "verdict": t.verdict,
            "source rows": t.rows_source,
            "target rows": t.rows_target,
            "cells compared": (t.rows_source or 0) * len(t.changed_cells),
            "differences": t.differences,
            "digest": t.digest,
        }
        for t in report.tables
    ).set_index("table")


def differences(report: Report, *, definitions: bool = True) -> pd.DataFrame:
    """How often each table and column differs, and how; empty where nothing does.

    Args:
        definitions: with the findings of the tables' definitions; without them, every count is one of cells or rows.
    """
    rows = [(str(table), *each) for table in report.tables for each in _differences(table)]
    if definitions:
        rows += [
            (str(table), finding.column or "(the table)", f"{finding.severity}: {finding.name}", 1)
            for table in report.tables
            for finding in table.schema_findings
        ]
    frame = pd.DataFrame(rows, columns=["table", "column", "difference", "count"])
    return frame.sort_values("table", kind="stable").set_index(["table", "column"])


def diagnoses(report: Report) -> pd.DataFrame:
    """What explains the changed cells of each column, the best explanation first; empty where none are changed."""
    columns = ["table", "column", "changed cells", "explained", "share", "what", "likely cause"]
    rows = []
    for table in report.tables:
        for column, changed in table.changed_cells.items():
            for found in table.diagnoses.get(column, ()):
                share = f"{found.share:.1%}"
                rows.append((str(table), column, changed, found.pairs, share, found.words, found.likely))
            if changed and not table.diagnoses.get(column):
                rows.append((str(table), column, changed, 0, "", "no single cause was found", "look at the rows"))
    return pd.DataFrame(rows, columns=columns).set_index(["table", "column"])


def _differences(table: TableReport) -> Iterator[tuple[str, str, int]]:
    for column, changed in table.changed_cells.items():
        if changed:
            yield column, "changed cells", changed
    of_rows = {
        "rows missing in the target": table.missing,
        "rows only in the target": table.extra,
        "rows changed in the source since the export": table.changed_since,
    }
    for words, count in of_rows.items():
        if count:
            yield WHOLE_ROW, words, count
