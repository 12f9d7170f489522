"""A rehearsal: what would become of the messages if an account were down now. Changes nothing."""

from dataclasses import dataclass, field

from sqlalchemy import func, select

from ..db import db
from ..domain.statuses import MessageType
from ..domain.text import T
from ..errors import Invalid
from ..models import Outbox, ProviderAccount, Template, Tenant
from . import accounts, standby, template_choice

_TYPES: dict[MessageType, T] = {
    MessageType.ORDER_CONFIRM: T("order confirmations"),
    MessageType.REMINDER: T("reminders"),
    MessageType.PROMO: T("promotions"),
    MessageType.OTP: T("codes"),
}


@dataclass(frozen=True)
class Waiting:
    """Messages of one template that wait now. ``to``: the account that would take them; None: they stay, ``why``."""

    template: str
    language: str
    count: int
    to: ProviderAccount | None
    why: T | None = None


@dataclass(frozen=True)
class NewMessages:
    """What would happen to a new message of a type. ``to``: the account that would send it, None: it would wait."""

    type: str
    to: ProviderAccount | None
    sentence: T


@dataclass(frozen=True)
class Drill:
    """``moves`` and ``stays`` count messages; ``sentences`` say everything in the order in which to read it."""

    account: ProviderAccount
    standbys: list[ProviderAccount]
    moves: int
    stays: int
    waiting: list[Waiting] = field(default_factory=list)
    new: list[NewMessages] = field(default_factory=list)
    sentences: list[T] = field(default_factory=list)

    @property
    def ready(self) -> bool:
        """Nothing would have to wait: neither what waits now nor what comes."""
        return self.stays == 0 and bool(self.new) and all(each.to is not None for each in self.new)


def drill(tenant: Tenant, account_id: str) -> Drill:
    """What if this account were down now? In the tenant's scope; reads only. Raises NotFound."""
    account = accounts.find_account(account_id)
    others = standby.healthy_others(account)
    allowed = others if tenant.failover else []
    groups = _waiting(account, allowed, none=_why_none(tenant, others))
    new = [each for kind in _TYPES if (each := _new(tenant, account, kind, others)) is not None]
    moves = sum(group.count for group in groups if group.to is not None)
    stays = sum(group.count for group in groups if group.to is None)
    sentences = _sentences(tenant, account, others, groups, new)
    return Drill(account, others, moves, stays, groups, new, sentences)


def _why_none(tenant: Tenant, others: list[ProviderAccount]) -> T | None:
    if not others:
        return T("there is no second sender that works now")
    if not tenant.failover:
        return T("switching over is turned off for your organisation")
    return None


def _waiting(account: ProviderAccount, allowed: list[ProviderAccount], none: T | None) -> list[Waiting]:
    """What is queued on the account, by template, with where it would go."""
    rows = db.session.execute(
        select(Outbox.template_id, Template.name, Template.language, func.count().label("count"))
        .outerjoin(Template, Template.id == Outbox.template_id)
        .where(Outbox.account_id == account.id, Outbox.state == "queued")
        .group_by(Outbox.template_id, Template.name, Template.language)
        .order_by(Template.name, Template.language, Outbox.template_id)
    ).all()
    approved = standby.approved_at([other.id for other in allowed])
    found = []
    for template_id, name, language, count in rows:
        to = next((other for other in allowed if (template_id, other.id) in approved), None)
        missing = T("the template %(name)s (%(language)s) is not approved at %(label)s",
                    name=name or "?", language=language or "?", label=allowed[0].label if allowed else "?")  # fmt: skip
        found.append(Waiting(name or "?", language or "?", count, to, None if to else none or missing))
    return found


def _new(
    tenant: Tenant, account: ProviderAccount, kind: MessageType, others: list[ProviderAccount]
) -> NewMessages | None:
    """Chosen as sending would choose, with the account as the last resort; None: nothing of the kind can be sent."""
    order = [*(other.id for other in others), account.id] if tenant.failover else [account.id]
    try:
        choice = template_choice.choose(tenant, kind, account.live, order, languages=[tenant.locale])
    except Invalid:
        return None
    to = next((other for other in others if other.id == choice.approval.account_id), None)
    said = {"what": _TYPES[kind], "name": choice.template.name, "language": choice.template.language}
    if to is not None:
        return NewMessages(kind, to, T("New %(what)s would go through %(label)s.", label=to.label, **said))
    return NewMessages(
        kind,
        None,
        T("New %(what)s would wait: %(name)s (%(language)s) is approved at this sender only.", **said)
        if others and tenant.failover
        else T("New %(what)s would wait until this sender works again.", **said),
    )


def _sentences(
    tenant: Tenant,
    account: ProviderAccount,
    others: list[ProviderAccount],
    groups: list[Waiting],
    new: list[NewMessages],
) -> list[T]:
    said = [T("If %(label)s were down now:", label=account.label)]
    if not groups:
        said.append(T("No messages wait for it at the moment."))
    said += [_of_group(group) for group in groups]
    said += [each.sentence for each in new]
    used = {to.id for to in [*(group.to for group in groups), *(each.to for each in new)] if to is not None}
    said += [_limits(other) for other in others if other.id in used]
    if not others:
        said.append(T("Add a second sender, and have the same templates approved there, so that nothing has to wait."))
    elif not tenant.failover:
        said.append(T("Messages that wait would stay: switching over is turned off for your organisation."))
    said.append(T("What is on its way at that moment goes nowhere else before we know what became of it."))
    return said


def _of_group(group: Waiting) -> T:
    said = {"count": group.count, "name": group.template, "language": group.language}
    if group.to is not None:
        label = group.to.label
        return T("%(count)s waiting × %(name)s (%(language)s) would go through %(label)s.", label=label, **said)
    return T("%(count)s waiting × %(name)s (%(language)s) would wait: %(why)s.", why=group.why, **said)


def _limits(other: ProviderAccount) -> T:
    said = {"label": other.label, "rate": other.rate_per_second, "people": other.tier_limit}
    if other.rate_per_second and other.tier_limit:
        return T("%(label)s sends at most %(rate)s messages a second, to %(people)s people in 24 hours.", **said)
    if other.rate_per_second:
        return T("%(label)s sends at most %(rate)s messages a second.", **said)
    if other.tier_limit:
        return T("%(label)s writes to at most %(people)s people in 24 hours.", **said)
    return T("No limit of %(label)s is known here: compare it with the provider's console.", **said)
