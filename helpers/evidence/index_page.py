"""The page for readers of a sealed run: first what was moved and proved, then phase by phase, then the files.

One file without scripts, with links to what lies beside it. It repeats what ledger and reports say; whether they are unchanged
is for the check to say.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from helpers import checklist, templates
from helpers.checker.ledger_reader import Line
from helpers.checker.rule import (
    ELSEWHERE,
    NOT_APPLICABLE,
    OVER,
    Verdict,
    counts_in_words,
    elsewhere_in_words,
    stand_ins,
    standings,
)
from helpers.progress import duration, working_time
from helpers.redaction import redact

_REPORT = re.compile(r"(?:[^/]+/(attempt-\d+)-)?verify-([^/]+)\.json")
TARGETS = {
    "snowflake": "Snowflake",
    "databricks": "Databricks (Delta)",
    "delta": "Databricks (Delta)",
    "postgresql": "PostgreSQL",
    "stage": "the stage",
}
"""What people call a target; their adapters say it too, and bring their drivers with it."""
_PROOFS = {"stage": "the staged files", "restored": "a backup, restored", "recovery": "the archive, recovered"}
"""What a report is of that compares something else than a target."""


@dataclass(frozen=True)
class Proof:
    """The last comparison of one target; `page` is empty where there is none."""

    of: str
    verdict: str
    tables: int
    rows_source: int
    rows_target: int
    cells: int
    lsn: str
    at: str
    page: str
    left_out: Mapping[str, str]


@dataclass(frozen=True)
class Attempt:
    """One attempt. `html` is empty where there is no page of it; `seconds` None where it did not end."""

    name: str
    status: str
    seconds: float | None
    html: str
    notebook: str


@dataclass(frozen=True)
class Phase:
    """A phase of the checklist that was declared or ran."""

    name: str
    steps: int
    done: int
    planned_minutes: int
    attempts: tuple[Attempt, ...]

    @property
    def seconds(self) -> float:
        """At work, all attempts together."""
        return sum(each.seconds or 0 for each in self.attempts)


def index_page(folder: Path, verdict: Verdict, lines: Sequence[Line], names: Sequence[str], key_id: str) -> str:
    """The HTML of `index.html`.

    Args:
        folder: the run's.
        verdict: of the seal.
        lines: the ledger's.
        names: every file of the run.
        key_id: of the key that seals.
    """
    proofs = _proofs(folder, names, lines)
    exported: Mapping[str, Any] = next(
        (x.fields["result"] for x in reversed(lines) if x.event == "step-done" and x.text("step") == "s30-export"), {}
    )
    opened = lines[0] if lines else Line(0, "", {}, "")
    phases = tuple(_phases(lines, names, opened.text("option")))
    template = templates.environment(Path(__file__).with_name("page"), _FILTERS).get_template("index.html.j2")
    text = template.render(
        run=folder.name, verdict=str(verdict), why=verdict.why, counts=counts_in_words(verdict.counts), key_id=key_id, exported=exported, opened=opened,
        first=opened.text("at"), last=lines[-1].text("at") if lines else "",
        seconds=_seconds(opened.text("at"), lines[-1].text("at")) if lines else 0.0,
        proofs=[each for each in proofs if each.of not in _PROOFS.values()],
        inside=[each for each in proofs if each.of in _PROOFS.values()],
        left_out=_by_reason(proofs),
        not_applicable=_said(lines, NOT_APPLICABLE), elsewhere=_said(lines, ELSEWHERE), stand_ins=stand_ins(lines),
        signed=[x for x in lines if x.event in ("approved", "attested")], titles=_titles(), approved=_approved(lines),
        failures=list(_failures(lines)), warnings=list(_warnings(folder, lines)), phases=phases,
        planned=sum(each.planned_minutes for each in phases if each.name != checklist.ROLLBACK),
        worked=sum(each.seconds for each in phases), files=_files(names),
    )  # fmt: skip
    return redact(text)


def _proofs(folder: Path, names: Sequence[str], lines: Sequence[Line]) -> list[Proof]:
    """The last report of each target, by the ledger's order; one that cannot be read is told as that."""
    started = {f"{x.text('phase')}/{x.text('attempt')}": x for x in lines if x.event == "attempt-started"}
    ended = {f"{x.text('phase')}/{x.text('attempt')}": x for x in lines if x.event == "attempt-ended"}
    verified = {x.text("report"): x for x in lines if x.event == "verified"}
    found: dict[str, tuple[int, Proof]] = {}
    for name in names:
        match = _REPORT.fullmatch(name)
        if not match:
            continue
        attempt = f"{name.split('/')[0]}/{match[1]}"
        line = verified.get(name) or started.get(attempt)
        at = verified.get(name) or ended.get(attempt) or line
        proof = _proof(folder, name, match[2], at.text("at") if at else "", names)
        if proof.of not in found or (line.n if line else 0) >= found[proof.of][0]:
            found[proof.of] = (line.n if line else 0, proof)
    return sorted((proof for _, proof in found.values()), key=lambda each: (each.verdict == "equal", each.of))


