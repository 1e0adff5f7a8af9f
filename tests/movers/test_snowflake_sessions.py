"""A load whose session Snowflake ends, and one whose schema has parameters of its own.

Would catch: texts that are equal in the target and not in the source, a transaction that is taken up in another session as if nothing had happened, a load that begins anew, one that cannot
begin because its own tables are in the way.
"""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import pytest

from helpers import load as loading
from helpers.errors import ConnectionFailed
from helpers.platforms import snowflake
from helpers.platforms.snowflake_parameters import overridden
from helpers.settings import Snowflake


@pytest.mark.parametrize("moment", ["COPY INTO", "INSERT OVERWRITE"])
def test_a_load_goes_on_after_its_session_ended(
    migration: Any, administrator: Snowflake, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    migration.source(*(f"CREATE TABLE t{n} AS SELECT i AS id FROM generate_series(1, 5) i" for n in range(4)))
    manifest, target = migration.export(), migration.settings.snowflake.model_copy(update={"parallel": 2})
    assert administrator.password
    password, seen = administrator.password.get_secret_value(), [0]
    kept = snowflake.Session.execute

    def execute(session: Any, sql: str, *given: Any, **options: Any) -> Any:
        if sql.startswith(moment):
            seen[0] += 1
            if seen[0] == 3:  # two tables are done, or under way
                body = json.dumps({"password": password, "code": "390114", "session": session._connection.session_id})
                url = f"http://{target.connect['host']}:{target.connect['port']}/stand-in/endings"
                urllib.request.urlopen(urllib.request.Request(url, body.encode())).close()
        return kept(session, sql, *given, **options)

    def load() -> list[str]:
        plan = loading.plan_load(manifest, migration.bucket, target)
        return [table.action for table in loading.load(plan, load_id="one-load")]

    monkeypatch.setattr(snowflake.Session, "execute", execute)
    with pytest.raises(ConnectionFailed) as lost:
        load()
    assert lost.value.transient and "the table is as it was before" in lost.value.next_step
    monkeypatch.setattr(snowflake.Session, "execute", kept)
    assert "kept the rows of this load" in load()
    assert migration.verify().verdict == "equal"


def test_a_collation_of_the_schema_is_not_that_of_our_tables(migration: Any) -> None:
    migration.source("CREATE TABLE words (v text); INSERT INTO words VALUES ('abc'), ('ABC')")
    target = migration.settings.snowflake
    schema = snowflake.identifier(target.database, target.schema_)
    migration.load(migration.export())
    migration.target('DROP TABLE "words"', f"ALTER SCHEMA {schema} SET DEFAULT_DDL_COLLATION = 'en-ci'")
    with snowflake.connect(target) as session:
        found = overridden(session.execute, snowflake.identifier, target.database, [target.schema_])
    assert found == [(target.schema_, "en-ci")]
    migration.target('CREATE TABLE "theirs" ("v" VARCHAR)', "INSERT INTO \"theirs\" VALUES ('abc'), ('ABC')")
    migration.load(migration.export())
    ((theirs,),), ((ours,),) = (
        migration.target(f'SELECT COUNT(DISTINCT "v") FROM "{table}"') for table in ("theirs", "words")
    )
    assert (theirs, ours) == (1, 2)
