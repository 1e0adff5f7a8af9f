"""Java and Maven are found, or the refusal says what to install: before anything of the stack is started.

Would catch: a Java that is too old or too new and fails in a stack trace, a missing Maven that is told as a missing jar, a repository
that cannot be reached and shows as success.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers.errors import LocalStackError
from helpers.local import jars


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Puts a program of a name, with a text of shell, where nothing else is on the path."""
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))

    def put(name: str, text: str) -> None:
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)

    return put


@pytest.mark.parametrize(
    ("version", "why"),
    [("1.8.0_292", "wants Java 17 to 21"), ("25.0.1", "wants Java 17 to 21"), ("17.0.15", ""), ("21.0.9", "")],
)
def test_a_java_that_the_server_is_not_made_for_is_refused(programs: Any, version: str, why: str) -> None:
    programs("java", f"""echo 'openjdk version "{version}" 2025-10-21' >&2""")
    if not why:
        assert jars.java(21).name == "java"
        return
    with pytest.raises(LocalStackError, match=why) as caught:
        jars.java(21)
    assert version in caught.value.why and "apt-get install" in caught.value.next_step


def test_without_java_nothing_of_the_stack_is_started(
    runbook: Any, programs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNBOOK_LOCAL_ROOT", str(tmp_path / "stack"))
    done = runbook("local", "up", "--spark")
    assert (done.returncode, "find Java" in done.stderr, "openjdk-17-jre-headless" in done.stderr) == (2, True, True)
    assert not (tmp_path / "stack").exists()


def test_maven_is_named_where_it_lacks_and_where_it_fails(
    programs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jars, "PROJECT", tmp_path)
    with pytest.raises(LocalStackError, match="Maven \\(mvn\\) is not there"):
        jars.class_path("spark")
    programs("mvn", "echo '[INFO] Scanning'; echo '[ERROR] Checksum validation failed, expected 1 but is 2'; exit 1")
    with pytest.raises(LocalStackError, match="Checksum validation failed"):
        jars.class_path("spark")
    assert not (tmp_path / ".jars" / "spark.txt").exists()


def test_each_jar_that_is_fetched_is_told_and_maven_is_asked_once(
    programs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jars, "PROJECT", tmp_path)
    monkeypatch.setattr(jars, "SECONDS_BETWEEN_LINES", 0.0)
    jar, told = tmp_path / "spark-core_2.13-4.2.0.jar", list[str]()
    fetched = "Downloaded from central: https://repo.example.com/org/spark-core_2.13-4.2.0.jar (15 MB at 3 MB/s)"
    programs("mvn", f"""echo "$*" >> {tmp_path}/asked
for each in "$@"; do case "$each" in -Dmdep.outputFile=*) echo {jar} > "${{each#*=}}";; esac; done
: > {jar}
echo '{fetched}'""")  # fmt: skip
    assert jars.class_path("spark", report=told.append) == (jar,)
    assert told[1:] == ["1 files fetched, the last spark-core_2.13-4.2.0.jar"]
    assert jars.class_path("spark") == (jar,)
    (asked,) = (tmp_path / "asked").read_text().splitlines()
    assert "--strict-checksums" in asked
    jar.unlink()
    assert jars.class_path("spark") == (jar,)
