"""Looking at accounts that are out of order or refused: one process at a time, no transaction open meanwhile."""

from collections.abc import Callable

from sqlalchemy import select

from .. import logs
from ..db import all_tenants, db, db_now, end_read, tenant_scope, transaction
from ..models import Breaker, ProviderAccount
from ..providers.base import Outcome
from ..security import Undecryptable
from . import accounts, breakers, failover

log = logs.get(__name__)


def probe_due(stopping: Callable[[], object] = lambda: False) -> int:
    """Look at the accounts whose time has come; returns how many let messages through again.

    Any number of processes may do so at once: each account is looked at by one of them.
    """
    with all_tenants("accounts of every organisation are looked at"):
        due = db.session.execute(
            select(Breaker.tenant_id, Breaker.account_id)
            .join(ProviderAccount, ProviderAccount.id == Breaker.account_id)
            .where(
                Breaker.state.in_(("open", "locked")),
                Breaker.retry_at <= db_now(),
                breakers.free(),
                ProviderAccount.status != "disabled",
            )
            .order_by(Breaker.retry_at)
        ).all()
        end_read()
    back = 0
    for tenant_id, account_id in due:
        if stopping():
            break
        with tenant_scope(tenant_id):
            back += _look(account_id)
    if back:
        failover.relieve(stopping)
    return back


def _look(account_id: str) -> bool:
    with transaction():
        token = breakers.take_look(account_id)
    if token is None:
        return False
    account = accounts.find_account(account_id)
    try:
        provider = accounts.provider_of(account)
    except Undecryptable as error:
        log.warning("account_unreadable", account_id=account.id, error=str(error))
        outcome = Outcome("rejected", "account_stop", "unreadable", scope="account")
    else:
        end_read()
        outcome = provider.probe().outcome
    end_read()
    with transaction():
        if not breakers.holds_token(account, token):
            return False
        if _works(account, outcome):
            return breakers.recover(account)
        breakers.look_failed(account, outcome, token)
    return False


def _works(account: ProviderAccount, outcome: Outcome) -> bool:
    """Accepted; or, for one that was only out of order, any clear answer that is not about the account."""
    clear_no = outcome.kind == "rejected" and outcome.holds is None
    return outcome.kind == "accepted" or (clear_no and account.status == "active")
