"""``/accounts`` and ``/limits``: how the senders are doing, what would happen if one failed, and how fast it goes."""

from typing import Any

from flask import Blueprint, Response

from .. import clock
from ..models import ProviderAccount
from ..services import accounts, breakers, failover, senders, throttle
from ..services.breakers import AccountHealth
from ..services.throttle import Use
from .access import caller, requires
from .writing import answer, instant, said

blueprint = Blueprint("accounts", __name__)


@blueprint.get("/accounts/<tenant_id>")
@requires("messages:read")
def index() -> Response:
    """The senders of the key's mode in their order, with their health. No secrets."""
    found = breakers.health_of(caller().tenant, caller().live)
    return answer({"data": [_account(each) for each in found], "failover": caller().tenant.failover, "as_of": _now()})


@blueprint.get("/accounts/<tenant_id>/<account_id>/drill")
@requires("messages:read")
def drill(account_id: str) -> Response:
    """What would happen if this sender were down now. Changes nothing. 404 for another organisation's or mode's."""
    account = accounts.find_account(account_id, live=caller().live)
    found = failover.drill(caller().tenant, account.id)
    body = {
        "account": _name(account),
        "standbys": [_name(each) for each in found.standbys],
        "ready": found.ready,
        "moves": found.moves,
        "stays": found.stays,
        "sentences": [said(each) for each in found.sentences],
        "as_of": _now(),
    }
    return answer(body)


@blueprint.get("/limits/<tenant_id>")
@requires("messages:read")
def limits() -> Response:
    """The sending limits in force with their use now; 0 is no limit."""
    tenant, live = caller().tenant, caller().live
    waiting = senders.waiting(tenant, live)
    last = throttle.last_leaves_at(tenant, live, waiting) if waiting else None
    body = {
        "rate_per_minute": tenant.rate_per_minute,
        "rate_per_hour": tenant.rate_per_hour,
        "use": [_use(each) for each in throttle.use(tenant, live)],
        "waiting": waiting,
        "last_leaves_at": instant(last[0]) if last else None,
        "binding": _use(last[1]) if last else None,
        "as_of": _now(),
    }
    return answer(body)


def _account(health: AccountHealth) -> dict[str, Any]:
    account = health.account
    return _name(account) | {
        "sender": account.sender or None,
        "live": account.live,
        "priority": account.priority,
        "state": health.state,
        "word": said(health.word),
        "detail": said(health.sentence),
        "reason": health.reason,
        "down_since": instant(health.down_since),
        "retry_at": instant(health.retry_at),
        "waiting": health.waiting,
        "uncertain": health.uncertain,
        "receipts_stopped": health.receipts_stopped,
        "last_receipt_at": instant(health.last_receipt_at),
        "last_webhook_at": instant(account.last_webhook_at),
        "quality": account.quality,
        "rate_per_second": account.rate_per_second,
        "tier_limit": account.tier_limit,
    }


def _name(account: ProviderAccount) -> dict[str, Any]:
    return {"id": account.id, "provider": account.provider, "label": account.label}


def _use(use: Use) -> dict[str, Any]:
    return {
        "rule": use.rule,
        "account": use.account_id,
        "limit": use.limit,
        "used": use.used,
        "seconds": use.seconds,
        "text": said(use.label),
    }


def _now() -> str | None:
    return instant(clock.now())
