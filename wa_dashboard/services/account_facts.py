"""What providers tell of our accounts, asked for every hour and at once after connecting: number, quality, limits.

`wa_accounts.facts` holds ``told`` (`AccountFacts.kept`), ``told_at``, ``problem`` (``class`` and ``code`` of the last
time nobody told us) and ``by_hand``: the limits that a person has set, which stay whatever the provider tells.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import or_, select, update

from .. import clock, logs
from ..db import all_tenants, db, end_read, give_up_read, tenant_scope, transaction
from ..domain.account_facts import AccountFacts
from ..domain.text import T
from ..errors import Conflict
from ..models import ProviderAccount
from ..providers.base import Outcome, Probe, ProviderError, explain, provider_named
from ..security import Undecryptable
from . import account_story, accounts, audit

log = logs.get(__name__)

EVERY = timedelta(hours=1)
MOST_AT_ONCE = 50
LONGEST_S = 20.0  # of one sweep: providers that hang must not keep the other chores waiting
LIMITS = ("tier_limit", "rate_per_second")


@dataclass(frozen=True)
class Facts:
    """``told``: what the provider last told, at ``told_at``. ``checked_at``: when we last asked; ``problem`` says why
    nothing was told then, ``advice`` what to do. ``by_hand``: limits that a person set otherwise than the provider.
    """

    told: AccountFacts
    told_at: datetime | None
    checked_at: datetime | None
    problem: T | None
    advice: T | None
    by_hand: tuple[str, ...]

    @property
    def fine(self) -> bool:
        """Did the provider answer when it was last asked?"""
        return self.told_at is not None and self.problem is None


def facts_of(account: ProviderAccount) -> Facts:
    """What is known of the account. Reads nothing but the row."""
    kept = account.facts or {}
    told_at = kept.get("told_at")
    found = kept.get("problem")
    told = AccountFacts.from_kept(kept.get("told") or {})
    problem, advice = _in_words(account.provider, found) if found else (None, None)
    return Facts(
        told=told,
        told_at=datetime.fromisoformat(told_at) if told_at else None,
        checked_at=account.checked_at,
        problem=problem,
        advice=advice,
        by_hand=tuple(name for name in kept.get("by_hand", ()) if _told_limit(told, name) is not None),
    )


def _in_words(provider: str, problem: dict[str, Any]) -> tuple[T, T]:
    if problem.get("class") in ("network", "transient", "ambiguous", "throttle"):
        label = provider_named(provider).label
        return T("%(provider)s could not be reached.", provider=label), T("We ask again by ourselves within the hour.")
    found = explain(provider, problem.get("code"), problem.get("class"))
    return found.reason, found.advice


# --- asking -----------------------------------------------------------------------------------------------------


def refresh_due(stopping: Callable[[], object] = lambda: False) -> int:
    """Ask for the facts of every account that was not asked for within the hour; returns how many told us.

    Any number of processes may do so at once: each account is asked by one of them. One that is broken, in whatever
    way, never keeps the others waiting.
    """
    with all_tenants("accounts of every organisation are asked for"):
        wanted = select(ProviderAccount.tenant_id, ProviderAccount.id)
        wanted = wanted.where(ProviderAccount.status != "disabled", _is_due())
        oldest_first = wanted.order_by(ProviderAccount.checked_at.asc().nulls_first(), ProviderAccount.id)
        due = db.session.execute(oldest_first.limit(MOST_AT_ONCE)).all()
        end_read()
    told, until = 0, time.monotonic() + LONGEST_S
    for tenant_id, account_id in due:
        if stopping() or time.monotonic() > until:
            break
        with tenant_scope(tenant_id):
            try:
                if _take_turn(account_id):
                    told += refresh(accounts.find_account(account_id)).fine
            except Exception as error:  # what is wrong with one account is that account's business
                give_up_read()
                log.exception("account_facts_failed", account_id=account_id, error=type(error).__name__)
    return told


def _is_due() -> Any:
    return or_(ProviderAccount.checked_at.is_(None), ProviderAccount.checked_at < clock.now() - EVERY)


def _take_turn(account_id: str) -> bool:
    """Is it this process that asks? Whoever moves the time on does."""
    with transaction():
        mine = db.session.scalar(
            update(ProviderAccount)
            .where(ProviderAccount.id == account_id, _is_due())
            .values(checked_at=clock.now())
            .returning(ProviderAccount.id),
            execution_options={"synchronize_session": False},
        )
    return mine is not None


def refresh(account: ProviderAccount) -> Facts:
    """Ask the provider now, keep what it tells, and mend a webhook it has forgotten. Never raises for the provider.

    In the tenant's scope, outside a transaction.
    """
    account_id, ours = account.id, accounts.webhook_url(account)
    told, problem = _ask(account, ours)
    if told is not None and _is_lost(account, told) and _set_webhook(account, ours):
        told, problem = _ask(account, ours)
        with transaction():
            account_story.add_line(account.tenant_id, account_id, "webhook_set_again")
    with transaction():
        row = _locked(account_id)
        _keep(row, told, problem)
    return facts_of(accounts.find_account(account_id))


def _locked(account_id: str) -> ProviderAccount:
    wanted = select(ProviderAccount).where(ProviderAccount.id == account_id).with_for_update(key_share=True)
    return db.session.scalars(wanted, execution_options={"populate_existing": True}).one()


def _ask(account: ProviderAccount, ours: str) -> tuple[AccountFacts | None, Outcome | None]:
    try:
        provider = accounts.provider_of(account)
        end_read()
        return provider.facts(ours), None
    except ProviderError as problem:
        return None, problem.outcome
    except Undecryptable as error:
        log.warning("account_unreadable", account_id=account.id, error=str(error))
        return None, Outcome("rejected", "account_stop", "unreadable", scope="account")


def _is_lost(account: ProviderAccount, told: AccountFacts) -> bool:
    """Has the provider forgotten our address, as 360dialog does when a key is rotated (contracts.md §3)?

    One that reports to another program is left alone: that was a person's doing.
    """
    if not provider_named(account.provider).loses_webhook:
        return False
    return told.webhook in ("none", "moved") or (told.webhook == "ours" and told.webhook_proof is False)


def _set_webhook(account: ProviderAccount, ours: str) -> bool:
    try:
        accounts.provider_of(account).register_webhook(ours)
    except ProviderError as problem:
        log.warning("webhook_not_set", account_id=account.id, code=problem.outcome.code)
        return False
    return True


# --- keeping ----------------------------------------------------------------------------------------------------


def _keep(account: ProviderAccount, told: AccountFacts | None, problem: Outcome | None) -> None:
    kept = dict(account.facts or {})
    kept.pop("problem", None)
    account.checked_at = clock.now()
    if told is None:
        kept["problem"] = {"class": problem.error_class if problem else None, "code": problem.code if problem else None}
        account.facts = kept
        return
    if "told_at" not in kept:  # what was set before we first asked was set by somebody
        kept.setdefault("by_hand", [name for name in LIMITS if getattr(account, name)])
    account.facts = kept | {"told": told.kept(), "told_at": clock.now().isoformat()}
    if told.quality not in (None, "unknown"):
        learn(account, quality=told.quality)
    if account.live:  # what is simulated is bound by nothing
        learn(account, tier=told.tier, rate=told.rate)


def learn(
    account: ProviderAccount, *, quality: str | None = None, tier: int | None = None, rate: int | None = None
) -> None:
    """Believe what the provider says of a number, in a transaction: its colour, people in 24 hours, messages a second.

    A limit that a person has set by hand stays (`facts_of` tells of both); None changes nothing, 0 is no limit.
    """
    if quality is not None and quality.lower() != (account.quality or "").lower():
        if account.quality:
            account_story.add_line(account.tenant_id, account.id, "quality", was=account.quality, now=quality)
        account.quality = quality.lower()[:16]
    for name, value in (("tier_limit", tier), ("rate_per_second", rate)):
        if value is not None:
            _follow(account, name, value)


def _follow(account: ProviderAccount, name: str, value: int) -> None:
    before = getattr(account, name)
    if before == value or name in (account.facts or {}).get("by_hand", ()):
        return
    setattr(account, name, value)
    if before and name == "tier_limit":
        account_story.add_line(account.tenant_id, account.id, "tier", was=before, now=value)


def with_limits(account: ProviderAccount, after: Mapping[str, int]) -> dict[str, Any]:
    """The account's ``facts`` once a person has set its limits: those that are not what the provider tells are theirs.

    Messages a second of 0 leave the matter to the provider again.
    """
    kept = dict(account.facts or {})
    told = AccountFacts.from_kept(kept.get("told") or {})
    by_hand = set(kept.get("by_hand", ()))
    for name, value in after.items():
        if value == _told_limit(told, name) or (name == "rate_per_second" and value == 0):
            by_hand.discard(name)
        elif value != getattr(account, name):
            by_hand.add(name)
    return kept | {"by_hand": sorted(by_hand)}


def _told_limit(told: AccountFacts, name: str) -> int | None:
    return told.tier if name == "tier_limit" else told.rate


# --- what people ask for ----------------------------------------------------------------------------------------


def test(actor: str, account_id: str) -> Probe:
    """Test the connection and ask for the facts at once. In the tenant's scope, outside a transaction. NotFound."""
    probe = accounts.test_connection(actor, account_id)
    refresh(accounts.find_account(account_id))
    return probe


def register_webhook(actor: str, account_id: str) -> T:
    """Have the provider report to us, and look whether it does; returns what came of it, in words.

    In the tenant's scope, outside a transaction. Raises NotFound; Conflict when the provider refuses (its reason in
    words), cannot be reached, or wants it done by hand.
    """
    account = accounts.find_account(account_id)
    kind = provider_named(account.provider)
    if not kind.sets_webhook:
        raise Conflict(T("%(provider)s wants the address entered by hand.", provider=kind.label))
    provider = accounts.provider_of(account)
    end_read()
    try:
        said = provider.register_webhook(accounts.webhook_url(account))
    except ProviderError as problem:
        outcome = problem.outcome
        reason, advice = _in_words(account.provider, {"class": outcome.error_class, "code": outcome.code})
        raise Conflict(T("%(why)s %(advice)s", why=reason, advice=advice)) from problem
    with transaction():
        audit.record(account.tenant_id, actor, "account.webhook_registered", account.id)
        account_story.add_line(account.tenant_id, account.id, "webhook_registered")
    refresh(accounts.find_account(account_id))
    return said
