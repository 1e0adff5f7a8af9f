"""A run that is small and whole: a real executed notebook, a ledger by a writer of the tests' own, and people's keys.

The ledger's writer here follows the file format as it is documented, and shares no code with the product's.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from helpers import PROJECT
from helpers.checker import checklists
from helpers.checker.manifest import digest_of
from helpers.checker.rule import DeclaredStep
from helpers.errors import AwaitingPerson
from helpers.evidence import approvals, heads
from helpers.evidence import seal as sealing
from helpers.evidence.people import roll
from helpers.ledger import keys
from helpers.ledger.keys import KeyPair
from helpers.settings import Approvals, Profile, Settings

PHASE = "30_x"
CELLS = {
    "title": "# A title",
    "setup": "import json\nfrom helpers.ledger.folders import report_path",
    "s30-export-act": "report_path('verify.json').write_text(json.dumps({'verdict': 'equal'}))\nexported = 2",
    "s30-export-check": "exported",
    "s30-load-act": "loaded = exported",
    "s30-load-check": "print(loaded, 'tables')",
}
DECLARED = (
    DeclaredStep("s30-export", PHASE),
    DeclaredStep("s30-load", PHASE, cell="s30-load-act", approvals=2),
    DeclaredStep("s30-training", PHASE, word=True),
)
SHIPPED = checklists.KNOWN
checklists.KNOWN = {
    **SHIPPED,
    digest_of(DECLARED): "A",
}  # a checklist of the tests' own, known to the check in this process
PLAN = {"table": "orders", "rows": 2}
LSN = "0/16B3748"


class TestLedger:
    """Writes `ledger.jsonl`; `Ledger.open(folder)` of the product looks the same from outside."""

    __test__ = False

    def __init__(self, folder: Path) -> None:
        self.path = folder / "ledger.jsonl"

    @classmethod
    def open(cls, folder: Path) -> TestLedger:
        return cls(folder)

    @property
    def head(self) -> str:
        lines = self.path.read_bytes().splitlines() if self.path.exists() else []
        return hashlib.sha256(lines[-1]).hexdigest() if lines else "0" * 64

    def append(self, event: str, /, **fields: object) -> None:
        count = len(self.path.read_bytes().splitlines()) if self.path.exists() else 0
        line = {"n": count + 1, "at": datetime.now(UTC).isoformat(), "prev": self.head, "event": event, **fields}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n")


@dataclass
class People:
    """Private keys outside of any run, and the settings that name their public halves."""

    folder: Path
    names: tuple[str, ...] = ("alice", "bob", "carol")
    thresholds: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in (*self.names, "sealer", "machine", "mallory"):
            keys.generate(self.key(name))

    def key(self, name: str) -> Path:
        return self.folder / f"{name}.pem"

    def signer(self, name: str) -> KeyPair:
        return keys.signer(self.key(name))

    def settings(self, **people: str) -> Settings:
        named = people or {name: f"{name}.pem.pub" for name in self.names}
        own = Approvals(people=named, thresholds=self.thresholds)
        return Settings("production", self.folder / "migration.toml", Profile(approvals=own))


@dataclass
class Run:
    """A run that is ready to be sealed, or is."""

    folder: Path
    people: People

    @property
    def ledger(self) -> TestLedger:
        return TestLedger(self.folder)

    @property
    def attempt(self) -> Path:
        return self.folder / PHASE / "attempt-01.ipynb"

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.ledger.path.read_bytes().splitlines()]

    def seal(self, **options: Any) -> sealing.Sealed:
        given = {
            "signer": self.people.signer("sealer"),
            "ledger": self.ledger,
            "declared": DECLARED,
            "people": roll(self.people.settings()).people,
            "known_secrets": (),
            "project": PROJECT,
        }
        return sealing.seal(self.folder, **{**given, **options})


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def open_run(folder: Path, people: People, executed: Path, stand_ins: dict[str, str] | None = None) -> Run:
    """The run up to the step that needs approvals."""
    run = Run(folder, people)
    shutil.copytree(executed, folder / PHASE)
    torn = b'{"at":"2026'
    (folder / "ledger.torn-1").write_bytes(torn)
    run.ledger.append(
        "run-opened",
        run=folder.name,
        option="A",
        profile="production",
        apply=True,
        git={"commit": "0" * 40, "dirty": False},
        run_key=people.signer("machine").public_key.pem,
    )
    run.ledger.append("recovered", file="ledger.torn-1", sha256=hashlib.sha256(torn).hexdigest(), length=len(torn))
    place = {"phase": PHASE, "attempt": "attempt-01"}
    run.ledger.append(
        "attempt-started", **place, notebook_sha256="0" * 64, parameters={}, by="tester", stand_ins=stand_ins or {}
    )
    run.ledger.append("step-started", step="s30-export", **place, inputs="1" * 64, load_id="a" * 32)
    result = {"server_version": "18.6", "role": "reader", "time_zone": "UTC", "snapshot": "3-1", "lsn": LSN}
    run.ledger.append("step-done", step="s30-export", **place, inputs="1" * 64, result=result, seconds=1.5)
    return run


def whole_run(folder: Path, people: People, executed: Path, stand_ins: dict[str, str] | None = None) -> Run:
    """The run as it is before it is sealed: two have approved the load, one has attested the training."""
    run = open_run(folder, people, executed, stand_ins)
    settings, place = people.settings(), {"phase": PHASE, "attempt": "attempt-01"}
    try:
        approvals.require(folder, "s30-load", PLAN, LSN, settings, ledger=run.ledger)
    except AwaitingPerson:
        for name in ("alice", "bob"):
            approvals.approve(folder, "s30-load", by=name, key=people.key(name), settings=settings, ledger=run.ledger)
    approvals.require(folder, "s30-load", PLAN, LSN, settings, ledger=run.ledger)
    run.ledger.append("step-started", step="s30-load", **place, inputs="2" * 64, load_id="b" * 32)
    run.ledger.append("step-done", step="s30-load", **place, inputs="2" * 64, result={}, seconds=2)
    run.ledger.append("step-skipped", step="s30-export", **place, inputs="1" * 64, of=5, why="equal inputs")
    approvals.attest(
        folder,
        "s30-training",
        by="carol",
        key=people.key("carol"),
        note="all three shifts",
        settings=settings,
        ledger=run.ledger,
    )
    report = next((folder / PHASE).glob("*-verify.json"))
    run.ledger.append(
        "attempt-ended",
        **place,
        status="done",
        exit_code=0,
        notebook_sha256=digest(run.attempt),
        html_sha256=digest(page) if (page := run.attempt.with_suffix(".html")).exists() else None,
        files=[{"path": f"{PHASE}/{report.name}", "sha256": digest(report)}],
    )
    heads.sign_head(folder, run.ledger, people.signer("machine"))
    return run


def writable(folder: Path) -> None:
    """Undoes what sealing does to the modes of files, as any owner can."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


