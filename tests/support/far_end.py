"""A far end for the engine: speaks Meta's answers on a real socket, in a thread, and remembers every request."""

import asyncio
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_NUMBER = re.compile(rb"^POST /[^ ]*?/(\w+)/messages ")
_LENGTH = re.compile(rb"[Cc]ontent-[Ll]ength: (\d+)")


@dataclass(frozen=True)
class Arrival:
    """One request. ``number``: the sender's phone number id; ``at``: time.monotonic()."""

    number: str
    correlation_id: str
    to: str
    at: float

    @property
    def message_id(self) -> str:
        return self.correlation_id.rpartition(".")[0]


class FarEnd:
    """Answers every send after ``latency`` seconds, or ``hang[number]`` for one sender. ``heard`` is called at each
    arrival, in the far end's own thread."""

    def __init__(self) -> None:
        self.arrivals: list[Arrival] = []
        self.answered: list[tuple[str, float]] = []
        self.latency = 0.0
        self.hang: dict[str, float] = {}
        self.heard: Callable[[Arrival], object] = lambda _: None
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()

    def of(self, number: str) -> list[Arrival]:
        return [arrival for arrival in self.arrivals if arrival.number == number]

    def message_ids(self) -> list[str]:
        return [arrival.message_id for arrival in self.arrivals]

    def most_within(self, seconds: float, number: str | None = None) -> int:
        """The most requests in any window of this length, wherever it begins."""
        times = sorted(arrival.at for arrival in self.arrivals if number in (None, arrival.number))
        most, first = 0, 0
        for last, at in enumerate(times):
            while at - times[first] >= seconds:
                first += 1
            most = max(most, last - first + 1)
        return most

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = _LENGTH.search(head)
                arrival = self._note(head, await reader.readexactly(int(length[1])) if length else b"")
                if wait := self.hang.get(arrival.number, self.latency):
                    await asyncio.sleep(wait)
                self.answered.append((arrival.number, time.monotonic()))
                answer = json.dumps({"messages": [{"id": f"wamid.{arrival.correlation_id}"}]}).encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(answer), answer))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def _note(self, head: bytes, body: bytes) -> Arrival:
        number = _NUMBER.search(head)
        said = json.loads(body)
        arrival = Arrival(
            number[1].decode() if number else "", said["biz_opaque_callback_data"], said["to"], time.monotonic()
        )
        self.arrivals.append(arrival)
        self.heard(arrival)
        return arrival

    async def _serve(self, ready: threading.Event) -> None:
        server = await asyncio.start_server(self._talk, "127.0.0.1", 0, backlog=1024)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        ready.set()
        await self._stop.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    def run(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve(ready))
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)


@contextmanager
def running() -> Iterator[FarEnd]:
    """A far end for the length of the block."""
    made, ready = FarEnd(), threading.Event()
    thread = threading.Thread(target=made.run, args=(ready,), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield made
    finally:
        made.stop()
        thread.join(10)
