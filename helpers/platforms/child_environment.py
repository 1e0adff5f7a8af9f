"""What of our environment a program that we start is given: what it needs to run here, and nobody's secrets."""

from __future__ import annotations

import os
from collections.abc import Set
from pathlib import Path

from helpers.credentials import written_secret
from helpers.errors import SettingsError
from helpers.settings.references import referred_variables

_KEPT = frozenset(
    "PATH HOME USER LOGNAME LANG LANGUAGE LC_ALL LC_CTYPE TZ TMPDIR LD_LIBRARY_PATH PYTHONDONTWRITEBYTECODE PYTHONUTF8 "
    "SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE CURL_CA_BUNDLE HTTP_PROXY HTTPS_PROXY NO_PROXY ALL_PROXY".split()
)

_READ_WITHOUT_A_REFERENCE = ("RUNBOOK_", "AWS_", "PG", "SNOWFLAKE_", "LEGACY_", "UV_", "PIP_")
"""Beginnings of variables that may hold a secret which no key of the profile names: settings by the environment, what the
clients of AWS, PostgreSQL and Snowflake read by themselves, what Terraform is given (`infrastructure.tf_vars`), and
the indexes that packages come from."""


def child_environment(*prefixes: str) -> dict[str, str]:
    """The variables of ours that a child gets: how to find programs, a home, a language, certificates and proxies.

    Args:
        prefixes: of the further variables that this program reads, such as "AWS_".
    """
    return {name: value for name, value in os.environ.items() if name.upper() in _KEPT or name.startswith(prefixes)}


def environment_of_profile(file: Path, profile: str | None) -> dict[str, str]:
    """Our environment for a child that reads a profile itself, without secrets that this profile has no use for.

    A variable is left out where its name is a secret's, or its value looks like one, such as a URL with a password.

    Args:
        file: the settings.
        profile: its name; what any profile of the file refers to is kept when None.
    """
    try:
        referred: Set[str] = referred_variables(file, profile).keys()
    except SettingsError:  # the child meets the same error, and says it
        referred = set()
    kept = {*referred, *_KEPT, "PWD"}
    return {
        name: value
        for name, value in os.environ.items()
        if name in kept or name.startswith(_READ_WITHOUT_A_REFERENCE) or written_secret(value, name) is None
    }
