"""Runs: notebooks executed unattended, their gates, and what is kept of them under `outputs/`."""
