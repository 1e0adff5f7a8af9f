"""The clean-up behind a cutover: archived, seen to restore, destroyed by two signatures, and documented.

Slow: a real pg_dump and pg_restore into a locked bucket, Terraform and moto in an environment of their own.

Would catch: legacy infrastructure that goes before its data are archived, or with one signature where two are asked, or by another
plan than the signed one; a dashboard that is said to be there and is not; a clean-up that is called done with a box open.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cutover_support import Project, opened, write_profile

from helpers import archive
from helpers.engines import destination
from helpers.errors import AwaitingPerson, GateClosed, UsageError
from helpers.infrastructure import resources as infrastructure
from helpers.infrastructure import tf_vars
from helpers.ledger.gate import gate
from helpers.phases.p10_infrastructure import plan as infrastructure_plan
from helpers.phases.p50_cutover.cleanup import Cleanup
from helpers.pipelines import dashboard
from helpers.platforms import terraform

pytestmark = pytest.mark.slow


@pytest.fixture
def project(migration: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    with opened(migration, tmp_path, monkeypatch) as found:
        yield found


def walk(project: Project, option: str = "A", *, apply: bool = True) -> Cleanup:
    project.attempt("50_cutover")
    return Cleanup("local", option, apply=apply)


def monitored() -> Any:
    return gate("s50-monitor", True, evidence="the new side was watched", next_step="")


def test_it_is_archived_then_destroyed_by_two_and_documented(project: Project) -> None:
    write_profile(
        project.folder, project.migration,
        "[profiles.local.approvals.thresholds]\ndestructive = 2\n"
        f'[profiles.local.terraform]\nfolder = "{project.folder}/terraform"\n'
        f'legacy_module = "{infrastructure.LEGACY}"\n'
        f'[profiles.local.archive]\nurl = "s3://archive/{project.migration.name}/"\n',
    )  # fmt: skip
    first = walk(project)
    environment = tf_vars.environment(project.folder)
    variables = infrastructure_plan.variables(infrastructure.LEGACY, first.settings, environment, {})
    made = terraform.apply(terraform.plan(infrastructure.LEGACY, variables, settings=first.settings))
    assert made.created > 0
    with pytest.raises(UsageError, match="not the gate's token"):
        first.remove_legacy(None)
    archived = first.archive(monitored())
    assert "equal" in first.archived().to_string()
    for who, already in (("alice", 0), ("bob", 1)):
        with pytest.raises(AwaitingPerson, match=f"{already} of 2"):
            first.remove_legacy(archived)
        project.sign("s50-remove-legacy", who)
    assert terraform.resources(infrastructure.LEGACY, first.settings) != []

    second = walk(project)
    removed = second.remove_legacy(second.archive(monitored()))
    assert removed["deleted"].tolist() == [made.created]
    assert terraform.resources(infrastructure.LEGACY, second.settings) == []
    done = [e for e in project.ledger.entries() if e.event == "step-done" and e.get("step") == "s50-archive"]
    assert len(done) == 1

    with pytest.raises(AwaitingPerson) as caught:
        second.documents()
    assert caught.value.on == "s50-runbooks, s50-team-documentation, s50-documentation"
    for name in ("s50-runbooks", "s50-team-documentation", "s50-documentation"):
        project.sign(name)
    assert second.documents()["by"].tolist() == ["alice"]
    with pytest.raises(GateClosed, match="s50-dashboards"):
        second.done()
    second.dashboards()
    assert dashboard.present(second.settings) == dashboard.definition(second.settings)
    assert str(second.done()) == "✔ gate s50-cleanup passed"
    assert project.ledger.verify() == []


def test_an_archive_that_does_not_restore_removes_nothing(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    write_profile(
        project.folder, project.migration,
        f'[profiles.local.archive]\nurl = "s3://archive/{project.migration.name}/"\n',
    )  # fmt: skip
    real = archive.restore_test

    def spoilt(*args: Any, **options: Any) -> Any:
        return real(*args, **options).model_copy(update={"verdict": "different"})

    monkeypatch.setattr(archive, "restore_test", spoilt)
    with pytest.raises(GateClosed, match="s50-archive"):
        walk(project).archive(monitored())


def test_a_hybrid_has_no_clean_up(project: Project) -> None:
    own = walk(project, "B")
    for shown in (own.archive(monitored()), own.remove_legacy(None), own.documents(), own.dashboards(), own.done()):
        assert "no part of option B" in shown.to_string()  # type: ignore[union-attr]
    assert not [e for e in project.ledger.entries() if str(e.get("step")).startswith("s50")]


def test_the_dashboard_of_a_profile_without_snowflake_names_its_delta_tables(local_settings: Any) -> None:
    values = local_settings.values.model_copy(update={"snowflake": None})
    text = dashboard.definition(replace(local_settings, values=values))["widgets"][0]["properties"]["markdown"]
    assert f"Serves from {destination(local_settings.databricks).where}" in text


def test_the_dashboard_is_what_cloudwatch_takes(local_settings: Any) -> None:
    body = dashboard.definition(local_settings)
    assert dashboard.put(local_settings, body) == ()
    assert json.loads(json.dumps(dashboard.present(local_settings))) == body
