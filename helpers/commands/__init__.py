"""The command `runbook`: what a terminal, a scheduler and another program call.

Exit codes: 0 done and true; 1 ran, and the answer is no; 2 could not run; 3 awaiting a person; 4 aborted.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.text import Text
from typer._click.exceptions import UsageError as WrongArguments  # typer carries its own click and exports no base

from helpers import export as exporting
from helpers import settings as profiles
from helpers import verify as verifying
from helpers.checklist import ROLLBACK
from helpers.errors import MigrationError, SettingsError, Unexpected, UsageError
from helpers.export.state import TableState
from helpers.ledger import objections
from helpers.ledger.credentials import remember_environment
from helpers.ledger.folders import checked_name, refuse_sealed
from helpers.load import delta as loading_delta
from helpers.load import snowflake as loading
from helpers.model import manifest as manifests
from helpers.model import names as naming
from helpers.model import types_page
from helpers.platforms import faults, postgres, spark
from helpers.platforms.s3 import Bucket
from helpers.progress import Progress, duration, progress
from helpers.runs.parent_process import heed_parent
from helpers.screen import Screen, open_streams, silence
from helpers.source import left_out as leaving
from helpers.source import snapshot as snapshots
from helpers.source import survey as assessing
from helpers.verify.about import About
from helpers.verify.apart import apart_from_the_verdict

if TYPE_CHECKING:
    from helpers.archive.record import RestoreTest
    from helpers.runs.following import Following
    from helpers.runs.run import AttemptResult
    from helpers.runs.run_all import AllResult
    from helpers.runs.status import RunStatus

ABORTED = 4
RUNBOOKS = profiles.PROJECT / "runbooks"
OUTPUTS = profiles.PROJECT / "outputs"
COMMAND = (sys.executable, "-m", "helpers")
"""How `runbook run all` starts the process of each phase."""

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Move a PostgreSQL sales pipeline to Snowflake or Databricks, and prove that every cell arrived.\n\n"
    "Example: runbook local up; runbook run 30 --run first",
)
kafka_app = typer.Typer(no_args_is_help=True, help="Sale events: the topic, a producer, and their landing in S3.")
app.add_typer(kafka_app, name="kafka")
local_app = typer.Typer(no_args_is_help=True, help="The embedded stack: PostgreSQL, S3 and a Snowflake stand-in.")
app.add_typer(local_app, name="local")

screen = Screen()
"""For people: what was asked for goes to standard output, whatever else is said to standard error."""

Profile = Annotated[str | None, typer.Option(help="Profile of migration.toml; without it RUNBOOK_PROFILE or local.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output and nothing else.")]
Run = Annotated[str | None, typer.Option(help="The run this belongs to; its files go to outputs/RUN.")]
Tables = Annotated[list[str] | None, typer.Option(help="Glob over table or schema.table; repeat for more.")]
Exclude = Annotated[
    list[str] | None,
    typer.Option(help="Glob over table or schema.table: left out, not counted, not locked; repeat for more."),
]
PlanOnly = Annotated[bool, typer.Option("--plan", help="Show what would be done, and do nothing.")]


def main() -> None:
    """Runs the command; every expected failure becomes one sentence and an exit code."""
    as_json = "--json" in sys.argv[1:]
    open_streams()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    threading.excepthook = _in_a_thread
    remember_environment(os.environ)
    try:
        sys.exit(app(prog_name="runbook", standalone_mode=False) or 0)
    except WrongArguments as error:
        help_line = f"see: {error.ctx.command_path} --help" if error.ctx else "see: runbook --help"
        _fail(
            UsageError(
                "understand the command", on=" ".join(sys.argv[1:2]), why=error.format_message(), next_step=help_line
            ),
            as_json,
        )
    except MigrationError as error:
        _fail(error, as_json)
    except (KeyboardInterrupt, typer.Abort):
        screen.print("aborted: nothing is left half-done; run the same command again")
        sys.exit(ABORTED)
    except Exception as error:
        if os.environ.get("RUNBOOK_DEBUG"):
            raise
        _fail(faults.of_any(error) or Unexpected.of(error), as_json)


def _in_a_thread(error: threading.ExceptHookArgs) -> None:
    """The connector aborts a lost query from a thread of its own; the main thread tells of the same loss in a sentence."""
    if not error.exc_type.__module__.startswith("snowflake."):
        threading.__excepthook__(error)


def _fail(error: MigrationError, as_json: bool) -> NoReturn:
    if as_json:
        _print_json({"error": error.as_dict()})
    else:
        screen.print(Text.assemble(("✘", "bold red"), f" Could not {error.what}"), soft_wrap=True)
        for label, text in (("on", error.on), ("why", error.why), ("next", error.next_step)):
            screen.print(f"  [dim]{label:<5}[/]", end="")
            screen.print(text, markup=False, soft_wrap=True)
        if error.transient:
            screen.print("  [dim]retry[/] the same command may succeed when it is repeated")
    sys.exit(error.exit_code)


def _print_json(value: dict[str, Any]) -> None:
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        text = json.dumps(value)
    try:
        print(text, flush=True)  # noqa: T201
    except BrokenPipeError:
        silence(sys.stdout)


@local_app.command("up")
def local_up(
    kafka: Annotated[
        bool, typer.Option("--kafka", help="Also the Kafka stand-in, which else starts when needed.")
    ] = False,
    airflow: Annotated[
        bool, typer.Option("--airflow", help="Start Airflow too; the first time it is installed.")
    ] = False,
) -> None:
    """Start the embedded stack; what runs already is left alone.

    Example: runbook local up --airflow
    """
    from helpers.commands import demo
    from helpers.local import stack
    from helpers.platforms import environments

    def report(line: str) -> None:
        screen.print(line, markup=False)

    environment = stack.up(report=report)
    demo.make_keys(stack.home())
    if kafka:
        stack.on_demand("kafka", report=report)
    if airflow:
        environments.python("airflow", report=report)
        stack.on_demand("airflow", report=report)
    screen.print(f"the local stack is up: {environment!r}", markup=False)


@local_app.command("down")
def local_down() -> None:
    """Stop the embedded stack; its data stay.

    Example: runbook local down
    """
    from helpers.local import stack

    stopped = stack.down()
    screen.print(f"stopped: {', '.join(stopped) or 'nothing was running'}", markup=False)


@local_app.command("remove")
def local_remove() -> None:
    """Stop the embedded stack and delete its data.

    Example: runbook local remove
    """
    from helpers.local import stack

    stack.remove()
    screen.print("the local stack and its data are gone")


@local_app.command("status")
def local_status(as_json: Json = False) -> None:
    """Show which servers of the embedded stack run; exit 1 unless all do that `local up` starts.

    Example: runbook local status
    """
    from helpers.local import stack

    servers = stack.status()
    rows = [
        (s.name, "running" if s.running else "stopped", str(s.pid or ""), str(s.port or ""), s.detail) for s in servers
    ]
    _show(
        as_json,
        {"servers": [vars(server) for server in servers]},
        lambda: screen.table("local stack", "server", "state", "pid", "port", "detail", rows=rows),
    )
    raise typer.Exit(0 if all(server.running or server.on_demand for server in servers) else 1)


@local_app.command("env")
def local_env(as_json: Json = False) -> None:
    """Show how to reach the embedded stack; with --json including the generated passwords.

    Example: runbook local env --json
    """
    from helpers.local import stack

    environment = stack.environment()
    # With --json this is the one place whose purpose is to hand over credentials.
    _show(as_json, environment.as_dict() if as_json else {}, lambda: screen.print(repr(environment), markup=False))


@local_app.command("sample")
def local_sample(
    scale: Annotated[
        int, typer.Option(envvar="SCALE", help="Order lines, from ten thousand to a hundred million.")
    ] = 10_000,
    seed: Annotated[int, typer.Option(help="Equal seeds make equal data.")] = 20240101,
    replace: Annotated[bool, typer.Option(help="Build even over orders that were loaded from a file.")] = False,
    keep_orders: Annotated[bool, typer.Option(help="Do nothing where orders were loaded from a file.")] = False,
) -> None:
    """Build the sample source: the legacy sales pipeline with generated orders.

    Example: runbook local sample --scale 1000000
    """
    from helpers.local import stack
    from helpers.pipelines.sample import sample

    dsn = stack.environment().postgres_dsn
    if keep_orders and (file := sample.loaded_file(dsn)):
        screen.print(
            f"keeping the orders of {file}; `runbook local sample --replace` builds the sample over them", markup=False
        )
        return
    with progress("sample") as report:
        summary = sample.build(
            dsn,
            orders=scale,
            seed=seed,
            replace=replace,
            report=lambda what, share: report(int(share * scale), scale, what),
        )
    screen.print(f"sample source: {sum(summary.rows.values()):,} rows in {len(summary.rows)} tables")


@local_app.command("load-orders")
def local_load_orders(
    file: Annotated[
        Path, typer.Argument(help="A text file with a header; its separator, encoding and dates are found out.")
    ],
    skip_bad_rows: Annotated[bool, typer.Option(help="Load the good rows where some are bad.")] = False,
    day_first: Annotated[bool | None, typer.Option("--day-first/--month-first", help="How 3/4/2024 is read.")] = None,
) -> None:
    """Replace the sample's orders by those of a file, and rebuild the star.

    Example: runbook local load-orders superstore.csv --month-first
    """
    from helpers.local import stack
    from helpers.pipelines.sample import orders

    with progress("orders") as report:
        loaded = orders.load_orders(
            stack.environment().postgres_dsn,
            file,
            skip_bad_rows=skip_bad_rows,
            day_first=day_first,
            report=lambda what, share: report(int(share * 100), 100, what),
        )
    dialect = loaded.dialect
    screen.print(
        f"{loaded.rows:,} rows loaded as {loaded.lines:,} order lines (separator {dialect.separator!r}, {dialect.encoding}, "
        f"dates {dialect.date_order}, decimal {'comma' if dialect.decimal_comma else 'point'})",
        markup=False,
    )
    if dialect.guessed:
        screen.print(f"guessed, as no value proves it: {', '.join(dialect.guessed)}", markup=False)
    if loaded.ignored:
        screen.print(f"columns ignored: {', '.join(loaded.ignored)}", markup=False)
    for bad in loaded.bad_rows:
        screen.print(f"skipped: {bad}", markup=False)


Topic = Annotated[str | None, typer.Option(help="Without it the profile's.")]


@kafka_app.command("topics")
def kafka_topics(profile: Profile = None, as_json: Json = False) -> None:
    """Show the topics of the profile's brokers.

    Example: runbook kafka topics
    """
    from helpers.platforms import kafka

    settings = profiles.load(profile).kafka
    found = kafka.topics(settings)
    rows = [(topic.name, topic.partitions) for topic in found]
    _show(
        as_json,
        {"brokers": kafka.address(settings), "topics": [vars(topic) for topic in found]},
        lambda: screen.table(f"topics of {kafka.address(settings)}", "topic", "partitions", rows=rows),
    )


@kafka_app.command("create-topic")
def kafka_create_topic(topic: Topic = None, profile: Profile = None, as_json: Json = False) -> None:
    """Make the topic; one that is there stays as it is.

    Example: runbook kafka create-topic --topic sales
    """
    from helpers.platforms import kafka

    settings = profiles.load(profile).kafka
    name = topic or settings.topic
    made = kafka.create_topic(settings, name)
    word = "made" if made else "is there already"
    _show(
        as_json,
        {"topic": name, "made": made},
        lambda: screen.print(f"topic {name} {word}: {kafka.address(settings)}", markup=False),
    )


@kafka_app.command("produce")
def kafka_produce(
    events: Annotated[int | None, typer.Option(min=1, help="At most so many; without it every order line.")] = None,
    after: Annotated[int, typer.Option(min=0, help="Only order lines with a higher number.")] = 0,
    topic: Topic = None,
    profile: Profile = None,
    as_json: Json = False,
) -> None:
    """Send the source's order lines as sale events; sent again, they are further events with the same event_id.

    Example: runbook kafka produce --events 1000
    """
    from helpers.events.sale_events import sale_events
    from helpers.platforms import kafka

    settings = profiles.load(profile)
    with progress("produce") as report:
        lines = sale_events(settings.source, after=after, limit=events)
        sent = kafka.produce(settings.kafka, lines, topic=topic, total=events or 0, progress=report)
    name = topic or settings.kafka.topic
    _show(
        as_json,
        {"topic": name, "events": sent},
        lambda: screen.print(f"{sent:,} events sent to {name}: {kafka.address(settings.kafka)}", markup=False),
    )


@kafka_app.command("land")
def kafka_land(
    follow: Annotated[bool, typer.Option("--follow", help="Go on with what arrives, until it is stopped.")] = False,
    most_events: Annotated[int, typer.Option(min=1, help="Of a partition in one file.")] = 10_000,
    most_seconds: Annotated[float, typer.Option(min=0, help="That an event waits for its file to fill.")] = 5.0,
    topic: Topic = None,
    profile: Profile = None,
    as_json: Json = False,
) -> None:
    """Put the topic's events into files in S3, each event once, whatever is killed when.

    Example: runbook kafka land --follow
    """
    from helpers.events.landing import land
    from helpers.platforms import kafka

    settings = profiles.load(profile)
    bucket = Bucket.open(settings.stage, settings.kafka.landing)
    with progress("land") as report:
        landed = land(
            settings.kafka, bucket, topic=topic, follow=follow, most_events=most_events, most_seconds=most_seconds,
            progress=report,
        )  # fmt: skip
    _show(
        as_json,
        {"location": str(bucket.location), **vars(landed)},
        lambda: screen.print(
            f"{landed.events:,} events landed in {len(landed.files):,} files below {bucket.location}, "
            f"from {kafka.address(settings.kafka)}",
            markup=False,
        ),
    )


@app.command()
def export(
    target_location: Annotated[
        str | None, typer.Option(help="s3://bucket/prefix/; without it the profile's stage.")
    ] = None,
    output_format: Annotated[str, typer.Option(help="Only parquet.")] = "parquet",
    tables: Tables = None,
    exclude: Exclude = None,
    hold_snapshot: Annotated[
        bool,
        typer.Option(help="Keep the snapshot for the verification, for the profile's hours; six unless it says other."),
    ] = False,
    include_views: Annotated[bool, typer.Option(help="Export views and materialized views too.")] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, max=64, help="Readers at once; without it the profile's.")
    ] = None,
    plan: PlanOnly = False,
    run: Run = None,
    profile: Profile = None,
    as_json: Json = False,
) -> None:
    """Write every table of the source as Parquet files to S3, in one snapshot, with a manifest.

    With --run, an export that was broken off goes on where it was.

    Example: runbook export --output-format parquet --target-location s3://your-bucket/migration/
    """
    if output_format != "parquet":
        raise UsageError(
            "export",
            on=f"--output-format {output_format}",
            why="only parquet keeps every value",
            next_step="use parquet",
        )
    pointer = _open_run_folder(run) / "export.json" if run else None
    _tell_held(run, profile)
    settings = profiles.load(profile)
    if workers:
        settings = settings.with_workers(workers)
    location = target_location or settings.stage.url
    options: dict[str, Any] = {
        "location": location, "tables": tuple(tables or ()), "exclude": tuple(exclude or ()),
        "include_views": include_views,
        "resume": _unfinished_export(pointer, location), "keep_for_resume": run is not None and not plan,
        "run": run or "",
    }  # fmt: skip
    warned: list[str] = []

    def of_targets(planned: Sequence[TableState]) -> list[naming.Refusal]:
        """Where one target takes the tables, the others' words are only said: nobody knows yet which is meant."""
        found = naming.of_profile(settings, planned)
        if all(found.values()):
            return [refusal for each in found.values() for refusal in each]
        warned.extend(
            f"{where} will refuse {each} → {each.cure}" for where, all_of_it in found.items() for each in all_of_it
        )
        return []

    options["objections"] = of_targets
    manifest = None
    begun = False
    try:
        with (
            progress("export") as report,
            exporting.planned(settings, progress=report, release=not hold_snapshot or plan, **options) as what,
        ):
            if views := [str(c.table) for c in what.census if c.table.kind == "v"]:
                screen.print(
                    f"{', '.join(views)}: reading a view runs the functions in it as {settings.source.user}, whoever owns them",
                    markup=False,
                    soft_wrap=True,
                )
            for line in warned:
                screen.print(line, markup=False, soft_wrap=True)
            if what.resumed:
                done = sum(1 for table in what.state.tables for part in table.parts if part.file)
                all_parts = sum(len(table.parts) for table in what.state.tables)
                screen.print(
                    f"goes on with the export {what.state.export}: {done:,} of {all_parts:,} files are there",
                    markup=False,
                )
            if not plan:
                if pointer:
                    begun = not what.refused
                    pointer.parent.mkdir(parents=True, exist_ok=True)
                    pointer.write_text(
                        json.dumps({"location": location, "export": what.state.export}), encoding="utf-8"
                    )
                manifest = exporting.export(what, progress=report)
    except BaseException:
        if begun and snapshots.held(run):
            screen.print(
                f"what is written stays: `runbook export --run {run}` goes on with it", markup=False, soft_wrap=True
            )
            _tell_held(run, profile)
        raise
    if manifest is None:
        rows = [
            (str(c.table), c.rows, len(t.parts), "; ".join(dict.fromkeys(what.refusals(str(c.table)))) or "exact")
            for c, t in zip(what.census, what.state.tables, strict=True)
        ]

        def preview() -> None:
            screen.table(f"would export to {what.bucket.location}", "table", "rows", "files", "verdict", rows=rows)
            for refusal in what.names:
                screen.print(f"refused: {refusal} → {refusal.cure}", markup=False, soft_wrap=True)
            _show_left_out(what.state.left_out)

        planned = [dict(zip(("table", "rows", "files", "verdict"), row, strict=True)) for row in rows]
        _show(as_json, {"plan": planned, "refused": list(what.refused), "left_out": what.state.left_out}, preview)
        raise typer.Exit(1 if what.refused else 0)
    summary = {
        "export": manifest.export, "location": str(what.bucket.location), "lsn": manifest.lsn, "lsn_exact": manifest.lsn_exact,
        "why_approximate": manifest.why_approximate, "snapshot": manifest.snapshot, "held": hold_snapshot, "left_out": manifest.left_out,
        "tables": [{"schema": t.schema_, "name": t.name, "rows": t.rows, "files": len(t.files), "bytes": t.bytes} for t in manifest.tables],
    }  # fmt: skip

    def show() -> None:
        rows = [(str(t), t.rows, len(t.files), t.bytes) for t in manifest.tables]
        screen.table(
            f"exported to {what.bucket.location} at LSN {manifest.lsn}", "table", "rows", "files", "bytes", rows=rows
        )
        if not manifest.lsn_exact:
            screen.print(f"the LSN is approximate: {manifest.why_approximate}", markup=False)
        _show_left_out(manifest.left_out)

    _show(as_json, summary, show)


