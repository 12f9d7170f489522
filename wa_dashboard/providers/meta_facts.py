"""What Meta tells of a number and its business account (contracts.md §1.1)."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ..domain.account_facts import AccountFacts, tier_of
from .hook_address import whose
from .port import ProviderError
from .wire import e164, items_at, text_at

NUMBER_FIELDS = (
    "id,display_phone_number,verified_name,quality_rating,throughput,status,name_status,"
    "whatsapp_business_manager_messaging_limit,health_status,webhook_configuration"
)
ACCOUNT_FIELDS = "id,name,currency,account_review_status,health_status"
# Messages a second in and out (contracts.md §1.9).
RATES = {"STANDARD": 80, "HIGH": 1_000}
_SENDING = {"AVAILABLE": "available", "LIMITED": "limited", "BLOCKED": "blocked"}

Ask = Callable[[str, Mapping[str, str]], Any]


def read(ask: Ask, number_id: str, account_id: str, ours: str) -> AccountFacts:
    """The number's state, the account's, and who gets its news. ``ask``: a path and a query to an answer's JSON.

    Raises ProviderError when the number cannot be read; what else these keys may not read is named in ``hidden``.
    """
    found = of_number(ask(number_id, {"fields": NUMBER_FIELDS}), ours)
    try:
        found = of_account(found, ask(account_id, {"fields": ACCOUNT_FIELDS}))
    except ProviderError as problem:
        found = _without(found, "account", problem)
    try:
        subscriptions = items_at(ask(f"{account_id}/subscribed_apps", {}), "data")
        return replace(found, subscribed=bool(subscriptions))
    except ProviderError as problem:
        return _without(found, "subscriptions", problem)


def of_number(data: Any, ours: str) -> AccountFacts:
    """The facts of a phone number node. Pure."""
    hooks = data.get("webhook_configuration") if isinstance(data, dict) else None
    webhook: tuple[str | None, str | None] = (None, None)
    if isinstance(hooks, dict):
        # The nearest setting wins: the number's own, the account's, the app's.
        levels = ("phone_number", "whatsapp_business_account", "application")
        webhook = whose(next((at for level in levels if (at := text_at(hooks, level))), None), ours)
    name_state = (text_at(data, "name_status") or "").lower()
    quality = (text_at(data, "quality_rating") or "").lower()
    return AccountFacts(
        number=e164(text_at(data, "display_phone_number")),
        name=text_at(data, "verified_name"),
        name_state=None if name_state in ("", "none") else name_state,
        quality="unknown" if quality in ("na", "unknown") else quality or None,
        tier=tier_of(text_at(data, "whatsapp_business_manager_messaging_limit")),
        rate=RATES.get((text_at(data, "throughput", "level") or "").upper()),
        state=(text_at(data, "status") or "").lower() or None,
        sending=_SENDING.get(text_at(data, "health_status", "can_send_message") or ""),
        reasons=_reasons(data),
        webhook=webhook[0],
        webhook_host=webhook[1],
    )


def of_account(found: AccountFacts, data: Any) -> AccountFacts:
    """The facts with those of a WhatsApp business account node. Pure."""
    return replace(
        found,
        business=text_at(data, "name"),
        currency=text_at(data, "currency"),
        review=(text_at(data, "account_review_status") or "").lower() or None,
    )


def _reasons(data: Any) -> tuple[str, ...]:
    """Meta's own sentences about what keeps the number from sending."""
    said = [
        text
        for entity in items_at(data, "health_status", "entities")
        for error in items_at(entity, "errors")
        if (text := text_at(error, "error_description"))
    ]
    more = [text for entity in items_at(data, "health_status", "entities")
            for text in items_at(entity, "additional_info") if isinstance(text, str)]  # fmt: skip
    return tuple(dict.fromkeys(text[:300] for text in said + more))[:5]


def _without(found: AccountFacts, part: str, problem: ProviderError) -> AccountFacts:
    """A part that these keys may not read is named; anything else is a reason to ask again later."""
    if problem.outcome.kind != "rejected":
        raise problem
    return replace(found, hidden=(*found.hidden, part))
