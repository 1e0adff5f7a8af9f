"""Start the AWS stand-in. Runs in `.venv-cloud`: `python -m helpers.local.cloud.aws_standin FOLDER PORT`.

moto keeps everything in memory; in the folder there is only a mark of this one server, by which others see that what they
made in a former one is gone.
"""

from __future__ import annotations

import sys
from pathlib import Path
from uuid import uuid4

from moto.server import main as serve

LOOPBACK = "127.0.0.1"


def main(arguments: list[str]) -> None:
    folder, port = arguments
    (Path(folder) / "instance").write_text(uuid4().hex)
    serve(["-H", LOOPBACK, "-p", port])


if __name__ == "__main__":
    main(sys.argv[1:])
