"""How far an export has come, written beside its files after each of them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, ValidationError

from helpers.errors import StageError
from helpers.model.manifest import Digest, StagedColumn, StagedFile
from helpers.platforms.s3 import Bucket
from helpers.progress import Progress
from helpers.source.readers import Range

NAME = "state.json"


class _State(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PartState(_State):
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


class TableState(_State):
    """One table of the plan; `rows` is what the census counted."""

    schema_: str
    name: str
    key: tuple[str, ...]
    comment: str | None
    columns: tuple[StagedColumn, ...]
    rows: int
    parts: tuple[PartState, ...]
    digest: Digest | None = None

    def __str__(self) -> str:
        return f"{self.schema_}.{self.name}"

    @property
    def finished(self) -> bool:
        """Whether every file is written."""
        return all(part.file for part in self.parts)


class ExportState(_State):
    """A whole export; it belongs to one snapshot."""

    export: str
    source: str
    server_version: str
    snapshot: str
    lsn: str
    lsn_exact: bool
    why_approximate: str = ""
    tables: tuple[TableState, ...]
    left_out: dict[str, str]
    complete: bool = True

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
    content = bucket.read(f"{export}/{NAME}")
    if content is None:
        return None
    try:
        return ExportState.model_validate_json(content)
    except ValidationError as error:
        raise StageError(
            "go on with an export",
            on=f"{bucket.location}{export}/{NAME}",
            why=str(error.errors(include_url=False, include_input=False)[0]),
            next_step="it was written by another version: export under a new run's name",
        ) from None
