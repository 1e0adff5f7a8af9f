"""Digests of a table's rows by segment: computed over the stage or the source, kept beside the staged files.

There are two. The *canonical* digest is the same in every engine (`helpers.digests.canonical`) and costs an MD5 a row. The
*native* one is DuckDB's own hash of the staged values, five to ten times cheaper, for two sides that DuckDB both reads.

DuckDB's `hash` alone is no proof (measured, 1.5.5): NULL has the hash of one whole number; a 128-bit decimal has the hash of
its halves exchanged, so that 0 and −0.01 collide; and in a sum, two values of the last column that change places
cancel out once in 80 million times. So the row's hash also takes which values are NULL, each wide decimal as a double and
its neighbour, and is hashed once more before it is summed.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from helpers.digests.canonical import FormColumn, kind_of, segments_for
from helpers.digests.canonical import duckdb as canonical_duckdb
from helpers.errors import StageError
from helpers.model import manifest as manifests
from helpers.model.catalog import Table
from helpers.model.manifest import Digest, StagedColumn
from helpers.model.types import DOES_NOT_FIT
from helpers.platforms import duck
from helpers.platforms.faults import duck as faults
from helpers.platforms.postgres import identifier, literal
from helpers.platforms.s3 import Bucket
from helpers.source.readers import Range, Readers, ranges

Method = Literal["native", "canonical"]

ENGINES: dict[Method, str] = {
    "native": f"duckdb {duckdb.__version__} hash, form 3",
    "canonical": "md5, form 1",
}
"""A stored digest is only compared with one of the same engine; another version may hash differently."""

NATIVE, CANONICAL, CANONICAL_ENTRY = "digest-native.parquet", "digest-canonical.parquet", "digest-canonical.json"
OBJECTS = (NATIVE, CANONICAL, CANONICAL_ENTRY)
"""Names of what lies beside a table's files."""

SCHEMA = pa.schema([("segment", pa.uint32()), ("n", pa.uint64()), ("total", pa.uint64())])

DIALECT = canonical_duckdb.DIALECT
NULLS_PER_MASK = 60
DIGITS_PARSED_QUICKLY = 18
"""DuckDB keeps a decimal of so many digits in 64 bits; measured in benchmarks/export.py."""


class StageChanged(StageError):  # noqa: N818 - reads as what happened
    """The staged files are not what the export wrote, so they say nothing of what the source held."""


class Unfit(duckdb.ConversionException):
    """A value has no place in the type that it would be staged as."""


@dataclass(frozen=True, eq=False)
class Sums:
    """One table's digest.

    Attributes:
        segments: how many there could be; `table` has those that are not empty.
        table: of `SCHEMA`: segment, rows and sum, in the order of the segments.
    """

    engine: str
    segments: int
    table: pa.Table

    @property
    def rows(self) -> int:
        """Rows of all segments."""
        return int(np.sum(self._column("n"), dtype=np.uint64))

    @property
    def total(self) -> str:
        """The sum over all segments modulo 2⁶⁴, in 16 hexadecimal digits."""
        return f"{int(np.sum(self._column('total'), dtype=np.uint64)):016x}"

    @property
    def fingerprint(self) -> str:
        """SHA-256 of every segment's number, rows and sum."""
        digest = sha256(f"{self.engine} {self.segments}".encode())
        for name in ("segment", "n", "total"):
            digest.update(np.ascontiguousarray(self._column(name)).astype("<u8").tobytes())
        return digest.hexdigest()

    def differing(self, other: Sums) -> list[int]:
        """The segments whose rows or sums differ; both must have been put into as many segments."""
        assert self.segments == other.segments and self.engine == other.engine
        rows, sums = (self._dense(name) != other._dense(name) for name in ("n", "total"))
        return [int(segment) for segment in np.nonzero(rows | sums)[0]]

    def surplus(self, other: Sums) -> tuple[int, int, int]:
        """Rows that one side has more of, counted by segment, and the segments that differ in as many rows.

        Returns:
            This side's surplus, the other's, and the segments that have as many rows on both and another sum: in each of
            them at least one row differs.
        """
        mine, others = self._dense("n").astype(np.int64), other._dense("n").astype(np.int64)
        same = (mine == others) & (self._dense("total") != other._dense("total"))
        return int(np.sum(np.maximum(mine - others, 0))), int(np.sum(np.maximum(others - mine, 0))), int(np.sum(same))

    def _column(self, name: str) -> np.ndarray:
        return np.asarray(self.table.column(name).to_numpy())

    def _dense(self, name: str) -> np.ndarray:
        """A value for every segment, 0 for those without rows."""
        values = np.zeros(self.segments, dtype=np.uint64)
        values[self._column("segment")] = self._column(name)
        return values


