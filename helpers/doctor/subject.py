"""What is examined: a profile, and what several systems have to know of its source, which is asked once."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from helpers.errors import MigrationError
from helpers.model.catalog import Table
from helpers.model.manifest import StagedTable
from helpers.platforms import postgres
from helpers.settings import Settings
from helpers.source.asking import asking
from helpers.source.catalog import measured, read_catalog
from helpers.source.staging import as_in_postgres


@dataclass
class Subject:
    """A profile, and its chosen tables."""

    settings: Settings
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _known: tuple[tuple[Table, ...], int] | MigrationError | None = field(default=None, repr=False)

    @property
    def tables(self) -> tuple[Table, ...]:
        """The tables that would move, with their sizes.

        Raises:
            MigrationError: the source does not answer, or the choice means nothing there.
        """
        return self._read()[0]

    @property
    def database_bytes(self) -> int:
        """The size of the source's database; raises as `tables` does."""
        return self._read()[1]

    @property
    def staged(self) -> list[StagedTable]:
        """The tables as a target is asked about them: names, without a file."""
        return [
            StagedTable(
                schema_=table.schema, name=table.name, key=table.key, comment=table.comment, files=(), rows=0,
                columns=tuple(map(as_in_postgres, table.columns)),
            ).placed(self.settings.tables)
            for table in self.tables
        ]  # fmt: skip

    def schemas(self, own: str) -> tuple[str, ...]:
        """The schemas of a target that get tables; where the source does not say which tables there are, the target's `own`."""
        try:
            return tuple(sorted({table.there(own).schema for table in self.staged})) or (own,)
        except MigrationError:
            return (own,)

    @property
    def certification_schema(self) -> str | None:
        """The schema that an administrator made for certifications; None where each makes one of its own."""
        return self.settings.values.certification.schema_

    def _read(self) -> tuple[tuple[Table, ...], int]:
        with self._lock:
            if self._known is None:
                try:
                    self._known = self._asked()
                except MigrationError as error:
                    self._known = error
            known = self._known
        if isinstance(known, MigrationError):
            raise known
        return known

    def _asked(self) -> tuple[tuple[Table, ...], int]:
        source = self.settings.source
        with asking(source, "read the source's catalog") as cursor:
            catalog = measured(cursor, read_catalog(cursor, schemas=source.schemas, described=self.settings.tables))
            return catalog.tables, int(postgres.value(cursor, "SELECT pg_database_size(current_database())"))
