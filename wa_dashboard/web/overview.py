"""The first page: what needs somebody, what comes next, the week's numbers, and the first steps."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from flask import Response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from .. import clock
from ..domain.text import T
from ..services import breakers
from ..services import overview as numbers
from ..services import week as weeks
from ..services.breakers import AccountHealth
from ..services.category_watch import Announced
from ..services.overview import Needs, Started
from ..services.week import Week
from . import web
from .access import me, requires
from .formats import Count, money
from .htmx import has, mark_of
from .i18n import zone
from .looks import SENDER_LOOKS

MOVING = timedelta(minutes=2)  # so long after the last change the numbers are asked for every five seconds
WATCHED = timedelta(minutes=20)  # then slowly, and after so long not at all
FAST, SLOW = "every 5s, wake", "every 30s, wake"


@dataclass(frozen=True)
class Step:
    """A first step, for `components/started.html`."""

    title: T
    text: T
    done: bool
    url: str
    action: T


@dataclass(frozen=True)
class Item:
    """Something that needs a person, for `components/notice.html`."""

    text: T
    url: str
    action: T
    tone: str = "warn"


@dataclass(frozen=True)
class Sign:
    """A sender in the strip at the top: a word with its icon and tone, and one line below it."""

    label: str
    word: T
    icon: str
    tone: str
    detail: T | None
    last_receipt_at: datetime | None
    url: str


@web.get("/")
@requires("see")
def home() -> AnyResponse:
    """The bare address leads to the overview."""
    return redirect(url_for("web.overview"), code=303)


@web.get("/overview")
@requires("see")
def overview() -> str:
    """The whole page, complete without a script."""
    tenant, live = me().tenant, me().tenant.live
    first, health = numbers.started(tenant), breakers.health_of(tenant, live)
    return render_template(
        "overview/show.html",
        steps=steps_of(first, test_mode=not live),
        all_done=first.all_done,
        coming=[(send, interval_in_words(send.interval)) for send in numbers.next_sends(tenant, live)],
        **_strip(health),
        **_needs(health),
        **_week(),
    )


@web.get("/overview/numbers")
@requires("see")
def overview_numbers() -> Response | str:
    """The week's numbers alone; 204 while they are what the page shows already."""
    context = _week()
    if has(context["seen"]):
        return Response(status=204)
    return render_template("overview/numbers.html", swapped=True, **context)


@web.get("/overview/needs")
@requires("see")
def overview_needs() -> Response | str:
    """What needs somebody, alone; 204 while nothing changed, so that nobody is told the same again."""
    context = _needs()
    return Response(status=204) if has(context["needs_mark"]) else render_template("overview/needs.html", **context)


@web.get("/overview/senders")
@requires("see")
def overview_senders() -> Response | str:
    """The strip of the senders alone; 204 while it is what the page shows."""
    context = _strip(breakers.health_of(me().tenant, me().tenant.live))
    if has(context["senders_mark"]):
        return Response(status=204)
    return render_template("overview/senders.html", **context)


def _needs(health: Sequence[AccountHealth] | None = None) -> dict[str, Any]:
    tenant, live = me().tenant, me().tenant.live
    items = items_of(numbers.needs(tenant, live, breakers.health_of(tenant, live) if health is None else health))
    return {"todo": items, "needs_mark": mark_of(items)}


def _strip(health: Sequence[AccountHealth]) -> dict[str, Any]:
    signs = [sign_of(each) for each in health]
    return {"senders": signs, "senders_mark": mark_of(signs)}


def sign_of(health: AccountHealth) -> Sign:
    """How one sender stands in the strip: what is wrong with it, else when its last receipt came."""
    icon, tone = SENDER_LOOKS[health.state]
    word, detail = health.word, None
    if health.receipts_stopped and health.state in ("healthy", "degraded"):
        icon, tone = SENDER_LOOKS["degraded"]
        word = T("No receipts")
        detail = _without_receipts(health)
    elif health.state in numbers.STOPPED and health.waiting:
        detail = T("Messages that wait: %(count)s", count=Count(health.waiting))
    url = url_for("web.senders", _anchor=health.account.id)
    return Sign(health.account.label, word, icon, tone, detail, health.last_receipt_at, url)


