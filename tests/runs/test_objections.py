"""A verification that found a difference stands against the run until a later one outweighs it.

Would catch: a run that is sealed although the last word about its data is "different"; an equal verdict on less, or on another
target, that hides a difference; a report that is lost or replaced; a ledger that is written to behind a seal.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from evidence_support import Run
from hypothesis import given
from hypothesis import strategies as st
from run_support import PROJECT, own_project
from typer.testing import CliRunner

from helpers import settings as profiles
from helpers.checker.objections import find_objections
from helpers.commands import places
from helpers.commands.app import app
from helpers.control_room.differences import verifications
from helpers.control_room.overview import overview
from helpers.errors import EvidenceRefused, UsageError
from helpers.ledger import keys
from helpers.ledger import verifications as objections
from helpers.ledger.ledger import Ledger
from helpers.platforms import postgres
from helpers.runs.status import read_status
from helpers.verify.plan import VerifyPlan
from helpers.verify.report import Report, TableReport


def found(folder: Path, verdicts: dict[str, str], target: Any = "postgresql", on: str = "there", **asked: Any) -> Path:
    tables = tuple(TableReport("public", name, verdict) for name, verdict in verdicts.items())  # type: ignore[arg-type]
    here = profiles.Source.model_construct(host="h", port=1, dbname="here", user="u")
    cells = folder / f"verify-{sum(1 for _ in folder.glob('verify*.json'))}"
    plan = VerifyPlan(
        here, "postgresql", target, "full", "", "0/1", "", True, (), cells, None, None,
        profiles.Settings("local", PROJECT / "migration.toml", profiles.Profile()),
        target_source=here.model_copy(update={"dbname": on}),
    )  # fmt: skip
    return objections.record(folder, Report("0/1", "", "postgresql", target, tables), plan, asked)


EQUAL, DIFFERENT = {"a": "equal", "b": "equal"}, {"a": "equal", "b": "different"}


@pytest.mark.parametrize(
    ("after", "stands"),
    [
        ({}, False),
        ({"verdicts": {"a": "equal"}}, True),
        ({"target": "stage"}, True),
        ({"on": "elsewhere"}, True),
        ({"where": "id < 5"}, True),
        ({"check": "row-counts"}, True),
        ({"tolerance": ["public.b.x=1"]}, True),
        ({"verdicts": DIFFERENT}, True),
        ({"verdicts": {"a": "equal", "b": "refused"}}, True),
    ],
)
def test_only_what_saw_as_much_outweighs_a_difference(tmp_path: Path, after: dict[str, Any], stands: bool) -> None:
    ledger = Ledger.open(tmp_path)
    ledger.append("run-opened", run="r", option="A", profile="local")
    found(tmp_path, DIFFERENT)
    (standing,) = find_objections(ledger.entries())
    assert (standing.target, standing.report, standing.tables) == ("postgresql", "verify-0.json", ("public.b",))
    found(tmp_path, **{"verdicts": EQUAL, **after})
    assert bool(find_objections(ledger.entries())) == stands
    assert bool(read_status(tmp_path).objections) == stands


def test_the_same_question_answered_otherwise_outweighs(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path)
    found(tmp_path, DIFFERENT, where="id < 5")
    found(tmp_path, EQUAL, where="id < 5")
    assert find_objections(ledger.entries()) == ()


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["equal", "different", "refused"]), st.sampled_from(["snowflake", "stage"]),
            st.sampled_from([{}, {"where": "x"}]),
        )
    )
)  # fmt: skip
def test_the_last_word_of_a_target_on_everything_decides(said: list[tuple[str, str, dict[str, str]]]) -> None:
    class Line:
        event = "verified"

        def __init__(self, n: int, verdict: str, target: str, asked: dict[str, str]) -> None:
            self.fields = {
                "verdict": verdict, "target": target, "on": target, "asked": asked, "tables": ["t"], "report": str(n),
                "differing": [] if verdict == "equal" else ["t"],
            }  # fmt: skip

    standing = {o.report for o in find_objections([Line(n, *each) for n, each in enumerate(said)])}
    for n, (verdict, target, asked) in enumerate(said):
        outweighed = any(v == "equal" and t == target and a in ({}, asked) for v, t, a in said[n + 1 :])
        assert (str(n) in standing) == (verdict != "equal" and not outweighed)


def test_a_run_with_a_difference_is_not_sealed_and_says_what_to_do(ready: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(keys.RUN_KEY, str(ready.people.key("machine")))
    found(ready.folder, DIFFERENT)
    with pytest.raises(EvidenceRefused) as refused:
        ready.seal()
    name = ready.folder.name
    assert "verify-0.json: postgresql was found different in public.b" in refused.value.why
    assert f"runbook verify --target postgresql --run {name} --target-dsn-env VARIABLE" in refused.value.why
    found(ready.folder, EQUAL)
    sealed = ready.seal()
    assert sealed.verdict == "SEALED"
    before = ready.ledger.path.read_bytes()
    (ready.folder).chmod(0o755)
    with pytest.raises(UsageError, match="sealed in the meantime"):
        found(ready.folder, DIFFERENT)
    assert ready.ledger.path.read_bytes() == before


def test_a_line_that_says_nothing_of_use_is_an_objection(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path)
    ledger.append("verified", differing=None)
    assert len(find_objections(ledger.entries())) == 1


@pytest.fixture
def verify(migration: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    own_project(tmp_path, migration)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(places, "OUTPUTS", tmp_path / "outputs")

    def run(*words: str) -> Any:
        done = CliRunner().invoke(app, ["verify", "--run", "r", "--json", *words])
        return done.exit_code, json.loads(done.stdout)

    return run


def test_the_command_keeps_its_report_and_tells_the_ledger(
    migration: Any, tmp_path: Path, verify: Callable[..., Any]
) -> None:
    migration.source("CREATE TABLE t (id int PRIMARY KEY, v text)", "INSERT INTO t VALUES (1, 'a'), (2, 'b')")
    migration.migrate()
    folder = tmp_path / "outputs/r"
    assert verify()[0] == 0
    assert not (folder / "ledger.jsonl").exists(), "a run that nobody began is not begun by a look at its data"
    Ledger.open(folder).append("run-opened", run="r", option="A", profile="local")

    migration.target("""UPDATE "t" SET "v" = 'x' WHERE "id" = 1""")
    code, report = verify()
    assert (code, report["verdict"]) == (1, "different")
    kept = folder / "verify-2.json"
    assert json.loads(kept.read_text())["tables"][0]["changed"] == 1
    line = Ledger(folder / "ledger.jsonl").entries()[-1]
    assert (line.event, line.get("verdict"), line.get("asked")) == ("verified", "different", {})
    assert line.get("sha256") == hashlib.sha256(kept.read_bytes()).hexdigest()
    (youngest, first) = verifications(folder)
    assert (youngest.verdict, youngest.tables[0].changed, youngest.tables[0].columns[0].name) == ("different", 1, "v")
    assert youngest.tables[0].cells and youngest.page == "verify-2/report.html"
    assert first.verdict == "equal"
    assert "verify-2.json" in str(overview(folder).status.objections[0])

    assert verify("--where", "id = 2")[0] == 0
    assert read_status(folder).objections
    migration.target("""UPDATE "t" SET "v" = 'a' WHERE "id" = 1""")
    assert verify()[0] == 0
    assert not read_status(folder).objections


def test_a_full_disk_does_not_cost_the_answer(
    migration: Any, tmp_path: Path, verify: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    migration.source("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    migration.migrate()
    migration.target('DELETE FROM "t"')
    monkeypatch.setattr(objections, "create_exclusively", full)
    code, report = verify()
    assert (code, report["verdict"]) == (1, "different")
    assert not (tmp_path / "outputs/r/verify.json").exists()


def test_another_server_that_is_equal_outweighs_nothing(
    migration: Any, fresh_migration: Any, tmp_path: Path, verify: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "outputs/r"
    Ledger.open(folder).append("run-opened", run="r", option="A", profile="local")
    migration.source("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    migration.migrate()
    words = ("--target", "postgresql", "--target-dsn-env", "THERE")
    with fresh_migration() as other:
        other.source("CREATE TABLE t (id int PRIMARY KEY)")
        monkeypatch.setenv("THERE", postgres.dsn(other.settings.source))
        assert verify(*words)[0] == 1
        monkeypatch.setenv("THERE", postgres.dsn(migration.settings.source))
        assert verify(*words)[0] == 0
        assert read_status(folder).objections
        other.source("INSERT INTO t VALUES (1)")
        monkeypatch.setenv("THERE", postgres.dsn(other.settings.source))
        assert verify(*words)[0] == 0
        assert not read_status(folder).objections
