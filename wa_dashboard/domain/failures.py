"""Why a message did not arrive, in words for an organiser: what happened, and what can be done about it.

Codes and their meaning: contracts.md §1.10 (Meta, also met behind 360dialog) and §2.6 (Twilio).
"""

from dataclasses import dataclass

from .text import T

# A message with one of these goes wrong however often it is sent: its own values do not fit the template.
VALUES_DO_NOT_FIT = frozenset({"132000", "132005", "132008", "132012", "132018", "21656", "63021", "63028", "63005"})


@dataclass(frozen=True)
class Explanation:
    """``reason``: what happened. ``advice``: what to do, or that nothing need be done. ``cause``: see `causes`."""

    reason: T
    advice: T
    cause: str = "other"


_NOT_REACHABLE = Explanation(
    T("The number is not on WhatsApp, or its phone could not be reached."),
    T("Check the number with the buyer, and send the tickets by e-mail meanwhile."),
    "not_on_whatsapp",
)
_WINDOW = Explanation(
    T("WhatsApp allows free text only within 24 hours of the person's last message."),
    T("Send an approved template instead."),
    "window_closed",
)
_PROMO_CAP = Explanation(
    T("WhatsApp limits how many promotions this person gets."),
    T("Wait at least 24 hours; other providers cannot help."),
    "promo_cap",
)
_STOPPED = Explanation(
    T("The person has told WhatsApp to stop such messages from you."),
    T("Nothing: they will not be sent any more."),
    "opted_out_at_provider",
)
_PAYMENT = Explanation(
    T("The provider has no valid means of payment from you."),
    T("Put the payment method in order at the provider; waiting messages then go out by themselves."),
    "payment",
)
_KEY = Explanation(
    T("The provider did not accept the account's access key."),
    T("Put a new access key into the account's settings; waiting messages then go out by themselves."),
    "key_refused",
)
_TEMPLATE_GONE = Explanation(
    T("The template is not available at the provider in this language."),
    T("Look at the template's approval; submit it again if it was paused or deleted."),
    "template_unavailable",
)
_VALUES = Explanation(
    T("The values do not fit the template."),
    T("Compare the variables of the order with those of the template."),
    "values_do_not_fit",
)

