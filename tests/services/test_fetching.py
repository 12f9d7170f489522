"""S16: an address that a stranger names never opens a machine that is not public; and a good one works."""

import socket
import time

import pytest

from tests.support.files import JPEG, MP4, PDF, PNG, FileServer
from wa_dashboard.domain.links import is_public
from wa_dashboard.services import fetching
from wa_dashboard.services.fetching import CannotFetch, fetch

# Every spelling of "somewhere inside" that has opened a door elsewhere.
_HOSTS = """
127.0.0.1 127.1 127.0.1 2130706433 0x7f000001 0x7f.0.0.1 0x7f.1 0177.0.0.1 017700000001 0 0.0.0.0 00.0.0.0
127.0.0.1.. 127.000.000.001 127.0.0.1%00 169.254.169.254 2852039166 0xa9fea9fe 0251.0376.0251.0376 10.0.0.1
10.1 172.16.0.1 192.168.0.1 192.168.1 100.64.0.1 198.18.0.1 224.0.0.1 240.0.0.1 255.255.255.255 8.8.8.8 134744072
[::1] [::] [::127.0.0.1] [::ffff:127.0.0.1] [::ffff:7f00:1] [::ffff:169.254.169.254] [0:0:0:0:0:ffff:a00:1]
[fe80::1] [fe80::1%25lo] [fc00::1] [fd00:ec2::254] [ff02::1] [64:ff9b::7f00:1] [64:ff9b:1::1] [2002:7f00:1::]
[2001:0:7f00:1::] [2001:db8::1] [::ffff:0:127.0.0.1] [fec0::1] localhost LOCALHOST localhost. ip6-localhost
intranet ①②⑦.⓪.⓪.① 127。0。0。1 user@127.0.0.1 127.0.0.1:443 tickets.example@127.0.0.1 -.example ..example
""".split()
_NAMES = {
    "loopback.example": ["127.0.0.1"],
    "mapped.example": ["::ffff:127.0.0.1"],
    "metadata.example": ["169.254.169.254"],
    "one-of-two.example": ["93.184.215.14", "127.0.0.1"],
    "six.example": ["::1"],
    "zone.example": ["fe80::1%lo"],
    "nat64.example": ["64:ff9b::7f00:1"],
    "teredo.example": ["2001:0:7f00:1::"],
    "six-to-four.example": ["2002:7f00:1::1"],
    "multicast.example": ["224.0.1.1"],
    "shared.example": ["100.64.0.1"],
    "nowhere.example": [],
    "nonsense.example": ["not-an-address"],
    "localhost": ["127.0.0.1"],
    "ip6-localhost": ["::1"],
    "localtest.me": ["127.0.0.1"],
    "127.0.0.1.nip.io": ["127.0.0.1"],
}
_SCHEMES = [
    "http://tickets.example/a.pdf", "ftp://tickets.example/a.pdf", "file:///etc/passwd", "gopher://127.0.0.1:70/",
    "https:/127.0.0.1/", "https:127.0.0.1", "//127.0.0.1/", "https://tickets.example:8443/a.pdf",
    "https://tickets.example:80/", "https://tickets.example:99999/", "https://user:secret@tickets.example/",
    "https://tickets.example\\@127.0.0.1/", "https://tickets.example /", "https://tick\tets.example/",
    "https://tickets.example\r\nHost: x/", "https://", "https:///a", "", "https://[::1", "https://a" + "b" * 3000,
]  # fmt: skip
ATTACKS = [f"https://{host}/a.pdf" for host in _HOSTS] + [f"https://{name}/a.pdf" for name in _NAMES] + _SCHEMES


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Every address this process tries to connect to."""
    seen: list[tuple[str, int]] = []
    real = socket.socket.connect

    def connect(self: socket.socket, address: tuple[str, int]) -> None:
        seen.append(address)
        return real(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)
    return seen


def by_name(host: str, port: int) -> list[str]:
    """A resolver that knows the attacker's zone, and reads numbers as generously as the C library does."""
    if host in _NAMES:
        return _NAMES[host]
    try:
        return [socket.inet_ntoa(socket.inet_aton(host))]
    except OSError:
        return []


