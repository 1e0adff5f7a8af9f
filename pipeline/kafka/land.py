"""Runs `runbook kafka land` in the project's environment, for a scheduler that starts Python files: `python -m pipeline.kafka.land`."""

import sys
from pathlib import Path
from subprocess import call

sys.exit(call([Path(__file__).parents[2] / ".venv/bin/runbook", "kafka", "land", *sys.argv[1:]]))
