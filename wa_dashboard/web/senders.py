"""Settings, Providers: the senders, live ones and test ones apart, and how each is doing."""

from dataclasses import dataclass
from typing import Any

from flask import Response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from ..domain.account_facts import QUALITY_SIGNS, quality_in_words, tier_in_words
from ..domain.text import T
from ..models import ProviderAccount
from ..providers.base import Probe, provider_named
from ..services import account_facts, accounts, breakers, routes
from ..services import senders as verbs
from ..services.account_facts import Facts
from ..services.breakers import AccountHealth
from . import web
from .access import may, me, requires, say_next
from .formats import Count
from .htmx import has, mark_of, wants_fragment
from .looks import SENDER_LOOKS
from .sender_lines import SIGN_LOOKS, lines_of
from .sender_story import story_of
from .steps import Step

Answer = AnyResponse | str | tuple[str, int]


@dataclass(frozen=True)
class Card:
    """A sender as the pages show it. ``mark`` changes when what can be seen of its health does."""

    health: AccountHealth
    facts: Facts
    icon: str
    tone: str
    provider: str
    webhook: str
    secrets: list[tuple[T, str]]
    story: list[Step]

    @property
    def account(self) -> ProviderAccount:
        return self.health.account

    @property
    def quality(self) -> str:
        """What the provider says of the number, in words where it is one of Meta's colours."""
        return quality_in_words(self.account.quality)

    @property
    def quality_look(self) -> tuple[str, str]:
        """Icon and tone: colour is never alone."""
        return SIGN_LOOKS[QUALITY_SIGNS.get((self.account.quality or "").lower(), "unknown")]

    @property
    def people(self) -> T | None:
        """``up to 2,000 new people a day``, from the limit in force, else from what the provider tells."""
        tier = self.account.tier_limit or self.facts.told.tier
        return None if tier is None else tier_in_words(tier, Count(tier))

    @property
    def trouble(self) -> T | None:
        """The worst of what the provider told, when something is wrong there although messages leave."""
        worst = lines_of(self.account, self.facts)[0]
        return worst.check.text if worst.tone == "bad" and self.account.live else None

    @property
    def mark(self) -> str:
        found, account = self.health, self.health.account
        heard = (account.last_webhook_at, found.last_receipt_at, account.last_sent_at, account.checked_at)
        told = (account.quality, account.tier_limit, self.facts.told.name)
        return mark_of(
            found.state, found.sentence, found.retry_at, found.waiting, found.uncertain, self.trouble, *heard, *told
        )


def card_of(health: AccountHealth) -> Card:
    """The card of a sender whose health was just read."""
    account = health.account
    kind = provider_named(account.provider)
    endings = verbs.endings(account)
    labels = [(each.label, endings[each.name]) for each in kind.credentials if each.name in endings]
    return Card(
        health=health,
        facts=account_facts.facts_of(account),
        icon=SENDER_LOOKS[health.state][0],
        tone=SENDER_LOOKS[health.state][1],
        provider=kind.label,
        webhook=accounts.webhook_url(account),
        secrets=labels,
        story=story_of(health.events),
    )


def modes() -> list[bool]:
    """Which senders there are to see: live ones too once one is connected, also before going live."""
    return [True, False] if me().tenant.live or breakers.health_of(me().tenant, True) else [False]


@web.get("/settings")
@requires("see")
def settings() -> AnyResponse:
    """The first of the pages of settings."""
    return redirect(url_for("web.senders"), code=303)


@web.get("/settings/providers")
@requires("see")
def senders() -> str:
    """A card for each sender, the live ones first and apart from the test ones."""
    groups = [(live, [card_of(each) for each in breakers.health_of(me().tenant, live)]) for live in (True, False)]
    return render_template("settings/providers.html", groups=groups, **rights())


@web.get("/settings/providers/<account_id>/health")
@requires("see")
def sender_health(account_id: str) -> Answer:
    """What may have changed on one card; 204 while nothing did."""
    card = find_card(account_id)
    if not wants_fragment():
        return _back_to(account_id)
    return Response(status=204) if has(card.mark) else render_template("settings/health.html", card=card)


@web.post("/settings/providers/<account_id>/test")
@requires("settings")
def check_sender(account_id: str) -> Answer:
    """Ask the provider whether it accepts the keys and what it knows, and say so where the button was."""
    probe = account_facts.test(me().actor, account_id)
    if not wants_fragment():
        label = accounts.find_account(account_id).label
        say_next(T("%(label)s: %(what)s", label=label, what=probe.sentence), tone_of(probe))
        return back_to_page(account_id) if request.form.get("back") == "page" else _back_to(account_id)
    said = {"said": probe.sentence, "tone": tone_of(probe)}
    return render_template("settings/health.html", card=find_card(account_id), **said)


@web.get("/settings/providers/<account_id>/off")
@requires("keys")
def sender_off(account_id: str) -> str:
    """What switching a sender off would mean, and the button."""
    account = accounts.find_account(account_id)
    route = next(each for each in routes.routes_of(me().tenant, account.live) if each.account.id == account.id)
    return render_template("settings/off.html", route=route, sender=account)


@web.post("/settings/providers/<account_id>/switch")
@requires("keys")
def switch_sender(account_id: str) -> AnyResponse:
    """On or off; the keys stay."""
    on = request.form.get("on") == "1"
    label = accounts.find_account(account_id).label
    changed = verbs.switch(me().actor, account_id, on)
    said = T("%(label)s is switched on.", label=label) if on else T("%(label)s is switched off.", label=label)
    say_next(said, "good" if changed else "info")
    return _back_to(account_id)


def rights() -> dict[str, Any]:
    return {"can_test": may("settings"), "can_change": may("keys")}


def find_card(account_id: str) -> Card:
    """The card of one sender of this organisation. Raises NotFound."""
    account = accounts.find_account(account_id)
    found = breakers.health_of(me().tenant, account.live)
    return card_of(next(each for each in found if each.account.id == account.id))


def tone_of(probe: Probe) -> str:
    return "good" if probe.ok else "bad"


def back_to_page(account_id: str) -> AnyResponse:
    """To the sender's own page."""
    return redirect(url_for("web.sender", account_id=account_id), code=303)


def _back_to(account_id: str) -> AnyResponse:
    return redirect(url_for("web.senders", _anchor=account_id), code=303)
