"""Telephone numbers: E.164 in, E.164 or a reason out, masked for people who may not see them."""

from dataclasses import dataclass
from functools import lru_cache

import phonenumbers

from .text import T


@dataclass(frozen=True)
class Phone:
    """A valid number. ``e164`` like ``+40722123456``; ``market`` the ISO 3166 country, such as ``RO``."""

    e164: str
    market: str

    @property
    def masked(self) -> str:
        return mask(self.e164)


class BadPhone(ValueError):
    """Not a number we can send to. ``code`` is stable; ``guess`` is an E.164 number we think was meant."""

    def __init__(self, code: str, detail: T, guess: str | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.guess = guess


@lru_cache(maxsize=256)  # one request asks for its number several times
def to_e164(text: str, default_country: str | None = None) -> Phone:
    """Read a number as people write it.

    Without ``default_country`` the number must start with ``+`` (the API's rule). With one (pages, files) a
    national number is read as that country's. Raises BadPhone with one of the codes ``phone_empty``,
    ``phone_missing_plus``, ``phone_not_a_number``, ``phone_too_short``, ``phone_too_long``, ``phone_invalid``.
    """
    written = text.strip()
    if not written:
        raise BadPhone("phone_empty", T("Give a phone number with + and the country code, such as +40722123456."))
    if written.startswith("00"):
        written = "+" + written[2:]
    if default_country is None and (not written.startswith("+") or written.startswith("+0")):  # no country has a 0
        raise _missing_plus(written)
    try:
        number = phonenumbers.parse(written, default_country)
    except phonenumbers.NumberParseException as problem:
        raise BadPhone("phone_not_a_number", T("%(text)s is not a phone number.", text=written[:40])) from problem
    _refuse_impossible(number, written)
    return Phone(
        e164=phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164),
        market=phonenumbers.region_code_for_number(number) or "ZZ",
    )


@lru_cache(maxsize=256)
def mask(e164: str) -> str:
    """``+40••••••456``: country code and last three digits, the rest hidden."""
    try:
        code = str(phonenumbers.parse(e164, None).country_code)
    except phonenumbers.NumberParseException:
        code = e164.lstrip("+")[:2]
    hidden = max(len(e164) - 1 - len(code) - 3, 3)
    return f"+{code}{'•' * hidden}{e164[-3:]}"


def candidates_of(text: str) -> list[str]:
    """E.164 aliases under which WhatsApp may report the same person.

    Argentina's mobile 9 and Mexico's 1 are dropped or added by WhatsApp, Brazil's ninth digit likewise
    (contracts.md §1.2: ``wa_id`` may differ from the number sent).
    """
    number = "+" + text.lstrip("+")
    aliases = [number]
    for long, short in (("+549", "+54"), ("+521", "+52")):
        if number.startswith(long):
            aliases.append(short + number[len(long) :])
        elif number.startswith(short):
            aliases.append(long + number[len(short) :])
    if number.startswith("+55") and len(number) in (13, 14):
        area, local = number[3:5], number[5:]
        aliases.append(f"+55{area}{local[1:]}" if len(local) == 9 else f"+55{area}9{local}")
    return aliases


def _missing_plus(written: str) -> BadPhone:
    for country in ("RO", None):
        try:
            digits = written.lstrip("+")
            number = phonenumbers.parse(digits if country else "+" + digits, country)
        except phonenumbers.NumberParseException:
            continue
        if phonenumbers.is_valid_number(number):
            guess = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
            detail = T(
                "%(text)s: numbers must start with + and the country code. Did you mean %(guess)s?",
                text=written[:40],
                guess=guess,
            )
            return BadPhone("phone_missing_plus", detail, guess)
    detail = T("%(text)s: numbers must start with + and the country code.", text=written[:40])
    return BadPhone("phone_missing_plus", detail)


def _refuse_impossible(number: phonenumbers.PhoneNumber, written: str) -> None:
    possible = phonenumbers.is_possible_number_with_reason(number)
    if possible == phonenumbers.ValidationResult.TOO_SHORT:
        raise BadPhone("phone_too_short", T("%(text)s has too few digits.", text=written[:40]))
    if possible == phonenumbers.ValidationResult.TOO_LONG:
        raise BadPhone("phone_too_long", T("%(text)s has too many digits.", text=written[:40]))
    if not phonenumbers.is_valid_number(number):
        raise BadPhone("phone_invalid", T("%(text)s is not a number in use in its country.", text=written[:40]))
