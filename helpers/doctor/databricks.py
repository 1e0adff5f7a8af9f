"""Databricks, or any Spark Connect server: asked in a way that starts no cluster, which would cost money."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from secrets import token_bytes
from typing import Any
from urllib.parse import quote

import requests

from helpers import engines
from helpers.doctor import tables
from helpers.doctor.subject import Subject
from helpers.errors import ConnectionFailed, MigrationError
from helpers.finding import Finding, failed, note, stop, unchecked, warning
from helpers.platforms import spark
from helpers.platforms.spark import identifier
from helpers.redaction import redact
from helpers.settings import Databricks

ON_SCHEMA = {
    "USE_SCHEMA": "to reach the tables", "CREATE_TABLE": "a load makes tables", "SELECT": "the verification reads them",
    "MODIFY": "a load writes them",
}  # fmt: skip
ON_CATALOG = {"USE_CATALOG": "to reach the schema"}
"""Privileges of Unity Catalog (https://docs.databricks.com/aws/en/data-governance/unity-catalog/manage-privileges/privileges)."""


def examine(subject: Subject) -> Iterator[Finding]:
    """The server of the profile, where it has one."""
    if (target := subject.settings.values.databricks) is None:
        return
    yield from tables.names(subject, target)
    asleep = ""
    if target.host:
        try:
            asleep = yield from _workspace(target, subject.schemas(target.schema_))
        except MigrationError as error:
            yield failed("connection", error)
            return
    if not asleep:
        try:
            yield from _session(target)
        except MigrationError as error:
            yield failed("connection", error)
            return
    yield from tables.owners(subject, engines.destination(target), asleep=asleep)
    if target.engine == "pysail":
        fix = "ask with a profile of the real workspace"
        yield unchecked("rights", "this is pysail, a stand-in: it asks for no token and keeps no catalog", fix, "the rights of docs/rights.md")  # fmt: skip
    elif not target.host:
        yield unchecked("rights", "a Spark server of one's own tells nobody what its catalog and its files allow", "phase 30 tries them")  # fmt: skip


def _session(target: Databricks) -> Iterator[Finding]:
    with spark.connect(target) as session:
        number = int.from_bytes(token_bytes(2))
        (row,) = session.execute(f"SELECT {number} + 1 AS answer", doing="ask for a sum")
        if row["answer"] != number + 1:
            yield stop("connection", f"it takes {number} + 1 for {row['answer']}", "find out what answers there")
            return
        (told,) = session.execute("SELECT version() AS version", doing="ask for the version")
    yield note("connection", f"{spark.engine(target)} answers, version {str(told['version']).partition(' ')[0]}; every setting of the session holds")  # fmt: skip


def _workspace(target: Databricks, schemas: Sequence[str]) -> Generator[Finding, None, str]:
    """Token, cluster and rights, by the workspace's REST interface; the generator's value is why the cluster is not asked.

    https://docs.databricks.com/api/workspace/introduction
    """
    who = str(_ask(target, "2.0/preview/scim/v2/Me")["userName"])
    yield note("token", f"is taken, as {who}")
    cluster = _ask(target, f"2.1/clusters/get?cluster_id={quote(target.cluster_id or '')}")
    state, runtime = str(cluster.get("state", "")), str(cluster.get("spark_version", ""))
    yield note("cluster", f"{cluster.get('cluster_name')}, runtime {runtime}, {state.lower()}")
    if target.catalog:
        for schema in schemas:
            yield from _rights(target, who, f"{target.catalog}.{schema}")
    else:
        yield warning("catalog", "the profile names none, so that the server's current one counts", "set databricks.catalog")  # fmt: skip
    return "" if state == "RUNNING" else f"the cluster is {state.lower()}, and asking would start it"


def _rights(target: Databricks, who: str, schema: str) -> Iterator[Finding]:
    lacking = 0
    places: tuple[tuple[str, str, dict[str, str]], ...]
    try:
        _ask(target, f"2.1/unity-catalog/schemas/{quote(schema)}")
        places = (("SCHEMA", schema, ON_SCHEMA), ("CATALOG", str(target.catalog), ON_CATALOG))
    except ConnectionFailed:
        places = (("CATALOG", str(target.catalog), {**ON_CATALOG, "CREATE_SCHEMA": f"a load makes {schema}"}),)
    for kind, name, needed in places:
        try:
            answer = _ask(target, f"2.1/unity-catalog/effective-permissions/{kind.lower()}/{quote(name)}?principal={quote(who)}")  # fmt: skip
        except ConnectionFailed as error:
            yield unchecked("rights", f"who may do what on {name} could not be asked: {error.why}", error.next_step)
            lacking += 1
            continue
        for right in missing(answer, needed):
            quoted = ".".join(map(identifier, name.split(".")))
            lacking += 1
            yield stop(right.replace("_", " "), f"{who} does not have it on {name}", f"GRANT {right.replace('_', ' ')} ON {kind} {quoted} TO {identifier(who)}", needed[right])  # fmt: skip
    if not lacking:
        yield note("rights", f"{who} has what a load needs on {schema}")


def missing(answer: dict[str, Any], needed: dict[str, str]) -> list[str]:
    """What of `needed` an answer of effective-permissions does not have."""
    held = {
        str(privilege["privilege"]).upper().replace(" ", "_")
        for one in answer.get("privilege_assignments", ())
        for privilege in one.get("privileges", ())
    }
    return [] if held & {"ALL_PRIVILEGES", "OWNERSHIP"} else [right for right in needed if right not in held]


def _ask(target: Databricks, path: str) -> dict[str, Any]:
    token = target.token.get_secret_value() if target.token else ""
    try:
        answer = requests.get(
            f"https://{target.host}/api/{path}", headers={"Authorization": f"Bearer {token}"}, allow_redirects=False,
            timeout=(min(target.connect_timeout_seconds, 30.0), target.answer_timeout_seconds),
        )  # fmt: skip
        if answer.ok:
            found: dict[str, Any] = answer.json()
            return found
        why = f"status {answer.status_code}: {redact(answer.text)[:300]}"
    except (requests.RequestException, ValueError) as error:
        why = f"{type(error).__name__}: nobody answers there as a workspace does"
    raise ConnectionFailed(
        f"ask {path.partition('?')[0]}", on=f"Databricks {target.host}", why=why,
        next_step="correct host, cluster_id or token of the profile's section databricks",
    )  # fmt: skip
