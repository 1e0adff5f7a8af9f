"""Serves the control room on loopback: the marimo notebook and the run's pages, both behind one token.

The browser gets the token once in the address, as a cookie from then on. A run's HTML pages are shown in a sandbox of
their own: whatever somebody wrote into one, it cannot act as the control room.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import mimetypes
import os
import secrets
import socket
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlencode

import uvicorn
from starlette.applications import Starlette
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from helpers.control_room import overview, view
from helpers.errors import UsageError
from helpers.ledger.folders import checked_name
from helpers.settings import PROJECT

NOTEBOOK = PROJECT / "runbooks" / "control_room.py"
HOST = "127.0.0.1"
TOKEN = "access_token"  # noqa: S105 - the name of the parameter
_SERVED = {".html", ".json", ".ipynb", ".parquet", ".jsonl"}


def serve(outputs: Path, run: str, *, port: int, public_key: str, say: Callable[[str], None]) -> None:
    """Runs until it is interrupted, and ends the process.

    Args:
        outputs: the folder of all runs.
        run: the run to begin with; the one written last when empty.
        port: to listen on; 0 for a free one.
        public_key: of the one who sealed, for `verify-evidence`; a file or PEM text, or empty.
        say: is told the address once the server answers.

    Raises:
        UsageError: the port is taken.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError as error:
        listener.close()
        raise UsageError(
            "start the control room", on=f"port {port} of {HOST}", why=str(error.strerror), next_step="name another --port, or none"
        ) from None  # fmt: skip
    port = listener.getsockname()[1]
    os.environ |= {overview.OUTPUTS: str(outputs.resolve()), overview.RUN: run, overview.KEY: public_key}
    # marimo looks for its configuration, with the theme, from here; and asks nobody about newer versions of itself.
    os.chdir(PROJECT)
    os.environ["MARIMO_SKIP_UPDATE_CHECK"] = "1"
    token = secrets.token_urlsafe(24)
    query = urlencode({TOKEN: token} | ({"run": run} if run else {}))
    # An open page keeps its connection for ever: it must not keep the server from ending.
    config = uvicorn.Config(application(outputs, token, port), log_level="warning", timeout_graceful_shutdown=1)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(uvicorn.Server(config), listener, lambda: say(f"http://{HOST}:{port}/?{query}")))
    # marimo's kernels are threads that wait for their pages for two minutes; they only read, so nothing is lost.
    os._exit(0)


async def _serve(server: uvicorn.Server, listener: socket.socket, started: Callable[[], None]) -> None:
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started and not serving.done():
        await asyncio.sleep(0.02)
    if server.started:
        started()
    await serving


def application(outputs: Path, token: str, port: int) -> ASGIApp:
    """The whole as an ASGI application: nothing but `/health` answers without the token."""
    import marimo  # a second, which only this command needs

    room = marimo.create_asgi_app(quiet=True, include_code=False).with_app(path="/", root=str(NOTEBOOK)).build()
    files = Route(f"/{view.FILES}/{{run}}/{{path:path}}", lambda request: _file(outputs, request))
    inner = Starlette(routes=[files, Mount("/", room)])
    return TrustedHostMiddleware(_Guarded(inner, token, port), allowed_hosts=[HOST, "localhost"])


class _Guarded:
    """Lets through who knows the token, by cookie, address or header."""

    def __init__(self, app: ASGIApp, token: str, port: int) -> None:
        self._app, self._token = app, token
        # Cookies know no ports: two control rooms must not take each other's.
        self._cookie = f"control_room_{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or scope["path"] == "/health":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = next((value for name, value in query if name == TOKEN), None)
        if self._same(self._of_cookie(headers.get("cookie", ""))) or self._same(
            headers.get("authorization", "").removeprefix("Bearer ")
        ):
            await self._app(scope, receive, send)
        elif given is not None and self._same(given) and scope["type"] == "http":
            rest = urlencode([pair for pair in query if pair[0] != TOKEN])
            response = RedirectResponse(f"{scope['path']}{f'?{rest}' if rest else ''}", status_code=303)
            response.set_cookie(self._cookie, self._token, httponly=True, samesite="strict")
            await response(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            text = "The control room needs its token: open the address that `runbook control-room` printed.\n"
            await PlainTextResponse(text, status_code=401)(scope, receive, send)

    def _same(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self._token.encode())

    def _of_cookie(self, header: str) -> str:
        try:
            found = SimpleCookie(header).get(self._cookie)
        except CookieError:
            return ""
        return found.value if found else ""


def _file(outputs: Path, request: Request) -> Response:
    """A file of a run, for reading only."""
    try:
        folder = (outputs / checked_name(request.path_params["run"], kind="run")).resolve()
    except UsageError:
        return PlainTextResponse("There is no such run.\n", status_code=404)
    path = (folder / unquote(request.path_params["path"])).resolve()
    inside = folder.parent == outputs.resolve() and path.is_relative_to(folder)
    if request.method not in ("GET", "HEAD") or not inside or path.suffix not in _SERVED or not path.is_file():
        return PlainTextResponse("There is no such file in the run.\n", status_code=404)
    kind = "text/html" if path.suffix == ".html" else mimetypes.guess_type(path.name)[0] or "text/plain"
    headers = {
        "Content-Security-Policy": "sandbox allow-scripts allow-popups",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }
    return FileResponse(path, media_type=kind, headers=headers)
