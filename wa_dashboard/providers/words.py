"""Providers' errors in words for the person who organises the event: what happened, and what to do."""

from typing import NamedTuple

from ..domain.text import T


class Explanation(NamedTuple):
    """``reason``: what happened. ``advice``: what the organiser can do. Both whole sentences."""

    reason: T
    advice: T


_NOTHING = T("Nothing to do.")
_SUPPORT = T("If it keeps happening, send this message's page to support.")
_RETRIED = T("Nothing to do: we try again by ourselves.")
_PAUSED = T("Sending from this account is paused. Put it right, then press “Test connection” to go on.")
_OTHER_WAY = T("Reach this person another way, and check the number with them.")
_FIX_TEMPLATE = T("Open the template, correct it and send it for approval again.")

BY_CLASS: dict[str, Explanation] = {
    "account_stop": Explanation(T("WhatsApp does not let this account send at the moment."), _PAUSED),
    "throttle": Explanation(T("WhatsApp asked us to send more slowly."), _RETRIED),
    "transient": Explanation(T("WhatsApp was briefly unavailable; the message was not sent yet."), _RETRIED),
    "network": Explanation(T("We could not reach WhatsApp; the message was not sent yet."), _RETRIED),
    "ambiguous": Explanation(
        T("WhatsApp did not say clearly whether it took the message."),
        T("Nothing to do: we wait for its receipt before we decide anything, so that nobody gets it twice."),
    ),
    "template": Explanation(T("WhatsApp does not accept this template as it is."), _FIX_TEMPLATE),
    "request": Explanation(T("WhatsApp found a mistake in the message."), _SUPPORT),
    "recipient": Explanation(T("WhatsApp cannot deliver to this person."), _OTHER_WAY),
    "recipient_optout": Explanation(
        T("This person has asked not to get these messages from you."),
        T("Nothing to do: we respect it and will not write to them about this again."),
    ),
    "recipient_defer": Explanation(
        T("WhatsApp held the message back because this person has had much advertising lately."),
        T("Wait at least a day before you write to them again, or reach them another way."),
    ),
    "window": Explanation(
        T("More than 24 hours have passed since this person last wrote to you."),
        T("Use an approved template instead of free text."),
    ),
    "admin": Explanation(
        T("WhatsApp reports a problem with the registration of your number."),
        T("Look at the number in your provider's console and finish what it asks for."),
    ),
    "inbound_only": Explanation(T("WhatsApp could not pass on something that was sent to you."), _NOTHING),
}

