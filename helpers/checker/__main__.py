"""The check as a command of its own, which imports nothing but what a check needs: `python -m helpers.checker PATH …`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from helpers.checker.check import check, in_words
from helpers.checker.public_key import public_key
from helpers.errors import MigrationError


def main(arguments: list[str] | None = None) -> int:
    """Checks, prints and returns what to exit with: 0 intact, 1 tampered, 2 nothing to check."""
    parser = argparse.ArgumentParser(
        prog="verify-evidence",
        description="Checks offline that a sealed run was not changed, and that it shows what it claims.",
    )
    parser.add_argument("path", type=Path, help="the run's folder, or its evidence.zip")
    parser.add_argument(
        "--public-key", required=True, help="public key of the person who sealed it: a file, PEM text, or base64"
    )
    parser.add_argument("--run-key", help="public key of the machine that ran it; default: the one that the run names")
    parser.add_argument("--previous", type=Path, help="the previous run, a folder or an archive")
    parser.add_argument(
        "--checklist",
        action="append",
        default=[],
        help="SHA-256 of a checklist that you trust and this program does not know; repeatable",
    )
    parser.add_argument("--timestamp-root", type=Path, help="PEM file of the root that proves the run's time stamps")
    parser.add_argument("--json", action="store_true", help="print one object")
    given = parser.parse_args(arguments)
    try:
        checked = check(
            given.path,
            public_key(given.public_key),
            run_key=public_key(given.run_key) if given.run_key else None,
            previous=given.previous,
            checklists=given.checklist,
            timestamp_root=given.timestamp_root,
        )
    except MigrationError as error:
        print(json.dumps({"error": error.as_dict()}) if given.json else error)  # noqa: T201
        return error.exit_code
    lines = [json.dumps(checked.as_dict())] if given.json else in_words(checked)
    print("\n".join(lines))  # noqa: T201
    return 1 if checked.findings else 0


if __name__ == "__main__":
    sys.exit(main())
