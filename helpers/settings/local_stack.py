"""What the local stack provides to a profile that names it. The stack registers itself, by an entry point of this project, so that
code that talks to a service need not know of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

ENTRY_POINT = "migration_runbooks.local_stack"


class AwsStandIn(NamedTuple):
    """How the stand-in for AWS is reached."""

    endpoint: str
    access_key: str
    secret_key: str


class LocalStack(Protocol):
    """What a profile with `stack = "local"` is served by. Whatever starts or reaches a server raises `LocalStackError`."""

    def root(self) -> Path:
        """The folder of its data."""

    def filled(self, written: dict[str, Any], profile: str, file: Path) -> dict[str, Any]:
        """The profile with the stack's servers where it names none of its own."""

    def source(self) -> dict[str, Any]:
        """Its PostgreSQL, as keys of a section."""

    def hybrid_stay(self, source: Any) -> dict[str, str]:
        """The tables of the sample that stay on option B, each with the reason; none where the source is not the stack's own."""

    def signers(self) -> dict[str, str]:
        """The people who may sign there, and their public keys."""

    def program(self, target: Any) -> str:
        """Which code answers in the place of the target that a section of a profile describes; empty where it does not say."""

    def kafka(self) -> str:
        """Starts the stand-in where it does not run; its bootstrap servers."""

    def spark(self, engine: str) -> str:
        """Starts pysail, or Apache Spark, where it does not run; its URL."""

    def aws(self) -> AwsStandIn:
        """Starts the stand-in where it does not run."""

    def describes_sample(self, settings: Any) -> bool:
        """Whether the profile is described as the sample is: its DAGs are those that the stack's Airflow reads."""

    def airflow(self, report: Callable[[str], None]) -> None:
        """Installs and starts Airflow."""

    def postgres_programs(self) -> Path | None:
        """The folder of the embedded server's `pg_dump` and `pg_restore`."""

    def restore_majors(self) -> Mapping[int, str]:
        """The major versions of PostgreSQL that `restore_server` can start here, each with where it comes from."""

    def restore_server(self, major: int, folder: Path) -> AbstractContextManager[tuple[dict[str, Any], dict[str, Any]]]:
        """Starts a server of that version with all that it keeps in `folder`, and stops it with the block. Keys of a section for a
        role that may create databases, and for a superuser."""

    def prepare_dns(self, client: Any, options: Any) -> None:
        """Makes the zone that a real account has already."""

    def prepare_terraform(
        self, work: Path, settings: Any, environment: Mapping[str, str], *, override: bool
    ) -> dict[str, str]:
        """Makes a working copy of a module one that plans and applies here; the environment for it."""

    def terraform_leaves_out(self) -> Mapping[str, str]:
        """Addresses that no stand-in has, each with the reason."""

    def terraform_providers(self) -> tuple[str, str]:
        """Versions of the AWS provider, and of the Snowflake provider whose schema is checked."""

    def staged_key(self, key: str) -> str:
        """An object's key as pysail reads it."""

    def replace_delta_table(self, lake: Any, name: str, staged: Any, stage: Any) -> None:
        """Replaces a table and its definition, which pysail cannot alter."""

    def add_delta_columns(self, lake: Any, name: str, columns: Any) -> None:
        """Gives a table more columns, which pysail cannot."""


@cache
def local_stack() -> LocalStack:
    """The one that is installed with this project."""
    (found,) = entry_points(group=ENTRY_POINT)
    return cast(LocalStack, found.load())
