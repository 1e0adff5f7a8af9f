"""Whether a run shows what it claims: attempts, steps, signatures under the ledger, and what people signed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from securesystemslib.signer import SSlibKey

from helpers.errors import UsageError
from helpers.evidence import dsse, keys
from helpers.evidence.container import Container
from helpers.evidence.finding import Finding
from helpers.evidence.ledger_reader import LEDGER, Line, read
from helpers.evidence.seal_manifest import MANIFEST, SEAL, SealManifest, verdict_of
from helpers.evidence.signatures import valid_approvals, why_not

_NOTEBOOK = re.compile(r"([^/]+)/(attempt-\d{2,})\.ipynb")
_STARTED = frozenset({"completed", "failed", "running"})


def record_findings(files: Container, manifest: SealManifest, run_key: SSlibKey | None = None) -> Iterator[Finding]:
    """What contradicts what within one sealed run; the manifest's hashes are checked elsewhere.

    Args:
        files: the run's.
        manifest: its seal's.
        run_key: of the machine that ran it, where it is known otherwise than from the ledger.
    """
    lines, _ = read(files.read(LEDGER) or b"")
    people, wrong = people_of(manifest)
    yield from wrong
    declared = {each.step: each for each in manifest.declared}
    cells = {step: each.cell for step, each in declared.items() if each.cell}
    needed = {step: each.approvals for step, each in declared.items()}
    yield from open_record_findings(files, lines, manifest.run, people, cells, needed, run_key)
    for line in lines:
        step = line.text("step")
        if line.event == "attested" and not (step in declared and declared[step].word):
            yield Finding(
                "word-not-enough", LEDGER, f"line {line.n} attests {step}, which no person's word is enough for"
            )
    yield from _of_the_end(files, lines, manifest)


def open_record_findings(
    files: Container,
    lines: Sequence[Line],
    run: str,
    people: dict[str, SSlibKey],
    cells: dict[str, str],
    needed: dict[str, int],
    run_key: SSlibKey | None = None,
) -> Iterator[Finding]:
    """The same of a run that is not sealed yet.

    Args:
        files: the run's.
        lines: its ledger's.
        run: its name.
        people: whose public key is whose.
        cells: by step, the cells that perform it, where they are not called as the step is.
        needed: by step, how many people have to approve it.
        run_key: as above.
    """
    if not lines or lines[0].event != "run-opened" or lines[0].text("run") != run:
        yield Finding("run-renamed", LEDGER, f"it does not begin with the opening of the run {run}")
    yield from _attempts(files, lines)
    yield from _steps(files, lines, cells)
    yield from _heads(files, lines, run, run_key)
    yield from _signed(files, lines, run, people)
    yield from _approved(files, lines, people, needed)
    yield from _recovered(files, lines)


def people_of(manifest: SealManifest) -> tuple[dict[str, SSlibKey], list[Finding]]:
    """The public keys that a manifest names, and which names are one person."""
    people: dict[str, SSlibKey] = {}
    found: list[Finding] = []
    for name, each in manifest.people.items():
        try:
            key = keys.public_key(each.public_key)
        except UsageError:
            key = None
        if key is None or key.keyid != each.key_id:
            found.append(Finding("signer-unknown", MANIFEST, f"the key of {name} is not readable"))
        elif key.keyid in {other.keyid for other in people.values()}:
            found.append(Finding("one-person", MANIFEST, f"{name} has the key of another name"))
        else:
            people[name] = key
    return people, found


def code_cells(data: bytes | None) -> list[dict[str, Any]]:
    """The cells of an executed notebook that hold code; none in a damaged one."""
    try:
        cells = json.loads(data or b"")["cells"]
        return [cell for cell in cells if cell["cell_type"] == "code" and "".join(cell["source"]).strip()]
    except (ValueError, KeyError, TypeError):
        return []


def status_of(cell: dict[str, Any]) -> str:
    """What the engine recorded of a cell; `pending` where it recorded nothing."""
    try:
        return str(cell["metadata"]["papermill"]["status"])
    except (KeyError, TypeError):
        return "pending"


def belongs(cell: dict[str, Any], name: str) -> bool:
    """Whether a cell performs the step of that cell name: `s30-export` covers `s30-export-act`."""
    own = str(cell.get("id", ""))
    return own == name or own.startswith(f"{name}-")


def _attempts(files: Container, lines: Sequence[Line]) -> Iterator[Finding]:
    started = {_place(line) for line in lines if line.event == "attempt-started"}
    there = {name for name in files.names() if _NOTEBOOK.fullmatch(name)}
    for name in sorted(there - {f"{place}.ipynb" for place in started}):
        yield Finding("attempt-unknown", name, "the ledger knows no such attempt")
    for place in sorted(started):
        if f"{place}.ipynb" not in there:
            yield Finding("attempt-missing", f"{place}.ipynb", "the ledger says that it was started")
    for line in (line for line in lines if line.event == "attempt-ended"):
        place = _place(line)
        if place not in started:
            yield Finding("attempt-unknown", f"{place}.ipynb", f"it ends in line {line.n}, and never started")
        yield from _as_recorded(files, f"{place}.ipynb", line.text("notebook_sha256"), "notebook-changed")
        if line.text("html_sha256"):
            yield from _as_recorded(files, f"{place}.html", line.text("html_sha256"), "html-changed")
        reports = line.fields.get("files")
        for report in reports if isinstance(reports, list) else ():
            yield from _as_recorded(files, str(report.get("path")), str(report.get("sha256")), "report-changed")


def _as_recorded(files: Container, name: str, digest: str, kind: str) -> Iterator[Finding]:
    content = files.read(name)
    if content is None or dsse.sha256(content) != digest:
        yield Finding(kind, name, "it is not the file that the engine recorded when the attempt ended")


def _steps(files: Container, lines: Sequence[Line], cells: dict[str, str]) -> Iterator[Finding]:
    ended = {_place(line): line for line in lines if line.event == "attempt-ended"}
    done = {line.n: line for line in lines if line.event == "step-done"}
    for line in lines:
        step = line.text("step")
        if line.event in ("step-done", "step-planned"):
            end = ended.get(_place(line))
            own = cells.get(step, step)
            shown = [status_of(cell) for cell in code_cells(files.read(f"{_place(line)}.ipynb")) if belongs(cell, own)]
            # An attempt that failed or was killed may have done a step before its cell came to an end.
            whole = end is not None and end.fields.get("exit_code") == 0
            if not shown or not (set(shown) == {"completed"} if whole else _STARTED & set(shown)):
                yield Finding(
                    "step-not-shown",
                    f"{_place(line)}.ipynb",
                    f"line {line.n} says {line.event} of {step}, its cells do not",
                )
        elif line.event == "step-skipped":
            former = done.get(_number(line.fields.get("of")))
            same = former and former.n < line.n and former.text("step") == step
            if not same or not former or former.text("inputs") != line.text("inputs"):
                yield Finding(
                    "skip-unfounded", LEDGER, f"line {line.n} skips {step}, and no line did it with these inputs"
                )


def _heads(files: Container, lines: Sequence[Line], run: str, known: SSlibKey | None) -> Iterator[Finding]:
    try:
        named = keys.public_key(lines[0].text("run_key")) if lines and lines[0].text("run_key") else None
    except UsageError:
        named = None
    if known and (named is None or named.keyid != known.keyid):
        yield Finding("wrong-signer", LEDGER, "the run names another machine's key than the one that is known")
    covered = 0
    places = {line.digest: line.n for line in lines}
    for line in (line for line in lines if line.event == "head-signed"):
        why = _why_no_head(files, line, run, known or named)
        # Somebody may sign a step between the engine's reading of the head and this line.
        place = places.get(line.text("head"), line.n)
        if why is None and place >= line.n:
            why = "what was signed is no line before it"
        if why:
            yield Finding("head-invalid", line.text("envelope"), f"line {line.n}: {why}")
        else:
            covered = max(covered, place)
    last_end = max((line.n for line in lines if line.event == "attempt-ended"), default=0)
    if last_end > covered:
        yield Finding(
            "head-unsigned", LEDGER, f"no signature of the engine covers the attempt that ends in line {last_end}"
        )


def _why_no_head(files: Container, line: Line, run: str, key: SSlibKey | None) -> str | None:
    name = line.text("envelope")
    data = files.read(name) if name.startswith("heads/") else None
    if key is None or data is None:
        return "it has no envelope" if key else "the run names no key to check it with"
    try:
        statement = dsse.opened(data, key, "ledger-head")
    except dsse.BadEnvelope as error:
        return str(error)
    signed = (statement.subjects, statement.predicate.get("run"), line.text("key_id"))
    return None if signed == ({"ledger-line": line.text("head")}, run, key.keyid) else "something else was signed"


def _signed(files: Container, lines: Sequence[Line], run: str, people: dict[str, SSlibKey]) -> Iterator[Finding]:
    voices: set[tuple[str, ...]] = set()
    for line in lines:
        if line.event not in ("approved", "attested"):
            continue
        by, name = line.text("by"), line.text("envelope")
        if by not in people:
            yield Finding("signer-unknown", name, f"line {line.n} names {by}, whose key the seal does not know")
            continue
        if why := why_not(files.read, run, line, people[by], lines):
            kind = "approval-invalid" if line.event == "approved" else "attestation-invalid"
            yield Finding(kind, name, f"line {line.n}, {line.text('step')} by {by}: {why}")
        about = (line.event, line.text("step"), line.text("plan_sha256"), line.text("lsn"))
        for voice in ((*about, "by", by), (*about, "key", people[by].keyid)):
            if voice in voices:
                yield Finding("signed-twice", name, f"line {line.n}: {by} has signed {line.text('step')} before")
            voices.add(voice)


def _approved(
    files: Container, lines: Sequence[Line], people: dict[str, SSlibKey], needed: dict[str, int]
) -> Iterator[Finding]:
    waiting: dict[str, Line] = {}
    for line in lines:
        step = line.text("step")
        if line.event == "awaiting" and line.text("what") == "approval":
            waiting[step] = line
        if line.event != "step-done" or not (step in waiting or needed.get(step)):
            continue
        payload: dict[str, str] = {}
        asked = needed.get(step, 0)
        if step in waiting:
            payload = waiting[step].fields.get("payload") or {}
            asked = max(asked, _number(waiting[step].fields.get("needed")), 1)
            if dsse.sha256(dsse.canonical(payload)) != waiting[step].text("payload_sha256"):
                yield Finding("approval-invalid", LEDGER, f"line {waiting[step].n}: its payload has another digest")
        complete = payload.keys() == {"run", "step", "plan_sha256", "lsn"}
        given = valid_approvals(files.read, lines[: line.n - 1], payload, people) if complete else {}
        if len(given) < asked:
            yield Finding(
                "not-approved", LEDGER, f"line {line.n} did {step} with {len(given)} of {asked} approvals that hold"
            )


def _recovered(files: Container, lines: Sequence[Line]) -> Iterator[Finding]:
    claims = [line.text("sha256") for line in lines if line.event == "recovered"]
    torn = [name for name in files.names() if name.startswith("ledger.torn-")]
    digests = {name: dsse.sha256(files.read(name) or b"") for name in torn}
    for name in (name for name in torn if digests[name] not in claims):
        yield Finding("torn-unknown", name, "the ledger does not say that it was torn there")
    for digest in (digest for digest in claims if digest not in digests.values()):
        yield Finding("torn-missing", LEDGER, f"the torn line {dsse.short(digest)} is gone")


def _of_the_end(files: Container, lines: Sequence[Line], manifest: SealManifest) -> Iterator[Finding]:
    seals = [line for line in lines if line.event == "sealed"]
    if not seals or seals != [lines[-1]]:
        yield Finding("seal-place", LEDGER, "its last line, and no other, has to say that the run is sealed")
    for line in seals:
        claim = (line.text("manifest_sha256"), line.text("verdict"), line.text("envelope"))
        if claim != (dsse.sha256(files.read(MANIFEST) or b""), manifest.verdict, SEAL):
            yield Finding("seal-place", LEDGER, f"line {line.n} is about another manifest, verdict or seal")
    verdict, why = verdict_of(lines, manifest.declared)
    if (verdict, why) != (manifest.verdict, list(manifest.why)):
        yield Finding("verdict", MANIFEST, f"it says {manifest.verdict}, and what it covers amounts to {verdict}")


def _place(line: Line) -> str:
    return f"{line.text('phase')}/{line.text('attempt')}"


def _number(value: object) -> int:
    return value if type(value) is int else 0
