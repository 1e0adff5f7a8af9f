"""The chat room is told, and a run never waits for it or fails by it.

Would catch: an exception out of a broken webhook, a delay by one that answers byte by byte, the address or a password in a
message or in what is said about a failure, a message that calls everybody in the room, a redirect that is followed elsewhere.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from run_support import PROJECT, Write

from helpers import redaction
from helpers import settings as profiles
from helpers.errors import SettingsError
from helpers.runs.notify import LONGEST_TEXT, Webhook, safe

KEY = "T0000-B0000-aVerySecretKey"


class Room(ThreadingHTTPServer):
    """Keeps what it is told, and answers by the path: `/slow/…` a byte a second, `/404/…` and `/302/…` with that code."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.told: list[tuple[str, str, Any]] = []

    def address(self, kind: str = "ok") -> str:
        return f"http://127.0.0.1:{self.server_port}/{kind}/{KEY}"


class Answer(BaseHTTPRequestHandler):
    server: Room

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.told.append((self.path, self.headers["Content-Type"], json.loads(body)))
        kind = self.path.split("/")[1]
        if kind == "slow":
            for byte in b"HTTP/1.1 200 OK\r\n" * 3:
                self.wfile.write(bytes([byte]))
                time.sleep(0.3)
        self.send_response(int(kind) if kind.isdigit() else 200)
        if kind == "302":
            self.send_header("Location", f"/ok/{KEY}")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture
def room() -> Iterator[Room]:
    server = Room()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    before = set(redaction._known)
    yield
    redaction._known.intersection_update(before)


def test_it_is_told_as_slack_takes_it(room: Room) -> None:
    assert Webhook(room.address()).send("run r ends: 3 < 4 & <!channel>") is None
    assert room.told == [(f"/ok/{KEY}", "application/json", {"text": "run r ends: 3 &lt; 4 &amp; &lt;!channel&gt;"})]
    assert Webhook(None).send("nobody") is None


@pytest.mark.parametrize(("kind", "says"), [("404", "answer 404"), ("500", "answer 500"), ("302", "answer 302")])
def test_a_no_is_told_in_words_and_a_redirect_not_followed(room: Room, kind: str, says: str) -> None:
    assert Webhook(room.address(kind)).send("x") == says
    assert [path for path, *_ in room.told] == [f"/{kind}/{KEY}"]


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:1/KEY", "http://[::bad/KEY", "https://", "http://nowhere.invalid/KEY"]
)
def test_what_does_not_answer_raises_nothing_and_names_no_address(address: str) -> None:
    why = Webhook(address.replace("KEY", KEY)).send("x")
    assert why
    assert KEY not in why
    assert "127.0.0.1" not in why


def test_nobody_waits_for_an_answer_that_comes_byte_by_byte(room: Room) -> None:
    assert Webhook(room.address("slow"), wait=0.5).send("x") == "no answer within 0.5 s"


def test_no_secret_leaves(room: Room) -> None:
    redaction.remember("s3cret-of-the-source")
    webhook = Webhook(room.address())
    webhook.send(
        f"could not connect with s3cret-of-the-source\nnor to {room.address()}\nnor with password=hunter22\nend"
    )
    (_, _, told), *_ = room.told
    assert not any(each in told["text"] for each in ("s3cret", KEY, "hunter22"))
    assert told["text"].endswith("end")
    assert KEY not in redaction.redact(f"Max retries exceeded with url: /ok/{KEY}")
    assert len(safe("x" * 9000)) == LONGEST_TEXT + 1


def toml(folder: Path, webhook: str) -> Path:
    path = folder / "migration.toml"
    path.write_text(f"[profiles.test.notify]\nwebhook = {webhook}\n")
    return path


def test_the_address_comes_from_elsewhere_and_is_masked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="does not belong in this file") as refused:
        profiles.load("test", toml(tmp_path, f'"https://hooks.example.com/{KEY}"'))
    assert KEY not in str(refused.value)
    file = toml(tmp_path, '{ env = "ROOM" }')
    monkeypatch.setenv("ROOM", f"hooks.example.com/{KEY}")
    with pytest.raises(SettingsError, match="https://") as refused:
        profiles.load("test", file)
    assert KEY not in str(refused.value)
    monkeypatch.setenv("ROOM", f"https://hooks.example.com/{KEY}")
    assert profiles.load("test", file).notify.webhook
    assert KEY not in redaction.redact(f"at https://hooks.example.com/{KEY}")
    monkeypatch.delenv("ROOM")
    with pytest.raises(SettingsError, match="ROOM"):
        profiles.load("test", file)


PROGRAM = """
import sys
from pathlib import Path
from helpers.commands import main, places
folder = Path(sys.argv.pop(1))
places.RUNBOOKS, places.OUTPUTS = folder, folder / "outputs"
places.COMMAND = (sys.executable, "-c", {program!r}, str(folder))
main()
"""


@pytest.mark.parametrize(
    ("code", "ends", "exit_code"),
    [
        ("1", "✔ ends: every phase is through", 0),
        ("raise GateClosed('pass', on='g', why='3 rows', next_step='n')", "✘ stops: NO at 00_assessment (exit 1)", 1),
        ("class W(MigrationError): exit_code = 3\nraise W('go', on='s', why='w', next_step='n')",
         "☐ waits: AWAITING at 00_assessment (exit 3)", 3),
    ],
)  # fmt: skip
def test_a_run_tells_its_start_and_its_end(
    room: Room, tmp_path: Path, write: Write, code: str, ends: str, exit_code: int
) -> None:
    toml(tmp_path, '{ env = "ROOM" }')
    parameters = "profile: str = ''\napply: bool = False"
    write("00_assessment", {"parameters": parameters, "setup": "from helpers.errors import *", "s00-a": code})
    program = PROGRAM.format(program=PROGRAM.format(program=""))
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path), "run", "all", "--run", "r", "--profile", "test"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(PROJECT), "ROOM": room.address()}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == exit_code, done.stderr
    texts = [told["text"] for _, _, told in room.told]
    assert len(texts) == 2
    assert texts[0].startswith("run r (profile test, option A) ▶ begins: 1 of 8 phases have a notebook")
    assert ends in texts[1]
    assert "PARTIAL" in texts[1]
    assert KEY not in done.stderr + done.stdout
    assert not [p for p in (tmp_path / "outputs").rglob("*") if p.is_file() and KEY in p.read_text(errors="replace")]
