"""`runbook kafka`: the topic of a pipeline's events, and the sample's events."""

from typing import Annotated

import typer

from helpers.commands.options import Profile, load_profile
from helpers.commands.output import Answer, output, screen
from helpers.progress import progress

app = typer.Typer(no_args_is_help=True, help="Events: create the topic, send the sample's, and write a topic to S3.")

Topic = Annotated[str | None, typer.Option(help="Topic; default: the profile's.")]


@app.command()
@output
def topics(profile: Profile = None) -> Answer:
    """List the topics on the profile's brokers.

    Example: runbook kafka topics
    """
    from helpers.platforms import kafka

    settings = load_profile(profile).kafka
    found = kafka.topics(settings)
    rows = [(topic.name, topic.partitions) for topic in found]
    return Answer(
        {"brokers": kafka.address(settings), "topics": [vars(topic) for topic in found]},
        lambda: screen.table(f"topics of {kafka.address(settings)}", "topic", "partitions", rows=rows),
    )


@app.command()
@output
def create_topic(topic: Topic = None, profile: Profile = None) -> Answer:
    """Create the topic; an existing one is not changed.

    Example: runbook kafka create-topic --topic orders
    """
    from helpers.platforms import kafka

    settings = load_profile(profile).kafka
    name = topic or settings.topic
    made = kafka.create_topic(settings, name)
    word = "made" if made else "is there already"
    return Answer(
        {"topic": name, "made": made},
        lambda: screen.print(f"topic {name} {word}: {kafka.address(settings)}", markup=False),
    )


@app.command()
@output
def produce(
    events: Annotated[
        int | None, typer.Option(min=1, help="Maximum number of events; default: every order line.")
    ] = None,
    after: Annotated[int, typer.Option(min=0, help="Only order lines numbered above this.")] = 0,
    transaction: Annotated[
        bool, typer.Option("--transaction", help="Send all events in one transaction: all of them or none.")
    ] = False,
    topic: Topic = None,
    profile: Profile = None,
) -> Answer:
    """Send the order lines of the sample as events: other pipelines have producers of their own. Sent twice, an order line makes two events with the same event_id.

    Example: runbook kafka produce --events 1000
    """
    from helpers.events.producing import produce as send
    from helpers.pipelines.sample.sale_events import sale_events
    from helpers.platforms import kafka

    settings = load_profile(profile)
    with progress("produce") as report:
        lines = sale_events(settings.source, after=after, limit=events)
        sent = send(
            settings.kafka, lines, topic=topic, transaction=transaction, total=events or 0, progress=report
        )  # fmt: skip
    name = topic or settings.kafka.topic
    return Answer(
        {"topic": name, "events": sent},
        lambda: screen.print(f"{sent:,} events sent to {name}: {kafka.address(settings.kafka)}", markup=False),
    )


@app.command("land")
@output
def land_events(
    follow: Annotated[bool, typer.Option("--follow", help="Keep running and write new events as they arrive.")] = False,
    most_events: Annotated[
        int, typer.Option(min=1, help="Maximum number of events of a partition in one file.")
    ] = 10_000,
    most_seconds: Annotated[
        float, typer.Option(min=0, help="Maximum time that an event waits for its file to fill, in seconds.")
    ] = 5.0,
    topic: Topic = None,
    profile: Profile = None,
) -> Answer:
    """Write the topic's events to files in S3, each event exactly once, even when the process is killed.

    Example: runbook kafka land --follow
    """
    from helpers.events.landing import land
    from helpers.platforms import kafka
    from helpers.platforms.s3 import Bucket

    settings = load_profile(profile)
    bucket = Bucket.open(settings.stage, settings.kafka.landing)
    with progress("land") as report:
        landed = land(
            settings.kafka, bucket, topic=topic, follow=follow, most_events=most_events, most_seconds=most_seconds,
            progress=report,
        )  # fmt: skip
    return Answer(
        {"location": str(bucket.location), **vars(landed)},
        lambda: screen.print(
            f"{landed.events:,} events landed in {len(landed.files):,} files below {bucket.location}, "
            f"from {kafka.address(settings.kafka)}",
            markup=False,
        ),
    )
