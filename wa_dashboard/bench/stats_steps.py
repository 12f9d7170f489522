"""Steps of `stats` on the product."""

import time
from collections.abc import Callable
from statistics import median
from typing import Any

from sqlalchemy import func, select

from ..db import db, end_read, tenant_scope
from ..models import Message, Tenant
from .product import product


def measure(tenant_id: str, times: int) -> dict[str, Any]:
    """Median milliseconds of each read, ``times`` times by turns."""
    from ..services import messages
    from ..services.paging import Place

    with product(), tenant_scope(tenant_id):
        tenant = db.session.scalars(select(Tenant).where(Tenant.id == tenant_id)).one()
        number = db.session.scalars(select(func.count()).select_from(Message)).one()
        oldest = db.session.execute(
            select(Message.created_at, Message.id).order_by(Message.created_at, Message.id).offset(50).limit(1)
        ).one()
        deep = Place(oldest.created_at, oldest.id)
        everything = messages.Filters()
        by_offset = select(Message).order_by(Message.created_at.desc(), Message.id.desc()).offset(number - 50).limit(50)
        reads: dict[str, Callable[[], object]] = {
            "first_ms": lambda: messages.search(tenant, everything),
            "deep_ms": lambda: messages.search(tenant, everything, deep),
            "offset_ms": lambda: db.session.execute(by_offset).all(),
        }
        seconds: dict[str, list[float]] = {name: [] for name in reads}
        for _ in range(times):
            for name, read in reads.items():
                seconds[name].append(_timed(read))
        facts = {name: 1000 * median(each) for name, each in seconds.items()}
        some = [_timed(lambda: messages.totals(tenant, everything)) for _ in range(3)]
    return {**facts, "totals_ms": 1000 * median(some), "messages": number}


def _timed(read: Callable[[], object]) -> float:
    db.session.expunge_all()
    began = time.perf_counter()
    read()
    seconds = time.perf_counter() - began
    end_read()
    return seconds
