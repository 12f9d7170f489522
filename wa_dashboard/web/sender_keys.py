"""Settings, Providers: a sender's keys, and one more sender. Secrets go in and never come out."""

from collections.abc import Mapping, Sequence

from flask import redirect, render_template, request, url_for

from ..domain.text import T
from ..errors import Invalid, RateLimited
from ..models import ProviderAccount
from ..providers.base import Probe, Provider, all_providers, provider_named
from ..services import account_facts, accounts, tenants
from ..services import senders as verbs
from . import web
from .access import me, requires, say_next
from .senders import Answer, back_to_page, tone_of
from .tries import count_try


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
    errors = wrong_password() if account.live else {}
    if not errors:
        try:
            probe = accounts.replace_credentials(me().actor, account_id, given)
            said = T("The new keys of %(label)s are in. %(what)s", label=account.label, what=probe.sentence)
            return _done(account_id, said, probe)
        except Invalid as problem:
            errors = _by_field(problem, account.provider)
    return _keys_page(accounts.find_account(account_id), _not_secret(account.provider, given), errors), 422


def _keys_page(account: ProviderAccount, typed: Mapping[str, str], errors: Mapping[str, str]) -> str:
    return render_template(
        "settings/keys.html",
        sender=account,
        kind=provider_named(account.provider),
        endings=verbs.endings(account),
        changed_at=verbs.keys_changed_at(account),
        notes=_groups(provider_named(account.provider)),
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
        wanted = request.args.get("mode")
        modes = [mode for mode, word in ((True, "live"), (False, "test")) if wanted in (None, word)]
        return render_template("settings/choose.html", kinds=kinds, modes=modes or [True, False])
    return _new_page(name, request.args.get("mode") == "live", {}, {})


@web.post("/settings/providers/new")
@requires("keys")
def add_sender() -> Answer:
    """Add the sender and try it at once."""
    name = request.form.get("provider", "")
    if name not in all_providers():
        return redirect(url_for("web.new_sender"), code=303)
    live = request.form.get("mode") == "live"
    given = _given(provider_named(name))
    errors = _wrong_keys(name, given, live) | (wrong_password() if live else {})
    account = None
    if not errors:
        try:
            account = verbs.add(me().tenant, me().actor, name, given, live=live)
        except Invalid as problem:
            errors = _by_field(problem, name)
    if account is None:
        return _new_page(name, live, _not_secret(name, given), errors), 422
    probe = accounts.test_connection(me().actor, account.id)
    return _done(account.id, T("%(label)s is added. %(what)s", label=account.label, what=probe.sentence), probe)


def _wrong_keys(name: str, given: Mapping[str, str], live: bool) -> dict[str, str]:
    """Said together with a wrong password: nobody should send a form twice to learn of two mistakes."""
    try:
        verbs.check(name, given, live=live)
    except Invalid as problem:
        return _by_field(problem, name)
    return {}


def _done(account_id: str, said: T, probe: Probe) -> Answer:
    """Ask for the facts of what was just connected, and show them."""
    account_facts.refresh(accounts.find_account(account_id))
    say_next(said, tone_of(probe))
    return back_to_page(account_id)


def _new_page(name: str, live: bool, typed: Mapping[str, str], errors: Mapping[str, str]) -> str:
    kind = provider_named(name)
    return render_template("settings/new.html", kind=kind, live=live, typed=typed, errors=errors, notes=_groups(kind))


# --- forms ------------------------------------------------------------------------------------------------------


def _given(kind: type[Provider]) -> dict[str, str]:
    return {each.name: request.form.get(each.name, "").strip() for each in kind.credentials}


def _not_secret(provider: str, given: Mapping[str, str]) -> dict[str, str]:
    return {each.name: given[each.name] for each in provider_named(provider).credentials if not each.secret}


def wrong_password() -> dict[str, str]:
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
        if names and finding.code == "already_connected":
            found[names[0]] = finding.detail
        elif names:
            found[names[0]] = _about([labels[name] for name in names], missing=finding.code == "missing_field")
    return found or {"": problem.detail}


def _groups(kind: type[Provider]) -> list[T]:
    """Which fields stand for each other, and which belong together."""
    labels = {each.name: each.label for each in kind.credentials}
    some = [T("Fill in %(label)s or %(other)s.", label=labels[one], other=labels[other]) for one, other in kind.one_of]
    return [
        *some,
        *(
            T("%(label)s and %(other)s go together: both or neither.", label=labels[one], other=labels[other])
            for one, other in kind.together
        ),
    ]


def _about(labels: Sequence[T], *, missing: bool) -> T:
    if not missing:
        return T("%(label)s: not usable as written. Look for spaces and missing characters.", label=labels[0])
    if len(labels) > 1:
        return T("Fill in %(label)s or %(other)s.", label=labels[0], other=labels[1])
    return T("%(label)s is missing.", label=labels[0])
