"""How the target is protected, asked where the data is now: phase 60's part of what the doctor knows."""

from __future__ import annotations

from collections.abc import Iterator

from helpers import doctor
from helpers.engines import destination
from helpers.finding import Finding, stop
from helpers.settings import Settings


def findings(settings: Settings) -> Iterator[Finding]:
    """Asks the target and the stage; changes nothing.

    Args:
        settings: the profile, whose section `compliance` says what is demanded.
    """
    systems: tuple[str, ...] = ("snowflake", "stage")
    if settings.values.snowflake is None:
        why = "nobody has asked how it is protected: only Snowflake's encryption, authentication and rights are asked here"
        where, fix = (
            destination(settings.main_target).where,
            "look at them by hand, and say where that is written down: [profiles.NAME.elsewhere] s60-security",
        )
        yield stop(where, why, fix)
        systems = ("stage",)
    yield from (each.as_finding() for each in doctor.examine(settings, systems))
