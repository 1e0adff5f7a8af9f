"""Real engines, each started from Maven's jars where Java is: `make test-engines`, and part of `-m slow`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.errors import LocalStackError
from helpers.local import jars
from tests.engines.kafka_broker import Broker

HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.engines)
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """Apache Kafka, one for all tests; one that kills it starts it again."""
    try:
        jars.class_path("kafka")
        jars.java()
    except LocalStackError as error:
        pytest.skip(str(error))
    found = Broker.made(tmp_path_factory.mktemp("kafka"))
    yield found
    found.kill()
