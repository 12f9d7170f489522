"""A real socket that behaves badly on request: the wire is all that is faked."""

import json
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import repeat
from typing import Any
from urllib.parse import parse_qs, urlsplit


@contextmanager
def far_end(answer: bytes | None, *, hang: bool = False) -> Iterator[tuple[str, list[bytes]]]:
    """``(base url, requests seen)`` of a server that answers each connection with these bytes and closes it."""
    with script(repeat(answer), hang=hang) as served:
        yield served


@contextmanager
def script(answers: Iterable[bytes | None], *, hang: bool = False) -> Iterator[tuple[str, list[bytes]]]:
    """As ``far_end``, with another answer for each connection."""
    remaining = iter(answers)
    seen: list[bytes] = []
    stop = threading.Event()
    server = socket.create_server(("127.0.0.1", 0))
    server.settimeout(0.1)

    def serve() -> None:
        while not stop.is_set():
            try:
                connection, _ = server.accept()
            except TimeoutError:
                continue
            with connection:
                if stop.is_set():
                    return
                connection.settimeout(2)
                seen.append(_read_request(connection))
                if hang:
                    stop.wait(5)
                elif answer := next(remaining, None):
                    with suppress(ConnectionError):  # who asked may hang up early
                        connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.getsockname()[1]}", seen
    finally:
        stop.set()
        with suppress(OSError):  # wake the one who waits for a caller
            socket.create_connection(server.getsockname(), timeout=1).close()
        thread.join()
        server.close()


def closed_port() -> str:
    """The base url of a port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


def http(status: int, body: bytes, *headers: str, length: int | None = None) -> bytes:
    """An HTTP answer; ``length`` may promise more than there is."""
    lines = [f"HTTP/1.1 {status} X", "Content-Type: application/json", f"Content-Length: {length or len(body)}"]
    return "\r\n".join([*lines, *headers, "Connection: close", "", ""]).encode() + body


def ok(data: Any, status: int = 200) -> bytes:
    """An answer in JSON."""
    return http(status, json.dumps(data).encode())


def asked(raw: bytes) -> tuple[str, str, dict[str, list[str]], Any]:
    """Method, path and query, JSON body of a request the far end saw."""
    head, _, body = raw.partition(b"\r\n\r\n")
    method, target, _ = head.split(b"\r\n")[0].decode().split(" ")
    parts = urlsplit(target)
    return method, parts.path, parse_qs(parts.query), json.loads(body) if body.startswith(b"{") else body


def _read_request(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65_536)
        if not piece:
            return data
        data += piece
        if data.startswith(b"\x16"):  # a TLS client speaks first
            return data
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    wanted = int(lengths[0].split(b":")[1]) if lengths else 0
    while len(body) < wanted:
        body += connection.recv(65_536)
    return head + b"\r\n\r\n" + body