@app.command()
def load(
    target: Annotated[str, typer.Option(help="snowflake or databricks.")] = "snowflake",
    source: Annotated[
        str | None, typer.Option(help="s3://bucket/prefix/ of an export; without it the profile's stage.")
    ] = None,
    target_table: Annotated[str | None, typer.Option(help="Only this table.")] = None,
    exclude: Exclude = None,
    plan: PlanOnly = False,
    run: Run = None,
    profile: Profile = None,
    as_json: Json = False,
) -> None:
    """Load an export's files into the target, each table in one transaction or one commit.

    Example: runbook load --target snowflake --source s3://your-bucket/migration/ --target-table sales_data
    """
    _one_of("--target", target, ("snowflake", "databricks"))
    settings = profiles.load(profile)
    bucket = Bucket.open(settings.stage, source)
    manifest = manifests.read(bucket)
    screen.print(
        f"the export {manifest.export} of {manifest.source}, at LSN {manifest.lsn} ({manifest.exported_at})",
        markup=False,
        soft_wrap=True,
    )
    _tell_held(run, profile)
    planned: loading.LoadPlan | loading_delta.LoadPlan
    with contextlib.nullcontext() if plan else _letting_go_when_refused(manifest):
        if target == "databricks":
            planned = loading_delta.plan_load(
                manifest, bucket, settings.databricks, table=target_table, exclude=exclude or ()
            )
            screen.print(f"into {spark.address(settings.databricks)}", markup=False, soft_wrap=True)
        else:
            planned = loading.plan_load(manifest, bucket, settings.snowflake, table=target_table, exclude=exclude or ())
        if plan:
            rows = [(str(t.staged), t.action, t.staged.rows, len(t.staged.files)) for t in planned.tables]
            _show(as_json, {"plan": [dict(zip(("table", "action", "rows", "files"), row, strict=True)) for row in rows]},
                  lambda: screen.table("would load", "table", "action", "rows", "files", rows=rows))  # fmt: skip
            return
        with progress("load") as report:
            loaded = _load(planned, report)
    _show(
        as_json,
        {"tables": [vars(table) for table in loaded]},
        lambda: screen.table("loaded", "table", "rows", "action", rows=[(t.table, t.rows, t.action) for t in loaded]),
    )


