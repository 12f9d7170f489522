"""What 360dialog's door tells of a number by its key: where it reports to (contracts.md §3). Nothing else.

Quality and limits come by the account's webhooks alone; the partner API, which knows more, needs other keys.
"""

from collections.abc import Callable, Mapping
from typing import Any

from ..domain.account_facts import AccountFacts
from .hook_address import whose
from .port import ProviderError, header_of
from .wire import dig, same, text_at

Ask = Callable[[str], Any]


def read(ask: Ask, header: str, secret: str, ours: str) -> AccountFacts:
    """Whether messages and news of the account come to ``ours``, and with our secret in ``header``.

    Raises ProviderError when the key is refused or nobody answers.
    """
    number = ask("v1/configs/webhook")
    webhook, host = whose(text_at(number, "url"), ours)
    account_webhook: str | None = None
    hidden: tuple[str, ...] = ()
    try:
        account_webhook, _ = whose(text_at(ask("waba_webhook"), "url"), ours)
    except ProviderError as problem:
        if problem.outcome.kind != "rejected":
            raise
        hidden = ("account",)
    return AccountFacts(
        webhook=webhook,
        webhook_host=host,
        webhook_proof=_proves(dig(number, "headers"), header, secret) if webhook == "ours" else None,
        account_webhook=account_webhook,
        hidden=hidden,
    )


def _proves(headers: Any, header: str, secret: str) -> bool | None:
    """Does the header carry our secret? None when the headers are not told."""
    if not isinstance(headers, Mapping):
        return None
    return same(secret, header_of({str(key): str(value) for key, value in headers.items()}, header))
