"""An authority's time stamp of the ledger's end is kept in the run, and proves since when it was there.

Would catch: a stamp of something else that passes, one by an authority that nobody trusts, a command of the documentation that does
not work, a migration that stops because the authority cannot be reached, a missed stamp that nobody is told of.
"""

from __future__ import annotations

import shlex
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from evidence_support import People, Run, digest, rewrite_ledger, whole_run

from helpers.checker import time_stamps
from helpers.checker.check import check, in_words
from helpers.errors import MigrationError, UsageError
from helpers.evidence import anchors
from helpers.ledger.ledger import Ledger
from helpers.settings import Profile, Settings
from helpers.settings.stage import Evidence

NOWHERE = "http://127.0.0.1:1"
CONFIGURATION = """
[tsa]
default_tsa = own
[own]
serial = serial
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
[req]
distinguished_name = name
[name]
[stamps]
extendedKeyUsage = critical,timeStamping
"""


def openssl(folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["openssl", *shlex.split(command)], cwd=folder, check=False, capture_output=True, text=True, timeout=30
    )


def made_authority(folder: Path) -> Path:
    """The folder of a root, and of a certificate for time stamps by it."""
    folder.mkdir()
    (folder / "c.cnf").write_text(CONFIGURATION)
    new = "-config c.cnf -nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1"
    for command in (
        f"req -x509 {new} -keyout root.key -out root.pem -subj /CN=root -addext basicConstraints=critical,CA:TRUE",
        f"req {new} -keyout tsa.key -out tsa.csr -subj /CN=stamps",
        "x509 -req -in tsa.csr -CA root.pem -CAkey root.key -CAcreateserial -out tsa.pem -extfile c.cnf -extensions stamps",
    ):
        done = openssl(folder, command)
        assert done.returncode == 0, done.stderr
    return folder


class Authority(HTTPServer):
    folder: Path


class Answers(BaseHTTPRequestHandler):
    server: Authority

    def do_POST(self) -> None:
        assert self.headers["Content-Type"] == "application/timestamp-query"
        (self.server.folder / "q").write_bytes(self.rfile.read(int(self.headers["Content-Length"])))
        openssl(
            self.server.folder,
            "ts -reply -config c.cnf -queryfile q -inkey tsa.key -signer tsa.pem -out a",
        )
        self.send_response(200)
        self.send_header("Content-Type", "application/timestamp-reply")
        self.end_headers()
        self.wfile.write((self.server.folder / "a").read_bytes())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[Authority]:
    with Authority(("127.0.0.1", 0), Answers) as server:
        server.folder = made_authority(tmp_path / "authority")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def stamped(run: Run, url: str, root: Path | None = None) -> list[dict[str, object]]:
    """Anchors the run's end where the bucket is out of reach, and returns the lines for the time stamp."""
    own = Evidence(
        url="s3://nowhere/", retention_days=1, endpoint=NOWHERE,
        connect_timeout_seconds=1, timestamp_url=url, timestamp_certificate=str(root) if root else None,
    )  # fmt: skip
    settings = Settings("production", run.folder / "migration.toml", Profile(evidence=own))
    anchors.anchor(run.folder, Ledger.open(run.folder), settings)
    return run.lines()[-1:]


@pytest.fixture
def people(tmp_path: Path) -> People:
    return People(tmp_path / "people")


@pytest.fixture
def run(tmp_path: Path, people: People, executed: Path) -> Run:
    return whole_run(tmp_path / "outputs" / "first", people, executed)


def test_a_stamp_is_proven_by_the_library_and_by_the_command_that_the_check_prints(
    tmp_path: Path, run: Run, people: People, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = authority.folder / "root.pem"
    [line] = stamped(run, f"http://127.0.0.1:{authority.server_port}/stamp", root)
    assert (line["event"], str(line["file"]).partition("/")[0]) == ("anchored", "anchors")
    run.seal()
    key = people.signer("sealer").public_key

    proven = check(run.folder, key, timestamp_root=root)
    assert proven.findings == ()
    assert any("is certain by 20" in each for each in in_words(proven))

    monkeypatch.setattr(time_stamps, "find_spec", lambda _: None)  # as beside verify-evidence.pyz
    listed = check(run.folder, key)
    assert listed.findings == ()
    [told] = [each for each in in_words(listed) if "not checked here: openssl" in each]
    command = told.partition("openssl ")[2]
    done = openssl(run.folder, command.replace("AUTHORITY.pem", str(root)))
    assert "Verification: OK" in done.stdout + done.stderr
    assert openssl(run.folder, command.replace("-digest ", "-digest 00")).returncode
    with pytest.raises(UsageError, match="rfc3161-client is not installed"):
        check(run.folder, key, timestamp_root=root)


def test_a_stamp_by_an_authority_that_is_not_trusted_is_a_finding(
    tmp_path: Path, run: Run, people: People, authority: Authority
) -> None:
    stamped(run, f"http://127.0.0.1:{authority.server_port}")
    run.seal()
    key, other = people.signer("sealer").public_key, made_authority(tmp_path / "other")
    found = check(run.folder / "evidence.zip", key, timestamp_root=other / "root.pem")
    [finding] = found.findings
    assert (finding.kind, "no authority that is trusted here" in finding.message) == ("anchor-invalid", True)
    assert not any(each["certain_by"] for each in found.told["anchors"])


@pytest.mark.parametrize("content", [b"", b"0\x03\x02\x01\x02", "the one before"])
def test_a_swapped_token_is_a_finding_also_where_ledger_and_seal_name_it(
    run: Run, people: People, authority: Authority, content: bytes | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"http://127.0.0.1:{authority.server_port}"
    [first], [second] = stamped(run, url), stamped(run, url)
    before = (run.folder / str(first["file"])).read_bytes()
    swapped = run.folder / str(second["file"])
    swapped.write_bytes(before if isinstance(content, str) else content)
    with pytest.raises(MigrationError, match="not the file that the ledger recorded when it was anchored"):
        run.seal()
    rewrite_ledger(run, lambda lines: lines[-1].update(sha256=digest(swapped)), chain=True)
    with pytest.raises(MigrationError, match="anchor-invalid"):
        run.seal()
    with monkeypatch.context() as patched:
        patched.setattr(time_stamps, "find_spec", lambda _: None)
        run.seal()
    assert {each.kind for each in check(run.folder, people.signer("sealer").public_key).findings} == {"anchor-invalid"}


@pytest.mark.parametrize("broken", ["unreachable", "refuses", "another root"])
def test_an_authority_that_gives_no_stamp_is_a_note_and_stops_nothing(
    tmp_path: Path, run: Run, people: People, authority: Authority, broken: str
) -> None:
    url, root = f"http://127.0.0.1:{authority.server_port}/?key=private", None
    if broken == "refuses":
        (authority.folder / "c.cnf").write_text(CONFIGURATION.replace("digests = sha256", "digests = sha512"))
    if broken == "another root":
        root = made_authority(tmp_path / "other") / "root.pem"
    [line] = stamped(run, f"{NOWHERE}/?key=private" if broken == "unreachable" else url, root)
    assert (line["event"], "private" in str(line)) == ("anchor-missed", False)
    run.seal()
    found = check(run.folder, people.signer("sealer").public_key)
    assert found.findings == ()
    assert any("was not anchored: no time stamp of 127.0.0.1" in each for each in found.notes)
