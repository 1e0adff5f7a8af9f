"""Certification asks every shape of statement that loads and verifications send.

Would catch: a statement that a load begins to send and that no real engine has been asked before it matters. What the suite sends is
kept in `tests/sql/shapes-*.sql`; a certification keeps, by how statements begin, every word that was in one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest

from helpers import certify
from helpers.platforms import statements
from helpers.platforms.statements import System
from helpers.settings import Settings
from tests.sql.statement_shapes import kept

UNASKED: Mapping[System, Mapping[str, str]] = {
    "snowflake": {
        "COMMENT (= )?'s'": "a column's comment changes no value, and what does not take one is an error of that statement",
        "WITH GRANT OPTION": "a replaced table's grants are asked without it, and where it is refused the former table stays",
        "^MERGE INTO .*TIME\\(": "a MERGE casts as a load does, and every type of that is asked",
        "^SELECT CURRENT_ROLE|CURRENT_USER|^SHOW (FUTURE )?GRANTS|^SHOW SCHEMAS IN DATABASE": "the doctor's own questions, whose errors are its findings",
        "ABORT_TRANSACTION": "it ends what a killed sync has left open, and nothing is open",
    },
    "spark": {
        "^MERGE INTO .*CAST\\(s.`n` AS SMALLINT\\)": "a MERGE casts as a load does, and every type of that is asked"
    },
}
"""What certification need not ask, as a pattern of the shapes, and why."""


@pytest.mark.parametrize(("system", "target"), [("snowflake", "snowflake"), ("spark", "databricks")])
def test_certification_asks_every_shape_that_is_kept(local_settings: Settings, system: System, target: str) -> None:
    asked = {each.begins: set(each.words) for each in certify.require(local_settings, target).shapes}
    unasked, excused = [], set()
    for each in kept(system):
        begins, words = statements.shape(each)
        if begins in asked and words <= asked[begins]:
            continue
        found = {pattern for pattern in UNASKED[system] if re.search(pattern, each)}
        excused |= found
        if not found:
            unasked.append(f"{', '.join(sorted(words - asked.get(begins, set()))) or begins}: {each}")
    assert not unasked, "\n".join(unasked)
    assert excused == set(UNASKED[system]), "excused, and asked or never sent"
