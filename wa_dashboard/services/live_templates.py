"""The organisation's texts at its senders: on their way to live ones before it goes live, and what is approved."""

from sqlalchemy import func, select

from ..db import db
from ..domain.statuses import SENDABLE, MessageType
from ..domain.text import T
from ..errors import Invalid
from ..models import TemplateApproval, Tenant
from . import accounts, templates


def submit(tenant: Tenant, actor: str) -> int:
    """Send the newest version of every text to the live senders for approval; returns how many were new there.

    An organisation without an order confirmation gets the texts to begin with. What a provider would refuse is left
    out, unless nothing is left: then its Invalid is raised. Invalid also without a live sender.
    """
    ids = [account.id for account in accounts.accounts_of(tenant, live=True)]
    if not ids:
        raise Invalid(T("No live sender is connected."), "no_account")
    if not templates.listed(kind=MessageType.ORDER_CONFIRM):
        return len(templates.install_starters(tenant, live=True))
    sent, refused = 0, None
    for each in templates.listed():
        try:
            saved = templates.save(
                tenant, templates.text_of(each), submit=True, live=True, account_ids=ids, actor=actor
            )
            sent += saved.changed
        except Invalid as problem:
            refused = problem
    if refused is not None and not sent and not _any_there(ids):
        raise refused
    return sent


def approved_at(account_id: str) -> int:
    """How many texts may be sent from the account; in the tenant's scope."""
    wanted = select(func.count()).where(
        TemplateApproval.account_id == account_id, TemplateApproval.status.in_(SENDABLE)
    )
    return db.session.scalar(wanted) or 0


def _any_there(account_ids: list[str]) -> bool:
    wanted = select(TemplateApproval.id).where(TemplateApproval.account_id.in_(account_ids)).limit(1)
    return db.session.scalar(wanted) is not None
