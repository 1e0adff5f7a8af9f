"""The shapes of the statements that tests send: kept in a file per dialect, and read by the parsers of both.

A shape is what is left of a statement without its values, its names and the repetitions in its lists. `shapes-snowflake.sql` and
`shapes-spark.sql` hold every one that the suite has sent, one a line, so that a review sees in a diff what is said to a service.
`make test` adds those that are new once they have been read; a run of some tests only tells of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from helpers.platforms.statements import System

HERE = Path(__file__).parent

_TEXT = {"snowflake": r"'(?:[^'\\]|\\.|'')*'", "spark": r"'(?:[^'\\]|\\.)*'"}
_NAME = {"snowflake": r'"(?:[^"]|"")*"', "spark": r"`(?:[^`]|``)*`"}
_QUOTED = {"snowflake": '"n"', "spark": "`n`"}
_TOKENS = {
    system: re.compile(
        rf"(?P<text>{_TEXT[system]})|(?P<name>{_NAME[system]})|(?P<once>(?<=_)[0-9a-f]{{32}}\b)|(?P<number>\b\d+(?:\.\d+)?(?:[eE][+-]?\d+)?\b)"
        r"|(?P<clause>\b(?:SELECT|FROM|WHERE|SET|VALUES)\b)\s*|(?P<open>\()|(?P<close>\))|(?P<comma>,)|(?P<joined>\|\|)|(?P<space>\s+)",
        re.DOTALL,
    )
    for system in _TEXT
}

_CLAUSES = {f"{word} " for word in ("SELECT", "FROM", "WHERE", "SET", "VALUES")}
"""Words with which a list begins or ends."""

_FEW = 4
"""Arguments of a function: of more, one of a kind remains."""

GAPS: Mapping[str, Mapping[str, str]] = {
    "sqlglot": {
        "^SHOW ": "it reads few kinds of SHOW, and keeps the rest as text",
        "^ALTER TABLE .* (ROW ACCESS POLIC|MASKING POLICY|SET TAG|DROP PRIMARY KEY)": "it keeps ALTER of policies, tags and keys as text",
        r"^SET spark\.\S+$": "it keeps SET without a value, which asks for one, as text",
        "^CREATE (MASKING|ROW ACCESS) POLICY": "it does not know policies",
        "^ALTER USER ": "it keeps what is done to users as text",
        "^(CREATE OR REPLACE|DROP) SECURITY INTEGRATION ": "it does not know security integrations",
        r"\bX's'": "the digits of a binary literal are left out of its shape, and then it is none",
    },
    "sqlfluff": {
        "^CREATE OR REPLACE TEMPORARY STAGE .* ENDPOINT =": "it does not know stages of s3compat:// "
        "(https://docs.snowflake.com/en/user-guide/data-load-s3-compatible-storage)",
        "^USE SCHEMA `": "it does not know USE SCHEMA of Databricks "
        "(https://docs.databricks.com/en/sql/language-manual/sql-ref-syntax-ddl-use-schema.html)",
        "^SHOW DYNAMIC TABLES": "it does not know them (https://docs.snowflake.com/en/sql-reference/sql/show-dynamic-tables)",
        "^SHOW (PRIMARY|UNIQUE|IMPORTED) KEYS": "it does not know SHOW … KEYS "
        "(https://docs.snowflake.com/en/sql-reference/sql/show-primary-keys)",
    },
}
"""By parser, what it does not read, as a pattern of the shapes, and why that is its fault and not the statement's."""


def shape(system: System, sql: str) -> str:
    """The shape of a statement: texts are 's', numbers 1, quoted names "n" or `n`, what a name for one use ends with zeros, and of what a list repeats one remains."""
    levels = [_Level()]
    at = 0
    for token in _TOKENS[system].finditer(sql):
        between = sql[at : token.start()]
        levels[-1].add(between)
        at = token.end()
        match token.lastgroup:
            case "open":
                levels.append(_Level(arguments=bool(between)))
            case "close" if len(levels) > 1:
                inner = str(levels.pop())
                levels[-1].add(f"({inner})")
            case "comma":
                levels[-1].clauses[-1].append([""])
            case "joined":
                levels[-1].clauses[-1][-1].append("")
            case "clause":
                levels[-1].clauses.append([[f"{token[0].strip().upper()} "], [""]])
            case kind:
                written = {"text": "'s'", "name": _QUOTED[system], "number": "1", "space": " ", "once": "0" * 32}
                levels[-1].add(written.get(str(kind), token[0]))
    levels[-1].add(sql[at:])
    return str(levels[0])


@dataclass
class _Level:
    """What stands between two brackets: clauses of lists, whose items are joined by ||.

    Attributes:
        arguments: of a function, whose number means something where there are few.
    """

    arguments: bool = False
    clauses: list[list[list[str]]] = field(default_factory=lambda: [[[""]]])

    def add(self, text: str) -> None:
        self.clauses[-1][-1][-1] += text

    def __str__(self) -> str:
        return "".join(map(self._written, self.clauses)).strip()

    def _written(self, items: list[list[str]]) -> str:
        keyword = ""
        if items[0][0] in _CLAUSES:
            keyword, items = items[0][0], items[1:]
        each = [" || ".join(dict.fromkeys(part.strip() for part in item)) for item in items]
        if not self.arguments or len(each) > _FEW:
            each = list(dict.fromkeys(each))
        return f"{keyword}{', '.join(each)} "


def file(system: System) -> Path:
    """Where the shapes of a dialect are kept."""
    return HERE / f"shapes-{system}.sql"


def kept(system: System) -> list[str]:
    """The shapes of a dialect that are kept."""
    place = file(system)
    return place.read_text(encoding="utf-8").splitlines() if place.exists() else []


def keep(system: System, new: Iterable[str]) -> None:
    """Adds shapes, each once, in their order."""
    file(system).write_text("".join(f"{each}\n" for each in sorted({*kept(system), *new})), encoding="utf-8")


def unread(system: System, shapes: Iterable[str], *parsers: str) -> dict[str, str]:
    """The shapes that one of some parsers does not read, and what it says; what `GAPS` names is none of them."""
    found = {}
    for each in shapes:
        for parser in parsers:
            read = READERS[parser]
            if not any(re.search(gap, each) for gap in GAPS[parser]) and (why := read(system, each)):
                found[each] = f"{parser}: {why}"
    return found


def _by_sqlglot(system: System, sql: str) -> str:
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    try:
        parsed = sqlglot.parse(sql.replace("%s", "?"), dialect=system)
    except SqlglotError as error:
        return str(error).splitlines()[0]
    if len(parsed) != 1 or parsed[0] is None:
        return "it is not one statement"
    return "it is taken for a command that is not read" if parsed[0].find(exp.Command) else ""


def _by_sqlfluff(system: System, sql: str) -> str:
    parsed = _linter({"snowflake": "snowflake", "spark": "sparksql"}[system]).parse_string(sql.replace("%s", "'s'"))
    return "; ".join(str(each) for each in parsed.violations)


READERS = {"sqlglot": _by_sqlglot, "sqlfluff": _by_sqlfluff}
"""What each parser says against a shape; the first takes milliseconds, the second up to a second."""


@cache
def _linter(dialect: str) -> Any:
    """sqlfluff's parser of a dialect; seconds to import, and only needed where a shape is new."""
    from sqlfluff.core import FluffConfig, Linter

    return Linter(config=FluffConfig(overrides={"dialect": dialect, "large_file_skip_byte_limit": 0}))
