"""`--plan --sql` lists what the command behind it sends, in that order, and sends nothing that changes anything.

Would catch: a statement of a load that the list lacks or has in another place, a list that creates a schema or writes a record, a key
of the stage on the page.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from helpers.platforms import snowflake, statements
from helpers.platforms.delta import Lake
from tests.conftest import Migration
from tests.sql.statement_shapes import shape

SOURCE = (
    "CREATE TABLE authors (id int PRIMARY KEY, name varchar(20) NOT NULL, born date, score float8)",
    "CREATE TABLE books (id int PRIMARY KEY, author int REFERENCES authors, title text, price numeric(10, 2))",
    "COMMENT ON TABLE books IS 'what is lent'",
    "INSERT INTO authors SELECT n, 'a' || n, date '2024-01-01' + n, n / 3.0 FROM generate_series(1, 30) n",
    "INSERT INTO books SELECT n, n, 'b' || n, n FROM generate_series(1, 30) n",
)
TARGETS = ("snowflake", "databricks")


@pytest.fixture
def asked(migration: Migration, migration_toml: Callable[..., Any], runbook: Callable[..., Any]) -> Callable[..., Any]:
    """The command on a profile of this test's own; what it printed, as JSON where that was asked for."""
    # In one session, so that what is sent has an order.
    one = "[profiles.local.snowflake]\nparallel = 1\n", "[profiles.local.databricks]\nparallel = 1\n"
    text = migration.profile
    for section in one:
        head = section.partition("\n")[0]
        text = text.replace(f"{head}\n", section) if f"{head}\n" in text else f"{text}\n{section}"
    file = migration_toml(text)

    def called(*arguments: str) -> Any:
        done = runbook(*arguments, folder=file.parent)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if "--json" in arguments else done.stdout

    return called


def sent(found: list[dict[str, Any]]) -> list[str]:
    """Without what each run names anew, the ids of loads and tables, and of queries how many segments they sum up."""
    return [shape(each["system"], each["sql"]) for each in found]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    "changes",
    [
        pytest.param((), id="new tables"),
        pytest.param(
            ("ALTER TABLE authors ALTER name TYPE varchar(30)", "ALTER TABLE books ALTER id TYPE text", "DROP TABLE books"),
            id="altered, replaced and gone", marks=pytest.mark.slow,
        ),
    ],
)  # fmt: skip
def test_the_list_is_what_is_sent(
    migration: Migration, asked: Callable[..., Any], target: str, changes: tuple[str, ...]
) -> None:
    migration.source(*SOURCE)
    for change in ("", *changes):
        if change:
            migration.source(change)
        asked("export")
        for command in ("load", "verify"):
            before = objects(migration, target)
            listed = asked(command, "--target", target, "--plan", "--sql", "--json")
            assert objects(migration, target) == before
            plan = asked(command, "--target", target, "--plan", "--json")
            assert {"plan": listed["plan"]} == plan
            with statements.listed() as listing:
                asked(command, "--target", target)
            real = [{"system": each.system, "sql": each.sql} for each in listing.found]
            differing = list(difflib.unified_diff(sent(listed["statements"]), sent(real), lineterm="", n=1))
            assert not differing, "\n".join(differing)
            assert command == "verify" or any(not each["reads"] for each in listed["statements"])


def objects(migration: Migration, target: str) -> Any:
    """What the stage and the target hold."""
    there, stage = migration.settings.snowflake, migration.bucket.sizes()
    if target == "databricks":
        return stage, Lake.open(migration.settings.databricks, migration.settings.stage).bucket.sizes()
    with snowflake.connect(there) as session:
        sql = f"SELECT TABLE_SCHEMA, TABLE_NAME, CREATED FROM {snowflake.identifier(there.database)}.INFORMATION_SCHEMA.TABLES"
        rows = session.execute(sql, doing="look")
    return stage, [row for row in rows if row["TABLE_SCHEMA"].startswith(there.schema_)]


def test_people_read_sql_and_no_secret(migration: Migration, asked: Callable[..., Any]) -> None:
    migration.source(*SOURCE)
    asked("export")
    printed = asked("load", "--plan", "--sql")
    assert re.search(r"^CREATE OR REPLACE TEMPORARY STAGE .* AWS_SECRET_KEY = '•••'", printed, re.MULTILINE)
    assert re.search(r"^INSERT OVERWRITE INTO .*;$", printed, re.MULTILINE)
    stage = migration.settings.stage
    assert stage.secret_key and stage.access_key
    assert stage.secret_key.get_secret_value() not in printed and stage.access_key not in printed
    assert re.search(r"^INSERT INTO .*;  -- with ", printed, re.MULTILINE)


def test_only_a_plan_lists(
    migration: Migration, migration_toml: Callable[..., Any], runbook: Callable[..., Any]
) -> None:
    file = migration_toml(migration.profile)
    done = runbook("verify", "--sql", folder=file.parent)
    assert done.returncode == 2 and "--plan --sql" in done.stderr
