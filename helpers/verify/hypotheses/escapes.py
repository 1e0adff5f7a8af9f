"""Texts and bytes in transit: line ends, quotation marks and backslashes of file formats, characters taken out."""

from __future__ import annotations

from helpers.platforms.postgres import literal
from helpers.verify.hypotheses.base import SELF_EVIDENT, TEXTS, Hypothesis, fixed
from helpers.verify.hypotheses.texts import BINARY, CUT

CONTROLS = "[\\x00-\\x08\\x0B\\x0C\\x0E-\\x1F\\x7F]"
INVISIBLE = "[\\x{00AD}\\x{200B}-\\x{200F}\\x{2028}-\\x{202E}\\x{2060}\\x{FEFF}]"
BEYOND_BMP = "[\\x{10000}-\\x{10FFFF}]"
NOT_ASCII = "[^\\x00-\\x7F]"

QUOTE, APOSTROPHE, BACKSLASH = "chr(34)", "chr(39)", "chr(92)"
REPLACEMENT = "\ufffd"
RETURN, FEED, TAB = "chr(13)", "chr(10)", "chr(9)"


def _without(pattern: str) -> str:
    """The target is the source without what the pattern matches."""
    return f"CASE WHEN lt < ls THEN t = regexp_replace(s, {literal(pattern)}, '', 'g') END"


def _either(*forms: tuple[str, str]) -> str:
    """One form of the source is the other in the target throughout, or the reverse."""
    return " OR ".join(
        f"coalesce(CASE WHEN ls <> lt AND (contains(s, {one}) OR contains(t, {one})) "
        f"THEN t = replace(s, {one}, {other}) OR s = replace(t, {one}, {other}) END, false)"
        for one, other in forms
    )


def _marked(mark: str, pattern: str) -> str:
    """Where the source has characters beyond ASCII, the target has marks."""
    plain = f"regexp_replace(t, '({pattern})+', '{mark}', 'g')"
    return f"{plain} = regexp_replace(s, '({NOT_ASCII}|{pattern})+', '{mark}', 'g')"


HYPOTHESES: tuple[Hypothesis, ...] = (
    fixed(
        "line-endings",
        CUT,
        f"{_either((f'{RETURN} || {FEED}', FEED))} OR t = replace(s, {RETURN}, {FEED}) OR s = replace(t, {RETURN}, {FEED})",
        accident=SELF_EVIDENT,
    ),
    fixed(
        "line-ends-flattened",
        TEXTS,
        f"CASE WHEN contains(s, {FEED}) OR contains(s, {RETURN}) THEN t IN (regexp_replace(s, '[\\r\\n]+', ' ', 'g'), "
        "regexp_replace(s, '\\r\\n|\\r|\\n', ' ', 'g'), regexp_replace(s, '[\\r\\n]+', '', 'g')) END",
        accident=SELF_EVIDENT,
    ),
    fixed(
        "quotes-doubled",
        CUT,
        _either((QUOTE, f"{QUOTE} || {QUOTE}"), (APOSTROPHE, f"{APOSTROPHE} || {APOSTROPHE}")),
        accident=SELF_EVIDENT,
    ),
    fixed(
        "quotes-around",
        TEXTS,
        " OR ".join(f"{x} = {q} || {y} || {q}" for q in (QUOTE, APOSTROPHE) for x, y in ("st", "ts")),
        accident=SELF_EVIDENT,
    ),
    fixed(
        "backslashes-doubled",
        CUT,
        _either(*((mark, f"{BACKSLASH} || {mark}") for mark in (BACKSLASH, QUOTE, APOSTROPHE))),
        accident=SELF_EVIDENT,
    ),
    fixed(
        "backslash-escapes",
        CUT,
        _either(*((mark, f"{BACKSLASH} || '{letter}'") for mark, letter in ((FEED, "n"), (TAB, "t"), (RETURN, "r")))),
        accident=SELF_EVIDENT,
    ),
    fixed("control-characters-removed", TEXTS, _without(CONTROLS), accident=SELF_EVIDENT),
    fixed("invisible-characters-removed", TEXTS, _without(INVISIBLE), accident=SELF_EVIDENT),
    fixed(
        "emoji-removed",
        TEXTS,
        f"CASE WHEN lt < ls THEN t IN (regexp_replace(s, '{BEYOND_BMP}', '', 'g'), regexp_replace(s, '{BEYOND_BMP}.*', '', 's')) END",
        accident=SELF_EVIDENT,
    ),
    fixed("accents-removed", TEXTS, "s <> t AND t = strip_accents(s)", accident=1e-4),
    fixed("non-ascii-removed", TEXTS, _without(NOT_ASCII)),
    fixed("question-marks", TEXTS, f"CASE WHEN contains(t, '?') THEN {_marked('?', '[?]')} END", accident=SELF_EVIDENT),
    fixed(
        "base64",
        BINARY,
        "starts_with(s, '\\x') AND (t = base64(unhex(substr(s, 3))) "
        "OR t = '\\x' || lower(hex(encode(base64(unhex(substr(s, 3)))))))",
        accident=SELF_EVIDENT,
    ),
    fixed(
        "hexadecimal-as-text",
        BINARY,
        "t IN ('\\x' || lower(hex(encode(substr(s, 3)))), '\\x' || lower(hex(encode(s)))) OR lower(t) = substr(s, 3)",
        accident=SELF_EVIDENT,
    ),
)

REPLACED: tuple[Hypothesis, ...] = (
    fixed(
        "replacement-characters",
        TEXTS,
        f"CASE WHEN contains(t, '{REPLACEMENT}') THEN {_marked(REPLACEMENT, REPLACEMENT)} END",
        accident=SELF_EVIDENT,
    ),
)
"""Tested after the encodings that may have left such marks."""
