"""Start the AWS stand-in. Runs in `.venv-cloud`: `python -m helpers.local.cloud.aws_standin FOLDER PORT`.

The folder is only for being recognised by: moto keeps everything in memory.
"""

from __future__ import annotations

import sys

from moto.server import main as serve

from helpers.local.cloud import alarms

LOOPBACK = "127.0.0.1"


def main(arguments: list[str]) -> None:
    _, port = arguments
    alarms.install()
    serve(["-H", LOOPBACK, "-p", port])


if __name__ == "__main__":
    main(sys.argv[1:])
