"""A source, a stage and a target of one's own, for tests and benchmarks: generated orders, and nothing left behind.

The source is a database on the local stack, whatever the profile: test data does not belong on a production server. Stage and
target are the profile's, under names that no migration has, so that what is measured is the profile's own Snowflake.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from helpers import settings as profiles
from helpers.engines.snowflake.records import SCHEMA_SUFFIX
from helpers.pipelines.sample import sample
from helpers.platforms import postgres, scratch_database, snowflake
from helpers.platforms.s3 import Bucket
from helpers.settings import Settings, Source

NAME = "scratch_"
"""How the names of the databases begin."""

AFTER_THE_EXPORT = (
    "UPDATE public.customers SET notes = 'before the cutover' WHERE customer_id IN (SELECT min(customer_id) FROM public.customers)",
    "DELETE FROM public.event_log WHERE ctid IN (SELECT ctid FROM public.event_log LIMIT 3)",
)
"""Statements that change the scratch source once it is exported, so that a final delta has something to carry."""


@contextmanager
def scratch(settings: Settings, *, orders: int) -> Iterator[Settings]:
    """The profile with a source, a stage's prefix and schemas of its own, which go when the block ends.

    Args:
        orders: order lines of the sample.

    Raises:
        LocalStackError: the local stack, where the source is made, is not up.
        ConnectionFailed: a server did not answer.
    """
    server = profiles.local_source()
    remove_left(settings, server)
    with scratch_database.scratch_database(server, NAME) as database:
        own = _own(settings, database)
        try:
            sample.build(postgres.dsn(database), orders=orders)
            yield own
        finally:
            _remove(own)


def remove_left(settings: Settings, server: Source) -> None:
    """Removes what killed processes have left: their databases on `server`, and what belongs to them on stage and target."""
    for name in scratch_database.remove_stale(server, NAME):
        _remove(_own(settings, server.model_copy(update={"dbname": name})))


def _own(settings: Settings, database: Source) -> Settings:
    values, name = settings.values, database.dbname
    update: dict[str, object] = {
        "source": database.model_copy(update={"schemas": ("public",)}),
        "dbt": settings.dbt.model_copy(update={"schema_": None}),
    }
    if values.stage:  # a path that moves nothing needs none
        update["stage"] = values.stage.model_copy(update={"url": f"{values.stage.url.rstrip('/')}-{name}/"})
    if values.snowflake:
        update["snowflake"] = values.snowflake.model_copy(update={"schema_": name.upper()})
    return replace(settings, values=values.model_copy(update=update))


def _remove(own: Settings) -> None:
    """Removes what lies on stage and target under the scratch database's name."""
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
