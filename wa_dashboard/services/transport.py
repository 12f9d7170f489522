"""Carrying requests to a provider and bringing back what is known of them: above all whether they ever left.

Kept-alive connections on asyncio's own protocols, answers parsed by httptools: a third of what a client library
costs for each message, which is most of what a message costs (docs/benchmarks.md). Retries and redirects nothing,
asks for no compression, reads nothing from the environment.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from types import TracebackType
from typing import Self, cast
from urllib.parse import quote, urlsplit

import httptools

from .. import failpoints
from ..domain.pace import Pace
from ..providers.base import WireReply, WireRequest

_IDLE_S = 15.0  # a connection that was idle for longer is the commonest false ambiguity (durability.md §3.7)
_LARGEST = 256 * 1024
_LOOK_S = 0.1  # how exactly time-outs are kept

Gate = Callable[[], str | None]


class Transport:
    """Concurrent HTTP over at most ``connections`` kept-alive connections. Use it within a running loop."""

    def __init__(self, pace: Pace, connections: int) -> None:
        self._pace = pace
        self._limit = max(1, connections)
        self._idle: dict[_Origin, list[_Connection]] = {}
        self._open: set[_Connection] = set()
        self._connecting: dict[asyncio.Task[None], _Call] = {}
        self._urgent: deque[_Call] = deque()
        self._waiting: deque[_Call] = deque()
        self._deadlines: deque[tuple[float, _Call]] = deque()
        self._watch: asyncio.TimerHandle | None = None
        self._tls: ssl.SSLContext | None = None
        self._closed = False
        self._loop = asyncio.get_running_loop()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every connection; requests still under way are answered as unknown."""
        self._closed = True
        if self._watch is not None:
            self._watch.cancel()
        for task in self._connecting:
            task.cancel()
        for connection in list(self._open):
            connection.abort("closed")
        for call in (*self._connecting.values(), *self._urgent, *self._waiting):
            call.end(WireReply(None, request_started=False, error="closed"))

    async def send(self, request: WireRequest) -> WireReply:
        """One try, no redirects. ``request_started`` is True from the moment a connection was in hand."""
        return await self.start(request)

    def start(
        self, request: WireRequest, gate: Gate | None = None, *, urgent: bool = False
    ) -> "asyncio.Future[WireReply]":
        """Begin one try; the future always gets a reply, never an exception.

        ``gate`` is asked at the last moment before bytes leave: what it answers, if not None, is the reply's error
        and nothing leaves. ``urgent`` goes before all that still waits for a connection.
        """
        call = _Call(request, gate, self._loop.create_future())
        try:
            call.origin, call.head = _addressed(request)
        except ValueError as error:
            call.end(WireReply(None, request_started=False, error=f"InvalidRequest: {error}"))
            return call.future
        connection = self._take(call.origin)
        if connection is not None:
            connection.carry(call)
        elif len(self._open) + len(self._connecting) < self._limit or self._drop_idle():
            self._connect(call)
        else:
            (self._urgent if urgent else self._waiting).append(call)
        return call.future

    # --- connections

    def _take(self, origin: "_Origin") -> "_Connection | None":
        """An idle connection that is surely still good; the others are closed."""
        idle = self._idle.get(origin)
        oldest = self._loop.time() - _IDLE_S
        while idle:
            connection = idle.pop()
            if connection.usable and connection.idle_since > oldest:
                return connection
            connection.abort("idle for too long")
        return None

    def _drop_idle(self) -> bool:
        """Make room by closing an idle connection to somewhere else."""
        for idle in self._idle.values():
            if idle:
                idle.pop(0).abort("making room")
                return True
        return False

    def _connect(self, call: "_Call") -> None:
        task = self._loop.create_task(self._open_for(call))
        self._connecting[task] = call
        task.add_done_callback(self._connecting.pop)

    async def _open_for(self, call: "_Call") -> None:
        tls, host, port = call.origin
        context = self._context() if tls else None
        try:
            async with asyncio.timeout(self._pace.connect):
                _, connection = await self._loop.create_connection(
                    lambda: _Connection(self, call.origin),
                    host,
                    port,
                    ssl=context,
                    server_hostname=host if tls else None,
                )
        except (OSError, TimeoutError, UnicodeError, ValueError) as error:
            # UnicodeError, ValueError: a host name that can be none. SSL errors are OSErrors.
            call.end(WireReply(None, request_started=False, error=f"{type(error).__name__}: {error}"[:300]))
            self._next()
            return
        self._open.add(connection)
        connection.carry(call)

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
        return self._tls

    def released(self, connection: "_Connection") -> None:
        """The connection is free: give it the next call for its address, or keep it."""
        call = self._waiting_for(connection.origin)
        if call is not None:
            connection.carry(call)
            return
        connection.idle_since = self._loop.time()
        self._idle.setdefault(connection.origin, []).append(connection)

    def lost(self, connection: "_Connection") -> None:
        self._open.discard(connection)
        idle = self._idle.get(connection.origin)
        if idle and connection in idle:
            idle.remove(connection)
        self._next()

    def _next(self) -> None:
        """A place has become free: somebody who waits may open a connection of his own."""
        queue = self._urgent or self._waiting
        if queue and not self._closed and len(self._open) + len(self._connecting) <= self._limit:
            self._connect(queue.popleft())

    def _waiting_for(self, origin: "_Origin") -> "_Call | None":
        for queue in (self._urgent, self._waiting):
            if queue and queue[0].origin == origin:
                return queue.popleft()
        return None

    # --- time-outs: all are equally long, so the first to begin is the first to end

    def watch(self, call: "_Call") -> None:
        self._deadlines.append((self._loop.time() + self._pace.connect + self._pace.read, call))
        if self._watch is None:
            self._watch = self._loop.call_later(_LOOK_S, self._look)

    def _look(self) -> None:
        now = self._loop.time()
        while self._deadlines and (self._deadlines[0][0] <= now or self._deadlines[0][1].future.done()):
            _, call = self._deadlines.popleft()
            if not call.future.done() and call.connection is not None:
                call.connection.abort("TimeoutError")
        self._watch = self._loop.call_later(_LOOK_S, self._look) if self._deadlines else None


