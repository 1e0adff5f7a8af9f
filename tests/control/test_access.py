"""Who is let into the control room, at the server that the command starts.

Would catch: an answer without the token; a page of another port or site that reads the kernel's messages or a run's file, or
shows the room in a frame; a header that lets every origin read; a redirect that leads elsewhere; a file or run from outside
of the runs' folder.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import websockets
from room_support import started

from helpers.control_room import overview
from helpers.ledger.ledger import Ledger

PHASE = "30_data_migration"
PAGE = f"/files/r/{PHASE}/attempt-01.html"
ELSEWHERE = ("http://127.0.0.1:1", "http://localhost:1", "http://evil.example", "https://evil.example", "null")


@dataclass(frozen=True)
class Room:
    """A control room that runs, and who knows its token."""

    host: str
    token: str
    stranger: httpx.Client
    operator: httpx.Client


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    folder = tmp_path_factory.mktemp("access")
    outputs = folder / "outputs"
    (outputs / "r" / PHASE).mkdir(parents=True)
    Ledger.open(outputs / "r").append("run-opened", run="r", option="A", profile="local", apply=True, git={})
    (outputs / "r" / PHASE / "attempt-01.html").write_text("<script>document.cookie</script>")
    (folder / "secret.html").write_text("not yours")
    (outputs / "r" / "link.html").symlink_to(folder / "secret.html")
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "ledger.jsonl").write_text("")
    (outputs / "away").symlink_to(folder / "elsewhere")
    process, address = started(outputs)
    try:
        place = urlsplit(address)
        base, token = f"http://{place.netloc}", parse_qs(place.query)["access_token"][0]
        with (
            httpx.Client(base_url=base, timeout=60) as stranger,
            httpx.Client(base_url=base, timeout=60, headers={"authorization": f"Bearer {token}"}) as operator,
        ):
            yield Room(place.netloc, token, stranger, operator)
    finally:
        process.terminate()
        process.communicate(timeout=120)


def raw(room: Room, target: str) -> tuple[int, str]:
    """Status and Location for a request line exactly as it is given: a client would tidy it up."""
    host, port = room.host.split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(f"GET {target} HTTP/1.1\r\nHost: {room.host}\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode("latin-1")
    head = answer.split("\r\n\r\n")[0].split("\r\n")
    location = next((line.split(": ", 1)[1] for line in head if line.lower().startswith("location:")), "")
    return int(head[0].split()[1]), location


def test_nothing_but_health_answers_without_the_token(room: Room) -> None:
    assert room.stranger.get("/health").status_code == 200
    for path in ("/", PAGE, "/api/status", "/ws", "/?access_token=wrong", "/?access_token=", "/health/"):
        assert room.stranger.get(path).status_code in (401, 404), path
    cookie = f"control_room_{room.host.split(':')[1]}"
    for headers in ({"cookie": f"{cookie}=wrong"}, {"cookie": f"{cookie}="}, {"authorization": "Bearer"}):
        assert room.stranger.get("/", headers=headers).status_code == 401
    assert room.stranger.get("/health", headers={"host": "evil.example"}).status_code == 400


def test_the_token_becomes_a_cookie_that_no_script_reads_and_no_other_site_embeds(room: Room) -> None:
    with httpx.Client(base_url=str(room.stranger.base_url)) as browser:
        answer = browser.get(f"/?access_token={room.token}&run=r")
        assert (answer.status_code, answer.headers["location"]) == (303, "/?run=r")
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie and "samesite=lax" in cookie
        assert "Control room" in browser.get("/?run=r").text


@pytest.mark.parametrize("origin", ELSEWHERE)
def test_a_page_from_elsewhere_is_answered_nothing_though_it_sends_the_cookie(room: Room, origin: str) -> None:
    for method, path in (("GET", "/"), ("GET", PAGE), ("POST", "/api/kernel/instantiate"), ("OPTIONS", "/api/usage")):
        answer = room.operator.request(method, path, headers={"origin": origin})
        assert (answer.status_code, answer.text) == (403, "The control room answers no other page.\n"), (method, path)
    assert not [name for name in answer.headers if name.startswith("access-control-")]


@pytest.mark.parametrize("site", ["same-site", "cross-site"])
@pytest.mark.parametrize("dest", ["script", "image", "iframe", "embed"])
def test_a_page_that_sends_no_origin_is_known_by_what_it_embeds(room: Room, site: str, dest: str) -> None:
    mode = "navigate" if dest in ("iframe", "embed") else "no-cors"
    told = {"sec-fetch-site": site, "sec-fetch-mode": mode, "sec-fetch-dest": dest}
    assert room.operator.get(PAGE, headers=told).status_code == 403
    # A link that somebody follows is no such thing.
    assert room.operator.get(
        PAGE, headers={**told, "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    ).is_success


@pytest.mark.parametrize("path", ["/", PAGE, "/health", "/absent", "/files/r/absent.html"])
def test_every_answer_forbids_frames_and_lets_no_origin_read(room: Room, path: str) -> None:
    for client in (room.operator, room.stranger):
        headers = client.get(path, headers={"origin": f"http://{room.host}"}).headers
        assert headers["x-frame-options"] == "DENY"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert not [name for name in headers if name.startswith("access-control-")]


def test_the_kernels_messages_are_for_the_rooms_own_page(room: Room) -> None:
    async def status(**headers: str) -> int:
        given = {"Authorization": f"Bearer {room.token}"} | headers
        try:
            async with websockets.connect(
                f"ws://{room.host}/ws?session_id=s_1&kiosk=false", additional_headers=given, origin=None
            ) as connection:
                return 101 if await connection.recv() else 0
        except websockets.InvalidStatus as error:
            return error.response.status_code

    for origin in ELSEWHERE:
        assert asyncio.run(status(Origin=origin)) == 403, origin
    assert asyncio.run(status(Authorization="Bearer wrong")) == 403
    assert asyncio.run(status(Origin=f"http://{room.host}")) == 101


@pytest.mark.parametrize("place", ["//evil.example/", "///evil.example", "/\\evil.example/", "//evil.example/%2e%2e", "/%5cevil.example",
                                   "/%2f/evil.example", "//user@evil.example:1/"])  # fmt: skip
def test_no_redirect_leads_elsewhere(room: Room, place: str) -> None:
    for target in (f"{place}?access_token={room.token}", place):
        status, location = raw(room, target)
        assert status >= 300
        path = location.removeprefix(f"http://{room.host}")
        assert not location or (path.startswith("/") and path[1:2] not in ("/", "\\")), (target, location)


def test_files_of_runs_are_shown_in_a_sandbox_and_nothing_else_is(room: Room) -> None:
    page = room.operator.get(PAGE)
    assert page.status_code == 200
    assert "sandbox" in page.headers["content-security-policy"]
    assert "allow-same-origin" not in page.headers["content-security-policy"]
    for path in ("/files/r/link.html", "/files/r/..%2f..%2fsecret.html", "/files/%2e%2e/secret.html", "/files/r/absent.html",
                 f"/files/r/{PHASE}", "/files/.hidden/x.html", "/files/away/ledger.jsonl",
                 "/files/r/a%2500.html", "/files/r/" + "x" * 5000 + ".html"):  # fmt: skip
        assert room.operator.get(path).status_code == 404, path
    assert room.operator.post(PAGE).status_code == 405


@pytest.mark.parametrize(
    "name", ["..", ".", "", "/etc", "../elsewhere", "a/b", "r/../../elsewhere", "away", "a\0b", "x" * 300]
)
def test_a_run_is_a_name_directly_below_the_outputs(tmp_path: Path, name: str) -> None:
    (tmp_path / "outputs" / "r").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "outputs" / "away").symlink_to(tmp_path / "elsewhere")
    assert overview.run_folder(tmp_path / "outputs", name) is None
    assert overview.run_folder(tmp_path / "outputs", "r") == tmp_path / "outputs" / "r"
