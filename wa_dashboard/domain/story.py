"""A message's life in sentences an organiser understands. One line of a story is a kind and a few facts."""

from collections.abc import Callable, Mapping
from typing import Any

from .causes import advice_when_stuck
from .consent import skip_sentence
from .failures import explain
from .text import T

PROVIDERS = {"meta_cloud": "Meta", "twilio": "Twilio", "dialog360": "360dialog"}

# Why a message waits, was left out or stopped: the codes of `Message.reason`.
REASONS: dict[str, T] = {
    "opted_out": T("the person has asked for no more messages of this kind"),
    "not_opted_in": T("the person has not agreed to messages of this kind"),
    "throttled": T("the sending limit is reached; it goes out as soon as there is room"),
    "retrying": T("the last try did not get through; the next one follows by itself"),
    "account_held": T("the provider has stopped the sender; it goes out once the sender works again"),
    "breaker_open": T("the provider is out of order; it goes out by itself once it works again"),
    "account_disabled": T("the sender is switched off"),
    "recipient_defer": T("WhatsApp limits how much this person gets; it is tried again after a day"),
    "receipts_stopped": T("no receipts come back from the provider at the moment, so we wait longer before deciding"),
    "not_listed": T("the provider says that it does not have the message"),
    "template_unavailable": T("the template is not approved at the provider at the moment"),
    "media_pending": T("its file is being fetched; it goes out once it is there"),
    "media": T("its file could not be had"),
    "restore": T("the database was restored; it waits until somebody releases what may have gone already"),
    "never_left": T("the sending process ended before it was this message's turn"),
    "no_answer": T("the provider did not say whether it took the message"),
    "no_receipt": T("no receipt came"),
    "hold_over": T("no receipt came in time, and an order confirmation must arrive"),
    "lease_expired": T("the sending process stopped before it heard the answer"),
    "too_late": T("its time was over before it could be sent"),
    "cancelled_by_api": T("your system cancelled it"),
    "cancelled_by_user": T("somebody of your team cancelled it"),
    "no_account": T("no WhatsApp sender is connected"),
    "code_replaced": T("a newer code took its place"),
    "code_used": T("the code was typed in already"),
    "code_blocked": T("the code counts no more"),
    "quiet_hours": T("it is night for the person; it goes out in the morning"),
}


_TEMPLATE_IS: dict[str, T] = {
    "pending": T("WhatsApp is reviewing the template; it goes out by itself once it is approved"),
    "paused": T("WhatsApp has paused the template; it goes out by itself once the pause is over"),
    "disabled": T("WhatsApp has disabled the template; it goes out if WhatsApp allows it again"),
    "rejected": T("WhatsApp has rejected the template; correct it and send it for approval again"),
    "deleted": T("the template was deleted at the provider"),
    "locked": T("WhatsApp has locked the template; it goes out by itself once it is free again"),
    "archived": T("the template is archived at the provider; it goes out once it is taken back"),
}


def in_words(reason: str | None) -> T | None:
    """The words for a reason's code. A code without words is shown as it is; None stays None."""
    if not reason:
        return None
    return REASONS.get(reason) or as_is(reason)


def why_waiting(reason: str | None, detail: Mapping[str, Any]) -> T | None:
    """As `in_words`, more exactly where it is known: what became of the template, and for a message that could not
    switch over, what is missing at the other sender."""
    said = in_words(reason)
    if reason == "template_unavailable":
        return _TEMPLATE_IS.get(str(detail.get("template_status")), said)
    if said is not None and detail.get("missing") and detail.get("standby"):
        return T(
            "%(why)s; %(standby)s cannot stand in, because %(missing)s is not approved there",
            why=said,
            standby=str(detail["standby"]),
            missing=str(detail["missing"]),
        )
    return said


def as_is(code: str) -> T:
    """A code nobody has put into words yet, readable but untranslated."""
    return T(code.replace("_", " "))


def sentence(kind: str, detail: Mapping[str, Any], zone: str = "UTC") -> T:
    """What a line of the story says. ``detail`` is the line's, days are those of the IANA ``zone``.

    Kinds without a sentence are shown as they are.
    """
    if kind == "skipped":
        return _skipped(detail, zone)
    say = _SENTENCES.get(kind)
    return say(detail) if say else as_is(kind)


def known_kinds() -> frozenset[str]:
    """The kinds that have a sentence."""
    return frozenset(_SENTENCES)


def _plain(text: T) -> Callable[[Mapping[str, Any]], T]:
    return lambda _detail: text


def skip_reason(reason: str | None, detail: Mapping[str, Any], zone: str = "UTC") -> T | None:
    """Why somebody was left out, as exactly as is known: since when they want nothing, and how they said so."""
    if reason in ("opted_out", "not_opted_in") and "purpose" in detail:
        return skip_sentence(reason, detail, zone)
    return in_words(reason)


def _skipped(detail: Mapping[str, Any], zone: str) -> T:
    reason = skip_reason(detail.get("reason"), detail, zone)
    return T("Left out: %(why)s", why=reason) if reason else T("Left out")


def _cancelled(detail: Mapping[str, Any]) -> T:
    reason = in_words(detail.get("reason"))
    return T("Cancelled: %(why)s", why=reason) if reason else T("Cancelled before it was sent")


def _provider(detail: Mapping[str, Any]) -> str:
    name = str(detail.get("provider") or "")
    return PROVIDERS.get(name, name) or "WhatsApp"


