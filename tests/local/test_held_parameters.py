"""What a session of a target must be is set and read back: what a profile, a user or a server has otherwise is refused.

Would catch: a time zone, a date format or the folding of names that the account's own setting decides, a stand-in that takes a
parameter and forgets it.
"""

from __future__ import annotations

from contextlib import closing

import pytest

from helpers.errors import SessionRefused
from helpers.platforms import snowflake, spark
from helpers.settings import Settings, Snowflake


def _with(target: Snowflake, **parameters: object) -> Snowflake:
    return target.model_copy(update={"connect": {**target.connect, "session_parameters": parameters}})


def test_every_parameter_is_held(local_settings: Settings) -> None:
    with snowflake.connect(local_settings.snowflake) as session:
        rows = session.execute("SHOW PARAMETERS IN SESSION", doing="read them")
        held = {row["key"]: row["value"] for row in rows if row["level"] == "SESSION"}
    assert {name: held[name].casefold() for name in snowflake.SESSION} == {
        name: str(value).casefold() for name, value in snowflake.SESSION.items()
    }
    assert held["QUERY_TAG"] == "migration-runbooks"


@pytest.mark.parametrize(
    ("name", "value"),
    [("TIMEZONE", "America/New_York"), ("QUOTED_IDENTIFIERS_IGNORE_CASE", True), ("ROWS_PER_RESULTSET", 10), ("AUTOCOMMIT", False)],
)  # fmt: skip
def test_another_value_is_refused_by_its_name(local_settings: Settings, name: str, value: object) -> None:
    with pytest.raises(SessionRefused, match=name) as refused:
        snowflake.open_connection(_with(local_settings.snowflake, **{name: value}))
    assert not refused.value.transient and "session_parameters" in refused.value.next_step


def test_the_standin_holds_what_it_is_told(local_settings: Settings) -> None:
    with closing(snowflake.open_connection(local_settings.snowflake)) as connection, connection.cursor() as cursor:
        cursor.execute("ALTER SESSION SET TIMEZONE = 'Europe/Paris', QUERY_TAG = 'mine'")
        cursor.execute("SHOW PARAMETERS LIKE 'QUERY_TAG' IN SESSION")
        assert [(row[0], row[1]) for row in cursor.fetchall()] == [("QUERY_TAG", "mine")]


def test_a_setting_of_spark_that_does_not_hold_is_refused(
    local_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pyspark.sql.connect.conf import RuntimeConf

    kept = RuntimeConf.set

    def forgets(self: RuntimeConf, name: str, value: str) -> None:
        kept(self, name, "America/New_York" if name == "spark.sql.session.timeZone" else value)

    with spark.connect(local_settings.databricks) as session:
        assert session.execute("SELECT current_timezone() AS zone", doing="ask") == [{"zone": "UTC"}]
    monkeypatch.setattr(RuntimeConf, "set", forgets)
    with (
        pytest.raises(SessionRefused, match=r"spark\.sql\.session\.timeZone is America/New_York"),
        spark.connect(local_settings.databricks),
    ):
        pass
