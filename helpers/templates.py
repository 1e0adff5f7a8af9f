"""HTML pages from templates: every value is escaped, and a name that nobody defined is an error, not an empty place."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def environment(folder: Path, filters: Mapping[str, Any], **names: Any) -> Environment:
    """What renders the templates in `folder`; they may use `filters` and `names`."""
    made = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(filters)
    made.globals.update(names)
    return made