def _without_receipts(health: AccountHealth) -> T:
    heard = health.last_receipt_at
    if heard is None:
        return T("no receipt yet while sending")
    minutes = int((clock.now() - heard).total_seconds() // 60)
    return T("no receipt for %(count)s minutes while sending", count=minutes)


def _week() -> dict[str, Any]:
    """The numbers, how often to ask for them again, and a mark that changes when either does."""
    found = weeks.week(me().tenant, me().tenant.live)
    asked = request.args.get("watched", "")
    watched = int(asked) if asked.isdigit() and len(asked) < 12 else int(clock.now().timestamp())
    poll = _pace(found, watched)
    since = found.days[0].at.astimezone(zone()).date().isoformat()
    return {"week": found, "since": since, "poll": poll, "watched": watched, "seen": mark_of(found, poll)}


def _pace(found: Week, watched: int) -> str | None:
    now = clock.now()
    if found.newest_change is not None and now - found.newest_change < MOVING:
        return FAST
    return SLOW if now.timestamp() - watched < WATCHED.total_seconds() else None


def steps_of(first: Started, *, test_mode: bool) -> list[Step]:
    """The five first steps, each with its link."""
    provider = (
        T("You are in test mode: a simulated sender is ready, and nobody receives anything.")
        if test_mode
        else T("Add the account of your WhatsApp provider.")
    )
    return [
        Step(T("Stay in test mode or connect a provider"), provider, first.account, url_for("web.connect"),
             T("See how")),
        Step(T("Make a template"), T("Six texts in Romanian and English are waiting; install them with one click."),
             first.template, url_for("web.templates"), T("Choose texts")),
        Step(T("Add people"), T("People come with their first order, together with what they agreed to."),
             first.people, url_for("web.connect", _anchor="people"), T("See how")),
        Step(T("Send yourself a test"), T("One message to the test phone; nobody else gets it.") if test_mode
             else T("One message to your own number."), first.test, url_for("web.send_test"), T("Send a test")),
        Step(T("Create an event"), T("Your shop names the event in the order; reminders then plan themselves."),
             first.event, url_for("web.connect", _anchor="event"), T("Show the line")),
    ]  # fmt: skip


def items_of(found: Needs) -> list[Item]:
    """A sentence and a link for each thing that needs a person."""
    items = []
    if found.held:
        text = T(
            "A backup was restored. Messages that wait until it is clear what had been sent: %(count)s.",
            count=found.held,
        )
        items.append(Item(text, url_for("web.messages", status="queued"), T("Look at them"), "bad"))
    items += [
        Item(
            T("The sender “%(label)s” has stopped. %(why)s", label=each.account.label, why=each.sentence or each.word),
            url_for("web.senders", _anchor=each.account.id),
            T("Look at the sender"),
            "bad",
        )
        for each in found.senders
    ]
    items += [
        Item(_template_sentence(each.status, each.name, each.language),
             url_for("web.template", template_id=each.template_id), T("See why"), "bad")
        for each in found.templates
    ]  # fmt: skip
    items += [
        Item(price_sentence(each), url_for("web.template", template_id=each.template.id), T("See the template"),
             "bad" if each.difference_micros > 0 else "warn")
        for each in found.categories
    ]  # fmt: skip
    if found.stuck:
        one, more = T("1 message did not arrive."), T("Messages that did not arrive: %(count)s.", count=found.stuck)
        items.append(Item(one if found.stuck == 1 else more, url_for("web.problem_groups"), T("Look at them"), "bad"))
    items += [
        Item(T("“%(label)s” sends, but no receipts come back. Check the webhook address at the provider.",
               label=each.account.label),
             url_for("web.senders", _anchor=each.account.id), T("Show the address"))
        for each in found.silent
    ]  # fmt: skip
    if found.unreadable:
        text = T("Webhooks we could not read: %(count)s. They are kept and can be read again.", count=found.unreadable)
        items.append(Item(text, url_for("web.connect", _anchor="webhook"), T("See how")))
    return items


def _template_sentence(status: str, name: str, language: str) -> T:
    words = {
        "rejected": T("The template “%(name)s” (%(language)s) was rejected.", name=name, language=language),
        "paused": T("The template “%(name)s” (%(language)s) is paused.", name=name, language=language),
    }
    return words.get(status) or T("The template “%(name)s” (%(language)s) was disabled.", name=name, language=language)


def price_sentence(found: Announced) -> T:
    """What the category was and will be, how much waits, and what that comes to."""
    if not found.difference_micros:
        return found.sentence
    amount = money(abs(found.difference_micros), found.currency)
    cost = T("Together they cost %(amount)s more.", amount=amount)
    if found.difference_micros < 0:
        cost = T("Together they cost %(amount)s less.", amount=amount)
    return T("%(first)s %(second)s", first=found.sentence, second=cost)


def interval_in_words(interval: str) -> T:
    """``D-3`` → three days before; ``H-2`` → hours before; ``D+1`` → after."""
    unit, sign, number = interval[:1], interval[1:2], interval[2:]
    if unit == "H":
        return T("%(count)s h before", count=int(number))
    if sign == "+":
        return T("the day after") if number == "1" else T("%(count)s days after", count=int(number))
    if number == "0":
        return T("the same day")
    return T("the day before") if number == "1" else T("%(count)s days before", count=int(number))
