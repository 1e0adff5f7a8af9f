"""A second pipeline, a library's loans: what shows that nothing of the product is made for the sample alone.

Its parts lie in `tests/pipelines/library` as a team has them: a database's scripts, dbt, DAGs, tests of its own, migration.toml.
"""

from __future__ import annotations

import json
import shutil
import sys
from contextlib import closing
from pathlib import Path

from helpers.platforms import postgres
from helpers.settings import Settings, Source

FOLDER = Path(__file__).with_name("pipelines") / "library"
PROFILE = "library"
PASSWORD = "LIBRARY_PASSWORD"
STAYS = "members.desk_note"


def build(source: Source) -> None:
    """Makes the library's schemas and rows in an empty database."""
    with closing(postgres.connect(source, settings={"search_path": "public"})) as connection:
        connection.autocommit = True
        for script in sorted((FOLDER / "database").glob("*.sql")):
            connection.cursor().execute(script.read_text(encoding="utf-8"))


def url(source: Source) -> str:
    """The source as a URL, password included."""
    secret = source.password.get_secret_value() if source.password else ""
    return f"postgresql://{source.user}:{secret}@{source.host}:{source.port}/{source.dbname}"


def description() -> str:
    """What the library's people write about their pipeline."""
    return (FOLDER / "migration.toml").read_text(encoding="utf-8").replace('"python"', json.dumps(sys.executable))


def install(settings: Settings, folder: Path, *, more: str = "") -> dict[str, str]:
    """Puts the library's parts into a folder of the test's own, with a migration.toml on the local stack.

    Args:
        settings: of a test: its source, where `build` made the database, and the places of its stage and targets.
        folder: what commands of the test run in.
        more: further tables of the profile, as TOML.

    Returns:
        The environment that commands need there.
    """
    for part in ("dbt", "airflow", "functional"):
        shutil.copytree(FOLDER / part, folder / part)
    shutil.copy(FOLDER / "nightly.py", folder)
    source, own = settings.source, settings.values
    keys = {key: getattr(source, key) for key in ("host", "port", "dbname", "user")}
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
    (folder / "migration.toml").write_text(
        f'[profiles.{PROFILE}]\nstack = "local"\n\n[profiles.{PROFILE}.source]\n{lines}password = {{ env = "{PASSWORD}" }}\n'
        f'[profiles.{PROFILE}.stage]\nurl = "{own.stage.url}"\n[profiles.{PROFILE}.snowflake]\nschema = "{own.snowflake.schema_}"\n'
        f'[profiles.{PROFILE}.databricks]\nschema = "{own.databricks.schema_}"\n\n'
        f"{description()}\n{more}",
        encoding="utf-8",
    )
    secret = source.password.get_secret_value() if source.password else ""
    return {PASSWORD: secret}
