"""The far end of delivery benchmarks: answers sends as Meta does, after a set time, and remembers every one.

A process of its own, loopback only. It is as quick as Python allows, so that what is measured is the sender:
`Provider` reads with httptools, writes one answer, and waits on one timer for all of them (one set latency means
answers fall due in the order they were asked).
"""

import asyncio
import json
import re
import subprocess
import time
import urllib.request
from collections import Counter, deque
from typing import Any, cast

import httptools

_CORRELATION = re.compile(rb'"biz_opaque_callback_data":\s*"([^"]{1,512})"')
_TICK_S = 0.001


class Memory:
    """What has arrived since the last reset, and how long an answer takes."""

    def __init__(self) -> None:
        self.latency = 0.0
        self.arrivals: list[tuple[str, float]] = []
        self.answers = 0
        self._due: deque[tuple[float, asyncio.Transport, bytes]] = deque()
        self._waiting = False

    def accept(self, correlation: str, transport: asyncio.Transport) -> None:
        """Remember one send and answer it when its time has come."""
        self.arrivals.append((correlation, time.time()))
        self.answers += 1
        answer = _answer(
            b'{"messaging_product":"whatsapp","contacts":[{"input":"+40700000000","wa_id":"40700000000"}],'
            b'"messages":[{"id":"wamid.BENCH%012d%015d","message_status":"accepted"}]}'
            % (self.answers, time.time_ns() // 10_000)
        )
        if not self.latency:
            transport.write(answer)
            return
        loop = asyncio.get_running_loop()
        self._due.append((loop.time() + self.latency, transport, answer))
        if not self._waiting:
            self._waiting = True
            loop.call_later(self.latency, self._turn)

    def _turn(self) -> None:
        """Answer all that is due; look again when the next one is."""
        loop = asyncio.get_running_loop()
        now = loop.time() + _TICK_S / 2
        while self._due and self._due[0][0] <= now:
            _, transport, answer = self._due.popleft()
            if not transport.is_closing():
                transport.write(answer)
        self._waiting = bool(self._due)
        if self._due:
            loop.call_later(max(self._due[0][0] - loop.time(), _TICK_S), self._turn)

    def reset(self, latency_ms: float) -> None:
        self.latency = latency_ms / 1000
        self.arrivals = []


class Provider(asyncio.Protocol):
    """One kept-alive connection."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._body: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.close()

    def on_message_begin(self) -> None:
        self._body.clear()

    def on_url(self, url: bytes) -> None:
        self._url = url

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        if self._url.startswith(b"/_bench/"):
            self._transport.write(_answer(json.dumps(_control(self._memory, self._url.decode())).encode()))
            return
        found = _CORRELATION.search(b"".join(self._body))
        if self._parser.get_method() != b"POST" or found is None:
            self._transport.write(_answer(b'{"error":{"message":"not a send","code":100}}', b"400 Bad Request"))
            return
        self._memory.accept(found[1].decode(), self._transport)


def _answer(body: bytes, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)


def _control(memory: Memory, url: str) -> Any:
    path, _, query = url.partition("?")
    if path == "/_bench/reset":
        memory.reset(float(query.partition("=")[2] or 0))
    if path == "/_bench/arrivals":
        return memory.arrivals[int(query.partition("=")[2] or 0) :]
    return {"sends": len(memory.arrivals)}


def serve(port: int) -> dict[str, Any]:
    """Answer on 127.0.0.1:``port`` until the parent ends."""

    async def run() -> None:
        memory = Memory()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Provider(memory), "127.0.0.1", port, backlog=4096)
        await server.serve_forever()

    with asyncio.Runner(loop_factory=quick_loop) as runner:
        runner.run(run())
    return {}


def quick_loop() -> asyncio.AbstractEventLoop:
    """uvloop where its wheel exists."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


class FarEnd:
    """The running far end, seen from the bench."""

    def __init__(self, port: int, process: subprocess.Popen[bytes]) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.port = port
        self.process = process

    def reset(self, latency_ms: float) -> None:
        """Forget everything; answer after ``latency_ms`` from now on."""
        self._ask(f"/_bench/reset?latency_ms={latency_ms}")

    def sends(self) -> int:
        return int(self._ask("/_bench/state")["sends"])

    def arrivals(self, after: int = 0) -> list[tuple[str, float]]:
        """(correlation id, time.time()) of every send since the reset, in order, without the first ``after``."""
        return [(name, at) for name, at in self._ask(f"/_bench/arrivals?after={after}")]

    def _ask(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:  # noqa: S310 - our own loopback
            return json.load(answer)


def tally(arrivals: list[tuple[str, float]], latency: float = 0.0) -> dict[str, Any]:
    """Rate from the first arrival to the last answer (``latency`` seconds after its arrival), and how many messages
    (attempts aside) came more than once."""
    times = [at for _, at in arrivals]
    seconds = max(times) - min(times) + latency if len(times) > 1 else 0.0
    each = Counter(name.rpartition(".")[0] or name for name, _ in arrivals)
    return {
        "arrived": len(arrivals),
        "different": len(each),
        "twice": sum(1 for count in each.values() if count > 1),
        "seconds": round(seconds, 4),
        "rate": round((len(times) - (0 if latency else 1)) / seconds, 1) if seconds else 0.0,
    }
