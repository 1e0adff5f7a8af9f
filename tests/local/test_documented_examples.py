"""What Snowflake's documentation prints, asked of the stand-in: one line an example, with its address.

Would catch: a function whose answer is DuckDB's and not the service's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Run = Callable[..., list[tuple[Any, ...]]]

ADDRESS = "https://docs.snowflake.com/en/sql-reference/"

EXAMPLES = [
    ("functions/md5_number_lower64", "MD5_NUMBER_LOWER64('Snowflake')", "9203306159527282910"),
    ("functions/md5", "MD5('Snowflake')", "edf1439075a83a447fb8b630ddc9c8de"),
    ("functions/md5_binary", "HEX_ENCODE(MD5_BINARY('Snowflake'))", "EDF1439075A83A447FB8B630DDC9C8DE"),
    ("functions/hex_encode", "HEX_ENCODE('SNOW')", "534E4F57"),
    ("functions/hex_encode", "HEX_ENCODE('SNOW', 0)", "534e4f57"),
    ("functions/hex_decode_string", "HEX_DECODE_STRING('534E4F57')", "SNOW"),
    ("functions/base64_encode", "BASE64_ENCODE('Snowflake')", "U25vd2ZsYWtl"),
    ("functions/to_binary", "TO_VARCHAR(TO_BINARY('SNOW', 'utf-8'), 'HEX')", "534E4F57"),
    ("functions/date_part", "DATE_PART(quarter, '2024-04-08'::DATE)", "2"),
    ("functions/date_part", "DATE_PART(year, '2024-04-08T23:39:20.123-07:00'::TIMESTAMP)", "2024"),
    ("functions/date_part", "DATE_PART(epoch_second, TO_TIMESTAMP('2024-04-08T23:39:20.123-07:00'))", "1712619560"),
    ("functions/date_part", "DATE_PART(epoch_millisecond, TO_TIMESTAMP('2024-04-08T23:39:20.123-07:00'))", "1712619560123"),
    ("functions/to_char", "TO_VARCHAR('2013-04-05 01:02:03'::TIMESTAMP, 'mm/dd/yyyy, hh24:mi hours')", "04/05/2013, 01:02 hours"),
    ("functions/to_decimal", "TO_NUMBER('12.3456')", "12"),
    ("functions/to_decimal", "TO_NUMBER('98.76546')", "99"),
    ("functions/to_decimal", "TO_NUMBER('98.76546', 10, 1)", "98.8"),
    ("functions/to_decimal", "TO_NUMBER('12.3456', 10, 8)", "12.34560000"),
    ("functions/div0", "DIV0(1, 2)", "0.500000"),
    ("functions/div0", "DIV0(1, 0)", "0.000000"),
    ("functions/octet_length", "OCTET_LENGTH('abc')", "3"),
    ("functions/octet_length", "OCTET_LENGTH('\\u0392')", "2"),
    ("functions/octet_length", "OCTET_LENGTH(X'A1B2')", "2"),
    ("functions/length", "LENGTH('Joyeux Noël')", "11"),
    ("functions/length", "LENGTH('Wesołych Świąt')", "14"),
    ("functions/length", "LENGTH('圣诞节快乐')", "5"),
    ("functions/length", "LENGTH('')", "0"),
    ("functions/lpad", "LPAD('123.50', 19, '*_')", "*_*_*_*_*_*_*123.50"),
    ("functions/datediff", "DATEDIFF(year, '2010-04-09 14:39:20'::TIMESTAMP, '2013-05-08 23:39:20'::TIMESTAMP)", "3"),
    ("functions/datediff", "DATEDIFF(hour, '2013-05-08T23:39:20.123-07:00'::TIMESTAMP, DATEADD(year, 2, ('2013-05-08T23:39:20.123-07:00')::TIMESTAMP))", "17520"),
    ("functions/regexp_replace", "REGEXP_REPLACE('It was the best of times, it was the worst of times', '( ){1,}', '')", "Itwasthebestoftimes,itwastheworstoftimes"),
    ("functions/bitand", "BITAND(16, 24)", "16"),
    ("functions/bitand", "BITAND(2, 4)", "0"),
    ("functions/convert_timezone", "CONVERT_TIMEZONE('America/Los_Angeles', 'America/New_York', '2024-01-01 14:00:00'::TIMESTAMP_NTZ)", "2024-01-01 17:00:00"),
    ("functions/convert_timezone", "CONVERT_TIMEZONE('Europe/Warsaw', 'UTC', '2024-01-01 00:00:00'::TIMESTAMP_NTZ)", "2023-12-31 23:00:00"),
    ("functions/round", "ROUND(-975.975)", "-976"),
    ("functions/floor", "FLOOR(-975.975)", "-976"),
    ("functions/mod", "MOD(4.5, 1.2)", "0.9"),
    ("functions/trim", "TRIM('❄-❄ABC-❄-', '❄-')", "ABC"),
    ("functions/iff", "IFF(TRUE, 'true', 'false')", "true"),
    ("functions/equal_null", "EQUAL_NULL(NULL, NULL)", "True"),
    ("functions/greatest", "GREATEST(1, NULL)", "None"),
    ("operators-arithmetic", "10.01 AS n1, 1.1 AS n2, n1 * n2", "11.011"),
    ("operators-arithmetic", "2 AS n1, 7 AS n2, n1 / n2", "0.285714"),
    ("operators-arithmetic", "10.1 AS n1, 2.1 AS n2, n1 / n2", "4.8095238"),
]  # fmt: skip


@pytest.mark.parametrize(("page", "expression", "printed"), EXAMPLES)
def test_the_answer_is_the_one_that_is_printed(run: Run, page: str, expression: str, printed: str) -> None:
    assert str(run(f"SELECT {expression}")[0][-1]) == printed, ADDRESS + page


def test_the_form_of_a_value_is_as_its_page_says(run: Run) -> None:
    """TM9 prints a fixed-point number with every digit of its scale (sql-format-models), a FLOAT's text is rounded
    (data-types-numeric), an offset is dropped from a TIMESTAMP_NTZ (data-types-datetime).
    """
    asked = {
        "TO_VARCHAR(1.50::NUMBER(38,2), 'TM9')": "1.50",
        "TO_VARCHAR(-0.05::NUMBER(4,2), 'TM9')": "-0.05",
        "TO_VARCHAR(0.5::NUMBER(1,1))": "0.5",
        "TO_VARCHAR(1e20::FLOAT)": "1e+20",
        "TO_VARCHAR(0.1::FLOAT + 0.2::FLOAT)": "0.3",
        "TO_VARCHAR('NaN'::FLOAT)": "NaN",
        "TO_VARCHAR('2024-01-01 12:00:00 +05:00'::TIMESTAMP_NTZ)": "2024-01-01 12:00:00.000",
    }
    (row,) = run(f"SELECT {', '.join(asked)}")
    assert list(row) == list(asked.values())