_META: dict[str, Explanation] = {
    "190": Explanation(
        T("WhatsApp no longer accepts this account's access token."),
        T("Make a new permanent access token in Meta's Business settings and paste it into the account's settings."),
    ),
    "0": Explanation(
        T("WhatsApp does not recognise this account's access token."),
        T("Paste the access token again, whole and without spaces; it must come from a system user."),
    ),
    "10": Explanation(
        T("The access token may not send WhatsApp messages."),
        T("Give the system user the permission whatsapp_business_messaging, then make a new token."),
    ),
    "131005": Explanation(
        T("The access token has no access to this number."),
        T("In Meta's Business settings, give the system user full control of the WhatsApp account."),
    ),
    "368": Explanation(
        T("Meta has blocked the account for a while because of its rules."),
        T("Open Meta's Business support home, read what was found and ask for a review."),
    ),
    "131031": Explanation(
        T("Meta has locked the account."),
        T("Open Meta's Business support home, read what was found and ask for a review."),
    ),
    "130497": Explanation(
        T("Your business may not write to people in this country."),
        T("Reach this person another way. Messages to other countries go on."),
    ),
    "131042": Explanation(
        T("Meta could not charge the WhatsApp account: the payment method is missing or was refused."),
        T("Add or correct the payment method in Meta's Business settings, then press “Test connection”."),
    ),
    "131044": Explanation(
        T("Meta reports a problem with the payment of the WhatsApp account."),
        T("Open Billing in Meta's Business settings and settle what is open, then press “Test connection”."),
    ),
    "131037": Explanation(
        T("The name people see for your number has not been approved yet."),
        T("Ask for approval of the display name in WhatsApp Manager."),
    ),
    "131045": Explanation(
        T("The number is not registered for sending."),
        T("Register the number again in WhatsApp Manager, then press “Test connection”."),
    ),
    "133010": Explanation(
        T("The number is not registered for sending."),
        T("Register the number again in WhatsApp Manager, then press “Test connection”."),
    ),
    "33": Explanation(
        T("WhatsApp no longer knows the sending number."),
        T("Check the phone number id in the account's settings; the number may have been deleted."),
    ),
    "131064": Explanation(
        T("Meta has limited the account because templates were filed under the wrong category."),
        T("Correct the categories of your templates and ask Meta for a review."),
    ),
    "130429": Explanation(T("Your number has reached the number of messages per second WhatsApp allows."), _RETRIED),
    "131048": Explanation(
        T("WhatsApp limits your number because people block it or report it as spam."),
        T("Sending from this number is paused. Stop advertising for some days, and write only to people who asked."),
    ),
    "131056": Explanation(T("This person got several messages within seconds; WhatsApp asked us to wait."), _RETRIED),
    "80007": Explanation(T("Your WhatsApp account has made too many calls within an hour."), _RETRIED),
    "131053": Explanation(
        T("WhatsApp could not fetch the picture or document of the message."),
        T("Check that its address opens in a private browser window and that the file is not too large."),
    ),
    "131026": Explanation(
        T("The message could not be delivered: the person may have no WhatsApp, or an old version of it."),
        _OTHER_WAY,
    ),
    "131021": Explanation(
        T("The message was addressed to your own sending number."), T("Correct the person's number.")
    ),
    "131030": Explanation(
        T("A test number may only write to numbers on its own list."),
        T("Add this person's number in Meta's app dashboard, or use a real sending number."),
    ),
    "130472": Explanation(
        T("Meta did not deliver this advertising because the person takes part in one of its experiments."),
        T("Reach this person another way; trying again does not help."),
    ),
    "131062": Explanation(
        T("Codes can only be sent to a phone number, and we do not have this person's."),
        T("Ask the person for their phone number."),
    ),
    "131050": Explanation(
        T("This person has stopped advertising from you in WhatsApp."),
        T("Nothing to do: we have recorded it. Confirmations of their own orders still reach them."),
    ),
    "131049": Explanation(
        T("Meta chose not to deliver this advertising, to protect the person from too much of it."),
        T("Wait at least a day before you write to them again, or reach them another way."),
    ),
    "131047": BY_CLASS["window"],
    "132000": Explanation(
        T("The number of values does not fit the template."),
        T("Read the template from WhatsApp again and check that every variable has a value."),
    ),
    "132001": Explanation(
        T("WhatsApp has no approved template of this name in this language."),
        T("Open the template and look at its approval; send it for approval in this language if it is missing."),
    ),
    "132005": Explanation(
        T("With its values filled in, the message is too long."),
        T("Shorten the text of the template or the values."),
    ),
    "132007": Explanation(T("The template breaks WhatsApp's rules for its text."), _FIX_TEMPLATE),
    "132008": Explanation(
        T("One of the values does not fit its place in the template."),
        T("Look for line breaks, many spaces or an empty value, and correct it."),
    ),
    "132012": Explanation(
        T("The values are not of the kind the template expects."),
        T("Read the template from WhatsApp again and check its variables."),
    ),
    "132015": Explanation(
        T("WhatsApp has paused this template because too many people did not want it."),
        T("Wait until WhatsApp releases it, or write a more useful text as a new template."),
    ),
    "132016": Explanation(
        T("WhatsApp has switched this template off for good because too many people did not want it."),
        T("Write a new template with a different text."),
    ),
    "131063": Explanation(
        T("Advertising templates are switched off for this way of sending."),
        T("Switch Marketing messages on for the Cloud API in WhatsApp Manager."),
    ),
    "2388040": Explanation(T("One of the template's texts is too long."), _FIX_TEMPLATE),
    "2388047": Explanation(T("The template's header is not written as WhatsApp wants it."), _FIX_TEMPLATE),
    "2388072": Explanation(T("The template's text is not written as WhatsApp wants it."), _FIX_TEMPLATE),
    "2388073": Explanation(T("The template's footer is not written as WhatsApp wants it."), _FIX_TEMPLATE),
    "2388293": Explanation(
        T("The template has too many variables for so short a text."),
        T("Write more text around the variables, or use fewer of them."),
    ),
    "2388299": Explanation(
        T("A template may not begin or end with a variable."), T("Put a few words before and after the variables.")
    ),
    "2388019": Explanation(
        T("The account has as many templates as WhatsApp allows."), T("Delete templates you no longer use.")
    ),
    "2388023": Explanation(
        T("A template of this name is being deleted."), T("Choose another name, or wait thirty days.")
    ),
    "2388024": Explanation(
        T("There is already a template of this name in this language."), T("Choose another name, or edit that one.")
    ),
}

