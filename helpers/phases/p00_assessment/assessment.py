"""Phase 0 of the checklist, as the steps of `runbooks/00_assessment.ipynb`: the source as it is, and what is prepared.

Each check measures inside its own step, shows what it has found, and gives a gate's token; the cell behind it shows what was
measured. Steps that the chosen option does not have are passed over and not recorded.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import pandas as pd
from IPython.display import display

from helpers import checklist
from helpers.archive import recovery_proof
from helpers.archive.recovery_proof import Recovery
from helpers.assessment import access, growth, integrations, inventory, network, security
from helpers.assessment.growth import Growth
from helpers.assessment.integrations import Integrations
from helpers.assessment.inventory import Inventory
from helpers.assessment.network import Reached
from helpers.assessment.paths import Facts
from helpers.assessment.security import Security
from helpers.errors import UsageError
from helpers.finding import Finding
from helpers.ledger.gate import Token
from helpers.model import names
from helpers.phases.common.phase import Phase, table
from helpers.pipelines import query_times
from helpers.pipelines.query_times import Timing
from helpers.progress import progress
from helpers.settings import Sla
from helpers.source import left_out
from helpers.source import survey as assess
from helpers.source.census import TableCensus

PHASE = "00_assessment"
INTEGRATIONS = "integrations"
"""Key of the result of s00-integrations: the report's path within the run, which phase 40 reads."""


