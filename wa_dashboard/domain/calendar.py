"""An event as a calendar file (RFC 5545): the few lines every calendar understands."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

CRLF = "\r\n"
_MOST = 75  # octets of a line (§3.1)


def calendar_file(
    *,
    uid: str,
    name: str,
    starts_at: datetime,
    ends_at: datetime | None,
    zone: str,
    place: str = "",
    changed_at: datetime,
    version: int = 0,
) -> str:
    """The text of an ``.ics`` file. Instants are aware; ``zone`` is IANA; an event without an end takes two hours."""
    ends_at = ends_at or starts_at + timedelta(hours=2)
    lines = [
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        "PRODID:-//wa_dashboard//events//EN",
        "CALSCALE:GREGORIAN",
        "METHOD:PUBLISH",
        *_zone(zone, starts_at),
        "BEGIN:VEVENT",
        f"UID:{_text(uid)}",
        f"DTSTAMP:{_utc(changed_at)}",
        f"SEQUENCE:{version}",
        f"DTSTART;TZID={zone}:{_local(starts_at, zone)}",
        _end(starts_at, ends_at, zone),
        f"SUMMARY:{_text(name)}",
        *([f"LOCATION:{_text(place)}"] if place else []),
        "STATUS:CONFIRMED",
        "END:VEVENT",
        "END:VCALENDAR",
    ]
    return CRLF.join(_folded(line) for line in lines) + CRLF


def _zone(zone: str, at: datetime) -> list[str]:
    """The zone as it is at this instant, which is all that one event needs of it (§3.6.5)."""
    local = at.astimezone(ZoneInfo(zone))
    part = "DAYLIGHT" if local.dst() else "STANDARD"
    offset = _offset(local)
    return [
        "BEGIN:VTIMEZONE",
        f"TZID:{zone}",
        f"BEGIN:{part}",
        "DTSTART:19700101T000000",
        f"TZOFFSETFROM:{offset}",
        f"TZOFFSETTO:{offset}",
        f"TZNAME:{_text(local.tzname() or zone)}",
        f"END:{part}",
        "END:VTIMEZONE",
    ]


def _offset(local: datetime) -> str:
    seconds = int((local.utcoffset() or timedelta()).total_seconds())
    sign, rest = "-" if seconds < 0 else "+", abs(seconds) // 60
    return f"{sign}{rest // 60:02}{rest % 60:02}"


def _end(starts_at: datetime, ends_at: datetime, zone: str) -> str:
    """In the zone, or in UTC when the clocks change during the event."""
    info = ZoneInfo(zone)
    if starts_at.astimezone(info).utcoffset() == ends_at.astimezone(info).utcoffset():
        return f"DTEND;TZID={zone}:{_local(ends_at, zone)}"
    return f"DTEND:{_utc(ends_at)}"


def _local(at: datetime, zone: str) -> str:
    return f"{at.astimezone(ZoneInfo(zone)):%Y%m%dT%H%M%S}"


def _utc(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y%m%dT%H%M%SZ}"


def _text(value: str) -> str:
    """A value of type TEXT (§3.3.11): one line, with what has a meaning escaped."""
    clean = "".join(letter if letter.isprintable() or letter == "\n" else " " for letter in value.replace("\r\n", "\n"))
    for letter, said in (("\\", "\\\\"), (";", "\\;"), (",", "\\,"), ("\n", "\\n")):
        clean = clean.replace(letter, said)
    return clean


def _folded(line: str) -> str:
    """Broken after 75 octets, never inside a character."""
    pieces, piece, size = [], "", 0
    for letter in line:
        width = len(letter.encode())
        if size + width > _MOST:
            pieces.append(piece)
            piece, size = " ", 1
        piece, size = piece + letter, size + width
    return CRLF.join([*pieces, piece])