@contextlib.contextmanager
def _letting_go_when_refused(manifest: manifests.Manifest) -> Iterator[None]:
    """A load that was refused for good leaves nothing to verify, so the snapshot of its export is held for nobody."""
    try:
        yield
    except MigrationError as error:
        final = not error.transient and not isinstance(error, UsageError | SettingsError)
        if final and snapshots.release_named(manifest.snapshot, manifest.source):
            screen.print(
                f"let go the snapshot of the export, at LSN {manifest.lsn}: a verification reads the source as it is then",
                markup=False, soft_wrap=True,
            )  # fmt: skip
        raise


def _load(
    planned: loading.LoadPlan | loading_delta.LoadPlan, report: Progress
) -> tuple[loading.Loaded, ...] | tuple[loading_delta.Loaded, ...]:
    if isinstance(planned, loading_delta.LoadPlan):
        return loading_delta.load(planned, progress=report)
    return loading.load(planned, progress=report)


@app.command()
def verify(
    source: Annotated[
        str,
        typer.Option(help="postgresql, or manifest: what it held at the export, by the kept digests; it is not asked."),
    ] = "postgresql",
    target: Annotated[str, typer.Option(help="snowflake, databricks, stage or postgresql.")] = "snowflake",
    check: Annotated[str, typer.Option(help="row-counts, schema, data-quality, sample-data or full.")] = "full",
    tables: Tables = None,
    exclude: Exclude = None,
    where: Annotated[str | None, typer.Option(help="Only rows with this condition, in PostgreSQL's SQL.")] = None,
    since: Annotated[str | None, typer.Option(help="COLUMN=VALUE: only rows from this watermark on.")] = None,
    sample: Annotated[float | None, typer.Option(min=0.0, max=1.0, help="Share of the rows, such as 0.01.")] = None,
    names: Annotated[
        list[str] | None,
        typer.Option("--map", help="SCHEMA.TABLE[.COLUMN]=NAME: what the target calls it; repeat for more."),
    ] = None,
    tolerance: Annotated[
        list[str] | None,
        typer.Option(help="SCHEMA.TABLE.COLUMN=NUMBER: the difference that still counts as none; repeat for more."),
    ] = None,
    witness: Annotated[
        bool, typer.Option(help="Compute the source's digests inside PostgreSQL instead of over its stream.")
    ] = False,
    location: Annotated[str | None, typer.Option(help="s3://bucket/prefix/; without it the profile's stage.")] = None,
    source_dsn_env: Annotated[str | None, typer.Option(help="Environment variable with the source's DSN.")] = None,
    target_dsn_env: Annotated[
        str | None, typer.Option(help="Environment variable with the DSN of --target postgresql.")
    ] = None,
    plan: PlanOnly = False,
    run: Run = None,
    profile: Profile = None,
    as_json: Json = False,
) -> None:
    """Compare source and target, by default cell by cell; exit 1 when they differ.

    Example: runbook verify --source postgresql --target snowflake --json
    """
    _one_of("--source", source, ("postgresql", "manifest"))
    _one_of("--target", target, ("snowflake", "databricks", "stage", "postgresql"))
    _one_of("--check", check, ("row-counts", "schema", "data-quality", "sample-data", "full"))
    folder = _open_run_folder(run) if run else None
    _tell_held(run, profile)
    settings = profiles.load(profile)
    if target == "postgresql" and not target_dsn_env:
        raise UsageError(
            "verify against another PostgreSQL", on="--target postgresql", why="no target server is named",
            next_step="name an environment variable with its DSN: --target-dsn-env TARGET_DSN",
        )  # fmt: skip
    tolerances = settings.verify.tolerances | {k: _number(k, v) for k, v in _pairs("--tolerance", tolerance).items()}
    options = verifying.Options(
        verifying.Selection(where, since, sample), settings.verify.names | _pairs("--map", names), tolerances, witness
    )
    with (
        progress("verify", unit="tables" if check == "data-quality" else "rows") as report,
        verifying.planned(
            settings,
            target=target,  # type: ignore[arg-type]
            source_name=source,  # type: ignore[arg-type]
            check=check,  # type: ignore[arg-type]
            tables=tuple(tables or ()),
            exclude=tuple(exclude or ()),
            source=profiles.source_from_dsn(source_dsn_env) if source_dsn_env else None,
            target_source=profiles.source_from_dsn(target_dsn_env) if target_dsn_env else None,
            location=location,
            cells_folder=_new_folder(folder / "verify") if folder else None,
            options=options,
            progress=report,
        ) as what,
    ):
        found = None if plan else verifying.verify(what, progress=report)
    if found is None:
        rows = [
            (str(p.table), p.rows, ", ".join(p.key) or "no key: as a multiset", p.selection or "all rows")
            for p in what.tables
        ]
        headings = ("table", "rows", "key", "compared")
        _show(as_json, {"plan": [dict(zip(headings, row, strict=True)) for row in rows]},
              lambda: screen.table("would compare", "table", "rows (about)", "by key", "compared", rows=rows))  # fmt: skip
        return
    from helpers.verify.page import (
        write as write_page,
    )  # its templates cost half a second, which other commands need not wait
    from helpers.verify.terminal import show as show_verification

    about = About.of(what)
    page: Path | None = None
    if found.tables and not found.business:
        with apart_from_the_verdict("the report page could not be written"):
            page = write_page(found, what.cells_folder / "report.html", about=about)
    if folder:
        # Of what narrows it, only what was given: an equal verdict on less does not outweigh a difference.
        given = {
            "check": check if check != "full" else None, "tables": tables, "exclude": exclude, "where": where, "since": since, "sample": sample,
            "map": names, "tolerance": tolerance, "location": location,
        }  # fmt: skip
        with apart_from_the_verdict(f"{folder.name} was not told of this verification"):
            objections.record(folder, found, what, {name: value for name, value in given.items() if value})
    if found.equal and check == "full" and not tables and not exclude and what.snapshot:
        with apart_from_the_verdict("the export's snapshot was not let go"):
            snapshots.release_named(what.snapshot, postgres.address(what.source))

    def show() -> None:
        show_verification(screen, found, about)
        if page:
            screen.print(f"the report for people: {page}", markup=False, soft_wrap=True)

    _show(as_json, found.as_dict() | {"page": str(page) if page else None}, show)
    raise typer.Exit(0 if found.equal else 1)


