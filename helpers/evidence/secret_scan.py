"""Looks for secrets in every file of a run, in every encoding they may have there."""

from __future__ import annotations

import base64
import gzip
import html
import io
import json
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from urllib.parse import quote, unquote

from helpers.checker.container import Container
from helpers.credentials import secret_in
from helpers.redaction import SHORTEST, STANDS_ALONE

_IMAGE = re.compile(r"data:[\w/+.-]+;base64,[A-Za-z0-9+/=]+|\"image/[\w+.-]+\": *\"[^\"]*\"")
_DEEPEST = 3


def scan(container: Container, known: Iterable[str]) -> list[str]:
    """Names the files that hold a secret, and its kind; never the secret.

    Args:
        container: the run's files; their names are searched too.
        known: secrets that must not be there, as they are.

    Returns:
        A sentence a file; none when the run is clean.
    """
    forms = {form for secret in known if len(secret) >= SHORTEST for form in _forms(secret)}
    found = []
    for name in container.names():
        if in_name := _kind(unquote(name), forms):
            found.append(f"the name of a file seems to hold {in_name}")
        kinds = {_kind(text, forms) for text in _texts(name, container.read(name) or b"")}
        found += [f"{'that file' if in_name else name} seems to hold {kind}" for kind in sorted(kinds - {""})]
    return found


def _forms(secret: str) -> Iterator[str]:
    """The secret as it is, escaped for JSON, HTML and URLs, and as base64 at each of the three places in a group."""
    yield secret
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    yield html.escape(secret)
    yield quote(secret, safe="")
    if len(secret) < STANDS_ALONE:
        return
    raw = secret.encode()
    yield raw.hex()
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + raw).decode().rstrip("=")
        # The characters at either end mix in bits of the neighbours.
        yield encoded[(0, 2, 3)[before] : len(encoded) - (1 if (before + len(raw)) % 3 else 0)]


def _kind(text: str, forms: set[str]) -> str:
    for form in forms:
        if form in text and (len(form) >= STANDS_ALONE or re.search(rf"(?<![^\W_]){re.escape(form)}(?![^\W_])", text)):
            return "a secret of the settings"
    return secret_in(_IMAGE.sub("", text)) or ""


def _texts(name: str, data: bytes, depth: int = 0) -> Iterator[str]:
    """What a person or a program may read in a file: its text, and that of what it packs."""
    if depth > _DEEPEST:
        return
    if name.endswith(".ipynb"):
        yield from _strings(data)
    if data.startswith(b"PAR1"):
        yield from _values(data)
        return
    try:
        if data.startswith(b"\x1f\x8b"):
            yield from _texts(name.removesuffix(".gz"), gzip.decompress(data), depth + 1)
            return
        if data.startswith(b"PK\x03\x04"):
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                for member in archive.namelist():
                    yield member
                    yield from _texts(member, archive.read(member), depth + 1)
            return
    except (OSError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile):
        pass  # it is searched as the bytes that it is
    text = data.decode("utf-8", errors="replace")
    if name.endswith(".html"):
        text = _without_plotly(text)
    yield text
    if "%" in text:
        yield unquote(text)
    if b"\0" in data:
        yield data.decode("utf-16-le", errors="replace")


def _strings(data: bytes) -> Iterator[str]:
    """The sources and outputs of a notebook joined: JSON keeps them a line a string, and escaped."""
    try:
        pending: list[object] = [json.loads(data)]
    except ValueError:
        return
    while pending:
        match pending.pop():
            case str() as text:
                yield text
            case list() as items if items and all(isinstance(item, str) for item in items):
                yield "".join(str(item) for item in items)
            case list() as items:
                pending += items
            case dict() as entries:
                pending += [value for key, value in entries.items() if not str(key).startswith("image/")]


def _values(data: bytes) -> Iterator[str]:
    import pyarrow.parquet  # half a second, for the runs that hold such a file

    table = pyarrow.parquet.read_table(io.BytesIO(data))
    yield "\n".join(table.column_names)
    for column in table.columns:
        yield "\n".join(str(value) for value in column.to_pylist() if value is not None)


def _without_plotly(text: str) -> str:
    if "plotly" not in text:
        return text
    import plotly.offline

    # Only the library itself, letter for letter: whatever was planted into it is searched.
    return text.replace(plotly.offline.get_plotlyjs().replace("</script", "<\\/script"), "")
