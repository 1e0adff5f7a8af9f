"""A step that exists elsewhere counts by signed words alone, on what the run asked for, and only where the checklist lets it.

Would catch: an archive with such a step that is called intact though nobody signed, somebody signed another link, signed before
the run asked, one signed where two are needed, or the step may be nobody else's; a seal that counts it among what was done.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from evidence_support import PHASE, People, Run, digest, open_run, rewrite_ledger, seal_anew, writable
from test_adversaries import checked, place, signed

from helpers.checker import check, checklists
from helpers.checker.manifest import digest_of
from helpers.checker.rule import DeclaredStep
from helpers.errors import EvidenceRefused
from helpers.evidence import approvals
from helpers.settings import Elsewhere

PULUMI = Elsewhere(what="infrastructure by Pulumi, stack prod", link="https://git.example.com/platform/infra")
SAID = PULUMI.model_dump()
DECLARED = (
    DeclaredStep("s30-export", PHASE),
    DeclaredStep("s30-load", PHASE, approvals=2, approval="destructive", elsewhere="s30-load"),
    DeclaredStep("s30-gate", PHASE, cell="s30-load", elsewhere="s30-load", box="s30-load"),
)


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checklists, "KNOWN", {**checklists.KNOWN, digest_of(DECLARED): "A"})


def ask(run: Run) -> tuple[str, ...]:
    return approvals.require_words_elsewhere(
        run.folder, "s30-load", PULUMI, run.people.settings(), ledger=run.ledger, place=place(), kind="destructive"
    )  # fmt: skip


def attest(run: Run, by: str) -> None:
    approvals.attest(
        run.folder, "s30-load", by=by, key=run.people.key(by), note="looked at it", settings=run.people.settings(),
        ledger=run.ledger, elsewhere=PULUMI,
    )  # fmt: skip


def done(run: Run, step: str, by: tuple[str, ...] = ("alice", "bob"), **said: str) -> None:
    result = {"exists elsewhere": {**SAID, **said, "by": list(by)}}
    run.ledger.append("step-started", step=step, **place(), inputs="2" * 64, load_id="b" * 32)
    run.ledger.append("step-done", step=step, **place(), inputs="2" * 64, result=result, seconds=1)


def ended(run: Run) -> None:
    report = next((run.folder / PHASE).glob("*-verify.json"))
    run.ledger.append(
        "attempt-ended", **place(), status="done", exit_code=0, notebook_sha256=digest(run.attempt),
        html_sha256=digest(run.attempt.with_suffix(".html")),
        files=[{"path": f"{PHASE}/{report.name}", "sha256": digest(report)}],
    )  # fmt: skip
    signed(run)


@pytest.fixture
def opened(tmp_path: Path, people: People, executed: Path) -> Run:
    """A run that asks for the word on a step."""
    (tmp_path / "runs/first").mkdir(parents=True)
    run = open_run(tmp_path / "runs/first", people, executed)
    rewrite_ledger(run, lambda lines: None)
    assert ask(run) == ()
    return run


@pytest.fixture
def theirs(opened: Run) -> Run:
    """The same, sealed: two have looked at what exists elsewhere."""
    attest(opened, "alice")
    assert ask(opened) == ()
    attest(opened, "bob")
    by = ask(opened)
    assert by == ("alice", "bob")
    done(opened, "s30-load", by)
    done(opened, "s30-gate", by)
    ended(opened)
    opened.seal(declared=DECLARED)
    writable(opened.folder)
    return opened


def test_it_is_counted_apart_and_named_with_whose_word_it_is(theirs: Run) -> None:
    found = checked(theirs)
    assert (found.verdict, found.findings, found.sealed_as) == ("intact", (), "SEALED")
    assert found.told["counts"] == {"done": 1, "exists elsewhere": 1, "not applicable": 0}
    assert found.told["exists_elsewhere"]["s30-load"] == {**SAID, "by": ["alice", "bob"]}
    words = check.in_words(found)
    assert words[0] == "intact: run first, sealed as SEALED: 1 done, 1 exists elsewhere"
    at = "infrastructure by Pulumi, stack prod (https://git.example.com/platform/infra), by the word of alice and bob"
    assert f"  exists elsewhere: s30-load: {at}" in words
    page = (theirs.folder / "index.html").read_text()
    assert "Of the checklist's boxes: 1 done, 1 exists elsewhere." in page and at in page


def test_it_is_not_sealed_by_one_word_where_two_are_needed(opened: Run) -> None:
    attest(opened, "alice")
    done(opened, "s30-load", ("alice",))
    done(opened, "s30-gate", ("alice",))
    ended(opened)
    with pytest.raises(EvidenceRefused, match="s30-load exists elsewhere by 1 of 2 people's words that hold"):
        opened.seal(declared=DECLARED)


def line_of(event: str, **more: Any) -> Callable[[list[dict[str, Any]]], None]:
    def change(lines: list[dict[str, Any]]) -> None:
        for line in (line for line in lines if line["event"] == event):
            line.update(more)

    return change


def without_words(lines: list[dict[str, Any]]) -> None:
    lines[:] = [line for line in lines if line["event"] != "attested"]


def asked_behind_the_words(lines: list[dict[str, Any]]) -> None:
    asked = next(line for line in lines if line["event"] == "awaiting")
    lines.insert(
        next(n for n, line in enumerate(lines) if line["event"] == "step-started" and line["step"] == "s30-load"),
        dict(asked),
    )


def other_link_done(lines: list[dict[str, Any]]) -> None:
    for line in lines:
        if line["event"] == "step-done" and "exists elsewhere" in line["result"]:
            line["result"]["exists elsewhere"]["link"] = "https://git.example.com/other"


def the_export_too(lines: list[dict[str, Any]]) -> None:
    next(x for x in lines if x["event"] == "step-done" and x["step"] == "s30-export")["result"]["exists elsewhere"] = (
        SAID
    )


def for_another_step(lines: list[dict[str, Any]]) -> None:
    next(line for line in lines if line["event"] == "attested").update(step="s30-export")


def a_word_that_it_is_done(lines: list[dict[str, Any]]) -> None:
    del next(line for line in lines if line["event"] == "attested")["elsewhere"]


OTHER = {**SAID, "link": "https://git.example.com/other"}
FORGED = {
    "nobody signed": (without_words, "not-attested"),
    "another link in the words": (line_of("attested", elsewhere=OTHER), "attestation-invalid"),
    "another link in what was asked": (line_of("awaiting", elsewhere=OTHER), "not-attested"),
    "another link in the step": (other_link_done, "not-attested"),
    "another envelope": (line_of("attested", envelope="approvals/none.dsse.json"), "attestation-invalid"),
    "asked again since": (asked_behind_the_words, "not-attested"),
    "a step that may not be": (the_export_too, "word-not-enough"),
    "a word on a step that may not be": (for_another_step, "word-not-enough"),
    "a word that it is done": (a_word_that_it_is_done, "word-not-enough"),
    "a word on nothing": (line_of("attested", elsewhere=None), "attestation-invalid"),
    "a word that says more": (line_of("attested", elsewhere={**SAID, "by": "all"}), "attestation-invalid"),
}  # fmt: skip


@pytest.mark.parametrize("what", FORGED)
def test_forged_with_the_sealer_s_and_the_machine_s_keys(theirs: Run, what: str) -> None:
    change, kind = FORGED[what]

    def all_of_it(lines: list[dict[str, Any]]) -> None:
        lines[:] = [line for line in lines if line["event"] not in ("head-signed", "sealed")]
        change(lines)

    for path in (theirs.folder / "heads").iterdir():
        path.unlink()
    rewrite_ledger(theirs, all_of_it, chain=True)
    signed(theirs)
    theirs.ledger.append("sealed")
    seal_anew(theirs, declared=DECLARED)
    found = checked(theirs)
    assert kind in {each.kind for each in found.findings}, found.findings
    assert "unreadable" not in {each.kind for each in found.findings}, found.findings
