"""Delta tables read by their log, without Spark: what the local stack's tables hold, and which files they are made of."""

from __future__ import annotations

import json
import re
import string
from dataclasses import dataclass, field
from typing import Any

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from helpers.errors import LoadError
from helpers.platforms.aws_sessions import keys_of
from helpers.platforms.faults import duck as faults
from helpers.platforms.s3 import Bucket, Location
from helpers.settings import Databricks, Stage

_PLAIN = frozenset(string.ascii_letters + string.digits + "_-")

_OF_A_TABLE = re.compile(r"/(_delta_log/.*|part-[^/]*\.parquet|_change_data/.*|deletion_vector_[^/]*\.bin)$")
"""Names that Delta's writers give the files of a table (https://github.com/delta-io/delta/blob/master/PROTOCOL.md)."""


@dataclass(frozen=True)
class DeltaColumn:
    """A column as the log has it.

    Attributes:
        type: as the log writes it: a name, or the JSON of a nested type.
        physical: its name in the files, which column mapping makes another one.
    """

    name: str
    type: Any
    not_null: bool
    comment: str
    physical: str


@dataclass(frozen=True)
class DeltaVersion:
    """A table at one version of its log.

    Attributes:
        files: their URLs; none where the table is empty.
        whole: empty, or why these files alone are not what the table holds.
        id: of the table; one that is dropped and made again has another.
        properties: as TBLPROPERTIES has them.
    """

    version: int
    columns: tuple[DeltaColumn, ...]
    comment: str
    files: tuple[str, ...]
    whole: str = ""
    id: str = ""
    properties: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Lake:
    """The tables of one schema below one location, each in a folder that its name alone decides."""

    bucket: Bucket

    @classmethod
    def open(cls, target: Databricks, stage: Stage, schema: str | None = None) -> Lake:
        """The tables of a target that has a `delta_root`, reached with the stage's credentials.

        Args:
            schema: which of them; without it, those in the target's own schema.
        """
        assert target.delta_root
        root = target.delta_root.replace("s3a://", "s3://", 1)
        return cls(Bucket.open(stage, f"{root.rstrip('/')}/{folder(schema or target.schema_)}/"))

    def location(self, name: str) -> str:
        """The URL of a table's folder."""
        return f"{self.bucket.location}{folder(name)}"

    def tables(self) -> list[str]:
        """Names of the tables that there are."""
        logs = {path.split("/")[0] for path in self.bucket.sizes() if path.split("/")[1:2] == ["_delta_log"]}
        return sorted(table_name(log) for log in logs)

    def read(self, name: str) -> DeltaVersion:
        """A table as it is now.

        Raises:
            LoadError: its log cannot be understood.
        """
        try:
            table = DeltaTable(
                self.location(name), storage_options=storage_options(self.bucket.stage, self.bucket.location.bucket)
            )
            metadata, protocol = table.metadata(), table.protocol()
            schema = json.loads(table.schema().to_json())
            whole = ""
            if metadata.partition_columns:
                whole = "it is partitioned, and its files lack the columns that it is partitioned by"
            elif "deletionVectors" in (protocol.reader_features or ()):
                whole = "its log allows deletion vectors, which hide rows that the files still have"
            columns = tuple(_column(field) for field in schema["fields"])
            files = tuple(table.file_uris())
            return DeltaVersion(
                table.version(), columns, metadata.description or "", files, whole, str(metadata.id), dict(metadata.configuration)
            )  # fmt: skip
        except (DeltaError, OSError, ValueError, KeyError) as error:
            doing, cure = (
                f"read the log of the Delta table {name}",
                "load the table again: runbook load --target databricks",
            )
            raise faults.told(error, doing, on=self.location(name), kind=LoadError, cure=cure) from None

    def history(self, name: str, most: int | None = None) -> list[dict[str, Any]]:
        """A table's commits, the last first and no more than `most`, each with its `version`, `operation` and parameters."""
        table = DeltaTable(
            self.location(name), storage_options=storage_options(self.bucket.stage, self.bucket.location.bucket)
        )
        commits = table.history(most)
        return [{"version": table.version() - number, **commit} for number, commit in enumerate(commits)]

    def commit(self, name: str, version: int) -> bytes | None:
        """The actions of a commit, one a line; None where the log has dropped them."""
        return self.bucket.read(f"{folder(name)}/_delta_log/{version:020}.json")

    def lost(self, name: str, version: DeltaVersion) -> list[str]:
        """URLs of files that a version of a table names and that are not there."""
        there = {f"{self.bucket.location}{path}" for path in self.bucket.sizes(f"{folder(name)}/")}
        return [url for url in version.files if url not in there]

    def remove(self, name: str) -> None:
        """Deletes a table with its history, and nothing else that lies in its folder; the log goes first, so that no reader
        finds files missing.
        """
        paths = [path for path in self.bucket.sizes(f"{folder(name)}/") if _OF_A_TABLE.search(path)]
        self.bucket.remove(sorted(paths, key=lambda path: "/_delta_log/" not in path))


def folder(name: str) -> str:
    """A folder for any name: letters and digits stay, every other byte is a point and its two hexadecimal digits."""
    return "".join(c if c in _PLAIN else "".join(f".{byte:02x}" for byte in c.encode()) for c in name)


def table_name(folder_name: str) -> str:
    """The name whose folder this is."""
    first, *rest = folder_name.split(".")
    content = first.encode() + b"".join(bytes.fromhex(part[:2]) + part[2:].encode() for part in rest)
    return content.decode()


def storage_options(stage: Stage, bucket: str | None = None) -> dict[str, str]:
    """How delta-rs reaches S3; of authorities it knows those of SSL_CERT_FILE and the system alone.

    Args:
        stage: the stage.
        bucket: its own, or another one that is reached with its credentials.
    """
    virtual = stage.addressing == "virtual"
    options = {
        "AWS_REGION": stage.region,
        "connect_timeout": f"{stage.connect_timeout_seconds:g}s",
        "timeout": f"{stage.answer_timeout_seconds:g}s",
    }
    if stage.is_named and (keys := keys_of(stage, stage.region)):
        options |= {"AWS_ACCESS_KEY_ID": keys.access_key, "AWS_SECRET_ACCESS_KEY": keys.secret_key}
        if keys.session_token:
            options["AWS_SESSION_TOKEN"] = keys.session_token
    if stage.endpoint:
        http = str(stage.endpoint.startswith("http://")).lower()
        # It does not put the bucket before the host of an endpoint by itself.
        host = f"://{bucket or Location.parse(stage.url).bucket}." if virtual else "://"
        options |= {"AWS_ENDPOINT_URL": stage.endpoint.replace("://", host, 1), "AWS_ALLOW_HTTP": http}
    if stage.endpoint or stage.path_style is not None:
        options["AWS_VIRTUAL_HOSTED_STYLE_REQUEST"] = str(virtual).lower()
    return options


def _column(field: dict[str, Any]) -> DeltaColumn:
    metadata = field["metadata"]
    physical = metadata.get("delta.columnMapping.physicalName", field["name"])
    return DeltaColumn(field["name"], field["type"], not field["nullable"], metadata.get("comment", ""), physical)
