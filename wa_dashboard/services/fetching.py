"""Opening an address that a stranger has named: only public machines, only what was asked for, never for long.

The name is looked up once, every answer must be a public address, and the connection goes to that very address with
the name in the TLS handshake and in ``Host``: so a name that means something else a moment later (DNS rebinding)
changes nothing. No redirects, no proxies, no cookies, nothing read from the environment (security.md §4.6).
"""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cache

from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3 import BaseHTTPResponse
from urllib3.connection import HTTPSConnection
from urllib3.exceptions import HTTPError

from .. import logs
from ..domain.links import BadLink, Link, is_never_private, is_public, read_link
from ..domain.media import KIND_WORDS
from ..domain.text import T

log = logs.get(__name__)

CONNECT_S = 5.0
TOTAL_S = 10.0  # from the first packet to the last
MEBIBYTE = 1024 * 1024
# Ours, in bytes. Meta takes images up to 5 MB, videos up to 16 MB and documents up to 100 MB (its "Media" reference,
# supported media types); a ticket of more than 16 MiB helps nobody who stands in a queue.
LARGEST = {"image": 5 * MEBIBYTE, "video": 16 * MEBIBYTE, "document": 16 * MEBIBYTE}
KINDS = frozenset(LARGEST)
_PIECE = 65_536
_MOST_ADDRESSES = 3  # tried one after the other
_AGENT = "wa-dashboard-media/1"

Resolve = Callable[[str, int], Sequence[str]]


class CannotFetch(Exception):
    """``code`` is stable; ``sentence`` says what happened. ``final``: it would be the same a minute later."""

    def __init__(self, code: str, sentence: T, *, final: bool = False) -> None:
        super().__init__(sentence)
        self.code, self.sentence, self.final = code, sentence, final


@dataclass(frozen=True)
class Fetched:
    """A file and what it really is, by its own bytes."""

    content: bytes
    mime_type: str


def fetch(
    url: str, kind: str, *, allowed: Mapping[str, int] | None = None, resolve: Resolve | None = None
) -> Fetched:
    """The file at ``url``; ``kind``: image, video or document. Raises CannotFetch.

    ``allowed``: the operator's own hosts with their ports (WA_MEDIA_ALLOW_HOSTS). ``resolve``: names to addresses.
    Opens a connection: never inside a transaction.
    """
    try:
        link = read_link(url, allowed)
    except BadLink as problem:
        raise CannotFetch("media_address_refused", problem.sentence, final=True) from problem
    addresses = _addresses(link, resolve or look_up)
    until = time.monotonic() + TOTAL_S
    content = _from_first(link, addresses, LARGEST[kind], until)
    mime_type = sniff(content)
    if kind_of(mime_type) != kind:
        raise CannotFetch(
            "media_wrong_type",
            T("What lies at the address is no %(kind)s that WhatsApp takes.", kind=KIND_WORDS[kind]),
            final=True,
        )
    return Fetched(content, mime_type)


