"""The result of a connection's test as lines, good or bad, with what to do."""

from dataclasses import dataclass

from ..domain.account_facts import Check, Sign, checks
from ..domain.text import T
from ..models import ProviderAccount
from ..providers.base import provider_named
from ..services.account_facts import Facts
from ..services.accounts import settings as installation
from .formats import Count

SIGN_LOOKS: dict[Sign, tuple[str, str]] = {
    "good": ("check", "good"),
    "warn": ("alert", "warn"),
    "bad": ("x-circle", "bad"),
    "unknown": ("help", "wait"),
}
_ORDER: dict[Sign, int] = {"bad": 0, "warn": 1, "unknown": 2, "good": 3}


@dataclass(frozen=True)
class Line:
    """A line of the result, as the page shows it."""

    check: Check
    icon: str
    tone: str


def lines_of(account: ProviderAccount, facts: Facts) -> list[Line]:
    """What is known of the connection, what is wrong first."""
    kind = provider_named(account.provider)
    found: list[Check] = []
    if facts.problem is not None:
        found.append(Check("keys", "bad", facts.problem, facts.advice))
    elif facts.told_at is not None:
        found.append(Check("keys", "good", T("%(provider)s accepts these credentials.", provider=kind.label)))
    if facts.told_at is not None:
        found += checks(facts.told, account.sender, kind.label, Count(facts.told.tier or 0))
    if account.live and not installation().public_url.startswith("https://"):
        found.append(_not_public())
    found.append(_heard(account, kind.label))
    return [Line(each, *SIGN_LOOKS[each.sign]) for each in sorted(found, key=lambda each: _ORDER[each.sign])]


def _not_public() -> Check:
    text = T(
        "This program's own address is not public: no provider can report to %(url)s.", url=installation().public_url
    )
    return Check("public", "bad", text, T("Whoever runs it sets WA_PUBLIC_URL to its https address."))


def _heard(account: ProviderAccount, label: str) -> Check:
    if account.last_webhook_at is not None:
        return Check("heard", "good", T("News from %(provider)s arrives here.", provider=label))
    advice = T("Register the webhook below, then write “hello” to the number from any phone.")
    return Check("heard", "warn", T("Nothing has come from %(provider)s yet.", provider=label), advice)
