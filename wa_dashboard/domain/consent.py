"""Who may be written to for what: the rules of consent, without a database (decisions.md D9, states.md §6.5)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from itertools import takewhile
from zoneinfo import ZoneInfo

from .statuses import ConsentStatus, Purpose
from .text import T

PURPOSES = (Purpose.TRANSACTIONAL, Purpose.REMINDER, Purpose.MARKETING)
IN, OUT, UNKNOWN = ConsentStatus.OPTED_IN, ConsentStatus.OPTED_OUT, ConsentStatus.UNKNOWN


class Source(StrEnum):
    """Where a person said it (api.md §5.6)."""

    CHECKOUT = "checkout"
    SETTINGS_PAGE = "settings_page"
    PREFERENCE_PAGE = "preference_page"
    WHATSAPP_REPLY = "whatsapp_reply"
    META_PREFERENCE = "meta_preference"
    QR = "qr"
    IMPORT = "import"
    STAFF = "staff"
    API = "api"


@dataclass(frozen=True)
class Said:
    """One statement of a person about one purpose; ``at`` is aware UTC."""

    status: str
    at: datetime
    source: str

    @property
    def weight(self) -> tuple[datetime, bool]:
        """The later statement counts; at the same instant, opting out does."""
        return self.at, self.status == OUT


def supersedes(new: Said, present: Said | None) -> bool:
    """Does ``new`` become the present state? Whatever order statements come in, the same one ends on top."""
    return present is None or new.weight > present.weight


def present_of(history: Iterable[Said]) -> Said | None:
    """What counts of a history in any order."""
    return max(history, key=lambda said: said.weight, default=None)


def statuses(states: Mapping[str, Said]) -> dict[str, str]:
    """Status by purpose, ``unknown`` where nothing was said."""
    return {str(purpose): str(states[purpose].status if purpose in states else UNKNOWN) for purpose in PURPOSES}


@dataclass(frozen=True)
class Refusal:
    """Why somebody is left out. ``reason``: ``not_opted_in`` or ``opted_out``; ``purpose``: whose state decided.

    ``detail`` is what `skip_sentence` needs, as JSON: ``purpose`` and, for an opt-out, ``when``, ``source``, ``word``.
    """

    reason: str
    purpose: str
    detail: Mapping[str, str] = field(default_factory=dict)


def judge(states: Mapping[str, Said], purpose: str, *, contract_basis: bool = False) -> Refusal | None:
    """None when a message of ``purpose`` may go to a person with these ``states`` (by purpose).

    One answer for acceptance, dry run and the instant before sending. A reminder is covered by consent to reminders
    or to order messages, unless reminders themselves were refused. ``contract_basis``: the tenant sends order
    confirmations to everybody who did not opt out of them (decisions.md D9).
    """
    if purpose == Purpose.OTP:
        return None  # the person has just asked for it
    said = statuses(states)
    if said[purpose] == OUT:
        return Refusal("opted_out", purpose)
    if said[purpose] == IN or (purpose == Purpose.TRANSACTIONAL and contract_basis):
        return None
    if purpose == Purpose.REMINDER and said[Purpose.TRANSACTIONAL] != UNKNOWN:
        return judge(states, Purpose.TRANSACTIONAL)
    return Refusal("not_opted_in", purpose)


def restored_by_start(purpose: str, history: Iterable[Said], source: str) -> bool:
    """Does a START (or WhatsApp's own *resume*) from ``source`` undo the opt-out in this history?

    Only an opt-out that came the same way. It brings back an earlier yes and never invents one for promotions:
    Law 506/2004 art. 12 wants that said expressly.
    """
    newest_first = sorted(history, key=lambda said: said.weight, reverse=True)
    refusals = list(takewhile(lambda said: said.status == OUT and said.source == source, newest_first))
    if not refusals:
        return False
    before = newest_first[len(refusals)].status if len(refusals) < len(newest_first) else UNKNOWN
    return before == IN or (before == UNKNOWN and purpose != Purpose.MARKETING)


# --- sentences --------------------------------------------------------------------------------------------------

_MONTHS = (
    T("Jan"), T("Feb"), T("Mar"), T("Apr"), T("May"), T("Jun"),
    T("Jul"), T("Aug"), T("Sep"), T("Oct"), T("Nov"), T("Dec"),
)  # fmt: skip
_OPTED_OUT = {
    Source.CHECKOUT: "opted out on %(date)s at the checkout",
    Source.SETTINGS_PAGE: "opted out on %(date)s on your settings page",
    Source.PREFERENCE_PAGE: "opted out on %(date)s on the preference page",
    Source.WHATSAPP_REPLY: "opted out on %(date)s by WhatsApp reply %(word)s",
    Source.META_PREFERENCE: "opted out on %(date)s in WhatsApp's own settings",
    Source.QR: "opted out on %(date)s by QR code",
    Source.IMPORT: "opted out on %(date)s by an imported list",
    Source.STAFF: "opted out on %(date)s through your staff",
    Source.API: "opted out on %(date)s through the API",
}
_NOT_OPTED_IN = {
    Purpose.TRANSACTIONAL: T("has not agreed to messages about orders"),
    Purpose.REMINDER: T("has not agreed to reminders"),
    Purpose.MARKETING: T("has not agreed to promotions"),
}


def skip_sentence(reason: str, detail: Mapping[str, str], zone: str = "UTC") -> T:
    """``opted out on 3 Nov 2026 by WhatsApp reply STOP``: a refusal in words, the day as in the IANA ``zone``."""
    if reason == "not_opted_in":
        return _NOT_OPTED_IN[Purpose(detail["purpose"])]
    written = day_in_words(datetime.fromisoformat(detail["when"]), zone)
    return T(_OPTED_OUT[Source(detail["source"])], date=written, word=detail.get("word", "STOP"))


def day_in_words(at: datetime, zone: str = "UTC") -> T:
    """``3 Nov 2026``: the day of an aware time as in the IANA ``zone``."""
    day = at.astimezone(ZoneInfo(zone))
    return T("%(day)s %(month)s %(year)s", day=day.day, month=_MONTHS[day.month - 1], year=day.year)
