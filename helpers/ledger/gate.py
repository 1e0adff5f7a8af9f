"""A gate is a value: the check makes it, and the step behind it cannot be called without it.

    counts = gate("row-counts", report.equal, evidence=report, next_step="see the differing tables")
    cut_over(plan, counts)        # calls require(counts, "row-counts")

A position in a notebook protects nothing: run the cell below a failed one, and it runs.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping, Set
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any, NoReturn
from uuid import UUID

from helpers.errors import GateClosed, UsageError

_KEY = secrets.token_bytes(32)
"""Of this process: a token from another one proves nothing about what is true now."""

_LONGEST_WHY = 300


@dataclasses.dataclass(frozen=True)
class Token:
    """An open gate. Made by `gate` or `rehearse` only; `require` knows one that was not.

    Attributes:
        name: the gate's.
        evidence: SHA-256 of what was judged.
        at: when.
        rehearsed: True when the step before was planned and not applied, so that there was nothing to judge.
        absent: why there was nothing to judge for good, "not applicable" or "exists elsewhere"; empty where there was.
    """

    name: str
    evidence: str
    at: datetime = dataclasses.field(repr=False)
    rehearsed: bool = False
    absent: str = ""
    seal: str = dataclasses.field(repr=False, default="")

    @property
    def answer(self) -> str:
        """What people read: "passed" of what was judged alone."""
        return self.absent or ("rehearsed" if self.rehearsed else "passed")

    @property
    def _mark(self) -> str:
        return "–" if self.absent else "◌" if self.rehearsed else "✔"

    def _repr_markdown_(self) -> str:
        # Neither time nor digest: nbval compares this with the next run's.
        return f"{self._mark} gate **{self.name}** {self.answer}"

    def __str__(self) -> str:
        return f"{self._mark} gate {self.name} {self.answer}"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(str(self))


def gate(name: str, passed: bool, *, evidence: object, next_step: str) -> Token:
    """Lets a run pass, or closes in front of it.

    Args:
        name: what is protected, such as `row-counts`.
        passed: the answer, a real bool: a report is always true.
        evidence: what the answer was read from; its digest goes into the token.
        next_step: what the operator does when the gate is closed.

    Raises:
        GateClosed: the answer is no.
        UsageError: `passed` is no bool, or there is no evidence that can be digested.
    """
    if type(passed) is not bool:
        _misused(
            "open a gate", name, f"passed is a {type(passed).__name__}, not a bool", "pass report.equal or bool(…)"
        )
    if evidence is None:
        _misused("open a gate", name, "there is no evidence", "pass the report that the answer was read from")
    text = _canonical(name, evidence)
    if not passed:
        why = text if len(text) <= _LONGEST_WHY else f"{text[:_LONGEST_WHY]}…"
        raise GateClosed("pass the gate", on=name, why=f"the evidence says no: {why}", next_step=next_step)
    return _sealed(Token(name, hashlib.sha256(text.encode()).hexdigest(), datetime.now(UTC)))


def rehearse(name: str, plan: object) -> Token:
    """The token of a gate behind a step that was planned and not applied. No applied step accepts it.

    Raises:
        UsageError: the plan cannot be digested.
    """
    text = _canonical(name, plan)
    return _sealed(Token(name, hashlib.sha256(text.encode()).hexdigest(), datetime.now(UTC), rehearsed=True))


def pass_by(name: str, said: object, absent: str, *, apply: bool) -> Token:
    """The token of a step that a run does not perform: what stands behind it goes on, and nothing says "passed".

    Args:
        said: why it is not performed, or by whose word.
        absent: "not applicable" or "exists elsewhere".
        apply: whether the run acts; otherwise no applied step accepts the token.

    Raises:
        UsageError: `said` cannot be digested.
    """
    digest = hashlib.sha256(_canonical(name, said).encode()).hexdigest()
    return _sealed(Token(name, digest, datetime.now(UTC), rehearsed=not apply, absent=absent))


def require(token: object, name: str, *, apply: bool = True) -> Token:
    """Called by a protected step before it does anything.

    Args:
        token: what the step was given.
        name: the gate that protects the step.
        apply: whether the step is going to act; a rehearsed token is enough only when it is not.

    Raises:
        UsageError: it is no token, another gate's, one that `gate` did not make in this process, or a rehearsed one.
    """
    what, remedy = "take a step behind a gate", f'pass what gate("{name}", …) returned in this notebook'
    if not isinstance(token, Token):
        _misused(what, name, f"it was given a {type(token).__name__}, not the gate's token", remedy)
    if not hmac.compare_digest(token.seal, _seal(token)):
        _misused(what, name, "its token was not made by a gate of this process", remedy)
    if token.name != name:
        _misused(what, name, f"its token is that of the gate {token.name}", remedy)
    if token.rehearsed and apply:
        _misused(
            what, name, "its token is a rehearsed one", "apply the step before, so that its gate has something to judge"
        )
    return token


def _sealed(token: Token) -> Token:
    return dataclasses.replace(token, seal=_seal(token))


def _seal(token: Token) -> str:
    text = json.dumps([token.name, token.evidence, token.at.isoformat(), token.rehearsed, token.absent])
    return hmac.new(_KEY, text.encode(), hashlib.sha256).hexdigest()


def _canonical(name: str, evidence: object) -> str:
    try:
        return json.dumps(plain(evidence), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    except TypeError as error:
        raise UsageError(
            "digest the evidence of a gate",
            on=name,
            why=str(error),
            next_step="pass plain values, a dataclass, a pydantic model, or something with as_dict()",
        ) from error


def plain(value: object) -> object:
    """JSON whose text depends on the value alone: no addresses, no order of a set."""
    match value:
        case None | bool() | int() | float() | str() if not isinstance(value, Enum):
            return value
        case Enum():
            return plain(value.value)
        case Decimal() | UUID() | PurePath():
            return str(value)
        case datetime() | date() | time():
            return value.isoformat()
        case timedelta():
            return f"{value.total_seconds()} s"
        case bytes():
            return value.hex()
        case Mapping():
            return {key if isinstance(key, str) else json.dumps(plain(key)): plain(each) for key, each in value.items()}
        case list() | tuple():
            return [plain(each) for each in value]
        case Set():
            return sorted((plain(each) for each in value), key=lambda each: json.dumps(each, sort_keys=True))
    for method in ("as_dict", "model_dump"):
        if callable(as_mapping := getattr(value, method, None)):
            return plain(as_mapping())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    raise TypeError(f"a {type(value).__name__} has no canonical form")


def _misused(what: str, name: str, why: str, next_step: str) -> NoReturn:
    raise UsageError(what, on=f"gate {name}", why=why, next_step=next_step)
