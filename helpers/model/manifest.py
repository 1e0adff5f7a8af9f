"""What an export wrote: the only thing that loading and verifying know of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Literal, Self

from pydantic import BaseModel, field_serializer, field_validator

from helpers.errors import StageError, UsageError
from helpers.model import catalog, globs, stored
from helpers.model.catalog import ForeignKey, Key
from helpers.model.places import TargetTable, names_in_target
from helpers.model.stored import Stored
from helpers.model.types import Comparison
from helpers.platforms.s3 import Bucket
from helpers.settings import Instance, Tables

NAME = "manifest.json"


class StagedColumn(Stored):
    """One column as it was staged.

    Attributes:
        field: its name in the Parquet file; differs from `name` where two names differ only in case.
        source: the column of the source that it comes from; differs from `name` for a flag column.
        read: the expression that PostgreSQL evaluated for the export, `{c}` being the source's column.
        text: the expression that gives PostgreSQL's text of what the target should hold.
        default: the source's, as PostgreSQL prints it: empty for none, None where the export could not tell.
        mask: what took the place of every value, in words; None where the values are the source's own.
    """

    name: str
    field: str
    source: str
    postgres: str
    parquet: str
    snowflake: str
    comparison: Comparison
    delta: str
    read: str
    text: str
    not_null: bool
    comment: str | None
    encoding: Literal["exact", "re-encoded"]
    note: str
    policy: str | None
    touched: int
    flag_of: str | None = None
    default: str | None = None
    mask: str | None = None


class StagedFile(Stored):
    """One Parquet file; `path` is relative to the manifest's location.

    Attributes:
        nulls: the fields that have some, each with how many; None of an export that did not count them.
    """

    path: str
    rows: int
    bytes: int
    sha256: str
    nulls: tuple[tuple[str, int], ...] | None = None

    # An object in JSON, and here what can be hashed.
    @field_validator("nulls", mode="before")
    @classmethod
    def _pairs(cls, value: Any) -> Any:
        return tuple(value.items()) if isinstance(value, dict) else value

    @field_serializer("nulls")
    def _object(self, value: tuple[tuple[str, int], ...] | None) -> dict[str, int] | None:
        return None if value is None else dict(value)


class Digest(Stored):
    """A table's digest by segments, kept as an object of its own; see `helpers.digests`.

    Attributes:
        engine: whose hash it is, with its version; another version may hash differently.
        rows: of all segments.
        total: the sum over all segments modulo 2⁶⁴, in 16 hexadecimal digits.
        fingerprint: SHA-256 of every segment's number, rows and sum.
        path: of the object, relative to the manifest's location.
    """

    engine: str
    segments: int
    rows: int
    total: str
    fingerprint: str
    path: str


class NextValue(Stored):
    """What a sequence gives next; no value of it moves.

    Attributes:
        value: None where it cannot be told, for the reason in `why`.
        column: whose values it makes, as schema.table.column; empty for none.
    """

    schema_: str
    name: str
    value: int | None
    increment: int
    column: str = ""
    why: str = ""

    def __str__(self) -> str:
        return f"{self.schema_}.{self.name}"


class ExportedTable(Stored):
    """What an export's state and its manifest both say of a table.

    Attributes:
        key: by which rows are told apart; see `catalog.Table`.
        keys: of the source, that hold of the staged rows; None of an export that did not say.
        foreign_keys: likewise, whether the tables that they refer to were exported or not.
        where: the rows that move, as a condition in the source's SQL; empty for all.
        omitted: columns that do not move.
        reason: why not all of it moves as it is.
        target_schema, target_name: as the profile's naming patterns have them: None for the target's own schema, and for the
            table's own name.
    """

    schema_: str
    name: str
    key: tuple[str, ...]
    comment: str | None
    columns: tuple[StagedColumn, ...]
    rows: int
    digest: Digest | None = None
    where: str = ""
    omitted: tuple[str, ...] = ()
    reason: str = ""
    keys: tuple[Key, ...] | None = None
    foreign_keys: tuple[ForeignKey, ...] = ()
    target_schema: str | None = None
    target_name: str | None = None

    @property
    def condition(self) -> str:
        """`where`, to stand beside other conditions; as `Table.condition`."""
        return catalog.condition(self.where)

    @property
    def masked(self) -> dict[str, str]:
        """The words of each masked column's mask."""
        return {column.name: column.mask for column in self.columns if column.mask}

    @property
    def as_it_was(self) -> bool:
        """Whether every row and value of the source is staged: nothing filtered, left out, masked or changed by a policy."""
        changed = any(column.mask or (column.policy and column.touched) for column in self.columns)
        return not (self.where or self.omitted or changed)

    def __str__(self) -> str:
        return f"{self.schema_}.{self.name}"

    def there(self, own: str) -> TargetTable:
        """Where it goes in a target whose section names the schema `own`."""
        return TargetTable(self.target_schema or own, self.target_name or self.name)

    def placed(self, tables: Tables) -> Self:
        """The same where a profile's patterns put it."""
        schema, name = names_in_target(tables, self.schema_, self.name)
        return self.model_copy(update={"target_schema": schema, "target_name": name})


