"""Whether a run shows what it claims: attempts, steps, signatures under the ledger, and what people signed."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence, Set

from helpers.checker import checklists, dsse, time_stamps
from helpers.checker.environment import environment_from_ledger
from helpers.checker.facts import Facts, number, place
from helpers.checker.finding import Finding
from helpers.checker.ledger_reader import LEDGER, Line
from helpers.checker.line_signatures import line_signatures
from helpers.checker.manifest import (
    COMPUTED,
    MANIFEST,
    PREVIOUS,
    SEAL,
    SealedFormerKey,
    SealedPerson,
    SealManifest,
    digest_of,
)
from helpers.checker.public_key import PublicKey, public_key
from helpers.checker.rule import ELSEWHERE, NOT_APPLICABLE, Verdict, judge
from helpers.checker.signatures import FOLDER as APPROVALS
from helpers.checker.signatures import (
    FormerKey,
    asked_elsewhere,
    key_for,
    plain_name,
    valid_approvals,
    valid_words_elsewhere,
    why_not,
)
from helpers.checker.strict_json import canonical, is_canonical, loads
from helpers.errors import UsageError

INDEX = "index.html"
ENVIRONMENT = "environment.json"
CHECKER = "verify-evidence.pyz"
"""This program as one file. It lies beside the archive and not in it, and the ledger names its digest."""

MADE_BY_SEALING = (INDEX, ENVIRONMENT, PREVIOUS, CHECKER)

_NOTEBOOK = re.compile(r"([^/]+)/(attempt-\d{2,})\.ipynb")
_STARTED = frozenset({"completed", "failed", "running"})
_SINCE_FORM_3 = frozenset({"stand_ins", "signed_at", "plan", "next_key"})
"""Fields of lines by which a ledger shows that its program seals in form 3: in an older one it would hide from the later rules."""

_NOT_THE_ENGINES = frozenset(
    {"anchor-missed", "anchored", "approved", "attested", "head-signed", "recovered", "sealed"}
)
"""Lines that people signed, that are signatures, that sealing may write on another machine, or that say nothing of the migration."""
_SIGNED = frozenset("step by key_id signed_at envelope".split())
_FIELDS: Mapping[str, Set[str]] = {
    "anchor-missed": frozenset({"line", "why"}),
    "anchored": frozenset({"line", "url", "file", "sha256"}),
    "approved": _SIGNED | {"plan_sha256", "lsn"},
    "attested": _SIGNED | {"note", "elsewhere"},
    "head-signed": frozenset({"head", "key_id", "envelope"}),
    "recovered": frozenset({"file", "sha256", "length"}),
}
"""What these lines say beside the fields of every line. The engine may never sign them: no more is believed of them."""
_OF_EVERY_LINE = frozenset({"n", "at", "prev", "event", "next_key", "signature"})
_FOLDERS: Mapping[str, str] = {
    "anchored": time_stamps.FOLDER,
    "approved": APPROVALS,
    "attested": APPROVALS,
    "head-signed": "heads",
}


def sealed_findings(facts: Facts, manifest: SealManifest, known: Collection[str]) -> Iterator[Finding]:
    """What contradicts what within one sealed run; the manifest's hashes are checked elsewhere.

    Args:
        facts: the run's.
        manifest: its seal's.
        known: digests of checklists, beside the shipped ones.
    """
    yield from open_findings(facts)
    yield from _seal_line_findings(facts, manifest)
    if manifest.version < COMPUTED:
        # What the later rule finds in the judging of steps, a seal of that time did not promise.
        words = {each.step for each in facts.declared if each.word}
        for line in facts.lines:
            if _SINCE_FORM_3 & line.fields.keys():
                why = f"line {line.n} is by a program that seals in a later form than {manifest.version}"
                yield Finding("form", MANIFEST, why)
            if line.event == "attested" and line.text("step") not in words:
                yield Finding("word-not-enough", LEDGER, f"line {line.n}: a word is not enough for {line.text('step')}")
        return
    verdict = verdict_of(facts)
    if (str(verdict), list(verdict.why)) != (manifest.verdict, list(manifest.why)):
        yield Finding("verdict", MANIFEST, f"it says {manifest.verdict}, and what it covers amounts to {verdict}")
    yield from _checklist(facts, manifest, known)
    yield from _environment(facts)


def open_findings(facts: Facts) -> Iterator[Finding]:
    """The same of a run that is not sealed yet: what stands against its seal."""
    lines = facts.lines
    if not lines or lines[0].event != "run-opened" or lines[0].text("run") != facts.run:
        yield Finding("run-renamed", LEDGER, f"it does not begin with the opening of the run {facts.run}")
    yield from _attempts(facts)
    yield from _steps(facts)
    yield from _heads(facts)
    yield from line_signatures(lines, machine_key(facts)).findings
    yield from _signed(facts)
    yield from _plans(facts)
    yield from _approved(facts)
    yield from _exists_elsewhere(facts)
    yield from _recovered(facts)
    yield from _anchored(facts)
    for line in (line for line in lines if line.event == "verified"):
        yield from _as_recorded(facts, line.text("report"), line.text("sha256"), "report-changed", "it was verified")
        yield from _reports(facts, line, "it was verified")
    kept: dict[str, str] = {}
    for line in (line for line in lines if line.event in ("run-opened", "kept")):
        kept |= dict(_listed(line))
    for name, digest in kept.items():
        yield from _as_recorded(facts, name, digest, "report-changed", "a command kept it")
    if facts.form >= COMPUTED:
        yield from verdict_of(facts).against
        yield from _fields(facts)
        yield from _unrecorded(facts)


def verdict_of(facts: Facts) -> Verdict:
    """What the run amounts to, its notebooks looked at."""
    notebooks = {f"{place(line)}.ipynb" for line in facts.lines if line.event == "attempt-started"}
    return judge(facts.lines, facts.declared, {name: facts.cells(name) for name in notebooks})


def people_of(manifest: SealManifest) -> tuple[dict[str, PublicKey], list[FormerKey], list[Finding]]:
    """The public keys that a manifest names, those that were somebody's, and which names are one person."""
    people: dict[str, PublicKey] = {}
    former: list[FormerKey] = []
    found: list[Finding] = []
    owners: dict[str, str] = {}
    named: list[tuple[str, SealedPerson | SealedFormerKey]] = [*manifest.people.items()]
    for name, each in [*named, *((each.name, each) for each in manifest.former)]:
        try:
            key = public_key(each.public_key)
        except UsageError:
            key = None
        if key is None or key.keyid != each.key_id:
            found.append(Finding("signer-unknown", MANIFEST, f"the key of {name} is not readable"))
        elif any(owners.setdefault(mark, name) != name for mark in (key.keyid, plain_name(name))):
            found.append(
                Finding(
                    "one-person",
                    MANIFEST,
                    f"{name} has the key of another name, or a name that is another but for case",
                )
            )
        elif isinstance(each, SealedFormerKey):
            former.append(FormerKey(name, key, each.start, each.end))
        else:
            people[name] = key
    return people, former, found


