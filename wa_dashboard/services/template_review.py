"""What providers think of our templates: told by webhook, asked for by polling (states.md §6.4).

A poll never undoes newer news of a webhook, nor an old webhook what came after it.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import or_, select, update

from .. import clock, logs
from ..db import all_tenants, clock_of_database, db, db_now, end_read, tenant_scope, transaction
from ..domain.rendering import provider_name
from ..domain.statuses import SENDABLE, TemplateStatus
from ..models import ProviderAccount, Template, TemplateApproval
from ..providers.base import Provider, ProviderError, TemplateAnswer, TemplateStatusItem
from . import accounts, category_change, waiting
from .template_story import Rate, approval_rate, said_since, story_of, tell

__all__ = [
    "FOLLOWED", "IN_REVIEW", "UNSENT", "Rate", "S", "apply_news", "approval_rate", "look_again", "look_at_all", "move",
    "plan", "poll", "poll_due", "read", "story_of", "tell", "with_templates",
]  # fmt: skip

log = logs.get(__name__)

S = TemplateStatus
UNSENT = (S.SUBMITTING, S.SUBMIT_UNKNOWN)
IN_REVIEW = (S.PENDING, S.IN_APPEAL)
FOLLOWED = (
    *IN_REVIEW, S.APPROVED, S.FLAGGED, S.PAUSED, S.REJECTED, S.LOCKED, S.LIMIT_EXCEEDED, S.ARCHIVED, S.DISABLED,
)  # fmt: skip
# Refused before it existed at the provider: whatever bears its name there is not ours.
NEVER_THERE = (TemplateApproval.status == S.REJECTED) & TemplateApproval.external_id.is_(None)
SETTLED_IN = timedelta(minutes=10)  # a new template may be missing from a list for a while
PRECISION = timedelta(seconds=1)  # Meta's webhooks tell whole seconds


def read(approval_id: str) -> tuple[TemplateApproval, Template, ProviderAccount]:
    """The approval (locked until the transaction ends) with its template and account."""
    wanted = (
        select(TemplateApproval, Template, ProviderAccount)
        .join(Template, Template.id == TemplateApproval.template_id)
        .join(ProviderAccount, ProviderAccount.id == TemplateApproval.account_id)
        .where(TemplateApproval.id == approval_id)
        .with_for_update(of=TemplateApproval)
        .execution_options(populate_existing=True)
    )
    row, template, account = db.session.execute(wanted).one()
    return row, template, account


def move(row: TemplateApproval, status: TemplateStatus, source: str, at: datetime, **detail: Any) -> None:
    """Change the status, with a line in the story. ``at``: when it became so (aware UTC)."""
    was_sendable = row.status in SENDABLE
    row.status, row.status_at = status, at
    tell(row, source, at, **detail)
    if status in SENDABLE and not was_sendable:
        waiting.release_template(row.template_id, row.account_id)
    log.info("template_status", approval_id=row.id, status=status, source=source)


def plan(row: TemplateApproval, account: ProviderAccount) -> None:
    """When to ask next. In test mode quickly: the far end is on this machine."""
    seconds: float | None
    if row.status in IN_REVIEW:
        seconds = 300.0 if account.live else 5.0
    elif row.status in FOLLOWED and not (row.status == S.REJECTED and row.external_id is None):
        seconds = 3600.0 if account.live else 60.0
    else:
        seconds = None
    row.next_check_at = clock_of_database() + timedelta(seconds=seconds) if seconds else None


def poll_due(limit: int = 500) -> int:
    """Ask the providers about templates whose time has come; any number may run at once. Returns how many were."""
    with all_tenants("templates of every organisation are followed"):
        due = db.session.execute(
            select(TemplateApproval.tenant_id, TemplateApproval.account_id, TemplateApproval.id)
            .where(TemplateApproval.status.in_(FOLLOWED), ~NEVER_THERE, TemplateApproval.next_check_at <= db_now())
            .order_by(TemplateApproval.next_check_at)
            .limit(limit)
        ).all()
        end_read()
    groups: dict[tuple[str, str], list[str]] = {}
    for tenant_id, account_id, approval_id in due:
        groups.setdefault((tenant_id, account_id), []).append(approval_id)
    asked = 0
    for (tenant_id, account_id), ids in groups.items():
        with tenant_scope(tenant_id):
            try:
                asked += poll(account_id, ids)
            except Exception:
                log.exception("template_poll_broke", account_id=account_id)
    return asked


def poll(account_id: str, approval_ids: Sequence[str]) -> int:
    """Ask about those of one account that are due; inside the tenant's scope. Returns about how many we learnt."""
    with transaction():
        mine = list(
            db.session.scalars(
                update(TemplateApproval)
                .where(
                    TemplateApproval.id.in_(approval_ids),
                    TemplateApproval.status.in_(FOLLOWED),
                    ~NEVER_THERE,
                    TemplateApproval.next_check_at <= db_now(),
                )
                .values(next_check_at=db_now(60.0))
                .returning(TemplateApproval.id)
            )
        )
    rows = with_templates(TemplateApproval.id.in_(mine))
    account = accounts.find_account(account_id)
    end_read()
    if not rows or account.status == "disabled":
        return 0
    begun = clock.now()
    try:
        answers = _ask(accounts.provider_of(account), rows)
    except ProviderError as problem:
        log.warning("template_poll_failed", account_id=account_id, code=problem.outcome.code)
        return 0
    for approval_id, answer in answers.items():
        with transaction():
            row, _, _ = read(approval_id)
            _learn(row, answer, begun)
            plan(row, account)
    return len(answers)


