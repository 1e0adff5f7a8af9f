"""How a session writes values as texts and reads texts as values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

# Longest first: MONTH's letters begin with MON's.
FORMATS = {
    "YYYY": "%Y",
    "YY": "%y",
    "MMMM": "%B",
    "MON": "%b",
    "MM": "%m",
    "DD": "%d",
    "DY": "%a",
    "HH24": "%H",
    "HH12": "%I",
    "AM": "%p",
    "PM": "%p",
    "MI": "%M",
    "SS": "%S",
    "FF9": "%n",
    "FF6": "%f",
    "FF3": "%g",
    "FF0": "",
    "FF": "%n",
    "TZH:TZM": "\x01",
    "TZHTZM": "\x02",
    "TZH": "\x03",
}
"""Snowflake's codes in DuckDB's; the three of an offset, which DuckDB prints otherwise, as the characters of `_with_offset`."""
FORMAT = re.compile("|".join([r'"[^"]*"', *sorted(FORMATS, key=len, reverse=True)]), re.IGNORECASE)


@dataclass(frozen=True)
class Texts:
    """How a session's parameters have values become texts and texts become values; formats in DuckDB's codes."""

    date: str = "%Y-%m-%d"
    time: str = "%H:%M:%S"
    timestamp: str = "%Y-%m-%d %H:%M:%S.%g"
    zoned: str = "%Y-%m-%d %H:%M:%S.%g \x02"
    binary: str = "HEX"
    from_binary: str = "HEX"
    inputs: Mapping[str, str] = field(default_factory=dict)
    week_start: int = 0
    week_policy: int = 0
    century: int = 1970
    zone: str = "UTC"

    @property
    def usual(self) -> bool:
        """Whether `_text` prints as this session does."""
        return (self.date, self.time, self.timestamp, self.zoned, self.binary, self.zone) == _USUAL


_USUAL = (Texts.date, Texts.time, Texts.timestamp, Texts.zoned, Texts.binary, Texts.zone)


def strftime_format(wanted: str) -> str:
    def code(match: re.Match[str]) -> str:
        found = match.group()
        return found[1:-1] if found.startswith('"') else FORMATS[found.upper()]

    return FORMAT.sub(code, wanted.replace("%", "%%"))
