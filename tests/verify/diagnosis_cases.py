"""Values as pipelines hold them, and the real transformations that corrupt them, with the diagnosis each should get."""

from __future__ import annotations

import base64
import html
import json
import random
import string
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from zoneinfo import ZoneInfo

import numpy as np

from helpers.verify.data_quality.sums.amounts import EXACT

Random = random.Random
Value = str | None

WORDS = (
    "apple river stone blue Table north window garden people simple Market street Zürich Müller café naïve São Straße Łódź"
).split()
ASCII = [word for word in WORDS if word.isascii()]
TIMESTAMP = "timestamp without time zone"
INSTANT = "timestamp with time zone"


def phrase(rng: Random) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(rng.randint(2, 5)))


def plain(rng: Random) -> str:
    return " ".join(rng.choice(ASCII) for _ in range(rng.randint(2, 5)))


def accented(rng: Random) -> str:
    return f"{rng.choice(WORDS[12:])} {phrase(rng)}"


def price(rng: Random) -> str:
    return f"{rng.randrange(1, 10**7) / 100:.2f}"


def precise(rng: Random) -> str:
    return format(Decimal(rng.randrange(-(10**9), 10**9)).scaleb(-4), "f")


def whole(rng: Random) -> str:
    return str(rng.randrange(1, 10**6))


def real(rng: Random) -> str:
    return repr(rng.uniform(-1e6, 1e6))


def moment(rng: Random) -> datetime:
    return datetime(2021, 1, 1) + timedelta(microseconds=rng.randrange(4 * 365 * 86400 * 10**6))


def shown(at: datetime) -> str:
    """As PostgreSQL prints a timestamp."""
    fraction = f".{at.microsecond:06d}".rstrip("0") if at.microsecond else ""
    return f"{at:%Y-%m-%d %H:%M:%S}{fraction}"


def read(text: str) -> datetime:
    return datetime.fromisoformat(text.removesuffix("+00"))


def timestamp(rng: Random) -> str:
    return shown(moment(rng))


def instant(rng: Random) -> str:
    return f"{shown(moment(rng))}+00"


def day(rng: Random) -> str:
    return str(moment(rng).date())


def clock(rng: Random) -> str:
    return shown(moment(rng))[11:]


def document(rng: Random) -> str:
    members = {
        "id": rng.randrange(10**6),
        "name": rng.choice(WORDS),
        "tags": [rng.randrange(9) for _ in range(3)],
        "gone": None,
    }
    return json.dumps(members)


def array(rng: Random) -> str:
    return "{" + ",".join(str(rng.randrange(1000)) for _ in range(rng.randint(2, 6))) + "}"


def octets(rng: Random) -> str:
    return "\\x" + rng.randbytes(24).hex()


def either(rng: Random) -> str:
    return rng.choice(["true", "false"])


def quantized(unit: str, rounding: str) -> Callable[[str], str]:
    return lambda text: format(Decimal(text).quantize(Decimal(unit), rounding), "f")


def times(factor: str, unit: str) -> Callable[[str], str]:
    return lambda text: format((Decimal(text) * Decimal(factor)).quantize(Decimal(unit), ROUND_HALF_UP), "f")


def plus(**interval: float) -> Callable[[str], str]:
    def shift(text: str) -> str:
        return shown(read(text) + timedelta(**interval)) + ("+00" if text.endswith("+00") else "")

    return shift


def local(zone: str) -> Callable[[str], str]:
    """What a session in that zone shows of an instant, taken for UTC."""
    return lambda text: shown(read(text).replace(tzinfo=UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None)) + "+00"


def utc(zone: str) -> Callable[[str], str]:
    """The instant that a session in that zone takes a time without a zone for."""
    return lambda text: shown(read(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC).replace(tzinfo=None))


def misread(encoding: str, times: int = 1) -> Callable[[str], str]:
    def corrupt(text: str) -> str:
        for _ in range(times):
            text = text.encode().decode(encoding)
        return text

    return corrupt


def with_year(years: int) -> Callable[[str], str]:
    return lambda text: f"{int(text[:4]) + years:04d}{text[4:]}"


def from_epoch(text: str) -> str:
    """Seconds since 1970 read as milliseconds."""
    return shown(datetime(1970, 1, 1) + (read(text) - datetime(1970, 1, 1)) / 1000)


