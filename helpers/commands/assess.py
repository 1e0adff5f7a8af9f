"""`runbook assess`."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from helpers.commands.options import Exclude, Profile, Run, SourceDsn, Tables, load_profile
from helpers.commands.output import Answer, output, say, screen, show_left_out
from helpers.errors import UsageError
from helpers.progress import progress

if TYPE_CHECKING:
    from helpers.finding import Finding
    from helpers.model.names import Refusal
    from helpers.settings import Settings
    from helpers.source.survey import Stock


@output
def assess(
    census: Annotated[bool, typer.Option("--census", help="Count the values that would change in transit.")] = False,
    types: Annotated[
        bool, typer.Option("--types", help="Print docs/types.md, generated from the table of types.")
    ] = False,
    tables: Tables = None,
    exclude: Exclude = None,
    run: Run = None,
    source_dsn_env: SourceDsn = None,
    profile: Profile = None,
) -> Answer:
    """Show what the source contains and what blocks a migration; with --census also the values that no target can hold. Exit 1 when something blocks.

    Example: runbook assess; runbook assess --census --tables "sales_*"
    """
    from helpers.load import beforehand
    from helpers.model import types_page
    from helpers.source import survey

    if types:
        changed = types_page.write()
        summary = {"file": str(types_page.FILE), "changed": changed}
        return Answer(summary, lambda: screen.print(f"{types_page.FILE}: {'written' if changed else 'unchanged'}"))
    settings = load_profile(profile, source_dsn_env)
    if not census:
        if named := [*(tables or ()), *(exclude or ())]:
            why = "only a census is of single tables"
            cure = "add --census, or leave --tables and --exclude out"
            raise UsageError("assess the source", on=named[0], why=why, next_step=cure)
        return _take_inventory(settings)
    with progress("census") as report:
        found = survey.census(settings, tuple(tables or ()), exclude=tuple(exclude or ()), progress=report)
    by_target = beforehand.refusals_by_target(settings, [each.table for each in found.tables])
    refused = any(table.refused for table in found.tables) or any(by_target.values())
    return Answer(survey.as_dict(found, by_target), lambda: _show_census(found, by_target), 1 if refused else 0)


def _take_inventory(settings: "Settings") -> Answer:
    from datetime import UTC, datetime

    from helpers import PROJECT
    from helpers.assessment import code, inventory

    found = inventory.take(settings.source)
    folder = PROJECT / "outputs" / "assess" / datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    listed = code.write(code.take(settings), folder)
    said = [*inventory.findings(found), *code.findings(listed), *_following(settings)]

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
        if listed.code:
            screen.table(
                "code, which stays behind", "object", "kind", "language", "drafts", rows=code.code_rows(listed)
            )
            say(f"the source's SQL and the drafts, which nobody has run: {folder}")
        if listed.sequences:
            headings = ("sequence", "of", "gives next", "step")
            screen.table("sequences, whose values stay behind", *headings, rows=code.sequence_rows(listed))
        for each in said:
            fix = f" → {each.fix}" if each.fix else ""
            say(f"{each.severity}: {each.on}: {each.what}{fix}")
        screen.print("`runbook assess --census` counts the values that a target cannot hold", markup=False)

    since, relations = str(found.since) if found.since else None, [vars(each) for each in found.relations]
    value = {
        "inventory": vars(found) | {"since": since, "relations": relations},
        "findings": [vars(each) for each in said],
        "drafts": str(folder) if listed.files else None,
        **listed.as_dict(),
    }
    return Answer(value, show, 1 if any(each.severity == "stop" for each in said) else 0)


def _following(settings: "Settings") -> "list[Finding]":
    """What would keep changes from being followed after a copy, for a person to weigh beforehand."""
    from helpers.source.asking import asking
    from helpers.source.catalog import read_catalog
    from helpers.sync import needs

    source = settings.source
    with asking(source, "ask what following changes needs") as cursor:
        tables = read_catalog(cursor, schemas=source.schemas, described=settings.tables).tables
        found = needs.foreseen(cursor, source, tables, settings.sync)
        return [each for each in found if each.severity == "warning"]


def _show_census(found: "Stock", by_target: Mapping[str, Sequence["Refusal"]]) -> None:
    for table in found.tables:
        rows = [
            (c.column.name, c.column.type.sql, c.verdict, c.mapping.snowflake, c.policy or "", c.touched,
             "; ".join([c.mapping.note, *(f"{n:,} × {what}" for what, n in c.information.items())]).strip("; "))
            for c in table.columns
        ]  # fmt: skip
        headings = ("column", "type", "verdict", "Snowflake", "policy", "touched", "note")
        screen.table(f"{table.table}: {table.rows:,} rows", *headings, rows=rows)
    for sentence in (sentence for table in found.tables for sentence in table.refused):
        say(f"refused: {sentence}")
    for where, refusal in ((where, each) for where, refusals in by_target.items() for each in refusals):
        say(f"refused by {where}: {refusal} → {refusal.cure}")
    show_left_out(found.left_out)
