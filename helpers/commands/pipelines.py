"""Commands that run the pipelines, and the rollback's rehearsal: `runbook aggregate`, `marts`, `benchmark` and `rehearse-rollback`."""

import json
from typing import Annotated, Any

import typer

from helpers.commands import places
from helpers.commands.options import PlanOnly, Profile, Run, SourceDsn, load_profile, one_of
from helpers.commands.output import Answer, output, planned, say, screen, show_frame
from helpers.progress import duration, progress


@output
def aggregate(source_dsn_env: SourceDsn = None, profile: Profile = None) -> Answer:
    """Run the sample's legacy aggregation in the source: raw orders → star → totals by day and by month, in one transaction.

    Example: runbook aggregate --profile local
    """
    from helpers.pipelines.sample import aggregation as legacy_aggregation

    rows = legacy_aggregation.aggregate(load_profile(profile, source_dsn_env).source)
    return Answer({"rows": rows}, lambda: screen.table("aggregated", "table", "rows", rows=list(rows.items())))


@output
def marts(
    select: Annotated[str | None, typer.Option(help="dbt node selector; default: the profile's.")] = None,
    with_parity: Annotated[
        bool, typer.Option("--parity/--no-parity", help="Compare the profile's figures of both sides.")
    ] = True,
    source_dsn_env: SourceDsn = None,
    profile: Profile = None,
) -> Answer:
    """Build the marts with dbt, test them, and compare the figures of both sides; exit 1 when a test or comparison fails.

    Example: runbook marts --select +monthly_loans
    """
    from helpers.pipelines import figures, readers
    from helpers.pipelines import marts as building

    settings = load_profile(profile, source_dsn_env)
    building.prepare(settings)
    built = building.build(
        settings,
        select=(select,) if select else None,
        report=lambda line: screen.print(line, markup=False, style="dim"),
    )
    failing: dict[str, list[dict[str, Any]]] = {}
    if bad := [node for node in built.bad if node.kind == "test"]:
        with readers.reading(settings) as reader:
            failing = {node.name: building.failing_rows(reader, node) for node in bad}
    compared = figures.compare(settings) if built.ok and with_parity and settings.figures else None
    summary = {
        "ok": built.ok, "seconds": round(built.seconds, 1),
        "nodes": [{name: value for name, value in vars(node).items() if name != "sql"} for node in built.nodes],
        "failing_rows": {name: [{k: str(v) for k, v in row.items()} for row in rows] for name, rows in failing.items()},
        "parity": compared.as_dict() if compared else None,
    }  # fmt: skip

    def show() -> None:
        nodes = [(n.name, n.kind, n.status, n.failures, "" if n.good else n.message) for n in built.nodes]
        screen.table(
            f"dbt build{f' --select {select}' if select else ''}",
            "name",
            "kind",
            "status",
            "failing rows",
            "message",
            rows=nodes,
        )
        for name, rows in failing.items():
            for row in rows:
                say(f"{name}: {', '.join(f'{k}={v}' for k, v in row.items())}")
        if compared:
            title = f"figures, source at LSN {compared.lsn}, target {compared.engine}"
            show_frame(title, compared.frame())
            for difference in compared.differences[:40]:
                say(str(difference))

    return Answer(summary, show, 0 if built.ok and (compared is None or compared.equal) else 1)


@output
def benchmark(
    pipeline: Annotated[str, typer.Option(help="modern, legacy or both.")] = "both",
    data_volume: Annotated[str, typer.Option(help="small, medium, large or all.")] = "small",
    plan: PlanOnly = False,
    run: Run = None,
    source_dsn_env: SourceDsn = None,
    profile: Profile = None,
) -> Answer:
    """Time both pipelines: the figures of both sides over the data that there are; exit 1 when an agreed limit is exceeded.

    The sample is generated at ten thousand, a hundred thousand or a million order lines, and removed afterwards: large is what a
    laptop moves in a few minutes. --data-volume is for the sample alone.

    Example: runbook benchmark --pipeline modern --data-volume large
    """
    from helpers.ledger.folders import create_exclusively, make_private
    from helpers.pipelines import benchmark as benchmarking

    one_of("--pipeline", pipeline, ("modern", "legacy", "both"))
    one_of("--data-volume", data_volume, (*benchmarking.VOLUMES, "all"))
    settings = load_profile(profile, source_dsn_env)
    volumes = tuple(benchmarking.VOLUMES) if data_volume == "all" else (data_volume,)
    what = benchmarking.plan_benchmark(settings, ("legacy", "modern") if pipeline == "both" else (pipeline,), volumes)
    if plan:
        return planned("would measure", ("volume", "pipeline", "rows"), what.rows())
    with progress("benchmark") as report:
        found = benchmarking.benchmark(what, benchmarking.limits_of(settings), progress=report)
    if run:
        from helpers.evidence.heads import record_file

        folder = places.run_folder(run)
        make_private(folder)
        kept = places.unused(folder / "benchmark.json")
        create_exclusively(kept, json.dumps(found.as_dict(), indent=1) + "\n")
        record_file(folder, kept)

    def show() -> None:
        frames = {
            "seconds by volume": found.totals(),
            "stages": found.frame("pipeline"),
            "marts": found.frame("mart"),
            "queries": found.frame("query"),
        }
        if found.verdicts:
            frames["limits"] = found.judged()
        for title, frame in frames.items():
            show_frame(title, frame)

    return Answer(found.as_dict(), show, 0 if found.kept else 1)


@output
def rehearse_rollback(
    orders: Annotated[int, typer.Option(min=100, help="Number of order lines in the scratch source.")] = 1000,
    writes: Annotated[int, typer.Option(min=1, help="Number of writes to the target before the rollback.")] = 60,
    seed: Annotated[int, typer.Option(help="Random seed: the same seed makes the same writes.")] = 1,
    source_dsn_env: SourceDsn = None,
    profile: Profile = None,
) -> Answer:
    """Cut over a scratch copy, write to its target, roll back; exit 1 when a write was lost.

    Example: runbook rehearse-rollback --orders 10000 --json
    """
    from helpers.cutover import rehearsal as rollback_rehearsal

    done = rollback_rehearsal.rehearse(
        load_profile(profile, source_dsn_env), orders=orders, writes=writes, seed=seed,
        say=lambda line: screen.print(line, markup=False, style="dim"),
    )  # fmt: skip

    def show() -> None:
        kinds = [(kind, count, done.brought_back[kind]) for kind, count in done.writes.items()]
        screen.table("writes to the new side", "kind", "written", "rows brought back", rows=kinds)
        screen.table(
            "stages", "stage", "took", rows=[(stage, duration(seconds)) for stage, seconds in done.seconds.items()]
        )
        for sentence in done.lost:
            say(f"lost: {sentence}")
        screen.print(f"not rehearsed: {', '.join(rollback_rehearsal.NOT_REHEARSED)}", markup=False)
        screen.print(done.verdict.upper(), markup=False, style="bold green" if done.passed else "bold red")

    return Answer(done.as_dict(), show, 0 if done.passed else 1)
