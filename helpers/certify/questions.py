"""What an engine is asked: the loads and verifications of the golden migration, by the code of every load and verification.

Each question is a method that yields what it has seen; one that cannot be asked because another failed says so. The order is the
life of a target: tables are made, get an owner's things, are altered and replaced, read, changed by others, and loaded again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from helpers import load, verify
from helpers.certify import following, golden
from helpers.certify.following import Following
from helpers.certify.report import GoldenTable, Value
from helpers.certify.scratch import Scratch
from helpers.certify.values import DO_NOT_TRUST, LOADED, SHOWN, differing, told
from helpers.engines import destination, engine
from helpers.engines.certifying import Trial
from helpers.errors import LoadError, MigrationError
from helpers.finding import Finding, failed, judged, note, stop, unchecked
from helpers.load import LoadPlan
from helpers.model import manifest as manifests
from helpers.model import names
from helpers.model.manifest import Manifest, StagedTable
from helpers.model.places import TargetTable
from helpers.platforms.s3 import Bucket
from helpers.progress import Progress
from helpers.settings import Target
from helpers.verify import VerifyPlan
from helpers.verify.report import Report, TableReport
from helpers.verify.selection import Selection

_PLANTED, _DELETED, _ADDED = 7, 200, 9001
"""Rows of `written`: one that gets another value, one that goes, one that comes."""

_READ_BY_CELLS, _GONE = ("corpus", "decimals", "floats", "times", "texts"), 1
"""Tables whose rows are read value by value, and the key of the row that goes from each."""


@dataclass
class Questions:
    """One certification's, in the order in which they are asked.

    Attributes:
        cells: a folder for the verifications' files.
        values: golden values that were answered otherwise.
        tables: what became of each golden table.
    """

    scratch: Scratch
    target: str
    trial: Trial
    cells: Path
    progress: Progress | None = None
    values: list[Value] = field(default_factory=list)
    tables: list[GoldenTable] = field(default_factory=list)
    _left_out: set[str] = field(default_factory=set)
    _put_on: frozenset[str] = frozenset()
    _load_id: str = field(default_factory=lambda: uuid4().hex)
    _loaded: bool = False
    _untold: bool = False

    def ask(self) -> Iterator[Finding]:
        """Asks them all."""
        asked: tuple[tuple[str, Callable[[], Iterator[Finding]], bool], ...] = (
            ("first load", self._first_load, False),
            ("owner's things", self._own, False),
            ("second load", self._second_load, False),
            ("what owners put on", self._still_on, False),
            ("canonical form", self._forms, True),
            ("cells, digests, definitions", self._verified, True),
            ("a sample under a condition", self._partly_verified, True),
            ("planted changes", self._planted, True),
            ("cells of every kind", self._cells, True),
            ("others' writes", self._others_writes, True),
            ("rows that do not fit", self._refused_rows, True),
            ("a transaction rolled back", self._undone, True),
            ("a load that goes on", self._resumed, True),
            ("changes that follow", self._followed, True),
        )
        for number, (name, question, needs_rows) in enumerate(asked):
            if self.progress:
                self.progress(number, len(asked), name)
            if needs_rows and not self._loaded:
                yield unchecked(name, "the golden rows could not be loaded", "correct that first")
                continue
            try:
                yield from question()
            except MigrationError as error:
                yield failed(name, error)
        if self.progress:
            self.progress(len(asked), len(asked), "asked")

    def _first_load(self) -> Iterator[Finding]:
        golden.upload(golden.BEFORE, self._bucket)
        yield from self._load(load.plan_load(self._manifest(), self._bucket, self._section), "first load")

    def _own(self) -> Iterator[Finding]:
        tables = [self._there("replaced"), self._there("altered")]
        refused = []
        for table in tables:
            for put in self.trial.put_on(table, "region", "id"):
                if put.not_asked:
                    refused.append(put)
        for put in {put.what: put for put in refused}.values():
            yield unchecked(
                f"{put.what} on a table that is loaded anew",
                put.not_asked,
                "nothing, where the edition or the role allows none",
            )
        self._put_on = frozenset(f"{table.name}: {each}" for table in tables for each in self.trial.on(table))

    def _second_load(self) -> Iterator[Finding]:
        golden.upload(golden.AFTER, self._bucket)
        manifest = self._manifest()
        placed = [(staged, staged.there(self._section.schema_)) for staged in manifest.tables]
        there = destination(self._section)
        with there.open(self._bucket) as loader:
            found = (*names.refusals(placed, there.rules), *loader.look(manifest.tables).names)
        refused = {name: each for each in found for name in each.tables}
        for name, refusal in refused.items():
            yield unchecked(
                f"the table {name}",
                f"{refusal.on}: {refusal.why}",
                "nothing: a load refuses such names before the export",
            )
        self._left_out = {*refused, "public.unfit"}
        plan = load.plan_load(self._manifest(), self._bucket, self._section)
        ways = {table.staged.name: table.way for table in plan.tables}
        wanted = {
            "altered": "alter" if self.trial.alters else "replace",
            "replaced": "replace",
            "written": "create",
            "empty": "create",
        }
        for name, way in wanted.items():
            yield judged(ways.get(name) == way, f"how {name} is loaded", ways.get(name, "not"), DO_NOT_TRUST, way)
        gone = [table.name for table in plan.stale]
        yield judged(
            gone == ["dropped"],
            "tables that the source has no more",
            f"dropped: {', '.join(gone) or 'none'}",
            DO_NOT_TRUST,
            "dropped",
        )
        yield from self._load(plan, "second load")
        self._loaded = True

    def _load(self, plan: LoadPlan, name: str, load_id: str | None = None) -> Iterator[Finding]:
        aside: dict[str, LoadError] = {}
        untold: dict[str, str] = {}
        done = load.load(plan, load_id=load_id, set_aside=aside, untold=untold.update)
        for table, error in aside.items():
            yield stop(f"load {table}", f"could not {error.what}: {error.why}", error.next_step or DO_NOT_TRUST)
        self._untold = self._untold or bool(untold)
        for why in dict.fromkeys(untold.values()):
            keys = [key for key in untold if untold[key] == why]
            yield unchecked(
                f"{len(keys)} keys", f"{why}: {', '.join(keys[:SHOWN])}", "nothing: the rows are there all the same"
            )
        yield note(name, f"{sum(each.rows for each in done):,} rows in {len(done)} tables")

    def _still_on(self) -> Iterator[Finding]:
        tables = [self._there("replaced"), self._there("altered")]
        now = frozenset(f"{table.name}: {each}" for table in tables for each in self.trial.on(table))
        for lost in sorted(self._put_on - now):
            yield stop("what owners put on", f"{lost} is gone after the load", DO_NOT_TRUST, "it stays")
        for come in sorted(now - self._put_on):
            yield stop("what owners put on", f"{come} came with the load", DO_NOT_TRUST, "nothing but what was there")
        if self._put_on:
            yield note(
                "what owners put on",
                f"{len(self._put_on & now)} things are still on the tables that were altered and replaced",
            )
        for table in tables:
            self.trial.take_off(table)

    def _forms(self) -> Iterator[Finding]:
        with self._planned() as plan, ExitStack() as stack:
            side = engine(self.target).open(plan.place, stack)
            for table in plan.tables:
                said = golden.tables()[str(table.table)].forms
                if not said:
                    continue
                rows = side.query(
                    side.sql.pieces_query(table, side.relation(table)),
                    doing=f"compute the canonical form of {table.table}",
                )
                found = {str(row[0]): [*map(str, row[1:-1]), f"{int(row[-1]) % 2**64:016x}"] for row in rows}
                columns = [*(column.name for column in table.columns[1:]), "MD5 of the row"]
                wrong = list(differing(str(table.table), columns, said, found))
                self.values += wrong
                yield from told(wrong, f"the canonical form of {table.table}", len(said))

    def _verified(self) -> Iterator[Finding]:
        report = self._verify()
        for table in report.tables:
            name = f"{table.schema}.{table.name}"
            said = golden.tables().get(name)
            self.tables.append(
                GoldenTable(
                    name=name, rows=said.rows if said else 0, columns=tuple(table.changed_cells),
                    verdict="ok" if table.verdict == "equal" and self._is_golden(table, said) else "wrong",
                    digest=said.digest if said else "", found=table.digest if table.verdict == "equal" else table.verdict,
                    forms=len(said.forms) if said else 0,
                )
            )  # fmt: skip
            yield from self._of_table(name, table, said)

    def _of_table(self, name: str, table: TableReport, said: golden.Golden | None) -> Iterator[Finding]:
        for finding in table.schema_findings:
            where = f"{name}.{finding.column}" if finding.column else name
            what = f"{finding.name}: {finding.found or 'none'}"
            # Of a table that was loaded a moment ago nothing may differ, not even what a verification only warns of; but keys that
            # the engine did not take have been named.
            untold = self._untold and "key-" in finding.name and finding.severity != "error"
            yield (unchecked if untold else stop)(where, what, DO_NOT_TRUST, finding.expected or "none")
        if table.verdict == "equal":
            digest = said.digest if said else "no such table"
            found = f"digest {table.digest}, {table.rows_target:,} rows"
            yield judged(self._is_golden(table, said), name, found, DO_NOT_TRUST, f"digest {digest}")
            return
        if table.verdict == "refused":
            yield stop(name, table.method, DO_NOT_TRUST, "it can be compared")
            return
        wrong = [
            Value(
                table=name, row=", ".join(f"{k}={v}" for k, v in cell.key.items()) if cell.key else f"row {cell.row}",
                column=cell.column, golden=cell.source, found=cell.target, by=LOADED,
            )
            for cell in table.cells
        ]  # fmt: skip
        self.values += wrong
        for column, diagnoses in table.diagnoses.items():
            for diagnosis in diagnoses[:1]:
                yield stop(
                    f"{name}.{column}",
                    f"{table.changed_cells[column]:,} values differ: {diagnosis.words}",
                    DO_NOT_TRUST,
                )
        yield stop(
            name,
            f"{table.missing:,} rows missing, {table.extra:,} extra, {table.changed:,} changed: {table.method}",
            DO_NOT_TRUST,
            "the golden rows",
        )
        yield from told(wrong, name, table.rows_source or 0)

    @staticmethod
    def _is_golden(table: TableReport, said: golden.Golden | None) -> bool:
        """Whether a digest is the one that PostgreSQL computed, or of files of a local table the exporter."""
        staged = golden.manifest(golden.AFTER).table(table.schema, table.name)
        native = staged.digest.total if staged and staged.digest else ""
        return said is not None and table.digest in (said.digest, native)

    def _partly_verified(self) -> Iterator[Finding]:
        some = verify.Options(Selection(where="n > 3 AND n < 2000 AND (twice > -1 OR single IS NULL)", sample=0.5))
        yield from self._whether_equal(self._verify("floats", options=some), "verify --where --sample")

    def _planted(self) -> Iterator[Finding]:
        self._change_as_others_do()
        (table,) = self._verify("written").tables
        found = (table.verdict, table.missing, table.extra, table.changed, table.changed_cells.get("said"))
        wanted = ("different", 1, 1, 1, 1)
        yield judged(
            found == wanted, "planted changes",
            f"{table.verdict}: {table.missing} missing, {table.extra} extra, {table.changed} changed",
            "verification does not find what changed there: do not rely on its word", "one row missing, one extra, one changed",
        )  # fmt: skip
        cells = {(each.column, each.source, each.target) for each in table.cells if each.on == "both"}
        yield judged(
            cells == {("said", f"row {_PLANTED}", "planted")}, "the planted cell", f"{sorted(map(str, cells))}",
            "verification names another cell than the changed one", f"said of row {_PLANTED}",
        )  # fmt: skip

    def _change_as_others_do(self) -> None:
        there, table = destination(self._section), self._there("written")
        name, key, said, *others = map(self.trial.identifier, ("written", "id", "said", "amount", "at", "seen", "day"))
        rest = ", ".join(others)
        for statement in (
            f"UPDATE {name} SET {said} = 'planted' WHERE {key} = {_PLANTED}",
            f"DELETE FROM {name} WHERE {key} = {_DELETED}",
            f"INSERT INTO {name} ({key}, {said}, {rest}) SELECT {_ADDED}, 'added', {rest} FROM {name} WHERE {key} = 1",
        ):
            there.ask(statement, table)

    def _cells(self) -> Iterator[Finding]:
        """A digest that differs has the rows of its segments read and compared value by value, by statements of their own. So one
        row of each kind of table goes: that it is missing must be all that is found.
        """
        asked = [str(staged.name) for staged in self._manifest().tables if staged.name in _READ_BY_CELLS]
        for name in asked:
            sql = f"DELETE FROM {self.trial.identifier(name)} WHERE {self.trial.identifier('n')} = {_GONE}"
            destination(self._section).ask(sql, self._there(name))
        if not asked:
            return
        report = self._verify(*asked)
        for table in report.tables:
            found = f"{table.missing} missing, {table.extra} extra, {table.changed} changed"
            columns = f" in {', '.join(table.changed_cells)}" if table.changed_cells else ""
            shown = "".join(
                f"; {cell.column}: {cell.target!r}, needed: {cell.source!r}"
                for cell in table.cells[:SHOWN]
                if cell.on == "both"
            )
            yield judged(
                (table.verdict, table.missing, table.extra, table.changed) == ("different", 1, 0, 0),
                f"the cells of {table.schema}.{table.name}", f"{table.verdict}: {found}{columns}{shown}",
                "where rows differ, verification would also name rows and values that do not: do not rely on the cells it shows. Compare the "
                "session's parameters for numbers, times and results with docs/certification.md#reading-a-no, and certify again",
                "one row missing, nothing else",
            )  # fmt: skip

    def _others_writes(self) -> Iterator[Finding]:
        plan = self._plan("written")
        (table,) = plan.tables
        kept = "others wrote to it" in table.action
        yield judged(
            kept and table.way == "rows",
            "others' writes",
            table.action,
            "a load would overwrite what others wrote and keep no copy",
            "they are seen and kept",
        )
        yield from self._load(plan, "load again", self._load_id)
        copied = self.trial.copied(self._there("written"), f"{self.trial.identifier('said')} = 'planted'")
        if copied is not None:
            yield judged(
                copied == 1, "the copy of what others wrote", f"it has {copied} of the 1 row that was changed",
                "a load would lose what others wrote: keep copies of your own (CREATE TABLE … AS SELECT) before each load, and tell us",
                "their rows",
            )  # fmt: skip
        yield from self._whether_equal(self._verify("written"), "load again")

    def _refused_rows(self) -> Iterator[Finding]:
        whole = manifests.read(self._bucket)
        written, unfit = (self._staged(whole, name) for name in ("written", "unfit"))
        # The files of `unfit`, whose amounts are texts, for numbers: no load would ever be told so.
        columns = tuple(
            column.model_copy(update={"parquet": "VARCHAR"}) if column.name == "amount" else column
            for column in written.columns
        )
        bad = written.model_copy(update={"files": unfit.files, "rows": unfit.rows, "columns": columns})
        plan = load.plan_load(
            whole.model_copy(update={"tables": (bad,), "complete": False}), self._bucket, self._section
        )
        try:
            load.load(plan)
        except LoadError as error:
            yield note("rows that do not fit", f"they are refused: {error.why}")
        else:
            yield stop(
                "rows that do not fit",
                "the text 'no number' was loaded as a number",
                DO_NOT_TRUST,
                "a load that fails",
            )
        yield from self._whether_equal(self._verify("written"), "after rows that were refused")

    def _undone(self) -> Iterator[Finding]:
        name = "a transaction rolled back"
        if not self.trial.undone(self._there("written")):
            yield unchecked(name, "the engine has commits, not transactions", "nothing: each load is one commit")
            return
        (table,) = self._verify("written", check="row-counts").tables
        yield judged(
            table.verdict == "equal", name, f"{table.verdict}: {table.missing:,} rows are missing",
            "a load that breaks off would leave half of its rows", "the table is as it was",
        )  # fmt: skip

    def _resumed(self) -> Iterator[Finding]:
        name = "a load that goes on"
        done = load.load(self._plan("written"), load_id=self._load_id)
        yield judged(
            [each.action for each in done] == ["kept the rows of this load"], name, ", ".join(each.action for each in done),
            "a load that was broken off would begin anew each time", "the rows of the same load are kept",
        )  # fmt: skip
        manifest = self._manifest()
        (written,) = (staged for staged in manifest.tables if staged.name == "written")
        some = manifest.model_copy(update={"tables": (written,)})
        there, how = load.is_loaded(some, self._bucket, self._section, self._load_id)
        yield judged(
            there, "whether a load is there", how, "a step that was broken off would load again", "it is there"
        )
        other, how = load.is_loaded(some, self._bucket, self._section, uuid4().hex)
        yield judged(not other, "whether another load is there", how, "a step would be skipped", "it is not there")
        last = load.last_load(manifest, self._bucket, self._section)
        yield judged(
            last is not None,
            "the last load of an export",
            last or "none",
            "what failed alone could not be loaded again",
            "an id",
        )

    def _followed(self) -> Iterator[Finding]:
        """A sync's batches: rows that move to other keys with a value that was not sent, and back; what must fail; a truncation."""
        name, no_sync = "changes that follow", "do not follow changes there (runbook sync): load whole exports"
        with Following.begun(self.target, self._section, self._bucket, self._manifest()) as sync:
            sync.change()
            (table,) = self._verify(following.TABLE).tables
            found = f"{table.missing} missing, {table.extra} extra, {table.changed} changed"
            wanted = f"{following.MISSING} missing, {following.EXTRA} extra, {following.CHANGED} changed"
            yield judged(found == wanted, f"{name}: a batch that comes twice", found, no_sync, wanted)
            sync.take_back()
            yield from self._whether_equal(self._verify(following.TABLE), f"{name}: keys that change places and back")
            refused = [("two rows with one key", sync.choose)]
            if self.trial.transacts:
                refused.append(("a batch that breaks off after its MERGE", sync.break_off))
            for what, attempt in refused:
                before = sync.position()
                try:
                    attempt()
                    said = "it was applied"
                except MigrationError as error:
                    said = f"it is refused: {error.why}"
                failed_whole = said != "it was applied" and sync.position() == before
                yield judged(failed_whole, f"{name}: {what}", said, no_sync, "an error, and the position stays")
            yield from self._whether_equal(self._verify(following.TABLE), f"{name}: after batches that were refused")
            sync.truncate()
        yield from self._whether_equal(self._verify(following.TABLE), f"{name}: a truncation and new rows")

    def _whether_equal(self, report: Report, name: str) -> Iterator[Finding]:
        wrong = [table for table in report.tables if table.verdict != "equal"]
        for table in wrong:
            yield stop(f"{name}: {table}", table.differences or table.method, DO_NOT_TRUST, "equal")
        if not wrong:
            yield note(name, f"{len(report.tables)} tables equal")

    def _verify(self, *tables: str, check: verify.Check = "full", options: verify.Options | None = None) -> Report:
        with self._planned(*tables, check=check, options=options) as plan:
            return verify.verify(plan)

    def _planned(
        self, *tables: str, check: verify.Check = "full", options: verify.Options | None = None
    ) -> AbstractContextManager[VerifyPlan]:
        return verify.planned(
            self.scratch.settings, target=self.target, source_name="manifest", check=check, tables=tuple(tables),
            exclude=() if tables else tuple(self._left_out), cells_folder=self.cells, options=options,
        )  # fmt: skip

    def _plan(self, table: str) -> LoadPlan:
        return load.plan_load(self._manifest(), self._bucket, self._section, table=table)

    def _manifest(self) -> Manifest:
        """Of what lies at the stage, without the tables that this engine is not asked about."""
        found = manifests.read(self._bucket)
        kept = tuple(staged for staged in found.tables if str(staged) not in self._left_out)
        return found.model_copy(update={"tables": kept})

    @property
    def _bucket(self) -> Bucket:
        return self.scratch.bucket

    @property
    def _section(self) -> Target:
        return self.scratch.settings.target(self.target)

    def _there(self, name: str) -> TargetTable:
        return TargetTable(self.scratch.name, name)

    @staticmethod
    def _staged(manifest: Manifest, name: str) -> StagedTable:
        found = manifest.table("public", name)
        assert found
        return found