def gathered(engine: str, segments: int, parts: Iterable[pa.Table]) -> Sums:
    """One digest of parts that were summed apart.

    Args:
        parts: tables of `segment`, `n` and `total`, the last as a number or a text of any size and sign.
    """
    rows, sums = np.zeros(segments, dtype=np.uint64), np.zeros(segments, dtype=np.uint64)
    for part in parts:
        segment = part.column("segment").to_numpy().astype(np.int64)
        np.add.at(rows, segment, _modulo_two64(part.column("n")))
        np.add.at(sums, segment, _modulo_two64(part.column("total")))
    (filled,) = np.nonzero(rows)
    return Sums(engine, segments, pa.table([filled, rows[filled], sums[filled]], schema=SCHEMA))


def _modulo_two64(column: pa.ChunkedArray) -> np.ndarray:
    """Whole numbers of any type, or their texts, modulo 2⁶⁴; numpy adds them up modulo 2⁶⁴ too."""
    if pa.types.is_integer(column.type):
        return np.asarray(column.to_numpy()).astype(np.uint64)
    if pa.types.is_decimal128(column.type) and column.type.scale == 0:
        array = pa.concat_arrays(column.chunks or [pa.array([], column.type)])
        words = np.frombuffer(array.buffers()[1] or b"", dtype="<u8")  # two a value, the lower one first
        return words[2 * array.offset : 2 * (array.offset + len(array)) : 2]
    return np.array([int(value) % 2**64 for value in column.to_pylist()], dtype=np.uint64)


def segments_of(rows: int, key: Sequence[str], method: Method) -> int:
    """How many segments a table of so many rows is put into.

    The native hash of a row without a key is in one: no other engine could select a segment of them.
    """
    return 1 if method == "native" and not key else segments_for(rows)


def stage_query(
    method: Method, columns: Sequence[StagedColumn], key: Sequence[str], segments: int, rows: str, where: str = ""
) -> str:
    """DuckDB's query for a digest of staged values; `rows` has a column for each of `columns`, named as its field."""
    forms = {c.name: form_column(c) for c in columns}
    keys = [forms[name] for name in key if name in forms]
    if method == "canonical":
        return DIALECT.digest_query(list(forms.values()), keys, segments, rows, where)
    segment = DIALECT.segment(list(forms.values()), keys, segments)
    condition = f" WHERE {where}" if where else ""
    return (
        "SELECT segment, count(*) AS n, sum(h) AS total FROM "
        f"(SELECT {segment} AS segment, {_native_hash(columns)} AS h FROM {rows}{condition}) GROUP BY segment"
    )


def form_column(column: StagedColumn) -> FormColumn:
    """A staged column as DuckDB reads it."""
    return FormColumn(identifier(column.field), *kind_of(column.parquet))


def _native_hash(columns: Sequence[StagedColumn]) -> str:
    names = [identifier(column.field) for column in columns]
    taken = list(names)
    for name, column in zip(names, columns, strict=True):
        kind, digits, places = kind_of(column.parquet)
        if kind == "decimal" and digits > DIGITS_PARSED_QUICKLY:
            # The double tells numbers that are far apart, its neighbour those that are near; towards 0, it never overflows.
            unit = f"CAST('{_unit(places)}' AS DECIMAL({digits},{places}))"
            taken += [f"CAST({name} AS DOUBLE)", f"if({name} > 0, {name} - {unit}, {name} + {unit})"]
    for start in range(0, len(names), NULLS_PER_MASK):
        bits = (f"({name} IS NULL)::BIGINT * {1 << n}" for n, name in enumerate(names[start : start + NULLS_PER_MASK]))
        taken.append(" + ".join(bits))
    return f"hash(hash({', '.join(taken)}))"


