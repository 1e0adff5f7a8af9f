"""Every drift of a definition, made for real between two PostgreSQL databases, has one finding of the right name.

Would catch: a drift that hides behind another name or behind the columns that both sides have; a type called wider that
loses a value; a finding where nothing drifted, by another spelling of the same default or type; a verdict that depends on
what the target does not tell.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from property_support import examples

from helpers.engines import shapes
from helpers.engines.shapes import ColumnShape, TableShape
from helpers.engines.snowflake.ddl import SNOWFLAKE
from helpers.model import declared
from helpers.model.catalog import Key
from helpers.model.declared import POSTGRESQL
from helpers.platforms import postgres
from helpers.source.catalog import read_catalog
from helpers.verify.schema import compare_schema, counterparts, not_compared, renames

SOURCE, TARGET = f"schema_source_{os.getpid()}", f"schema_target_{os.getpid()}"

LABELS = "CREATE TYPE mood AS ENUM ('glad', 'sad', 'so, so')"
TABLE = """CREATE TABLE t (
    id integer PRIMARY KEY, code varchar(20) NOT NULL DEFAULT 'new', price numeric(12,2) DEFAULT 0, qty bigint,
    at timestamp(6), seen timestamptz, note text, feeling mood DEFAULT 'glad', ratio double precision, tags integer[],
    day date, flag boolean DEFAULT true, half numeric(6,3) NOT NULL, stamp timestamptz DEFAULT now(), UNIQUE (code, day))"""
COMMENTS = ("COMMENT ON TABLE t IS 'orders'", "COMMENT ON COLUMN t.price IS 'in euros'")

Found = tuple[str, str, str | None]

DRIFTS: list[tuple[str, list[Found]]] = [
    ("", []),
    ("ALTER TABLE t ADD extra int", [("column-added", "error", "extra")]),
    ("ALTER TABLE t DROP note", [("column-missing", "error", "note")]),
    ("ALTER TABLE t RENAME price TO unit_price", [("column-renamed", "error", "price")]),
    ("ALTER TABLE t RENAME note TO z", [("column-renamed", "error", "note")]),
    ('ALTER TABLE t RENAME qty TO "QTY"', [("column-renamed", "error", "qty")]),
    ("ALTER TABLE t RENAME id TO order_id", [("column-renamed", "error", "id")]),
    ("ALTER TABLE t RENAME code TO z; ALTER TABLE t ADD extra int", [("column-renamed", "error", "code"),
                                                                     ("column-added", "error", "extra")]),
    ("ALTER TABLE t DROP note; ALTER TABLE t ADD note text", [("columns-reordered", "warning", None)]),
    ("ALTER TABLE t ALTER code TYPE varchar(10)", [("type-narrowed", "error", "code")]),
    ("ALTER TABLE t ALTER note TYPE varchar(50)", [("type-narrowed", "error", "note")]),
    ("ALTER TABLE t ALTER price TYPE numeric(10,2)", [("type-narrowed", "error", "price")]),
    ("ALTER TABLE t ALTER qty TYPE integer", [("type-narrowed", "error", "qty")]),
    ("ALTER TABLE t ALTER qty TYPE numeric(18,0)", [("type-narrowed", "error", "qty")]),
    ("ALTER TABLE t ALTER tags TYPE smallint[]", [("type-narrowed", "error", "tags")]),
    ("ALTER TABLE t ALTER at TYPE timestamp(3)", [("type-narrowed", "error", "at")]),
    ("ALTER TABLE t ALTER price TYPE numeric(12,1)", [("precision-lost", "error", "price")]),
    ("ALTER TABLE t ALTER price DROP DEFAULT; ALTER TABLE t ALTER price TYPE double precision",
     [("precision-lost", "error", "price")]),
    ("ALTER TABLE t ALTER half TYPE bigint", [("precision-lost", "error", "half")]),
    ("ALTER TABLE t ALTER ratio TYPE real", [("precision-lost", "error", "ratio")]),
    ("ALTER TABLE t ALTER at TYPE date", [("precision-lost", "error", "at")]),
    ("ALTER TABLE t ALTER seen TYPE timestamp", [("type-changed", "error", "seen")]),
    ("ALTER TABLE t ALTER note TYPE jsonb USING note::jsonb", [("type-changed", "error", "note")]),
    ("ALTER TABLE t ALTER code TYPE char(20)", [("type-changed", "error", "code")]),
    ("ALTER TABLE t ALTER tags TYPE text USING tags::text", [("type-changed", "error", "tags")]),
    ("ALTER TABLE t ALTER price TYPE numeric(14,2)", [("type-widened", "warning", "price")]),
    ("ALTER TABLE t ALTER code TYPE text", [("type-widened", "warning", "code")]),
    ("ALTER TABLE t ALTER id TYPE bigint", [("type-widened", "warning", "id")]),
    ("ALTER TYPE mood ADD VALUE 'calm'", [("type-widened", "warning", "feeling")]),
    ("ALTER TYPE mood RENAME VALUE 'sad' TO 'down'", [("type-narrowed", "error", "feeling")]),
    ("CREATE SCHEMA s; ALTER TYPE mood SET SCHEMA s", []),
    ("ALTER TABLE t ALTER half DROP NOT NULL", [("nullability-lost", "error", "half")]),
    ("ALTER TABLE t ALTER note SET NOT NULL", [("nullability-added", "warning", "note")]),
    ("ALTER TABLE t ALTER code SET DEFAULT 'old'", [("default-changed", "warning", "code")]),
    ("ALTER TABLE t ALTER code DROP DEFAULT", [("default-changed", "warning", "code")]),
    ("ALTER TABLE t ALTER note SET DEFAULT ''", [("default-changed", "warning", "note")]),
    ("ALTER TABLE t ALTER feeling SET DEFAULT 'sad'", [("default-changed", "warning", "feeling")]),
    ("ALTER TABLE t ALTER flag SET DEFAULT false", [("default-changed", "warning", "flag")]),
    ("ALTER TABLE t ALTER id ADD GENERATED ALWAYS AS IDENTITY", [("default-changed", "warning", "id")]),
    ("ALTER TABLE t ALTER stamp SET DEFAULT '2024-01-01'", [("default-changed", "warning", "stamp")]),
    ("ALTER TABLE t ALTER price SET DEFAULT 0.00", []),
    ("ALTER TABLE t ALTER note SET DEFAULT NULL", []),
    ("ALTER TABLE t ALTER stamp SET DEFAULT clock_timestamp()", []),
    ("ALTER TABLE t DROP CONSTRAINT t_pkey", [("key-missing", "error", None)]),
    ("ALTER TABLE t DROP CONSTRAINT t_code_day_key", [("key-missing", "error", None)]),
    ("ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (id, code)", [("key-changed", "error", None)]),
    ("ALTER TABLE t DROP CONSTRAINT t_pkey, ADD UNIQUE (id)", [("key-changed", "warning", None)]),
    ("ALTER TABLE t DROP CONSTRAINT t_code_day_key, ADD UNIQUE (day, code)", [("key-changed", "warning", None)]),
    ("ALTER TABLE t ADD UNIQUE (qty)", [("key-added", "warning", None)]),
    ("CREATE UNIQUE INDEX ON t (qty) WHERE flag", []),
    ("COMMENT ON COLUMN t.price IS 'in dollars'", [("comment-changed", "warning", "price")]),
    ("COMMENT ON COLUMN t.note IS 'x'", [("comment-changed", "warning", "note")]),
    ("COMMENT ON TABLE t IS NULL", [("comment-changed", "warning", None)]),
]  # fmt: skip


@pytest.fixture(scope="module")
def databases(local_settings: Any) -> Iterator[tuple[Any, Any]]:
    """Cursors of two databases with the same table; what the second one's transaction does is rolled back."""
    source = local_settings.source
    names = [SOURCE, TARGET]
    with closing(postgres.connect(source, settings={"search_path": "public"})) as server:
        server.autocommit = True
        for name in names:
            postgres.drop_database(server.cursor(), name)
            server.cursor().execute(f"CREATE DATABASE {name}")
        connections = [
            postgres.connect(source.model_copy(update={"dbname": name}), settings={"search_path": "public"})
            for name in names
        ]
        for connection in connections:
            for statement in (LABELS, TABLE, *COMMENTS):
                connection.cursor().execute(statement)
            connection.commit()
        yield connections[0].cursor(), connections[1].cursor()
        for name, connection in zip(names, connections, strict=True):
            connection.close()
            postgres.drop_database(server.cursor(), name)