def _asked(detail: Mapping[str, Any]) -> T:
    if detail.get("resend_reason"):
        return T("Asked for again on purpose: %(why)s", why=str(detail["resend_reason"]))
    by = str(detail.get("by") or detail.get("asked_by") or "api")
    if by.startswith("user"):
        return T("Asked for by somebody of your team")
    if by.startswith("schedule"):
        return T("Its planned time had come")
    return T("Asked for by your ticketing system")


def _consent(detail: Mapping[str, Any]) -> T:
    basis = detail.get("basis") or detail.get("status")
    if basis in ("contract", "contract_basis"):
        return T("Allowed: an order may be confirmed without a separate consent")
    return T("Consent checked: the person agreed to such messages")


def _attempt(detail: Mapping[str, Any]) -> T:
    return T("Try %(number)s, through %(provider)s", number=detail.get("number"), provider=_provider(detail))


def _failed(detail: Mapping[str, Any]) -> T:
    found = explain(detail.get("error_class") or detail.get("reason"), detail.get("error_code"))
    return T("Not delivered. %(why)s %(advice)s", why=found.reason, advice=found.advice)


def _retrying(detail: Mapping[str, Any]) -> T:
    if detail.get("error_code"):
        found = explain(detail.get("error_class"), detail["error_code"])
        return T("Did not get through, will be tried again. %(why)s", why=found.reason)
    return T("Did not get through; it will be tried again by itself")


def _dead(detail: Mapping[str, Any]) -> T:
    said = detail.get("error_class") or detail.get("reason"), detail.get("error_code")
    advice = advice_when_stuck(*said)
    return T("Stuck: we stopped trying. %(why)s %(advice)s", why=explain(*said).reason, advice=advice)


def _sent_again(detail: Mapping[str, Any]) -> T:
    if detail.get("reason") == "hold_over":
        return T("No receipt came, so it is sent once more; the person may get it twice")
    if detail.get("reason") == "not_listed":
        return T("We asked the provider: it does not have the message, so it is sent now")
    return T("The receipts show it was not sent, so it is sent now")


def _uncertain(detail: Mapping[str, Any]) -> T:
    if detail.get("reason") == "lease_expired":
        return T("Our sending process stopped before it heard the answer. We check before anything is sent again")
    return T("The provider did not answer clearly. We are checking before anything is sent again")


def _switched(detail: Mapping[str, Any]) -> T:
    names = {side: PROVIDERS.get(str(detail.get(side)), str(detail.get(side))) for side in ("from", "to")}
    if names["from"] == names["to"]:
        return T("It goes through your other sender at %(to)s instead; nothing had been sent", to=names["to"])
    return T("It goes through %(to)s instead of %(from)s; nothing had been sent", **names)


def _number_changed(detail: Mapping[str, Any]) -> T:
    return T("The number was changed by hand from %(old)s to %(new)s", old=detail.get("from"), new=detail.get("to"))


_SENTENCES: dict[str, Callable[[Mapping[str, Any]], T]] = {
    "created": _asked,
    "asked": _asked,
    "consent": _consent,
    "consent_checked": _consent,
    "queued": _plain(T("Waiting for its turn")),
    "attempt": _attempt,
    "throttled": _plain(T("The provider asked us to slow down; it waits a little")),
    "retrying": _retrying,
    "restored": _plain(T("The database was restored from a backup; it waits until it is clear what had been sent")),
    "released": _plain(T("It had not been sent before the backup was restored, so it may go now")),
    "released_unasked": _plain(
        T("Let go after the restore of a backup. Nobody can tell whether it had been sent, so it may arrive twice")
    ),
    "in_doubt_again": _plain(T("It was being sent when the backup was made; nobody can tell what became of it")),
    "not_risked": _plain(T("Nobody can tell whether it was sent before the backup was restored; it is not sent again")),
    "never_left": _plain(T("The sending process ended before it was its turn; nothing had left, so it goes at once")),
    "account_held": _plain(T("The provider has stopped the sender; it waits until the sender works again")),
    "template_unavailable": _plain(T("The template is not approved at the provider now; it waits")),
    "uncertain": _uncertain,
    "waits_for_receipts": _plain(
        T("No receipts come back from the provider at the moment, so we wait longer before anything is sent again")
    ),
    "without_media": _plain(T("Its file could not be had, so it goes out as text alone")),
    "switched_over": _switched,
    "recipient_defer": _plain(T("WhatsApp limits how much this person gets; it is tried again after a day")),
    "looked_up": _plain(T("We asked the provider: it has the message")),
    "sent_again": _sent_again,
    "accepted": lambda detail: T("%(provider)s took it", provider=_provider(detail)),
    "sent": _plain(T("Sent by WhatsApp")),
    "delivered": _plain(T("Arrived on the phone")),
    "read": _plain(T("Read")),
    "failed": _failed,
    "unconfirmed": _plain(
        T("Nobody can say whether it arrived; it is not sent again, to be sure it never comes twice")
    ),
    "dead_letter": _dead,
    "skipped": lambda detail: _skipped(detail, "UTC"),
    "cancelled": _cancelled,
    "cancel_requested": _plain(T("Cancelling was asked for, but it was already on its way")),
    "expired": _plain(T("Too late to be of use, so it was not sent")),
    "requeued": _plain(T("Put back into the queue by hand")),
    "number_changed": _number_changed,
    "code_used": _plain(T("The code was typed in, and it was right")),
    "code_blocked": _plain(T("Five wrong codes were typed in, so the code counts no more")),
    "code_disowned": _plain(T("The person says they did not ask for this code, so it counts no more")),
    "charged": _plain(T("The price counts from now on")),
}