def look_up(host: str, port: int) -> list[str]:
    """The addresses of a name, as the system knows them. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


def _addresses(link: Link, resolve: Resolve) -> list[str]:
    try:
        found = list(resolve(link.host, link.port))
    except (OSError, UnicodeError):
        found = []
    if not found:
        raise CannotFetch("media_host_unknown", T("The name of the machine in the address is not known."))
    refused = is_never_private if link.private else _is_not_public
    if any(refused(address) for address in found):
        raise CannotFetch("media_address_refused", T("The address leads into a private network."), final=True)
    return found[:_MOST_ADDRESSES]


def _is_not_public(address: str) -> bool:
    return not is_public(address)


# --- the connection ---------------------------------------------------------------------------------------------


@cache
def _trust() -> ssl.SSLContext:
    """The certificates this machine trusts (SSL_CERT_FILE counts), and those that come with requests."""
    context = ssl.create_default_context()
    context.load_verify_locations(DEFAULT_CA_BUNDLE_PATH)
    return context


def _from_first(link: Link, addresses: Sequence[str], most: int, until: float) -> bytes:
    """From the first of the addresses that takes a connection."""
    for address in addresses[:-1]:
        try:
            return _from(link, address, most, until)
        except CannotFetch as problem:
            if problem.code != "media_unreachable" or time.monotonic() > until - CONNECT_S:
                raise
    return _from(link, addresses[-1], most, until)


def _from(link: Link, address: str, most: int, until: float) -> bytes:
    connection = HTTPSConnection(
        address,
        link.port,
        timeout=CONNECT_S,
        server_hostname=link.host,
        ssl_context=_trust(),
    )
    late = threading.Event()
    watch = threading.Timer(max(until - time.monotonic(), 0.01), _cut, (connection, late))
    watch.daemon = True
    watch.start()
    started = False
    try:
        connection.connect()
        started = True
        headers = {"Host": link.authority, "User-Agent": _AGENT, "Accept": "*/*", "Accept-Encoding": "identity"}
        connection.request("GET", link.target, headers=headers, preload_content=False, decode_content=False)
        with closing(connection.getresponse()) as answer:
            return _read(answer, most, late)
    except ssl.SSLCertVerificationError as error:
        raise _certificate() from error
    except (OSError, HTTPError, ValueError, AttributeError) as error:
        # AttributeError: the watch has closed the connection under the library's hands.
        if late.is_set() or isinstance(error, TimeoutError):
            raise _slow() from error
        if isinstance(error.__cause__, ssl.SSLCertVerificationError) or "CERTIFICATE" in str(error):
            raise _certificate() from error
        log.info("media_not_fetched", host=link.host, error=type(error).__name__)
        if started:
            raise CannotFetch("media_incomplete", T("The file broke off before its end.")) from error
        raise CannotFetch("media_unreachable", T("The machine at the address does not answer.")) from error
    finally:
        watch.cancel()
        connection.close()


def _cut(connection: HTTPSConnection, late: threading.Event) -> None:
    """The time is up, whatever the far end does: drip, stall, or talk without end."""
    late.set()
    sock = connection.sock
    if sock is not None:
        try:
            # Under TLS as well: what waits for bytes is woken with the end of the stream.
            socket.socket.shutdown(sock, socket.SHUT_RDWR)
        except OSError:
            return


def _certificate() -> CannotFetch:
    return CannotFetch("media_certificate", T("The machine at the address has no certificate we can trust."))


def _slow() -> CannotFetch:
    return CannotFetch("media_slow", T("The file did not arrive within %(seconds)s seconds.", seconds=int(TOTAL_S)))


def _read(answer: BaseHTTPResponse, most: int, late: threading.Event) -> bytes:
    if 300 <= answer.status < 400:
        raise CannotFetch(
            "media_redirect", T("The address only leads on to another one. Give the address of the file."), final=True
        )
    if answer.status != 200:
        raise CannotFetch("media_http_status", T("The machine answered %(status)s.", status=answer.status))
    length = answer.headers.get("Content-Length", "")
    promised = int(length) if length.isascii() and length.isdigit() and len(length) < 16 else None
    if promised is not None and promised > most:
        raise _too_large(most)
    pieces, size = [], 0
    while piece := answer.read1(_PIECE, decode_content=False):
        pieces.append(piece)
        size += len(piece)
        if size > most:
            raise _too_large(most)
    if late.is_set():
        raise _slow()
    if not size or (promised is not None and size != promised):
        raise CannotFetch("media_incomplete", T("The file broke off before its end."))
    return b"".join(pieces)


def _too_large(most: int) -> CannotFetch:
    return CannotFetch(
        "media_too_large", T("The file is larger than %(most)s MB.", most=most // MEBIBYTE), final=True
    )


# --- what it is -------------------------------------------------------------------------------------------------

_KIND_OF = {
    "image/jpeg": "image",
    "image/png": "image",
    "video/mp4": "video",
    "video/3gpp": "video",
    "application/pdf": "document",
}
_MP4_BRANDS = frozenset(
    (b"isom", b"iso2", b"iso4", b"iso5", b"iso6", b"mp41", b"mp42", b"avc1", b"M4V ", b"M4VH", b"dash", b"MSNV")
)


def sniff(content: bytes) -> str:
    """The type by the first bytes, ``""`` for what WhatsApp's headers do not take; names and headers may lie."""
    if content.startswith(b"%PDF-"):
        return "application/pdf"
    if content.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if content[4:8] == b"ftyp":
        brand = content[8:12]
        return "video/mp4" if brand in _MP4_BRANDS else "video/3gpp" if brand[:3] in (b"3gp", b"3g2") else ""
    return ""


def kind_of(mime_type: str) -> str:
    """``image``, ``video``, ``document``, or ``""``."""
    return _KIND_OF.get(mime_type, "")
