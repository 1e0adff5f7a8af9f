"""The checklist's name for `runbook archive`."""

import sys
from pathlib import Path
from subprocess import call

sys.exit(call([Path(__file__).parents[1] / ".venv/bin/runbook", "archive", *sys.argv[1:]]))
