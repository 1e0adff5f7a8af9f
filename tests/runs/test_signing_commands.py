"""The commands keygen, attest, approve, seal and verify-evidence, from a migration.toml to an exit code.

Would catch: a command that signs by the rules of another profile, that exits 0 for a refusal, or that prints more than one
object with --json.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from evidence_support import DECLARED, LSN, PHASE, PLAN, People, Run, TestLedger, digest, open_run
from typer.testing import CliRunner

from helpers.commands import places
from helpers.commands.app import app
from helpers.errors import AwaitingPerson, MigrationError
from helpers.evidence import approvals, heads, signing
from helpers.settings import load_approvals

MIGRATION = """
[profiles.production.approvals.people]
alice = "alice.pem.pub"
bob = "bob.pem.pub"
carol = "carol.pem.pub"
[profiles.lenient.approvals]
thresholds = { destructive = 1 }
people = { alice = "alice.pem.pub" }
"""


@pytest.fixture
def run(tmp_path: Path, people: People, executed: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run that awaits an approval, among the outputs of a project of its own."""
    if importlib.util.find_spec("helpers.ledger.ledger") is None:
        module = ModuleType("helpers.ledger.ledger")
        module.Ledger = TestLedger  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "helpers.ledger.ledger", module)
    monkeypatch.setattr(signing, "declared_steps", lambda option, known: iter(DECLARED))
    monkeypatch.setattr(places, "OUTPUTS", tmp_path / "runs")
    monkeypatch.chdir(people.folder)
    (people.folder / "migration.toml").write_text(MIGRATION)
    (tmp_path / "runs/first").mkdir(parents=True)
    found = open_run(tmp_path / "runs/first", people, executed)
    with pytest.raises(AwaitingPerson):
        require(found)
    return found


def require(run: Run) -> approvals.ApprovalToken:
    return approvals.require(run.folder, "s30-load", PLAN, LSN, load_approvals("production"), ledger=run.ledger)


def runbook(*arguments: str) -> tuple[int, Any]:
    done = CliRunner().invoke(app, [*arguments, "--json"])
    if isinstance(done.exception, MigrationError):
        return done.exception.exit_code, done.exception.as_dict()
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, json.loads(done.stdout)


def sign(verb: str, step: str, by: str, *more: str, key: str | None = None) -> tuple[int, Any]:
    return runbook(verb, step, "--run", "first", "--by", by, "--key", f"{key or by}.pem", *more)


def test_a_run_from_the_first_signature_to_the_auditor(run: Run) -> None:
    plan = run.lines()[-1]["payload"]["plan_sha256"]
    assert sign("approve", "s30-load", "alice", "--plan", plan[:12])[0] == 0
    code, done = sign("approve", "s30-load", "bob")
    assert (code, done["plan_sha256"], done["lsn"], done["by"]) == (0, plan, LSN, "bob")
    assert require(run).by == ("alice", "bob")
    assert sign("attest", "s30-training", "carol", "--note", "all three shifts")[0] == 0
    place = {"phase": PHASE, "attempt": "attempt-01"}
    run.ledger.append("step-done", step="s30-load", **place, inputs="2" * 64, result={}, seconds=2)
    assert runbook("seal", "--run", "first", "--key", "sealer.pem")[0] == 1
    report = next((run.folder / PHASE).glob("*-verify.json"))
    run.ledger.append(
        "attempt-ended", **place, status="done", exit_code=0, notebook_sha256=digest(run.attempt),
        html_sha256=digest(run.attempt.with_suffix(".html")), files=[{"path": f"{PHASE}/{report.name}", "sha256": digest(report)}],
    )  # fmt: skip
    heads.sign_head(run.folder, run.ledger, run.people.signer("machine"))
    code, done = runbook("seal", "--run", "first", "--key", "sealer.pem")
    assert (code, done["verdict"], done["uploaded"]) == (0, "SEALED", None), done
    for path in (str(run.folder), done["archive"]):
        assert runbook("verify-evidence", path, "--public-key", "sealer.pem.pub")[1]["verdict"] == "intact"
    code, done = runbook("verify-evidence", str(run.folder), "--public-key", "mallory.pem.pub")
    assert (code, done["verdict"], done["findings"][0]["kind"]) == (1, "tampered", "wrong-signer")
    assert sign("attest", "s30-training", "alice")[1]["why"] == "the run is sealed"
    assert runbook("run", "30", "--run", "first")[1]["why"] == "the run is sealed"
    # What would write into the run's folder refuses before it asks any server.
    for stage in ("export", "verify"):
        assert runbook(stage, "--run", "first")[1]["why"] == "the run is sealed"
    assert runbook("verify-evidence", str(run.folder), "--public-key", "sealer.pem.pub")[1]["verdict"] == "intact"


def test_what_is_refused_is_not_exit_0(run: Run) -> None:
    assert sign("approve", "s30-load", "alice")[0] == 0
    for code, arguments in (
        (1, ("approve", "s30-load", "alice")),
        (2, ("approve", "s30-load", "mallory")),
        (2, ("approve", "s30-export", "bob")),
        (2, ("approve", "s30-load", "bob", "--profile", "lenient")),
        (1, ("approve", "s30-load", "bob", "--plan", "0000")),
        (2, ("attest", "../x", "bob")),
        (2, ("attest", "s30-export", "bob")),
        (2, ("attest", "s30-nothing", "bob")),
    ):
        assert sign(*arguments)[0] == code, arguments
    assert sign("approve", "s30-load", "bob", key="alice")[0] == 1
    assert runbook("approve", "s30-load", "--run", "none", "--by", "alice", "--key", "alice.pem")[0] == 2
    assert runbook("seal", "--run", "first", "--key", "sealer.pem", "--upload-only")[0] == 2
    assert runbook("verify-evidence", str(run.folder), "--public-key", "sealer.pem.pub")[0] == 2
    assert sum(line["event"] == "approved" for line in run.lines()) == 1


def test_a_key_is_made_by_the_command(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "dora.pem"
    code, done = runbook("keygen", "--key", str(path))
    assert (code, done["public_key"]) == (0, f"{path}.pub")
    assert path.exists()
    assert runbook("keygen", "--key", str(path))[0] == 2
    assert runbook("keygen", "--key", str(run.folder / "x.pem"))[0] == 2
