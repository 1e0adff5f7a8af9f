"""Tables for a notebook's cells and for people."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd


def frame(rows: Iterable[object], *columns: str) -> pd.DataFrame:
    """A row each, named by its first column."""
    return pd.DataFrame(list(rows), columns=list(columns)).set_index(columns[0])
