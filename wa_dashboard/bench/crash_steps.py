"""Steps of `crash` on the product: orders and promotions that keep coming, then waiting until nothing is open."""

import time
from collections import Counter
from pathlib import Path
from typing import Any

from sqlalchemy import select

from .. import queues
from ..db import db, end_read, tenant_scope, transaction
from ..models import Contact, Message, Template
from .product import people, product, put_rows

_OPEN = ("queued", "sending", "uncertain", "accepted", "sent")


def feed(tenant_id: str, account_id: str, count: int, chunks: int, pause: float, file: str) -> dict[str, Any]:
    """``count`` messages in ``chunks`` portions, half of them promotions; writes how many into ``file``."""
    made = 0
    with product(), tenant_scope(tenant_id):
        persons = people(tenant_id, min(count, 2000))
        for number in range(chunks):
            wanted = count * (number + 1) // chunks - made
            halves = {"order_confirm": (wanted + number % 2) // 2}
            halves["promo"] = wanted - halves["order_confirm"]
            for kind, some in halves.items():
                _put(tenant_id, account_id, kind, [persons[(made + each) % len(persons)] for each in range(some)])
            made += wanted
            time.sleep(pause)
    Path(file).write_text(str(made), encoding="utf-8")
    return {}


def _put(tenant_id: str, account_id: str, kind: str, persons: list[Contact]) -> None:
    if not persons:
        return
    with transaction():
        template_id = db.session.scalars(select(Template.id).where(Template.name == kind)).one()
        put_rows(tenant_id, account_id, template_id, kind, persons)
        queues.wake_lane(account_id)


def settle(tenant_id: str, account_id: str, longest: float) -> dict[str, Any]:
    """Wait until nothing is open, ``longest`` seconds at most. A few orders keep coming, as they do: their receipts
    move the watermark. ``{"messages": {id: [policy, status]}}``"""
    end = time.monotonic() + longest
    with product(), tenant_scope(tenant_id):
        persons = people(tenant_id, 1)
        while True:
            rows = db.session.execute(select(Message.id, Message.policy, Message.status)).all()
            end_read()
            statuses = Counter(row.status for row in rows)
            if not any(statuses[each] for each in _OPEN) or time.monotonic() > end:
                return {"messages": {row.id: [row.policy, row.status] for row in rows}}
            if statuses["uncertain"]:
                _put(tenant_id, account_id, "order_confirm", persons)
            time.sleep(1.5)
