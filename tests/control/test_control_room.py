"""The control room shows a run as it is, follows it, and writes nothing.

Would catch: a tick that was not earned, a next command that does not fit, a run that is written to by being looked at, a ledger,
report or file of cells that ends the page when it is broken, HTML or a secret that comes through from a run, paging that
repeats, skips or reads whole files. The slow one takes a real migration.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import platform
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from room_support import started

from helpers import checklist
from helpers.control_room import differences, evidence, flow, overview, view
from helpers.errors import AwaitingPerson, GateClosed
from helpers.ledger.ledger import NAME, Ledger
from helpers.ledger.steps import Run
from helpers.process_identity import start_of
from helpers.redaction import remember
from helpers.runs.following import Following

PROJECT = Path(__file__).resolve().parents[2]
PHASE = "30_data_migration"
BUILT = [step for step in checklist.steps_for_option("A") if step.phase == PHASE]


def opened(folder: Path, **process: Any) -> Run:
    """A run with an attempt that this process executes, unless `process` says otherwise."""
    ledger = Ledger.open(folder)
    ledger.append("run-opened", run=folder.name, option="A", profile="local", apply=True, git={})
    me = {"host": platform.node(), "pid": os.getpid(), "started": start_of(os.getpid())}
    ledger.append(
        "attempt-started", phase=PHASE, attempt="attempt-01", notebook_sha256="a" * 64, parameters={}, by="ann",
        process={**me, **process},
    )  # fmt: skip
    return Run(ledger, PHASE, "attempt-01")


def take_all_before(run: Run, step: str) -> None:
    """Takes every step of the checklist that stands before one."""
    for each in checklist.steps_for_option("A"):
        if each.id == step:
            return
        for name in each.ids:
            with run.step(name, inputs={}):
                pass


def content(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*") if path.is_file()
    }  # fmt: skip


def whole(folder: Path) -> str:
    """Everything that the control room shows of a run, as one text."""
    found = overview.overview(folder)
    verified = differences.verifications(folder)
    parts = [
        view.top(found, [found]),
        view.overview(found),
        view.steps(found),
        view.data(flow.flow(folder), folder.name),
    ]
    parts += [view.verified(each, folder.name) for each in verified]
    parts += [
        view.cells(differences.page(table.cells), table) for each in verified for table in each.differing if table.cells
    ]
    parts += [view.evidence(evidence.evidence(folder), folder.name), view.checked(evidence.checked(folder))]
    return "\n".join(parts)


def test_a_run_that_is_not_there_is_shown_as_such(tmp_path: Path) -> None:
    found = overview.overview(tmp_path / "nothing")
    assert (found.exists, found.problem, found.count("done")) == (False, "", 0)
    assert (found.state, found.counted) == ("not begun", found.counted)
    assert "There is no run nothing yet" in view.top(found, [])
    assert "no ledger yet" in whole(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def test_looking_writes_nothing_even_where_an_attempt_was_killed(tmp_path: Path) -> None:
    run = opened(tmp_path / "r", started=1.0)
    take_all_before(run, "s30-load")
    with (run.ledger or pytest.fail()).path.open("ab") as file:
        file.write(b'{"at":"2026')
    before = content(tmp_path)
    assert "killed" not in before
    whole(tmp_path / "r")
    overview.version(tmp_path / "r")
    assert content(tmp_path) == before
    assert overview.overview(tmp_path / "r").status.attempts == {f"{PHASE}/attempt-01": "killed"}


def test_a_line_that_is_not_whole_is_shown_and_takes_no_tick_away(tmp_path: Path) -> None:
    run = opened(tmp_path)
    take_all_before(run, "s30-load")
    done = overview.overview(tmp_path).count("done")
    assert done
    with (tmp_path / NAME).open("ab") as file:
        file.write(b'{"at":"2026')
    found = overview.overview(tmp_path)
    assert found.count("done") == done
    assert "no whole line" in found.torn
    assert "no whole line" in view.top(found, [])


def test_an_unreadable_line_is_named_and_the_rest_is_shown(tmp_path: Path) -> None:
    take_all_before(opened(tmp_path), "s30-load")
    done = overview.overview(tmp_path).count("done")
    path = tmp_path / NAME
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], b'{"at":"2026 garbage\n', *lines[4:]]))
    found = overview.overview(tmp_path)
    assert found.state == "tampered"
    assert 0 < found.count("done") <= done
    page = view.top(found, [])
    assert "Line 4 is not readable" in page and "proves nothing" in page
    assert found.following.command.startswith("find out") and "runbook run" not in page


def test_a_line_that_was_changed_is_named(tmp_path: Path) -> None:
    take_all_before(opened(tmp_path), "s30-load")
    path = tmp_path / NAME
    path.write_bytes(path.read_bytes().replace(b'"by":"ann"', b'"by":"bob"'))
    found = overview.overview(tmp_path)
    assert (found.state, found.running) == ("tampered", found.running)
    assert "line 3" in found.following.why
    assert "runbook run" not in found.following.command
    assert "Line 3 does not follow" in view.top(found, [])
    assert evidence.evidence(tmp_path).problems


@pytest.mark.parametrize(
    "data", [b"\xff\x00", b"[]\n", b'{"n":1}\n', b"\n\n\n", b'{"at":1,"event":2,"n":1,"prev":3}\n']
)
def test_whatever_the_ledger_holds_the_page_stands(tmp_path: Path, data: bytes) -> None:
    (tmp_path / NAME).write_bytes(data)
    assert whole(tmp_path)


def test_a_line_of_odd_fields_is_a_problem_and_no_crash(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path)
    ledger.append("run-opened", run=1, option=None, profile=[])
    ledger.append("step-failed", step="s30-export", error=7)
    ledger.append("attempt-started", phase=5, attempt={}, process="x")
    found = overview.overview(tmp_path)
    assert found.problem or found.status.entries == 3
    assert whole(tmp_path)


def test_what_runs_is_told_with_its_step(tmp_path: Path) -> None:
    run = opened(tmp_path)
    take_all_before(run, "s30-load")
    with run.step("s30-load", inputs={}):
        (running,) = overview.overview(tmp_path).running
        assert (running.phase, running.attempt, running.step) == (PHASE, "attempt-01", "s30-load")
        assert (running.title, running.done, running.steps) == ("Import to Modern System", 4, 11)
        page = view.top(overview.overview(tmp_path), [])
        assert "Import to Modern System" in page and "as planned" in page
    (running,) = overview.overview(tmp_path).running
    assert running.step == ""


def following(folder: Path) -> Following:
    return overview.overview(folder).following


def test_the_next_command_fits_what_happened(tmp_path: Path) -> None:
    run = opened(tmp_path / "r", started=1.0)
    take_all_before(run, "s30-export")
    assert following(tmp_path / "r").command == "runbook run 30 --run r"
    with run.step("s30-export", inputs={}, apply=False):
        pass
    assert following(tmp_path / "r").step == "s30-export"
    for step in BUILT:
        for name in step.ids:
            with run.step(name, inputs={}, apply=False):
                pass
    assert following(tmp_path / "r").command == "runbook run 30 --run r --apply"
    with pytest.raises(GateClosed), run.step("s30-export", inputs={}):
        raise GateClosed("pass the gate", on="g", why="3 differ", next_step="look at them")
    found = following(tmp_path / "r")
    assert (found.state, found.command) == ("failed", "runbook run 30 --run r")
    assert "3 differ → look at them" in found.why


def test_a_person_is_asked_by_the_command_they_need(tmp_path: Path) -> None:
    run = opened(tmp_path / "r", started=1.0)
    take_all_before(run, "s30-export")
    ledger = run.ledger or pytest.fail()
    payload = {"run": "r", "step": "s30-export", "plan_sha256": "abcdef0123456789", "lsn": "0/1"}
    with pytest.raises(AwaitingPerson), run.step("s30-export", inputs={}):
        raise AwaitingPerson("go on", on="x", why="nobody", next_step="sign")
    ledger.append("awaiting", step="s30-export", what="approval", payload=payload, payload_sha256="", needed=2)
    assert following(tmp_path / "r").command == (
        "runbook approve s30-export --run r --by PERSON --key PATH --plan abcdef012345"
    )
    ledger.append("awaiting", step="s30-export", what="attestation")
    assert following(tmp_path / "r").command.startswith("runbook attest s30-export --run r --by PERSON")


def test_what_a_run_says_is_text_and_no_secret_comes_through(tmp_path: Path) -> None:
    run = opened(tmp_path, started=1.0)
    secret = remember("correct-horse-battery-staple")
    with pytest.raises(GateClosed), run.step("s30-export", inputs={}):
        raise GateClosed(
            "pass", on="<img src=x onerror=alert(1)>", why="<script>alert(1)</script>", next_step=f"use {secret}"
        )
    (tmp_path / PHASE).mkdir()
    cells = tmp_path / PHASE / "attempt-01-verify-snowflake"
    cells.mkdir()
    duckdb.sql(
        f"COPY (SELECT '<b>k</b>' AS key, '<i>c</i>' AS column, '<script>x</script>' AS source, '{secret}' AS target) "
        f"TO '{cells / 's.t.cells.parquet'}' (FORMAT parquet)"
    )
    (tmp_path / PHASE / "attempt-01-verify-snowflake.json").write_text(
        json.dumps(reported(cells / "s.t.cells.parquet", "<u>t</u>"))
    )
    text = whole(tmp_path)
    assert not re.search(r"<(script|img|b|i|u)[ >]", re.sub(r'<i class="[^"]*"( title="[^"]*")?>', "", text))
    assert "&lt;script&gt;" in text
    assert secret not in text


def reported(cells: Path | str | None, name: str = "t", verdict: str = "different") -> dict[str, Any]:
    table = {
        "schema": "s", "name": name, "verdict": verdict, "rows_source": 3, "rows_target": 3, "changed": 1,
        "columns": {"c": {"changed": 1, "diagnosis": "rounded"}}, "cells_file": str(cells) if cells else None,
    }  # fmt: skip
    return {"verdict": verdict, "target": "snowflake", "lsn": "0/1", "tables": [table]}


def test_a_report_finds_its_cells_where_the_run_was_copied_to(tmp_path: Path) -> None:
    folder = tmp_path / PHASE / "attempt-01-verify-snowflake"
    folder.mkdir(parents=True)
    duckdb.sql(
        f"COPY (SELECT 'k' AS key, 'c' AS column, 'a' AS source, NULL::VARCHAR AS target) TO '{folder / 's.t.cells.parquet'}' (FORMAT parquet)"
    )
    report = tmp_path / PHASE / "attempt-01-verify-snowflake.json"
    report.write_text(json.dumps(reported("/somewhere/else/s.t.cells.parquet")))
    (verification,) = differences.verifications(tmp_path)
    (table,) = verification.differing
    assert (verification.verdict, table.columns[0].diagnosis, table.lost) == ("different", "rounded", False)
    assert differences.page(table.cells or Path()).rows[0].target is None
    report.write_text(json.dumps(reported("/somewhere/else/gone.cells.parquet")))
    (verification,) = differences.verifications(tmp_path)
    assert (verification.differing, verification.tables[0].lost) == ((), True)
    assert "is not there" in view.verified(verification, "r")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"tables": [1]}', '{"verdict": "equal", "tables": [{}]}', "null"])
def test_a_report_that_cannot_be_read_says_so(tmp_path: Path, text: str) -> None:
    (tmp_path / PHASE).mkdir()
    (tmp_path / PHASE / "attempt-01-verify-stage.json").write_text(text)
    (verification,) = differences.verifications(tmp_path)
    assert "cannot be read" in verification.problem
    assert whole(tmp_path)


def test_a_file_of_cells_that_is_no_parquet_says_so(tmp_path: Path) -> None:
    path = tmp_path / "x.cells.parquet"
    path.write_bytes(b"PAR1 half written")
    found = differences.page(path)
    assert "cannot be read" in found.problem
    assert (differences.names(path), differences.pages(path)) == ([], 1)
    assert "cannot be read" in differences.page(tmp_path / "absent").problem


@pytest.fixture(scope="module")
def million(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A million differing cells, of which every third is of another column, and one is longer than any screen."""
    path = tmp_path_factory.mktemp("million") / "public.big.cells.parquet"
    with duckdb.connect(config={"memory_limit": "512MB", "threads": 1}) as connection:
        connection.execute(
            "COPY (SELECT CAST(json_object('id', i) AS VARCHAR) AS key, if(i % 3 = 0, 'price', 'name') AS column, "
            "if(i = 700000, repeat('x', 100000), repeat('s', 600) || i) AS source, repeat('t', 600) || i AS target "
            f"FROM range(1000000) AS r(i)) TO '{path}' (FORMAT parquet)"
        )
    return path


