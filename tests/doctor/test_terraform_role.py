"""What Terraform plans for Snowflake is made on the strict stand-in, and the product logs in as the role that comes of it.

Would catch: a module whose role cannot certify, load or verify, a grant of it that nobody needs or that the doctor does not ask for.

Slow: Terraform's environment is installed on the first call, and the certification is that of a service, which asks everything.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from typing import Any

import pytest
import terraform_support
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from helpers import certify, doctor
from helpers import load as loading
from helpers import verify as verifying
from helpers.platforms import snowflake
from helpers.settings import Resolved, Settings, Snowflake

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

OWN = f"TF_{os.getpid()}"
ROLE, USER, WAREHOUSE, DATABASE, AUDITOR = f"ROLE_{OWN}", f"USER_{OWN}", f"WH_{OWN}", f"SALES_{OWN}", f"AUDITOR_{OWN}"
ANOTHER_NAME = "127.1"
"""Of this machine's loopback: a server that answers there counts as a service, and is certified as one."""


@dataclass
class Account:
    migration: Any
    administrator: Snowflake
    settings: Settings
    grants: list[str]

    def run(self, *statements: str) -> None:
        with closing(snowflake.open_connection(self.administrator)) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def wrong(self, **changed: Any) -> list[str]:
        """What the doctor would have granted."""
        target = self.settings.snowflake.model_copy(update=changed)
        settings = Settings("local", self.settings.file, self.settings.values.model_copy(update={"snowflake": target}))
        found = [each.finding for each in doctor.examine(settings, ("snowflake",))]
        return [each.fix for each in found if each.severity in ("stop", "warning") and each.fix.startswith("GRANT")]


@pytest.fixture(scope="module")
def account(
    fresh_migration: Callable[..., AbstractContextManager[Any]],
    administrator: Snowflake,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Account]:
    with fresh_migration() as migration:
        variables = {
            "database": DATABASE, "schemas": json.dumps(["MIGRATED", "LANDING", "MARTS"]), "warehouse": WAREHOUSE, "role": ROLE, "verify_role": AUDITOR,
            "user": USER, "stage_url": "s3://migration/", "storage_role_arn": "arn:aws:iam::123456789012:role/stage",
            "external_id": "sales",
        }  # fmt: skip
        resources = terraform_support.planned(tmp_path_factory.mktemp("terraform"), migration.settings, variables)
        key = rsa.generate_private_key(65537, 2048)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        public = base64.b64encode(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
        own = migration.settings.snowflake
        target = Snowflake(
            account=own.account, user=USER, database=DATABASE, schema="MIGRATED", role=ROLE, warehouse=WAREHOUSE,
            authenticator="snowflake_jwt", private_key=Resolved(pem), connect={**own.connect, "host": ANOTHER_NAME},
        )  # fmt: skip
        values = migration.settings.values.model_copy(update={"snowflake": target})
        grants = terraform_support.granted_by(resources)
        found = Account(migration, administrator, Settings("local", migration.settings.file, values), grants)
        user = f"CREATE USER {USER} TYPE = SERVICE DEFAULT_ROLE = {ROLE} RSA_PUBLIC_KEY = '{public.decode()}'"
        try:
            made = terraform_support.made_by(resources)
            schemas = [each for each in made if each.startswith("CREATE SCHEMA")]
            future = [each for each in grants if " FUTURE " in each]  # the module has them before the schemas
            found.run(*(each for each in made if each not in schemas), user, *future, *schemas)
            found.run(*(each for each in grants if each not in future))
            yield found
        finally:
            found.run(
                f"DROP DATABASE IF EXISTS {DATABASE}", f"DROP USER IF EXISTS {USER}", f"DROP ROLE IF EXISTS {ROLE}", f"DROP ROLE IF EXISTS {AUDITOR}",
                f"DROP INTEGRATION IF EXISTS {DATABASE}_STAGE", f"DROP WAREHOUSE IF EXISTS {WAREHOUSE}",
            )  # fmt: skip


NEEDED = (f"ON WAREHOUSE {WAREHOUSE} ", f"ON DATABASE {DATABASE} ", f"CREATE TABLE ON SCHEMA {DATABASE}.MIGRATED ",
          f"ON INTEGRATION {DATABASE}_STAGE ", "ON FUTURE TABLES ", "ON FUTURE VIEWS ")  # fmt: skip


def test_with_one_grant_less_the_doctor_names_it(account: Account) -> None:
    integration = f"{DATABASE}_STAGE"
    assert account.wrong(storage_integration=integration) == []
    own = [each for each in account.grants if each.endswith(f'"{ROLE}"')]
    tried = [each for each in own if any(part in each.replace('"', "") for part in NEEDED)]
    assert len(tried) == len(NEEDED) + 1  # two on the database
    for grant in tried:
        account.run(grant.replace("GRANT", "REVOKE", 1).replace(" TO ROLE ", " FROM ROLE "))
        named = account.wrong(storage_integration=integration)
        assert [each.replace('"', "") for each in named] == [grant.replace('"', "")]
        account.run(named[0])
    assert account.wrong(storage_integration=integration) == []


def test_the_role_certifies_loads_and_verifies(account: Account) -> None:
    found = certify.certify(account.settings, "snowflake")
    assert [each for each in found.answers if each.verdict == "wrong"] == []
    assert (found.passed, found.role) == (True, ROLE)
    account.migration.source(
        "CREATE TABLE person (id int PRIMARY KEY, name text)", "INSERT INTO person VALUES (1, 'Ann'), (2, '\\N')"
    )
    manifest = account.migration.export()
    loading.load(loading.plan_load(manifest, account.migration.bucket, account.settings.snowflake))
    for changed in ({}, {"verify_role": AUDITOR}):
        target = account.settings.snowflake.model_copy(update=changed)
        values = account.settings.values.model_copy(update={"snowflake": target})
        with verifying.planned(Settings("local", account.settings.file, values), target="snowflake") as plan:
            assert verifying.verify(plan).verdict == "equal"
