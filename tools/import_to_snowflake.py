"""The checklist's name for `runbook load --target snowflake`."""

import sys
from pathlib import Path
from subprocess import call

sys.exit(call([Path(__file__).parents[1] / ".venv/bin/runbook", "load", "--target", "snowflake", *sys.argv[1:]]))
