"""The script of docs/rights.md is run on the strict stand-in as it is printed: its role suffices for a load and a verification, and
with any one right less the doctor names that one, the load fails there, and the doctor's statement cures it.

Would catch: a script that lacks a right, a right that the doctor does not ask for, a cure that does not cure or is not quoted, two
findings for one missing right, a load that needs more than the page grants.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, suppress
from pathlib import Path
from typing import Any

import pytest
import rights_support
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from helpers import certify, doctor
from helpers import load as loading
from helpers import verify as verifying
from helpers.certify import kept
from helpers.errors import MigrationError, TargetRefused
from helpers.finding import Finding
from helpers.platforms import snowflake
from helpers.settings import Resolved, Settings, Snowflake
from helpers.settings.source import Certification

SCRIPT = rights_support.statements("snowflake")
_OWN = f"OF_{os.getpid()}"
_NAMES = {
    name: f"{name}_{_OWN}"
    for name in ("MIGRATION_AUDITOR", "MIGRATION_ROLE", "MIGRATION_WH", "MIGRATION_S3", "MIGRATION", "LIBRARY")
}


def written(statement: str) -> str:
    """A statement of the page with names of this process, since the stack has the page's own."""
    return re.sub(r"\b(MIGRATION_AUDITOR|MIGRATION_ROLE|MIGRATION_WH|MIGRATION_S3|MIGRATION|LIBRARY)\b", lambda found: _NAMES[found[0]], statement)  # fmt: skip


class Account:
    """The role of the page with a database of its own, and whoever administers the account."""

    def __init__(self, migration: Any, administrator: Snowflake) -> None:
        self.migration, self._administrator = migration, administrator
        key = rsa.generate_private_key(65537, 2048)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.public_key = base64.b64encode(public).decode()
        own = migration.settings.snowflake
        target = Snowflake(
            account=own.account, user=_NAMES["MIGRATION"], database=_NAMES["LIBRARY"], schema="MIGRATED", role=_NAMES["MIGRATION_ROLE"],
            authenticator="snowflake_jwt", private_key=Resolved(pem), connect=own.connect,
        )  # fmt: skip
        self.settings = Settings(
            "local", migration.settings.file, migration.settings.values.model_copy(update={"snowflake": target})
        )

    def run(self, *statements: str) -> list[tuple[Any, ...]]:
        """As the administrator."""
        with closing(snowflake.open_connection(self._administrator)) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall())

    def examined(self, certified_in: str | None = None, **changed: Any) -> dict[str, Finding]:
        target = self.settings.snowflake.model_copy(update=changed)
        settings = Settings(
            "local",
            self.settings.file,
            self.settings.values.model_copy(
                update={"snowflake": target, "certification": Certification(schema=certified_in)}
            ),
        )
        return {each.finding.on: each.finding for each in doctor.examine(settings, ("snowflake",))}

    def load(self, manifest: Any) -> None:
        loading.load(loading.plan_load(manifest, self.migration.bucket, self.settings.snowflake))

    def verified(self) -> str:
        with verifying.planned(self.settings, target="snowflake") as plan:
            return str(verifying.verify(plan).verdict)


def wrong(found: dict[str, Finding]) -> list[tuple[str, str]]:
    return [(on, each.fix) for on, each in found.items() if each.severity == "stop"]


@pytest.fixture(scope="module")
def account(fresh_migration: Callable[..., AbstractContextManager[Any]], administrator: Snowflake) -> Iterator[Account]:
    with fresh_migration() as migration:
        found = Account(migration, administrator)
        made = (
            "CREATE WAREHOUSE MIGRATION_WH WITH WAREHOUSE_SIZE = XSMALL",
            "CREATE STORAGE INTEGRATION MIGRATION_S3 TYPE = EXTERNAL_STAGE STORAGE_PROVIDER = 'S3' ENABLED = TRUE "
            "STORAGE_ALLOWED_LOCATIONS = ('s3://migration/')",
            "CREATE DATABASE LIBRARY",
        )
        script = [each.replace("RSA_PUBLIC_KEY = '…'", f"RSA_PUBLIC_KEY = '{found.public_key}'") for each in SCRIPT]
        found.run(*map(written, (*made, *script)))
        try:
            yield found
        finally:
            found.run(
                *map(written, ("DROP DATABASE LIBRARY", "DROP USER MIGRATION", "DROP ROLE MIGRATION_ROLE", "DROP INTEGRATION MIGRATION_S3",
                               "DROP WAREHOUSE MIGRATION_WH"))
            )  # fmt: skip


