"""A single wrong cell, however little it differs, is found at its place; and nothing else is.

A corpus of more than 30 types is migrated, together with a second table that holds for each cell a value close to it. The
target is then spoiled by taking cells from the second table, so that every wrong value came through the pipeline too.

Would catch: a digest that a change leaves equal, a comparison that forgives (blanks, case, normal forms, a microsecond, the
last bit of a float, 1 month for 30 days), a segment that is not looked into, a cell that is named at another's place, a
correct migration that is called different.
"""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from typing import Any

import duckdb
import mutation_corpus as corpus
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mutation_corpus import COLUMNS, Corpus

from helpers.model import manifest as manifests
from helpers.platforms import postgres
from helpers.platforms.postgres import identifier
from helpers.settings import Source
from helpers.verify import Options, tables

Place = tuple[int, str]

ROWS, SEGMENTS = 240, 5


@dataclass
class Migrated:
    """The corpus in the source, the stage, Snowflake and another PostgreSQL.

    Attributes:
        texts, others: what PostgreSQL prints for each cell, and for the value that may take its place.
    """

    migration: Any
    manifest: manifests.Manifest
    copy: Source
    texts: dict[Place, str | None]
    others: dict[Place, str | None]

    @property
    def staged(self) -> manifests.StagedTable:
        found = self.manifest.table("public", "things")
        assert found
        return found

    def candidates(self) -> list[Place]:
        """Cells whose other value differs."""
        how = {c.name: c.comparison for c in self.staged.columns}
        return [p for p, text in self.texts.items() if not corpus.same(how[p[1]], text, self.others[p])]


def _fill(source: Source, made: Corpus) -> tuple[dict[Place, str | None], dict[Place, str | None]]:
    with closing(postgres.connect(source, settings={"search_path": "public"})) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        for statement in corpus.MADE:
            cursor.execute(statement)
        for table, rows in (("things", made.rows), ("others", made.others)):
            cursor.execute(f"CREATE TABLE {table} (id integer PRIMARY KEY, {corpus.definitions()})")
            cursor.copy_expert(f"COPY {table} FROM STDIN", io.StringIO(corpus.copy_text(rows)))
        return _printed(cursor, "things"), _printed(cursor, "others")


def _printed(cursor: Any, table: str) -> dict[Place, str | None]:
    shown = ", ".join(f"{'abbrev(%s)' if c.definition == 'inet' else '%s::text'}" % identifier(c.name) for c in COLUMNS)
    cursor.execute(f"SELECT id, {shown} FROM {table}")
    return {(n, name): text for n, *row in cursor.fetchall() for name, text in zip(corpus.names(), row, strict=True)}


def _migrate(migration: Any, count: int) -> Migrated:
    made = Corpus.drawn(1, count)
    texts, others = _fill(migration.settings.source, made)
    name = f"{migration.settings.source.dbname}_copy"
    migration.source(f"CREATE DATABASE {name}")
    copy = migration.settings.source.model_copy(update={"dbname": name})
    _fill(copy, made)
    return Migrated(migration, migration.migrate(), copy, texts, others)


@pytest.fixture(scope="module")
def migrated(fresh_migration: Callable[..., AbstractContextManager[Any]]) -> Iterator[Migrated]:
    with fresh_migration() as migration:
        found = _migrate(migration, ROWS)
        yield found
        migration.drop(found.copy.dbname)


@pytest.fixture(autouse=True)
def undiagnosed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Why values differ is not asked here but once: that takes most of a comparison's time, and `test_diagnosis` asks it."""
    if "a_cell_in_every_row" not in request.node.name or request.node.callspec.params["way"] != "snowflake":
        monkeypatch.setattr(tables, "diagnose", lambda *_, **__: ({}, {}))


