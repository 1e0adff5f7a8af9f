"""What of our environment a program that we start is given: what it needs to run here, and nobody's secrets."""

from __future__ import annotations

import os

_KEPT = frozenset(
    "PATH HOME USER LOGNAME LANG LANGUAGE LC_ALL LC_CTYPE TZ TMPDIR LD_LIBRARY_PATH PYTHONDONTWRITEBYTECODE PYTHONUTF8 "
    "SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE CURL_CA_BUNDLE HTTP_PROXY HTTPS_PROXY NO_PROXY ALL_PROXY".split()
)


def child_environment(*prefixes: str) -> dict[str, str]:
    """The variables of ours that a child gets: how to find programs, a home, a language, certificates and proxies.

    Args:
        prefixes: of the further variables that this program reads, such as "AWS_".
    """
    return {name: value for name, value in os.environ.items() if name.upper() in _KEPT or name.startswith(prefixes)}
