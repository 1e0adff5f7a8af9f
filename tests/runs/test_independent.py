"""Programs that share no code with ours verify what ours signs: OpenSSL, securesystemslib, and cosign.

Would catch: an envelope that only its maker can read.
"""

from __future__ import annotations

import base64
import copy
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from evidence_support import PHASE, Run

from helpers import PROJECT

COSIGN = "github.com/sigstore/cosign/v2/cmd/cosign@v2.6.5"


def envelopes(run: Run) -> list[tuple[Path, str]]:
    """Every envelope of a run, and who signed it."""
    found = [
        (run.folder / "seal.dsse.json", "sealer"),
        *((path, "machine") for path in (run.folder / "heads").iterdir()),
    ]
    lines = [line for line in run.lines() if line["event"] in ("approved", "attested")]
    return [*found, *((run.folder / line["envelope"], line["by"]) for line in lines)]


def test_openssl_verifies_the_envelope_by_the_commands_of_the_documentation(sealed: Run) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: apt-get install openssl")
    text = (PROJECT / "docs/evidence.md").read_text()
    commands = text.split("Check the envelope without us.")[1].split("```sh\n")[1].split("```")[0]
    shutil.copy(f"{sealed.people.key('sealer')}.pub", sealed.folder / "seal.pem.pub")
    done = subprocess.run(["bash", "-ec", commands], cwd=sealed.folder, capture_output=True, text=True, check=True)
    statement = json.loads(done.stdout.splitlines()[0])
    digests = {each["name"]: each["digest"]["sha256"] for each in statement["subject"]}
    assert "Signature Verified Successfully" in done.stdout
    for name, digest in digests.items():
        assert f"{digest}  {name}" in done.stdout
    envelope = json.loads((sealed.folder / "seal.dsse.json").read_text())
    changed = base64.b64decode(envelope["payload"]).replace(b"SEALED", b"UNSEAL")
    (sealed.folder / "seal.dsse.json").write_text(
        json.dumps(envelope | {"payload": base64.b64encode(changed).decode()})
    )
    assert (
        subprocess.run(["bash", "-ec", commands], cwd=sealed.folder, capture_output=True, check=False).returncode != 0
    )


@pytest.mark.slow
def test_securesystemslib_verifies_every_envelope(sealed: Run) -> None:
    from securesystemslib.dsse import Envelope
    from securesystemslib.exceptions import VerificationError
    from securesystemslib.signer import SSlibKey

    for path, who in envelopes(sealed):
        key = SSlibKey.from_crypto(load_pem_public_key(Path(f"{sealed.people.key(who)}.pub").read_bytes()))  # type: ignore[arg-type]
        value: dict[str, Any] = json.loads(path.read_text())
        assert Envelope.from_dict(copy.deepcopy(value)).verify([key], threshold=1).keys() == {key.keyid}
        changed = base64.b64encode(base64.b64decode(value["payload"]) + b" ").decode()
        with pytest.raises(VerificationError):
            Envelope.from_dict({**value, "payload": changed}).verify([key], threshold=1)


@pytest.fixture(scope="session")
def cosign(tmp_path_factory: pytest.TempPathFactory) -> str:
    """cosign as it is installed, or built from its Go module, which takes many minutes."""
    if found := os.environ.get("COSIGN") or shutil.which("cosign"):
        return found
    if not (go := shutil.which("go")):
        pytest.skip("neither cosign nor Go is installed: apt-get install golang")
    folder = tmp_path_factory.mktemp("go")
    environment = {**os.environ, "GOBIN": str(folder), "GOFLAGS": "-modcacherw", "GOPATH": str(folder / "path")}
    subprocess.run([go, "install", COSIGN], env=environment, check=True, capture_output=True)
    return str(folder / "cosign")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_cosign_verifies_the_seal(sealed: Run, cosign: str, tmp_path: Path) -> None:
    def verified(file: str) -> bool:
        words = ["verify-blob-attestation", "--key", f"{sealed.people.key('sealer')}.pub", "--signature", "seal.dsse.json",
                 "--type", "urn:migration-runbooks:seal:v1", "--insecure-ignore-tlog=true", file]  # fmt: skip
        environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
        done = subprocess.run(
            [cosign, *words], cwd=sealed.folder, env=environment, capture_output=True, text=True, check=False
        )
        return done.returncode == 0 and "Verified OK" in done.stderr

    assert verified("manifest.json")
    assert verified("ledger.jsonl")
    assert not verified(f"{PHASE}/attempt-01.ipynb")
    (sealed.folder / "manifest.json").write_bytes((sealed.folder / "manifest.json").read_bytes() + b"\n")
    assert not verified("manifest.json")
