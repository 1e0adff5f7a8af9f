"""The functional tests of the sample, over generated orders on the local stack: `python -m helpers.pipelines.sample.functional_tests
REPORT`, as `[tests]` of its description has it. RUNBOOK_OPTION says which pipeline is tested.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from helpers import PROJECT

FILES = {"A": "test_modern_pipeline.py", "B": "test_modern_pipeline.py", "C": "test_legacy_pipeline.py"}
"""Of tests/integration, by option."""


def main(report: str) -> int:
    """Runs the tests, the slow ones too, and writes their JUnit report; the exit code is pytest's."""
    import pytest

    file = PROJECT / "tests" / "integration" / FILES[os.environ.get("RUNBOOK_OPTION", "A")]
    return int(
        pytest.main(
            [
                str(file), "-c", str(PROJECT / "pyproject.toml"), "--rootdir", str(PROJECT), "-o", "addopts=--strict-markers",
                "-p", "no:cacheprovider", "-p", "no:nbval", "-q", f"--junitxml={Path(report)}",
            ]
        )
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