def files_of(bucket: Bucket, paths: Iterable[str]) -> str:
    """What follows FROM for these staged files."""
    urls = ", ".join(literal(f"s3://{bucket.location.bucket}/{bucket.location.key(path)}") for path in paths)
    return f"read_parquet([{urls}])"


def sum_files(
    bucket: Bucket, paths: Sequence[str], columns: Sequence[StagedColumn], key: Sequence[str], rows: int, method: Method
) -> Sums:
    """Reads a table's files back from the stage and sums up their rows.

    What is hashed is what the bucket holds, not what this process believes to have sent.

    Raises:
        StageError: a file is gone or damaged.
    """
    segments = segments_of(rows, key, method)
    with duck.connect() as connection:
        duck.enable_s3(connection, bucket.stage)
        query = stage_query(method, columns, key, segments, files_of(bucket, paths))
        try:
            table = connection.execute(query).to_arrow_table()
        except duckdb.Error as error:
            where = f"{bucket.location}{paths[0] if paths else ''}"
            cure = "a file is gone or damaged: export again"
            raise faults.told(error, "read the staged files", on=where, cure=cure) from None
    return gathered(ENGINES[method], segments, [table])


def sum_source(
    readers: Readers,
    table: Table,
    columns: Sequence[StagedColumn],
    key: Sequence[str],
    segments: int,
    method: Method,
    *,
    where: str = "",
) -> Sums:
    """The digest that an export of `table` would have, over the source's stream, by all readers.

    Args:
        readers: in the snapshot.
        segments: as the digest that it will be compared with has.
        where: a condition in PostgreSQL's SQL.

    Raises:
        Unfit: a value does not fit the staged type.
        duckdb.Error: the server broke off.
    """

    def work(connection: duckdb.DuckDBPyConnection, part: Range) -> pa.Table:
        query = f"{select(columns)} FROM {part.rows(where)}"
        stream = f"postgres_query('source', {literal(query)})"
        if method == "native":
            sql = stage_query(method, columns, key, segments, f"(SELECT {casts(columns)} FROM {stream})")
        else:
            forms = {c.name: _streamed(n, c) for n, c in enumerate(columns)}
            keys = [forms[name] for name in key]
            sql = DIALECT.digest_query(list(forms.values()), keys, segments, stream)
        try:
            return connection.execute(sql).to_arrow_table()
        except duckdb.Error as error:
            raise unfit(error) or error from None

    return gathered(ENGINES[method], segments, readers.map(work, ranges(table, readers.workers)))


def unfit(error: duckdb.Error) -> Unfit | None:
    """The same, if it is a value's fault and not the server's."""
    text = str(error).splitlines()[0] if str(error) else ""
    if DOES_NOT_FIT in str(error):
        _, _, value = str(error).partition(DOES_NOT_FIT)
        return Unfit(f"a value {DOES_NOT_FIT}{value.splitlines()[0][:100]}")
    of_values = (duckdb.ConversionException, duckdb.InvalidInputException, duckdb.OutOfRangeException)
    return Unfit(text) if isinstance(error, of_values) else None


def _streamed(number: int, column: StagedColumn) -> FormColumn:
    """A column as it comes from the source: decimals are the text of their digits already."""
    kind, digits, places = kind_of(column.parquet)
    return FormColumn(f"c{number}", "verbatim" if kind == "decimal" else kind, digits, places)


def select(columns: Sequence[StagedColumn]) -> str:
    """The export's SELECT list: c0, c1 … as PostgreSQL sends them."""
    return "SELECT " + ", ".join(f"{c.read.format(c=identifier(c.source))} AS c{n}" for n, c in enumerate(columns))


