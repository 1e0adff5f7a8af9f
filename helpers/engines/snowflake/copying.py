"""How Snowflake reads staged files: the stage, the table they land in, COPY, and what each option of it is chosen for.

Columns are matched by their names, in one pass of the Parquet reader. A COPY with a SELECT reads `$1`, a VARIANT, where dates and
timestamps are kept as texts (https://docs.snowflake.com/en/user-guide/semistructured-considerations) and every value is cast once
more. What matching by name can do in silence – rows of NULLs where no column matches, a text taken for NULL – shows in the
number of values per column, which is compared with the manifest's before the final table is touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate
from urllib.parse import urlparse

from helpers.errors import UsageError
from helpers.model.manifest import StagedColumn, StagedTable
from helpers.platforms.aws_sessions import keys_of
from helpers.platforms.s3 import Bucket
from helpers.platforms.snowflake import identifier, literal
from helpers.settings import Snowflake

FILES_PER_COPY = 1000
"""The most that COPY's FILES takes (https://docs.snowflake.com/en/sql-reference/sql/copy-into-table)."""

_LONGEST_LIST = 500_000
"""Characters of one COPY's FILES; a statement stays below a megabyte
(https://docs.snowflake.com/en/user-guide/query-size-limits)."""

FILE_FORMAT = {
    "TYPE": "PARQUET",
    # The files name their own codec; zstd is only known to AUTO.
    "COMPRESSION": "AUTO",
    # Bytes are bytes; TRUE, the default, makes text of a column without a logical type.
    "BINARY_AS_TEXT": "FALSE",
    # Timestamps and decimals as the file declares them; FALSE, the default, takes some for integers.
    "USE_LOGICAL_TYPE": "TRUE",
    # Spaces belong to a value. Only a COPY that matches by name trims, and ours does.
    "TRIM_SPACE": "FALSE",
    # Recommended for new work and the default to come, so that a change of Snowflake's changes nothing here. It differs from the
    # other reader in maps, in NULLs within objects and in INT96, none of which our files have, and it forces the two options above.
    "USE_VECTORIZED_SCANNER": "TRUE",
    # Bytes that are no UTF-8 are an error, never U+FFFD.
    "REPLACE_INVALID_CHARACTERS": "FALSE",
    # No text stands for NULL. The default is \N, and it is used just where columns are matched by name.
    "NULL_IF": "()",
}
"""Every option of a Parquet file format, so that no default of an account or of a release has a say
(https://docs.snowflake.com/en/sql-reference/sql/copy-into-table#type-parquet)."""

COPY_OPTIONS = {
    # A file's field and a table's column have the very same name.
    "MATCH_BY_COLUMN_NAME": "CASE_SENSITIVE",
    # A row that does not fit, and a file that is not there, end the statement; the other ways load the rest.
    "ON_ERROR": "ABORT_STATEMENT",
    # Whatever Snowflake remembers of having loaded before: the table is new, and each file is named once.
    "FORCE": "TRUE",
    # A text that is longer than its column is an error, never cut.
    "ENFORCE_LENGTH": "TRUE",
    # The stage stays: another target may read it, and a verification.
    "PURGE": "FALSE",
    # Every file is listed with its rows, which are added up.
    "RETURN_FAILED_ONLY": "FALSE",
}
"""The options of COPY that have a say in which rows arrive
(https://docs.snowflake.com/en/sql-reference/sql/copy-into-table#copy-options-copyoptions)."""


