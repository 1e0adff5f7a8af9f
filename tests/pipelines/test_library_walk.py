"""The second pipeline's whole checklist: from a URL to a sealed run, on the options A and B, with two people signing.

Would catch: a step that needs the sample, is ticked by it or says something of it; a table that stays and yet moves; a step that a
profile without its system cannot get past; a command that `init` prints and that does not work.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import library_support
import pytest

from helpers import settings as profiles
from helpers.commands import demo
from helpers.commands.places import OUTPUTS

OF_THE_SAMPLE = re.compile(
    r"raw_orders|sales_daily|sales_monthly|fact_sales|dim_product|open_orders|product_ranking|cloud_sales_pipeline|"
    r"sales_data_aggregation|legacy_postgres_sales|sales\.example\.com|sales-pipeline"
)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("option", ["A", "B"])
def test_the_library_goes_from_its_url_to_sealed_evidence(
    option: str,
    fresh_migration: Callable[..., AbstractContextManager[Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = f"library-{option.lower()}-{os.getpid()}"
    with fresh_migration() as migration:
        source = migration.settings.source
        library_support.build(source)
        library_support.install(migration.settings, tmp_path)
        (tmp_path / "migration.toml").unlink()
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("LIBRARY_URL", library_support.url(source))
        _runbook("init", "--from-env", "LIBRARY_URL", "--profile", library_support.PROFILE)
        _describe(tmp_path / "migration.toml", option, run)
        try:
            archive = demo.walk(run, option, library_support.PROFILE)
            told = json.loads(_runbook("verify-evidence", str(archive), "--public-key", str(_sealer()), "--json"))
            assert told["verdict"] == "intact" and told["sealed_as"] == "SEALED ON STAND-INS", told
            moved = _moved()
            assert (library_support.STAYS in moved) == (option == "A") and len(moved) == (14 if option == "A" else 13)
            assert not _of_the_sample(OUTPUTS / run)
        finally:
            shutil.rmtree(OUTPUTS / run, ignore_errors=True)


def _describe(file: Path, option: str, run: str) -> None:
    """What a person does behind `init`: the source and the places stay, the library's own description takes the proposals' place.

    The places get the run's name: other tests of this machine have a library, too.
    """
    head = file.read_text(encoding="utf-8").partition("# What moves")[0]
    schema = run.replace("-", "_")
    head = (
        head.replace("/library/", f"/{run}/")
        .replace('"LIBRARY"', f'"{schema.upper()}"')
        .replace('"library"', f'"{schema}"')
    )
    own = library_support.description()
    if option == "B":
        stay = f'stay = {{ "{library_support.STAYS}" = "the desk goes on writing it" }}'
        own = own.replace("[profiles.library.tables]\n", f"[profiles.library.tables]\n{stay}\n")
    file.write_text(f"{head}\n{own}", encoding="utf-8")


def _runbook(*words: str) -> str:
    done = subprocess.run([sys.executable, "-m", "helpers", *words], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def _sealer() -> Path:
    from helpers.local import people, stack

    return Path(f"{people.private_key(stack.home(), 'sealer')}.pub")


def _moved() -> set[str]:
    """The tables of the export, as its manifest has them."""
    from helpers.model import manifest
    from helpers.platforms.s3 import Bucket

    settings = profiles.load(library_support.PROFILE, Path.cwd() / "migration.toml")
    return {str(table) for table in manifest.read(Bucket.open(settings.stage)).tables}


def _of_the_sample(folder: Path) -> list[str]:
    """Lines of a run's files that speak of the sample."""
    found = []
    for file in sorted(folder.rglob("*")):
        if file.suffix in (".jsonl", ".json", ".ipynb", ".md"):
            for match in OF_THE_SAMPLE.finditer(file.read_text(encoding="utf-8", errors="replace")):
                found.append(f"{file.relative_to(folder)}: {match[0]}")
    return found
