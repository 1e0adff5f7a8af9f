"""DuckDB's and sqlglot's errors as the service words, numbers and classes them: most in two lines, the reason in the second.

The numbers and SQLSTATEs are those that the service's clients get
(https://docs.snowflake.com/en/developer-guide/python-connector/python-connector-api#exceptions), the words those of its pages:
https://docs.snowflake.com/en/sql-reference/sql/copy-into-table for a file's, https://docs.snowflake.com/en/sql-reference/functions for a
function's arguments.
"""

from __future__ import annotations

import re

import duckdb
from snowflake.connector.errors import ProgrammingError
from sqlglot.errors import ParseError

_VALUES: tuple[tuple[str, int, str, str], ...] = (
    (r"NOT NULL constraint failed: (?:.*\.)?(.+)", 100072, "22000", "NULL result in a non-nullable column"),
    (
        r"CHECK constraint failed on table .* with expression CHECK\(\(\(?(?:octet_)?length\((.+)\) <= (\d+)",
        100078,
        "22000",
        "String '(a value of column {0})' is too long and would be truncated",
    ),
    (r"too long and would be truncated: (.*)", 100078, "22000", "String '{0}' is too long and would be truncated"),
    (r"Division by zero", 100051, "22012", "Division by zero"),
    (r"Out of representable range: (\S+)", 100046, "22003", "Number out of representable range: type FIXED[SB16](38,0){{nullable}}, value {0}"),
    (r"^Out of Range Error: Overflow in|Overflow in (?:HUGEINT|addition|multiplication|subtraction)", 100046, "22003", "Number out of representable range: type FIXED[SB16](38,0){{nullable}}, value out of range"),
    (r"(?:date field value out of range|invalid date field format): \"(.*?)\"", 100040, "22007", "Date '{0}' is not recognized"),
    (r"invalid timestamp field format: \"(.*?)\"|timestamp field value out of range: \"(.*?)\"", 100035, "22007", "Timestamp '{0}' is not recognized"),
    (r"(?:time field value out of range|invalid time field format): \"(.*?)\"", 100108, "22007", "Time '{0}' is not recognized"),
    (r"Could not parse string \"(.*?)\" according to format specifier \"(.*?)\"", 100096, "22007", "Can't parse '{0}' as timestamp with format '{1}'"),
    (r"Could not convert string [\"'](.*?)[\"'] to (?:BOOL|BOOLEAN)", 100037, "22018", "Boolean value '{0}' is not recognized"),
    (r"Could not convert string [\"'](-?[0-9]+[.]?[0-9]*)[\"'] to ", 100039, "22003", "Numeric value '{0}' is out of range"),
    (r"Could not convert string [\"'](.*?)[\"'] to ", 100038, "22018", "Numeric value '{0}' is not recognized"),
    (r"Casting value \"(.*?)\" to type DECIMAL.* failed: value is out of range", 100039, "22003", "Numeric value '{0}' is out of range"),
    (r"Could not cast value (\S+) to DECIMAL", 100039, "22003", "Numeric value '{0}' is out of range"),
    (r"Type \S+ with value (\S+) can't be cast", 100039, "22003", "Numeric value '{0}' is out of range"),
    (r"[Ii]nvalid input for hex digit: (.*)", 100115, "22000", "The following string is not a legal hex-encoded value: '{0}'"),
    (r"Malformed JSON[^:]*: *(.*)|Malformed JSON(.*)", 100069, "22P02", "Error parsing JSON: {0}"),
    (r"valid UTF-?8|Invalid (?:unicode|UTF)", 100144, "22000", "Invalid UTF8 detected in string"),
)  # fmt: skip
"""Of values, while a statement runs."""

_NAMES: tuple[tuple[str, int, str, str], ...] = (
    (r"Table with name (.+?) does not exist", 2003, "42S02", "SQL compilation error:\nObject '{0}' does not exist or not authorized."),
    (r"(?:Schema|Catalog) with name (.+?) does not exist", 2003, "02000", "SQL compilation error:\nSchema '{0}' does not exist or not authorized."),
    (r"(?:Scalar|Aggregate|Table) Function with name (.+?) does not exist", 2140, "42601", "SQL compilation error:\nUnknown function {0}."),
    (r"Referenced column \"(.+?)\" (?:was )?not found|does not have a column named \"(.+?)\"", 904, "42000", "SQL compilation error: error line 1 at position {position}\ninvalid identifier '{0}'"),
    (r"Referenced table \"(.+?)\" not found", 904, "42000", "SQL compilation error: error line 1 at position {position}\ninvalid identifier '{0}'"),
    (r"(DECIMAL type width must be .*|DECIMAL type scale .*|Width must be .*)", 2041, "42601", "SQL compilation error:\ninvalid precision or scale: {0}"),
    (r"Ambiguous reference to column name \"(.+?)\"", 2028, "42601", "SQL compilation error:\nambiguous column name '{0}'"),
    (r"column \"?(.+?)\"? must appear in the GROUP BY clause", 979, "42601", "SQL compilation error:\n[{0}] is not a valid group by expression"),
    (r"No function matches the given name and argument types '(\w+)(\(.*?\))'", 1044, "42P13", "SQL compilation error: error line 1 at position {position}\nInvalid argument types for function '{0}': {1}"),
)  # fmt: skip
"""Of names and types, before it does."""


def translated_error(error: duckdb.Error) -> ProgrammingError:
    """The service's error for one of DuckDB's."""
    message = str(error)
    for known in (_VALUES, _NAMES):
        for pattern, number, state, form in known:
            if match := re.search(pattern, message):
                found = [group for group in match.groups() if group is not None] or [""]
                return ProgrammingError(
                    msg=form.format(
                        *(one.upper() if number == 2140 else one for one in found), position=_position(message)
                    ),
                    errno=number,
                    sqlstate=state,
                )
    number, state = 2, "XX000"
    if isinstance(error, duckdb.ConversionException | duckdb.OutOfRangeException):
        number, state = 100038, "22018"
    elif isinstance(error, duckdb.CatalogException):
        number, state = 2003, "42S02"
    elif isinstance(error, duckdb.BinderException):
        number, state = 2043, "02000"
    elif isinstance(error, duckdb.InterruptException):
        return canceled()
    elif isinstance(error, duckdb.TransactionException):
        number, state = 625, "57014"
    elif isinstance(error, duckdb.ParserException):
        number, state = 1003, "42000"
    return ProgrammingError(
        msg=f"SQL execution error:\n{message.split(f'{chr(10)}{chr(10)}LINE ')[0][:2000]}", errno=number, sqlstate=state
    )


def syntax_error(error: ParseError) -> ProgrammingError:
    """`syntax error line 1 at position 7 unexpected 'x'.`"""
    place = error.errors[0] if error.errors else {}
    unexpected = str(place.get("highlight") or "<EOF>")
    position = max(0, int(place.get("col") or 0) - len(unexpected))
    line = place.get("line") or 1
    return ProgrammingError(
        msg=f"SQL compilation error:\nsyntax error line {line} at position {position} unexpected '{unexpected}'.",
        errno=1003,
        sqlstate="42000",
    )


def canceled() -> ProgrammingError:
    return ProgrammingError(msg="SQL execution canceled", errno=604, sqlstate="57014")


def _position(message: str) -> int:
    """Where DuckDB's caret points; the service counts from 0."""
    lines = message.splitlines()
    caret = next((line for line in reversed(lines) if re.fullmatch(r" *\^+", line)), "")
    return max(0, caret.find("^") - len("LINE 1: "))
