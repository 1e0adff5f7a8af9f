"""The schema that snowflakedb/snowflake 2.11.0 publishes, read from the bindings that CDK for Terraform generates from it.

Runs in `.venv-cloud`: `python -m helpers.local.cloud.snowflake_schema FILE` writes it as `terraform providers schema -json`
would, as far as the bindings keep it: names, types, nesting, and what is required, optional or computed. They do not keep what
is sensitive, nor how often a block may occur; the type of what is computed alone is left open.
"""

from __future__ import annotations

import base64
import json
import re
import sys
import tarfile
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

BINDINGS = "cdktf_cdktf_provider_snowflake"
FILE = "snowflake-schema.json"

_SOURCE_MAP = "//# sourceMappingURL=data:application/json;base64,"
_CLASS = re.compile(r"^export class (\w+) extends (cdktf\.\w+)", re.M)
_MEMBER = re.compile(r"// (\w+) - computed: (true|false), optional: (true|false), required: (true|false)")
_ENTRY = re.compile(
    r"^\s+(\w+): \{\n\s+value: .*\n\s+isBlock: (true|false),\n\s+type: \"(\w+)\",\n\s+storageClassType: \"(\w+)\",",
    re.M,
)
_TYPE_NAME = re.compile(r"tfResourceType = \"(\w+)\"")
_SIMPLE = {"string": "string", "boolean": "bool", "number": "number", "stringList": "string", "numberList": "number",
           "stringMap": "string"}  # fmt: skip

Written = dict[str, Any]


@cache
def published() -> Written:
    """`provider` and `resource_schemas`, from the file that `main` has written beside the providers."""
    folder = Path(sys.executable).parents[1] / "terraform-providers"
    found: Written = json.loads((folder / FILE).read_text(encoding="utf-8"))
    return found


def main(arguments: list[str]) -> None:
    (file,) = arguments
    unfinished = Path(f"{file}.unfinished")
    unfinished.write_text(json.dumps(_read()), encoding="utf-8")
    unfinished.replace(file)


def _read() -> Written:
    found: Written = {"provider": {}, "resource_schemas": {}}
    spec = find_spec(BINDINGS)  # to import them would start Node
    assert spec and spec.submodule_search_locations
    packed = next(Path(spec.submodule_search_locations[0]).glob("_jsii/*.tgz"))
    with tarfile.open(packed, mode="r:gz") as archive:
        for member in archive:
            if re.fullmatch(r"package/lib/(?!data-)[\w-]+/index\.js", member.name):
                content = archive.extractfile(member)
                assert content is not None
                _take(_typescript(content.read().decode()), found)
    return found


def _typescript(script: str) -> str:
    """The source that a script was compiled from: its map carries it, and the compiler drops half of the comments."""
    encoded = script.rpartition(_SOURCE_MAP)[2].strip()
    sources = json.loads(base64.b64decode(encoded))["sourcesContent"]
    return str(sources[0])


def _take(source: str, found: Written) -> None:
    starts = list(_CLASS.finditer(source))
    ends = [match.start() for match in starts[1:]] + [len(source)]
    classes = {match[1]: source[match.start() : end] for match, end in zip(starts, ends, strict=True)}
    for match in starts:
        if match[2] in ("cdktf.TerraformResource", "cdktf.TerraformProvider"):
            text = classes[match[1]]
            entries = text[text.index("synthesizeHclAttributes") :]
            block = {"version": 0, "block": _block(text, entries, source, classes)}
            if match[2] == "cdktf.TerraformProvider":
                found["provider"] = block
            elif name := _TYPE_NAME.search(text):
                found["resource_schemas"][name[1]] = block


def _block(text: str, entries: str, source: str, classes: Mapping[str, str]) -> Written:
    members = {name: tuple(word == "true" for word in words) for name, *words in _MEMBER.findall(text)}
    attributes: Written = {}
    blocks: Written = {}
    for name, is_block, kind, storage in _ENTRY.findall(entries):
        computed, optional, required = members.get(name, (False, True, False))
        if is_block == "true" or storage not in _SIMPLE:
            inner = storage.removesuffix("List")
            blocks[name] = {
                "nesting_mode": "single" if kind == "struct" else kind,
                "block": _nested(inner, source, classes),
                **({"min_items": 1} if required and kind != "struct" else {}),
            }
            continue
        simple = _SIMPLE[storage]
        attributes[name] = {
            "type": simple if kind == "simple" else [kind, simple],
            "computed": computed, "optional": optional, "required": required,
        }  # fmt: skip
    for name, (computed, optional, required) in members.items():
        if computed and not optional and not required and name not in blocks:
            attributes.setdefault(
                name, {"type": "string" if name in ("id", "fully_qualified_name") else "dynamic", "computed": True}
            )
    return {"attributes": attributes, "block_types": blocks}


def _nested(struct: str, source: str, classes: Mapping[str, str]) -> Written:
    function = f"export function {struct[0].lower()}{struct[1:]}ToHclTerraform("
    start = source.find(function)
    if start < 0:
        raise ValueError(f"the bindings have no {function}")
    entries = source[start : source.index("\n}\n", start)]
    return _block(classes.get(f"{struct}OutputReference", ""), entries, source, classes)


if __name__ == "__main__":
    main(sys.argv[1:])
