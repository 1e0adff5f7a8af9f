"""What the doctor's tests share."""

from __future__ import annotations

import json

import pytest

from helpers.local import folder
from helpers.settings import Settings


@pytest.fixture(scope="session")
def superuser_password(local_settings: Settings) -> str:
    """Of the local stack's PostgreSQL, and of every other that the tests make."""
    return str(json.loads((folder.default_root() / "state.json").read_text())["passwords"]["superuser"])
