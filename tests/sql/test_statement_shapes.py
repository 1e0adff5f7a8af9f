"""What the suite sends to Snowflake and Spark is read by two parsers of their dialects.

Would catch: a statement that only a stand-in takes, a gap of a parser that is closed and still excused.
"""

from __future__ import annotations

import pytest

from helpers.platforms.statements import System
from tests.sql import statement_shapes as shapes


@pytest.mark.parametrize(
    ("system", "sql", "kept"),
    [
        ("snowflake", "SELECT  'a''b\\'c',\n 'd' FROM \"x\"\"y\".\"z\" WHERE n IN (1, 2, 3)", "SELECT 's' FROM \"n\".\"n\" WHERE n IN (1)"),
        ("snowflake", 'COPY INTO "a" FROM @"s" FILES = (\'1\', \'2\') FORCE = TRUE', "COPY INTO \"n\" FROM @\"n\" FILES = ('s') FORCE = TRUE"),
        ("spark", "SELECT CAST(`a` AS DECIMAL(38, 2)) || 'x' || 'y', CAST(`b` AS DECIMAL(10, 0)) || 'z' FROM `t`", "SELECT CAST(`n` AS DECIMAL(1, 1)) || 's' FROM `n`"),
        ("spark", "SELECT ')(' , f(`a(`)", "SELECT 's', f(`n`)"),
    ],
)  # fmt: skip
def test_a_shape_has_no_value_and_no_name(system: System, sql: str, kept: str) -> None:
    assert shapes.shape(system, sql) == kept


@pytest.mark.parametrize(
    ("system", "sql"),
    [
        ("snowflake", 'INSERT OVERWRITE "t" SELEC 1'),
        ("snowflake", 'ALTER TABLE "t" SWAP "u"'),
        ("snowflake", "SELECT 1; SELECT 1"),
        ("spark", "CREATE TABLE `t` (`a` INT) USING DELTA LOCATION"),
        ("spark", "MERGE `t`"),
    ],
)
def test_what_is_no_sql_is_not_read(system: System, sql: str) -> None:
    assert shapes.unread(system, [sql], "sqlglot") or shapes.unread(system, [sql], "sqlfluff")


@pytest.mark.parametrize("parser", ["sqlglot", "sqlfluff"])
@pytest.mark.parametrize("system", ["snowflake", "spark"])
@pytest.mark.timeout(900)
def test_every_shape_that_is_kept_is_read(system: System, parser: str) -> None:
    found = shapes.kept(system)
    assert found == sorted(set(found)) and len(found) > 20
    assert shapes.unread(system, found, parser) == {}