def with_templates(*conditions: Any) -> list[tuple[TemplateApproval, Template]]:
    """Approvals that meet the conditions, with their templates, newest versions first."""
    wanted = (
        select(TemplateApproval, Template)
        .join(Template, Template.id == TemplateApproval.template_id)
        .where(*conditions)
        .order_by(Template.version.desc())
        .execution_options(populate_existing=True)
    )
    return [(row, template) for row, template in db.session.execute(wanted)]


def _ask(provider: Provider, rows: Sequence[tuple[TemplateApproval, Template]]) -> dict[str, TemplateAnswer | None]:
    """By approval, what the provider says. One list for many; what is not on it is asked for once more by itself."""
    listed = provider.list_templates() if len(rows) > 1 else []
    by_id = {answer.external_id: answer for answer in listed if answer.external_id}
    answers: dict[str, TemplateAnswer | None] = {}
    for row, template in rows:
        name = provider_name(template.name, template.version)
        known = by_id.get(row.external_id) if row.external_id else None
        answers[row.id] = known or provider.template_status(row.external_id, name, template.language)
    return answers


def _learn(row: TemplateApproval, answer: TemplateAnswer | None, begun: datetime) -> None:
    """Take over what a poll begun at ``begun`` found, unless newer news came by webhook meanwhile."""
    if row.status not in FOLLOWED or row.status_at > begun:
        return
    if answer is None:
        if row.status_at < begun - SETTLED_IN:
            move(row, S.DELETED, "poll", begun)
        return
    row.external_id = row.external_id or answer.external_id
    _change_quality(row, answer.quality, "poll", begun)
    category_change.change(row, answer.category, "poll", begun)
    category_change.announced_by_poll(row, answer.announced_category, begun)
    if answer.status in ("unknown", "draft") or _same_to_a_poll(row.status, answer.status):
        return
    row.rejected_reason = answer.rejected_reason
    move(row, S(answer.status), "poll", begun, raw=answer.raw_status, reason=answer.rejected_reason)


def _same_to_a_poll(ours: str, told: str) -> bool:
    """``flagged`` exists in webhooks only: polls call it approved."""
    return ours == told or (ours == S.FLAGGED and told == S.APPROVED)


def _change_quality(row: TemplateApproval, quality: str | None, source: str, at: datetime) -> None:
    if quality and quality != row.quality and said_since(row, at, "quality") is None:
        tell(row, source, at, quality=quality, was=row.quality)
        row.quality = quality


def apply_news(account: ProviderAccount, item: TemplateStatusItem) -> str | None:
    """What a webhook tells of a template of this account; in a transaction and the tenant's scope.

    Returns the approval's id, None for a template that is not ours. Older news than we have changes nothing.
    """
    rows = _about(account, item)
    for row in rows:
        _take_in(row, account, item)
    db.session.flush()
    return rows[0].id if rows else None


