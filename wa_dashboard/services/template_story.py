"""What happened to template versions on accounts, line by line: statuses, categories, quality, with the raw words.

Every line of a status is the event ``template.status_changed``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select

from .. import clock
from ..db import db
from ..domain.ids import new_id
from ..domain.statuses import SENDABLE, TemplateStatus
from ..models import TemplateApproval, TemplateEvent

S = TemplateStatus


def tell(row: TemplateApproval, source: str, at: datetime | None = None, **detail: Any) -> None:
    """Add a line to the approval's story (in a transaction); empty details are left out."""
    event = TemplateEvent(
        id=new_id("tev"),
        tenant_id=row.tenant_id,
        approval_id=row.id,
        status=row.status,
        source=source,
        at=at or clock.now(),
        detail={key: value for key, value in detail.items() if value not in (None, "")},
    )
    db.session.add(event)
    db.session.flush()


def said_since(row: TemplateApproval, at: datetime, *keys: str) -> Mapping[str, Any] | None:
    """The detail of a line that happened later than ``at`` and tells one of these; None: it is the newest word."""
    later = (TemplateEvent.approval_id == row.id, TemplateEvent.at > at)
    details = db.session.scalars(select(TemplateEvent.detail).where(*later).order_by(TemplateEvent.at.desc()))
    return next((detail for detail in details if any(key in detail for key in keys)), None)


def story_of(template_id: str) -> list[tuple[TemplateEvent, str]]:
    """What happened to a version in the order we learnt of it, each with the account's id (webhooks tell whole
    seconds, so their times alone could put an approval before its submission)."""
    wanted = (
        select(TemplateEvent, TemplateApproval.account_id)
        .join(TemplateApproval, TemplateApproval.id == TemplateEvent.approval_id)
        .where(TemplateApproval.template_id == template_id)
        .order_by(TemplateEvent.id)
    )
    return [(event, account_id) for event, account_id in db.session.execute(wanted)]


@dataclass(frozen=True)
class Rate:
    """How many versions were approved among those the providers have decided about, ever."""

    approved: int
    decided: int

    @property
    def share(self) -> float | None:
        """Between 0 and 1; None before the first decision."""
        return self.approved / self.decided if self.decided else None


def approval_rate() -> Rate:
    """The approval rate of the tenant in scope: of each approval its first decision counts."""
    decisions = db.session.execute(
        select(TemplateEvent.approval_id, TemplateEvent.status)
        .where(TemplateEvent.status.in_([*SENDABLE, S.REJECTED]))
        .order_by(TemplateEvent.id)
    )
    first: dict[str, str] = {}
    for approval_id, status in decisions:
        first.setdefault(approval_id, status)
    return Rate(sum(status in SENDABLE for status in first.values()), len(first))
