"""The proxy that the environment names for an address, for clients that do not read it by themselves.

boto3, requests, delta-rs and Snowflake's connector do; DuckDB reads HTTP_PROXY for every address and no NO_PROXY, Arrow nothing.
"""

from __future__ import annotations

from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass


def proxy_for(url: str) -> str | None:
    """HTTPS_PROXY or HTTP_PROXY for this address, or None where there is none, or NO_PROXY takes it out."""
    parts, known = urlsplit(url), getproxies()
    if proxy_bypass(parts.netloc):
        return None
    return known.get(parts.scheme) or known.get("all")
