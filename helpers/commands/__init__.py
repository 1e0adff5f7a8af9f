"""The command, one file a topic; `app` lists them."""

from helpers.commands.app import main

__all__ = ["main"]