def _take_in(row: TemplateApproval, account: ProviderAccount, item: TemplateStatusItem) -> None:
    if item.external_id:
        row.external_id = row.external_id or item.external_id
    if item.change == "quality":
        _change_quality(row, item.quality, "webhook", item.at)
    elif item.change == "category":
        category_change.change(row, item.category, "webhook", item.at)
    elif item.change == "announced":
        category_change.announce(row, item.category, item.effective_at, "webhook", item.at)
    elif item.change == "components":
        row.next_check_at = clock_of_database()
    else:
        _news_of_status(row, account, item)


def _news_of_status(row: TemplateApproval, account: ProviderAccount, item: TemplateStatusItem) -> None:
    if item.status is None or item.status not in set(S):
        return
    category_change.change(row, item.category, "webhook", item.at)
    # Until the provider has said anything, whatever it says is newer than our own guess of the time.
    first = row.status in UNSENT or row.status == S.PENDING
    if item.status == row.status or (not first and item.at + PRECISION <= row.status_at):
        return
    row.rejected_reason = item.reason if item.status != S.APPROVED else None
    move(
        row, S(item.status), "webhook", item.at, raw=item.raw.get("event"), reason=item.reason, text=item.detail,
        advice=item.recommendation, effective_at=item.effective_at.isoformat() if item.effective_at else None,
    )  # fmt: skip
    plan(row, account)


def _about(account: ProviderAccount, item: TemplateStatusItem) -> list[TemplateApproval]:
    """The approvals meant, locked: by the provider's id (numbers that share templates share it), else by name."""
    if item.external_id:
        known = (
            select(TemplateApproval)
            .join(ProviderAccount, ProviderAccount.id == TemplateApproval.account_id)
            .where(
                TemplateApproval.external_id == item.external_id,
                ProviderAccount.provider == account.provider,
                ProviderAccount.live == account.live,
            )
            .order_by(TemplateApproval.id)
            .with_for_update(of=TemplateApproval)
            .execution_options(populate_existing=True)
        )
        if rows := list(db.session.scalars(known)):
            return rows
    if not item.name or not item.language:
        return []
    languages = {item.language, item.language.replace("-", "_"), item.language.replace("_", "-")}
    mine = (TemplateApproval.account_id == account.id) & ~NEVER_THERE
    for row, template in with_templates(mine, Template.language.in_(languages)):
        if provider_name(template.name, template.version) == item.name:
            locked, _, _ = read(row.id)
            return [locked]
    return []


def look_again(template_id: str, account_id: str) -> None:
    """Ask the provider at the next poll: it refused a message because of this template. Joins a transaction."""
    with transaction():
        db.session.execute(
            update(TemplateApproval)
            .where(TemplateApproval.template_id == template_id, TemplateApproval.account_id == account_id)
            .values(next_check_at=db_now())
        )


def look_at_all(account_id: str | None = None) -> int:
    """News may have been lost: ask at the next poll about everything in review, or, when an account is named (in its
    tenant's scope), about all of its templates. Joins a transaction; returns how many will be asked about."""
    if account_id is None:
        with all_tenants("what is in review may have been decided meanwhile"):
            return _ask_soon(TemplateApproval.status.in_(IN_REVIEW))
    return _ask_soon(TemplateApproval.account_id == account_id)


def _ask_soon(*which: Any) -> int:
    followed = (*which, TemplateApproval.status.in_(FOLLOWED), ~NEVER_THERE)
    later = or_(TemplateApproval.next_check_at.is_(None), TemplateApproval.next_check_at > db_now())
    wanted = select(TemplateApproval.id).where(*followed, later).with_for_update(skip_locked=True)
    with transaction():
        asked = db.session.scalars(
            update(TemplateApproval)
            .where(TemplateApproval.id.in_(wanted))
            .values(next_check_at=db_now())
            .returning(TemplateApproval.id),
            execution_options={"synchronize_session": False},
        )
        return len(asked.all())