def _new_folder(wanted: Path) -> Path:
    """`wanted`, or where that is taken a name with a number: an earlier verification of the run stays as it was."""
    path, number = wanted, 1
    while path.exists() or path.with_name(f"{path.name}.json").exists():
        number += 1
        path = wanted.with_name(f"{wanted.name}-{number}")
    return path


def _pairs(option: str, given: list[str] | None) -> dict[str, str]:
    pairs = dict(text.rpartition("=")[::2] for text in given or ())
    if bad := next((text for text in given or () if not all(text.rpartition("="))), None):
        raise UsageError("understand the command", on=f"{option} {bad}", why="it is not NAME=VALUE", next_step="write schema.table=NAME")  # fmt: skip
    return pairs


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(
            "understand the command",
            on=f"--tolerance {name}={text}",
            why=f"{text} is no number",
            next_step="write 1e-9",
        ) from None


@app.command("run")
def run_phase(
    phase: Annotated[str, typer.Argument(help="Number or name of a phase, such as 30 or 30_data_migration, or all.")],
    run: Annotated[str, typer.Option(help="The run's name; its evidence goes to outputs/RUN.")],
    parameter: Annotated[
        list[str] | None, typer.Option("-p", help="NAME=VALUE, as the notebook declares it; repeat for more.")
    ] = None,
    parameters_file: Annotated[Path | None, typer.Option("-f", help="YAML file of parameters.")] = None,
    apply: Annotated[
        bool | None,
        typer.Option("--apply/--rehearse", help="Act, or only plan; profile local acts by default up to phase 40."),
    ] = None,
    option: Annotated[str, typer.Option(help="The migration path: A, B or C.")] = "A",
    cell_timeout: Annotated[float, typer.Option(help="Seconds that one cell may take.")] = 6 * 3600,
    run_timeout: Annotated[float | None, typer.Option(min=1, help="With all: seconds that the call may take.")] = None,
    retries: Annotated[
        int | None, typer.Option(min=0, help="Repetitions after a transient error; 0, with all 3.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No line a cell on standard error.")] = False,
    profile: Profile = None,
    as_json: Json = False,
) -> None:
    """Execute a phase's notebook as a new attempt, and archive it with its HTML; `all` goes through every phase.

    Called again, `runbook run all` goes on where it stopped.

    Example: runbook run 30 --run first -p tables='["sales_*"]'
    """
    heed_parent()
    # nbformat takes a second to import, which the other commands need not wait for.
    from helpers.runs import parameters
    from helpers.runs.cell_progress import Console as CellByCell
    from helpers.runs.cell_progress import Silence
    from helpers.runs.notify import Webhook
    from helpers.runs.phase_display import Display
    from helpers.runs.retry import execute_patiently
    from helpers.runs.run import execute
    from helpers.runs.run_all import Order, applies, run_all

    _one_of("--option", option, ("A", "B", "C"))
    refuse_sealed(_run_folder(run))
    if not quiet:  # a phase that `run all` has started is told of by that
        _tell_held(run, profile)
    name = profile or os.environ.get("RUNBOOK_PROFILE") or profiles.DEFAULT_PROFILE
    shared = parameters.from_file(parameters_file) if parameters_file else {}
    shared |= parameters.from_arguments(parameter or ())
    if phase == "all":
        order = Order(
            run, name, option, RUNBOOKS, OUTPUTS, COMMAND, apply=apply, parameters=shared, cell_timeout=cell_timeout,
            run_timeout=run_timeout, retries=3 if retries is None else retries,
        )  # fmt: skip
        secret = profiles.load(name).notify.webhook
        display = Display()
        try:
            whole = run_all(order, display=display, webhook=Webhook(secret.get_secret_value() if secret else None))
        finally:
            display.close()
        _show(as_json, whole.as_dict(), lambda: _show_phases(whole))
        raise typer.Exit(whole.exit_code)
    notebook = _notebook(phase)
    given: dict[str, object] = {"profile": name, "apply": applies(name, notebook.stem, apply)} | shared
    if "option" in shared:
        raise UsageError(
            "run a phase", on="parameter option", why="an option of the command sets it", next_step="use --option"
        )
    if "option" in {each.name for each in parameters.declared(notebook)}:
        given["option"] = option
    report = Silence() if quiet else CellByCell()

    def once() -> AttemptResult:
        return execute(
            notebook, run=run, parameters=given, outputs=OUTPUTS, option=option, cell_timeout=cell_timeout,
            report=report,
        )  # fmt: skip

    result = execute_patiently(once, retries=retries or 0, say=lambda line: screen.print(line, markup=False))
    failure = result.failure
    summary = {
        "run": run, "phase": notebook.stem, "status": result.status, "exit_code": result.exit_code,
        "seconds": round(result.seconds, 1), "notebook": str(result.notebook), "html": str(result.html) if result.html else None,
        "summary": result.summary(), "stages": result.stages(),
        "failure": vars(failure) if failure else None,
    }  # fmt: skip

    def show() -> None:
        stages = [(title, duration(seconds)) for title, seconds in result.stages().items()]
        screen.table(f"{notebook.stem}: {result.status} after {duration(result.seconds)}", "stage", "took", rows=stages)
        if failure:
            screen.print(f"cell {failure.cell}: {failure.message}", markup=False, soft_wrap=True)
        if words := result.summary():
            screen.print(words, markup=False, soft_wrap=True, style="bold")
        screen.print(
            f"notebook  {result.notebook}\nhtml      {result.html or result.html_error}", markup=False, soft_wrap=True
        )

    _show(as_json, summary, show)
    # The last thing that is done: a command that is killed before goes on in this snapshot when it is repeated.
    if given["apply"]:
        _settle_snapshots(run, profile, result)
    elif result.status == "done" and not as_json:
        _say_how_to_apply()
    raise typer.Exit(result.exit_code)


