"""The data migration goes on where it was broken off: one export, one load, in one snapshot, and the proof at the end.

Would catch: rows loaded twice or half, a second manifest, a load that is believed because the ledger says so, a step that is
skipped though its effect is gone, a snapshot that is lost with the process or that nobody lets go, a source that moved on
and is compared with an old export; a Delta table that is believed because a load once made it, a profile without a Delta target
that gets a tick for it.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from deltalake import DeltaTable, write_deltalake
from run_support import PROJECT

from helpers import export, load
from helpers.engines.delta import records as delta_records
from helpers.engines.delta.load import DeltaLoader
from helpers.engines.snowflake import records as snowflake_records
from helpers.engines.snowflake.load import SnowflakeLoader
from helpers.errors import GateClosed, TargetRefused
from helpers.export import state as export_state
from helpers.ledger import folders
from helpers.ledger.gate import Token
from helpers.ledger.ledger import Entry, Ledger
from helpers.model import manifest as manifests
from helpers.phases.p30_data_migration.migration import DataMigration
from helpers.platforms.delta import Lake, storage_options
from helpers.platforms.s3 import Bucket
from helpers.runs.status import read_status
from helpers.source import held_snapshots

PHASE = "30_data_migration"
RUN = f"r{os.getpid()}"
"""Where the same phase of a run of this name ends in the other worker, this one's snapshots would be let go."""
TABLES = [
    "CREATE TABLE a (id int PRIMARY KEY, v text)",
    "INSERT INTO a SELECT n, md5(n::text) FROM generate_series(1, 2000) n",
    "CREATE TABLE b AS SELECT n AS id, n / 7.0 AS v FROM generate_series(1, 500) n",
    "CREATE TABLE c (day date, n int)",
    "INSERT INTO c SELECT date '2024-01-01' + n, n FROM generate_series(1, 300) n",
]


@dataclass
class Project:
    """A folder with a migration.toml of its own, whose profile `local` is one test's source, stage and target."""

    folder: Path
    migration: Any
    attempts: int = 0

    @property
    def ledger(self) -> Ledger:
        return Ledger.open(self.folder / "outputs" / RUN)

    def done(self, step: str) -> list[Entry]:
        return [e for e in self.ledger.entries() if e.event == "step-done" and e.get("step") == step]

    def exports(self) -> set[str]:
        names = {path.partition("/")[0] for path in Bucket.open(self.migration.settings.stage).sizes()}
        return {name for name in names if export.EXPORT_NAME.fullmatch(name)}

    def loads(self) -> dict[str, str]:
        """The load that each table's rows are of."""
        target = self.migration.settings.snowflake
        schema = f'"{target.database}"."{target.schema_}{snowflake_records.SCHEMA_SUFFIX}"'
        return dict(self.migration.target(f"SELECT TABLE_NAME, LOAD_ID FROM {schema}.{snowflake_records.TABLE}"))

    def log(self, table: str) -> DeltaTable:
        """A Delta table of the target."""
        own = self.migration.settings
        location = Lake.open(own.databricks, own.stage).location(table)
        return DeltaTable(location, storage_options=storage_options(own.stage))

    def snapshots(self) -> set[str]:
        return {held.name for held in self.migration.held()}


@pytest.fixture
def project(
    migration: Any, migration_toml: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Project]:
    (tmp_path / "runbooks").mkdir()
    # One Delta table after another: the versions that a broken-off load leaves are then known.
    section = "[profiles.local.databricks]\n"
    profile = migration.profile.replace(section, f"{section}parallel = 1\n")
    migration_toml(f"{profile}[profiles.local.export]\nworkers = 2\n", tmp_path, tmp_path / "runbooks")
    shutil.copy(PROJECT / f"runbooks/{PHASE}.ipynb", tmp_path / "runbooks")
    monkeypatch.chdir(tmp_path)
    migration.source(*TABLES)
    found = Project(tmp_path, migration)
    yield found
    for held in migration.held():
        held_snapshots.release(held)


