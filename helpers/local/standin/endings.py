"""How sessions and connections end before their time, on demand: what a test asks for at `POST /stand-in/endings`.

The codes are those that the connector looks for (`snowflake.connector.network`); what ends a session is in
https://docs.snowflake.com/en/user-guide/session-policies (idle for four hours, or sooner by a policy), what ends with it in
https://docs.snowflake.com/en/user-guide/tables-temp-transient (temporary tables) and
https://docs.snowflake.com/en/sql-reference/transactions ("if a session with an open transaction ends, it is rolled back").
"""

from __future__ import annotations

import asyncio
import gzip
import hmac
import json
import secrets
import shutil
from collections import OrderedDict
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from helpers.local.standin.locks import LOCKS

EXPIRED = "390112"
"""The session's token has run out; the connector gets another by its master token, and the session goes on."""
MASTER_EXPIRED = "390114"
"""Idle for longer than the policy allows: the session is gone, and the connector has no way back."""
NO_LONGER_EXISTS = "390111"
"""Ended by somebody else (https://docs.snowflake.com/en/sql-reference/functions/system_abort_session), or never there."""

MESSAGES = {
    EXPIRED: "Session token has expired.",
    MASTER_EXPIRED: "Authentication token has expired.  The user must authenticate again.",
    NO_LONGER_EXISTS: "Session no longer exists.  New login required to access the service.",
}
DROPPED = ("before", "after")
"""The connection is cut instead of an answer: before the statement is run, or after."""

ANSWERS_KEPT = 32


@dataclass
class Endings:
    """What has ended, and what is to end at the next statement.

    Attributes:
        sessions: the live ones by token.
        password: that whoever demands an end has to give.
        results: the folder with a folder of results for each session.
        masters: the token that each master token renews.
    """

    sessions: MutableMapping[str, Any]
    password: str = field(repr=False)
    results: Path
    masters: dict[str, str] = field(default_factory=dict, repr=False)
    ended: dict[str, str] = field(default_factory=dict, repr=False)
    to_drop: list[str] = field(default_factory=list)
    answers: OrderedDict[str, asyncio.Future[Response]] = field(default_factory=OrderedDict, repr=False)

    def opened(self, token: str) -> str:
        """The master token of a session that has just begun."""
        master = secrets.token_urlsafe(32)
        self.masters[master] = token
        return master

    def refused(self, token: str) -> JSONResponse | None:
        """The answer to a session that has ended; None where it has not."""
        if token in self.sessions and token not in self.ended:
            return None
        return _refusal(self.ended.get(token, NO_LONGER_EXISTS))

    async def renew(self, request: Request) -> JSONResponse:
        """Another token for the same session, by the master token."""
        master, body = token_of(request), await body_of(request)
        former = self.masters.get(master)
        if former is None or former != body.get("oldSessionToken") or former not in self.sessions:
            return _refusal(MASTER_EXPIRED)
        token = secrets.token_urlsafe(32)
        self.sessions[token] = self.sessions.pop(former)
        self.masters[master] = token
        self.ended.pop(former, None)
        data = {"sessionToken": token, "validityInSecondsST": 3600, "masterToken": master, "validityInSecondsMT": 14400}
        return JSONResponse({"data": data, "code": None, "message": None, "success": True})

    async def demand(self, request: Request) -> JSONResponse:
        """`{"password": …, "code": "390114", "session": id}` ends one session, or all; `{"drop": "before"}` the next answer."""
        asked = await body_of(request)
        if not hmac.compare_digest(str(asked.get("password", "")).encode(), self.password.encode()):
            return JSONResponse({"success": False}, status_code=403)
        if (how := asked.get("drop")) in DROPPED:
            self.to_drop.append(how)
            return JSONResponse({"success": True})
        if asked.get("code") not in MESSAGES:
            return JSONResponse({"success": False, "known": [*MESSAGES]}, status_code=400)
        chosen = [
            token for token, session in self.sessions.items() if asked.get("session") in (None, session_id(session))
        ]
        for token in chosen:
            self.end(token, asked["code"])
        return JSONResponse({"success": True, "ended": len(chosen)})

    def end(self, token: str, code: str) -> None:
        self.ended[token] = code
        if code != EXPIRED:
            session = self.sessions.pop(token)
            session.ended = True
            session.duck.interrupt()
            with session.lock:
                session.duck.close()  # with it go the transaction and the temporary tables
            LOCKS.release(session)
            shutil.rmtree(self.results_of(session), ignore_errors=True)

    def results_of(self, session: Any) -> Path:
        return self.results / str(session_id(session))

    def answering(self, answer: Callable[[Request], Any]) -> Callable[[Request], Any]:
        """Answers to statements. One that is sent again because its answer was lost, or long in coming, is not run again: the
        service knows it by its request's id.
        """

        async def answered(request: Request) -> Response:
            if (refusal := self.refused(token_of(request))) is not None:
                return refusal
            identity = request.query_params.get("requestId", "")
            if (known := self.answers.get(identity)) is not None:
                return await asyncio.shield(known)
            drop = self.to_drop.pop(0) if self.to_drop else None
            if drop == "before":
                return _cut(request)
            running: asyncio.Future[Response] = asyncio.ensure_future(answer(request))
            if identity:
                self.answers[identity] = running
                while len(self.answers) > ANSWERS_KEPT:
                    self.answers.popitem(last=False)
            response = await asyncio.shield(running)
            return _cut(request) if drop == "after" else response

        return answered


async def body_of(request: Request) -> dict[str, Any]:
    body = await request.body()
    if request.headers.get("Content-Encoding") == "gzip":
        body = gzip.decompress(body)
    read: dict[str, Any] = json.loads(body)
    return read


def token_of(request: Request) -> str:
    """`Snowflake Token="…"`, without what stands around it."""
    return str(request.headers.get("Authorization", ""))[17:-1]


def session_id(session: Any) -> int:
    """What CURRENT_SESSION says."""
    return id(session) % (1 << 53)


def _refusal(code: str) -> JSONResponse:
    return JSONResponse({"data": None, "code": code, "message": MESSAGES[code], "success": False})


def _cut(request: Request) -> Response:
    """The connection is closed without a byte of an answer; ASGI has no word for that, so uvicorn's own transport is asked."""
    cycle: Any = request.receive.__self__
    cycle.transport.abort()
    return Response()
