"""What a person decides about the organisation's senders and their speed. Every change is audited.

All verbs run in the tenant's scope; ``actor`` is who asks (``user:usr_…``). A change counts from the next claim on,
also for messages that wait already.
"""

import random
import secrets
from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import func, select, update

from .. import queues
from ..db import db, db_now, transaction
from ..domain.text import T
from ..errors import Finding, Invalid
from ..models import Outbox, ProviderAccount, Tenant
from ..providers.base import provider_named
from . import account_facts, account_story, accounts, audit
from . import waiting as waiting_rows

# The most that can be meant; more is a slip of the finger.
MOST = {"rate_per_minute": 100_000, "rate_per_hour": 1_000_000, "rate_per_second": 1_000, "tier_limit": 10_000_000}
_STEP = 10


def add(tenant: Tenant, actor: str, provider: str, given: Mapping[str, str], *, live: bool) -> ProviderAccount:
    """A new sender, last in the order. A test sender needs no keys: without any it gets made-up ones.

    Also a live one while the organisation is in test mode, to go live with. Raises Invalid naming the wrong keys, or
    the sender that is connected already.
    """
    kept = _completed(provider, given, live=live)
    last = max((each.priority for each in _in_order(tenant, live)), default=0)
    return accounts.create_account(
        tenant, provider, kept, live=live, priority=last + _STEP, actor=actor, getting_ready=True, once=True
    )


def check(provider: str, given: Mapping[str, str], *, live: bool) -> None:
    """Could these be the keys of a new sender? Raises Invalid naming the wrong ones."""
    accounts.checked(provider_named(provider), _completed(provider, given, live=live))


def _completed(provider: str, given: Mapping[str, str], *, live: bool) -> dict[str, str]:
    """What was typed, and what may be made up."""
    kind = provider_named(provider)
    kept = {name: value for name, value in given.items() if value.strip()}
    if not live and not kept:
        kept = kind.random_test_credentials(random.Random(secrets.randbits(64)))
    kept |= {
        each.name: secrets.token_urlsafe(24) for each in kind.credentials if each.made_up and each.name not in kept
    }
    return kept


def keys_changed_at(account: ProviderAccount) -> datetime:
    """When somebody last put in keys, at the latest when the sender was added."""
    found = account_story.newest(account.id, ("credentials_replaced",), limit=1)
    return found[0].at if found else account.created_at


def endings(account: ProviderAccount) -> dict[str, str]:
    """The last four characters of each secret that is kept and long enough to lose them: ``{"auth_token": "4f2a"}``."""
    kind = provider_named(account.provider)
    kept = account.credentials
    return {
        each.name: kept[each.name][-4:] if len(kept[each.name]) >= 16 else ""
        for each in kind.credentials
        if each.secret and each.name in kept
    }


def open_values(account: ProviderAccount) -> dict[str, str]:
    """What of the credentials is no secret."""
    kind = provider_named(account.provider)
    return {each.name: account.credentials.get(each.name, "") for each in kind.credentials if not each.secret}


def switch(actor: str, account_id: str, on: bool) -> bool:
    """Switch a sender on or off; its keys stay. Was it a change? Raises NotFound."""
    account = accounts.find_account(account_id)
    present = ("disabled",) if on else ("active", "held")
    with transaction():
        changed = db.session.scalar(
            update(ProviderAccount)
            .where(ProviderAccount.id == account.id, ProviderAccount.status.in_(present))
            .values(status="active" if on else "disabled", hold_reason=None, hold_until=None)
            .returning(ProviderAccount.id)
        )
        if changed is None:
            return False
        kind = "switched_on" if on else "switched_off"
        audit.record(account.tenant_id, actor, f"account.{kind}", account.id)
        account_story.add_line(account.tenant_id, account.id, kind)
        if on:
            _look_at_once([account.id])
    if on:
        waiting_rows.let_go(account)
    return True


def move(tenant: Tenant, actor: str, account_id: str, *, up: bool) -> bool:
    """Put a sender before (``up``) or after its neighbour. Did it move? Raises NotFound."""
    account = accounts.find_account(account_id)
    with transaction():
        order = _in_order(tenant, account.live, lock=True)
        ids = [each.id for each in order]
        place = ids.index(account.id)
        other = place - 1 if up else place + 1
        if not 0 <= other < len(ids):
            return False
        order[place], order[other] = order[other], order[place]
        for number, each in enumerate(order, start=1):
            each.priority = number * _STEP
        audit.record(tenant.id, actor, "account.moved", account.id, order=[each.id for each in order])
    return True


