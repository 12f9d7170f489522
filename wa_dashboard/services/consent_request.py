"""What is reported about a person's consent: whether it is complete, and whether it was reported before."""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from .. import clock
from ..domain.consent import IN, OUT, PURPOSES, Said, Source
from ..domain.phone import Phone
from ..domain.statuses import Purpose
from ..domain.text import T
from ..errors import Finding, Invalid, invalid
from ..models import ConsentEvent
from .chains import written

FUTURE = timedelta(minutes=5)
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class ConsentRequest:
    """What a person said, as reported to us.

    ``status``: ``opted_in`` or ``opted_out``; ``purposes`` None means all for an opt-out and is refused for an
    opt-in; ``occurred_at`` aware (None: now); ``source_ref``: the source's own name for the statement, which makes
    a repetition harmless; ``wording_id``: which text was agreed to; ``evidence``: what proves it (kept encrypted);
    ``claimed_by``: who acted, as the caller says.
    """

    status: str
    source: str
    phone: Phone | None = None
    purposes: Collection[str] | None = None
    occurred_at: datetime | None = None
    source_ref: str | None = None
    wording_id: str | None = None
    evidence: Mapping[str, Any] | None = None
    claimed_by: Mapping[str, Any] = field(default_factory=dict)

    def wanted(self) -> list[Purpose]:
        """The purposes it is about."""
        return [purpose for purpose in PURPOSES if self.purposes is None or purpose in self.purposes]


def check(request: ConsentRequest, at: str) -> None:
    """Raises Invalid (see `consent_log.record`) with pointers below ``at``."""
    if request.status == IN and not request.purposes:
        words = ", ".join(PURPOSES)
        raise invalid(f"{at}/purposes", "purposes_missing", T("Say what the person agreed to: %(words)s.", words=words))
    if request.occurred_at is not None:
        if request.occurred_at > clock.now() + FUTURE:
            detail = T("This lies in the future. Check the clock and the offset.")
            raise invalid(f"{at}/occurred_at", "occurred_at_in_future", detail)
        if request.occurred_at < EARLIEST:
            raise invalid(f"{at}/occurred_at", "occurred_at_too_old", T("This is before the year 2000."))
    if request.status == IN and Purpose.MARKETING in (request.purposes or ()):
        _check_proof(request, at)


def _check_proof(request: ConsentRequest, at: str) -> None:
    """Whoever sends promotions must be able to prove the yes: GDPR art. 7(1), Law 506/2004 art. 12."""
    findings = []
    if not request.wording_id and not request.evidence:
        detail = T("Promotions need proof: give wording_id (the text agreed to) or evidence.")
        findings.append(Finding(f"{at}/wording_id", "proof_missing", detail))
    if request.source == Source.IMPORT:
        for name in ("source_ref", "occurred_at"):
            if getattr(request, name) is None:
                detail = T("An imported yes to promotions needs %(name)s: where and when it was given.", name=name)
                findings.append(Finding(f"{at}/{name}", "proof_missing", detail))
    if findings:
        raise Invalid(findings[0].detail, findings=findings)


def dedupe_keys(contact_id: str, purpose: str, request: ConsentRequest, now: datetime) -> tuple[str, str]:
    """What makes two statements the same (api.md §5.6), and the same once more at another time."""
    when = written(request.occurred_at or now)
    base = _digest(contact_id, purpose, request.status, request.source, request.source_ref or f"at {when}")
    return base, _digest(base, when)


def _digest(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def said_again(request: ConsentRequest, found: ConsentEvent, present: Said | None) -> bool:
    """Was a statement with a known ``source_ref`` really made once more, after the opposite?

    A repetition must not bring back a yes that was withdrawn, so a yes counts again only with a newer time of its
    own. A no without a time counts again: to lose it would be worse.
    """
    if request.source_ref is None or present is None or present.status == request.status:
        return False
    if request.occurred_at is None:
        return request.status == OUT
    return request.occurred_at > max(present.at, found.occurred_at)
