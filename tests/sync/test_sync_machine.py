"""The protocol of copy, stream, batches, crashes and fences, as a machine whose every state is checked.

It drives the real decoder, assembler, collector, collapse and loop, against a source that keeps its whole history, and against two
targets: one takes a batch in one transaction, as Snowflake does, one table by table, as Delta does. Anything may end between any
two calls. The model is Ghostferry's specification (https://github.com/Shopify/ghostferry/tree/main/tlaplus).

Would catch: a change that is lost or takes effect twice, a table that is between two transactions, a slot that is confirmed beyond what
a target has, a verdict at a fence that the target has not reached or has passed. That it would is seen with faults planted in copies.
"""

from __future__ import annotations

from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from helpers.settings import SyncOptions
from helpers.sync.changes import Mark, Relation, Transaction
from helpers.sync.collapse import Collapsed
from helpers.sync.collector import Collector, Pending, Target
from helpers.sync.loop import Syncing
from helpers.sync.replication import Sent
from helpers.sync.transactions import Assembler
from tests.sync.test_sync_collapse import Writer, applied, relation
from tests.sync.test_sync_pgoutput import encoded_begin, encoded_change, encoded_commit, encoded_relation

Rows = dict[str, tuple[Any, ...]]
NAMES = ("s.t", "s.u")
KEYS = "pqr"


class Crash(BaseException):
    pass


