"""A template version on its way to a provider, to be approved (states.md §6.4).

No transaction is open while a provider is asked. Creating a template can be ambiguous like any send: before the
call a line says that it begins; when no definite answer follows, the provider is asked what it has before anything
is created again.
"""

import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

import requests
from sqlalchemy import delete, select, update

from .. import clock, logs
from ..db import all_tenants, clock_of_database, db, db_now, end_read, tenant_scope, transaction
from ..domain.rendering import all_variables, provider_name
from ..domain.text import T
from ..errors import Conflict, NotFound, NotReady
from ..models import ProviderAccount, Template, TemplateApproval, TemplateEvent, Tenant
from ..providers.base import (
    CannotBuild,
    Outcome,
    Provider,
    ProviderError,
    TemplateAnswer,
    TemplateDraft,
)
from . import accounts, category_change, template_review
from .template_drafts import to_provider_draft, with_sample
from .template_review import UNSENT, S, move, plan, read, tell, with_templates

log = logs.get(__name__)

LEASE_S = 180.0  # longer than the longest row of calls of one submission
DOUBT_S = 20.0  # an unanswered creation may still be under way at the provider for that long


# --- sending for approval ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Work:
    """One approval to submit, read out of the database; ``lease`` proves that it is still ours."""

    approval_id: str
    lease: datetime
    doubtful: bool
    external_id: str | None
    siblings: list[str]
    since: datetime
    live: bool
    draft: TemplateDraft
    provider: Provider


def submit_due(limit: int = 50) -> int:
    """Submit what waits to be sent for approval; any number of these may run at once. Returns how many were tried."""
    with all_tenants("templates of every organisation wait for approval"):
        due = db.session.execute(
            select(TemplateApproval.id, TemplateApproval.tenant_id)
            .where(TemplateApproval.status.in_(UNSENT), TemplateApproval.next_check_at <= db_now())
            .order_by(TemplateApproval.next_check_at)
            .limit(limit)
        ).all()
        end_read()
    tried = 0
    for approval_id, tenant_id in due:
        with tenant_scope(tenant_id):
            tried += _submit_safely(approval_id)
    return tried


def _submit_safely(approval_id: str) -> bool:
    """One template that cannot be handled (credentials that do not open) must not stop the others."""
    try:
        return _submit(approval_id)
    except Exception:
        log.exception("template_submission_broke", approval_id=approval_id)
        with transaction():
            db.session.execute(
                update(TemplateApproval).where(TemplateApproval.id == approval_id).values(next_check_at=db_now(LEASE_S))
            )
        return True


def _submit(approval_id: str) -> bool:
    work = _claim(approval_id)
    if work is None:
        return False
    try:
        answer = _look_then_create(work)
    except ProviderError as problem:
        _note_failure(work, problem.outcome)
    except CannotBuild as problem:
        _settle(work, TemplateAnswer("rejected", work.external_id, rejected_reason=problem.reason))
    else:
        _settle(work, answer)
    return True


def _claim(approval_id: str) -> _Work | None:
    """Take the approval for `LEASE_S` and write down that a call begins."""
    with transaction():
        lease = db.session.scalar(
            update(TemplateApproval)
            .where(
                TemplateApproval.id == approval_id,
                TemplateApproval.status.in_(UNSENT),
                TemplateApproval.next_check_at <= db_now(),
            )
            .values(next_check_at=db_now(LEASE_S))
            .returning(TemplateApproval.next_check_at)
        )
        if lease is None:
            return None
        row, template, account = read(approval_id)
        interrupted = _close_call(approval_id)
        if account.status == "disabled":
            row.next_check_at = clock_of_database() + timedelta(minutes=10)
            return None
        tell(row, "submit", call="open")
        work = _Work(
            approval_id=approval_id,
            lease=lease,
            doubtful=interrupted or row.status == S.SUBMIT_UNKNOWN,
            external_id=row.external_id,
            siblings=_siblings(row, account),
            since=row.created_at,
            live=account.live,
            draft=to_provider_draft(template),
            provider=accounts.provider_of(account),
        )
    end_read()
    return work


