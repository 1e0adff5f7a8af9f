"""The pages for people keep up with the program.

Would catch: an error that nobody explains, a link that leads nowhere, a command or a gate that a page names and that is not there.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

from helpers import errors
from helpers.commands.app import app
from helpers.phases.p30_data_migration import migration
from tests.conftest import PROJECT

PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").rglob("*.md")), PROJECT / "pipeline/kafka/README.md"]
GUIDE = PROJECT / "docs/troubleshooting.md"


def test_every_error_has_its_cure() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (\d)", GUIDE.read_text(encoding="utf-8"), re.M))
    known = {
        name: str(each.exit_code)
        for name, each in vars(errors).items()
        if isinstance(each, type) and issubclass(each, errors.MigrationError) and each is not errors.MigrationError
    }
    # The guide may be ahead of this branch, never behind it.
    assert {name: rows.get(name) for name in known} == known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_every_place_of_the_code_that_is_named_is_there(page: str) -> None:
    text = (PROJECT / page).read_text(encoding="utf-8")
    places = re.findall(r"`((?:helpers|tests|runbooks|benchmarks|pipeline)/[a-z0-9_./]+)`", text)
    assert len(places) > 20
    assert [place for place in places if not (PROJECT / place).exists()] == []


def test_the_gates_and_commands_that_are_named_are_there() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    gates = set(re.findall(r"the gate `([\w-]+)`", text))
    assert gates == {
        migration.STAGE_HOLDS_THE_SNAPSHOT, migration.TARGET_HOLDS_THE_SNAPSHOT, migration.DELTA_HOLDS_THE_SNAPSHOT,
    }  # fmt: skip
    command = typer.main.get_command(app)
    known = set(command.commands) | {f"kafka {n}" for n in command.commands["kafka"].commands}  # type: ignore[attr-defined]
    known |= {f"local {n}" for n in command.commands["local"].commands}  # type: ignore[attr-defined]
    for page in PAGES:
        for first, second in re.findall(r"\brunbook ([a-z-]+)(?: ([a-z-]+))?", _code(page.read_text(encoding="utf-8"))):
            assert (f"{first} {second}" if first in ("kafka", "local") else first) in known, (page, first, second)


def _code(text: str) -> str:
    blocks = re.findall(r"```\w*\n(.*?)```", text, re.S)
    rest = re.sub(r"```.*?```", "", text, flags=re.S)
    return "\n".join([*blocks, *re.findall(r"`([^`\n]+)`", rest)])
