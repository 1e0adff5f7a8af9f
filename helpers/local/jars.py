"""Apache's own servers as jars: Java, and a class path for each file in `poms/`, which Maven resolves into its own repository.

The jars stay where Maven keeps them (`~/.m2`); `.jars/NAME.txt` in the project's folder remembers the class path, so that Maven is
only asked where the file in `poms/` is new or a jar has gone.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from helpers import PROJECT
from helpers.errors import LocalStackError

POMS = Path(__file__).parent / "poms"
LOWEST_JAVA = 17
"""Kafka 4 and Spark 4 need it (https://kafka.apache.org/41/operations/java-version/, https://spark.apache.org/docs/latest/)."""

SECONDS_BETWEEN_LINES = 5.0
"""While Maven fetches."""


def java(newest: int | None = None) -> Path:
    """The Java that starts servers: that of JAVA_HOME, else the one on the path.

    Args:
        newest: the last version that the server is made for.

    Raises:
        LocalStackError: there is none, or it is older than `LOWEST_JAVA` or newer than `newest`.
    """
    home = os.environ.get("JAVA_HOME")
    found = str(Path(home, "bin", "java")) if home else shutil.which("java")
    wanted = f"Java {LOWEST_JAVA} {f'to {newest}' if newest else 'or newer'}"
    fix = f"install {wanted} (Debian: apt-get install openjdk-17-jre-headless), and set JAVA_HOME where it is not the first on the path"
    if not found or not Path(found).exists():
        raise LocalStackError("find Java", on=found or "PATH", why="it is not there", next_step=fix)
    done = subprocess.run([found, "-version"], capture_output=True, text=True, check=False)
    version = re.search(r'version "(\d+)', done.stderr)
    if version is None or not LOWEST_JAVA <= int(version[1]) <= (newest or int(version[1])):
        said = (done.stderr or done.stdout).strip().splitlines() or ["it does not say its version"]
        raise LocalStackError("find Java", on=found, why=f"{said[0]}, and the server wants {wanted}", next_step=fix)
    return Path(found)


def class_path(name: str, *, report: Callable[[str], None] = lambda line: None) -> tuple[Path, ...]:
    """The jars of a server, fetched now where Maven does not have them.

    Args:
        name: of a file in `poms/`, without `.xml`.
        report: is told when Maven is asked, which takes from seconds to minutes.

    Raises:
        LocalStackError: Maven is not installed, or could not fetch them.
    """
    pom, remembered = POMS / f"{name}.xml", PROJECT / ".jars" / f"{name}.txt"
    digest = sha256(pom.read_bytes()).hexdigest()
    remembered.parent.mkdir(exist_ok=True)
    with remembered.with_suffix(".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test processes may ask at once
        if not (found := _remembered(remembered, digest)):
            report(
                f"asking Maven for the jars of {name} (once; from seconds to minutes, and what is there is not fetched again)"
            )
            found = _resolved(pom, remembered.parent / f"{name}.new", report)
            remembered.write_text("\n".join((digest, *map(str, found))) + "\n")
    return found


def _remembered(file: Path, digest: str) -> tuple[Path, ...]:
    """The class path as it was resolved last; empty where the pom is another or a jar is missing."""
    lines = file.read_text().splitlines() if file.exists() else [""]
    jars = tuple(map(Path, lines[1:]))
    return jars if lines[0] == digest and all(jar.exists() for jar in jars) else ()


def _resolved(pom: Path, file: Path, report: Callable[[str], None]) -> tuple[Path, ...]:
    maven = shutil.which("mvn")
    if maven is None:
        raise LocalStackError(
            f"fetch the jars of {pom.stem}", on="PATH", why="Maven (mvn) is not there",
            next_step="install it (Debian: apt-get install maven), then run the same command again",
        )  # fmt: skip
    goal = ["dependency:build-classpath", "-DincludeScope=runtime", f"-Dmdep.outputFile={file}"]
    # A file that is not what its checksum says stops it, where Maven by itself only warns.
    command = [maven, "--batch-mode", "--strict-checksums", "-Dstyle.color=never", "-f", str(pom), *goal]
    said, fetched, told = [], 0, time.monotonic()
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout
        for line in running.stdout:
            if line.startswith("[ERROR]"):
                said.append(line.removeprefix("[ERROR]").strip())
            elif "Downloaded from" in line:
                fetched += 1
                if time.monotonic() - told >= SECONDS_BETWEEN_LINES:
                    told = time.monotonic()
                    report(f"{fetched} files fetched, the last {line.partition(' (')[0].rpartition('/')[2].strip()}")
    if running.returncode:
        raise LocalStackError(
            f"fetch the jars of {pom.stem}", on=str(pom), why=said[0] if said else "Maven gave no message",
            next_step="see that Maven reaches its repository (~/.m2/settings.xml), then run the same command again",
        )  # fmt: skip
    jars = tuple(map(Path, file.read_text().strip().split(os.pathsep)))
    file.unlink()
    return jars
