"""How often somebody may try a password: counted in Redis for all processes, in this one's memory while it is away."""

import hashlib
import time
from typing import Any, cast

from flask import Flask, current_app, g, request
from flask_limiter import Limiter
from flask_limiter.errors import RateLimitExceeded
from redis.backoff import NoBackoff
from redis.retry import Retry

from ..config import Settings
from ..domain.text import T
from ..errors import RateLimited

PER_ACCOUNT, PER_ADDRESS = 5, 20  # a minute
WINDOW_S = 60
_PATIENCE_S = 0.25  # decisions.md D3
_EXTENSION = "wa_tries"


def install_tries(app: Flask, settings: Settings) -> None:
    """One limiter for the sign-in of ``app``, shared by all its processes."""
    url = settings.redis_url
    options: dict[str, Any] = {
        "socket_connect_timeout": _PATIENCE_S,
        "socket_timeout": _PATIENCE_S,
        "retry": Retry(NoBackoff(), 0),
    }
    limiter = Limiter(
        key_func=_address,
        strategy="moving-window",
        key_prefix="wa-tries",
        storage_uri=url.replace("unix://", "redis+unix://", 1) if url.startswith("unix://") else url,
        storage_options=options,
        in_memory_fallback_enabled=True,
        swallow_errors=True,
    )
    # A limiter that an application knows already hooks itself into no request: `count_try` asks it.
    app.extensions.setdefault("limiter", set()).add(limiter)
    limiter.init_app(app)

    @limiter.shared_limit(f"{PER_ADDRESS} per minute", scope="address", key_func=_address)
    def by_address() -> None:
        return None

    @limiter.shared_limit(f"{PER_ACCOUNT} per minute", scope="account", key_func=_account)
    def by_account() -> None:
        return None

    app.extensions[_EXTENSION] = (limiter, by_address, by_account)


def count_try(email: str | None = None) -> None:
    """Count this try of a password, for ``email`` or the form's field of that name.

    Raises RateLimited with the seconds to wait.
    """
    g.wa_tried = email
    limiter, *counters = cast("tuple[Limiter, Any, Any]", current_app.extensions[_EXTENSION])
    limiter.context.reset()
    for counter in counters:
        try:
            counter()
        except RateLimitExceeded as problem:
            limit = limiter.current_limit
            left = limit.reset_at - int(time.time()) if limit is not None else WINDOW_S
            seconds = min(max(1, left), WINDOW_S)
            detail = T("Too many tries. Try again in %(seconds)s seconds.", seconds=seconds)
            raise RateLimited(detail, retry_after=seconds) from problem


def _address() -> str:
    return request.remote_addr or "nowhere"


def _account() -> str:
    """The account as it was typed, unreadable in Redis."""
    email = g.get("wa_tried") or request.form.get("email", "")
    return hashlib.sha256(email.strip().lower().encode()).hexdigest()[:32]