@pytest.fixture
def walk(project: Project, monkeypatch: pytest.MonkeyPatch) -> Callable[..., DataMigration]:
    """One attempt in this process, as the notebook's cells take it, up to and including a step."""

    def walked(until: str = "gate") -> DataMigration:
        project.attempts += 1
        made = folders.open_attempt(project.folder / "outputs", RUN, PHASE)
        project.ledger.append("attempt-started", phase=PHASE, attempt=made.name, notebook_sha256="a" * 64)
        for name, value in made.environment().items():
            monkeypatch.setenv(name, value)
        phase = DataMigration("local", [], apply=True)
        phase.survey()
        phase.export()
        if until == "export":
            return phase
        token = phase.check_stage()
        phase.load(token)
        if until == "load":
            return phase
        phase.load_databricks(token)
        if until == "load delta":
            return phase
        phase.verify()
        phase.gate()
        if until == "gate":
            return phase
        phase.verify_databricks()
        phase.gate_databricks()
        return phase

    return walked


class Crash(BaseException):
    pass


def crash_at(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, call: int, *, after: bool) -> pytest.MonkeyPatch:
    """Breaks off in the given call of a function, before it acts or after."""
    real, calls = getattr(owner, name), 0

    def broken(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        mine = calls  # others are called at the same time
        if mine == call and not after:
            raise Crash
        result = real(*args, **kwargs)
        if mine == call:
            raise Crash
        return result

    monkeypatch.setattr(owner, name, broken)
    return monkeypatch


POINTS = {
    "nothing exported": (export_state.ExportState, "write", 1, False),
    "one file exported": (export_state.ExportState, "write", 2, True),
    "manifest written": (export, "_remove_leftovers", 1, False),
    "exported, not said": (export, "export", 1, True),
    "nothing loaded": (load, "load", 1, False),
    "rows loaded, not committed": (snowflake_records.Record, "write", 2, True),
    "one table loaded": (SnowflakeLoader, "load_table", 1, True),
    "all tables loaded": (SnowflakeLoader, "load_table", 3, True),
    "loaded, not said": (load, "load", 1, True),
}
QUICK = {"one file exported", "manifest written", "one table loaded", "loaded, not said"}


@pytest.mark.parametrize("point", [pytest.param(p, marks=[] if p in QUICK else [pytest.mark.slow]) for p in POINTS])
def test_it_goes_on(project: Project, walk: Callable[..., DataMigration], point: str) -> None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Crash):
        owner, name, call, after = POINTS[point]
        crash_at(patch, owner, name, call, after=after)
        walk()
    # The source moves on; what was begun is finished in its snapshot.
    project.migration.source("INSERT INTO a VALUES (9999, 'later')", "DELETE FROM c WHERE n < 10")
    phase = walk()

    assert [len(project.done(step)) for step in ("s30-snapshot", "s30-export", "s30-load")] == [1, 1, 1]
    assert len(project.exports()) == 1
    assert project.exports() == {project.done("s30-export")[0].get("result")["export"]}
    started = [e for e in project.ledger.entries() if e.event == "step-started" and e.get("step") == "s30-load"]
    assert set(project.loads()) == {"a", "b", "c", snowflake_records.WHOLE.name}
    assert set(project.loads().values()) == {started[-1].get("load_id")}
    assert project.migration.target('SELECT COUNT(*) FROM "a"') == [(2000,)]
    assert phase.summary().startswith("EQUAL: 2,800 rows")
    assert project.ledger.verify() == []
    assert read_status(project.folder / "outputs" / RUN).next != "s30-export"


def test_what_was_done_is_skipped(project: Project, walk: Callable[..., DataMigration], capsys: Any) -> None:
    first = walk("load")
    loaded = first.load(first.check_stage())
    capsys.readouterr()
    again = walk("load")
    told = capsys.readouterr().out
    for step in ("s30-snapshot", "s30-export", "s30-load"):
        assert f"{step} skipped: attempt-01 did it" in told
    pd.testing.assert_frame_equal(again.load(again.check_stage()), loaded)
    pd.testing.assert_frame_equal(again.export(), first.export())


@pytest.mark.parametrize(
    ("spoil", "again"),
    [
        ('DELETE FROM "a" WHERE "id" < 5', "s30-load"),
        ('DROP TABLE "b"', "s30-load"),
        ("stage", "s30-export"),
    ],
)
def test_what_is_gone_is_made_again(
    project: Project, walk: Callable[..., DataMigration], spoil: str, again: str
) -> None:
    walk("load")
    if spoil == "stage":
        Bucket.open(project.migration.settings.stage).remove([manifests.NAME])
    else:
        project.migration.target(spoil)
    assert walk().summary().startswith("EQUAL")
    assert len(project.done(again)) == 2


