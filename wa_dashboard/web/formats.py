"""Dates, numbers, money and phone numbers as people of the page's language write them.

The filters are marked ``pass_context`` because Jinja otherwise works out a filter over a literal once, at compile
time, and every later reader would get the first reader's language.
"""

from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from babel.dates import format_date, format_datetime, format_time, format_timedelta
from babel.numbers import format_currency, format_decimal, format_percent
from flask import Flask
from jinja2 import pass_context
from markupsafe import Markup, escape

from ..clock import now
from ..domain.phone import mask
from .i18n import formats, zone
from .shell import shell
from .whatsapp_text import to_html, to_plain

NOTHING = "–"
MICROS = Decimal(1_000_000)


def _local(value: datetime) -> datetime:
    return value.astimezone(zone())


def exact(value: datetime) -> str:
    """``23 nov. 2026, 17:05`` in the tenant's zone; ``value`` is aware."""
    local = _local(value)
    return f"{format_date(local, 'medium', locale=formats())}, {format_time(local, 'short', locale=formats())}"


def _time(value: datetime, shown: str, relative: bool = False) -> Markup:
    rest = Markup(' data-rel title="{}"').format(exact(value)) if relative else Markup("")
    return Markup('<time datetime="{}"{}>{}</time>').format(value.isoformat(timespec="seconds"), rest, shown)


def when(value: datetime | None) -> Markup:
    """Date and time."""
    return _time(value, exact(value)) if value else escape(NOTHING)


def day(value: datetime | None) -> Markup:
    """Date without the time."""
    return _time(value, format_date(_local(value), "medium", locale=formats())) if value else escape(NOTHING)


def written(value: date) -> str:
    """A calendar day as plain text: ``1 nov. 2026``."""
    return str(format_date(value, "medium", locale=formats()))


def daynumber(value: datetime | None) -> int:
    """Which day it is in the tenant's zone, to see whether two times share it; 0 for none."""
    return _local(value).toordinal() if value else 0


def weekday(value: datetime) -> str:
    """``lun.`` · ``Mon``: for the columns of a chart."""
    return format_date(_local(value), "EEE", locale=formats())


def hour(value: datetime | None) -> Markup:
    """Time of day with seconds, as in a timeline."""
    return _time(value, format_datetime(_local(value), "HH:mm:ss", locale=formats())) if value else escape(NOTHING)


def clock(value: datetime | None) -> Markup:
    """Hours and minutes, as on a message."""
    return _time(value, format_time(_local(value), "short", locale=formats())) if value else escape(NOTHING)


def ago(value: datetime | None) -> Markup:
    """``acum 3 minute`` · ``3 minutes ago``, the exact time on hover; app.js keeps it fresh."""
    if value is None:
        return escape(NOTHING)
    shown = format_timedelta(value - now(), threshold=1, add_direction=True, locale=formats())
    return _time(value, shown, relative=True)


def gap(value: timedelta) -> str:
    """Time between two steps: ``+2 s``, ``+3 min``, ``+1 h 5 min``, ``+2 d``; nothing for less than a second."""
    seconds = int(value.total_seconds())
    if seconds < 1:
        return ""
    if seconds < 60:
        return f"+{seconds} s"
    minutes, hours = seconds // 60, seconds // 3600
    if minutes < 60:
        return f"+{minutes} min"
    if hours < 48:
        return f"+{hours} h {minutes % 60} min" if minutes % 60 else f"+{hours} h"
    return f"+{hours // 24} {'z' if formats() == 'ro' else 'd'}"


def number(value: float | None) -> str:
    return NOTHING if value is None else format_decimal(value, locale=formats())


class Count(int):
    """A number for a sentence: written as people of the page's language write it, still a number for “20 de zile”."""

    def __str__(self) -> str:
        return number(int(self))


def at_clock(value: datetime) -> str:
    """``18:40``, with the day before it when that is not today; plain text in the tenant's zone."""
    local, today = _local(value), _local(now())
    shown = format_time(local, "short", locale=formats())
    if local.date() == today.date():
        return str(shown)
    return f"{format_date(local, 'd MMM', locale=formats())}, {shown}"


def percent(value: float | None) -> str:
    """A share from 0 to 1, with one decimal unless it is whole."""
    if value is None:
        return NOTHING
    digits = "0.#" if 0 < value < 1 else "0"
    space = "\u00a0" if formats() == "ro" else ""
    return str(format_percent(value, format=f"{digits}{space}%", locale=formats()))


def money(micros: int | None, currency: str, decimals: int = 2) -> str:
    """Integer micro-units of ``currency``; ``decimals`` 4 for one message, 2 for totals."""
    if micros is None:
        return NOTHING
    pattern = f"#,##0.{'0' * decimals} ¤"
    return format_currency(micros / MICROS, currency, pattern, locale=formats(), currency_digits=False)


def phone(e164: str | None) -> str:
    """The number for those who may see numbers, else ``+40••••••456``."""
    if not e164:
        return NOTHING
    return e164 if shell().see_numbers or "•" in e164 else mask(e164)


FILTERS: dict[str, Callable[..., Any]] = {
    "when": when,
    "day": day,
    "weekday": weekday,
    "daynumber": daynumber,
    "hour": hour,
    "clock": clock,
    "ago": ago,
    "gap": gap,
    "number": number,
    "percent": percent,
    "money": money,
    "phone": phone,
    "wa": to_html,
    "plain": to_plain,
}


def _at_run_time(filter_: Callable[..., Any]) -> Callable[..., Any]:
    @pass_context
    def run(_context: object, *args: Any, **kwargs: Any) -> Any:
        return filter_(*args, **kwargs)

    return run


def install_formats(app: Flask) -> None:
    """Register FILTERS with the application's templates."""
    app.jinja_env.filters.update({name: _at_run_time(filter_) for name, filter_ in FILTERS.items()})
