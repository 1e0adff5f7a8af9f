"""Phase 40 on the second pipeline: its own tests, figures and queries are asked, and nothing of the sample's is there to be.

Would catch: a box that is ticked by the sample's tests or tables, a figure of a migrated table that is compared by another's name, a
report that the command did not write, a failed test or a report that its exit code contradicts.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import library_support
import pytest

from helpers import export as exporting
from helpers import load as loading
from helpers import settings as profiles
from helpers.errors import GateClosed, UsageError
from helpers.ledger import folders
from helpers.local import profile as local_profile
from helpers.phases.p20_pipeline_configuration.configuration import PipelineConfiguration
from helpers.phases.p40_testing_validation.testing import TestingValidation
from helpers.pipelines import functional
from helpers.platforms.s3 import Bucket
from helpers.settings import Settings, Tests


@pytest.fixture(scope="module")
def library(
    fresh_migration: Callable[..., AbstractContextManager[Any]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Settings]:
    """The library, migrated, where none of the sample's modules can be imported."""
    folder = tmp_path_factory.mktemp("library")
    with fresh_migration() as migration, pytest.MonkeyPatch.context() as patch:
        own = migration.settings
        library_support.build(own.source)
        for name, value in library_support.install(own, folder).items():
            patch.setenv(name, value)
        patch.setattr(local_profile, "sample", dict)
        for module in [name for name in sys.modules if name.startswith("helpers.pipelines.sample")]:
            patch.delitem(sys.modules, module)
        patch.setitem(sys.modules, "helpers.pipelines.sample", None)
        for made in ("runbooks", "outputs"):
            (folder / made).mkdir()
        patch.chdir(folder)
        folders._scratch_folder.cache_clear()
        settings = profiles.load("library").for_option("A")
        with exporting.planned(settings) as plan:
            manifest = exporting.export(plan)
        loading.load(loading.plan_load(manifest, Bucket.open(settings.stage), settings.main_target))
        yield settings
        folders._scratch_folder.cache_clear()


@pytest.fixture
def testing(library: Settings) -> TestingValidation:
    return TestingValidation("library", ["small"], apply=True)


def test_its_own_tests_are_run_and_reach_its_own_source(testing: TestingValidation) -> None:
    outcomes = testing.functional()["outcome"]
    assert list(outcomes) == ["passed"] * 3
    assert str(testing.gate("s40-functional")).startswith("✔")


def test_its_figures_of_migrated_tables_are_equal(testing: TestingValidation, library: Settings) -> None:
    own = [name for name, each in library.figures.items() if each.query]  # the mart of the other is a slow test's
    figures = {name: library.figures[name] for name in own}
    testing.settings = replace(library, values=library.values.model_copy(update={"figures": figures}))
    testing.subject._settings = testing.settings  # type: ignore[attr-defined]
    verdicts = testing.parity()["verdict"]
    assert dict(verdicts) == dict.fromkeys(own, "equal")
    assert str(testing.gate("s40-parity")).startswith("✔")
    measured = testing.performance()
    assert set(measured["pipeline"]) == {"legacy", "modern"}
    assert set(testing.queries()["query"]) >= {*own, "loans.overdue", "catalogue.popular"}


def test_its_dags_are_read_and_without_an_airflow_none_is_switched_or_ticked(library: Settings) -> None:
    configuration = PipelineConfiguration("library", apply=True)
    assert set(configuration.files().index) == {"library_cloud", "library_nightly"}
    shown, token = configuration.cloud_dag(), configuration.cloud_gate()
    assert "not applicable: the profile has no Airflow" in shown.to_string()
    configuration.sources(token)
    assert str(configuration.sources_gate()).startswith("✔"), "its source, its stage and its target answer"


WRONG = {
    "a failure": ('<testsuite><testcase name="a"><failure message="lost"/></testcase></testsuite>', 1, "lost"),
    "an exit code without one": ('<testsuite><testcase name="a"/></testsuite>', 3, "exit code 3"),
    "a failure that ended well": ('<testsuite><testcase name="a"><error/></testcase></testsuite>', 0, "ended well"),
    "nothing but skips": ('<testsuite><testcase name="a"><skipped/></testcase></testsuite>', 0, "nothing was tested"),
    "no test": ("<testsuite/>", 0, "has no test"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_report_that_says_no_or_nothing_closes_the_gate(what: str, testing: TestingValidation) -> None:
    report, code, says = WRONG[what]
    script = f"import pathlib, sys; pathlib.Path(sys.argv[1]).write_text({report!r}); sys.exit({code})"
    _command(testing, sys.executable, "-c", script, "{report}")
    testing.functional()
    with pytest.raises(GateClosed, match=says):
        testing.gate("s40-functional")


BOMB = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><testsuite><testcase name="&b;"/></testsuite>'


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("pass", "wrote no report"),
        (f"import pathlib, sys; pathlib.Path(sys.argv[1]).write_text({BOMB!r})", "no such XML"),
        ("import pathlib, sys; pathlib.Path(sys.argv[1]).write_text('passed')", "no such XML"),
    ],
)
def test_a_report_that_is_none_is_an_error(script: str, says: str, testing: TestingValidation) -> None:
    _command(testing, sys.executable, "-c", script, "{report}")
    with pytest.raises(UsageError, match=says):
        testing.functional()


def test_a_report_of_an_earlier_run_is_none_and_a_long_run_is_ended(library: Settings, tmp_path: Path) -> None:
    (tmp_path / "report.xml").write_text('<testsuite><testcase name="a"/></testsuite>')
    old = Tests(command=(sys.executable, "-c", "print('nothing')"), report=str(tmp_path / "report.xml"))
    values = library.values
    with pytest.raises(UsageError, match="older one"):
        functional.run(replace(library, values=values.model_copy(update={"tests": old})))
    slow = Tests(command=(sys.executable, "-c", "import time; time.sleep(60)", "{report}"), timeout_seconds=0.5)
    done = functional.run(replace(library, values=values.model_copy(update={"tests": slow})))
    assert done.exit_code is None and "was ended after" in done.wrong


def _command(testing: TestingValidation, *command: str) -> None:
    values = testing.settings.values.model_copy(update={"tests": Tests(command=command)})
    testing.settings = replace(testing.settings, values=values)


@pytest.mark.slow
def test_its_marts_are_built_by_its_own_project_and_all_its_figures_are_equal(testing: TestingValidation) -> None:
    """dbt's environment."""
    built = testing.quality()
    assert {"monthly_loans", "branch_use"} <= set(built["name"])
    assert str(testing.gate("s40-quality")).startswith("✔")
    assert set(testing.parity()["verdict"]) == {"equal"}
    assert str(testing.gate("s40-parity")).startswith("✔")
