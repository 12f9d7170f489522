"""The states of a message, an attempt, a template and a person's consent, and how they may move.

Words: decisions.md D5. Lattice of receipts: states.md §6.1.
"""

from collections.abc import Iterable
from enum import IntEnum, StrEnum

from .text import T


class MessageType(StrEnum):
    ORDER_CONFIRM = "order_confirm"
    REMINDER = "reminder"
    PROMO = "promo"
    OTP = "otp"


class Purpose(StrEnum):
    TRANSACTIONAL = "transactional"
    REMINDER = "reminder"
    MARKETING = "marketing"
    OTP = "otp"


class Policy(StrEnum):
    """What to do with a send whose outcome nobody knows (durability.md §3.6)."""

    NEVER_TWICE = "never_twice"
    EVIDENCE = "evidence"
    MUST_DELIVER = "must_deliver"


class Lane(StrEnum):
    OTP = "otp"
    HIGH = "high"
    NORMAL = "normal"
    BULK = "bulk"


PRIORITY = {Lane.OTP: 0, Lane.HIGH: 1, Lane.NORMAL: 2, Lane.BULK: 3}

POLICY_OF = {
    MessageType.ORDER_CONFIRM: Policy.MUST_DELIVER,
    MessageType.REMINDER: Policy.EVIDENCE,
    MessageType.PROMO: Policy.NEVER_TWICE,
    MessageType.OTP: Policy.NEVER_TWICE,
}
LANE_OF = {
    MessageType.ORDER_CONFIRM: Lane.HIGH,
    MessageType.REMINDER: Lane.NORMAL,
    MessageType.PROMO: Lane.BULK,
    MessageType.OTP: Lane.OTP,
}
PURPOSE_OF = {
    MessageType.ORDER_CONFIRM: Purpose.TRANSACTIONAL,
    MessageType.REMINDER: Purpose.REMINDER,
    MessageType.PROMO: Purpose.MARKETING,
    MessageType.OTP: Purpose.OTP,
}


class Status(StrEnum):
    QUEUED = "queued"
    SENDING = "sending"
    UNCERTAIN = "uncertain"
    ACCEPTED = "accepted"
    SENT = "sent"
    DELIVERED = "delivered"
    READ = "read"
    FAILED = "failed"
    UNCONFIRMED = "unconfirmed"
    DEAD_LETTER = "dead_letter"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


S = Status
WAITING = frozenset({S.QUEUED, S.SENDING, S.UNCERTAIN})
RECEIVED = frozenset({S.DELIVERED, S.READ})
# Should have arrived and did not, or nobody can say that they did: one number wherever it is shown.
NOT_RECEIVED = frozenset({S.FAILED, S.UNCONFIRMED, S.DEAD_LETTER, S.EXPIRED})

# What we decide ourselves. What receipts decide is `Rank`: evidence may overrule every one of these.
MOVES: dict[Status, frozenset[Status]] = {
    # uncertain: what was in doubt when a backup was made is in doubt again after its restore (services.release)
    S.QUEUED: frozenset({S.SENDING, S.UNCERTAIN, S.SKIPPED, S.CANCELLED, S.EXPIRED, S.DEAD_LETTER}),
    S.SENDING: frozenset({S.QUEUED, S.UNCERTAIN, S.ACCEPTED, S.FAILED, S.DEAD_LETTER, S.EXPIRED}),
    S.UNCERTAIN: frozenset({S.QUEUED, S.UNCONFIRMED, S.ACCEPTED, S.FAILED, S.EXPIRED, S.DEAD_LETTER}),
    S.ACCEPTED: frozenset(),
    S.SENT: frozenset(),
    S.DELIVERED: frozenset(),
    S.READ: frozenset(),
    S.FAILED: frozenset({S.QUEUED}),
    S.UNCONFIRMED: frozenset({S.QUEUED}),
    S.DEAD_LETTER: frozenset({S.QUEUED}),
    S.SKIPPED: frozenset(),
    S.CANCELLED: frozenset(),
    S.EXPIRED: frozenset({S.QUEUED}),
}


def sources_of(target: Status) -> list[Status]:
    """The statuses from which a decision of ours may move a message to ``target``."""
    return [status for status, targets in MOVES.items() if target in targets]


class Rank(IntEnum):
    """How much an attempt's evidence weighs. Evidence only grows, whatever order it comes in.

    ``failed`` lies below ``delivered`` on purpose: with several devices a delivery can follow a failure
    (contracts.md §0 rule 3).
    """

    INFLIGHT = 5
    AMBIGUOUS = 10
    NOT_SENT = 12
    ACCEPTED = 20
    SENT = 30
    FAILED = 40
    DELIVERED = 50
    READ = 60


RANK_OF_RECEIPT = {
    "accepted": Rank.ACCEPTED,
    "sent": Rank.SENT,
    "failed": Rank.FAILED,
    "delivered": Rank.DELIVERED,
    "read": Rank.READ,
}
STATUS_OF_RANK = {
    Rank.ACCEPTED: S.ACCEPTED,
    Rank.SENT: S.SENT,
    Rank.FAILED: S.FAILED,
    Rank.DELIVERED: S.DELIVERED,
    Rank.READ: S.READ,
}


def best_of(ranks: Iterable[int]) -> Rank:
    """What a message's attempts prove together: a delivery by any, else the best still alive, else a failure."""
    ranks = list(ranks)
    best = max(ranks)
    if best >= Rank.DELIVERED:
        return Rank(best)
    alive = [rank for rank in ranks if rank not in (Rank.FAILED, Rank.NOT_SENT)]
    return Rank(max(alive or ranks))


class TemplateStatus(StrEnum):
    """A template version on one provider account (states.md §6.4)."""

    DRAFT = "draft"
    SUBMITTING = "submitting"
    SUBMIT_UNKNOWN = "submit_unknown"
    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    PAUSED = "paused"
    FLAGGED = "flagged"
    DISABLED = "disabled"
    IN_APPEAL = "in_appeal"
    ARCHIVED = "archived"
    LOCKED = "locked"
    LIMIT_EXCEEDED = "limit_exceeded"
    DELETED = "deleted"


SENDABLE = frozenset({TemplateStatus.APPROVED, TemplateStatus.FLAGGED})


class ConsentStatus(StrEnum):
    OPTED_IN = "opted_in"
    OPTED_OUT = "opted_out"
    UNKNOWN = "unknown"


STATUS_WORDS: dict[Status, T] = {
    S.QUEUED: T("Waiting"),
    S.SENDING: T("Sending"),
    S.UNCERTAIN: T("Checking"),
    S.ACCEPTED: T("Accepted"),
    S.SENT: T("Sent"),
    S.DELIVERED: T("Delivered"),
    S.READ: T("Read"),
    S.FAILED: T("Failed"),
    S.UNCONFIRMED: T("Not confirmed"),
    S.DEAD_LETTER: T("Stuck"),
    S.SKIPPED: T("Left out"),
    S.CANCELLED: T("Cancelled"),
    S.EXPIRED: T("Expired"),
}
