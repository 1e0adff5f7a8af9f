"""The role of docs/rights.md suffices, and with any one right less the doctor names that one, with the statement that cures it.

Would catch: a script that lacks a right which a phase needs; a right that the doctor does not ask for; a cure that does not cure,
is not quoted, or grants something else; two findings for one missing right.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from datetime import date
from pathlib import Path
from typing import Any

import library_support
import pytest
import rights_support
from pydantic import SecretStr

from helpers import doctor, export, verify
from helpers.doctor import Examined
from helpers.finding import Finding
from helpers.phases.p00_assessment.assessment import Assessment
from helpers.platforms import postgres
from helpers.platforms.faults.postgres import written
from helpers.settings import Cutover, Export, Resolved, Settings, SyncOptions, Tables
from helpers.settings.backup import Backup, ExistingBackup, RestoreServer

PASSWORD = "OfTheLibrary-1"
ROLE, OWNER, APPLICATION = (f'library "{what}" {os.getpid()}' for what in ("reader", "owner", "app"))
"""Names that have to be quoted."""


class Library:
    """The library's database, and the role of the page, which starts with what its script grants."""

    def __init__(self, migration: Any, password: str) -> None:
        self.migration = migration
        self._superuser = migration.settings.source.model_copy(
            update={"user": "postgres", "password": SecretStr(password)}
        )
        source = migration.settings.source.model_copy(update={"user": ROLE, "password": SecretStr(PASSWORD)})
        values = migration.settings.values.model_copy(
            update={
                "source": source,
                "tables": Tables(exclude={"loans.import_*": "scratch", "catalogue.event": "its name clashes"}),
                "export": Export(policies={"loans.reservation.wanted_until": "null+flag"}),
            }
        )
        self.settings = Settings("library", migration.settings.file, values)

    def run(self, *statements: str) -> None:
        """As a superuser."""
        with closing(postgres.connect(self._superuser, settings={"search_path": "public"})) as connection:
            connection.autocommit = True
            for statement in statements:
                connection.cursor().execute(statement)

    def written(self, statement: str) -> str:
        """A statement of the page with the names of the test."""
        names = {
            "migration": ROLE, "library_owner": OWNER, "tables_owner": APPLICATION, "library": str(self.settings.source.dbname)
        }  # fmt: skip
        return re.sub(
            r"\b(library_owner|tables_owner|migration|library)\b",
            lambda found: written(names[found[0]]),
            statement.replace("choose one", PASSWORD),
        )

    def examined(self, only: str = "source") -> tuple[Examined, ...]:
        return doctor.examine(self.settings, (only,))

    def with_cutover(self) -> Settings:
        return Settings(
            "library",
            self.settings.file,
            self.settings.values.model_copy(update={"cutover": Cutover(patience_seconds=1)}),
        )


def wrong(found: tuple[Examined, ...]) -> list[tuple[str, str]]:
    return [(each.finding.on, each.finding.fix) for each in found if each.verdict == "wrong"]


def built(fresh: Callable[..., AbstractContextManager[Any]], password: str) -> Iterator[Library]:
    with fresh() as migration:
        library_support.build(migration.settings.source)
        found = Library(migration, password)
        database, schemas = written(found.settings.source.dbname), ("catalogue", "loans", "members")
        found.run(
            f"CREATE ROLE {written(OWNER)} NOLOGIN",
            f"CREATE ROLE {written(APPLICATION)} NOLOGIN",
            f"REVOKE ALL ON DATABASE {database} FROM PUBLIC",
            "REFRESH MATERIALIZED VIEW catalogue.popular",
            "ALTER TABLE members.person ENABLE ROW LEVEL SECURITY",
            *map(found.written, rights_support.statements("source")),
        )
        owner = found.migration.settings.source.user
        found.run(f"ALTER DATABASE {database} OWNER TO {written(OWNER)}")
        try:
            yield found
        finally:
            found.run(f"ALTER DATABASE {database} OWNER TO {owner}", f"DROP OWNED BY {written(ROLE)}")
            for role in (ROLE, APPLICATION, OWNER):
                found.run(f"DROP OWNED BY {written(role)}", f"DROP ROLE {written(role)}")
            found.run(
                f"GRANT CONNECT, TEMPORARY ON DATABASE {database} TO PUBLIC",
                f"DROP SCHEMA {', '.join(schemas)} CASCADE",
            )