@pytest.fixture
def cursors(databases: tuple[Any, Any]) -> Iterator[tuple[Any, Any]]:
    yield databases
    for cursor in databases:
        cursor.connection.rollback()


def read(cursor: Any) -> TableShape:
    (table,) = read_catalog(cursor, tables=["public.t"]).tables
    return shapes.source_shape(table)


@pytest.mark.parametrize(("statements", "expected"), DRIFTS, ids=[drift or "nothing" for drift, _ in DRIFTS])
def test_each_drift_is_one_finding(cursors: tuple[Any, Any], statements: str, expected: list[Found]) -> None:
    source, target = cursors
    if statements:
        target.execute(statements)
    findings = compare_schema(read(source), read(target))
    assert [(f.name, f.severity, f.column) for f in findings] == expected
    assert all(f.expected or f.found for f in findings)


def test_a_table_that_is_not_there(cursors: tuple[Any, Any]) -> None:
    (finding,) = compare_schema(read(cursors[0]), None)
    assert (finding.name, finding.severity) == ("table-missing", "error")


def test_a_renamed_column_drifts_like_any_other_and_keeps_its_key(cursors: tuple[Any, Any]) -> None:
    source, target = cursors
    target.execute('ALTER TABLE t RENAME id TO "ID"; ALTER TABLE t ALTER "ID" TYPE smallint')
    findings = compare_schema(read(source), read(target))
    assert [(f.name, f.column) for f in findings] == [("column-renamed", "id"), ("type-narrowed", "id")]
    assert findings[0].found is not None and findings[0].found.startswith("ID (only the case differs")
    assert counterparts(read(source), read(target))["id"] == "ID"


