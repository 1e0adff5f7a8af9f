"""`runbook status` and `runbook control-room`: how a run stands."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from helpers.commands import places
from helpers.commands.held import transactions_held_back
from helpers.commands.options import Profile, Run
from helpers.commands.output import Answer, output, say, screen
from helpers.progress import duration

if TYPE_CHECKING:
    from helpers.runs.following import Following
    from helpers.runs.status import RunStatus


@output
def status(
    run: Run = None,
    let_go: Annotated[
        bool,
        typer.Option(
            "--let-go", help="Release the snapshots held for the run; without --run, those that belong to no run."
        ),
    ] = False,
    profile: Profile = None,
) -> Answer:
    """Show a run's checklist and attempts, and the snapshots held on a source.

    Example: runbook status --run first
    """
    from helpers.runs.holds import let_go_abandoned
    from helpers.runs.status import read_status
    from helpers.source import held_snapshots

    found = read_status(places.existing_run_folder(run)) if run else None
    attempts = [_attempt(path) for path in sorted(places.run_folder(run).glob("*/attempt-*.ipynb"))] if run else []
    for attempt in attempts:
        recorded = found.attempts if found else {}
        attempt["status"] = recorded.get(f"{attempt['phase']}/{attempt['attempt']}", attempt["status"])
    following = _following(run, found) if run and found else None
    if let_go:
        for each in let_go_abandoned(run, found):
            say(f"let go {each}")
    held = held_snapshots.held()
    behind = transactions_held_back(profile, held)

    def show() -> None:
        if found:
            _show_checklist(found, following)
            rows = [(a["phase"], a["attempt"], a["status"], str(a["html"])) for a in attempts]
            screen.table(f"run {run}", "phase", "attempt", "status", "html", rows=rows)
        else:
            there = ", ".join(places.runs()) or "none yet"
            screen.print(f"runs: {there}; `runbook status --run NAME` shows one", markup=False, soft_wrap=True)
        holders = [
            (
                s.source,
                s.run or "none",
                s.purpose or "a command that is at work",
                s.lsn,
                s.taken_at,
                s.until,
                str(s.keeper),
            )
            for s in held
        ]
        if not held:
            screen.print("no snapshot is held on a source")
        else:
            screen.table("snapshots held", "source", "run", "for", "LSN", "since", "until", "keeper", rows=holders)
            by = "" if behind is None else f" by {behind:,} transaction{'' if behind == 1 else 's'} (age of xmin)"
            screen.print(
                f"vacuum on the source is held back{by}; what goes on needs its snapshot, "
                "and `runbook status --run NAME --let-go` (without --run: of no run) lets go what is held for later",
                soft_wrap=True,
            )

    summary = {"attempts": attempts, "snapshots": [vars(s) for s in held], "xmin_age": behind}
    return Answer(summary | ({"run": run, **found.as_dict()} if found else {}), show)


def control_room(
    run: Run = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 picks a free one.")] = 0,
    public_key: Annotated[
        str,
        typer.Option(
            help="Public key of the person who sealed the run: a file, PEM text, or base64; default: looked up in the settings."
        ),
    ] = "",
) -> None:
    """Follow a run in the browser: checklist, data, differences, evidence. Reads only, on 127.0.0.1, behind a token.

    Example: runbook control-room --run first
    """
    from helpers.control_room.server import serve

    if run:
        places.existing_run_folder(run)
    if public_key and Path(public_key).expanduser().exists():
        public_key = str(Path(public_key).expanduser().resolve())

    def announce(address: str) -> None:
        screen.print("the control room reads, and writes nothing; stop it with Ctrl-C", markup=False)
        print(address, flush=True)  # noqa: T201 - the one thing another program wants of it

    serve(places.OUTPUTS, run or "", port=port, public_key=public_key, say=announce)


def _following(run: str, found: "RunStatus") -> "Following":
    from helpers.checker.manifest import SEAL
    from helpers.ledger.ledger import NAME, Ledger
    from helpers.runs.following import find_following

    folder = places.run_folder(run)
    entries = [] if found.findings else Ledger(folder / NAME).entries()
    return find_following(run, found, entries, sealed=(folder / SEAL).exists())


def _show_checklist(found: "RunStatus", following: "Following | None") -> None:
    from helpers.checker.rule import counts_in_words

    depth: dict[str, int] = {}
    for phase in dict.fromkeys(step.phase for step in found.steps):
        rows = []
        for step in (step for step in found.steps if step.phase == phase):
            depth[step.id] = depth[step.under] + 1 if step.under else 0
            actual = "" if step.actual_minutes is None else duration(60 * step.actual_minutes)
            rows.append((step.mark, "  " * depth[step.id] + step.title, step.id, step.state, step.who or "", (step.at or "")[:19],
                         step.planned_minutes or "", actual))  # fmt: skip
        screen.table(phase, "", "box", "step", "state", "who", "when (UTC)", "planned min", "actual", rows=rows)
    for step in found.steps:
        if step.why:
            say(f"{step.mark} {step.why}")
    box = next((step for step in found.steps if step.id == found.next), None)
    words = f"{box.id}, {box.title} (phase {box.phase[:2]})" if box else "nothing of the checklist"
    say(f"next: {words}")
    if following and following.command:
        say(f"  {following.command}")
    for objection in found.objections:
        say(f"stands against sealing: {objection}")
    say(f"blocked by: {found.blocked_by or 'nothing'}")
    if found.verdict:
        say(f"by the ledger the run amounts to {found.verdict}")
    screen.print(
        f"{counts_in_words(found.counts)}, of {len(found.steps)} boxes of option {found.option}; ledger of {found.entries} lines, {'broken' if found.findings else 'intact'}"
    )


def _attempt(path: Path) -> dict[str, Any]:
    metadata = json.loads(path.read_text(encoding="utf-8"))["metadata"].get("runbook", {})
    html = path.with_suffix(".html")
    return {
        "phase": path.parent.name, "attempt": path.stem, "status": metadata.get("status", "not finished"),
        "exit_code": metadata.get("exit_code"), "notebook": str(path), "html": str(html) if html.exists() else None,
    }  # fmt: skip
