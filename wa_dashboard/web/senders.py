"""Settings, Providers: how each sender is doing, and what its owner may change. Secrets go in and never come out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flask import Response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from ..domain.text import T
from ..errors import Invalid, RateLimited
from ..models import ProviderAccount
from ..providers.base import Probe, Provider, all_providers, provider_named
from ..services import accounts, breakers, routes, tenants
from ..services import senders as verbs
from ..services.breakers import AccountHealth
from . import web
from .access import may, me, requires, say_next
from .htmx import has, mark_of, wants_fragment
from .looks import SENDER_LOOKS
from .sender_story import story_of
from .steps import Step
from .tries import count_try

Answer = AnyResponse | str | tuple[str, int]

_QUALITIES: dict[str, T] = {
    "green": T("high"),
    "high": T("high"),
    "yellow": T("medium"),
    "medium": T("medium"),
    "red": T("low: people block or report it"),
    "low": T("low: people block or report it"),
}


@dataclass(frozen=True)
class Card:
    """A sender as the pages show it. ``mark`` changes when what can be seen of its health does."""

    health: AccountHealth
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
        said = (self.account.quality or "").lower()
        return _QUALITIES.get(said) or said or T("not known")

    @property
    def mark(self) -> str:
        found, account = self.health, self.health.account
        heard = (account.last_webhook_at, found.last_receipt_at, account.quality, account.tier_limit)
        return mark_of(found.state, found.sentence, found.retry_at, found.waiting, found.uncertain, *heard)


def card_of(health: AccountHealth) -> Card:
    """The card of a sender whose health was just read."""
    account = health.account
    kind = provider_named(account.provider)
    endings = verbs.endings(account)
    labels = [(each.label, endings[each.name]) for each in kind.credentials if each.name in endings]
    return Card(
        health, *SENDER_LOOKS[health.state], kind.label, accounts.webhook_url(account), labels, story_of(health.events)
    )


def modes() -> list[bool]:
    """Which senders there may be: a live organisation has live ones and test ones."""
    return [True, False] if me().tenant.live else [False]


@web.get("/settings")
@requires("see")
def settings() -> AnyResponse:
    """The first of the pages of settings."""
    return redirect(url_for("web.senders"), code=303)


@web.get("/settings/providers")
@requires("see")
def senders() -> str:
    """A card for each sender, the live ones first."""
    cards = [card_of(each) for live in modes() for each in breakers.health_of(me().tenant, live)]
    return render_template("settings/providers.html", cards=cards, **_rights())


@web.get("/settings/providers/<account_id>/health")
@requires("see")
def sender_health(account_id: str) -> Answer:
    """What may have changed on one card; 204 while nothing did."""
    card = _card(account_id)
    if not wants_fragment():
        return _back_to(account_id)
    return Response(status=204) if has(card.mark) else render_template("settings/health.html", card=card)


@web.post("/settings/providers/<account_id>/test")
@requires("settings")
def check_sender(account_id: str) -> Answer:
    """Ask the provider whether it accepts the keys, and say so on the card."""
    probe = accounts.test_connection(me().actor, account_id)
    if not wants_fragment():
        label = accounts.find_account(account_id).label
        say_next(T("%(label)s: %(what)s", label=label, what=probe.sentence), _tone(probe))
        return _back_to(account_id)
    return render_template("settings/health.html", card=_card(account_id), said=probe.sentence, tone=_tone(probe))


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


# --- keys -------------------------------------------------------------------------------------------------------


@web.get("/settings/providers/<account_id>/keys")
@requires("keys")
def sender_keys(account_id: str) -> str:
    """The form for other keys. What is secret is never shown, only how it ends."""
    account = accounts.find_account(account_id)
    return _keys_page(account, verbs.open_values(account), {})


@web.post("/settings/providers/<account_id>/keys")
@requires("keys")
def replace_keys(account_id: str) -> Answer:
    """Put the new keys in and try them at once."""
    account = accounts.find_account(account_id)
    given = _given(provider_named(account.provider))
    errors = _wrong_password() if account.live else {}
    if not errors:
        try:
            probe = accounts.replace_credentials(me().actor, account_id, given)
            said = T("The new keys of %(label)s are in. %(what)s", label=account.label, what=probe.sentence)
            say_next(said, _tone(probe))
            return _back_to(account_id)
        except Invalid as problem:
            errors = _by_field(problem, account.provider)
    return _keys_page(accounts.find_account(account_id), _not_secret(account.provider, given), errors), 422


def _keys_page(account: ProviderAccount, typed: Mapping[str, str], errors: Mapping[str, str]) -> str:
    return render_template(
        "settings/keys.html",
        sender=account,
        fields=provider_named(account.provider).credentials,
        endings=verbs.endings(account),
        typed=typed,
        errors=errors,
    )


# --- one more ---------------------------------------------------------------------------------------------------


@web.get("/settings/providers/new")
@requires("keys")
def new_sender() -> str:
    """First which provider, then the form that this provider's class asks for."""
    name = request.args.get("provider", "")
    if name not in all_providers():
        kinds = sorted(all_providers().values(), key=lambda each: each.label)
        return render_template("settings/choose.html", kinds=kinds, modes=modes())
    return _new_page(name, request.args.get("mode") == "live" and me().tenant.live, {}, {})