def test_pages_of_a_million_cells_are_read_one_at_a_time(million: Path) -> None:
    # Held at once, the values of all cells would need more than twice the memory that the connection may take.
    assert differences.columns(million) == {"name": 666_666, "price": 333_334}
    assert differences.pages(million) == 20_000
    for number in (0, 1, 9_999, 19_999):
        found = differences.page(million, offset=number * 50)
        ids = [json.loads(row.key or "")["id"] for row in found.rows]
        assert ids == list(range(number * 50, number * 50 + 50))
        assert found.total == 1_000_000
    again = differences.page(million, offset=499_950)
    assert again == differences.page(million, offset=499_950)
    assert len(differences.page(million, limit=10**9).rows) == 1000


def test_a_filter_pages_its_own_cells_and_the_end_is_the_last_page(million: Path) -> None:
    found = differences.page(million, column="price", offset=100_000)
    assert [json.loads(row.key or "")["id"] for row in found.rows] == [3 * n for n in range(100_000, 100_050)]
    last = differences.page(million, column="price", offset=10**12)
    assert (last.offset, len(last.rows), last.total) == (333_300, 34, 333_334)
    assert differences.page(million, column="it's").rows == ()


def test_a_long_value_is_cut_and_its_length_told(million: Path) -> None:
    (row,) = differences.page(million, offset=700_000, limit=1).rows
    assert (len(row.source or ""), row.source_length) == (differences.LONGEST, 100_000)
    table = differences.VerifiedTable("public.big", "different", cells=million)
    assert "100,000 characters" in view.cells(differences.page(million, offset=700_000, limit=1), table)


