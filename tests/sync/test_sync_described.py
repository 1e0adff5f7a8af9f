"""What a profile says of a table holds in the stream as in the copy: filters, masks, columns left out, policies.

Would catch: a row that leaves the filter and stays in the target, one that enters it and is missing, a value that a mask hides in the
copy alone, a policy that the copy applies and the stream does not, a value that is shown where a table stops.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest

from helpers.model import sync as records
from helpers.settings import Resolved, Tables
from tests.sync.following import stop
from tests.sync.test_sync_loop import copied, equal, once

PERSON = {
    "where": "left_on IS NULL AND kind = 'good' AND length(note) > 2",
    "omit": ["secret"],
    "mask": {"email": "sha256", "phone": "null", "street": {"constant": "Way {0}"}},
    "reason": "nobody's business",
}
LONG = "repeat(md5(id::text), 200)"


@pytest.fixture(autouse=True)
def nothing_stays(migration: Any) -> Iterator[None]:
    yield
    stop(migration)


def described(migration: Any, policies: dict[str, str] | None = None, **tables: Any) -> None:
    values = migration.settings.values
    export = values.export.model_copy(update={"policies": policies or {}})
    changed = values.model_copy(update={"tables": Tables.model_validate(tables), "export": export})
    migration.settings = replace(migration.settings, values=changed)


def test_filters_masks_and_columns_left_out(migration: Any) -> None:
    migration.source(
        "CREATE TYPE kind AS ENUM ('good', 'bad')", "CREATE DOMAIN mail AS text CHECK (VALUE LIKE '%@%')",
        "CREATE TABLE person (id int PRIMARY KEY, email mail, phone varchar(20), street text, kind kind, left_on date, secret text, note text)",
        "ALTER TABLE person REPLICA IDENTITY FULL", "ALTER TABLE person ALTER note SET STORAGE EXTERNAL",
        f"""INSERT INTO person SELECT id, 'p' || id || '@x', '555-' || id, 'Street ' || id, CASE WHEN id % 3 = 0 THEN 'bad' ELSE 'good' END::kind,
            CASE WHEN id % 5 = 0 THEN date '2024-01-01' END, 'hidden-' || id, {LONG} FROM generate_series(1, 30) id""",
    )  # fmt: skip
    described(migration, match={"public.person": PERSON}, mask_salt=Resolved("pepper"))
    copied(migration)
    migration.source(
        "UPDATE person SET left_on = '2025-01-01' WHERE id = 1", "UPDATE person SET left_on = NULL WHERE id IN (5, 10)",
        "UPDATE person SET kind = 'good', phone = '000' WHERE id = 3", "UPDATE person SET kind = 'bad', id = 400 WHERE id = 4",
        "UPDATE person SET id = 700, email = 'new@x' WHERE id = 7", "UPDATE person SET note = 'no' WHERE id = 8",
        "UPDATE person SET secret = 'hidden-again', street = NULL WHERE id = 11", "DELETE FROM person WHERE id IN (13, 6)",
        "INSERT INTO person VALUES (50, 'in@x', '1', 's', 'good', NULL, 'hidden', 'long enough'), (51, 'out@x', '1', 's', 'bad', NULL, 'hidden', 'long enough')",
        "UPDATE person SET kind = 'bad' WHERE id = 14; UPDATE person SET kind = 'good' WHERE id = 14",
    )  # fmt: skip
    running = once(migration)
    assert not [str(each) for each in running.sync.tables if each.stopped]
    equal(migration)
    hashed = sha256(b"peppernew@x").hexdigest()
    assert migration.target('SELECT "email", "phone", "street" FROM "person" WHERE "id" = 700') == [
        (hashed, None, "Way {0}")
    ]
    there = [id for (id,) in migration.target('SELECT "id" FROM "person" ORDER BY 1')]
    assert {5, 10, 3, 700, 50, 14} <= set(there) and not {1, 4, 400, 8, 13, 51} & set(there)


def test_what_does_not_move_is_not_staged(migration: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    migration.source(
        "CREATE TABLE person (id int PRIMARY KEY, email text, secret text, kind text)", "ALTER TABLE person REPLICA IDENTITY FULL",
    )  # fmt: skip
    rule = {"where": "kind = 'good'", "omit": ["secret"], "mask": {"email": "null"}, "reason": "x"}
    described(migration, match={"public.person": rule})
    copied(migration, "snowflake")
    migration.source(
        "INSERT INTO person VALUES (1, 'mail-of-one', 'hidden-of-one', 'good'), (2, 'mail-of-two', 'hidden-of-two', 'bad-of-two')"
    )
    staged = list[bytes]()
    remove = type(migration.bucket).remove

    def kept(bucket: Any, names: list[str]) -> None:
        staged.extend(bucket.read(name) or b"" for name in names if name.endswith(".parquet"))
        remove(bucket, names)

    monkeypatch.setattr(type(migration.bucket), "remove", kept)
    once(migration, "snowflake")
    assert staged and all(
        text not in content for content in staged for text in (b"mail-of", b"hidden-of", b"bad-of-two")
    )
    assert migration.target('SELECT * FROM "person"') == [(1, None, "good")]


def test_a_policy_holds_in_the_stream_with_its_flag(migration: Any) -> None:
    migration.source(
        "CREATE TABLE odd (id int PRIMARY KEY, at date, v numeric)", "INSERT INTO odd VALUES (1, 'infinity', 1), (2, '2024-01-01', 'NaN')",
    )  # fmt: skip
    described(migration, {"public.odd.at": "null+flag", "public.odd.v": "text"})
    copied(migration)
    migration.source(
        "INSERT INTO odd VALUES (3, '-infinity', 'Infinity'), (4, '2025-01-01', 0.10)",
        "UPDATE odd SET at = '2026-01-01' WHERE id = 1", "UPDATE odd SET at = 'infinity', v = 7 WHERE id = 2",
    )  # fmt: skip
    running = once(migration)
    assert not [each.stopped for each in running.sync.tables if each.stopped]
    equal(migration)
    assert migration.target('SELECT "at", "at__original", "v" FROM "odd" WHERE "id" = 3') == [
        (None, "-infinity", "Infinity")
    ]


def test_why_a_table_with_masks_stopped_shows_no_value(migration: Any) -> None:
    """The value that cannot be staged is another column's, and not even that is shown."""
    migration.source(
        "CREATE TABLE person (id int PRIMARY KEY, email text, v numeric)", "INSERT INTO person VALUES (1, 'a', 0.5)"
    )
    described(migration, match={"public.person": {"mask": {"email": "null"}, "reason": "x"}})
    copied(migration, "snowflake")
    migration.source(f"INSERT INTO person VALUES (77, 'mail-of-77', {'9' * 37})")
    once(migration, "snowflake")
    (table,) = records.read(migration.bucket).tables
    assert "id=77" in table.stopped
    assert "mail-of" not in table.stopped and "999" not in table.stopped
