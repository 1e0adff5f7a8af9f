"""docs/source-changes.md is true of a source that is assessed, exported, verified, dumped and archived.

Would catch: an object that is left on the source, a transaction that writes, a slot that stays, a right that reading does not need.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from helpers import doctor
from helpers import export as exporting
from helpers import verify as verifying
from helpers.archive import recovery
from helpers.platforms import postgres
from helpers.settings import Resolved, Settings, Source
from helpers.source import held_snapshots
from tests.movers.test_connections import Server, keys_of
from tests.movers.test_connections import server as server  # the fixture

READER = """
CREATE TABLE visits (id serial PRIMARY KEY, note text, day date);
INSERT INTO visits (note, day) SELECT md5(n::text), date '2026-01-01' + n FROM generate_series(1, 300) n;
CREATE VIEW recent AS SELECT * FROM visits WHERE day > '2026-06-01';
CREATE ROLE only_reads LOGIN REPLICATION PASSWORD 'only-reads-7';
GRANT SELECT ON ALL TABLES IN SCHEMA public TO only_reads;
GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO only_reads;
GRANT pg_monitor TO only_reads;
"""

STATE = """
SELECT pg_snapshot_xmax(pg_current_snapshot())::text, (SELECT count(*) FROM pg_replication_slots), (SELECT count(*) FROM pg_database),
    (SELECT count(*) FROM pg_db_role_setting), (SELECT count(*) FROM pg_class), (SELECT count(*) FROM pg_description)
"""

CHANGES = re.compile(
    r"\b(pg_terminate_backend|pg_create_\w+|pg_drop_\w+|pg_advisory\w*|pg_logical_emit\w*|pg_notify|setval|nextval|lo_\w+|pg_switch_wal)\s*\(",
    re.IGNORECASE,
)
"""Functions that leave something behind, and that read-only transactions may call."""


@pytest.fixture
def logged(server: Server) -> Iterator[Any]:
    """The server as a superuser, who has every statement written down."""
    assert server.source.password
    keys = {
        "host": "localhost",
        "port": server.source.port,
        "dbname": "sales",
        "password": server.source.password.get_secret_value(),
    }
    with closing(psycopg2.connect(user="postgres", **keys)) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute(READER)
        for setting in ("autovacuum = off", "log_replication_commands = on", "log_statement = 'all'"):
            cursor.execute(f"ALTER SYSTEM SET {setting}")
        cursor.execute("SELECT pg_reload_conf(), pg_sleep(0.3)")
        yield cursor


def test_reading_leaves_nothing_behind(server: Server, logged: Any, local_settings: Settings, tmp_path: Path) -> None:
    logged.execute("SET log_statement = 'none'")
    logged.execute(STATE)
    before = logged.fetchall()
    log = next(server.folder.glob("*.log"))
    start = log.stat().st_size
    own = {**keys_of(server.source), "user": "only_reads", "password": Resolved("only-reads-7")}
    settings = local_settings.with_source(Source.model_validate(own))
    location = f"{settings.stage.url}source-unchanged/"
    doctor.examine(settings, ("source",))
    with exporting.planned(settings, location=location) as plan:
        assert plan.snapshot.exact
        exporting.export(plan)
    with verifying.planned(settings, target="stage", location=location, cells_folder=tmp_path) as plan:
        assert verifying.verify(plan).equal
    assert recovery.recover(settings, cells_folder=tmp_path).report.equal
    assert all(each.source != postgres.address(settings.source) for each in held_snapshots.held())
    logged.execute(STATE)
    assert logged.fetchall() == before
    written = log.read_bytes()[start:].decode()
    commands = re.findall(r"received replication command: (.*)", written)
    assert commands and all(re.match(r"CREATE_REPLICATION_SLOT \S+ TEMPORARY|DROP_REPLICATION_SLOT|IDENTIFY_SYSTEM", each) for each in commands), commands  # fmt: skip
    statements = re.findall(r"LOG:  (?:statement|execute [^:]*): ((?:.*)(?:\n\t.*)*)", written)
    assert len(statements) > 100
    assert [each for each in statements if CHANGES.search(each)] == []
