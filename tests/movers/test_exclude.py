"""`--exclude` leaves a table alone: one that cannot be read keeps no other from being moved.

Would catch: an excluded table that is counted, locked or read all the same, a glob with a slip in it that excludes nothing, a
verification that misses what was left behind on purpose, an extra table that passes for an excluded one.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any

import pytest
import typer
from pydantic import SecretStr

from helpers import PROJECT
from helpers import export as exporting
from helpers import load as loading
from helpers.commands.app import app
from helpers.errors import UsageError
from helpers.model import globs
from helpers.platforms import postgres
from helpers.runs import parameters
from helpers.settings import Source
from helpers.source import survey as assess

ASCII = "ENCODING 'SQL_ASCII' LOCALE_PROVIDER libc LOCALE 'C' TEMPLATE template0"


@contextmanager
def _locked(source: Source) -> Iterator[None]:
    """As short as can be: the other worker's snapshots wait for who has locked like that."""
    with closing(postgres.connect(source)) as holder:
        holder.cursor().execute("LOCK TABLE public.locked, public.locked_child IN ACCESS EXCLUSIVE MODE")
        yield


def test_a_table_that_cannot_be_read_blocks_no_other(fresh_migration: Callable[..., Any]) -> None:
    """No right to it, an exclusive lock on it, bytes in it and in its comment that are no text."""
    with fresh_migration(ASCII) as migration:
        where, role = migration.settings.source, f"{migration.settings.source.dbname}_reader"
        migration.source(
            "CREATE TABLE good (id int PRIMARY KEY, v text)", "INSERT INTO good VALUES (1, 'a')",
            "CREATE TABLE secret (id int)", "CREATE TABLE locked_child () INHERITS (good)", "CREATE TABLE locked (id int, twice int GENERATED ALWAYS AS (id * 2) STORED)",
            f"CREATE ROLE {role} LOGIN PASSWORD 'reads-1-table'", f"GRANT SELECT ON good TO {role}",
        )  # fmt: skip
        with closing(postgres.connect(where, settings={"client_encoding": "SQL_ASCII"})) as connection:
            connection.set_client_encoding("SQL_ASCII")
            with connection, connection.cursor() as cursor:
                cursor.execute(b"CREATE TABLE public.bytes (v text); INSERT INTO public.bytes VALUES (E'\\xe9')")
                cursor.execute(
                    b"COMMENT ON TABLE public.bytes IS E'\\xff'; COMMENT ON COLUMN public.bytes.v IS E'\\xff'"
                )
        values = migration.settings.values
        reader = values.source.model_copy(update={"user": role, "password": SecretStr("reads-1-table")})
        own = replace(migration.settings, values=values.model_copy(update={"source": reader}))
        exclude = ("secret", "public.l*", "bytes")
        try:
            with _locked(where):
                assert [str(each.table) for each in assess.census(own, exclude=exclude).tables] == ["public.good"]
            with _locked(where), exporting.planned(own, exclude=exclude) as plan:
                manifest = exporting.export(plan)
            migration.load(manifest)
            migration.settings = own
            # As the export left them out, so does the verification.
            for options in ({}, {"exclude": exclude}, {"source_name": "manifest"}):
                with _locked(where):
                    report = migration.verify(**options)
                assert [(str(t), t.verdict) for t in report.tables] == [("public.good", "equal")]
        finally:
            migration.settings = replace(own, values=values)
            migration.source(f"REVOKE SELECT ON good FROM {role}", f"DROP ROLE {role}")
    assert manifest.excluded == {
        "public.secret": "excluded by --exclude secret", "public.locked": "excluded by --exclude public.l*",
        "public.locked_child": "excluded by --exclude public.l*",
        "public.bytes": "excluded by --exclude bytes",
    }  # fmt: skip
    assert not manifest.complete


def test_a_source_without_tables_is_told_as_that_by_every_target(migration: Any) -> None:
    with exporting.planned(migration.settings) as plan:
        for target in (migration.settings.snowflake, migration.settings.databricks):
            with pytest.raises(UsageError, match="the source has no tables, or none was chosen"):
                loading.plan_load(plan.unwritten, plan.bucket, target)


def test_what_was_excluded_stays_in_the_target_and_everything_else_there_is_told(migration: Any) -> None:
    migration.source("CREATE TABLE a (id int)", "CREATE TABLE b (id int)", "CREATE TABLE c (id int)")
    migration.migrate()
    migration.source("DROP TABLE c")
    with exporting.planned(migration.settings, exclude=("b",)) as plan:
        manifest = exporting.export(plan)
    migration.load(manifest)
    assert migration.target('SELECT COUNT(*) FROM "b"') == [(0,)]
    assert [(t.name, t.differences) for t in migration.verify().tables] == [("a", ""), ("c", "table-added")]
    # Asked for by name, it is compared.
    assert [t.name for t in migration.verify(tables=("b",)).tables] == ["b"]


def test_a_load_leaves_out_what_it_is_told_to(migration: Any) -> None:
    migration.source("CREATE TABLE a (id int)", "CREATE TABLE b (id int)")
    manifest = migration.export()
    plan = loading.plan_load(manifest, migration.bucket, migration.settings.snowflake, exclude=["public.b"])
    assert [table.target.name for table in plan.tables] == ["a"]
    for exclude, said in ((("x*",), r"public\.a, public\.b"), (("*",), "none is left")):
        with pytest.raises(UsageError, match=said):
            loading.plan_load(manifest, migration.bucket, migration.settings.snowflake, exclude=exclude)
        with pytest.raises(UsageError, match=said), exporting.planned(migration.settings, exclude=exclude):
            pass
        for source in ("postgresql", "manifest"):
            with pytest.raises(UsageError, match=said):
                migration.verify(exclude=exclude, source_name=source)
    assert migration.held() == []


def test_every_command_that_chooses_tables_can_leave_some_out() -> None:
    command = typer.main.get_command(app)
    options = {
        name: {option for parameter in each.params for option in parameter.opts}
        for name, each in command.commands.items()  # type: ignore[attr-defined]
    }
    assert {name for name, known in options.items() if "--tables" in known} >= {"export", "verify", "assess"}
    for name, known in options.items():
        if "--tables" in known or name == "load":
            assert "--exclude" in known, name


@pytest.mark.parametrize(
    ("name", "glob", "meant"),
    [
        ("orders", "orders", True), ("orders", "public.orders", True), ("orders", "order", False), ("orders", "o*s", True),
        ("a[1]", "a[1]", True), ("a1", "a[1]", True), ("Orders", "orders", False), ("a.b", "public.a.b", True),
        ("a*b", "a*b", True), ("orders", "*.orders", True), ("orders", "other.*", False),
    ],
)  # fmt: skip
def test_a_glob_means_the_same_everywhere(name: str, glob: str, meant: bool) -> None:
    assert bool(globs.match("public", name, [glob])) == meant


def test_a_run_takes_the_words_that_a_refusal_gives() -> None:
    """Would catch: a cure that works for the command and not for the notebook, where the same refusal is read."""
    tables = ['public.Order\'s "x"', "a.c,d", "0123", r"public.na\xefve", "b: *"]
    words = globs.how_to_exclude(tables)
    command, _, of_a_run = words.partition(" (runbook run: ")
    assert shlex.split(command)[1::2] == tables
    option, given = shlex.split(of_a_run.removesuffix(")"))
    notebook = PROJECT / "runbooks" / "30_data_migration.ipynb"
    assert (option, parameters.resolve(notebook, parameters.from_arguments([given]))["exclude"]) == ("-p", tables)
