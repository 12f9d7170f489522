"""What the transport knows of a request: whether it left, and whether the whole answer came."""

import asyncio
import socket

import pytest

from wa_dashboard.domain.pace import Pace
from wa_dashboard.providers.base import WireRequest
from wa_dashboard.services.transport import Transport

PACE = Pace(connect=0.5, read=0.5)
ANSWER = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n{"id":"abc"}'


def send(*pieces: bytes, hang: bool = False, times: int = 1):
    """Send to a real socket that answers with these pieces, one after another, and then closes (or hangs)."""

    open_ones = []

    async def answer(reader, writer):
        open_ones.append(writer)
        await reader.readuntil(b"\r\n\r\n")
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0.02)
        if not hang:
            writer.close()

    async def run():
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with Transport(PACE, 2) as transport:
            request = WireRequest("POST", f"http://127.0.0.1:{port}/", {"X": "y"}, b"{}")
            replies = [await transport.send(request) for _ in range(times)]
        for writer in open_ones:
            writer.transport.abort()
        server.close()
        await asyncio.sleep(0.05)
        return replies

    return asyncio.run(run())


def test_answer_in_many_pieces_is_read_whole():
    (reply,) = send(ANSWER[:20], ANSWER[20:70], ANSWER[70:75], ANSWER[75:])

    assert (reply.status, reply.body, reply.request_started) == (200, b'{"id":"abc"}', True)


@pytest.mark.parametrize("pieces", [(), (ANSWER[:30],), (ANSWER[:-4],)])
def test_cut_answer_is_no_answer_and_the_request_had_left(pieces):
    (reply,) = send(*pieces)

    assert (reply.status, reply.request_started) == (None, True)


def test_hanging_far_end_is_no_answer_and_the_request_had_left():
    (reply,) = send(hang=True)

    assert (reply.status, reply.request_started) == (None, True)


def test_oversized_answer_is_not_read_to_its_end():
    huge = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1_000_000
    (reply,) = send(huge)

    assert (reply.status, reply.error) == (None, "the answer is too long")


def test_refused_connection_never_left():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    async def run():
        async with Transport(PACE, 2) as transport:
            return await transport.send(WireRequest("POST", f"http://127.0.0.1:{port}/", {}, b"{}"))

    reply = asyncio.run(run())
    assert (reply.status, reply.request_started) == (None, False)


def test_unknown_host_and_plain_port_under_tls_never_left():
    async def run():
        server = await asyncio.start_server(lambda _, writer: writer.transport.abort(), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with Transport(PACE, 2) as transport:
            unknown = await transport.send(WireRequest("POST", "http://no-such-host.invalid/", {}, b"{}"))
            tls = await transport.send(WireRequest("POST", f"https://127.0.0.1:{port}/", {}, b"{}"))
        server.close()
        await asyncio.sleep(0.05)
        return unknown, tls

    unknown, tls = asyncio.run(run())
    assert (unknown.status, unknown.request_started) == (None, False)
    assert (tls.status, tls.request_started) == (None, False)


def test_redirects_are_not_followed():
    (reply,) = send(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")

    assert reply.status == 302
