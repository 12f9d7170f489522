"""How many calls a key may make. Counted in Redis for all processes; in this one's memory while Redis is away.

To ask Redis at each call would cost more than many a call does. So while a key is far from its limit, a process
takes a twentieth of what is left, for half a second, and counts that by itself. Near the limit each call is asked for.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

from flask import Flask, Response, current_app, g
from flask_limiter import Limiter, RequestLimit
from flask_limiter.errors import RateLimitExceeded
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from .. import errors
from ..config import Settings
from ..domain.text import T
from .access import caller

AWAY_AFTER_S = 0.25  # decisions.md D3: Redis being away may cost a caller no more
_EXTENSION = "wa_api_limits"
_MOST_KEYS = 10_000
_SLICE = 20
_NEAR = 200  # calls left; from here on each is counted in Redis
_SLICE_S = 0.5


@dataclass
class _Slice:
    """What this process may let pass by itself until ``until`` (monotonic), of ``left`` calls that the key has."""

    free: int
    left: int
    reset_at: int
    until: float
    used: int = 0


@dataclass(frozen=True)
class _Counter:
    limiter: Limiter
    count: Callable[[], None]
    lock: threading.Lock = field(default_factory=threading.Lock)
    slices: dict[str, _Slice] = field(default_factory=dict)

    def take(self, key: str) -> tuple[int, int] | None:
        """Let the call pass as one of the slice: calls left and when all are back; None when Redis must be asked."""
        with self.lock:
            own = self.slices.get(key)
            if own is None or own.used >= own.free or time.monotonic() >= own.until:
                return None
            own.used += 1
            return own.left - own.used, own.reset_at

    def owed(self, key: str) -> int:
        """The calls let pass that Redis does not know of; they are the asker's to tell."""
        with self.lock:
            own = self.slices.pop(key, None)
        return own.used if own is not None else 0

    def cut(self, key: str, left: int, reset_at: int) -> None:
        """A new slice of the calls left."""
        if left < _NEAR:
            return
        with self.lock:
            if len(self.slices) > _MOST_KEYS:
                self.slices.clear()
            self.slices[key] = _Slice(left // _SLICE, left, reset_at, time.monotonic() + _SLICE_S)


def init_app(app: Flask) -> None:
    """One limiter for the whole API of ``app``, by key, shared by all processes through Redis."""
    settings = cast("Settings", app.extensions["wa_settings"])
    url = settings.redis_url
    options: dict[str, Any] = {
        "socket_connect_timeout": AWAY_AFTER_S,
        "socket_timeout": AWAY_AFTER_S,
        "retry": Retry(NoBackoff(), 0),
    }
    limiter = Limiter(
        key_func=lambda: caller().key_id,
        strategy="moving-window",
        key_prefix="wa-api",
        storage_uri=url.replace("unix://", "redis+unix://", 1) if url.startswith("unix://") else url,
        storage_options=options,
        in_memory_fallback_enabled=True,
        swallow_errors=True,
    )
    # A limiter that an application knows already hooks itself into no request: `check` asks it, and only when needed.
    app.extensions.setdefault("limiter", set()).add(limiter)
    limiter.init_app(app)

    # The key is known only after authentication, so what is limited is this call and not the views.
    @limiter.shared_limit(lambda: f"{per_minute()} per minute", scope="api", cost=lambda: g.wa_cost)
    def count() -> None:
        return None

    app.extensions[_EXTENSION] = _Counter(limiter, count)


def per_minute() -> int:
    """The calls a key may make in a minute: far more than a checkout needs, so that only a runaway loop meets it."""
    return cast("Settings", current_app.extensions["wa_settings"]).api_per_minute


def check() -> None:
    """Count this call. Raises RateLimited with the seconds to wait."""
    counter, key = cast("_Counter", current_app.extensions[_EXTENSION]), caller().key_id
    g.wa_limit = counter.take(key)
    if g.wa_limit is None:
        owed = counter.owed(key)
        try:
            g.wa_limit = _ask(counter, owed + 1)
        except RateLimitExceeded:
            g.wa_limit = _ask_for_one(counter)
        if g.wa_limit is not None:
            counter.cut(key, *g.wa_limit)


def _ask_for_one(counter: _Counter) -> tuple[int, int] | None:
    try:
        return _ask(counter, 1)
    except RateLimitExceeded as problem:
        g.wa_limit = _standing(counter)
        detail = T("This key may make %(count)s calls a minute. Wait and send it again.", count=per_minute())
        raise errors.RateLimited(detail, retry_after=_seconds_left(g.wa_limit)) from problem


def _ask(counter: _Counter, cost: int) -> tuple[int, int] | None:
    g.wa_cost = cost
    counter.limiter.context.reset()
    counter.count()
    return _standing(counter)


def _standing(counter: _Counter) -> tuple[int, int] | None:
    """Calls left, and when (Unix seconds) all are back."""
    limit: RequestLimit | None = counter.limiter.current_limit
    try:
        return (limit.remaining, limit.reset_at) if limit is not None else None
    except RedisError:
        return None  # went away after counting; the header is only a courtesy


def add_headers(response: Response) -> Response:
    """``RateLimit-Policy`` and ``RateLimit`` (draft-ietf-httpapi-ratelimit-headers) on counted calls."""
    standing: tuple[int, int] | None = g.get("wa_limit")
    if standing is not None:
        response.headers["RateLimit"] = f'"key";r={standing[0]};t={_seconds_left(standing)}'
        response.headers["RateLimit-Policy"] = f'"key";q={per_minute()};w=60'
    return response


def _seconds_left(standing: tuple[int, int] | None) -> int:
    return min(60, max(1, standing[1] - int(time.time()))) if standing is not None else 60