def test_a_snapshot_that_no_longer_shows_the_source_is_let_go(
    project: Project, walk: Callable[..., DataMigration]
) -> None:
    walk("load")
    former = project.snapshots()
    project.migration.source("TRUNCATE a", "INSERT INTO a VALUES (1, 'new')")
    assert walk().summary().startswith("EQUAL: 801 rows")
    assert not former & project.snapshots()


def test_another_load_into_the_target_is_seen(project: Project, walk: Callable[..., DataMigration]) -> None:
    walk("load")
    project.migration.load(manifests.read(project.migration.bucket))
    assert walk().summary().startswith("EQUAL")
    assert len(project.done("s30-load")) == 2


def test_a_no_lets_the_snapshot_go_and_everything_is_done_anew(
    project: Project, walk: Callable[..., DataMigration]
) -> None:
    phase = walk("load delta")
    project.migration.target('UPDATE "a" SET "v" = \'spoiled\' WHERE "id" = 7')
    phase.verify()
    with pytest.raises(GateClosed):
        phase.gate()
    assert project.snapshots() == set()
    found = read_status(project.folder / "outputs" / RUN)
    (box,) = (step for step in found.steps if step.id == "s30-verify")
    assert (box.state, box.why.split(":")[0]) == ("failed", "s30-gate")
    project.migration.source("INSERT INTO a VALUES (9999, 'later')")
    assert walk().summary().startswith("EQUAL: 2,801 rows")
    assert [len(project.done(step)) for step in ("s30-snapshot", "s30-export", "s30-load")] == [2, 2, 2]


DELTA_POINTS = {
    "nothing loaded": (load, "load", 2, False, [2, 2, 2]),
    "one table loaded, not recorded": (DeltaLoader, "_fill", 1, True, [3, 2, 2]),
    "one table recorded": (delta_records.Record, "keep", 1, True, [2, 2, 2]),
    "all recorded, not whole": (delta_records.Record, "finish", 1, False, [2, 2, 2]),
    "loaded, not said": (load, "load", 2, True, [2, 2, 2]),
}
"""With the version that each table's log ends at: made in commit 0, filled in commit 1, marked as ours in commit 2, and filled
once more where nothing says whose rows it has."""


QUICK_DELTA = {"one table loaded, not recorded", "loaded, not said"}


@pytest.mark.parametrize(
    "point", [pytest.param(p, marks=[] if p in QUICK_DELTA else [pytest.mark.slow]) for p in DELTA_POINTS]
)
def test_the_delta_load_goes_on(project: Project, walk: Callable[..., DataMigration], point: str) -> None:
    owner, name, call, after, versions = DELTA_POINTS[point]
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Crash):
        crash_at(patch, owner, name, call, after=after)
        walk("delta")
    project.migration.source("INSERT INTO a VALUES (9999, 'later')")
    phase = walk("delta")
    assert [project.log(table).version() for table in "abc"] == versions
    assert [len(project.done(step)) for step in ("s30-load", "s30-load-databricks")] == [1, 1]
    assert project.log("a").to_pyarrow_table().num_rows == 2000
    assert "; Delta tables: equal" in phase.summary()
    again = walk("load delta")
    assert [project.log(table).version() for table in "abc"] == versions
    assert list(again.load_databricks(again.check_stage())["rows"]) == [2000, 500, 300]


@pytest.mark.parametrize(
    "spoil", ["row", pytest.param("table", marks=pytest.mark.slow), pytest.param("file", marks=pytest.mark.slow)]
)
def test_delta_tables_that_are_not_as_they_were_left_are_loaded_again(
    project: Project, walk: Callable[..., DataMigration], spoil: str
) -> None:
    walk("load delta")
    own = project.migration.settings
    lake = Lake.open(own.databricks, own.stage)
    if spoil == "row":
        project.log("a").delete("id < 5")
    elif spoil == "table":
        lake.remove("b")
    else:
        lake.bucket.remove([path for path in lake.bucket.sizes("c/") if path.endswith(".parquet")])
    assert "; Delta tables: equal" in walk("delta").summary()
    assert [len(project.done(step)) for step in ("s30-load", "s30-load-databricks")] == [1, 2]