class Assessment(Phase):
    """One walk through the phase.

    Args:
        profile: of migration.toml.
        option: the migration path: "A", "B" or "C".
        apply: whether anything is written for the proof: an object, a scratch schema, a backup.

    Raises:
        UsageError: there is no such option.
    """

    ACTS_ON_LOCAL = True

    def __init__(self, profile: str, option: str, *, apply: bool | None) -> None:
        if option not in ("A", "B", "C"):
            raise UsageError(
                "choose a path", on=f"option {option!r}", why="there are A, B and C", next_step="give one of them"
            )
        super().__init__(profile, apply=apply)
        self.option = option
        self.tokens: dict[str, Token] = {}
        self._own = {step.id for step in checklist.of_option(option)}
        self._inventory: Inventory | None = None
        self._census: tuple[TableCensus, ...] = ()
        self._growth: tuple[Growth, ...] = ()
        self._integrations: Integrations | None = None
        self._timings: tuple[Timing, ...] = ()
        self._security: Security | None = None
        self._reached: tuple[Reached, ...] = ()
        self._recovery: Recovery | None = None
        self._answering: dict[str, bool] = {}

    def check_usage(self) -> Token:
        """Which objects the source has, and which of them are busy."""

        def look() -> Iterable[Finding]:
            self._inventory = inventory.take(self.settings.source)
            return inventory.findings(self._inventory)

        return self.checked("s00-usage", look)

    def objects(self) -> pd.DataFrame:
        """How many objects of each kind."""
        found = _measured(self._inventory).objects
        return pd.DataFrame({"kind": list(found), "objects": list(found.values())}).set_index("kind")

    def types(self) -> pd.DataFrame:
        """How many columns of each type."""
        found = _measured(self._inventory).types
        return pd.DataFrame({"type": list(found), "columns": list(found.values())}).set_index("type")

    def hot(self) -> pd.DataFrame:
        """The busiest tables, by the server's own counters."""
        found = _measured(self._inventory).hot
        return pd.DataFrame(
            [(str(r), r.kind, r.writes, r.reads) for r in found], columns=["table", "kind", "rows written", "scans"]
        ).set_index("table")

    def check_volume(self) -> Token:
        """Every row counted, every value asked whether a target can hold it; and how fast tables grow."""

        def look() -> Iterable[Finding]:
            with progress("census") as report:
                stock = assess.census(self.settings, progress=report)
                self._census = stock.tables
            self._growth = growth.measure(self.settings.source)
            for each in self._census:
                for why in each.refused:
                    yield Finding(
                        "warning",
                        str(each.table),
                        f"the export would refuse it: {why}",
                        "; ".join(each.cures),
                    )
            by_target = names.of_profile(self.settings, [each.table for each in self._census])
            for where, refusal in ((where, each) for where, found in by_target.items() for each in found):
                yield Finding("warning", refusal.on, f"{where} would refuse it: {refusal.why}", refusal.cure)
            rows = sum(each.rows for each in self._census)
            yield Finding("note", "all tables", f"{rows:,} rows in {len(self._census)} tables")
            for on, why in left_out.grouped(stock.left_out):
                yield Finding("note", on, f"would stay behind: {why}")

        return self.checked("s00-volume", look)

    def volume(self) -> pd.DataFrame:
        """Rows and bytes of each table."""
        sizes = {str(r): (r.bytes, r.index_bytes) for r in _measured(self._inventory).relations}
        return pd.DataFrame(
            [
                (str(each.table), each.rows, *(round(size / 1e6, 2) for size in sizes.get(str(each.table), (0, 0))))
                for each in self._census
            ],
            columns=["table", "rows", "MB", "of these in indexes"],
        ).set_index("table")

    def growth(self) -> pd.DataFrame:
        """How tables grew, by their own dates."""
        return pd.DataFrame(
            [(str(g), g.by, g.first, g.last, g.last_year, g.year_before) for g in self._growth],
            columns=["table", "by", "first day", "last day", "rows of the last 365 days", "of the 365 before"],
        ).set_index("table")

    def check_integrations(self) -> Token:
        """Who and what uses the source; kept for phase 40 as the list of downstream integrations."""
        kept: dict[str, Any] = {}

        def look() -> Iterable[Finding]:
            self._integrations = integrations.find(self.settings.source)
            kept[INTEGRATIONS] = self.report(INTEGRATIONS, [each.as_dict() for each in self._integrations.found])
            kept["integrations_found"] = len(self._integrations.found)
            return integrations.findings(self._integrations)

        return self.checked("s00-integrations", look, result=kept)

    def integrations(self) -> pd.DataFrame:
        """The list itself."""
        found = _measured(self._integrations).found
        return pd.DataFrame(
            [(i.name, i.kind, i.detail, ", ".join(i.objects), i.active) for i in found],
            columns=["name", "kind", "detail", "uses", "active"],
        ).set_index("name")

    def check_performance(self) -> Token:
        """The legacy aggregation's own queries, timed, beside what was promised."""
        sla = self.settings.values.sla

        def look() -> Iterable[Finding]:
            self._timings = query_times.measure(self.settings, sla or Sla())
            kept["seconds"] = {each.name: round(each.slowest, 4) for each in self._timings}
            return query_times.findings(self._timings, sla)

        kept: dict[str, Any] = {}
        return self.checked("s00-performance", look, result=kept)

    def baseline(self) -> pd.DataFrame:
        """Each query's times; the slowest is held against the promise."""
        return pd.DataFrame(
            [
                (
                    t.name,
                    t.of,
                    t.rows,
                    len(t.seconds),
                    round(min(t.seconds, default=0), 3),
                    round(t.slowest, 3),
                    t.limit or "none",
                )
                for t in self._timings
            ],
            columns=["query", "of", "rows", "runs", "fastest, s", "slowest, s", "promised, s"],
        ).set_index("query")

    def check_security(self) -> Token:
        """How the source is protected, beside what the profile asks for."""

        def look() -> Iterable[Finding]:
            self._security = security.look(self.settings.source)
            return security.findings(self._security, self.settings.values.compliance)

        return self.checked("s00-security", look)

    def check_aws(self) -> Token:
        """The stage is written, read and deleted; the account answers."""

        def look() -> Iterable[Finding]:
            yield from access.of_stage(self.settings, write=self.apply)
            if self.option != "C":
                yield from access.of_account(self.settings.values.aws)

        return self.checked("s00-aws", look)

    def check_snowflake(self) -> Token | str:
        """The account lets us make what loading makes."""
        target, other = self.settings.values.snowflake, self.settings.values.databricks

        def look() -> Iterable[Finding]:
            if target is None:
                return list(access.of_absent("snowflake", other is not None))
            stand_in = self.settings.values.stack == "local"
            return self._answers("snowflake", access.of_snowflake(target, write=self.apply, stand_in=stand_in))

        return self.checked_if_chosen("s00-snowflake", look)

    def check_databricks(self) -> Token | str:
        """The Spark Connect server answers."""
        target, other = self.settings.values.databricks, self.settings.values.snowflake

        def look() -> Iterable[Finding]:
            if target is None:
                return list(access.of_absent("databricks", other is not None))
            return self._answers("databricks", access.of_databricks(target))

        return self.checked_if_chosen("s00-databricks", look)

    def check_network(self) -> Token:
        """Every host and port that the profile names is reached once."""

        def look() -> Iterable[Finding]:
            self._reached = network.reach(network.endpoints(self.settings))
            return network.findings(self._reached)

        return self.checked("s00-network", look)

    def network(self) -> pd.DataFrame:
        """How it went."""
        return pd.DataFrame(
            [
                (str(r.endpoint), r.milliseconds and round(r.milliseconds, 1), f"{r.expires:%Y-%m-%d}" if r.expires else "no TLS", r.why_not)
                for r in self._reached
            ],
            columns=["endpoint", "ms to connect", "certificate ends", "why not"],
        ).set_index("endpoint")  # fmt: skip

    def check_backup(self) -> Token:
        """A backup is made, restored into a scratch database, compared cell by cell, and removed again."""
        kept: dict[str, Any] = {}

        def look() -> Iterable[Finding]:
            with progress("backup and restore") as report:
                self._recovery = found = recovery_proof.prove(self.settings, progress=report)
            kept.update(bytes=found.bytes, sha256=found.sha256)
            if found.report:
                kept["lsn"] = found.report.lsn
                self.report("verify-restored", found.report.as_dict())
            return recovery_proof.findings(found)

        return self.checked("s00-backup", look, acted=True, result=kept)

    def backup(self) -> pd.DataFrame:
        """Every table that was restored, and how it compares."""
        report = self._recovery.report if self._recovery else None
        return pd.DataFrame(
            [
                (str(t), t.verdict, t.rows_source, t.rows_target, t.differences)
                for t in (report.tables if report else ())
            ],
            columns=["table", "restored", "source rows", "restored rows", "differences"],
        ).set_index("table")

    def backup_figures(self) -> str:
        """Size and times of the backup, in a sentence."""
        found = self._recovery
        if found is None or found.report is None:
            return "no backup was made: this is a rehearsal"
        return f"{found.bytes / 1e6:,.2f} MB dumped in {found.dump_seconds:.1f} s, restored in {found.restore_seconds:.1f} s"

    def gates(self) -> pd.DataFrame:
        """What was checked, and with what answer."""
        titles = {step.id: step.title for step in checklist.steps()}
        return pd.DataFrame(
            [
                (name, titles.get(name, name), "rehearsed" if t.rehearsed else "passed")
                for name, t in self.tokens.items()
            ],
            columns=["gate", "what", "answer"],
        ).set_index("gate")

    def facts(self) -> Facts:
        """What the path's choice rests on.

        Raises:
            UsageError: a check above has not run in this session.
        """
        shares = [each.slowest / each.limit for each in self._timings if each.limit]
        dated = [each for each in self._growth if each.year_before]
        return Facts(
            bytes=_measured(self._inventory).bytes,
            last_year=sum(each.last_year for each in dated) if dated else None,
            year_before=sum(each.year_before for each in dated) if dated else None,
            slowest_share=max(shares, default=None),
            integrations=len(_measured(self._integrations).found),
            targets=sum(self._answering.values()) if self.option != "C" else None,
            today=datetime.now(UTC).date(),
        )

    def checked(
        self,
        name: str,
        look: Callable[[], Iterable[Finding]],
        *,
        acted: bool = False,
        result: Mapping[str, Any] | None = None,
    ) -> Token:
        """As `check`, and shows the findings first, which a closed gate would only quote."""

        def shown() -> list[Finding]:
            found = list(look())
            display(table(found))  # type: ignore[no-untyped-call]
            return found

        self.tokens[name] = self.check(
            name, shown, inputs={"profile": self.settings.profile}, acted=acted, result=result
        )
        return self.tokens[name]

    def checked_if_chosen(self, name: str, look: Callable[[], Iterable[Finding]]) -> Token | str:
        """As `checked`, for a step that not every option has."""
        return self.checked(name, look) if name in self._own else f"not asked: option {self.option} has no {name}"

    def _answers(self, what: str, found: Iterable[Finding]) -> list[Finding]:
        listed = list(found)
        self._answering[what] = all(each.severity != "stop" for each in listed)
        return listed


def downstream(phase: Phase) -> list[dict[str, Any]] | None:
    """The list of downstream integrations that this run's assessment has kept; None where there is none.

    Args:
        phase: a later phase of the same run.
    """
    from helpers.ledger.folders import run_folder

    path = (phase.run.view()["s00-integrations"].result or {}).get(INTEGRATIONS)
    if path is None:
        return None
    found: list[dict[str, Any]] = json.loads((run_folder() / path).read_text(encoding="utf-8"))
    return found


def _measured(value: Any) -> Any:
    if value is None:
        raise UsageError(
            "go on",
            on=f"runbook {PHASE}",
            why="a check above has not run in this session",
            next_step="run the cells from the top",
        )
    return value
