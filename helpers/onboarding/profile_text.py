"""A profile as text for migration.toml: what is certain as keys, what a person has to decide as keys behind a #."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any

from helpers.model.catalog import Column, Table
from helpers.model.types import type_name
from helpers.onboarding import seen as catalog_of
from helpers.onboarding.parts import Parts
from helpers.onboarding.seen import Seen
from helpers.screen import printable
from helpers.settings.problems import toml

_WIDTH = 118
_TEXTS = frozenset({"text", "varchar", "bpchar", "citext", "name"})


def compose(
    name: str, source: Mapping[str, Any], seen: Seen, parts: Parts, *, bucket: str | None, today: date, command: str
) -> str:
    """The profile, ready to stand behind what a file has already.

    Args:
        name: the profile's.
        source: keys of its section `source`.
        seen: the catalog.
        parts: of the pipeline.
        bucket: of the local stack; None for a profile that names its own servers.
        today: the day that its head names.
        command: the next one, for the head.
    """
    lines = [
        *_head(seen, today, command),
        *_stack(name, bucket),
        *_source(name, source, seen),
        *_places(name, bucket),
        *_tables(name, seen),
        *_matches(name, seen),
        *_policies(name, seen),
        *_compliance(name, seen),
        *_cutover(name),
        *_parts(name, parts),
    ]
    return "\n".join(lines) + "\n"


def said(text: str) -> str:
    """A text of the source's in a comment: on one line, and without what moves a cursor."""
    return printable(text).replace("\n", " ").replace("\t", " ")


def quoted(text: str) -> str:
    """A text as TOML has it."""
    return toml(text).replace("\x7f", "\\u007f")  # JSON leaves it as it is, and TOML forbids that


def size(count: int) -> str:
    """Bytes as people say them."""
    value, unit = float(count), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def _head(seen: Seen, today: date, command: str) -> Iterator[str]:
    about = seen.inventory
    tables = {str(table) for table in seen.catalog.tables}
    counted = sum(each.rows for each in about.relations if str(each) in tables)
    rows = (
        f"about {counted:,} rows by the server's statistics"
        if counted
        else "rows that the server has not counted (ANALYZE does)"
    )
    yield f"# {said(about.database)}, PostgreSQL {said(about.version)}, as `runbook init` saw it on {today} with the role {said(about.role)}:"
    yield f"# {len(tables):,} tables in {', '.join(map(said, seen.schemas))}; {rows}; {size(about.bytes)}."
    yield "# A line with # and no blank behind it is a proposal: take the # away where you agree. What each key means: `runbook settings`."
    yield f"# Next: {command}"


def _stack(name: str, bucket: str | None) -> Iterator[str]:
    yield f"[profiles.{name}]"
    if bucket is None:
        yield '#stack = "local"     # rehearse with the embedded S3 and the stand-ins; then nothing below needs a server of yours'
    else:
        yield 'stack = "local"      # S3, Snowflake and Delta are those of `runbook local up`; take it away once you name your own'


def _source(name: str, source: Mapping[str, Any], seen: Seen) -> Iterator[str]:
    yield ""
    yield f"[profiles.{name}.source]"
    yield from (f"{key} = {_value(value)}" for key, value in source.items())
    if "schemas" not in source and len(seen.schemas) > 1:
        yield f"#schemas = {_value(seen.schemas)}"


def _places(name: str, bucket: str | None) -> Iterator[str]:
    target = name.replace("-", "_")
    yield ""
    if bucket is not None:
        yield "# Places of its own, so that it shares none with another profile of the same stack."
        yield from (f"[profiles.{name}.stage]", f"url = {quoted(f's3://{bucket}/{name}/')}")
        yield from (f"[profiles.{name}.snowflake]", f"schema = {quoted(target.upper())}")
        yield from (f"[profiles.{name}.databricks]", f"schema = {quoted(target.lower())}")
        yield from (f"[profiles.{name}.archive]", f"url = {quoted(f's3://archive/{name}/')}")
        return
    yield "# Where the rows go: a stage, and one target or both."
    yield from (f"#[profiles.{name}.stage]", f'#url = "s3://your-bucket/{name}/"', '#region = "eu-central-1"')
    yield from (f"#[profiles.{name}.snowflake]", '#account = "myorg-myaccount"', '#user = "MIGRATION"')
    yield from ('#private_key_file = "/etc/migration/snowflake_rsa_key.p8"', '#warehouse = "MIGRATION_WH"')
    yield from ('#role = "MIGRATION_ROLE"', '#database = "MIGRATION"', f"#schema = {quoted(target.upper())}")
    yield from (f"#[profiles.{name}.databricks]", '#host = "adb-1234567890123456.7.azuredatabricks.net"')
    yield from ('#cluster_id = "1125-103012-abcdef12"', '#token = { env = "DATABRICKS_TOKEN" }', '#catalog = "main"')
    yield f"#schema = {quoted(target.lower())}"


