"""Steps that a run does not perform, each with the reason: their system is not in the profile, or they exist elsewhere by the settings.

A step whose system the profile does not have is not applicable, and never ticked by another's system.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from helpers import checklist
from helpers.settings import Settings
from helpers.settings.local_stack import local_stack


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
    for lack in (*_lacks(settings, option), *_terraform(settings), *_of_hybrid(option)):
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


def has_airflow(settings: Settings) -> bool:
    """Whether the profile names an Airflow, or the local stack starts its own, which reads the DAGs of the sample alone."""
    if settings.values.airflow is not None:
        return True
    return settings.values.stack == "local" and local_stack().describes_sample(settings)


def _lacks(settings: Settings, option: str) -> Iterator[_Lack]:
    at = f"[profiles.{settings.profile}"
    yield from _dags(settings, option)
    yield from _questions(settings, option)
    if settings.dns is None:
        why = f"the profile names no record that readers follow ({at}.dns])"
        yield _Lack(why, ("s50-dns", "s50-traffic", "s90-traffic"))
    if settings.values.aws is None:
        yield _Lack(f"the profile has no AWS account that could show a dashboard ({at}.aws])", ("s50-dashboards",))
        if settings.notify.webhook is None:
            why = f"the profile has neither AWS nor a webhook through which an alarm could go ({at}.aws], {at}.notify] webhook)"
            yield _Lack(why, (*_box("s40-alerts"), *_box("s60-monitoring")))
    if settings.cutover.dashboard is None:
        yield _Lack(f"the profile names no dashboard ({at}.cutover] dashboard)", ("s50-dashboards",))
    if settings.notify.webhook is None:
        yield _Lack(
            f"the profile has no webhook, so tell the stakeholders yourself ({at}.notify] webhook)", ("s90-notify",)
        )


def _dags(settings: Settings, option: str) -> Iterator[_Lack]:
    dags, section = settings.dags, f"[profiles.{settings.profile}.dags]"
    kept = option == "C"
    switches = ("s20-legacy-dag", "s20-legacy-gate") if kept else ("s20-cloud-dag", "s20-cloud-gate")
    run = "s20-legacy-run" if kept else "s20-test"
    own, key = (dags.legacy, "legacy") if kept else (dags.modern, "modern")
    if not has_airflow(settings):
        why = f"the profile has no Airflow ([profiles.{settings.profile}.airflow])"
        yield _Lack(
            why, (*switches, run, "s20-sources", "s20-milestone", "s50-dags", "s90-modern-dag", "s90-legacy-dag")
        )
        if kept and not dags.command:
            yield _Lack(f"{why}, and no command that runs the pipeline ({section} command)", _full_run())
        return
    if not own:
        why = f"the profile names no DAG of this path's pipeline ({section} {key})"
        yield _Lack(why, (run, *(_full_run() if kept and not dags.command else ())))
        if not (dags.retired or (option == "B" and dags.legacy)):
            yield _Lack(why, (*switches, "s20-milestone"))
    if not (dags.modern or dags.legacy or dags.retired):
        why = f"the profile names no DAG ({section})"
        yield _Lack(why, ("s50-dags", "s90-modern-dag", "s90-legacy-dag"))
    if dags.variable is None:
        yield _Lack(
            f"the profile names no variable from which the DAGs learn their data sources ({section} variable)",
            ("s20-sources",),
        )


def _questions(settings: Settings, option: str) -> Iterator[_Lack]:
    sla, at = settings.values.sla, f"[profiles.{settings.profile}"
    figures = [each for each in settings.figures.values() if option != "C" or each.recomputed]
    timed = bool(sla and (sla.queries or sla.views))
    if not timed:
        yield _Lack(f"the profile names no query of today's pipeline to time ({at}.sla])", ("s00-performance",))
    if not timed and (option == "C" or not figures):
        why = (
            f"the profile names neither a query of today's pipeline ({at}.sla]) nor a figure ({at}.figures.…]) to time"
        )
        yield _Lack(why, (*_box("s40-performance"), *_box("s60-performance")))
    if not settings.tests.command:
        yield _Lack(f"the profile names no functional tests ({at}.tests])", _box("s40-functional"))
    if not figures:
        what = "no figure with a second way to it (recomputed)" if option == "C" else "no figure"
        yield _Lack(f"the profile names {what} ({at}.figures.…])", _box("s40-parity"))


def _box(step: str) -> tuple[str, ...]:
    return step, f"{step}-gate"


def _full_run() -> tuple[str, ...]:
    return *_box("s40-full-run"), *_box("s60-pipeline")
