"""A source, a stage and a target of one's own, for tests and benchmarks: generated orders, and nothing left behind.

The source is a database on the local stack, whatever the profile: test data does not belong on a production server. Stage and
target are the profile's, under names that no migration has, so that what is measured is the profile's own Snowflake.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from secrets import token_hex
from typing import Any

from helpers import settings as profiles
from helpers.engines.snowflake.records import SCHEMA_SUFFIX
from helpers.pipelines.sample import sample
from helpers.platforms import postgres, snowflake
from helpers.platforms.s3 import Bucket
from helpers.progress import Progress
from helpers.settings import Settings

NAME, VOUCHES = "scratch_", "migration-runbooks of "
"""What a scratch database is called, and the session of its process, whose name ends with the database's."""


@contextmanager
def scratch(settings: Settings, *, orders: int, progress: Progress | None = None) -> Iterator[Settings]:
    """The profile with a source, a stage's prefix and schemas of its own, which go when the block ends.

    Args:
        orders: order lines of the sample.

    Raises:
        LocalStackError: the local stack, where the source is made, is not up.
        ConnectionFailed: a server did not answer.
    """
    server = profiles.local_source()
    name = f"{NAME}{token_hex(4)}"
    own = _own(settings, server, name)
    _remove_left(settings, server)
    # Its session marks the database as in use as long as this process lives, however it ends.
    with _session(server, VOUCHES + name) as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
        try:
            report = (lambda what, share: progress(int(share * orders), orders, what)) if progress else None
            sample.build(postgres.dsn(own.source), orders=orders, report=report)
            yield own
        finally:
            _remove(own, server, name)


def _own(settings: Settings, server: profiles.Source, name: str) -> Settings:
    values = settings.values
    update: dict[str, object] = {
        "source": server.model_copy(update={"dbname": name, "schemas": ("public",)}),
        "dbt": settings.dbt.model_copy(update={"schema_": None}),
    }
    if values.stage:  # a path that moves nothing needs none
        update["stage"] = values.stage.model_copy(update={"url": f"{values.stage.url.rstrip('/')}-{name}/"})
    if values.snowflake:
        update["snowflake"] = values.snowflake.model_copy(update={"schema_": name.upper()})
    return replace(settings, values=values.model_copy(update=update))


def _remove_left(settings: Settings, server: profiles.Source) -> None:
    """Removes what killed processes have left: the databases that no session marks as in use, and what belongs to them."""
    with _session(server) as cursor:
        cursor.execute(
            "SELECT d.datname FROM pg_database d WHERE d.datname ~ %s AND NOT EXISTS "
            "(SELECT FROM pg_stat_activity WHERE application_name = %s || d.datname)",
            (rf"^{NAME}[0-9a-f]{{8}}$", VOUCHES),
        )
        left = [name for (name,) in cursor.fetchall()]
    for name in left:
        _remove(_own(settings, server, name), server, name)


def _remove(own: Settings, server: profiles.Source, name: str) -> None:
    with _session(server) as cursor:
        postgres.drop_database(cursor, name)
    if own.values.stage:
        bucket = Bucket.open(own.stage)
        bucket.remove(list(bucket.sizes()))
    if own.values.snowflake is None:
        return
    with snowflake.connect(own.snowflake) as session:
        schemas = (own.snowflake.schema_, own.snowflake.schema_ + SCHEMA_SUFFIX, own.marts_schema)
        for schema in schemas:
            place = snowflake.identifier(own.snowflake.database, schema)
            session.execute(f"DROP SCHEMA IF EXISTS {place} CASCADE", doing="remove the scratch schemas")


@contextmanager
def _session(server: profiles.Source, application: str = "migration-runbooks scratch") -> Iterator[Any]:
    # The source may be frozen for a cutover, that is, read-only by default; a scratch database beside it is not its data.
    with closing(
        postgres.connect(server, application=application, settings={"default_transaction_read_only": "off"})
    ) as connection:
        connection.autocommit = True
        yield connection.cursor()
