"""Folders and files of a run: never a name twice, never a file replaced."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.errors import UsageError
from helpers.ledger import folders
from helpers.runs import attempts


def _take(outputs: Path, times: int) -> list[int]:
    return [folders.open_attempt(outputs, "r", "30_x").number for _ in range(times)]


def test_attempts_count_up_and_are_notebooks_from_the_start(tmp_path: Path) -> None:
    first, second = (folders.open_attempt(tmp_path, "r", "30_x") for _ in range(2))
    assert (first.name, second.name) == ("attempt-01", "attempt-02")
    nbformat.validate(nbformat.read(first.notebook, as_version=4))
    assert first.notebook.stat().st_mode & 0o400
    (tmp_path / "r/30_x/attempt-100.ipynb").touch()
    assert folders.open_attempt(tmp_path, "r", "30_x").number == 101


def test_two_processes_never_take_the_same_number(tmp_path: Path) -> None:
    with multiprocessing.get_context("fork").Pool(2) as pool:
        taken = pool.starmap(_take, [(tmp_path, 40), (tmp_path, 40)], chunksize=1)
    assert sorted(taken[0] + taken[1]) == list(range(1, 81))


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "../x", "/etc", "a\\b", "a\n", "x" * 65, "a..b", ".x", "x.", "ü", "-x", "a b", "a\0"]
)
def test_a_name_that_is_no_folder_is_refused(tmp_path: Path, name: str) -> None:
    for run, phase in ((name, "30_x"), ("r", name)):
        with pytest.raises(UsageError):
            folders.open_attempt(tmp_path / "outputs", run, phase)
    assert not (tmp_path / "outputs").exists()


@given(st.text())
def test_what_is_accepted_is_one_plain_folder(name: str) -> None:
    try:
        folders.checked_name(name, kind="run")
    except UsageError:
        return
    assert Path(name).name == name
    assert name.isascii()


def test_a_link_out_of_the_outputs_is_refused(tmp_path: Path) -> None:
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs/r").symlink_to(tmp_path)
    with pytest.raises(UsageError):
        folders.open_attempt(tmp_path / "outputs", "r", "30_x")


def test_outside_a_run_there_is_one_scratch_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in (folders.RUN_DIR, folders.PHASE, folders.ATTEMPT):
        monkeypatch.delenv(variable, raising=False)
    folders._scratch_folder.cache_clear()
    (tmp_path / "runbooks").mkdir()
    (tmp_path / "outputs").mkdir()
    monkeypatch.chdir(tmp_path / "runbooks")
    folder = folders.run_folder()
    assert folder.parent == tmp_path / "outputs"
    assert folder.name.startswith("interactive-")
    assert folders.run_folder() == folder
    folders.report_path("a.json").touch()
    assert folders.report_path("a.json") == folder / "a-2.json"
    folders._scratch_folder.cache_clear()


def test_what_a_run_makes_is_for_its_owner_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "outputs").mkdir(mode=0o755)
    (tmp_path / "theirs.txt").touch(mode=0o644)
    attempt, ledger = attempts.start(
        tmp_path / "outputs",
        "r",
        Path(__file__).resolve().parents[2] / "runbooks" / "30_data_migration.ipynb",
        {},
        option="A",
    )
    for name, value in attempt.environment().items():
        monkeypatch.setenv(name, value)
    cells = folders.report_path("verify-x.json").with_suffix("")
    cells.mkdir(mode=0o755)
    (cells / "s.t.cells.parquet").touch(mode=0o644)
    (cells / "link").symlink_to(tmp_path / "theirs.txt")
    folders.write_atomically(attempt.html, "<p>")
    attempts.end(ledger, attempt, "done", 0)
    run = tmp_path / "outputs" / "r"
    found = {
        path.relative_to(run).as_posix(): path.stat().st_mode & 0o777
        for path in (run, *run.rglob("*"))
        if not path.is_symlink()
    }
    assert {name for name, mode in found.items() if mode & 0o077} == set()
    assert {"ledger.jsonl", "30_data_migration/attempt-01.ipynb", "30_data_migration/attempt-01.html"} <= set(found)
    # What lies outside stays as it is, also where a link leads to it.
    assert [path.stat().st_mode & 0o777 for path in (tmp_path / "outputs", tmp_path / "theirs.txt")] == [0o755, 0o644]