def _proof(folder: Path, name: str, stem: str, at: str, names: Sequence[str]) -> Proof:
    page = f"{name.removesuffix('.json')}/report.html"
    page = page if page in names else ""
    try:
        value = json.loads((folder / name).read_text(encoding="utf-8"))
        target, tables = str(value.get("target", stem)), list(value.get("tables") or ())
        rows = [sum(int(table.get(side) or 0) for table in tables) for side in ("rows_source", "rows_target")]
        cells = sum(int(table.get("rows_source") or 0) * len(table.get("columns") or ()) for table in tables)
        left = {str(k): str(v) for k, v in (value.get("left_out") or {}).items()}
        of = _PROOFS.get(stem) or TARGETS.get(target, target)
        return Proof(
            of, str(value["verdict"]), len(tables), rows[0], rows[1], cells, str(value.get("lsn") or ""), at, page, left
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Proof(TARGETS.get(stem, stem), "unreadable", 0, 0, 0, 0, "", at, page, {})


def _phases(lines: Sequence[Line], names: Sequence[str], option: str) -> Iterator[Phase]:
    ended = {(x.text("phase"), x.text("attempt")): x for x in lines if x.event == "attempt-ended"}
    stand = standings(lines, checklist.words(), checklist.undone_by())
    over = {step for step, each in stand.items() if each.state in OVER}
    declared = checklist.steps_for_option(option)
    ran = [x.text("phase") for x in lines if x.event == "attempt-started"]
    for phase in dict.fromkeys([*checklist.PHASES, *ran]):
        steps = [step for step in declared if step.phase == phase]
        if not steps and phase not in ran:
            continue
        attempts = []
        for x in lines:
            if x.event == "attempt-started" and x.text("phase") == phase:
                end = ended.get((phase, x.text("attempt")))
                path = f"{phase}/{x.text('attempt')}"
                seconds = _seconds(x.text("at"), end.text("at")) if end else None
                attempts.append(
                    Attempt(
                        x.text("attempt"),
                        end.text("status") if end else "did not end",
                        seconds,
                        *(f"{path}{suffix}" if f"{path}{suffix}" in names else "" for suffix in (".html", ".ipynb")),
                    )
                )
        done = sum(set(step.ids) <= over for step in steps)
        yield Phase(phase, len(steps), done, sum(step.minutes for step in steps), tuple(attempts))


def _failures(lines: Sequence[Line]) -> Iterator[str]:
    """What went wrong on the way, a sentence each: failed steps, attempts that were cut off, verifications that differed."""
    for x in lines:
        error = x.fields.get("error")
        if x.event == "step-failed" and isinstance(error, dict) and error.get("type") != "AwaitingPerson":
            yield f"{x.text('step')} failed in {x.text('attempt')}: {error.get('why', '')}"
        elif x.event == "attempt-ended" and x.text("status") == "killed":
            yield f"{x.text('attempt')} of {x.text('phase')} was killed"
        elif x.event == "verified" and x.text("verdict") != "equal":
            yield f"{x.text('target')} was found {x.text('verdict')} ({x.text('report')})"


def _warnings(folder: Path, lines: Sequence[Line]) -> Iterator[tuple[str, str, str]]:
    """The step, the object and the sentence of each warning that a step's last findings hold."""
    results = {x.text("step"): x.fields.get("result") for x in lines if x.event == "step-done"}
    for step, result in results.items():
        name = result.get("evidence") if isinstance(result, dict) else None
        try:
            found = json.loads((folder / str(name)).read_text(encoding="utf-8")) if name else []
            for each in found if isinstance(found, list) else ():
                if each.get("severity") in ("warning", "stop"):
                    yield step, str(each.get("on", "")), str(each.get("what", ""))
        except (OSError, ValueError, AttributeError):
            continue  # what a step leaves beside its findings may be of any form; the check tells of a file that was changed


def _said(lines: Sequence[Line], key: str) -> dict[str, Any]:
    """By step, what its last result says under a key; none that does not have it."""
    results = {x.text("step"): x.fields.get("result") for x in lines if x.event == "step-done"}
    return {step: result[key] for step, result in results.items() if isinstance(result, dict) and key in result}


def _by_reason(proofs: Sequence[Proof]) -> dict[str, list[str]]:
    """What did not move, by the reason."""
    found: dict[str, list[str]] = {}
    for name, reason in {name: why for each in proofs for name, why in each.left_out.items()}.items():
        found.setdefault(reason, []).append(name)
    return found


def _approved(lines: Sequence[Line]) -> dict[str, list[str]]:
    """By box, who approved it and when."""
    titles, found = _titles(), dict[str, list[str]]()
    for x in lines:
        if x.event == "approved":
            said = f"{x.text('by')} ({_at(x.text('at'))})"
            found.setdefault(titles.get(x.text("step"), x.text("step")), []).append(said)
    return found


def _titles() -> dict[str, str]:
    return {name: step.title for step in checklist.steps() for name in step.ids}


def _files(names: Sequence[str]) -> dict[str, list[str]]:
    """The files by the folder they lie in, those beside the page first."""
    found: dict[str, list[str]] = {"": []}
    for name in names:
        found.setdefault(name.rpartition("/")[0].split("/")[0], []).append(name)
    return found


def _seconds(began: str, ended: str) -> float:
    try:
        return max(0.0, (datetime.fromisoformat(ended) - datetime.fromisoformat(began)).total_seconds())
    except ValueError:
        return 0.0


def _at(text: str) -> str:
    return f"{text[:16].replace('T', ' ')} UTC" if text else "at an unknown time"


_FILTERS = {
    "at": _at, "duration": duration, "planned": working_time, "number": lambda n: f"{n:,}", "link": quote,
    "elsewhere": elsewhere_in_words, "day": lambda text: text[:10], "phase": lambda name: name.replace("_", " "),
}  # fmt: skip
