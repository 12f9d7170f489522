"""When a reminder is due, on the recipient's own calendar and clock (the vectors are states.md §6.3's)."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wa_dashboard.domain.timing import BadInterval, Interval, is_open, out_of_quiet_hours, zone_of

BUCHAREST, NEW_YORK, LORD_HOWE = "Europe/Bucharest", "America/New_York", "Australia/Lord_Howe"
TEN = time(10)


def local(zone: str, *parts: int) -> datetime:
    return datetime(*parts, tzinfo=ZoneInfo(zone)).astimezone(UTC)


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


def hours_before(start: datetime, interval: str, zone: str, at: time = TEN) -> float:
    return (start - Interval.parse(interval).instant(start, zone, at)) / timedelta(hours=1)


# --- vectors ----------------------------------------------------------------------------------------------------


def test_seven_days_before_across_the_change_of_clocks() -> None:
    start = local(BUCHAREST, 2027, 4, 4, 20)

    assert Interval.parse("D-7").instant(start, BUCHAREST, TEN) == utc(2027, 3, 28, 7)
    assert hours_before(start, "D-7", BUCHAREST) == 178


def test_a_time_that_the_clock_skips_moves_forward_by_the_gap() -> None:
    due = Interval.parse("D-7").instant(local(BUCHAREST, 2027, 4, 4, 20), BUCHAREST, time(3, 30))

    assert due == utc(2027, 3, 28, 1, 30)
    assert due.astimezone(ZoneInfo(BUCHAREST)).time() == time(4, 30)


def test_a_time_that_the_clock_repeats_is_the_first() -> None:
    due = Interval.parse("D-7").instant(local(BUCHAREST, 2027, 11, 7, 20), BUCHAREST, time(3, 30))

    assert due == utc(2027, 10, 31, 0, 30)


@pytest.mark.parametrize(
    ("zone", "hour", "at", "ours", "by_event_day"),
    [
        ("America/New_York", 20, TEN, 27, 27),
        ("Pacific/Auckland", 20, TEN, 21, 45),
        ("Pacific/Honolulu", 9, time(18), 27, 3),
    ],
)
def test_a_day_before_is_counted_on_the_recipients_own_calendar(
    zone: str, hour: int, at: time, ours: float, by_event_day: float
) -> None:
    """Counted from the event's date instead, Auckland would hear 45 hours before, and Honolulu 3."""
    start = local(BUCHAREST, 2027, 1, 20, hour)

    assert hours_before(start, "D-1", zone, at) == ours
    day_before = datetime.combine(datetime(2027, 1, 19), at, ZoneInfo(zone))
    assert (start - day_before) / timedelta(hours=1) == by_event_day


def test_a_day_before_on_the_recipients_day_is_never_too_near_nor_too_far() -> None:
    zones = [
        "Pacific/Honolulu", "America/Los_Angeles", "America/New_York", "America/Sao_Paulo", "Europe/London",
        BUCHAREST, "Asia/Dubai", "Asia/Kolkata", "Asia/Tokyo", "Australia/Sydney", "Pacific/Auckland",
    ]  # fmt: skip
    found = [
        hours_before(local(BUCHAREST, 2027, 4, 4, hour), "D-1", zone)
        for zone in zones
        for hour in range(24)
    ]  # fmt: skip

    assert min(found) >= 14.0
    assert max(found) <= 38.0


@pytest.mark.parametrize(
    ("zone", "start", "at", "due"),
    [
        (BUCHAREST, (2027, 3, 29, 20), time(3, 30), utc(2027, 3, 28, 1, 30)),
        (BUCHAREST, (2027, 11, 1, 20), time(3, 30), utc(2027, 10, 31, 0, 30)),
        (NEW_YORK, (2027, 3, 15, 20), time(2, 30), utc(2027, 3, 14, 7, 30)),
        (NEW_YORK, (2027, 11, 8, 20), time(1, 30), utc(2027, 11, 7, 5, 30)),
        (LORD_HOWE, (2027, 10, 4, 20), time(2, 15), utc(2027, 10, 2, 15, 45)),
        (LORD_HOWE, (2027, 4, 5, 20), time(1, 45), utc(2027, 4, 3, 14, 45)),
    ],
    ids=["Bucharest gap", "Bucharest twice", "New York gap", "New York twice", "Lord Howe gap", "Lord Howe twice"],
)
def test_changes_of_clocks_around_the_world(zone: str, start: tuple[int, ...], at: time, due: datetime) -> None:
    assert Interval.parse("D-1").instant(local(zone, *start), zone, at) == due


def test_hours_are_hours_whatever_the_clock_does() -> None:
    start = local(BUCHAREST, 2027, 3, 28, 5)

    assert start - Interval.parse("H-3").instant(start, BUCHAREST, TEN) == timedelta(hours=3)


# --- intervals --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "days", "hours"), [("D-7", -7, 0), (" d-01 ", -1, 0), ("D+1", 1, 0), ("D-0", 0, 0), ("H-3", 0, 3)]
)
def test_intervals(text: str, days: int, hours: int) -> None:
    interval = Interval.parse(text)

    assert (interval.days, interval.hours) == (days, hours)