@pytest.fixture(scope="module")
def library(fresh_migration: Callable[..., AbstractContextManager[Any]], superuser_password: str) -> Iterator[Library]:
    yield from built(fresh_migration, superuser_password)


GRANTS = [each for each in rights_support.statements("source") if not each.startswith("CREATE")]
OF_THE_CUTOVER = rights_support.statements("cutover")


def right_of(grant: str) -> str:
    """How the doctor calls what a statement of the page grants."""
    return grant.rpartition(" ")[2] if grant.startswith("ALTER") else grant.split()[1]


def test_the_role_of_the_page_suffices(
    library: Library, migration_toml: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert wrong(library.examined("*")) == []
    with export.planned(library.settings) as plan:
        assert plan.snapshot.exact and len(plan.state.tables) == 13
        export.export(plan)
    with verify.planned(library.settings, target="stage") as comparison:
        assert verify.verify(comparison).verdict == "equal"
    monkeypatch.chdir(migration_toml(library.migration.profile).parent)
    phase = Assessment("local", "A", apply=True)
    phase.settings = library.settings
    for check in (
        phase.check_usage, phase.check_volume, phase.check_integrations, phase.check_security, phase.check_aws, phase.check_network,
    ):  # fmt: skip
        check()


@pytest.mark.slow
def test_the_role_of_the_page_suffices_for_the_backups_proof(
    library: Library, migration_toml: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(migration_toml(library.migration.profile).parent)
    phase = Assessment("local", "A", apply=True)
    phase.settings = library.settings
    assert not phase.check_backup().rehearsed


@pytest.mark.parametrize("grant", GRANTS, ids=lambda grant: grant[:48])
def test_with_one_right_less_the_doctor_names_that_one(library: Library, grant: str) -> None:
    library.run(library.written(rights_support.taken_back(grant)))
    try:
        (found,) = wrong(library.examined())
        assert found[0] == right_of(grant)
        library.run(found[1])
        assert wrong(library.examined()) == []
    finally:
        library.run(library.written(grant))


def test_the_cutover_asks_for_more_and_names_each(library: Library) -> None:
    settings = library.with_cutover()

    def lacking() -> list[tuple[str, str]]:
        return wrong(doctor.examine(settings, ("source",)))

    assert [right for right, _ in lacking()] == [
        "cutover ownership of the database", "cutover pg_signal_backend", "cutover INSERT, UPDATE, DELETE", "cutover UPDATE",
    ]  # fmt: skip
    library.run(*map(library.written, OF_THE_CUTOVER))
    try:
        assert lacking() == []
        for grant in OF_THE_CUTOVER:
            library.run(library.written(rights_support.taken_back(grant)))
            ((_, cure),) = lacking()
            library.run(cure)
            assert lacking() == []
    finally:
        library.run(*(library.written(rights_support.taken_back(each)) for each in OF_THE_CUTOVER))
        library.run(
            f"REVOKE INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA catalogue, loans, members FROM {written(ROLE)}"
        )


FOLLOWED = ("catalogue.title", "loans.loan", "members.person")


def test_following_asks_for_more_and_names_each(library: Library) -> None:
    def lacking(options: SyncOptions | None) -> list[tuple[str, str]]:
        tables = library.settings.values.tables.model_copy(update={"include": FOLLOWED})
        update = {"tables": tables} | ({"sync": options} if options else {})
        values = library.settings.values.model_copy(update=update)
        return wrong(doctor.examine(Settings("library", library.settings.file, values), ("source",)))

    owners = dict.fromkeys(FOLLOWED, library.migration.settings.source.user)
    library.run(*(f"ALTER TABLE {table} OWNER TO {written(APPLICATION)}" for table in FOLLOWED))
    grants = rights_support.statements("sync")
    try:
        assert lacking(None) == []
        assert [right for right, _ in lacking(SyncOptions())] == ["CREATE", "ownership of tables"]
        library.run(*map(library.written, grants))
        assert lacking(SyncOptions()) == []
        for grant in grants:
            library.run(library.written(rights_support.taken_back(grant)))
            ((_, cure),) = lacking(SyncOptions())
            library.run(cure)
            assert lacking(SyncOptions()) == []
        library.run(*(library.written(rights_support.taken_back(each)) for each in grants))
        ((right, cure),) = lacking(SyncOptions(publication="of the owner"))
        assert right == "publication"
        library.run(cure)
        assert lacking(SyncOptions(publication="of the owner")) == []
        library.run(f"ALTER ROLE {written(ROLE)} NOREPLICATION")
        ((right, cure),) = lacking(SyncOptions(publication="of the owner"))
        assert right == "REPLICATION"
        library.run(cure)
    finally:
        library.run(
            'DROP PUBLICATION IF EXISTS "of the owner"',
            *(f"ALTER TABLE {table} OWNER TO {written(owner)}" for table, owner in owners.items()),
            *(library.written(rights_support.taken_back(each)) for each in grants),
            f"ALTER ROLE {written(ROLE)} REPLICATION",
        )


def test_the_role_that_restores_may_make_a_database(library: Library) -> None:
    def found(elsewhere: bool = False) -> dict[str, Finding]:
        source = library.settings.source
        server = RestoreServer(
            host=source.host, port=source.port, dbname=source.dbname, user=ROLE, password=Resolved(PASSWORD)
        )
        existing = ExistingBackup(what="pgBackRest", link="https://wiki.example.com/b", restored_on=date(2026, 11, 1))
        own = Backup(existing=existing) if elsewhere else Backup(restore=server)
        settings = Settings(
            "library", library.settings.file, library.settings.values.model_copy(update={"backup": own})
        )
        return {each.finding.on: each.finding for each in doctor.examine(settings, ("source",))}

    assert found()["backup CREATEDB"].fix == f"ALTER ROLE {written(ROLE)} CREATEDB"
    library.run(f"REVOKE SELECT ON loans.import_2019 FROM {written(ROLE)}")
    try:
        told = found(elsewhere=True)
        assert "exists elsewhere" in told["backup"].what and "SELECT" not in told
        library.run(found()["backup CREATEDB"].fix)
        assert "backup CREATEDB" not in found()
    finally:
        library.run(f"GRANT SELECT ON loans.import_2019 TO {written(ROLE)}", f"ALTER ROLE {written(ROLE)} NOCREATEDB")


def test_the_application_that_the_freeze_is_tried_as_is_asked_about(library: Library) -> None:
    def found(application: str) -> Finding:
        values = library.settings.values.model_copy(update={"cutover": Cutover(application=application)})
        settings = Settings("library", library.settings.file, values)
        (only,) = doctor.examine(settings, ("source.cutover application",))
        return only.finding

    assert found("nobody at all").what == "there is no role nobody at all"
    refused = found(APPLICATION)
    assert refused.fix == f"GRANT {written(APPLICATION)} TO {written(ROLE)}"
    library.run(refused.fix)
    assert (found(APPLICATION).severity, "no table" in found(APPLICATION).what) == ("stop", True)
    library.run(
        f"GRANT USAGE ON SCHEMA loans TO {written(APPLICATION)}",
        f"GRANT SELECT, DELETE ON loans.fine TO {written(APPLICATION)}",
    )
    assert "loans.fine" in found(APPLICATION).what and found(APPLICATION).severity == "note"
    library.run(f"REVOKE {written(APPLICATION)} FROM {written(ROLE)}")


def test_everything_that_is_missing_is_named_at_once_and_cured_by_what_is_printed(library: Library) -> None:
    taken = [library.written(rights_support.taken_back(each)) for each in GRANTS if "CONNECT" not in each]
    library.run(*taken)
    try:
        found = wrong(library.examined())
        assert sorted(right for right, _ in found) == sorted(right_of(each) for each in GRANTS if "CONNECT" not in each)
        library.run(*(cure for _, cure in found))
        assert wrong(library.examined()) == []
    finally:
        library.run(*map(library.written, GRANTS))


def test_of_what_does_not_move_a_right_is_asked_for_the_backup_alone(library: Library) -> None:
    library.run(f"REVOKE SELECT ON loans.import_2019 FROM {written(ROLE)}")
    try:
        (found,) = [each.finding for each in library.examined() if each.verdict == "wrong"]
        assert (found.on, found.fix) == ("SELECT", f"GRANT SELECT ON loans.import_2019 TO {written(ROLE)}")
        assert "backup" in found.needed
    finally:
        library.run(f"GRANT SELECT ON loans.import_2019 TO {written(ROLE)}")


@pytest.mark.slow
def test_the_same_on_postgresql_15(
    fresh_migration_15: Callable[..., AbstractContextManager[Any]], superuser_password: str
) -> None:
    for library in built(fresh_migration_15, superuser_password):
        for grant in GRANTS:
            library.run(library.written(rights_support.taken_back(grant)))
            (found,) = wrong(library.examined())
            assert found[0] == right_of(grant)
            library.run(found[1])
            assert wrong(library.examined()) == []
