"""`runbook local`: the embedded stack."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from helpers.commands.options import Json
from helpers.commands.output import Answer, output, say, screen
from helpers.progress import progress

app = typer.Typer(no_args_is_help=True, help="The embedded stack: PostgreSQL, S3 and a Snowflake stand-in.")


@app.command()
def up(
    kafka: Annotated[
        bool, typer.Option("--kafka", help="Start the Kafka stand-in too; otherwise it starts on first use.")
    ] = False,
    airflow: Annotated[
        bool, typer.Option("--airflow", help="Start Airflow too; the first time, it is installed.")
    ] = False,
    spark: Annotated[
        bool,
        typer.Option(
            "--spark",
            help="Start Apache Spark too, with Java and Maven, and load Delta tables by it instead of pysail until `local down`.",
        ),
    ] = False,
) -> None:
    """Start the embedded stack; servers that already run are left alone.

    Example: runbook local up --spark
    """
    from helpers.commands import demo
    from helpers.local import stack
    from helpers.local.servers import apache_spark
    from helpers.local.servers.airflow import Airflow
    from helpers.local.servers.kafka import Kafka
    from helpers.platforms import environments

    def report(line: str) -> None:
        screen.print(line, markup=False)

    if spark:  # what it needs is not there, or takes minutes, before anything starts
        apache_spark.fetch(report)
    stack.up(report=report)
    demo.make_keys(stack.home())
    if kafka:
        stack.on_demand(Kafka, report=report)
    if airflow:
        environments.python("airflow", report=report)
        stack.on_demand(Airflow, report=report)
    if spark:
        stack.use_apache_spark(report=report)
        screen.print("profile local loads Delta tables by Apache Spark, until `runbook local down`", markup=False)
    screen.print("the local stack is up; `runbook local env` shows how to reach it", markup=False)


@app.command()
def down() -> None:
    """Stop the embedded stack; its data is kept.

    Example: runbook local down
    """
    from helpers.local import stack

    stopped = stack.down()
    screen.print(f"stopped: {', '.join(stopped) or 'nothing was running'}", markup=False)


@app.command()
def remove() -> None:
    """Stop the embedded stack and delete its data.

    Example: runbook local remove
    """
    from helpers.local import stack

    stack.remove()
    screen.print("the local stack and its data are gone")


@app.command()
@output
def status() -> Answer:
    """Show which servers of the embedded stack run; exit 1 unless every server that `local up` starts is running.

    Example: runbook local status
    """
    from helpers.local import stack

    servers = stack.status()
    rows = [
        (s.name, "running" if s.running else "stopped", str(s.pid or ""), str(s.port or ""), s.detail) for s in servers
    ]
    return Answer(
        {"servers": [vars(server) for server in servers]},
        lambda: screen.table("local stack", "server", "state", "pid", "port", "detail", rows=rows),
        0 if all(server.running or server.on_demand for server in servers) else 1,
    )


@app.command()
@output
def env(as_json: Json = False) -> Answer:
    """Show how to reach the embedded stack; with --json including the generated passwords.

    Example: runbook local env --json
    """
    from helpers.local import stack

    environment = stack.environment()
    # With --json this is the one place whose purpose is to hand over credentials.
    return Answer(environment.as_dict() if as_json else {}, lambda: screen.print(repr(environment), markup=False))


@app.command("sample")
def sample_source(
    scale: Annotated[
        int, typer.Option(envvar="SCALE", help="Number of order lines, from ten thousand to a hundred million.")
    ] = 10_000,
    seed: Annotated[int, typer.Option(help="Random seed: the same seed makes the same data.")] = 20240101,
    replace: Annotated[bool, typer.Option(help="Replace even orders that were loaded from a file.")] = False,
    keep_orders: Annotated[bool, typer.Option(help="Do nothing if orders were loaded from a file.")] = False,
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


@app.command()
def load_orders(
    file: Annotated[
        Path,
        typer.Argument(
            help="A text file with order lines (pipeline/legacy/README.md); separator, encoding and date format are detected."
        ),
    ],
    mapping: Annotated[
        list[str] | None,
        typer.Option(
            "--map", help="Which column of the file is which: 'Order ID=ORDERNUMBER,Sales=TOTAL'; repeatable."
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Take columns by the likeness of their names without asking.")
    ] = False,
    skip_bad_rows: Annotated[bool, typer.Option(help="Load the good rows even if some are bad.")] = False,
    day_first: Annotated[
        bool | None, typer.Option("--day-first/--month-first", help="Read 3/4/2024 as 3 April or as March 4.")
    ] = None,
) -> None:
    """Replace the sample's orders with those in a file, and rebuild the star schema.

    Needed are Order ID, Order Date, Product ID, Sales and Quantity. Columns that are called otherwise are taken by --map, or by
    their likeness, once somebody has agreed: in a terminal it asks, elsewhere --yes or --map says so.

    Example: runbook local load-orders superstore.csv --month-first
    """
    from helpers.local import stack
    from helpers.pipelines.sample import order_columns, orders
    from helpers.pipelines.sample.order_file import open_orders

    columns = order_columns.parse(mapping or ())
    opened = open_orders(file, columns)
    if opened.guessed:
        screen.table("columns by their likeness", "the pipeline's", "the file's", rows=list(opened.guessed.items()))
        if not yes:
            if not (sys.stdin.isatty() and sys.stderr.isatty()):
                raise orders.unconfirmed(opened, columns)
            typer.confirm("Is that right?", abort=True, err=True)
        columns = {**columns, **opened.guessed}
    with progress("orders") as report:
        loaded = orders.load_orders(
            stack.environment().postgres_dsn,
            file,
            columns=columns,
            skip_bad_rows=skip_bad_rows,
            day_first=day_first,
            report=lambda what, share: report(int(share * 100), 100, what),
        )
    dialect = loaded.dialect
    say(
        f"{loaded.rows:,} rows loaded as {loaded.lines:,} order lines (separator {dialect.separator!r}, {dialect.encoding}, "
        f"dates {dialect.date_order}, decimal {'comma' if dialect.decimal_comma else 'point'})"
    )
    if dialect.guessed:
        say(f"guessed, as no value proves it: {', '.join(dialect.guessed)}")
    if loaded.missing:
        say(f"not in the file, and empty: {', '.join(loaded.missing)}")
    if loaded.ignored:
        say(f"columns ignored: {', '.join(loaded.ignored)}")
    if repeated := loaded.rows - loaded.lines:
        apart = "; only columns that are ignored could tell them apart" if loaded.ignored else ""
        say(f"counted once: {repeated:,} lines that stand in the file already, in every column that is loaded{apart}")
    for each in loaded.repeats:
        say(f"  {each}")
    if repeated > len(loaded.repeats):
        say(f"  … the first {len(loaded.repeats)}")
    for bad in loaded.bad_rows:
        say(f"skipped: {bad}")