def _attempts(facts: Facts) -> Iterator[Finding]:
    started = {place(line) for line in facts.lines if line.event == "attempt-started"}
    there = {name for name in facts.files.names() if _NOTEBOOK.fullmatch(name)}
    for name in sorted(there - {f"{each}.ipynb" for each in started}):
        yield Finding("attempt-unknown", name, "the ledger knows no such attempt")
    for each in sorted(started):
        if f"{each}.ipynb" not in there:
            yield Finding("attempt-missing", f"{each}.ipynb", "the ledger says that it was started")
    for line in (line for line in facts.lines if line.event == "attempt-ended"):
        own, when = place(line), "the attempt ended"
        if own not in started:
            yield Finding("attempt-unknown", f"{own}.ipynb", f"it ends in line {line.n}, and never started")
        yield from _as_recorded(facts, f"{own}.ipynb", line.text("notebook_sha256"), "notebook-changed", when)
        if line.text("html_sha256"):
            yield from _as_recorded(facts, f"{own}.html", line.text("html_sha256"), "html-changed", when)
        yield from _reports(facts, line, when)


def _reports(facts: Facts, line: Line, when: str) -> Iterator[Finding]:
    for name, digest in _listed(line):
        yield from _as_recorded(facts, name, digest, "report-changed", when)


