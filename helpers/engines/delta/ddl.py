"""How Delta tables are defined: the types of Spark SQL (https://spark.apache.org/docs/latest/sql-ref-datatypes.html), and what a
table's log calls them.
"""

from __future__ import annotations

from math import inf
from typing import Any

from helpers.model.declared import Ddl, Rule

# Delta's own log knows neither keys nor, without a feature that the load does not use, defaults; Unity Catalog keeps primary and
# foreign keys (https://docs.databricks.com/en/tables/constraints.html).
DELTA = Ddl(
    "delta",
    {
        "TINYINT": Rule("number", size=2, needs=3),
        "SMALLINT": Rule("number", size=4, needs=5),
        "INT": Rule("number", size=9, needs=10),
        "BIGINT": Rule("number", size=18, needs=19),
        "DECIMAL": Rule("number", "digits and places", size=10),
        "FLOAT": Rule("float", size=24),
        "DOUBLE": Rule("float", size=53),
        "STRING": Rule("text", size=inf),
        "BINARY": Rule("bytes", size=inf),
        "DATE": Rule("date"),
        "TIMESTAMP_NTZ": Rule("timestamp", places=6),
        "TIMESTAMP": Rule("timestamptz", places=6),
        "BOOLEAN": Rule("boolean"),
    },
    sqlglot="databricks",
    staged="delta",
    keys="primary",
)

_NAMES_IN_THE_LOG = {"byte": "TINYINT", "short": "SMALLINT", "integer": "INT", "long": "BIGINT"}
"""Those that are not DDL's in small letters
(https://github.com/delta-io/delta/blob/master/PROTOCOL.md#schema-serialization-format)."""


def delta_type(in_the_log: Any) -> str:
    """A type of a Delta log as DDL writes it; of a nested one only what it is."""
    name = in_the_log if isinstance(in_the_log, str) else str(in_the_log["type"])
    return _NAMES_IN_THE_LOG.get(name, name.upper())


def delta_log_type(ddl: str) -> str:
    """The other way round: a type of DDL as a Delta log and Spark's JSON write it."""
    return next((name for name, known in _NAMES_IN_THE_LOG.items() if known == ddl), ddl.lower())
