"""What a provider tells of a number and its account, in our words, and what each piece means for an organiser."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from .text import T

Sign = Literal["good", "warn", "bad", "unknown"]

# Meta's steps of the messaging limit (contracts.md §1.9): different people in 24 hours; 0 is no limit.
TIERS = {"50": 50, "250": 250, "1K": 1_000, "2K": 2_000, "10K": 10_000, "100K": 100_000, "UNLIMITED": 0}
QUALITIES: dict[str, T] = {
    "green": T("high"),
    "high": T("high"),
    "yellow": T("medium"),
    "medium": T("medium"),
    "red": T("low: people block or report it"),
    "low": T("low: people block or report it"),
}
QUALITY_SIGNS: dict[str, Sign] = {
    "green": "good", "high": "good", "yellow": "warn", "medium": "warn", "red": "bad", "low": "bad",
}  # fmt: skip


@dataclass(frozen=True)
class AccountFacts:
    """What was told; None is what this provider does not tell, or would not.

    ``number`` E.164; ``name`` what people see above the chat, ``name_state`` approved, pending, declined or expired.
    ``quality`` green, yellow, red. ``tier`` different people in 24 hours, 0 without limit. ``rate`` messages a second.
    ``state`` and ``review`` are the provider's words in lower case; ``sending`` available, limited or blocked, with its
    ``reasons``. ``webhook``: ours, moved (ours at a former address), other, or none; ``webhook_host`` is whose.
    ``account_webhook``: the same for news of templates where that goes another way. ``webhook_proof``: does it carry
    our secret? ``subscribed``: does any app get news of the account? ``balance`` in ``currency`` micro-units.
    ``hidden``: parts that these keys may not read.
    """

    number: str | None = None
    name: str | None = None
    name_state: str | None = None
    quality: str | None = None
    tier: int | None = None
    rate: int | None = None
    state: str | None = None
    sending: str | None = None
    reasons: tuple[str, ...] = ()
    review: str | None = None
    business: str | None = None
    kind: str | None = None
    currency: str | None = None
    balance: int | None = None
    webhook: str | None = None
    webhook_host: str | None = None
    webhook_proof: bool | None = None
    account_webhook: str | None = None
    subscribed: bool | None = None
    hidden: tuple[str, ...] = ()

    def kept(self) -> dict[str, Any]:
        """What was told, as JSON."""
        return {name: value for name, value in asdict(self).items() if value not in (None, ())}

    @classmethod
    def from_kept(cls, kept: Mapping[str, Any]) -> "AccountFacts":
        """The facts as `kept` gave them; names of other versions of this program are left out."""
        names = {each.name for each in fields(cls)}
        known: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in kept.items() if name in names
        }
        return cls(**known)


@dataclass(frozen=True)
class Check:
    """One line of the result of a test. ``advice``: what to do, where there is something to do."""

    key: str
    sign: Sign
    text: T
    advice: T | None = None


def tier_of(word: str | None) -> int | None:
    """``TIER_2K`` is 2000, ``TIER_UNLIMITED`` 0; None for a word that is new."""
    text = (word or "").strip().upper().removeprefix("TIER_")
    return TIERS.get(text, int(text) if text.isascii() and text.isdigit() and len(text) < 9 else None)


def tier_in_words(tier: int, count: object) -> T:
    """``up to 2,000 new people a day``; ``count`` is the tier as people write it."""
    if not tier:
        return T("as many new people a day as you like")
    return T("up to %(count)s new people a day", count=count)


def quality_in_words(quality: str | None) -> T | str:
    """``high``, ``medium``, ``low …``; what is new as it came."""
    said = (quality or "").lower()
    return QUALITIES.get(said) or said or T("not known")


def checks(facts: AccountFacts, sender: str, provider: str, count: object) -> list[Check]:
    """Each fact as a line, good or bad, with what to do. ``sender``: the number as it stands here."""
    return [
        *_number(facts, sender, provider),
        *_name(facts, provider),
        *_state(facts, provider),
        *_quality(facts),
        *_tier(facts, count),
        *_review(facts, provider),
        *_subscribed(facts, provider),
        *_webhook(facts, provider),
    ]


def _number(facts: AccountFacts, sender: str, provider: str) -> Iterator[Check]:
    if facts.number is None:
        return
    if sender and facts.number != sender:
        text = T("The number at %(provider)s is %(theirs)s, here stands %(ours)s.",
                 provider=provider, theirs=facts.number, ours=sender)  # fmt: skip
        yield Check("number", "bad", text, T("Compare the phone number ID with the one at Meta, and replace the keys."))
    else:
        yield Check("number", "good", T("The number is %(number)s.", number=facts.number))


def _name(facts: AccountFacts, provider: str) -> Iterator[Check]:
    if not facts.name:
        return
    said = {"name": facts.name}
    if facts.name_state in (None, "approved", "available_without_review"):
        yield Check("name", "good", T("People see the name “%(name)s”.", **said))
    elif facts.name_state in ("pending", "pending_review"):
        yield Check("name", "warn", T("The name “%(name)s” is in review; until then people see the number.", **said))
    else:
        advice = T("Choose another display name at %(provider)s and have it checked.", provider=provider)
        yield Check("name", "bad", T("The name “%(name)s” was not accepted.", **said), advice)


_STATES: dict[str, tuple[Sign, T, T | None]] = {
    "connected": ("good", T("The number is connected."), None),
    "active": ("good", T("The account is active."), None),
    "pending": ("bad", T("The number is not registered yet."), T("Finish registering it in WhatsApp Manager.")),
    "offline": ("bad", T("The number is offline."), T("Register it again in WhatsApp Manager.")),
    "disconnected": ("bad", T("The number is disconnected."), T("Register it again in WhatsApp Manager.")),
    "flagged": ("warn", T("The number is flagged: its quality is low."), T("Send less, and only what people expect.")),
    "restricted": ("bad", T("The number is restricted: it may not start conversations."),
                   T("Look in WhatsApp Manager what Meta objects to.")),
    "rate_limited": ("bad", T("The number has reached its limit."), T("It sends again when Meta lets it.")),
    "banned": ("bad", T("The number is banned."), T("Ask for a review in WhatsApp Manager.")),
    "suspended": ("bad", T("The account is suspended."), T("Pay what is open, or ask the provider's support.")),
    "closed": ("bad", T("The account is closed."), T("Use another account.")),
}  # fmt: skip


def _state(facts: AccountFacts, provider: str) -> Iterator[Check]:
    if facts.state is not None:
        new: tuple[Sign, T, T | None] = (
            "warn", T("%(provider)s calls the number “%(state)s”.", provider=provider, state=facts.state), None
        )  # fmt: skip
        sign, text, advice = _STATES.get(facts.state, new)
        yield Check("state", sign, text, advice)
    if facts.kind == "trial":
        advice = T("Put money on the account: then it may write to everybody.")
        yield Check("trial", "warn", T("A trial account writes only to numbers you have confirmed there."), advice)
    if facts.sending in ("limited", "blocked"):
        why = " ".join(facts.reasons)
        text = T("It may send with limits only. %(why)s", why=why) if facts.sending == "limited" else T(
            "It may not send at present. %(why)s", why=why
        )  # fmt: skip
        advice = T("Look in the provider's console; it names what is missing.")
        yield Check("sending", "warn" if facts.sending == "limited" else "bad", text, advice)
    if facts.balance is not None and facts.balance <= 0:
        advice = T("Put money on the account at %(provider)s.", provider=provider)
        yield Check("balance", "warn", T("There is no money left on the account."), advice)


def _quality(facts: AccountFacts) -> Iterator[Check]:
    if facts.quality is None:
        return
    sign = QUALITY_SIGNS.get(facts.quality, "unknown")
    if sign == "unknown":
        yield Check("quality", "unknown", T("Quality: not known yet. It comes with the first messages."))
        return
    advice = {
        "warn": T("Write only to people who expect it; leave promotions for a few days."),
        "bad": T("Stop promotions now. The provider may lower the limit, or stop the number."),
    }.get(sign)
    yield Check("quality", sign, T("Quality: %(quality)s", quality=quality_in_words(facts.quality)), advice)


def _tier(facts: AccountFacts, count: object) -> Iterator[Check]:
    if facts.tier is not None:
        yield Check("tier", "good", T("It may write to %(people)s.", people=tier_in_words(facts.tier, count)))


def _review(facts: AccountFacts, provider: str) -> Iterator[Check]:
    if facts.review is None:
        return
    if facts.review == "approved":
        yield Check("review", "good", T("%(provider)s has checked the business account.", provider=provider))
    elif facts.review == "pending":
        yield Check("review", "warn", T("%(provider)s is still checking the business account.", provider=provider))
    else:
        advice = T("Look in Meta Business Suite under “Business support” what is missing.")
        text = T("%(provider)s has not accepted the business account (%(said)s).", provider=provider, said=facts.review)
        yield Check("review", "bad", text, advice)


def _subscribed(facts: AccountFacts, provider: str) -> Iterator[Check]:
    if facts.subscribed is True:
        yield Check("subscribed", "good", T("An app is subscribed to the account's news."))
    elif facts.subscribed is False:
        advice = T("Press “Register it for me” below.")
        text = T("No app is subscribed: %(provider)s tells nobody what becomes of messages.", provider=provider)
        yield Check("subscribed", "bad", text, advice)


def _webhook(facts: AccountFacts, provider: str) -> Iterator[Check]:
    said = {"provider": provider}
    press = T("Press “Register it for me” below.")
    if facts.webhook == "ours" and facts.webhook_proof is False:
        text = T("%(provider)s reports to us without the secret, so we cannot believe it.", **said)
        yield Check("webhook", "bad", text, press)
    elif facts.webhook == "ours":
        yield Check("webhook", "good", T("%(provider)s reports to the address below.", **said))
    elif facts.webhook == "moved":
        yield Check("webhook", "bad", T("%(provider)s reports to a former address of this program.", **said), press)
    elif facts.webhook == "other":
        text = T("%(provider)s reports to another program (%(host)s).", **said, host=facts.webhook_host or "?")
        yield Check("webhook", "bad", text, T("Press “Register it for me” if that one is no longer needed."))
    elif facts.webhook == "none":
        yield Check("webhook", "bad", T("%(provider)s does not know our address.", **said), press)
    if facts.webhook == "ours" and facts.account_webhook not in (None, "ours"):
        text = T("News of templates goes elsewhere; we ask for it now and then instead.")
        yield Check("account_webhook", "warn", text, press)