def _as_recorded(facts: Facts, name: str, digest: str, kind: str, when: str) -> Iterator[Finding]:
    if facts.sha256(name) != digest:
        yield Finding(kind, name, f"it is not the file that the ledger recorded when {when}")


def _steps(facts: Facts) -> Iterator[Finding]:
    ended = {place(line): line for line in facts.lines if line.event == "attempt-ended"}
    done = {line.n: line for line in facts.lines if line.event == "step-done"}
    cells = {each.step: each.cell for each in facts.declared if each.cell}
    for line in facts.lines:
        step = line.text("step")
        if line.event in ("step-done", "step-planned"):
            end, name = ended.get(place(line)), f"{place(line)}.ipynb"
            shown = {cell.status for cell in facts.cells(name) if cell.performs(cells.get(step, step))}
            # An attempt that failed or was killed may have done a step before its cell came to an end.
            whole = end is not None and end.fields.get("exit_code") == 0
            if not shown or not (shown == {"completed"} if whole else _STARTED & shown):
                yield Finding("step-not-shown", name, f"line {line.n} says {line.event} of {step}, its cells do not")
        elif line.event == "step-skipped":
            former = done.get(number(line.fields.get("of")))
            same = former and former.n < line.n and former.text("step") == step
            if not same or not former or former.text("inputs") != line.text("inputs"):
                yield Finding(
                    "skip-unfounded", LEDGER, f"line {line.n} skips {step}, and no line did it with these inputs"
                )


def machine_key(facts: Facts) -> PublicKey | None:
    """The machine's key: the one that is known otherwise, else the one that the ledger names; None where that is none."""
    return facts.run_key or _named_machine_key(facts)


def _named_machine_key(facts: Facts) -> PublicKey | None:
    named = facts.lines[0].text("run_key") if facts.lines else ""
    try:
        return public_key(named) if named else None
    except UsageError:
        return None


def _heads(facts: Facts) -> Iterator[Finding]:
    lines, known, named = facts.lines, facts.run_key, _named_machine_key(facts)
    if known and (named is None or named.keyid != known.keyid):
        yield Finding("wrong-signer", LEDGER, "the run names another machine's key than the one that is known")
    covered = 0
    places = {line.digest: line.n for line in lines}
    for line in (line for line in lines if line.event == "head-signed"):
        why = _why_no_head(facts, line, known or named)
        # Somebody may sign a step between the engine's reading of the head and this line.
        at = places.get(line.text("head"), line.n)
        if why is None and at >= line.n:
            why = "what was signed is no line before it"
        if why:
            yield Finding("head-invalid", line.text("envelope"), f"line {line.n}: {why}")
        else:
            covered = max(covered, at)
    last = last_of_the_engine(lines) if facts.form >= COMPUTED else _last_end(lines)
    if last > covered:
        yield Finding("head-unsigned", LEDGER, f"no signature of the engine covers line {last}")


def last_of_the_engine(lines: Sequence[Line]) -> int:
    """The number of the last line that the machine's key has to have signed."""
    return max((line.n for line in lines if line.event not in _NOT_THE_ENGINES), default=0)


def _last_end(lines: Sequence[Line]) -> int:
    return max((line.n for line in lines if line.event == "attempt-ended"), default=0)


def _why_no_head(facts: Facts, line: Line, key: PublicKey | None) -> str | None:
    name = line.text("envelope")
    data = facts.files.read(name) if name.startswith("heads/") else None
    if key is None or data is None:
        return "it has no envelope" if key else "the run names no key to check it with"
    try:
        statement = dsse.opened(data, key, "ledger-head")
    except dsse.BadEnvelope as error:
        return str(error)
    signed = (statement.subjects, statement.predicate.get("run"), line.text("key_id"))
    return None if signed == ({"ledger-line": line.text("head")}, facts.run, key.keyid) else "something else was signed"