def _by_column(places: list[Place]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for n, name in places:
        found.setdefault(name, []).append(n)
    return found


def spoil_snowflake(migrated: Migrated, places: list[Place]) -> Callable[[], None]:
    """Puts the other value into each of these cells; what it returns undoes that."""
    for name, rows in _by_column(places).items():
        quoted = identifier(name)
        migrated.migration.target(
            f'UPDATE "things" SET {quoted} = o.{quoted} FROM "others" o WHERE "things"."id" = o."id" AND o."id" IN ({", ".join(map(str, rows))})'
        )
    return lambda: migrated.migration.target('DELETE FROM "things"', 'INSERT INTO "things" SELECT * FROM "sound"')


def spoil_copy(migrated: Migrated, places: list[Place]) -> Callable[[], None]:
    def run(*statements: str) -> None:
        with closing(postgres.connect(migrated.copy, settings={"search_path": "public"})) as connection:
            connection.autocommit = True
            for statement in statements:
                connection.cursor().execute(statement)

    run(
        "CREATE TABLE sound AS TABLE things",
        *(
            f"UPDATE things SET {identifier(name)} = o.{identifier(name)} FROM others o WHERE things.id = o.id AND o.id IN ({', '.join(map(str, rows))})"
            for name, rows in _by_column(places).items()
        ),
    )
    return lambda: run("TRUNCATE things", "INSERT INTO things TABLE sound", "DROP TABLE sound")


def spoil_stage(migrated: Migrated, places: list[Place]) -> Callable[[], None]:
    bucket = migrated.migration.bucket
    fields = {c.name: c.field for c in migrated.staged.columns}
    others = migrated.manifest.table("public", "others")
    assert others
    kept = {file.path: bucket.read(file.path) for file in migrated.staged.files}
    with duckdb.connect() as engine:
        engine.register(
            "others", pa.concat_tables(pq.read_table(io.BytesIO(bucket.read(file.path))) for file in others.files)
        )
        chosen = {name: ", ".join(map(str, rows)) for name, rows in _by_column(places).items()}
        selected = ", ".join(
            f"if(t.id IN ({chosen[c.name]}), o.{identifier(c.field)}, t.{identifier(c.field)}) AS {identifier(c.field)}"
            if c.name in chosen
            else f"t.{identifier(fields[c.name])}"
            for c in migrated.staged.columns
        )
        for path, content in kept.items():
            engine.register("things", pq.read_table(io.BytesIO(content)))
            changed = engine.execute(f"SELECT {selected} FROM things t JOIN others o USING (id)").to_arrow_table()
            out = io.BytesIO()
            pq.write_table(changed, out)
            bucket.write(path, out.getvalue())
    return lambda: [bucket.write(path, content) for path, content in kept.items()]  # type: ignore[return-value]


Way = tuple[str, dict[str, Any], Callable[[Migrated, list[Place]], Callable[[], None]]]

WAYS: dict[str, Way] = {
    "snowflake": ("snowflake", {}, spoil_snowflake),
    "snowflake, inside PostgreSQL": ("snowflake", {"options": Options(witness=True)}, spoil_snowflake),
    "snowflake, from the manifest": ("snowflake", {"source_name": "manifest"}, spoil_snowflake),
    "stage": ("stage", {}, spoil_stage),
    "stage, inside PostgreSQL": ("stage", {"options": Options(witness=True)}, spoil_stage),
    "postgresql": ("postgresql", {}, spoil_copy),
    "postgresql, inside PostgreSQL": ("postgresql", {"options": Options(witness=True)}, spoil_copy),
}


def verified(migrated: Migrated, way: str) -> Any:
    target, options, _ = WAYS[way]
    more = {"target_source": migrated.copy} if target == "postgresql" else {}
    (table,) = migrated.migration.verify(target, tables=("things",), **options, **more).tables
    return table


def check(migrated: Migrated, way: str, places: list[Place]) -> Any:
    """Spoils these cells, expects them and no others, and mends them again."""
    migrated.migration.target('CREATE TABLE IF NOT EXISTS "sound" AS SELECT * FROM "things"')
    mend = WAYS[way][2](migrated, places)
    try:
        table = verified(migrated, way)
    finally:
        mend()
    how = {c.name: c.comparison for c in migrated.staged.columns}
    found = {(int(key["id"]), name): (source, target) for key, name, source, target in _every_cell(table)}
    assert found.keys() == set(places)
    for place, (source, target) in found.items():
        # The source's own text, but for what only the manifest tells, and the target's as PostgreSQL prints the value.
        assert corpus.same(how[place[1]], source, migrated.texts[place]), (place, source)
        assert corpus.same(how[place[1]], target, migrated.others[place]), (place, target)
    rows = len({n for n, _ in places})
    assert (table.verdict, table.missing, table.extra, table.changed, table.changed_since) == (
        "different",
        0,
        0,
        rows,
        0,
    )
    assert sum(table.changed_cells.values()) == len(places)
    return table


def _every_cell(table: Any) -> list[tuple[dict[str, str], str, str | None, str | None]]:
    rows = pq.read_table(table.cells_file).to_pylist()
    return [(json.loads(row["key"]), row["column"], row["source"], row["target"]) for row in rows]


@pytest.mark.parametrize("way", WAYS)
def test_the_corpus_correctly_migrated_is_equal_by_its_digest_alone(migrated: Migrated, way: str) -> None:
    assert len({column.definition for column in COLUMNS}) > 40
    table = verified(migrated, way)
    assert (table.verdict, table.fetched, table.rows_source, table.rows_target) == ("equal", 0, ROWS, ROWS), (
        table.method
    )


@pytest.mark.parametrize("way", WAYS)
def test_a_cell_in_every_row_is_found_at_its_place(migrated: Migrated, way: str) -> None:
    draw = random.Random(way)
    by_row: dict[int, list[Place]] = {}
    for place in migrated.candidates():
        by_row.setdefault(place[0], []).append(place)
    # One cell a row, each column as often as the others.
    turn = {name: n for n, name in enumerate(corpus.names())}
    places = [
        min(row, key=lambda place: ((turn[place[1]] - n) % len(COLUMNS), draw.random()))
        for n, row in sorted(by_row.items())
    ]
    assert {name for _, name in places} == set(corpus.names())
    check(migrated, way, places)


@pytest.mark.parametrize("way", WAYS)
def test_few_cells_are_found_without_reading_the_rest(migrated: Migrated, way: str) -> None:
    draw = random.Random(f"few {way}")
    places = draw.sample([place for place in migrated.candidates() if place[0] % SEGMENTS in (0, SEGMENTS - 1)], 3)
    table = check(migrated, way, places)
    assert table.fetched <= 2 * 2 * ROWS // SEGMENTS


def test_every_cell_of_a_row_is_found(migrated: Migrated) -> None:
    places = [place for place in migrated.candidates() if place[0] % 4 == 0]
    assert len(places) > 0.9 * ROWS / 4 * len(COLUMNS)
    check(migrated, "snowflake", places)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ten_thousand_cells_are_found_one_by_one(fresh_migration: Callable[..., AbstractContextManager[Any]]) -> None:
    """At most one cell in a segment, so that each has to change a digest of its own."""
    with fresh_migration() as migration:
        migrated = _migrate(migration, 20_000)
        segments = 499
        draw = random.Random(5)
        waiting = migrated.candidates()
        draw.shuffle(waiting)
        done: dict[str, int] = {}
        ways = list(WAYS)
        while sum(done.values()) < 10_000:
            way = ways[len(done) % len(ways)] if len(done) < len(ways) else min(ways, key=lambda name: done[name])
            taken: dict[int, Place] = {}
            for place in waiting[:600]:
                taken.setdefault(place[0] % segments, place)
            places = list(taken.values())[:240]
            waiting = [place for place in waiting if place not in set(places)] if len(waiting) < 1000 else waiting[600:]
            table = check(migrated, way, places)
            assert table.fetched <= len(places) * 2 * 82
            done[way] = done.get(way, 0) + len(places)
        for way in WAYS:
            assert verified(migrated, way).verdict == "equal"
        migration.drop(migrated.copy.dbname)