def copied(run: Run, folder: Path) -> Run:
    shutil.copytree(run.folder, folder)
    writable(folder)
    return Run(folder, run.people)


def rewrite_ledger(run: Run, change: Callable[[list[dict[str, Any]]], None], *, chain: bool = False) -> None:
    """Changes the ledger's lines; with `chain` numbers and hashes are computed anew, as anybody can."""
    lines = run.lines()
    change(lines)
    prev, out = "0" * 64, []
    for number, line in enumerate(lines, start=1):
        if chain:
            line |= {"n": number, "prev": prev}
        raw = json.dumps(line, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        prev = hashlib.sha256(raw).hexdigest()
        out.append(raw + b"\n")
    run.ledger.path.write_bytes(b"".join(out))


def seal_anew(run: Run, **options: Any) -> None:
    """What somebody does who holds the key that seals: the seal's own files are made again over whatever is there.

    The checks before sealing are left out: this person's program has none.
    """
    rewrite_ledger(run, lambda lines: lines.__delitem__(-1), chain=False)
    for name in ("manifest.json", "seal.dsse.json", "evidence.zip"):
        (run.folder / name).unlink(missing_ok=True)
    from helpers.checker.container import Folder
    from helpers.checker.facts import Facts
    from helpers.checker.ledger_reader import read
    from helpers.checker.manifest import PreviousSeal
    from helpers.checker.record import verdict_of

    lines, _ = read(run.ledger.path.read_bytes())
    declared = options.get("declared", DECLARED)
    people = options.get("people", roll(run.people.settings()).people)
    before: PreviousSeal | None = options.get("previous")
    found = verdict_of(Facts(Folder(run.folder), lines, run.folder.name, declared, people))
    verdict = options.get("verdict", str(found))
    manifest = sealing._manifest(run.folder, lines, declared, people, before, verdict, found.why)
    (run.folder / "manifest.json").write_bytes(manifest.to_bytes())
    run.ledger.append(
        "sealed",
        manifest_sha256=hashlib.sha256(manifest.to_bytes()).hexdigest(),
        verdict=verdict,
        envelope="seal.dsse.json",
        files=options.get("files", sealing._made(run.folder, lines)),
    )
    sealing.seal(run.folder, signer=run.people.signer("sealer"), ledger=run.ledger, declared=(), people={},
                 known_secrets=(), project=PROJECT)  # fmt: skip
    writable(run.folder)