def _show_phases(whole: AllResult) -> None:
    rows = [
        (each.phase, each.state, "" if each.seconds is None else duration(each.seconds), each.why)
        for each in whole.phases
    ]
    screen.table(f"run {whole.run}, option {whole.option}", "phase", "state", "took", "why", rows=rows)
    screen.print(whole.summary(), markup=False, soft_wrap=True, style="bold")
    # The rollback is rehearsed in any case.
    if not whole.exit_code and set(whole.rehearsed) - {ROLLBACK}:
        _say_how_to_apply()


def _say_how_to_apply() -> None:
    """The last line of a rehearsal: the same command, which acts."""
    words = [word for word in sys.argv[1:] if word != "--rehearse"]
    screen.print(
        f"this was a rehearsal: what it shows was only planned; to do it: {shlex.join(['runbook', *words, '--apply'])}",
        markup=False, soft_wrap=True,
    )  # fmt: skip


@app.command()
def assess(
    census: Annotated[bool, typer.Option("--census", help="Count the values that would change on their way.")] = False,
    types: Annotated[bool, typer.Option("--types", help="Render docs/types.md from the table of types.")] = False,
    tables: Tables = None,
    exclude: Exclude = None,
    run: Run = None,
    profile: Profile = None,
    as_json: Json = False,
) -> None:
    """Take stock of the source: what there is and what stands in the way, or with --census which values no target holds; exit 1
    when something stops or is refused.

    Example: runbook assess; runbook assess --census --tables "sales_*"
    """
    if types:
        changed = types_page.write()
        summary = {"file": str(types_page.FILE), "changed": changed}
        _show(as_json, summary, lambda: screen.print(f"{types_page.FILE}: {'written' if changed else 'unchanged'}"))
        return
    settings = profiles.load(profile)
    if not census:
        if named := [*(tables or ()), *(exclude or ())]:
            raise UsageError(
                "assess the source", on=named[0], why="only a census is of single tables",
                next_step="add --census, or leave --tables and --exclude out",
            )  # fmt: skip
        _take_inventory(settings, as_json)
    with progress("census") as report:
        found = assessing.census(settings, tuple(tables or ()), exclude=tuple(exclude or ()), progress=report)
    by_target = naming.of_profile(settings, [each.table for each in found.tables])
    _show(as_json, assessing.as_dict(found, by_target), lambda: _show_census(found, by_target))
    raise typer.Exit(1 if any(table.refused for table in found.tables) or any(by_target.values()) else 0)


def _show_left_out(left_out: Mapping[str, str], said: str = "left out") -> None:
    for line in leaving.lines(left_out, said):
        screen.print(line, markup=False, soft_wrap=True)


def _take_inventory(settings: profiles.Settings, as_json: bool) -> NoReturn:
    from helpers.assessment import inventory

    found = inventory.take(settings.source)
    said = list(inventory.findings(found))

    def show() -> None:
        screen.table(
            f"{found.database}, PostgreSQL {found.version}, as {found.role}",
            "kind",
            "objects",
            rows=list(found.objects.items()),
        )
        relations = [
            (str(r), r.kind, r.rows, r.bytes, "yes" if r.keyed else "no", "yes" if r.readable else "no")
            for r in found.relations
        ]
        screen.table("what holds rows", "object", "kind", "rows (about)", "bytes", "key", "readable", rows=relations)
        for each in said:
            fix = f" → {each.fix}" if each.fix else ""
            screen.print(f"{each.severity}: {each.on}: {each.what}{fix}", markup=False, soft_wrap=True)
        screen.print("`runbook assess --census` counts the values that a target cannot hold", markup=False)

    _show(as_json, {"inventory": vars(found) | {"since": str(found.since) if found.since else None,
                                                "relations": [vars(each) for each in found.relations]},
                    "findings": [vars(each) for each in said]}, show)  # fmt: skip
    raise typer.Exit(1 if any(each.severity == "stop" for each in said) else 0)


def _show_census(found: assessing.Stock, by_target: Mapping[str, Sequence[naming.Refusal]]) -> None:
    for table in found.tables:
        rows = [
            (c.column.name, c.column.type.sql, c.verdict, c.mapping.snowflake, c.policy or "", c.touched,
             "; ".join([c.mapping.note, *(f"{n:,} × {what}" for what, n in c.information.items())]).strip("; "))
            for c in table.columns
        ]  # fmt: skip
        headings = ("column", "type", "verdict", "Snowflake", "policy", "touched", "note")
        screen.table(f"{table.table}: {table.rows:,} rows", *headings, rows=rows)
    for sentence in (sentence for table in found.tables for sentence in table.refused):
        screen.print(f"refused: {sentence}", markup=False, soft_wrap=True)
    for where, refusal in ((where, each) for where, refusals in by_target.items() for each in refusals):
        screen.print(f"refused by {where}: {refusal} → {refusal.cure}", markup=False, soft_wrap=True)
    _show_left_out(found.left_out)