def _signed(facts: Facts) -> Iterator[Finding]:
    voices: set[tuple[str, ...]] = set()
    for line in facts.lines:
        if line.event not in ("approved", "attested"):
            continue
        by, name = line.text("by"), line.text("envelope")
        key = key_for(line, facts.people, facts.former, facts.lines)
        if key is None:
            yield Finding(
                "signer-unknown", name, f"line {line.n} names {by}, whose key the seal does not know for that day"
            )
            continue
        if why := why_not(facts.files.read, facts.run, line, key, facts.lines):
            kind = "approval-invalid" if line.event == "approved" else "attestation-invalid"
            yield Finding(kind, name, f"line {line.n}, {line.text('step')} by {by}: {why}")
        asked = asked_elsewhere(facts.lines[: line.n - 1], line.text("step")) if "elsewhere" in line.fields else None
        # A word that was asked for anew, behind a rollback, is another one.
        about = (
            line.event,
            line.text("step"),
            line.text("plan_sha256"),
            line.text("lsn"),
            str(asked.n if asked else 0),
        )
        for voice in ((*about, "by", by), (*about, "key", key.keyid)):
            if voice in voices:
                yield Finding("signed-twice", name, f"line {line.n}: {by} has signed {line.text('step')} before")
            voices.add(voice)


def _plans(facts: Facts) -> Iterator[Finding]:
    for line in facts.lines:
        payload = line.fields.get("payload")
        if line.event != "awaiting" or line.text("what") != "approval" or not isinstance(payload, Mapping):
            continue
        if plan_file(facts, line) is None:
            name = line.text("plan") or f"approvals/{line.text('step')}.*.plan.json"
            yield Finding(
                "plan-changed", name, f"it is not the plan that is waiting in line {line.n} to be approved, or is gone"
            )


def plan_file(facts: Facts, line: Line) -> str | None:
    """The file that holds the plan of an `awaiting`, with the digest that was approved; None where there is none."""
    digest = str((line.fields.get("payload") or {}).get("plan_sha256"))
    if "plan" in line.fields:
        return line.text("plan") if facts.sha256(line.text("plan")) == digest else None
    # Until form 3 the line did not name the file, and what was signed was the plan without its last line break.
    start = f"approvals/{line.text('step')}.{dsse.short(digest)}"
    names = (name for name in facts.files.names() if name.startswith(start) and name.endswith(".plan.json"))
    return next((name for name in names if dsse.sha256((facts.files.read(name) or b"")[:-1]) == digest), None)


def _approved(facts: Facts) -> Iterator[Finding]:
    def approvals_before(line: Line, payload: Mapping[str, str]) -> Mapping[str, str]:
        return valid_approvals(facts.files.read, facts.lines[: line.n - 1], payload, facts.people, facts.former)

    needed = {each.step: max(each.approvals, 1 if each.approval else 0) for each in facts.declared}
    waiting: dict[str, Line] = {}
    for line in facts.lines:
        step = line.text("step")
        if line.event == "awaiting" and line.text("what") == "approval":
            waiting[step] = line
        if line.event != "step-done" or not (step in waiting or needed.get(step)):
            continue
        if ELSEWHERE in _result(line) or (step not in waiting and NOT_APPLICABLE in _result(line)):
            continue  # nothing was done that somebody could have approved
        payload: dict[str, str] = {}
        asked = needed.get(step, 0)
        if step in waiting:
            payload = waiting[step].fields.get("payload") or {}
            asked = max(asked, number(waiting[step].fields.get("needed")), 1)
            if dsse.sha256(canonical(payload)) != waiting[step].text("payload_sha256"):
                yield Finding("approval-invalid", LEDGER, f"line {waiting[step].n}: its payload has another digest")
        complete = payload.keys() == {"run", "step", "plan_sha256", "lsn"}
        given = approvals_before(line, payload) if complete else {}
        if len(given) < asked:
            yield Finding(
                "not-approved", LEDGER, f"line {line.n} did {step} with {len(given)} of {asked} approvals that hold"
            )


