"""The test phone: what a test recipient sees, and a box to answer as that person would."""

from datetime import timedelta
from typing import Any

from flask import Response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from .. import clock
from ..domain.consent import PURPOSES
from ..domain.statuses import Purpose
from ..domain.text import T
from ..errors import Conflict
from ..models import Contact
from ..services import consent_log
from ..services import test_phone as phone
from . import web
from .access import me, refuse_live, requires, say_next
from .htmx import has, mark_of, wants_fragment

LONGEST = 1000
LIVELY = timedelta(minutes=3)  # so long after the last word the phone is looked at every three seconds
WATCHED = timedelta(minutes=15)
FAST, SLOW = "every 3s, wake", "every 15s, wake"

PURPOSE_WORDS: dict[str, T] = {
    Purpose.TRANSACTIONAL: T("About orders"),
    Purpose.REMINDER: T("Reminders"),
    Purpose.MARKETING: T("Offers"),
}


@web.get("/phone")
@requires("see")
def test_phone() -> AnyResponse | str:
    """The phone that heard last; a page that explains while there is none."""
    refuse_live()
    people = phone.people(me().tenant)
    if not people:
        return render_template("test_phone/empty.html")
    return redirect(url_for("web.phone_of", contact_id=people[0].id), code=303)


@web.get("/phone/<contact_id>")
@requires("see")
def phone_of(contact_id: str) -> Response | str:
    """One person's phone, with what they agreed to beside it. htmx gets the conversation alone, or 204."""
    refuse_live()
    person = phone.find_person(me().tenant, contact_id)
    context = _thread(person)
    if not wants_fragment():
        return render_template("test_phone/show.html", people=phone.people(me().tenant), now=clock.now(), **context)
    if has(context["seen"]):
        return Response(status=204)
    return render_template("test_phone/thread.html", swapped=True, **context)


@web.post("/phone/<contact_id>")
@requires("send")
def answer_on_phone(contact_id: str) -> AnyResponse | str:
    """Write as that person would. With htmx the conversation comes back, else the page."""
    refuse_live()
    person = phone.find_person(me().tenant, contact_id)
    # A pressed button comes along with the empty box, before or after it.
    text = next((said for each in request.form.getlist("text") if (said := each.strip())), "")[:LONGEST]
    button = request.form.get("button", "").strip()[:LONGEST]
    problem: str | None = None
    if text or button:
        try:
            phone.answer(me().tenant, person, button or text, button=bool(button))
        except phone.PhoneAway:
            problem = T("The test phone does not answer. Nothing was written.")
        except Conflict as refusal:
            problem = refusal.detail
    if wants_fragment():
        return render_template("test_phone/thread.html", swapped=True, **_thread(person, problem))
    if problem is not None:
        say_next(problem, "bad")
    return redirect(url_for("web.phone_of", contact_id=contact_id), code=303)


def _thread(person: Contact, problem: str | None = None) -> dict[str, Any]:
    """The conversation, the consent, how often to look again, and a mark that changes with any of them."""
    tenant = me().tenant
    lines: list[phone.Line] = []
    away = False
    try:
        lines = phone.thread(tenant, person)
    except phone.PhoneAway:
        away = True
    state = consent_log.state_of(person.id)
    history = [event for event in consent_log.history(person.id) if event.changed]
    asked = request.values.get("watched", "")
    watched = int(asked) if asked.isdigit() and len(asked) < 12 else int(clock.now().timestamp())
    poll = _pace(lines, watched)
    seen = (lines, sorted(state.items()), len(history), away, problem, poll)
    return {
        "person": person,
        "lines": lines,
        "away": away,
        "problem": problem,
        "consent": [(PURPOSE_WORDS[purpose], state[purpose]) for purpose in PURPOSES],
        "last_said": history[-1] if history else None,
        "poll": poll,
        "watched": watched,
        "seen": mark_of(seen),
    }


def _pace(lines: list[phone.Line], watched: int) -> str | None:
    now = clock.now()
    if lines and now - lines[-1].at < LIVELY:
        return FAST
    return SLOW if now.timestamp() - watched < WATCHED.total_seconds() else None
