"""Each way in which an engine may be stricter, or other, than the stand-ins is found by certification, and named.

Would catch: a question that certification does not ask, or whose answer it does not compare. The stand-in is made wrong in one way by
`wrong_standin.py`; it answers under another name of this machine, so that it is certified as a service is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from helpers import certify
from helpers.certify.report import Certification
from helpers.local.servers import processes
from helpers.local.servers.snowflake import Snowflake, python
from helpers.settings import Settings

HERE = Path(__file__).parent

ANOTHER_NAME = "127.1"
"""Of this machine's loopback, which no code of ours takes for a stand-in's."""

FAULTS = (
    # what is wrong, the tables that show it, and what the answer must name
    pytest.param("NULL_IF is its default", ["texts"], "texts body"),
    pytest.param("an empty text is NULL", ["texts"], "texts body", marks=pytest.mark.slow),
    pytest.param("TRIM_SPACE", ["texts"], "texts body", marks=pytest.mark.slow),
    pytest.param("characters beyond the first plane are replaced", ["texts"], "texts body", marks=pytest.mark.slow),
    pytest.param("texts are normalized", ["texts"], "texts body", marks=pytest.mark.slow),
    pytest.param("texts end at 8 MiB", ["long"], "long body", marks=pytest.mark.slow),
    pytest.param("timestamps have milliseconds", ["times"], "times at", marks=pytest.mark.slow),
    pytest.param("instants are shifted by a zone", ["times"], "times instant", marks=pytest.mark.slow),
    pytest.param("an hour that a clock has twice is one", ["times"], "times instant", marks=pytest.mark.slow),
    pytest.param("dates before 1582 are Julian", ["times"], "times day", marks=pytest.mark.slow),
    pytest.param("floats have 15 digits", ["floats"], "floats twice", marks=pytest.mark.slow),
    pytest.param("denormals are flushed to 0", ["floats"], "floats twice", marks=pytest.mark.slow),
    pytest.param("decimals pass through a double", ["corpus"], "corpus", marks=pytest.mark.slow),
    pytest.param("BINARY is read as text", ["texts"], "texts raw", marks=pytest.mark.slow),
    pytest.param("names fold, and no column matches", ["texts"], "texts", marks=pytest.mark.slow),
    pytest.param("rows that do not fit are skipped", ["texts"], "load public.", marks=pytest.mark.slow),
    pytest.param("SWAP loses what owners put on", [], "what owners put on", marks=pytest.mark.slow),
    pytest.param("a rolled back transaction is kept", [], "a transaction rolled back", marks=pytest.mark.slow),
    pytest.param("MD5_NUMBER_LOWER64 is little-endian", [], "MD5 of the row", marks=pytest.mark.slow),
    pytest.param("comments are cut", [], "altered.name comment-changed", marks=pytest.mark.slow),
    pytest.param("CLONE copies no rows", [], "the copy of what others wrote"),
    pytest.param("DROP leaves the table", [], "dropped table-added", marks=pytest.mark.slow),
    pytest.param("DROP NOT NULL does nothing", [], "load public.altered", marks=pytest.mark.slow),
    pytest.param("SET NOT NULL does nothing", [], "altered.region nullability-lost", marks=pytest.mark.slow),
    pytest.param("results have milliseconds", ["times"], "times", marks=pytest.mark.slow),
    pytest.param("results are trimmed", ["texts"], "texts body", marks=pytest.mark.slow),
    pytest.param("results come in another order", [], "columns-reordered", marks=pytest.mark.slow),
    pytest.param("defaults are lost", [], "written.said default-changed", marks=pytest.mark.slow),
    pytest.param("foreign keys are lost", [], "replaced foreign-key-missing", marks=pytest.mark.slow),
    pytest.param(
        "single values have no fraction of a second", ["times"], "cells of public.times at", marks=pytest.mark.slow
    ),
    pytest.param("the last change is always the same", [], "others' writes", marks=pytest.mark.slow),
    pytest.param("a MERGE chooses between two rows", [], "changes that follow: two rows with one key"),
    pytest.param("a MERGE updates no row", [], "changes that follow: a batch that comes twice", marks=pytest.mark.slow),
    pytest.param("a MERGE is committed at once", [], "changes that follow", marks=pytest.mark.slow),
)


@dataclass(frozen=True, repr=False)
class WrongSnowflake(Snowflake):
    """The stand-in with what `wrong_standin` does to it."""

    def command(self) -> list[str]:
        return [str(python()), "-P", "-m", "wrong_standin", str(self.configuration)]

    def environment(self) -> dict[str, str]:
        found = super().environment()
        return {**found, "PYTHONPATH": f"{found['PYTHONPATH']}:{HERE}"}


@pytest.fixture(scope="module")
def wrong(local_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Settings]]:
    """Makes the stand-in wrong in one way; the profile that reaches it, as if it were the service."""
    folder = tmp_path_factory.mktemp("wrong") / "snowflake"
    folder.mkdir()
    server = WrongSnowflake(folder, processes.free_port(set()), "a password", "the product's")
    running = server.start()
    values = local_settings.values

    def with_fault(name: str) -> Settings:
        (folder / "fault").write_text(name)
        target, stage = values.snowflake, values.stage
        connect = {**target.connect, "host": ANOTHER_NAME, "port": server.port}
        given = server.product
        own = {
            "snowflake": target.model_copy(
                update={"connect": connect, "user": given["user"], "password": _secret(given["password"])}
            ),
            "stage": stage.model_copy(update={"url": f"{stage.url}wrong/"}), "stack": None,
        }  # fmt: skip
        return replace(local_settings, values=values.model_copy(update=own))

    try:
        server.wait(running, 0)
        yield with_fault
    finally:
        processes.stop(running, server.marker, by=server.stop_signal)


def _secret(text: str) -> Any:
    from pydantic import SecretStr

    return SecretStr(text)


@pytest.mark.parametrize(("fault", "tables", "named"), FAULTS)
def test_what_an_engine_does_otherwise_is_found_and_named(
    wrong: Callable[[str], Settings],
    some_golden: Callable[[list[str]], None],
    fault: str,
    tables: list[str],
    named: str,
) -> None:
    some_golden(tables)
    found = certify.certify(wrong(fault), "snowflake")
    assert not found.passed
    said = [f"{answer.check} {answer.found}" for answer in found.wrong]
    assert any(all(word in each for word in named.split()) for each in said), _shown(found)


@pytest.mark.slow
def test_an_engine_that_does_as_the_stand_in_passes(wrong: Callable[[str], Settings]) -> None:
    found = certify.certify(wrong(""), "snowflake")
    assert found.passed, _shown(found)
    assert not found.stand_in
    assert {table.verdict for table in found.tables} == {"ok"}


def _shown(found: Certification) -> str:
    return json.dumps([answer.model_dump() for answer in found.wrong], indent=1, ensure_ascii=False)
