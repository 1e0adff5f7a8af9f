"""`make audit`: known vulnerabilities of every locked package, exit 1 for each that nobody has accepted.

A package that the index says nothing of, such as without a network, is counted as not audited and stops nothing.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def main(locks: list[str]) -> int:
    """Audits requirements files; how many have a finding."""
    lines = (HERE / "accepted-vulnerabilities.txt").read_text(encoding="utf-8").splitlines()
    accepted = [line.partition("#")[0].strip() for line in lines]
    ignored = [word for each in accepted if each for word in ("--ignore-vuln", each)]
    return sum(_audited(lock, ignored) for lock in locks)


def _audited(lock: str, ignored: list[str]) -> bool:
    command = [
        "pip-audit",
        "--disable-pip",
        "--require-hashes",
        "--progress-spinner=off",
        "--timeout=10",
        "-f",
        "json",
        "-r",
        lock,
    ]
    done = subprocess.run(
        [Path(sys.executable).with_name(command[0]), *command[1:], *ignored],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except ValueError:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        print(f"{lock}: NOT AUDITED, the index does not answer: {last}")
        return False
    found = [(each["name"], each["version"], vuln["id"]) for each in packages for vuln in each.get("vulns", ())]
    skipped = sum("skip_reason" in each for each in packages)
    for name, version, vulnerability in found:
        print(f"{lock}: {name} {version} has {vulnerability}")
    print(
        f"{lock}: {len(packages) - skipped} packages audited, {len(found)} findings"
        + (f"; NOT AUDITED, the index says nothing of them: {skipped}" if skipped else "")
    )
    return bool(found)


if __name__ == "__main__":
    sys.exit(min(main(sys.argv[1:]), 1))
