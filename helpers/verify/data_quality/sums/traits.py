"""In what two engines compute differently, whatever the data: found by asking each the same small questions.

A report that was moved as it stood keeps its text and changes its numbers where one of these differs.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from helpers.engines.answers import Answers


@dataclass(frozen=True)
class Trait:
    """One question and both answers.

    Attributes:
        means: what follows for a report where the answers differ.
    """

    question: str
    source: str
    target: str
    means: str

    @property
    def differs(self) -> bool:
        """Whether the engines disagree; 2.50 and 2.5 are no disagreement."""
        return _value(self.source) != _value(self.target)

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "question": self.question,
            "source": self.source,
            "target": self.target,
            "differs": self.differs,
            "means": self.means if self.differs else "",
        }


_ASKED: tuple[tuple[str, str, str], ...] = (
    ("7 / 2 of whole numbers", "7 / 2", "a ratio of two counts keeps or loses its fraction"),
    (
        "AVG of the whole numbers 1 and 2",
        "(SELECT AVG(x) FROM (SELECT CAST(1 AS INTEGER) AS x UNION ALL SELECT 2) AS v)",
        "an average of whole numbers keeps or loses its fraction",
    ),
    ("ROUND(2.5) of a decimal", "ROUND(CAST('2.5' AS DECIMAL(4,2)))", "amounts of half a unit round another way"),
    ("ROUND(2.5) of a float", "ROUND(CAST('2.5' AS {double}))", "floats of half a unit round another way"),
    (
        "2.5 of a decimal as a whole number",
        "CAST(CAST('2.5' AS DECIMAL(4,2)) AS INTEGER)",
        "a cast to a whole number rounds or cuts off",
    ),
)
_NULLS = ("NULL in ascending order", "the first and last rows of a ranking change")
_ORDERED = (
    "SELECT CASE WHEN x IS NULL THEN 'first' ELSE 'last' END AS ANSWER "
    "FROM (SELECT CAST(1 AS INTEGER) AS x UNION ALL SELECT NULL) AS v ORDER BY x LIMIT 1"
)
_ZONES = ("time zone of a report that sets none", "instants near midnight fall on another day, and into another month")


def traits(source: Answers, target: Answers, zones: tuple[str | None, str | None]) -> tuple[Trait, ...]:
    """Asks both engines; nothing where the target only holds files.

    Args:
        zones: the time zone in which each side's reports run, None where that cannot be told.
    """
    if not target.computes:
        return ()
    asked = [(question, means) for question, _, means in _ASKED] + [_NULLS]
    answers = zip(asked, _answers(source), _answers(target), strict=True)
    found = [Trait(question, mine, theirs, means) for (question, means), mine, theirs in answers]
    mine, theirs = zones
    if mine is not None and theirs is not None:
        found.append(Trait(_ZONES[0], mine, theirs, _ZONES[1]))
    return tuple(found)


def _answers(engine: Answers) -> list[str]:
    texts = ", ".join(
        f"{engine.sql.text(sql.format(double=engine.sql.double))} AS A{n}" for n, (_, sql, _) in enumerate(_ASKED)
    )
    doing = "ask how the engine computes"
    (answers,), (order,) = engine.rows(f"SELECT {texts}", doing=doing), engine.rows(_ORDERED, doing=doing)
    return [str(answer) for answer in (*answers, *order)]


def _value(answer: str) -> Decimal | str:
    try:
        return Decimal(answer)
    except InvalidOperation:
        return answer
