"""`runbook init`."""

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from helpers.commands import places
from helpers.commands.options import one_of
from helpers.commands.output import Answer, output, say, screen
from helpers.errors import UsageError

if TYPE_CHECKING:
    from helpers.onboarding.connection import Connection
    from helpers.onboarding.parts import Parts
    from helpers.onboarding.seen import Seen

ENV_FILE = ".env"


@output
def init(
    url: Annotated[str | None, typer.Argument(hidden=True)] = None,
    from_env: Annotated[
        str | None, typer.Option(help="Environment variable (or one of .env) with the source's URL or DSN.")
    ] = None,
    service: Annotated[str | None, typer.Option(help="Service of pg_service.conf that leads to the source.")] = None,
    profile: Annotated[str | None, typer.Option(help="Name of the new profile; default: the database's.")] = None,
    stack: Annotated[
        str, typer.Option(help="local: rehearse on the embedded S3 and the stand-ins; none: name your own servers.")
    ] = "local",
) -> Answer:
    """Write a first profile into migration.toml from a database's catalog, and say the next command.

    Without --from-env and --service it asks, in a terminal. No row of a table is read, no secret is written, and no profile
    is written over; the local stack is started where the profile lives on it.

    Example: export PAGILA_URL='postgresql://reader:secret@db.example.com/pagila'; runbook init --from-env PAGILA_URL
    """
    from datetime import date

    from dotenv import dotenv_values

    from helpers.onboarding import connection as connections
    from helpers.onboarding import parts as parts_of
    from helpers.onboarding import profile_file, profile_text, seen

    one_of("--stack", stack, ("local", "none"))
    if url is not None:
        why = "everybody on this machine can read a command line, and the file only refers to a secret"
        cure = f"export SOURCE_URL='{connections.EXAMPLE}'; {_runbook()} init --from-env SOURCE_URL"
        raise UsageError("take a URL as an argument", on="runbook init", why=why, next_step=cure)
    if from_env and service:
        why = "they are two ways to say where the source is"
        raise UsageError("understand the command", on="--from-env and --service", why=why, next_step="leave one out")
    file = profile_file.place(Path.cwd())
    if profile is not None:
        profile_file.check(file, profile)
    environment = {**dotenv_values(file.parent / ENV_FILE), **os.environ}
    parts = parts_of.find(Path.cwd())
    if from_env:
        connection = connections.from_variable(from_env, environment)
    elif service:
        connection = connections.from_service(service)
    else:
        connection = _ask(parts, environment, profile)
    name = profile or profile_file.default_name(connection.source.dbname)
    profile_file.check(file, name)
    found = seen.look(connection.source)
    bucket = _start_stack() if stack == "local" else None
    command = _next_command(name)
    text = profile_text.compose(name, connection.keys, found, parts, bucket=bucket, today=date.today(), command=command)
    os.environ.update(connection.unset)  # what the profile refers to, while it is tried
    profile_file.add(file, name, text)
    remaining = _keep_secrets(connection, file.parent / ENV_FILE)
    todo = [*remaining, *_before(found, stack)]
    value: dict[str, Any] = {
        "profile": name, "file": str(file), "tables": [str(table) for table in found.catalog.tables],
        "unreadable": list(found.unreadable), "personal": list(found.personal),
        "policies": [vars(each) for each in seen.policies(found.catalog.tables)], "before": todo,
        "look": f"{_runbook()} doctor --profile {name}", "next": command,
    }  # fmt: skip
    return Answer(value, lambda: _show(value, found, parts))


