"""What stands before every route: who calls, from where, and how much comes in. Pure ASGI: nothing is read before."""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from facefact.apps.service.api.keys import Keys
from facefact.apps.service.api.problems import ApiError, answer

# Without a key: what says nothing of anybody.
FOR_ALL = ("/healthz", "/readyz", "/docs", "/openapi.json")
SAFE = ("GET", "HEAD", "OPTIONS")
LOOPBACK = ("127.0.0.1", "localhost", "[::1]", "::1")
LONGEST_KEY = 200
LONGEST_URL = 4000
DRAINED = 256_000_000  # bytes of a body that is too large which are read and thrown away, so that the answer arrives
DRAIN_SECONDS = 10.0
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@dataclass(frozen=True)
class Rules:
    """keys: who may call; None: anybody. hosts: the names by which the service may be called, None for any. origins:
    pages of these addresses may call it, besides its own. body_bytes, body_seconds: of one request."""

    keys: Keys | None
    hosts: Collection[str] | None
    origins: Collection[str]
    body_bytes: int
    body_seconds: float


class Guard:
    """Middleware. A request that passes has `scope["state"]["owner"]`: the name of its key, "" without keys."""

    def __init__(self, app: ASGIApp, rules: Rules) -> None:
        self.app, self.rules = app, rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        headers = Headers(scope=scope)
        try:
            owner = self.admitted(scope, headers)
        except ApiError as error:
            if scope["type"] == "websocket":
                return await send({"type": "websocket.close", "code": 1008})
            await drain(receive, headers)
            return await answer(error)(scope, receive, self._with_headers(send))
        scope.setdefault("state", {})["owner"] = owner
        if scope["type"] == "websocket":
            return await self.app(scope, receive, send)
        bounded = Body(receive, self.rules.body_bytes, self.rules.body_seconds)
        await self.app(scope, bounded, self._with_headers(send))

    def admitted(self, scope: Scope, headers: Headers) -> str:
        """The owner. ApiError: not admitted."""
        if len(scope.get("raw_path") or b"") + len(scope.get("query_string", b"")) > LONGEST_URL:
            raise ApiError(400, "the address is too long")
        self._check_origin(scope, headers)
        length = headers.get("content-length", "0")
        if not re.fullmatch(r"\d{1,18}", length):
            raise ApiError(400, "the header Content-Length is no number")
        if int(length) > self.rules.body_bytes:
            raise too_large(self.rules.body_bytes)
        if self.rules.keys is None:
            return ""
        key = key_in(headers)
        owner = self.rules.keys.owner(key) if key else None
        if owner is None and not (scope["path"] in FOR_ALL and not key):
            wrong = "this key is not known here" if key else "this service asks for a key: Authorization: Bearer KEY"
            asking = {"WWW-Authenticate": 'Basic realm="facefact", charset="UTF-8"'} if wants_page(headers) else {}
            raise ApiError(401, wrong, headers={"WWW-Authenticate": "Bearer"} | asking)
        return owner or ""

    def _check_origin(self, scope: Scope, headers: Headers) -> None:
        """A page of another site may not make a browser on this machine call (by its own address, or by a name that it
        lets point here)."""
        host = headers.get("host", "")
        if self.rules.hosts is not None and host.rsplit(":", 1)[0] not in self.rules.hosts and host not in LOOPBACK:
            raise ApiError(403, "this service is called by another name; see `facefact serve --help`", code="bad_host")
        origin = headers.get("origin")
        if origin is None or scope.get("method") in SAFE or origin in self.rules.origins:
            return
        try:
            same = urlsplit(origin).netloc == host
        except ValueError:
            same = False
        if not same:
            raise ApiError(403, "a page of another address may not call this service", code="bad_origin")

    def _with_headers(self, send: Send) -> Send:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                known = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    known.setdefault(name, value)
            await send(message)

        return sending


def wants_page(headers: Headers) -> bool:
    return "text/html" in headers.get("accept", "")


def key_in(headers: Headers) -> str:
    """Of `Authorization: Bearer KEY`, `X-API-Key: KEY`, or the password of Basic (browsers); "" without one."""
    given = headers.get("x-api-key", "")
    kind, _, value = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        given = value.strip()
    elif kind.lower() == "basic":
        try:
            given = base64.b64decode(value, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            given = ""
    return given[:LONGEST_KEY]


def too_large(limit: int) -> ApiError:
    return ApiError(413, f"more than {limit / 1e6:.0f} MB: send fewer or smaller pictures")


class Body:
    """An ASGI `receive` that counts: ApiError as soon as more has come in than is allowed, or it takes too long."""

    def __init__(self, receive: Receive, limit: int, seconds: float) -> None:
        self._receive, self._limit, self._seconds = receive, limit, seconds
        self._count, self._whole = 0, False
        self._until: float | None = None

    async def __call__(self) -> Message:
        if self._whole:  # what comes now is that the client has gone
            return await self._receive()
        self._until = self._until or time.monotonic() + self._seconds
        try:
            message = await asyncio.wait_for(self._receive(), max(0.0, self._until - time.monotonic()))
        except asyncio.TimeoutError:
            raise ApiError(408, f"the request took more than {self._seconds:.0f} s to arrive") from None
        self._count += len(message.get("body", b""))
        self._whole = not message.get("more_body", False)
        if self._count > self._limit:
            if not self._whole:
                await drain(self._receive)
            raise too_large(self._limit)
        return message


async def drain(receive: Receive, headers: Headers | None = None) -> None:
    """Reads what is left of a body that nobody wants, within reason: a client that is still sending when the connection
    closes never sees why."""
    if headers is not None and headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers:
        return
    count, until = 0, time.monotonic() + DRAIN_SECONDS
    while count < DRAINED:
        try:
            message: Any = await asyncio.wait_for(receive(), max(0.0, until - time.monotonic()))
        except asyncio.TimeoutError:
            return
        count += len(message.get("body", b""))
        if not message.get("more_body", False):
            return
