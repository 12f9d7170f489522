"""From test mode to real people: what must hold first, each found in the database, and the switch itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, or_, select, update

from .. import clock
from ..db import db, transaction
from ..domain.account_facts import QUALITY_SIGNS, quality_in_words
from ..domain.statuses import SENDABLE, MessageType, Status
from ..domain.text import T
from ..errors import Conflict
from ..models import (
    ApiKey,
    ConsentEvent,
    Message,
    Outbox,
    ProviderAccount,
    Schedule,
    Template,
    TemplateApproval,
    Tenant,
)
from ..providers.base import provider_named
from . import account_facts, audit

_UNUSABLE = frozenset({"pending", "offline", "disconnected", "restricted", "banned", "suspended", "closed"})
NO_SENDER_YET = T("It comes after your own number.")


@dataclass(frozen=True)
class Point:
    """One line of the list. ``must``: without it there is no going live. ``at``: when it came true, where known."""

    key: str
    title: T
    done: bool
    sentence: T
    must: bool = True
    at: datetime | None = None


@dataclass(frozen=True)
class Checklist:
    """``sender``: the live one that is nearest to being ready, None without any."""

    sender: ProviderAccount | None
    points: Sequence[Point]

    @property
    def missing(self) -> list[Point]:
        """What must hold and does not."""
        return [each for each in self.points if each.must and not each.done]

    @property
    def ready(self) -> bool:
        return not self.missing


@dataclass(frozen=True)
class StillOut:
    """Accepted already, and so sent whatever the mode is: ``messages`` that wait and ``reminders`` planned."""

    messages: int
    reminders: int


def checklist(tenant: Tenant) -> Checklist:
    """Where the organisation stands; in its scope, reads only."""
    own = _senders(tenant)
    by_sender = [(each, _of_sender(each)) for each in own]
    best = max(by_sender, key=lambda pair: sum(point.done for point in pair[1]), default=None)
    sender, points = best if best is not None else (None, _without_sender())
    return Checklist(sender, [*points, _wording(), _limits(tenant, sender), _key(tenant)])


def go_live(tenant: Tenant, actor: str) -> bool:
    """Let messages reach people from now on. Was it a change? Raises Conflict naming what is missing."""
    with transaction():
        row = _locked(tenant)
        if row.live:
            return False
        missing = checklist(row).missing
        if missing:
            names = "; ".join(str(each.title) for each in missing)
            raise Conflict(T("Not yet. Still missing: %(names)s.", names=names))
        _switch(row, actor, live=True)
    return True


def back_to_test(tenant: Tenant, actor: str) -> bool:
    """Live keys are refused from now on; what was accepted before still goes out. Was it a change?"""
    with transaction():
        row = _locked(tenant)
        if not row.live:
            return False
        _switch(row, actor, live=False)
    return True


def still_out(tenant: Tenant) -> StillOut:
    """What of the live messages is still to come; in the tenant's scope."""
    live = (Message.tenant_id == tenant.id, Message.live.is_(True))
    messages = select(func.count()).select_from(Outbox).join(Message, Message.id == Outbox.message_id).where(*live)
    reminders = select(func.count()).where(
        Schedule.tenant_id == tenant.id, Schedule.live.is_(True), Schedule.status == "pending"
    )
    return StillOut(db.session.scalar(messages) or 0, db.session.scalar(reminders) or 0)


def _locked(tenant: Tenant) -> Tenant:
    wanted = select(Tenant).where(Tenant.id == tenant.id).with_for_update()
    return db.session.scalars(wanted, execution_options={"populate_existing": True}).one()


def _switch(tenant: Tenant, actor: str, *, live: bool) -> None:
    db.session.execute(update(Tenant).where(Tenant.id == tenant.id).values(live=live))
    audit.record(tenant.id, actor, "tenant.live", tenant.id, before=not live, after=live)


# --- the points -------------------------------------------------------------------------------------------------


def _senders(tenant: Tenant) -> list[ProviderAccount]:
    wanted = select(ProviderAccount).where(
        ProviderAccount.tenant_id == tenant.id, ProviderAccount.live.is_(True), ProviderAccount.status != "disabled"
    )
    return list(db.session.scalars(wanted.order_by(ProviderAccount.priority, ProviderAccount.id)))


_TITLES: dict[str, T] = {
    "sender": T("Your own number is connected and tested"),
    "webhook": T("The provider has reported to us"),
    "quality": T("The number may send, and its quality is fine"),
    "template": T("The order confirmation is approved for it"),
    "message": T("A test message has arrived on a real phone"),
    "wording": T("Your shop says what people agreed to"),
    "limits": T("A limit on how fast messages leave"),
    "key": T("Your shop has a live key"),
}


def _point(key: str, done: bool, sentence: T, **more: object) -> Point:
    return Point(key, _TITLES[key], done, sentence, **more)  # type: ignore[arg-type]


def _without_sender() -> list[Point]:
    first = T("Connect a number of yours at Meta, Twilio or 360dialog. The test senders stay beside it.")
    return [
        _point("sender", False, first),
        *(_point(key, False, NO_SENDER_YET) for key in ("webhook", "quality", "template", "message")),
    ]