class StagedTable(ExportedTable):
    """One table, whole."""

    files: tuple[StagedFile, ...]

    @property
    def bytes(self) -> int:
        """Size of the files."""
        return sum(file.bytes for file in self.files)

    @property
    def values(self) -> dict[str, int] | None:
        """How many values each field has that are not NULL; None where the export did not count them."""
        found = {column.field: self.rows for column in self.columns}
        for file in self.files:
            if file.nulls is None:
                return None
            for field, count in file.nulls:
                if field in found:
                    found[field] -= count
        return found


class SetAside(Stored):
    """A table that was to move and could not be exported while the others were; it stands in no other list.

    Attributes:
        why: as a sentence's end, with what to do about it.
    """

    schema_: str
    name: str
    why: str

    def __str__(self) -> str:
        return f"{self.schema_}.{self.name}"


class Exported(Stored):
    """What an export's state and its manifest both say of the whole: every table in one snapshot at one LSN.

    Attributes:
        why_approximate: why the LSN is not exactly the snapshot's; empty where it is.
        sequences: of the source, read behind the snapshot.
        complete: whether every table of the source was to be here; false where the export was told to take some.
        set_aside: those that were to be here and failed.
        instance: the server that the snapshot lies on, of several that the source may lead to.
    """

    export: str
    source: str
    server_version: str
    snapshot: str
    lsn: str
    lsn_exact: bool
    why_approximate: str = ""
    left_out: dict[str, str]
    sequences: tuple[NextValue, ...] = ()
    complete: bool = True
    set_aside: tuple[SetAside, ...] = ()
    instance: Instance | None = None

    @property
    def whole(self) -> bool:
        """Whether every table of the source is here."""
        return self.complete and not self.set_aside

    @property
    def failed(self) -> dict[str, str]:
        """Why each table that was set aside was, by `schema.name`."""
        return {str(each): each.why for each in self.set_aside}


