"""Settings, Failover order and Limits & speed: which way messages go, how fast; what a change means is said first."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flask import Response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from .. import clock
from ..domain import limits as rules
from ..domain.text import T
from ..errors import Invalid
from ..models import Tenant
from ..services import accounts, failover, routes, throttle
from ..services import senders as verbs
from ..services.throttle import Use
from . import web
from .access import may, me, requires, say_next
from .formats import Count, at_clock
from .htmx import has, mark_of, wants_fragment
from .looks import SENDER_LOOKS
from .senders import Answer, modes

EXAMPLE = 10_000
TENANT_FIELDS = ("rate_per_minute", "rate_per_hour")
SENDER_FIELDS = ("rate_per_second", "tier_limit")


# --- the way out ------------------------------------------------------------------------------------------------


@web.get("/settings/failover")
@requires("see")
def failover_order() -> str:
    """Every mode's senders in order, and what happens when one fails."""
    lists = [(live, routes.routes_of(me().tenant, live)) for live in modes()]
    return render_template(
        "settings/failover.html",
        lists=lists,
        looks=SENDER_LOOKS,
        on=me().tenant.failover,
        can_change=may("settings"),
    )


@web.post("/settings/failover")
@requires("settings")
def set_failover() -> AnyResponse:
    """The organisation's switch."""
    on = request.form.get("on") == "1"
    verbs.set_failover(me().tenant, me().actor, on)
    say_next(
        T("When a sender fails, messages go through the next one.")
        if on
        else T("When a sender fails, messages wait for it.")
    )
    return redirect(url_for("web.failover_order"), code=303)


@web.post("/settings/failover/<account_id>/move")
@requires("settings")
def move_sender(account_id: str) -> AnyResponse:
    """One place up or down."""
    label = accounts.find_account(account_id).label
    up = request.form.get("to") == "up"
    if verbs.move(me().tenant, me().actor, account_id, up=up):
        say_next(T("%(label)s moved up.", label=label) if up else T("%(label)s moved down.", label=label))
    return redirect(url_for("web.failover_order", _anchor=account_id), code=303)


@web.get("/settings/failover/<account_id>/drill")
@requires("see")
def failover_drill(account_id: str) -> str:
    """What would happen if this sender were down now; nothing is changed."""
    return render_template("settings/drill.html", drill=failover.drill(me().tenant, account_id))


# --- limits -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Meter:
    """One limit in use: ``words`` such as “412 of 1,000 this hour”, ``label`` what is counted, and by whom."""

    use: Use
    label: T
    words: T
    sender: str | None


@web.get("/settings/limits")
@requires("see")
def limits() -> str:
    """The limits with their live use, and a form for each."""
    return _limits_page({}, {})


@web.get("/settings/limits/use")
@requires("see")
def limits_use() -> Answer:
    """The live use alone; 204 while it is what the page shows."""
    if not wants_fragment():
        return redirect(url_for("web.limits"), code=303)
    context = _use()
    return Response(status=204) if has(context["use_mark"]) else render_template("settings/use.html", **context)


@web.post("/settings/limits/effect")
@requires("settings")
def limits_effect() -> Answer:
    """What the typed limits of the organisation would mean; nothing is changed."""
    typed = {name: request.form.get(name, "") for name in TENANT_FIELDS}
    try:
        wanted, errors = verbs.read_limits(typed), {}
    except Invalid as problem:
        wanted, errors = None, _by_field(problem)
    if wants_fragment():
        return render_template("settings/effect.html", effect=_effect(wanted) if wanted else [])
    return _limits_page(typed, errors, wanted), 422 if errors else 200


@web.post("/settings/limits")
@requires("settings")
def set_limits() -> Answer:
    """The organisation's limits; they count from the next message on."""
    typed = {name: request.form.get(name, "") for name in TENANT_FIELDS}
    try:
        wanted = verbs.read_limits(typed)
    except Invalid as problem:
        return _limits_page(typed, _by_field(problem)), 422
    verbs.set_tenant_limits(me().tenant, me().actor, **wanted)
    say_next(T("Saved. The new limits count from the next message on."))
    return redirect(url_for("web.limits"), code=303)


