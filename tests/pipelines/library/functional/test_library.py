"""What the library's own people check of their pipeline, whatever moves it: run by `[profiles.library.tests]`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg2
import pytest


@pytest.fixture
def cursor() -> Iterator[Any]:
    # Where the source is, PGHOST and its like say.
    with closing(psycopg2.connect("")) as connection:
        connection.set_session(readonly=True)
        yield connection.cursor()


def one(cursor: Any, sql: str) -> Any:
    cursor.execute(sql)
    return cursor.fetchone()[0]


def test_every_loan_is_counted_in_one_month(cursor: Any) -> None:
    assert one(cursor, "SELECT sum(loans) FROM loans.loans_per_month") == one(cursor, "SELECT count(*) FROM loans.loan")


def test_no_copy_is_lent_that_the_library_does_not_have(cursor: Any) -> None:
    assert (
        one(
            cursor, "SELECT count(*) FROM loans.loan LEFT JOIN catalogue.copy c USING (copy_id) WHERE c.copy_id IS NULL"
        )
        == 0
    )


def test_nobody_pays_for_a_loan_in_time(cursor: Any) -> None:
    assert one(cursor, "SELECT count(*) FROM loans.fine WHERE amount = 0") == 0
