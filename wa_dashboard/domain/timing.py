"""When a reminder is due: so many days before, on the recipient's own calendar and clock (states.md §6.3)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

import phonenumbers
from phonenumbers import timezone as phone_zones

_INTERVAL = re.compile(r"D([+-])([0-9]{1,3})|H-([0-9]{1,3})")
_MINUTE = timedelta(minutes=1)


class BadInterval(ValueError):
    """Not one of D-n, H-n, D+n."""


@dataclass(frozen=True)
class Interval:
    """``D-7``: days before the start, at an hour of the day; ``H-3``: hours before it; ``D+1``: days after it."""

    text: str
    days: int = 0
    hours: int = 0

    @classmethod
    def parse(cls, text: str) -> "Interval":
        """Raises BadInterval."""
        found = _INTERVAL.fullmatch(text.strip().upper())
        if not found:
            raise BadInterval(text)
        sign, days, hours = found.groups()
        if hours is not None and not int(hours):
            raise BadInterval(text)  # no hours before the start is after everybody has come
        if hours is not None:
            return cls(f"H-{int(hours)}", hours=int(hours))
        return cls(f"D{sign}{int(days)}", days=int(days) if sign == "+" else -int(days))

    def instant(self, starts_at: datetime, zone: str, at: time) -> datetime:
        """The instant (aware UTC). A time that the clock skips moves by the gap; of one that it repeats, the first."""
        if self.hours:
            return starts_at - timedelta(hours=self.hours)
        where = ZoneInfo(zone)
        day = starts_at.astimezone(where).date() + timedelta(days=self.days)
        return datetime.combine(day, at, where).astimezone(UTC)  # fold=0: before the gap, the first of two


@dataclass(frozen=True)
class Zone:
    """Where a person's clock is, how we know (given, number, event, tenant), and where it might be as well."""

    name: str
    source: str
    candidates: tuple[str, ...]


def zone_of(given: str | None, e164: str, event_zone: str, tenant_zone: str, at: datetime) -> Zone:
    """Given by the checkout → the number's only zone → the event's if the number may be there → the tenant's.

    Zones that share the offset at that instant count as one (decisions.md D18).
    """
    if given and is_zone(given):
        return Zone(given, "given", (given,))
    candidates = _zones_of_number(e164)
    offsets = {at.astimezone(ZoneInfo(name)).utcoffset() for name in candidates}
    if len(offsets) == 1:
        best = event_zone if event_zone in candidates else candidates[0]
        return Zone(best, "number", candidates)
    if event_zone in candidates or not candidates:
        return Zone(event_zone, "event", candidates or (event_zone,))
    return Zone(tenant_zone, "tenant", candidates)


def is_zone(name: str) -> bool:
    return name in _all_zones()


@lru_cache(maxsize=1)
def _all_zones() -> frozenset[str]:
    return frozenset(available_timezones())


@lru_cache(maxsize=4096)
def _zones_of_number(e164: str) -> tuple[str, ...]:
    try:
        number = phonenumbers.parse(e164, None)
    except phonenumbers.NumberParseException:
        return ()
    return tuple(name for name in phone_zones.time_zones_for_number(number) if is_zone(name))


def is_open(instant: datetime, zones: Sequence[str], quiet_from: time, quiet_to: time) -> bool:
    """Whether nobody in any of the zones is in their quiet hours then."""
    return not any(_is_quiet(instant.astimezone(ZoneInfo(name)).time(), quiet_from, quiet_to) for name in zones)


def _is_quiet(clock: time, quiet_from: time, quiet_to: time) -> bool:
    if quiet_from <= quiet_to:
        return quiet_from <= clock < quiet_to
    return clock >= quiet_from or clock < quiet_to


def out_of_quiet_hours(
    instant: datetime, latest: datetime, zones: Sequence[str], quiet_from: time, quiet_to: time
) -> datetime | None:
    """The instant itself, else the next open minute up to ``latest``, else the last open one before; None if none."""
    if is_open(instant, zones, quiet_from, quiet_to) and instant <= latest:
        return instant
    for step in (_MINUTE, -_MINUTE):
        moved = instant
        for _ in range(24 * 60):
            moved += step
            if step > timedelta() and moved > latest:
                break
            if moved <= latest and is_open(moved, zones, quiet_from, quiet_to):
                return moved
    return None