@app.command("rehearse-rollback")
def rehearse_rollback(
    orders: Annotated[int, typer.Option(min=100, help="Order lines of the scratch source.")] = 1000,
    writes: Annotated[int, typer.Option(min=1, help="Writes to the new side in between.")] = 60,
    seed: Annotated[int, typer.Option(help="Equal seeds make equal writes.")] = 1,
    profile: Profile = None,
    as_json: Json = False,
) -> None:
    """Cut a scratch copy over, write to its new side, roll it back; exit 1 when a write was lost.

    Example: runbook rehearse-rollback --orders 10000 --json
    """
    from helpers.cutover import rehearsal as rollback_rehearsal

    done = rollback_rehearsal.rehearse(
        profiles.load(profile), orders=orders, writes=writes, seed=seed,
        say=lambda line: screen.print(line, markup=False, style="dim"),
    )  # fmt: skip

    def show() -> None:
        kinds = [(kind, count, done.brought_back[kind]) for kind, count in done.writes.items()]
        screen.table("writes to the new side", "kind", "written", "rows brought back", rows=kinds)
        screen.table(
            "stages", "stage", "took", rows=[(stage, duration(seconds)) for stage, seconds in done.seconds.items()]
        )
        for sentence in done.lost:
            screen.print(f"lost: {sentence}", markup=False, soft_wrap=True)
        screen.print(f"not rehearsed: {', '.join(rollback_rehearsal.NOT_REHEARSED)}", markup=False)
        screen.print(done.verdict.upper(), markup=False, style="bold green" if done.passed else "bold red")

    _show(as_json, done.as_dict(), show)
    raise typer.Exit(0 if done.passed else 1)


@app.command()
def benchmark(
    pipeline: Annotated[str, typer.Option(help="modern, legacy or both.")] = "both",
    data_volume: Annotated[str, typer.Option(help="small, medium, large or all.")] = "small",
    plan: PlanOnly = False,
    run: Run = None,
    profile: Profile = None,
    as_json: Json = False,
) -> None:
    """Time both pipelines over generated orders, which are removed again; exit 1 when an agreed limit is missed.

    Ten thousand, a hundred thousand or a million order lines: large is what a laptop moves in a few minutes.

    Example: runbook benchmark --pipeline modern --data-volume large
    """
    from helpers.pipelines import benchmark as benchmarking

    _one_of("--pipeline", pipeline, ("modern", "legacy", "both"))
    _one_of("--data-volume", data_volume, (*benchmarking.VOLUMES, "all"))
    settings = profiles.load(profile)
    volumes = tuple(benchmarking.VOLUMES) if data_volume == "all" else (data_volume,)
    what = benchmarking.plan_benchmark(settings, ("legacy", "modern") if pipeline == "both" else (pipeline,), volumes)
    if plan:
        planned = [(volume, each, benchmarking.VOLUMES[volume]) for volume in what.volumes for each in what.pipelines]
        headings = ("volume", "pipeline", "order lines")
        _show(as_json, {"plan": [dict(zip(headings, row, strict=True)) for row in planned]},
              lambda: screen.table("would measure", *headings, rows=list(planned)))  # fmt: skip
        return
    with progress("benchmark") as report:
        found = benchmarking.benchmark(what, benchmarking.limits_of(settings), progress=report)
    if run:
        folder = _run_folder(run)
        folder.mkdir(parents=True, exist_ok=True)
        name = _new_folder(folder / "benchmark.json")
        name.write_text(json.dumps(found.as_dict(), indent=1) + "\n", encoding="utf-8")

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
            flat = frame.reset_index()
            screen.table(title, *map(str, flat.columns), rows=[tuple(row) for row in flat.itertuples(index=False)])

    _show(as_json, found.as_dict(), show)
    raise typer.Exit(0 if found.kept else 1)


@app.command()
def marts(
    select: Annotated[str, typer.Option(help="dbt's selector.")] = "+marts",
    with_parity: Annotated[
        bool, typer.Option("--parity/--no-parity", help="Compare each mart with the legacy aggregate.")
    ] = True,
    profile: Profile = None,
    as_json: Json = False,
) -> None:
    """Build the marts with dbt, test them, and compare them with the legacy aggregates to the cent; exit 1 when one says no.

    Example: runbook marts --select +sales_monthly
    """
    from helpers.pipelines import marts as building
    from helpers.pipelines import parity

    settings = profiles.load(profile)
    building.prepare(settings)
    built = building.build(
        settings, select=(select,), report=lambda line: screen.print(line, markup=False, style="dim")
    )
    failing: dict[str, list[dict[str, Any]]] = {}
    if bad := [node for node in built.bad if node.kind == "test"]:
        with building.reading(settings) as reader:
            failing = {node.name: building.failing_rows(reader, node) for node in bad}
    compared = parity.compare(settings) if built.ok and with_parity else None
    summary = {
        "ok": built.ok, "seconds": round(built.seconds, 1),
        "nodes": [{name: value for name, value in vars(node).items() if name != "sql"} for node in built.nodes],
        "failing_rows": {name: [{k: str(v) for k, v in row.items()} for row in rows] for name, rows in failing.items()},
        "parity": compared.as_dict() if compared else None,
    }  # fmt: skip

    def show() -> None:
        nodes = [(n.name, n.kind, n.status, n.failures, "" if n.good else n.message) for n in built.nodes]
        screen.table(f"dbt build --select {select}", "name", "kind", "status", "failing rows", "message", rows=nodes)
        for name, rows in failing.items():
            for row in rows:
                screen.print(f"{name}: {', '.join(f'{k}={v}' for k, v in row.items())}", markup=False, soft_wrap=True)
        if compared:
            flat = compared.frame().reset_index()
            screen.table(f"parity, source at LSN {compared.lsn}, marts in {compared.engine}", *map(str, flat.columns),
                   rows=[tuple(row) for row in flat.itertuples(index=False)])  # fmt: skip
            for difference in compared.differences[:40]:
                screen.print(str(difference), markup=False, soft_wrap=True)

    _show(as_json, summary, show)
    raise typer.Exit(0 if built.ok and (compared is None or compared.equal) else 1)


@app.command()
def aggregate(profile: Profile = None, as_json: Json = False) -> None:
    """Run the legacy aggregation in the source: raw orders → star → totals by day and by month, in one transaction.

    Example: runbook aggregate --profile production
    """
    from helpers.pipelines import aggregation as legacy_aggregation

    rows = legacy_aggregation.aggregate(profiles.load(profile).source)
    _show(as_json, {"rows": rows}, lambda: screen.table("aggregated", "table", "rows", rows=list(rows.items())))


@app.command()
def status(
    run: Run = None,
    let_go: Annotated[
        bool,
        typer.Option("--let-go", help="Let go the snapshots that are held for the run, or without --run for none."),
    ] = False,
    profile: Profile = None,
    as_json: Json = False,
) -> None:
    """Show a run: the checklist, its attempts, and the snapshots that are held on a source.

    Example: runbook status --run first
    """
    from helpers.runs.status import read_status

    if run and not _run_folder(run).is_dir():
        known = sorted(path.parent.name for path in OUTPUTS.glob("*/ledger.jsonl"))
        raise UsageError(
            "show the run", on=run, why="there is no such run",
            next_step=f"name one of: {', '.join(known)}" if known else "begin one: runbook run 00 --run NAME",
        )  # fmt: skip
    found = read_status(_run_folder(run)) if run else None
    attempts = [_attempt(path) for path in sorted(_run_folder(run).glob("*/attempt-*.ipynb"))] if run else []
    for attempt in attempts:
        recorded = found.attempts if found else {}
        attempt["status"] = recorded.get(f"{attempt['phase']}/{attempt['attempt']}", attempt["status"])
    following = _following(run, found) if run and found else None
    if let_go:
        _let_go(run, found)
    held = snapshots.held()
    behind = snapshots.transactions_held_back(profiles.load(profile).source) if held else 0

    def show() -> None:
        if found:
            _show_checklist(found, following)
            rows = [(a["phase"], a["attempt"], a["status"], str(a["html"])) for a in attempts]
            screen.table(f"run {run}", "phase", "attempt", "status", "html", rows=rows)
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
        screen.table("snapshots held", "source", "run", "for", "LSN", "since", "until", "keeper", rows=holders)
        if held:
            screen.print(
                f"vacuum on the source is held back by {behind:,} transactions (age of xmin); what goes on needs its snapshot, "
                "and `runbook status --run NAME --let-go` (without --run: of no run) lets go what is held for later",
                soft_wrap=True,
            )

    summary = {"attempts": attempts, "snapshots": [vars(s) for s in held], "xmin_age": behind}
    _show(as_json, summary | ({"run": run, **found.as_dict()} if found else {}), show)


