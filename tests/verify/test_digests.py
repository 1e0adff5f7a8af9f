"""A digest changes when any value does, and with nothing else.

Would catch: the pairs of values that DuckDB's own hash calls equal, a sum in which two changes cancel out, a digest that
depends on the order of rows or on how files are cut, a stored digest that was tampered with and is believed, one of another
engine that is compared.
"""

from __future__ import annotations

import io
import itertools
import json
import random
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from property_support import examples

from helpers import digests
from helpers.digests import ENGINES, Method, StageChanged, Sums
from helpers.errors import StageError
from helpers.model import manifest as manifests
from helpers.model.manifest import StagedColumn
from helpers.platforms import duck
from helpers.platforms.postgres import identifier
from helpers.source import readers
from helpers.verify import Options

METHODS: tuple[Method, ...] = ("native", "canonical")


@pytest.fixture(scope="module")
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    with duck.connect() as connection:
        yield connection


def column(name: str, parquet: str) -> StagedColumn:
    return StagedColumn(
        name=name, field=name, source=name, postgres="", parquet=parquet, snowflake="", comparison="text", delta="", read="{c}",
        text="{c}::text", not_null=False, comment=None, encoding="exact", note="", policy=None, touched=0,
    )  # fmt: skip


def digest(
    engine: duckdb.DuckDBPyConnection, method: Method, types: list[str], rows: list[tuple[Any, ...]], segments: int = 1
) -> Sums:
    """Of a table c0, c1 … without a key; texts are cast to the types."""
    columns = [column(f"c{n}", parquet) for n, parquet in enumerate(types)]
    engine.execute(f"CREATE OR REPLACE TABLE rows ({', '.join(f'{c.name} {c.parquet}' for c in columns)})")
    if rows:
        engine.executemany(f"INSERT INTO rows VALUES ({', '.join('?' for _ in types)})", [list(row) for row in rows])
    query = digests.stage_query(method, columns, (), segments, "rows")
    return digests.gathered(ENGINES[method], segments, [engine.execute(query).to_arrow_table()])


def halves(upper: int, lower: int) -> int:
    """The number that DuckDB keeps in these two halves."""
    return (upper << 64) + lower


def unscaled(number: int, places: int) -> str:
    """The decimal that DuckDB keeps as this number."""
    digits = str(abs(number)).rjust(places + 1, "0")
    point = len(digits) - places
    return f"{'-' if number < 0 else ''}{digits[:point]}.{digits[point:]}".rstrip(".")


COLLIDING = {
    "zero and minus one": (0, -1),
    "halves exchanged": (halves(5, 7), halves(7, 5)),
    "halves exchanged that are one double": (halves(2**60, 2**60 + 1), halves(2**60 + 1, 2**60)),
    "equal halves": (halves(3, 3), halves(11, 11)),
    "equal halves that are one double": (halves(2**58, 2**58), halves(2**58 + 1, 2**58 + 1)),
}


@pytest.mark.parametrize("name", COLLIDING)
@pytest.mark.parametrize("places", [0, 2, 37])
def test_decimals_that_duckdbs_hash_calls_equal_have_different_digests(
    engine: duckdb.DuckDBPyConnection, name: str, places: int
) -> None:
    kind = f"DECIMAL(38,{places})"
    one, other = (unscaled(value, places) for value in COLLIDING[name])
    ((same,),) = engine.execute(f"SELECT hash(?::{kind}) = hash(?::{kind})", [one, other]).fetchall()
    assert same, "DuckDB's hash has changed: what covers its weakness may no longer be needed"
    assert digest(engine, "native", [kind], [(one,)]).total != digest(engine, "native", [kind], [(other,)]).total


