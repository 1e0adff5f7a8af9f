"""What the tests of the cutover share: a run that has everything behind it but the cutover, with real data and real keys."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from helpers import checklist, settings
from helpers.evidence import signing
from helpers.ledger import folders, keys
from helpers.ledger.ledger import Ledger
from helpers.phases.common import switches
from helpers.phases.p50_cutover.cutover import Cutover
from helpers.phases.p90_rollback.rollback import Rollback
from helpers.platforms.dns import Weights
from helpers.source import freeze, held_snapshots

TABLES = [
    "CREATE TABLE shops (id int PRIMARY KEY, name text, open boolean)",
    "INSERT INTO shops SELECT n, 'shop ' || n, true FROM generate_series(1, 50) n",
    "CREATE TABLE log (line text)",
    "INSERT INTO log SELECT 'line ' || n FROM generate_series(1, 20) n",
]


DAGS = (
    '[profiles.local.dags]\nlegacy = ["nightly_of_today"]\nmodern = ["cloud_pipeline"]\n'
    '[profiles.local.airflow]\nurl = "http://airflow.invalid"\nuser = "nobody"\n'
)
"""What a profile says of a scheduler that a test puts in Airflow's place."""


@dataclass
class Record:
    """A record that keeps every change, and breaks off at the `crash`th."""

    shares: list[int] = field(default_factory=list)
    crash: int = 0

    def weights(self) -> Weights:
        return Weights(100 - self.shares[-1], self.shares[-1]) if self.shares else Weights(None, None, simple=True)

    def lead(self, share: int) -> Weights:
        self.shares.append(share)
        if len(self.shares) == self.crash:
            raise Crash
        return self.weights()


@dataclass
class Scheduler:
    """Two DAGs, and the order in which they were switched."""

    on: dict[str, bool] = field(default_factory=lambda: {"nightly_of_today": True, "cloud_pipeline": False})
    order: list[str] = field(default_factory=list)

    def enable(self, dag: str) -> None:
        self.on[dag] = True
        self.order.append(f"{dag} on")

    def disable(self, dag: str) -> None:
        self.on[dag] = False
        self.order.append(f"{dag} off")

    def enabled(self, dag: str) -> bool:
        return self.on[dag]


class Crash(BaseException):
    pass


@dataclass
class Project:
    """A run in a folder of its own that has everything behind it but the cutover."""

    folder: Path
    migration: Any
    monkeypatch: pytest.MonkeyPatch
    record: Record | None = field(default_factory=Record)
    scheduler: Scheduler | None = field(default_factory=Scheduler)
    option: str = "A"

    @property
    def run(self) -> Path:
        return self.folder / "outputs" / "r"

    @property
    def ledger(self) -> Ledger:
        return Ledger.open(self.run)

    def attempt(self, phase: str) -> None:
        made = folders.open_attempt(self.folder / "outputs", "r", phase)
        self.ledger.append("attempt-started", phase=phase, attempt=made.name, notebook_sha256="a" * 64)
        for name, value in made.environment().items():
            self.monkeypatch.setenv(name, value)

    def cutover(self, *, apply: bool = True) -> Cutover:
        self.attempt("50_cutover")
        return Cutover("local", self.option, apply=apply)

    def sign(self, step: str, by: str = "alice") -> None:
        key = self.folder / f"{by}.pem"
        word = next((s.kind == "word" for s in checklist.steps() if s.id == step), False)
        if word:
            signing.attest(self.run, step, by=by, key=key, note="Sunday", profile="local")
        else:
            signing.approve(self.run, step, by=by, key=key, plan_sha256=None, profile="local")

    def compared(self, walk: Cutover) -> Any:
        """A walk up to the last gate before anything is switched."""
        checked = walk.preflight()
        walk.window()
        approved = walk.approve_plan(checked)
        walk.freeze(approved)
        walk.delta(walk.holds())
        walk.load()
        return walk.verify()

    def switched(self, walk: Cutover) -> Cutover:
        compared = self.compared(walk)
        walk.dags(compared)
        walk.record(compared)
        walk.traffic(compared)
        walk.monitor()
        return walk

    def rollback(self) -> Rollback:
        self.attempt("90_rollback")
        walk = Rollback("local", self.option, apply=True)
        cut_over = walk.preflight()
        walk.traffic(cut_over)
        walk.stop_writers(cut_over)
        walk.notify(cut_over)
        walk.recover(walk.compare(cut_over))
        equal = walk.verify()
        walk.unfreeze(equal)
        walk.start_legacy(equal)
        walk.immediate()
        return walk

    def is_frozen(self) -> bool:
        return freeze.is_frozen(self.migration.settings.source)


def write_profile(folder: Path, migration: Any, extra: str = "") -> None:
    (folder / "migration.toml").write_text(
        f"{migration.profile}{DAGS}"
        '[profiles.local.approvals.people]\nalice = "alice.pem.pub"\nbob = "bob.pem.pub"\n'
        "[profiles.local.cutover]\nprobes = 2\npatience_seconds = 0.2\nmax_latency_seconds = 60.0\n" + extra
    )


@contextmanager
def opened(
    migration: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, option: str = "A", extra: str = ""
) -> Iterator[Project]:
    """The project, with its snapshots let go at the end; `extra` are sections of its profile."""
    for name in ("alice", "bob"):
        keys.generate(tmp_path / f"{name}.pem")
    write_profile(tmp_path, migration, extra)
    (tmp_path / "runbooks").mkdir()
    monkeypatch.chdir(tmp_path)
    migration.source(*TABLES)
    if extra:
        migration.settings = settings.load("local", tmp_path / "migration.toml").for_option(option)
    manifest = migration.migrate()
    found = Project(tmp_path, migration, monkeypatch, option=option)
    monkeypatch.setattr(switches, "connect_record", lambda settings: found.record)
    monkeypatch.setattr(switches, "connect_scheduler", lambda settings: found.scheduler)
    found.run.mkdir(parents=True)
    found.ledger.append("run-opened", run="r", option=option, profile="local", apply=True)
    for step in checklist.steps_for_option(option):
        for name in step.ids if step.phase < "50" else ():
            result = {"lsn": manifest.lsn, "snapshot": manifest.snapshot} if name == "s30-snapshot" else {}
            found.ledger.append("step-done", step=name, phase=step.phase, attempt="attempt-01", inputs="b" * 64, result=result, seconds=1)  # fmt: skip
    yield found
    for held in migration.held():
        held_snapshots.release(held)
