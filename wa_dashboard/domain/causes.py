"""Why messages wait for a person, as groups: codes that mean the same to an organiser are one cause.

The key of a cause is stored, counted and part of addresses: it never changes its meaning.
"""

from dataclasses import dataclass

from .failures import explain
from .statuses import Status
from .text import T

# A message that ended like this waits for somebody's decision.
ENDED_BADLY = frozenset({Status.FAILED, Status.DEAD_LETTER, Status.UNCONFIRMED})


@dataclass(frozen=True)
class Cause:
    """``title`` names the group, ``what`` says what happened, ``todo`` what a person can do about it."""

    title: T
    what: T
    todo: T


CAUSES: dict[str, Cause] = {
    "not_on_whatsapp": Cause(
        T("Number is not on WhatsApp"),
        T("The provider says that these numbers cannot be reached on WhatsApp."),
        T("Ask the buyer for the right number and change it here, or send the tickets by e-mail and close these."),
    ),
    "unconfirmed": Cause(
        T("Nobody knows whether they arrived"),
        T("The provider never said whether it took these messages, and no receipt came."),
        T("Ask the person if it matters. Sent again, the message may arrive twice."),
    ),
    "key_refused": Cause(
        T("The access key was refused"),
        T("The provider did not accept the sender's access key."),
        T("Put a new key into the sender's settings, then try these again."),
    ),
    "payment": Cause(
        T("The provider wants to be paid"),
        T("The provider has no valid means of payment from you."),
        T("Put the payment method in order at the provider, then try these again."),
    ),
    "account_stopped": Cause(
        T("The provider stopped the sender"),
        T("The provider has stopped or slowed down the sender these messages went through."),
        T("Look at the account in the provider's console, or send these through another sender."),
    ),
    "template_unavailable": Cause(
        T("The template is not available"),
        T("The provider does not have the template in this language, or has paused it."),
        T("Look at the template's approval; once it is approved again, try these again."),
    ),
    "values_do_not_fit": Cause(
        T("The values do not fit the template"),
        T("A value is missing, too long, or has a form that the template does not take."),
        T("Correct the order in your shop and let it confirm again, then close these."),
    ),
    "tries_exhausted": Cause(
        T("All tries were used up"),
        T("The provider could not be reached or was out of order, however often we tried."),
        T("Look whether the sender works now, then try these again."),
    ),
    "opted_out_at_provider": Cause(
        T("The person stopped such messages at WhatsApp"),
        T("They told WhatsApp that they want no more messages of this kind from you."),
        T("Respect it: reach them by e-mail if you must, and close these."),
    ),
    "promo_cap": Cause(
        T("WhatsApp limits offers to these people"),
        T("WhatsApp decides how many promotions a person gets, whoever sends them."),
        T("Wait at least a day before you try again; another sender does not help."),
    ),
    "window_closed": Cause(
        T("The 24 hours for free text were over"),
        T("WhatsApp allows free text only within 24 hours of the person's last message."),
        T("Send an approved template instead, and close these."),
    ),
    "media": Cause(
        T("The file could not be had"),
        T("A message carries a file (a ticket, a picture), and that file could not be fetched or was not taken."),
        T("Open one and see what was wrong with the file. Put it right at its address, then try these again: the file "
          "is fetched anew."),
    ),
    "refused": Cause(
        T("The provider refused the message"),
        T("The provider did not take these messages as they were."),
        T("Open one and look at the provider's own words; then try one again before you try all."),
    ),
    "internal_error": Cause(
        T("A fault of ours"),
        T("The message could not be built, and that is not your mistake."),
        T("Give us the message id. After an update, try these again."),
    ),
    "other": Cause(
        T("Other reasons"),
        T("The provider gave a reason that we have no words for."),
        T("Open one and look at the provider's own words."),
    ),
}


def cause_of(status: str, error_class: str | None, code: str | None) -> str:
    """The key of the cause of a message that ended with this status and this error."""
    if status == Status.UNCONFIRMED:
        return "unconfirmed"
    if code == "tries_exhausted":
        return code
    return explain(error_class, code).cause


def about(cause: str) -> Cause:
    """The words of a cause; those of an unknown key are the ones of ``other``."""
    return CAUSES.get(cause) or CAUSES["other"]


def advice_when_stuck(error_class: str | None, code: str | None) -> T:
    """What to do about a message whose tries ran out: what mended itself while it was tried does so no longer."""
    cause = cause_of(Status.DEAD_LETTER, error_class, code)
    return about(cause).todo if cause == "tries_exhausted" else explain(error_class, code).advice