class Manifest(Exported):
    """One finished export."""

    version: Literal[2] = 2
    exported_at: str
    engine: str
    tables: tuple[StagedTable, ...]

    @property
    def excluded(self) -> dict[str, str]:
        """Those of `left_out` that a command was told to leave out."""
        return {name: why for name, why in self.left_out.items() if why.startswith(globs.EXCLUDED)}

    def placed(self, tables: Tables) -> Manifest:
        """The same with every table where a profile's patterns put it: they may have changed since the export."""
        return self.model_copy(update={"tables": tuple(table.placed(tables) for table in self.tables)})

    def table(self, schema: str, name: str) -> StagedTable | None:
        """The table of that name, or None."""
        return next((table for table in self.tables if (table.schema_, table.name) == (schema, name)), None)

    def chosen(
        self, tables: Sequence[str] = (), exclude: Sequence[str] = ()
    ) -> tuple[tuple[StagedTable, ...], dict[str, str]]:
        """The tables that globs mean, and why others that `tables` means are not among them.

        Args:
            tables: globs over `name` or `schema.name`; empty for all.
            exclude: globs of what is left out of them.

        Raises:
            UsageError: a glob matches nothing, or nothing is left.
        """
        known = [(table.schema_, table.name) for table in self.tables]
        globs.refuse_unknown("--tables", tables, known, "the manifest")
        globs.refuse_unknown("--exclude", exclude, known, "the manifest")
        excluded = globs.excluded(known, tables, exclude)
        named = (t for t in self.tables if not tables or globs.match(t.schema_, t.name, tables))
        chosen = tuple(table for table in named if str(table) not in excluded)
        if exclude and not chosen:
            globs.refuse_nothing_left(exclude)
        return chosen, excluded

    def to_load(self, table: str | None, exclude: Sequence[str]) -> tuple[list[StagedTable], dict[str, str]]:
        """The same of `exclude`, or of those that are left only `table`: by `name` or `schema.name` of the source, or by its
        name in the target.

        Raises:
            UsageError: no table is so.
        """
        left, excluded = self.chosen(exclude=exclude)
        chosen = [staged for staged in left if table is None or table in (staged.name, str(staged), staged.target_name)]
        if not self.tables:
            raise UsageError(
                "find a table to move", on=f"the export {self.export}", why="the source has no tables, or none was chosen",
                next_step="correct dbname and schemas of the source, or --tables, then export again",
            )  # fmt: skip
        if not chosen:
            raise UsageError(
                "find the table to load", on=f"--target-table {table}", why="the manifest does not name it",
                next_step=f"name one of: {', '.join(str(staged) for staged in self.tables)}",
            )  # fmt: skip
        return chosen, excluded


def read(bucket: Bucket) -> Manifest:
    """The manifest at a stage's location.

    Raises:
        StageError: there is none, or it is not of this version.
    """
    manifest = read_if_any(bucket)
    if manifest is None:
        raise StageError(
            "read the manifest",
            on=f"{bucket.location}{NAME}",
            why="it does not exist: no export has finished there",
            next_step=f"run: runbook export --output-format parquet --target-location {bucket.location}",
        )
    return manifest


def read_if_any(bucket: Bucket) -> Manifest | None:
    """The manifest at a stage's location, or None; raises `StageError` where it cannot be understood."""
    cure = "it was written by another version or changed by hand: export again"
    return stored.parse(
        bucket.read(NAME), Manifest, doing="understand the manifest", on=f"{bucket.location}{NAME}", cure=cure
    )


def shared(record: BaseModel, kind: type[Stored]) -> dict[str, Any]:
    """The fields of a base class that two records have in common, to make one from the other."""
    return {name: getattr(record, name) for name in kind.model_fields}


def folder(schema: str, name: str) -> str:
    """A table's folder below an export: readable, and safe in a URL and in SQL whatever the table is called."""
    full = f"{schema}.{name}"
    plain = re.sub(r"[^A-Za-z0-9_.-]", "_", full)
    return plain if plain == full else f"{plain}-{sha256(full.encode()).hexdigest()[:8]}"


def home(table: StagedTable) -> str:
    """The folder of a staged table's files and digests, relative to the manifest's location."""
    return table.files[0].path.rpartition("/")[0]


def fields(names: list[str]) -> list[str]:
    """Names for the columns of a Parquet file, distinct even where case is ignored, as DuckDB ignores it."""
    taken: set[str] = set()
    chosen = []
    for name in names:
        field, count = name, 1
        while field.casefold() in taken:
            count += 1
            field = f"{name}_{count}"
        taken.add(field.casefold())
        chosen.append(field)
    return chosen
