"""Serves the control room on loopback: the marimo notebook and the run's pages, both behind one token.

The browser gets the token in the first address and keeps it as a cookie; `access` says who may open a page.
"""

from __future__ import annotations

import asyncio
import contextlib
import mimetypes
import os
import secrets
import socket
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlencode

import uvicorn
from starlette.applications import Starlette
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from helpers import PROJECT
from helpers.control_room import access, overview, view
from helpers.errors import UsageError

NOTEBOOK = PROJECT / "runbooks" / "control_room.py"
HOST = "127.0.0.1"
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
    query = urlencode({access.TOKEN: token} | ({"run": run} if run else {}))
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
    return TrustedHostMiddleware(access.AccessControl(inner, token, port), allowed_hosts=[HOST, "localhost"])


def _file(outputs: Path, request: Request) -> Response:
    """A file of a run, for reading only."""
    folder = overview.run_folder(outputs, request.path_params["run"])
    if folder is None:
        return PlainTextResponse("There is no such run.\n", status_code=404)
    try:
        path = (folder / unquote(request.path_params["path"])).resolve()
        there = path.is_relative_to(folder) and path.suffix in _SERVED and path.is_file()
    except (OSError, ValueError):  # a name that is too long, or no name
        there = False
    if request.method not in ("GET", "HEAD") or not there:
        return PlainTextResponse("There is no such file in the run.\n", status_code=404)
    kind = "text/html" if path.suffix == ".html" else mimetypes.guess_type(path.name)[0] or "text/plain"
    return FileResponse(path, media_type=kind, headers={"Content-Security-Policy": access.RUNS_PAGE})
