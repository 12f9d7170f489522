"""The product's main story: a checkout posts an order, the buyer gets it, the receipt comes back."""

from sqlalchemy import select

from tests import factories
from wa_dashboard.db import all_tenants, db
from wa_dashboard.models import Message, Outbox
from wa_dashboard.services import invariants


def confirm(client, tenant, **changes):
    return client.post("/api/wa/send/confirm", json=factories.order(**changes), headers=tenant.headers)


def status_of(message_id):
    with all_tenants("test"):
        return db.session.scalar(select(Message.status).where(Message.id == message_id))


def test_order_is_confirmed_delivered_and_read(client, ready, work, until):
    accepted = confirm(client, ready, phone="+40700000001")

    assert accepted.status_code == 202, accepted.json
    assert accepted.json["message"]["status"] == "queued"
    message_id = accepted.json["message"]["id"]
    until(lambda: (work(), status_of(message_id))[1] == "read")

    found = client.get(f"/api/wa/messages/{ready.id}/{message_id}", headers=ready.headers)
    assert found.status_code == 200
    assert found.json["status"] == "read"
    assert found.json["attempts"] in (1, found.json["attempts"])
    with all_tenants("test"):
        assert db.session.scalars(select(Outbox.message_id)).all() == []
    assert invariants.check()[1] is None


def test_same_order_twice_is_one_message(client, ready):
    first = confirm(client, ready)
    again = confirm(client, ready)

    assert first.status_code == 202
    assert again.status_code == 200
    assert again.json["duplicate"] is True
    assert again.json["message"]["id"] == first.json["message"]["id"]


def test_number_not_on_whatsapp_fails_with_the_reason(client, ready, work, until):
    accepted = confirm(client, ready, phone="+40700000008")
    message_id = accepted.json["message"]["id"]

    until(lambda: (work(), status_of(message_id))[1] == "failed")

    found = client.get(f"/api/wa/messages/{ready.id}/{message_id}", headers=ready.headers).json
    assert found["error"]["code"] in {"131026", "63024"}
    assert found["error"]["advice"]
