"""What the far end can take: our own bare loop, as many connections, the product's own request bytes, no database."""

import asyncio
import itertools
import resource
import time
from typing import Any, cast

import httptools

from ..providers.base import OutboundTemplate, WireRequest, provider_named
from .far_end import quick_loop

_NAME = "msg_00000000000000000000000000.1"


def sample_request(base_url: str) -> WireRequest:
    """A send as the product writes it, whose correlation id is `_NAME`."""
    import random

    kind = provider_named("meta_cloud")
    provider = kind(kind.random_test_credentials(random.Random(1)), {"api": base_url})
    return provider.build_send(
        OutboundTemplate(
            correlation_id=_NAME,
            to="+40722123456",
            template_name="promo",
            language="ro",
            parameters={"first_name": "Ana", "order_id": "A-1", "event_name": "Hamlet"},
            body_variables=("first_name", "order_id", "event_name"),
        )
    )


def request_bytes(request: WireRequest, host: str) -> tuple[bytes, bytes]:
    """The request on the wire, before and after its correlation id (which has a fixed length)."""
    path = request.url.partition(host)[2]
    headers = {"Host": host, **request.headers, "Content-Length": str(len(request.body))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    whole = f"{request.method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + request.body
    before, _, after = whole.partition(_NAME.encode())
    return before, after


class _Sender(asyncio.Protocol):
    """One connection that sends the next request as soon as the last one is answered."""

    def __init__(self, run: "_Run") -> None:
        self._run = run
        self._parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self._send()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        self._run.answered()
        self._send()

    def _send(self) -> None:
        request = self._run.next_request()
        if request is None:
            self._transport.close()
        else:
            self._transport.write(request)


class _Run:
    def __init__(self, before: bytes, after: bytes, count: int) -> None:
        self._before, self._after, self._count = before, after, count
        self._numbers = itertools.count()
        self._left = count
        self.done = asyncio.Event()

    def next_request(self) -> bytes | None:
        number = next(self._numbers)
        if number >= self._count:
            return None
        return b"%bmsg_%026d.1%b" % (self._before, number, self._after)

    def answered(self) -> None:
        self._left -= 1
        if not self._left:
            self.done.set()


def measure(port: int, connections: int, count: int, seconds: float = 60.0) -> dict[str, Any]:
    """Send ``count`` requests over ``connections``; its own wall and CPU seconds. Raises TimeoutError."""

    async def run() -> None:
        request = sample_request(f"http://127.0.0.1:{port}")
        load = _Run(*request_bytes(request, f"127.0.0.1:{port}"), count)
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(seconds):
            for start in range(0, connections, 200):  # no more at once than a listener keeps waiting
                some = range(start, min(start + 200, connections))
                await asyncio.gather(*(loop.create_connection(lambda: _Sender(load), "127.0.0.1", port) for _ in some))
            await load.done.wait()

    began, cpu = time.monotonic(), time.process_time()
    with asyncio.Runner(loop_factory=quick_loop) as runner:
        runner.run(run())
    return {"wall": time.monotonic() - began, "cpu": time.process_time() - cpu, "most_mb": _most_mb()}


def _most_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