@web.post("/settings/providers/new")
@requires("keys")
def add_sender() -> Answer:
    """Add the sender and try it at once."""
    name = request.form.get("provider", "")
    if name not in all_providers():
        return redirect(url_for("web.new_sender"), code=303)
    live = request.form.get("mode") == "live" and me().tenant.live
    given = _given(provider_named(name))
    errors = _wrong_password() if live else {}
    account = None
    if not errors:
        try:
            account = verbs.add(me().tenant, me().actor, name, given, live=live)
        except Invalid as problem:
            errors = _by_field(problem, name)
    if account is None:
        return _new_page(name, live, _not_secret(name, given), errors), 422
    probe = accounts.test_connection(me().actor, account.id)
    say_next(T("%(label)s is added. %(what)s", label=account.label, what=probe.sentence), _tone(probe))
    return _back_to(account.id)


def _new_page(name: str, live: bool, typed: Mapping[str, str], errors: Mapping[str, str]) -> str:
    kind = provider_named(name)
    return render_template(
        "settings/new.html", kind=kind, live=live, fields=kind.credentials, typed=typed, errors=errors
    )


# --- forms ------------------------------------------------------------------------------------------------------


def _given(kind: type[Provider]) -> dict[str, str]:
    return {each.name: request.form.get(each.name, "").strip() for each in kind.credentials}


def _not_secret(provider: str, given: Mapping[str, str]) -> dict[str, str]:
    return {each.name: given[each.name] for each in provider_named(provider).credentials if not each.secret}


def _wrong_password() -> dict[str, str]:
    """Whoever changes keys says again who they are: a forgotten open browser must not be enough (ASVS 7.5.1)."""
    email = me().user.email
    try:
        count_try(email)
    except RateLimited as problem:
        return {"password": problem.detail}
    if tenants.sign_in(email, request.form.get("password", "")) is None:
        return {"password": T("This is not your password.")}
    return {}


def _by_field(problem: Invalid, provider: str) -> dict[str, str]:
    """A sentence at each field; of a group of which one is missing, at its first."""
    labels = {each.name: each.label for each in provider_named(provider).credentials}
    found: dict[str, str] = {}
    for finding in problem.findings:
        names = [name for name in finding.pointer.removeprefix("/credentials/").split("|") if name in labels]
        if names:
            found[names[0]] = _about([labels[name] for name in names], missing=finding.code == "missing_field")
    return found or {"": problem.detail}


def _about(labels: Sequence[T], *, missing: bool) -> T:
    if not missing:
        return T("%(label)s: not usable as written. Look for spaces and missing characters.", label=labels[0])
    if len(labels) > 1:
        return T("Fill in %(label)s or %(other)s.", label=labels[0], other=labels[1])
    return T("%(label)s is missing.", label=labels[0])


def _rights() -> dict[str, Any]:
    return {"can_test": may("settings"), "can_change": may("keys")}


def _card(account_id: str) -> Card:
    account = accounts.find_account(account_id)
    found = breakers.health_of(me().tenant, account.live)
    return card_of(next(each for each in found if each.account.id == account.id))


def _tone(probe: Probe) -> str:
    return "good" if probe.ok else "bad"


def _back_to(account_id: str) -> AnyResponse:
    return redirect(url_for("web.senders", _anchor=account_id), code=303)
