"""The story of an account: opened, held, slowed, switched over, each line with what it rests on."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select

from .. import clock
from ..db import db, insert_rows
from ..domain.ids import new_id
from ..models import AccountEvent


def add_line(tenant_id: str, account_id: str, kind: str, *, at: datetime | None = None, **detail: Any) -> None:
    """Add a line (inside a transaction, in the tenant's scope). ``detail``: small JSON values, no telephone number.

    ``at``: when it happened (aware UTC), now if None."""
    row = {
        "id": new_id("ace"),
        "tenant_id": tenant_id,
        "account_id": account_id,
        "kind": kind,
        "at": at or clock.now(),
        "detail": {key: value for key, value in detail.items() if value not in (None, "")},
    }
    insert_rows(AccountEvent, [row])


def newest(account_id: str, kinds: Sequence[str] = (), limit: int = 20) -> list[AccountEvent]:
    """The account's last lines, newest first; only of these kinds when some are named."""
    wanted = select(AccountEvent).where(AccountEvent.account_id == account_id)
    if kinds:
        wanted = wanted.where(AccountEvent.kind.in_(kinds))
    return list(db.session.scalars(wanted.order_by(AccountEvent.at.desc(), AccountEvent.id.desc()).limit(limit)))