def test_no_attack_reaches_a_machine_inside(files: FileServer, opened: list[tuple[str, int]]) -> None:
    with socket.create_connection(("127.0.0.1", files.port)):
        assert opened, "the counter counts"
    opened.clear()
    before = files.connections

    refused = 0
    for url in ATTACKS:
        with pytest.raises(CannotFetch):
            fetch(url, "document", resolve=by_name)
        refused += 1

    assert len(set(ATTACKS)) >= 60
    assert (refused, opened, files.connections - before) == (len(ATTACKS), [], 0)


@pytest.mark.parametrize("named", [{}, {"tickets.example": 8443}])
def test_an_operator_who_names_a_host_opens_no_other(named: dict[str, int], opened: list[tuple[str, int]]) -> None:
    for url in ATTACKS:
        if "8443" not in url:
            with pytest.raises(CannotFetch):
                fetch(url, "document", resolve=by_name, allowed=named)

    assert opened == []


def test_metadata_is_closed_even_to_a_named_host(opened: list[tuple[str, int]]) -> None:
    for address in ("169.254.169.254", "fe80::1", "0.0.0.0", "::ffff:169.254.169.254", "224.0.0.1"):
        with pytest.raises(CannotFetch) as refusal:
            fetch("https://files.lan/a", "image", allowed={"files.lan": 443}, resolve=lambda *_, it=address: [it])
        assert refusal.value.code == "media_address_refused"

    assert opened == []


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "1.1.1.1"])
def test_the_whole_internet_is_public(address: str) -> None:
    assert is_public(address)


def test_a_name_that_changes_its_meaning_is_asked_once(files: FileServer, opened: list[tuple[str, int]]) -> None:
    answers = iter([["127.0.0.1"], ["10.0.0.1"]])
    url = files.put("/a.pdf", PDF).replace("localhost", "tickets.example")

    found = fetch(url, "document", allowed={"tickets.example": files.port}, resolve=lambda *_: next(answers))

    assert found.content == PDF
    assert opened == [("127.0.0.1", files.port)]
    assert next(answers) == ["10.0.0.1"], "the second answer was never asked for"
    assert files.requests == [("/a.pdf", f"tickets.example:{files.port}")]


def get(files: FileServer, path: str, kind: str = "document") -> fetching.Fetched:
    return fetch(files.url(path), kind, allowed={"localhost": files.port})


@pytest.mark.parametrize(
    ("kind", "content", "mime"),
    [("document", PDF, "application/pdf"), ("image", PNG, "image/png"), ("image", JPEG, "image/jpeg"),
     ("video", MP4, "video/mp4")],
)  # fmt: skip
def test_a_file_is_what_its_bytes_say(files: FileServer, kind: str, content: bytes, mime: str) -> None:
    files.put("/x.html", content, "text/html")

    found = get(files, "/x.html", kind)

    assert (found.content, found.mime_type) == (content, mime)


def test_a_page_that_calls_itself_a_pdf_is_none(files: FileServer) -> None:
    files.put("/t.pdf", b"<html>please sign in</html>", "application/pdf")

    with pytest.raises(CannotFetch) as refusal:
        get(files, "/t.pdf")

    assert (refusal.value.code, refusal.value.final) == ("media_wrong_type", True)


def test_a_picture_is_no_document(files: FileServer) -> None:
    files.put("/t.png", PNG)

    with pytest.raises(CannotFetch) as refusal:
        get(files, "/t.png")

    assert refusal.value.code == "media_wrong_type"


