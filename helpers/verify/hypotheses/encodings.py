"""Texts whose characters changed: read in another encoding, another Unicode normal form, characters exchanged."""

from __future__ import annotations

import html
import re
import string
import unicodedata
from collections.abc import Iterator
from typing import Literal

from helpers.verify.hypotheses.base import SELF_EVIDENT, TEXTS, Hypothesis, Said
from helpers.verify.hypotheses.escapes import REPLACED
from helpers.verify.hypotheses.examined import examined
from helpers.verify.hypotheses.texts import CASE_FIX

ENCODINGS = {
    "cp1252": "Windows-1252",
    "latin-1": "ISO-8859-1",
    "iso8859-15": "ISO-8859-15",
    "cp1250": "Windows-1250",
    "iso8859-2": "ISO-8859-2",
    "cp1251": "Windows-1251",
    "koi8-r": "KOI8-R",
    "cp1253": "Windows-1253",
    "cp1254": "Windows-1254",
    "cp437": "code page 437",
    "cp850": "code page 850",
    "mac-roman": "Mac Roman",
    "cp932": "Shift JIS",
    "gbk": "GBK",
    "big5": "Big5",
    "euc-kr": "EUC-KR",
}
"""The first that explains a pair is named, so the most used come first."""

BEYOND_ASCII = "strlen(s) <> ls OR strlen(t) <> lt"

FORMS: tuple[Literal["NFC", "NFD", "NFKC", "NFKD"], ...] = ("NFC", "NFD", "NFKC", "NFKD")

WORDS = re.compile(r"[^\W_]+")
"""What PostgreSQL's initcap takes for words."""

LONGEST = 2000
"""Characters of a text in which single exchanged characters are looked for."""

ENCODING_FIX = "name the encoding where the file is read (ENCODING of the file format, encoding= of the reader), or write UTF-8 throughout"


def misread(text: str, encoding: str) -> str | None:
    """The text as it looks when its UTF-8 is read in another encoding; None where that encoding refuses the bytes.

    Windows-1252 leaves five bytes undefined, which browsers and many readers take for control characters
    (https://encoding.spec.whatwg.org/#index-windows-1252).
    """
    raw = text.encode("utf-8", "surrogatepass")
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError:
        if encoding != "cp1252":
            return None
        return "".join(bytes([b]).decode("latin-1" if b in b"\x81\x8d\x8f\x90\x9d" else "cp1252") for b in raw)


def _mojibake(s: str, t: str) -> Iterator[str]:
    for how, origin, result in (("misread", s, t), ("repaired", t, s)):
        if origin.isascii() or len(result) <= len(origin):
            continue
        for encoding in ENCODINGS:
            once = misread(origin, encoding)
            if once == result and once != origin:
                yield f"{how} {encoding}"
            elif once is not None and len(once) < len(result) and misread(once, encoding) == result:
                yield f"{how}-twice {encoding}"


def _say_mojibake(answer: str) -> Said:
    how, encoding = answer.split(" ")
    name, twice = ENCODINGS[encoding], ", twice over" if how.endswith("twice") else ""
    if how.startswith("repaired"):
        return Said(
            f"the source holds UTF-8 read as {name}{twice}, and the target the text that was meant",
            "Something repairs such texts (ftfy, a cleaning step): take it out, or correct the source first.", 3, cause="mojibake-repaired",
        )  # fmt: skip
    return Said(
        f"the target is the source's UTF-8 read as {name}{twice}",
        f"A reader takes UTF-8 for {name}: {ENCODING_FIX}.",
        3,
    )


def _encoded(s: str, t: str) -> Iterator[str]:
    """Bytes of a narrow encoding read as UTF-8, or characters that it does not have replaced."""
    for encoding in ENCODINGS:
        if s.encode(encoding, "replace").decode(encoding) == t:
            yield f"replaced {encoding}"
        elif "\ufffd" in t and s.encode(encoding, "replace").decode("utf-8", "replace") == t:
            yield f"as-utf8 {encoding}"


def _say_encoded(answer: str) -> Said:
    how, encoding = answer.split(" ")
    name = ENCODINGS[encoding]
    if how == "as-utf8":
        return Said(
            f"the target is the source's {name} read as UTF-8, with U+FFFD for what is none",
            f"A file written in {name} is read as UTF-8 and bad bytes are replaced (REPLACE_INVALID_CHARACTERS, "
            f"errors='replace'): {ENCODING_FIX}.", 3,
        )  # fmt: skip
    return Said(
        f"characters that {name} does not have became question marks", f"Something writes {name}: use UTF-8 throughout.", 3, cause="not-encodable",
    )  # fmt: skip


