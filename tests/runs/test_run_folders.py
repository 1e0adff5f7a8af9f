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
