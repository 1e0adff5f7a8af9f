"""Who may sign, by the settings: every person one key, every key one person."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from helpers.checker.public_key import PublicKey, public_key
from helpers.checker.signatures import NO_END, FormerKey, plain_name
from helpers.errors import SettingsError, UsageError
from helpers.settings import Settings

_ALIKE = frozenset({"LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE"})
"""Alphabets that share the look of many letters."""

_BY_TWO = frozenset({"cutover", "destructive"})


@dataclass(frozen=True)
class Roll:
    """The people of one profile, and how many of them each step needs."""

    people: Mapping[str, PublicKey]
    settings: Settings
    former: tuple[FormerKey, ...] = ()

    def key(self, name: str) -> PublicKey:
        """That person's public key; raises UsageError for somebody unknown, and before the key's first day."""
        today = datetime.now(UTC).date()
        if (first := self.settings.approvals.start.get(name, today)) > today:
            raise UsageError(
                f"sign as {name}",
                on=f"[profiles.{self.settings.profile}.approvals.from] of {self.settings.file}",
                why=f"the key of {name} signs from {first} on, and today is {today} in UTC",
                next_step="sign on that day or later, or correct the day",
            )
        if name not in self.people:
            raise UsageError(
                f"sign as {name}",
                on=f"[profiles.{self.settings.profile}.approvals.people] of {self.settings.file}",
                why=f"the people known there are {', '.join(sorted(self.people)) or '(nobody)'}",
                next_step=f'add the public key, for example: {name} = "keys/{name}.pem.pub"',
            )
        return self.people[name]

    def asked(self, step: str, kind: str) -> int:
        """How many approvals the settings ask for, whether or not there are so many people."""
        own = self.settings.approvals
        usual = 2 if kind in _BY_TWO and self.settings.values.stack != "local" else 1
        return own.thresholds.get(step) or own.thresholds.get(kind) or max(own.threshold, usual)

    def needed(self, step: str, kind: str) -> int:
        """How many have to approve a step of this class.

        Raises:
            SettingsError: there are fewer people than that.
        """
        needed = self.asked(step, kind)
        if needed > len(self.people):
            raise SettingsError(
                f"find who may approve {step}",
                on=f"[profiles.{self.settings.profile}.approvals] of {self.settings.file}",
                why=f"it needs {needed} approvals, and {len(self.people)} people are named",
                next_step='name them under people, for example: alice = "keys/alice.pem.pub"',
            )
        return needed


def roll(settings: Settings) -> Roll:
    """Reads the public keys of a profile's people.

    Raises:
        SettingsError: a key cannot be read, two names share one, two names are one but for case or spaces, or a name can be
            taken for another.
    """
    section = f"profiles.{settings.profile}.approvals.people"
    people: dict[str, PublicKey] = {}
    seen: dict[str, str] = {}
    for name, given in settings.approvals.people.items():
        if why := _unreadable(name):
            raise SettingsError(
                f"read {section}",
                on=str(settings.file),
                why=f"the name {name!a} {why}",
                next_step="write the person's name in plain letters of one alphabet",
            )
        try:
            key = public_key(given, base=settings.file.parent)
        except UsageError as error:
            raise SettingsError(
                f"read {section}.{name}",
                on=str(settings.file),
                why=f"{error.on}: {error.why}",
                next_step=error.next_step,
            ) from None
        for mark in (plain_name(name), key.keyid):
            if mark in seen:
                raise SettingsError(
                    f"read {section}",
                    on=str(settings.file),
                    why=f"{seen[mark]} and {name} are one person: they share a key, or a name but for case and spaces",
                    next_step="give every person one name and one key of their own",
                )
            seen[mark] = name
        people[name] = key
    return Roll(people, settings, (*_current(settings, people), *_former(settings, people)))


def _current(settings: Settings, people: Mapping[str, PublicKey]) -> Iterator[FormerKey]:
    for name, first in settings.approvals.start.items():
        if name not in people:
            raise SettingsError(
                f"read profiles.{settings.profile}.approvals.from.{name}", on=str(settings.file),
                why=f"the people known are {', '.join(sorted(people)) or '(nobody)'}",
                next_step=f"correct the name, or add the key of {name} under people",
            )  # fmt: skip
        yield FormerKey(name, people[name], first.isoformat(), NO_END)


def _former(settings: Settings, people: Mapping[str, PublicKey]) -> Iterator[FormerKey]:
    owners = {key.keyid: name for name, key in people.items()}
    for each in settings.approvals.former:
        section = f"profiles.{settings.profile}.approvals.former"
        try:
            key = public_key(each.key, base=settings.file.parent)
        except UsageError as error:
            raise SettingsError(
                f"read {section}", on=str(settings.file), why=f"{error.on}: {error.why}", next_step=error.next_step
            ) from None
        if why := _unreadable(each.name) or (
            "is another person's" if owners.setdefault(key.keyid, each.name) != each.name else ""
        ):
            raise SettingsError(
                f"read {section}", on=str(settings.file), why=f"the name {each.name!a}, or its key, {why}",
                next_step="give every person one name and keys of their own",
            )  # fmt: skip
        yield FormerKey(each.name, key, each.start.isoformat() if each.start else "", each.to.isoformat())


def _unreadable(name: str) -> str:
    """Why a reader may take the name for another one's; empty where it is plain.

    Letters of one alphabet that look like those of another are told only within one name (Unicode TR 39, "mixed-script").
    """
    if not name.strip():
        return "is empty"
    if not name.isprintable():
        return "holds a character that nobody sees"
    scripts = {unicodedata.name(each, "").partition(" ")[0] for each in unicodedata.normalize("NFKC", name)}
    mixed = sorted(scripts & _ALIKE)
    return f"mixes the letters of {' and '.join(mixed)}" if len(mixed) > 1 else ""
