"""What a seal covers, as `manifest.json`.

Forms 1 and 2 are those of seals made before December 2026: they are read as they were, and promise less (docs/evidence.md).
In form 3 no step could exist elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from helpers.checker.container import alike, leads_out
from helpers.checker.dsse import sha256
from helpers.checker.rule import DeclaredStep
from helpers.checker.strict_json import canonical, is_canonical, loads

MANIFEST = "manifest.json"
SEAL = "seal.dsse.json"
PREVIOUS = "previous-seal.dsse.json"
"""The previous run's seal as it was: with it, the chain is checked where that run is not at hand."""

FORM = 4
"""Of the manifest, and of the rules that a seal of this form keeps."""

COMPUTED = 3
"""The first form whose verdict the check computes; before it, the verdict is the sealer's word."""

_DIGEST = {"size": int, "sha256": str}
_STEP = {"step": str, "phase": str, "cell": (str, None), "approvals": int, "word": bool}
_SHAPE: dict[str, Any] = {
    "version": int, "run": str, "verdict": str, "why": [str], "files": [{"path": str, **_DIGEST}],
    "ledger": {**_DIGEST, "lines": [str]}, "people": {str: {"key_id": str, "public_key": str}},
    "previous": ({"run": str, "seal_sha256": str}, None),
}  # fmt: skip
_STEP_3 = _STEP | {"approval": (str, None), "undoes": (str, None)}
_SHAPE_3 = _SHAPE | {
    "declared": [_STEP_3],
    "checklist": {"option": str, "sha256": str},
    "former": [{"name": str, "key_id": str, "public_key": str, "start": str, "end": str}],
}
_SHAPES: Mapping[int, dict[str, Any]] = {
    1: _SHAPE | {"declared": [_STEP | {"built": bool}]},
    2: _SHAPE | {"declared": [_STEP]},
    3: _SHAPE_3,
    4: _SHAPE_3 | {"declared": [_STEP_3 | {"elsewhere": (str, None), "box": (str, None)}]},
}


class BadManifest(ValueError):  # noqa: N818 - says what it is
    """A file that is no manifest of a seal."""


class NewerForm(ValueError):  # noqa: N818
    """A manifest of a form that this program does not know."""


@dataclass(frozen=True)
class SealedFile:
    """One file as it was."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class SealedLedger:
    """The ledger but for its last line, which says `sealed`. `lines` are the digests of its lines."""

    size: int
    sha256: str
    lines: Sequence[str]


@dataclass(frozen=True)
class SealedPerson:
    """Whose key a name stands for, by the settings at the time of sealing."""

    key_id: str
    public_key: str


@dataclass(frozen=True)
class SealedFormerKey:
    """A key that was somebody's, and on which days; see `signatures.FormerKey`."""

    name: str
    key_id: str
    public_key: str
    start: str
    end: str


@dataclass(frozen=True)
class PreviousSeal:
    """The run before, by the SHA-256 of its seal."""

    run: str
    seal_sha256: str


@dataclass(frozen=True)
class Checklist:
    """Which checklist the run went by: the option, and `digest_of` its steps."""

    option: str
    sha256: str


@dataclass(frozen=True)
class SealManifest:
    """The whole of `manifest.json`; the forms 1 and 2 have no `checklist`, and no `former` keys."""

    run: str
    verdict: str
    why: Sequence[str]
    files: Sequence[SealedFile]
    ledger: SealedLedger
    declared: Sequence[DeclaredStep]
    people: Mapping[str, SealedPerson]
    previous: PreviousSeal | None
    checklist: Checklist | None
    former: Sequence[SealedFormerKey] = ()
    version: int = FORM

    def to_bytes(self) -> bytes:
        """The file's bytes; equal manifests have equal bytes."""
        return canonical(asdict(self)) + b"\n"


def digest_of(declared: Sequence[DeclaredStep]) -> str:
    """SHA-256 of a checklist: what its steps are and need; neither how many approve them, nor which cells perform them."""

    def needs(each: DeclaredStep) -> tuple[object, ...]:
        # Without what form 4 brought, the digest is that of form 3.
        own = (each.step, each.phase, each.word, each.approval, each.undoes)
        return own if each.elsewhere is each.box is None else (*own, each.elsewhere, each.box)

    return sha256(canonical([needs(each) for each in declared]))


def parsed(data: bytes) -> SealManifest:
    """Reads a manifest of whichever form.

    Raises:
        BadManifest: it is none, or its bytes are not exactly those of its values.
        NewerForm: a newer program wrote it.
    """
    try:
        value = loads(data)
        form = value["version"]
        if type(form) is int and form > FORM:
            raise NewerForm(f"its form is number {form}, and this program reads up to number {FORM}")
        if not _fits(value, _SHAPES[form]) or not is_canonical(data[:-1], value) or data[-1:] != b"\n":
            raise BadManifest("it is no manifest of a seal")
        paths = [each["path"] for each in value["files"]]
        if len({*map(alike, paths)}) != len(paths) or any(map(leads_out, paths)):
            raise BadManifest("it names a file twice, or one that does not lie in the run")
    except (NewerForm, BadManifest):
        raise
    except (ValueError, KeyError, TypeError):
        raise BadManifest("it is no manifest of a seal") from None
    return SealManifest(
        value["run"],
        value["verdict"],
        value["why"],
        [SealedFile(**each) for each in value["files"]],
        SealedLedger(**value["ledger"]),
        [DeclaredStep(**{name: it for name, it in each.items() if name != "built"}) for each in value["declared"]],
        {name: SealedPerson(**each) for name, each in value["people"].items()},
        PreviousSeal(**value["previous"]) if value["previous"] else None,
        Checklist(**value["checklist"]) if "checklist" in value else None,
        [SealedFormerKey(**each) for each in value.get("former", ())],
        form,
    )


def _fits(value: object, shape: object) -> bool:
    """Whether a value has a shape: a type, a list of one shape, an object by its keys or with any, or one of several."""
    match shape:
        case type():
            return type(value) is shape
        case None:
            return value is None
        case tuple():
            return any(_fits(value, each) for each in shape)
        case [each]:
            return isinstance(value, list) and all(_fits(it, each) for it in value)
        case {**keys}:
            if not isinstance(value, dict):
                return False
            if set(keys) == {str}:
                return all(_fits(it, keys[str]) for it in value.values())
            return value.keys() == keys.keys() and all(_fits(value[name], keys[name]) for name in keys)
    return False
