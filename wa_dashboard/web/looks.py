"""How each status looks: a word, an icon and a tone together, so that colour is never alone."""

from dataclasses import dataclass

from ..domain.statuses import STATUS_WORDS, Status, TemplateStatus
from ..domain.text import T


@dataclass(frozen=True)
class Look:
    """``tone``: good, info, wait, warn, bad or off (classes of app.css). ``icon``: a name in icons.svg."""

    word: T
    icon: str
    tone: str


S = Status
_SIGNS = {
    S.QUEUED: ("hourglass", "wait"),
    S.SENDING: ("send", "info"),
    S.UNCERTAIN: ("help", "warn"),
    S.ACCEPTED: ("check", "info"),
    S.SENT: ("check", "info"),
    S.DELIVERED: ("checks", "good"),
    S.READ: ("checks", "good read"),
    S.FAILED: ("x-circle", "bad"),
    S.UNCONFIRMED: ("help", "warn"),
    S.DEAD_LETTER: ("alert", "bad"),
    S.SKIPPED: ("skip", "off"),
    S.CANCELLED: ("ban", "off"),
    S.EXPIRED: ("clock", "off"),
}
MESSAGE_LOOKS = {str(status): Look(STATUS_WORDS[status], *_SIGNS[status]) for status in Status}

P = TemplateStatus
TEMPLATE_LOOKS = {
    str(status): look
    for status, look in {
        P.DRAFT: Look(T("Draft"), "edit", "off"),
        P.SUBMITTING: Look(T("Being submitted"), "send", "info"),
        P.SUBMIT_UNKNOWN: Look(T("Checking"), "help", "warn"),
        P.PENDING: Look(T("In review"), "hourglass", "wait"),
        P.APPROVED: Look(T("Approved"), "check", "good"),
        P.REJECTED: Look(T("Rejected"), "x-circle", "bad"),
        P.PAUSED: Look(T("Paused"), "pause", "warn"),
        P.FLAGGED: Look(T("Flagged"), "alert", "warn"),
        P.DISABLED: Look(T("Disabled"), "ban", "bad"),
        P.IN_APPEAL: Look(T("In appeal"), "hourglass", "wait"),
        P.ARCHIVED: Look(T("Archived"), "archive", "off"),
        P.LOCKED: Look(T("Locked"), "ban", "bad"),
        P.LIMIT_EXCEEDED: Look(T("Over the limit"), "alert", "warn"),
        P.DELETED: Look(T("Deleted"), "trash", "off"),
    }.items()
}

# A sender's state (services.breakers): icon and tone; its word comes with the state.
SENDER_LOOKS: dict[str, tuple[str, str]] = {
    "healthy": ("check", "good"),
    "degraded": ("alert", "warn"),
    "half_open": ("refresh", "warn"),
    "open": ("x-circle", "bad"),
    "locked": ("ban", "bad"),
    "disabled": ("pause", "off"),
}

# The technical details of a message: codes of an attempt's outcome, and of a webhook's kind and state.
OUTCOME_WORDS = {
    "accepted": T("taken"),
    "not_sent": T("not sent"),
    "throttled": T("slowed down"),
    "rejected": T("refused"),
    "ambiguous": T("no clear answer"),
}
NEWS_WORDS = {
    "status": T("Receipt"),
    "inbound": T("Answer"),
    "applied": T("counted"),
    "parked": T("waits for its message"),
    "ignored": T("changes nothing"),
    "unknown": T("not understood"),
    "failed": T("could not be read"),
}
