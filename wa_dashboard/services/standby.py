"""Which other sender can stand in for one: same mode, in good health, the very template approved there."""

from collections.abc import Collection, Sequence

from sqlalchemy import or_, select, update

from .. import queues
from ..bulk import among
from ..db import db
from ..domain.statuses import SENDABLE
from ..models import Attempt, Breaker, Message, Outbox, ProviderAccount, TemplateApproval, Tenant
from . import lifecycle
from .account_story import add_line, newest


def wanted(account: ProviderAccount) -> bool:
    """Does the tenant want its messages to switch over at all?"""
    return bool(db.session.scalar(select(Tenant.failover).where(Tenant.id == account.tenant_id)))


def healthy_others(account: ProviderAccount) -> list[ProviderAccount]:
    """The tenant's other accounts of the same mode that send without trouble, best first."""
    rows = db.session.scalars(
        select(ProviderAccount)
        .outerjoin(Breaker, Breaker.account_id == ProviderAccount.id)
        .where(
            ProviderAccount.tenant_id == account.tenant_id,
            ProviderAccount.live == account.live,
            ProviderAccount.id != account.id,
            ProviderAccount.status == "active",
            or_(Breaker.state.is_(None), Breaker.state == "closed"),
        )
        .order_by(ProviderAccount.priority, ProviderAccount.id)
    )
    return list(rows)


def approved_at(account_ids: Collection[str]) -> set[tuple[str, str]]:
    """(template, account) for every template version that may be sent from one of these accounts."""
    rows = db.session.execute(
        select(TemplateApproval.template_id, TemplateApproval.account_id).where(
            TemplateApproval.account_id.in_(account_ids), TemplateApproval.status.in_(SENDABLE)
        )
    )
    return {(row.template_id, row.account_id) for row in rows}


def switch_over(account: ProviderAccount, other: ProviderAccount, message_ids: Sequence[str]) -> None:
    """The messages go through the other account from now on, and their stories say so (in a transaction)."""
    db.session.execute(
        update(Outbox).where(among(Outbox.message_id, message_ids)).values(account_id=other.id),
        execution_options={"synchronize_session": False},
    )
    lifecycle.annotate(message_ids, account_id=other.id, provider=other.provider)
    detail = {"from": account.provider, "to": other.provider}
    lifecycle.tell(account.tenant_id, message_ids, "switched_over", detail=detail)
    queues.wake_lane(other.id)


class Routes:
    """The ways out of one account for one batch: read once, when the first message needs one (in a transaction)."""

    def __init__(self, account: ProviderAccount) -> None:
        self._account = account
        self._others: list[ProviderAccount] | None = None
        self._approved: set[tuple[str, str]] = set()
        self._switched: dict[str, int] = {}

    def way_out(self, message: Message) -> ProviderAccount | None:
        """An account that may send this message now instead. One that has tried it before is no way out: two accounts
        in trouble must not play ball with it."""
        if self._others is None:
            self._others = healthy_others(self._account) if wanted(self._account) else []
            self._approved = approved_at([other.id for other in self._others]) if self._others else set()
        fit = [other for other in self._others if (message.template_id, other.id) in self._approved]
        if not fit or message.possible_duplicate:
            return None
        tried = set(db.session.scalars(select(Attempt.account_id).where(Attempt.message_id == message.id)))
        found = next((other for other in fit if other.id not in tried), None)
        if found is not None:
            self._switched[found.label] = self._switched.get(found.label, 0) + 1
        return found

    def write_story(self) -> None:
        """Say in the account's story that messages went another way; once in a while, not for every batch."""
        for label, count in self._switched.items():
            last = newest(self._account.id, limit=1)
            if not last or last[0].kind != "switched_over":
                add_line(self._account.tenant_id, self._account.id, "switched_over", to=label, count=count)
        self._switched.clear()
