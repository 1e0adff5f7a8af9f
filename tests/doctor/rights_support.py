"""The scripts of docs/rights.md, as the tests run them."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "rights.md"


def script(name: str) -> str:
    """The block of code behind the mark `<!-- test: NAME -->`."""
    found = re.search(rf"<!-- test: {name} -->\s+```\w+\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found, f"docs/rights.md has no script {name}"
    return found[1]


def statements(name: str) -> list[str]:
    """Its SQL statements."""
    return [each.strip() for each in script(name).split(";\n") if each.strip()]


def taken_back(statement: str) -> str:
    """The statement that undoes a grant of the page."""
    if statement.startswith("ALTER ROLE"):
        head, _, attribute = statement.rpartition(" ")
        return f"{head} NO{attribute}"
    return re.sub(" TO ([^ ]+)$", r" FROM \1", re.sub("^GRANT ", "REVOKE ", statement))
