"""What the profile says of tables decides what moves, and stands in the manifest and in the verdict.

Would catch: an excluded table that is read all the same, a glob with a slip in it that means nothing, a reason that is in no
list, a profile that was changed behind an export and verifies it all the same.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import export as exporting
from helpers.errors import SettingsError, UsageError
from helpers.settings import Tables
from helpers.source import survey
from helpers.source.relations import Choice, Relation

SOURCE = (
    "CREATE SCHEMA crm",
    "CREATE TABLE sales (id int, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day)",
    "CREATE TABLE sales_2026 PARTITION OF sales FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')",
    "INSERT INTO sales VALUES (1, '2026-01-01')",
    "CREATE TABLE crm.person (id int PRIMARY KEY, email text, hash text, left_on date)",
    "CREATE TABLE crm.import_1 (id int)",
    "CREATE VIEW crm.people AS SELECT id FROM crm.person",
)


def _describe(migration: Any, **described: Any) -> None:
    values = migration.settings.values.model_copy(update={"tables": Tables.model_validate(described)})
    migration.settings = replace(migration.settings, values=values)


def _moved(manifest: Any) -> list[str]:
    return [str(table) for table in manifest.tables]


def test_what_the_profile_excludes_is_left_with_its_reason_and_nothing_is_asked_of_it(migration: Any) -> None:
    migration.source(*SOURCE)
    _describe(migration, include=["public.*", "crm.*"], exclude={"crm.import_*": "scratch tables"})
    with migration.superuser() as cursor:
        cursor.execute("ALTER TABLE crm.import_1 OWNER TO postgres")  # which the role may then not read
    assert [str(census.table) for census in survey.census(migration.settings).tables] == ["crm.person", "public.sales"]
    manifest = migration.migrate()
    assert _moved(manifest) == ["crm.person", "public.sales"]
    assert manifest.left_out["crm.import_1"] == "excluded by tables.exclude crm.import_*: scratch tables"
    assert manifest.complete
    for options in ({}, {"source_name": "manifest"}):
        report = migration.verify(**options)
        assert (report.verdict, report.left_out["crm.import_1"]) == ("equal", manifest.left_out["crm.import_1"])
    # A command's globs narrow it further, and bring nothing back.
    with exporting.planned(migration.settings, exclude=("person",)) as plan:
        assert [str(table) for table in plan.state.tables] == ["public.sales"]
    with pytest.raises(UsageError, match="scratch tables"), exporting.planned(migration.settings, tables=("import_1",)):
        pass


def test_a_profile_that_was_changed_behind_an_export_verifies_nothing(migration: Any) -> None:
    migration.source(*SOURCE)
    _describe(migration, exclude=["import_1"])
    migration.migrate()
    _describe(migration, include=["crm.*"])
    with pytest.raises(UsageError) as refused:
        migration.verify()
    assert "public.sales was exported, and now it is not chosen: tables.include names others" in str(refused.value)
    assert "crm.import_1 was excluded by tables.exclude import_1: named in tables.exclude, and now it moves" in str(
        refused.value
    )


@pytest.mark.parametrize(
    ("described", "said"),
    [
        ({"include": ["crm.persn", "public.*"]}, "did you mean crm.person"),
        ({"exclude": ["sales_2026"]}, "partition of public.sales"),
        ({"include": ["crm.people"]}, "crm.people is a view"),
        ({"exclude": ["nothing.*"]}, "name one of crm.import_1, crm.person, public.sales"),
    ],
)
def test_a_glob_that_means_nothing_is_refused_with_what_is_called_so(
    migration: Any, described: dict[str, Any], said: str
) -> None:
    migration.source(*SOURCE)
    _describe(migration, **described)
    with pytest.raises(SettingsError, match=r"tables\.(include|exclude)") as refused:
        migration.export()
    assert said in str(refused.value)
    assert migration.bucket.sizes() == {}


NAMES = st.sampled_from(["a", "b", "ab", "import_1"])
GLOBS = st.lists(st.sampled_from(["*", "a", "s.*", "t.a", "*.b", "import_*", "t.import_?"]), max_size=3, unique=True)


@given(st.sampled_from(["s", "t"]), NAMES, GLOBS, GLOBS, GLOBS, GLOBS)
def test_a_table_moves_if_every_list_lets_it(
    schema: str, name: str, include: list[str], exclude: list[str], stay: list[str], tables: list[str]
) -> None:
    relation = Relation(1, schema, name, "r", 0, False, "", False, True, True, False, True)
    described = Tables.model_construct(
        include=tuple(include), exclude=dict.fromkeys(exclude, "x"), stay=dict.fromkeys(stay, "y"), match={}
    )
    moves = not Choice(tables=tables, described=described).why_not(relation)
    assert moves == (
        (not include or relation.matches(include))
        and not relation.matches(exclude)
        and not relation.matches(stay)
        and (not tables or relation.matches(tables))
    )
