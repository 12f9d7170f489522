"""Carrying a request to a provider and bringing back what is known of it: above all whether it ever left."""

import asyncio
from types import TracebackType
from typing import Any, Self

import aiohttp

from ..domain.pace import Pace
from ..providers.base import WireReply, WireRequest

_IDLE_S = 15  # a connection that was idle for longer is the commonest false ambiguity (durability.md §3.7)
_LARGEST = 256 * 1024


class Transport:
    """Concurrent HTTP over kept-alive connections. Use as an async context manager."""

    def __init__(self, pace: Pace, connections: int) -> None:
        self._pace = pace
        self._connections = connections

    async def __aenter__(self) -> Self:
        trace = aiohttp.TraceConfig()
        trace.on_connection_create_end.append(_mark_started)
        trace.on_connection_reuseconn.append(_mark_started)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._connections, keepalive_timeout=_IDLE_S),
            timeout=aiohttp.ClientTimeout(total=self._pace.connect + self._pace.read, sock_connect=self._pace.connect),
            trace_configs=[trace],
            auto_decompress=True,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def send(self, request: WireRequest) -> WireReply:
        """One try, no redirects. ``request_started`` is True from the moment a connection was in hand."""
        mark = {"started": False}
        try:
            async with self._session.request(
                request.method,
                request.url,
                headers=dict(request.headers),
                data=request.body,
                allow_redirects=False,
                trace_request_ctx=mark,
            ) as response:
                body = await _whole(response)
                if body is None:
                    return WireReply(None, error="the answer is too long")
                return WireReply(response.status, dict(response.headers), body)
        except (aiohttp.ClientError, TimeoutError, OSError, asyncio.IncompleteReadError) as error:
            return WireReply(None, request_started=mark["started"], error=type(error).__name__)


async def _whole(response: aiohttp.ClientResponse) -> bytes | None:
    """The body to its end, however many pieces it comes in; None when it is larger than any answer of theirs."""
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > _LARGEST:
            return None
    return bytes(body)


async def _mark_started(session: Any, context: Any, params: Any) -> None:  # noqa: ARG001 - aiohttp's signature
    context.trace_request_ctx["started"] = True