def test_a_mapped_column_is_no_finding_and_is_compared_under_its_new_name(cursors: tuple[Any, Any]) -> None:
    source, target = cursors
    target.execute("ALTER TABLE t RENAME id TO key; ALTER TABLE t RENAME note TO remark")
    mapping = {"id": "key", "note": "remark"}
    assert compare_schema(read(source), read(target), mapping=mapping) == ()
    assert {"id": "key", "note": "remark"}.items() <= counterparts(read(source), read(target), mapping=mapping).items()
    target.execute("ALTER TABLE t DROP remark")
    (finding,) = compare_schema(read(source), read(target), mapping=mapping)
    assert (finding.name, finding.column, finding.expected) == ("column-missing", "note", "text as remark")


def test_the_place_decides_between_columns_of_one_type(cursors: tuple[Any, Any]) -> None:
    source, target = cursors
    for cursor in cursors:
        cursor.execute("ALTER TABLE t ADD first int, ADD second int")
    target.execute("ALTER TABLE t RENAME first TO x; ALTER TABLE t RENAME second TO y")
    assert renames(read(source), read(target)) == {"first": "x", "second": "y"}


def test_what_is_not_told_is_no_finding_but_is_named(cursors: tuple[Any, Any]) -> None:
    source, target = cursors
    target.execute("ALTER TABLE t ALTER stamp SET DEFAULT clock_timestamp()")
    assert not_compared(read(source), read(source)) == ()
    assert not_compared(read(source), read(target)) == ("default of stamp",)
    silent = TableShape(POSTGRESQL, tuple(ColumnShape(c.name, c.type) for c in read(source).columns))
    silent = replace(silent, columns=tuple(replace(c, labels=read(source).columns[n].labels)
                                           for n, c in enumerate(silent.columns)))  # fmt: skip
    assert compare_schema(read(source), silent) == ()
    told = {words.split(" of ")[0] for words in not_compared(read(source), silent)}
    assert told == {"nullability", "default", "comment", "keys"}


def test_a_locked_table_does_not_keep_its_catalog_waiting(cursors: tuple[Any, Any], local_settings: Any) -> None:
    source, target = cursors
    database = local_settings.source.model_copy(update={"dbname": TARGET})
    reader = postgres.connect(database, settings={"search_path": "public", "lock_timeout": "200"})
    with closing(reader), reader.cursor() as cursor:
        target.execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
        assert read(cursor) == read(source)
        target.execute("ALTER TABLE t ADD twice int GENERATED ALWAYS AS (id * 2) STORED")
        target.connection.commit()
        target.execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
        assert [column.default for column in read(cursor).columns] == [None] * 15
        target.connection.rollback()
        assert read(cursor).columns[-1].default == "GENERATED ALWAYS AS ((id * 2)) STORED"
        reader.rollback()
        target.execute("ALTER TABLE t DROP twice")
        target.connection.commit()


