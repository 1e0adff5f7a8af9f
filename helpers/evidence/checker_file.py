"""The check as one file, `verify-evidence.pyz`: Python and the package `cryptography` are all that it needs.

python3 verify-evidence.pyz evidence.zip --public-key seal.pem.pub
"""

from __future__ import annotations

import hashlib
import io
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

from helpers import PROJECT
from helpers.checker.record import CHECKER

_MAIN = "import sys\n\nfrom helpers.checker.__main__ import main\n\nsys.exit(main())\n"
_THE_SAME_FOR_ALL = (1980, 1, 1, 0, 0, 0)


def content() -> bytes:
    """The file's bytes; one state of the code makes one file, so that its digest can be told to anybody."""
    packed = io.BytesIO(b"#!/usr/bin/env python3\n")
    packed.seek(0, io.SEEK_END)
    with zipfile.ZipFile(packed, "a", zipfile.ZIP_STORED) as archive:
        for name, text in sorted(_sources()):
            info = zipfile.ZipInfo(name, date_time=_THE_SAME_FOR_ALL)
            info.create_system = 3
            info.external_attr = 0o100444 << 16
            archive.writestr(info, text)
    return packed.getvalue()


def _sources() -> Iterator[tuple[str, bytes]]:
    yield "__main__.py", _MAIN.encode()
    yield "helpers/__init__.py", b""
    helpers = PROJECT / "helpers"
    for path in (helpers / "errors.py", helpers / "redaction.py", *(helpers / "checker").glob("*.py")):
        yield f"helpers/{path.relative_to(helpers).as_posix()}", path.read_bytes()


def main(target: Path) -> None:
    """Writes the file and prints its digest as `sha256sum` does."""
    data = content()
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    print(f"{hashlib.sha256(data).hexdigest()}  {target}")  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else CHECKER))
