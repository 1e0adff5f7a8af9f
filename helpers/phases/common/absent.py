"""Steps that a run does not perform, each with the reason: their system is not in the profile, or they exist elsewhere by the settings.

A step whose system the profile does not have is not applicable, and never ticked by another's system.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from helpers import checklist
from helpers.settings import Settings


class _Lack(NamedTuple):
    why: str
    steps: tuple[str, ...]


def absent_steps(settings: Settings, option: str) -> dict[str, str]:
    """The steps of an option that this run does not perform.

    Args:
        settings: the profile.
        option: the migration path.

    Returns:
        Why not, by the step's id: what exists elsewhere by the settings, or what the profile does not have.
    """
    found: dict[str, str] = {}
    for step in (name for box in checklist.steps_for_option(option) for name in box.ids):
        if (theirs := settings.elsewhere.get(checklist.elsewhere_by(step) or "")) is not None:
            found[step] = f"{theirs.what} ({theirs.link})"
    for lack in (*_lacks(settings), *_terraform(settings), *_of_hybrid(option)):
        for step in lack.steps:
            found.setdefault(step, lack.why)
    if settings.values.archive is None and "s50-remove-legacy" in found:
        # What this run removes itself, it archives first: without a place for that it does not go on.
        why = f"the profile names no archive ([profiles.{settings.profile}.archive]), and this run removes nothing"
        found.setdefault("s50-archive", why)
    for validated, made in _VALIDATED.items():
        if all(step in found for step in made):
            found.setdefault(validated, "no step of this run applies the module")
    return found


def _of_hybrid(option: str) -> Iterator[_Lack]:
    if option == "B":
        why = "option B freezes nothing: what stays goes on being written, and the tables that moved are refreshed from it"
        yield _Lack(why, ("s50-freeze", "s50-freeze-holds", "s90-unfreeze"))
        why = "on option B PostgreSQL stays the original, and nothing that is in the target alone is brought back"
        yield _Lack(why, ("s90-compare", "s90-recovery", "s90-verify"))


def module_of(settings: Settings, option: str) -> Path | None:
    """The root module of Terraform that phase 10 makes; None where the profile has none."""
    named = settings.terraform.legacy_module if option == "C" else settings.terraform.module
    return (settings.file.parent / named).resolve() if named else None


_VALIDATED = {"s10-validate": ("s10-base", "s10-snowflake", "s10-kafka"), "s10-legacy-validate": ("s10-legacy",)}


def _terraform(settings: Settings) -> Iterator[_Lack]:
    own, at = settings.terraform, f"[profiles.{settings.profile}"
    steps = ("s10-base", "s10-snowflake", "s10-kafka")
    if settings.values.snowflake is None:
        yield _Lack(f"the profile has no Snowflake ({at}.snowflake])", ("s10-snowflake",))
    if settings.values.kafka is None:
        yield _Lack(f"the profile has no Kafka ({at}.kafka])", ("s10-kafka",))
    if own.module is None:
        yield _Lack(f"the profile has no Terraform module ({at}.terraform] module)", steps)
    elif not own.targets:
        yield _Lack(f"s10-base makes the whole module: {at}.terraform.targets] names no part of it", steps[1:])
    else:
        why = f"{at}.terraform.targets] names nothing of the module for this step"
        yield _Lack(why, tuple(step for step in steps if step not in own.targets))
    if own.legacy_module is None:
        why = f"the profile has no Terraform module of the legacy infrastructure ({at}.terraform] legacy_module)"
        yield _Lack(why, ("s10-legacy", "s50-remove-legacy"))


def _lacks(settings: Settings) -> Iterator[_Lack]:
    at = f"[profiles.{settings.profile}"
    if settings.dns is None:
        why = f"the profile names no record that readers follow ({at}.dns])"
        yield _Lack(why, ("s50-dns", "s50-traffic", "s90-traffic"))
    if settings.values.airflow is None and settings.values.stack != "local":
        yield _Lack(f"the profile has no Airflow ({at}.airflow])", ("s50-dags", "s90-modern-dag", "s90-legacy-dag"))
    if settings.values.aws is None:
        yield _Lack(f"the profile has no AWS account that could show a dashboard ({at}.aws])", ("s50-dashboards",))
        if settings.notify.webhook is None:
            why = f"the profile has neither AWS nor a webhook through which an alarm could go ({at}.aws], {at}.notify] webhook)"
            yield _Lack(
                why, tuple(f"{box}{part}" for box in ("s40-alerts", "s60-monitoring") for part in ("", "-gate"))
            )
    if settings.notify.webhook is None:
        yield _Lack(
            f"the profile has no webhook, so tell the stakeholders yourself ({at}.notify] webhook)", ("s90-notify",)
        )