def test_the_data_are_told_by_ledger_and_reports(tmp_path: Path) -> None:
    run = opened(tmp_path)
    with run.step("s30-snapshot", inputs={}) as step:
        step.result = {"lsn": "0/2A", "snapshot": "x", "exact": True}
    with run.step("s30-export", inputs={}) as step:
        step.result = {"export": "e", "lsn": "0/2A", "rows": 3, "bytes": 2048}
    (tmp_path / PHASE).mkdir()
    for target in ("stage", "snowflake"):
        value = reported(None, verdict="equal") | {"target": target}
        (tmp_path / PHASE / f"attempt-01-verify-{target}.json").write_text(json.dumps(value))
    found = flow.flow(tmp_path, None, "the stage cannot be asked")
    assert (found.lsn, found.export, found.rows, found.bytes, found.targets) == ("0/2A", "e", 3, 2048, ("snowflake",))
    (table,) = found.tables
    assert (table.rows_source, table.rows_staged, table.files, table.held) == (
        3,
        3,
        None,
        (flow.Held("snowflake", 3, "equal"),),
    )
    assert "The stage cannot be asked" in view.data(found, "r")


def test_the_version_changes_with_each_line_report_and_death(tmp_path: Path) -> None:
    seen = [overview.version(tmp_path / "r")]
    run = opened(tmp_path / "r")
    seen.append(overview.version(tmp_path / "r"))
    with run.step("s30-export", inputs={}):
        seen.append(overview.version(tmp_path / "r"))
    seen.append(overview.version(tmp_path / "r"))
    (tmp_path / "r" / PHASE).mkdir()
    (tmp_path / "r" / PHASE / "attempt-01-verify-stage.json").write_text("{}")
    seen.append(overview.version(tmp_path / "r"))
    assert len(set(seen)) == len(seen)
    assert overview.version(tmp_path / "r") == seen[-1]