def _ask(parts: "Parts", environment: dict[str, str | None], profile: str | None) -> "Connection":
    from helpers.onboarding import connection as connections
    from helpers.onboarding.profile_file import default_name

    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        known = connections.variables_with_urls(environment)
        cure = f"{_runbook()} init --from-env {known[0] if known else 'SOURCE_URL'}"
        first = "" if known else f"export SOURCE_URL='{connections.EXAMPLE}'; "
        why = "there is no terminal to ask in, and neither --from-env nor --service says where the source is"
        raise UsageError("find the source", on="runbook init", why=why, next_step=f"{first}{cure}")
    offered = next(iter(parts.databases), None)
    if offered:
        say(f"{offered.file} has PostgreSQL {offered.dbname} on port {offered.port} of this machine")
    where = _prompt("Host of the database, or its URL", "localhost" if offered else None)
    if connections.is_url(where) or "=" in where:
        keys: dict[str, object] = {"url": where}
        source = connections.from_answers(keys, None, "PASSWORD").source
        dbname, needed = source.dbname, source.password is None
    else:
        port = typer.prompt("Port", default=offered.port if offered else 5432, type=int, err=True)
        dbname = _prompt("Database", offered.dbname if offered else None)
        user = _prompt("User", offered.user if offered else None)
        keys, needed = {"host": where, "port": port, "dbname": dbname, "user": user}, True
    variable = f"{(profile or default_name(dbname)).upper().replace('-', '_')}_PASSWORD"
    if needed and (known_one := environment.get(variable)):
        say(f"the password is that of {variable}")
        found = connections.from_answers(keys, known_one, variable)
        return type(found)(found.source, found.keys)
    password = typer.prompt("Password (not shown; empty where none is needed)", default="", hide_input=True, show_default=False, err=True) if needed else None  # fmt: skip
    return connections.from_answers(keys, password or None, variable)


def _prompt(question: str, default: str | None) -> str:
    return str(typer.prompt(question, default=default, err=True)).strip()


def _start_stack() -> str:
    """Starts what does not run; the bucket of its stage."""
    from helpers.commands import demo
    from helpers.local import stack

    environment = stack.up(report=lambda line: screen.print(line, markup=False))
    demo.make_keys(stack.home())
    return environment.s3["bucket"]


def _keep_secrets(connection: "Connection", file: Path) -> list[str]:
    """Offers to keep in .env what the profile refers to; what is then left to do."""
    from dotenv import set_key

    left = []
    for variable, secret in connection.unset.items():
        if typer.confirm(
            f"Keep the password in {file}, for you alone to read, where commands look for {variable}?", err=True
        ):
            if not file.exists():
                os.close(os.open(file, os.O_CREAT | os.O_WRONLY, 0o600))
            file.chmod(0o600)
            set_key(file, variable, secret, quote_mode="always")
        else:
            left.append(f"read -rs {variable}; export {variable}")
    return left


def _before(found: "Seen", stack: str) -> list[str]:
    """What the next command needs beforehand."""
    from helpers.platforms.faults.postgres import written

    role = written(found.inventory.role)
    schemas = sorted({name.partition(".")[0] for name in found.unreadable})
    grants = [
        f"let an owner run: GRANT USAGE ON SCHEMA {written(schema)} TO {role}; "
        f"GRANT SELECT ON ALL TABLES IN SCHEMA {written(schema)} TO {role};"
        for schema in schemas
    ]
    return [*grants, *(["name a stage and a target in the profile"] if stack == "none" else [])]


def _show(value: dict[str, Any], found: "Seen", parts: "Parts") -> None:
    from helpers.onboarding.profile_text import said, size

    about = found.inventory
    say(f"profile {value['profile']} added to {value['file']}")
    say(
        f"source    {said(about.database)}, PostgreSQL {about.version}: {len(found.catalog.tables):,} tables, {size(about.bytes)}"
    )
    here = [f"dbt project {each}" for each in parts.dbt]
    here += [f"DAGs {', '.join(each.names) or 'that could not be read'} in {each.path}" for each in parts.dags]
    if here:
        say(f"found     {'; '.join(here)}")
    if found.personal:
        say(
            f"look at   {len(found.personal):,} columns that look like personal data: masks for them stand in the profile, behind a #"
        )
    if value["policies"]:
        say("look at   the policies in the profile, behind a #: without them the census will refuse some columns")
    for each in value["before"]:
        say(f"before    {each}")
    say(f"first     {value['look']}   (rights, settings and limits; it writes nothing)")
    say(f"next      {value['next']}", style="bold")


def _next_command(name: str) -> str:
    """The command that gives the first verdict, as it can be typed in this folder."""
    run = "first" if not (places.OUTPUTS / "first").exists() else f"first-{name}"
    return f"{_runbook()} run 30 --run {run} --profile {name} --apply"


def _runbook() -> str:
    own = Path(sys.executable).with_name("runbook")
    found = shutil.which("runbook")
    if found and Path(found).resolve() == own.resolve():
        return "runbook"
    with_folder = own.relative_to(Path.cwd()) if own.is_relative_to(Path.cwd()) else own
    return shlex.quote(str(with_folder))
