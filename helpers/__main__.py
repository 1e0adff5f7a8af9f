"""`python -m helpers` is the command `runbook`."""

from helpers.cli import main

main()
