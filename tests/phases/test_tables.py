"""A data frame in a notebook: numbers right-aligned with separators, text left-aligned, and nothing read as markup.

Would catch: a count without separators, an unaligned column, a missing value shown as NaN, a value that acts as HTML.
"""

from __future__ import annotations

import re
from decimal import Decimal

import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell

from helpers.phases.common.tables import as_html, as_text, show_tables

FRAME = pd.DataFrame(
    {
        "table": ["sales", "<b>x</b>"],
        "rows": [1234567, None],
        "seconds": [1.5, 12.25],
        "amount": [Decimal("1234.50"), None],
        "share": ["1.5%", "12.0%"],
        "applied": [True, False],
        "digest": ["26f1", "0012"],
    }
).set_index("table")


def test_numbers_are_right_aligned_with_separators() -> None:
    assert as_text(FRAME).splitlines() == [
        "table          rows  seconds    amount  share  applied  digest",
        "sales     1,234,567     1.50  1,234.50   1.5%  True     26f1",
        "<b>x</b>               12.25            12.0%  False    0012",
    ]
    sides = re.findall(r'<th style="text-align: (\w+)">(\w+)</th>', as_html(FRAME))
    assert {name for side, name in sides if side == "right"} == {"rows", "seconds", "amount", "share"}
    assert "<b>" not in as_html(FRAME)


def test_a_table_without_rows_says_so() -> None:
    assert as_text(FRAME[:0]).splitlines()[-1] == "none"
    assert '<td colspan="7"' in as_html(FRAME[:0]) and ">none<" in as_html(FRAME[:0])


def test_every_frame_of_a_notebook_is_shown_this_way(monkeypatch: pytest.MonkeyPatch) -> None:
    shell = InteractiveShell()
    shell.display_formatter.active_types = ["text/plain", "text/html"]
    monkeypatch.setattr("helpers.phases.common.tables.get_ipython", lambda: shell)
    show_tables()
    shown, _ = shell.display_formatter.format(FRAME)
    assert shown["text/html"] == as_html(FRAME)
    assert shown["text/plain"] == as_text(FRAME)
