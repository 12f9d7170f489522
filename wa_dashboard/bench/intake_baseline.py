"""What confirming orders is measured against, behind the same server: an empty route, and the usual way to do it.

The usual way: look everything up with the ORM, save objects one by one, enqueue one RQ job for each message.
Started by `bench.intake` as ``python -m wa_dashboard.bench.intake_baseline PORT`` with the environment of the
application it is compared with.
"""

import sys
from collections.abc import Callable
from typing import Any

from flask import Flask, Response, jsonify, request
from rq import Queue
from sqlalchemy import select

from .. import clock, queues, security
from ..config import Settings
from ..db import all_tenants, db, engine_options, tenant_scope, transaction
from ..domain import rendering
from ..domain.ids import new_id
from ..domain.phone import to_e164
from ..models import ApiKey, Contact, Message, MessageEvent, OptIn, Outbox, Template, TemplateApproval, Tenant
from ..serve import serve


def empty_app() -> Flask:
    """Flask with one route that does nothing."""
    app = Flask("empty")

    @app.post("/empty")
    def nothing() -> str:
        return ""

    return app


def naive_app(settings: Settings) -> Flask:
    """Flask-SQLAlchemy and RQ as their tutorials show them, on the tables of the application."""
    app = Flask("naive")
    app.config.update(
        SECRET_KEY=settings.secret_key,
        SQLALCHEMY_DATABASE_URI=settings.database_url,
        SQLALCHEMY_ENGINE_OPTIONS=engine_options(settings.database_url),
    )
    app.extensions["wa_settings"] = settings
    security.use_keys(settings.encryption_keys)
    db.init_app(app)
    queue = Queue("naive", connection=queues.connect(settings))

    @app.post("/naive")
    def confirm() -> tuple[Response, int]:
        message = _confirm(request.get_json(), request.headers["Authorization"].removeprefix("Bearer "))
        queue.enqueue("naive.send", message.id)
        return jsonify(id=message.id, status=message.status), 202

    return app


def _confirm(body: dict[str, Any], key_text: str) -> Message:
    with all_tenants("the key tells whose request it is"):
        public_id, secret_hash, _ = security.read_api_key(key_text) or ("", "", False)
        key = db.session.scalars(select(ApiKey).where(ApiKey.public_id == public_id)).one()
        assert security.same(key.secret_hash, secret_hash)
        tenant = db.session.scalars(select(Tenant).where(Tenant.id == key.tenant_id)).one()
    with tenant_scope(tenant.id):
        contact = _contact(tenant, body["recipient"]["phone"])
        agreed = db.session.scalar(
            select(OptIn).where(OptIn.contact_id == contact.id, OptIn.purpose == "transactional")
        )
        assert agreed is not None
        template, approval = db.session.execute(
            select(Template, TemplateApproval)
            .join(TemplateApproval, TemplateApproval.template_id == Template.id)
            .where(Template.type == "order_confirm", TemplateApproval.status == "approved")
        ).first()  # type: ignore[misc]
        rendering.preview(template, {"first_name": "Ana", "event_name": "Hamlet", "order_id": body["order_id"]})
        message = _message(tenant, contact, template, approval, body)
        _save(message)
        now = clock.now()
        _save(MessageEvent(id=new_id("evt"), tenant_id=tenant.id, message_id=message.id, kind="asked", at=now,
                           recorded_at=now, detail={"by": "naive"}))  # fmt: skip
        _save(Outbox(message_id=message.id, tenant_id=tenant.id, contact_id=contact.id, purpose="transactional",
                     account_id=approval.account_id, live=False, priority=1, policy="must_deliver", state="queued",
                     next_at=now))  # fmt: skip
    return message


def _save(row: Any) -> None:
    with transaction():
        db.session.add(row)
        db.session.flush()


def _contact(tenant: Tenant, number: str) -> Contact:
    phone = to_e164(number)
    index = security.blind_index(bytes.fromhex(tenant.index_pepper), phone.e164)
    contact = db.session.scalar(select(Contact).where(Contact.phone_index == index))
    if contact is None:
        contact = Contact(id=new_id("con"), tenant_id=tenant.id, phone_index=index, phone_masked=phone.masked,
                          market=phone.market)  # fmt: skip
        contact.phone = phone.e164
        _save(contact)
    return contact


def _message(
    tenant: Tenant, contact: Contact, template: Template, approval: TemplateApproval, body: dict[str, Any]
) -> Message:
    now = clock.now()
    message = Message(
        id=new_id("msg"), tenant_id=tenant.id, live=False, type="order_confirm", purpose="transactional", lane="high",
        policy="must_deliver", dedupe_key=f"naive:{body['order_id']}", contact_id=contact.id,
        to_masked=contact.phone_masked, market=contact.market, order_id=body["order_id"], template_id=template.id,
        template_name=template.name, language=template.language, account_id=approval.account_id,
        provider="meta_cloud", status="queued", status_at=now, updated_at=now,
    )  # fmt: skip
    message.request = body
    return message


def _application() -> Callable[..., Any]:
    empty, naive = empty_app(), naive_app(Settings.from_env())

    def choose(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        return (empty if environ["PATH_INFO"] == "/empty" else naive)(environ, start_response)

    return choose


if __name__ == "__main__":
    serve("127.0.0.1", int(sys.argv[1]), _application)
