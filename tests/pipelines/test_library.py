"""The second pipeline, on which the sample's names, tables and figures mean nothing.

Would catch: a kind of object of an ordinary database that a catalog's reading, a census or a move does not take.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import library_support
import pytest

from helpers.platforms import postgres
from helpers.settings import Settings
from helpers.source import survey
from helpers.source.catalog import read_catalog


@pytest.fixture(scope="module")
def library(fresh_migration: Callable[..., AbstractContextManager[Any]]) -> Iterator[Settings]:
    """The library's database, which the tests of this file only read."""
    with fresh_migration() as migration:
        library_support.build(migration.settings.source)
        yield migration.settings


def test_the_library_is_an_ordinary_database_with_most_of_what_postgresql_has(library: Settings) -> None:
    with postgres.reading(library.source) as cursor:
        catalog = read_catalog(cursor)
    tables = {str(table): table for table in catalog.tables}
    assert len(tables) == 15 and {name.partition(".")[0] for name in tables} == {"catalogue", "loans", "members"}
    assert [name for name in tables if name.endswith(".event")] == ["catalogue.event", "loans.event"]
    assert [name for name, table in tables.items() if not table.key] == ["loans.event", "loans.import_2019"]
    assert tables["loans.loan"].partitioned and len(tables["loans.loan"].heaps) == 3
    assert tables["loans.loan"].key == ("loan_id", "lent_at")
    assert {"catalogue.popular", "loans.overdue", "loans.receipt_number"} < set(catalog.left_out)


def test_of_its_values_the_census_refuses_only_those_that_no_target_holds(library: Settings) -> None:
    found = survey.census(library)
    refused = [sentence for table in found.tables for sentence in table.refused]
    assert len(refused) == 1 and refused[0].startswith("loans.reservation.wanted_until (date): 60 × infinite"), refused
