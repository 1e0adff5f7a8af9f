"""The local AWS stand-in: moto's server, one process in the environment "cloud", started when it is first needed.

It answers like the service but does little of the work:

- it checks neither keys nor policies, so it listens on loopback alone and proves nothing about permissions;
- it keeps everything in memory: what was made is gone once it stops;
- a record in Route 53 is kept and answers no query; an alarm is kept and never evaluated, and
  notifies its topics when its state is set by hand;
- a cluster of MSK stays in CREATING, as there is no broker behind it: on the local stack that is the server "kafka";
- a bucket created there is not in the stack's S3 server, whose objects are real.
"""

from __future__ import annotations

from dataclasses import dataclass

from helpers.local.servers.processes import LOOPBACK
from helpers.local.servers.server import LocalServer, python_environment, read
from helpers.platforms import environments

ACCESS_KEY = "runbook"
SECRET_KEY = "unchecked"  # noqa: S105 - the stand-in checks none, but every client wants to send one


@dataclass(frozen=True, repr=False)
class Aws(LocalServer):
    name = "the AWS stand-in (moto)"

    @property
    def endpoint(self) -> str:
        """Of every service."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def instance(self) -> str:
        """A mark of the server that runs: what was made in one with another mark is gone."""
        return (self.data / "instance").read_text(encoding="utf-8")

    def command(self) -> list[str]:
        python = environments.python("cloud")
        return [str(python), "-P", "-m", "helpers.local.cloud.aws_standin", str(self.data), str(self.port)]

    def environment(self) -> dict[str, str]:
        return python_environment(self)

    def answers(self) -> bool:
        return read(f"{self.endpoint}/moto-api/") is not None
