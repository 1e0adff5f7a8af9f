"""The verdict in one sentence, and what it says and does not say, for a reader who knows neither digests nor snapshots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from helpers.engines import ADAPTERS, engine
from helpers.verify.report import Business, Report, TableReport

State = Literal["refused", "different", "moved on", "equal"]
"""A table's verdict as a person needs it: a difference that the source made itself is no fault of the target."""

WORST_FIRST: tuple[State, ...] = ("refused", "different", "moved on", "equal")

Depth = Literal["cells", "row counts", "definitions"]


def sentence(report: Report) -> str:
    """The verdict, over how much, and at which LSN."""
    found = {each: [table for table in report.tables if state(table) == each] for each in WORST_FIRST}
    about = "about " if "approximate" in report.lsn_note else ""
    at = f" at {about}LSN {report.lsn}" if report.lsn else ""
    if not report.tables:
        return "REFUSED: no table was compared, so nothing is proved"
    if report.business and not found["refused"]:
        return f"{_quality_sentence(report.business, report.tables)}{at}"
    if found["refused"]:
        return _refused(report, found, at)
    if found["different"]:
        return _different(report, found["different"], at)
    if moved := found["moved on"]:
        return (
            f"THE SOURCE MOVED ON: {counted(sum(t.changed_since for t in moved), 'row')} changed there after the export, in "
            f"{_out_of(moved, report)}; nothing is wrong with the target, and every other row is the same on both sides{at}"
        )
    return f"{_equal(report.tables)}{at}"


def says(report: Report) -> str:
    """What follows from the verdict."""
    moved = sum(table.changed_since for table in report.tables)
    states = {state(table) for table in report.tables}
    if "refused" in states or not states:
        return (
            "A table that could not be compared may be right or wrong. The reason stands beside it: remove it and verify again "
            "before anybody relies on the target."
        )
    if "different" in states:
        besides = (
            f" Besides, {counted(moved, 'row')} changed in the source after the export; that is no fault of the target."
            if moved
            else ""
        )
        return (
            "The target must not stand in for the source yet: reports built on the tables named here can show other figures. "
            f"Correct the causes named below, migrate these tables again, and verify again.{besides}"
        )
    if "moved on" in states:
        return (
            "The target holds what the export read. The rows counted here were inserted, updated or deleted in the source "
            "afterwards, and arrive when their tables are migrated again. Until then the two are not the same, so the command "
            "still answers “different”."
        )
    whole = all(depth(table) == "cells" and not table.selection for table in report.tables)
    if whole:
        return "Every row and every column of these tables has the same value on both sides, duplicates and NULLs included."
    return "What was compared is the same on both sides; it was not everything, as the points below say."


def does_not_say(report: Report) -> tuple[str, ...]:
    """What a reader might take from the verdict, and must not."""
    looked_at = [table for table in report.tables if state(table) != "refused"]
    depths = {depth(table) for table in looked_at}
    limits = []
    if "row counts" in depths:
        limits.append("Of some tables only the rows were counted: equal counts say nothing of the values in them.")
    if "definitions" in depths:
        limits.append("Of some tables only the definitions were compared: no row of them was read.")
    if any(table.selection for table in looked_at):
        limits.append("Only the rows named under “How it was compared” were looked at.")
    if report.lsn:
        limits.append(f"What the source changed after LSN {report.lsn} is not in it.")
    limits.append(
        "Only the tables listed here were compared: no functions, sequences, users or rights, and no other tables or views."
    )
    if report.left_out:
        limits.append(
            f"{counted(len(report.left_out), 'object')} of the source stay behind, as listed under “What stays behind”."
        )
    if "cells" in depths:
        limits.append(
            "Equal means equal by value: 1.10 is 1.1, the float −0 is 0, NaN is NaN, and char(n) counts without its padding. "
            "Texts are equal only if they are the same byte by byte."
        )
    if any(depth(table) == "cells" and not table.fetched and table.rows_source for table in looked_at):
        limits.append(
            "Equal tables were told by sums of 64-bit digests over all their rows. That rows differ and their sums agree "
            "would be an accident with a chance of about one in 2⁶⁴ (1.8 × 10¹⁹)."
        )
    return tuple(limits)


def state(table: TableReport) -> State:
    """The table's verdict, where a source that moved on is told from a target that is wrong."""
    if table.verdict != "different":
        return table.verdict
    wrong = table.missing or table.extra or table.changed or errors(table) or any(table.changed_cells.values())
    return "moved on" if table.changed_since and not wrong else "different"


def worst(report: Report) -> State:
    """The worst state of its tables; a verification of nothing proves nothing."""
    states = {state(table) for table in report.tables}
    return next((each for each in WORST_FIRST if each in states), "refused")


def depth(table: TableReport) -> Depth:
    """How deeply it was compared."""
    if table.digest or table.changed_cells:
        return "cells"
    return "definitions" if table.rows_source is None else "row counts"


def errors(table: TableReport) -> int:
    """Findings of its definition that make it different."""
    return sum(finding.severity == "error" for finding in table.schema_findings)


