"""Phase 0 of the checklist, as the steps of `runbooks/00_assessment.ipynb`: the source as it is, and what is prepared.

Each check measures inside its own step, shows what it has found, and gives a gate's token; the cell behind it shows what was
measured. Steps that the chosen option does not have are skipped and not recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from helpers import checklist, doctor
from helpers.archive import recovery
from helpers.archive.recovery import Recovery
from helpers.assessment import code, growth, hybrid, integrations, inventory, paths
from helpers.assessment.code import Listed
from helpers.assessment.growth import Growth
from helpers.assessment.integrations import Integrations
from helpers.assessment.inventory import Inventory
from helpers.assessment.paths import Facts
from helpers.doctor import network, trial
from helpers.doctor.network import Reached
from helpers.errors import BackupError, SourceFailed, UsageError
from helpers.finding import Finding, failed, note, stop, warning
from helpers.frames import frame
from helpers.ledger.folders import report_path
from helpers.ledger.gate import Token
from helpers.load import beforehand
from helpers.phases.common.phase import Phase, part_of
from helpers.pipelines import query_times
from helpers.pipelines.query_times import Timing
from helpers.platforms.scratch_folder import scratch_folder
from helpers.progress import progress
from helpers.settings import Sla
from helpers.source import left_out
from helpers.source import survey as assess
from helpers.source.census import TableCensus

INTEGRATIONS = "integrations"
"""Key of the result of s00-integrations: the report's path within the run, which phase 40 reads."""


EXAMINED = {
    "s00-security": ("source", "security", "people"),
    "s00-aws": ("stage", "archive", "evidence", "aws", "terraform", "dns", "alerts"),
    "s00-snowflake": ("snowflake",),
    "s00-databricks": ("databricks",),
    "s00-network": ("network", "files", "this machine", "airflow", "kafka", "dbt"),
}
"""Which systems of `runbook doctor` each box shows: all of them are shown once."""

_OF_A_TARGET = frozenset({"aws", "terraform", "dns", "alerts"})
"""What the path that keeps the legacy pipeline has no use for."""


