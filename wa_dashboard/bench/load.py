"""A load loop of our own: keep-alive sockets to a server on this machine, each with one request under way."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

CONNECTIONS = 16
_LOOPBACK = "127.0.0.1"
_PATIENCE_S = 60.0


@dataclass(frozen=True)
class Burst:
    """What a burst came to. ``seconds`` of wall clock; ``waits`` of each request in seconds, sorted."""

    seconds: float
    statuses: dict[int, int]
    waits: list[float]

    @property
    def per_second(self) -> float:
        return sum(self.statuses.values()) / self.seconds

    def percentile(self, share: float) -> float:
        """The wait in milliseconds that this share (0 to 1) of the requests did not exceed."""
        return self.waits[min(len(self.waits) - 1, int(share * len(self.waits)))] * 1000


def request(method: str, path: str, headers: dict[str, str], body: bytes = b"") -> bytes:
    """The bytes of one HTTP/1.1 request."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {_LOOPBACK}", *(f"{name}: {said}" for name, said in headers.items())]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def fire(port: int, requests: Sequence[bytes], connections: int = CONNECTIONS) -> Burst:
    """Send every request once to the loopback ``port``, over so many sockets. Raises OSError, TimeoutError."""
    return asyncio.run(asyncio.wait_for(_fire(port, requests, connections), _PATIENCE_S))


async def _fire(port: int, requests: Sequence[bytes], connections: int) -> Burst:
    loop = asyncio.get_running_loop()
    source = iter(requests)
    sockets = []
    for _ in range(min(connections, len(requests))):
        _, protocol = await loop.create_connection(lambda: _Socket(source, loop), _LOOPBACK, port)
        sockets.append(protocol)
    began = time.perf_counter()
    for one in sockets:
        one.send_next()
    await asyncio.gather(*(one.done for one in sockets))
    seconds = time.perf_counter() - began
    statuses: dict[int, int] = {}
    for one in sockets:
        for status in one.statuses:
            statuses[status] = statuses.get(status, 0) + 1
        one.transport.close()
    return Burst(seconds, statuses, sorted(wait for one in sockets for wait in one.waits))


class _Socket(asyncio.Protocol):
    """One connection: a request goes out when the answer before it is complete."""

    transport: asyncio.Transport

    def __init__(self, source: Iterator[bytes], loop: asyncio.AbstractEventLoop) -> None:
        self._source = source
        self._buffer = b""
        self._sent_at = 0.0
        self.done: asyncio.Future[None] = loop.create_future()
        self.statuses: list[int] = []
        self.waits: list[float] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def send_next(self) -> None:
        following = next(self._source, None)
        if following is None:
            if not self.done.done():
                self.done.set_result(None)
            return
        self._sent_at = time.perf_counter()
        self.transport.write(following)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head_end = self._buffer.find(b"\r\n\r\n")
        if head_end < 0:
            return
        head = self._buffer[:head_end].lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(self._buffer) < head_end + 4 + length:
            return
        self.statuses.append(int(head[9:12]))
        self.waits.append(time.perf_counter() - self._sent_at)
        self._buffer = b""
        self.send_next()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(error or ConnectionResetError("the server closed the connection"))