def test_a_delta_table_that_somebody_made_anew_is_not_replaced(
    project: Project, walk: Callable[..., DataMigration]
) -> None:
    walk("load delta")
    own = project.migration.settings
    lake = Lake.open(own.databricks, own.stage)
    rows, versions = project.log("b").to_pyarrow_table(), project.log("b").version()
    lake.remove("b")
    for _ in range(versions + 1):  # the same number at the log's end, over a row less
        write_deltalake(lake.location("b"), rows.slice(1), mode="overwrite", storage_options=storage_options(own.stage))
    with pytest.raises(TargetRefused, match="no load of ours made b"):
        walk("delta")
    assert project.log("b").to_pyarrow_table().num_rows == len(rows) - 1


def test_a_wrong_cell_in_delta_closes_its_gate(project: Project, walk: Callable[..., DataMigration]) -> None:
    phase = walk("load delta")
    project.log("a").update({"v": "'spoiled'"}, predicate="id = 7")
    phase.verify()
    phase.gate()
    verdicts = phase.verify_databricks()
    assert dict(verdicts["verdict"]) == {"public.a": "different", "public.b": "equal", "public.c": "equal"}
    with pytest.raises(GateClosed, match="1 changed"):
        phase.gate_databricks()
    assert project.snapshots() == set()
    (report,) = project.folder.glob(f"outputs/{RUN}/*/*verify-databricks/report.html")
    assert "local stand-in for Databricks" in report.read_text(encoding="utf-8")
    found = read_status(project.folder / "outputs" / RUN)
    (box,) = (step for step in found.steps if step.id == "s30-verify")
    assert (box.state, box.why.split(":")[0]) == ("failed", "s30-gate-databricks")
    assert "; Delta tables: equal" in walk("delta").summary()


@pytest.mark.parametrize("apply", [True, False])
def test_without_a_delta_target_it_says_so(
    project: Project, walk: Callable[..., DataMigration], capsys: Any, apply: bool
) -> None:
    phase = walk("load")
    phase.settings = replace(phase.settings, values=phase.settings.values.model_copy(update={"databricks": None}))
    phase.apply = apply
    stage_checked = phase.check_stage()
    capsys.readouterr()
    assert phase.load_databricks(stage_checked).empty
    assert phase.verify_databricks().empty
    assert not isinstance(phase.gate_databricks(), Token)
    told = capsys.readouterr().out
    assert told.count("not configured: the profile local has no section databricks") == 3
    ends = [
        e for e in project.ledger.entries() if str(e.get("step")).endswith("databricks") and e.event != "step-started"
    ]
    assert [e.event for e in ends] == ["step-done" if apply else "step-planned"] * 3
    assert all(e.get("result")["not applicable"].startswith("not configured") for e in ends)
    assert not Lake.open(project.migration.settings.databricks, project.migration.settings.stage).tables()


def test_the_targets_own_schema_holds_the_migrated_tables_only(
    project: Project, walk: Callable[..., DataMigration]
) -> None:
    walk("load")
    target = project.migration.settings.snowflake
    rows = project.migration.target(
        f"SELECT TABLE_NAME FROM INFORMATION_SCHEMA.TABLES WHERE TABLE_SCHEMA = '{target.schema_}'"
    )
    assert {name for (name,) in rows} == {"a", "b", "c"}


RUNS = """
import sys
from pathlib import Path
from helpers.commands import main, places
folder = Path(sys.argv.pop(1))
places.RUNBOOKS, places.OUTPUTS = folder / "runbooks", folder / "outputs"
main()
"""