def _tables(name: str, seen: Seen) -> Iterator[str]:
    found = {str(each): each for each in seen.inventory.relations}
    yield ""
    yield "# What moves, as it is now:"
    shown = [(said(str(table)), found.get(str(table)), table) for table in seen.catalog.tables]
    widest = max(len(label) for label, _, _ in shown)
    for label, relation, table in shown:
        notes = [] if table.key else ["no key: rows are compared as a multiset"]
        rows = f"{_rows(relation.rows):>14} rows  {size(relation.bytes):>9}" if relation else ""
        if relation and not relation.readable:
            notes.append("may not be read by this role")
        yield f"#   {label:<{widest}}  {rows}{''.join(f'  ({note})' for note in notes)}".rstrip()
    if seen.catalog.left_out:
        yield f"# {len(seen.catalog.left_out):,} objects stay behind (views, sequences and the like); `runbook assess --profile {name}` names each."
    clashing = catalog_of.clashing_schemas(seen.catalog.tables)
    first = seen.catalog.tables[0]
    yield "" if clashing else f"#[profiles.{name}.tables]"
    if clashing:
        yield f"# Several schemas have a table {', '.join(map(said, clashing))}: each schema goes into one of its own name."
        yield from (f"[profiles.{name}.tables]", 'schema = "{schema}"')
        yield '#name = "{schema}_{table}"          # instead of that: all into one schema of the target'
    elif len(seen.schemas) > 1:
        yield '#schema = "{schema}"                # each into a schema of its own name; without it, all into one'
    yield f'#exclude = {{ {quoted(str(first))} = "why it does not move" }}'
    yield f'#stay = {{ {quoted(str(first))} = "why it stays in PostgreSQL, on option B" }}'


def _rows(counted: int) -> str:
    """0 is also what a table has whose rows nobody has counted yet."""
    return f"{counted:,}" if counted else "?"


def _matches(name: str, seen: Seen) -> Iterator[str]:
    """What is said of single tables: another name where a target needs one, and masks as proposals."""
    renamed = catalog_of.renamed(seen.catalog.tables)
    masked = {str(table): columns for table in seen.catalog.tables if (columns := _personal(table, seen.personal))}
    if renamed:
        yield ""
        yield "# Tables whose names a target refuses, or takes for another table's."
        for label, own in renamed.items():
            yield from (f"[profiles.{name}.tables.match.{quoted(label)}]", f"name = {quoted(own)}")
            yield from _masks(masked.pop(label, []))
    if masked:
        yield ""
        yield "# Columns that look like personal data by their names. A mask takes the place of every value; `omit` leaves a column out."
        for label, columns in masked.items():
            yield f"#[profiles.{name}.tables.match.{quoted(label)}]"
            yield from _masks(columns)


def _masks(columns: Sequence[Column]) -> Iterator[str]:
    if not columns:
        return
    if can := {column.name: how for column in columns if (how := _mask(column))}:
        yield f"#mask = {_value(can)}"
    if rest := [column.name for column in columns if column.name not in can]:
        yield f"#omit = {_value(rest)}"
    yield '#reason = "who reads the figures need not know the people"'


def _policies(name: str, seen: Seen) -> Iterator[str]:
    if not (found := catalog_of.policies(seen.catalog.tables)):
        return
    yield ""
    yield "# Values of these columns no target holds as they are; without a policy the census refuses what it finds of them."
    yield f"#[profiles.{name}.export.policies]"
    for each in found:
        yield f"#{quoted(each.key)} = {quoted(each.policy)}    # {said(each.why)}"


def _compliance(name: str, seen: Seen) -> Iterator[str]:
    yield ""
    yield "# What the assessment (phase 00) holds the source against."
    yield f"#[profiles.{name}.compliance]"
    yield "#require_tls = true"
    if seen.personal:
        yield "#personal = [       # settled: these may move"
        yield from (f"#{quoted(column)}," for column in seen.personal)
        yield "#]"


def _cutover(name: str) -> Iterator[str]:
    variable = f"{name.upper().replace('-', '_')}_APP_PASSWORD"
    yield ""
    yield "# Option A freezes the source (phase 50), and tries the freeze as the role by which the application writes: docs/rights.md."
    yield from (f"#[profiles.{name}.cutover]", f"#application = {quoted(f'{name}_app')}")
    yield f"#application_password = {{ env = {quoted(variable)} }}"


def _parts(name: str, parts: Parts) -> Iterator[str]:
    yield ""
    for each in parts.databases:
        yield f"# {said(each.file)}: service {said(each.service)} is PostgreSQL {said(each.dbname)} on port {each.port} of this machine."
    many = len(parts.dbt) > 1
    if parts.dbt:
        yield (
            "# dbt projects that lie here; one of them builds the marts:"
            if many
            else "# The dbt project that lies here:"
        )
    for number, project in enumerate(parts.dbt):
        mark = "#" if number else ""
        yield from ([] if number else [f"[profiles.{name}.dbt]"])
        yield f"{mark}project = {quoted(project)}"
    if parts.dags:
        yield "# DAGs that lie here. Which of them is replaced (legacy), and which replaces it (modern), only you know."
    for number, folder in enumerate(parts.dags):
        mark = "#" if number or folder.problem else ""
        yield f"{mark}[profiles.{name}.dags]"
        yield f"{mark}folder = {quoted(folder.path)}" + (
            f"    # not read: {said(folder.problem)}" if folder.problem else ""
        )
        yield f"{mark}legacy = {_value(folder.names)}"
        yield "#modern = []"
    if not (parts.dbt or parts.dags):
        yield "# No dbt project and no DAGs lie in this folder. [dbt], [dags], [figures.NAME] and [tests] describe the rest of a"
        yield "# pipeline: docs/your-own-database.md."


def _personal(table: Table, personal: Sequence[str]) -> list[Column]:
    """Those that may be masked or left out: a column of the key, or one that refers to another table, tells rows apart."""
    return [
        column
        for column in table.columns
        if f"{table}.{column.name}" in personal
        and column.name not in table.key
        and not column.name.lower().endswith("id")
    ]


def _mask(column: Column) -> str | None:
    """What a column can be masked by: one that is no text may only become NULL, and a password's hash is of no use at all."""
    if "password" in column.name.lower():
        return None
    if type_name(column.type.name) in _TEXTS:
        return "sha256"
    return None if column.not_null else "null"


def _value(value: Any) -> str:
    return toml(list(value) if isinstance(value, tuple) else value).replace("\x7f", "\\u007f")