def _close_call(approval_id: str) -> bool:
    """Remove the line that a call had begun. Was there one?"""
    mine = TemplateEvent.approval_id == approval_id
    events = db.session.scalars(select(TemplateEvent).where(mine, TemplateEvent.source == "submit"))
    open_calls = [event.id for event in events if event.detail.get("call") == "open"]
    if open_calls:
        db.session.execute(delete(TemplateEvent).where(TemplateEvent.id.in_(open_calls)))
    return bool(open_calls)


def _siblings(row: TemplateApproval, account: ProviderAccount) -> list[str]:
    """What this version is called at other accounts of the provider: two numbers may share their templates."""
    wanted = (
        select(TemplateApproval.external_id)
        .join(ProviderAccount, ProviderAccount.id == TemplateApproval.account_id)
        .where(
            TemplateApproval.template_id == row.template_id,
            TemplateApproval.id != row.id,
            TemplateApproval.external_id.is_not(None),
            ProviderAccount.provider == account.provider,
            ProviderAccount.live == account.live,
        )
    )
    return [external_id for external_id in db.session.scalars(wanted) if external_id]


def _look_then_create(work: _Work) -> TemplateAnswer:
    """What the provider has of it, else a new template. Raises ProviderError, CannotBuild."""
    for external_id in work.siblings:
        shared = work.provider.template_status(external_id, work.draft.name, work.draft.language)
        if shared is not None and shared.external_id == external_id and shared.status != "draft":
            return shared
    found = _look(work) if work.doubtful or work.external_id else None
    if found is not None and found.status != "draft":
        return found
    try:
        draft = with_sample(work.provider, work.draft)
        return work.provider.submit_template(draft, found.external_id if found else None)
    except ProviderError as problem:
        if work.doubtful and problem.outcome.kind == "rejected" and (late := _look(work)) is not None:
            return late  # the first request arrived after we had looked
        raise


def _look(work: _Work) -> TemplateAnswer | None:
    name, language = work.draft.name, work.draft.language
    found = work.provider.template_status(work.external_id, name, language) if work.external_id else None
    return found or work.provider.template_status(None, name, language)


def _note_failure(work: _Work, outcome: Outcome) -> None:
    """A definite no becomes ``rejected``; an account's trouble or a busy provider waits; doubt waits and looks."""
    trouble = outcome.holds is not None or outcome.error_class == "account_stop"
    if outcome.kind == "rejected" and not trouble:
        return _settle(work, TemplateAnswer("rejected", outcome.external_id, rejected_reason=outcome.detail))
    with transaction():
        row, _, _ = read(work.approval_id)
        if not _still_ours(work, row):
            return None
        row.external_id = outcome.external_id or row.external_id
        doubt = outcome.kind == "ambiguous" or work.doubtful
        reason = outcome.detail or outcome.code
        if row.rejected_reason != reason or doubt != (row.status == S.SUBMIT_UNKNOWN):
            row.rejected_reason = reason
            move(row, S.SUBMIT_UNKNOWN if doubt else S.SUBMITTING, "submit", clock.now(), reason=reason)
        row.next_check_at = clock_of_database() + timedelta(seconds=_patience(work, outcome))
    log.info("template_not_submitted", approval_id=work.approval_id, kind=outcome.kind, code=outcome.code)
    return None


def _patience(work: _Work, outcome: Outcome) -> float:
    """Seconds until the next try: what the provider asks for, else the longer the longer it has been waiting."""
    if outcome.kind == "ambiguous":
        return DOUBT_S if work.live else 2.0
    if outcome.retry_after:
        return min(outcome.retry_after, 3600.0)
    waited = (clock.now() - work.since).total_seconds()
    return min(max(waited / 4, 15.0 if work.live else 2.0), 600.0 if work.live else 30.0)


