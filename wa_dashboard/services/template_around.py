"""What stands around a template, for the lint: its twins, texts like it, and how many were sent for approval."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta

from sqlalchemy import func, select

from .. import clock
from ..db import db
from ..domain.lint import Around, Existing
from ..domain.lint_around import MOST, MOST_UNVERIFIED
from ..domain.rendering import TemplateText
from ..domain.statuses import TemplateStatus
from ..models import ProviderAccount, Template, TemplateApproval

S = TemplateStatus
_NOT_THERE = (S.REJECTED, S.DELETED)
_METAS = ("meta_cloud", "dialog360")  # whose templates live in one of Meta's business accounts
_TIER_OF_VERIFIED = 2000  # people a day: more than an unverified business may write to


@dataclass(frozen=True)
class _Row:
    name: str
    language: str
    category: str
    digest: str
    body: str
    footer: str | None
    sent: bool


@dataclass(frozen=True)
class Neighbours:
    """The templates of one organiser, read once, for any number of texts."""

    rows: Sequence[_Row]
    last_hour: int
    total: int
    most: int

    def of(self, text: TemplateText) -> Around:
        """What stands around this text; a version with the very same content is the text itself."""
        named = [row for row in self.rows if row.name == text.name]
        mine = digest(text)
        return Around(
            languages=frozenset(row.language for row in named),
            categories=frozenset(row.category for row in named if row.language != text.language),
            existing=[
                Existing(row.name, row.language, row.body, row.footer)
                for row in self.rows
                if row.sent and not (row.name == text.name and row.language == text.language and row.digest == mine)
            ],
            last_hour=self.last_hour,
            total=self.total,
            most=self.most,
        )


def neighbours(*, live: bool) -> Neighbours:
    """The organiser's templates and how many the mode's fullest account has. In the tenant's scope; writes nothing."""
    last_hour, total, most = _counts(live)
    return Neighbours(_rows(live), last_hour, total, most)


def digest(text: TemplateText) -> str:
    """Names the content of a version: two with the same are one."""
    content = {key: value for key, value in asdict(text).items() if key not in ("name", "language")}
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _rows(live: bool) -> list[_Row]:
    there = (
        select(TemplateApproval.template_id)
        .join(ProviderAccount, ProviderAccount.id == TemplateApproval.account_id)
        .where(ProviderAccount.live == live, TemplateApproval.status.not_in(_NOT_THERE))
    )
    sent = set(db.session.scalars(there))
    wanted = select(
        Template.id, Template.name, Template.language, Template.category, Template.content_hash, Template.body,
        Template.footer, Template.version,
    ).order_by(Template.name, Template.language, Template.version)  # fmt: skip
    return [
        _Row(row.name, row.language, row.category, row.content_hash, row.body, row.footer, row.id in sent)
        for row in db.session.execute(wanted)
    ]


def _counts(live: bool) -> tuple[int, int, int]:
    """(created in the last hour, all there, how many there may be) of the fullest account."""
    recent = TemplateApproval.created_at > clock.now() - timedelta(hours=1)
    wanted = (
        select(
            ProviderAccount.id,
            ProviderAccount.tier_limit,
            func.count(TemplateApproval.id).label("total"),
            func.count(TemplateApproval.id).filter(recent).label("last_hour"),
        )
        .join(TemplateApproval, TemplateApproval.account_id == ProviderAccount.id)
        .where(
            ProviderAccount.live == live,
            ProviderAccount.provider.in_(_METAS),
            TemplateApproval.status.not_in(_NOT_THERE),
        )
        .group_by(ProviderAccount.id, ProviderAccount.tier_limit)
    )
    rows = db.session.execute(wanted).all()
    if not rows:
        return 0, 0, MOST_UNVERIFIED
    fullest = max(rows, key=lambda row: row.total)
    verified = fullest.tier_limit >= _TIER_OF_VERIFIED
    return max(row.last_hour for row in rows), fullest.total, MOST if verified else MOST_UNVERIFIED