def stage_statement(name: str, bucket: Bucket, target: Snowflake) -> str:
    """The statement that lets Snowflake read the staged files, in this session.

    Args:
        name: of the stage, quoted.
        bucket: where the files are.
        target: the profile's section, which says with which rights.

    Raises:
        UsageError: it does not say.
    """
    stage, location = bucket.stage, bucket.location
    options = []
    scheme = "s3"
    if stage.endpoint:
        # S3-compatible storage has a scheme of its own (https://docs.snowflake.com/en/user-guide/data-load-s3-compatible-storage).
        scheme = "s3compat"
        options.append(f"ENDPOINT = {literal(urlparse(stage.endpoint).netloc)}")
    if target.storage_integration and not stage.endpoint:
        options.append(f"STORAGE_INTEGRATION = {identifier(target.storage_integration)}")
    elif stage.is_named and (keys := keys_of(stage, stage.region)):
        token = f" AWS_TOKEN = {literal(keys.session_token)}" if keys.session_token else ""
        said = f"AWS_KEY_ID = {literal(keys.access_key)} AWS_SECRET_KEY = {literal(keys.secret_key)}{token}"
        options.append(f"CREDENTIALS = ({said})")
    else:
        raise UsageError(
            "let Snowflake read the stage",
            on=str(location),
            why="the profile names neither a storage integration nor keys for the stage",
            next_step='set storage_integration = "…" under the profile\'s snowflake section',
        )
    url = literal(f"{scheme}://{location.bucket}/{location.prefix}")
    return (
        f"CREATE OR REPLACE TEMPORARY STAGE {name} URL = {url} "
        f"{' '.join(options)} FILE_FORMAT = ({_written(FILE_FORMAT)})"
    )


def landing_statement(landing: str, columns: Iterable[tuple[str, StagedColumn | None]]) -> str:
    """The statement that makes the table which files land in; it ends with the session.

    Args:
        landing: its quoted name.
        columns: each field of the files, with the column whose values it has; None for BOOLEAN.
    """
    listed = ", ".join(
        f"{identifier(name)} {_landing_type(column) if column else 'BOOLEAN'}" for name, column in columns
    )
    return f"CREATE OR REPLACE TEMPORARY TABLE {landing} ({listed})"


def fields(staged: StagedTable) -> Iterator[tuple[str, StagedColumn]]:
    """The columns of a table's own files."""
    return ((column.field, column) for column in staged.columns)


def copy_statements(landing: str, stage: str, staged: StagedTable) -> Iterator[str]:
    """The statements that read a table's files, each of which returns the rows of every file under `rows_loaded`.

    Args:
        landing: the quoted name of the table for them.
        stage: the quoted name of the stage.
        staged: the table of the manifest.
    """
    names = [literal(file.path) for file in staged.files if file.rows]
    while names:
        sizes = accumulate(len(name) for name in names[:FILES_PER_COPY])
        count = max(1, sum(size < _LONGEST_LIST for size in sizes))
        yield f"COPY INTO {landing} FROM @{stage} FILES = ({', '.join(names[:count])}) {_written(COPY_OPTIONS)}"
        names = names[count:]


def insert_statement(into: str, landing: str, staged: StagedTable) -> str:
    """The statement that puts what landed in the place of a table's rows.

    Rows that a row access policy hides from this role go too: OVERWRITE empties the table, DELETE would leave them
    (https://docs.snowflake.com/en/sql-reference/sql/insert).

    Args:
        into: the table's quoted name.
        landing: where the rows are.
        staged: the table of the manifest.
    """
    names = ", ".join(identifier(column.name) for column in staged.columns)
    return f"INSERT OVERWRITE INTO {into} ({names}) SELECT {', '.join(map(cast, staged.columns))} FROM {landing}"


def cast(column: StagedColumn, landed: str = "") -> str:
    """A value of the landing table as the final table has it.

    Args:
        column: whose value it is.
        landed: the expression that gives it; the column's field, where this is empty.
    """
    value = landed or identifier(column.field)
    return value if _landing_type(column) == column.snowflake else f"{value}::{column.snowflake}"


def _landing_type(column: StagedColumn) -> str:
    return "VARCHAR" if column.parquet == "VARCHAR" else column.snowflake


def _written(options: dict[str, str]) -> str:
    return " ".join(f"{name} = {value}" for name, value in options.items())
