"""What an engine is asked of changes that follow a copy: batches of a sync, by the code that applies them.

A batch moves rows of a golden table to other keys, and another one takes that back: what then differs from the golden rows is what the
engine merged otherwise. The values of one column are in no batch, as of a row whose long value PostgreSQL does not send again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self
from uuid import uuid4

from helpers.certify import golden
from helpers.engines import engine
from helpers.engines.applying import Applier
from helpers.model import lsn
from helpers.model.batch import Batch, ChangedTable, batch_columns, key_columns
from helpers.model.manifest import Manifest, StagedFile, StagedTable
from helpers.model.places import TargetTable
from helpers.model.sync import Sync, SyncedTable
from helpers.platforms import duck
from helpers.platforms.postgres import identifier, literal
from helpers.platforms.s3 import Bucket
from helpers.settings import Target

TABLE = "written"

_FAR = 9000
_STEP = 0x100

# Rows of the golden table, by its keys: 1 and 2 change places, 3 moves away, 4 goes, 5 changes, and another one comes.
_CHANGED = """
    SELECT 3 - id AS id, amount, NULL AS said, "at", seen, day, FALSE AS gone, id AS origin, TRUE AS same FROM golden WHERE id IN (1, 2) UNION ALL
    SELECT id + {far}, amount, NULL, "at", seen, day, FALSE, id, TRUE FROM golden WHERE id = 3 UNION ALL
    SELECT id, NULL, NULL, NULL, NULL, NULL, TRUE, id, FALSE FROM golden WHERE id IN (3, 4) UNION ALL
    SELECT id, NULL, 'changed', NULL, seen, day, FALSE, id, FALSE FROM golden WHERE id = 5 UNION ALL
    SELECT {far}, amount, 'new', "at", seen, day, FALSE, NULL, FALSE FROM golden WHERE id = 1"""
_TAKEN_BACK = """
    SELECT id, amount, NULL AS said, "at", seen, day, FALSE AS gone, 3 - id AS origin, TRUE AS same FROM golden WHERE id IN (1, 2) UNION ALL
    SELECT id, amount, NULL, "at", seen, day, FALSE, id + {far}, TRUE FROM golden WHERE id = 3 UNION ALL
    SELECT id + {far}, NULL, NULL, NULL, NULL, NULL, TRUE, id + {far}, FALSE FROM golden WHERE id = 3 UNION ALL
    SELECT id, amount, said, "at", seen, day, FALSE, CASE WHEN id = 5 THEN id END, FALSE FROM golden WHERE id IN (4, 5) UNION ALL
    SELECT {far}, NULL, NULL, NULL, NULL, NULL, TRUE, {far}, FALSE"""
_TWICE = """
    SELECT id, amount + n AS amount, said, "at", seen, day, FALSE AS gone, id AS origin, FALSE AS same FROM golden, range(2) AS r(n) WHERE id = 1"""
_ALL = 'SELECT id, amount, said, "at", seen, day, FALSE AS gone, NULL AS origin, FALSE AS same FROM golden'

MISSING, EXTRA, CHANGED = 2, 2, 3
"""What a verification finds between the two batches."""


@dataclass
class Following:
    """A sync of one golden table that was loaded.

    Attributes:
        at: the position of the next batch.
    """

    section: Target
    bucket: Bucket
    staged: StagedTable
    sync: Sync
    at: int
    applier: Applier

    @classmethod
    @contextmanager
    def begun(cls, target: str, section: Target, bucket: Bucket, manifest: Manifest) -> Iterator[Self]:
        """One that goes on from the load of a manifest, over a connection that ends with the block."""
        staged, sync = manifest.table("public", TABLE), _new_sync(manifest)
        assert staged
        with engine(target).applier(section, bucket, sync) as applier:
            at = lsn.parse(sync.lsn)
            applier.begin({staged.there(section.schema_): at})
            yield cls(section, bucket, staged, sync, at, applier)

    def change(self) -> None:
        """Applies the first batch, twice."""
        batch = self._batch(_CHANGED, known=5)
        for _ in range(2):
            self.applier.apply(batch, [self.staged])
        self.at = batch.until

    def take_back(self) -> None:
        """Applies the one that makes the table golden again."""
        self._apply(self._batch(_TAKEN_BACK, known=5))

    def choose(self) -> None:
        """Tries a batch of which two rows have one key; it is an error."""
        self._apply(self._batch(_TWICE, known=1))

    def break_off(self) -> None:
        """Tries the first batch with a count that does not hold, after its MERGE; it is an error where there are transactions."""
        self._apply(self._batch(_CHANGED, known=400))

    def truncate(self) -> None:
        """Empties the table in one batch, and once more in another, which writes every golden row."""
        emptied = ChangedTable(schema_=self.staged.schema_, name=self.staged.name, truncated=True, known=0)
        self._apply(self._of(emptied))
        self._apply(self._batch(_ALL, known=0, truncated=True))

    def position(self) -> int | None:
        """That the target says the table has."""
        there = self._there
        return self.applier.positions([there]).at(there)

    @property
    def _there(self) -> TargetTable:
        return self.staged.there(self.section.schema_)

    def _apply(self, batch: Batch) -> None:
        self.applier.apply(batch, [self.staged])
        self.at = batch.until

    def _batch(self, rows: str, known: int, *, truncated: bool = False) -> Batch:
        added = batch_columns(self.staged, ["said"])
        names = {"gone": added.deleted, "origin": added.origin["id"], "same": added.unchanged["said"]}
        written, gone, file = _write(self.bucket, self.staged, rows.format(far=_FAR), names)
        changed = ChangedTable(
            schema_=self.staged.schema_, name=self.staged.name, truncated=truncated, file=file, written=written, deleted=gone,
            unchanged=("said",), known=known,
        )  # fmt: skip
        return self._of(changed)

    def _of(self, changed: ChangedTable) -> Batch:
        return Batch(sync=self.sync.id, after=self.at, until=self.at + _STEP, committed_at="", tables=(changed,))


def _new_sync(manifest: Manifest) -> Sync:
    """One that no slot has."""
    tables = (SyncedTable(schema_="public", name=TABLE, start=manifest.lsn),)
    return Sync(
        id=uuid4().hex, slot="", publication="", source=manifest.source, system_identifier="", timeline=1, database="",
        export=manifest.export, lsn=manifest.lsn, created_at="", tables=tables,
    )  # fmt: skip


def _write(bucket: Bucket, staged: StagedTable, rows: str, names: Mapping[str, str]) -> tuple[int, int, StagedFile]:
    """Stages a batch's rows as Parquet of the types that the golden files have; how many are written, and deleted."""
    paths = ", ".join(literal(str(golden.FOLDER / golden.AFTER / file.path)) for file in staged.files)
    kinds = {"gone": "BOOLEAN", "origin": key_columns(staged)[0].parquet, "same": "BOOLEAN"}
    added = ", ".join(f"{mine}::{kinds[mine]} AS {identifier(name)}" for mine, name in names.items())
    own = ", ".join(f"{identifier(c.field)}::{c.parquet} AS {identifier(c.field)}" for c in staged.columns)
    with closing(duck.connect()) as connection:
        connection.execute(f"CREATE TABLE golden AS FROM read_parquet([{paths}])")
        connection.execute(f"CREATE TABLE batch AS SELECT {own}, {added} FROM ({rows})")
        with TemporaryDirectory(prefix="runbook-certify-") as folder:
            file = Path(folder) / "batch.parquet"
            connection.execute(f"COPY batch TO {literal(str(file))} (FORMAT parquet, COMPRESSION zstd)")
            content = file.read_bytes()
        counted = connection.execute(
            f"SELECT COUNT(*) FILTER (NOT {identifier(names['gone'])}), COUNT(*) FILTER ({identifier(names['gone'])}) FROM batch"
        ).fetchone()
    assert counted
    path = f"sync/{uuid4().hex}.parquet"
    bucket.write(path, content)
    return counted[0], counted[1], StagedFile(path=path, rows=sum(counted), bytes=len(content), sha256="")