def test_a_not_null_that_was_never_checked_is_none(cursors: tuple[Any, Any]) -> None:
    source, target = cursors
    target.execute("ALTER TABLE t ALTER half DROP NOT NULL; INSERT INTO t (id) VALUES (1)")
    target.execute("ALTER TABLE t ADD CONSTRAINT later NOT NULL half NOT VALID, ADD UNIQUE (half)")
    findings = compare_schema(read(source), read(target))
    assert [f.name for f in findings] == ["nullability-lost", "key-added"]


TYPES: dict[str, list[tuple[str, str, str]]] = {
    "postgresql": [
        ("integer", "smallint", "type-narrowed"), ("numeric(12,2)", "numeric(11,2)", "type-narrowed"),
        ("numeric", "numeric(10,0)", "precision-lost"), ("text", "character varying(9)", "type-narrowed"),
        ("timestamp with time zone", "timestamp without time zone", "type-changed"), ("uuid", "text", "type-changed"),
        ("bytea", "text", "type-changed"), ("date", "timestamp without time zone", "type-changed"),
        ("boolean", "integer", "type-changed"), ("bigint", "numeric(19,0)", "type-widened"),
    ],
    "snowflake": [
        ("NUMBER(12,2)", "NUMBER(11,2)", "type-narrowed"), ("NUMBER(12,2)", "NUMBER(12,1)", "precision-lost"),
        ("NUMBER(12,2)", "FLOAT", "precision-lost"), ("TIMESTAMP_NTZ(6)", "TIMESTAMP_NTZ(3)", "type-narrowed"),
        ("TIMESTAMP_LTZ(6)", "TIMESTAMP_LTZ(9)", "type-widened"), ("TIMESTAMP_LTZ(6)", "TIMESTAMP_NTZ(6)", "type-changed"),
        ("TIMESTAMP_LTZ(6)", "TIMESTAMP_TZ(6)", "type-changed"), ("VARCHAR", "VARCHAR(5)", "type-narrowed"),
        ("VARCHAR(5)", "VARCHAR", "type-widened"), ("BINARY", "BINARY(4)", "type-narrowed"),
        ("TIME(6)", "TIME(0)", "type-narrowed"), ("FLOAT", "NUMBER(38,9)", "type-changed"),
        ("VARCHAR", "VARIANT", "type-changed"), ("TIMESTAMP_NTZ(6)", "DATE", "precision-lost"),
    ],
}  # fmt: skip
DDL = {"postgresql": POSTGRESQL, "snowflake": SNOWFLAKE}
SEVERITIES = {"type-widened": "warning"}


@pytest.mark.parametrize("engine", list(TYPES))
def test_types_of_both_engines(engine: str) -> None:
    ddl = DDL[engine]
    for expected, found, name in TYPES[engine]:
        assert declared.change(ddl.read(expected), ddl.read(found)) == name, (expected, found)
        assert declared.change(ddl.read(expected), ddl.read(expected)) is None
    pair = SNOWFLAKE.read("TIMESTAMP_NTZ(6)"), SNOWFLAKE.read("TIMESTAMP_NTZ")
    assert declared.change(*pair) is None
    assert not declared.is_told(*pair)


NAMES = st.lists(
    st.text("abcXYZ 日_", min_size=1, max_size=6), min_size=1, max_size=7, unique_by=lambda name: name.casefold()
)
CONSTANTS = {"postgresql": ["", "nextval('s'::regclass)"], "snowflake": ["", "SEQ.NEXTVAL"]}


@st.composite
def tables(draw: st.DrawFn) -> TableShape:
    engine = draw(st.sampled_from(list(TYPES)))
    columns = [
        ColumnShape(
            name,
            DDL[engine].read(draw(st.sampled_from([expected for expected, _, _ in TYPES[engine]]))),
            draw(st.booleans()),
            draw(st.sampled_from(CONSTANTS[engine])),
            draw(st.sampled_from(["", "said", "it's"])),
        )
        for name in draw(NAMES)
    ]
    named = [column.name for column in columns]
    parts = st.lists(st.sampled_from(named), min_size=1, unique=True).map(tuple)
    keys = draw(st.lists(parts, max_size=2, unique_by=frozenset))
    shaped = tuple(Key(key, primary=n == 0) for n, key in enumerate(keys))
    return TableShape(DDL[engine], tuple(columns), shaped, draw(st.sampled_from(["", "orders"])))


