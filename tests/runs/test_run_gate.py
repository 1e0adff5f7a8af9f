"""A gate lets a run pass with a token that cannot be had otherwise."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.errors import GateClosed, UsageError
from helpers.ledger.gate import Token, gate, rehearse, require


@dataclasses.dataclass(frozen=True)
class Report:
    rows: Decimal
    names: frozenset[str]


REPORT = Report(Decimal("1.10"), frozenset({"a", "b"}))


def test_an_open_gate_gives_a_token_that_its_step_takes() -> None:
    token = gate("row-counts", True, evidence=REPORT, next_step="look")
    assert require(token, "row-counts") is token
    assert token._repr_markdown_() == "✔ gate **row-counts** passed"
    again = gate("row-counts", True, evidence=Report(Decimal("1.10"), frozenset({"b", "a"})), next_step="look")
    assert token.evidence == again.evidence
    assert gate("row-counts", True, evidence={"rows": 2}, next_step="look").evidence != token.evidence


def test_a_closed_gate_says_why_and_what_next() -> None:
    with pytest.raises(GateClosed, match=r"1\.10.*look at the tables") as closed:
        gate("row-counts", False, evidence=REPORT, next_step="look at the tables")
    assert closed.value.exit_code == 1


@pytest.mark.parametrize("answer", [REPORT, 1, "yes", None, [True]])
def test_an_answer_that_is_no_bool_is_refused(answer: object) -> None:
    with pytest.raises(UsageError, match="not a bool"):
        gate("g", answer, evidence=REPORT, next_step="look")  # type: ignore[arg-type]


@pytest.mark.parametrize("evidence", [None, object()])
def test_evidence_that_proves_nothing_is_refused(evidence: object) -> None:
    with pytest.raises(UsageError):
        gate("g", True, evidence=evidence, next_step="look")


def test_no_other_token_opens_a_step() -> None:
    token = gate("row-counts", True, evidence=REPORT, next_step="look")
    forged = Token("row-counts", token.evidence, datetime.now(UTC))
    renamed = dataclasses.replace(gate("schema", True, evidence=REPORT, next_step="look"), name="row-counts")
    for other in (None, True, "row-counts", forged, renamed, gate("schema", True, evidence=1, next_step="look")):
        with pytest.raises(UsageError):
            require(other, "row-counts")


def test_a_rehearsed_token_is_enough_for_a_rehearsal_only() -> None:
    token = rehearse("row-counts", {"tables": 3})
    assert require(token, "row-counts", apply=False).rehearsed
    with pytest.raises(UsageError, match="rehearsed"):
        require(token, "row-counts")
    with pytest.raises(UsageError):
        require(dataclasses.replace(token, rehearsed=False), "row-counts")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_equal_evidence_has_an_equal_digest(evidence: object) -> None:
    if evidence is not None:
        one, two = (gate("g", True, evidence=evidence, next_step="n").evidence for _ in range(2))
        assert one == two