def _exists_elsewhere(facts: Facts) -> Iterator[Finding]:
    """Steps that the run left to somebody else: by how many people's word on what, and whether they may be."""
    known = {each.step: each for each in facts.declared}
    for line in facts.lines:
        said = _result(line).get(ELSEWHERE) if line.event == "step-done" else None
        if said is None:
            continue
        step = line.text("step")
        word = known[step].elsewhere if step in known else None
        if word is None or word not in known:
            yield Finding("word-not-enough", LEDGER, f"line {line.n}: {step} may not exist elsewhere")
            continue
        before = facts.lines[: line.n - 1]
        asked = asked_elsewhere(before, word)
        needed = max(1, known[word].approvals, number(asked.fields.get("needed")) if asked else 0)
        given = valid_words_elsewhere(facts.files.read, facts.run, before, word, facts.people, facts.former)
        if len(given) < needed:
            why = f"line {line.n}: {step} exists elsewhere by {len(given)} of {needed} people's words that hold"
            yield Finding("not-attested", LEDGER, why)
        elif not asked or not _says_where(asked) or said != {**asked.fields["elsewhere"], "by": sorted(given)}:
            yield Finding("not-attested", LEDGER, f"line {line.n}: people have signed something else of {step}")


def _says_where(asked: Line) -> bool:
    what, link = (asked.fields["elsewhere"].get(name) for name in ("what", "link"))
    return all(isinstance(each, str) and each.strip() for each in (what, link))


def _result(line: Line) -> Mapping[str, object]:
    result = line.fields.get("result")
    return result if isinstance(result, dict) else {}


def _recovered(facts: Facts) -> Iterator[Finding]:
    claims = [line.text("sha256") for line in facts.lines if line.event == "recovered"]
    digests = {name: facts.sha256(name) for name in facts.files.names() if name.startswith("ledger.torn-")}
    for name in (name for name in digests if digests[name] not in claims):
        yield Finding("torn-unknown", name, "the ledger does not say that it was torn there")
    for digest in (digest for digest in claims if digest not in digests.values()):
        yield Finding("torn-missing", LEDGER, f"the torn line {dsse.short(digest)} is gone")


def _anchored(facts: Facts) -> Iterator[Finding]:
    places = {line.digest: line.n for line in facts.lines}
    for line in (line for line in facts.lines if line.event == "anchored"):
        if places.get(line.text("line"), line.n) >= line.n:
            yield Finding("anchor-invalid", LEDGER, f"line {line.n}: what was anchored is no line before it")
        if name := line.text("file"):
            yield from _as_recorded(facts, name, line.text("sha256"), "report-changed", "it was anchored")
            try:
                if time_stamps.readable():
                    time_stamps.certain_by(facts.files.read(name) or b"", line.text("line"), facts.stamp_roots)
            except time_stamps.StampError as error:
                yield Finding("anchor-invalid", name, str(error))


def _fields(facts: Facts) -> Iterator[Finding]:
    """Lines that nobody but the sealer may have signed, and that say more than such lines do, or name a file elsewhere."""
    for line in (line for line in facts.lines if line.event in _FIELDS):
        if more := sorted(line.fields.keys() - _FIELDS[line.event] - _OF_EVERY_LINE):
            yield Finding(
                "line-fields", LEDGER, f"line {line.n}, {line.event}, also says {', '.join(more)}, which nobody signed"
            )
        folder, name = _FOLDERS.get(line.event), line.text("envelope") or line.text("file")
        if line.event == "anchored" and "file" not in line.fields:
            continue  # in a bucket
        if folder and name.rpartition("/")[0] != folder:
            yield Finding(
                "line-fields", LEDGER, f"line {line.n}, {line.event}, names {name}, which does not lie in {folder}/"
            )


