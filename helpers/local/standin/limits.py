"""What the service refuses for its size or its name, before it looks at anything else.

Sources: the text of a statement https://docs.snowflake.com/en/user-guide/query-size-limits, expressions in a list
https://docs.snowflake.com/en/sql-reference/functions/in, names https://docs.snowflake.com/en/sql-reference/identifiers-syntax and
https://docs.snowflake.com/en/sql-reference/reserved-keywords, rows of SHOW https://docs.snowflake.com/en/sql-reference/sql/show.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from snowflake.connector.errors import ProgrammingError
from sqlglot import exp

MOST_BYTES = 1 << 20
MOST_IN_A_LIST = 16_384
LONGEST_NAME = 255
MOST_SHOWN = 10_000

RESERVED = frozenset(
    """ALL ALTER AND ANY AS BETWEEN BY CASE CAST CHECK COLUMN CONNECT CONSTRAINT CREATE CURRENT CURRENT_DATE CURRENT_TIME
    CURRENT_TIMESTAMP CURRENT_USER DELETE DISTINCT DROP ELSE EXISTS FALSE FOLLOWING FOR FROM GRANT GROUP HAVING ILIKE IN INCREMENT
    INSERT INTERSECT INTO IS LIKE LOCALTIME LOCALTIMESTAMP MINUS NOT NULL OF ON OR ORDER QUALIFY REGEXP REVOKE RLIKE ROW ROWS SAMPLE
    SELECT SET SOME START TABLE TABLESAMPLE THEN TO TRIGGER TRUE TRY_CAST UNION UNIQUE UPDATE VALUES WHEN WHENEVER WHERE WITH""".split()
)
"""Neither a column nor an alias is called so without quotes."""
RESERVED_FOR_TABLES = RESERVED | frozenset("CROSS FULL INNER JOIN LATERAL LEFT NATURAL RIGHT USING".split())


def refuse_long_text(command: str) -> None:
    """Raises `ProgrammingError` where a statement is longer than a megabyte."""
    if (length := len(command.encode())) > MOST_BYTES:
        raise _refused(f"statement text of {length:,} bytes exceeds the maximum of {MOST_BYTES:,} bytes", 1060, "54000")


def refuse(statement: Any) -> None:
    """Raises `ProgrammingError` where a list is too long, or a name is too long or reserved."""
    for node in statement.walk():
        if isinstance(node, exp.In | exp.Values) and (found := len(node.expressions)) > MOST_IN_A_LIST:
            raise _refused(
                f"maximum number of expressions in a list exceeded, expected at most {MOST_IN_A_LIST:,}, got {found:,}",
                1795,
                "54000",
            )
        if not isinstance(node, exp.Identifier):
            continue
        if len(node.name) > LONGEST_NAME:
            raise _refused(
                f"identifier '{node.name[:40]}…' exceeds the maximum length of {LONGEST_NAME} characters", 2079, "42601"
            )
        if not node.args.get("quoted") and node.name.upper() in _reserved_where(node):
            raise ProgrammingError(
                msg=f"SQL compilation error:\nsyntax error line 1 at position 0 unexpected '{node.name}'.",
                errno=1003,
                sqlstate="42000",
            )


def shown(statement: Any, table: pa.Table | None) -> pa.Table | None:
    """A SHOW's rows, of which there are no more than ten thousand; nothing says so."""
    if table is None or not isinstance(statement, exp.Show | exp.Command) or not _is_show(statement):
        return table
    return table.slice(0, MOST_SHOWN)


def _is_show(statement: Any) -> bool:
    return isinstance(statement, exp.Show) or str(statement.this).upper() == "SHOW"


def _reserved_where(name: exp.Identifier) -> frozenset[str]:
    place = name.parent
    if isinstance(place, exp.Alias | exp.ColumnDef) and name.arg_key in ("alias", "this"):
        return RESERVED
    if isinstance(place, exp.TableAlias | exp.Table):
        return RESERVED_FOR_TABLES
    return frozenset()


def _refused(what: str, errno: int, sqlstate: str) -> ProgrammingError:
    return ProgrammingError(msg=f"SQL compilation error:\n{what}", errno=errno, sqlstate=sqlstate)