_FILE = "media"
_LATER = T("See that the file is there for everybody, without signing in; then try again and it is fetched anew.")
_BY_FILE: dict[str, Explanation] = {
    "media_address_refused": Explanation(
        T("The file's address may not be opened: it does not lead to a public machine over https."),
        T("Put the file on a public web server, and let the shop confirm the order with that address."),
        _FILE,
    ),
    "media_host_unknown": Explanation(T("The machine in the file's address is not known."), _LATER, _FILE),
    "media_unreachable": Explanation(T("The machine that has the file did not answer."), _LATER, _FILE),
    "media_certificate": Explanation(
        T("The machine that has the file has no certificate that can be trusted."),
        T("Let whoever runs it renew the certificate; then try again."),
        _FILE,
    ),
    "media_slow": Explanation(T("The file did not arrive in time."), _LATER, _FILE),
    "media_incomplete": Explanation(T("The file broke off before its end."), _LATER, _FILE),
    "media_http_status": Explanation(T("The file was not at its address."), _LATER, _FILE),
    "media_redirect": Explanation(
        T("The address only leads on to another one."),
        T("Let the shop give the address of the file itself."),
        _FILE,
    ),
    "media_too_large": Explanation(
        T("The file is too large for WhatsApp."),
        T("Make it smaller: pictures up to 5 MB, PDF and video up to 16 MB. Then try again."),
        _FILE,
    ),
    "media_wrong_type": Explanation(
        T("What lay at the address was not such a file, perhaps a page that asks to sign in."),
        T("A picture must be JPEG or PNG, a video MP4, a document PDF. Put it right and try again."),
        _FILE,
    ),
    "media_erased": Explanation(
        T("The file was erased after thirty days, and its address with it."),
        T("Let the shop confirm the order again."),
        _FILE,
    ),
    "media_refused": Explanation(
        T("The provider did not take the file."),
        T("Look at the provider's own words; perhaps the file is damaged."),
        _FILE,
    ),
    "media_host": Explanation(
        T("This sender was approved for files at another machine."),
        T("Send it through another sender, or have the template approved with a sample at this machine."),
        _FILE,
    ),
    "media_missing": Explanation(
        T("The template has a file in its header, and the message brought none."),
        T("Let the shop name the file in media, or use a template without one."),
        _FILE,
    ),
    **dict.fromkeys(
        ("131053", "63019", "63037"),
        Explanation(T("The provider could not take or fetch the file."), _LATER, _FILE),
    ),
}
_BY_CODE: dict[str, Explanation] = {
    **dict.fromkeys(("131026", "63003", "63024", "63015", "131030", "21211", "21614", "63033"), _NOT_REACHABLE),
    **dict.fromkeys(("131047", "63016"), _WINDOW),
    **dict.fromkeys(("131049", "63049"), _PROMO_CAP),
    **dict.fromkeys(("131050", "63014", "21610"), _STOPPED),
    **dict.fromkeys(("131042", "131044", "30002"), _PAYMENT),
    **dict.fromkeys(("190", "0", "20003", "http_401"), _KEY),
    **dict.fromkeys(
        ("132001", "132015", "132016", "63027", "template_missing", "template_unavailable"), _TEMPLATE_GONE
    ),
    **dict.fromkeys(
        (
            *("132000", "132005", "132008", "132012", "132018", "21656", "63005", "63021", "63028"),
            *("variable_missing", "cannot_build"),
        ),
        _VALUES,
    ),
    "131048": Explanation(
        T("WhatsApp slowed this sender down because too many people blocked or reported it."),
        T("Send less for a while, and only to people who expect it."),
        "account_stopped",
    ),
    "130472": Explanation(
        T("The person takes part in an experiment of Meta and gets no such messages now."),
        T("Reach them by e-mail; sending again does not help."),
        "promo_cap",
    ),
    "131031": Explanation(
        T("Meta has locked the WhatsApp account."),
        T("Open Meta Business Manager and follow what it says there."),
        "account_stopped",
    ),
    "lease_expired": Explanation(
        T("The sending process stopped before it heard the provider's answer."),
        T("Nothing: a receipt will tell, or it is sent again where that is safe."),
        "tries_exhausted",
    ),
    "internal_error": Explanation(
        T("The message could not be built; the fault is ours."),
        T("Give us the message id, and try it again after the next update."),
        "internal_error",
    ),
}

_BY_CLASS: dict[str, Explanation] = {
    _FILE: Explanation(T("The file of the message could not be had."), _LATER, _FILE),
    "recipient": _NOT_REACHABLE,
    "recipient_optout": _STOPPED,
    "recipient_defer": _PROMO_CAP,
    "window": _WINDOW,
    "template": _TEMPLATE_GONE,
    "account_stop": Explanation(
        T("The provider has stopped this sender."),
        T("Look at the account in the provider's console; waiting messages go out once it works again."),
        "account_stopped",
    ),
    "throttle": Explanation(
        T("The provider asked us to slow down."),
        T("Nothing: it is sent again by itself, a little later."),
        "tries_exhausted",
    ),
    "transient": Explanation(
        T("The provider was out of order for a moment."), T("Nothing: it is sent again by itself."), "tries_exhausted"
    ),
    "network": Explanation(
        T("The provider could not be reached."), T("Nothing: it is sent again by itself."), "tries_exhausted"
    ),
    "ambiguous": Explanation(
        T("The provider did not say whether it took the message."),
        T("Nothing: a receipt will tell, or it is sent again where that is safe."),
        "tries_exhausted",
    ),
    "request": Explanation(
        T("The provider refused the message as it was."),
        T("Look at the provider's own words in the details; the template's variables are the usual cause."),
        "refused",
    ),
}
_UNKNOWN = Explanation(
    T("The provider refused it without a reason we know."), T("Look at the provider's own words in the details.")
)


def explain(error_class: str | None, code: str | None) -> Explanation:
    """The sentence for a code; where there is none, for its class."""
    return _BY_CODE.get(code or "") or _BY_FILE.get(code or "") or _BY_CLASS.get(error_class or "") or _UNKNOWN
