"""What a provider tells of an account, a number or a name, in words for an organiser.

A piece of news is the facts of `providers.hooks.AccountItem` as JSON, as `services.account_news` keeps them.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from .failures import explain
from .text import T

_DECISIONS: dict[str, T] = {
    "approved": T("WhatsApp has checked your business and approved it."),
    "rejected": T("WhatsApp has checked your business and refused it. See why in WhatsApp Manager."),
    "pending": T("WhatsApp is checking your business."),
    "deferred": T("WhatsApp has put off checking your business."),
}
_EVENTS: dict[str, T] = {
    "ACCOUNT_DELETED": T("The account was deleted at WhatsApp. Nothing can be sent from it any more."),
    "ACCOUNT_OFFBOARDED": T("The number was disconnected from the provider. Nothing can be sent from it now."),
    "ACCOUNT_RECONNECTED": T("The number is connected to the provider again."),
    "VERIFIED_ACCOUNT": T("WhatsApp has verified your business."),
    "PARTNER_ADDED": T("A partner may manage this account from now on."),
    "PARTNER_REMOVED": T("The partner may not manage this account any more. Nothing can be sent through it."),
    "PARTNER_APP_INSTALLED": T("The partner's app was connected to this account."),
    "PARTNER_APP_UNINSTALLED": T("The partner's app was disconnected. Nothing can be sent through it."),
    "MM_LITE_TERMS_SIGNED": T("The terms of WhatsApp's marketing messages were accepted."),
    "AD_ACCOUNT_LINKED": T("An advertising account was linked to this account."),
    "AUTH_INTL_PRICE_ELIGIBILITY_UPDATE": T("Codes to some countries are charged at the international price now."),
    "ONBOARDING": T("The number is registered at WhatsApp."),
    "FLAGGED": T("The quality of this number is poor: people block or report its messages. If it stays so, WhatsApp "
                 "lowers the limit. Write only to people who expect it."),
    "UNFLAGGED": T("The quality of this number has recovered."),
    "PIN_CHANGED": T("Security: the PIN of this number was changed."),
    "PIN_RESET_REQUEST": T("Security: somebody asked to reset the PIN of this number."),
    "PIN_RESET_SUCCESS": T("Security: the PIN of this number was switched off."),
}  # fmt: skip


def sentence(detail: Mapping[str, Any]) -> T:
    """What a piece of news says; the provider's own word where we have none."""
    say = _TOPICS.get(str(detail.get("topic")), _account)
    return say(detail)


def unknown_sentence(detail: Mapping[str, Any]) -> T:
    """News of a kind that we do not know: it is kept, and nothing is done about it."""
    return T("News of a kind we do not know yet; it was kept and changes nothing. (%(why)s)", why=detail.get("why", ""))


def limit_sentence(limit: int) -> T:
    """How many people in a day; 0 is no limit."""
    if not limit:
        return T("The number may write to as many people as it likes.")
    return T("The number may write to at most %(limit)s different people in 24 hours.", limit=limit)


def _day(value: Any) -> str:
    """``3.04.2026``: a day as it is written in tables here; what is no time stays as it is."""
    try:
        return datetime.fromisoformat(str(value)).strftime("%d.%m.%Y")
    except ValueError:
        return str(value)


def _number(detail: Mapping[str, Any]) -> T:
    event = str(detail.get("event"))
    said = _EVENTS.get(event)
    if detail.get("rate"):
        said = T("The number may send up to %(rate)s messages a second now.", rate=detail["rate"])
    if detail.get("tier") is None:
        return said or _by_its_word(detail)
    limit = limit_sentence(int(detail["tier"]))
    return T("%(first)s %(second)s", first=said, second=limit) if said else limit


def _name(detail: Mapping[str, Any]) -> T:
    name, decision = detail.get("name") or "", detail.get("decision")
    if decision == "approved":
        return T("People see the name “%(name)s” from now on.", name=name)
    if decision == "rejected":
        why = str(detail.get("reason") or T("no reason was given"))
        return T("WhatsApp refused the name “%(name)s”: %(why)s.", name=name, why=why)
    return T("WhatsApp is checking the name “%(name)s”.", name=name)


