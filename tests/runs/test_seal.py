"""What may be sealed, and what a seal makes.

Would catch: a seal over a cell that did not run, over an error, over a step that the ledger does not have, over a secret
in whatever form; evidence that can still be written; an archive that needs more than a browser; a seal that a kill leaves
half-done for good.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
import re
import resource
import shutil
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from botocore.exceptions import ClientError
from evidence_support import DECLARED, PHASE, People, Run, TestLedger, digest, rewrite_ledger, whole_run

from helpers.checker import check
from helpers.checker.ledger_reader import read
from helpers.checker.rule import DeclaredStep, judge
from helpers.errors import DiskRefused, EvidenceRefused, StageError, Unexpected, UsageError
from helpers.evidence import approvals, heads
from helpers.evidence import seal as sealing
from helpers.ledger import keys
from helpers.platforms.s3 import Bucket
from helpers.settings import Evidence, Settings

SECRET = "correct/horse+battery=staple&9"


def notebook(run: Run, change: Callable[[dict[str, Any]], None]) -> None:
    """Changes the executed notebook as somebody does who tells the ledger, too."""
    nb = json.loads(run.attempt.read_text())
    change({cell["id"]: cell for cell in nb["cells"]})
    run.attempt.write_text(json.dumps(nb))
    rewrite_ledger(run, lambda lines: _ended(lines).update(notebook_sha256=digest(run.attempt)), chain=True)


def _ended(lines: list[dict[str, Any]]) -> dict[str, Any]:
    return next(line for line in reversed(lines) if line["event"] == "attempt-ended")


def refused(run: Run, **options: Any) -> str:
    before = {path: path.read_bytes() for path in run.folder.rglob("*") if path.is_file()}
    with pytest.raises(EvidenceRefused) as error:
        run.seal(**options)
    assert error.value.exit_code == 1
    assert {path: path.read_bytes() for path in run.folder.rglob("*") if path.is_file()} == before
    return error.value.why


def test_a_whole_run_is_sealed_and_can_be_read_anywhere(ready: Run, tmp_path: Path) -> None:
    sealed = ready.seal()
    assert (sealed.verdict, sealed.why, sealed.previous) == ("SEALED", (), None)
    for path in ready.folder.rglob("*"):
        assert not path.stat().st_mode & 0o277, path
    with zipfile.ZipFile(sealed.archive) as archive:
        archive.extractall(tmp_path / "unpacked")
    page = (tmp_path / "unpacked/index.html").read_text()
    links = re.findall(r'href="([^"]+)"', page)
    assert f"{PHASE}/attempt-01.html" in links
    assert all((tmp_path / "unpacked" / link).is_file() for link in links)
    assert "://" not in page
    assert "src=" not in page
    environment = json.loads((ready.folder / "environment.json").read_text())
    assert environment["sealed_with"]["requirements_sha256"]
    assert any(each.startswith("cryptography==") for each in environment["sealed_with"]["packages"])
    (servers,) = environment["servers"]
    assert (
        servers.items() >= {"server_version": "18.6", "time_zone": "UTC", "role": "reader", "lsn": "0/16B3748"}.items()
    )
    with pytest.raises(UsageError, match="sealed already"):
        ready.seal()


def test_html_that_is_missing_is_made(tmp_path: Path, people: People, executed: Path) -> None:
    shutil.copytree(executed, tmp_path / PHASE)
    (tmp_path / PHASE / "attempt-01.html").unlink()
    (tmp_path / "runs/first").mkdir(parents=True)
    run = whole_run(tmp_path / "runs/first", people, tmp_path / PHASE)
    run.seal()
    assert "s30-load-check" in run.attempt.with_suffix(".html").read_text()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            lambda cells: cells["s30-load-check"]["metadata"]["papermill"].update(status="pending"),
            "s30-load-check did not run",
        ),
        (lambda cells: cells["setup"]["metadata"]["papermill"].update(status="failed"), "setup did not run"),
        (lambda cells: cells["setup"]["metadata"].pop("papermill"), "setup did not run"),
        (
            lambda cells: cells["s30-load-check"]["outputs"].append(
                {"output_type": "error", "ename": "E", "evalue": "", "traceback": []}
            ),
            "s30-load-check ended with an error",
        ),
        (
            lambda cells: cells["setup"]["outputs"].append(
                {"output_type": "display_data", "data": {"application/vnd.runbook.error+json": {}}, "metadata": {}}
            ),
            "setup ended with an error",
        ),
    ],
)
def test_a_cell_that_did_not_run_or_failed_stands_against_it(ready: Run, change: Any, why: str) -> None:
    notebook(ready, change)
    assert why in refused(ready)


def test_a_cell_of_a_step_that_was_skipped_need_not_have_run(ready: Run) -> None:
    def unrun(cells: dict[str, Any]) -> None:
        cells["s30-export-check"]["metadata"]["papermill"].update(status="pending")
        cells["s30-load-check"]["metadata"]["papermill"].update(status="pending")

    notebook(ready, unrun)
    why = refused(ready)
    assert "s30-load-check did not run" in why
    assert "s30-export-check did not run" not in why


@pytest.mark.parametrize(
    ("declared", "why"),
    [
        ((*DECLARED, DeclaredStep("s30-verify", PHASE)), "s30-verify is declared, and the ledger shows it open"),
        (DECLARED[1:], "s30-export is in the ledger"),
        ((*DECLARED[:1], DeclaredStep("s30-load", PHASE, approvals=3), DECLARED[2]), "2 of 3 approvals"),
        ((DeclaredStep("s30-export", PHASE, approvals=1), *DECLARED[1:]), "0 of 1 approvals"),
        ((DeclaredStep("s30-export", PHASE, cell="s30-elsewhere"), *DECLARED[1:]), "step-not-shown"),
        ((*DECLARED[:2], DeclaredStep("s30-training", PHASE)), "s30-training was attested, and a person's word"),
        (
            (*DECLARED[:2], DeclaredStep("s30-training", PHASE)),
            "s30-training is declared, and the ledger shows it open",
        ),
        ((), "not one of the checklist"),
    ],
)
def test_the_ledger_has_to_equal_the_declared_steps(ready: Run, declared: Any, why: str) -> None:
    assert why in refused(ready, declared=declared)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            lambda lines: lines[-3].update(event="step-failed"),
            "s30-training is declared, and the ledger shows it failed",
        ),
        (lambda lines: lines.pop(-2), "did not end"),
        (lambda lines: lines.pop(-1), "no signature of the engine"),
        (lambda lines: lines[-2].update(notebook_sha256="0" * 64), "notebook-changed"),
        (lambda lines: lines[0].pop("run_key"), "head-invalid"),
        (lambda lines: lines[0].update(run="second"), "run-renamed"),
        (lambda lines: lines[2].update(phase="40_y"), "attempt-unknown"),
    ],
)
def test_a_ledger_that_does_not_add_up_stands_against_it(
    ready: Run, change: Any, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(keys.RUN_KEY, str(ready.people.key("mallory")))
    rewrite_ledger(ready, change, chain=True)
    assert why in refused(ready)


def test_every_reason_is_listed(ready: Run) -> None:
    notebook(ready, lambda cells: cells["setup"]["metadata"]["papermill"].update(status="failed"))
    (ready.folder / "link").symlink_to("/")
    (ready.folder / "notes.txt").write_text(f"it is {SECRET}")
    why = refused(ready, declared=(*DECLARED, DeclaredStep("s30-verify", PHASE)), known_secrets=[SECRET])
    assert all(part in why for part in ("setup did not run", "link is a symbolic link", "notes.txt", "s30-verify"))
    assert SECRET not in why


def test_what_did_not_run_is_said(ready: Run, tmp_path: Path) -> None:
    sealed = ready.seal(declared=(*DECLARED, DeclaredStep("s50-cutover", "50_cutover")))
    assert sealed.verdict == "PARTIAL"
    assert sealed.why == ("the phase 50_cutover did not run",)
    assert "phase 50_cutover did not run" in (ready.folder / "index.html").read_text()


def test_a_rollback_that_was_only_planned_is_as_it_should_be(ready: Run) -> None:
    declared = (*DECLARED, DeclaredStep("s30-verify", PHASE), DeclaredStep("s90-immediate", "90_rollback"))
    place = {"phase": "90_rollback", "attempt": "attempt-01"}
    ready.ledger.append("attempt-started", **place)
    ready.ledger.append("step-planned", step="s90-immediate", **place, inputs="1" * 64, result={})
    lines, _ = read(ready.ledger.path.read_bytes())
    found = judge(lines, declared)
    assert (found.word, found.why) == ("SEALED", ("the rollback was rehearsed, and not taken",))
    for step, verdict in (("s30-export", "SEALED"), ("s30-verify", "REHEARSAL")):  # the one was done before
        ready.ledger.append("step-planned", step=step, phase=PHASE, attempt="attempt-01", inputs="1" * 64, result={})
        lines, _ = read(ready.ledger.path.read_bytes())
        assert judge(lines, declared).word == verdict


def test_a_run_that_only_planned_a_step_is_a_rehearsal(ready: Run) -> None:
    place = {"phase": PHASE, "attempt": "attempt-01"}
    ready.ledger.append("step-planned", step="s30-verify", **place, inputs="1" * 64, result={})
    heads.sign_head(ready.folder, ready.ledger, ready.people.signer("machine"))
    sealed = ready.seal(declared=(*DECLARED, DeclaredStep("s30-verify", PHASE, cell="s30-load-check")))
    assert (sealed.verdict, sealed.why) == ("REHEARSAL", ("s30-verify was planned and not applied",))
    assert check.check(ready.folder, ready.people.signer("sealer").public_key).sealed_as == "REHEARSAL"


def _in_a_source(folder: Path) -> None:
    _in_the_notebook(folder, lambda cell: cell["source"].append(f"\nx = '{SECRET}'"))


def _in_an_output(folder: Path) -> None:
    _in_the_notebook(
        folder,
        lambda cell: cell["outputs"].append(
            {"output_type": "stream", "name": "stdout", "text": [SECRET[:9], SECRET[9:]]}
        ),
    )


def _in_the_notebook(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / PHASE / "attempt-01.ipynb"
    nb = json.loads(path.read_text())
    cell = next(cell for cell in nb["cells"] if cell["id"] == "setup")
    cell["source"] = [cell["source"]] if isinstance(cell["source"], str) else cell["source"]
    change(cell)
    path.write_text(json.dumps(nb))


def _in_the_html(folder: Path) -> None:
    path = folder / PHASE / "attempt-01.html"
    path.write_text(path.read_text().replace("</body>", f"<p>{SECRET.replace('&', '&amp;')}</p></body>"))


def _in_parquet(folder: Path) -> None:
    table = pyarrow.table({"note": ["nothing", f"at {SECRET}"]})
    pyarrow.parquet.write_table(table, folder / PHASE / "cells.parquet", compression="zstd")


def _in_a_zip(folder: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inner.txt.gz", gzip.compress(SECRET.encode()))
    (folder / "report.zip").write_bytes(packed.getvalue())


@pytest.mark.parametrize(
    "plant",
    [
        _in_a_source,
        _in_an_output,
        _in_the_html,
        _in_parquet,
        _in_a_zip,
        lambda folder: (folder / "log.txt").write_text(f"password is {SECRET}."),
        lambda folder: (folder / f"x-{SECRET.replace('/', '%2F')}.txt").touch(),
        lambda folder: (folder / "x.json").write_text(
            json.dumps({"b64": base64.b64encode(b"u:" + SECRET.encode()).decode()})
        ),
        lambda folder: (folder / "x.bin").write_bytes(SECRET.encode("utf-16")),
        lambda folder: (folder / "x.url").write_text("q=correct%2Fhorse%2Bbattery%3Dstaple%269"),
        lambda folder: (folder / "x.hex").write_text(SECRET.encode().hex()),
    ],
)
def test_a_known_secret_is_found_in_whatever_form(ready: Run, plant: Callable[[Path], None]) -> None:
    plant(ready.folder)
    why = refused(ready, known_secrets=[SECRET])
    assert "seems to hold a secret of the settings" in why
    assert SECRET not in why


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://me:hunter2@db.example.com/sales",
        "aws_secret_access_key = abcDEF123/abcDEF123+abcDEF123abcDEF12345",
        "AKIAABCDEFGHIJKLMNOP",
        "-----BEGIN PRIVATE KEY-----",
        "dapi0123456789abcdef0123456789abcdef",
    ],
)
def test_an_unknown_secret_is_found_by_its_looks(ready: Run, text: str) -> None:
    (ready.folder / PHASE / "log.txt").write_text(f"it says {text} here")
    assert f"{PHASE}/log.txt seems to hold" in refused(ready)


def test_a_secret_of_the_ledger_is_found_before_it_is_sealed(ready: Run) -> None:
    rewrite_ledger(ready, lambda lines: lines[4]["result"].update(dsn=f"x {SECRET}"), chain=True)
    assert "ledger.jsonl seems to hold a secret" in refused(ready, known_secrets=[SECRET])


def test_what_a_kill_left_of_a_seal_is_finished(ready: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    def killed(*arguments: Any, **options: Any) -> Any:
        raise Killed

    for place in ("_manifest", "dsse.sign", "_finished"):
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(f"helpers.evidence.seal.{place}", killed)
            ready.seal()
    sealed = ready.seal()
    assert sealed.verdict == "SEALED"
    assert check.check(ready.folder, ready.people.signer("sealer").public_key).findings == ()
    assert sum(line["event"] == "sealed" for line in ready.lines()) == 1


def test_a_ledger_that_grows_while_it_is_sealed_is_refused(ready: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    original = sealing._manifest

    def meanwhile(*arguments: Any) -> Any:
        made = original(*arguments)
        ready.ledger.append("step-failed", step="s30-load", phase=PHASE, attempt="attempt-01", error={}, seconds=1)
        return made

    monkeypatch.setattr(sealing, "_manifest", meanwhile)
    with pytest.raises(EvidenceRefused, match="somebody wrote"):
        ready.seal()


def test_a_head_that_a_kill_left_unsigned_is_signed_with_the_machines_own_key(
    ready: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    rewrite_ledger(ready, lambda lines: lines.pop(-1), chain=True)
    next((ready.folder / "heads").iterdir()).unlink()
    monkeypatch.setenv(keys.RUN_KEY, str(ready.people.key("machine")))
    ready.seal()
    assert [line["event"] for line in ready.lines()][-2:] == ["head-signed", "sealed"]


def test_a_signature_that_comes_between_the_head_and_its_line_does_no_harm(ready: Run) -> None:
    class Slow(TestLedger):
        @property
        def head(self) -> str:
            head = super().head
            approvals.attest(
                ready.folder, "s30-training", by="alice", key=ready.people.key("alice"), note="me too",
                settings=ready.people.settings(), ledger=ready.ledger,
            )  # fmt: skip
            return head

        def append(self, event: str, /, **fields: object) -> None:
            ready.ledger.append(event, **fields)

    heads.sign_head(ready.folder, Slow(ready.folder), ready.people.signer("machine"))
    assert [line["event"] for line in ready.lines()][-3:] == ["head-signed", "attested", "head-signed"]
    ready.seal()
    assert check.check(ready.folder, ready.people.signer("sealer").public_key).findings == ()


@pytest.mark.parametrize("most", [0, 300, 3_000, 10_000, 14_000])
def test_a_full_disk_leaves_no_half_seal_and_the_next_call_goes_on(ready: Run, most: int) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large") as refused:
            ready.seal()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    told = Unexpected.of(refused.value)
    assert isinstance(told, DiskRefused)
    assert told.exit_code == 2
    assert list(ready.folder.parent.rglob("*.part")) == []
    assert not (ready.folder / "evidence.zip").exists()
    ready.seal()
    assert check.check(ready.folder, ready.people.signer("sealer").public_key).findings == ()


def test_a_run_is_chained_to_one_that_is_sealed(ready: Run) -> None:
    with pytest.raises(UsageError, match="not a sealed run"):
        ready.seal(previous="nothing")
    with pytest.raises(UsageError, match="not a sealed run"):
        ready.seal(previous="first")


def _bucket(settings: Settings, name: str, *, locked: bool) -> Bucket:
    bucket = Bucket.open(settings.stage, f"s3://{name}/")
    try:
        bucket.client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=locked)
    except ClientError as error:
        assert error.response["Error"]["Code"] in {"BucketAlreadyExists", "BucketAlreadyOwnedByYou"}
    return bucket


def test_the_archive_is_kept_where_nobody_deletes_it(sealed: Run, local_settings: Settings) -> None:
    name = f"evidence-{datetime.now(UTC):%H%M%S%f}"
    bucket = _bucket(local_settings, name, locked=True)
    own = Evidence(url=f"s3://{name}/runs/", retention_days=1, mode="COMPLIANCE")
    settings = Settings("local", local_settings.file, local_settings.values.model_copy(update={"evidence": own}))
    url = sealing.upload(sealed.folder / "evidence.zip", "first", settings)
    version = url.rpartition("=")[2]
    assert url.startswith(f"s3://{name}/runs/first/evidence.zip?versionId=")
    with pytest.raises(ClientError, match=r"AccessDenied|Access Denied|locked|WORM"):
        bucket.client.delete_object(Bucket=name, Key="runs/first/evidence.zip", VersionId=version)
    kept = bucket.client.get_object(Bucket=name, Key="runs/first/evidence.zip", VersionId=version)
    assert kept["Body"].read() == (sealed.folder / "evidence.zip").read_bytes()
    open_name = f"{name}-open"
    _bucket(local_settings, open_name, locked=False)
    without = own.model_copy(update={"url": f"s3://{open_name}/"})
    settings = Settings("local", local_settings.file, local_settings.values.model_copy(update={"evidence": without}))
    with pytest.raises(StageError, match="no Object Lock"):
        sealing.upload(sealed.folder / "evidence.zip", "first", settings)
