"""Each line of a ledger is signed as it is written, with a key that is gone when the next one is written.

Would catch: a cut, changed or inserted line that nobody notices before an attempt's end, a crash that looks like a cut, a key of
yesterday's lines that is still on the machine, a run that cannot go on where the keys were lost.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from evidence_support import People, Run, rewrite_ledger, whole_run

from helpers.checker.check import check
from helpers.checker.ledger_reader import read
from helpers.checker.line_signatures import LineSignatures, line_signatures
from helpers.errors import EvidenceError
from helpers.ledger import keys, line_keys
from helpers.ledger import ledger as ledgers
from helpers.ledger.ledger import Ledger


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "machine" / "run-key.pem"
    monkeypatch.setenv(keys.RUN_KEY, str(path))
    return path


@pytest.fixture
def run(tmp_path: Path, machine: Path) -> Run:
    ledger = Ledger.open(tmp_path / "outputs" / "first")
    ledger.append("run-opened", run="first", run_key=keys.run_signer().public_key.pem)
    for number in range(3):
        ledger.append("step-done", step=f"s30-{number}")
    return Run(ledger.path.parent, People(tmp_path / "people"))


def signatures(run: Run) -> LineSignatures:
    return line_signatures(read((run.folder / "ledger.jsonl").read_bytes())[0], keys.run_signer().public_key)


def kinds(run: Run) -> list[str]:
    return [each.kind for each in signatures(run).findings]


def kept(machine: Path) -> list[str]:
    [path] = (machine.parent / line_keys.FOLDER).iterdir()
    assert path.stat().st_mode & 0o077 == 0
    return [str(each) for each in json.loads(path.read_text())]


def test_every_line_is_signed_with_a_key_of_its_own(run: Run, machine: Path) -> None:
    assert signatures(run) == LineSignatures((), 4, ())
    assert len({line["next_key"] for line in run.lines()}) == 4
    assert len(kept(machine)) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: lines[2].update(step="s30-x"),
        lambda lines: lines.pop(1),
        lambda lines: lines.insert(2, dict(lines[2], step="s30-x")),
        lambda lines: lines[3].update(signature="AAAA"),
        lambda lines: lines[2].update(next_key="../../x"),
        lambda lines: lines[1].pop("next_key"),
    ],
)
def test_a_change_is_named_before_any_attempt_has_ended(
    run: Run, change: Callable[[list[dict[str, str]]], None]
) -> None:
    rewrite_ledger(run, change, chain=True)
    assert "line-signature" in kinds(run)


def test_a_line_that_an_engine_did_not_sign_is_named(run: Run) -> None:
    def forged(lines: list[dict[str, str]]) -> None:
        lines += [{"at": "", "event": name} for name in ("step-done", "approved")]

    rewrite_ledger(run, forged, chain=True)
    assert kinds(run) == ["line-unsigned"]


@pytest.mark.parametrize("cut", [1, 2])
def test_a_cut_end_is_refused(run: Run, cut: int) -> None:
    path = run.folder / "ledger.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-cut]))
    for _ in range(2):
        with pytest.raises(EvidenceError, match="end was cut off"):
            Ledger.open(run.folder).append("step-done", step="s30-y")
    with pytest.raises(EvidenceError, match="end was cut off"):
        line_keys.refuse_a_cut(run.lines(), "first")


def test_a_key_that_is_taken_today_does_not_sign_yesterday(run: Run, machine: Path) -> None:
    [file] = (machine.parent / line_keys.FOLDER).iterdir()
    taken = file.read_bytes()
    lines = run.lines()
    rewrite_ledger(run, lambda lines: lines.__delitem__(slice(2, None)), chain=True)
    private = line_keys._kept(file)[lines[-1]["next_key"]]
    value = {**lines[2], "step": "s30-x"}
    del value["signature"]
    forged = line_keys.LineKey(private, private, file).signed(value)
    rewrite_ledger(run, lambda lines: lines.append(forged))
    assert kinds(run) == ["line-signature"]
    assert file.read_bytes() == taken


@pytest.mark.parametrize("place", ["before the line", "in the line", "behind the line"])
@pytest.mark.parametrize("opening", [False, True])
def test_a_crash_is_no_cut(
    tmp_path: Path, run: Run, machine: Path, monkeypatch: pytest.MonkeyPatch, place: str, opening: bool
) -> None:
    folder = tmp_path / "outputs" / "second" if opening else run.folder
    ledger = Ledger.open(folder)
    shutil.rmtree(machine.parent / line_keys.FOLDER) if opening else None

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    at = {
        "before the line": (line_keys.LineKey, "signed"),
        "in the line": (line_keys.LineKey, "signed"),
        "behind the line": (line_keys.LineKey, "destroy"),
    }[place]
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(*at, crash)
        ledger.append("run-opened", run="second", run_key=keys.run_signer().public_key.pem)
    if place == "in the line" and not opening:
        with ledger.path.open("ab") as file:
            file.write(b'{"at":"20')
    again = Ledger.open(folder)
    if not ledger.entries():
        again.append("run-opened", run="second", run_key=keys.run_signer().public_key.pem)
    again.append("step-done", step="s30-z")
    found = signatures(Run(folder, run.people))
    assert found.findings == ()
    # The first line's successor is kept behind the line: a crash there makes the machine's key sign once more.
    assert found.anew == ((2,) if opening and place == "behind the line" else ())
    assert len(kept(machine)) == 1


def test_where_the_keys_are_lost_the_machine_signs_again_and_the_check_tells(run: Run, machine: Path) -> None:
    shutil.rmtree(machine.parent / line_keys.FOLDER)
    Ledger.open(run.folder).append("step-done", step="s30-4")
    Ledger.open(run.folder).append("step-done", step="s30-5")
    assert signatures(run) == LineSignatures((), 6, (5,))


def test_a_run_goes_on_with_a_copy_of_the_key_elsewhere_and_comes_back(
    run: Run, machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "elsewhere" / "run-key.pem"
    other.parent.mkdir()
    shutil.copy(machine, other)
    for number, path in enumerate((other, machine, other), start=5):
        monkeypatch.setenv(keys.RUN_KEY, str(path))
        Ledger.open(run.folder).append("step-done", step=f"s30-{number}")
    assert signatures(run) == LineSignatures((), 7, (5, 6, 7))


def test_where_nothing_can_be_kept_the_machine_signs_each_line(
    run: Run, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (machine.parent / "not-a-folder").write_text("")
    monkeypatch.setattr(line_keys, "FOLDER", "not-a-folder")
    Ledger.open(run.folder).append("step-done", step="s30-4")
    assert signatures(run) == LineSignatures((), 5, (5,))


def test_who_has_another_key_signs_nothing(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(keys.RUN_KEY, str(tmp_path / "none.pem"))
    Ledger.open(run.folder).append("approved", step="s30-4")
    assert not (tmp_path / "none.pem").exists()
    assert "signature" not in run.lines()[-1]


def test_a_sealed_run_with_signed_lines_is_intact_and_each_manipulation_is_named(
    tmp_path: Path, executed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = People(tmp_path / "people")
    monkeypatch.setenv(keys.RUN_KEY, str(people.key("machine")))
    monkeypatch.setattr(Run, "ledger", property(lambda self: _Ledger(self.folder / "ledger.jsonl")))
    done = whole_run(tmp_path / "outputs" / "first", people, executed)
    assert done.seal().verdict == "SEALED"
    found = check(done.folder, people.signer("sealer").public_key)
    assert found.findings == ()
    assert not any("signed" in note for note in found.notes)
    assert found.told["line_keys"]["signed"] == len(done.lines())
    assert done.lines()[0]["next_key"] == found.told["line_keys"]["first"]


class _Ledger(Ledger):
    """The product's; the run of the tests says itself that its ledger was torn once."""

    def _whole(self, file: int) -> list[object]:  # type: ignore[override]
        return list(ledgers._read(ledgers._content(file))[0])