@pytest.fixture(scope="module")
def exported(account: Account) -> Any:
    account.migration.source(
        "CREATE TABLE person (id int PRIMARY KEY, name text)", "INSERT INTO person VALUES (1, 'Ann')"
    )
    return account.migration.export()


WITHOUT = {
    "GRANT USAGE ON WAREHOUSE": "No active warehouse selected",
    "GRANT USAGE ON DATABASE": "Insufficient privileges to operate on database",
    "GRANT CREATE SCHEMA": "Insufficient privileges to operate on database",
}
"""What the load says without a right of the page."""


@pytest.mark.parametrize("grant", [each for each in SCRIPT if each.startswith(tuple(WITHOUT))])
def test_without_one_right_the_doctor_names_it_and_the_load_fails_there(
    account: Account, exported: Any, grant: str
) -> None:
    account.run(
        written("DROP SCHEMA IF EXISTS LIBRARY.MIGRATED"),
        written('DROP SCHEMA IF EXISTS LIBRARY."MIGRATED__migration"'),
    )
    assert wrong(account.examined()) == []
    account.run(rights_support.taken_back(written(grant)).replace(" TO ROLE ", " FROM ROLE "))
    found = wrong(account.examined())
    assert [fix.replace('"', "") for _, fix in found] == [written(grant)]
    with pytest.raises(MigrationError) as failed:
        account.load(exported)
    assert next(words for begin, words in WITHOUT.items() if grant.startswith(begin)) in failed.value.why
    account.run(found[0][1])
    assert wrong(account.examined()) == []
    account.load(exported)
    assert account.verified() == "equal"


def test_an_integration_that_may_not_be_used_is_named(account: Account) -> None:
    grant = next(written(each) for each in SCRIPT if "INTEGRATION" in each)
    stage = f"CREATE TEMPORARY STAGE S URL = 's3://migration/' STORAGE_INTEGRATION = {_NAMES['MIGRATION_S3']}"
    account.run(grant.replace("GRANT", "REVOKE").replace(" TO ROLE", " FROM ROLE"))
    found = account.examined(storage_integration=_NAMES["MIGRATION_S3"])
    ((_, fix),) = wrong(found)
    assert fix.replace('"', "") == grant
    with snowflake.connect(account.settings.snowflake) as session:
        session.execute(f"CREATE SCHEMA IF NOT EXISTS {_NAMES['LIBRARY']}.OWN", doing="stand there")
        session.execute(f"USE SCHEMA {_NAMES['LIBRARY']}.OWN", doing="stand there")
        with pytest.raises(MigrationError, match="does not exist or not authorized"):
            session.execute(stage, doing="make a stage")
        account.run(fix)
        session.execute(stage, doing="make a stage")
        session.execute("DROP SCHEMA OWN", doing="clear away")
    assert wrong(account.examined(storage_integration=_NAMES["MIGRATION_S3"])) == []


@pytest.mark.parametrize("kind", ["TABLES", "VIEWS"])
def test_a_role_that_does_not_see_what_others_make_is_told(account: Account, kind: str) -> None:
    grant = next(written(each) for each in SCRIPT if f"FUTURE {kind}" in each)
    account.run(grant.replace("GRANT", "REVOKE").replace(" TO ROLE", " FROM ROLE"))
    found = account.examined()[f"FUTURE {kind}"]
    assert (found.severity, found.fix.replace('"', "")) == ("warning", grant)
    account.run(found.fix)
    assert f"FUTURE {kind}" not in account.examined()


def test_a_table_of_others_is_refused_when_it_is_seen_and_found_by_the_load_when_not(
    account: Account, exported: Any
) -> None:
    place = f"{_NAMES['LIBRARY']}.MIGRATED"
    account.run(f"DROP SCHEMA IF EXISTS {place}", f"CREATE SCHEMA {place}", f'CREATE TABLE {place}."person" (A INT)')
    role = f"ROLE {_NAMES['MIGRATION_ROLE']}"
    account.run(f"GRANT USAGE, CREATE TABLE ON SCHEMA {place} TO {role}")
    assert "no load of ours made" in account.examined()["target's tables"].what
    account.run(f'REVOKE SELECT ON TABLE {place}."person" FROM {role}')
    with pytest.raises(MigrationError, match="already exists, but current role has no privileges on it"):
        account.load(exported)
    assert account.run(f'SELECT COUNT(*) FROM {place}."person"') == [(0,)]
    account.run(f'DROP TABLE {place}."person"')
    account.load(exported)
    assert account.verified() == "equal"
    account.run(f"DROP SCHEMA {place}")


