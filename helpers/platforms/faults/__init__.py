"""What the servers' errors mean: one module a boundary turns what was raised into class, cause, cure, and whether it may pass.

Classes and cures stand in `causes.toml`; how a fault is recognized, in the module of its boundary. A code decides where there is one (SQLSTATE, an S3 code, an HTTP status, a gRPC status, an error class); text only where the
driver gives no code.

raise faults.postgres.told(error, "read the rows", on=address) from None
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from helpers import errors
from helpers.errors import MigrationError

_SENTENCE_ENDS = re.compile(r"(?<=[\w\"')\]])\.?[ \t]*\r?\n\s*(?=[A-Z][a-z])")
"""A line that ends without a stop, or with one, before another that begins like a sentence."""


@dataclass(frozen=True)
class Fault:
    """One kind of fault.

    Attributes:
        kind: the class of the error that tells of it.
        cure: what the operator does about it.
        transient: whether the same call may succeed when it is repeated. Never for a login that was refused: servers lock
            accounts that try again.
    """

    kind: type[MigrationError]
    cure: str
    transient: bool = False

    def told(self, doing: str, *, on: str, why: str) -> MigrationError:
        """The error that says what was tried.

        Args:
            doing: the clause that it begins with ("read the rows").
            on: the thing it was tried on.
            why: what the server said.
        """
        error = self.kind(doing, on=on, why=why or "no reason was given", next_step=self.cure)
        error.transient = self.transient
        return error


@cache
def _causes() -> dict[str, dict[str, dict[str, Any]]]:
    return tomllib.loads(Path(__file__).with_name("causes.toml").read_text(encoding="utf-8"))


def known_faults(boundary: str) -> dict[str, Fault]:
    """The faults of one part of `causes.toml`, each by its name and by every code that means it."""
    found: dict[str, Fault] = {}
    for name, cause in _causes()[boundary].items():
        fault = Fault(getattr(errors, cause["kind"]), cause["cure"], cause.get("transient", False))
        found |= dict.fromkeys((name, *cause.get("codes", ())), fault)
    return found


def in_one_line(text: str) -> str:
    """A message of several lines as one: the reason often stands in the second, and is a sentence of its own."""
    return " ".join(_SENTENCE_ENDS.sub("; ", text).split())


def driver_error(error: Exception) -> MigrationError | None:
    """The error for what a driver raised where no boundary told of it, or None where it is a fault of this program."""
    driver = type(error).__module__.partition(".")[0]
    if driver == "psycopg2":
        from helpers.platforms.faults import postgres

        return postgres.told(error, "finish", on="the source") if postgres.known(error) else None
    if driver in ("duckdb", "_duckdb"):
        from helpers.platforms.faults import duck

        return duck.told(error, "finish", on="this command") if duck.fault(error) else None
    if driver in ("botocore", "boto3"):
        from helpers.platforms.faults import s3

        return s3.told(error, "finish", on="S3") if s3.fault(error) else None
    if driver == "snowflake":
        from helpers.platforms.faults import snowflake

        return snowflake.told(error, "finish", on="Snowflake")
    if driver in ("pyspark", "grpc"):
        from helpers.platforms.faults import spark

        return spark.told(error, "finish", on="Spark")
    return None
