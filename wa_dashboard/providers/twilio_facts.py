"""What Twilio tells of an account (contracts.md §4, the published specs): its state, its kind, its balance.

Quality, tier and name of a WhatsApp sender are not in any published API; Twilio's console shows them.
"""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from typing import Any

from ..domain.account_facts import AccountFacts
from .port import ProviderError
from .wire import dig, text_at

Ask = Callable[[str], Any]


def read(ask: Ask, account: str) -> AccountFacts:
    """``ask``: a path below the account's address to an answer's JSON. Raises ProviderError when the keys are refused.

    API keys of the standard kind may send and list, but not read the account: that is named in ``hidden``.
    The answer about the account carries its auth token, of which nothing is kept.
    """
    ask(f"{account}/Messages.json?PageSize=1")
    found = AccountFacts()
    try:
        found = of_account(ask(f"{account}.json"))
    except ProviderError as problem:
        found = _without(found, "account", problem)
    try:
        return with_balance(found, ask(f"{account}/Balance.json"))
    except ProviderError as problem:
        return _without(found, "balance", problem)


def of_account(data: Any) -> AccountFacts:
    """The facts of an account resource. Pure."""
    return AccountFacts(
        state=(text_at(data, "status") or "").lower() or None,
        kind=(text_at(data, "type") or "").lower() or None,
        business=text_at(data, "friendly_name"),
    )


def with_balance(found: AccountFacts, data: Any) -> AccountFacts:
    """The facts with what is left on the account. Pure."""
    try:
        balance = int(Decimal(str(dig(data, "balance"))) * 1_000_000)
    except (InvalidOperation, ValueError, OverflowError):
        return found
    return replace(found, balance=balance, currency=text_at(data, "currency"))


def _without(found: AccountFacts, part: str, problem: ProviderError) -> AccountFacts:
    if problem.outcome.kind != "rejected":
        raise problem
    return replace(found, hidden=(*found.hidden, part))
