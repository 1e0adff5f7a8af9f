"""How far an export has come, written beside its files after each of them."""

from __future__ import annotations

from helpers.model import stored
from helpers.model.manifest import Exported, ExportedTable, StagedFile
from helpers.model.stored import Stored
from helpers.platforms.s3 import Bucket
from helpers.progress import Progress
from helpers.source.readers import Range

NAME = "state.json"


class PartState(Stored):
    """What becomes one file: a range of a relation.

    Attributes:
        relation, first_page, end_page, pages: as `readers.Range` has them.
        file: once it is written.
    """

    name: str
    relation: str
    first_page: int
    end_page: int | None
    pages: int
    file: StagedFile | None = None

    @property
    def range(self) -> Range:
        """Its rows."""
        return Range(self.relation, self.first_page, self.end_page, self.pages)


class TableState(ExportedTable):
    """One table of the plan; `rows` is what the census counted."""

    parts: tuple[PartState, ...]

    @property
    def finished(self) -> bool:
        """Whether every file is written."""
        return all(part.file for part in self.parts)


class ExportState(Exported):
    """A whole export; it belongs to one snapshot."""

    tables: tuple[TableState, ...]

    @property
    def path(self) -> str:
        """Its object, relative to the stage's location."""
        return f"{self.export}/{NAME}"

    def write(self, bucket: Bucket) -> None:
        """Replaces the object; a reader sees the former state or this one."""
        bucket.write(self.path, self.model_dump_json().encode())

    def with_file(self, table: TableState, part: PartState, file: StagedFile) -> ExportState:
        """The state after one more file."""

        def changed(other: TableState) -> TableState:
            if (other.schema_, other.name) != (table.schema_, table.name):
                return other
            parts = (p.model_copy(update={"file": file}) if p.name == part.name else p for p in other.parts)
            return other.model_copy(update={"parts": tuple(parts)})

        return self.model_copy(update={"tables": tuple(changed(other) for other in self.tables)})

    def without_damaged_files(self, bucket: Bucket, progress: Progress | None) -> ExportState:
        """The state without the files whose bytes are not, or no longer, what was written."""
        files = [part.file for table in self.tables for part in table.parts if part.file]
        total, done, damaged = sum(file.rows for file in files), 0, set()
        for file in files:
            if progress:
                progress(done, total, f"checking {file.path}")
            if bucket.sha256(file.path) != (file.bytes, file.sha256):
                damaged.add(file.path)
            done += file.rows

        def sound(table: TableState) -> TableState:
            if not any(part.file and part.file.path in damaged for part in table.parts):
                return table
            parts = (
                p.model_copy(update={"file": None}) if p.file and p.file.path in damaged else p for p in table.parts
            )
            return table.model_copy(update={"parts": tuple(parts), "digest": None})

        return self.model_copy(update={"tables": tuple(sound(table) for table in self.tables)})


def unfinished(bucket: Bucket, export: str) -> ExportState | None:
    """The state of an export that did not end, or None where it ended or never wrote one.

    Raises:
        StageError: the state is there and cannot be understood.
    """
    path = f"{export}/{NAME}"
    cure = "it was written by another version: export under a new run's name"
    return stored.parse(
        bucket.read(path), ExportState, doing="go on with an export", on=f"{bucket.location}{path}", cure=cure
    )
