"""The health of an account in words for an organiser: its state, and each line of its story."""

from collections.abc import Callable, Mapping
from typing import Any

from . import account_news
from .account_facts import quality_in_words, tier_in_words
from .failures import explain
from .story import as_is
from .text import T

WORDS: dict[str, T] = {
    "healthy": T("Works"),
    "degraded": T("Works, with trouble"),
    "open": T("Out of order at the provider"),
    "half_open": T("Being tried again"),
    "locked": T("Stopped by the provider"),
    "disabled": T("Switched off"),
}
SENTENCES: dict[str, T] = {
    "open": T("The provider does not answer as it should. Messages wait, and we look again by ourselves."),
    "half_open": T("The provider answers again. A few messages go first; when they pass, the others follow."),
    "locked": T("The provider has stopped this sender. Put it right there, then press “Test connection”."),
    "disabled": T("Nothing is sent from it until you switch it on again."),
}
SILENT = T(
    "No receipts come back from the provider, so we cannot say what arrived. Check the webhook address at the provider."
)
SLOWED = T("The provider asked us to send more slowly. The speed comes back by itself within minutes.")


def event_sentence(kind: str, detail: Mapping[str, Any]) -> T:
    """What a line of an account's story says. Kinds without a sentence are shown as they are."""
    say = _EVENTS.get(kind)
    return say(detail) if say else as_is(kind)


def known_events() -> frozenset[str]:
    """The kinds that have a sentence."""
    return frozenset(_EVENTS)


def _opened(detail: Mapping[str, Any]) -> T:
    why = explain(detail.get("class"), detail.get("code")).reason
    return T(
        "Sending paused: %(failed)s of the last %(requests)s tries failed. %(why)s",
        failed=detail.get("failed"),
        requests=detail.get("requests"),
        why=why,
    )


def _held(detail: Mapping[str, Any]) -> T:
    found = explain(detail.get("class"), detail.get("code"))
    return T("Stopped by the provider. %(why)s %(advice)s", why=found.reason, advice=found.advice)


def _half_open(detail: Mapping[str, Any]) -> T:
    if detail.get("by") == "person":
        return T("Tested by somebody of your team: it works again, a few messages go first")
    return T("It answers again: a few messages go first")


def _closed(detail: Mapping[str, Any]) -> T:
    seconds = detail.get("down_s")
    if seconds is None:
        return T("Works again")
    minutes = max(1, round(int(seconds) / 60))
    return T("Works again; it was away for about %(minutes)s min", minutes=minutes)


def _switched(detail: Mapping[str, Any]) -> T:
    return T("%(count)s messages go through %(to)s instead", count=detail.get("count"), to=str(detail.get("to")))


def _quality(detail: Mapping[str, Any]) -> T:
    now = quality_in_words(str(detail.get("now") or ""))
    return T("Quality was %(was)s, now %(now)s", was=quality_in_words(str(detail.get("was") or "")), now=now)


def _tier(detail: Mapping[str, Any]) -> T:
    now = int(detail.get("now") or 0)
    return T("The number may now write to %(people)s", people=tier_in_words(now, f"{now:,}".replace(",", "\u202f")))


def _plain(text: T) -> Callable[[Mapping[str, Any]], T]:
    return lambda _detail: text


_EVENTS: dict[str, Callable[[Mapping[str, Any]], T]] = {
    "opened": _opened,
    "held": _held,
    "half_open": _half_open,
    "closed": _closed,
    "slowed": _plain(T("The provider asked us to send more slowly; half the speed from now, rising again by itself")),
    "switched_over": _switched,
    "receipts_stopped": _plain(T("No receipts come back any more; we wait longer before anything is sent again")),
    "receipts_back": _plain(T("Receipts come back again")),
    "credentials_replaced": _plain(T("Somebody of your team put in new access data")),
    "quality": _quality,
    "tier": _tier,
    "webhook_registered": _plain(T("The webhook was registered by somebody of your team")),
    "webhook_set_again": _plain(T("The provider had forgotten our address; it was set again by itself")),
    "switched_on": _plain(T("Switched on by somebody of your team")),
    "switched_off": _plain(T("Switched off by somebody of your team")),
    "code_disowned": _plain(T("Somebody got a code they say they did not ask for; codes to that number count no more")),
    "news": account_news.sentence,
    "unknown_news": account_news.unknown_sentence,
    "tested": _plain(T("Tested by somebody of your team: it does not work yet")),
}
