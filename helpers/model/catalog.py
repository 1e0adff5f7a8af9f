"""Tables, columns and keys as PostgreSQL has them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from helpers.platforms.postgres import identifier


@dataclass(frozen=True)
class PgType:
    """A column's type; a domain is seen through to the type below it.

    Attributes:
        name: the type's name in `pg_type` ("numeric", "_text", "order_status").
        sql: as `format_type` prints it ("numeric(12,2)", "text[]").
        kind: `pg_type.typtype`: b base, c composite, e enum, r range, m multirange, p pseudo.
        element: the element's type name where this is an array.
        modifier: `atttypmod`, -1 for none.
        labels: of an enum, in their order.
    """

    name: str
    sql: str
    kind: str = "b"
    element: str | None = None
    modifier: int = -1
    labels: tuple[str, ...] = ()

    @property
    def precision(self) -> int | None:
        """Of a numeric: total digits, or None where the type sets no limit."""
        return ((self.modifier - 4) >> 16) & 0xFFFF if self.name == "numeric" and self.modifier >= 0 else None

    @property
    def scale(self) -> int:
        """Of a numeric with a precision: digits after the point, negative since PostgreSQL 15 where rounding is coarser."""
        return (((self.modifier - 4) & 0x7FF) ^ 1024) - 1024

    @property
    def length(self) -> int | None:
        """Of varchar(n) and char(n): n in characters."""
        return self.modifier - 4 if self.name in {"varchar", "bpchar"} and self.modifier >= 0 else None


@dataclass(frozen=True)
class Masked:
    """What takes the place of every value of a column.

    Attributes:
        words: for people.
        sql: the expression, with `{c}` for the quoted column; a literal brace is doubled.
    """

    words: str
    sql: str


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        type: of its values as they are read, behind a mask.
        mask: through which it is read.
        default: the expression as PostgreSQL prints it, or how the value is made ("GENERATED ALWAYS AS IDENTITY");
            empty where a row without the column gets NULL, None where the server could not tell.
    """

    name: str
    type: PgType
    not_null: bool = False
    comment: str | None = None
    default: str | None = ""
    mask: Masked | None = None

    @property
    def sql(self) -> str:
        """The expression of its value: its name, or what its mask makes of it."""
        name = identifier(self.name)
        return self.mask.sql.format(c=name) if self.mask else name


@dataclass(frozen=True)
class Key:
    """Columns that no two rows have alike, in the order of the index.

    Attributes:
        deferred: whether it may be broken within a transaction.
        name: of the index, which is its constraint's where it has one; two keys are the same whatever they are called.
    """

    columns: tuple[str, ...]
    primary: bool
    deferred: bool = field(default=False, compare=False)
    name: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"{'PRIMARY KEY' if self.primary else 'UNIQUE'} ({', '.join(self.columns)})"


@dataclass(frozen=True)
class ForeignKey:
    """Columns whose values are a key of another table, or of the same one.

    Attributes:
        schema, table: that it refers to.
        referenced: its columns, one for each of `columns`.
        name: of the constraint; two foreign keys are the same whatever they are called.
        unchecked: why rows may break it, such as "NOT VALID"; empty where none does.
    """

    columns: tuple[str, ...]
    schema: str
    table: str
    referenced: tuple[str, ...]
    name: str = field(default="", compare=False)
    unchecked: str = field(default="", compare=False)

    def __str__(self) -> str:
        columns, referenced = ", ".join(self.columns), ", ".join(self.referenced)
        return f"FOREIGN KEY ({columns}) REFERENCES {self.schema}.{self.table} ({referenced})"