WIDE = st.one_of(
    st.integers(-(10**38) + 1, 10**38 - 1),
    st.builds(lambda k, j: halves(k, j), st.integers(-5, 5), st.integers(0, 5)),
    st.builds(lambda k, j: halves(k, k + j), st.integers(0, 2**62), st.integers(0, 2)),
    st.sampled_from([10**38 - 1, -(10**38) + 1, 0, 1, -1, 2**64, -(2**64), 2**127 // 10]),
)


@examples(150)
@given(st.lists(WIDE, min_size=2, max_size=60, unique=True), st.sampled_from([0, 2, 10]))
def test_different_decimals_have_different_hashes_and_none_overflows(
    engine: duckdb.DuckDBPyConnection, numbers: list[int], places: int
) -> None:
    engine.execute(f"CREATE OR REPLACE TABLE wide (c0 DECIMAL(38,{places}))")
    engine.executemany("INSERT INTO wide VALUES (?)", [[unscaled(n, places)] for n in numbers])
    hashed = digests._native_hash([column("c0", f"DECIMAL(38,{places})")])
    ((count,),) = engine.execute(f"SELECT count(DISTINCT {hashed}) FROM wide").fetchall()
    assert count == len(numbers)


def test_null_is_not_the_number_that_has_its_hash(engine: duckdb.DuckDBPyConnection) -> None:
    ((of_null,),) = engine.execute("SELECT hash(NULL::BIGINT)").fetchall()
    number = _with_hash(of_null)
    ((same,),) = engine.execute("SELECT hash(?::BIGINT) = hash(NULL::BIGINT)", [number]).fetchall()
    assert same, "DuckDB's hash has changed"
    for one, other in (
        [(number,), (None,)],
        [(1, number), (1, None)],
        [(number, 1), (None, 1)],
        [(number, None), (None, number)],
    ):
        types = ["BIGINT"] * len(one)
        assert digest(engine, "native", types, [one]).total != digest(engine, "native", types, [other]).total


def _with_hash(wanted: int) -> int:
    """The whole number with this hash: MurmurHash's mixing of 64 bits, which is DuckDB's for integers, undone."""
    inverse = pow(0xD6E8FEB86659FD93, -1, 2**64)
    x = wanted
    for _ in range(2):
        x ^= x >> 32
        x = x * inverse % 2**64
    x ^= x >> 32
    return x - 2**64 if x >= 2**63 else x


def test_values_of_the_last_column_that_change_places_do_not_cancel_out(engine: duckdb.DuckDBPyConnection) -> None:
    """Two rows are looked for whose plain hashes have the same sum before and after."""
    a1, a2, b1, b2 = _cancelling(engine)
    before, after = [(a1, b1), (a2, b2)], [(a1, b2), (a2, b1)]
    sums = [
        engine.execute(
            "SELECT sum(hash(a::BIGINT, b::BIGINT)) FROM (VALUES (?, ?), (?, ?)) t (a, b)", [*rows[0], *rows[1]]
        ).fetchall()
        for rows in (before, after)
    ]
    assert sums[0] == sums[1], "DuckDB's combination of hashes has changed"
    types = ["BIGINT", "BIGINT"]
    assert digest(engine, "native", types, before).total != digest(engine, "native", types, after).total


def _cancelling(engine: duckdb.DuckDBPyConnection) -> tuple[int, int, int, int]:
    """hash(a, b) is a number of a, XOR the hash of b: where b's hashes differ, the two a's must have equal bits."""
    hashes = engine.execute(
        "SELECT hash(n::BIGINT) AS b, hash(n::BIGINT, 0::BIGINT) AS a FROM range(4000) t (n)"
    ).fetchnumpy()
    ofb, ofa = hashes["b"].astype(np.uint64), hashes["a"].astype(np.uint64)
    best = (65, 0, 0)
    for one in range(1500):
        apart = ofb[one] ^ ofb[one + 1 :]
        counts = np.array([int(x).bit_count() for x in apart]) if len(apart) else np.array([65])
        at = int(np.argmin(counts))
        best = min(best, (int(counts[at]), one, one + 1 + at))
        if best[0] <= 11:
            break
    _, b1, b2 = best
    mask = ofb[b1] ^ ofb[b2]
    seen: dict[int, int] = {}
    for n, value in enumerate(ofa & mask):
        if int(value) in seen:
            return seen[int(value)], n, b1, b2
        seen[int(value)] = n
    raise AssertionError("no such rows among these")


TYPES = ["BIGINT", "DECIMAL(38,10)", "DECIMAL(12,2)", "DOUBLE", "VARCHAR", "BLOB", "TIMESTAMP", "BOOLEAN", "DATE"]


def a_row(n: int) -> tuple[Any, ...]:
    return (
        n * 7, f"{n}.{n:010d}", f"{n % 1000}.{n % 100:02d}", n * 0.1, f"text {n}", f"\\x{n % 256:02x}", f"2024-01-01 00:00:{n % 60:02d}.{n:06d}",
        n % 2 == 0, f"2024-01-{n % 28 + 1:02d}",
    )  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
def test_any_one_cell_changes_the_digest(engine: duckdb.DuckDBPyConnection, method: Method) -> None:
    rows = [a_row(n) for n in range(40)]
    seen = {digest(engine, method, TYPES, rows).total}
    draw = random.Random(7)
    for place in range(len(TYPES)):
        for value in (None, a_row(draw.randrange(100, 200))[place]):
            n = draw.randrange(40)
            if value == rows[n][place]:
                continue
            changed = [(*row[:place], value, *row[place + 1 :]) if i == n else row for i, row in enumerate(rows)]
            total = digest(engine, method, TYPES, changed).total
            assert total not in seen, (TYPES[place], value)
            seen.add(total)
    for fewer in (rows[1:], [*rows, rows[0]], []):
        total = digest(engine, method, TYPES, fewer).total
        assert total not in seen
        seen.add(total)


@pytest.mark.parametrize("method", METHODS)
def test_numbers_are_compared_by_value_and_floats_without_the_sign_of_zero(
    engine: duckdb.DuckDBPyConnection, method: Method
) -> None:
    for kind in ("DOUBLE", "FLOAT"):
        assert digest(engine, method, [kind], [(0.0,)]).total == digest(engine, method, [kind], [(-0.0,)]).total
        ((one, other),) = engine.execute("SELECT 'nan'::DOUBLE, '-nan'::DOUBLE").fetchall()
        assert digest(engine, method, [kind], [(one,)]).total == digest(engine, method, [kind], [(other,)]).total
        assert digest(engine, method, [kind], [(one,)]).total != digest(engine, method, [kind], [(None,)]).total
    assert (
        digest(engine, method, ["DECIMAL(12,2)"], [("1.1",)]).total
        == digest(engine, method, ["DECIMAL(12,2)"], [("1.10",)]).total
    )


@pytest.mark.parametrize("method", METHODS)
def test_order_does_not_matter_and_duplicates_count(engine: duckdb.DuckDBPyConnection, method: Method) -> None:
    rows = [a_row(n // 2) for n in range(60)]
    kept = digest(engine, method, TYPES, rows, segments=7 if method == "canonical" else 1)
    random.Random(3).shuffle(rows)
    assert digest(engine, method, TYPES, rows, kept.segments).fingerprint == kept.fingerprint
    assert digest(engine, method, TYPES, [*rows, rows[0], rows[0]], kept.segments).total != kept.total
    assert kept.rows == 60


@pytest.mark.parametrize("method", METHODS)
def test_the_cut_of_a_table_into_files_and_ranges_does_not_matter(
    migration: Any, monkeypatch: pytest.MonkeyPatch, method: Method
) -> None:
    migration.source(
        "CREATE TABLE t (id int PRIMARY KEY, n numeric(30,4), v text)",
        "INSERT INTO t SELECT i, i / 7.0, md5(i::text) FROM generate_series(1, 6000) i",
    )
    found = []
    for size in (512 * 1024 * 1024, 64 * 1024, 24 * 1024):
        monkeypatch.setattr(readers, "BYTES_PER_RANGE", size)
        (staged,) = migration.export().tables
        paths = [file.path for file in staged.files]
        sums = digests.sum_files(migration.bucket, paths, staged.columns, staged.key, staged.rows, method)
        found.append((len(paths), sums.fingerprint))
    assert len({count for count, _ in found}) == 3
    assert len({fingerprint for _, fingerprint in found}) == 1


def sums_of(entries: list[tuple[int, int, int]], segments: int = 11, engine: str = "e") -> Sums:
    columns = list(zip(*entries, strict=True)) or [(), (), ()]
    kinds = (pa.uint32(), pa.uint64(), pa.uint64())
    table = pa.table([pa.array(c, k) for c, k in zip(columns, kinds, strict=True)], names=["segment", "n", "total"])
    return Sums(engine, segments, table)


def test_sums_of_parts_add_up_whatever_type_an_engine_gives_them() -> None:
    totals = [-(2**70) - 3, 2**64 + 5, 7, -1]
    by_type = {
        pa.decimal128(38, 0): [Decimal(total) for total in totals],
        pa.decimal128(38, 2): [Decimal(total) for total in totals],
        pa.string(): [str(total) for total in totals],
        pa.int64(): [total % 2**64 - 2**64 if total % 2**64 >= 2**63 else total % 2**64 for total in totals],
        pa.uint64(): [total % 2**64 for total in totals],
    }
    for kind, values in by_type.items():
        part = pa.table({"segment": [2, 0, 2, 4], "n": [1, 2, 3, 4], "total": pa.array(values, kind)})
        parts = [part.slice(3), pa.concat_tables([part.slice(1, 2), part.slice(0, 1)]), part.slice(0, 0)]
        found = digests.gathered("e", 5, parts).table
        expected = {"segment": [0, 2, 4], "n": [2, 4, 4], "total": [5, 4, 2**64 - 1]}
        assert (found.schema, found.to_pydict()) == (digests.SCHEMA, expected), kind


def test_which_segments_differ_and_by_how_many_rows() -> None:
    ours = sums_of([(0, 2, 5), (1, 1, 2**64 - 1), (3, 4, 9), (7, 1, 1)])
    theirs = sums_of([(0, 2, 5), (1, 1, 2**64 - 2), (4, 3, 9), (7, 3, 1)])
    assert ours.differing(theirs) == [1, 3, 4, 7]
    assert ours.surplus(theirs) == (4, 5, 1)
    assert ours.differing(ours) == []
    assert sums_of([]).differing(ours) == [0, 1, 3, 7]
    with pytest.raises(AssertionError):
        ours.differing(sums_of([], engine="another"))
    with pytest.raises(AssertionError):
        ours.differing(sums_of([], segments=12))


def _exported(migration: Any) -> manifests.StagedTable:
    migration.source(
        "CREATE TABLE t (id int PRIMARY KEY, v text)", "INSERT INTO t SELECT i, 'v' || i FROM generate_series(1, 400) i"
    )
    migration.migrate()
    (staged,) = manifests.read(migration.bucket).tables
    return staged


def test_a_digest_that_was_kept_is_read_back_and_used(migration: Any) -> None:
    staged = _exported(migration)
    assert staged.digest
    assert digests.read(migration.bucket, staged.digest).rows == 400
    assert not migration.bucket.sizes(f"{manifests.home(staged)}/{digests.CANONICAL}")
    assert migration.verify(source_name="manifest").equal
    assert migration.bucket.sizes(f"{manifests.home(staged)}/{digests.CANONICAL}")
    # The files are not looked at again: they may be gone.
    migration.bucket.remove([file.path for file in staged.files])
    assert migration.verify(source_name="manifest").equal


def _tampered(content: bytes) -> Iterator[tuple[str, bytes | None]]:
    table = pq.read_table(io.BytesIO(content))
    rows = table.to_pylist()

    def written(changed: list[dict[str, Any]], schema: pa.Schema = table.schema) -> bytes:
        out = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(changed, schema), out)
        return out.getvalue()

    yield "a sum one higher", written([{**rows[0], "total": rows[0]["total"] ^ 1}, *rows[1:]])
    yield "a row less", written([{**rows[0], "n": rows[0]["n"] - 1}, *rows[1:]])
    yield "a segment gone", written(rows[1:])
    first, second = rows[0], rows[1]
    yield (
        "sums exchanged",
        written([{**first, "total": second["total"]}, {**second, "total": first["total"]}, *rows[2:]]),
    )
    yield "no Parquet", b"nothing"
    yield "cut off", content[: len(content) // 2]
    yield (
        "another column",
        written([{**r, "m": r["n"]} for r in rows], pa.schema([("segment", pa.uint32()), ("m", pa.uint64())])),
    )
    texts = pa.schema([("segment", pa.string()), ("n", pa.string()), ("total", pa.string())])
    yield "texts", written([{k: str(v) for k, v in r.items()} for r in rows], texts)
    yield "gone", None


@pytest.mark.parametrize("method", METHODS)
def test_a_tampered_digest_is_refused(migration: Any, method: Method) -> None:
    staged = _exported(migration)
    target = "stage" if method == "native" else "snowflake"
    assert migration.verify(target, source_name="manifest").equal
    path = f"{manifests.home(staged)}/{digests.NATIVE if method == 'native' else digests.CANONICAL}"
    content = migration.bucket.read(path)
    for what, changed in _tampered(content):
        migration.bucket.remove([path]) if changed is None else migration.bucket.write(path, changed)
        with pytest.raises(StageChanged) as refused:
            migration.verify(target, source_name="manifest")
        assert refused.value.exit_code == 2, what
    migration.bucket.write(path, content)
    assert migration.verify(target, source_name="manifest").equal


@pytest.mark.parametrize("content", [b"", b"{}", b"not json", b'{"engine": 1}'])
def test_a_damaged_entry_of_the_canonical_digest_is_refused(migration: Any, content: bytes) -> None:
    staged = _exported(migration)
    assert migration.verify(source_name="manifest").equal
    migration.bucket.write(f"{manifests.home(staged)}/{digests.CANONICAL_ENTRY}", content)
    with pytest.raises(StageChanged):
        migration.verify(source_name="manifest")


def test_a_digest_of_another_engine_is_not_compared(migration: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    staged = _exported(migration)
    assert migration.verify(source_name="manifest").equal
    for method, target in (("native", "stage"), ("canonical", "snowflake")):
        monkeypatch.setitem(ENGINES, method, f"{ENGINES[method]} of tomorrow")
        # What is kept would not be equal; it is computed anew from the files, which are what was exported.
        assert migration.verify(target, source_name="manifest").equal
        monkeypatch.undo()
    content = json.loads(migration.bucket.read(manifests.NAME))
    content["tables"][0]["digest"]["engine"] = "duckdb 0.1 hash, form 0"
    migration.bucket.write(manifests.NAME, json.dumps(content).encode())
    digest_path = f"{manifests.home(staged)}/{digests.NATIVE}"
    migration.bucket.write(digest_path, b"of another version, and never read")
    assert migration.verify("stage", source_name="manifest").equal


def test_a_bit_that_flips_in_a_staged_file_is_found(migration: Any) -> None:
    staged = _exported(migration)
    (file,) = staged.files
    content = migration.bucket.read(file.path)
    draw = random.Random(11)
    for at in sorted(draw.sample(range(len(content)), 25)):
        flipped = bytearray(content)
        flipped[at] ^= 1 << draw.randrange(8)
        migration.bucket.write(file.path, bytes(flipped))
        assert digests.damaged_file(migration.bucket, staged) == file.path
        for method in METHODS:
            try:
                sums = digests.sum_files(migration.bucket, [file.path], staged.columns, staged.key, staged.rows, method)
            except StageError:
                continue
            kept = digests.read(migration.bucket, staged.digest) if method == "native" else None
            # A bit that no value depends on, such as one of the name of the program that wrote the file.
            if kept and sums.fingerprint == kept.fingerprint:
                assert _values(bytes(flipped)) == _values(content)
    migration.bucket.write(file.path, content)
    assert digests.damaged_file(migration.bucket, staged) == ""


def _values(content: bytes) -> list[dict[str, Any]]:
    return list(pq.read_table(io.BytesIO(content)).to_pylist())


def _rewrite(migration: Any, staged: manifests.StagedTable, change: Any) -> None:
    for file in staged.files:
        table = pq.read_table(io.BytesIO(migration.bucket.read(file.path)))
        out = io.BytesIO()
        pq.write_table(change(table), out)
        migration.bucket.write(file.path, out.getvalue())


def _spoiled(table: pa.Table) -> pa.Table:
    values = table.column("v").to_pylist()
    values[3] = "spoiled"
    return table.set_column(table.column_names.index("v"), "v", pa.array(values))


@pytest.mark.parametrize("key", [True, False])
def test_a_changed_stage_never_stands_for_the_source(migration: Any, key: bool) -> None:
    """The target was loaded from the changed files, so the two of them agree."""
    migration.source(
        f"CREATE TABLE t (id int{' PRIMARY KEY' if key else ''}, v text)",
        "INSERT INTO t SELECT i, 'v' || i FROM generate_series(1, 400) i",
    )
    manifest = migration.export()
    (staged,) = manifest.tables
    _rewrite(migration, staged, _spoiled)
    migration.load(manifest)
    with pytest.raises(StageChanged):
        migration.verify(source_name="manifest")
    (table,) = migration.verify("stage", source_name="manifest").tables
    assert table.verdict == "different"
    assert (table.missing, table.extra, table.changed) == ((0, 0, 1) if key else (1, 1, 0))
    assert "cannot be shown" in table.method
    # Nor does it turn the damage into a change that the source saw since the export.
    for target in ("snowflake", "stage"):
        (table,) = migration.verify(target).tables
        assert (table.verdict, table.changed_since) == ("different", 0)
        assert (table.missing, table.extra, table.changed) == ((0, 0, 1) if key else (1, 1, 0))
        assert {(c.source, c.target) for c in table.cells if c.column == "v"} >= (
            {("v4", "spoiled")} if key else {("v4", None), (None, "spoiled")}
        )


def test_a_stage_that_is_gone_is_an_error_where_it_is_needed_and_no_difference_elsewhere(migration: Any) -> None:
    staged = _exported(migration)
    migration.bucket.remove([file.path for file in staged.files])
    for options in ({"source_name": "manifest"}, {}):
        with pytest.raises(StageError):
            migration.verify("stage", **options)
    assert migration.verify().equal
    migration.target('UPDATE "t" SET "v" = \'x\' WHERE "id" = 5')
    (table,) = migration.verify().tables
    assert (table.changed, table.changed_since) == (1, 0)


def test_names_that_the_queries_use_themselves_are_only_names(migration: Any) -> None:
    names = [
        "segment",
        "h",
        "n",
        "total",
        "form",
        "side",
        "v0",
        "c1",
        "c0",
        "{rows}",
        "{c}",
        "q",
        "source",
        'a"b',
        "select",
        "%s",
    ]
    columns = ", ".join(f"{identifier(name)} int" for name in names)
    values = ", ".join(f"i * {n + 1}" for n in range(len(names)))
    migration.source(
        f'CREATE TABLE "rows" ({columns}, PRIMARY KEY ("c0", "segment"))',
        f'INSERT INTO "rows" SELECT {values} FROM generate_series(1, 200) i',
    )  # fmt: skip
    migration.migrate()
    ways: list[dict[str, Any]] = [
        {}, {"target": "stage"}, {"options": Options(witness=True)}, {"source_name": "manifest"},
    ]  # fmt: skip
    for way in ways:
        (table,) = migration.verify(**way).tables
        assert (table.verdict, table.fetched) == ("equal", 0), way
    for n, name in enumerate(names):
        if name not in ("c0", "segment"):
            migration.target(f'UPDATE "rows" SET {identifier(name)} = -1 WHERE "c0" = {9 * (n + 1)}')
    expected = {name: 0 if name in ("c0", "segment") else 1 for name in names}
    for way in (ways[0], ways[2], ways[3]):
        (table,) = migration.verify(**way).tables
        assert (table.missing, table.extra, table.changed) == (0, 0, len(names) - 2)
        assert table.changed_cells == expected
        found = {(c.key["c0"], c.column) for c in table.cells if c.key}
        assert found == {(str(9 * (n + 1)), name) for n, name in enumerate(names) if expected[name]}


def test_every_pair_of_rows_that_differ_somewhere_has_two_hashes(engine: duckdb.DuckDBPyConnection) -> None:
    """All rows of three small columns, NULLs and equal values in each: 343 rows, no two of which may share a hash."""
    values = [None, "0", "1", "-1", "2", "18446744073709551615", "18446744073709551616"]
    types = ["DECIMAL(38,0)", "DECIMAL(38,0)", "VARCHAR"]
    columns = [column(f"c{n}", kind) for n, kind in enumerate(types)]
    engine.execute("CREATE OR REPLACE TABLE rows (c0 DECIMAL(38,0), c1 DECIMAL(38,0), c2 VARCHAR)")
    rows = list(itertools.product(values, repeat=3))
    engine.executemany("INSERT INTO rows VALUES (?, ?, ?)", [list(row) for row in rows])
    ((count,),) = engine.execute(f"SELECT count(DISTINCT {digests._native_hash(columns)}) FROM rows").fetchall()
    assert count == len(rows)
