"""Databricks, or any Spark Connect server: asked in a way that starts no cluster and no serverless session, which would cost money."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Iterator, Sequence
from secrets import token_bytes
from typing import Any
from urllib.parse import quote

from helpers import engines
from helpers.doctor import certification, tables
from helpers.doctor.subject import Subject
from helpers.errors import ConnectionFailed, MigrationError
from helpers.finding import Finding, failed, note, stop, unchecked, warning
from helpers.platforms import spark
from helpers.platforms.databricks_login import ask, ask_all
from helpers.platforms.spark import identifier
from helpers.settings import Databricks

ON_SCHEMA = {
    "USE_SCHEMA": "to reach the tables", "CREATE_TABLE": "a load makes tables", "SELECT": "the verification reads them",
    "MODIFY": "a load writes them",
}  # fmt: skip
ON_CATALOG = {"USE_CATALOG": "to reach the schema"}
ON_STAGE = {"READ_FILES": "a load reads the stage's files"}
ON_DELTA_ROOT = {
    "CREATE_EXTERNAL_TABLE": "a load makes tables below delta_root", "READ_FILES": "a load looks whether a folder there is taken",
    "WRITE_FILES": "a load writes the tables' files",
}  # fmt: skip
"""Privileges of Unity Catalog (https://docs.databricks.com/aws/en/data-governance/unity-catalog/manage-privileges/privileges)."""

_FOR_CONNECT = frozenset({"SINGLE_USER", "USER_ISOLATION", "DATA_SECURITY_MODE_DEDICATED", "DATA_SECURITY_MODE_STANDARD",
                          "DATA_SECURITY_MODE_AUTO"})  # fmt: skip
"""Access modes that Unity Catalog and Databricks Connect work with: dedicated and standard
(https://docs.databricks.com/api/workspace/clusters/get, data_security_mode)."""


def examine(subject: Subject) -> Iterator[Finding]:
    """The server of the profile, where it has one."""
    if (target := subject.settings.values.databricks) is None:
        return
    yield from tables.names(subject, target)
    yield from certification.standing(subject.settings, "databricks")
    asleep = ""
    if target.host:
        try:
            asleep = yield from _workspace(subject, target)
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
        version = str(session.execute("SELECT version() AS version", doing="ask for the version")[0]["version"])
        if target.host:
            # https://docs.databricks.com/aws/en/sql/language-manual/functions/current_version
            (told,) = session.execute("SELECT current_version().dbr_version AS runtime", doing="ask for the runtime")
            version += f", runtime {told['runtime'] or 'of serverless compute'}"
    yield note("connection", f"{spark.engine(target)} answers, version {version.partition(' ')[0]}; every setting of the session holds")  # fmt: skip


def _workspace(subject: Subject, target: Databricks) -> Generator[Finding, None, str]:
    """Login, cluster and rights, by the workspace's REST interface; the generator's value is why no session is opened.

    https://docs.databricks.com/api/workspace/introduction
    """
    who = str(ask(target, "2.0/preview/scim/v2/Me")["userName"])
    yield note("login", f"is taken, as {who}")
    asleep = "a session would start serverless compute"
    if target.cluster_id:
        asleep = yield from _cluster(target, target.cluster_id)
    if target.catalog:
        yield from _rights_on(target, who, (*subject.schemas(target.schema_), subject.certification_schema))
    else:
        yield warning("catalog", "the profile names none, so that the server's current one counts", "set databricks.catalog")  # fmt: skip
    if spark.names(target) is spark.UNITY_CATALOG:
        yield from _locations(subject, target, who)
    return asleep


def _cluster(target: Databricks, cluster_id: str) -> Generator[Finding, None, str]:
    cluster = ask(target, f"2.1/clusters/get?cluster_id={quote(cluster_id)}")
    state, runtime = str(cluster.get("state", "")), str(cluster.get("spark_version", ""))
    yield note("cluster", f"{cluster.get('cluster_name')}, runtime {runtime}, {state.lower()}")
    needed = spark.client_runtime()
    if (found := re.match(r"\d+", runtime)) and int(found[0]) < int(needed):
        yield stop("runtime", f"{runtime} is older than our client, pyspark-client {spark.client_version()}", f"name a cluster with Databricks Runtime {needed} or newer, or set serverless = true", f"Databricks Runtime {needed} or newer")  # fmt: skip
    if (mode := cluster.get("data_security_mode")) and mode not in _FOR_CONNECT:
        yield stop("access mode", f"{mode}, with which Spark Connect and Unity Catalog do not go", "set the cluster's access mode to dedicated or standard", "dedicated or standard")  # fmt: skip
    return "" if state == "RUNNING" else f"the cluster is {state.lower()}, and asking would start it"


def _locations(subject: Subject, target: Databricks, who: str) -> Iterator[Finding]:
    """Whether external locations hold the stage and `delta_root`, with the rights on them."""
    stage = subject.settings.values.stage
    wanted = [("the stage", stage.url if stage else None, ON_STAGE), ("delta_root", target.delta_root, ON_DELTA_ROOT)]
    try:
        known = ask_all(target, "2.1/unity-catalog/external-locations", "external_locations")
    except ConnectionFailed as error:
        yield unchecked("external location", f"which there are could not be asked: {error.why}", error.next_step)
        return
    for what, url, needed in wanted:
        if not url:
            continue
        if (place := holding(known, url)) is None:
            rights = ", ".join(needed).replace("_", " ")
            cure = f"CREATE EXTERNAL LOCATION migration URL {spark.literal(_plain(url))} WITH (STORAGE CREDENTIAL …); GRANT {rights} ON EXTERNAL LOCATION migration TO {identifier(who)}"  # fmt: skip
            yield stop("external location", f"{who} sees none that holds {what}, {url}", cure, f"{rights} for {what}")
            continue
        lacking = yield from _lacking(target, who, "EXTERNAL LOCATION", place, needed)
        if not lacking:
            yield note("external location", f"{place['name']} holds {what}, and {who} has what a load needs there")


def holding(known: Iterable[dict[str, Any]], url: str) -> dict[str, Any] | None:
    """The external location of those in an answer that holds a URL, the nearest one; None for none."""
    inside = [one for one in known if f"{_plain(url)}/".startswith(f"{_plain(str(one['url']))}/")]
    return max(inside, key=lambda one: len(_plain(str(one["url"])))) if inside else None


def _plain(url: str) -> str:
    return re.sub(r"^s3[an]://", "s3://", url).rstrip("/")


def _rights_on(target: Databricks, who: str, schemas: Sequence[str | None]) -> Iterator[Finding]:
    """The rights on schemas, None for the one that a certification makes; what several need is told once."""
    known = set[str]()
    for schema in schemas:
        found = _rights(target, who, f"{target.catalog}.{schema}") if schema else _to_certify(target, who)
        for each in found:
            if each.severity != "stop" or each.fix not in known:
                yield each
            known.add(each.fix)


def _to_certify(target: Databricks, who: str) -> Iterator[Finding]:
    needed = "a certification makes a schema of its own, unless [profiles.X.certification] schema names one"
    yield from _lacking(target, who, "CATALOG", {"name": str(target.catalog)}, {**ON_CATALOG, "CREATE_SCHEMA": needed})


def _rights(target: Databricks, who: str, schema: str) -> Iterator[Finding]:
    catalog = {"name": str(target.catalog)}
    places: tuple[tuple[str, dict[str, Any], dict[str, str]], ...]
    try:
        there = ask(target, f"2.1/unity-catalog/schemas/{quote(schema)}")
        places = (
            ("SCHEMA", {"name": schema, "owner": there.get("owner")}, ON_SCHEMA),
            ("CATALOG", catalog, ON_CATALOG),
        )
    except ConnectionFailed:
        places = (("CATALOG", catalog, {**ON_CATALOG, "CREATE_SCHEMA": f"to make {schema}"}),)
    whole = True
    for kind, place, needed in places:
        lacking = yield from _lacking(target, who, kind, place, needed)
        whole = whole and not lacking
    if whole:
        yield note("rights", f"{who} has what a load needs on {schema}")


def _lacking(
    target: Databricks, who: str, kind: str, place: dict[str, Any], needed: dict[str, str]
) -> Generator[Finding, None, bool]:
    """The rights on one thing that are missing, with the statements that grant them; whether there are any."""
    if place.get("owner") == who:  # an owner has every right, and none of them is granted
        return False
    name = str(place["name"])
    securable = kind.lower().replace(" ", "_")
    path = f"2.1/unity-catalog/effective-permissions/{securable}/{quote(name)}?principal={quote(who)}"
    try:
        answer = {"privilege_assignments": ask_all(target, path, "privilege_assignments")}
    except ConnectionFailed as error:
        yield unchecked("rights", f"who may do what on {name} could not be asked: {error.why}", error.next_step)
        return True
    lacking = missing(answer, needed)
    quoted = identifier(name) if kind == "EXTERNAL LOCATION" else ".".join(map(identifier, name.split(".")))
    for right in lacking:
        yield stop(right.replace("_", " "), f"{who} does not have it on {name}", f"GRANT {right.replace('_', ' ')} ON {kind} {quoted} TO {identifier(who)}", needed[right])  # fmt: skip
    return bool(lacking)


def missing(answer: dict[str, Any], needed: dict[str, str]) -> list[str]:
    """What of `needed` an answer of effective-permissions does not have."""
    held = {
        str(privilege["privilege"]).upper().replace(" ", "_")
        for one in answer.get("privilege_assignments", ())
        for privilege in one.get("privileges", ())
    }
    return [] if held & {"ALL_PRIVILEGES", "OWNERSHIP"} else [right for right in needed if right not in held]