def room(monkeypatch: pytest.MonkeyPatch, outputs: Path, run: str) -> Any:
    """The notebook's cells, run by marimo itself."""
    for name, value in ((overview.OUTPUTS, str(outputs)), (overview.RUN, run), (overview.KEY, "")):
        monkeypatch.setenv(name, value)
    spec = importlib.util.spec_from_file_location("control_room_notebook", PROJECT / "runbooks" / "control_room.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.app.run()


@pytest.mark.parametrize("state", ["absent", "open", "broken"])
def test_the_notebooks_cells_run_over_any_run(state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if state != "absent":
        opened(tmp_path / "r")
    if state == "broken":
        (tmp_path / "r" / NAME).write_bytes(b"{}\n")
    outputs, definitions = room(monkeypatch, tmp_path, "r")
    assert definitions["found"].run == "r"
    shown = "".join(str(getattr(each, "text", "")) for each in outputs)
    assert {"absent": "There is no run r yet", "open": "attempt-01, for", "broken": "Line 1 is not readable"}[
        state
    ] in shown


def test_a_run_that_there_is_not_is_refused(tmp_path: Path) -> None:
    opened(tmp_path / "there")
    process, address = started(tmp_path, "--run", "nosuch")
    _, said = process.communicate(timeout=120)
    assert (process.returncode, address) == (2, "")
    assert "there is no such run" in said and "there" in said.split("next")[1]


@pytest.mark.slow
def test_a_real_migration_is_shown_from_source_to_target(
    migration: Any, migration_toml: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from helpers.runs.cell_progress import Silence
    from helpers.runs.run import execute

    migration.source("CREATE TABLE orders (id int PRIMARY KEY, price numeric(9,2))",
                     "INSERT INTO orders SELECT i, i * 1.5 FROM generate_series(1, 200) i")  # fmt: skip
    runbooks = tmp_path / "runbooks"
    runbooks.mkdir()
    migration_toml(migration.profile, tmp_path, runbooks)
    shutil.copy(PROJECT / "runbooks" / f"{PHASE}.ipynb", runbooks)
    result = execute(
        runbooks / f"{PHASE}.ipynb", run="r", parameters={"apply": True}, outputs=tmp_path / "outputs", report=Silence()
    )
    assert result.status == "done", result.failure
    run = tmp_path / "outputs" / "r"
    before = content(run)
    monkeypatch.chdir(tmp_path)
    found = flow.flow(run, *flow.staged_manifest("local"))
    (table,) = found.tables
    assert (table.table, table.rows_source, table.rows_staged, table.files, table.staged_verdict) == (
        "public.orders", 200, 200, 1, "equal",
    )  # fmt: skip
    assert table.bytes
    assert [(held.rows, held.verdict) for held in table.held] == [(200, "equal")] * len(found.targets)
    (attempt,) = evidence.evidence(run).attempts
    assert (attempt.html, attempt.status) == (f"{PHASE}/attempt-01.html", "done")
    assert "public.orders" in whole(run)
    assert content(run) == before
