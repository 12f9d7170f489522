"""How many calls a key may make. Counted in Redis for all processes; in this one's memory while Redis is away."""

import time
from collections.abc import Callable
from dataclasses import dataclass
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


@dataclass(frozen=True)
class _Counter:
    limiter: Limiter
    count: Callable[[], None]


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
    limiter.init_app(app)

    # The key is known only after authentication, so what is limited is this call and not the views.
    @limiter.shared_limit(lambda: f"{per_minute()} per minute", scope="api")
    def count() -> None:
        return None

    app.extensions[_EXTENSION] = _Counter(limiter, count)


def per_minute() -> int:
    """The calls a key may make in a minute: far more than a checkout needs, so that only a runaway loop meets it."""
    return cast("Settings", current_app.extensions["wa_settings"]).api_per_minute


def check() -> None:
    """Count this call. Raises RateLimited with the seconds to wait."""
    counter = cast("_Counter", current_app.extensions[_EXTENSION])
    try:
        counter.count()
    except RateLimitExceeded as problem:
        g.wa_limit = counter.limiter.current_limit
        detail = T("This key may make %(count)s calls a minute. Wait and send it again.", count=per_minute())
        raise errors.RateLimited(detail, retry_after=_seconds_left(g.wa_limit)) from problem
    g.wa_limit = counter.limiter.current_limit


def add_headers(response: Response) -> Response:
    """``RateLimit-Policy`` and ``RateLimit`` (draft-ietf-httpapi-ratelimit-headers) on counted calls."""
    limit: RequestLimit | None = g.get("wa_limit")
    if limit is not None:
        try:
            response.headers["RateLimit"] = f'"key";r={limit.remaining};t={_seconds_left(limit)}'
        except RedisError:
            return response  # went away after counting; the header is only a courtesy
        response.headers["RateLimit-Policy"] = f'"key";q={per_minute()};w=60'
    return response


def _seconds_left(limit: RequestLimit | None) -> int:
    return min(60, max(1, limit.reset_at - int(time.time()))) if limit is not None else 60
