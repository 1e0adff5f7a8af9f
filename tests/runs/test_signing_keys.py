"""Keys and envelopes.

Would catch: a private key that others read, that lies among the evidence or replaces another; an envelope that verifies
with another key, for another kind of statement, or after its bytes were changed.
"""

from __future__ import annotations

import base64
import json
import stat
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from evidence_support import People
from hypothesis import given
from hypothesis import strategies as st

from helpers.checker import dsse
from helpers.checker.public_key import public_key
from helpers.errors import UsageError
from helpers.ledger import keys


def test_a_key_pair_is_its_owners_and_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "new/alice.pem"
    public = keys.generate(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert keys.signer(path).public_key.keyid == public.keyid
    before = path.read_bytes()
    with pytest.raises(UsageError, match="exists"):
        keys.generate(path)
    path.unlink()
    with pytest.raises(UsageError, match=r"alice\.pem\.pub"):
        keys.generate(path)
    assert b"PRIVATE" in before
    assert b"PRIVATE" not in path.with_name("alice.pem.pub").read_bytes()


def test_a_public_key_is_the_same_however_it_is_given(tmp_path: Path) -> None:
    public = keys.generate(tmp_path / "a.pem")
    raw = base64.b64encode(public.raw).decode()
    for text in ("a.pem.pub", str(tmp_path / "a.pem.pub"), public.pem, raw):
        assert public_key(text, base=tmp_path).keyid == public.keyid
    with pytest.raises(UsageError):
        public_key("nowhere.pub", base=tmp_path)
    with pytest.raises(UsageError):
        public_key("a.pem", base=tmp_path)


@pytest.mark.parametrize("where", ["outputs/first/a.pem", "outputs/a.pem", "elsewhere/run/phase/a.pem"])
def test_a_private_key_among_the_evidence_is_refused(tmp_path: Path, where: str) -> None:
    (tmp_path / "elsewhere/run/phase").mkdir(parents=True)
    (tmp_path / "elsewhere/run/ledger.jsonl").touch()
    with pytest.raises(UsageError, match="among the evidence"):
        keys.generate(tmp_path / where)
    assert not (tmp_path / where).exists()
    keys.generate(tmp_path / "fine.pem")
    (tmp_path / where).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / where).write_bytes((tmp_path / "fine.pem").read_bytes())
    (tmp_path / where).chmod(0o600)
    (tmp_path / "link.pem").symlink_to(tmp_path / where)
    for path in (tmp_path / where, tmp_path / "link.pem"):
        with pytest.raises(UsageError, match="among the evidence"):
            keys.signer(path)


def test_a_key_that_cannot_sign_is_refused(tmp_path: Path) -> None:
    def written(name: str, content: bytes, mode: int = 0o600) -> Path:
        path = tmp_path / name
        path.write_bytes(content)
        path.chmod(mode)
        return path

    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    locked = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
    rsa = generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for path, why in (
        (written("open.pem", pem, 0o644), "users other than"),
        (written("text.pem", b"hello"), "PEM"),
        (written("locked.pem", locked), "PEM"),
        (written("rsa.pem", rsa), "Ed25519"),
        (tmp_path / "nowhere.pem", "No such file"),
    ):
        with pytest.raises(UsageError, match=why):
            keys.signer(path)


def test_the_machines_key_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(keys.RUN_KEY, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    first = keys.run_signer().public_key.keyid
    assert keys.run_signer().public_key.keyid == first
    monkeypatch.setenv(keys.RUN_KEY, str(tmp_path / "other.pem"))
    assert keys.run_signer().public_key.keyid != first


def test_an_envelope_says_only_what_was_signed_by_whom_and_as_what(people: People) -> None:
    alice, bob = people.signer("alice"), people.signer("bob")
    data = dsse.sign("approval", {"plan": "0" * 64}, {"by": "alice"}, alice)
    statement = dsse.opened(data, alice.public_key, "approval")
    assert (statement.subjects, statement.predicate) == ({"plan": "0" * 64}, {"by": "alice"})
    assert dsse.key_id_in(data) == alice.public_key.keyid
    again = dsse.opened(data, alice.public_key, "approval")
    assert again == statement
    for kind, key, expected in (
        ("approval", bob.public_key, "wrong-signer"),
        ("seal", alice.public_key, "bad-envelope"),
    ):
        with pytest.raises(dsse.BadEnvelope) as bad:
            dsse.opened(data, key, kind)  # type: ignore[arg-type]
        assert bad.value.kind == expected


def _two_signatures(envelope: dict[str, Any]) -> None:
    envelope["signatures"] += [{**envelope["signatures"][0], "keyid": "0" * 64}]


def _claims_another_key(envelope: dict[str, Any]) -> None:
    envelope["signatures"][0]["keyid"] = "0" * 64


def _another_payload(envelope: dict[str, Any]) -> None:
    payload = base64.b64decode(envelope["payload"]).replace(b"alice", b"mally")
    envelope["payload"] = base64.b64encode(payload).decode()


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (_two_signatures, "bad-envelope"),
        (_claims_another_key, "wrong-signer"),
        (_another_payload, "bad-signature"),
        (lambda e: e.update(payloadType="text/plain"), "bad-signature"),
        (lambda e: e.update(more=1), "bad-envelope"),
        (lambda e: e.update(signatures=[]), "bad-envelope"),
        (lambda e: e.pop("payload"), "bad-envelope"),
        (lambda e: e.update(signatures=3), "bad-envelope"),
    ],
)
def test_a_changed_envelope_is_named(people: People, change: Any, kind: str) -> None:
    alice = people.signer("alice")
    envelope = json.loads(dsse.sign("approval", {"plan": "0" * 64}, {"by": "alice"}, alice))
    change(envelope)
    with pytest.raises(dsse.BadEnvelope) as bad:
        dsse.opened(dsse.canonical(envelope) + b"\n", alice.public_key, "approval")
    assert bad.value.kind == kind


@given(data=st.data())
def test_no_byte_of_an_envelope_is_free(people: People, data: st.DataObject) -> None:
    alice = people.signer("alice")
    envelope = bytearray(dsse.sign("seal", {"m": "0" * 64}, {"run": "first"}, alice))
    place = data.draw(st.integers(0, len(envelope) - 1))
    envelope[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(dsse.BadEnvelope):
        dsse.opened(bytes(envelope), alice.public_key, "seal")


@given(st.binary(max_size=200) | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(dsse.canonical))
def test_what_is_no_envelope_is_refused_and_never_crashes(people: People, data: bytes) -> None:
    with pytest.raises(dsse.BadEnvelope):
        dsse.opened(data, people.signer("alice").public_key, "seal")