def command(project: Project, *words: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    for name in (folders.RUN, folders.RUN_DIR, folders.PHASE, folders.ATTEMPT):
        environment.pop(name, None)
    return subprocess.Popen(
        [sys.executable, "-c", RUNS, str(project.folder), *words],
        env=environment, cwd=project.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def test_the_command_lets_the_snapshot_go_when_it_is_done(project: Project) -> None:
    assert command(project, "run", "30", "--run", RUN).wait() == 0
    assert project.snapshots() == set()
    found = read_status(project.folder / "outputs" / RUN)
    assert found.attempts == {f"{PHASE}/attempt-01": "done"}
    states = {step.id: step.state for step in found.steps if step.phase == PHASE}
    assert states == {
        "s30-export": "done", "s30-load": "done", "s30-verify": "done", "s30-milestone": "done",
    }  # fmt: skip


def test_a_rehearsal_only_plans(project: Project) -> None:
    assert command(project, "run", "30", "--run", RUN, "--rehearse").wait() == 0
    states = {step.id: step.state for step in read_status(project.folder / "outputs" / RUN).steps}
    assert {states[step] for step in ("s30-export", "s30-load", "s30-verify")} == {"planned"}
    assert {e.event for e in project.ledger.entries() if e.get("step")} == {"step-planned"}
    assert project.exports() == set()
    assert project.snapshots() == set()


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_killed_fifty_times_at_random_moments(project: Project) -> None:
    """Seeded, so that a failure can be repeated; the moments still fall where the machine's speed puts them."""
    moments = random.Random(5)
    kills = finished = 0
    while kills < 50:
        process = command(project, "run", "30", "--run", RUN)
        try:
            assert process.wait(moments.uniform(0.5, 14)) == 0
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
        attempts = read_status(project.folder / "outputs" / RUN).attempts
        assert project.ledger.verify() == []
        # Also of a command that was killed behind its last line.
        if "done" in attempts.values():
            _as_if_undisturbed(project)
            finished += 1
            shutil.rmtree(project.folder / "outputs")
            project.migration.source(f"INSERT INTO a VALUES ({10_000 + finished}, 'more')")
        time.sleep(0.2)
    assert command(project, "run", "30", "--run", RUN).wait() == 0
    _as_if_undisturbed(project)


def _as_if_undisturbed(project: Project) -> None:
    entries = project.ledger.entries()
    assert [len(project.done(step)) for step in ("s30-export", "s30-load", "s30-load-databricks")] == [1, 1, 1]
    (load_id,) = set(project.loads().values())
    assert load_id in {e.get("load_id") for e in entries if e.event == "step-started" and e.get("step") == "s30-load"}
    assert manifests.read(project.migration.bucket).export == project.done("s30-export")[0].get("result")["export"]
    assert not [path for path in project.migration.bucket.sizes() if path.endswith(export_state.NAME)]
    started = {e.get("attempt") for e in entries if e.event == "attempt-started"}
    ended = {e.get("attempt"): e.get("status") for e in entries if e.event == "attempt-ended"}
    assert set(ended) == started
    assert set(ended.values()) <= {"killed", "done"}
    assert project.migration.verify().equal
    assert project.migration.verify("databricks").equal


def test_a_table_that_fails_stops_no_other_and_follows_in_the_same_snapshot(
    project: Project, walk: Callable[..., DataMigration]
) -> None:
    """Would catch: one value that stops the phase, a gate that opens without a table, the others exported a second time."""
    project.migration.source("CREATE TABLE d (id int PRIMARY KEY, day date)", "INSERT INTO d VALUES (1, 'infinity')")
    with pytest.raises(GateClosed, match=r"public\.d.*set aside by the export"):
        walk()
    staged = manifests.read(project.migration.bucket)
    assert ([t.name for t in staged.tables], list(staged.failed)) == (["a", "b", "c"], ["public.d"])
    assert set(project.loads()) >= {"a", "b", "c"}
    (held,) = project.snapshots()

    # The profile now says what becomes of the value, and the source has gone on.
    policy = '[profiles.local.export.policies]\n"public.d.day" = "null+flag"\n'
    for file in (project.folder / "migration.toml", project.folder / "runbooks" / "migration.toml"):
        if file.exists():
            file.write_text(file.read_text() + policy)
    project.migration.source("INSERT INTO a VALUES (9999, 'later')")
    walk("verify delta")
    after = manifests.read(project.migration.bucket)
    assert (after.snapshot, after.lsn, after.failed) == (held, staged.lsn, {})
    assert {t.files for t in staged.tables} <= {t.files for t in after.tables}
    assert project.done("s30-gate")[-1].get("result")["verdict"] == "equal"
