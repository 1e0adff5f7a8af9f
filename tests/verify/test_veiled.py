"""A table whose policies hide something from the verifying role: named and refused, or read as a role that they exempt.

Would catch: a mask that is told as a million changed cells, rows that a policy hides told as lost, a policy that is never asked for.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest


@pytest.fixture
def veiled(migration: Any) -> Any:
    """Three tables, one of them masked and one with a row access policy."""
    migration.source(
        "CREATE TABLE masked (id int PRIMARY KEY, email text); INSERT INTO masked VALUES (1, 'a@example.com')",
        "CREATE TABLE hidden (id int PRIMARY KEY); INSERT INTO hidden VALUES (1), (2)",
        "CREATE TABLE open (id int PRIMARY KEY); INSERT INTO open VALUES (1)",
    )
    migration.load(migration.export())
    migration.target(
        "CREATE MASKING POLICY hide_email AS (val VARCHAR) RETURNS VARCHAR -> CASE WHEN CURRENT_ROLE() = 'MIGRATION_ROLE' THEN val ELSE '***' END",
        'ALTER TABLE "masked" MODIFY COLUMN "email" SET MASKING POLICY hide_email',
        "CREATE ROW ACCESS POLICY by_id AS (i NUMBER) RETURNS BOOLEAN -> TRUE",
        'ALTER TABLE "hidden" ADD ROW ACCESS POLICY by_id ON ("id")',
    )
    return migration


def test_what_a_policy_hides_is_refused_by_its_name(veiled: Any) -> None:
    for check in ("full", "row-counts"):
        found = {table.name: table for table in veiled.verify(check=check).tables}
        assert (found["masked"].verdict, found["hidden"].verdict, found["open"].verdict) == (
            "refused",
            "refused",
            "equal",
        )
        assert "masking policy HIDE_EMAIL on email" in found["masked"].method
        assert "row access policy BY_ID" in found["hidden"].method
        assert "verify_role" in found["hidden"].method
        assert not found["masked"].cells and not found["masked"].changed


def test_a_role_that_is_exempt_is_named_with_what_it_is_exempt_from(veiled: Any) -> None:
    own = veiled.settings.snowflake
    exempt = own.model_copy(update={"verify_role": own.role or "ACCOUNTADMIN"})
    veiled.settings = replace(veiled.settings, values=veiled.settings.values.model_copy(update={"snowflake": exempt}))
    found = {table.name: table for table in veiled.verify().tables}
    assert f"as {exempt.verify_role}, which the profile takes for exempt from" in found["masked"].method
    assert "HIDE_EMAIL" in found["open"].method
    assert {table.verdict for table in found.values()} == {"equal"}
