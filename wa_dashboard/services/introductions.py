"""Test accounts live at the simulator, which may start after them or lose its data: it is told of them again."""

import json
from typing import Any

import requests
from sqlalchemy import select

from .. import clock, logs, queues
from ..db import all_tenants, clock_of_database, db, end_read, tenant_scope, transaction, upsert
from ..domain.statuses import SENDABLE, TemplateStatus
from ..models import InstanceFact, ProviderAccount, TemplateApproval
from ..security import Undecryptable
from . import accounts, breakers, template_review, waiting

log = logs.get(__name__)

_FACT = "introduced"
_AT_THE_FAR_END = (*template_review.IN_REVIEW, *SENDABLE, TemplateStatus.PAUSED)


def reintroduce() -> int:
    """Tell the simulator of the test accounts it may not know; returns how many were new to it.

    What was told is remembered for all processes, so that usually this asks one question and does nothing. All are
    told again when the simulator has started anew or callbacks go to another address. An account that is new to it
    may send again, and its templates are submitted again: whatever was there is gone.
    """
    with all_tenants("test accounts of everybody live at one simulator"):
        told = _told()
        wanted = select(ProviderAccount.id, ProviderAccount.tenant_id, ProviderAccount.created_at).where(
            ProviderAccount.live.is_(False), ProviderAccount.status != "disabled"
        )
        rows = db.session.execute(wanted.order_by(ProviderAccount.created_at, ProviderAccount.id)).all()
        end_read()
    started_at = _simulators_start() if rows else None
    if started_at is None:
        return 0
    now = {"started_at": started_at, "address": accounts.settings().public_url}
    if now.items() <= told.items():
        rows = [row for row in rows if row.created_at.isoformat() > told["newest"]]
    new = 0
    for account_id, tenant_id, created_at in rows:
        with tenant_scope(tenant_id):
            answer = _introduce(account_id)
        if answer is None:
            return new
        new += answer
        now["newest"] = created_at.isoformat()
    if rows:
        _remember(now)
    return new


def _told() -> dict[str, Any]:
    fact = db.session.scalar(select(InstanceFact.value).where(InstanceFact.name == _FACT))
    return dict(json.loads(fact)) if fact else {}


def _remember(told: dict[str, Any]) -> None:
    with all_tenants("a fact of the installation is nobody's"), transaction():
        upsert(InstanceFact, {"name": _FACT, "value": json.dumps(told)}, key=["name"], update=["value"])


def _simulators_start() -> str | None:
    """When the simulator was started; None while it is away."""
    try:
        answer = requests.get(f"{accounts.settings().simulator_url}/_sim/state", timeout=2)
        return str(answer.json()["started_at"]) if answer.status_code == 200 else None
    except (requests.RequestException, ValueError, KeyError):
        return None


def _introduce(account_id: str) -> bool | None:
    """Was the account new to the simulator? None when it did not answer."""
    account = accounts.find_account(account_id)
    end_read()
    try:
        new = accounts.new_to_simulator(account)
    except Undecryptable as error:
        log.warning("account_unreadable", account_id=account.id, error=str(error))
        return False  # the doctor names it; the others are told nevertheless
    if new:
        _begin_anew(account)
    return new


def _begin_anew(account: ProviderAccount) -> None:
    with transaction():
        released = (account.hold_reason or "").startswith("account_stop:") and breakers.recover(account, by="provider")
        approvals = db.session.scalars(
            select(TemplateApproval).where(
                TemplateApproval.account_id == account.id, TemplateApproval.status.in_(_AT_THE_FAR_END)
            )
        ).all()
        for row in approvals:
            row.external_id, row.next_check_at = None, clock_of_database()
            template_review.move(row, TemplateStatus.SUBMITTING, "simulator", clock.now())
        queues.wake_lane(account.id)
    if released:
        waiting.let_go(account, waiting.FIRST)
    log.info("simulator_introduced", account_id=account.id, released=bool(released), templates=len(approvals))
