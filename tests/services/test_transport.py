"""What the transport knows of a request: whether it left, and whether the whole answer came."""

import asyncio
import contextlib
import itertools
import socket
import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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


# --- whatever the far end says ----------------------------------------------------------------------------------

BODY = b'{"id":"abc"}'
LAST_CHUNK = b"\r\n0\r\nTrailer: 1\r\n\r\n"
VALID = [
    ANSWER,
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n" + BODY[:5] + b"\r\n7;x=y\r\n" + BODY[5:] + LAST_CHUNK,
    b"HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\n" + ANSWER,
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + ANSWER,
    ANSWER.replace(b"\r\nContent-Length", b"\r\nX-Filler: " + b"f" * 30_000 + b"\r\nContent-Length"),
]
UNMEASURED = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + BODY


class Wire:
    """A far end that plays one list of pieces for each request, on any connection, and counts connections.

    ``b""`` closes the connection; an int resets it.
    """

    def __init__(self, *scripts):
        self.scripts, self.connections, self.requests = list(scripts), 0, 0
        self._writers = []

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.request = WireRequest("POST", f"http://127.0.0.1:{port}/", {"X": "y"}, b"{}")
        return self

    async def __aexit__(self, *_):
        for writer in self._writers:
            writer.transport.abort()
        self._server.close()
        await asyncio.sleep(0.02)

    async def _talk(self, reader, writer):
        self.connections += 1
        self._writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(2)
                self.requests += 1
                for piece in self.scripts.pop(0) if self.scripts else [ANSWER]:
                    if piece == b"":
                        writer.close()
                        return
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0.001)


def talk(*scripts, times=None, pace=PACE, pause=0.0):
    """The replies to one request after another over one kept connection, and the wire."""

    async def run():
        async with Wire(*scripts) as wire, Transport(pace, 1) as transport:
            replies = []
            for _ in range(times or len(scripts)):
                replies.append(await transport.send(wire.request))
                await asyncio.sleep(pause)
        return replies, wire

    return asyncio.run(run())


def cut(data, places):
    edges = [0, *sorted({place % len(data) for place in places} - {0}), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(VALID), st.lists(st.integers(1, 31_000), max_size=6))
def test_an_answer_is_the_same_however_it_is_split(answer, places):
    (reply, again), wire = talk(cut(answer, places), [ANSWER])

    assert (reply.status, reply.body, reply.error) == (200, BODY, None)
    assert (again.status, again.body) == (200, BODY)
    assert wire.connections == 1  # kept alive


@pytest.mark.parametrize("answer", VALID[:4], ids=["measured", "chunked", "after 100", "after 100 and 102"])
def test_an_answer_cut_at_any_byte_is_no_answer(answer):
    async def run():
        for place in range(0, len(answer), 1 if len(answer) < 110 else 3):
            async with Wire([answer[:place], b""]) as wire, Transport(PACE, 1) as transport:
                reply = await transport.send(wire.request)
            assert (reply.status, reply.request_started) == (None, True), answer[:place]

    asyncio.run(run())


def test_answer_without_a_length_ends_with_its_connection_and_not_with_its_reset():
    (reply, again), wire = talk([UNMEASURED, b""], [ANSWER])

    assert (reply.status, reply.body, again.status, wire.connections) == (200, BODY, 200, 2)


GARBAGE = st.one_of(
    st.binary(min_size=1, max_size=200),
    st.builds(
        lambda answer, place, junk: answer[: place % len(answer)] + junk + answer[place % len(answer) :],
        st.sampled_from(VALID[:4]),
        st.integers(0, 400),
        st.binary(min_size=1, max_size=8),
    ),
)


SHORT = Pace(connect=1.0, read=0.0)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(GARBAGE)
def test_garbage_never_raises_and_never_stays_on_a_connection(junk):
    (reply, again), wire = talk([junk, b""], [ANSWER], pace=SHORT, pause=0.03)

    assert reply.request_started
    assert reply.status is None or 200 <= reply.status < 1000
    if reply.status is not None:
        assert reply.error is None
    assert (again.status, again.body) == (200, BODY)  # the next request is not answered with what was left over
    assert wire.connections >= 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nContent-Length: 3\r\n\r\n" + BODY,
        b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nTransfer-Encoding: chunked\r\n\r\n" + BODY,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFFF\r\n",
        b"SMTP ready\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n" + ANSWER,
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
    ],
)
def test_answer_against_the_rules_is_no_answer(answer):
    (reply,), _ = talk([answer, b""])

    assert (reply.status, reply.request_started) == (None, True)


def test_headers_without_end_are_not_read_for_ever():
    endless = [b"HTTP/1.1 200 OK\r\n"] + [b"X-More: " + b"m" * 60_000 + b"\r\n"] * 20

    (reply,), _ = talk([*endless, b"\r\n", b""])

    assert (reply.status, reply.request_started) == (None, True)


def test_far_end_that_never_stops_continuing_is_given_up():
    (reply,), _ = talk([b"HTTP/1.1 100 Continue\r\n\r\n"] * 50)

    assert (reply.status, reply.request_started) == (None, True)


# --- connections that must not be used again --------------------------------------------------------------------