def _in_order(tenant: Tenant, live: bool, *, lock: bool = False) -> list[ProviderAccount]:
    wanted = (
        select(ProviderAccount)
        .where(ProviderAccount.tenant_id == tenant.id, ProviderAccount.live == live)
        .order_by(ProviderAccount.priority, ProviderAccount.id)
    )
    return list(db.session.scalars(wanted.with_for_update() if lock else wanted))


def waiting(tenant: Tenant, live: bool) -> int:
    """How many messages of the mode wait for their turn at one of its senders."""
    ids = [each.id for each in _in_order(tenant, live)]
    wanted = select(func.count()).where(Outbox.account_id.in_(ids), Outbox.state == "queued")
    return db.session.scalar(wanted) or 0


def set_failover(tenant: Tenant, actor: str, on: bool) -> None:
    """Whether messages go through the next sender when nothing can have been sent through the first."""
    with transaction():
        db.session.execute(update(Tenant).where(Tenant.id == tenant.id).values(failover=on))
        audit.record(tenant.id, actor, "tenant.failover", tenant.id, before=tenant.failover, after=on)


def read_limits(typed: Mapping[str, str]) -> dict[str, int]:
    """Whole numbers from a form, by column; empty is 0, no limit. Raises Invalid with a finding for each wrong one."""
    found: dict[str, int] = {}
    wrong: list[Finding] = []
    for name, text in typed.items():
        digits = "".join(text.split()).replace(".", "").replace(",", "").replace("\u202f", "")
        if digits and not (digits.isascii() and digits.isdigit() and len(digits) < 12):
            wrong.append(Finding(f"/{name}", "not_a_number", T("Write a whole number, or 0 for no limit.")))
        elif int(digits or 0) > MOST[name]:
            said = T("At most %(most)s.", most=f"{MOST[name]:,}".replace(",", " "))
            wrong.append(Finding(f"/{name}", "too_large", said))
        else:
            found[name] = int(digits or 0)
    if wrong:
        raise Invalid(T("These limits are not usable as written."), findings=wrong)
    return found


def set_tenant_limits(tenant: Tenant, actor: str, *, rate_per_minute: int, rate_per_hour: int) -> None:
    """Messages per minute and per hour of the whole organisation, 0 for no limit."""
    after = {"rate_per_minute": rate_per_minute, "rate_per_hour": rate_per_hour}
    before = {name: getattr(tenant, name) for name in after}
    if before == after:
        return
    with transaction():
        db.session.execute(update(Tenant).where(Tenant.id == tenant.id).values(**after))
        audit.record(tenant.id, actor, "tenant.limits", tenant.id, before=before, after=after)
        ids = db.session.scalars(select(ProviderAccount.id).where(ProviderAccount.tenant_id == tenant.id))
        _look_at_once(list(ids))


def set_sender_limits(actor: str, account_id: str, *, rate_per_second: int, tier_limit: int) -> None:
    """Messages per second of one number, and different people in 24 hours, 0 for no limit. Raises NotFound."""
    account = accounts.find_account(account_id)
    after = {"rate_per_second": rate_per_second, "tier_limit": tier_limit}
    before = {name: getattr(account, name) for name in after}
    if before == after:
        return
    with transaction():
        locked = select(ProviderAccount).where(ProviderAccount.id == account.id).with_for_update(key_share=True)
        row = db.session.scalars(locked, execution_options={"populate_existing": True}).one()
        facts = account_facts.with_limits(row, after)
        db.session.execute(update(ProviderAccount).where(ProviderAccount.id == account.id).values(**after, facts=facts))
        audit.record(account.tenant_id, actor, "account.limits", account.id, before=before, after=after)
        _look_at_once([account.id])


def _look_at_once(account_ids: list[str]) -> None:
    """What a limit or a stopped sender had put off is due now, and judged anew; what failed keeps its own patience."""
    db.session.execute(
        update(Outbox)
        .where(
            Outbox.account_id.in_(account_ids),
            Outbox.state == "queued",
            Outbox.failures == 0,
            Outbox.next_at > db_now(),
        )
        .values(next_at=db_now()),
        execution_options={"synchronize_session": False},
    )
    for account_id in account_ids:
        queues.wake_lane(account_id)
