"""Which outcomes say that a provider is out of order, and how many did of late."""

from dataclasses import dataclass

from sqlalchemy import func, select

from ..db import db, db_now
from ..models import Attempt, ProviderAccount
from ..providers.base import Outcome, provider_named
from ..providers.verdict import fault

WINDOW_S = 60.0
TRICKLE_S = 600.0  # a sender with little traffic: nothing but failures for so long says the same
# Graph's "unknown error" and "something went wrong" are what an outage of theirs looks like, whatever their table says.
_OUTAGE_CODES = {"1", "131000"}
_OURS = ("self_fence", "lease_expired", "never_left", "worker_ended")  # our own processes' misfortunes


def concerns_provider(outcome: Outcome) -> bool:
    """Whether the outcome says that the far end is out of order."""
    if outcome.kind not in ("not_sent", "ambiguous") or outcome.code in _OURS:
        return False
    return outcome.scope == "provider" or outcome.code in _OUTAGE_CODES


@dataclass(frozen=True)
class Seen:
    """Of the last ``seconds``: ``requests`` that came to an end, those that ``failed`` for the provider's health, and
    how long the first and the last of these lie apart (``span_s``)."""

    seconds: float
    requests: int
    failed: int
    span_s: float


def of_the_last(account: ProviderAccount, seconds: float) -> Seen:
    """What the account's attempts begun since then came to; by ix_wa_attempts_watermark."""
    groups = db.session.execute(
        select(
            Attempt.outcome,
            Attempt.error_class,
            Attempt.error_code,
            func.count(),
            func.min(Attempt.started_at),
            func.max(Attempt.started_at),
        )
        .where(
            Attempt.account_id == account.id,
            Attempt.receipt_seen.in_((False, True)),
            Attempt.started_at > db_now(-seconds),
            Attempt.outcome.in_(("accepted", "not_sent", "rejected", "ambiguous")),
        )
        .group_by(Attempt.outcome, Attempt.error_class, Attempt.error_code)
    ).all()
    requests = failed = 0
    first = last = None
    for kind, error_class, code, count, began, ended in groups:
        if code in _OURS:
            continue
        requests += count
        if _is_failure(account, kind, error_class, code):
            failed += count
            first, last = min(first or began, began), max(last or ended, ended)
    return Seen(seconds, requests, failed, (last - first).total_seconds() if first and last else 0.0)


def _is_failure(account: ProviderAccount, kind: str | None, error_class: str | None, code: str | None) -> bool:
    if kind not in ("not_sent", "ambiguous") or error_class not in ("network", "transient", "ambiguous"):
        return False
    codes = provider_named(account.provider).codes
    scope = fault(codes, code, "").scope if code is not None and code in codes else "provider"
    return concerns_provider(Outcome("ambiguous", error_class, code, scope=scope))
