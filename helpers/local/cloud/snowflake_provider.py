"""A stand-in for the Terraform provider snowflakedb/snowflake, which Terraform starts in `.venv-cloud`.

It serves the schema that the genuine provider publishes, of its configuration and of each of its resources, so that a typo in
a module is refused as the genuine one would refuse it. What the genuine one checks beyond its schema, such as the words that
a warehouse's size may have, nobody checks here. Of the resources it makes one, `snowflake_schema`, through the genuine
connector in the Snowflake stand-in; it takes a schema that is there already, where the genuine one refuses. Of the others it
says that they are not to be had here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import snowflake.connector
from tf import iface
from tf.runner import run_provider
from tf.schema import Attribute, Block, NestedBlock, Schema
from tf.types import TfType, Unknown
from tf.utils import Diagnostics

from helpers.local.cloud.snowflake_schema import published

CONNECTION = "STAND_IN_SNOWFLAKE"
PREFIX = "snowflake_"


class Typed(TfType):
    """A type as a provider's schema writes it in JSON; values are what the wire has."""

    def __init__(self, written: Any) -> None:
        self._written = written

    def encode(self, value: Any) -> Any:
        return value

    def decode(self, value: Any) -> Any:
        return value

    def tf_type(self) -> bytes:
        return json.dumps(self._written).encode()


class Nested(NestedBlock):
    """A block of any nesting."""

    def __init__(self, name: str, nesting: str, block: Block, least: int | None, most: int | None) -> None:
        self.type_name, self.block, self.min_items, self.max_items = name, block, least, most
        self._nesting = nesting

    def to_pb(self) -> Any:
        from tf.gen import tfplugin_pb2 as pb

        return pb.Schema.NestedBlock(
            type_name=self.type_name,
            block=self.block.to_pb(),
            nesting=getattr(pb.Schema.NestedBlock.NestingMode, self._nesting.upper()),
            min_items=self.min_items,
            max_items=self.max_items,
        )

    def encode(self, value: Any) -> Any:
        return value

    def decode(self, value: Any) -> Any:
        return value

    def semantically_equal(self, a_decoded: Any, b_decoded: Any) -> bool:
        return bool(a_decoded == b_decoded)


def attributes(block: dict[str, Any]) -> list[Attribute]:
    return [
        Attribute(
            name,
            Typed(each["type"]),
            required=each.get("required", False),
            optional=each.get("optional", False),
            computed=each.get("computed", False),
            sensitive=each.get("sensitive", False),
        )
        for name, each in block.get("attributes", {}).items()
    ]


def blocks(block: dict[str, Any]) -> list[NestedBlock]:
    return [
        Nested(
            name,
            each["nesting_mode"],
            Block(attributes=attributes(each["block"]), block_types=blocks(each["block"])),
            each.get("min_items"),
            each.get("max_items"),
        )
        for name, each in block.get("block_types", {}).items()
    ]


def schema(written: dict[str, Any]) -> Schema:
    """Of the framework, from that of `terraform providers schema -json`."""
    block = written["block"]
    return Schema(attributes=attributes(block), block_types=blocks(block), version=written.get("version", 0))


class Resource(iface.Resource):
    """One of the provider's; subclasses carry its schema."""

    name: str
    written: dict[str, Any]

    def __init__(self, provider: iface.Provider) -> None:
        self._provider = provider

    @classmethod
    def get_name(cls) -> str:
        return cls.name

    @classmethod
    def get_schema(cls) -> Schema:
        return schema(cls.written)

    def create(self, ctx: Any, planned: iface.State) -> iface.State | None:
        ctx.diagnostics.add_error(
            f"{PREFIX}{self.name} cannot be made here", "The Snowflake stand-in of the local stack has no such object."
        )
        return None

    def read(self, ctx: Any, current: iface.State) -> iface.State | None:
        return current

    def update(self, ctx: Any, current: iface.State, planned: iface.State) -> iface.State | None:
        return self.create(ctx, planned)

    def delete(self, ctx: Any, current: iface.State) -> None:
        self.create(ctx, current)


class SnowflakeSchema(Resource):
    """The one that the stand-in has."""

    def create(self, ctx: Any, planned: iface.State) -> iface.State | None:
        place = _quoted(planned)
        with _cursor() as cursor:
            cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {place}")
        known = {name: None if value is Unknown else value for name, value in planned.items()}
        return iface.State({**known, "id": place, "fully_qualified_name": place})

    def read(self, ctx: Any, current: iface.State) -> iface.State | None:
        with _cursor() as cursor:
            cursor.execute(
                f"SELECT SCHEMA_NAME FROM {_name(current['database'])}.INFORMATION_SCHEMA.SCHEMATA WHERE SCHEMA_NAME = %s",
                (current["name"],),
            )
            return current if cursor.fetchall() else None

    def update(self, ctx: Any, current: iface.State, planned: iface.State) -> iface.State | None:
        return self.create(ctx, planned)

    def delete(self, ctx: Any, current: iface.State) -> None:
        with _cursor() as cursor:
            cursor.execute(f"DROP SCHEMA IF EXISTS {_quoted(current)}")


class Provider(iface.Provider):
    """The provider itself."""

    def __init__(self) -> None:
        self._published = published()

    def get_model_prefix(self) -> str:
        return PREFIX

    def get_provider_schema(self, diags: Diagnostics) -> Schema:
        return schema(self._published["provider"])

    def full_name(self) -> str:
        return "registry.terraform.io/snowflakedb/snowflake"

    def validate_config(self, diags: Diagnostics, config: iface.Config) -> None:
        """Nothing beyond the schema."""

    def configure_provider(self, diags: Diagnostics, config: iface.Config) -> None:
        """The stand-in's address comes from the environment."""

    def get_data_sources(self) -> list[Any]:
        return []

    def get_resources(self) -> list[Any]:
        return [
            type(
                name,
                (SnowflakeSchema if name == f"{PREFIX}schema" else Resource,),
                {"name": name.removeprefix(PREFIX), "written": written},
            )
            for name, written in self._published["resource_schemas"].items()
        ]

    def get_functions(self) -> list[Any]:
        return []


@contextmanager
def _cursor() -> Iterator[Any]:
    connection = snowflake.connector.connect(**json.loads(os.environ[CONNECTION]))
    try:
        yield connection.cursor()
    finally:
        connection.close()


def _quoted(state: iface.State) -> str:
    return f"{_name(state['database'])}.{_name(state['name'])}"


def _name(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


if __name__ == "__main__":
    os.chdir(Path.home())
    run_provider(Provider())
