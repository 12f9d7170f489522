"""Wall-clock helpers of the simulator. It keeps its own time: it is the far end, not part of the product."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from email.utils import format_datetime


def now() -> float:
    """Seconds since the epoch (UTC)."""
    return time.time()


def iso(at: float) -> str:
    """`2026-11-23T15:00:00.123456Z` for seconds since the epoch."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def iso_seconds(at: float) -> str:
    """`2026-11-23T15:00:00Z`, the form of Twilio's Content API."""
    return datetime.fromtimestamp(int(at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def rfc2822(at: float) -> str:
    """`Mon, 23 Nov 2026 15:00:00 +0000`, the form of Twilio's Message resource."""
    return format_datetime(datetime.fromtimestamp(int(at), UTC))


def parse_day_or_instant(text: str) -> tuple[float, bool]:
    """Seconds since the epoch and whether only a day was given. Raises ValueError."""
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.timestamp(), len(text) == 10