def casts(columns: Sequence[StagedColumn]) -> str:
    """From c0, c1 … to the staged types, under the names of the staged fields."""
    return ", ".join(f"{cast(f'c{n}', c.parquet)} AS {identifier(c.field)}" for n, c in enumerate(columns))


def cast(text: str, parquet: str) -> str:
    """From what PostgreSQL sent to the staged type.

    DuckDB parses a decimal of more than 18 digits a hundred times more slowly than an integer, so such a number is read
    as one and scaled; a text without exactly the type's places is an error, never a rounded value.
    """
    _, digits, places = kind_of(parquet)
    if digits <= DIGITS_PARSED_QUICKLY or not places:
        return f"CAST({text} AS {parquet})"
    unit = f"CAST('{_unit(places)}' AS DECIMAL({places},{places}))"
    scaled = f"CAST(CAST(CAST(replace({text}, '.', '') AS HUGEINT) AS DECIMAL(38,0)) * {unit} AS {parquet})"
    return (
        f"CASE WHEN {text} IS NULL THEN NULL WHEN strpos({text}, '.') = length({text}) - {places} THEN {scaled} "
        f"ELSE CAST(error('not a number of {places} places: ' || {text}) AS {parquet}) END"
    )


def _unit(places: int) -> str:
    """The smallest number above 0 of so many places."""
    return f"0.{'1'.rjust(places, '0')}" if places else "1"


def write(bucket: Bucket, path: str, sums: Sums) -> Digest:
    """Keeps a digest as a Parquet object; returns the manifest's entry for it."""
    content = io.BytesIO()
    pq.write_table(sums.table, content, compression="zstd")
    bucket.write(path, content.getvalue())
    return Digest(
        engine=sums.engine,
        segments=sums.segments,
        rows=sums.rows,
        total=sums.total,
        fingerprint=sums.fingerprint,
        path=path,
    )


def read(bucket: Bucket, digest: Digest) -> Sums:
    """A digest that was kept.

    Raises:
        StageChanged: it is gone, or is not what the manifest says.
    """
    content = bucket.read(digest.path)
    why = "it is not there"
    if content is not None:
        try:
            sums = Sums(digest.engine, digest.segments, pq.read_table(io.BytesIO(content)))
            if sums.table.schema.equals(SCHEMA) and sums.fingerprint == digest.fingerprint:
                return sums
            why = "its sums are not those that the manifest names"
        except (pa.ArrowException, OSError) as error:
            why = str(error)
    raise _changed(bucket, digest.path, "read the stored digest", why)


def canonical_of_stage(bucket: Bucket, staged: manifests.StagedTable) -> Sums:
    """The canonical digest of a staged table: kept from an earlier time, or computed and kept now.

    Raises:
        StageChanged: what is kept is damaged, or there is none and the files are not those that the manifest names.
    """
    path = f"{manifests.home(staged)}/{CANONICAL_ENTRY}"
    content = bucket.read(path)
    if content is not None:
        try:
            kept = Digest.model_validate_json(content)
        except ValidationError as error:
            raise _changed(bucket, path, "read the stored digest", str(error)) from None
        if kept.engine == ENGINES["canonical"]:
            return read(bucket, kept)
    if damaged := damaged_file(bucket, staged):
        raise _changed(
            bucket, damaged, "take the staged rows for the source's", "its bytes are not those that the manifest names"
        )
    paths = [file.path for file in staged.files]
    sums = sum_files(bucket, paths, staged.columns, staged.key, staged.rows, "canonical")
    kept = write(bucket, f"{manifests.home(staged)}/{CANONICAL}", sums)
    bucket.write(path, kept.model_dump_json().encode())
    return sums


def damaged_file(bucket: Bucket, staged: manifests.StagedTable) -> str:
    """The path of a staged file that is not what the export wrote, or empty."""
    return next((f.path for f in staged.files if bucket.sha256(f.path) != (f.bytes, f.sha256)), "")


def _changed(bucket: Bucket, path: str, what: str, why: str) -> StageChanged:
    return StageChanged(
        what, on=f"{bucket.location}{path}", why=why, next_step="somebody changed the stage: export again"
    )
