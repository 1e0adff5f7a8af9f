"""What another PostgreSQL is as a target: a copy of the source, with the source's own types."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

from helpers.engines.answers import Answers
from helpers.engines.base import Engine, Place
from helpers.engines.postgres.quality import PostgresAnswers
from helpers.engines.postgres.rows import PostgresSide
from helpers.model.declared import POSTGRESQL
from helpers.platforms import postgres
from helpers.source import held_snapshots
from helpers.source import snapshot as snapshots
from helpers.source.catalog import measured, read_catalog


class Postgres(Engine):
    """Schemas of a server, in a snapshot of its own."""

    title = "PostgreSQL"
    ddl = POSTGRESQL
    as_staged = False

    def address(self, place: Place) -> str:
        return postgres.address(place.server)

    def open(self, place: Place, stack: ExitStack) -> PostgresSide:
        snapshot = snapshots.take(place.server)
        stack.callback(held_snapshots.release, snapshot)
        server = snapshots.on(place.server, snapshot)
        with snapshots.reading(server, snapshot.name) as cursor:
            catalog = read_catalog(cursor, schemas=server.schemas)
            wanted = {plan.there for plan in place.tables}
            compared = tuple(table for table in catalog.tables if (table.schema, table.name) in wanted)
            compared = measured(cursor, replace(catalog, tables=compared)).tables
        side = PostgresSide(
            server, snapshot.name, compared, place.settings.export, is_target=True,
            others=[table for table in catalog.tables if (table.schema, table.name) not in wanted],
        )  # fmt: skip
        return stack.enter_context(side)

    def ask(self, place: Place, stack: ExitStack) -> Answers:
        snapshot = snapshots.take(place.server)
        stack.callback(held_snapshots.release, snapshot)
        cursor = stack.enter_context(snapshots.reading(snapshots.on(place.server, snapshot), snapshot.name))
        catalog = read_catalog(cursor, schemas=place.server.schemas)
        there = {(table.schema, table.name): table for table in catalog.tables}
        tables = {str(plan.table): there[plan.there] for plan in place.tables if plan.there in there}
        return PostgresAnswers(cursor, tables, name="postgresql (target)")


ENGINE = Postgres()
