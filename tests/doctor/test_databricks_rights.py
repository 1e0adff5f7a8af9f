"""The role of docs/rights.md at Databricks: with any one right less the doctor names that one, and its statement gives it back.

The workspace answers as its REST interface is documented, page by page, one of them empty.

Would catch: a right of the page that the doctor does not ask for, one that it asks for and the page does not grant; an external
location that is looked for on the first page alone, or whose name begins like another's; a cluster with an old runtime or a wrong
access mode that shows when a load begins; a question that starts a machine.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import databricks_workspace
import pytest
import rights_support
from databricks_workspace import Workspace
from pydantic import SecretStr

from helpers import doctor
from helpers.doctor import databricks
from helpers.finding import Finding
from helpers.platforms import databricks_login
from helpers.settings import Databricks, Settings
from helpers.settings.source import Certification

GRANT = re.compile(r"GRANT (?P<rights>[A-Z, ]+) ON (?P<kind>[A-Z ]+?) (?P<name>[`\w.]+) TO `migration`")
LOCATIONS = {"migration_stage": "s3://your-bucket/migration", "migration_lake": "s3://lake/delta/"}
CLUSTER = {
    "cluster_name": "shared",
    "spark_version": "18.1.x-scala2.13",
    "state": "TERMINATED",
    "data_security_mode": "USER_ISOLATION",
}
UC = "2.1/unity-catalog"


CERTIFY = "migration_certify"


def single_rights() -> list[str]:
    """The script of the page, with one right a statement."""
    found = []
    for statement in rights_support.statements("databricks"):
        parts = GRANT.fullmatch(statement)
        assert parts, statement
        found += [statement.replace(parts["rights"], right) for right in parts["rights"].split(", ")]
    return found


def answers(statements: Iterable[str]) -> dict[str, Any]:
    """What the workspace answers after some GRANT statements (https://docs.databricks.com/api/workspace/grants/geteffective)."""
    granted: dict[str, list[dict[str, str]]] = {
        f"{UC}/effective-permissions/{path}": []
        for path in (
            "schema/main.migrated",
            f"schema/main.{CERTIFY}",
            "catalog/main",
            *(f"external_location/{name}" for name in LOCATIONS),
        )
    }
    for statement in statements:
        parts = GRANT.fullmatch(statement.replace("`main`", "main").replace("`migrated`", "migrated"))
        assert parts, statement
        kind = parts["kind"].lower().replace(" ", "_")
        for right in parts["rights"].split(", "):
            place = granted[f"{UC}/effective-permissions/{kind}/{parts['name'].replace('`', '')}"]
            place.append({"privilege": right.replace(" ", "_")})
    pages = {
        path: [
            {"privilege_assignments": []},
            {"privilege_assignments": [{"principal": "migration", "privileges": rights}]},
        ]
        for path, rights in granted.items()
    }
    known = [{"name": name, "url": url, "owner": "admins"} for name, url in LOCATIONS.items()]
    near = {"name": "near", "url": "s3://your-bucket/migration2", "owner": "admins"}
    return {
        "2.0/preview/scim/v2/Me": {"userName": "migration"},
        "2.1/clusters/get": CLUSTER,
        **{f"{UC}/schemas/main.{name}": {"name": name, "owner": "admins"} for name in ("migrated", CERTIFY)},
        f"{UC}/external-locations": [{}, {"external_locations": [near, known[1]]}, {"external_locations": [known[0]]}],
        **pages,
    }


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    databricks_login._logins.clear()
    with databricks_workspace.running(tmp_path, monkeypatch) as made:
        yield made


def asked(
    local_settings: Settings,
    workspace: Workspace,
    rest: dict[str, Any],
    certified_in: str | None = CERTIFY,
    **changed: Any,
) -> list[Finding]:
    workspace.rest = rest
    target = Databricks.model_validate({
        "host": workspace.host, "schema": "migrated", "catalog": "main", "cluster_id": "1125-x", "delta_root": "s3a://lake/delta/sales",
        "client_id": workspace.client_id, "client_secret": SecretStr(workspace.client_secret),
    } | changed)  # fmt: skip
    values = local_settings.values
    stage = values.stage.model_copy(update={"url": "s3://your-bucket/migration/"})
    settings = Settings(
        "local",
        local_settings.file,
        values.model_copy(
            update={
                "stage": stage,
                "databricks": target,
                "source": None,
                "certification": Certification(schema=certified_in),
            }
        ),
    )
    return [each.finding for each in doctor.examine(settings, ("databricks",))]


def wrong(found: list[Finding]) -> list[Finding]:
    return [each for each in found if each.severity == "stop"]


def test_the_script_suffices_and_each_right_less_is_named_with_its_statement(
    local_settings: Settings, workspace: Workspace
) -> None:
    statements = single_rights()
    assert len(statements) == 13
    found = asked(local_settings, workspace, answers(statements))
    assert not wrong(found), found
    assert {each.on for each in found if each.severity == "note"} >= {"login", "cluster", "rights", "external location"}
    for gone in statements:
        (lack,) = wrong(asked(local_settings, workspace, answers(each for each in statements if each != gone)))
        assert lack.fix.replace("`", "") == gone.replace("`", "")
        assert not wrong(
            asked(local_settings, workspace, answers([*(each for each in statements if each != gone), lack.fix]))
        )
    assert workspace.metadata == []


def test_a_schema_of_ones_own_and_one_that_a_load_makes(local_settings: Settings, workspace: Workspace) -> None:
    rest = answers(each for each in single_rights() if " ON SCHEMA " not in each)
    for name in ("migrated", CERTIFY):
        rest[f"{UC}/schemas/main.{name}"]["owner"] = "migration"
    assert not wrong(asked(local_settings, workspace, rest))
    del rest[f"{UC}/schemas/main.migrated"]
    assert [each.fix for each in wrong(asked(local_settings, workspace, rest))] == [
        "GRANT CREATE SCHEMA ON CATALOG `main` TO `migration`"
    ]
    # What a load and a certification need is told once.
    assert len(wrong(asked(local_settings, workspace, rest, certified_in=None))) == 1
    there = answers(single_rights())
    assert [each.fix for each in wrong(asked(local_settings, workspace, there, certified_in=None))] == [
        "GRANT CREATE SCHEMA ON CATALOG `main` TO `migration`"
    ]


def test_a_stage_that_no_location_holds(local_settings: Settings, workspace: Workspace) -> None:
    rest = answers(single_rights())
    rest[f"{UC}/external-locations"] = [
        {"external_locations": [{"name": "near", "url": "s3://your-bucket/migration2"}]}
    ]
    stage, lake = wrong(asked(local_settings, workspace, rest))
    assert "GRANT READ FILES ON EXTERNAL LOCATION" in stage.fix
    assert "'s3://lake/delta/sales'" in lake.fix
    inner = [
        {"name": "outer", "url": "s3://lake"},
        {"name": "inner", "url": "s3://lake/delta/"},
        {"name": "beside", "url": "s3://lake/del"},
    ]
    assert databricks.holding(inner, "s3a://lake/delta") == inner[1]


def test_a_cluster_that_will_not_do_is_told_before_it_is_started(
    local_settings: Settings, workspace: Workspace
) -> None:
    rest = answers(single_rights())
    rest["2.1/clusters/get"] = CLUSTER | {"spark_version": "17.3.x-scala2.13", "data_security_mode": "NONE"}
    runtime, mode = wrong(asked(local_settings, workspace, rest))
    assert "Databricks Runtime 18 or newer" in runtime.fix
    assert "dedicated or standard" in mode.fix
    found = asked(local_settings, workspace, answers(single_rights()), cluster_id=None, serverless=True)
    assert not wrong(found)
    assert "serverless" in next(each for each in found if each.on == "target's tables").what
