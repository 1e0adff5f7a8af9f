"""docs/types.md, rendered from the table of types so that it cannot say anything else."""

from __future__ import annotations

from pathlib import Path

from helpers import PROJECT
from helpers.model import types
from helpers.model.catalog import PgType
from helpers.model.limits import Server, information, limits
from helpers.model.types import Entry, Mapping

FILE = PROJECT / "docs" / "types.md"

_COMPARED = {
    "text": "text",
    "number": "value",
    "float4": "bits of single precision",
    "float8": "bits of double precision",
}

_HEAD = """# Types

How a value of each PostgreSQL type is read, staged as Parquet, kept in Snowflake and in Delta, and compared. This page is
rendered by `runbook assess --types` from `helpers/model/types.py`; a test fails when it says something else.

- **Read** is the SQL that PostgreSQL evaluates for the export; the verification reads `{{c}}::text` instead, another path.
- **Compared by** is the canonical form: two values are equal exactly if these are. A number's value ignores zeros at the end
  of its fraction; −0 is 0, and NaN is NaN.
- **Refused, or not kept** is what the census counts before anything moves. A refused value stops the export unless
  `migration.toml` has a policy for it. A length counts in bytes of UTF-8: {text:,} of text, {binary:,} of bytes.
- Texts are printed under fixed settings (`datestyle`, `intervalstyle`, `timezone`, `bytea_output`, `lc_monetary`,
  `extra_float_digits`), so that they depend on the value alone. No text of PostgreSQL holds a NUL.

Pages named here were read in {read}. Those of the targets:
[Snowflake](https://docs.snowflake.com/en/sql-reference/intro-summary-data-types),
[Parquet](https://parquet.apache.org/docs/file-format/types/logicaltypes/),
[Delta](https://docs.delta.io/latest/delta-batch.html) and
[Spark](https://spark.apache.org/docs/latest/sql-ref-datatypes.html).

| PostgreSQL | Read | Parquet (DuckDB's name) | Snowflake | Delta | Compared by | Encoding | Refused, or not kept | Source |
|---|---|---|---|---|---|---|---|---|
"""

_NUMERIC = """
## numeric

| Declared | Target |
|---|---|
| `numeric(p,s)` with 0 ≤ s ≤ p ≤ 38 and s ≤ 37 | `NUMBER(p,s)` |
| `numeric(p,s)` with s < 0 | `NUMBER(p−s,0)`, up to 38 digits |
| `numeric(p,s)` with s > p | `NUMBER(s,s)`, up to s = 37 |
| any other, or none | `NUMBER(38,s)`: s is what the values need, and at least {spare} where the largest leaves room |

A value that does not fit is never rounded: the census refuses it, and the read expression turns it into text that the cast to
DECIMAL does not take.
"""

_POLICIES = """
## Policies

`[profiles.NAME.export.policies]` in `migration.toml` names, per `"schema.table.column"`, `"schema.table.*"` or type, what
happens to values that no target holds. How many it touched is in the manifest.

| Policy | Column | Values that no target holds | For |
|---|---|---|---|
| `"text"` | text | kept, as PostgreSQL prints them | every type, one without a mapping too |
| `"null+flag"` | its own type, nullable | NULL, and their text in `NAME__original` | {masked} |
| `{{ sentinel = "…" }}` | its own type | the sentinel, and their text in `NAME__original` | {masked} |

No policy lets a text or bytes through that are too long, and none with a flag column takes a column of the key.
"""

_REPORTED = """
## Counted, and only reported

| In | What |
|---|---|
"""


def render() -> str:
    """The page, as Markdown."""
    rows = [_row(entry) for entry in types.TABLE]
    rows += [_derived(*kind) for kind in types.DERIVED]
    head = _HEAD.format(text=types.TEXT_BYTES, binary=types.BINARY_BYTES, read=types.READ)
    policies = _POLICIES.format(masked=", ".join(f"`{name}`" for name in sorted(types.MASKED)))
    reported = "".join(f"| {name} | {what} |\n" for name, what in _reported())
    return head + "".join(rows) + _NUMERIC.format(spare=types.SPARE_SCALE) + policies + _REPORTED + reported


def write(file: Path = FILE) -> bool:
    """Writes the page; whether it said something else before."""
    text = render()
    changed = not file.exists() or file.read_text(encoding="utf-8") != text
    if changed:
        file.write_text(text, encoding="utf-8")
    return changed


def _row(entry: Entry) -> str:
    names = ", ".join(f"`{_spelled(name)}`" for name in entry.names)
    source = f"[{entry.source.rsplit('/', 1)[-1].removesuffix('.html')}]({entry.source})"
    if entry.mapping is None:
        return f"| {names} | | | | | | **refused** | {entry.lost} | {source} |\n"
    sized = {"varchar": "`VARCHAR(n)`", "bpchar": "`VARCHAR(n)`"}.get(entry.names[0], f"`{entry.mapping.snowflake}`")
    lost = "; ".join(filter(None, (entry.lost, "too long: refused" if entry.length else "")))
    return _line(names, entry.mapping, sized, lost, source)


def _derived(name: str, note: str, page: str) -> str:
    source = f"[{page}](https://www.postgresql.org/docs/18/{page}.html)"
    lost = "" if name == "enum" else "too long: refused, as is one that contains a refused type"
    return _line(name, types.as_text(), f"`{types.as_text().snowflake}`", "; ".join(filter(None, (note, lost))), source)


def _line(names: str, mapping: Mapping, snowflake: str, lost: str, source: str) -> str:
    return (
        f"| {names} | `{mapping.read}` | `{mapping.parquet}` | {snowflake} | `{mapping.delta}` "
        f"| {_COMPARED[mapping.comparison]} | {mapping.note or 'exact'} | {lost} | {source} |\n"
    )


def _spelled(name: str) -> str:
    return {"bpchar": "char(n)", "varchar": "varchar(n)", "char": '"char"'}.get(name, name)


def _reported() -> list[tuple[str, str]]:
    kinds = {
        "json": PgType("json", "json"),
        "jsonb": PgType("jsonb", "jsonb"),
        "arrays": PgType("_int4", "int4[]", element="int4"),
    }
    found = [(name, what) for name, kind in kinds.items() for what in information(kind, Server())]
    ascii_only = limits(PgType("text", "text"), Server("SQL_ASCII"))[-1]
    return [*found, ("every text", f"refused, not reported: {ascii_only.reason}")]