def counted(number: int, noun: str) -> str:
    """For example "1 row", "1,204 rows"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def named(side: str) -> str:
    """A side as people call it."""
    if side in ADAPTERS:
        return engine(side).title
    return "the manifest" if side == "manifest" else side


def percent(share: float) -> str:
    """For example "4.8%"; what is neither none nor all is not rounded to it."""
    if 0 < share < 0.001:
        return "under 0.1%"
    if 0.999 < share < 1:
        return "over 99.9%"
    return f"{share:.1%}".replace(".0%", "%")


def wrong_rows(tables: Sequence[TableReport]) -> tuple[str, ...]:
    """Rows that differ through no change of the source, by kind; empty where there are none."""
    kinds = {"changed": "changed", "missing": "missing in the target", "extra": "only in the target"}
    counts = {words: sum(getattr(table, name) for table in tables) for name, words in kinds.items()}
    copies = {
        kinds["missing"]: sum(table.copies.source for table in tables),
        kinds["extra"]: sum(table.copies.target for table in tables),
    }
    return tuple(
        f"{counted(count, 'row')} {words}{_copies(copies.get(words, 0), count)}"
        for words, count in counts.items()
        if count
    )


def _copies(copies: int, of: int) -> str:
    """Rows that are not wrong by what they hold, but by being there again."""
    if not copies:
        return ""
    which = "" if copies == of else f"{copies:,} of them "
    return f" ({which}there more than once)"


def _quality_sentence(business: Business, tables: Sequence[TableReport]) -> str:
    rules = {
        word: sum(rule.verdict == word for rule in business.rules) for word in ("pass", "warn", "fail", "not checked")
    }
    figures = [figure for table in business.figures.tables for figure in table.figures]
    differing = sum(not figure.equal for figure in figures)
    of = counted(len(tables), "table")
    rest = [
        f"{counted(rules['warn'], 'expectation')} not met" if rules["warn"] else "",
        f"{counted(rules['not checked'], 'rule')} not checked, for the reasons above" if rules["not checked"] else "",
    ]
    behind = "".join(f"; {words}" for words in rest if words)
    if any(table.verdict != "equal" for table in tables):
        broken = (
            f"{counted(rules['fail'], 'rule')} broken, {differing:,} of {counted(len(figures), 'figure')} different"
        )
        return f"DIFFERENT: in {of} {broken}{behind}"
    word = "EQUAL IN WHAT WAS CHECKED" if behind else "EQUAL"
    kept = f"{counted(rules['pass'], 'rule')} kept and {counted(len(figures), 'figure')} the same on both sides"
    return f"{word}: in {of} {kept}{behind}"


def _refused(report: Report, found: Mapping[State, Sequence[TableReport]], at: str) -> str:
    named: dict[State, str] = {"different": "different", "moved on": "changed in the source since", "equal": "equal"}
    rest = " and ".join(f"{len(found[each]):,} {words}" for each, words in named.items() if found[each])
    them = _one_or_more(found["refused"], "it", "them")
    words = f"REFUSED: {_out_of(found['refused'], report)} could not be compared, so nothing is proved of {them}"
    return f"{words}; of the others {rest}{at}" if rest else words


def _different(report: Report, different: Sequence[TableReport], at: str) -> str:
    rows, definitions = wrong_rows(different), sum(errors(table) for table in different)
    if not rows and definitions:
        are = _one_or_more(different, "is not defined as it", "are not defined as they")
        words = f"DIFFERENT: {_out_of(different, report)} {are} should be ({counted(definitions, 'error')})"
        compared = all(depth(table) == "cells" for table in different)
        return (
            f"{words}, while the columns that both sides have hold the same values{at}" if compared else f"{words}{at}"
        )
    parts = [*rows, f"{counted(definitions, 'error')} in their definitions"] if definitions else rows
    do = _one_or_more(different, "does", "do")
    words = f"DIFFERENT: {_out_of(different, report)} {do} not hold the same rows on both sides{at}"
    return f"{words}: {', '.join(parts)}" if parts else words


def _equal(tables: Sequence[TableReport]) -> str:
    depths = {depth(table) for table in tables}
    number = counted(len(tables), "table")
    counts = [table.rows_source or 0 for table in tables]
    rows, hold = counted(sum(counts), "row"), "holds" if sum(counts) == 1 else "hold"
    if depths == {"definitions"}:
        are = _one_or_more(tables, "is", "are")
        return f"EQUAL DEFINITIONS, ROWS NOT COMPARED: {number} {are} defined alike on both sides"
    if depths == {"row counts"}:
        have = _one_or_more(tables, "has", "have")
        return f"EQUAL COUNTS, VALUES NOT COMPARED: {number} {have} {rows} on both sides"
    if depths != {"cells"} or any(table.selection for table in tables):
        return f"EQUAL IN WHAT WAS COMPARED: {rows} chosen from {number} {hold} the same values on both sides"
    return f"EQUAL: {rows} in {number} {hold} the same values on both sides"


def _out_of(some: Sequence[TableReport], report: Report) -> str:
    return f"{len(some):,} of {counted(len(report.tables), 'table')}"


def _one_or_more(tables: Sequence[TableReport], one: str, more: str) -> str:
    return one if len(tables) == 1 else more
