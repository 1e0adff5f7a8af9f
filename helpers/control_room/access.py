"""Who may open the control room, and what its pages may do in a browser: a token, one origin, no frames, no outside requests."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, quote, urlencode, urljoin, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

TOKEN = "access_token"  # noqa: S105 - the name of the parameter

_OWN_PAGE = (
    # marimo's page has scripts of its own inside, and compiles some; nothing may come from, or go to, anywhere else.
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; object-src 'none'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
RUNS_PAGE = "sandbox allow-scripts allow-popups; frame-ancestors 'none'"
"""The policy for a page that a run left: whatever somebody wrote into it, it cannot act as the control room."""

_HEADERS = {
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class AccessControl:
    """Answers only requests that carry the token (cookie, address or header) and come from the room's own page.

    Cookies know no ports: a page that another server of this machine serves would send the cookie along, so what a browser
    says of the page that asks (`Origin`, `Sec-Fetch-Site`) is checked as well.
    """

    def __init__(self, app: ASGIApp, token: str, port: int) -> None:
        self._app, self._token = app, token
        # Two control rooms must not take each other's cookies.
        self._cookie = f"control_room_{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        own = f"http://{headers.get('host', '')}"
        refused = self._refused(scope, headers, own)
        if refused and scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        await (refused or self._app)(scope, receive, _guarded(send, own, scope["path"]))

    def _refused(self, scope: Scope, headers: Headers, own: str) -> Response | None:
        """What is answered instead of the page; None where the request may pass."""
        if _is_from_elsewhere(scope, headers, own):
            return PlainTextResponse("The control room answers no other page.\n", status_code=403)
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = next((value for name, value in query if name == TOKEN), None)
        known = (_cookie(headers, self._cookie), headers.get("authorization", "").removeprefix("Bearer "))
        if scope["path"] == "/health" or any(self._is_token(each) for each in known):
            return None
        if given is not None and self._is_token(given) and scope["type"] == "http":
            return self._without_token(scope["path"], [pair for pair in query if pair[0] != TOKEN])
        text = "The control room needs its token: open the address that `runbook control-room` printed.\n"
        return PlainTextResponse(text, status_code=401)

    def _without_token(self, path: str, query: Iterable[tuple[str, str]]) -> Response:
        # A path that begins with two slashes, or a slash and a backslash, is another host's address to a browser.
        place = "/" + quote(path.lstrip("/\\"))
        response = RedirectResponse(f"{place}?{rest}" if (rest := urlencode(list(query))) else place, status_code=303)
        # Not "strict": a run's page has an origin of its own in its sandbox, and a link from it to the next is followed with
        # "lax" alone. What another page embeds, posts or opens a socket for is sent no cookie either way, and is refused.
        response.set_cookie(self._cookie, self._token, httponly=True, samesite="lax")
        return response

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self._token.encode())


def _is_from_elsewhere(scope: Scope, headers: Headers, own: str) -> bool:
    """Whether another page asks. Following a link to here is no such thing, and what is no browser says nothing."""
    if headers.get("origin", own) != own:
        return True
    followed = scope["type"] == "http" and scope["method"] == "GET" and headers.get("sec-fetch-mode") == "navigate"
    top = followed and headers.get("sec-fetch-dest", "document") == "document"
    return not top and headers.get("sec-fetch-site", "none") not in ("same-origin", "none")


def _cookie(headers: Headers, name: str) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(name)
    except CookieError:
        return ""
    return found.value if found else ""


def _guarded(send: Send, own: str, path: str) -> Send:
    """Adds to each answer what a browser must not do with it, and takes away what would let others read it."""

    async def guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=message["headers"])
            for name in [name for name in headers if name.startswith("access-control-")]:
                del headers[name]
            for name, value in _HEADERS.items():
                headers[name] = value
            headers.setdefault("Content-Security-Policy", _OWN_PAGE)
            target = urlsplit(urljoin(own + path, headers.get("location", own)))
            if f"{target.scheme}://{target.netloc}" != own:
                message["status"] = 404
                del headers["location"]
        await send(message)

    return guarded
