"""Sending limits in words and in time: what a limit means for a number of messages, before anybody is bound by it."""

from dataclasses import dataclass

from .text import T

MINUTE, HOUR, SECOND, TIER = "minute", "hour", "second", "tier"
SECONDS = {SECOND: 1, MINUTE: 60, HOUR: 3600, TIER: 86400}


@dataclass(frozen=True)
class Takes:
    """How long the last of some messages waits (seconds), and which rule decides; None: no limit does."""

    seconds: int
    rule: str | None


def limit_in_words(rule: str | None, limit: object) -> T | None:
    """``1000 per hour``; ``limit`` a number or one already written as people write it. None for no limit of ours."""
    if rule == SECOND:
        return T("%(limit)s per second", limit=limit)
    if rule == MINUTE:
        return T("%(limit)s per minute", limit=limit)
    if rule == HOUR:
        return T("%(limit)s per hour", limit=limit)
    if rule == TIER:
        return T("%(limit)s different people in 24 hours", limit=limit)
    return None


def takes(messages: int, limits: dict[str, int]) -> Takes:
    """How long ``messages`` take under limits by rule (0: none), when nothing has been sent before."""
    found = Takes(0, None)
    for rule, limit in limits.items():
        if limit > 0 and messages > 0:
            seconds = -(-messages * SECONDS[rule] // limit)
            if seconds > found.seconds:
                found = Takes(seconds, rule)
    return found


def wait_of_last(waiting: int, limit: int, used: int, seconds: int) -> float:
    """Seconds until the last of ``waiting`` may leave, when ``used`` of ``limit`` in ``seconds`` are used already."""
    return max(waiting - max(limit - used, 0), 0) * seconds / limit


def duration_in_words(seconds: int) -> T:
    """``45 s``, ``12 min``, ``1 h 40 min``, ``2 days 3 h``: rounded up to what people would say."""
    if seconds < 90:
        return T("%(count)s s", count=max(seconds, 0))
    minutes = -(-seconds // 60)
    if minutes < 60:
        return T("%(count)s min", count=minutes)
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return (
            T("%(hours)s h %(minutes)s min", hours=hours, minutes=minutes) if minutes else T("%(hours)s h", hours=hours)
        )
    days, hours = divmod(hours, 24)
    return T("%(days)s days %(hours)s h", days=days, hours=hours) if hours else T("%(days)s days", days=days)
