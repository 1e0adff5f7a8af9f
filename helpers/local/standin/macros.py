"""DuckDB's macros that print, read and divide as the real service does; `expressions.py` calls them."""

from __future__ import annotations

import duckdb

# Temporary macros belong to the connection, so none from an older version survives in a database file.
MACROS = (
    # The real service reads the digest big-endian, DuckDB's md5_number_lower does not.
    "_md5_lower(x) as concat('0x', right(md5(x), 16))::ubigint",
    "_md5_upper(x) as concat('0x', left(md5(x), 16))::ubigint",
    "_has_places_alone(type) as type like 'DECIMAL%' and regexp_extract(type, '([0-9]+),', 1) = regexp_extract(type, ',([0-9]+)', 1)",
    # Of a FLOAT the text has 15 digits, of a decimal of nothing but places .5 is printed as 0.5.
    "_number_text(x) as case when _has_places_alone(typeof(x)) then regexp_replace(x::varchar, '^(-?)\\.', '\\10.') else x::varchar end",
    """_float_text(x) as case when x::varchar = 'nan' then 'NaN' else format('{:.15g}', try_cast(x::varchar as double)) end""",
    # The commonest session: UTC, and the formats that the documentation has by default.
    """_text(x) as case typeof(x)
        when 'DOUBLE' then _float_text(x)
        when 'BLOB' then hex(x::varchar::blob)
        when 'TIME' then left(x::varchar, 8)
        when 'TIMESTAMP' then strftime(x::varchar::timestamp, '%Y-%m-%d %H:%M:%S.%g')
        when 'TIMESTAMP WITH TIME ZONE' then
            strftime(x::varchar::timestamptz::timestamp, '%Y-%m-%d %H:%M:%S.%g') || ' +0000'
        else _number_text(x) end""",
    """_text_in(x, day, clock, moment, zoned, bytes) as case typeof(x)
        when 'DOUBLE' then _float_text(x)
        when 'BLOB' then case bytes when 'HEX' then hex(x::varchar::blob) else to_base64(x::varchar::blob) end
        when 'DATE' then strftime(try_cast(x::varchar as date), day)
        when 'TIME' then _text_as(x, clock)
        when 'TIMESTAMP' then _text_as(x, moment)
        when 'TIMESTAMP WITH TIME ZONE' then _text_as(x, zoned)
        else _number_text(x) end""",
    # An offset's three forms stand as one character each until the moment is known that they are of.
    "_two(n) as lpad((abs(n)::bigint)::varchar, 2, '0')",
    "_hours(seconds) as (case when seconds < 0 then '-' else '+' end) || _two(abs(seconds) // 3600)",
    """_with_offset(told, seconds) as replace(replace(replace(told,
        chr(1), _hours(seconds) || ':' || _two(abs(seconds) % 3600 // 60)),
        chr(2), _hours(seconds) || _two(abs(seconds) % 3600 // 60)), chr(3), _hours(seconds))""",
    # Of a constant DuckDB tries every branch beforehand, so that those of other types must not fail.
    """_text_as(x, format) as case typeof(x)
        when 'TIME' then strftime(try_cast('1970-01-01 ' || x::varchar as timestamp), format)
        when 'TIMESTAMP WITH TIME ZONE' then _with_offset(strftime(try_cast(x::varchar as timestamptz), format),
            date_part('timezone', try_cast(x::varchar as timestamptz)))
        when 'DATE' then strftime(try_cast(x::varchar as timestamp), format)
        when 'TIMESTAMP' then _with_offset(strftime(try_cast(x::varchar as timestamp), format), 0)
        else error('the local stand-in prints a ' || typeof(x) || ' in no other format than TM9') end""",
    """_moment_in(x, format) as case typeof(x) when 'VARCHAR' then strptime(x::varchar, format) else x::varchar::timestamp end""",
    """_clock_in(x, format) as case typeof(x) when 'VARCHAR' then strptime(x::varchar, format)::time else x::varchar::time end""",
    # Weeks that begin on another day than Monday, and years whose first week is the one with their first day.
    "_week(x, first) as x::date - ((isodow(x::date) - first + 7) % 7)::integer",
    "_week_by_days(x, first) as (dayofyear(_week(x, first) + 3) - 1) // 7 + 1",
    "_week_by_first(x, first) as (dayofyear(x) - 1 + (isodow(date_trunc('year', x)) - first + 7) % 7) // 7 + 1",
    """_century(x, first) as x + to_years((first - first % 100 + year(x) % 100
        + case when year(x) % 100 < first % 100 then 100 else 0 end - year(x))::integer)""",
    "_octets(x) as case typeof(x) when 'BLOB' then octet_length(x::varchar::blob) else strlen(x::varchar) end",
    "_bytes(x) as case typeof(x) when 'VARCHAR' then unhex(x::varchar) else x::varchar::blob end",
    """_timestamp(x, scale) as case
        when regexp_full_match(x::varchar, '-?[0-9]+') then _timestamp_of_integer(x::varchar::hugeint, scale)
        else x::varchar::timestamp end""",
    # Exact division of integers: half away from zero, as many digits as asked for.
    """_quotient(n, d) as case when d = 0 then error('Division by zero')::hugeint
        else sign(n)::hugeint * sign(d)::hugeint * ((abs(n) + abs(d) // 2) // abs(d)) end""",
    "_unscaled(x) as replace(x::varchar, '.', '')::hugeint",
    """_point(q, scale) as (case when q < 0 then '-' else '' end)
        || left(lpad(abs(q)::varchar, greatest(length(abs(q)::varchar), scale + 1)::integer, '0'), -scale)
        || '.' || right(lpad(abs(q)::varchar, greatest(length(abs(q)::varchar), scale + 1)::integer, '0'), scale)""",
)
INTEGER_TIMESTAMP = """_timestamp_of_integer(x, scale) as make_timestamp((case scale
    when 0 then x * 1000000 when 3 then x * 1000 when 6 then x else x // 1000 end)::bigint)"""


def install_macros(connection: duckdb.DuckDBPyConnection) -> None:
    """Makes them once, in `memory.main`, which every session's search path ends with."""
    for macro in (INTEGER_TIMESTAMP, *MACROS):
        connection.execute(f"create macro memory.main.{macro}")
