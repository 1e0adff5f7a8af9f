"""Runs `runbook kafka produce` in the project's environment, for a scheduler that starts Python files: `python -m pipeline.kafka.produce`."""

import sys
from pathlib import Path
from subprocess import call

sys.exit(call([Path(__file__).parents[2] / ".venv/bin/runbook", "kafka", "produce", *sys.argv[1:]]))