@web.post("/settings/limits/<account_id>")
@requires("settings")
def set_sender_limits(account_id: str) -> Answer:
    """One number's limits."""
    account = accounts.find_account(account_id)
    typed = {name: request.form.get(name, "") for name in SENDER_FIELDS}
    try:
        wanted = verbs.read_limits(typed)
    except Invalid as problem:
        mine = {f"{name}-{account_id}": said for name, said in _by_field(problem).items()}
        return _limits_page({f"{name}-{account_id}": text for name, text in typed.items()}, mine), 422
    verbs.set_sender_limits(me().actor, account_id, **wanted)
    say_next(T("Saved. The new limits of %(label)s count from the next message on.", label=account.label))
    return redirect(url_for("web.limits", _anchor=account_id), code=303)


def _by_field(problem: Invalid) -> dict[str, str]:
    return {finding.pointer.strip("/"): finding.detail for finding in problem.findings}


def _limits_page(typed: Mapping[str, str], errors: Mapping[str, str], wanted: dict[str, int] | None = None) -> str:
    tenant = me().tenant
    now = {name: getattr(tenant, name) for name in TENANT_FIELDS}
    senders = [account for live in modes() for account in accounts.accounts_of(tenant, live)]
    values = {name: str(value) for name, value in now.items()}
    for account in senders:
        values |= {f"{name}-{account.id}": str(getattr(account, name)) for name in SENDER_FIELDS}
    return render_template(
        "settings/limits.html",
        values=values | dict(typed),
        errors=errors,
        senders=senders,
        effect=_effect(wanted or now),
        can_change=may("settings"),
        **_use(),
    )


def _effect(wanted: Mapping[str, int]) -> list[T]:
    """What limits mean: for a usual number of messages, and for those that wait now."""
    by_rule = {rules.MINUTE: wanted["rate_per_minute"], rules.HOUR: wanted["rate_per_hour"]}
    some, waiting = Count(EXAMPLE), verbs.waiting(me().tenant, me().tenant.live)
    takes = rules.takes(EXAMPLE, by_rule)
    if takes.rule is None:
        said = [T("Without a limit, messages go out as fast as the provider takes them.")]
    else:
        limit = rules.limit_in_words(takes.rule, Count(by_rule[takes.rule]))
        duration = rules.duration_in_words(takes.seconds)
        said = [T("At %(limit)s, %(messages)s messages take %(time)s.", limit=limit, messages=some, time=duration)]
    if waiting and takes.rule is not None:
        used = {each.rule: each.used for each in throttle.use(me().tenant, me().tenant.live) if each.account_id is None}
        seconds = max(
            rules.wait_of_last(waiting, limit, used.get(rule, 0), rules.SECONDS[rule])
            for rule, limit in by_rule.items()
            if limit > 0
        )
        at = at_clock(clock.in_seconds(seconds))
        said.append(T("Waiting now: %(count)s. The last would leave at %(time)s.", count=Count(waiting), time=at))
    return said


def _use() -> dict[str, Any]:
    """The live use of every limit, when the last of what waits leaves, and a mark of it all."""
    tenant, live = me().tenant, me().tenant.live
    labels = {account.id: account.label for account in accounts.accounts_of(tenant, live)}
    meters = [_meter(each, labels) for each in throttle.use(tenant, live)]
    waiting = verbs.waiting(tenant, live)
    return {
        "meters": meters,
        "binds": binding_sentence(tenant, live, waiting),
        "use_mark": mark_of([(each.use.rule, each.use.account_id, each.words) for each in meters], waiting),
    }


def binding_sentence(tenant: Tenant, live: bool, waiting: int) -> T | None:
    """``1,000 per hour: the last of 2,340 waiting leaves at 18:40``; None when no limit holds anything up."""
    found = throttle.last_leaves_at(tenant, live, waiting) if waiting else None
    if found is None:
        return None
    at, use = found
    limit = rules.limit_in_words(use.rule, Count(use.limit)) or use.label
    return T("%(limit)s: the last of %(count)s waiting leaves at %(time)s.", limit=limit, count=Count(waiting),
             time=at_clock(at))  # fmt: skip


def _meter(use: Use, labels: Mapping[str, str]) -> Meter:
    numbers = {"used": Count(use.used), "limit": Count(use.limit)}
    if use.rule == rules.SECOND:
        words = T("%(used)s of %(limit)s this second", **numbers)
    elif use.rule == rules.MINUTE:
        words = T("%(used)s of %(limit)s this minute", **numbers)
    elif use.rule == rules.HOUR:
        words = T("%(used)s of %(limit)s this hour", **numbers)
    else:
        words = T("%(used)s of %(limit)s in 24 hours", **numbers)
    return Meter(use, use.label, words, labels.get(use.account_id or ""))