def _review(detail: Mapping[str, Any]) -> T:
    return _DECISIONS.get(str(detail.get("decision")), _by_its_word(detail))


def _alert(detail: Mapping[str, Any]) -> T:
    text = str(detail.get("detail") or detail.get("event") or "")
    if detail.get("severity") == "critical":
        return T("Important, from WhatsApp: %(text)s", text=text)
    return T("WhatsApp says: %(text)s", text=text)


def _error(detail: Mapping[str, Any]) -> T:
    found = explain(detail.get("class"), detail.get("code"))
    return T("%(why)s %(advice)s", why=found.reason, advice=found.advice)


def _account(detail: Mapping[str, Any]) -> T:
    say = _OF_ACCOUNT.get(str(detail.get("event")))
    return say(detail) if say else _EVENTS.get(str(detail.get("event"))) or _by_its_word(detail)


def _disabled(detail: Mapping[str, Any]) -> T:
    if detail.get("effect") == "resume":
        return T("WhatsApp has given the account back: it may send again.")
    if detail.get("effect") == "stop":
        return T("WhatsApp has switched the account off. Ask for a review in WhatsApp Manager.")
    if detail.get("effective_at"):
        day = _day(detail["effective_at"])
        return T("WhatsApp will switch the account off on %(day)s. Ask for a review before.", day=day)
    return T("WhatsApp means to switch the account off. Ask for a review in WhatsApp Manager.")


def _restricted(detail: Mapping[str, Any]) -> T:
    what = ", ".join(str(each).replace("_", " ").lower() for each in detail.get("restrictions") or ())
    if detail.get("until"):
        return T("WhatsApp restricts the account until %(day)s: %(what)s.", what=what, day=_day(detail["until"]))
    return T("WhatsApp restricts the account: %(what)s.", what=what)


def _violation(detail: Mapping[str, Any]) -> T:
    what = str(detail.get("detail") or "").replace("_", " ").lower()
    return T("WhatsApp says that the account breaks its rules: %(what)s.", what=what)


def _volume(detail: Mapping[str, Any]) -> T:
    volume = detail.get("volume")
    if not isinstance(volume, Mapping):
        return _by_its_word(detail)
    return T("From %(least)s messages a month on, another price counts for %(category)s in %(region)s.",
             least=volume.get("least"), category=volume.get("category"), region=volume.get("region"))  # fmt: skip


def _country(detail: Mapping[str, Any]) -> T:
    return T("WhatsApp counts the business to the country %(country)s.", country=str(detail.get("country") or "–"))


def _certified(detail: Mapping[str, Any]) -> T:
    return T("The check of your business through the partner: %(state)s.", state=str(detail.get("decision") or "–"))


def _by_its_word(detail: Mapping[str, Any]) -> T:
    word = str(detail.get("event") or detail.get("topic") or "").replace("_", " ").lower()
    return T("News from the provider: %(what)s.", what=word)


_TOPICS: dict[str, Callable[[Mapping[str, Any]], T]] = {
    "number": _number,
    "capability": _number,
    "security": _number,
    "name": _name,
    "review": _review,
    "alert": _alert,
    "error": _error,
    "account": _account,
}
_OF_ACCOUNT: dict[str, Callable[[Mapping[str, Any]], T]] = {
    "DISABLED_UPDATE": _disabled,
    "ACCOUNT_RESTRICTION": _restricted,
    "ACCOUNT_VIOLATION": _violation,
    "VOLUME_BASED_PRICING_TIER_UPDATE": _volume,
    "BUSINESS_PRIMARY_LOCATION_COUNTRY_UPDATE": _country,
    "PARTNER_CLIENT_CERTIFICATION_STATUS_UPDATE": _certified,
}
