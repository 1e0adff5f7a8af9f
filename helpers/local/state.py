"""What the local stack remembers: ports, processes and passwords, in a file that only its owner can read."""

from __future__ import annotations

import json
import secrets
import threading
from pathlib import Path
from typing import Any

from helpers.local.servers.processes import Running, choose_port

PORTS_NEEDED = {"s3": 8}
"""Where it is more than one."""


class State:
    """Ports, processes and passwords, written as a whole and atomically, by several threads of one `up`."""

    def __init__(self, file: Path, content: dict[str, Any]) -> None:
        self.file = file
        self.content = content
        self.lock = threading.Lock()

    @classmethod
    def read(cls, home: Path) -> State:
        file = home / "state.json"
        if file.exists():
            return cls(file, json.loads(file.read_text()))
        passwords = {name: secrets.token_urlsafe(24) for name in ("superuser", "owner", "s3", "snowflake", "airflow")}
        return cls(file, {"servers": {}, "passwords": passwords})

    def write(self) -> None:
        unfinished = self.file.with_suffix(".unfinished")
        with self.lock:
            unfinished.touch(mode=0o600)
            unfinished.write_text(json.dumps(self.content, indent=1))
            unfinished.replace(self.file)

    def servers(self, name: str) -> dict[str, Any]:
        """What is known of one server; a stack of an earlier version knows nothing of some."""
        known: dict[str, Any] = self.content["servers"].setdefault(name, {})
        return known

    def password(self, name: str) -> str:
        if name not in self.content["passwords"]:  # a stack of an earlier version
            self.content["passwords"][name] = secrets.token_urlsafe(24)
            self.write()
        return str(self.content["passwords"][name])

    def ports(self, name: str) -> list[int]:
        return [int(port) for port in self.servers(name).get("ports", [])]

    def port(self, name: str) -> int:
        ports = self.ports(name)
        return ports[0] if ports else 0

    def choose_ports(self, name: str, label: str, taken: set[int]) -> None:
        """Keeps the remembered ports where they are free; `RUNBOOK_NAME_PORT` in the environment names one."""
        remembered = self.ports(name)
        ports = [choose_port(label, self.port(name), setting=f"RUNBOOK_{name.upper()}_PORT", taken=taken)]
        for place in range(1, PORTS_NEEDED.get(name, 1)):
            before = remembered[place] if place < len(remembered) else None
            ports.append(choose_port(label, before, setting="", taken=taken))
        self.servers(name)["ports"] = ports

    def running(self, name: str) -> Running | None:
        known = self.servers(name)
        return Running(int(known["pid"]), str(known["created"])) if "pid" in known else None

    def remember(self, name: str, running: Running | None) -> None:
        with self.lock:
            known = self.servers(name)
            if running is None:
                known.pop("pid", None)
                known.pop("created", None)
            else:
                known.update(pid=running.pid, created=running.created)
        self.write()
