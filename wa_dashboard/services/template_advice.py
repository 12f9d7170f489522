"""What Meta will think a template is, and what the difference costs (peers.md 2.8)."""

import re
from dataclasses import dataclass
from typing import Literal

from .. import clock
from ..domain.lint import promotional_words
from ..domain.pricing import price_of
from ..domain.rendering import TemplateText, all_variables
from ..domain.text import T
from ..models import Tenant

# What ties a message to something the reader did or asked for, which is what Meta calls utility.
_PERSONAL = frozenset({"order_id", "order_token", "seat", "event_date", "doors_time", "change", "safety_info"})
_ABOUT_AN_ORDER = re.compile(
    r"\b(?:comand\w*|bilet\w*|rezerv\w*|înscri\w*|confirm\w*|programat\w*|reprogramat\w*|anulat\w*|mâine|porțile"
    r"|locul tău|locurile tale|acces\w*|orders?|tickets?|seats?|booking|booked|registration|registered|reservation"
    r"|rescheduled|cancell?ed|tomorrow|doors|receipt|appointment)\b",
    re.IGNORECASE,
)
_BROADCAST = T("no order, date or name")


@dataclass(frozen=True)
class Advice:
    """``predicted``: utility, marketing or authentication. ``signals``: the words it rests on, as they stand there.

    ``difference_micros``: what one message costs more (or, below zero, less) in ``market`` if Meta takes the text for
    what we think; None when it makes no difference or the price card knows no price.
    """

    predicted: str
    confidence: Literal["high", "low"]
    signals: tuple[str, ...]
    difference_micros: int | None
    currency: str
    market: str
    sentence: T


def advise(tenant: Tenant, text: TemplateText) -> Advice:
    """What Meta is likely to make of the text, in the organiser's main market. Asks nobody, writes nothing."""
    predicted, confidence, signals = _predict(text)
    market = tenant.default_country
    before, after = (price_of(market, category, clock.now()) for category in (text.category, predicted))
    difference = after.micros - before.micros if predicted != text.category and before and after else None
    return Advice(
        predicted=predicted,
        confidence=confidence,
        signals=signals,
        difference_micros=difference,
        currency=after.currency if after else tenant.currency,
        market=market,
        sentence=_sentence(text, predicted, signals),
    )


def _predict(text: TemplateText) -> tuple[str, Literal["high", "low"], tuple[str, ...]]:
    """Two advertising words, or a percentage or a code for a lower price, count as sure."""
    if text.category == "authentication":
        return "authentication", "high", ()
    words = tuple(promotional_words(text))
    sure = len(words) > 1 or any("%" in word or word.startswith("{") for word in words)
    if words:
        return "marketing", "high" if sure else "low", words
    personal = sorted(name for name in all_variables(text) if name in _PERSONAL)
    spoken_of = tuple(dict.fromkeys(found.lower() for found in _ABOUT_AN_ORDER.findall(text.body)))
    if text.category == "marketing":
        if personal and len(spoken_of) > 1:
            return "utility", "low", spoken_of[:3]
        return "marketing", "high", ()
    if not personal and not spoken_of:
        return "marketing", "low", (_BROADCAST,)
    return "utility", "high" if personal and spoken_of else "low", ()


def _sentence(text: TemplateText, predicted: str, signals: tuple[str, ...]) -> T:
    if predicted == text.category:
        return _fitting(predicted)
    if predicted == "utility":
        return T("This reads like a message about an order, not like advertising. As a confirmation or a reminder it"
                 " would cost less.")  # fmt: skip
    if signals == (_BROADCAST,):
        why = T("nothing in it belongs to an order of the reader's")
    else:
        why = T("it says “%(words)s”", words=", ".join(signals[:3]))
    return T("WhatsApp will probably take this for advertising, which costs more: %(why)s.", why=why)


def _fitting(category: str) -> T:
    return {
        "utility": T("WhatsApp will probably take this as what it is: a message about an order or an event."),
        "marketing": T("WhatsApp will take this as advertising, as you do."),
        "authentication": T("A message with a code; WhatsApp writes its words."),
    }[category]
