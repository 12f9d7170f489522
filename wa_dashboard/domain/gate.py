"""May this person get this kind of message? One answer for acceptance, dry run and the instant before sending."""

from collections.abc import Mapping

from .statuses import ConsentStatus, Purpose

IN, OUT = ConsentStatus.OPTED_IN, ConsentStatus.OPTED_OUT


def refusal(purpose: str, consents: Mapping[str, str], contract_basis: bool) -> str | None:
    """None when it may be sent, else the reason: ``opted_out`` or ``not_opted_in``.

    ``consents``: purpose → status, as `wa_optin` holds them. ``contract_basis``: the tenant sends order
    confirmations because of the contract, not of consent (decisions.md D9); a "no" still counts.
    """
    if purpose == Purpose.OTP:  # the person has just asked for it
        return None
    said = consents.get(purpose)
    if said == OUT:
        return "opted_out"
    if said == IN:
        return None
    if purpose == Purpose.REMINDER:  # a ticket holder's reminder lives under the order's consent, unless refused
        return refusal(Purpose.TRANSACTIONAL, consents, contract_basis=False)
    if purpose == Purpose.TRANSACTIONAL and contract_basis:
        return None
    return "not_opted_in"
