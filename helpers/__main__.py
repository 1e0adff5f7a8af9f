"""`python -m helpers` is the command `runbook`."""

from helpers.commands import main

main()
