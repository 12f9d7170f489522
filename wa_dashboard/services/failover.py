"""What waits on an account that cannot send: over to a standby where that is safe, parked with the reason otherwise.

Only rows that are queued move: nothing of them is under way, and no doubt about an earlier attempt is open
(durability.md §3.10).
"""

from collections.abc import Callable

from sqlalchemy import and_, delete, or_, select

from .. import logs
from ..db import all_tenants, db, end_read, tenant_scope, transaction
from ..domain.statuses import SENDABLE
from ..models import Breaker, Message, Outbox, ProviderAccount, Template, TemplateApproval
from . import breakers, lifecycle, standby, waiting
from .account_health import state_of
from .account_story import add_line
from .failover_drill import Drill, drill

__all__ = ["Drill", "drill", "move_queued", "relieve"]

log = logs.get(__name__)

_REASON_OF = {"locked": "account_held", "disabled": "account_disabled"}
_AT_ONCE = ("retrying", *waiting.FOR_THE_ACCOUNT)  # reasons that end with the change of account


def relieve(stopping: Callable[[], object] = lambda: False) -> int:
    """For every account in trouble: move what can move, park what cannot; let go where the trouble is over.

    A sweep: one small read while all is well. Returns how many messages it dealt with.
    """
    breakers_closed = _close_quiet()
    with all_tenants("the messages of every account in trouble are looked after"):
        rows = db.session.execute(
            select(ProviderAccount, Breaker)
            .outerjoin(Breaker, Breaker.account_id == ProviderAccount.id)
            .where(or_(ProviderAccount.status != "active", Breaker.account_id.is_not(None))),
            execution_options={"populate_existing": True},
        ).all()
        found = [(account, state_of(account, breaker)) for account, breaker in rows]
        end_read()
    done = breakers_closed
    for account, state in found:
        if stopping():
            break
        with tenant_scope(account.tenant_id):
            done += _relieve(account, state, stopping)
    return done


def _close_quiet() -> int:
    with all_tenants("accounts nobody can try any more count as well"):
        quiet = select(Breaker.account_id).where(Breaker.state == "half_open").limit(1)
        if db.session.scalar(quiet) is None:
            end_read()
            return 0
        return breakers.close_quiet()


def _relieve(account: ProviderAccount, state: str, stopping: Callable[[], object]) -> int:
    if state == "half_open":
        return waiting.let_go(account, waiting.FIRST)
    if state == "closed":
        freed = waiting.let_go(account)
        _forget(account)
        return freed
    if not _anything_due(account):
        return 0
    moved = move_queued(account)
    return moved + _park(account, _REASON_OF.get(state, "breaker_open"), stopping)


def _anything_due(account: ProviderAccount) -> bool:
    wanted = select(Outbox.message_id).where(Outbox.account_id == account.id, lifecycle.due()).limit(1)
    found = db.session.scalar(wanted)
    end_read()
    return found is not None


def _forget(account: ProviderAccount) -> None:
    """Closed, and nothing waits for it any more: no row means that all is well."""
    with transaction():
        db.session.execute(
            delete(Breaker).where(Breaker.account_id == account.id, Breaker.state == "closed"),
            execution_options={"synchronize_session": False},
        )


def move_queued(account: ProviderAccount) -> int:
    """Give the account's queued messages to standbys where their templates are approved, in chunks, each its own
    transaction. In the tenant's scope; returns how many moved. Never what is claimed, on the wire or in doubt."""
    if not standby.wanted(account):
        end_read()
        return 0
    moved = 0
    for other in standby.healthy_others(account):
        count = 0
        while chunk := _move_chunk(account, other):
            count += chunk
        if count:
            with transaction():
                add_line(account.tenant_id, account.id, "switched_over", to=other.label, count=count)
            log.warning("switched_over", account_id=account.id, to=other.id, messages=count)
        moved += count
    end_read()
    return moved


def _move_chunk(account: ProviderAccount, other: ProviderAccount) -> int:
    approved = select(TemplateApproval.template_id).where(
        TemplateApproval.account_id == other.id, TemplateApproval.status.in_(SENDABLE)
    )
    with transaction():
        rows = db.session.execute(
            select(Outbox.message_id, Message.reason)
            .join(Message, Message.id == Outbox.message_id)
            .where(
                Outbox.account_id == account.id,
                Outbox.state == "queued",
                Outbox.template_id.in_(approved),
                Message.possible_duplicate.is_(False),
            )
            .order_by(Outbox.priority, Outbox.next_at, Outbox.message_id)
            .limit(waiting.CHUNK)
            .with_for_update(of=Outbox, skip_locked=True)
        ).all()
        if rows:
            standby.switch_over(account, other, [row.message_id for row in rows])
            waiting.make_due([row.message_id for row in rows if row.reason in _AT_ONCE])
    return len(rows)


def _park(account: ProviderAccount, reason: str, stopping: Callable[[], object]) -> int:
    """What stays says why: also which template is missing at the standby."""
    parked = 0
    others = standby.healthy_others(account) if standby.wanted(account) else []
    label = others[0].label if others else None
    lacking = _lacking(account, others[0]) if others else {}
    end_read()
    for template_id, name in lacking.items():
        detail = {"standby": label, "missing": name}
        while not stopping() and (count := waiting.park(account, reason, detail, Outbox.template_id == template_id)):
            parked += count
    while not stopping() and (count := waiting.park(account, reason)):
        parked += count
    return parked


def _lacking(account: ProviderAccount, other: ProviderAccount) -> dict[str, str]:
    """Templates of messages that wait here and that the standby may not send: id to "name (language)"."""
    approval = and_(
        TemplateApproval.template_id == Template.id,
        TemplateApproval.account_id == other.id,
        TemplateApproval.status.in_(SENDABLE),
    )
    rows = db.session.execute(
        select(Template.id, Template.name, Template.language)
        .outerjoin(TemplateApproval, approval)
        .where(
            Template.id.in_(select(Outbox.template_id).where(Outbox.account_id == account.id, lifecycle.due())),
            TemplateApproval.id.is_(None),
        )
    )
    return {row.id: f"{row.name} ({row.language})" for row in rows}
