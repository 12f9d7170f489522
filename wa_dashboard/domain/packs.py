"""Packs of texts for six kinds of organiser, in Romanian and English, ready to be sent for approval.

Confirmations and reminders ask only for what every order tells (``first_name``, ``order_id``, ``event_name``,
``event_date``); what else a text needs, its caller must give, and `domain.variables` knows it.
"""

from dataclasses import dataclass

from .findings import CATEGORY_OF
from .pack_emergencies import EMERGENCIES
from .pack_gatherings import CONFERENCES, RECURRING, SPORT
from .pack_shows import CONCERTS, THEATRE
from .pack_words import Words
from .rendering import TemplateText, all_variables
from .text import T
from .wording import SAMPLES, STOP, STOP_PROMO

LANGUAGES = ("ro", "en")


@dataclass(frozen=True)
class Pack:
    """What an organiser may install with one button. ``icon``: a name in static/icons.svg."""

    key: str
    title: T
    sentence: T
    icon: str


PACKS: dict[str, Pack] = {
    pack.key: pack
    for pack in (
        Pack(
            "concerts",
            T("Concerts and festivals"),
            T("A confirmation, a countdown of three reminders, the last tickets and a better place."),
            "ticket",
        ),
        Pack(
            "conferences",
            T("Conferences"),
            T("A confirmation, three reminders, a change in the programme and the next edition."),
            "users",
        ),
        Pack(
            "theatre",
            T("Theatre and performing arts"),
            T("A confirmation, three reminders before the curtain rises and the season ticket."),
            "eye",
        ),
        Pack(
            "sport",
            T("Sport"),
            T("A confirmation, reminders up to match day with gates and parking, and the fan shop."),
            "bolt",
        ),
        Pack(
            "recurring",
            T("Events that come back"),
            T("A confirmation, three reminders, and an early-bird price for those who were there before."),
            "refresh",
        ),
        Pack(
            "emergencies",
            T("When something goes wrong"),
            T("Cancelled, moved, another place, other doors, safety: approved now, ready when you need them."),
            "alert",
        ),
    )
}

_WORDS: dict[str, tuple[Words, ...]] = {
    "concerts": CONCERTS,
    "conferences": CONFERENCES,
    "theatre": THEATRE,
    "sport": SPORT,
    "recurring": RECURRING,
    "emergencies": EMERGENCIES,
}

# What Meta's reviewers and the organiser read in the place of the variables: a match is no spring concert.
_SAMPLES: dict[str, dict[str, dict[str, str]]] = {
    "concerts": {},
    "conferences": {
        "ro": {"event_name": "Zilele Arhitecturii", "venue_name": "Biblioteca Națională"},
        "en": {"event_name": "Architecture Days", "venue_name": "National Library"},
    },
    "theatre": {
        "ro": {"event_name": "O scrisoare pierdută", "venue_name": "Teatrul Național"},
        "en": {"event_name": "A Lost Letter", "venue_name": "National Theatre"},
    },
    "sport": {
        "ro": {"event_name": "Rapid – Farul", "venue_name": "Stadionul Giulești"},
        "en": {"event_name": "Rapid v Farul", "venue_name": "Giulești Stadium"},
    },
    "recurring": {
        "ro": {"event_name": "Atelierul de ceramică", "venue_name": "Casa Artelor"},
        "en": {"event_name": "Pottery Workshop", "venue_name": "House of Arts"},
    },
    "emergencies": {},
}

# Texts that say something went wrong: sent only when somebody names them, never because they are the newest.
NOTICES = frozenset({*(words.name for words in EMERGENCIES), "conference_programme_changed"})


def texts_of(key: str, language: str) -> list[TemplateText]:
    """The texts of a pack in ``ro`` or ``en``. Raises KeyError for another pack or language."""
    said = SAMPLES[language] | _SAMPLES[key].get(language, {})
    return [_text(words, language, said) for words in _WORDS[key]]


def _text(words: Words, language: str, said: dict[str, str]) -> TemplateText:
    header, body = words.says(language)
    footer = (STOP_PROMO if words.kind == "promo" else STOP)[language] if words.exit else None
    text = TemplateText(words.name, words.kind, language, CATEGORY_OF[words.kind], body,
                        {"format": "text", "text": header}, footer)  # fmt: skip
    samples = {name: said[name] for name in all_variables(text)}
    return TemplateText(**(vars(text) | {"examples": samples}))