def test_a_stranger_s_certificate_is_refused(files: FileServer) -> None:
    files.put("/t.pdf", PDF)

    with pytest.raises(CannotFetch) as refusal:
        fetch(files.url("/t.pdf", "stranger.example"), "document", allowed={"stranger.example": files.port},
              resolve=lambda *_: ["127.0.0.1"])  # fmt: skip

    assert refusal.value.code == "media_certificate"
    assert files.requests == []


def test_a_redirect_is_not_followed(files: FileServer) -> None:
    files.put("/real.pdf", PDF)
    there = files.url("/real.pdf").encode()
    files.answers["/r"] = b"HTTP/1.1 302 Found\r\nLocation: " + there + b"\r\nContent-Length: 0\r\n\r\n"

    with pytest.raises(CannotFetch) as refusal:
        get(files, "/r")

    assert refusal.value.code == "media_redirect"
    assert files.count("/real.pdf") == 0


def test_a_promise_of_too_much_is_enough(files: FileServer) -> None:
    files.answers["/big"] = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n%PDF-"

    with pytest.raises(CannotFetch) as refusal:
        get(files, "/big")

    assert (refusal.value.code, refusal.value.final) == ("media_too_large", True)


def test_more_than_was_promised_is_cut(files: FileServer) -> None:
    files.answers["/more"] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" + PDF

    assert get(files, "/more").content == PDF[:5]


def test_a_stream_without_a_length_ends_at_the_limit(files: FileServer) -> None:
    sent = [0]

    def pour(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n\x89PNG\r\n\x1a\n")
        while sent[0] < 64 * fetching.MEBIBYTE:
            connection.sendall(b"\x00" * 65_536)
            sent[0] += 65_536

    files.answers["/pour"] = pour

    with pytest.raises(CannotFetch) as refusal:
        get(files, "/pour", "image")

    assert refusal.value.code == "media_too_large"
    time.sleep(0.2)
    assert sent[0] < 12 * fetching.MEBIBYTE, "the rest was never taken"


def test_half_a_file_is_none(files: FileServer) -> None:
    files.answers["/half"] = b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n" + PDF

    with pytest.raises(CannotFetch) as refusal:
        get(files, "/half")

    assert (refusal.value.code, refusal.value.final) == ("media_incomplete", False)


def test_compressed_answers_are_not_unpacked(files: FileServer) -> None:
    import gzip

    packed = gzip.compress(b"%PDF-" + b"\x00" * 30 * fetching.MEBIBYTE)
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n".encode()
    files.answers["/bomb"] = head + packed

    with pytest.raises(CannotFetch) as refusal:
        get(files, "/bomb")

    assert refusal.value.code == "media_wrong_type"


def test_a_far_end_that_drips_has_ten_seconds(files: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "TOTAL_S", 1.0)

    def drip(connection: socket.socket) -> None:
        for letter in b"HTTP/1.1 200 OK\r\nContent-Length: 90000\r\n\r\n" + PDF * 300:
            connection.sendall(bytes([letter]))
            time.sleep(0.02)

    files.answers["/drip"] = drip
    begun = time.monotonic()

    with pytest.raises(CannotFetch) as refusal:
        get(files, "/drip")

    assert (refusal.value.code, refusal.value.final) == ("media_slow", False)
    assert time.monotonic() - begun < 2


def test_a_machine_that_is_away_is_asked_again_later() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    with pytest.raises(CannotFetch) as refusal:
        fetch(f"https://localhost:{port}/a", "image", allowed={"localhost": port})

    assert (refusal.value.code, refusal.value.final) == ("media_unreachable", False)


@pytest.mark.parametrize("status", [401, 403, 404, 410, 500, 503])
def test_a_file_that_is_not_there_yet_is_asked_for_again(files: FileServer, status: int) -> None:
    files.answers["/t"] = f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n".encode()

    with pytest.raises(CannotFetch) as refusal:
        get(files, "/t")

    assert (refusal.value.code, refusal.value.final) == ("media_http_status", False)
