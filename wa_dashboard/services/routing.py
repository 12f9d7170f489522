"""Whose a provider's news is: the account that proved the post, or a sister it names more exactly."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import or_, select, update

from ..db import db, tenant_scope
from ..models import AccountRef, ProviderAccount, WebhookEvent
from ..providers.base import Item, Provider, StatusItem
from . import template_review
from .accounts import provider_of

SIGN_OF_LIFE = timedelta(seconds=10)
SILENCE = timedelta(minutes=10)  # after so long without a webhook, news of templates may have been lost
RECEIPT_SEEN = timedelta(seconds=5)
MOST_REFS = 500
_REF = re.compile(r"[!-~]{1,128}")


class Whose:
    """Accounts and adapters for one batch. Use it in the scope of all tenants; what it finds is narrowed by tenant."""

    def __init__(self) -> None:
        self._accounts: dict[str, ProviderAccount] = {}
        self._providers: dict[str, Provider] = {}
        self._heard: dict[str, datetime] = {}
        self._receipts: dict[str, datetime] = {}
        self._claimed: dict[tuple[str, tuple[str, ...]], dict[str, list[tuple[str, str]]]] = {}

    def provider(self, account_id: str) -> Provider:
        """Raises Undecryptable or BadCredentials."""
        if account_id not in self._providers:
            self._providers[account_id] = provider_of(self._account(account_id))
        return self._providers[account_id]

    def owners(self, event: WebhookEvent, items: Sequence[Item]) -> list[ProviderAccount | None]:
        """For each item the account it is about: the one that proved the post, a sister of the same tenant and mode
        that is named more exactly, or None when only another organisation's account is named."""
        self._heard[event.account_id] = max(event.received_at, self._heard.get(event.account_id, event.received_at))
        named = {item.account_refs for item in items}
        refs = sorted({ref for refs in named for ref in refs if _REF.fullmatch(ref)})
        claims = self._claims(event.provider, tuple(refs[:MOST_REFS]))
        found = {refs: self._owner(event, refs, claims) for refs in named}
        owners = [found[item.account_refs] for item in items]
        for account in {
            owner for owner, item in zip(owners, items, strict=True) if owner and isinstance(item, StatusItem)
        }:
            self._receipts[account.id] = max(event.received_at, self._receipts.get(account.id, event.received_at))
        return owners

    def _owner(
        self, event: WebhookEvent, refs: Sequence[str], claims: dict[str, list[tuple[str, str]]]
    ) -> ProviderAccount | None:
        own = self._account(event.account_id)
        named = [claim for ref in refs for claim in claims.get(ref, ())]
        votes = Counter(account_id for tenant_id, account_id in named if tenant_id == event.tenant_id)
        candidates = [account for account_id in votes if (account := self._account(account_id)).live == own.live]
        if candidates:
            return max(candidates, key=lambda account: (votes[account.id], account is own))
        return None if any(tenant_id != event.tenant_id for tenant_id, _ in named) else own

    def _claims(self, provider: str, refs: tuple[str, ...]) -> dict[str, list[tuple[str, str]]]:
        """Who holds each reference: (tenant, account) pairs."""
        if (provider, refs) not in self._claimed:
            claims: dict[str, list[tuple[str, str]]] = defaultdict(list)
            wanted = select(AccountRef.ref, AccountRef.tenant_id, AccountRef.account_id).where(
                AccountRef.provider == provider, AccountRef.ref.in_(refs)
            )
            for ref, tenant_id, account_id in db.session.execute(wanted) if refs else ():
                claims[ref].append((tenant_id, account_id))
            self._claimed[provider, refs] = claims
        return self._claimed[provider, refs]

    def _account(self, account_id: str) -> ProviderAccount:
        if account_id not in self._accounts:
            wanted = select(ProviderAccount).where(ProviderAccount.id == account_id)
            self._accounts[account_id] = db.session.scalars(wanted).one()
        return self._accounts[account_id]

    def note_signs_of_life(self) -> None:
        """Remember when each account was last heard of (at most every ten seconds), and when the last receipt of a
        message came (every five). Posts read again, which came long ago, change nothing."""
        self._note("last_webhook_at", self._heard, SIGN_OF_LIFE)
        self._note("last_receipt_at", self._receipts, RECEIPT_SEEN)

    def _note(self, column: str, heard: dict[str, datetime], pause: timedelta) -> None:
        field = getattr(ProviderAccount, column)
        for account_id, at in sorted(heard.items()):
            last = getattr(self._account(account_id), column)
            if last is not None and last > at - pause:
                continue
            if column == "last_webhook_at" and (last is None or last < at - SILENCE):
                self._look_at_templates(account_id)
            db.session.execute(
                update(ProviderAccount)
                .where(ProviderAccount.id == account_id, or_(field.is_(None), field < at))
                .values({column: at}),
                execution_options={"synchronize_session": False},
            )

    def _look_at_templates(self, account_id: str) -> None:
        """What was said during a silence may never come: the provider is asked."""
        account = self._account(account_id)
        with tenant_scope(account.tenant_id):
            template_review.look_at_all(account.id)
