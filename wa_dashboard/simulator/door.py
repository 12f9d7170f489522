"""What the three providers' doors share: one answer type, and the faults around every send."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from .world import World

log = logging.getLogger(__name__)

BAD_GATEWAY = (
    "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n"
    "</body>\r\n</html>\r\n"
)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Reply:
    """A provider's answer. `accepted` marks a send that is in the ledger."""

    status: int
    body: Any
    accepted: bool = False
    headers: dict[str, str] = field(default_factory=dict)


Answer = Callable[[web.Request, bytes], Reply]


def as_response(reply: Reply) -> web.Response:
    """The reply as HTTP: JSON, or HTML when the body is a text."""
    if isinstance(reply.body, str):
        return web.Response(status=reply.status, text=reply.body, content_type="text/html", headers=reply.headers)
    if reply.body is None:
        return web.Response(status=reply.status, headers=reply.headers)
    raw = json.dumps(reply.body, ensure_ascii=False, separators=(",", ":")).encode()
    headers = {"Content-Type": "application/json; charset=UTF-8", **reply.headers}
    return web.Response(status=reply.status, body=raw, headers=headers)


def cut(request: web.Request) -> web.Response:
    """Resets the connection; the response returned never leaves."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=499)


def send_door(world: World, provider: str, answer: Answer, throttled: Reply, unavailable: Reply) -> Handler:
    """A handler for sends: the faults set for the provider, before and after acceptance, around `answer`."""

    async def handle(request: web.Request) -> web.StreamResponse:
        faults = world.faults.of(provider)
        if faults.refuse:
            return cut(request)
        body = await request.read()
        first = world.faults.before(provider)
        if first == "drop":
            return cut(request)
        refusals = {"429": throttled, "503": unavailable}
        reply = refusals[first] if first else answer(request, body)
        wait, last = world.faults.after(provider) if reply.accepted else (0.0, "")
        wait += faults.latency_ms / 1000
        if wait > 0:
            await asyncio.sleep(wait)
        if last == "drop":
            return cut(request)
        return as_response(Reply(502, BAD_GATEWAY) if last == "502" else reply)

    return handle


def plain_door(world: World, provider: str, answer: Answer) -> Handler:
    """A handler for everything that is not a send: only `refuse` applies."""

    async def handle(request: web.Request) -> web.StreamResponse:
        if world.faults.of(provider).refuse:
            return cut(request)
        return as_response(answer(request, await request.read()))

    return handle
