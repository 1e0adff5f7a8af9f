"""The checklist as data is the document, box by box.

Would catch: a box without a step, a step without a box, a text that was edited on one side only, a repair that changed
more than broken characters, a step whose notebook has no such cell, a person's word where a check belongs,
planned minutes that are not the timeline's.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import nbformat
import pytest
from pydantic import ValidationError
from run_support import PROJECT

from helpers import checklist
from helpers.checklist import PHASES, Step, steps, steps_for_option

DOCUMENT = PROJECT / "docs/migration-checklist.md"
SEED = Path(__file__).parent / "seed/migration-checklist.md"
"""As it was handed over: UTF-8 that somebody read as Mac Roman and saved as UTF-8 again."""

WORKING_DAY = 8 * 60
RANGES = {"A": PHASES[1:6], "B": PHASES[1:5]}
"""Phases whose range the steps of an option fill; a hybrid's cutover has no clean-up."""


def boxes(document: str) -> list[tuple[str, tuple[str, ...], str | None]]:
    """Text, headings, and the text of the box around it; of every box and every row of the timeline."""
    found: list[tuple[str, tuple[str, ...], str | None]] = []
    headings: dict[int, str] = {}
    around: list[tuple[int, str]] = []
    for line in re.sub(r"^ *```.*?^ *```", "", document, flags=re.S | re.M).splitlines():
        section = tuple(headings[depth] for depth in sorted(headings) if depth > 1)
        if heading := re.match(r"(#+) (.*)", line):
            headings = {depth: text for depth, text in headings.items() if depth < len(heading[1])}
            headings[len(heading[1])] = heading[2]
            around = []
        elif box := re.match(r"( *)- \[ \] (.*)", line):
            around = [outer for outer in around if outer[0] < len(box[1])]
            found.append((box[2], section, around[-1][1] if around else None))
            around.append((len(box[1]), box[2]))
        elif line.startswith("| **Phase"):
            found.append((line, section, None))
    return found


def test_the_document_is_the_seed_with_its_characters_repaired() -> None:
    repaired = SEED.read_text(encoding="utf-8").encode("mac_roman").decode("utf-8")
    assert DOCUMENT.read_bytes() == repaired.encode()
    assert {"✅", "🌟", "🔄", "📦", "⚠️", "🚨", "📞", "📚", "🔧"} <= set(re.findall(r"⚠️|[^\x00-\x7f]", repaired))


def test_every_box_has_one_step_and_every_step_a_box() -> None:
    texts = {step.id: step.text for step in steps()}
    ours = [(step.text, step.section, texts[step.under] if step.under else None) for step in steps()]
    assert ours == boxes(DOCUMENT.read_text(encoding="utf-8"))
    # The count by another road: what the reading above does not see, it would not miss.
    seed = SEED.read_text(encoding="utf-8")
    assert len(ours) == seed.count("- [ ]") + len(re.findall(r"^\| \*\*", seed, re.M))


def test_a_box_more_or_less_is_seen() -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    assert len(boxes(document.replace("- [ ] **Backup Strategy**", "- **Backup Strategy**"))) == len(steps()) - 1
    assert len(boxes(document + "\n- [ ] one more\n")) == len(steps()) + 1


def test_ids_are_unique_and_name_their_phase() -> None:
    ids = [name for step in steps() for name in (step.id, *(part.id for part in step.part))]
    assert [name for name, count in Counter(ids).items() if count > 1] == []
    cells = [(step.phase, cell) for step in steps() for cell in (step.cell, *(part.cell for part in step.part))]
    several = {cell for cell, count in Counter(cells).items() if count > 1}
    # One of three options is chosen, and one cell asks its boxes.
    assert several == {("00_assessment", "s00-options-check"), ("00_assessment", "s00-choice-sign")}
    for step in steps():
        for name in (step.id, step.cell, *(n for part in step.part for n in (part.id, part.cell))):
            assert name == "setup" or re.fullmatch(rf"s{step.phase[:2]}-[a-z0-9-]+", name)


@pytest.mark.parametrize("option", ["A", "B", "C"])
def test_an_option_goes_through_the_phases_in_order(option: str) -> None:
    chosen = steps_for_option(option)
    assert [PHASES.index(step.phase) for step in chosen] == sorted(PHASES.index(step.phase) for step in chosen)
    for phase in PHASES:
        in_the_document = [step.id for step in steps() if step.phase == phase and option in step.options]
        assert [step.id for step in chosen if step.phase == phase] == in_the_document
    assert chosen[0].phase == PHASES[0]
    assert {step.under for step in chosen if step.under} <= {step.id for step in chosen}


def test_the_options_are_those_of_the_document() -> None:
    for step in steps():
        section = " ".join(step.section)
        if named := re.search(r"Option ([ABC])", section):
            assert named[1] in step.options, step.id
        if "Legacy Maintenance" in section:
            assert step.options == ("C",), step.id
        if "Modern Pipeline" in section and "Path Selection" not in section:
            assert step.options == ("A", "B"), step.id


def test_a_persons_word_is_about_people_and_paper_only() -> None:
    spoken = {step.id: step.word for step in steps() if step.kind == "word"}
    assert spoken == {step.id: step.word for step in steps() if step.word}
    subjects = {
        "training": r"Training",
        "announcement": r"[Nn]otify|[Aa]nnounce",
        "document": r"Documentation|documentation|[Rr]unbooks|plans",
        "window": r"window",
    }
    for step in steps():
        if step.word:
            assert re.search(subjects[step.word], step.text), step.id


@pytest.mark.parametrize("option", RANGES)
def test_planned_minutes_are_the_timelines(option: str) -> None:
    rows = [step for step in steps() if step.text.startswith("|")]
    for row in rows:
        if row.phase not in RANGES[option]:
            continue
        low, high = (int(days) for days in re.findall(r"\| (\d+)-(\d+) days \|", row.text)[0])
        planned = sum(
            s.minutes for s in steps_for_option(option) if s.phase == row.phase and s.minutes_from == "timeline"
        )
        assert low * WORKING_DAY <= planned <= high * WORKING_DAY, row.phase


def test_other_minutes_have_a_reason() -> None:
    for step in steps():
        assert step.minutes > 0 or step.minutes_from.endswith(("has its time", "have its time")), step.id
        assert step.minutes_from == "timeline" or len(step.minutes_from) > 20, step.id


def _cells(phase: str) -> set[str]:
    path = PROJECT / f"runbooks/{phase}.ipynb"
    if not path.exists():
        return set()
    return {cell.id for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"}


def test_every_step_and_part_has_its_cell_and_what_it_undoes() -> None:
    known = {each.id for step in steps() for each in (step, *step.part)}
    for step in steps():
        cells = _cells(step.phase)
        for each in (step, *step.part):
            assert each.cell in cells, each.id
    assert set(checklist.undone_by()) <= known
    assert len(checklist.undone_by()) == sum(part.undoes is not None for step in steps() for part in step.part) > 0


def test_a_misspelt_key_is_refused() -> None:
    with pytest.raises(ValidationError):
        Step.model_validate({**steps()[0].model_dump(), "planed": 3})
    with pytest.raises(ValidationError):
        Step.model_validate({**steps()[0].model_dump(), "kind": "promise"})
    assert checklist.steps() is checklist.steps()