@app.command("control-room")
def control_room(
    run: Run = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="To listen on; 0 for a free one.")] = 0,
    public_key: Annotated[
        str,
        typer.Option(help="Of the one who sealed: a file, PEM text, or base64; else that of a person in the settings."),
    ] = "",
) -> None:
    """Follow a run in the browser: checklist, data, differences, evidence. Reads only, on 127.0.0.1, behind a token.

    Example: runbook control-room --run first
    """
    from helpers.control_room.server import serve

    if run:
        _run_folder(run)
    if public_key and Path(public_key).expanduser().exists():
        public_key = str(Path(public_key).expanduser().resolve())

    def say(address: str) -> None:
        screen.print("the control room reads, and writes nothing; stop it with Ctrl-C", markup=False)
        print(address, flush=True)  # noqa: T201 - the one thing another program wants of it

    serve(OUTPUTS, run or "", port=port, public_key=public_key, say=say)


def _following(run: str, found: RunStatus) -> Following:
    from helpers.evidence.seal_manifest import SEAL
    from helpers.ledger.ledger import NAME, Ledger
    from helpers.runs.following import find_following

    folder = _run_folder(run)
    entries = [] if found.findings else Ledger(folder / NAME).entries()
    return find_following(run, found, entries, sealed=(folder / SEAL).exists())


def _show_checklist(found: RunStatus, following: Following | None) -> None:
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
            screen.print(f"{step.mark} {step.why}", markup=False, soft_wrap=True)
    box = next((step for step in found.steps if step.id == found.next), None)
    words = f"{box.id}, {box.title} (phase {box.phase[:2]})" if box else "nothing of the checklist"
    screen.print(f"next: {words}", markup=False, soft_wrap=True)
    if following and following.command:
        screen.print(f"  {following.command}", markup=False, soft_wrap=True)
    for objection in found.objections:
        screen.print(f"stands against sealing: {objection}", markup=False, soft_wrap=True)
    screen.print(f"blocked by: {found.blocked_by or 'nothing'}", markup=False, soft_wrap=True)
    done = sum(step.over for step in found.steps)
    screen.print(
        f"{done} of {len(found.steps)} boxes of option {found.option} done; ledger of {found.entries} lines, {'broken' if found.findings else 'intact'}"
    )


def _let_go(run: str | None, found: RunStatus | None) -> None:
    if found and "running" in found.attempts.values():
        raise UsageError(
            "let the snapshot go",
            on=f"run {run}",
            why="an attempt of it is running",
            next_step="wait for it, or stop it first",
        )
    for each in snapshots.held(run or ""):
        if each.abandoned:
            snapshots.release(each)
            screen.print(f"let go {_held(each)}", markup=False, soft_wrap=True)


def _settle_snapshots(run: str, profile: str | None, result: AttemptResult) -> None:
    """Lets go what a phase of a run held for its next attempt, once that needs none; says what stays held."""
    failure = result.failure
    final = failure is not None and result.exit_code in (1, 2) and not failure.transient
    # Whether an export that was broken off is gone on with, its own step has decided.
    if result.status == "done" or (final and failure and not (failure.cell or "").startswith("s30-export")):
        for each in snapshots.held(run):
            if each.purpose != result.attempt.phase:
                continue
            snapshots.release(each)
            if final:
                screen.print(f"let go {_held(each)}: the next attempt takes another", markup=False, soft_wrap=True)
    _tell_held(run, profile)


def _tell_held(run: str | None, profile: str | None, *, ask: bool = False) -> None:
    """Says what a run holds on a source, and in a terminal asks whether it is to go on; `ask` where the command needs it not."""
    for each in snapshots.held(run) if run else ():
        cost = ""
        with contextlib.suppress(MigrationError):
            source = profiles.load(profile).source
            if postgres.address(source) == each.source:
                cost = f", which is held back by {snapshots.transactions_held_back(source):,} transactions"
        screen.print(
            f"held: {_held(each)}, until {each.until}, or until `runbook status --run {run} --let-go`; vacuum "
            f"waits for it{cost}",
            markup=False, soft_wrap=True,
        )  # fmt: skip
        asked = ask and each.abandoned and sys.stdin.isatty() and sys.stderr.isatty()
        if asked and typer.confirm("Let it go now?", default=False, err=True):
            snapshots.release(each)


def _held(snapshot: snapshots.Snapshot) -> str:
    return f"the snapshot at LSN {snapshot.lsn} of {snapshot.source} for {snapshot.purpose}, since {snapshot.taken_at}"


def _attempt(path: Path) -> dict[str, Any]:
    metadata = json.loads(path.read_text(encoding="utf-8"))["metadata"].get("runbook", {})
    html = path.with_suffix(".html")
    return {
        "phase": path.parent.name, "attempt": path.stem, "status": metadata.get("status", "not finished"),
        "exit_code": metadata.get("exit_code"), "notebook": str(path), "html": str(html) if html.exists() else None,
    }  # fmt: skip


@app.command()
def keygen(
    key: Annotated[Path, typer.Option(help="Where the private key goes; the public one beside it, as PATH.pub.")],
    as_json: Json = False,
) -> None:
    """Make an Ed25519 key for signing; one that exists is never replaced.

    Example: runbook keygen --key ~/.config/migration-runbooks/alice.pem
    """
    from helpers.evidence import keys

    public = keys.generate(key.expanduser())
    summary = {"private_key": str(key), "public_key": f"{key}.pub", "key_id": public.keyid}
    _show(as_json, summary, lambda: screen.print(f"private key {key}\npublic key  {key}.pub", markup=False))


@app.command()
def attest(
    step: Annotated[str, typer.Argument(help="The step's id, as `runbook status` shows it.")],
    run: Annotated[str, typer.Option(help="The run's name.")],
    by: Annotated[str, typer.Option(help="Your name, as migration.toml has it.")],
    key: Annotated[Path, typer.Option(help="Your private key.")],
    note: Annotated[str, typer.Option(help="What you say about it.")] = "",
    profile: Profile = None,
    as_json: Json = False,
) -> None:
    """Sign that a step which only a person can know of is done.

    Example: runbook attest s60-training --run first --by alice --key alice.pem --note "all three shifts"
    """
    from helpers.evidence import signing

    _tell_held(run, profile, ask=not as_json)
    done = signing.attest(_run_folder(run), step, by=by, key=key.expanduser(), note=note, profile=profile)
    _show(as_json, done, lambda: screen.print(f"{step} attested by {by}: {done['envelope']}", markup=False))


@app.command()
def approve(
    step: Annotated[str, typer.Argument(help="The step's id, as `runbook status` shows it.")],
    run: Annotated[str, typer.Option(help="The run's name.")],
    by: Annotated[str, typer.Option(help="Your name, as migration.toml has it.")],
    key: Annotated[Path, typer.Option(help="Your private key.")],
    plan: Annotated[
        str | None, typer.Option(help="SHA-256 of the plan that you have read, or its beginning; refuses any other.")
    ] = None,
    profile: Profile = None,
    as_json: Json = False,
) -> None:
    """Sign the plan that a step waits with, at the LSN that it was made from.

    Example: runbook approve s50-cutover --run first --by alice --key alice.pem --plan 3f2a91c07b54
    """
    from helpers.evidence import signing

    _tell_held(run, profile, ask=not as_json)
    done = signing.approve(_run_folder(run), step, by=by, key=key.expanduser(), plan_sha256=plan, profile=profile)
    line = f"{step} approved by {by}: plan {done['plan_sha256']}, LSN {done['lsn']}"
    _show(as_json, done, lambda: screen.print(line, markup=False, soft_wrap=True))


