"""Does the source's data obey its own rules? Violations of declared constraints are counted, and its figures are checked to add up.

Only declared rules: a range that was derived from the rows is never violated by them. What no constraint says (that days and
months add up alike, that nothing ends before it began) the profile's queries ask (`tests.queries`): a row of one is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import psycopg2

from helpers.engines.conditions import IsNull
from helpers.engines.postgres.quality import PostgresAnswers
from helpers.errors import SettingsError
from helpers.frames import frame
from helpers.model import masks
from helpers.model.catalog import Table
from helpers.pipelines.questions import read_lsn
from helpers.platforms import postgres
from helpers.platforms.faults import postgres as faults
from helpers.progress import Progress
from helpers.settings import Settings
from helpers.source import snapshot as snapshots
from helpers.source.asking import asking
from helpers.source.catalog import read_catalog
from helpers.verify import data_quality
from helpers.verify.data_quality.rules.declared import declared
from helpers.verify.data_quality.rules.result import RuleResult
from helpers.verify.data_quality.rules.rule import Breaks, Rule

EXAMPLES = 3


@dataclass(frozen=True)
class CheckResult:
    """One of the profile's queries, and the rows that it found.

    Attributes:
        words: what is checked, as the file's first line says it.
        rows: how many are wrong; `examples` the first of them.
    """

    name: str
    words: str
    rows: int
    examples: tuple[dict[str, str | None], ...] = ()


@dataclass(frozen=True)
class SourceQuality:
    """What was found.

    Attributes:
        lsn: of the source, about that of the snapshot that was read.
        tables: that were looked at.
        rules: what the source declares.
        checks: what the profile's queries ask.
    """

    lsn: str
    tables: tuple[str, ...]
    rules: tuple[RuleResult, ...]
    checks: tuple[CheckResult, ...]

    @property
    def kept(self) -> bool:
        """Whether nothing is broken; of no rule at all that cannot be said."""
        return bool(self.rules) and data_quality.kept(self.rules) and not any(each.rows for each in self.checks)

    def frame(self) -> pd.DataFrame:
        """A row a table, then a row a query."""
        rows = []
        for table in self.tables:
            own = [result.verdict for result in self.rules if result.rule.table == table]
            counted = ", ".join(f"{own.count(verdict)} {verdict}" for verdict in dict.fromkeys(own))
            rows.append(
                (table, "broken" if "fail" in own else "kept" if own else "no rule", f"rules: {counted or 'none'}")
            )
        rows += [(each.name, "broken" if each.rows else "kept", f"{each.rows:,} wrong rows") for each in self.checks]
        return frame(rows, "name", "verdict", "found")

    def as_dict(self) -> dict[str, Any]:
        """For the report."""
        return {
            "verdict": "kept" if self.kept else "broken", "lsn": self.lsn, "tables": list(self.tables),
            "rules": [result.as_dict() for result in self.rules], "checks": [vars(each) for each in self.checks],
        }  # fmt: skip


def check(settings: Settings, *, tables: tuple[str, ...] = (), progress: Progress | None = None) -> SourceQuality:
    """Counts, in one snapshot, the rows that break a rule of the source.

    Args:
        tables: globs over the tables whose rules are counted; empty for all. The queries are asked in any case.

    Raises:
        SettingsError: the folder of the queries has none.
        SourceRefused: the source does not let us read, or lacks what a query asks for.
        ConnectionFailed: no answer, or no entry.
    """
    source = settings.source
    with asking(source, "check the data of the source") as cursor:
        catalog = read_catalog(cursor, schemas=source.schemas, described=settings.tables.choice)
        snapshots.lock(cursor, catalog.tables, timeout_seconds=settings.export.lock_timeout_seconds)
        chosen = catalog.tables
        if tables:
            chosen = read_catalog(
                cursor, schemas=source.schemas, tables=tables, described=settings.tables.choice
            ).tables
        engine = PostgresAnswers(
            cursor, {str(table): table for table in catalog.tables}, (), name=postgres.address(source)
        )
        wanted = {str(table) for table in chosen}
        found = [*declared(cursor, catalog.tables), *_not_null_since(cursor, catalog.tables)]
        rules = [rule for rule in found if rule.table in wanted]
        results = data_quality.check_alone(engine, rules, catalog.tables, progress=progress)
        # All rows are counted, as they are; but what is omitted or masked must stand in no evidence.
        hiding = {str(table) for table in catalog.tables if masks.hides(table, settings.tables)}
        results = tuple(replace(each, examples=()) if each.rule.table in hiding else each for each in results)
        checks = tuple(_asked(cursor, settings))
        return SourceQuality(read_lsn(cursor), tuple(map(str, chosen)), results, checks)


def queries(settings: Settings) -> tuple[Path, ...]:
    """The files of the profile's queries; none where it names no folder.

    Raises:
        SettingsError: the folder has none.
    """
    named = settings.tests.queries
    if named is None:
        return ()
    folder = settings.path(named)
    found = tuple(sorted(folder.glob("*.sql")))
    if not found:
        key = f"profiles.{settings.profile}.tests.queries"
        cure = "name a folder with .sql files, relative to migration.toml, or take the key away"
        raise SettingsError(f"read {key}", on=str(folder), why="it has no .sql file", next_step=cure)
    return found


def _not_null_since(cursor: Any, tables: Sequence[Table]) -> Iterator[Rule]:
    """NOT NULL that PostgreSQL holds for new rows alone: no promise to a target, and so no rule of a migration, but one here."""
    cursor.execute(
        "SELECT c.conrelid, a.attname FROM pg_constraint c "
        "JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1] "
        "WHERE c.contype = 'n' AND NOT c.convalidated ORDER BY 1, 2"
    )
    known = {table.oid: str(table) for table in tables}
    for relation, column in cursor.fetchall():
        if relation in known:
            words = f"{column} is never NULL, by a constraint that is not valid"
            yield Rule(known[relation], column, "not-null", True, (column,), words, Breaks(IsNull(column)))


def _asked(cursor: Any, settings: Settings) -> Iterator[CheckResult]:
    for file in queries(settings):
        text = file.read_text(encoding="utf-8")
        words = text.partition("\n")[0].removeprefix("--").strip()
        try:
            cursor.execute(text)
        except psycopg2.Error as error:
            where = f"{file.name} in {postgres.address(settings.source)}"
            raise faults.told(error, "check the data of the source", on=where) from None
        columns = [column.name for column in cursor.description]
        yield CheckResult(file.stem, words, cursor.rowcount, _examples(columns, cursor.fetchmany(EXAMPLES)))


def _examples(columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> tuple[dict[str, str | None], ...]:
    texts = ([None if value is None else str(value) for value in row] for row in rows)
    return tuple(dict(zip(columns, row, strict=True)) for row in texts)