class Assessment(Phase):
    """One walk through the phase; with `apply`, an object, a scratch schema and a backup are made for the proof, and removed.

    See `Phase` for what it takes and raises.
    """

    ACTS_ON_LOCAL = True

    def __init__(self, profile: str, option: str, *, apply: bool | None) -> None:
        super().__init__(profile, option, apply=apply)
        self.tokens: dict[str, Token] = {}
        self._inventory: Inventory | None = None
        self._code: Listed | None = None
        self._census: tuple[TableCensus, ...] = ()
        self._growth: tuple[Growth, ...] = ()
        self._integrations: Integrations | None = None
        self._timings: tuple[Timing, ...] = ()
        self._reached: tuple[Reached, ...] = ()
        self._recovery: Recovery | None = None
        self._answering: dict[str, bool] = {}

    def check_usage(self) -> Token:
        """Which objects the source has, and which of them are busy."""

        kept: dict[str, Any] = {}

        def look() -> Iterable[Finding]:
            self._inventory = inventory.take(self.settings.source)
            yield from inventory.findings(self._inventory)
            self._code = code.write(code.take(self.settings), report_path("code"))
            kept["code"] = self.report("code", self._code.as_dict())
            yield from code.findings(self._code)

        return self.checked("s00-usage", look, result=kept)

    def objects(self) -> pd.DataFrame:
        """How many objects of each kind."""
        return frame(_measured(self._inventory).objects.items(), "kind", "objects")

    def code(self) -> pd.DataFrame:
        """Views, functions and triggers, and for which target there is a draft beside this notebook."""
        return frame(code.code_rows(_measured(self._code)), "object", "kind", "language", "drafts that nobody has run")

    def sequences(self) -> pd.DataFrame:
        """What makes keys in the target has to begin there."""
        return frame(code.sequence_rows(_measured(self._code)), "sequence", "of", "gives next", "step")

    def types(self) -> pd.DataFrame:
        """How many columns of each type."""
        return frame(_measured(self._inventory).types.items(), "type", "columns")

    def hot(self) -> pd.DataFrame:
        """The busiest tables, by the server's own counters."""
        found = _measured(self._inventory).hot
        return frame(((str(r), r.kind, r.writes, r.reads) for r in found), "table", "kind", "rows written", "scans")

    def check_volume(self) -> Token:
        """Every row counted, every value asked whether a target can hold it; and how fast tables grow."""

        def look() -> Iterable[Finding]:
            with progress("census") as report:
                stock = assess.census(self.settings, progress=report)
                self._census = stock.tables
            self._growth = growth.measure(self.settings)
            for each in self._census:
                for why in each.refused:
                    yield warning(str(each.table), f"the export would refuse it: {why}", "; ".join(each.cures))
            by_target = beforehand.refusals_by_target(self.settings, [each.table for each in self._census])
            for where, refusal in ((where, each) for where, found in by_target.items() for each in found):
                yield warning(refusal.on, f"{where} would refuse it: {refusal.why}", refusal.cure)
            rows = sum(each.rows for each in self._census)
            yield note("all tables", f"{rows:,} rows in {len(self._census)} tables")
            for on, why in left_out.grouped(stock.left_out):
                yield note(on, f"would stay behind: {why}")

        return self.checked("s00-volume", look)

    def volume(self) -> pd.DataFrame:
        """Rows and bytes of each table."""
        sizes = {str(r): (r.bytes, r.index_bytes) for r in _measured(self._inventory).relations}
        rows = (
            (str(each.table), each.rows, *(round(size / 1e6, 2) for size in sizes.get(str(each.table), (0, 0))))
            for each in self._census
        )
        return frame(rows, "table", "rows", "MB", "of these in indexes")

    def growth(self) -> pd.DataFrame:
        """How tables grew, by their own dates."""
        rows = ((str(g), g.by, g.first, g.last, g.last_year, g.year_before) for g in self._growth)
        days = ("first day", "last day", "rows of the last 365 days", "of the 365 before")
        return frame(rows, "table", "by", *days)

    def check_integrations(self) -> Token:
        """Who and what uses the source; kept for phase 40 as the list of downstream integrations."""
        kept: dict[str, Any] = {}

        def look() -> Iterable[Finding]:
            seen = integrations.find(self.settings.source)
            if self.option != "C":  # which moves nothing, and whose readers go on reading the source
                seen = integrations.without_ours(seen, hybrid.split(self.settings).move)
            self._integrations = seen
            kept[INTEGRATIONS] = self.report(INTEGRATIONS, [each.as_dict() for each in self._integrations.found])
            kept["integrations_found"] = len(self._integrations.found)
            return integrations.findings(self._integrations)

        return self.checked("s00-integrations", look, result=kept)

    def integrations(self) -> pd.DataFrame:
        """The list itself."""
        found = _measured(self._integrations).found
        rows = ((i.name, i.kind, i.detail, ", ".join(i.objects), i.active) for i in found)
        return frame(rows, "name", "kind", "detail", "uses", "active")

    def check_performance(self) -> Token:
        """The queries of today's pipeline, timed, beside what was promised."""
        sla = self.settings.values.sla

        def look() -> Iterable[Finding]:
            self._timings = query_times.measure(self.settings, sla or Sla())
            kept["seconds"] = {each.name: round(each.slowest, 4) for each in self._timings}
            return query_times.findings(self._timings, sla)

        kept: dict[str, Any] = {}
        return self.checked("s00-performance", look, result=kept)

    def baseline(self) -> pd.DataFrame:
        """Each query's times; the slowest is held against the promise."""
        rows = (
            (t.name, t.of, t.rows, len(t.seconds), round(t.fastest, 3), round(t.slowest, 3), t.limit or "none")
            for t in self._timings
        )
        return frame(rows, "query", "of", "rows", "runs", "fastest, s", "slowest, s", "promised, s")

    def check_security(self) -> Token:
        """How the source is protected, beside what the profile asks for."""

        return self.checked("s00-security", lambda: self._examined("s00-security"))

    def check_aws(self) -> Token:
        """The stage is written, read and deleted; the account answers."""

        def look() -> Iterable[Finding]:
            found = self._examined("s00-aws")
            yield from found
            if self.apply and self.settings.values.stage and all(each.severity != "stop" for each in found):
                yield from trial.write_stage(self.settings.stage)
            if self.option != "C" and self.settings.values.aws is None:
                fix = "add [profiles.X.aws] before phase 10"
                yield warning("AWS", "the profile names no account for the infrastructure", fix)

        return self.checked("s00-aws", look)

    @part_of("s00-snowflake")
    def check_snowflake(self) -> Token:
        """The account lets us make what loading makes."""
        target = self.settings.values.snowflake
        found = self._examined("s00-snowflake") if target else None
        if target and found and self.apply and all(each.severity != "stop" for each in found):
            found += trial.make_in_snowflake(target)
        return self._check_target("snowflake", found)

    @part_of("s00-databricks")
    def check_databricks(self) -> Token:
        """The Spark Connect server answers."""
        found = self._examined("s00-databricks") if self.settings.values.databricks else None
        return self._check_target("databricks", found)

    def check_network(self) -> Token:
        """Every host and port that the profile names is reached once."""

        def look() -> Iterable[Finding]:
            self._reached = network.reach(network.endpoints(self.settings))
            return self._examined("s00-network")

        return self.checked("s00-network", look)

    def network(self) -> pd.DataFrame:
        """How it went."""
        rows = []
        for r in self._reached:
            ends = f"{r.expires:%Y-%m-%d}" if r.expires else "no TLS"
            rows.append((str(r.endpoint), r.milliseconds and round(r.milliseconds, 1), ends, r.why_not))
        return frame(rows, "endpoint", "ms to connect", "certificate ends", "why not")

    def check_backup(self) -> Token:
        """A backup is made, restored into a scratch database, compared cell by cell, and removed again."""
        kept: dict[str, Any] = {}

        def look() -> Iterable[Finding]:
            try:
                with progress("backup and restore") as report, scratch_folder("cells") as cells:
                    found = recovery.recover(self.settings, cells_folder=Path(cells), progress=report)
            except (BackupError, SourceFailed) as error:
                if error.transient:
                    raise
                yield failed("the backup", error)
                return
            self._recovery = found
            kept.update(bytes=found.dump.bytes, sha256=found.dump.sha256, lsn=found.report.lsn)
            self.report("verify-restored", found.report.as_dict())
            on = f"backup {found.dump.sha256[:12]}"
            yield from recovery.findings(found.report, on)
            yield note(on, recovery.sentence(found, self.settings))
            what = "were not looked at: this one was made for the proof"
            fix = "restore the last of them as well, and keep one until the cutover is behind you"
            yield warning("the backups that run every night", what, fix)

        return self.checked("s00-backup", look, acted=True, result=kept)

    def backup(self) -> pd.DataFrame:
        """Every table that was restored, and how it compares."""
        return recovery.frame_tables(self._recovery.report if self._recovery else None)

    def backup_figures(self) -> str:
        """Size and times of the backup, in a sentence."""
        found = self._recovery
        if found is None:
            return "no backup was made: " + self.absent.get("s00-backup", "this is a rehearsal")
        return f"{found.dump.bytes / 1e6:,.2f} MB dumped in {found.dump_seconds:.1f} s, restored in {found.restore_seconds:.1f} s"

    def gates(self) -> pd.DataFrame:
        """What was checked, and with what answer."""
        rows = ((n, checklist.title(n), t.answer) for n, t in self.tokens.items())
        return frame(rows, "gate", "what", "answer")

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
            targets=(sum(self._answering.values()), len(self.settings.targets)) if self.option != "C" else None,
            support=paths.support(self.settings.legacy.supported_until, _measured(self._inventory).version),
            today=datetime.now(UTC).date(),
        )

    def checked(
        self, name: str, look: Callable[[], Iterable[Finding]], *, acted: bool = False, result: Mapping[str, Any] | None = None
    ) -> Token:  # fmt: skip
        """As `check`, and shows the findings first; the token is kept for `gates`."""
        inputs = {"profile": self.settings.profile}
        self.tokens[name] = self.check(name, look, inputs=inputs, acted=acted, result=result, show=True)
        return self.tokens[name]

    def _examined(self, box: str) -> list[Finding]:
        """What the doctor has to say of a box's systems."""
        systems = [each for each in EXAMINED[box] if self.option != "C" or each not in _OF_A_TARGET]
        with progress("doctor", unit="systems") as report:
            return [each.as_finding() for each in doctor.examine(self.settings, systems, progress=report)]

    def _check_target(self, name: str, answers: Iterable[Finding] | None) -> Token:
        """Whether a target answers; one that the profile does not name stops only where it names no other."""

        def listed() -> list[Finding]:
            if answers is None:
                others = [self.settings.values.snowflake, self.settings.values.databricks]
                said = note if any(others) else stop
                return [said(name, "the profile does not name it", f"add [profiles.X.{name}] if it is a target")]
            found = list(answers)
            self._answering[name] = all(each.severity != "stop" for each in found)
            return found

        return self.checked(f"s00-{name}", listed)


def _measured(value: Any) -> Any:
    if value is None:
        why = "a check above has not run in this session"
        raise UsageError("go on", on="runbook 00_assessment", why=why, next_step="run the cells from the top")
    return value