def _of_sender(account: ProviderAccount) -> list[Point]:
    return [_tested(account), _heard(account), _healthy(account), _approved(account), _arrived(account)]


def _tested(account: ProviderAccount) -> Point:
    facts = account_facts.facts_of(account)
    said = {"label": account.label, "number": account.sender or T("chosen by the provider")}
    if facts.problem is not None:
        text = T("%(label)s does not work yet. %(why)s %(advice)s", **said, why=facts.problem, advice=facts.advice)
        return _point("sender", False, text)
    if facts.told_at is None:
        return _point("sender", False, T("%(label)s has not been tested. Press “Test connection” on its page.", **said))
    if account.status == "held":
        return _point("sender", False, T("%(label)s is stopped by the provider. Its page says why.", **said))
    return _point("sender", True, T("%(label)s (%(number)s) answers.", **said), at=facts.told_at)


def _heard(account: ProviderAccount) -> Point:
    said = {"provider": provider_named(account.provider).label}
    if account.last_webhook_at is not None:
        text = T("News from %(provider)s arrives and is genuine.", **said)
        return _point("webhook", True, text, at=account.last_webhook_at)
    text = T(
        "Nothing has come from %(provider)s yet. Register the webhook, then write “hello” to your number from any "
        "phone, or send yourself the test message.",
        **said,
    )
    return _point("webhook", False, text)


def _healthy(account: ProviderAccount) -> Point:
    told = account_facts.facts_of(account).told
    quality = (account.quality or told.quality or "").lower()
    if told.state in _UNUSABLE or told.sending == "blocked":
        return _point("quality", False, T("The provider does not let it send at present. Its page says what to do."))
    if QUALITY_SIGNS.get(quality) == "bad":
        text = T("Its quality is %(quality)s. Wait until it has recovered.", quality=quality_in_words(quality))
        return _point("quality", False, text)
    if QUALITY_SIGNS.get(quality) is None:
        return _point("quality", True, T("Nothing speaks against it; a quality comes with the first messages."))
    return _point("quality", True, T("Its quality is %(quality)s.", quality=quality_in_words(quality)))


def _approved(account: ProviderAccount) -> Point:
    wanted = (
        select(Template.language, TemplateApproval.status)
        .join(TemplateApproval, TemplateApproval.template_id == Template.id)
        .where(Template.type == MessageType.ORDER_CONFIRM, TemplateApproval.account_id == account.id)
    )
    rows = db.session.execute(wanted).all()
    ready = sorted({language for language, status in rows if status in SENDABLE})
    if ready:
        return _point("template", True, T("Approved in: %(languages)s.", languages=", ".join(ready)))
    if rows:
        return _point("template", False, T("It was sent there for approval. That takes minutes, sometimes a day."))
    return _point("template", False, T("Send your templates to the provider for approval."))


def _arrived(account: ProviderAccount) -> Point:
    wanted = select(func.min(func.coalesce(Message.delivered_at, Message.status_at))).where(
        Message.tenant_id == account.tenant_id,
        Message.live.is_(True),
        Message.account_id == account.id,
        Message.status.in_((Status.DELIVERED, Status.READ)),
    )
    at = db.session.scalar(wanted)
    if at is not None:
        return _point("message", True, T("One went all the way."), at=at)
    return _point("message", False, T("Send yourself one: an order confirmation with sample values."))


def _wording() -> Point:
    at = db.session.scalar(select(func.max(ConsentEvent.recorded_at)).where(ConsentEvent.wording_id.is_not(None)))
    if at is not None:
        return _point("wording", True, T("Orders bring the wording people agreed to."), must=False, at=at)
    text = T("Have your shop send wording_id with each consent: which words the person said yes to.")
    return _point("wording", False, text, must=False)


def _limits(tenant: Tenant, sender: ProviderAccount | None) -> Point:
    own = tenant.rate_per_minute or tenant.rate_per_hour
    bound = own or (sender is not None and (sender.tier_limit or sender.rate_per_second))
    if bound:
        return _point("limits", True, T("A slip cannot reach everybody at once."), must=False)
    return _point("limits", False, T("Without one, a slip reaches everybody at once."), must=False)


def _key(tenant: Tenant) -> Point:
    wanted = select(ApiKey.name, ApiKey.last_used_at).where(
        ApiKey.tenant_id == tenant.id,
        ApiKey.live.is_(True),
        ApiKey.revoked_at.is_(None),
        or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > clock.now()),
    )
    row = db.session.execute(wanted.order_by(ApiKey.last_used_at.is_(None), ApiKey.last_used_at.desc())).first()
    if row is None:
        return _point("key", False, T("Make one after going live; test keys never reach people."), must=False)
    if row.last_used_at is None:
        return _point("key", True, T("“%(name)s” is ready; nobody has used it yet.", name=row.name), must=False)
    return _point("key", True, T("“%(name)s” is in use.", name=row.name), must=False, at=row.last_used_at)
