"""The checklist's name for `runbook load --target databricks`: an export's files into Delta tables, through Spark Connect."""

import sys
from pathlib import Path
from subprocess import call

sys.exit(call([Path(__file__).parents[2] / ".venv/bin/runbook", "load", "--target", "databricks", *sys.argv[1:]]))
