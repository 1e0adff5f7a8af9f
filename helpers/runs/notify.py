"""Reports a run's progress to a chat room: one object `{"text": …}` to a webhook, as Slack and compatible services take it.

No run depends on a chat room: a message that cannot be delivered costs some seconds and is reported on standard error. What is sent
passes the redaction first, and the address is itself a secret, since whoever has it can write to the room.
"""

from __future__ import annotations

import threading

import requests

from helpers.credentials import secret_in
from helpers.redaction import redact, remember

LONGEST_WAIT = 4.0
"""Seconds after which nobody waits for the answer."""

LONGEST_TEXT = 3000
_ESCAPED = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
"""Slack takes `<!channel>` for a call to everybody (https://api.slack.com/reference/surfaces/formatting#escaping)."""


class Webhook:
    """Where messages go; without an address nowhere.

    Args:
        address: http or https.
        wait: the longest that one message may delay its sender, in seconds.
    """

    def __init__(self, address: str | None, *, wait: float = LONGEST_WAIT) -> None:
        self._address = address
        self._wait = wait
        if address:
            remember(address)
            # Libraries print what follows the host alone, and that holds the key.
            remember("/" + "/".join(address.split("/")[3:]))

    def send(self, text: str) -> str | None:
        """Sends one message; never raises.

        Returns:
            None where it arrived or there is no address; otherwise, in a few words without the address, why it did not.
        """
        if not self._address:
            return None
        found: list[str | None] = []
        # A thread: a server that answers a byte a second is never late for `requests`.
        sender = threading.Thread(target=lambda: found.append(self._posted(text)), name="runbook-webhook", daemon=True)
        sender.start()
        sender.join(self._wait)
        return found[0] if found else f"no answer within {self._wait:g} s"

    def _posted(self, text: str) -> str | None:
        try:
            # No redirects: the message is for the room that was named.
            answer = requests.post(
                str(self._address), json={"text": safe(text)}, timeout=self._wait, allow_redirects=False
            )
        except Exception as error:  # whatever it is, it holds the address, and the run goes on
            return type(error).__name__
        return None if answer.status_code < 300 else f"answer {answer.status_code}"


def safe(text: str) -> str:
    """`text` as it may leave: secrets masked, of bounded length, without a chat room's commands.

    A text that still looks as if it held a secret loses every line that does.
    """
    lines = [
        line if secret_in(line) is None else "(a line that seems to hold a secret)"
        for line in redact(text).splitlines()
    ]
    short = "\n".join(lines)
    short = short if len(short) <= LONGEST_TEXT else f"{short[:LONGEST_TEXT]}…"
    return "".join(_ESCAPED.get(character, character) for character in short)