def test_schemas_that_an_administrator_made_need_rights_of_their_own(account: Account, exported: Any) -> None:
    places = [
        f'{_NAMES["LIBRARY"]}."{name}"' for name in ("MIGRATED", "MIGRATED__migration", "CERTIFY", "CERTIFY__migration")
    ]
    for place in places:
        account.run(f"DROP SCHEMA IF EXISTS {place}", f"CREATE SCHEMA {place}")
    account.run(f"REVOKE CREATE SCHEMA ON DATABASE {_NAMES['LIBRARY']} FROM ROLE {_NAMES['MIGRATION_ROLE']}")
    # It sees none of them, so it would make all.
    assert [on for on, _ in wrong(account.examined("CERTIFY"))] == ["CREATE SCHEMA"]
    role = f"ROLE {_NAMES['MIGRATION_ROLE']}"
    account.run(*(f"GRANT USAGE ON SCHEMA {place} TO {role}" for place in places))
    for _ in range(7):
        found = wrong(account.examined("CERTIFY"))
        if not found:
            break
        if "CERTIFY" not in found[0][1]:
            with pytest.raises(MigrationError, match="Insufficient privileges to operate on schema"):
                account.load(exported)
        account.run(found[0][1])
    account.load(exported)
    assert account.verified() == "equal"
    account.run(
        f"GRANT CREATE SCHEMA ON DATABASE {_NAMES['LIBRARY']} TO {role}", *(f"DROP SCHEMA {place}" for place in places)
    )


@pytest.mark.slow
def test_without_create_schema_it_certifies_in_a_schema_that_an_administrator_made(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "keep", lambda *given: None)  # the stack's own answer is another role's
    database, role = _NAMES["LIBRARY"], f"ROLE {_NAMES['MIGRATION_ROLE']}"
    places = [f"{database}.{name}" for name in ("CERTIFY", '"CERTIFY__migration"')]
    account.run(
        f"REVOKE CREATE SCHEMA ON DATABASE {database} FROM {role}", *(f"CREATE SCHEMA {place}" for place in places),
        *(f"GRANT USAGE, CREATE TABLE ON SCHEMA {place} TO {role}" for place in places),
        f"GRANT CREATE STAGE ON SCHEMA {places[1]} TO {role}",
    )  # fmt: skip
    values = account.settings.values.model_copy(update={"certification": Certification(schema="CERTIFY")})
    settings = Settings("local", account.settings.file, values)
    try:
        alone = certify.certify(account.settings, "snowflake").wrong
        assert any("Insufficient privileges" in each.found for each in alone), alone
        for left in ("", "written__a copy"):
            if left:
                account.run(f'CREATE TABLE {places[1]}."{left}" (n NUMBER)', f'GRANT OWNERSHIP ON TABLE {places[1]}."{left}" TO {role} REVOKE CURRENT GRANTS')  # fmt: skip
            found = certify.certify(settings, "snowflake")
            assert found.passed, found.wrong
            for place in places:
                assert not account.run(f"SHOW TABLES IN SCHEMA {place}")
        account.run(
            f"CREATE TABLE {places[0]}.figures (n NUMBER)", f"GRANT SELECT ON TABLE {places[0]}.figures TO {role}"
        )
        with pytest.raises(TargetRefused, match=r"no certification made .*FIGURES"):
            certify.certify(settings, "snowflake")
        assert account.run(f"SHOW TABLES IN SCHEMA {places[0]}")
    finally:
        account.run(
            f"GRANT CREATE SCHEMA ON DATABASE {database} TO {role}",
            *(f"DROP SCHEMA {place} CASCADE" for place in places),
        )


AUDITOR = rights_support.statements("auditor")


