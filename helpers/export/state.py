"""How far an export has come, written beside its files after each of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from helpers.errors import MigrationError, StageError
from helpers.model import stored
from helpers.model.manifest import Exported, ExportedTable, Manifest, SetAside, StagedFile, StagedTable, shared
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

    @classmethod
    def finished_before(cls, staged: StagedTable) -> TableState:
        """The table as a finished export has it: which pages its files are of, nobody knows any more."""
        parts = tuple(
            PartState(name=file.path.partition("/")[2], relation="", first_page=0, end_page=None, pages=0, file=file)
            for file in staged.files
        )
        return cls(**shared(staged, ExportedTable), parts=parts)

    @property
    def finished(self) -> bool:
        """Whether every file is written."""
        return all(part.file for part in self.parts)

    def staged(self, files: tuple[StagedFile, ...]) -> StagedTable:
        """The manifest's entry with these files."""
        return StagedTable(**shared(self, ExportedTable), files=files)

    def whole(self) -> StagedTable:
        """The manifest's entry once every file is written.

        Raises:
            StageError: they hold other rows than the census counted.
        """
        files = tuple(part.file for part in self.parts if part.file)
        if (rows := sum(file.rows for file in files)) != self.rows:
            raise StageError(
                "export every row",
                on=str(self),
                why=f"the snapshot has {self.rows:,} rows, {rows:,} were staged",
                next_step="report this: it must not happen within one snapshot",
            )
        return self.staged(files)


class ExportState(Exported):
    """A whole export; it belongs to one snapshot."""

    tables: tuple[TableState, ...]

    @property
    def path(self) -> str:
        """Its object, relative to the stage's location."""
        return f"{self.export}/{NAME}"

    def manifest(self, tables: Iterable[StagedTable], *, exported_at: str, engine: str) -> Manifest:
        """The manifest of this export with these tables."""
        return Manifest(**shared(self, Exported), tables=tuple(tables), exported_at=exported_at, engine=engine)

    def write(self, bucket: Bucket) -> None:
        """Replaces the object; a reader sees the former state or this one."""
        bucket.write(self.path, self.model_dump_json().encode())

    def without(self, failed: Mapping[str, MigrationError]) -> ExportState:
        """The state with tables set aside, each with the error that it met."""
        aside = {(each.schema_, each.name): each for each in self.set_aside}
        for table in self.tables:
            if error := failed.get(str(table)):
                aside[table.schema_, table.name] = set_aside(table.schema_, table.name, error)
        left = tuple(table for table in self.tables if str(table) not in failed)
        return self.model_copy(update={"tables": left, "set_aside": tuple(aside.values())})

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


def set_aside(schema: str, name: str, error: MigrationError) -> SetAside:
    """A table with why it could not be exported, and what to do about it."""
    return SetAside(schema_=schema, name=name, why=f"{error.why} → {error.next_step}")


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