@dataclass(frozen=True)
class Heap:
    """A relation that holds rows: the table itself, or a leaf partition.

    Attributes:
        pages: how many pages the file has: by statistics, or exactly after `measured`.
        bytes: with the values that PostgreSQL keeps beside the file (TOAST), after `measured`.
        file: `pg_class.relfilenode` in the snapshot; a rewrite or TRUNCATE gives it another.
        alone: its own rows; otherwise all its partitions are read at once, each between the same pages.
    """

    schema: str
    name: str
    oid: int
    pages: int
    file: int
    foreign: bool = False
    bytes: int = 0
    alone: bool = True

    @property
    def sql(self) -> str:
        """What follows FROM."""
        name = identifier(self.schema, self.name)
        return f"ONLY {name}" if self.alone else name

    def cut(self, count: int) -> tuple[tuple[int, int | None], ...]:
        """Cuts the pages into `count` ranges of a first page and the one behind the last.

        The last range is open: pages may have been added since they were counted, with rows of this snapshot.
        """
        firsts = [number * self.pages // count for number in range(count)]
        return tuple(zip(firsts, [*firsts[1:], None], strict=True))


@dataclass(frozen=True)
class Heir:
    """A table that inherits from another.

    Attributes:
        elsewhere: whether its rows are not on this server: a foreign table, or an unlogged one of which this is a standby.
    """

    oid: int
    name: str
    elsewhere: bool


@dataclass(frozen=True)
class Table:
    """One table of the source; a partitioned table is one table with many heaps, a view has none.

    Attributes:
        kind: `pg_class.relkind`: r table, p partitioned table, v view, m materialized view.
        key: by which rows are told apart: the primary key, else the smallest unique index over NOT NULL columns.
        keys: the primary key and every unique index over all rows, whether their columns take NULL or not.
        foreign_keys: of the table, whether the tables that they refer to move or not.
        heirs: tables that inherit from it, at any depth, by OID and name: `SELECT` shows their rows as its own. They are not
            its partitions.
        through_parent: whether the role may read the partitions only through the table.
        where: the rows that move, as a condition in the source's SQL; empty for all.
        omitted: columns that do not move, and are none of `columns`.
        reason: why not all of it moves as it is.
        lost_keys: over columns that do not move as they are; none of `keys`.
    """

    schema: str
    name: str
    oid: int
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    heaps: tuple[Heap, ...]
    comment: str | None = None
    estimated_rows: int = 0
    kind: str = "r"
    keys: tuple[Key, ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()
    heirs: tuple[Heir, ...] = ()
    through_parent: bool = False
    where: str = ""
    omitted: tuple[str, ...] = ()
    reason: str = ""
    lost_keys: tuple[Key, ...] = ()

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def scanned(self) -> tuple[Heap, ...]:
        """What is read for its rows: its heaps by name, or the whole table where it has none or they may not be read so."""
        if (self.heaps and not self.through_parent) or self.kind == "v":
            return self.heaps
        # Pages are counted from 0 in each partition, so that a range of them means all partitions at once.
        pages = max((heap.pages for heap in self.heaps), default=0)
        size = sum(heap.bytes for heap in self.heaps)
        return (Heap(self.schema, self.name, self.oid, pages, 0, bytes=size, alone=False),)

    @property
    def partitioned(self) -> bool:
        """Whether its rows are in partitions."""
        return self.kind == "p"

    @property
    def sql(self) -> str:
        """What follows FROM: the table's own rows and its partitions', not those of tables that inherit from it."""
        name = identifier(self.schema, self.name)
        return f"ONLY {name}" if self.kind in "rm" else name

    @property
    def condition(self) -> str:
        """`where`, to stand beside other conditions; a comment at its end reaches no further."""
        return condition(self.where)

    @property
    def masked(self) -> dict[str, str]:
        """The words of each masked column's mask."""
        return {column.name: column.mask.words for column in self.columns if column.mask}

    @property
    def in_part(self) -> str:
        """What of it moves, in words; empty where all of it moves as it is."""
        said = [f"only rows that match {self.where}"] if self.where else []
        said += [f"without {', '.join(self.omitted)}"] if self.omitted else []
        return "; ".join([*said, *(f"{name} replaced by {words}" for name, words in self.masked.items())])

    @property
    def in_part_because(self) -> str:
        """The same with the profile's reason, as it is signed."""
        return f"{self.in_part}: {self.reason}" if self.in_part else ""

    @property
    def relation(self) -> str:
        """What follows FROM where its columns are asked for by their names: what moves of it, and as it moves."""
        if not self.in_part:
            return self.sql
        columns = ", ".join(f"{column.sql} AS {identifier(column.name)}" for column in self.columns)
        where = f" WHERE {self.condition}" if self.where else ""
        return f"(SELECT {columns} FROM {self.sql}{where}) AS {identifier(self.name)}"


def condition(where: str) -> str:
    """A condition that stands alone, whatever is in it; empty for none."""
    return f"({where}\n)" if where else ""


def kinds_read(tables: Iterable[Table]) -> set[str]:
    """The kinds of relations (`pg_class.relkind`) that are opened where these tables are read."""
    return {table.kind for table in tables} | {"f" for table in tables for heap in table.heaps if heap.foreign}


@dataclass(frozen=True)
class Catalog:
    """What there is to migrate, and what was left out and why."""

    tables: tuple[Table, ...]
    left_out: dict[str, str] = field(default_factory=dict)


def page_condition(first: int, end: int | None) -> str:
    """The condition of the rows from page `first` to before page `end`; empty for all pages."""
    low = f"ctid >= '({first},0)'" if first else ""
    high = f"ctid < '({end},0)'" if end is not None else ""
    return " AND ".join(filter(None, (low, high)))
