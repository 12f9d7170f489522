"""Which outcomes say that a provider is out of order, and how many did of late."""

from sqlalchemy import func, select

from ..db import db, db_now
from ..models import Attempt, ProviderAccount
from ..providers.base import Outcome, provider_named
from ..providers.verdict import fault

WINDOW_S = 60.0
# Graph's "unknown error" and "something went wrong" are what an outage of theirs looks like, whatever their table says.
_OUTAGE_CODES = {"1", "131000"}
_OURS = ("self_fence", "lease_expired")


def concerns_provider(outcome: Outcome) -> bool:
    """Whether the outcome says that the far end is out of order."""
    if outcome.kind not in ("not_sent", "ambiguous") or outcome.code in _OURS:
        return False
    return outcome.scope == "provider" or outcome.code in _OUTAGE_CODES


def of_the_last_minute(account: ProviderAccount) -> tuple[int, int]:
    """(requests that came to an end, those of them that concern the provider's health), by ix_wa_attempts_watermark."""
    groups = db.session.execute(
        select(Attempt.outcome, Attempt.error_class, Attempt.error_code, func.count())
        .where(
            Attempt.account_id == account.id,
            Attempt.receipt_seen.in_((False, True)),
            Attempt.started_at > db_now(-WINDOW_S),
            Attempt.outcome.in_(("accepted", "not_sent", "rejected", "ambiguous")),
        )
        .group_by(Attempt.outcome, Attempt.error_class, Attempt.error_code)
    ).all()
    codes = provider_named(account.provider).codes
    requests = failed = 0
    for kind, error_class, code, count in groups:
        if code in _OURS:
            continue
        requests += count
        known = code is not None and code in codes
        scope = fault(codes, code or "", "").scope if known else "provider"
        class_fits = error_class in ("network", "transient", "ambiguous")
        outcome = Outcome("not_sent" if kind == "not_sent" else "ambiguous", error_class, code, scope=scope)
        failed += count if kind in ("not_sent", "ambiguous") and class_fits and concerns_provider(outcome) else 0
    return requests, failed