def test_second_answer_to_one_request_is_not_taken_for_the_next_ones():
    other = ANSWER.replace(b"abc", b"xyz")
    for together in (True, False):
        script = [ANSWER + other] if together else [ANSWER, other]
        (reply, again), wire = talk(script, [ANSWER], pause=0.05)

        assert (reply.status, reply.body) == (200, BODY)
        assert (again.status, again.body) == (200, BODY)
        assert wire.connections == 2


def test_second_answer_is_not_given_to_a_call_that_waits_for_the_connection():
    async def run():
        async with Wire([ANSWER + ANSWER.replace(b"abc", b"xyz")], [ANSWER]) as wire, Transport(PACE, 1) as transport:
            return await asyncio.gather(transport.send(wire.request), transport.send(wire.request)), wire

    replies, wire = asyncio.run(run())
    assert [reply.body for reply in replies] == [BODY, BODY]
    assert (wire.connections, wire.requests) == (2, 2)


def test_bytes_that_nobody_asked_for_end_the_connection():
    async def run():
        greeted = []

        async def greet(reader, writer):
            greeted.append(writer)
            if len(greeted) == 1:
                writer.write(ANSWER.replace(b"abc", b"old"))
                await writer.drain()
            await reader.readuntil(b"\r\n\r\n")
            writer.write(ANSWER)

        server = await asyncio.start_server(greet, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with Transport(PACE, 1) as transport:
            request = WireRequest("POST", f"http://127.0.0.1:{port}/", {}, b"{}")
            refused = await transport.start(request, lambda: "not now")
            await asyncio.sleep(0.1)
            reply = await transport.send(request)
        server.close()
        for writer in greeted:
            writer.transport.abort()
        await asyncio.sleep(0.02)
        return refused, reply, len(greeted)

    refused, reply, connections = asyncio.run(run())
    assert (refused.status, refused.request_started, refused.error) == (None, False, "not now")
    assert (reply.body, connections) == (BODY, 2)


@pytest.mark.parametrize("doubt", ["cut", "slow", "closing"])
def test_after_a_doubt_the_connection_is_not_used_again(doubt):
    scripts = {
        "cut": [ANSWER[:40], b""],
        "slow": [ANSWER[:40]],
        "closing": [ANSWER.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)],
    }
    (reply, again), wire = talk(scripts[doubt], [ANSWER])

    assert reply.status == (200 if doubt == "closing" else None)
    assert (again.status, wire.connections) == (200, 2)


def test_many_wait_for_few_connections_and_the_urgent_go_first():
    async def run():
        async with Wire() as wire, Transport(PACE, 2) as transport:
            order = []
            calls = []
            for number in range(20):
                name = ("urgent" if number >= 18 else "plain", number)
                call = transport.start(wire.request, lambda name=name: order.append(name), urgent=number >= 18)
                calls.append(call)
            replies = await asyncio.gather(*calls)
        return order, replies, wire

    order, replies, wire = asyncio.run(run())
    assert [reply.status for reply in replies] == [200] * 20
    assert [name for name, _ in order[2:4]] == ["urgent", "urgent"]
    assert wire.connections == 2


def test_closing_answers_everything_that_is_open():
    async def run():
        async with Wire([], []) as wire:
            transport = Transport(PACE, 1)
            calls = [transport.start(wire.request) for _ in range(3)]
            while not wire.requests:
                await asyncio.sleep(0.01)
            transport.close()
            return await asyncio.wait_for(asyncio.gather(*calls), 1)

    under_way, *waiting = asyncio.run(run())
    assert (under_way.status, under_way.request_started) == (None, True)
    assert [(reply.status, reply.request_started) for reply in waiting] == [(None, False)] * 2


def test_closing_answers_those_who_wait_for_a_connection_to_open():
    async def run():
        transport = Transport(PACE, 1)
        calls = [transport.start(WireRequest("POST", "http://127.0.0.1:9/", {}, b"{}")) for _ in range(2)]
        transport.close()
        return await asyncio.wait_for(asyncio.gather(*calls), 2)

    assert [(reply.status, reply.request_started) for reply in asyncio.run(run())] == [(None, False)] * 2


# --- TLS --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def self_made(tmp_path_factory):
    """A certificate for 127.0.0.1 that nobody has signed but itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(1), now + timedelta(1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    plain = serialization.NoEncryption()
    form = serialization.PrivateFormat.TraditionalOpenSSL
    path.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, form, plain)
    )
    return path


@pytest.mark.parametrize("trusted", [False, True])
def test_certificate_that_is_not_trusted_means_that_nothing_left(self_made, trusted, monkeypatch):
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(self_made))

    async def run():
        heard = []

        async def answer(reader, writer):
            heard.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(ANSWER)

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self_made)
        server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        async with Transport(Pace(connect=3, read=3), 1) as transport:
            reply = await transport.send(WireRequest("POST", f"https://127.0.0.1:{port}/", {}, b"{}"))
        server.close()
        await asyncio.sleep(0.1)
        return reply, heard

    reply, heard = asyncio.run(run())
    assert (reply.status, reply.request_started, len(heard)) == ((200, True, 1) if trusted else (None, False, 0))
