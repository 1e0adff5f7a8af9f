"""Roles, grants, ownership and policies on the stand-in, as the documentation has them
(https://docs.snowflake.com/en/user-guide/security-access-control-privileges).

Would catch: a statement that is allowed without its privilege, an object that a role sees though nothing was granted on it, grants
and policies that go another way than the table, a masked value that is read in clear, a right that does not outlive a restart.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import snowflake.connector
from snowflake.connector.errors import DatabaseError, ProgrammingError

from helpers.errors import LocalStackError
from helpers.local import stack
from helpers.local.standin.account import Account

Run = Callable[..., list[tuple[Any, ...]]]
HIDDEN, INSUFFICIENT = 2003, 3001


class Someone:
    """A user with one role of the same name."""

    def __init__(self, environment: stack.Environment, admin: Run) -> None:
        self.name = f"R{secrets.token_hex(4).upper()}"
        password = secrets.token_urlsafe(12)
        for statement in (
            f"CREATE ROLE {self.name}",
            f"CREATE USER {self.name} PASSWORD = '{password}' DEFAULT_ROLE = {self.name} DEFAULT_WAREHOUSE = MIGRATION_WH",
            f"GRANT ROLE {self.name} TO USER {self.name}",
            f"GRANT USAGE ON WAREHOUSE MIGRATION_WH TO ROLE {self.name}",
        ):
            admin(statement)
        self._connection = snowflake.connector.connect(
            **{**environment.snowflake, "user": self.name, "password": password}
        )

    def __call__(self, statement: str) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = self._connection.cursor().execute(statement).fetchall()
        return rows

    def refused(self, statement: str) -> int:
        with pytest.raises(DatabaseError) as caught:
            self(statement)
        assert "\n" in str(caught.value.msg) or caught.value.errno == 606
        return int(caught.value.errno or 0)

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def somebody(local_environment: stack.Environment, run: Run) -> Iterator[Callable[[], Someone]]:
    made: list[Someone] = []

    def one() -> Someone:
        made.append(Someone(local_environment, run))
        return made[-1]

    yield one
    for each in made:
        each.close()
        run(f"DROP USER {each.name}")
        run(f"DROP ROLE {each.name}")


@pytest.fixture
def place(connection: Any) -> str:
    return f'STAND_IN."{connection.schema}"'


@contextmanager
def granted(run: Run, who: Someone, *grants: str) -> Iterator[None]:
    for grant in grants:
        run(f"GRANT {grant} TO ROLE {who.name}")
    yield
    for grant in grants:
        run(f"REVOKE {grant} FROM ROLE {who.name}")


@pytest.mark.parametrize(
    ("statement", "privileges"),
    [
        ("SELECT * FROM {}.T", ("SELECT ON TABLE {}.T",)),
        ("INSERT INTO {}.T VALUES (2, 'b')", ("INSERT ON TABLE {}.T",)),
        ("INSERT OVERWRITE INTO {}.T SELECT 2, 'b'", ("INSERT ON TABLE {}.T", "DELETE ON TABLE {}.T")),
        ("UPDATE {}.T SET B = 'c'", ("UPDATE ON TABLE {}.T",)),
        ("DELETE FROM {}.T", ("DELETE ON TABLE {}.T",)),
        ("TRUNCATE TABLE {}.T", ("TRUNCATE ON TABLE {}.T",)),
        ("CREATE TABLE {}.U (A INT)", ("CREATE TABLE ON SCHEMA {}",)),
        ("CREATE TABLE IF NOT EXISTS {}.T (A INT)", ("CREATE TABLE ON SCHEMA {}",)),
        ("CREATE TABLE {}.U AS SELECT * FROM {}.T", ("CREATE TABLE ON SCHEMA {}", "SELECT ON TABLE {}.T")),
        ("CREATE TABLE {}.U CLONE {}.T", ("CREATE TABLE ON SCHEMA {}", "SELECT ON TABLE {}.T")),
        ("CREATE VIEW {}.V AS SELECT * FROM {}.T", ("CREATE VIEW ON SCHEMA {}", "SELECT ON TABLE {}.T")),
        ("CREATE STAGE {}.S URL = 's3compat://migration/x/' ENDPOINT = '127.0.0.1:1'", ("CREATE STAGE ON SCHEMA {}",)),
        ("CREATE STAGE {}.S URL = 's3://migration/x/' STORAGE_INTEGRATION = MIGRATION_S3", ("CREATE STAGE ON SCHEMA {}", "USAGE ON INTEGRATION MIGRATION_S3")),
        ("CREATE MASKING POLICY {}.M AS (V VARCHAR) RETURNS VARCHAR -> V", ("CREATE MASKING POLICY ON SCHEMA {}",)),
        ("ALTER TABLE {}.T RENAME TO {}.U", None),
        ("ALTER TABLE {}.T SWAP WITH {}.T2", None),
        ("ALTER TABLE {}.T ADD COLUMN C INT", None),
        ("DROP TABLE {}.T", None),
        ("COMMENT ON TABLE {}.T IS 'theirs'", None),
        ("DROP SCHEMA {}", None),
    ],
)  # fmt: skip
def test_each_statement_needs_its_privileges_and_usage_around_them(
    run: Run, somebody: Callable[[], Someone], place: str, statement: str, privileges: tuple[str, ...] | None
) -> None:
    run(f"CREATE TABLE {place}.T (A INT, B VARCHAR)")
    run(f"CREATE TABLE {place}.T2 (A INT, B VARCHAR)")
    who, sql = somebody(), statement.replace("{}", place)
    around = ("USAGE ON DATABASE STAND_IN", f"USAGE ON SCHEMA {place}")
    wanted = [each.replace("{}", place) for each in privileges or ("SELECT ON TABLE {}.T", "INSERT ON TABLE {}.T2")]
    for usage in around:  # one alone
        with granted(run, who, usage, *wanted):
            assert who.refused(sql) in (HIDDEN, INSUFFICIENT)
    for number in range(len(wanted)):
        with granted(run, who, *around, *wanted[:number], *wanted[number + 1 :]):
            assert who.refused(sql) in (HIDDEN, INSUFFICIENT)
    with granted(run, who, *around, *wanted):
        if privileges is None:  # which only the owner may
            assert who.refused(sql) == INSUFFICIENT
        else:
            who(sql)


def test_what_a_role_may_not_see_is_not_there(run: Run, somebody: Callable[[], Someone], place: str) -> None:
    run(f"CREATE TABLE {place}.SEEN (A INT PRIMARY KEY)")
    run(f"CREATE TABLE {place}.UNSEEN (A INT PRIMARY KEY)")
    who = somebody()
    assert who("SHOW DATABASES") == []
    run(f"GRANT USAGE ON DATABASE STAND_IN TO ROLE {who.name}")
    run(f"GRANT USAGE, CREATE TABLE ON SCHEMA {place} TO ROLE {who.name}")
    run(f"GRANT SELECT ON TABLE {place}.SEEN TO ROLE {who.name}")
    schema = place.split('"')[1]
    for listed in (
        f"SELECT TABLE_NAME FROM STAND_IN.INFORMATION_SCHEMA.TABLES WHERE TABLE_SCHEMA = '{schema}'",
        f"SELECT TABLE_NAME FROM STAND_IN.INFORMATION_SCHEMA.COLUMNS WHERE TABLE_SCHEMA = '{schema}'",
    ):
        assert who(listed) == [("SEEN",)]
    assert [row[1] for row in who(f"SHOW TABLES IN SCHEMA {place}")] == ["SEEN"]
    assert [row[3] for row in who(f"SHOW PRIMARY KEYS IN SCHEMA {place}")] == ["SEEN"]
    assert (
        who.refused(f"DESCRIBE TABLE {place}.UNSEEN") == who.refused(f"SHOW GRANTS ON TABLE {place}.UNSEEN") == HIDDEN
    )
    assert who(f"DROP TABLE IF EXISTS {place}.UNSEEN") == [("Drop statement executed successfully.",)]
    assert run(f"SELECT COUNT(*) FROM {place}.UNSEEN") == [(0,)]
    assert who.refused(f"CREATE TABLE {place}.UNSEEN (A INT)") == 3041
    assert who.refused(f"CREATE OR REPLACE TABLE {place}.SEEN (A INT)") == INSUFFICIENT
    assert who.refused(f"CREATE TEMPORARY TABLE {place}.SEEN (A INT)") == INSUFFICIENT
    who(f"CREATE TEMPORARY TABLE {place}.OWN (A INT)")
    who(f"INSERT INTO {place}.OWN SELECT * FROM {place}.SEEN")


def test_roles_inherit_and_sessions_have_one(run: Run, somebody: Callable[[], Someone], place: str) -> None:
    run(f"CREATE TABLE {place}.T (A INT)")
    below, above = somebody(), somebody()
    for grant in ("USAGE ON DATABASE STAND_IN", f"USAGE ON SCHEMA {place}", f"SELECT ON TABLE {place}.T"):
        run(f"GRANT {grant} TO ROLE {below.name}")
    assert above.refused(f"USE ROLE {below.name}") == 3013
    run(f"GRANT ROLE {below.name} TO ROLE {above.name}")
    assert above(f"SELECT COUNT(*) FROM {place}.T") == [(0,)]
    assert above(f"SELECT CURRENT_ROLE(), IS_ROLE_IN_SESSION('{below.name}')") == [(above.name, True)]
    run(f"REVOKE ROLE {below.name} FROM ROLE {above.name}")
    run(f"GRANT ROLE {below.name} TO USER {above.name}")
    assert above.refused(f"SELECT COUNT(*) FROM {place}.T") == HIDDEN, "a user's other roles count when they are used"
    above("USE SECONDARY ROLES ALL")
    assert above(f"SELECT COUNT(*) FROM {place}.T") == [(0,)]
    above("USE SECONDARY ROLES NONE")
    above(f"USE ROLE {below.name}")
    assert above(f"SELECT COUNT(*) FROM {place}.T") == [(0,)]
    assert sorted(row[1] for row in above(f"SHOW GRANTS TO ROLE {below.name}")) == ["SELECT", "USAGE", "USAGE", "USAGE"]
    assert {row[1:4] for row in run(f"SHOW GRANTS OF ROLE {below.name}")} == {
        (below.name, "USER", name) for name in (below.name, above.name)
    }


def test_without_a_warehouse_nothing_is_computed(run: Run, somebody: Callable[[], Someone], place: str) -> None:
    run(f"CREATE TABLE {place}.T (A INT)")
    who = somebody()
    run(f"GRANT USAGE ON DATABASE STAND_IN TO ROLE {who.name}")
    run(f"REVOKE USAGE ON WAREHOUSE MIGRATION_WH FROM ROLE {who.name}")
    assert who.refused("SELECT COUNT(*) FROM STAND_IN.INFORMATION_SCHEMA.TABLES") == 606
    assert who.refused("USE WAREHOUSE MIGRATION_WH") == 2043
    assert who("SELECT CURRENT_ROLE()") == [(who.name,)]
    assert who("SHOW WAREHOUSES") == []


def test_ownership_and_grants_on_what_will_be(run: Run, somebody: Callable[[], Someone], place: str) -> None:
    who, reader = somebody(), somebody()
    run(f"GRANT USAGE ON DATABASE STAND_IN TO ROLE {who.name}")
    run(f"GRANT OWNERSHIP ON SCHEMA {place} TO ROLE {who.name}")
    run(f"GRANT SELECT ON FUTURE TABLES IN SCHEMA {place} TO ROLE {reader.name}")
    assert who.refused(f"GRANT SELECT ON FUTURE TABLES IN SCHEMA {place} TO ROLE {who.name}") == INSUFFICIENT

    def on(table: str) -> set[tuple[str, str]]:
        return {(row[1], row[5]) for row in who(f"SHOW GRANTS ON TABLE {place}.{table}")}

    def owned_and_read() -> set[tuple[str, str]]:
        return {("OWNERSHIP", who.name), ("SELECT", reader.name)}

    who(f"CREATE TABLE {place}.T (A INT)")
    assert on("T") == owned_and_read(), "of the schema, which count instead of the database's"
    who(f"GRANT INSERT ON TABLE {place}.T TO ROLE {reader.name}")
    with pytest.raises(ProgrammingError, match="Dependent grant of privilege"):
        who(f"GRANT OWNERSHIP ON TABLE {place}.T TO ROLE {reader.name}")
    who(f"CREATE OR REPLACE TABLE {place}.T (A INT) COPY GRANTS")
    assert on("T") == owned_and_read() | {("INSERT", reader.name)}
    who(f"CREATE OR REPLACE TABLE {place}.T (A INT)")
    assert on("T") == owned_and_read()
    who(f"GRANT UPDATE ON TABLE {place}.T TO ROLE {reader.name}")
    who(f"CREATE TABLE {place}.U (A INT)")
    who(f"ALTER TABLE {place}.T SWAP WITH {place}.U")
    assert ("UPDATE", reader.name) in on("U") - on("T")
    who(f"GRANT OWNERSHIP ON TABLE {place}.U TO ROLE {reader.name} REVOKE CURRENT GRANTS")
    assert who.refused(f"DROP TABLE {place}.U") == HIDDEN
    who(f"DROP SCHEMA {place}")  # whose owner drops all that is in it
    run(f"CREATE SCHEMA {place} WITH MANAGED ACCESS")
    run(f"GRANT USAGE, CREATE TABLE ON SCHEMA {place} TO ROLE {who.name}")
    who(f"CREATE TABLE {place}.T (A INT)")
    assert who.refused(f"GRANT SELECT ON TABLE {place}.T TO ROLE {reader.name}") == INSUFFICIENT
    run(f"GRANT SELECT ON TABLE {place}.T TO ROLE {reader.name}")


def test_policies_act_on_whoever_reads(run: Run, somebody: Callable[[], Someone], place: str) -> None:
    run(f"CREATE TABLE {place}.T (A INT, B VARCHAR, C NUMBER(10,2))")
    run(f"INSERT INTO {place}.T VALUES (1, 'one', 1.5), (2, 'two', 2.5)")
    who = somebody()
    run(f"GRANT USAGE ON DATABASE STAND_IN TO ROLE {who.name}")
    run(f"GRANT USAGE ON SCHEMA {place} TO ROLE {who.name}")
    run(f"GRANT SELECT, UPDATE, DELETE ON TABLE {place}.T TO ROLE {who.name}")
    admin = "CASE WHEN CURRENT_ROLE() IN ('ACCOUNTADMIN') THEN"
    run(
        f"CREATE MASKING POLICY {place}.M AS (V VARCHAR, N INT) RETURNS VARCHAR -> {admin} V WHEN N = 1 THEN 'first' ELSE '*' END"
    )
    run(f"CREATE MASKING POLICY {place}.Z AS (V NUMBER(10,2)) RETURNS NUMBER(10,2) -> {admin} V ELSE 0 END")
    run(f"ALTER TABLE {place}.T MODIFY COLUMN B SET MASKING POLICY {place}.M USING (B, A)")
    assert who.refused(f"ALTER TABLE {place}.T MODIFY COLUMN B UNSET MASKING POLICY") == INSUFFICIENT
    run(f"ALTER TABLE {place}.T MODIFY COLUMN C SET MASKING POLICY {place}.Z")
    masked = [(1, "first", 0), (2, "*", 0)]
    assert who(f"SELECT * FROM {place}.T ORDER BY A") == masked
    assert who(f"SELECT x.B FROM {place}.T AS x WHERE x.B = 'two'") == []
    assert who(f"WITH q AS (SELECT * FROM {place}.T) SELECT * FROM q ORDER BY 1") == masked
    run(f"CREATE ROW ACCESS POLICY {place}.R AS (N INT) RETURNS BOOLEAN -> CURRENT_ROLE() = 'ACCOUNTADMIN' OR N = 1")
    run(f"ALTER TABLE {place}.T ADD ROW ACCESS POLICY {place}.R ON (A)")
    assert who(f"SELECT COUNT(*) FROM {place}.T") == [(1,)]
    who(f"UPDATE {place}.T SET B = 'changed'")
    who(f"DELETE FROM {place}.T")
    assert run(f"SELECT A, B FROM {place}.T") == [(2, "two")]
    with pytest.raises(ProgrammingError, match="associated with one or more entities"):
        run(f"DROP MASKING POLICY {place}.M")


def test_a_transaction_that_began_before_a_policy_uncovers_it_to_nobody(
    run: Run, somebody: Callable[[], Someone], place: str
) -> None:
    """Would catch: what an older snapshot has, kept as what is so for all."""
    run(f"CREATE TABLE {place}.T (A VARCHAR) AS SELECT 'open'")
    before, reader = somebody(), somebody()
    for who in (before, reader):
        run(f"GRANT USAGE ON DATABASE STAND_IN TO ROLE {who.name}")
        run(f"GRANT USAGE ON SCHEMA {place} TO ROLE {who.name}")
        run(f"GRANT SELECT ON TABLE {place}.T TO ROLE {who.name}")
    before("BEGIN")
    assert before(f"SELECT A FROM {place}.T") == [("open",)]
    run(f"CREATE MASKING POLICY {place}.M AS (V VARCHAR) RETURNS VARCHAR -> '*'")
    run(f"ALTER TABLE {place}.T MODIFY COLUMN A SET MASKING POLICY {place}.M")
    before(f"SELECT A FROM {place}.T")
    assert reader(f"SELECT A FROM {place}.T") == [("*",)]
    before("ROLLBACK")


def test_a_role_of_others_is_no_entry(
    local_environment: stack.Environment, local_root: Path, somebody: Callable[[], Someone]
) -> None:
    login = {**local_environment.snowflake, **stack.snowflake_product(local_root), "role": somebody().name}
    with pytest.raises(DatabaseError, match="not granted to this user"):
        snowflake.connector.connect(**login)


def test_who_may_what_outlives_a_restart(tmp_path: Path) -> None:
    table = ("TABLE", "D", "S", "T")
    first = Account(tmp_path / "account.json")
    with first.changing():
        first.roles["R"] = ["SYSADMIN"]
        first.grant_future(("SCHEMA", "D", "S"), "TABLE", "R", ["SELECT"])
        first.own(table, "SYSADMIN")
    again = Account(tmp_path / "account.json")
    assert again.holds(again.reach("R"), table, "DELETE") and not again.holds(again.reach("USERADMIN"), table)
    assert again.grants(table) == [("SYSADMIN", "OWNERSHIP", True), ("R", "SELECT", False)]


def test_a_stand_in_of_an_earlier_version_is_to_be_started_anew(
    local_environment: stack.Environment, local_root: Path
) -> None:
    file = local_root / "snowflake" / "standin.json"
    said = file.read_text()
    try:
        file.write_text(json.dumps({key: value for key, value in json.loads(said).items() if "product" not in key}))
        with pytest.raises(LocalStackError, match="earlier version") as refused:
            stack.snowflake_product(local_root)
        assert "local down" in refused.value.next_step
    finally:
        file.write_text(said)


def test_the_products_rights_are_those_of_the_page(local_environment: stack.Environment, local_root: Path) -> None:
    login = {**local_environment.snowflake, **stack.snowflake_product(local_root)}
    with snowflake.connector.connect(**login) as connection:
        rows = connection.cursor().execute("SHOW GRANTS TO ROLE MIGRATION_ROLE").fetchall()
    held = {(row[1], row[2], row[3]) for row in rows if row[1] != "OWNERSHIP" and row[2] != "TABLE"}
    assert held == {
        ("USAGE", "WAREHOUSE", "MIGRATION_WH"), ("USAGE", "DATABASE", "STAND_IN"), ("CREATE SCHEMA", "DATABASE", "STAND_IN"),
        ("USAGE", "INTEGRATION", "MIGRATION_S3"),
    }  # fmt: skip
