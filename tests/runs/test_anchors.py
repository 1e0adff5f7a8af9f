"""The ledger's end is kept in a bucket under Object Lock, at each attempt's end and when a run is sealed.

Would catch: a cut end that passes where the machine's keys and counter were taken too, an anchor that a deletion hides, a bucket that
holds nothing and is believed, a migration that stops because a bucket cannot be reached, a missed anchor that nobody is told of.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import nbformat
import pytest
from botocore.exceptions import ClientError
from evidence_support import People, whole_run
from nbformat.v4 import new_code_cell, new_notebook
from run_support import KERNELSPEC

from helpers.checker.check import check, in_words
from helpers.errors import EvidenceError
from helpers.evidence import anchors
from helpers.ledger.ledger import Ledger
from helpers.platforms.s3 import Bucket
from helpers.runs.cell_progress import Silence
from helpers.runs.run import execute
from helpers.settings import Settings
from helpers.settings.stage import Evidence


def with_evidence(local: Settings, name: str, *, locked: bool = True, endpoint: str | None = None) -> Settings:
    own = Evidence(url=f"s3://{name}/runs/", retention_days=1, endpoint=endpoint, connect_timeout_seconds=1)
    if endpoint is None:
        bucket = Bucket.open(local.stage, f"s3://{name}/")
        bucket.client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=locked)
    return Settings("local", local.file, local.values.model_copy(update={"evidence": own}))


@pytest.fixture
def name() -> str:
    return f"anchors-{datetime.now(UTC):%H%M%S%f}"


def test_a_cut_end_shows_by_an_anchor_that_a_deletion_hides(
    tmp_path: Path, local_settings: Settings, name: str
) -> None:
    settings = with_evidence(local_settings, name)
    ledger = Ledger.open(tmp_path / "first")
    ledger.append("run-opened", run="first")
    before = ledger.path.read_bytes()
    ledger.append("step-failed", step="s30-load")
    anchors.anchor(ledger.path.parent, ledger, settings)
    [_, failed, anchored] = ledger.entries()
    assert (anchored.event, anchored.get("line")) == ("anchored", failed.sha256)
    key, _, version = anchored.get("url").removeprefix(f"s3://{name}/").rpartition("?versionId=")
    client = Bucket.open(settings.evidence_stage).client
    with pytest.raises(ClientError, match=r"AccessDenied|Access Denied|locked|WORM"):
        client.delete_object(Bucket=name, Key=key, VersionId=version)
    client.delete_object(Bucket=name, Key=key)
    anchors.refuse_a_cut(ledger.path.parent, settings)
    ledger.path.write_bytes(before)
    with pytest.raises(EvidenceError, match="line 2 was anchored"):
        anchors.refuse_a_cut(ledger.path.parent, settings)


@pytest.mark.parametrize("endpoint", [None, "http://127.0.0.1:1"])
def test_a_bucket_that_holds_nothing_is_a_note_and_stops_nothing(
    tmp_path: Path, executed: Path, local_settings: Settings, name: str, endpoint: str | None
) -> None:
    settings = with_evidence(local_settings, name, locked=False, endpoint=endpoint)
    people = People(tmp_path / "people")
    run = whole_run(tmp_path / "outputs" / "first", people, executed)
    anchors.refuse_a_cut(run.folder, settings)
    anchors.anchor(run.folder, Ledger.open(run.folder), settings)
    assert run.seal().verdict == "SEALED"
    found = check(run.folder, people.signer("sealer").public_key)
    assert found.findings == ()
    [note] = [each for each in found.notes if "was not anchored" in each]
    assert endpoint or "no Object Lock" in note


def test_the_engine_anchors_at_an_attempts_end_and_the_check_says_how_to_ask_the_service(
    tmp_path: Path, executed: Path, local_settings: Settings, name: str
) -> None:
    settings = with_evidence(local_settings, name)
    (tmp_path / "migration.toml").write_text(
        f'[profiles.local]\nstack = "local"\n[profiles.local.evidence]\nurl = "s3://{name}/runs/"\nretention_days = 1\n'
    )
    cells = [new_code_cell('profile = "local"', metadata={"tags": ["parameters"]}), new_code_cell("1")]
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": KERNELSPEC}), tmp_path / "30_x.ipynb")
    result = execute(
        tmp_path / "30_x.ipynb", run="one", parameters={"profile": "local"}, outputs=tmp_path / "runs", report=Silence()
    )
    assert result.status == "done", result.failure
    *_, ended, anchored, signed = Ledger.open(tmp_path / "runs" / "one").entries()
    assert (ended.event, anchored.get("line"), signed.get("head")) == ("attempt-ended", ended.sha256, anchored.sha256)

    people = People(tmp_path / "people")
    run = whole_run(tmp_path / "outputs" / "first", people, executed)
    anchors.anchor(run.folder, Ledger.open(run.folder), settings)
    run.seal()
    found = check(run.folder, people.signer("sealer").public_key)
    assert found.findings == ()
    assert any(f"aws s3api head-object --bucket {name} --key runs/first/anchors-" in line for line in in_words(found))