def test_a_role_that_verifies_has_enough_and_with_one_right_less_it_has_not(account: Account, exported: Any) -> None:
    role = _NAMES["MIGRATION_AUDITOR"]
    own = account.settings
    as_auditor = own.values.model_copy(update={"snowflake": own.snowflake.model_copy(update={"verify_role": role})})
    auditing = Settings("local", own.file, as_auditor)

    def verified() -> str:
        with verifying.planned(auditing, target="snowflake") as plan:
            return str(verifying.verify(plan).verdict)

    places = [f"{_NAMES['LIBRARY']}.{name}" for name in ("MIGRATED", '"MIGRATED__migration"')]
    account.run(*map(written, AUDITOR), *(f"DROP SCHEMA IF EXISTS {place}" for place in places))
    try:
        account.load(exported)
        account.run(
            f"CREATE MASKING POLICY {places[0]}.MASK AS (v VARCHAR) RETURNS VARCHAR -> CASE WHEN CURRENT_ROLE() = '{role}' THEN v ELSE '*' END",
            f'ALTER TABLE {places[0]}."person" MODIFY COLUMN "name" SET MASKING POLICY {places[0]}.MASK',
        )
        assert verified() == "equal"
        assert not wrong(account.examined(verify_role=role))
        database = _NAMES["LIBRARY"]
        for right in (
            f"USAGE ON DATABASE {database}",
            f"USAGE ON SCHEMA {places[0]}",
            f'SELECT ON TABLE {places[0]}."person"',
        ):
            account.run(f"REVOKE {right} FROM ROLE {role}")
            with suppress(MigrationError):
                assert verified() != "equal"
            (named,) = wrong(account.examined(verify_role=role))
            assert named[0] == right.partition(" ")[0]
            account.run(named[1])
            assert verified() == "equal"
    finally:
        account.run(f"DROP SCHEMA IF EXISTS {places[0]}", f"DROP SCHEMA IF EXISTS {places[1]}", f"DROP ROLE {role}")


MODULE = Path(__file__).parents[2] / "pipeline" / "terraform" / "modules" / "snowflake" / "main.tf"
_LOCALS = {
    "role": "MIGRATION_ROLE",
    "verify_role": "MIGRATION_AUDITOR",
    "database": "LIBRARY",
    "warehouse": "MIGRATION_WH",
    "integration": "MIGRATION_S3",
}


def granted_by_terraform(file: str = "main.tf") -> set[str]:
    """The grants of the module, as statements; those on its own schemas go without the schema."""
    source, found = (MODULE.parent / file).read_text(encoding="utf-8"), set[str]()
    for body in re.findall(
        r'resource "snowflake_grant_privileges_to_account_role" "\w+" \{\n(.*?)\n\}', source, re.DOTALL
    ):
        told = {key: _resolved(value) for key, value in re.findall(r'(\w+)\s+= "((?:[^"\\]|\\.)*)"', body)}
        privileges = ", ".join(re.findall(r'"([A-Z ]+)"', re.findall(r"privileges\s+= \[(.*?)\]", body)[0]))
        if "future {" in body:
            every = re.findall(r'"([A-Z]+)"', re.findall(r"for_each = toset\(\[(.*)\]\)", body)[0])
            on = [f"FUTURE {each} IN DATABASE {told['in_database']}" for each in every]
        elif "future_schemas_in_database" in told:
            on = [f"FUTURE SCHEMAS IN DATABASE {told['future_schemas_in_database']}"]
        elif "on_schema {" in body:
            on = ["SCHEMA"]
        else:
            on = [f"{told['object_type']} {told['object_name']}"]
        for privilege in [privileges] if on == ["SCHEMA"] else privileges.split(", "):
            found |= {f"GRANT {privilege} ON {each} TO ROLE {told['account_role_name']}" for each in on}
    return found


def _resolved(value: str) -> str:
    return re.sub(r"\$\{(?:local|var)\.(\w+)\}", lambda name: _LOCALS[name[1]], value).replace('\\"', "")


def test_terraform_grants_what_the_page_grants_and_nothing_else() -> None:
    page = {each for each in SCRIPT if each.startswith("GRANT") and " ON " in each}
    on_schemas = {"GRANT USAGE, CREATE TABLE, CREATE VIEW ON SCHEMA TO ROLE MIGRATION_ROLE"}
    assert granted_by_terraform() == page | on_schemas
    roles = re.findall(r'"snowflake_grant_account_role" "(\w+)"', MODULE.read_text(encoding="utf-8"))
    assert sorted(roles) == ["administrators", "user"]
    assert granted_by_terraform("auditor.tf") == {
        each for each in AUDITOR if each.startswith("GRANT") and " ON " in each
    }
