"""The checklist's name for `runbook export`."""

import sys
from pathlib import Path
from subprocess import call

sys.exit(call([Path(__file__).parents[1] / ".venv/bin/runbook", "export", *sys.argv[1:]]))
