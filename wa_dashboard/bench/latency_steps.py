"""Steps of `latency` on the product: single messages, each committed with its wake-up."""

import random
import time
from typing import Any

from sqlalchemy import select

from .. import queues
from ..db import db, on_commit, tenant_scope, transaction
from ..models import Template
from .product import people, product, put_rows


def post(tenant_id: str, account_id: str, kind: str, count: int, pause: float) -> dict[str, Any]:
    """``count`` messages, ``pause`` seconds (and up to as much again) apart; when each was committed, by id."""
    committed: dict[str, float] = {}

    def note(message_id: str) -> None:
        committed[message_id] = time.time()

    with product(), tenant_scope(tenant_id):
        # Nobody who has just had a promotion: a second message to one person waits six seconds.
        persons = people(tenant_id, max(count, 100), first=random.randrange(200_000, 900_000))
        template_id = db.session.scalars(select(Template.id).where(Template.name == kind)).one()
        for number in range(count):
            time.sleep(pause + random.uniform(0, pause))
            with transaction():
                rows = put_rows(tenant_id, account_id, template_id, kind, [persons[number % len(persons)]])
                on_commit(lambda rows=rows: note(rows[0]))  # type: ignore[misc]
                queues.wake_lane(account_id)
    return {"committed": committed}
