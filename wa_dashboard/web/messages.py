"""Messages: the list people search in, and one message's whole story."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from flask import Response, make_response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from .. import clock
from ..domain.causes import CAUSES, ENDED_BADLY, advice_when_stuck
from ..domain.failures import explain
from ..domain.limits import limit_in_words
from ..domain.statuses import NOT_RECEIVED, WAITING, MessageType, Status
from ..domain.story import PROVIDERS, why_waiting
from ..domain.text import T
from ..errors import Conflict, Invalid
from ..models import Message
from ..services import by_hand, cancelling, deciding, problems, senders, templates
from ..services import messages as read
from ..services.accounts import settings
from ..services.messages import Filters, Found, Story
from ..services.paging import Place, WrongCursor, read_cursor, write_cursor
from . import web
from .access import may, me, requires, say_next
from .formats import Count, at_clock, written
from .htmx import has, render, wants_fragment
from .looks import MESSAGE_LOOKS, NEWS_WORDS, OUTCOME_WORDS
from .settings import binding_sentence
from .steps import steps_of

# Nothing will be charged for these: an estimate would mislead.
FREE = frozenset({Status.FAILED, Status.DEAD_LETTER, Status.SKIPPED, Status.CANCELLED, Status.EXPIRED})
PER_PAGE = 50
QUIET = timedelta(minutes=3)  # after so long without a change a message's page stops asking
WATCHED = timedelta(minutes=30)  # so long the list asks for newer messages
STOP_POLLING = 286  # htmx's own: swap this, then ask no more
NEW_MOST = 100

KINDS: dict[str, T] = {
    MessageType.ORDER_CONFIRM: T("Order confirmation"),
    MessageType.REMINDER: T("Reminder"),
    MessageType.PROMO: T("Offer"),
    MessageType.OTP: T("Code"),
}
# Words of the filter that stand for several statuses.
GROUPS: dict[str, tuple[T, tuple[str, ...]]] = {"not_received": (T("Not received"), tuple(sorted(NOT_RECEIVED)))}
_ASKED = ("q", "status", "type", "template", "provider", "from", "to", "mode")


# --- the list ---------------------------------------------------------------------------------------------------


@web.get("/messages")
@requires("see")
def messages() -> Response:
    """The list, or its results alone for htmx."""
    asked = _asked()
    filters, wrong = _filters(asked)
    place = _place(asked)
    page = read.search(me().tenant, filters, place, PER_PAGE)
    newest = page.rows[0].message.created_at if page.rows else clock.now()
    context: dict[str, Any] = {
        "page": page,
        "asked": asked,
        "errors": wrong,
        "totals": read.totals(me().tenant, filters),
        "newer": _link(asked, page.prev),
        "older": _link(asked, page.next),
        "chips": _chips(asked),
        "filtered": bool(asked),
        "watch": _watch(asked, newest) if place is None and "to" not in asked else None,
        "kinds": KINDS,
        "free": FREE,
        "retention": me().tenant.retention_days,
        "limit_of": limit_of,
        "binds": _binds(asked) if place is None else None,
    }
    answer = make_response(render("messages/list.html", "messages/results.html", **context, **_choices()))
    if wants_fragment():
        answer.headers["HX-Push-Url"] = _url(asked, at=request.args["at"]) if place else _url(asked)
    return answer


@web.get("/messages/new")
@requires("see")
def new_messages() -> Response | str:
    """How many came since ``since`` (micro-seconds of the newest that is shown); 204 for none."""
    asked = _asked()
    since = request.args.get("since", "")
    if not (since.isdigit() and len(since) < 18):
        return Response(status=204)
    filters, _ = _filters(asked)
    after = datetime.fromtimestamp(0, clock.now().tzinfo) + timedelta(microseconds=int(since) + 1)
    count = read.count(me().tenant, replace(filters, created_from=max(after, filters.created_from or after)))
    watched = request.args.get("watched", "")
    over = not watched.isdigit() or clock.now().timestamp() - int(watched[:12]) > WATCHED.total_seconds()
    shown = render_template("messages/new.html", new=count, most=NEW_MOST, url=_url(asked))
    if not count and not over:
        return Response(status=204)
    return Response(shown if count else "", status=STOP_POLLING if over else 200)


def _asked() -> dict[str, str]:
    """The filters of the address, without the empty ones."""
    return {name: value for name in _ASKED if (value := request.args.get(name, "").strip()[:200])}


def _binds(asked: Mapping[str, str]) -> T | None:
    """Which limit holds up what waits, and until when: above the whole list, and above the list of what waits."""
    tenant = me().tenant
    if set(asked) - {"status"} or asked.get("status", Status.QUEUED) != Status.QUEUED:
        return None
    return binding_sentence(tenant, tenant.live, senders.waiting(tenant, tenant.live))


def _filters(asked: Mapping[str, str]) -> tuple[Filters, dict[str, str]]:
    """What the list shows, and sentences about what could not be understood (which is then left out)."""
    tenant, wrong = me().tenant, dict[str, str]()
    first, last = _day(asked, "from", wrong), _day(asked, "to", wrong)
    status = asked.get("status", "")
    kind = asked.get("type", "")
    filters = Filters(
        status=GROUPS[status][1] if status in GROUPS else (status,) if status in set(Status) else (),
        type=(kind,) if kind in KINDS else (),
        template=(asked["template"],) if "template" in asked else (),
        provider=(asked["provider"],) if asked.get("provider") in PROVIDERS else (),
        created_from=_midnight(first) if first else None,
        created_to=_midnight(last + timedelta(days=1)) if last else None,
        live=tenant.live and asked.get("mode") != "test",
        q=asked.get("q", ""),
    )
    return filters, wrong


def _day(asked: Mapping[str, str], name: str, wrong: dict[str, str]) -> date | None:
    if name not in asked:
        return None
    try:
        found = date.fromisoformat(asked[name])
    except ValueError:
        found = None
    if found is None or not 2000 <= found.year <= 2999:
        wrong[name] = T("Write the date as year-month-day, such as 2026-11-23.")
        return None
    return found


def _day_in_words(text: str) -> str:
    """``1 nov. 2026`` for ``2026-11-01``; what is no date stays as it was typed."""
    try:
        return written(date.fromisoformat(text))
    except ValueError:
        return text


def _midnight(day: date) -> datetime:
    """The day's first moment in the tenant's zone."""
    return datetime.combine(day, time(), ZoneInfo(me().tenant.timezone)).astimezone(clock.now().tzinfo)


def _list_name(asked: Mapping[str, str]) -> str:
    return json.dumps(["web.messages", me().tenant.id, sorted(asked.items())])


def _place(asked: Mapping[str, str]) -> Place | None:
    """Where the page begins; a place of another list, or none that is one, is the beginning."""
    try:
        return read_cursor(request.args.get("at", ""), settings().secret_key, _list_name(asked))
    except (WrongCursor, ValueError):
        return None


def _link(asked: Mapping[str, str], place: Place | None) -> str | None:
    return _url(asked, at=write_cursor(place, settings().secret_key, _list_name(asked))) if place else None


def _url(asked: Mapping[str, str], **more: str) -> str:
    query = urlencode({**asked, **more})
    return f"{url_for('web.messages')}?{query}" if query else url_for("web.messages")


def _watch(asked: Mapping[str, str], newest: datetime) -> str:
    micros = (newest - datetime.fromtimestamp(0, newest.tzinfo)) // timedelta(microseconds=1)
    query = {**asked, "since": str(micros), "watched": str(int(clock.now().timestamp()))}
    return f"{url_for('web.new_messages')}?{urlencode(query)}"


def _chips(asked: Mapping[str, str]) -> list[tuple[T, str]]:
    """The filters in force, each with the address of the list without it."""
    said: dict[str, T] = {}
    words = {key: look.word for key, look in MESSAGE_LOOKS.items()} | {key: word for key, (word, _) in GROUPS.items()}
    if asked.get("status") in words:
        said["status"] = T("Status: %(what)s", what=words[asked["status"]])
    if asked.get("type") in KINDS:
        said["type"] = T("Kind: %(what)s", what=KINDS[asked["type"]])
    if "template" in asked:
        said["template"] = T("Template: %(what)s", what=asked["template"])
    if asked.get("provider") in PROVIDERS:
        said["provider"] = T("Provider: %(what)s", what=PROVIDERS[asked["provider"]])
    if "from" in asked:
        said["from"] = T("From: %(what)s", what=_day_in_words(asked["from"]))
    if "to" in asked:
        said["to"] = T("Until: %(what)s", what=_day_in_words(asked["to"]))
    if asked.get("mode") == "test" and me().tenant.live:
        said["mode"] = T("Mode: %(what)s", what=T("Test"))
    rest = [(text, {key: value for key, value in asked.items() if key != name}) for name, text in said.items()]
    return [(text, _url(others)) for text, others in rest]


def _choices() -> dict[str, list[tuple[str, str]]]:
    """What the selects offer."""
    names = sorted({template.name for template in templates.listed()})
    return {
        "statuses": [
            ("", T("All")),
            *((key, word) for key, (word, _) in GROUPS.items()),
            *((key, look.word) for key, look in MESSAGE_LOOKS.items()),
        ],
        "types": [("", T("All")), *((str(key), word) for key, word in KINDS.items())],
        "template_names": [("", T("All")), *((name, name) for name in names)],
        "providers": [("", T("All")), *PROVIDERS.items()],
    }


# --- one message ------------------------------------------------------------------------------------------------


@web.get("/messages/<message_id>")
@requires("see")
def message(message_id: str) -> Response | str:
    """The message as it was sent, and what happened to it. htmx gets the part that changes, or 204."""
    story = read.story(me().tenant, message_id)
    mark = f"{story.message.updated_at.timestamp():.6f}.{len(story.lines)}"
    polls = _is_moving(story)
    if polls and has(mark):
        return Response(status=204)
    return render(
        "messages/one.html",
        "messages/story.html",
        story=story,
        message=story.message,
        bubble=story.found.bubble,
        steps=steps_of(story),
        kinds=KINDS,
        free=FREE,
        waits_because=waits_because(story.message) if story.message.status in WAITING else None,
        trouble=_trouble(story.found),
        can_cancel=may("send") and story.message.status in WAITING and not story.message.cancel_requested,
        can_send_again=may("send") and by_hand.may_send_again(story.message),
        problem=problems.problem_of(message_id) if story.message.status in ENDED_BADLY else None,
        causes=CAUSES,
        others=deciding.others_for(story.message) if may("send") and by_hand.may_send_again(story.message) else [],
        providers=PROVIDERS,
        outcomes=OUTCOME_WORDS,
        news=NEWS_WORDS,
        polls=polls,
        seen=mark,
    )


@web.post("/messages/<message_id>/cancel")
@requires("send")
def cancel_message(message_id: str) -> AnyResponse:
    """Stop it if it has not left."""
    try:
        stopped = cancelling.cancel(me().tenant, message_id, me().actor)
    except Conflict:
        say_next(T("Too late: it has left already."), "warn")
    else:
        if stopped:
            say_next(T("Stopped. Nothing was sent."))
        else:
            say_next(T("It is on its way right now; we will not try again if this try fails."), "warn")
    return redirect(url_for("web.message", message_id=message_id), code=303)


@web.post("/messages/<message_id>/again")
@requires("send")
def send_message_again(message_id: str) -> AnyResponse:
    """One more try for what did not arrive."""
    try:
        by_hand.send_again(me(), message_id)
        say_next(T("It is in the queue again."))
    except Invalid:
        say_next(T("Not sent: the person has asked for no more messages of this kind."), "warn")
    except Conflict as problem:
        say_next(problem.detail, "warn")
    return redirect(url_for("web.message", message_id=message_id), code=303)


def waits_because(message: Message) -> T | None:
    """Why it waits: of a limit which one, and when it goes."""
    held = limit_of(message)
    if held is None:
        return why_waiting(message.reason, message.reason_detail or {})
    limit, at = held
    if at is None:
        return T("the limit of %(limit)s is reached; it goes out as soon as there is room", limit=limit)
    return T("the limit of %(limit)s is reached; its turn comes at %(time)s", limit=limit, time=at)


def limit_of(message: Message) -> tuple[T, str | None] | None:
    """The limit that holds a message up, in words, and the time of its turn; None when no limit of ours does."""
    detail = message.reason_detail or {}
    if message.status != Status.QUEUED or message.reason != "throttled" or not detail.get("limit"):
        return None
    limit = limit_in_words(detail.get("rule"), Count(detail["limit"]))
    if limit is None:
        return None
    at = message.next_at
    return limit, at_clock(at) if at is not None and at > clock.now() else None


def _trouble(found: Found) -> Any:
    """Why it did not arrive and what to do; None while nothing is wrong."""
    message = found.message
    if message.status not in (Status.FAILED, Status.DEAD_LETTER):
        return None
    why = explain(message.error_class, message.error_code)
    if message.status == Status.DEAD_LETTER:
        return replace(why, advice=advice_when_stuck(message.error_class, message.error_code))
    return why


def _is_moving(story: Story) -> bool:
    """Will something still happen by itself, soon?"""
    status = story.message.status
    if status in WAITING:
        return True
    still = status in (Status.ACCEPTED, Status.SENT, Status.DELIVERED)
    return still and clock.now() - story.message.updated_at < QUIET