def _unrecorded(facts: Facts) -> Iterator[Finding]:
    """Files that no line of the ledger names by digest: nobody says where they come from."""
    named = {MANIFEST, SEAL, LEDGER, *MADE_BY_SEALING}
    for line in facts.lines:
        match line.event:
            case "attempt-started":
                # A planted one is named as an unknown attempt, a changed one by the digest at its end.
                named |= {f"{place(line)}.ipynb", f"{place(line)}.html"}
            case "awaiting" if isinstance(line.fields.get("payload"), Mapping):
                named.add(plan_file(facts, line) or "")
            case "approved" | "attested" | "head-signed":
                named.add(line.text("envelope"))
            case "anchored" | "recovered" if facts.sha256(line.text("file")) == line.text("sha256"):
                named.add(line.text("file"))
            case "attempt-ended" | "kept" | "run-opened" | "sealed" | "verified":
                named |= {line.text("report"), *dict(_listed(line))}
    for name in (name for name in facts.files.names() if name not in named):
        yield Finding("file-unrecorded", name, "no line of the ledger names it: nobody says where it comes from")


def _seal_line_findings(facts: Facts, manifest: SealManifest) -> Iterator[Finding]:
    lines = facts.lines
    seals = [line for line in lines if line.event == "sealed"]
    if not seals or seals != [lines[-1]]:
        yield Finding("seal-place", LEDGER, "its last line, and no other, has to say that the run is sealed")
    for line in seals:
        claim = (line.text("manifest_sha256"), line.text("verdict"), line.text("envelope"))
        if claim != (facts.sha256(MANIFEST), manifest.verdict, SEAL):
            yield Finding("seal-place", LEDGER, f"line {line.n} is about another manifest, verdict or seal")
        if manifest.version >= COMPUTED:
            yield from _made_by_sealing(facts, dict(_listed(line)))


def _made_by_sealing(facts: Facts, listed: Mapping[str, str]) -> Iterator[Finding]:
    ended = {
        f"{place(line)}.html" for line in facts.lines if line.event == "attempt-ended" and line.text("html_sha256")
    }
    pages = {f"{place(line)}.html" for line in facts.lines if line.event == "attempt-started"} - ended
    for name in sorted((pages | {*MADE_BY_SEALING}) & {*facts.files.names()}):
        if listed.get(name) != facts.sha256(name):
            yield Finding("file-unrecorded", name, "it is not the file that sealing made")
    for name in sorted(listed.keys() - pages - {*MADE_BY_SEALING}):
        yield Finding("file-unrecorded", name, "sealing makes no such file")


def _checklist(facts: Facts, manifest: SealManifest, known: Collection[str]) -> Iterator[Finding]:
    assert manifest.checklist
    found, digest = manifest.checklist, digest_of(manifest.declared)
    option = facts.lines[0].text("option") if facts.lines else ""
    if found.sha256 != digest or found.option != option:
        yield Finding("checklist", MANIFEST, "the steps that it declares are not those of the checklist that it names")
    elif digest not in known and checklists.KNOWN.get(digest) != option:
        yield Finding(
            "checklist",
            MANIFEST,
            f"the checklist {dsse.short(digest)} of option {option} is none that this program knows: steps may have been left out; "
            "check with the verify-evidence.pyz of the release that sealed it, or give --checklist SHA256 if you know it otherwise",
        )


def _environment(facts: Facts) -> Iterator[Finding]:
    data = facts.files.read(ENVIRONMENT) or b""
    try:
        value = loads(data)
    except ValueError:
        value = None
    if not isinstance(value, dict) or not is_canonical(data[:-1], value):
        yield Finding("environment", ENVIRONMENT, "it is not written as sealing writes it")
        return
    for name, told in environment_from_ledger(facts.lines[:-1]).items():
        if value.get(name) != told:
            yield Finding("environment", ENVIRONMENT, f"what it says under {name} is not what the ledger says")


def _listed(line: Line) -> list[tuple[str, str]]:
    listed = line.fields.get("files")
    each = listed if isinstance(listed, list) else []
    return [(str(it.get("path")), str(it.get("sha256"))) for it in each if isinstance(it, Mapping)]
