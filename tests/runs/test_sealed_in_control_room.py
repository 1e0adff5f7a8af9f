"""The control room's evidence says of a sealed run what `verify-evidence` says, and whose signatures hold.

Would catch: a tampered run shown as intact, a signature of somebody unknown that counts, a seal whose verdict is lost, a key
that is not the sealer's and still says "intact".
"""

from __future__ import annotations

import pytest
from evidence_support import Run

from helpers import settings as profiles
from helpers.control_room import evidence, overview, view
from helpers.settings import Settings


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch, sealed: Run) -> None:
    """The settings are those of the tests' people."""

    def load_approvals(profile: str | None = None) -> Settings:
        return sealed.people.settings()

    monkeypatch.setattr(profiles, "load_approvals", load_approvals)


def test_a_sealed_run_is_shown_with_its_seal_and_signatures(sealed: Run) -> None:
    found = evidence.evidence(sealed.folder)
    assert (found.seal.sealed, found.seal.previous, found.problems) == (True, "zeroth", ())
    assert found.seal.verdict in ("SEALED", "PARTIAL")
    assert found.signatures
    assert {each.holds for each in found.signatures} == {"holds"}
    assert overview.overview(sealed.folder).following.command.startswith("runbook verify-evidence")
    page = view.evidence(found, "first")
    assert found.seal.key_id in page
    assert "carol" in page


def test_the_check_says_intact_only_by_the_sealers_key(sealed: Run) -> None:
    right = str(sealed.people.key("sealer")) + ".pub"
    assert evidence.checked(sealed.folder, right).verdict == "intact"
    found = overview.overview(sealed.folder, right)
    assert found.state == "sealed"
    assert f'<p class="word">{evidence.evidence(sealed.folder).seal.verdict.split()[0]}' in view.top(found, [])
    assert overview.overview(sealed.folder).state == "sealed, not checked"
    wrong = str(sealed.people.key("alice")) + ".pub"
    assert evidence.checked(sealed.folder, wrong).verdict == "tampered"
    # The one who sealed is none of the people that the settings name.
    unknown = evidence.checked(sealed.folder)
    assert unknown.verdict == ""
    assert "--public-key" in unknown.note


def test_a_file_that_was_changed_is_named(sealed: Run) -> None:
    sealed.attempt.write_text(sealed.attempt.read_text() + " ")
    found = evidence.checked(sealed.folder, str(sealed.people.key("sealer")) + ".pub")
    assert found.verdict == "tampered"
    assert any(each.path.endswith("attempt-01.ipynb") for each in found.findings)
    assert "attempt-01.ipynb" in view.checked(found)
    assert overview.overview(sealed.folder, str(sealed.people.key("sealer")) + ".pub").state == "tampered"


def test_a_signature_that_was_moved_to_another_name_does_not_hold(sealed: Run) -> None:
    path = sealed.ledger.path
    path.write_bytes(path.read_bytes().replace(b'"by":"carol"', b'"by":"alice"'))
    found = evidence.evidence(sealed.folder)
    assert found.problems
    assert any(each.by == "alice" and each.holds != "holds" for each in found.signatures)


def test_a_seal_without_its_manifest_has_no_verdict(sealed: Run) -> None:
    (sealed.folder / "manifest.json").unlink()
    found = evidence.evidence(sealed.folder)
    assert (found.seal.sealed, found.seal.verdict) == (True, "")
    assert "damaged" in view.evidence(found, "first")
