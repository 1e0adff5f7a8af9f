"""Start the Snowflake stand-in. Runs in `.venv-snowflake`: `python -m helpers.local.servers.snowflake_standin CONFIGURATION`.

The configuration is a file, not arguments, because it holds the password and a command line is everybody's to read.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from helpers.local.standin import server


def main(arguments: list[str]) -> None:
    (file,) = arguments
    server.serve(server.Configuration(**json.loads(Path(file).read_text())))


if __name__ == "__main__":
    main(sys.argv[1:])
