"""What the source holds that cannot move: the cure is one that helps, and a comment keeps back nothing but itself.

Would catch: a policy advised against what no policy touches, and an invalid byte in one comment, name or label that blocks
every table.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from helpers import export as exporting
from helpers.assessment import hybrid, integrations, inventory, security
from helpers.errors import SourceRefused
from helpers.model.catalog import PgType
from helpers.model.limits import BY_POLICY, Server, limits
from helpers.settings import Tables
from helpers.source import survey


@pytest.fixture
def ascii_only(fresh_migration: Any) -> Iterator[Any]:
    with fresh_migration("ENCODING 'SQL_ASCII' LOCALE_PROVIDER libc LOCALE 'C' TEMPLATE template0") as found:
        yield found


def test_a_comment_that_is_no_text_stays_behind_alone(ascii_only: Any) -> None:
    ascii_only.source(
        "CREATE TABLE t (id int PRIMARY KEY, v text)", "CREATE TABLE u (id int)", "INSERT INTO t VALUES (1, 'a')",
        r"COMMENT ON TABLE t IS E'caf\xe9'", r"COMMENT ON COLUMN t.v IS E'na\xefve'", "COMMENT ON COLUMN t.id IS 'the key'",
        r"COMMENT ON TABLE u IS E'caf\xc3\xa9'",
    )  # fmt: skip
    manifest = ascii_only.migrate()
    assert {name: "COMMENT ON" in why for name, why in manifest.left_out.items()} == {
        "the comment on public.t": True, "the comment on public.t.v": True,
    }  # fmt: skip
    t, u = manifest.tables
    assert (t.comment, [c.comment for c in t.columns], u.comment) == (None, ["the key", None], "café")
    assert ascii_only.verify().equal


def test_names_and_labels_that_are_no_text_keep_back_their_own_table_alone(ascii_only: Any) -> None:
    ascii_only.source(
        "CREATE TABLE good (id int PRIMARY KEY)", "INSERT INTO good VALUES (1)",
        r"DO $do$ BEGIN EXECUTE format('CREATE TABLE public.%I (id int)', E'na\xefve'); END $do$",
        r"DO $do$ BEGIN EXECUTE format('CREATE TABLE public.%I (id int)', E'caf\xc3\xa9'); END $do$",
        r"DO $do$ BEGIN EXECUTE format('CREATE TABLE public.odd (%I int)', E'\xe9'); END $do$",
        r"DO $do$ BEGIN EXECUTE format('CREATE SCHEMA %I', E'\xe9'); END $do$",
        r"DO $do$ BEGIN EXECUTE format('CREATE FUNCTION public.%I() RETURNS int LANGUAGE sql AS $$SELECT 1$$', E'\xe9'); END $do$",
        r"CREATE TYPE grade AS ENUM (E'\xe9')", "CREATE TABLE graded (g grade)", r"ALTER TABLE good ADD v text DEFAULT E'\xe9'",
        "UPDATE good SET v = 'a'",
        r"DO $do$ BEGIN EXECUTE format('ALTER TABLE good ADD CONSTRAINT %I CHECK (id > 0)', E'\xe9'); END $do$",
        r"DO $do$ BEGIN EXECUTE format('ALTER TABLE good ADD CONSTRAINT %I UNIQUE (v)', E'\xe8'); END $do$",
        r"DO $do$ BEGIN EXECUTE format('ALTER TABLE good ADD CONSTRAINT %I FOREIGN KEY (id) REFERENCES good', E'\xe7'); END $do$",
        r"DO $do$ BEGIN EXECUTE format('CREATE SEQUENCE %I', E'\xe9'); END $do$",
    )  # fmt: skip
    with pytest.raises(SourceRefused) as told, exporting.planned(ascii_only.settings):
        pass
    assert r"--exclude public.graded --exclude 'public.na\xefve' --exclude public.odd" in told.value.next_step
    with exporting.planned(ascii_only.settings, exclude=("graded", r"na\xefve", "odd")) as plan:
        manifest = exporting.export(plan)
    assert [str(table) for table in manifest.tables] == ["public.café", "public.good"]
    assert r"public.na\xefve" in manifest.left_out
    ascii_only.load(manifest)
    assert ascii_only.verify().equal


def test_an_assessment_shows_names_that_are_no_text(ascii_only: Any) -> None:
    ascii_only.source(
        r"DO $do$ BEGIN EXECUTE format('CREATE TABLE public.%I (%1$I int)', E'na\xefve'); END $do$",
        r"DO $do$ BEGIN EXECUTE format('CREATE TABLE public.%I (id int)', E'caf\xc3\xa9'); END $do$",
        r"DO $do$ BEGIN EXECUTE format('CREATE TYPE public.%I AS ENUM (''a'')', E'\xe9'); END $do$",
        r"DO $do$ BEGIN EXECUTE format('CREATE TABLE public.t (id int, e public.%I)', E'\xe9'); END $do$",
        "GRANT SELECT ON ALL TABLES IN SCHEMA public TO PUBLIC",
    )  # fmt: skip
    source = ascii_only.settings.source
    found = inventory.take(source)
    names = ["public.café", r"public.na\xefve", "public.t"]
    assert sorted(map(str, found.relations)) == names
    assert [each.on for each in inventory.findings(found) if "no text in UTF-8" in each.what] == [r"public.na\xefve"]
    assert sorted(security.look(source).open_relations) == names
    assert (
        sorted(hybrid.split(ascii_only.settings.with_tables(Tables.model_validate({"stay": ["t"]}))).move) == names[:2]
    )
    assert [sorted(each.objects) for each in integrations.find(source).found if each.name == "PUBLIC"] == [names]


def test_a_name_with_a_byte_that_its_encoding_does_not_have(fresh_migration: Any) -> None:
    with fresh_migration("ENCODING 'WIN1252' LOCALE_PROVIDER libc LOCALE 'C' TEMPLATE template0") as migration:
        migration.source(
            r"DO $do$ BEGIN EXECUTE format('CREATE TABLE public.%I (id int)', 'na' || convert_from('\x81', 'WIN1252')); END $do$",
            "CREATE TABLE café (id int)",
        )
        with pytest.raises(SourceRefused) as told, exporting.planned(migration.settings):
            pass
        assert told.value.on == r"public.na\x81"
        stock = survey.census(migration.settings, exclude=(r"na\x81",))
        assert [str(table.table) for table in stock.tables] == ["public.café"]


def test_bytes_without_a_meaning_are_not_answered_with_a_policy(ascii_only: Any) -> None:
    ascii_only.source("CREATE TABLE t (v text)", r"INSERT INTO t VALUES (E'caf\xe9')")
    with exporting.planned(ascii_only.settings) as plan, pytest.raises(SourceRefused) as told:
        exporting.export(plan)
    assert "createdb -E UTF8" in told.value.next_step
    assert BY_POLICY not in told.value.next_step


def test_values_that_a_policy_helps_are_answered_with_one(migration: Any) -> None:
    migration.source("CREATE TABLE t (v numeric)", "INSERT INTO t VALUES ('NaN')")
    with exporting.planned(migration.settings) as plan, pytest.raises(SourceRefused) as told:
        exporting.export(plan)
    assert told.value.next_step == BY_POLICY


@pytest.mark.parametrize("kind", ["text", "bytea", "jsonb", "numeric", "timestamptz", "time"])
def test_each_limit_has_a_cure_that_can_help(kind: str) -> None:
    for as_text in (False, True):
        for limit in limits(PgType(kind, kind), Server("SQL_ASCII"), as_text=as_text):
            assert (limit.cure == BY_POLICY) is (limit.masked or limit.as_text), limit