@pytest.mark.parametrize("text", ["", "D7", "H+3", "D-", "D-1000", "7", "D--1", "D-1 D-2", "W-1", "H-0", "D-٣"])
def test_what_is_no_interval(text: str) -> None:
    with pytest.raises(BadInterval):
        Interval.parse(text)


# --- zones ------------------------------------------------------------------------------------------------------

SUMMER = utc(2027, 7, 1, 12)


@pytest.mark.parametrize(
    ("given_zone", "phone", "event", "tenant", "name", "source"),
    [
        ("Asia/Tokyo", "+40722123456", BUCHAREST, BUCHAREST, "Asia/Tokyo", "given"),
        ("Mars/Base", "+40722123456", "Europe/Rome", "Europe/Rome", BUCHAREST, "number"),
        (None, "+40722123456", "Europe/Rome", "Europe/Rome", BUCHAREST, "number"),
        (None, "+12125550123", "Europe/Rome", BUCHAREST, NEW_YORK, "number"),
        (None, "+79161234567", "Europe/Moscow", BUCHAREST, "Europe/Moscow", "event"),
        (None, "+61412345678", "Australia/Perth", BUCHAREST, "Australia/Perth", "event"),
        (None, "+61412345678", BUCHAREST, "Europe/Rome", "Europe/Rome", "tenant"),
        (None, "nobody", BUCHAREST, "Europe/Rome", BUCHAREST, "event"),
    ],
)
def test_whose_clock_it_is(given_zone: str | None, phone: str, event: str, tenant: str, name: str, source: str) -> None:
    zone = zone_of(given_zone, phone, event, tenant, SUMMER)

    assert (zone.name, zone.source) == (name, source)


def test_a_given_zone_replaces_the_candidates_of_the_number() -> None:
    assert zone_of("Asia/Tokyo", "+61412345678", BUCHAREST, BUCHAREST, SUMMER).candidates == ("Asia/Tokyo",)
    assert len(zone_of(None, "+61412345678", BUCHAREST, BUCHAREST, SUMMER).candidates) > 3


# --- quiet hours ------------------------------------------------------------------------------------------------

NIGHT = time(21), time(9)


@pytest.mark.parametrize(
    ("wanted", "latest", "moved"),
    [
        (utc(2027, 4, 4, 10), utc(2027, 4, 5), utc(2027, 4, 4, 10)),
        (utc(2027, 4, 4, 22, 30), utc(2027, 4, 6), utc(2027, 4, 5, 9)),
        (utc(2027, 4, 4, 22, 30), utc(2027, 4, 5, 8), utc(2027, 4, 4, 20, 59)),
        (utc(2027, 4, 4, 22, 30), utc(2027, 4, 4, 20, 59), utc(2027, 4, 4, 20, 59)),
    ],
    ids=["open already", "to the morning", "back to the evening", "the last minute"],
)
def test_out_of_quiet_hours(wanted: datetime, latest: datetime, moved: datetime) -> None:
    assert out_of_quiet_hours(wanted, latest, ["UTC"], *NIGHT) == moved


def test_nobody_is_written_to_where_the_day_has_no_open_minute() -> None:
    around_the_world = ["Pacific/Auckland", "Europe/London", "America/New_York", "Asia/Tokyo"]

    assert out_of_quiet_hours(SUMMER, SUMMER + timedelta(days=3), around_the_world, time(20), time(10)) is None


def test_quiet_hours_of_no_length_are_none() -> None:
    assert is_open(SUMMER, ["UTC"], time(12), time(12))


ZONES = st.lists(
    st.sampled_from([BUCHAREST, NEW_YORK, LORD_HOWE, "Asia/Kolkata", "Pacific/Auckland", "America/St_Johns"]),
    min_size=1,
    max_size=4,
)
MOMENTS = st.datetimes(datetime(2026, 1, 1), datetime(2028, 12, 31), timezones=st.just(UTC))
TIMES = st.builds(time, st.integers(0, 23), st.sampled_from([0, 30]))


@settings(max_examples=60, deadline=None)
@given(MOMENTS, st.integers(0, 48), ZONES, TIMES, TIMES)
def test_never_inside_the_quiet_hours_of_any_zone(
    wanted: datetime, room: int, zones: list[str], quiet_from: time, quiet_to: time
) -> None:
    latest = wanted + timedelta(hours=room)

    moved = out_of_quiet_hours(wanted, latest, zones, quiet_from, quiet_to)

    if moved is not None:
        clocks = [moved.astimezone(ZoneInfo(zone)).time() for zone in zones]
        if quiet_from < quiet_to:
            assert not any(quiet_from <= clock < quiet_to for clock in clocks)
        elif quiet_from > quiet_to:
            assert not any(clock >= quiet_from or clock < quiet_to for clock in clocks)
        assert moved <= latest
        assert abs(moved - wanted) <= timedelta(days=1)
        assert moved.second == wanted.second