@given(tables())
def test_a_table_is_like_itself(table: TableShape) -> None:
    assert compare_schema(table, table) == ()
    assert not_compared(table, table) == ()
    assert counterparts(table, table) == {column.name: column.name for column in table.columns}


@examples(300)
@given(tables(), st.data())
def test_any_one_edit_is_one_finding(table: TableShape, data: st.DataObject) -> None:
    edits = {
        "column-missing": _without, "column-added": _with_another, "column-renamed": _renamed, "type": _retyped,
        "columns-reordered": _moved, "nullability": _nullable_or_not, "default-changed": _another_default,
        "key-missing": _without_key, "key-added": _with_another_key, "comment-changed": _said_otherwise,
    }  # fmt: skip
    possible = [name for name in edits if (name != "key-missing" or table.keys) and (name != "columns-reordered" or len(table.columns) > 1)]  # fmt: skip
    kind = data.draw(st.sampled_from(possible))
    edited, name = edits[kind](table, data)
    findings = compare_schema(table, edited)
    assert [f.name for f in findings] == [name]


def _place(table: TableShape, data: st.DataObject) -> int:
    return data.draw(st.integers(0, len(table.columns) - 1))


def _set(table: TableShape, place: int, *columns: ColumnShape) -> TableShape:
    return replace(table, columns=(*table.columns[:place], *columns, *table.columns[place + 1 :]))


def _without(table: TableShape, data: st.DataObject) -> tuple[TableShape, str]:
    return _set(table, _place(table, data)), "column-missing"


def _with_another(table: TableShape, data: st.DataObject) -> tuple[TableShape, str]:
    place = _place(table, data)
    return _set(
        table, place, ColumnShape("more", table.ddl.read("other"), False, "", ""), table.columns[place]
    ), "column-added"


def _renamed(table: TableShape, data: st.DataObject) -> tuple[TableShape, str]:
    place = _place(table, data)
    old = table.columns[place]
    new = data.draw(st.sampled_from(["other", f"{old.name}2", old.name.swapcase() + "日", "A" * 70]))
    keys = tuple(Key(tuple(new if c == old.name else c for c in k.columns), k.primary) for k in table.keys or ())
    return replace(_set(table, place, replace(old, name=new)), keys=keys), "column-renamed"


def _retyped(table: TableShape, data: st.DataObject) -> tuple[TableShape, str]:
    place = _place(table, data)
    old = table.columns[place]
    others = [(found, name) for expected, found, name in TYPES[table.ddl.engine] if expected == old.type.text]
    found, name = data.draw(st.sampled_from(others))
    return _set(table, place, replace(old, type=table.ddl.read(found))), name


def _moved(table: TableShape, data: st.DataObject) -> tuple[TableShape, str]:
    moved = data.draw(st.permutations(table.columns).filter(lambda order: tuple(order) != table.columns))
    return replace(table, columns=tuple(moved)), "columns-reordered"


def _nullable_or_not(table: TableShape, data: st.DataObject) -> tuple[TableShape, str]:
    place = _place(table, data)
    old = table.columns[place]
    name = "nullability-lost" if old.not_null else "nullability-added"
    return _set(table, place, replace(old, not_null=not old.not_null)), name


def _another_default(table: TableShape, data: st.DataObject) -> tuple[TableShape, str]:
    place = _place(table, data)
    old = table.columns[place]
    new = "" if old.default else CONSTANTS[table.ddl.engine][1]
    return _set(table, place, replace(old, default=new)), "default-changed"


def _without_key(table: TableShape, data: st.DataObject) -> tuple[TableShape, str]:
    keys = list(table.keys or ())
    keys.remove(data.draw(st.sampled_from(keys)))
    return replace(table, keys=tuple(keys)), "key-missing"


def _with_another_key(table: TableShape, data: st.DataObject) -> tuple[TableShape, str]:
    return replace(table, keys=(*(table.keys or ()), Key(("more",), primary=False))), "key-added"


def _said_otherwise(table: TableShape, data: st.DataObject) -> tuple[TableShape, str]:
    place = _place(table, data)
    if data.draw(st.booleans()):
        return replace(table, comment=f"{table.comment}!"), "comment-changed"
    old = table.columns[place]
    return _set(table, place, replace(old, comment=f"{old.comment}!")), "comment-changed"