class Fuse:
    """Ends everything at a call of a given number."""

    def __init__(self, calls: int | None) -> None:
        self.left = calls

    def burn(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise Crash


class Source:
    """Tables, the log of what was committed, and how they stood after each commit."""

    def __init__(self) -> None:
        self.tables: dict[str, Rows] = {name: {} for name in NAMES}
        self.log: list[tuple[int, list[bytes]]] = []
        self.history: list[tuple[int, dict[str, Rows]]] = [(0, deepcopy(self.tables))]
        self.end, self.confirmed = 100, 100

    def commit(self, writers: dict[str, Writer], told: list[tuple[str, int]]) -> None:
        """Commits what writers have done; `told` are the changes in their order, by table and number."""
        commit_lsn = self.end + 4 * len(told) + 4
        payloads = [encoded_begin(commit_lsn, 0, 1)]
        for name, number in told:
            change = writers[name].told[number]
            payloads += [encoded_relation(change.relation), encoded_change(change)]
        self.end = commit_lsn + 8
        payloads.append(encoded_commit(commit_lsn, self.end, 0))
        self.log.append((commit_lsn, payloads))
        self.tables = {name: dict(writer.rows) for name, writer in writers.items()}
        self.history.append((commit_lsn, deepcopy(self.tables)))

    def at(self, position: int) -> dict[str, Rows]:
        """How the tables stood at a position: with every commit before it."""
        return [tables for commit_lsn, tables in self.history if commit_lsn < position][-1]


@dataclass
class MemoryTarget:
    """Rows and positions, as an applier's contract has them."""

    fuse: Fuse
    by_table: bool
    rows: dict[str, Rows] = field(default_factory=lambda: {name: {} for name in NAMES})
    ahead: dict[str, int] = field(default_factory=dict)
    whole: int = 100

    def at(self, name: str) -> int:
        return max(self.whole, self.ahead.get(name, 0))

    def apply(self, batch: Any, tables: Any) -> None:
        self.fuse.burn()
        rows, ahead = (self.rows, self.ahead) if self.by_table else (deepcopy(self.rows), dict(self.ahead))
        for name in NAMES:
            if max(self.whole, ahead.get(name, 0)) >= batch.until:
                continue
            assert self.at(name) == batch.after, "a batch that a table cannot take whole"
            found = batch.collapsed.get(name)
            if found is not None:
                rows[name] = applied(rows[name], found)
                ahead[name] = batch.until
                self.fuse.burn()
        self.rows, self.ahead, self.whole = rows, ahead, max(self.whole, batch.until)
        self.fuse.burn()


class Slot:
    """What a slot sends, from a position on."""

    leaves_out: ClassVar[bool] = False

    def __init__(self, source: Source, start: int, fuse: Fuse) -> None:
        self._source, self._fuse = source, fuse
        self._assembler = Assembler(most=60)
        self._start = max(start, source.confirmed)
        self._sent = 0

    def read(self, seconds: float) -> list[Transaction | Mark | Sent]:
        self._fuse.burn()
        waiting = [payloads for lsn, payloads in self._source.log if lsn >= self._start][self._sent :]
        if not waiting:
            return [Sent(self._source.end)]
        self._sent += 1
        payloads = waiting[0]
        if self.leaves_out and len(payloads) > 4:
            payloads = [*payloads[:-2], payloads[-1]]
        return [found for payload in payloads if (found := self._assembler.take(payload))]

    def confirm(self, position: int) -> None:
        self._fuse.burn()
        self._source.confirmed = max(self._source.confirmed, position)


class Loop(Syncing):
    """The real loop over those parts."""

    kind: ClassVar[type[Collapsed]] = Collapsed

    def __init__(
        self, source: Source, targets: dict[str, MemoryTarget], slot: type[Slot], fuse: Fuse, many: bool
    ) -> None:
        options = SyncOptions(batch_seconds=1e-9 if many else 1e9)
        record = SimpleNamespace(created_at=datetime.now(UTC).isoformat(), tables=(), id="x", position=0)
        super().__init__(
            SimpleNamespace(sync=options, source=None), SimpleNamespace(remove=lambda _: None),  # type: ignore[arg-type]
            record, SimpleNamespace(), targets, None,  # type: ignore[arg-type]
        )  # fmt: skip
        start = min(each.whole for each in targets.values())
        cuts = {each.at(name) for each in targets.values() for name in NAMES}
        self._collector = self.collector(start, cuts)
        self._stream: Any = slot(source, start, fuse)
        self._most_confirmed, self._rows, self._others, self._began = None, {}, {}, start
        self._pool: Any = SimpleNamespace(submit=lambda call, *given: SimpleNamespace(result=lambda: call(*given)))

    def collector(self, start: int, cuts: set[int]) -> Collector:
        return Collector(start, cuts, self._find, self._stop)

    def _find(self, relation: Relation) -> Target | None:
        return Target(str(relation), ("k",), 0)

    def _stop(self, name: str, why: str) -> None:
        raise AssertionError(f"{name} stopped: {why}")

    def _staged(self, pending: Pending) -> Any:
        collapsed = {name: each.collapsed for name, each in pending.tables.items()}
        tables = [SimpleNamespace(file=None, written=0, deleted=0) for _ in collapsed]
        return SimpleNamespace(after=pending.after, until=pending.until, collapsed=collapsed, tables=tables)

    def _look(self) -> None:
        pass

    def _tell(self, *, now: bool = False) -> None:
        pass


class Machine(RuleBasedStateMachine):
    loop: type[Loop] = Loop
    slot: type[Slot] = Slot

    @initialize()
    def copy(self) -> None:
        self.source = Source()
        self.fuse = Fuse(None)
        self.targets = {
            "one transaction": MemoryTarget(self.fuse, by_table=False),
            "table by table": MemoryTarget(self.fuse, by_table=True),
        }

    @rule(data=st.data(), changes=st.integers(1, 5), rolled_back=st.sampled_from([False, False, False, True]))
    def write(self, data: st.DataObject, changes: int, rolled_back: bool) -> None:
        writers = {name: Writer(self.source.tables[name], "d") for name in NAMES}
        for oid, name in enumerate(NAMES, 1):
            named = relation()
            writers[name].relation = Relation(oid, "s", name[2:], "d", named.columns)
        told: list[tuple[str, int]] = []
        for _ in range(changes):
            name = data.draw(st.sampled_from(NAMES))
            writer = writers[name]
            self._change(data, writer)
            told += [(name, number) for number in range(sum(1 for each, _ in told if each == name), len(writer.told))]
        if told and not rolled_back:
            self.source.commit(writers, told)

    def _change(self, data: st.DataObject, writer: Writer) -> None:
        free = sorted(set(KEYS) - writer.rows.keys())
        kind = data.draw(st.sampled_from(["insert", "insert", "update", "move", "move", "delete", "truncate"]))
        value = data.draw(st.sampled_from(["1", "2", None]))
        if kind == "truncate":
            writer.truncate()
        elif free and (kind == "insert" or not writer.rows):
            writer.insert((data.draw(st.sampled_from(free)), value, "long"))
        elif writer.rows:
            key = data.draw(st.sampled_from(sorted(writer.rows)))
            if kind == "delete":
                writer.delete(key)
            else:
                new = data.draw(st.sampled_from(free)) if kind == "move" and free else key
                writer.update(key, (new, value, "other"), (False, data.draw(st.booleans())))

    @rule(calls=st.one_of(st.none(), st.integers(0, 12)), many=st.booleans())
    def sync(self, calls: int | None, many: bool) -> None:
        self._run(calls, many, self.source.end)

    @rule(data=st.data(), calls=st.one_of(st.none(), st.none(), st.integers(0, 12)), many=st.booleans())
    def fence(self, data: st.DataObject, calls: int | None, many: bool) -> None:
        """The source goes on while the targets are taken to where a snapshot was; what has not reached it gets no verdict."""
        position, snapshot = self.source.end, deepcopy(self.source.tables)
        self.write(data, 2, False)
        self._run(calls, many, position)
        for name, target in self.targets.items():
            if {target.at(table) for table in NAMES} == {position}:
                assert target.rows == snapshot, f"{name} at a fence"

    def _run(self, calls: int | None, many: bool, until: int) -> None:
        for each in self.targets.values():
            if each.whole > until:
                return
        self.fuse.left = calls
        with suppress(Crash):
            self.loop(self.source, self.targets, self.slot, self.fuse, many).run(until)
        self.fuse.left = None

    @invariant()
    def every_table_is_as_the_source_was_at_its_position(self) -> None:
        for name, target in getattr(self, "targets", {}).items():
            for table in NAMES:
                at = target.at(table)
                assert target.rows[table] == self.source.at(at)[table], f"{table} of {name} at {at}"

    @invariant()
    def nothing_is_confirmed_that_a_target_does_not_have(self) -> None:
        for name, target in getattr(self, "targets", {}).items():
            assert self.source.confirmed <= target.whole, name

    def teardown(self) -> None:
        if hasattr(self, "targets"):
            self._run(None, False, self.source.end)
            for target in self.targets.values():
                assert target.rows == self.source.tables


QUICK = settings(
    max_examples=60, stateful_step_count=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


@pytest.mark.property
def test_no_change_is_lost_and_none_takes_effect_twice() -> None:
    run_state_machine_as_test(Machine, settings=QUICK)


@pytest.mark.slow
def test_the_same_with_many_examples() -> None:
    many = settings(QUICK, max_examples=1500, stateful_step_count=40, derandomize=False)
    run_state_machine_as_test(Machine, settings=many)


class ConfirmsFirst(Loop):
    def apply(self) -> None:
        self._stream.confirm(self._collector.pending.until)
        super().apply()


class CutsInside(Loop):
    """A batch that ends in the middle of a transaction, and says that it ends before it."""

    def _take(self, found: Transaction | Mark | Sent) -> None:
        if isinstance(found, Transaction) and len(list(found.changes)) > 1:
            changes = list(found.changes)
            first = Transaction(found.xid, found.commit_lsn, found.commit_lsn, found.committed, changes[:1])
            super()._take(first)
            self.apply()
            found = Transaction(found.xid, found.commit_lsn, found.end_lsn, found.committed, changes[1:])
        super()._take(found)


class TakesAKeyChangeAsOneRow(Loop):
    def collector(self, start: int, cuts: set[int]) -> Collector:
        return WithoutOrigins(start, cuts, self._find, self._stop)


class WithoutOrigins(Collector):
    def take(self, transaction: Transaction) -> None:
        super().take(transaction)
        for each in self.pending.tables.values():
            for key, live in each.collapsed.live.items():
                if live.origin not in (None, key):
                    each.collapsed.gone.discard(live.origin)  # type: ignore[arg-type]


class LeavesOut(Slot):
    leaves_out = True


class IgnoresCuts(Loop):
    def collector(self, start: int, cuts: set[int]) -> Collector:
        return super().collector(start, set())


@pytest.mark.parametrize(
    ("loop", "slot"),
    [
        (ConfirmsFirst, Slot),
        (CutsInside, Slot),
        (TakesAKeyChangeAsOneRow, Slot),
        (Loop, LeavesOut),
        (IgnoresCuts, Slot),
    ],
    ids=[
        "feedback before the commit",
        "a batch cut inside a transaction",
        "a key change as one row",
        "an event left out",
        "cuts ignored",
    ],
)
def test_a_planted_fault_is_found(loop: type[Loop], slot: type[Slot]) -> None:
    class Faulty(Machine):
        pass

    Faulty.loop, Faulty.slot = loop, slot
    # A target that cannot take what it is given ends, too.
    with pytest.raises((AssertionError, KeyError)):
        run_state_machine_as_test(
            Faulty, settings=settings(QUICK, max_examples=300, phases=[Phase.generate], report_multiple_bugs=False)
        )