def sql_server(text: str) -> str:
    """What the type datetime keeps: ticks of a three-hundredth of a second, shown in milliseconds."""
    at = read(text)
    ticks = round(at.microsecond * 3 / 10_000)
    return shown(at.replace(microsecond=0) + timedelta(milliseconds=round(ticks * 10 / 3)))


def julian(text: str) -> str:
    """The day that the Julian calendar calls by the same name (Meeus, Astronomical Algorithms, chapter 7)."""
    at = date.fromisoformat(text)
    return str(at + timedelta(days=at.year // 100 - at.year // 400 - 2))


def shuffled(text: str) -> str:
    return "{" + ",".join(sorted(text[1:-1].split(","), reverse=True)) + "}"


def renamed(**codes: str) -> Callable[[str], str]:
    return codes.__getitem__


@dataclass(frozen=True)
class Case:
    """A transformation.

    Attributes:
        name: of the case.
        cause: that it should be given.
        says: words that the diagnosis must hold.
        type: of the column in PostgreSQL.
        source: makes a value.
        corrupt: makes the target of it.
        likely: words that the likely cause must hold.
    """

    name: str
    cause: str
    says: str
    type: str
    source: Callable[[Random], Value]
    corrupt: Callable[[str], Value]
    likely: str = ""


def always(value: Value) -> Callable[[object], Value]:
    return lambda _: value


NUMERIC, INTEGER, TEXT, JSONB = "numeric(14,4)", "integer", "text", "jsonb"

CASES: tuple[Case, ...] = (
    # NULL and constants
    Case("null-empty", "null-to-empty", "NULL arrives as the empty text", TEXT, always(None), always(""), "Parquet"),
    Case("empty-null", "empty-to-null", "empty text arrives as NULL", TEXT, always(""), always(None)),
    Case("null-zero", "null-to-sentinel", "NULL arrives as '0'", INTEGER, always(None), always("0"), "COALESCE"),
    Case("null-1970", "null-to-sentinel", "'1970-01-01 00:00:00'", TIMESTAMP, always(None), always("1970-01-01 00:00:00"), "Unix"),
    Case("null-9999", "null-to-sentinel", "'9999-12-31'", "date", always(None), always("9999-12-31"), "open-ended"),
    Case("null-none", "null-to-sentinel", "'None'", TEXT, always(None), always("None"), "Python"),
    Case("null-nan", "null-to-sentinel", "'NaN'", "double precision", always(None), always("NaN"), "pandas"),
    Case("null-other", "null-to-sentinel", "'(keine Angabe)'", TEXT, always(None), always("(keine Angabe)")),
    Case("not-applicable", "sentinel-to-null", "'N/A' arrives as NULL", TEXT, always("N/A"), always(None), "NULL_IF"),
    Case("infinity", "special-value", "infinity arrives as '9999-12-31'", "date", always("infinity"), always("9999-12-31")),
    Case("before-christ", "unrepresentable-to-null", "arrive as NULL", "date", lambda r: f"{day(r)} BC", always(None)),
    Case("default", "replaced-by-default", "the target has 'unknown'", TEXT, phrase, always("unknown")),
    Case("nulled", "replaced-by-default", "the target has NULL", NUMERIC, precise, always(None), "TRY_CAST"),
    Case("capped", "capped", "above 2147483647", "bigint", lambda r: str(r.randrange(2**31, 2**40)), always("2147483647")),
    Case("codes", "recoded", "'M' → 'male'", TEXT, lambda r: r.choice("MF"), renamed(M="male", F="female")),
    Case("inverted", "inverted", "true and false are swapped", "boolean", either, renamed(true="false", false="true")),
    Case("spelt", "boolean-spelling", "spelled differently", TEXT, lambda r: r.choice("tf"), renamed(t="true", f="false")),
    # numbers
    Case("negated", "sign-flipped", "sign is flipped", NUMERIC, precise, lambda s: format(-Decimal(s), "f")),
    Case("absolute", "absolute", "without their sign", NUMERIC, lambda r: f"-{price(r)}", lambda s: s[1:]),
    Case("cents", "scaled-by-power-of-ten", "is 100 times", NUMERIC, price, times("100", "1"), "cents"),
    Case("percent", "scaled-by-power-of-ten", "is 0.01 times", "double precision", lambda r: repr(r.random()), lambda s: repr(float(s) / 100)),
    Case("point", "decimal-point-lost", "decimal point is lost", "numeric", lambda r: f"{r.randrange(1, 99)}.{r.randrange(1, 10 ** r.randint(1, 4))}1", lambda s: s.replace(".", "")),
    Case("net", "constant-factor", "is 1.19 times", NUMERIC, price, times("1.19", "0.01"), "tax"),
    Case("gross", "constant-factor", "divided by 1.19", NUMERIC, price, lambda s: format((Decimal(s) / Decimal("1.19")).quantize(Decimal("0.01"), ROUND_HALF_UP), "f")),
    Case("minutes", "constant-factor", "is 60 times", INTEGER, whole, lambda s: str(int(s) * 60)),
    Case("float32", "float32", "single-precision", "double precision", real, lambda s: repr(float(np.float32(s)))),
    Case("float32-text", "float32", "single-precision", "numeric", precise, lambda s: str(np.float32(float(s)))),
    Case("double", "double", "as a double", "numeric", lambda r: str(r.randrange(10**20, 10**25)), lambda s: format(Decimal(float(s)), "f")),
    Case("half-up", "rounded", "to 2 digits after the point, half away", NUMERIC, precise, quantized("0.01", ROUND_HALF_UP), "ROUND"),
    Case("half-even", "rounded", "half to even", NUMERIC, precise, quantized("0.01", ROUND_HALF_EVEN), "pandas"),
    Case("integer", "rounded", "rounded to whole numbers", NUMERIC, precise, quantized("1", ROUND_HALF_UP), "integer"),
    Case("hundreds", "rounded", "multiples of 100", INTEGER, whole, lambda s: str(round(int(s), -2))),
    Case("cut-digits", "truncated", "cut off to 2 digits", NUMERIC, precise, quantized("0.01", ROUND_DOWN), "TRUNC"),
    Case("floor", "rounded-down", "rounded down to 1 digit", NUMERIC, precise, quantized("0.1", ROUND_FLOOR)),
    Case("ceiling", "rounded-up", "rounded up to whole", NUMERIC, precise, quantized("1", ROUND_CEILING)),
    Case("huge-round", "rounded", "to 2 digits", "numeric", lambda r: f"{r.randrange(10**24)}.{r.randrange(10**8):08d}", lambda s: format(Decimal(s).quantize(Decimal("0.01")), "f")),
    Case("significant", "rounded-significant", "6 significant digits", "double precision", lambda r: repr(r.uniform(1, 1e6) ** 3), lambda s: f"{float(s):.6g}"),
    Case("overflow", "integer-overflow", "modulo 2^32", "bigint", lambda r: str(r.randrange(2**33, 2**45)), lambda s: str((int(s) + 2**31) % 2**32 - 2**31)),
    Case("plus", "shifted-by-constant", "greater by 17.5", NUMERIC, price, lambda s: format(Decimal(s) + Decimal("17.5"), "f")),
    Case("plus-long", "shifted-by-constant", "greater by 12345678901234567890123456.005", "numeric", price, lambda s: format(EXACT.add(Decimal(s), Decimal("12345678901234567890123456.005")), "f")),
    Case("off-by-one", "shifted-by-constant", "less by 1", INTEGER, whole, lambda s: str(int(s) - 1)),
    Case("real-plus", "shifted-by-constant", "greater by 1", "real", lambda r: str(np.float32(r.uniform(0, 100))), lambda s: repr(float(np.float32(s)) + 1)),
    Case("float-plus", "shifted-by-constant", "greater by 100", "double precision", real, lambda s: repr(float(s) + 100)),
    # dates and times
    Case("two-hours", "shifted-by-constant", "2 hours later", TIMESTAMP, timestamp, plus(hours=2), "Africa/Johannesburg"),
    Case("india", "shifted-by-constant", "5 hours 30 minutes earlier", INSTANT, instant, plus(hours=-5.5), "Asia/Kolkata"),
    Case("clock", "shifted-by-constant", "3 minutes 20 seconds later", TIMESTAMP, timestamp, plus(minutes=3, seconds=20)),
    Case("clock-time", "shifted-by-constant", "1 hour later", "time without time zone", clock, lambda s: shown(read(f"2000-01-01 {s}") + timedelta(hours=1))[11:]),
    Case("new-york", "time-zone", "local time of America/New_York", INSTANT, instant, local("America/New_York"), "UTC"),
    Case("berlin", "time-zone", "local time of Europe/Berlin", TIMESTAMP, timestamp, utc("Europe/Berlin"), "Europe/Paris"),
    Case("midnight", "time-dropped", "midnight of the same day", TIMESTAMP, timestamp, lambda s: f"{s[:10]} 00:00:00"),
    Case("milliseconds", "fraction-truncated", "milliseconds", TIMESTAMP, timestamp, lambda s: shown(read(s).replace(microsecond=read(s).microsecond // 1000 * 1000))),
    Case("seconds", "fraction-truncated", "to seconds", INSTANT, instant, lambda s: shown(read(s).replace(microsecond=0)) + "+00"),
    Case("rounded-ms", "fraction-rounded", "rounded to milliseconds", TIMESTAMP, timestamp, lambda s: shown(read(s).replace(microsecond=0) + timedelta(milliseconds=round(read(s).microsecond / 1000)))),
    Case("sql-server", "fraction-rounded", "three-hundredths", TIMESTAMP, timestamp, sql_server, "SQL Server"),
    Case("day-before", "off-by-one-day", "one day earlier", "date", day, lambda s: str(date.fromisoformat(s) - timedelta(days=1))),
    Case("excel", "shifted-by-constant", "1,462 days later", "date", day, lambda s: str(date.fromisoformat(s) + timedelta(days=1462)), "Excel"),
    Case("american", "day-month-swapped", "day and month are swapped", "date", lambda r: str(date(r.randint(2000, 2030), r.randint(1, 12), r.randint(1, 12))), lambda s: f"{s[:5]}{s[8:]}-{s[5:7]}"),
    Case("two-digits", "century", "100 years earlier", "date", day, with_year(-100), "two digits"),
    Case("buddhist", "shifted-by-years", "543 years later", "date", day, with_year(543), "Buddhist"),
    Case("javascript", "shifted-by-months", "1 month later", "date", lambda r: str(date(2024, r.randint(1, 11), r.randint(1, 28))), lambda s: f"{s[:5]}{int(s[5:7]) + 1:02d}{s[7:]}"),
    Case("epoch", "epoch-unit", "a thousand times", TIMESTAMP, lambda r: shown(moment(r).replace(microsecond=0)), from_epoch),
    Case("calendar", "julian-calendar", "before 1582-10-15", "date", lambda r: f"{r.randint(1101, 1499)}-{r.randint(4, 9):02d}-{r.randint(1, 28):02d}", julian, "Spark".lower()),
    Case("era", "era-lost", "years BC", "date", lambda r: f"{day(r)} BC", lambda s: s.removesuffix(" BC")),
    Case("end-of-day", "end-of-day", "24:00", "time without time zone", always("24:00:00"), always("00:00:00")),
    Case("as-timestamp", "reformatted", "same moment", "date", day, lambda s: f"{s} 00:00:00"),
    # JSON, arrays and bytes
    Case("spacing", "json-reformatted", "but for spacing", JSONB, document, lambda s: json.dumps(json.loads(s), separators=(",", ":"))),
    Case("key-order", "json-reformatted", "the order of keys", JSONB, document, lambda s: json.dumps(json.loads(s), sort_keys=True)),
    Case("json-text", "json-reformatted", "spacing", TEXT, document, lambda s: json.dumps(json.loads(s), indent=1)),
    Case("json-double", "json-numbers-rounded", "doubles", JSONB, lambda r: f'{{"n": 0.{r.randrange(1, 10**24):024d}1}}', lambda s: json.dumps(json.loads(s))),
    Case("json-keys", "json-duplicate-keys", "doubled keys", "json", lambda r: f'{{"a":{r.randrange(10**6)},"a":{r.randrange(10**6)}}}', lambda s: json.dumps(json.loads(s))),
    Case("json-nulls", "json-nulls-dropped", "left out", JSONB, document, lambda s: json.dumps({k: v for k, v in json.loads(s).items() if v is not None})),
    Case("json-quoted", "json-quoted", "JSON string", JSONB, document, json.dumps),
    Case("json-strings", "json-numbers-as-texts", "became texts", JSONB, document, lambda s: json.dumps({k: str(v) if isinstance(v, int) else v for k, v in json.loads(s).items()})),
    Case("json-lists", "json-elements-reordered", "another order", JSONB, lambda r: json.dumps({"t": r.sample(range(50), 5)}), lambda s: json.dumps({"t": json.loads(s)["t"][::-1]})),
    Case("brackets", "array-reformatted", "another format", "integer[]", array, lambda s: json.dumps(json.loads(f"[{s[1:-1]}]"))),
    Case("bounds", "array-bounds-lost", "lower bounds", "integer[]", lambda r: f"[0:5]={array(r)}", lambda s: s.partition("=")[2]),
    Case("unordered", "array-elements-reordered", "elements are in another order", "integer[]", array, shuffled),
    Case("base64", "base64", "Base64", "bytea", octets, lambda s: "\\x" + base64.b64encode(bytes.fromhex(s[2:])).hex()),
    Case("hex", "hexadecimal-as-text", "hexadecimal digits", "bytea", octets, lambda s: "\\x" + s[2:].encode().hex()),
    Case("bytes", "truncated-text", "cut after 16 bytes", "bytea", octets, lambda s: s[:34]),
    # texts
    Case("rtrim", "trimmed-right", "at the end is lost", TEXT, lambda r: phrase(r) + " " * r.randint(1, 3), str.rstrip, "TRIM_SPACE"),
    Case("ltrim", "trimmed-left", "at the start is lost", TEXT, lambda r: " " * r.randint(1, 3) + phrase(r), str.lstrip),
    Case("trim", "trimmed", "at both ends is lost", TEXT, lambda r: f"{' ' * r.randint(0, 2)}{phrase(r)}\t \n"[: r.randint(30, 60)], str.strip),
    Case("lower", "lower-case", "lower case", TEXT, phrase, str.lower),
    Case("upper", "upper-case", "upper case", TEXT, phrase, str.upper),
    Case("title", "title-case", "title case", TEXT, phrase, string.capwords),
    Case("capital", "first-letter-upper", "first letter", TEXT, phrase, str.capitalize),
    Case("zeros", "leading-zeros-lost", "leading zeros", TEXT, lambda r: f"{r.randrange(10**6):08d}", lambda s: str(int(s))),
    Case("char", "padded", "on the right with spaces to 60", TEXT, phrase, lambda s: s.ljust(60), "char(60)"),
    Case("zero-filled", "padded", "on the left with '0' to 12", TEXT, whole, lambda s: s.zfill(12)),
    Case("as-number", "number-reformatted", "same number", TEXT, lambda r: f"{r.randrange(1, 10**5)}", lambda s: repr(float(s))),
    Case("varchar", "truncated-text", "cut after 10 characters", TEXT, phrase, lambda s: s[:10]),
    Case("odd-varchar", "truncated-text", "cut after 13 characters", TEXT, phrase, lambda s: s[:13]),
    Case("octets", "truncated-text", "cut after 16 bytes", TEXT, accented, lambda s: s.encode()[:16].decode(errors="ignore")),
    Case("currency", "affix-added", "'EUR ' is added at the start", TEXT, price, lambda s: f"EUR {s}"),
    Case("line", "affix-added", "a line feed is added at the end", TEXT, phrase, lambda s: f"{s}\n"),
    Case("prefix", "affix-removed", "'SKU-' is removed at the start", TEXT, lambda r: f"SKU-{phrase(r)}", lambda s: s[4:]),
    Case("last", "last-characters-lost", "the last character is lost", TEXT, phrase, lambda s: s[:-1]),
    Case("first", "first-characters-lost", "the first 2 characters are lost", TEXT, phrase, lambda s: s[2:]),
    Case("lf", "line-endings", "line endings", TEXT, lambda r: f"{phrase(r)}\r\n{phrase(r)}", lambda s: s.replace("\r\n", "\n")),
    Case("crlf", "line-endings", "line endings", TEXT, lambda r: f"{phrase(r)}\n{phrase(r)}", lambda s: s.replace("\n", "\r\n")),
    Case("one-line", "line-ends-flattened", "became spaces", TEXT, lambda r: f"{phrase(r)}\n{phrase(r)}", lambda s: s.replace("\n", " ")),
    Case("csv-quotes", "quotes-doubled", "doubled", TEXT, lambda r: f'{phrase(r)} "{phrase(r)}"', lambda s: s.replace('"', '""'), "ESCAPE"),
    Case("quoted", "quotes-around", "surround the text", TEXT, phrase, lambda s: f'"{s}"'),
    Case("backslashes", "backslashes-doubled", "backslashes", TEXT, lambda r: f"C:\\{phrase(r)}", lambda s: s.replace("\\", "\\\\")),
    Case("copy", "backslash-escapes", "as backslash escapes", TEXT, lambda r: f"{phrase(r)}\n{phrase(r)}", lambda s: s.replace("\n", "\\n")),
    Case("controls", "control-characters-removed", "control characters", TEXT, lambda r: f"{phrase(r)}{r.choice(chr(7) + chr(27))}{phrase(r)}", lambda s: s.replace("\x07", "").replace("\x1b", "")),
    Case("bom", "invisible-characters-removed", "invisible", TEXT, lambda r: f"{phrase(r)}{r.choice('​﻿')}{phrase(r)}", lambda s: s.replace("\u200b", "").replace("\ufeff", "")),
    Case("emoji", "emoji-removed", "emoji", TEXT, lambda r: f"{phrase(r)} {r.choice('😀🚀')} {phrase(r)}", lambda s: "".join(c for c in s if ord(c) < 65536), "utf8mb4"),
    Case("utf8mb3", "emoji-removed", "ends before the first", TEXT, lambda r: f"{phrase(r)} {r.choice('😀🚀')} {phrase(r)}", lambda s: s.split("😀")[0].split("🚀")[0]),
    Case("unaccent", "accents-removed", "accents", TEXT, lambda r: f"Müller café {phrase(r)}".replace("Łódź", ""), lambda s: "".join(c for c in unicodedata.normalize("NFD", s) if not unicodedata.combining(c))),
    Case("ascii", "non-ascii-removed", "beyond ASCII are lost", TEXT, accented, lambda s: s.encode("ascii", "ignore").decode()),
    Case("nfd", "unicode-normal-form", "NFD", TEXT, accented, lambda s: unicodedata.normalize("NFD", s)),
    Case("nfc", "unicode-normal-form", "NFC", TEXT, lambda r: unicodedata.normalize("NFD", f"Zürich {phrase(r)}"), lambda s: unicodedata.normalize("NFC", s)),
    Case("nfkc", "unicode-normal-form", "NFKC", TEXT, lambda r: f"{phrase(r)} {r.choice('ﬁ²Ⅷ')}", lambda s: unicodedata.normalize("NFKC", s)),
    Case("latin-1", "mojibake", "UTF-8 read as ISO-8859-1", TEXT, accented, misread("latin-1"), "ENCODING"),
    Case("cp1252", "mojibake", "UTF-8 read as Windows-1252", TEXT, lambda r: f"{plain(r)} – „é“", lambda s: s.encode().decode("cp1252", "replace").replace("\ufffd", "\x9d")),
    Case("cp437", "mojibake", "code page 437", TEXT, accented, misread("cp437")),
    Case("twice", "mojibake", "ISO-8859-1, twice over", TEXT, accented, misread("latin-1", 2)),
    Case("repaired", "mojibake-repaired", "the text that was meant", TEXT, lambda r: misread("latin-1")(accented(r)), lambda s: s.encode("latin-1").decode()),
    Case("as-utf8", "mojibake", "Windows-1252 read as UTF-8", TEXT, lambda r: f"Müller {plain(r)} é", lambda s: s.encode("cp1252").decode(errors="replace")),
    Case("narrow", "not-encodable", "Windows-1252 does not have", TEXT, lambda r: f"Łódź {plain(r)} é", lambda s: s.encode("cp1252", "replace").decode("cp1252")),
    Case("question", "question-marks", "question marks", TEXT, accented, lambda s: s.encode("ascii", "replace").decode()),
    Case("replaced", "replacement-characters", "became U+FFFD", TEXT, accented, lambda s: "".join(c if c.isascii() else "\ufffd\ufffd" for c in s)),
    Case("references", "characters-escaped", "XML character references", TEXT, accented, lambda s: s.encode("ascii", "xmlcharrefreplace").decode()),
    Case("html", "characters-escaped", "HTML entities", TEXT, lambda r: f"{plain(r)} & {plain(r)} <b>", html.escape),
    Case("json-escapes", "characters-escaped", "backslash", TEXT, accented, lambda s: json.dumps(s)[1:-1]),
    Case("dates", "character-replaced", "'-' (U+002D) became '/'", TEXT, day, lambda s: s.replace("-", "/")),
    Case("dashes", "character-removed", "'-' (U+002D) became nothing", "uuid", lambda r: f"{r.getrandbits(48):012x}-{r.getrandbits(16):04x}-{r.getrandbits(16):04x}", lambda s: s.replace("-", "")),
    Case("collapsed", "spaces-collapsed", "single spaces", TEXT, lambda r: f"{phrase(r)}   {phrase(r)}", lambda s: " ".join(s.split())),
    Case("reflowed", "white-space", "only white space", TEXT, lambda r: f"{phrase(r)}  {phrase(r)}", lambda s: s.replace("  ", "\n\t") + " "),
)  # fmt: skip
