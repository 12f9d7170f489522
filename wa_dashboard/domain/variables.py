"""The variables a template may use: which ones the product fills by itself, and which a caller must give."""

import difflib
from dataclasses import dataclass
from typing import Literal

from .text import T

Source = Literal["recipient", "order", "event", "product", "caller"]
LONGEST_UNKNOWN = 120  # characters; what we reckon with for a variable we know nothing of


@dataclass(frozen=True)
class Variable:
    """``kind``: text, date, time or code. ``longest``: characters to reckon with, longer than nearly any real value.
    ``source``: who fills it in; ``caller`` means that every message must bring it along."""

    name: str
    kind: str
    longest: int
    source: Source
    meaning: T


VARIABLES: dict[str, Variable] = {
    variable.name: variable
    for variable in (
        Variable("first_name", "text", 60, "recipient", T("the person's first name")),
        Variable("order_id", "text", 64, "order", T("the number of the order")),
        Variable("event_name", "text", 150, "event", T("what the event is called")),
        Variable("event_date", "date", 40, "event", T("the event's date and hour, in the reader's language")),
        Variable("venue_name", "text", 150, "event", T("where it takes place")),
        Variable("code", "code", 15, "product", T("the one-time code")),
        Variable("calendar_token", "code", 60, "product", T("a link that puts the event into the calendar")),
        Variable("discount_code", "code", 40, "caller", T("a code for a lower price")),
        Variable("order_token", "text", 120, "caller", T("the end of a web address, for example of the tickets")),
        Variable("doors_time", "time", 20, "caller", T("when the doors open")),
        Variable("seat", "text", 60, "caller", T("the seat")),
        Variable("parking", "text", 120, "caller", T("where to park")),
        Variable("change", "text", 240, "caller", T("what has changed")),
        Variable("safety_info", "text", 240, "caller", T("what people must know to be safe")),
    )
}

# What authors write when they mean one of ours.
_MEANT = {
    "name": "first_name",
    "firstname": "first_name",
    "prenume": "first_name",
    "nume": "first_name",
    "customer_name": "first_name",
    "order": "order_id",
    "order_no": "order_id",
    "order_number": "order_id",
    "comanda": "order_id",
    "event": "event_name",
    "event_title": "event_name",
    "eveniment": "event_name",
    "date": "event_date",
    "data": "event_date",
    "venue": "venue_name",
    "location": "venue_name",
    "locatie": "venue_name",
    "promo_code": "discount_code",
    "voucher": "discount_code",
    "cod_reducere": "discount_code",
}


def longest(name: str) -> int:
    """Characters to reckon with for the variable's value."""
    known = VARIABLES.get(name)
    return known.longest if known else LONGEST_UNKNOWN


def fills_itself(name: str) -> bool:
    """Does the product know the value without being told it as a variable?"""
    return name in VARIABLES and VARIABLES[name].source != "caller"


def misspelt(name: str) -> str | None:
    """The variable of ours that this one is probably a slip of, such as ``first_name`` for ``frist_name``.

    A numbered one, ``event_name_2``, is meant to be another.
    """
    if name in VARIABLES or name.rstrip("_0123456789") in VARIABLES:
        return None
    filled = [known for known in VARIABLES if VARIABLES[known].source != "product"]
    return next(iter(difflib.get_close_matches(name, filled, n=1, cutoff=0.85)), None)


def meant(name: str) -> str | None:
    """The variable of ours that says the same under another name, such as ``first_name`` for ``name``."""
    return None if name in VARIABLES else _MEANT.get(name)