@app.command()
def seal(
    run: Annotated[str, typer.Option(help="The run's name.")],
    key: Annotated[Path, typer.Option(help="The private key that seals.")],
    previous: Annotated[str | None, typer.Option(help="The run before; without it the one sealed last.")] = None,
    upload_only: Annotated[bool, typer.Option(help="The run is sealed; only archive it again.")] = False,
    profile: Profile = None,
    as_json: Json = False,
) -> None:
    """Hash, sign and pack a run for the auditor; exit 1, with all reasons, when something stands against it.

    Example: runbook seal --run first --key seal.pem
    """
    from helpers.evidence import signing

    done = signing.seal(
        _run_folder(run), key=key.expanduser(), previous=previous, profile=profile, upload_only=upload_only
    )
    for each in snapshots.held(run):
        snapshots.release(each)
        screen.print(f"let go {_held(each)}: a sealed run goes on with nothing", markup=False, soft_wrap=True)

    def show() -> None:
        if not upload_only:
            screen.print(f"{done['verdict']}: {done['files']} files sealed by {done['key_id']}", markup=False)
            for sentence in done["why"]:
                screen.print(f"  {sentence}", markup=False, soft_wrap=True)
            screen.print(f"archive   {done['archive']}", markup=False, soft_wrap=True)
        if done["uploaded"]:
            screen.print(f"uploaded  {done['uploaded']}", markup=False, soft_wrap=True)

    _show(as_json, done, show)


@app.command("verify-evidence")
def verify_evidence(
    path: Annotated[Path, typer.Argument(help="A run's folder, or its evidence.zip.")],
    public_key: Annotated[str, typer.Option(help="Of the one who sealed: a file, PEM text, or base64.")],
    run_key: Annotated[
        str | None, typer.Option(help="Of the machine that ran it, if you know it; else the one the ledger names.")
    ] = None,
    previous: Annotated[
        Path | None, typer.Option(help="The run before; without it the folder beside, if there is one.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check offline that nothing of a sealed run was changed, and that it shows what it claims.

    Example: runbook verify-evidence outputs/first/evidence.zip --public-key seal.pem.pub
    """
    from helpers.evidence import check, keys

    known = keys.public_key(run_key) if run_key else None
    checked = check.check(path, keys.public_key(public_key), run_key=known, previous=previous)

    def show() -> None:
        for line in check.in_words(checked):
            screen.print(line, markup=False, soft_wrap=True)

    _show(as_json, checked.as_dict(), show)
    raise typer.Exit(1 if checked.findings else 0)


@app.command()
def archive(
    restore_dsn_env: Annotated[
        str | None, typer.Option(help="Environment variable with the DSN of another server for the restore test.")
    ] = None,
    retest: Annotated[
        str | None, typer.Option(help="Name of a finished archive: only repeat its restore test.")
    ] = None,
    plan: PlanOnly = False,
    run: Run = None,
    profile: Profile = None,
    as_json: Json = False,
) -> None:
    """Lock the legacy data in S3, as Parquet and as a dump of one snapshot, and test that the dump restores; exit 1 if not.

    Called again, an archive that was broken off goes on.

    Example: runbook archive --plan; runbook archive
    """
    from helpers import archive as archiving

    settings = profiles.load(profile)
    server = profiles.source_from_dsn(restore_dsn_env) if restore_dsn_env else None
    folder = OUTPUTS / ".archives" / (f"run-{_run_folder(run).name}" if run else f"profile-{settings.profile}")
    if run:
        refuse_sealed(_run_folder(run))
    if retest:
        with progress("restore test") as report:
            tested = archiving.retest(settings, retest, folder, server=server, progress=report)
        _show(as_json, tested.model_dump(mode="json"), lambda: _show_restore(tested))
        raise typer.Exit(0 if tested.verdict == "equal" else 1)
    what = archiving.plan_archive(settings, folder, server=server)
    if plan:
        own, rows = settings.archive, [(t.table, t.rows, t.bytes) for t in what.tables]
        value = {
            "plan": [vars(table) for table in what.tables], "location": f"{what.bucket.location}{what.state.name}/",
            "mode": own.mode, "retention_days": own.retention_days, "goes_on": what.resumed,
        }  # fmt: skip

        def preview() -> None:
            screen.table("would archive", "table", "rows (about)", "bytes in the source", rows=rows)
            goes_on = "goes on with" if what.resumed else "to"
            days = f"{own.retention_days:,} day{'' if own.retention_days == 1 else 's'}"
            screen.print(f"{goes_on} {value['location']}, locked for {days} ({own.mode})", markup=False, soft_wrap=True)

        _show(as_json, value, preview)
        return
    try:
        with progress("archive") as report:
            done = archiving.archive(what, progress=report)
    except BaseException:
        screen.print("what is written stays: the same command goes on with it", markup=False)
        raise
    if run:
        kept = _new_folder(_run_folder(run) / "archive" / f"{done.name}.json")
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(done.model_dump_json(indent=1), encoding="utf-8")

    def show() -> None:
        dump = done.file(done.dump)
        screen.table(
            f"archive {done.name} at LSN {done.lsn}",
            "what", "files", "bytes",
            rows=[(f"Parquet, {done.rows:,} rows", len(done.files) - 1, done.bytes - dump.bytes), ("dump", 1, dump.bytes)],
        )  # fmt: skip
        screen.print(
            f"in {done.location}, locked until {done.retain_until:%Y-%m-%d %H:%M} UTC ({done.mode})",
            markup=False,
            soft_wrap=True,
        )
        _show_left_out(done.left_out, "not in the Parquet files")
        _show_restore(done.restore_test)

    _show(as_json, done.model_dump(mode="json"), show)
    raise typer.Exit(0 if done.proved else 1)


def _show_restore(tested: RestoreTest) -> None:
    rows = [(t.table, t.verdict, t.rows if t.rows is not None else "", t.differences) for t in tested.tables]
    if rows:
        screen.print(f"the dump was restored on {tested.server}", markup=False, soft_wrap=True)
        screen.table("restored dump against the Parquet files", "table", "verdict", "rows", "differences", rows=rows)  # fmt: skip
    for sentence in tested.findings:
        screen.print(sentence, markup=False, soft_wrap=True)
    verdict = "[bold green]RESTORES[/]" if tested.verdict == "equal" else f"[bold red]{tested.verdict.upper()}[/]"
    screen.print(f"{verdict}: {tested.rows:,} rows compared cell by cell in {duration(tested.seconds)}")


def _notebook(phase: str) -> Path:
    known = sorted(RUNBOOKS.glob("[0-9][0-9]_*.ipynb"))
    for path in known:
        if phase in (path.stem, path.stem[:2]):
            return path
    raise UsageError(
        "find the phase",
        on=phase,
        why=f"runbooks/ has {', '.join(path.stem for path in known)}",
        next_step="name one of these",
    )


def _unfinished_export(pointer: Path | None, location: str) -> str | None:
    if pointer is None or not pointer.exists():
        return None
    former = json.loads(pointer.read_text(encoding="utf-8"))
    return str(former["export"]) if former["location"] == location else None


def _run_folder(run: str) -> Path:
    return OUTPUTS / checked_name(run, kind="run")


def _open_run_folder(run: str) -> Path:
    """Of a run that more may be added to.

    Raises:
        UsageError: it is sealed.
    """
    folder = _run_folder(run)
    refuse_sealed(folder)
    return folder


def _one_of(option: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UsageError(
            "understand the command",
            on=f"{option} {value}",
            why="there is no such choice",
            next_step=f"use one of: {', '.join(known)}",
        )


def _show(as_json: bool, value: dict[str, Any], show: Callable[[], None]) -> None:
    """Prints what was found; whatever hinders that, the exit code says it too."""
    with apart_from_the_verdict("the result could not be shown"):
        if as_json:
            _print_json(value)
        else:
            with screen.answer():
                show()
