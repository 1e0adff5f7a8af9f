"""What a certification found, as it is kept, shown and entered in the evidence of a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Literal

from pydantic import Field

from helpers.finding import Finding
from helpers.model.stored import Stored
from helpers.platforms import statements

Verdict = Literal["ok", "wrong", "not checked"]

VERDICTS: Mapping[str, Verdict] = {"stop": "wrong", "warning": "ok", "unchecked": "not checked", "note": "ok"}


class Answer(Stored):
    """One question and what became of it, as `runbook doctor --json` says a finding."""

    check: str
    verdict: Verdict
    found: str
    needed: str = ""
    cure: str = ""

    def as_finding(self) -> Finding:
        """As the doctor has it."""
        severity = {"wrong": "stop", "not checked": "unchecked", "ok": "note"}[self.verdict]
        return Finding(severity, self.check, self.found, self.cure, self.needed)  # type: ignore[arg-type]


class Value(Stored):
    """A golden value that the engine answered otherwise.

    Attributes:
        row: the key's piece of the canonical form, or the key.
        golden: PostgreSQL's.
        found: the engine's; None for NULL, or for a row that it lacks.
        by: which statements made the difference.
    """

    table: str
    row: str
    column: str
    golden: str | None
    found: str | None
    by: str


class GoldenTable(Stored):
    """What became of one golden table.

    Attributes:
        digest: PostgreSQL's; `found` is the engine's over the rows that were loaded.
        forms: rows whose canonical form was compared piece by piece.
    """

    name: str
    rows: int
    columns: tuple[str, ...]
    verdict: Verdict
    digest: str
    found: str
    forms: int


class Shape(Stored):
    """The statements that begin alike."""

    begins: str
    sent: int
    words: tuple[str, ...]
    sha256: str


class Certification(Stored):
    """The answer of one engine, as of one moment.

    Attributes:
        target: the adapter's name; `address` is the server's, with its schema.
        stand_in: the program that answered in the engine's place; empty where it was itself.
        program: which code of it that was.
        product: digest of the SQL that the product generates; `settings` of the target's section.
        golden: the PostgreSQL that made the golden values.
        finished: in UTC, ISO 8601.
        scratch: the schema in which everything lay.
    """

    version: Literal[1] = 1
    target: str
    address: str
    stand_in: str = ""
    program: str = ""
    engine: str
    engine_version: str
    where: str = ""
    role: str = ""
    drivers: str = ""
    parameters: dict[str, str] = Field(default_factory=dict)
    product: str
    settings: str
    golden: str
    scratch: str
    finished: str
    seconds: float
    cost: str = ""
    answers: tuple[Answer, ...] = ()
    tables: tuple[GoldenTable, ...] = ()
    values: tuple[Value, ...] = ()
    shapes: tuple[Shape, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether nothing was answered otherwise than it should be."""
        return bool(self.tables) and all(answer.verdict != "wrong" for answer in self.answers)

    @property
    def wrong(self) -> tuple[Answer, ...]:
        """What was answered otherwise."""
        return tuple(answer for answer in self.answers if answer.verdict == "wrong")

    @property
    def days(self) -> float:
        """How old it is."""
        return (datetime.now(UTC) - datetime.fromisoformat(self.finished)).total_seconds() / 86400

    @property
    def summary(self) -> str:
        """In one sentence."""
        named = f"{self.stand_in}, a stand-in for {self.engine}" if self.stand_in else self.engine
        rows = sum(table.rows for table in self.tables)
        unasked = sum(answer.verdict == "not checked" for answer in self.answers)
        verdict = "certified" if self.passed else f"NOT CERTIFIED, {len(self.wrong)} answers are wrong"
        return (
            f"{verdict}: {named} {self.engine_version}, {rows:,} golden rows in {len(self.tables)} tables, "
            f"{sum(shape.sent for shape in self.shapes):,} statements in {self.seconds:.0f} s, at {self.finished[:16].replace('T', ' ')} UTC"
            + (f"; {unasked} questions could not be asked" if unasked else "")
        )

    def as_dict(self) -> dict[str, Any]:
        """For `--json` and a run's ledger: all but the values and the statements."""
        kept = self.model_dump(exclude={"parameters", "answers", "values", "shapes", "tables", "version"})
        return kept | {"verdict": "certified" if self.passed else "not certified"}


def answer_of(finding: Finding) -> Answer:
    """A finding as it is kept."""
    return Answer(
        check=finding.on,
        verdict=VERDICTS[finding.severity],
        found=finding.what,
        needed=finding.needed,
        cure=finding.fix,
    )


def shapes_of(sent: Iterable[str]) -> tuple[Shape, ...]:
    """Statements, grouped by how they begin."""
    counts: dict[str, int] = {}
    words: dict[str, set[str]] = {}
    for sql in sent:
        begins, found = statements.shape(sql)
        counts[begins] = counts.get(begins, 0) + 1
        words.setdefault(begins, set()).update(found)
    return tuple(
        Shape(
            begins=begins, sent=counts[begins], words=tuple(sorted(words[begins])),
            sha256=sha256(" ".join(sorted(words[begins])).encode()).hexdigest(),
        )
        for begins in sorted(counts)
    )  # fmt: skip
