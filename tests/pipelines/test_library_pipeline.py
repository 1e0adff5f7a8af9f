"""The second pipeline, on which the sample's names, tables and figures mean nothing.

Would catch: a kind of object of an ordinary database that a catalog's reading, a census or a move does not take; a phase that needs
something of the sample's; a word of the profile on tables, masks or rows that a migration does not heed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import library_support
import pytest

from helpers.phases.p00_assessment.assessment import Assessment
from helpers.phases.p30_data_migration.migration import DataMigration
from helpers.platforms import postgres, snowflake
from helpers.settings import Settings
from helpers.source import survey
from helpers.source.catalog import read_catalog

SAMPLE = ("raw_orders", "sales_daily", "sales_data", "open_orders", "product_ranking", "cloud_sales_pipeline_dag")
"""Names that only the sample has."""


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


@pytest.fixture(scope="module")
def at_the_library(library: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the library's parts, in which the tests work as its people do."""
    folder = tmp_path_factory.mktemp("library")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, value in library_support.install(library, folder).items():
            patch.setenv(name, value)
        yield folder


def test_phase_00_looks_at_the_library_and_at_nothing_of_the_sample_s(
    at_the_library: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    phase = Assessment(library_support.PROFILE, "A", apply=False)
    for check in (
        phase.check_usage, phase.check_volume, phase.check_integrations, phase.check_performance, phase.check_aws,
        phase.check_snowflake, phase.check_databricks, phase.check_network, phase.check_backup,
    ):  # fmt: skip
        check()
    assert phase.volume().loc["loans.loan", "rows"] > 0
    assert {"loans.loan", "members.person"} <= set(phase.volume().index)
    assert set(phase.baseline().index) == {"catalogue.popular", "loans.overdue"}, (
        "what its profile promises times of, and no more"
    )
    seen = capsys.readouterr().out + "".join(map(str, phase.tokens.values()))
    assert "loans.overdue" in seen and not [name for name in SAMPLE if name in seen]


def test_phase_30_moves_what_the_profile_says_and_proves_it(at_the_library: Path) -> None:
    phase = DataMigration(library_support.PROFILE, [], apply=True)
    only_snowflake = phase.settings.values.model_copy(update={"databricks": None})
    phase.settings = replace(phase.settings, values=only_snowflake)
    try:
        phase.survey()
        phase.export()
        phase.load(phase.check_stage())
        phase.verify()
        assert str(phase.milestone()) == "✔ gate s30-milestone passed"
        assert phase.summary().startswith("EQUAL: ") and "of 14 tables in Snowflake" in phase.summary()
        target = phase.settings.snowflake
        with snowflake.connect(target) as session:
            schema = snowflake.identifier(target.database, target.schema_)
            tables = session.execute(f"SHOW TABLES IN SCHEMA {schema}", doing="list the tables")
            assert {"catalogue_event", "loans_event", "loans_loan"} <= {str(row["name"]) for row in tables}
            people = session.execute(f'SELECT * FROM {schema}."members_person" LIMIT 1', doing="look at a person")
            assert "password_hash" not in people[0] and people[0]["street"] == "withheld" and people[0]["phone"] is None
            (ended,) = session.execute(
                f'SELECT COUNT(*) AS N FROM {schema}."members_membership" WHERE "valid_until" <= \'2023-06-01\'',
                doing="look for memberships that ended",
            )
            assert ended["N"] == 0
    finally:
        phase.close()
