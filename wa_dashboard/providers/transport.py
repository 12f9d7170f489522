"""Carry one request over HTTP with ``requests`` and know whether any of it may have left.

The flag is set where the bytes are written, because urllib3 wraps errors before and after that point alike
(durability.md §3.7). No retries, no redirects, nothing read from the environment (a ``.netrc`` would replace
the credentials).
"""

import time
from contextvars import ContextVar
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

from .port import WireReply, WireRequest

TIMEOUT = (3.0, 10.0)  # seconds to connect, seconds between two bytes
LONGEST = 30.0  # seconds for the whole answer
LARGEST = 16 * 1024 * 1024  # bytes of an answer
_started: ContextVar[bool] = ContextVar("request_started", default=False)


class _MarkedConnection(HTTPConnection):
    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        _started.set(True)
        super().send(data)


class _MarkedSecureConnection(HTTPSConnection):
    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        _started.set(True)
        super().send(data)


class _Pool(HTTPConnectionPool):
    ConnectionCls = _MarkedConnection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _MarkedSecureConnection


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}


def new_session() -> requests.Session:
    """A session for ``carry``. A fresh one per call: a stale kept connection is the commonest false ambiguity."""
    session = requests.Session()
    session.trust_env = False
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter(max_retries=0))
    return session


def carry(request: WireRequest, timeout: tuple[float, float] = TIMEOUT) -> WireReply:
    """Send the request and return the complete answer, or a reply without status that says why there is none."""
    _started.set(False)
    try:
        with (
            new_session() as session,
            session.request(
                request.method,
                request.url,
                headers=dict(request.headers),
                data=request.body or None,
                timeout=timeout,
                allow_redirects=False,
                stream=True,
            ) as answer,
        ):
            return WireReply(answer.status_code, dict(answer.headers), _read(answer))
    except (requests.RequestException, HTTPError, OSError, ValueError) as problem:
        return WireReply(None, request_started=_started.get(), error=f"{type(problem).__name__}: {problem}"[:500])


def _read(answer: requests.Response) -> bytes:
    until = time.monotonic() + LONGEST
    pieces: list[bytes] = []
    size = 0
    while piece := answer.raw.read1(65_536, decode_content=True):
        pieces.append(piece)
        size += len(piece)
        if size > LARGEST or time.monotonic() > until:
            raise requests.exceptions.ContentDecodingError("the answer is too long")
    return b"".join(pieces)
