"""Stopping a message that somebody no longer wants sent."""

from ..db import transaction
from ..domain.statuses import WAITING, Status
from ..domain.text import T
from ..errors import Conflict
from ..models import Tenant
from . import audit, lifecycle, messages


def cancel(tenant: Tenant, message_id: str, actor: str, *, live: bool | None = None) -> bool:
    """True when it was stopped; False when it is under way and cannot be called back (``cancel_requested`` is noted).

    Cancelling twice is harmless. Raises NotFound; Conflict ``state_conflict`` (``current_state``) when it is over.
    """
    reason = "cancelled_by_api" if actor.startswith("key:") else "cancelled_by_user"
    with transaction():
        message = messages.find(tenant, message_id, live=live).message
        if message.status == Status.CANCELLED:
            return True
        if message.status not in WAITING:
            detail = T("It is too late: the message is %(state)s.", state=message.status)
            raise Conflict(detail, extra={"current_state": message.status})
        stopped = lifecycle.cancel_waiting(tenant.id, reason, message_ids=[message_id])
        audit.record(tenant.id, actor, "message.cancelled", message_id, stopped=bool(stopped))
    return bool(stopped)