def _normal_form(s: str, t: str) -> Iterator[str]:
    yield from (form for form in FORMS if unicodedata.normalize(form, s) == t)


def _say_normal_form(form: str) -> Said:
    if form not in FORMS:
        what = "the target is the same text in other Unicode code points"
        return Said(what, "Something composes or decomposes characters: take it out.", 3)
    loses = " It also makes different characters one (ﬁ and fi, ² and 2)." if "K" in form else ""
    return Said(
        f"the target is in Unicode normal form {form}",
        f"Something normalises texts (unicodedata.normalize, a file system, a search index): take it out.{loses}",
        1.5,
    )


def _equivalent(s: str, t: str) -> Iterator[str]:
    """Another form of the same text than any of the four, such as one composed in part."""
    if unicodedata.normalize("NFD", s) == unicodedata.normalize("NFD", t):
        yield "canonical"


def _escaped(s: str, t: str) -> Iterator[str]:
    if s.encode("ascii", "xmlcharrefreplace").decode() == t:
        yield "XML character references (&#233;)"
    if t in (s.encode("ascii", "backslashreplace").decode(), _json_escaped(s)):
        yield "escapes with a backslash (\\u00e9)"
    for escaped, plain in ((t, s), (s, t)):
        if html.unescape(escaped) == plain:
            yield "HTML entities (&amp; for &) in the " + ("target" if escaped == t else "source")


def _json_escaped(text: str) -> str:
    units = text.encode("utf-16-be", "surrogatepass")
    codes = [int.from_bytes(units[i : i + 2]) for i in range(0, len(units), 2)]
    return "".join(chr(code) if code < 128 else f"\\u{code:04x}" for code in codes)


def _titled(s: str, t: str) -> Iterator[str]:
    if t in (s.title(), string.capwords(s, " "), WORDS.sub(lambda word: word[0].capitalize(), s)):
        yield "title"
    if t == s.capitalize():
        yield "first"


def _say_titled(answer: str) -> Said:
    if answer == "title":
        return Said("the target is in title case", CASE_FIX, 1)
    return Said("only the first letter is a capital in the target", CASE_FIX, 1, cause="first-letter-upper")


def _exchanged(s: str, t: str) -> Iterator[str]:
    """One character throughout became another, or nothing."""
    if len(s) == len(t):
        changes = {(a, b) for a, b in zip(s, t, strict=True) if a != b}
        if len(changes) == 1:
            ((old, new),) = changes
            if s.replace(old, new) == t:
                yield old + new
    elif len(t) < len(s):
        old = next((a for a, b in zip(s, t, strict=False) if a != b), s[len(t)])
        if s.replace(old, "") == t:
            yield old


def _say_exchanged(answer: str) -> Said:
    became = f"'{answer[1]}'" if len(answer) > 1 else "nothing"
    cause = "character-replaced" if len(answer) > 1 else "character-removed"
    return Said(
        f"the character '{answer[0]}' (U+{ord(answer[0]):04X}) became {became}",
        "A cleaner, a separator or a locale (decimal comma, date separators) exchanges characters: look at the column's "
        "expression.", 6.5, least=3, cause=cause,
    )  # fmt: skip


def _replaced_by(form: str) -> Said:
    likely = "Something encodes to ASCII and escapes the rest, or escapes for HTML or XML: use UTF-8 throughout, and escape where pages are made."
    return Said(f"characters are written as {form}", likely, 2)


HYPOTHESES: tuple[Hypothesis, ...] = (
    examined("title-case", TEXTS, "lower(s) = lower(t)", _titled, _say_titled),
    examined("unicode-normal-form", TEXTS, BEYOND_ASCII, _normal_form, _say_normal_form, accident=SELF_EVIDENT),
    examined("unicode-normal-form", TEXTS, BEYOND_ASCII, _equivalent, _say_normal_form, accident=SELF_EVIDENT),
    examined("mojibake", TEXTS, BEYOND_ASCII, _mojibake, _say_mojibake, accident=SELF_EVIDENT),
    examined("mojibake", TEXTS, "strlen(s) <> ls", _encoded, _say_encoded, accident=SELF_EVIDENT),
    *REPLACED,
    examined(
        "characters-escaped",
        TEXTS,
        "ls <> lt AND (strlen(s) <> ls OR contains(s || t, '&'))",
        _escaped,
        _replaced_by,
        accident=SELF_EVIDENT,
    ),
    examined("character-replaced", TEXTS, f"lt <= ls AND ls <= {LONGEST}", _exchanged, _say_exchanged),
)