def _still_ours(work: _Work, row: TemplateApproval) -> bool:
    """Is it still unsent and ours to settle? The line that the call had begun goes away with its reason."""
    ours = row.next_check_at == work.lease
    if ours or row.status not in UNSENT:
        _close_call(work.approval_id)
    return ours and row.status in UNSENT


def _settle(work: _Work, answer: TemplateAnswer) -> None:
    with transaction():
        row, template, account = read(work.approval_id)
        unsettled = _still_ours(work, row)  # else a webhook was faster, or another worker took over
        row.external_id = row.external_id or answer.external_id
        category_change.change(row, answer.category, "submit", clock.now())
        if set(answer.parameter_map) >= set(all_variables(template)):
            row.parameter_map = dict(answer.parameter_map)
        if unsettled:
            status = S.PENDING if answer.status in ("draft", "unknown") else S(answer.status)
            row.rejected_reason = answer.rejected_reason
            move(row, status, "submit", clock.now(), raw=answer.raw_status, reason=answer.rejected_reason)
            plan(row, account)


# --- test mode --------------------------------------------------------------------------------------------------


def approve_now(tenant: Tenant, name: str, language: str, patience_s: float = 20.0) -> list[TemplateApproval]:
    """Let the simulator approve the newest version on the tenant's test accounts, and wait until we have seen it.

    Raises NotFound (no such template, never submitted), Conflict (it was refused), NotReady (the simulator does not
    answer, or the approval did not come in ``patience_s``).
    """
    until = time.monotonic() + patience_s
    with tenant_scope(tenant.id):
        ids = _newest_on_test_accounts(name, language)
        while True:
            rows = [_read_only(approval_id) for approval_id in ids]
            if all(row.status == S.APPROVED for row, _, _ in rows):
                return [row for row, _, _ in rows]
            if time.monotonic() > until:
                raise NotReady(T("The approval did not arrive in time. Is the simulator running?"))
            for row, template, account in rows:
                _hurry(row, template, account)
            time.sleep(0.1)


def _newest_on_test_accounts(name: str, language: str) -> list[str]:
    test = {account.id for account in db.session.scalars(select(ProviderAccount)) if not account.live}
    rows = with_templates(Template.name == name, Template.language == language)
    rows = [(row, template) for row, template in rows if row.account_id in test]
    end_read()
    if not rows:
        raise NotFound(T("%(name)s (%(language)s) was never submitted in test mode.", name=name, language=language))
    newest = rows[0][1].version
    return [row.id for row, template in rows if template.version == newest]


def _read_only(approval_id: str) -> tuple[TemplateApproval, Template, ProviderAccount]:
    row, template = with_templates(TemplateApproval.id == approval_id)[0]
    account = accounts.find_account(row.account_id)
    end_read()
    return row, template, account


def _hurry(row: TemplateApproval, template: Template, account: ProviderAccount) -> None:
    if row.status in UNSENT:
        _submit(row.id)
        return
    if row.status == S.APPROVED:
        return
    if row.external_id is None:
        detail = T("%(name)s was refused: %(reason)s", name=template.name, reason=row.rejected_reason or row.status)
        raise Conflict(detail, extra={"current_state": row.status})
    _tell_simulator(account, template)
    template_review.look_again(template.id, account.id)
    template_review.poll(account.id, [row.id])


def _tell_simulator(account: ProviderAccount, template: Template) -> None:
    credentials = cast("dict[str, str]", account.credentials)
    keys = ("phone_number_id", "account_sid", "phone_number")
    wanted = {
        "provider": account.provider,
        "account": next(credentials[key] for key in keys if credentials.get(key)),
        "name": provider_name(template.name, template.version),
        "language": template.language,
        "event": "APPROVED",
    }
    try:
        answer = requests.post(f"{accounts.settings().simulator_url}/_sim/templates", json=wanted, timeout=3)
    except requests.RequestException as error:
        raise NotReady(T("The simulator does not answer. Start it: python3 app.py simulator")) from error
    if answer.status_code >= 300:
        raise NotReady(
            T("The simulator answered %(status)s: %(text)s", status=answer.status_code, text=answer.text[:200])
        )