_Origin = tuple[bool, str, int]  # TLS, host, port


class _Call:
    """One request under way."""

    __slots__ = ("connection", "future", "gate", "head", "origin", "request")

    def __init__(self, request: WireRequest, gate: Gate | None, future: "asyncio.Future[WireReply]") -> None:
        self.request, self.gate, self.future = request, gate, future
        self.connection: _Connection | None = None
        self.origin: _Origin = (False, "", 0)
        self.head = b""

    def end(self, reply: WireReply) -> None:
        if not self.future.done():
            self.future.set_result(reply)


class _Connection(asyncio.Protocol):
    """One connection: carries one call after another, and knows when an answer is whole."""

    def __init__(self, pool: Transport, origin: _Origin) -> None:
        self._pool, self.origin = pool, origin
        self._transport: asyncio.Transport | None = None
        self._call: _Call | None = None
        self._why: str | None = None
        self.idle_since = 0.0
        self._fresh()

    def _fresh(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[str, str] = {}
        self._body = bytearray()
        self._measured = self._headed = False
        self._size = 0
        self._whole: WireReply | None = None
        self._keep = False

    @property
    def usable(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def carry(self, call: _Call) -> None:
        """Let the request leave, unless its gate says no."""
        refusal = call.gate() if call.gate is not None else None
        if refusal is not None:
            call.end(WireReply(None, request_started=False, error=refusal))
            asyncio.get_running_loop().call_soon(self._pool.released, self)  # not deeper and deeper, a queue long
            return
        if self._transport is None or self._transport.is_closing():
            call.end(WireReply(None, request_started=False, error="ConnectionLost"))
            return
        self._call, call.connection = call, self
        self._pool.watch(call)
        self._transport.write(call.head + call.request.body)
        failpoints.hit("F6")

    def abort(self, why: str) -> None:
        self._why = self._why or why
        if self._transport is not None:
            self._transport.abort()

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but name

    def data_received(self, data: bytes) -> None:
        if self._call is None:  # nobody asked: such a connection cannot be trusted with the next request
            self.abort("unexpected bytes")
            return
        self._size += len(data)
        if self._size > _LARGEST * 2:  # headers count too
            self.abort("the answer is too long")
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._keep = False
            if self._whole is None:
                self.abort(type(error).__name__)
        if self._whole is not None:
            self._finish(self._whole)

    def _finish(self, reply: WireReply) -> None:
        """Only once all that came with the answer has been read: more than was asked for must not meet the next
        request."""
        call, self._call = self._call, None
        keep = self._keep
        self._fresh()
        if call is not None:
            call.end(reply)
        if keep and self.usable:
            self._pool.released(self)
        else:
            self.abort("closed by the far end")

    def connection_lost(self, error: Exception | None) -> None:
        call, self._call = self._call, None
        if call is not None:
            if self._headed and not self._measured and self._why is None and error is None:
                call.end(self._reply())  # an answer without a length ends with its connection
            else:
                why = self._why or (type(error).__name__ if error else "ServerDisconnected")
                call.end(WireReply(None, request_started=True, error=why))
        self._pool.lost(self)

    # --- what httptools calls

    def on_message_begin(self) -> None:
        if self._whole is not None:
            self._keep = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._whole is not None:
            return
        key = name.decode("latin-1")
        self._headers[key] = value.decode("latin-1")
        if key.lower() in ("content-length", "transfer-encoding"):
            self._measured = True

    def on_headers_complete(self) -> None:
        if self._whole is not None:
            return
        self._headed = self._parser.get_status_code() >= 200

    def on_body(self, body: bytes) -> None:
        if self._whole is not None:
            return
        self._body += body
        if len(self._body) > _LARGEST:
            self.abort("the answer is too long")

    def on_message_complete(self) -> None:
        if self._whole is not None or self._why is not None:
            return
        if self._parser.get_status_code() < 200:  # "100 Continue": the answer is yet to come
            self._headers.clear()
            self._measured = False
            return
        self._whole, self._keep = self._reply(), self._parser.should_keep_alive()

    def _reply(self) -> WireReply:
        return WireReply(self._parser.get_status_code(), self._headers, bytes(self._body))


def _addressed(request: WireRequest) -> tuple[_Origin, bytes]:
    """Where the request goes, and everything of it before the body. Raises ValueError for what cannot be sent."""
    origin, target = _parts(request.url)
    _, host, port = origin
    lines = [f"{request.method} {target} HTTP/1.1", f"Host: {_host_header(origin, host, port)}"]
    lines += [f"{name}: {value}" for name, value in request.headers.items()]
    if any("\r" in line or "\n" in line or "\0" in line for line in lines):
        raise ValueError("a line break in a header")
    lines += [f"Content-Length: {len(request.body)}", "", ""]
    return origin, "\r\n".join(lines).encode("latin-1")


@lru_cache(maxsize=2048)
def _parts(url: str) -> tuple[_Origin, str]:
    split = urlsplit(url)
    if split.scheme not in ("http", "https") or not split.hostname:
        raise ValueError("not an http address")
    tls = split.scheme == "https"
    target = quote(split.path or "/", safe="/%:@!$&'()*+,;=~-._") + (f"?{split.query}" if split.query else "")
    return (tls, split.hostname, split.port or (443 if tls else 80)), target


def _host_header(origin: _Origin, host: str, port: int) -> str:
    name = f"[{host}]" if ":" in host else host
    return name if port == (443 if origin[0] else 80) else f"{name}:{port}"
