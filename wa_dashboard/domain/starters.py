"""Texts to begin with, in Romanian and English; and the texts Meta itself gives to messages with a code.

A starter needs only what every order tells (``first_name``, ``order_id``, ``event_name``, ``event_date``), so that
it can be sent as it is.
"""

from .findings import CATEGORY_OF
from .lint_meaning import CODE_LIFE_MINUTES
from .rendering import TemplateText
from .wording import CODE_BODY, CODE_BUTTON, CODE_FOOTER, SAMPLES, STOP, STOP_PROMO

LANGUAGES = ("ro", "en")

# name → (message type, {language: (header, body)})
_TEXTS: dict[str, tuple[str, dict[str, tuple[str, str]]]] = {
    "order_confirm": (
        "order_confirm",
        {
            "ro": (
                "Comanda ta este confirmată",
                (
                    "Bună, {first_name}! Îți mulțumim pentru comandă: locurile tale la *{event_name}* sunt asigurate."
                    "\n\nData: {event_date}\nNumărul comenzii: {order_id}\n\nPăstrează acest mesaj până la eveniment."
                ),
            ),
            "en": (
                "Your order is confirmed",
                (
                    "Hello {first_name}! Thank you for your order: your places at *{event_name}* are booked.\n\n"
                    "Date: {event_date}\nOrder number: {order_id}\n\nKeep this message until the event."
                ),
            ),
        },
    ),
    "reminder_d7": (
        "reminder",
        {
            "ro": (
                "Mai este o săptămână",
                (
                    "Bună, {first_name}! Peste o săptămână ne vedem la *{event_name}*.\n\n"
                    "Data: {event_date}\n\nNotează-ți ora în calendar. Te așteptăm!"
                ),
            ),
            "en": (
                "One week to go",
                (
                    "Hello {first_name}! In one week we meet at *{event_name}*.\n\n"
                    "Date: {event_date}\n\nPut it into your calendar. We look forward to seeing you!"
                ),
            ),
        },
    ),
    "reminder_d3": (
        "reminder",
        {
            "ro": (
                "Mai sunt trei zile",
                (
                    "Bună, {first_name}! Mai sunt trei zile până la *{event_name}*.\n\n"
                    "Data: {event_date}\n\nPregătește biletele din timp, ca să intri fără grabă."
                ),
            ),
            "en": (
                "Three days to go",
                (
                    "Hello {first_name}! Only three days are left until *{event_name}*.\n\n"
                    "Date: {event_date}\n\nHave your tickets ready, so that you can walk right in."
                ),
            ),
        },
    ),
    "reminder_d1": (
        "reminder",
        {
            "ro": (
                "Ne vedem mâine",
                (
                    "Bună, {first_name}! Mâine te așteptăm la *{event_name}*.\n\n"
                    "Data: {event_date}\n\nNu uita biletele și vino cu puțin timp înainte. Pe mâine!"
                ),
            ),
            "en": (
                "See you tomorrow",
                (
                    "Hello {first_name}! Tomorrow is the day of *{event_name}*.\n\n"
                    "Date: {event_date}\n\nDo not forget your tickets, and come a little early. See you tomorrow!"
                ),
            ),
        },
    ),
    "promo": (
        "promo",
        {
            "ro": (
                "Bilete la preț redus",
                (
                    "Bună, {first_name}! S-au pus în vânzare biletele pentru *{event_name}*, pe {event_date}. "
                    "Folosește codul {discount_code} când comanzi și plătești mai puțin. Te așteptăm cu drag!"
                ),
            ),
            "en": (
                "Tickets at a lower price",
                (
                    "Hello {first_name}! Tickets for *{event_name}* on {event_date} are on sale now. "
                    "Use the code {discount_code} when you order and pay less. We hope to see you there!"
                ),
            ),
        },
    ),
}


def starters(language: str) -> list[TemplateText]:
    """The six texts to begin with, in ``ro`` or ``en``. Raises KeyError for another language."""
    texts = []
    for name, (kind, by_language) in _TEXTS.items():
        header, body = by_language[language]
        used = {key: value for key, value in SAMPLES[language].items() if f"{{{key}}}" in body}
        footer = (STOP_PROMO if kind == "promo" else STOP)[language]
        text = TemplateText(name, kind, language, CATEGORY_OF[kind], body, {"format": "text", "text": header}, footer,
                            examples=used)  # fmt: skip
        texts.append(text)
    return [*texts, code_text("otp_code", language)]


def code_text(name: str, language: str, minutes: int = CODE_LIFE_MINUTES, button: str | None = None) -> TemplateText:
    """A message with a one-time code, in Meta's fixed words (English ones where we do not know Meta's)."""
    spoken = language.partition("_")[0] if language.partition("_")[0] in CODE_BODY else "en"
    copy = {
        "type": "otp",
        "text": button or CODE_BUTTON[spoken],
        "code_expiration_minutes": minutes,
        "add_security_recommendation": True,
    }
    return TemplateText(
        name=name,
        type="otp",
        language=language,
        category=CATEGORY_OF["otp"],
        body=CODE_BODY[spoken],
        footer=CODE_FOOTER[spoken] % minutes,
        buttons=[copy],
        examples={"code": "123456"},
    )
