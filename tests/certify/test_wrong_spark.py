"""What a Spark server does otherwise than its documentation says is found by certification, and named.

Would catch: a question that certification does not ask of Delta tables. The server is made wrong in one way on its way in: it gets
another statement than the load sent, and answers as one would that understood the sent one so.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from helpers import certify
from helpers.certify import kept
from helpers.platforms.spark import Session
from helpers.settings import Settings

_VALUE = r"CAST\((`(?:[^`]|``)+`) AS {type}\)"

FAULTS = (
    # what is wrong, the type whose values it changes and how ({v} is one), the tables that show it, what the answer must name
    pytest.param("an empty text is NULL", "STRING", "NULLIF({v}, '')", ["texts"], "texts"),
    pytest.param("doubles have single precision", "DOUBLE", "CAST(CAST({v} AS FLOAT) AS DOUBLE)", ["floats"], "floats", marks=pytest.mark.slow),
    pytest.param("timestamps have milliseconds", "TIMESTAMP_NTZ", "CAST(DATE_TRUNC('MILLISECOND', {v}) AS TIMESTAMP_NTZ)", ["times"], "times", marks=pytest.mark.slow),
    pytest.param("instants are shifted by a zone", "TIMESTAMP", "({v} + INTERVAL '1' HOUR)", ["times"], "times", marks=pytest.mark.slow),
    pytest.param("spaces at the end are cut", "STRING", "RTRIM({v})", ["texts"], "texts", marks=pytest.mark.slow),
    pytest.param("decimals pass through a double", r"DECIMAL\(38, ?\d+\)", "CAST(CAST({v} AS DOUBLE) AS {type})", ["decimals"], "decimals", marks=pytest.mark.slow),
)  # fmt: skip


@pytest.fixture
def answered(
    local_settings: Settings, some_golden: Callable[[list[str]], None], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., certify.Certification]:
    """Certifies pysail with a part of the golden tables, each INSERT and MERGE changed on its way; the answer is not kept."""
    execute = Session.execute

    def ask(change: Callable[[str], str], tables: list[str]) -> certify.Certification:
        def changed(session: Session, sql: str, **options: Any) -> Any:
            return execute(session, change(sql) if sql.startswith(("INSERT OVERWRITE", "MERGE")) else sql, **options)

        some_golden(tables)
        monkeypatch.setattr(kept, "keep", lambda *given: None)
        monkeypatch.setattr(Session, "execute", changed)
        return certify.certify(local_settings, "databricks")

    return ask


@pytest.mark.parametrize(("fault", "kind", "wrong", "tables", "named"), FAULTS)
def test_what_a_server_does_otherwise_is_found_and_named(
    answered: Callable[..., Any], fault: str, kind: str, wrong: str, tables: list[str], named: str
) -> None:
    value = re.compile(_VALUE.replace("{type}", f"(?P<type>{kind})"))
    done: list[str] = []

    def change(sql: str) -> str:
        changed = value.sub(lambda found: wrong.replace("{v}", found[0]).replace("{type}", found["type"]), sql)
        done.extend([changed] if changed != sql else [])
        return changed

    found = answered(change, tables)
    assert done
    assert not found.passed
    assert any(named in f"{answer.check} {answer.found}" for answer in found.wrong), found.wrong


@pytest.mark.slow
def test_an_overwrite_that_adds_is_found(answered: Callable[..., Any]) -> None:
    found = answered(lambda sql: sql.replace("INSERT OVERWRITE TABLE", "INSERT INTO", 1), [])
    assert any("written" in answer.check for answer in found.wrong), found.wrong


def test_a_history_that_does_not_tell_what_was_merged_is_found(answered: Callable[..., Any]) -> None:
    found = answered(lambda sql: re.sub(r"sync_[0-9a-f]{32}_", "other_", sql), [])
    assert any("changes that follow" in answer.check and "MERGE" in answer.found for answer in found.wrong), found.wrong


@pytest.mark.slow
def test_a_merge_that_adds_what_is_there_is_found(answered: Callable[..., Any]) -> None:
    found = answered(lambda sql: sql.replace("WHEN MATCHED THEN UPDATE", "WHEN MATCHED AND FALSE THEN UPDATE", 1), [])
    assert any("changes that follow" in answer.check for answer in found.wrong), found.wrong


@pytest.mark.slow
def test_a_server_that_does_as_it_is_told_passes(answered: Callable[..., Any]) -> None:
    found = answered(lambda sql: sql, ["texts", "times"])
    assert found.passed, found.wrong
