"""Rows in the middle of their life, for tests that begin there."""

from wa_dashboard import clock
from wa_dashboard.db import db, db_now, insert_rows
from wa_dashboard.domain.ids import new_id
from wa_dashboard.models import Message, Outbox


def make_message(ready, contact, *, type="order_confirm", policy="must_deliver", status="queued", template=None):  # noqa: A002
    """A message of the tenant (inside its scope and a transaction)."""
    now = clock.now()
    message = Message(
        id=new_id("msg"),
        tenant_id=ready.id,
        live=False,
        type=type,
        purpose="marketing" if type == "promo" else "reminder" if type == "reminder" else "transactional",
        lane="high",
        policy=policy,
        dedupe_key=new_id("key"),
        contact_id=contact.id,
        to_masked=contact.phone_masked,
        market="RO",
        template_id=template.id if template else None,
        template_name=template.name if template else None,
        language=template.language if template else None,
        status=status,
        status_at=now,
        updated_at=now,
        account_id=ready.account.id,
        provider=ready.account.provider,
    )
    message.variables = {"first_name": "Ana", "order_id": "A-1", "event_name": "Hamlet"}
    db.session.add(message)
    db.session.flush()
    return message


def put_in_outbox(message, *, state="queued", attempt_no=0, next_in=0.0, **times):
    """Its outbox row; ``lease_in`` and ``since`` are seconds from the database's now."""
    row = {
        "message_id": message.id,
        "tenant_id": message.tenant_id,
        "contact_id": message.contact_id,
        "purpose": message.purpose,
        "account_id": message.account_id,
        "template_id": message.template_id,
        "live": False,
        "priority": 1,
        "policy": message.policy,
        "state": state,
        "next_at": db_now(next_in),
        "attempt_no": attempt_no,
        "failures": 0,
    }
    if "lease_in" in times:
        row |= {"lease_until": db_now(times["lease_in"]), "lease_token": "gone"}
    if "since" in times:
        row["uncertain_since"] = db_now(times["since"])
    if "expires_in" in times:
        row["expires_at"] = db_now(times["expires_in"])
    insert_rows(Outbox, [row])
