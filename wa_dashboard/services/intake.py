"""Webhooks at the door: whose is it, is it genuine, keep it as it came. Reading it is `receipts`' business.

Nothing here depends on what the body says, so no body can break it; a forged one leaves no row behind.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sqlalchemy import Select, select

from .. import failpoints, logs, queues
from ..db import all_tenants, db, insert_rows, transaction
from ..domain.ids import new_id
from ..domain.text import T
from ..errors import Forbidden, NotReady, Unauthenticated
from ..models import AccountRef, ProviderAccount, WebhookEvent
from ..providers.base import BadCredentials, Provider, WebhookRequest, all_providers, providers_recognising
from ..security import Undecryptable
from .accounts import provider_of

log = logs.get(__name__)

# Meta batches up to 3 MB and asks for a limit of at least 4 MB (contracts.md §1.4), hence not api.md's 1 MiB.
BODY_LIMIT = 4 * 1024 * 1024
MOST_CANDIDATES = 50
_KEPT_HEADERS = ("Content-Type",)  # the others prove or carry secrets and are not needed again
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,64}")
_REF = re.compile(r"[!-~]{1,128}")


class WebhookRefused(Unauthenticated):
    """Nobody we know has signed this. An unknown address and a wrong signature look alike on purpose."""

    default_code = "webhook_signature_invalid"
    title = T("The signature does not fit")


@dataclass(frozen=True)
class Kept:
    """What became of a genuine post: ``new`` is False for a repetition; ``form`` says how to answer politely."""

    new: bool
    form: bool


def accept(request: WebhookRequest, token: str | None) -> Kept:
    """Keep a provider's post exactly as it came, once, committed before this returns.

    ``token`` is the account's own address, None for the shared one. ``request.received_at`` must be set.
    Raises WebhookRefused: nothing is stored then. NotReady: the account's secrets cannot be opened.
    """
    with all_tenants("the signature says whose webhook it is"):
        kept = _keep(_owners(request, token), request)
    failpoints.hit("F9")
    form = request.header("Content-Type").lower().startswith("application/x-www-form-urlencoded")
    return Kept(kept > 0, form)


def answer_challenge(request: WebhookRequest, token: str | None) -> str:
    """The text that proves to the provider that this address is ours. Raises Forbidden."""
    with all_tenants("a challenge names no account"):
        for account in _challengers(token):
            provider = _adapter(account)
            answer = provider.challenge(request) if provider else None
            if answer is not None:
                return answer
    log.warning("webhook_challenge_refused", with_token=token is not None)
    raise Forbidden(T("The verify token is not the one of this account."), "verify_token_wrong")


# --- whose is it ------------------------------------------------------------------------------------------------


def _owners(request: WebhookRequest, token: str | None) -> list[ProviderAccount]:
    """The accounts whose secret the request proves, one per tenant and mode: one app of Meta's can serve several."""
    candidates = _named_by(token) if token is not None else _claimed_in(request)
    closed = 0
    owners: dict[tuple[str, bool], ProviderAccount] = {}
    for account in candidates:
        provider = _adapter(account)
        closed += provider is None
        if provider is not None and provider.verify_webhook(request):
            owners.setdefault((account.tenant_id, account.live), account)
    if owners:
        return list(owners.values())
    if closed:
        raise NotReady(T("The account's secrets cannot be opened at present."))
    providers = [provider.name for provider in providers_recognising(request)]
    log.warning("webhook_refused", providers=providers, candidates=len(candidates), with_token=token is not None)
    raise WebhookRefused(T("The signature is missing, or was not made with this account's secret."))


def _named_by(token: str) -> list[ProviderAccount]:
    if not _TOKEN.fullmatch(token):
        return []
    return list(db.session.scalars(select(ProviderAccount).where(ProviderAccount.webhook_token == token)))


def _claimed_in(request: WebhookRequest) -> list[ProviderAccount]:
    """The accounts an unverified body names. Anybody can claim another's reference, so proven accounts come first."""
    found: dict[str, ProviderAccount] = {}
    for provider in providers_recognising(request):
        refs = [ref for ref in provider.account_keys_in(request) if _REF.fullmatch(ref)]
        if refs:
            found |= {account.id: account for account in db.session.scalars(_holders(provider, refs))}
    return list(found.values())


def _holders(provider: type[Provider], refs: Iterable[str]) -> Select[ProviderAccount]:
    claims = select(AccountRef.account_id).where(AccountRef.provider == provider.name, AccountRef.ref.in_(list(refs)))
    return (
        select(ProviderAccount)
        .where(ProviderAccount.id.in_(claims))
        .order_by(ProviderAccount.last_webhook_at.is_(None), ProviderAccount.id)
        .limit(MOST_CANDIDATES)
    )


def _challengers(token: str | None) -> Iterator[ProviderAccount]:
    if token is not None:
        yield from _named_by(token)
        return
    able = [name for name, provider in all_providers().items() if provider.challenge is not Provider.challenge]
    # A handshake is rare: it happens when somebody sets the address in the provider's console.
    newest = select(ProviderAccount).where(ProviderAccount.provider.in_(able)).order_by(ProviderAccount.id.desc())
    yield from db.session.scalars(newest.limit(MOST_CANDIDATES * 10))


def _adapter(account: ProviderAccount) -> Provider | None:
    """The account's adapter, None when its secrets cannot be opened: one broken account must not shut out others."""
    try:
        return provider_of(account)
    except (Undecryptable, BadCredentials) as error:
        log.warning("account_secrets_unreadable", account_id=account.id, error=type(error).__name__)
        return None


# --- keeping it -------------------------------------------------------------------------------------------------


def _keep(owners: Iterable[ProviderAccount], request: WebhookRequest) -> int:
    with transaction():
        rows = [_row(account, request) for account in owners]
        stored = len(insert_rows(WebhookEvent, rows, once=("account_id", "digest")))
        if stored:
            queues.wake_receipts()
    return stored


def _row(account: ProviderAccount, request: WebhookRequest) -> dict[str, object]:
    query = request.url.partition("?")[2].encode("utf-8", "replace")
    return {
        "id": new_id("whe"),
        "tenant_id": account.tenant_id,
        "account_id": account.id,
        "provider": account.provider,
        "received_at": request.received_at,
        "url": request.url.replace("\0", ""),
        "headers": {name: request.header(name)[:200] for name in _KEPT_HEADERS},
        "body": request.body,
        # The query counts: Twilio says there which of our sends a callback is about.
        "digest": hashlib.sha256(query + b"\n" + request.body).hexdigest(),
        "state": "new",
    }
