"""Settings, Providers: one sender whole: what its provider says of it, its webhook, its story and its news."""

from dataclasses import dataclass

from flask import render_template
from werkzeug.wrappers import Response as AnyResponse

from ..domain.account_facts import Check, Sign, checks
from ..domain.health import event_sentence
from ..domain.text import T
from ..errors import Conflict
from ..providers.base import provider_named
from ..services import account_facts, account_story, live_templates
from ..services import senders as verbs
from ..services.accounts import settings as installation
from . import web
from .access import me, requires, say_next
from .formats import Count
from .senders import SIGN_LOOKS, Card, back_to_page, find_card, rights

NEWS = ("news", "unknown_news")
_ORDER: dict[Sign, int] = {"bad": 0, "warn": 1, "unknown": 2, "good": 3}


@dataclass(frozen=True)
class Line:
    """A line of the result of a test, as the page shows it."""

    check: Check
    icon: str
    tone: str


@web.get("/settings/providers/<account_id>")
@requires("see")
def sender(account_id: str) -> str:
    """Everything about one sender."""
    card = find_card(account_id)
    kind = provider_named(card.account.provider)
    return render_template(
        "settings/sender.html",
        card=card,
        kind=kind,
        lines=_lines(card),
        news=_news(account_id),
        story=[step for step, event in zip(card.story, card.health.events, strict=True) if event.kind not in NEWS],
        approved=live_templates.approved_at(account_id),
        keys_changed_at=verbs.keys_changed_at(card.account),
        **rights(),
    )


@web.post("/settings/providers/<account_id>/webhook")
@requires("settings")
def register_webhook(account_id: str) -> AnyResponse:
    """Have the provider report to us."""
    try:
        say_next(account_facts.register_webhook(me().actor, account_id))
    except Conflict as problem:
        say_next(problem.detail, "bad")
    return back_to_page(account_id)


def _lines(card: Card) -> list[Line]:
    """What is wrong first."""
    facts, account = card.facts, card.account
    kind = provider_named(account.provider)
    found: list[Check] = []
    if facts.problem is not None:
        found.append(Check("keys", "bad", facts.problem, facts.advice))
    elif facts.told_at is not None:
        found.append(Check("keys", "good", T("%(provider)s accepts these credentials.", provider=card.provider)))
    if facts.told_at is not None:
        found += checks(facts.told, account.sender, kind.label, Count(facts.told.tier or 0))
    if account.live and not installation().public_url.startswith("https://"):
        found.append(_not_public())
    found.append(_heard(card))
    return [Line(each, *SIGN_LOOKS[each.sign]) for each in sorted(found, key=lambda each: _ORDER[each.sign])]


def _not_public() -> Check:
    text = T(
        "This program's own address is not public: no provider can report to %(url)s.", url=installation().public_url
    )
    return Check("public", "bad", text, T("Whoever runs it sets WA_PUBLIC_URL to its https address."))


def _heard(card: Card) -> Check:
    if card.account.last_webhook_at is not None:
        return Check("heard", "good", T("News from %(provider)s arrives here.", provider=card.provider))
    advice = T("Register the webhook below, then write “hello” to the number from any phone.")
    return Check("heard", "warn", T("Nothing has come from %(provider)s yet.", provider=card.provider), advice)


def _news(account_id: str) -> list[tuple[object, T, dict[str, object] | None]]:
    """When, what, and for kinds that are new to us what came, as it came."""
    rows = account_story.newest(account_id, NEWS, limit=20)
    return [
        (row.at, event_sentence(row.kind, row.detail or {}), row.detail.get("raw") if row.kind == NEWS[1] else None)
        for row in rows
    ]