_TWILIO: dict[str, Explanation] = {
    "20003": Explanation(
        T("Twilio does not accept the Account SID and its token or key."),
        T("Copy the Account SID and the Auth Token from Twilio's console into the account's settings."),
    ),
    "20005": Explanation(
        T("The Twilio account is not active."), T("Open Twilio's console and follow what it asks for there.")
    ),
    "30002": Explanation(
        T("Twilio has suspended the account."), T("Open Twilio's console; often the balance has run out.")
    ),
    "20008": Explanation(
        T("These are Twilio's test credentials, which cannot send."), T("Paste the live Account SID and Auth Token.")
    ),
    "63007": Explanation(
        T("Twilio knows no WhatsApp sender with this number."),
        T("Check the sending number under Senders, WhatsApp senders, in Twilio's console."),
    ),
    "63020": Explanation(
        T("Meta reports a problem with the business behind your Twilio number, often its payment."),
        T("Open Meta's Business settings and settle what is open, then press “Test connection”."),
    ),
    "63026": Explanation(
        T("WhatsApp regards messages from your number as spam."),
        T("Stop advertising for some days, write only to people who asked, then press “Test connection”."),
    ),
    "21212": Explanation(
        T("The sending number is not valid."), T("Correct it in the account's settings: + and the country code first.")
    ),
    "21408": Explanation(
        T("Your Twilio account may not send to this country."),
        T("Switch the country on under Geo permissions in Twilio's console. Messages to other countries go on."),
    ),
    "20429": Explanation(T("Your Twilio account makes too many calls at once."), _RETRIED),
    "63018": Explanation(T("Your number has reached the number of messages per second WhatsApp allows."), _RETRIED),
    "63038": Explanation(
        T("The Twilio account has reached its messages for today."),
        T("Nothing to do today: we go on tomorrow. Twilio's support can raise the limit."),
    ),
    "63019": Explanation(
        T("WhatsApp could not fetch the picture or document of the message."),
        T("Check that its address opens in a private browser window and that the file is not too large."),
    ),
    "63003": Explanation(T("This number is not on WhatsApp."), _OTHER_WAY),
    "63024": Explanation(
        T("The message could not be delivered: the person may have no WhatsApp, or an old version of it."),
        _OTHER_WAY,
    ),
    "30003": Explanation(T("The person's phone could not be reached."), _OTHER_WAY),
    "63015": Explanation(
        T("This person has not joined your Twilio sandbox."),
        T("Let them send the sandbox's join word, or use a real WhatsApp sender."),
    ),
    "63032": Explanation(
        T("Meta did not deliver this advertising because the person takes part in one of its experiments."),
        T("Reach this person another way; trying again does not help."),
    ),
    "63031": Explanation(T("The message was addressed to your own sending number."), T("Correct the person's number.")),
    "21211": Explanation(T("The person's number is not valid."), T("Correct the number.")),
    "21614": Explanation(T("The person's number is not a mobile number."), T("Ask for their mobile number.")),
    "21608": Explanation(
        T("A Twilio trial account may only write to numbers it has verified."),
        T("Verify this number in Twilio's console, or upgrade the account."),
    ),
    "63016": BY_CLASS["window"],
    "63049": Explanation(
        T("Meta chose not to deliver this advertising, to protect the person from too much of it."),
        T("Wait at least a day before you write to them again, or reach them another way."),
    ),
    "21610": Explanation(
        T("This person has answered STOP to you."),
        T("Nothing to do: we respect it. They can write START when they want your messages again."),
    ),
    "63014": Explanation(
        T("This person has blocked your number in WhatsApp."), T("Nothing to do: we will not write to them again.")
    ),
    "63027": Explanation(
        T("WhatsApp has no approved template of this name in this language."),
        T("Open the template and look at its approval; send it for approval in this language if it is missing."),
    ),
    "63028": Explanation(
        T("The number of values does not fit the template."),
        T("Check that every variable of the template has a value."),
    ),
    "63040": Explanation(T("WhatsApp has rejected this template."), _FIX_TEMPLATE),
    "63041": Explanation(
        T("WhatsApp has paused this template because too many people did not want it."),
        T("Wait until WhatsApp releases it, or write a more useful text as a new template."),
    ),
    "63042": Explanation(
        T("WhatsApp has switched this template off for good because too many people did not want it."),
        T("Write a new template with a different text."),
    ),
    "21655": Explanation(
        T("Twilio does not know this template."), T("Send the template for approval again; it may have been deleted.")
    ),
}

_DIALOG360: dict[str, Explanation] = {
    "Invalid api_key": Explanation(
        T("360dialog does not accept this API key."),
        T("Make a new API key in the 360dialog hub and paste it into the account's settings."),
    ),
    "has been disabled": Explanation(
        T("360dialog has switched this number off."), T("Open the 360dialog hub and follow what it asks for there.")
    ),
    "lack of payment": Explanation(
        T("360dialog has stopped the number because of an open payment."),
        T("Settle it in the 360dialog hub, then press “Test connection”."),
    ),
}

SPECIFIC: dict[str, dict[str, Explanation]] = {
    "meta_cloud": _META,
    "twilio": _TWILIO,
    "dialog360": _META | _DIALOG360,
}
_UNKNOWN = Explanation(T("WhatsApp refused the message and gave a reason we do not know yet."), _SUPPORT)


def explanation_of(provider: str, code: str | None, error_class: str | None) -> Explanation:
    """The words for a code, else for its class, else for something nobody told us about."""
    specific = SPECIFIC.get(provider, {}).get(code or "")
    return specific or BY_CLASS.get(error_class or "", _UNKNOWN)
